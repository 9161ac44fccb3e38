"""A copy of the state for a snapshot, of which most is made beside the writer.

To copy a hundred thousand sessions takes a third of a second, in which nothing that was acknowledged would become visible.
So the rows are copied while the writer goes on, as a virtual machine's memory is while it moves to another host: all of
them, then those that changed meanwhile, whose versions tell. The writer stands still only for what is left, and for the
tables beside the rows, and the copy is the state as it is then.

Source: Clark et al., "Live Migration of Virtual Machines", NSDI 2005 (iterative pre-copy);
docs/decisions/0032-snapshots-are-copied-ahead.md.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from rte_server.engine.annexes import copy_blocks, copy_free_blocks
from rte_server.engine.blocks import taken_blocks
from rte_server.engine.facts import FACT_WORDS
from rte_server.engine.kernel import kernel
from rte_server.engine.native import acquire_at, fence_acquire, prefetch_at, put_word, span_of, word_at
from rte_server.engine.strings import USED, StringPool, used_bytes
from rte_server.engine.table import (
    DEDUP_HEAD,
    DEDUP_USED,
    FACTS_NEW,
    FACTS_OLD,
    FREE_ROWS,
    HEADER_WORDS,
    HIGH_WATER,
    INDEX_SLOTS,
    INDEX_USED,
    V_USED,
    VERSION,
    VISITORS,
    WRITTEN_FREE,
    WRITTEN_HIGH_WATER,
    Table,
)

Arrays = list[tuple[str, NDArray[Any]]]

Pause = Callable[[], None]
"""Returns when it is time for the next step of some work."""

PASSES_MAX = 4
"""Passes over the rows beside the writer. Each finds those that changed during the one before it: 50,000 sessions, then 14,000, 700 and
100 at half of the ingest that is reached. Where they do not become fewer, more passes would not help either."""

LEFT_MAX = 500
"""Rows that changed during a pass, below which there is no other one: some 0.5 ms for the writer."""

ROWS_PER_STEP = 1_024
"""Rows that are copied between two pauses, some 2 ms."""

ROOM_ROWS, ROOM_RECORDS = 262_144, 65_536
"""What may come while the copy is made, with pauses some 8 s for a million rows: with more of it the writer copies all anew."""

NOT_COPIED = np.int64(-1)
_AHEAD = np.int64(4)  # rows that are asked of memory before they are looked at


def at_once() -> None:
    """Make no pause."""


class Finish(Protocol):
    """Ends a snapshot, see `SnapshotAhead.finish`."""

    def __call__(self, *, is_last: bool) -> tuple[dict[str, Any], Arrays]:
        """Return what is small, and the arrays."""
        ...


class SnapshotAhead:
    """A snapshot that has begun."""

    def __init__(self, advance: Callable[[Pause], None], finish: Finish) -> None:
        """Make it of what its two methods do."""
        self._advance = advance
        self._finish = finish

    def advance(self, pause: Pause = at_once) -> None:
        """Copy beside the writer, so that less is left for `finish`. Any thread but the writer's, one at a time.

        Args:
            pause: Called after each step of some milliseconds, so that whoever needs the core gets it.
        """
        self._advance(pause)

    def finish(self, *, is_last: bool = False) -> tuple[dict[str, Any], Arrays]:
        """Return the state as it is then: what is small, as JSON can hold it, and the arrays.

        Called once, while no entry is applied and `advance` does not run.

        Args:
            is_last: Whether nothing is applied any more: the arrays are then not all copies.
        """
        return self._finish(is_last=is_last)


class _Records(NamedTuple):
    """The used records of an open-addressing table.

    Attributes:
        slots: int64[n], their slots, ascending.
        records: int64[n, words].
    """

    slots: NDArray[np.int64]
    records: NDArray[np.int64]


class StateCopy:
    """Copies one state: `advance` beside the writer as often as it likes, then `finish` while the writer stands still."""

    def __init__(self, table: Table, pool: StringPool) -> None:
        """Begin a copy; nothing is copied yet.

        Args:
            table: The state; other arrays are another state, see `is_of`.
            pool: Its strings.
        """
        self._table = table
        self._pool = pool
        self._rows = np.zeros((0, table.rows.shape[1]), np.int64)
        self._versions = np.zeros(0, np.int64)
        # As long as those of the state, but only what is copied takes memory.
        self._blocks = np.empty_like(table.blocks)
        self._arena = np.zeros(0, np.uint8)
        self._arena_used = 0
        self._ring = np.zeros((0, 2), np.int64)
        self._records = {name: _Records(np.zeros(0, np.int64), of[:0].copy()) for name, of in self._tables().items()}

    def is_of(self, table: Table, pool: StringPool) -> bool:
        """Return whether this is a copy of a state: models may have changed, or strings been swept, since it was begun."""
        return self._table is table and self._pool is pool

    def advance(self, pause: Pause = at_once) -> None:
        """Copy the rows, and those that change meanwhile, until few do. Any thread but the writer's, one at a time.

        A second call goes on from the first, unless so many rows came that there is no room for them: it begins anew then.

        Args:
            pause: Called between steps of the first pass, which is most of the work. The later ones are made without a
                pause: while they last the rows go on changing, and that they find fewer and fewer is what ends them.
        """
        high_water = int(self._table.counts[HIGH_WATER])
        if not len(self._rows) or high_water > len(self._rows):
            self._make_room(high_water, ROOM_ROWS, ROOM_RECORDS, pause)
        self._copy_texts()
        for number in range(PASSES_MAX):
            if self._copy_rows(pause if number == 0 else at_once) <= LEFT_MAX:
                break

    def finish(self, *, is_last: bool = False) -> Arrays:
        """Return the state as it is now. The writer must not run meanwhile.

        Args:
            is_last: Whether the writer never runs again. Then the rows are not copied: a copy needs as much memory again,
                and takes as long as writing them.
        """
        table, pool = self._table, self._pool
        counts = table.counts.copy()
        # The ids are written from the oldest on, wherever the ring begins.
        counts[DEDUP_HEAD] = 0
        high_water = int(counts[HIGH_WATER])
        if not is_last:
            if high_water > len(self._rows):
                self._make_room(high_water, 0, 0)
            copy_left_rows(*self._row_arrays(), high_water)
            copy_free_blocks(table.blocks, table.annexes, self._blocks)
        self._copy_texts()
        found = {name: self._used(name) for name in self._records}
        blocks = table.blocks if is_last else self._blocks
        return [
            ("counts", counts),
            ("rows", (table.rows if is_last else self._rows)[:high_water]),
            ("due", table.due[:high_water].copy()),
            ("free_rows", table.free_rows[: counts[FREE_ROWS]].copy()),
            ("visitor_slots", found["visitors"].slots),
            ("visitors", found["visitors"].records),
            ("index_slots", found["index"].slots),
            ("index", found["index"].records),
            ("dedup_ring", self._remembered()),
            ("written", table.written[: counts[WRITTEN_HIGH_WATER]].copy()),
            ("online", table.online.copy()),
            ("annexes", table.annexes.copy()),
            *((name, blocks[part]) for name, part in taken_blocks(table.annexes)),
            ("written_free", table.written_free[: counts[WRITTEN_FREE]].copy()),
            ("fact_slots", found["facts"].slots),
            ("facts", found["facts"].records),
            ("string_slots", found["strings"].slots),
            ("strings", found["strings"].records),
            ("string_counts", pool.counts.copy()),
            ("string_bytes", self._arena[: self._arena_used]),
        ]

    def _copy_rows(self, pause: Pause) -> int:
        """Make one pass over the rows; return how many had changed."""
        count = min(int(self._table.counts[HIGH_WATER]), len(self._rows))
        changed = 0
        for begin in range(0, count, ROWS_PER_STEP):
            changed += int(copy_changed_rows(*self._row_arrays(), begin, min(count, begin + ROWS_PER_STEP)))
            pause()
        return changed

    def _row_arrays(self) -> tuple[NDArray[np.int64], ...]:
        """Return the first arguments of `copy_changed_rows`."""
        table = self._table
        return table.rows, self._rows, self._versions, table.blocks, table.annexes, self._blocks

    def _tables(self) -> dict[str, NDArray[np.int64]]:
        """Return the open-addressing tables by name, as records."""
        table = self._table
        return {
            "visitors": table.visitors,
            "index": table.links.reshape(-1, 2)[: table.counts[INDEX_SLOTS]],
            "facts": table.facts.reshape(-1, FACT_WORDS),
            "strings": self._pool.slots.reshape(-1, 2),
        }

    def _used_counts(self) -> dict[str, int]:
        counts = self._table.counts
        return {
            "visitors": int(counts[VISITORS]),
            "index": int(counts[INDEX_USED]),
            "facts": int(counts[FACTS_NEW] + counts[FACTS_OLD]),
            "strings": int(self._pool.counts[USED]),
        }

    def _make_room(self, rows: int, more_rows: int, more_records: int, pause: Pause = at_once) -> None:
        """Get the memory that the copy needs, and have the operating system give it now, which is half of the work."""
        row_count = min(rows + more_rows, len(self._table.rows))
        # The rows touch theirs when they are copied; what is not needed of it costs nothing.
        self._rows = np.empty((row_count, self._table.rows.shape[1]), np.int64)
        self._versions = np.full(row_count, NOT_COPIED, np.int64)
        tables = self._tables()
        for name, count in self._used_counts().items():
            self._records[name] = _room_for(tables[name], count + more_records)
            pause()
        used = min(int(self._table.counts[DEDUP_USED]) + more_records, len(self._table.dedup_ring) // 2)
        self._ring = np.full((used, 2), 0, np.int64)

    def _copy_texts(self) -> None:
        """Copy the bytes of strings that came since: bytes that are there never change."""
        used = int(used_bytes(self._pool.counts))
        if used > len(self._arena):
            room = np.empty(min(used + used // 4 + ROOM_RECORDS, len(self._pool.arena)), np.uint8)
            room[: self._arena_used] = self._arena[: self._arena_used]
            self._arena = room
        self._arena[self._arena_used : used] = self._pool.arena[self._arena_used : used]
        self._arena_used = used

    def _used(self, name: str) -> _Records:
        """Copy the used records of a table."""
        table = self._tables()[name]
        room = self._records[name]
        # Facts and visitors have a mark of their own.
        used_word = int(V_USED) if name == "visitors" else 0
        count = int(copy_used(table, used_word, *room))
        if count > len(room.slots):
            room = _room_for(table, count)
            copy_used(table, used_word, *room)
        return _Records(room.slots[:count], room.records[:count])

    def _remembered(self) -> NDArray[np.int64]:
        """Copy the remembered event ids, the oldest first."""
        pairs = self._table.dedup_ring.reshape(-1, 2)
        head = int(self._table.counts[DEDUP_HEAD])
        used = int(self._table.counts[DEDUP_USED])
        if used > len(self._ring):
            self._ring = np.empty((used, 2), np.int64)
        first = min(used, len(pairs) - head)
        self._ring[:first] = pairs[head : head + first]
        self._ring[first:used] = pairs[: used - first]
        return self._ring[:used]


def _room_for(table: NDArray[np.int64], count: int) -> _Records:
    """Return memory for some records of a table."""
    count = min(count, len(table))
    return _Records(np.full(count, 0, np.int64), np.full((count, table.shape[1]), 0, np.int64))


@kernel
def copy_changed_rows(rows, copied, versions, blocks, annexes, copied_blocks, begin, end):  # type: ignore[no-untyped-def]
    """Copy the rows that changed since they were copied, beside the writer.

    Args:
        rows: int64[sessions_max, core_words], the state's.
        copied: int64[n, core_words], the copies.
        versions: int64[n], their versions; NOT_COPIED where there is none, or the writer came between.
        blocks: int64[m], the state's `Table.blocks`. A block of a copy may be another row's by now: that one has
            changed since, and is copied after it.
        annexes: int64[annexes, X_WORDS], the state's.
        copied_blocks: int64[m], the copies of the blocks.
        begin: The first row to look at.
        end: The one behind the last, at most n.

    Returns:
        How many had changed.
    """
    words = rows.shape[1]
    source, target = span_of(rows), span_of(copied)
    own_blocks, places, target_blocks = span_of(blocks), span_of(annexes), span_of(copied_blocks)
    changed = 0
    for row in range(begin, end):
        prefetch_at(source, min(row + _AHEAD, end - 1) * words)
        at = row * words
        before = acquire_at(source, at + VERSION)
        if before == versions[row]:
            continue
        changed += 1
        versions[row] = NOT_COPIED
        if before & 1 == 1:
            continue
        for word in range(words):
            put_word(target, at + word, word_at(source, at + word))
        copy_blocks((target[0] + at * 8, np.int64(words)), own_blocks, places, target_blocks)
        fence_acquire()
        if acquire_at(source, at + VERSION) == before:
            versions[row] = before
    return changed


@kernel
def copy_left_rows(rows, copied, versions, blocks, annexes, copied_blocks, count):  # type: ignore[no-untyped-def]
    """Make the copies equal to the rows, while the writer stands still.

    The first words of all are copied: the chains of sessions in them change without a new version.

    Args:
        rows: As for `copy_changed_rows`, and likewise those up to `copied_blocks`.
        count: Rows that there are, at most n.
    """
    words = rows.shape[1]
    source, target = span_of(rows), span_of(copied)
    own_blocks, places, target_blocks = span_of(blocks), span_of(annexes), span_of(copied_blocks)
    for row in range(count):
        ahead = min(row + _AHEAD, count - 1) * words
        for word in range(0, HEADER_WORDS, 8):
            prefetch_at(source, ahead + word)
            prefetch_at(target, ahead + word)
        at = row * words
        wanted = HEADER_WORDS if word_at(source, at + VERSION) == versions[row] else words
        for word in range(wanted):
            put_word(target, at + word, word_at(source, at + word))
        if wanted == words:
            copy_blocks((target[0] + at * 8, np.int64(words)), own_blocks, places, target_blocks)
        versions[row] = word_at(source, at + VERSION)


@kernel
def copy_used(table, used_word, slots, records):  # type: ignore[no-untyped-def]
    """Copy the used records of an open-addressing table, as far as there is room; return how many are used.

    Args:
        table: int64[n, words].
        used_word: A word that is not 0 in used records.
        slots: int64[m], receives their slots.
        records: int64[m, words], receives them.
    """
    words = table.shape[1]
    source, target = span_of(table), span_of(records)
    count = 0
    for slot in range(table.shape[0]):
        if word_at(source, slot * words + used_word) != 0:
            if count < slots.shape[0]:
                slots[count] = slot
                for word in range(words):
                    put_word(target, count * words + word, word_at(source, slot * words + word))
            count += 1
    return count
