"""What changed lately, for everybody who watches.

The writer adds the rows and the removed sessions of each entry; watchers read from their own place in it. So a change
costs the writer the same whether nobody watches or a thousand do, and a slow reader costs nothing: what it missed is
conflated when it reads, because it reads rows, and rows hold the newest state.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

ROWS_MAX = 1_000_000
"""Row numbers kept, 8 bytes each. A watcher further behind asks the engine, which scans its table (about 1 ms)."""

REMOVALS_MAX = 100_000
"""Removed sessions kept, 80 bytes each. A watch that resumes further behind begins anew; the contract says so."""
T = TypeVar("T")


class ChangedRows(Protocol):
    """The part of the engine that remembers per row when it changed."""

    def changed_since(self, position: int) -> NDArray[np.int64]:
        """Return the rows in use that an entry after `position` changed."""
        ...


@dataclass(frozen=True, slots=True)
class Changes:
    """What changed after one position, up to and including another.

    Attributes:
        rows: int64[n], rows that changed, each once, in the order of their first change.
        positions: int64[n], a position at or before each row's first change, ascending.
        removed: Ids of sessions that left or became part of others, in order.
        until: The position up to which this is complete.
        scored: The number of the newest scores that are in it, see `ChangeLog.scored`.
    """

    rows: NDArray[np.int64]
    positions: NDArray[np.int64]
    removed: list[str]
    until: int
    scored: int = 0


class ChangeLog:
    """Keeps the latest changes. One thread adds, any thread reads."""

    def __init__(
        self, engine: ChangedRows, position: int, *, rows_max: int = ROWS_MAX, removals_max: int = REMOVALS_MAX
    ) -> None:
        """Begin after `position`, the last entry that the engine has applied."""
        self._engine = engine
        self._rows_max = rows_max
        self._removals_max = removals_max
        self._lock = threading.Lock()
        self._until = position
        self._rows: deque[tuple[int, NDArray[np.int64]]] = deque()
        self._rows_kept = 0
        self._rows_floor = position
        self._removed: deque[tuple[int, list[str]]] = deque()
        self._removed_kept = 0
        self._removed_floor = position
        self._scored: deque[tuple[int, int, NDArray[np.int64]]] = deque()
        self._scored_kept = 0
        self._scored_until = 0
        self._scored_floor = 0, -1

    @property
    def until(self) -> int:
        """Return the position up to which changes are known."""
        return self._until

    def add(self, position: int, rows: NDArray[np.int64], removed: list[str], *, is_complete: bool = True) -> None:
        """Add what the entry at `position` did.

        Args:
            position: Greater than that of every call before.
            rows: int64[n], rows that it changed, each once. Kept: the caller must not reuse the array.
            removed: Ids of the sessions that it removed. Kept, too.
            is_complete: False if more were removed than `removed` holds; then every watch begins anew.
        """
        with self._lock:
            if rows.size:
                self._rows.append((position, rows))
                self._rows_kept += rows.size
            while self._rows_kept > self._rows_max:
                self._rows_floor, dropped = self._rows.popleft()
                self._rows_kept -= dropped.size
            if removed:
                self._removed.append((position, removed))
                self._removed_kept += len(removed)
            while self._removed_kept > self._removals_max:
                self._removed_floor, gone = self._removed.popleft()
                self._removed_kept -= len(gone)
            if not is_complete:
                self._removed.clear()
                self._removed_kept = 0
                self._removed_floor = position
            self._until = position

    @property
    def scored(self) -> int:
        """Return the number of the newest scores: they come without an entry, so they are numbered apart."""
        return self._scored_until

    def add_scored(self, rows: NDArray[np.int64]) -> None:
        """Add rows of which scores are new though no entry changed them. Any thread. The array is kept."""
        with self._lock:
            self._scored_until += 1
            self._scored.append((self._scored_until, self._until, rows))
            self._scored_kept += rows.size
            while self._scored_kept > self._rows_max:
                number, at, dropped = self._scored.popleft()
                self._scored_floor = number, at
                self._scored_kept -= dropped.size

    def since(self, position: int, scored: int | None = None) -> Changes | None:
        """Return what changed after `position`, or None if not every removal since is known any more.

        Args:
            position: Changes up to here are known.
            scored: Scores up to here are known; None: those that were new when the log was at `position`, or later,
                are not.
        """
        found = self._entries_since(position)
        if found is None:
            return None
        with self._lock:
            until = self._scored_until
            batches: list[tuple[int, NDArray[np.int64]]] = []
            for number, at, rows in reversed(self._scored):
                if at < position or (scored is not None and number <= scored):
                    break
                batches.append((at, rows))
            batches.reverse()
            floor, floor_position = self._scored_floor
            is_complete = floor_position < position or (scored is not None and scored >= floor)
        if not is_complete:
            batches.append((position, self._engine.changed_since(0)))
        if not batches:
            return replace(found, scored=until)
        # They are new after the position that they were added at, and before the next one.
        after = [min(at, found.until) + 1 for at, _ in batches]
        rows = np.concatenate([found.rows, *(rows for _, rows in batches)])
        positions = np.concatenate([found.positions, np.repeat(after, [each.size for _, each in batches])])
        order = np.argsort(positions, kind="stable")
        rows, positions = first_changes(rows[order], positions[order])
        return Changes(rows, positions, found.removed, found.until, until)

    def _entries_since(self, position: int) -> Changes | None:
        """Return what entries after `position` changed, or None if not every removal since is known any more."""
        with self._lock:
            if position < self._removed_floor or position > self._until:
                return None
            until = self._until
            ids = [session_id for _, batch in _after(self._removed, position) for session_id in batch]
            batches = list(_after(self._rows, position)) if position >= self._rows_floor else None
        if batches is None:
            rows = self._engine.changed_since(position)
            return Changes(rows, np.full(rows.size, position + 1, np.int64), ids, until)
        if not batches:
            empty = np.empty(0, np.int64)
            return Changes(empty, empty, ids, until)
        rows = np.concatenate([rows for _, rows in batches])
        positions = np.repeat([at for at, _ in batches], [rows.size for _, rows in batches])
        return Changes(*first_changes(rows, positions), ids, until)


def first_changes(rows: NDArray[np.int64], positions: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return each row once with its first position, ordered by it.

    Args:
        rows: int64[n], rows, maybe several times.
        positions: int64[n], ascending.
    """
    _, places = np.unique(rows, return_index=True)
    places.sort()
    return rows[places], positions[places]


def _after(batches: deque[tuple[int, T]], position: int) -> list[tuple[int, T]]:
    """Return the batches after `position`; most readers are only a few behind, so it looks from the end."""
    found: list[tuple[int, T]] = []
    for batch in reversed(batches):
        if batch[0] <= position:
            break
        found.append(batch)
    found.reverse()
    return found
