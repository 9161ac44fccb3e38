"""Sweeping the string pool: what no row refers to is left behind."""

from __future__ import annotations

import numpy as np
from numba import njit

from rte_server.engine.attributes import ENTRY_WORDS, FIRST, LAST, RECENT, TAG_MASK, DERIVED
from rte_server.engine.program import A_AT, A_KEEP, A_KIND
from rte_server.engine.strings import ARENA_USED, USED, find, intern, length_of, offset_of
from rte_server.engine.table import (
    ALIAS_COUNT_MAX,
    ALIASES,
    CHANNEL,
    CHANNEL_TIME,
    CUSTOMER,
    CUSTOMER_TIME,
    FREE,
    HIGH_WATER,
    NONE,
    STATE,
    VISITOR,
    WRITTEN,
    WRITTEN_ITEM_WORDS,
    WRITTEN_WORDS,
)
from rte_server.engine.values import STRING


@njit(cache=True, nogil=True)
def is_nearly_full(pool):  # type: ignore[no-untyped-def]
    """Return whether less than an eighth of the arena, or of the slots that may be used, is free."""
    slots = pool.slots.shape[0] >> 1
    return pool.counts[ARENA_USED] * 8 > pool.arena.shape[0] * 7 or pool.counts[USED] * 32 > slots * 21


@njit(cache=True, nogil=True)
def _carry(old, new, text):  # type: ignore[no-untyped-def]
    slot = find(old, text)
    if slot >= 0:
        intern(new, text, old.arena, offset_of(old, slot), length_of(old, slot))


@njit(cache=True, nogil=True)
def carry_over(table, attributes, old, new, constants):  # type: ignore[no-untyped-def]
    """Copy the strings that are still referred to from one pool to another, empty one.

    Args:
        attributes: int64[n, A_WORDS], of the program.
        constants: int64[:], ids of the strings that programs need whatever the rows hold.
    """
    for text in constants:
        _carry(old, new, text)
    for row in range(table.counts[HIGH_WATER]):
        cells = table.rows[row]
        if cells[STATE] == FREE:
            continue
        _carry(old, new, cells[VISITOR])
        if cells[CUSTOMER_TIME] != 0:
            _carry(old, new, cells[CUSTOMER])
        if cells[CHANNEL_TIME] != 0:
            _carry(old, new, cells[CHANNEL])
        for i in range(ALIAS_COUNT_MAX):
            if cells[ALIASES + 2 * i] != 0 and cells[ALIASES + 2 * i + 1] == 0:
                _carry(old, new, cells[ALIASES + 2 * i])
        if cells[WRITTEN] != NONE:
            block = table.written[cells[WRITTEN]]
            for at in range(0, WRITTEN_WORDS, WRITTEN_ITEM_WORDS):
                if block[at] != 0:
                    _carry(old, new, block[at])
                    if block[at + 1] & TAG_MASK == STRING:
                        _carry(old, new, block[at + 3])
        for a in range(attributes.shape[0]):
            at = attributes[a, A_AT]
            kind = attributes[a, A_KIND]
            if kind == DERIVED and cells[at] == STRING:
                _carry(old, new, cells[at + 1])
            elif kind == FIRST or kind == LAST or kind == RECENT:
                entries = attributes[a, A_KEEP] if kind == RECENT else np.int64(1)
                for entry in range(at, at + ENTRY_WORDS * entries, ENTRY_WORDS):
                    if cells[entry] & TAG_MASK == STRING:
                        _carry(old, new, cells[entry + 2])
