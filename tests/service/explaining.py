"""A real engine and a real journal, fed directly, with what explains: for tests that need no server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from google.protobuf.struct_pb2 import Value

from rte.v1.event_pb2 import Event
from rte.v1.event_service_pb2 import IngestEventsRequest
from rte.v1.session_explanation_pb2 import Explanation, ExpressionPart
from rte.v1.session_pb2 import Session
from rte_server.config import ExplainSettings
from rte_server.engine.engine import Engine
from rte_server.engine.entries import Entry, EntryType
from rte_server.engine.native import secret_from_bytes
from rte_server.engine.program import ModelSpec
from rte_server.engine.settings import EngineSettings
from rte_server.engine.table import Capacity
from rte_server.journal.directory import DataDirectory
from rte_server.journal.sqlite import SqliteJournal
from rte_server.models.facts import facts_entry
from rte_server.service.explain import Chosen, Explainer, JournalSearch, Wanted
from rte_server.service.session_reads import SessionReads

KEY = bytes(range(32))
SECRET = secret_from_bytes(KEY)
SHARD = 0
ALL = Chosen(size=100_000, after=None, contributed_only=False)
SMALL = Capacity(sessions_max=16_384, dedup_events_max=65_536, strings_max=65_536, string_bytes_max=1 << 23)

TINY = Capacity(
    sessions_max=64, dedup_events_max=64, strings_max=1024, string_bytes_max=1 << 17, written_sessions_max=1
)


class Explaining:
    """Takes events as entries, and explains.

    Attributes:
        engine: The state.
        journal: Its entries.
        models: What runs.
        settings: How sessions are formed.
        now_ms: The time, milliseconds since 1970.
    """

    def __init__(
        self,
        directory: Path,
        models: Sequence[ModelSpec],
        now_ms: int,
        *,
        settings: EngineSettings | None = None,
        limits: ExplainSettings | None = None,
    ) -> None:
        """Configure an empty engine.

        Args:
            directory: For the journal.
            models: What is computed.
            now_ms: The time at first.
            settings: How sessions are formed.
            limits: How far explanations look.
        """
        self._directory = DataDirectory(directory)
        self.journal = SqliteJournal(self._directory)
        self.models = list(models)
        self.engine = Engine(SECRET, lambda *_: self.models, SMALL)
        self.now_ms = now_ms
        self.settings = settings or EngineSettings()
        self.configure(self.models)
        search = JournalSearch(self.journal, SHARD, SECRET, limits or ExplainSettings())
        reads = SessionReads(self.engine, lambda: self.now_ms)
        self.explainer = Explainer(reads, search, SECRET, lambda: self.now_ms, waiting_max=8)

    def close(self) -> None:
        """Release everything."""
        self.explainer.close()
        self.journal.close()
        self._directory.close()

    def configure(self, models: Sequence[ModelSpec]) -> None:
        """Let other models run."""
        self.models = list(models)
        configuration = {"settings": asdict(self.settings), "models": {model.name: model.source for model in models}}
        self.apply(EntryType.CONFIGURE, json.dumps(configuration).encode())

    def apply(self, entry_type: EntryType, body: bytes) -> None:
        """Journal an entry and fold it."""
        entry = Entry(entry_type, self.now_ms, body)
        self.engine.apply(self.journal.append(SHARD, [entry]), entry)

    def send(self, *events: Event) -> None:
        """Take a batch of events, behind the facts that it needs."""
        body = IngestEventsRequest(events=events).SerializeToString()
        facts = facts_entry(self.engine, self.engine.scan(body, self.now_ms))
        if facts is not None:
            self.apply(EntryType.FACTS, facts.body)
        self.apply(EntryType.EVENTS, body)

    def explain(self, visitor_id: str, attribute: str, chosen: Chosen = ALL) -> Explanation:
        """Explain an attribute of a visitor's newest session."""
        wanted = Wanted("visitor_id", visitor_id, attribute, chosen)
        return asyncio.run(self.explainer.explain(wanted)).explanation

    def values(self, visitor_id: str) -> dict[str, Value]:
        """Return the attributes of a visitor's newest session."""
        body = self.engine.get(self.engine.find_visitor, visitor_id, None, self.now_ms)
        return dict(Session.FromString(body).attributes.fields)


def refolded(
    models: Sequence[ModelSpec], settings: EngineSettings, entries: Sequence[tuple[int, Sequence[Event]]], now_ms: int
) -> dict[str, dict[str, Value]]:
    """Return the attributes of each visitor's newest session after a fresh engine has folded some batches.

    Args:
        models: What is computed.
        settings: How sessions are formed.
        entries: Received time and events of each batch.
        now_ms: The time at which they are read.
    """
    engine = Engine(SECRET, lambda *_: models, TINY)
    configuration = {"settings": asdict(settings), "models": {}}
    engine.apply(1, Entry(EntryType.CONFIGURE, 0, json.dumps(configuration).encode()))
    visitors = set()
    for received_ms, events in entries:
        body = IngestEventsRequest(events=events).SerializeToString()
        facts = facts_entry(engine, engine.scan(body, received_ms))
        if facts is not None:
            engine.apply(engine.position + 1, facts)
        engine.apply(engine.position + 1, Entry(EntryType.EVENTS, received_ms, body))
        visitors |= {event.visitor_id for event in events}
    found = {}
    for visitor_id in visitors:
        session = Session.FromString(engine.get(engine.find_visitor, visitor_id, None, now_ms))
        found[visitor_id] = dict(session.attributes.fields)
    return found


def check_evidence(found: Explanation) -> None:
    """Assert that what stands behind a value is there and fits it."""
    name = found.attribute.name
    if found.HasField("rule"):
        assert found.rule.text and found.rule.decides, name
        assert leaves(found.rule), name
    elif found.HasField("score"):
        assert found.score.inputs or found.score.reason, name
    else:
        assert found.events.complete, (name, found.events.incomplete_reason)
        assert not found.events.difference, (name, found.events.difference)
        assert found.events.refolded_value == found.value, name
        counts = found.events.counts
        assert counts.contributed + counts.redundant > 0 or not says_something(found.value), (name, found.summary)


def leaves(part: ExpressionPart) -> list[ExpressionPart]:
    """Return the parts without parts."""
    return [leaf for each in part.parts for leaf in leaves(each)] if part.parts else [part]


def says_something(value: Value) -> bool:
    """Return whether a value is other than what a session without events has: 0, false, an empty list, or none."""
    kind = value.WhichOneof("kind")
    return kind == "string_value" or bool(
        value.number_value or value.bool_value or any(map(says_something, value.list_value.values))
    )
