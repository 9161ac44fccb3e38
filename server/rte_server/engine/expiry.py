"""How sessions end and leave: the clock, EndSession, and making room."""

from __future__ import annotations

import numpy as np

from rte_server.engine.context import COUNTS, DUE, TRIGGERS, count_of, row_cells, span_in
from rte_server.engine.derived import derive_changed
from rte_server.engine.kernel import inner, kernel
from rte_server.engine.native import put_word, span_of, word_at
from rte_server.engine.online import learn_closed
from rte_server.engine.program import S_CLOSED_MAX, S_GAP, S_LATENESS
from rte_server.engine.rows import (
    begin_entry,
    begin_write,
    cell,
    end_write,
    free_row,
    leaves_ms,
    mark_touched,
    put_cell,
    schedule,
    setting,
    unlink,
    visitor_slots,
)
from rte_server.engine.table import (
    ACTIVE,
    CLOCK,
    CLOSED,
    CLOSED_ROWS,
    DUE_CURSOR,
    ENDED,
    FLOOR,
    FREE,
    FREE_ROWS,
    HIGH_WATER,
    KEY_HI,
    KEY_LO,
    LAST,
    NEWER,
    NONE,
    RECEIVED,
    SESSIONS_EVICTED_ACTIVE,
    SESSIONS_EVICTED_CLOSED,
    SESSIONS_LEFT,
    STATE,
    V_HEAD,
    V_LEFT,
    V_LEFT_UNTIL,
    V_RECEIVED,
    V_USED,
    VISIT,
    VISITOR_CURSOR,
    add_count,
    remove_visitor,
    set_visitor_word,
    visitor_slot,
    visitor_word,
)
from rte_server.engine.triggers import run_triggers, settle_quiet

SWEEP_SLOTS = 65_536
"""Visitor slots that one TICK looks through for visitors to forget."""


@inner
def sweep_visitors(ctx, start, count, before_ms):  # type: ignore[no-untyped-def]
    """Forget visitors without sessions, last heard of before `before_ms`, among `count` slots from `start`."""
    mask = visitor_slots(ctx) - 1
    slot = start
    for _ in range(count):
        while (
            visitor_word(ctx, slot, V_USED) != 0
            and visitor_word(ctx, slot, V_HEAD) == NONE
            and visitor_word(ctx, slot, V_RECEIVED) < before_ms
        ):
            remove_visitor(ctx, slot)
        slot = (slot + 1) & mask


@inner
def leave(ctx, row):  # type: ignore[no-untyped-def]
    """Let a session leave: its visitor remembers only that there was one, and until when."""
    cells = row_cells(ctx, row)
    if word_at(cells, STATE) == CLOSED:
        # One of recorded events was closed from the first; it is over only now.
        learn_closed(ctx, cells, count_of(ctx, CLOCK))
    slot = visitor_slot(ctx, word_at(cells, KEY_LO), word_at(cells, KEY_HI))
    set_visitor_word(ctx, slot, V_LEFT, max(visitor_word(ctx, slot, V_LEFT), word_at(cells, VISIT)))
    set_visitor_word(ctx, slot, V_LEFT_UNTIL, max(visitor_word(ctx, slot, V_LEFT_UNTIL), word_at(cells, LAST)))
    unlink(ctx, slot, row)
    free_row(ctx, row)


@inner
def make_room(ctx, rows_wanted):  # type: ignore[no-untyped-def]
    """Let sessions leave before their time until `rows_wanted` rows are free.

    Closed ones first, by the time at which they would have left; then active ones, the least recently active first.
    """
    capacity = span_in(ctx, DUE)[1]
    for state in (CLOSED, ACTIVE):
        missing = rows_wanted - (count_of(ctx, FREE_ROWS) + capacity - count_of(ctx, HIGH_WATER))
        if missing > 0:
            evicted = evict_earliest(ctx, state, missing)
            if state == CLOSED:
                add_count(ctx, SESSIONS_EVICTED_CLOSED, evicted)
            else:
                add_count(ctx, SESSIONS_EVICTED_ACTIVE, evicted)


@inner
def _nth_smallest(values, n):  # type: ignore[no-untyped-def]
    """Return the n-th smallest (from 1) of some int64, by halving their range.

    `np.partition` would do, but its compilation takes longer than that of the fold.
    """
    low, high = values[0], values[0]
    for value in values:
        low, high = min(low, value), max(high, value)
    while low < high:
        # Without overflow, whatever the signs.
        middle = (low & high) + ((low ^ high) >> 1)
        below = 0
        for value in values:
            below += value <= middle
        if below >= n:
            high = middle
        else:
            low = middle + 1
    return low


@inner
def evict_earliest(ctx, state, wanted):  # type: ignore[no-untyped-def]
    """Let up to `wanted` sessions in `state` leave; returns how many left.

    Active ones by the time of their last event, closed ones by the last entry that touched them, the earliest first.
    """
    high_water = count_of(ctx, HIGH_WATER)
    age = LAST if state == ACTIVE else RECEIVED
    total = 0
    for row in range(high_water):
        total += cell(ctx, row, STATE) == state
    if total == 0:
        return 0
    ages = np.empty(total, np.int64)
    place = 0
    for row in range(high_water):
        if cell(ctx, row, STATE) == state:
            ages[place] = cell(ctx, row, age)
            place += 1
    wanted = min(wanted, total)
    limit = _nth_smallest(ages, wanted)
    evicted = 0
    # Strictly earlier ones first, so that the choice among equal ones is the only one that depends on the row number.
    for row in range(high_water):
        if cell(ctx, row, STATE) == state and cell(ctx, row, age) < limit:
            leave(ctx, row)
            evicted += 1
    for row in range(high_water):
        if evicted == wanted:
            break
        if cell(ctx, row, STATE) == state and cell(ctx, row, age) == limit:
            leave(ctx, row)
            evicted += 1
    return evicted


@kernel
def expire(context, clock_ms, position, rows_max):  # type: ignore[no-untyped-def]
    """Move the clock: close the sessions whose gap has passed, let those leave whose retention has, and compute anew what
    follows from the time.

    At most `rows_max` of them, so that the work per entry is bounded by count; the next entry goes on.
    """
    ctx = span_of(context)
    due = span_in(ctx, DUE)
    begin_entry(ctx, clock_ms, position)
    rows = count_of(ctx, HIGH_WATER)
    handled = 0
    # From where the last TICK stopped, so that no row waits for ever for those before it.
    first = count_of(ctx, DUE_CURSOR)
    first = first if first < rows else np.int64(0)
    for i in range(rows):
        row = first + i if first + i < rows else first + i - rows
        if word_at(due, row) > clock_ms or cell(ctx, row, STATE) == FREE:
            continue
        if handled == rows_max:
            put_word(span_in(ctx, COUNTS), DUE_CURSOR, row)
            break
        handled += 1
        pass_time(ctx, row, clock_ms)
    surplus = count_of(ctx, CLOSED_ROWS) - setting(ctx, S_CLOSED_MAX)
    if surplus > 0:
        add_count(ctx, SESSIONS_EVICTED_CLOSED, evict_earliest(ctx, CLOSED, surplus))
    slots = visitor_slots(ctx)
    start = count_of(ctx, VISITOR_CURSOR) & (slots - 1)
    sweep_visitors(ctx, start, min(slots, SWEEP_SLOTS), clock_ms - setting(ctx, S_LATENESS))
    put_word(span_in(ctx, COUNTS), VISITOR_CURSOR, start + SWEEP_SLOTS)


@inner
def pass_time(ctx, row, clock_ms):  # type: ignore[no-untyped-def]
    """Do what is due for a session: it closes, it leaves, triggers fire, or what follows from the time changes."""
    cells = row_cells(ctx, row)
    has_triggers = span_in(ctx, TRIGGERS)[1] > 0
    begin_write(ctx, row)
    if has_triggers:
        settle_quiet(ctx, cells, clock_ms)
    if word_at(cells, STATE) == CLOSED and leaves_ms(ctx, cells) <= clock_ms:
        leave(ctx, row)
        add_count(ctx, SESSIONS_LEFT, 1)
        return
    was_active = word_at(cells, STATE) == ACTIVE
    if was_active and word_at(cells, LAST) + setting(ctx, S_GAP) < clock_ms:
        put_word(cells, RECEIVED, clock_ms)
    derive_changed(ctx, cells, np.int64(0), clock_ms)
    if has_triggers:
        run_triggers(ctx, cells, clock_ms)
    schedule(ctx, row, clock_ms)
    if was_active and word_at(cells, STATE) == CLOSED:
        learn_closed(ctx, cells, clock_ms)
    mark_touched(ctx, row)
    end_write(ctx, row)


@kernel
def due_rows(context, clock_ms):  # type: ignore[no-untyped-def]
    """Count the rows for which something is due at `clock_ms`; for readers beside the writer."""
    ctx = span_of(context)
    due = span_in(ctx, DUE)
    count = 0
    for row in range(count_of(ctx, HIGH_WATER)):
        count += word_at(due, row) <= clock_ms
    return count


@kernel
def end_session(context, row, received_ms):  # type: ignore[no-untyped-def]
    """End a session; one that was ended before stays as it is. Called from Python."""
    ctx = span_of(context)
    cells = row_cells(ctx, row)
    if word_at(cells, ENDED) != 0:
        return
    newer = cell(ctx, row, NEWER)
    if newer != NONE:
        put_cell(ctx, newer, FLOOR, word_at(cells, LAST) + 1)
    begin_write(ctx, row)
    put_word(cells, ENDED, received_ms)
    put_word(cells, RECEIVED, received_ms)
    schedule(ctx, row, received_ms)
    learn_closed(ctx, cells, received_ms)
    mark_touched(ctx, row)
    end_write(ctx, row)
