"""The quarantine: refused events as they came, in a file, bounded by number, bytes and age.

Whoever is answered knows that a refused event is on the disk. Calls block for a disk's write; they are made in a thread.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from rte_collect.protocol import Raw

PAGE_BYTES_MAX = 4 << 20
"""Documents of one page, so that an answer stays within what clients of gRPC take."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS refused (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  protocol TEXT NOT NULL,
  reason TEXT NOT NULL,
  field TEXT NOT NULL,
  message TEXT NOT NULL,
  received_ms INTEGER NOT NULL,
  sent_ms INTEGER,
  attempts INTEGER NOT NULL,
  hints BLOB NOT NULL,
  document BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS lost (count INTEGER NOT NULL);
INSERT INTO lost SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM lost);
"""
_COLUMNS = "protocol, reason, field, message, received_ms, sent_ms, attempts, hints, document"

_ROW_BYTES = 100
"""What a row takes beside its texts, about."""
_SIZES = (
    "SELECT count(*), coalesce(sum(length(document) + length(hints) + length(CAST(message AS BLOB))"  # noqa: S608 - fixed
    f" + length(CAST(field AS BLOB)) + {_ROW_BYTES}), 0) FROM refused"
)


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much is kept; what goes beyond leaves, the oldest first, and is counted."""

    events_max: int = 10_000
    bytes_max: int = 64 * 1024 * 1024
    age_ms_max: int = 7 * 86_400_000


@dataclass(frozen=True, slots=True)
class Kept:
    """A refused event.

    Attributes:
        key: Identifies it; later ones are greater. 0 before it is kept.
        protocol: Name of its collector.
        raw: As it came.
        reason: A value of `rte.v1.ErrorReason`, without its prefix.
        field: What caused it; may be empty.
        message: One sentence.
        received_ms: When it came, milliseconds since 1970.
        sent_ms: When it was sent, by the sender's clock, milliseconds since 1970; None: not told.
        attempt_count: How often it was tried.
    """

    key: int
    protocol: str
    raw: Raw
    reason: str
    field: str
    message: str
    received_ms: int
    sent_ms: int | None
    attempt_count: int = 1


class Quarantine:
    """Keeps refused events. Used by one thread at a time."""

    def __init__(
        self, path: str, bounds: Bounds, clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000
    ) -> None:
        """Open the file, or make it.

        Args:
            path: Of the file; empty: nothing outlives the process.
            bounds: How much is kept.
            clock_ms: The time, milliseconds since 1970.

        Raises:
            sqlite3.Error: It cannot be used.
        """
        self._bounds = bounds
        self._clock_ms = clock_ms
        self._database = sqlite3.connect(path or ":memory:", check_same_thread=False, isolation_level=None)
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = FULL")
        # What is removed is overwritten: it may be about a person who is erased.
        self._database.execute("PRAGMA secure_delete = ON")
        self._database.executescript(_SCHEMA)
        self.count, self._bytes = self._database.execute(_SIZES).fetchone()

    @property
    def lost_count(self) -> int:
        """How many events had to leave."""
        return int(self._database.execute("SELECT count FROM lost").fetchone()[0])

    def add(self, events: Sequence[Kept], surplus_count: int = 0) -> None:
        """Keep events; durable when this returns. What had to leave for them is in no file any more.

        Args:
            events: Those to keep.
            surplus_count: How many more there were, that are only counted.
        """
        self.forget_old()
        count_before = self.count + len(events)
        query = f"INSERT INTO refused ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608 - fixed names
        with self._transaction():
            self._database.executemany(query, [_row(each) for each in events])
            self.count += len(events)
            self._bytes += sum(size_of(each) for each in events)
            self._make_room()
            if surplus_count:
                self._lose(surplus_count)
        if self.count < count_before:
            self._cut_log()

    def page(self, after: int, size: int, protocol: str = "", reason: str = "") -> list[Kept]:
        """Return up to `size` events with keys above `after`, fewer where they are large."""
        self.forget_old()
        query = (
            f"SELECT id, {_COLUMNS} FROM refused WHERE id > ? AND (? = '' OR protocol = ?) AND (? = '' OR reason = ?)"  # noqa: S608 - fixed names
            " ORDER BY id LIMIT ?"
        )
        found: list[Kept] = []
        held = 0
        for row in self._database.execute(query, (after, protocol, protocol, reason, reason, size)):
            held += len(row[-1])
            if found and held > PAGE_BYTES_MAX:
                break
            found.append(_kept(row))
        return found

    def get(self, keys: Sequence[int]) -> list[Kept]:
        """Return events, in the order of their keys; those that are not there are left out."""
        self.forget_old()
        query = f"SELECT id, {_COLUMNS} FROM refused WHERE id = ?"  # noqa: S608 - fixed names
        rows = (self._database.execute(query, (key,)).fetchone() for key in sorted(set(keys)))
        return [_kept(row) for row in rows if row is not None]

    def remove(self, keys: Sequence[int]) -> int:
        """Remove events; return how many there were."""
        with self._transaction():
            count = sum(self._delete("id = ?", key) for key in set(keys))
        self._cut_log()
        return count

    def clear(self) -> int:
        """Remove all events; return how many there were."""
        with self._transaction():
            count = self._delete("id > ?", 0)
        self._cut_log()
        return count

    def refused_again(self, events: Sequence[Kept]) -> None:
        """Write why events were refused this time."""
        query = "UPDATE refused SET reason = ?, field = ?, message = ?, attempts = attempts + 1 WHERE id = ?"
        with self._transaction():
            rows = [(each.reason, each.field, each.message, each.key) for each in events]
            self._database.executemany(query, rows)

    def forget_old(self) -> None:
        """Remove events that are too old; they are in no file afterwards."""
        before_ms = self._clock_ms() - self._bounds.age_ms_max
        if self._database.execute("SELECT 1 FROM refused WHERE received_ms < ? LIMIT 1", (before_ms,)).fetchone():
            with self._transaction():
                self._lose(self._delete("received_ms < ?", before_ms))
            self._cut_log()

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def _cut_log(self) -> None:
        """Cut the write-ahead log to nothing: it holds what has been removed."""
        self._database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()

    def _make_room(self) -> None:
        bounds = self._bounds
        while self.count > 0 and (self.count > bounds.events_max or self._bytes > bounds.bytes_max):
            surplus = max(1, self.count - bounds.events_max)
            oldest = "id IN (SELECT id FROM refused ORDER BY id LIMIT ?)"
            self._lose(self._delete(oldest, surplus))

    def _delete(self, condition: str, value: int) -> int:
        count, size = self._database.execute(f"{_SIZES} WHERE {condition}", (value,)).fetchone()
        self._database.execute(f"DELETE FROM refused WHERE {condition}", (value,))  # noqa: S608 - fixed
        self.count -= count
        self._bytes -= size
        return int(count)

    def _lose(self, count: int) -> None:
        self._database.execute("UPDATE lost SET count = count + ?", (count,))

    def _transaction(self) -> _Transaction:
        return _Transaction(self, self._database)


class _Transaction:
    """All of a block, or nothing, the sizes that are kept in memory included."""

    def __init__(self, quarantine: Quarantine, database: sqlite3.Connection) -> None:
        self._quarantine = quarantine
        self._database = database

    def __enter__(self) -> None:
        self._before = self._quarantine.count, self._quarantine._bytes  # noqa: SLF001 - a part of it
        self._database.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            self._database.execute("ROLLBACK" if kind else "COMMIT")
        except sqlite3.Error:
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")
            kind = kind or sqlite3.Error
            raise
        finally:
            if kind:
                self._quarantine.count, self._quarantine._bytes = self._before  # noqa: SLF001 - a part of it


def size_of(event: Kept) -> int:
    """Return the bytes that an event counts for, those of all its texts."""
    texts = event.raw.document, msgspec.json.encode(event.raw.hints), event.message.encode(), event.field.encode()
    return _ROW_BYTES + sum(map(len, texts))


def _row(event: Kept) -> tuple[object, ...]:
    told = (event.protocol, event.reason, event.field, event.message, event.received_ms, event.sent_ms)
    return (*told, event.attempt_count, msgspec.json.encode(event.raw.hints), event.raw.document)


def _kept(row: Sequence[Any]) -> Kept:
    key, protocol, reason, field, message, received_ms, sent_ms, attempts, hints, document = row
    raw = Raw(document, msgspec.json.decode(hints, type=dict[str, str]))
    return Kept(key, protocol, raw, reason, field, message, received_ms, sent_ms, attempts)
