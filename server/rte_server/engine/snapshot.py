"""Snapshots: the state as a list of arrays, and back. The same bytes for the same state, on every machine.

What is mostly empty is written as the used slots alone, with their places, so that a restored state behaves as the
original in everything, also in the order in which its tables are walked.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from rte_server.engine.strings import ARENA_USED, StringPool
from rte_server.engine.table import (
    DEDUP_HEAD,
    DEDUP_USED,
    FREE_ROWS,
    HIGH_WATER,
    V_USED,
    WRITTEN_FREE,
    WRITTEN_HIGH_WATER,
    Table,
)

Arrays = list[tuple[str, NDArray[Any]]]


def take(table: Table, pool: StringPool) -> Arrays:
    """Return copies of what is in use. The writer must not run meanwhile; the copies are then free to be written."""
    counts = table.counts.copy()
    # The ids are written from the oldest on, wherever the ring begins.
    counts[DEDUP_HEAD] = 0
    high_water = int(counts[HIGH_WATER])
    visitor_slots = np.flatnonzero(table.visitors[:, V_USED])
    index_slots = np.flatnonzero(table.links[0::2])
    string_slots = np.flatnonzero(pool.slots[0::2])
    return [
        ("counts", counts),
        ("rows", table.rows[:high_water].copy()),
        ("due", table.due[:high_water].copy()),
        ("free_rows", table.free_rows[: counts[FREE_ROWS]].copy()),
        ("visitor_slots", visitor_slots),
        ("visitors", table.visitors[visitor_slots]),
        ("index_slots", index_slots),
        ("index", table.links.reshape(-1, 2)[index_slots]),
        ("dedup_ring", _ring(table)),
        ("written", table.written[: counts[WRITTEN_HIGH_WATER]].copy()),
        ("written_free", table.written_free[: counts[WRITTEN_FREE]].copy()),
        ("string_slots", string_slots),
        ("strings", pool.slots.reshape(-1, 2)[string_slots]),
        ("string_counts", pool.counts.copy()),
        ("string_bytes", pool.arena[: pool.counts[ARENA_USED]].copy()),
    ]


def _ring(table: Table) -> NDArray[np.int64]:
    """Return the remembered event ids, the oldest first."""
    pairs = table.dedup_ring.reshape(-1, 2)
    head = int(table.counts[DEDUP_HEAD])
    used = int(table.counts[DEDUP_USED])
    tail = pairs[head : head + used]
    return np.concatenate([tail, pairs[: used - len(tail)]])


def put_back(table: Table, pool: StringPool, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Fill an empty state of the same capacity.

    Args:
        table: Empty, made for the same capacity and row width.
        pool: Empty, of the same capacity.
        arrays: What `take` returned, by name.
    """
    table.counts[:] = arrays["counts"]
    table.rows[: len(arrays["rows"])] = arrays["rows"]
    table.due[: len(arrays["due"])] = arrays["due"]
    table.free_rows[: len(arrays["free_rows"])] = arrays["free_rows"]
    table.visitors[arrays["visitor_slots"]] = arrays["visitors"]
    table.links.reshape(-1, 2)[arrays["index_slots"]] = arrays["index"]
    ring = arrays["dedup_ring"]
    table.dedup_ring.reshape(-1, 2)[: len(ring)] = ring
    insert_all(table.dedup_set, ring[:, 0].copy())
    table.written[: len(arrays["written"])] = arrays["written"]
    table.written_free[: len(arrays["written_free"])] = arrays["written_free"]
    pool.slots.reshape(-1, 2)[arrays["string_slots"]] = arrays["strings"]
    pool.counts[:] = arrays["string_counts"]
    pool.arena[: len(arrays["string_bytes"])] = arrays["string_bytes"]


@njit(cache=True, nogil=True)
def insert_all(dedup, keys):  # type: ignore[no-untyped-def]
    """Insert different keys into an empty open-addressing set."""
    mask = dedup.shape[0] - 1
    for key in keys:
        slot = key & mask
        while dedup[slot] != 0:
            slot = (slot + 1) & mask
        dedup[slot] = key
