"""Sweeping the string pool: what no row refers to is left behind."""

from __future__ import annotations

import numpy as np

from rte_server.engine.annexes import cell_span
from rte_server.engine.attributes import DERIVED, ENTRY_WORDS, FIRST, LAST, RECENT, TAG_MASK
from rte_server.engine.context import ATTRIBUTES, FACTS, PARAMS, POOL_ARENA, count_of, row_cells, span_in
from rte_server.engine.derived_cells import derived_value
from rte_server.engine.facts import FACT_WORDS
from rte_server.engine.kernel import inner, kernel
from rte_server.engine.keyed import FIRST_OF_KEYED, text_entries
from rte_server.engine.kinds import CUSTOMER as CUSTOMER_KIND
from rte_server.engine.native import span_of, word_at
from rte_server.engine.program import A_AT, A_KEEP, A_KIND, A_PART, A_REGISTERS, A_WORDS
from rte_server.engine.strings import ARENA_USED, USED, intern, place_in
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
    written_block,
)
from rte_server.engine.values import STRING


@kernel
def is_nearly_full(pool):  # type: ignore[no-untyped-def]
    """Return whether less than an eighth of the arena, or of the slots that may be used, is free."""
    slots = pool.slots.shape[0] >> 1
    return pool.counts[ARENA_USED] * 8 > pool.arena.shape[0] * 7 or pool.counts[USED] * 32 > slots * 21


@inner
def _carry(old, new, text):  # type: ignore[no-untyped-def]
    offset, length = place_in(old, text)
    if offset >= 0:
        intern(new, text, span_in(old, POOL_ARENA), offset, length)


@kernel
def carry_over(old_context, new_context, constants):  # type: ignore[no-untyped-def]
    """Copy the strings that are still referred to from one pool to another, empty one.

    Args:
        old_context: int64[CONTEXT_WORDS], the state with the old pool.
        new_context: int64[CONTEXT_WORDS], the same with the new one.
        constants: int64[:], ids of the strings that programs need whatever the rows hold.
    """
    old = span_of(old_context)
    new = span_of(new_context)
    attributes = span_in(old, ATTRIBUTES)
    for text in constants:
        _carry(old, new, text)
    facts = span_in(old, FACTS)
    for at in range(0, facts[1], FACT_WORDS):
        if word_at(facts, at) != 0 and word_at(facts, at + 1) == STRING:
            _carry(old, new, word_at(facts, at + 2))
    for row in range(count_of(old, HIGH_WATER)):
        cells = row_cells(old, row)
        if word_at(cells, STATE) == FREE:
            continue
        _carry(old, new, word_at(cells, VISITOR))
        if word_at(cells, CUSTOMER_TIME) != 0:
            _carry(old, new, word_at(cells, CUSTOMER))
        if word_at(cells, CHANNEL_TIME) != 0:
            _carry(old, new, word_at(cells, CHANNEL))
        for i in range(ALIAS_COUNT_MAX):
            if word_at(cells, ALIASES + 2 * i) != 0 and word_at(cells, ALIASES + 2 * i + 1) == 0:
                _carry(old, new, word_at(cells, ALIASES + 2 * i))
        if word_at(cells, WRITTEN) != NONE:
            block = written_block(old, word_at(cells, WRITTEN))
            for at in range(0, WRITTEN_WORDS, WRITTEN_ITEM_WORDS):
                if word_at(block, at) != 0:
                    _carry(old, new, word_at(block, at))
                    if word_at(block, at + 1) & TAG_MASK == STRING:
                        _carry(old, new, word_at(block, at + 3))
        for a in range(0, attributes[1], A_WORDS):
            at = word_at(attributes, a + A_AT)
            own = cell_span(old, cells, at)
            kind = word_at(attributes, a + A_KIND)
            if kind == DERIVED:
                tag, bits = derived_value(cells, at, word_at(attributes, a + A_REGISTERS))
                if tag == STRING:
                    _carry(old, new, bits)
            elif kind == FIRST or kind == LAST or kind == RECENT or kind == CUSTOMER_KIND:
                entries = word_at(attributes, a + A_KEEP) if kind == RECENT else np.int64(1)
                for entry in range(at, at + ENTRY_WORDS * entries, ENTRY_WORDS):
                    if word_at(own, entry) & TAG_MASK == STRING:
                        _carry(old, new, word_at(own, entry + 2))
            elif kind >= FIRST_OF_KEYED and word_at(attributes, a + A_PART) == 0:
                entry, end, width, bits_at = text_entries((attributes[0] + a * 8, A_WORDS), span_in(old, PARAMS))
                while entry < end:
                    if word_at(own, entry) & TAG_MASK == STRING:
                        _carry(old, new, word_at(own, entry + bits_at))
                    entry += width
