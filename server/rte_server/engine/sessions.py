"""Sessionizing: which session an event belongs to, and how sessions begin, merge, close and leave.

The sessions of a visitor are disjoint windows of event time, more than a gap apart, chained newest first. An event joins
the window that it falls in or within a gap of; when it falls between two, they become one and the older one's id goes
on. Boundaries that the gap does not give: an ended session (`ENDED`) takes no later event, the session after it
(`FLOOR`) no earlier one, and no event joins a session that would become longer than the maximum length.
"""

from __future__ import annotations

import numpy as np

from rte_server.engine.attributes import keep_last
from rte_server.engine.context import (
    DUE,
    FREE_STACK,
    PROGRESS,
    SECRET,
    SEED,
    VISITOR_TABLE,
    count_of,
    row_cells,
    span_in,
)
from rte_server.engine.expiry import sweep_visitors
from rte_server.engine.kernel import inner
from rte_server.engine.native import put_word, release_at, span_siphash24_128, word_at
from rte_server.engine.program import S_GAP, S_LATENESS, S_LENGTH_MAX
from rte_server.engine.row_values import merge_cells
from rte_server.engine.rows import (
    POSITION,
    add_alias,
    begin_life,
    begin_write,
    cell,
    end_write,
    free_row,
    mark_touched,
    put_cell,
    set_customer,
    setting,
    unlink,
    visitor_slots,
)
from rte_server.engine.table import (
    ALIAS_COUNT_MAX,
    ALIASES,
    CHANNEL_TIME,
    CUSTOMER,
    CUSTOMER_NEXT,
    CUSTOMER_PREVIOUS,
    CUSTOMER_TIME,
    ENDED,
    EVENTS,
    FIRST_POSITION,
    FLOOR,
    FREE_ROWS,
    HIGH_WATER,
    KEY_HI,
    KEY_LO,
    LAG,
    LAST,
    LATE,
    NEVER_MS,
    NEWER,
    NONE,
    OLDER,
    ROW,
    SESSION_HI,
    SESSION_LO,
    SESSIONS_MERGED,
    SESSIONS_STARTED,
    STALE,
    START,
    UNTOUCHED,
    V_HEAD,
    V_KEY_HI,
    V_KEY_LO,
    V_LEFT,
    V_LEFT_UNTIL,
    V_NEWEST,
    V_USED,
    VISIT,
    VISITOR_WORDS,
    VISITORS,
    WRITTEN,
    add_count,
    index_put,
    set_visitor_word,
    visitor_slot,
    visitor_word,
)
from rte_server.engine.written import merge_written

LATE_EVENT = np.int64(-2)
"""Returned instead of a row for an event that is too late."""

NO_ROOM = np.int64(-3)
"""Returned instead of a row where a session must start and no row is free."""


@inner
def find_or_add_visitor(ctx, key_lo, key_hi, time_ms):  # type: ignore[no-untyped-def]
    """Return the slot of a visitor; a new one's newest event time is `time_ms`."""
    slot = visitor_slot(ctx, key_lo, key_hi)
    if slot >= 0:
        return slot
    slots = visitor_slots(ctx)
    if count_of(ctx, VISITORS) * 4 >= slots * 3:
        sweep_visitors(ctx, 0, slots, NEVER_MS)
        slot = visitor_slot(ctx, key_lo, key_hi)
    slot = -1 - slot
    set_visitor_word(ctx, slot, V_KEY_LO, key_lo)
    set_visitor_word(ctx, slot, V_KEY_HI, key_hi)
    set_visitor_word(ctx, slot, V_HEAD, NONE)
    set_visitor_word(ctx, slot, V_NEWEST, time_ms)
    set_visitor_word(ctx, slot, V_LEFT, 0)
    set_visitor_word(ctx, slot, V_LEFT_UNTIL, 0)
    # Last, since a reader takes what it finds in a used slot.
    release_at(span_in(ctx, VISITOR_TABLE), slot * VISITOR_WORDS + V_USED, 1)
    add_count(ctx, VISITORS, 1)
    return slot


@inner
def _fits(ctx, cells, time_ms):  # type: ignore[no-untyped-def]
    """Return whether an event at `time_ms` may join the session."""
    gap = setting(ctx, S_GAP)
    after = np.int64(0) if word_at(cells, ENDED) != 0 else gap
    if (
        time_ms < word_at(cells, START) - gap
        or time_ms > word_at(cells, LAST) + after
        or time_ms < word_at(cells, FLOOR)
    ):
        return False
    if word_at(cells, START) <= time_ms <= word_at(cells, LAST):
        # Also in a session that is longer than a maximum that was set since.
        return True
    length_max = setting(ctx, S_LENGTH_MAX)
    return length_max == 0 or max(word_at(cells, LAST), time_ms) - min(word_at(cells, START), time_ms) <= length_max


@inner
def goes_on(ctx, slot, row, time_ms):  # type: ignore[no-untyped-def]
    """Return whether `place_event` would return the row of the visitor's newest session, and change nothing.

    False where more would have to be looked at to know.
    """
    if row != visitor_word(ctx, slot, V_HEAD) or time_ms <= visitor_word(ctx, slot, V_LEFT_UNTIL):
        return False
    if time_ms < visitor_word(ctx, slot, V_NEWEST) - setting(ctx, S_LATENESS):
        return False
    cells = row_cells(ctx, row)
    older = word_at(cells, OLDER)
    return _fits(ctx, cells, time_ms) and (older == NONE or time_ms > cell(ctx, older, LAST) + setting(ctx, S_GAP))


@inner
def place_event(ctx, slot, time_ms, received_ms):  # type: ignore[no-untyped-def]
    """Return the row of the session that an event belongs to, made or merged as needed; LATE_EVENT or NO_ROOM.

    A row that was made or merged is left with an odd version: it is whole when the caller has put the event into it.

    Args:
        slot: Slot of the visitor.
        time_ms: Event time.
        received_ms: Received time of the entry.
    """
    if time_ms < visitor_word(ctx, slot, V_NEWEST) - setting(ctx, S_LATENESS) or time_ms <= visitor_word(
        ctx, slot, V_LEFT_UNTIL
    ):
        return np.int64(LATE_EVENT)
    newer = np.int64(NONE)
    found = np.int64(NONE)
    row = visitor_word(ctx, slot, V_HEAD)
    while row != NONE:
        cells = row_cells(ctx, row)
        if _fits(ctx, cells, time_ms):
            if found == NONE:
                found = row
            else:
                length = cell(ctx, found, LAST) - word_at(cells, START)
                if setting(ctx, S_LENGTH_MAX) == 0 or length <= setting(ctx, S_LENGTH_MAX):
                    merge_sessions(ctx, slot, row, found)
                elif time_ms >= cell(ctx, found, START):
                    # The older one would reach into the newer.
                    return found
                return row
        elif time_ms > word_at(cells, LAST):
            break
        if found == NONE:
            newer = row
        row = word_at(cells, OLDER)
    if found != NONE:
        return found
    if count_of(ctx, FREE_ROWS) == 0 and count_of(ctx, HIGH_WATER) == span_in(ctx, DUE)[1]:
        return np.int64(NO_ROOM)
    return start_session(ctx, slot, newer, time_ms, received_ms)


@inner
def session_id_of(seed, secret, key_lo, key_hi, time_ms, received_ms):  # type: ignore[no-untyped-def]
    """Return the id, (low, high), of a session that a visitor's event starts.

    It follows from the visitor and that event alone, so that a session keeps its id whatever becomes of other people's
    events. No two sessions of a visitor begin with the same: a session takes every event of its own time for as long as
    it is there, what has left lets no event of its time begin another, and a visitor is forgotten only when the clock has
    gone on.

    Args:
        seed: Span of int64[4], working memory.
        secret: Span of uint64[4], the deployment secret.
        key_lo: Keyed hash of the visitor id,
        key_hi: and its other half.
        time_ms: Time of the event.
        received_ms: The engine's clock at its entry.
    """
    put_word(seed, 0, key_lo)
    put_word(seed, 1, key_hi)
    put_word(seed, 2, time_ms)
    put_word(seed, 3, received_ms)
    low, high = span_siphash24_128(
        (seed[0], np.int64(32)),
        0,
        32,
        np.uint64(word_at(secret, 0) ^ word_at(secret, 2)),
        np.uint64(word_at(secret, 1) ^ word_at(secret, 3)),
    )
    return np.int64(low) | np.int64(1), np.int64(high) | np.int64(1)


@inner
def start_session(ctx, slot, newer, time_ms, received_ms):  # type: ignore[no-untyped-def]
    """Start a session at `time_ms`, right before the session `newer` in time (NONE: as the newest). Returns its row."""
    if count_of(ctx, FREE_ROWS) > 0:
        add_count(ctx, FREE_ROWS, -1)
        row = word_at(span_in(ctx, FREE_STACK), count_of(ctx, FREE_ROWS))
    else:
        row = count_of(ctx, HIGH_WATER)
        add_count(ctx, HIGH_WATER, 1)
    older = visitor_word(ctx, slot, V_HEAD) if newer == NONE else cell(ctx, newer, OLDER)
    begin_life(ctx, row)
    cells = row_cells(ctx, row)
    for word in range(1, cells[1]):
        put_word(cells, word, 0)
    key_lo, key_hi = visitor_word(ctx, slot, V_KEY_LO), visitor_word(ctx, slot, V_KEY_HI)
    put_word(cells, KEY_LO, key_lo)
    put_word(cells, KEY_HI, key_hi)
    low, high = session_id_of(span_in(ctx, SEED), span_in(ctx, SECRET), key_lo, key_hi, time_ms, received_ms)
    put_word(cells, SESSION_LO, low)
    put_word(cells, SESSION_HI, high)
    put_word(cells, START, time_ms)
    put_word(cells, LAST, time_ms)
    put_word(cells, LAG, received_ms - time_ms)
    put_word(cells, FIRST_POSITION, word_at(span_in(ctx, PROGRESS), POSITION))
    put_word(cells, ROW, row)
    put_word(cells, OLDER, older)
    put_word(cells, NEWER, newer)
    put_word(cells, CUSTOMER_NEXT, NONE)
    put_word(cells, CUSTOMER_PREVIOUS, NONE)
    put_word(cells, WRITTEN, NONE)
    put_word(cells, STALE, UNTOUCHED | 1)
    put_word(cells, VISIT, visitor_word(ctx, slot, V_LEFT) + 1)
    if older != NONE:
        put_cell(ctx, older, NEWER, row)
        # A newer session may have left before an older one.
        put_word(cells, VISIT, max(cell(ctx, older, VISIT), visitor_word(ctx, slot, V_LEFT)) + 1)
        if cell(ctx, older, ENDED) != 0:
            put_word(cells, FLOOR, cell(ctx, older, LAST) + 1)
    if newer == NONE:
        set_visitor_word(ctx, slot, V_HEAD, row)
    else:
        put_cell(ctx, newer, OLDER, row)
        renumber(ctx, slot, row, 1)
    index_put(ctx, word_at(cells, SESSION_LO), row)
    add_count(ctx, SESSIONS_STARTED, 1)
    return row


@inner
def renumber(ctx, slot, until, by):  # type: ignore[no-untyped-def]
    """Add `by` to the visit numbers of the visitor's sessions that are newer than the row `until`."""
    row = visitor_word(ctx, slot, V_HEAD)
    while row != until and row != NONE:
        begin_write(ctx, row)
        put_cell(ctx, row, VISIT, cell(ctx, row, VISIT) + by)
        put_cell(ctx, row, STALE, 1)
        mark_touched(ctx, row)
        end_write(ctx, row)
        row = cell(ctx, row, OLDER)


@inner
def merge_values(ctx, into, other):  # type: ignore[no-untyped-def]
    """Merge what a session shows that follows from its events into another one; what is derived is computed later."""
    merge_cells(ctx, into, other)
    put_word(into, START, min(word_at(into, START), word_at(other, START)))
    put_word(into, LAST, max(word_at(into, LAST), word_at(other, LAST)))
    put_word(into, EVENTS, word_at(into, EVENTS) + word_at(other, EVENTS))
    put_word(into, LATE, word_at(into, LATE) + word_at(other, LATE))
    put_word(into, LAG, min(word_at(into, LAG), word_at(other, LAG)))
    put_word(into, STALE, 1)
    if word_at(other, CHANNEL_TIME) != 0:
        keep_last(
            into,
            CHANNEL_TIME,
            word_at(other, CHANNEL_TIME),
            word_at(other, CHANNEL_TIME + 1),
            word_at(other, CHANNEL_TIME + 2),
        )


@inner
def merge_sessions(ctx, slot, older, newer):  # type: ignore[no-untyped-def]
    """Merge the session `newer` into the one right before it in time. Its id goes on to lead to the merged one."""
    begin_write(ctx, older)
    begin_write(ctx, newer)
    into = row_cells(ctx, older)
    other = row_cells(ctx, newer)
    merge_values(ctx, into, other)
    put_word(into, FIRST_POSITION, min(word_at(into, FIRST_POSITION), word_at(other, FIRST_POSITION)))
    put_word(into, ENDED, word_at(other, ENDED))
    if word_at(other, CUSTOMER_TIME) != 0:
        set_customer(
            ctx, older, word_at(other, CUSTOMER_TIME), word_at(other, CUSTOMER_TIME + 1), word_at(other, CUSTOMER)
        )
    merge_written(ctx, older, newer)
    session_lo = word_at(other, SESSION_LO)
    session_hi = word_at(other, SESSION_HI)
    aliases = np.empty(2 * ALIAS_COUNT_MAX, np.int64)
    for i in range(2 * ALIAS_COUNT_MAX):
        aliases[i] = word_at(other, ALIASES + i)
    renumber(ctx, slot, newer, -1)
    unlink(ctx, slot, newer)
    free_row(ctx, newer)
    for i in range(ALIAS_COUNT_MAX):
        if aliases[2 * i] != 0:
            add_alias(ctx, older, aliases[2 * i], aliases[2 * i + 1])
    add_alias(ctx, older, session_lo, session_hi)
    add_count(ctx, SESSIONS_MERGED, 1)
