"""Sessionizing: which session an event belongs to, and how sessions begin, merge, close and leave.

The sessions of a visitor are disjoint windows of event time, more than a gap apart, chained newest first. An event joins
the window that it falls in or within a gap of; when it falls between two, they become one and the older one's id goes
on. Boundaries that the gap does not give: an ended session (`ENDED`) takes no later event, the session after it
(`FLOOR`) no earlier one, and no event joins a session that would become longer than the maximum length.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from rte_server.engine.attributes import TAG_BITS, TAG_MASK, keep_last, merge_cell
from rte_server.engine.native import fence_release, siphash24_128, store_release
from rte_server.engine.program import (
    A_AT,
    A_KEEP,
    A_KIND,
    A_REGISTERS,
    A_ROLE,
    A_UNIQUE,
    S_CLOSED_MAX,
    S_CLOSED_RETENTION,
    S_GAP,
    S_LATENESS,
    S_LENGTH_MAX,
)
from rte_server.engine.table import (
    ACTIVE,
    ACTIVE_ROWS,
    ALIAS_COUNT_MAX,
    ALIAS_NEXT,
    ALIASES,
    ALIASES_LOST,
    CHANGED,
    CHANNEL_TIME,
    CLOCK,
    CLOSED,
    CLOSED_ROWS,
    CUSTOMER,
    CUSTOMER_NEXT,
    CUSTOMER_PREVIOUS,
    CUSTOMER_TIME,
    ENDED,
    EVENTS,
    FLOOR,
    FREE,
    FREE_ROWS,
    HIGH_WATER,
    KEY_HI,
    KEY_LO,
    LAST,
    LATE,
    NEVER_MS,
    NONE,
    OLDER,
    RECEIVED,
    SESSION_HI,
    SESSION_LO,
    SESSIONS_CLOSED,
    SESSIONS_EVICTED_ACTIVE,
    SESSIONS_EVICTED_CLOSED,
    SESSIONS_LEFT,
    SESSIONS_MERGED,
    SESSIONS_STARTED,
    START,
    STATE,
    V_HEAD,
    V_KEY_HI,
    V_KEY_LO,
    V_LEFT,
    V_LEFT_UNTIL,
    V_NEWEST,
    V_RECEIVED,
    V_USED,
    VERSION,
    VISIT,
    VISITOR,
    VISITOR_CURSOR,
    VISITORS,
    WRITTEN,
    WRITTEN_FREE,
    WRITTEN_HIGH_WATER,
    WRITTEN_ITEM_WORDS,
    WRITTEN_WORDS,
    alias_key,
    customer_key,
    index_find,
    index_put,
    index_remove,
    remove_visitor,
    visitor_slot,
)
from rte_server.engine.values import NULL

SWEEP_SLOTS = 65_536
"""Visitor slots that one TICK looks through for visitors to forget."""

LATE_EVENT = -2
"""Returned instead of a row for an event that is too late."""


@njit(cache=True, nogil=True)
def begin_write(rows, row):  # type: ignore[no-untyped-def]
    """Make the row's version odd: readers wait."""
    flat = rows.reshape(-1)
    store_release(flat, row * rows.shape[1] + VERSION, rows[row, VERSION] | 1)
    fence_release()


@njit(cache=True, nogil=True)
def end_write(rows, row):  # type: ignore[no-untyped-def]
    """Make the row's version even and new: readers go on."""
    flat = rows.reshape(-1)
    store_release(flat, row * rows.shape[1] + VERSION, (rows[row, VERSION] | 1) + 1)


@njit(cache=True, nogil=True)
def mark_touched(table, scratch, row):  # type: ignore[no-untyped-def]
    """Report that the present entry changed a session."""
    position = scratch.progress[1]
    table.rows[row, CHANGED] = position
    if table.touched[row] != position and scratch.progress[0] < scratch.touched.shape[0]:
        table.touched[row] = position
        scratch.touched[scratch.progress[0]] = row
        scratch.progress[0] += 1


@njit(cache=True, nogil=True)
def set_state(table, row, state):  # type: ignore[no-untyped-def]
    """Set whether a session is FREE, ACTIVE or CLOSED, and keep the counts."""
    before = table.rows[row, STATE]
    if before == state:
        return
    counts = table.counts
    if before == ACTIVE:
        counts[ACTIVE_ROWS] -= 1
    elif before == CLOSED:
        counts[CLOSED_ROWS] -= 1
    if state == ACTIVE:
        counts[ACTIVE_ROWS] += 1
    elif state == CLOSED:
        counts[CLOSED_ROWS] += 1
        counts[SESSIONS_CLOSED] += 1
    table.rows[row, STATE] = state


@njit(cache=True, nogil=True)
def schedule(table, row, settings, received_ms):  # type: ignore[no-untyped-def]
    """Set a session's state and the time at which something is due for it.

    Active until a gap after its last event by the clock of received times, so that recorded events of long ago make
    closed sessions; closed ones stay for the retention time after the last entry that touched them.
    """
    cells = table.rows[row]
    closes_ms = cells[LAST] + settings[S_GAP] + 1
    if cells[ENDED] == 0 and closes_ms > received_ms:
        set_state(table, row, ACTIVE)
        table.due[row] = closes_ms
    else:
        set_state(table, row, CLOSED)
        table.due[row] = received_ms + settings[S_CLOSED_RETENTION]


@njit(cache=True, nogil=True)
def find_or_add_visitor(table, settings, key_lo, key_hi, time_ms):  # type: ignore[no-untyped-def]
    """Return the slot of a visitor; a new one's newest event time is `time_ms`."""
    slot = visitor_slot(table, key_lo, key_hi)
    if slot >= 0:
        return slot
    visitors = table.visitors
    if table.counts[VISITORS] * 4 >= visitors.shape[0] * 3:
        sweep_visitors(table, 0, visitors.shape[0], NEVER_MS)
        slot = visitor_slot(table, key_lo, key_hi)
    slot = -1 - slot
    visitors[slot, V_KEY_LO] = key_lo
    visitors[slot, V_KEY_HI] = key_hi
    visitors[slot, V_HEAD] = NONE
    visitors[slot, V_NEWEST] = time_ms
    visitors[slot, V_LEFT] = 0
    visitors[slot, V_LEFT_UNTIL] = 0
    visitors[slot, V_USED] = 1
    table.counts[VISITORS] += 1
    return slot


@njit(cache=True, nogil=True)
def sweep_visitors(table, start, count, before_ms):  # type: ignore[no-untyped-def]
    """Forget visitors without sessions, last heard of before `before_ms`, among `count` slots from `start`."""
    visitors = table.visitors
    mask = visitors.shape[0] - 1
    slot = start
    for _ in range(count):
        while (
            visitors[slot, V_USED] != 0 and visitors[slot, V_HEAD] == NONE and visitors[slot, V_RECEIVED] < before_ms
        ):
            remove_visitor(table, slot)
        slot = (slot + 1) & mask


@njit(cache=True, nogil=True)
def _fits(cells, time_ms, settings):  # type: ignore[no-untyped-def]
    """Return whether an event at `time_ms` may join the session."""
    gap = settings[S_GAP]
    after = np.int64(0) if cells[ENDED] != 0 else gap
    if time_ms < cells[START] - gap or time_ms > cells[LAST] + after or time_ms < cells[FLOOR]:
        return False
    length_max = settings[S_LENGTH_MAX]
    return length_max == 0 or max(cells[LAST], time_ms) - min(cells[START], time_ms) <= length_max


@njit(cache=True, nogil=True)
def place_event(table, pool, attributes, scratch, settings, slot, time_ms, received_ms, secret):  # type: ignore[no-untyped-def]
    """Return the row of the session that an event belongs to, made or merged as needed; or LATE_EVENT.

    Args:
        slot: Slot of the visitor.
        time_ms: Event time.
        received_ms: Received time of the entry.
        secret: uint64[4], for new session ids.
    """
    visitors = table.visitors
    rows = table.rows
    if time_ms < visitors[slot, V_NEWEST] - settings[S_LATENESS] or time_ms <= visitors[slot, V_LEFT_UNTIL]:
        return np.int64(LATE_EVENT)
    newer = np.int64(NONE)
    found = np.int64(NONE)
    row = visitors[slot, V_HEAD]
    while row != NONE:
        cells = rows[row]
        if _fits(cells, time_ms, settings):
            if found == NONE:
                found = row
            else:
                length = rows[found, LAST] - cells[START]
                if settings[S_LENGTH_MAX] == 0 or length <= settings[S_LENGTH_MAX]:
                    merge_sessions(table, pool, attributes, scratch, settings, slot, row, found)
                return row
        elif time_ms > cells[LAST]:
            break
        if found == NONE:
            newer = row
        row = cells[OLDER]
    if found != NONE:
        return found
    return start_session(table, scratch, slot, newer, time_ms, received_ms, secret)


@njit(cache=True, nogil=True)
def start_session(table, scratch, slot, newer, time_ms, received_ms, secret):  # type: ignore[no-untyped-def]
    """Start a session at `time_ms`, right before the session `newer` in time (NONE: as the newest). Returns its row."""
    rows = table.rows
    counts = table.counts
    visitors = table.visitors
    if counts[FREE_ROWS] > 0:
        counts[FREE_ROWS] -= 1
        row = table.free_rows[counts[FREE_ROWS]]
    else:
        row = counts[HIGH_WATER]
        counts[HIGH_WATER] += 1
    older = visitors[slot, V_HEAD] if newer == NONE else rows[newer, OLDER]
    begin_write(rows, row)
    cells = rows[row]
    cells[1:] = 0
    cells[KEY_LO] = visitors[slot, V_KEY_LO]
    cells[KEY_HI] = visitors[slot, V_KEY_HI]
    seed = scratch.seed
    seed[0] = counts[SESSIONS_STARTED]
    seed[1] = received_ms
    low, high = siphash24_128(seed.view(np.uint8), 0, 16, secret[0] ^ secret[2], secret[1] ^ secret[3])
    cells[SESSION_LO] = np.int64(low) | np.int64(1)
    cells[SESSION_HI] = np.int64(high) | np.int64(1)
    cells[START] = time_ms
    cells[LAST] = time_ms
    cells[OLDER] = older
    cells[CUSTOMER_NEXT] = NONE
    cells[CUSTOMER_PREVIOUS] = NONE
    cells[WRITTEN] = NONE
    cells[VISIT] = visitors[slot, V_LEFT] + 1
    if older != NONE:
        cells[VISIT] = rows[older, VISIT] + 1
        if rows[older, ENDED] != 0:
            cells[FLOOR] = rows[older, LAST] + 1
    if newer == NONE:
        visitors[slot, V_HEAD] = row
    else:
        rows[newer, OLDER] = row
        renumber(table, scratch, slot, row, 1)
    index_put(table, cells[SESSION_LO], row)
    counts[SESSIONS_STARTED] += 1
    end_write(rows, row)
    return row


@njit(cache=True, nogil=True)
def renumber(table, scratch, slot, until, by):  # type: ignore[no-untyped-def]
    """Add `by` to the visit numbers of the visitor's sessions that are newer than the row `until`."""
    row = table.visitors[slot, V_HEAD]
    while row != until and row != NONE:
        begin_write(table.rows, row)
        table.rows[row, VISIT] += by
        mark_touched(table, scratch, row)
        end_write(table.rows, row)
        row = table.rows[row, OLDER]


@njit(cache=True, nogil=True)
def merge_sessions(table, pool, attributes, scratch, settings, slot, older, newer):  # type: ignore[no-untyped-def]
    """Merge the session `newer` into the one right before it in time. Its id goes on to lead to the merged one."""
    rows = table.rows
    begin_write(rows, older)
    into = rows[older]
    other = rows[newer]
    for a in range(attributes.shape[0]):
        merge_cell(
            into,
            other,
            attributes[a, A_KIND],
            attributes[a, A_AT],
            attributes[a, A_KEEP],
            attributes[a, A_UNIQUE] != 0,
            attributes[a, A_REGISTERS],
            attributes[a, A_ROLE],
        )
    into[START] = min(into[START], other[START])
    into[LAST] = max(into[LAST], other[LAST])
    into[EVENTS] += other[EVENTS]
    into[LATE] += other[LATE]
    into[ENDED] = other[ENDED]
    if other[CHANNEL_TIME] != 0:
        keep_last(into, CHANNEL_TIME, other[CHANNEL_TIME], other[CHANNEL_TIME + 1], other[CHANNEL_TIME + 2])
    if other[CUSTOMER_TIME] != 0:
        set_customer(table, older, other[CUSTOMER_TIME], other[CUSTOMER_TIME + 1], other[CUSTOMER])
    _merge_written(table, older, newer)
    session_lo = other[SESSION_LO]
    session_hi = other[SESSION_HI]
    aliases = other[ALIASES:ALIAS_NEXT].copy()
    renumber(table, scratch, slot, newer, -1)
    unlink(table, slot, newer)
    free_row(table, scratch, newer)
    for i in range(ALIAS_COUNT_MAX):
        if aliases[2 * i] != 0:
            add_alias(table, older, aliases[2 * i], aliases[2 * i + 1])
    add_alias(table, older, session_lo, session_hi)
    table.counts[SESSIONS_MERGED] += 1
    end_write(rows, older)


@njit(cache=True, nogil=True)
def _merge_written(table, older, newer):  # type: ignore[no-untyped-def]
    """Merge the attributes that applications wrote; the later write of a name wins. What finds no room is dropped."""
    rows = table.rows
    source = rows[newer, WRITTEN]
    if source == NONE:
        return
    if rows[older, WRITTEN] == NONE:
        rows[older, WRITTEN] = source
        rows[newer, WRITTEN] = NONE
        return
    block = table.written[source]
    for at in range(0, WRITTEN_WORDS, WRITTEN_ITEM_WORDS):
        if block[at] != 0:
            write_item(table.written[rows[older, WRITTEN]], block[at], block[at + 1], block[at + 2], block[at + 3])


@njit(cache=True, nogil=True)
def write_item(block, name_id, time, position, bits):  # type: ignore[no-untyped-def]
    """Write an attribute into a block of written attributes, unless it holds a later write of it.

    Returns False if the block is full.
    """
    free = -1
    for at in range(0, WRITTEN_WORDS, WRITTEN_ITEM_WORDS):
        if block[at] == name_id:
            keep_last(block, at + 1, time, position, bits)
            return True
        # A removed attribute is kept as NULL, so that an older write cannot bring it back; its room can be used.
        if free < 0 and (block[at] == 0 or block[at + 1] & TAG_MASK == NULL):
            free = at
    if free < 0:
        return False
    block[free] = name_id
    block[free + 1] = time
    block[free + 2] = position
    block[free + 3] = bits
    return True


@njit(cache=True, nogil=True)
def set_customer(table, row, time, order, customer):  # type: ignore[no-untyped-def]
    """Let a session belong to a customer, if the event that says so is the latest that does."""
    cells = table.rows[row]
    before = cells[CUSTOMER] if cells[CUSTOMER_TIME] != 0 else np.int64(0)
    if not keep_last(cells, CUSTOMER_TIME, time, order, customer) or before == customer:
        return
    if before != 0:
        _leave_customer(table, row, before)
    key = customer_key(customer)
    head = index_find(table.index, key)
    cells[CUSTOMER_PREVIOUS] = NONE
    cells[CUSTOMER_NEXT] = head
    if head != NONE:
        table.rows[head, CUSTOMER_PREVIOUS] = row
    index_put(table, key, row)


@njit(cache=True, nogil=True)
def _leave_customer(table, row, customer):  # type: ignore[no-untyped-def]
    """Take a session out of the chain of its customer's sessions."""
    rows = table.rows
    following = rows[row, CUSTOMER_NEXT]
    previous = rows[row, CUSTOMER_PREVIOUS]
    if following != NONE:
        rows[following, CUSTOMER_PREVIOUS] = previous
    if previous != NONE:
        rows[previous, CUSTOMER_NEXT] = following
    elif following != NONE:
        index_put(table, customer_key(customer), following)
    else:
        index_remove(table, customer_key(customer), row)
    rows[row, CUSTOMER_NEXT] = NONE
    rows[row, CUSTOMER_PREVIOUS] = NONE


@njit(cache=True, nogil=True)
def add_alias(table, row, low, high):  # type: ignore[no-untyped-def]
    """Let another id lead to a session: a client's session id (string id, 0) or a merged session's id (low, high).

    A session keeps the latest ALIAS_COUNT_MAX of them. When one id leads to two sessions, the later one wins.
    """
    rows = table.rows
    cells = rows[row]
    for i in range(ALIAS_COUNT_MAX):
        if cells[ALIASES + 2 * i] == low and cells[ALIASES + 2 * i + 1] == high:
            return
    at = ALIASES + 2 * cells[ALIAS_NEXT]
    if cells[at] != 0:
        index_remove(table, _alias_index_key(cells[at], cells[at + 1]), row)
        table.counts[ALIASES_LOST] += 1
    cells[at] = low
    cells[at + 1] = high
    cells[ALIAS_NEXT] = (cells[ALIAS_NEXT] + 1) % ALIAS_COUNT_MAX
    key = _alias_index_key(low, high)
    other = index_find(table.index, key)
    if other == NONE or rows[other, START] <= cells[START]:
        index_put(table, key, row)


@njit(cache=True, nogil=True)
def _alias_index_key(low, high):  # type: ignore[no-untyped-def]
    return alias_key(low) if high == 0 else low


@njit(cache=True, nogil=True)
def unlink(table, slot, row):  # type: ignore[no-untyped-def]
    """Take a session out of its visitor's chain."""
    rows = table.rows
    older = rows[row, OLDER]
    if table.visitors[slot, V_HEAD] == row:
        table.visitors[slot, V_HEAD] = older
        return
    newer = table.visitors[slot, V_HEAD]
    while rows[newer, OLDER] != row:
        newer = rows[newer, OLDER]
    rows[newer, OLDER] = older


@njit(cache=True, nogil=True)
def free_row(table, scratch, row):  # type: ignore[no-untyped-def]
    """Free a row that is in no visitor's chain any more, with everything that leads to it."""
    rows = table.rows
    counts = table.counts
    begin_write(rows, row)
    cells = rows[row]
    index_remove(table, cells[SESSION_LO], row)
    for i in range(ALIAS_COUNT_MAX):
        at = ALIASES + 2 * i
        if cells[at] != 0:
            index_remove(table, _alias_index_key(cells[at], cells[at + 1]), row)
    if cells[CUSTOMER_TIME] != 0:
        _leave_customer(table, row, cells[CUSTOMER])
    if cells[WRITTEN] != NONE:
        table.written[cells[WRITTEN]] = 0
        table.written_free[counts[WRITTEN_FREE]] = cells[WRITTEN]
        counts[WRITTEN_FREE] += 1
    removed = scratch.removed
    place = removed[0]
    removed[0] += 1
    if 2 * place + 2 < removed.shape[0]:
        removed[2 * place + 1] = cells[SESSION_LO]
        removed[2 * place + 2] = cells[SESSION_HI]
    set_state(table, row, FREE)
    cells[VISITOR] = 0
    table.due[row] = NEVER_MS
    table.free_rows[counts[FREE_ROWS]] = row
    counts[FREE_ROWS] += 1
    end_write(rows, row)


@njit(cache=True, nogil=True)
def leave(table, scratch, row):  # type: ignore[no-untyped-def]
    """Let a session leave: its visitor remembers only that there was one, and until when."""
    cells = table.rows[row]
    slot = visitor_slot(table, cells[KEY_LO], cells[KEY_HI])
    visitors = table.visitors
    visitors[slot, V_LEFT] = max(visitors[slot, V_LEFT], cells[VISIT])
    visitors[slot, V_LEFT_UNTIL] = max(visitors[slot, V_LEFT_UNTIL], cells[LAST])
    unlink(table, slot, row)
    free_row(table, scratch, row)


@njit(cache=True, nogil=True)
def make_room(table, scratch, rows_wanted):  # type: ignore[no-untyped-def]
    """Let sessions leave before their time until `rows_wanted` rows are free.

    Closed ones first, by the time at which they would have left; then active ones, the least recently active first.
    """
    counts = table.counts
    capacity = table.rows.shape[0]
    for state in (CLOSED, ACTIVE):
        missing = rows_wanted - (counts[FREE_ROWS] + capacity - counts[HIGH_WATER])
        if missing > 0:
            evicted = evict_earliest(table, scratch, state, missing)
            if state == CLOSED:
                counts[SESSIONS_EVICTED_CLOSED] += evicted
            else:
                counts[SESSIONS_EVICTED_ACTIVE] += evicted


@njit(cache=True, nogil=True)
def evict_earliest(table, scratch, state, wanted):  # type: ignore[no-untyped-def]
    """Let up to `wanted` sessions in `state` leave, those with the earliest due time first. Returns how many left."""
    high_water = table.counts[HIGH_WATER]
    total = 0
    for row in range(high_water):
        total += table.rows[row, STATE] == state
    if total == 0:
        return 0
    dues = np.empty(total, np.int64)
    place = 0
    for row in range(high_water):
        if table.rows[row, STATE] == state:
            dues[place] = table.due[row]
            place += 1
    wanted = min(wanted, total)
    limit = np.partition(dues, wanted - 1)[wanted - 1]
    evicted = 0
    # Strictly earlier ones first, so that the choice among equal ones is the only one that depends on the row number.
    for row in range(high_water):
        if table.rows[row, STATE] == state and table.due[row] < limit:
            leave(table, scratch, row)
            evicted += 1
    for row in range(high_water):
        if evicted == wanted:
            break
        if table.rows[row, STATE] == state and table.due[row] == limit:
            leave(table, scratch, row)
            evicted += 1
    return evicted


@njit(cache=True, nogil=True)
def expire(table, scratch, settings, clock_ms, position, rows_max):  # type: ignore[no-untyped-def]
    """Move the clock: close the sessions whose gap has passed and let those leave whose retention has.

    At most `rows_max` of them, so that the work per entry is bounded by count; the next entry goes on.
    """
    begin_entry(table, scratch, clock_ms, position)
    handled = 0
    for row in range(table.counts[HIGH_WATER]):
        if table.due[row] > clock_ms:
            continue
        if table.rows[row, STATE] == FREE or handled == rows_max:
            continue
        handled += 1
        if table.rows[row, STATE] == CLOSED:
            leave(table, scratch, row)
            table.counts[SESSIONS_LEFT] += 1
            continue
        begin_write(table.rows, row)
        table.rows[row, RECEIVED] = clock_ms
        schedule(table, row, settings, clock_ms)
        mark_touched(table, scratch, row)
        end_write(table.rows, row)
    surplus = table.counts[CLOSED_ROWS] - settings[S_CLOSED_MAX]
    if surplus > 0:
        table.counts[SESSIONS_EVICTED_CLOSED] += evict_earliest(table, scratch, CLOSED, surplus)
    slots = table.visitors.shape[0]
    start = table.counts[VISITOR_CURSOR] & (slots - 1)
    sweep_visitors(table, start, min(slots, SWEEP_SLOTS), clock_ms - settings[S_LATENESS])
    table.counts[VISITOR_CURSOR] = start + SWEEP_SLOTS


@njit(cache=True, nogil=True)
def due_rows(table, clock_ms):  # type: ignore[no-untyped-def]
    """Count the rows for which something is due at `clock_ms`; for readers beside the writer."""
    count = 0
    for row in range(table.counts[HIGH_WATER]):
        count += table.due[row] <= clock_ms
    return count


@njit(cache=True, nogil=True)
def begin_entry(table, scratch, received_ms, position):  # type: ignore[no-untyped-def]
    """Begin to fold an entry: nothing is touched or removed by it yet."""
    table.counts[CLOCK] = max(table.counts[CLOCK], received_ms)
    scratch.progress[0] = 0
    scratch.progress[1] = position
    scratch.removed[0] = 0


@njit(cache=True, nogil=True)
def end_session(table, scratch, settings, row, received_ms):  # type: ignore[no-untyped-def]
    """End a session; one that was ended before stays as it is."""
    if table.rows[row, ENDED] != 0:
        return
    begin_write(table.rows, row)
    table.rows[row, ENDED] = received_ms
    table.rows[row, RECEIVED] = received_ms
    schedule(table, row, settings, received_ms)
    mark_touched(table, scratch, row)
    end_write(table.rows, row)


@njit(cache=True, nogil=True)
def take_written_block(table):  # type: ignore[no-untyped-def]
    """Return a free block for written attributes, or NONE if there is none."""
    counts = table.counts
    if counts[WRITTEN_FREE] > 0:
        counts[WRITTEN_FREE] -= 1
        return table.written_free[counts[WRITTEN_FREE]]
    if counts[WRITTEN_HIGH_WATER] == table.written.shape[0]:
        return np.int64(NONE)
    counts[WRITTEN_HIGH_WATER] += 1
    return counts[WRITTEN_HIGH_WATER] - 1


@njit(cache=True, nogil=True)
def write_attributes(table, scratch, row, block, names, tags, bits, received_ms):  # type: ignore[no-untyped-def]
    """Replace the written attributes of a session: those of `block`, changed by the given ones, if all find room.

    Args:
        block: int64[WRITTEN_WORDS], scratch.
        names: int64[n], string ids.
        tags: int64[n], NULL removes.
        bits: int64[n].

    Returns:
        0 if it is done, 1 if the session would have too many, 2 if too many sessions have some.
    """
    place = table.rows[row, WRITTEN]
    block[:] = 0
    if place != NONE:
        block[:] = table.written[place]
    for i in range(names.shape[0]):
        if not write_item(block, names[i], (received_ms << TAG_BITS) | tags[i], scratch.progress[1], bits[i]):
            return 1
    if place == NONE:
        place = take_written_block(table)
        if place == NONE:
            return 2
    begin_write(table.rows, row)
    table.written[place] = block
    table.rows[row, WRITTEN] = place
    mark_touched(table, scratch, row)
    end_write(table.rows, row)
    return 0
