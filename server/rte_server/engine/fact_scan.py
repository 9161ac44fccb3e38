"""Which texts of a request have facts that the fold will need and does not know. Beside the writer; any thread."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rte_server.engine.batch import find_name
from rte_server.engine.context import (
    FACT_FUNCTIONS,
    SLOT_BITS,
    SLOT_LENGTHS,
    SLOT_OFFSETS,
    SLOT_TAGS,
    USES,
    span_in,
)
from rte_server.engine.event_slots import read_properties
from rte_server.engine.facts import fact_key, is_fresh
from rte_server.engine.kernel import inner, kernel
from rte_server.engine.native import put_word, span_of, word_at
from rte_server.engine.values import STRING
from rte_server.engine.wire_layout import NAME_ID, PROPERTIES_LEN, PROPERTIES_OFF, RECORD_WORDS, VERDICT

AT_ONCE = 1024
"""Texts without facts that are looked for at a time."""


def unknown_facts(
    context: NDArray[np.int64], functions: Sequence[str], buf: NDArray[np.uint8], records: NDArray[np.int64]
) -> list[tuple[str, str]]:
    """Return (function, text), each once, of the facts that the events of a request need and the state lacks.

    Args:
        context: int64[CONTEXT_WORDS], the state.
        functions: `Program.fact_functions`.
        buf: uint8[:], the request's bytes.
        records: int64[n, RECORD_WORDS], what the scan found in them.
    """
    found: dict[tuple[str, str], None] = {}
    at = 0
    while functions and at < len(records):
        rows = np.empty((max(AT_ONCE, len(functions)), 3), np.int64)
        at, count = scan_facts(context, buf, records, at, rows)
        for row, offset, length in rows[:count].tolist():
            found[functions[row], buf[offset : offset + length].tobytes().decode()] = None
    return list(found)


@kernel
def scan_facts(context, buf, records, first, found):  # type: ignore[no-untyped-def]
    """Find texts whose facts are not known, from an event on.

    Args:
        context: int64[CONTEXT_WORDS], the state.
        buf: uint8[:], the request's bytes.
        records: int64[n, RECORD_WORDS], what the scan found in them.
        first: The event to begin with.
        found: int64[m, 3], receives row of `ProgramArrays.fact_functions`, offset and length of the text; m is at least
            the number of these rows. A text that comes again is found again.

    Returns:
        (the event to go on with, n if all have been looked at; the number found).
    """
    own = context.copy()
    slots = own[2 * SLOT_TAGS + 1]
    # The slots of the context belong to the writer: these are read into memory of this call.
    scratch = np.zeros(5 * slots, np.int64)
    base = span_of(scratch)[0]
    own[2 * SLOT_TAGS] = base
    own[2 * SLOT_BITS] = base + slots * 8
    own[2 * SLOT_OFFSETS] = base + slots * 16
    own[2 * SLOT_LENGTHS] = base + slots * 24
    uses = (base + slots * 32, slots)
    ctx = span_of(own)
    span = span_of(buf)
    functions = span_in(ctx, FACT_FUNCTIONS)
    all_uses = span_in(ctx, USES)[0]
    count = np.int64(0)
    for i in range(first, records.shape[0]):
        record = (span_of(records)[0] + i * RECORD_WORDS * 8, np.int64(RECORD_WORDS))
        if word_at(record, VERDICT) != 0:
            continue
        of_name = (all_uses + find_name(ctx, word_at(record, NAME_ID)) * slots * 8, slots)
        wanted = False
        for row in range(0, functions[1], 2):
            slot = word_at(functions, row)
            is_used = word_at(of_name, slot) != 0
            put_word(uses, slot, np.int64(is_used))
            wanted = wanted or is_used
        if not wanted:
            continue
        if count + functions[1] // 2 > found.shape[0]:
            return i, count
        read_properties(ctx, span, word_at(record, PROPERTIES_OFF), word_at(record, PROPERTIES_LEN), uses)
        count = _unknown(ctx, functions, uses, found, count)
    # The memory must live until here: the spans do not hold it.
    scratch[0] = count
    own[0] = records.shape[0]
    return own[0], scratch[0]


@inner
def _unknown(ctx, functions, uses, found, count):  # type: ignore[no-untyped-def]
    """Put down the texts of an event whose facts are not known; return how many there are now."""
    for row in range(0, functions[1], 2):
        slot = word_at(functions, row)
        if word_at(uses, slot) == 0 or word_at(span_in(ctx, SLOT_TAGS), slot) != STRING:
            continue
        key = fact_key(word_at(span_in(ctx, SLOT_BITS), slot), word_at(functions, row + 1))
        if not is_fresh(ctx, key):
            found[count, 0] = row // 2
            found[count, 1] = word_at(span_in(ctx, SLOT_OFFSETS), slot)
            found[count, 2] = word_at(span_in(ctx, SLOT_LENGTHS), slot)
            count += 1
    return count
