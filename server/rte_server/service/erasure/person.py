"""Who is erased, and what of the person is found in the state and in the journal."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from google.protobuf.struct_pb2 import ListValue, Struct, Value
from numpy.typing import NDArray

from rte.v1.event_pb2 import Event
from rte_server.engine.erasure import session_ids
from rte_server.engine.wire import Limits, ScannedRequest, scan_request
from rte_server.engine.wire_layout import (
    CUSTOMER_LEN,
    CUSTOMER_OFF,
    EVENT_ID_HASH,
    EVENT_LEN,
    EVENT_OFF,
    KEY_HI,
    KEY_LO,
    REQUEST_ID_HASH,
    VERDICT,
    VISITOR_LEN,
    VISITOR_OFF,
)

Key = tuple[int, int]


@dataclass(slots=True)
class Person:
    """A person, by what leads to it.

    Attributes:
        secret: uint64[4], the deployment secret.
        customer_id: The customer, or empty: then it is the one visitor.
        visitor_ids: The visitors that ever named the customer, or the one.
        keys: Their keyed hashes, (low, high) as int64.
        session_ids: Every session that is theirs, or may have been: each of their events may have begun one.
        id_hashes: Keyed hashes of the ids of their events, and of requests that held nothing else, with the engine's clock
            when they came.
        texts: Texts in the properties of their events.
        event_count: Their events in the journal.
        write_count: Entries that wrote to their sessions, or ended one.
        entry_count: Entries about the customer: links, and what the data mart said.
    """

    secret: NDArray[np.uint64]
    customer_id: str = ""
    visitor_ids: set[str] = field(default_factory=set)
    keys: set[Key] = field(default_factory=set)
    session_ids: set[str] = field(default_factory=set)
    id_hashes: dict[int, int] = field(default_factory=dict)
    texts: set[str] = field(default_factory=set)
    event_count: int = 0
    write_count: int = 0
    entry_count: int = 0

    def may_be_in(self, body: bytes) -> bool:
        """Return whether the bytes of a request hold an id of the person."""
        ids = (self.customer_id, *self.visitor_ids) if self.customer_id else self.visitor_ids
        return any(each.encode() in body for each in ids)

    def is_named_by(self, request_id: str) -> bool:
        """Return whether a request id holds an id of the person."""
        return bool(request_id) and self.may_be_in(request_id.encode())

    def scanned(self, body: bytes, received_ms: int) -> ScannedRequest:
        """Return a request of the journal, as it is folded."""
        return scan_request(body, received_ms, self.secret, Limits.UNLIMITED)

    def learn_visitors(self, scanned: ScannedRequest) -> None:
        """Take note of the visitors whose events name the customer."""
        for record in scanned.records[self._named(scanned)].tolist():
            start = record[VISITOR_OFF]
            self.visitor_ids.add(scanned.body[start : start + record[VISITOR_LEN]].decode())
            self.keys.add((record[KEY_LO], record[KEY_HI]))

    def places(self, scanned: ScannedRequest) -> NDArray[np.int64]:
        """Return the places of the person's events in a request, ascending."""
        accepted = scanned.records[:, VERDICT] == 0
        pairs = scanned.records[:, [KEY_LO, KEY_HI]].tolist()
        mine = np.fromiter(((low, high) in self.keys for low, high in pairs), np.bool_, len(pairs))
        found: NDArray[np.int64] = np.flatnonzero(accepted & (mine | self._named(scanned)))
        return found

    def collect(self, scanned: ScannedRequest, now_ms: int) -> bool:
        """Take note of what is remembered of the person's events in a request, and count them; return if there are any.

        Args:
            scanned: The request.
            now_ms: The engine's clock at its entry.
        """
        places = self.places(scanned)
        records = scanned.records[places]
        self.event_count += len(records)
        self.session_ids.update(session_ids(records, now_ms, self.secret))
        self.id_hashes.update((int(each), now_ms) for each in records[:, EVENT_ID_HASH].tolist() if each)
        is_whole = len(places) == int((scanned.records[:, VERDICT] == 0).sum())
        request = int(scanned.envelope[REQUEST_ID_HASH])
        # Also the id that gets another text: the request may come again with the first one.
        if len(places) and request and (is_whole or self.is_named_by(scanned.request_id)):
            self.id_hashes[request] = now_ms
        for start, length in records[:, [EVENT_OFF, EVENT_LEN]].tolist():
            properties = Event.FromString(scanned.body[start : start + length]).properties
            _add_texts(properties, self.texts)
        return len(places) > 0

    def forget_collected(self) -> None:
        """Begin to collect anew: other visitors have been found to be the person's."""
        self.event_count = self.write_count = self.entry_count = 0

    def _named(self, scanned: ScannedRequest) -> NDArray[np.bool_]:
        """Return bool[n], which accepted events name the customer."""
        records, named = scanned.records, self.customer_id.encode()
        found: NDArray[np.bool_] = (records[:, VERDICT] == 0) & (records[:, CUSTOMER_LEN] == len(named)) & bool(named)
        for place in np.flatnonzero(found).tolist():
            start = int(records[place, CUSTOMER_OFF])
            found[place] = scanned.body[start : start + len(named)] == named
        return found


def _add_texts(properties: Struct, into: set[str]) -> None:
    """Add all texts in a Struct, however deep."""
    waiting: list[Struct | ListValue] = [properties]
    while waiting:
        each = waiting.pop()
        values: list[Value] = list(each.fields.values() if isinstance(each, Struct) else each.values)
        for value in values:
            kind = value.WhichOneof("kind")
            if kind == "string_value":
                into.add(value.string_value)
            elif kind == "struct_value":
                waiting.append(value.struct_value)
            elif kind == "list_value":
                waiting.append(value.list_value)
