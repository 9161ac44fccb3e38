"""Snapshots: the arrays that `state_copy` has made become a state again.

Of what is mostly empty there are the used slots alone, with their places, so that a restored state behaves as the
original in everything, also in the order in which its tables are walked.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from rte_server.engine.blocks import X_FIRST, X_FREE, X_LENGTH, X_TAKEN, taken_blocks
from rte_server.engine.facts import FACT_WORDS
from rte_server.engine.kernel import kernel
from rte_server.engine.strings import StringPool
from rte_server.engine.table import (
    DEDUP_HEAD,
    DEDUP_SLOTS,
    DEDUP_USED,
    FACTS_HALF,
    FACTS_NEW,
    FACTS_OLD,
    FIRST_SLOTS,
    INDEX_SLOTS,
    V_USED,
    Table,
)


class Stored(Protocol):
    """The arrays of a snapshot, by name. They may be large: what goes to one place as it is, is read into that place."""

    def __getitem__(self, name: str) -> NDArray[Any]:
        """Return an array as a new one."""
        ...

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of an array, without reading it."""
        ...

    def read_into(self, name: str, target: NDArray[Any]) -> None:
        """Fill `target`, which is contiguous and has the shape and the dtype of the array."""
        ...


class Held(dict[str, NDArray[Any]]):
    """What `StateCopy.finish` returned, as `Stored`."""

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of an array."""
        return self[name].shape

    def read_into(self, name: str, target: NDArray[Any]) -> None:
        """Copy an array."""
        target[...] = self[name]


def fits(table: Table, arrays: Stored) -> bool:
    """Return whether the rows of a snapshot are laid out as those of a table are."""
    found = arrays.shape("rows")[1], arrays["annexes"][:, [X_FIRST, X_LENGTH]].tolist()
    return found == (table.rows.shape[1], table.annexes[:, [X_FIRST, X_LENGTH]].tolist())


def put_back(table: Table, pool: StringPool, arrays: Stored, *, same_capacity: bool) -> None:
    """Fill an empty state. Where this raises, it is filled in part and of no use.

    Args:
        table: Empty, made for the same row width.
        pool: Empty.
        arrays: What `StateCopy.finish` returned.
        same_capacity: Whether the state was taken from one of the same capacity: then everything goes back to where it
            was. Else it is sorted in anew, which may change the order in which tables are walked, and nothing else.

    Raises:
        ValueError: There is more than the state has room for; the message names the setting.
    """
    table.counts[:] = arrays["counts"]
    pool.counts[:] = arrays["string_counts"]
    pairs = table.links.reshape(-1, 2), pool.slots.reshape(-1, 2)
    facts = table.facts.reshape(-1, FACT_WORDS)
    if same_capacity:
        table.visitors[arrays["visitor_slots"]] = arrays["visitors"]
        pairs[0][arrays["index_slots"]] = arrays["index"]
        pairs[1][arrays["string_slots"]] = arrays["strings"]
        facts[arrays["fact_slots"]] = arrays["facts"]
    else:
        _check_room(table, pool, arrays)
        insert_records(table.visitors, arrays["visitors"], V_USED)
        slots = _slots(len(arrays["index"]) * 4 // 3, len(pairs[0]))
        insert_records(pairs[0][:slots], arrays["index"], 0)
        table.counts[INDEX_SLOTS] = slots
        insert_records(pairs[1], arrays["strings"], 0)
        first = _facts_of_first_half(table.counts)
        stored = arrays["facts"]
        insert_records(facts[: len(facts) // 2], stored[:first], 0)
        insert_records(facts[len(facts) // 2 :], stored[first:], 0)
    for name in ("rows", "due", "free_rows", "written", "written_free", "online"):
        arrays.read_into(name, getattr(table, name)[: arrays.shape(name)[0]])
    table.annexes[:, [X_TAKEN, X_FREE]] = arrays["annexes"][:, [X_TAKEN, X_FREE]]
    for name, part in taken_blocks(table.annexes):
        arrays.read_into(name, table.blocks[part])
    # Of more ids than are remembered now, the oldest are forgotten.
    ring = arrays["dedup_ring"][-(len(table.dedup_ring) // 2) :]
    table.dedup_ring.reshape(-1, 2)[: len(ring)] = ring
    table.counts[DEDUP_HEAD] = 0
    table.counts[DEDUP_USED] = len(ring)
    if not same_capacity:
        table.counts[DEDUP_SLOTS] = _slots(2 * len(ring), len(table.dedup_set))
    insert_all(table.dedup_set[: table.counts[DEDUP_SLOTS]], ring[:, 0].copy())
    arrays.read_into("string_bytes", pool.arena[: arrays.shape("string_bytes")[0]])


def _slots(entries: int, most: int) -> int:
    """Return how many slots a hash table uses for entries that need so many of them at least."""
    return min(most, max(FIRST_SLOTS, 1 << entries.bit_length()))


def _facts_of_first_half(counts: NDArray[np.int64]) -> int:
    return int(counts[FACTS_NEW] if counts[FACTS_HALF] == 0 else counts[FACTS_OLD])


def _check_room(table: Table, pool: StringPool, arrays: Stored) -> None:
    room = {
        "rows": (len(table.rows), "sessions_max"),
        "visitors": (len(table.visitors) * 3 // 4, "sessions_max"),
        "index": (len(table.links) // 2 * 7 // 8, "sessions_max"),
        "written": (len(table.written), "written_sessions_max"),
        "strings": (len(pool.slots) // 2 * 3 // 4, "strings_max"),
        "string_bytes": (len(pool.arena), "string_bytes_max"),
    }
    half = int(max(table.counts[FACTS_NEW], table.counts[FACTS_OLD]))
    if half * 8 > len(table.facts):
        raise ValueError(
            f"it has {half} facts in a half, with this facts_max there is room for {len(table.facts) // 8}"
        )
    for name, (most, limit) in room.items():
        found = arrays.shape(name)[0]
        if found > most:
            raise ValueError(f"it has {found} {name}, with this {limit} there is room for {most}")


@kernel
def insert_records(target, records, used_column):  # type: ignore[no-untyped-def]
    """Insert records with different keys into an empty open-addressing table.

    Args:
        target: int64[n, words], n a power of two.
        records: int64[m, words], the key in the first column.
        used_column: A column that is not 0 in used slots.
    """
    mask = target.shape[0] - 1
    for i in range(records.shape[0]):
        slot = records[i, 0] & mask
        while target[slot, used_column] != 0:
            slot = (slot + 1) & mask
        for word in range(records.shape[1]):
            target[slot, word] = records[i, word]


@kernel
def insert_all(dedup, keys):  # type: ignore[no-untyped-def]
    """Insert different keys into an empty open-addressing set."""
    mask = dedup.shape[0] - 1
    for key in keys:
        slot = key & mask
        while dedup[slot] != 0:
            slot = (slot + 1) & mask
        dedup[slot] = key
