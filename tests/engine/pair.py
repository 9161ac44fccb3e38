"""Runs the engine and its twin side by side over the same entries."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

from google.protobuf.struct_pb2 import Struct

from rte.v1.session_pb2 import Session
from rte.v1.session_service_pb2 import EndSessionRequest, UpdateSessionRequest
from rte_server.engine.engine import Engine
from rte_server.engine.entries import Entry, EntryType
from rte_server.engine.program import ModelSpec
from rte_server.engine.query import STATES_ANY
from rte_server.engine.settings import EngineSettings
from rte_server.engine.table import Capacity
from tests.engine import comparable
from tests.engine.attribute_samples import KNOWN, MODEL, TOLD
from tests.engine.strategies import GAP_MS, LATENESS_MS, SECRET, START_MS, Action, Batch, End, Say, Tick, Update
from tests.engine.twin import Rules, Twin, TwinSession

SMALL = Capacity(
    sessions_max=512, dedup_events_max=4096, strings_max=4096, string_bytes_max=262_144, written_sessions_max=64
)
SETTINGS = EngineSettings(gap_ms=GAP_MS, lateness_ms=LATENESS_MS, max_length_ms=0, closed_retention_ms=2 * GAP_MS)


def new_engine(
    models: Sequence[ModelSpec] = (MODEL,), settings: EngineSettings = SETTINGS, capacity: Capacity = SMALL
) -> Engine:
    """Return an engine that has applied its CONFIGURE entry."""
    engine = Engine(SECRET, lambda sources, files: list(models), capacity)
    body = json.dumps({"settings": asdict(settings), "models": {model.name: model.source for model in models}})
    engine.apply(1, Entry(EntryType.CONFIGURE, START_MS, body.encode()))
    return engine


def rules_of(settings: EngineSettings) -> Rules:
    """Return the twin's form of an engine's settings."""
    return Rules(
        gap_ms=settings.gap_ms,
        lateness_ms=settings.lateness_ms,
        max_length_ms=settings.max_length_ms,
        closed_retention_ms=settings.closed_retention_ms,
    )


def rounded_of(models: Sequence[ModelSpec]) -> frozenset[str]:
    """Return the names of the attributes of which only some digits are compared."""
    return frozenset(
        spec.name for model in models for spec in model.attributes if spec.kind in comparable.ROUNDED_KINDS
    )


def messages(engine: Engine) -> list[bytes]:
    """Return all sessions of an engine, serialized."""
    return engine.encode(engine.select(engine.filter((), int(STATES_ANY))).rows)


def state_of(engine: Engine) -> comparable.State:
    """Return the state of an engine in a form that can be compared."""
    return comparable.of_messages(messages(engine), rounded_of(engine.program.models))


class Pair:
    """The engine and the twin.

    Args:
        models: What both compute.
        settings: How both form sessions.
    """

    def __init__(self, models: Sequence[ModelSpec] = (MODEL, TOLD, KNOWN), settings: EngineSettings = SETTINGS) -> None:
        self.models = models
        self.settings = settings
        self.engine = new_engine(models, settings)
        specs = [spec for model in models for spec in model.attributes]
        self.twin = Twin(specs, rules_of(settings))
        self.clock_ms = START_MS
        # The engine has applied its CONFIGURE entry, from which on its clock does not go back.
        self.twin.clock_ms = START_MS
        self.entries: list[Entry] = []

    def run(self, action: Action) -> None:
        """Apply one action to both; their outcomes per event must be equal."""
        entry = self._entry(action)
        if entry is None:
            return
        self.entries.append(entry)
        position = self.engine.position + 1
        outcome = self.engine.apply(position, entry)
        expected = self.twin.apply(position, entry)
        assert outcome.event_outcomes.tolist() == expected
        self._adopt()

    def check(self) -> None:
        """Assert that both show the same state, and that every id leads to its session."""
        expected = comparable.of_twin(self.twin.state(), rounded_of(self.models))
        different = comparable.differences(state_of(self.engine), expected)
        assert not different, "\n".join(different)
        for visitor_id, visitor in self.twin.visitors.items():
            for session in visitor.sessions:
                for session_id in session.ids[-4:]:
                    found = Session.FromString(self.engine.encode([self.engine.find_session(session_id)])[0])
                    assert found.visitor_id == visitor_id
                    assert found.start_time.ToMilliseconds() == session.start_ms

    def _entry(self, action: Action) -> Entry | None:
        if isinstance(action, Batch):
            return Entry(EntryType.EVENTS, self.clock_ms, action.wire())
        if isinstance(action, Tick):
            self.clock_ms += action.passed_ms
            return Entry(EntryType.TICK, self.clock_ms, b"")
        if isinstance(action, Say):
            said = {name: {key: {"value": value} for key, value in each} for name, each in action.customers}
            return Entry(EntryType.CUSTOMER, self.clock_ms, json.dumps({"customers": said}).encode())
        session = self._session(action)
        if session is None:
            return None
        if isinstance(action, End):
            body = EndSessionRequest(session_id=session.ids[0])
            return Entry(EntryType.END, self.clock_ms, body.SerializeToString())
        attributes = Struct()
        for name, value in action.attributes:
            if value is None:
                attributes.fields[name].null_value = 0  # type: ignore[assignment]
            else:
                attributes[name] = value
        update = UpdateSessionRequest(session_id=session.ids[0], attributes=attributes)
        return Entry(EntryType.UPDATE, self.clock_ms, update.SerializeToString())

    def _session(self, action: End | Update) -> TwinSession | None:
        visitor = self.twin.visitors.get(action.visitor_id)
        if visitor is None or not visitor.sessions:
            return None
        return visitor.sessions[action.place % len(visitor.sessions)]

    def _adopt(self) -> None:
        """Tell the twin the ids that the engine gave."""
        for message in messages(self.engine):
            session = Session.FromString(message)
            self.twin.adopt(
                session.visitor_id,
                session.start_time.ToMilliseconds(),
                session.last_event_time.ToMilliseconds(),
                session.session_id,
            )
