"""The string pool: 64-bit ids on the fast path, the bytes once, in an arena.

A string is known by a keyed 64-bit hash. Its bytes are stored when a fold keeps the id in a cell; a text that only
passes by is never stored. Entries are written once and never changed, so that readers need no lock: the writer fills
the arena and the slot first and publishes the id last. When the arena is full the pool is swept: ids that no row
refers to are left behind in the old arrays, which readers that still hold them may go on reading.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rte_server.engine.context import POOL_ARENA, POOL_COUNTS, POOL_SLOTS, span_in
from rte_server.engine.kernel import inner, kernel
from rte_server.engine.native import (
    acquire_at,
    byte_at,
    load_acquire,
    put_byte,
    put_word,
    release_at,
    span_of,
    word_at,
)

USED = 0
ARENA_USED = 1
LONGEST = 2
COUNT_WORDS = 3
LENGTH_BITS = 24
LENGTH_MASK = 0xFFFFFF


class StringPool(NamedTuple):
    """Arrays of the pool.

    Attributes:
        slots: int64[2 * n], n a power of two: open addressing by id. Word 2 i is the id (0 = free), word 2 i + 1 is
            where its bytes are: offset in the arena << LENGTH_BITS | length.
        arena: uint8[arena_bytes].
        counts: int64[3]: used slots, used bytes of the arena, bytes of the longest string.
    """

    slots: NDArray[np.int64]
    arena: NDArray[np.uint8]
    counts: NDArray[np.int64]


def new_pool(slots: int, arena_bytes: int) -> StringPool:
    """Return an empty pool. Its memory is reserved, not touched: the operating system gives pages on first use.

    Args:
        slots: Number of slots, a power of two; at most 3/4 of them are used.
        arena_bytes: Room for the bytes of all strings.
    """
    return StringPool(
        np.zeros(2 * slots, np.int64),
        np.zeros(arena_bytes, np.uint8),
        np.zeros(COUNT_WORDS, np.int64),
    )


@kernel
def find(pool, string_id):  # type: ignore[no-untyped-def]
    """Return the slot of `string_id` (int64, not 0) in the pool, or -1."""
    mask = (pool.slots.shape[0] >> 1) - 1
    slot = string_id & mask
    while True:
        found = load_acquire(pool.slots, 2 * slot)
        if found == string_id:
            return slot
        if found == 0:
            return -1
        slot = (slot + 1) & mask


@kernel
def offset_of(pool, slot):  # type: ignore[no-untyped-def]
    """Return where the bytes of the string in `slot` begin in the arena."""
    return pool.slots[2 * slot + 1] >> LENGTH_BITS


@kernel
def length_of(pool, slot):  # type: ignore[no-untyped-def]
    """Return the number of bytes of the string in `slot`, 0 to LENGTH_MASK."""
    return pool.slots[2 * slot + 1] & LENGTH_MASK


@inner
def intern(ctx, string_id, span, off, length):  # type: ignore[no-untyped-def]
    """Store bytes of a span of uint8 under `string_id` unless they are there.

    Args:
        ctx: Span of the context that holds the pool.
        string_id: int64, not 0.
        span: Where the bytes are.
        off: Where they begin.
        length: Their number.

    Returns:
        True if the string is in the pool now; False if it has more than LENGTH_MASK bytes or the pool is full (its
        owner sweeps between batches, so that this happens only to a batch that brings more new text than was left
        free).
    """
    slots = span_in(ctx, POOL_SLOTS)
    size = slots[1] >> 1
    slot = string_id & (size - 1)
    while True:
        found = word_at(slots, 2 * slot)
        if found == string_id:
            return True
        if found == 0:
            break
        slot = (slot + 1) & (size - 1)
    counts = span_in(ctx, POOL_COUNTS)
    arena = span_in(ctx, POOL_ARENA)
    start = word_at(counts, ARENA_USED)
    used = word_at(counts, USED)
    if start + length > arena[1] or used * 4 >= size * 3 or length > LENGTH_MASK:
        return False
    for i in range(length):
        put_byte(arena, start + i, byte_at(span, off + i))
    release_at(counts, ARENA_USED, start + length)
    put_word(counts, USED, used + 1)
    put_word(counts, LONGEST, max(word_at(counts, LONGEST), length))
    put_word(slots, 2 * slot + 1, (start << LENGTH_BITS) | length)
    release_at(slots, 2 * slot, string_id)
    return True


@kernel
def intern_bytes(context, string_id, text):  # type: ignore[no-untyped-def]
    """Store the bytes `text` (uint8[:]) under `string_id`, as `intern` does; for calls from Python."""
    return intern(span_of(context), string_id, span_of(text), 0, text.shape[0])


@kernel
def used_bytes(counts):  # type: ignore[no-untyped-def]
    """Return how many bytes of the arena are used (`counts` of a pool), beside the writer: they are all there by then."""
    return acquire_at(span_of(counts), ARENA_USED)


@inner
def place_in(ctx, string_id):  # type: ignore[no-untyped-def]
    """Return where a string's bytes are in the arena, and their number; (-1, 0) if the pool does not hold it."""
    slots = span_in(ctx, POOL_SLOTS)
    mask = (slots[1] >> 1) - 1
    slot = string_id & mask
    while True:
        found = acquire_at(slots, 2 * slot)
        if found == string_id:
            place = word_at(slots, 2 * slot + 1)
            return place >> LENGTH_BITS, place & LENGTH_MASK
        if found == 0:
            return np.int64(-1), np.int64(0)
        slot = (slot + 1) & mask


def text_of(pool: StringPool, string_id: int) -> bytes | None:
    """Return the bytes of `string_id`, or None if the pool does not hold it."""
    slot = int(find(pool, string_id))
    if slot < 0:
        return None
    start = int(offset_of(pool, slot))
    return pool.arena[start : start + int(length_of(pool, slot))].tobytes()
