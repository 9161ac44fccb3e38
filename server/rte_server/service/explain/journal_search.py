"""Finding what the journal holds of one session: backwards from the newest entry, within limits.

A body that does not hold the visitor's id as bytes holds no event of the visitor; most are passed over by that alone. The
others are scanned by the kernel that scanned them at ingest, and only the visitor's events are looked at further. The
newest entries come first, so that what is left out at a limit is the oldest.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rte_server.config import ExplainSettings
from rte_server.engine.entries import Entry, EntryType
from rte_server.engine.reasons import EngineError
from rte_server.engine.requests import Written, read_update
from rte_server.engine.session_events import EventPicker, SessionEvents
from rte_server.engine.wire import Limits, scan_request
from rte_server.journal.protocol import Journal, JournalError

CHUNK_ENTRIES = 64
"""Entries that are read at a time, in the order of the journal. Limits are looked at between two chunks."""

PACE = 0.5
"""How long the search rests after a chunk, as a part of the time that the chunk took: it shares the machine with ingest."""


@dataclass(frozen=True, slots=True)
class Sought:
    """What is looked for.

    Attributes:
        key: Low and high word of the visitor's key.
        visitor_id: The visitor's id, or empty where it is not known.
        session_ids: The session's id, and the ids of those that became part of it.
        first: Position from which on there can be something, >= 1.
        last: Position up to which there can be something.
    """

    key: tuple[int, int]
    visitor_id: str
    session_ids: tuple[str, ...]
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class AttributeWrite:
    """A write of an application.

    Attributes:
        position: Position of its entry.
        received_ms: When it was received.
        values: What it wrote, by name; None removed the attribute.
    """

    position: int
    received_ms: int
    values: dict[str, Written]


@dataclass(frozen=True, slots=True)
class Found:
    """What was found.

    Attributes:
        events: The visitor's events, in the order of the journal.
        writes: The writes to the session, in the order of the journal.
        begin_position: Position of the oldest entry that was looked at, 0 = none.
        begin_ms: When it was received.
        incomplete_reason: Why the search ended before it was at `Sought.first`; empty if it did not.
    """

    events: SessionEvents
    writes: list[AttributeWrite]
    begin_position: int
    begin_ms: int
    incomplete_reason: str


def not_all(incomplete_reason: str) -> str:
    """Return what a sentence about what was found ends with: nothing, or that there is more, and why it was not found."""
    return f"; not everything was found: {incomplete_reason}" if incomplete_reason else ""


class JournalSearch:
    """Searches the journal of one shard. One thread at a time."""

    def __init__(
        self,
        journal: Journal,
        shard: int,
        secret: NDArray[np.uint64],
        limits: ExplainSettings,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """Make a search.

        Args:
            journal: Where the entries are.
            shard: Which of its shards.
            secret: uint64[4], the deployment secret.
            limits: How far it goes.
            clock_s: Gives a time that never goes back, seconds.
        """
        self._journal = journal
        self._shard = shard
        self._secret = secret
        self._limits = limits
        self._clock_s = clock_s

    def find(self, sought: Sought) -> Found:
        """Return what the journal holds."""
        return _Walk(self._journal, self._shard, self._secret, self._limits, self._clock_s, sought).found()

    def entry(self, position: int) -> Entry | None:
        """Return one entry, or None if the journal does not hold it any more or cannot be read."""
        try:
            if position < self._journal.first_position(self._shard):
                return None
            return next((entry for at, entry in self._journal.read(self._shard, position) if at == position), None)
        except JournalError:
            return None


class _Walk:
    """One search."""

    def __init__(
        self,
        journal: Journal,
        shard: int,
        secret: NDArray[np.uint64],
        limits: ExplainSettings,
        clock_s: Callable[[], float],
        sought: Sought,
    ) -> None:
        self._journal = journal
        self._shard = shard
        self._secret = secret
        self._limits = limits
        self._clock_s = clock_s
        self._sought = sought
        self._needle = sought.visitor_id.encode()
        self._session_needles = [session_id.encode() for session_id in sought.session_ids]
        self._picker = EventPicker(sought.key)
        self._writes: list[AttributeWrite] = []
        self._entries = self._bytes = self._events = 0
        self._begin = (0, 0)

    def found(self) -> Found:
        reason = ""
        started_s = self._clock_s()
        end = self._sought.last + 1
        while not reason and end > self._sought.first:
            chunk_s = self._clock_s()
            begin = max(end - CHUNK_ENTRIES, self._sought.first)
            kept_from = self._journal.first_position(self._shard)
            if begin < kept_from:
                reason = f"the journal begins at position {kept_from}; what came before has been trimmed or erased"
                begin = kept_from
            try:
                self._read(begin, end)
            except JournalError as error:
                reason = f"the journal cannot be read from position {begin} to {end - 1}: {error}"
            end = begin
            now_s = self._clock_s()
            reason = reason or (self._passed_limit(now_s - started_s) if end > self._sought.first else "")
            if not reason and end > self._sought.first:
                time.sleep(PACE * (now_s - chunk_s))
        self._writes.sort(key=lambda write: write.position)
        events, most = self._picker.events(), self._limits.events_max
        if len(events) > most:
            reason = f"the limit explain.events_max of {most:,} events was reached"
            events = events.chosen(np.arange(len(events) - most, len(events)))
        return Found(events, self._writes, *self._begin, reason)

    def _passed_limit(self, spent_s: float) -> str:
        limits = self._limits
        if self._entries >= limits.entries_max:
            return f"the limit explain.entries_max of {limits.entries_max:,} entries was reached"
        if self._bytes >= limits.bytes_max:
            return f"the limit explain.bytes_max of {limits.bytes_max:,} bytes was reached"
        if self._events >= limits.events_max:
            return f"the limit explain.events_max of {limits.events_max:,} events was reached"
        if spent_s * 1000 >= limits.time_ms_max:
            return f"the limit explain.time_ms_max of {limits.time_ms_max:,} ms was reached"
        return ""

    def _read(self, begin: int, end: int) -> None:
        """Look at the entries in [begin, end)."""
        if begin >= end:
            return
        for position, entry in self._journal.read(self._shard, begin):
            if position >= end:
                return
            if position == begin:
                self._begin = position, entry.received_ms
            self._entries += 1
            self._bytes += len(entry.body)
            self._look_at(position, entry)

    def _look_at(self, position: int, entry: Entry) -> None:
        if entry.type == EntryType.EVENTS and self._needle in entry.body:
            scanned = scan_request(entry.body, entry.received_ms, self._secret, Limits.UNLIMITED)
            self._events += self._picker.add(position, scanned)
        elif entry.type == EntryType.UPDATE and any(needle in entry.body for needle in self._session_needles):
            try:
                write = read_update(entry.body)
            except EngineError:
                return
            if write.session_id in self._sought.session_ids:
                self._writes.append(AttributeWrite(position, entry.received_ms, write.attributes))
