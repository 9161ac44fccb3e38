"""The events of one visitor, picked out of journal entries: their bytes and records, and what became of each."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from rte_server.engine.settings import EngineSettings
from rte_server.engine.wire import ScannedRequest
from rte_server.engine.wire_layout import (
    ALIAS_OFF,
    CHANNEL_OFF,
    CUSTOMER_OFF,
    EVENT_ID_HASH,
    EVENT_LEN,
    EVENT_OFF,
    KEY_HI,
    KEY_LO,
    NAME_OFF,
    ORDER,
    PROPERTIES_OFF,
    RECORD_WORDS,
    REQUEST_ID_HASH,
    TIME_MS,
    VERDICT,
    VISITOR_OFF,
)

_OFFSETS = np.array([EVENT_OFF, NAME_OFF, VISITOR_OFF, CUSTOMER_OFF, ALIAS_OFF, CHANNEL_OFF, PROPERTIES_OFF])

# What became of an event.
TAKEN = 0
DUPLICATE = 1
LATE = 2


@dataclass(frozen=True, slots=True)
class SessionEvents:
    """Events of one visitor, in the order of the journal.

    Attributes:
        buf: uint8[:], the bytes that the records lead to.
        records: int64[n, RECORD_WORDS], as a scan makes them.
        positions: int64[n], positions of their entries.
        received_ms: int64[n], when the entries were received.
        requests: int64[n], hashes of the ids of their requests, 0 = none.
    """

    buf: NDArray[np.uint8]
    records: NDArray[np.int64]
    positions: NDArray[np.int64]
    received_ms: NDArray[np.int64]
    requests: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.records)

    def chosen(self, which: NDArray[np.bool_] | NDArray[np.int64]) -> SessionEvents:
        """Return some of the events, by a mask or by their places."""
        return SessionEvents(
            self.buf, self.records[which], self.positions[which], self.received_ms[which], self.requests[which]
        )

    def text(self, place: int, column: int) -> str:
        """Return a text that the record at `place` leads to; its length is in the column after `column`."""
        off, length = int(self.records[place, column]), int(self.records[place, column + 1])
        return self.buf[off : off + length].tobytes().decode()

    def content(self, place: int, column: int) -> bytes:
        """Return the bytes that the record at `place` leads to, as `text` does."""
        off, length = int(self.records[place, column]), int(self.records[place, column + 1])
        return self.buf[off : off + length].tobytes()

    def newest_first(self) -> NDArray[np.int64]:
        """Return the places of the events by falling (event time, order, position)."""
        records = self.records
        return np.lexsort((-self.positions, -records[:, ORDER], -records[:, TIME_MS]))


@dataclass(slots=True)
class EventPicker:
    """Picks the events of one visitor out of scanned requests, which may come in any order.

    Attributes:
        key: Low and high word of the visitor's key.
    """

    key: tuple[int, int]
    _found: list[tuple[int, ScannedRequest, NDArray[np.int64]]] = field(default_factory=list)

    def add(self, position: int, scanned: ScannedRequest) -> int:
        """Pick out of a request; return how many events were found."""
        records = scanned.records
        low, high = self.key
        mine = (records[:, KEY_LO] == low) & (records[:, KEY_HI] == high) & (records[:, VERDICT] == 0)
        if mine.any():
            self._found.append((position, scanned, records[mine]))
        return int(mine.sum())

    def events(self) -> SessionEvents:
        """Return all that were found, in the order of the journal."""
        content = bytearray()
        records = [np.empty((0, RECORD_WORDS), np.int64)]
        origins = [np.empty((0, 3), np.int64)]
        for position, scanned, picked in sorted(self._found, key=lambda found: found[0]):
            moved = picked.copy()
            for row in moved:
                begin, length = int(row[EVENT_OFF]), int(row[EVENT_LEN])
                row[_OFFSETS] += len(content) - begin
                content += scanned.body[begin : begin + length]
            records.append(moved)
            origin = (position, scanned.received_ms, int(scanned.envelope[REQUEST_ID_HASH]))
            origins.append(np.tile(np.array(origin, np.int64), (len(moved), 1)))
        every = np.concatenate(origins)
        buf = np.frombuffer(bytes(content), np.uint8)
        return SessionEvents(buf, np.concatenate(records), every[:, 0], every[:, 1], every[:, 2])


def judge(events: SessionEvents, settings: EngineSettings) -> NDArray[np.int64]:
    """Return what became of each event: TAKEN, DUPLICATE or LATE.

    It is what the fold does with them, as far as it follows from these events: ids that were seen, and the visitor's
    newest event, before the first of them are not known here. Callers compare the number taken with the session's.
    """
    outcomes = np.full(len(events), TAKEN, np.int64)
    seen: dict[int, int] = {}
    requests: dict[int, int] = {}
    newest_ms: int | None = None
    for place in range(len(events)):
        received_ms, position = int(events.received_ms[place]), int(events.positions[place])
        request, event_id = int(events.requests[place]), int(events.records[place, EVENT_ID_HASH])
        time_ms = int(events.records[place, TIME_MS])
        horizon_ms = received_ms - settings.dedup_horizon_ms
        if request and requests.setdefault(request, position) != position:
            outcomes[place] = DUPLICATE
        elif event_id and seen.get(event_id, horizon_ms - 1) >= horizon_ms:
            outcomes[place] = DUPLICATE
        else:
            seen[event_id] = received_ms
            newest_ms = time_ms if newest_ms is None else newest_ms
            if time_ms < newest_ms - settings.lateness_ms:
                outcomes[place] = LATE
            newest_ms = max(newest_ms, time_ms)
    return outcomes
