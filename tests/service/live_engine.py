"""A real engine that is fed directly, with the change log that watches read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cache

from google.protobuf import json_format

from rte.v1 import event_service_pb2, session_service_pb2
from rte_server.engine.engine import Engine
from rte_server.engine.entries import Entry, EntryType
from rte_server.engine.native import secret_from_bytes
from rte_server.engine.outcome import Outcome
from rte_server.engine.settings import EngineSettings
from rte_server.engine.table import Capacity
from rte_server.models import compile_models, configuration_of, load_models
from rte_server.service.change_log import ChangeLog

START_MS = 1_790_000_000_000
SMALL = Capacity(sessions_max=4096, dedup_events_max=8192, strings_max=16384, string_bytes_max=1 << 20)


@cache
def pack_configuration() -> dict[str, dict[str, str]]:
    """Return the members of a CONFIGURE entry with the packs that ship."""
    return configuration_of(load_models(["retail"]))


class LiveEngine:
    """Applies requests as entries, one after the other."""

    def __init__(self, settings: EngineSettings | None = None, **log_limits: int) -> None:
        """Configure an empty engine with the pack `retail`."""
        self.engine = Engine(secret_from_bytes(bytes(range(32))), compile_models, SMALL)
        self.log = ChangeLog(self.engine, 0, **log_limits)
        self.now_ms = START_MS
        configuration = {"settings": asdict(settings or EngineSettings()), **pack_configuration()}
        self.apply(EntryType.CONFIGURE, json.dumps(configuration).encode())

    def apply(self, entry_type: EntryType, body: bytes = b"") -> Outcome:
        """Apply one entry and log what it changed."""
        position = self.engine.position + 1
        outcome = self.engine.apply(position, Entry(entry_type, self.now_ms, body))
        is_complete = outcome.removed_all == len(outcome.removed)
        self.log.add(position, outcome.rows, outcome.removed, is_complete=is_complete)
        return outcome

    def send(self, *events: Mapping[str, object]) -> Outcome:
        """Apply a batch of events, given as JSON; those without a time happen now."""
        return self.apply(EntryType.EVENTS, batch(events).SerializeToString())

    def view(self, *visitor_ids: str, name: str = "page_view", **properties: object) -> Outcome:
        """Apply one event per visitor."""
        return self.send(*({"visitor_id": visitor, "name": name, "properties": properties} for visitor in visitor_ids))

    def end(self, visitor_id: str) -> Outcome:
        """End a visitor's session."""
        request = session_service_pb2.EndSessionRequest(session_id=self.session_id(visitor_id))
        return self.apply(EntryType.END, request.SerializeToString())

    def tick(self, later_ms: int) -> Outcome:
        """Move the clock."""
        self.now_ms += later_ms
        return self.apply(EntryType.TICK)

    def session_id(self, visitor_id: str) -> str:
        """Return the id of a visitor's newest session."""
        return self.engine.session_id(self.engine.find_visitor(visitor_id))


def batch(events: Sequence[Mapping[str, object]]) -> event_service_pb2.IngestEventsRequest:
    """Return a request with events given as JSON."""
    return json_format.ParseDict({"events": [dict(event) for event in events]}, event_service_pb2.IngestEventsRequest())
