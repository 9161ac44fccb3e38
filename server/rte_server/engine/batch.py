"""What is done to the events of an entry before they are lifted: which of them count, which belong together, what memory they need.

Events of different visitors do not touch each other's sessions, so their order does not matter. Those of one visitor are folded
one right after the other, in their order: then a session is looked up, computed and shown to readers once for all of them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rte_server.engine.annexes import prefetch_annexes
from rte_server.engine.context import (
    DUE,
    FOLLOWING,
    LATEST,
    NAMES,
    ONLINE_MODELS,
    PLANS,
    TOUCHED_MARKS,
    VISITOR_TABLE,
    row_cells,
    span_in,
)
from rte_server.engine.dedup import first_sight, used_slots
from rte_server.engine.kernel import inner
from rte_server.engine.native import prefetch_at, put_word, trailing_zeros, word_at
from rte_server.engine.program import CACHE_LINE_WORDS, P_ANNEXES, P_LINES, PLAN_WORDS
from rte_server.engine.table import EVENTS_DUPLICATE, V_HEAD, V_KEY_HI, VISITOR_WORDS, add_count
from rte_server.engine.wire_layout import EVENT_ID_HASH, KEY_HI, KEY_LO, NAME_ID, RECORD_WORDS, VERDICT

# What became of an event.
APPLIED = np.int64(0)
REJECTED = np.int64(1)
DUPLICATE = np.int64(2)
TOO_LATE = np.int64(3)

PREFETCH_AHEAD = np.int64(24)
"""Events between asking for a visitor's memory and using it; a third of it for the session's row, an eighth for
the row's annexes (make bench)."""


WINDOW_EVENTS = 1_024
"""Events of an entry among which those of one visitor are found: their records, and what leads from one to the next, stay in the
processor's cache meanwhile."""

# What leads from an event of the window to the next one of its visitor.
F_NEXT = 0  # which event that is; 0 = none
F_IS_FIRST = 1  # whether it is the visitor's first one
F_WORDS = 2


def new_window() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return working memory for `chain_events`: FOLLOWING, F_WORDS for each event of a window, and LATEST, a hash table of
    visitors' latest events.
    """
    return np.zeros(F_WORDS * WINDOW_EVENTS, np.int64), np.zeros(2 * WINDOW_EVENTS, np.int64)


@inner
def find_name(ctx, name_id):  # type: ignore[no-untyped-def]
    """Return the row of an event name in `plans`; 0 for a name that no model lists."""
    names = span_in(ctx, NAMES)
    mask = (names[1] >> 1) - 1
    slot = name_id & mask
    while word_at(names, 2 * slot) != 0:
        if word_at(names, 2 * slot) == name_id:
            return word_at(names, 2 * slot + 1)
        slot = (slot + 1) & mask
    return np.int64(0)


@inner(forceinline=True)
def record_at(records, i):  # type: ignore[no-untyped-def]
    """Return the span of an event's record."""
    return records[0] + i * RECORD_WORDS * 8, np.int64(RECORD_WORDS)


@inner(forceinline=True)
def first_look(ctx, records, i, received_ms):  # type: ignore[no-untyped-def]
    """Return REJECTED, DUPLICATE or, so far, APPLIED for an event of the entry."""
    ahead = (i + PREFETCH_AHEAD) * RECORD_WORDS
    if ahead < records[1]:
        dedup = used_slots(ctx)
        prefetch_at(dedup, word_at(records, ahead + EVENT_ID_HASH) & (dedup[1] - 1))
    record = record_at(records, i)
    if word_at(record, VERDICT) != 0:
        return REJECTED
    event_id = word_at(record, EVENT_ID_HASH)
    if event_id != 0 and not first_sight(ctx, event_id, received_ms):
        add_count(ctx, EVENTS_DUPLICATE, 1)
        return DUPLICATE
    return APPLIED


@inner(forceinline=True)
def chain_events(ctx, records, start, end, outcomes):  # type: ignore[no-untyped-def]
    """Lead from each event of a window to the next one of the same visitor, in FOLLOWING.

    Args:
        ctx: Span of the context.
        records: Span of the events' records.
        start: The first event of the window.
        end: The event after its last, at most WINDOW_EVENTS later.
        outcomes: uint8[n], says which events take part: those that are APPLIED so far.
    """
    following, latest = span_in(ctx, FOLLOWING), span_in(ctx, LATEST)
    # What a model learns from an event depends on all events before it.
    is_apart = span_in(ctx, ONLINE_MODELS)[1] > 0
    slots = np.int64(2)
    while slots < 2 * (end - start):
        slots += slots
    for slot in range(slots):
        put_word(latest, slot, 0)
    for i in range(start, end):
        place = F_WORDS * (i - start)
        put_word(following, place + F_NEXT, 0)
        put_word(following, place + F_IS_FIRST, np.int64(outcomes[i] == APPLIED))
        if outcomes[i] != APPLIED or is_apart:
            continue
        record = record_at(records, i)
        slot = word_at(record, KEY_LO) & (slots - 1)
        while word_at(latest, slot) != 0:
            before = word_at(latest, slot) - 1
            other = record_at(records, before)
            if word_at(other, KEY_LO) == word_at(record, KEY_LO) and word_at(other, KEY_HI) == word_at(record, KEY_HI):
                put_word(following, F_WORDS * (before - start) + F_NEXT, i)
                put_word(following, place + F_IS_FIRST, 0)
                break
            slot = (slot + 1) & (slots - 1)
        put_word(latest, slot, i + 1)


@inner(forceinline=True)
def ask_for_memory(ctx, records, far, near):  # type: ignore[no-untyped-def]
    """Prefetch what later events of the batch will need: the fold waits for memory more than it computes."""
    visitors = span_in(ctx, VISITOR_TABLE)
    mask = visitors[1] // VISITOR_WORDS - 1
    if far < records[1]:
        prefetch_at(visitors, (word_at(records, far + KEY_LO) & mask) * VISITOR_WORDS)
    if near < records[1]:
        at = (word_at(records, near + KEY_LO) & mask) * VISITOR_WORDS
        row = word_at(visitors, at + V_HEAD)
        if word_at(visitors, at + V_KEY_HI) == word_at(records, near + KEY_HI) and row >= 0:
            prefetch_at(span_in(ctx, DUE), row)
            prefetch_at(span_in(ctx, TOUCHED_MARKS), row)
            cells = row_cells(ctx, row)
            plans = span_in(ctx, PLANS)
            lines = word_at(plans, find_name(ctx, word_at(records, near + NAME_ID)) * PLAN_WORDS + P_LINES)
            while lines != 0:
                prefetch_at(cells, trailing_zeros(lines) * CACHE_LINE_WORDS)
                lines &= lines - 1


@inner(forceinline=True)
def ask_for_annexes(ctx, records, near):  # type: ignore[no-untyped-def]
    """Prefetch the annexes that a later event of the batch will need: its session's row, which says where they are, has come."""
    if near < records[1]:
        visitors = span_in(ctx, VISITOR_TABLE)
        at = (word_at(records, near + KEY_LO) & (visitors[1] // VISITOR_WORDS - 1)) * VISITOR_WORDS
        row = word_at(visitors, at + V_HEAD)
        if word_at(visitors, at + V_KEY_HI) == word_at(records, near + KEY_HI) and row >= 0:
            plan = find_name(ctx, word_at(records, near + NAME_ID)) * PLAN_WORDS
            prefetch_annexes(ctx, row_cells(ctx, row), word_at(span_in(ctx, PLANS), plan + P_ANNEXES))
