"""Rows of the table: versions, states, and everything that leads to a row.

The writer makes a row's version odd before it changes the row and even after; see `table`.
"""

from __future__ import annotations

import numpy as np

from rte_server.engine.annexes import give_back_annexes
from rte_server.engine.attributes import keep_last
from rte_server.engine.context import (
    COUNTS,
    DUE,
    FIRED,
    FREE_STACK,
    PROGRESS,
    REMOVED,
    SETTINGS,
    TIMING,
    TOUCHED,
    TOUCHED_MARKS,
    VISITOR_TABLE,
    WRITTEN_STACK,
    count_of,
    row_cells,
    span_in,
)
from rte_server.engine.kernel import inner, kernel
from rte_server.engine.native import acquire_at, fence_acquire, fence_release, put_word, release_at, span_of, word_at
from rte_server.engine.program import S_CLOSED_RETENTION, S_GAP
from rte_server.engine.row_values import change_ms, session_time
from rte_server.engine.table import (
    ACTIVE,
    ACTIVE_ROWS,
    ALIAS_COUNT_MAX,
    ALIAS_NEXT,
    ALIASES,
    ALIASES_LOST,
    CHANGED,
    CLOCK,
    CLOSED,
    CLOSED_ROWS,
    CUSTOMER,
    CUSTOMER_NEXT,
    CUSTOMER_PREVIOUS,
    CUSTOMER_TIME,
    CUSTOMER_VERSION,
    ENDED,
    FREE,
    FREE_ROWS,
    HIGH_WATER,
    LAST,
    NEVER_MS,
    NEWER,
    NONE,
    OLDER,
    RECEIVED,
    RETRY_READ,
    SESSION_HI,
    SESSION_LO,
    SESSIONS_CLOSED,
    START,
    STATE,
    V_HEAD,
    VERSION,
    VERSION_BITS,
    VISITOR,
    VISITOR_WORDS,
    WRITTEN,
    WRITTEN_FREE,
    WRITTEN_WORDS,
    add_count,
    alias_key,
    customer_key,
    index_find,
    index_put,
    index_remove,
    read_index,
    set_visitor_word,
    written_block,
)

IDLE_SHIFT = np.int64(4)
"""What changes all the time is computed anew at the latest after 1/16 of the time for which a session has been idle."""

# Words of `Scratch.progress`.
TOUCHED_COUNT = np.int64(0)
POSITION = np.int64(1)
ROUND = np.int64(2)


@inner
def cell(ctx, row, word):  # type: ignore[no-untyped-def]
    """Return a word of a row."""
    return word_at(row_cells(ctx, row), word)


@inner
def put_cell(ctx, row, word, value):  # type: ignore[no-untyped-def]
    """Set a word of a row."""
    put_word(row_cells(ctx, row), word, value)


@inner
def begin_write(ctx, row):  # type: ignore[no-untyped-def]
    """Make the row's version odd: readers wait."""
    cells = row_cells(ctx, row)
    release_at(cells, VERSION, word_at(cells, VERSION) | 1)
    fence_release()


@inner
def begin_life(ctx, row):  # type: ignore[no-untyped-def]
    """Do what `begin_write` does for a row that a new session gets: its changes are counted from 0, in the lower half.

    So a session's etag does not depend on whose the row was before, and no reader takes the two for the same.
    """
    cells = row_cells(ctx, row)
    release_at(cells, VERSION, (word_at(cells, VERSION) >> VERSION_BITS) + 1 << VERSION_BITS | 1)
    fence_release()


@inner
def end_write(ctx, row):  # type: ignore[no-untyped-def]
    """Make the row's version even and new: readers go on."""
    cells = row_cells(ctx, row)
    release_at(cells, VERSION, (word_at(cells, VERSION) | 1) + 1)


@inner
def setting(ctx, number):  # type: ignore[no-untyped-def]
    """Return one of the settings."""
    return word_at(span_in(ctx, SETTINGS), number)


@inner
def visitor_slots(ctx):  # type: ignore[no-untyped-def]
    """Return the number of slots for visitors."""
    return span_in(ctx, VISITOR_TABLE)[1] // VISITOR_WORDS


@inner
def begin_entry(ctx, received_ms, position):  # type: ignore[no-untyped-def]
    """Begin to fold an entry: nothing is touched, removed or fired by it yet."""
    progress = span_in(ctx, PROGRESS)
    put_word(span_in(ctx, COUNTS), CLOCK, max(count_of(ctx, CLOCK), received_ms))
    put_word(progress, TOUCHED_COUNT, 0)
    put_word(progress, POSITION, position)
    put_word(span_in(ctx, REMOVED), 0, 0)
    put_word(span_in(ctx, FIRED), 0, 0)


@kernel
def start_entry(context, received_ms, position):  # type: ignore[no-untyped-def]
    """Do what `begin_entry` does; for calls from Python."""
    begin_entry(span_of(context), received_ms, position)


@inner
def mark_touched(ctx, row):  # type: ignore[no-untyped-def]
    """Report that the present entry changed a session."""
    progress = span_in(ctx, PROGRESS)
    marks = span_in(ctx, TOUCHED_MARKS)
    touched = span_in(ctx, TOUCHED)
    position = word_at(progress, POSITION)
    count = word_at(progress, TOUCHED_COUNT)
    put_cell(ctx, row, CHANGED, position)
    if word_at(marks, row) != position and count < touched[1]:
        put_word(marks, row, position)
        put_word(touched, count, row)
        put_word(progress, TOUCHED_COUNT, count + 1)


@inner
def set_state(ctx, row, state):  # type: ignore[no-untyped-def]
    """Set whether a session is FREE, ACTIVE or CLOSED, and keep the counts."""
    before = cell(ctx, row, STATE)
    if before == state:
        return
    if before == ACTIVE:
        add_count(ctx, ACTIVE_ROWS, -1)
    elif before == CLOSED:
        add_count(ctx, CLOSED_ROWS, -1)
    if state == ACTIVE:
        add_count(ctx, ACTIVE_ROWS, 1)
    elif state == CLOSED:
        add_count(ctx, CLOSED_ROWS, 1)
        add_count(ctx, SESSIONS_CLOSED, 1)
    put_cell(ctx, row, STATE, state)


@inner
def leaves_ms(ctx, cells):  # type: ignore[no-untyped-def]
    """Return when a closed session leaves: the retention time after the last entry that touched it."""
    return word_at(cells, RECEIVED) + setting(ctx, S_CLOSED_RETENTION)


@inner
def schedule(ctx, row, received_ms):  # type: ignore[no-untyped-def]
    """Set a session's state and the time at which something is due for it: it closes, leaves, or a value changes.

    Active until a gap after its last event by the clock of received times, so that recorded events of long ago make
    closed sessions.
    """
    cells = row_cells(ctx, row)
    due = word_at(cells, LAST) + setting(ctx, S_GAP) + 1
    timing = span_in(ctx, TIMING)
    if word_at(cells, ENDED) == 0 and due > received_ms:
        set_state(ctx, row, ACTIVE)
        refresh_ms = word_at(timing, 0)
        if refresh_ms > 0:
            # At multiples, so that the sessions that are due at one time share a TICK; less often the longer nothing came,
            # since what fades changes less and less then, and most sessions are idle ones.
            idle_ms = session_time(cells, received_ms) - word_at(cells, LAST)
            interval_ms = max(refresh_ms, idle_ms >> IDLE_SHIFT)
            due = min(due, (received_ms + interval_ms) // refresh_ms * refresh_ms)
    else:
        set_state(ctx, row, CLOSED)
        due = leaves_ms(ctx, cells)
    if timing[1] > 1:
        due = min(due, change_ms(ctx, cells, received_ms))
    put_word(span_in(ctx, DUE), row, due)


@inner
def hasten(ctx, row, received_ms):  # type: ignore[no-untyped-def]
    """Let something be due for a session no later than a value of the present program changes. Its state stays."""
    cells = row_cells(ctx, row)
    timing = span_in(ctx, TIMING)
    due = word_at(span_in(ctx, DUE), row)
    refresh_ms = word_at(timing, 0)
    if refresh_ms > 0 and word_at(cells, STATE) == ACTIVE:
        due = min(due, (received_ms // refresh_ms + 1) * refresh_ms)
    if timing[1] > 1:
        due = min(due, change_ms(ctx, cells, received_ms))
    put_word(span_in(ctx, DUE), row, due)


@inner
def set_customer(ctx, row, time, order, customer):  # type: ignore[no-untyped-def]
    """Let a session belong to a customer, if the event that says so is the latest that does."""
    cells = row_cells(ctx, row)
    before = word_at(cells, CUSTOMER) if word_at(cells, CUSTOMER_TIME) != 0 else np.int64(0)
    if not keep_last(cells, CUSTOMER_TIME, time, order, customer) or before == customer:
        return
    if before != 0:
        _leave_customer(ctx, row, before)
    _change_chains(ctx)
    key = customer_key(customer)
    head = index_find(ctx, key)
    put_word(cells, CUSTOMER_PREVIOUS, NONE)
    put_word(cells, CUSTOMER_NEXT, head)
    if head != NONE:
        put_cell(ctx, head, CUSTOMER_PREVIOUS, row)
    index_put(ctx, key, row)
    _change_chains(ctx)


@inner
def _leave_customer(ctx, row, customer):  # type: ignore[no-untyped-def]
    """Take a session out of the chain of its customer's sessions."""
    _change_chains(ctx)
    following = cell(ctx, row, CUSTOMER_NEXT)
    previous = cell(ctx, row, CUSTOMER_PREVIOUS)
    if following != NONE:
        put_cell(ctx, following, CUSTOMER_PREVIOUS, previous)
    if previous != NONE:
        put_cell(ctx, previous, CUSTOMER_NEXT, following)
    elif following != NONE:
        index_put(ctx, customer_key(customer), following)
    else:
        index_remove(ctx, customer_key(customer), row)
    put_cell(ctx, row, CUSTOMER_NEXT, NONE)
    put_cell(ctx, row, CUSTOMER_PREVIOUS, NONE)
    _change_chains(ctx)


@inner
def _change_chains(ctx):  # type: ignore[no-untyped-def]
    """Tell readers that a chain of a customer's sessions is about to change, or is whole again."""
    counts = span_in(ctx, COUNTS)
    release_at(counts, CUSTOMER_VERSION, word_at(counts, CUSTOMER_VERSION) + 1)
    fence_release()


@kernel
def read_customer(context, customer, is_last_try):  # type: ignore[no-untyped-def]
    """Return the row of the customer's session with the latest event, or NONE; for readers beside the writer.

    Gives RETRY_READ when a chain changed meanwhile, if that was not the last try: the walk of a long chain may never
    find all chains at rest.

    Args:
        customer: String id.
        is_last_try: Whether to give the best session that the walk came by, whatever changed.
    """
    ctx = span_of(context)
    counts = span_in(ctx, COUNTS)
    before = acquire_at(counts, CUSTOMER_VERSION)
    row = read_index(context, customer_key(customer)) if before & 1 == 0 or is_last_try else RETRY_READ
    if row == RETRY_READ:
        return np.int64(RETRY_READ)
    best = np.int64(NONE)
    # The chain may change under the walk, and may even lead in a circle then.
    for _ in range(count_of(ctx, HIGH_WATER)):
        if row == NONE:
            break
        if cell(ctx, row, CUSTOMER) != customer:
            # It is about to leave the chain, or has left it.
            if not is_last_try:
                return np.int64(RETRY_READ)
            break
        if best == NONE or cell(ctx, row, LAST) > cell(ctx, best, LAST):
            best = row
        row = cell(ctx, row, CUSTOMER_NEXT)
    fence_acquire()
    return best if is_last_try or acquire_at(counts, CUSTOMER_VERSION) == before else np.int64(RETRY_READ)


@inner
def add_alias(ctx, row, low, high):  # type: ignore[no-untyped-def]
    """Let another id lead to a session: a client's session id (string id, 0) or a merged session's id (low, high).

    A session keeps the latest ALIAS_COUNT_MAX of them. When one id leads to two sessions, the later one wins.
    """
    cells = row_cells(ctx, row)
    known = False
    for i in range(ALIAS_COUNT_MAX):
        known = known or (word_at(cells, ALIASES + 2 * i) == low and word_at(cells, ALIASES + 2 * i + 1) == high)
    if not known:
        at = ALIASES + 2 * word_at(cells, ALIAS_NEXT)
        if word_at(cells, at) != 0:
            index_remove(ctx, _alias_index_key(word_at(cells, at), word_at(cells, at + 1)), row)
            add_count(ctx, ALIASES_LOST, 1)
        put_word(cells, at, low)
        put_word(cells, at + 1, high)
        put_word(cells, ALIAS_NEXT, (word_at(cells, ALIAS_NEXT) + 1) % ALIAS_COUNT_MAX)
    key = _alias_index_key(low, high)
    other = index_find(ctx, key)
    if other == NONE or cell(ctx, other, START) <= word_at(cells, START):
        index_put(ctx, key, row)


@inner
def _alias_index_key(low, high):  # type: ignore[no-untyped-def]
    return alias_key(low) if high == 0 else low


@inner
def unlink(ctx, slot, row):  # type: ignore[no-untyped-def]
    """Take a session out of its visitor's chain."""
    older = cell(ctx, row, OLDER)
    newer = cell(ctx, row, NEWER)
    if newer == NONE:
        set_visitor_word(ctx, slot, V_HEAD, older)
    else:
        put_cell(ctx, newer, OLDER, older)
    if older != NONE:
        put_cell(ctx, older, NEWER, newer)


@inner
def free_row(ctx, row):  # type: ignore[no-untyped-def]
    """Free a row that is in no visitor's chain any more, with everything that leads to it."""
    begin_write(ctx, row)
    cells = row_cells(ctx, row)
    index_remove(ctx, word_at(cells, SESSION_LO), row)
    for i in range(ALIAS_COUNT_MAX):
        at = ALIASES + 2 * i
        if word_at(cells, at) != 0:
            index_remove(ctx, _alias_index_key(word_at(cells, at), word_at(cells, at + 1)), row)
    if word_at(cells, CUSTOMER_TIME) != 0:
        _leave_customer(ctx, row, word_at(cells, CUSTOMER))
    if word_at(cells, WRITTEN) != NONE:
        block = written_block(ctx, word_at(cells, WRITTEN))
        for word in range(WRITTEN_WORDS):
            put_word(block, word, 0)
        put_word(span_in(ctx, WRITTEN_STACK), count_of(ctx, WRITTEN_FREE), word_at(cells, WRITTEN))
        add_count(ctx, WRITTEN_FREE, 1)
    give_back_annexes(ctx, cells)
    removed = span_in(ctx, REMOVED)
    place = word_at(removed, 0)
    put_word(removed, 0, place + 1)
    if 2 * place + 2 < removed[1]:
        put_word(removed, 2 * place + 1, word_at(cells, SESSION_LO))
        put_word(removed, 2 * place + 2, word_at(cells, SESSION_HI))
    set_state(ctx, row, FREE)
    put_word(cells, VISITOR, 0)
    put_word(span_in(ctx, DUE), row, NEVER_MS)
    put_word(span_in(ctx, FREE_STACK), count_of(ctx, FREE_ROWS), row)
    add_count(ctx, FREE_ROWS, 1)
    end_write(ctx, row)
