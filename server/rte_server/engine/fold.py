"""The fold: how entries change the state. One writer; compiled, without the GIL, no I/O, no clock."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rte_server.engine.annexes import own_cell_span
from rte_server.engine.attributes import (
    COUNT,
    DISTINCT,
    ELAPSED,
    FIRST,
    RECENT,
    SUM_EVENTS_MAX,
    TAG_BITS,
    add_distinct,
    as_number,
    has_sums,
    is_storable,
    keep_first,
    keep_last,
    keep_recent,
    update_elapsed,
    update_number,
    value_hash,
    without_sign_of_zero,
)
from rte_server.engine.attributes import LAST as KIND_LAST
from rte_server.engine.batch import (
    F_IS_FIRST,
    F_NEXT,
    F_WORDS,
    PREFETCH_AHEAD,
    TOO_LATE,
    WINDOW_EVENTS,
    ask_for_annexes,
    ask_for_memory,
    chain_events,
    find_name,
    first_look,
    new_window,
    record_at,
)
from rte_server.engine.context import (
    DUE,
    EACH,
    FOLLOWING,
    GROUPS,
    LANES,
    ONLINE_MODELS,
    OPS,
    PLANS,
    PROGRESS,
    SLOT_BITS,
    SLOT_LENGTHS,
    SLOT_OFFSETS,
    SLOT_TAGS,
    TOUCHED,
    TRIGGERS,
    USES,
    count_of,
    put_request,
    row_cells,
    span_in,
)
from rte_server.engine.dedup import forget_before
from rte_server.engine.derived import derive_changed, derive_lanes
from rte_server.engine.elements import ELEMENTS_MAX, find_list, next_element, read_element
from rte_server.engine.event_code import run_code
from rte_server.engine.event_slots import keep_text, read_properties, text_id_of
from rte_server.engine.expiry import make_room
from rte_server.engine.expressions import STACK_DEPTH_MAX
from rte_server.engine.kernel import inner, kernel
from rte_server.engine.kinds import FIRST_OF_KINDS, lift
from rte_server.engine.lanes import ALONE, LANE_ROW, LANE_WORDS, WAITING, WIDTH, put_lane
from rte_server.engine.native import put_word, span_of, word_at
from rte_server.engine.online import learn_label
from rte_server.engine.program import (
    EACH_ITSELF,
    EACH_KEY,
    EACH_KEY_LEN,
    EACH_OPS,
    EACH_OPS_END,
    EACH_SLOT,
    EACH_WORDS,
    FROM_CODE,
    G_OPS,
    G_OPS_END,
    G_SLOT,
    G_UNLESS,
    GROUP_WORDS,
    NO_SOURCE,
    OP_AT,
    OP_CODE,
    OP_CODE_END,
    OP_KEEP,
    OP_KIND,
    OP_MARKS,
    OP_ONLY,
    OP_REGISTERS,
    OP_ROLE,
    OP_SOURCE,
    OP_UNIQUE,
    OP_WHERE,
    OP_WHERE_END,
    OP_WORDS,
    P_EACH,
    P_EACH_END,
    P_GROUPS,
    P_GROUPS_END,
    P_MARKS,
    P_OPS,
    P_OPS_END,
    PLAN_WORDS,
    S_DEDUP_HORIZON,
)
from rte_server.engine.rows import (
    TOUCHED_COUNT,
    add_alias,
    begin_entry,
    begin_write,
    cell,
    end_write,
    hasten,
    mark_touched,
    put_cell,
    schedule,
    set_customer,
    setting,
)
from rte_server.engine.sessions import LATE_EVENT, NO_ROOM, find_or_add_visitor, goes_on, place_event
from rte_server.engine.table import (
    CHANNEL,
    CHANNEL_TIME,
    CLOCK,
    CUSTOMER,
    ELEMENTS_CUT,
    EVENTS,
    EVENTS_APPLIED,
    EVENTS_LATE,
    FREE,
    HIGH_WATER,
    LAG,
    LAST,
    LATE,
    NONE,
    RECEIVED,
    STALE,
    START,
    STATE,
    V_HEAD,
    V_NEWEST,
    V_RECEIVED,
    VALUES_CUT,
    VALUES_INVALID,
    VISITOR,
    WRITTEN_WORDS,
    add_count,
    set_visitor_word,
    visitor_word,
)
from rte_server.engine.triggers import may_fire, new_fired, run_triggers, settle_quiet
from rte_server.engine.url_parts import URL_STATE_WORDS, WORKSPACE_BYTES, forget_url
from rte_server.engine.values import BOOL, COMPOUND, ERROR, NULL, STRING
from rte_server.engine.verdicts import new_verdicts
from rte_server.engine.wire_layout import (
    ALIAS_LEN,
    ALIAS_OFF,
    CHANNEL_LEN,
    CHANNEL_OFF,
    CUSTOMER_LEN,
    CUSTOMER_OFF,
    KEY_HI,
    KEY_LO,
    NAME_ID,
    ORDER,
    PROPERTIES_LEN,
    PROPERTIES_OFF,
    RECORD_WORDS,
    TIME_MS,
    VISITOR_OFF,
)

TOUCHED_MAX = 131_072
"""Rows that one entry can report as touched: more than the largest batch has events, and the limit of one TICK."""


class Scratch(NamedTuple):
    """Working memory of one thread.

    Attributes:
        slot_tags: int64[slots], the inputs of expressions: type, value, and for strings where their bytes are.
        slot_bits: int64[slots].
        slot_offsets: int64[slots].
        slot_lengths: int64[slots].
        input_tags: int64[inputs * WIDTH], the inputs of expressions on rows, by input and lane.
        input_bits: int64[inputs * WIDTH].
        input_stamps: int64[inputs * WIDTH], when each was loaded last, see `derived`.
        stack_tags: int64[STACK_DEPTH_MAX * WIDTH], by place on the stack and lane.
        stack_bits: int64[STACK_DEPTH_MAX * WIDTH].
        lanes: int64[LANE_WORDS], see `lanes`.
        touched: int64[TOUCHED_MAX], rows that the entry changed.
        removed: int64[1 + 2 * n], number of sessions that the entry removed, then their ids as far as there is room.
        seed: int64[4], for new session ids.
        progress: int64[3], number of touched rows, position of the entry, how often rows were computed.
        block: int64[WRITTEN_WORDS], a block of written attributes that is being changed.
        url_state: int64[URL_STATE_WORDS], the last address that was split, see `url_parts`.
        workspace: uint8[WORKSPACE_BYTES], a text that is being made.
        fired: int64[1 + n], triggers that the entry fired, see `triggers.new_fired`.
        verdicts: int64[VERDICTS_MAX], what automatons said of strings, see `verdicts`.
        following: int64[F_WORDS * WINDOW_EVENTS], see `batch.new_window`, as for the next one.
        latest: int64[2 * WINDOW_EVENTS].
    """

    slot_tags: NDArray[np.int64]
    slot_bits: NDArray[np.int64]
    slot_offsets: NDArray[np.int64]
    slot_lengths: NDArray[np.int64]
    input_tags: NDArray[np.int64]
    input_bits: NDArray[np.int64]
    input_stamps: NDArray[np.int64]
    stack_tags: NDArray[np.int64]
    stack_bits: NDArray[np.int64]
    lanes: NDArray[np.int64]
    touched: NDArray[np.int64]
    removed: NDArray[np.int64]
    seed: NDArray[np.int64]
    progress: NDArray[np.int64]
    block: NDArray[np.int64]
    url_state: NDArray[np.int64]
    workspace: NDArray[np.uint8]
    fired: NDArray[np.int64]
    verdicts: NDArray[np.int64]
    following: NDArray[np.int64]
    latest: NDArray[np.int64]


def new_scratch(slots: int, inputs: int) -> Scratch:
    """Return working memory for programs with up to `slots` property slots and `inputs` inputs of one expression."""
    width = int(WIDTH)
    sizes = [max(1, slots)] * 4 + [max(1, inputs) * width] * 3 + [STACK_DEPTH_MAX * width] * 2
    sizes += [int(LANE_WORDS), TOUCHED_MAX, 1 + 2 * TOUCHED_MAX, 4, 3, int(WRITTEN_WORDS), URL_STATE_WORDS]
    words: list[NDArray[Any]] = [np.zeros(size, np.int64) for size in sizes]
    return Scratch._make([*words, np.zeros(WORKSPACE_BYTES, np.uint8), new_fired(), new_verdicts(), *new_window()])


@kernel
def fold_events(context, buf, records, received_ms, position, outcomes):  # type: ignore[no-untyped-def]
    """Fold the events of one entry.

    Args:
        context: int64[CONTEXT_WORDS], the state, the program and the writer's working memory.
        buf: uint8[:], the request's bytes.
        records: int64[n, RECORD_WORDS], what the scan found in them.
        received_ms: Received time of the entry.
        position: Its position.
        outcomes: uint8[n], receives what became of each event.
    """
    ctx = span_of(context)
    span = span_of(buf)
    spans = span_of(records)
    begin_entry(ctx, received_ms, position)
    put_request(ctx, span)
    forget_url(ctx)
    forget_before(ctx, received_ms - setting(ctx, S_DEDUP_HORIZON))
    for start in range(0, records.shape[0], WINDOW_EVENTS):
        end = min(start + WINDOW_EVENTS, records.shape[0])
        for i in range(start, end):
            outcomes[i] = first_look(ctx, spans, i, received_ms)
        chain_events(ctx, spans, start, end, outcomes)
        following = span_in(ctx, FOLLOWING)
        for i in range(start, end):
            ask_for_memory(ctx, spans, (i + PREFETCH_AHEAD) * RECORD_WORDS, (i + PREFETCH_AHEAD // 3) * RECORD_WORDS)
            ask_for_annexes(ctx, spans, (i + PREFETCH_AHEAD // 8) * RECORD_WORDS)
            if word_at(following, F_WORDS * (i - start) + F_IS_FIRST) != 0:
                fold_visitor(ctx, span, spans, start, i, received_ms, outcomes)
        settle(ctx, received_ms)
    refresh_stale(ctx, received_ms)


@inner
def fold_visitor(ctx, span, records, start, first, received_ms, outcomes):  # type: ignore[no-untyped-def]
    """Fold the events that a visitor has in a window.

    Args:
        ctx: Span of the context.
        span: Span of the request's bytes.
        records: Span of the events' records.
        start: The first event of the window.
        first: The first event of the visitor in it.
        received_ms: Received time of the entry.
        outcomes: uint8[n], receives what became of each event.
    """
    record = record_at(records, first)
    slot = find_or_add_visitor(ctx, word_at(record, KEY_LO), word_at(record, KEY_HI), word_at(record, TIME_MS))
    set_visitor_word(ctx, slot, V_RECEIVED, received_ms)
    row = np.int64(NONE)
    is_new = False
    marks = np.int64(0)
    i = np.int64(first)
    while True:
        record = record_at(records, i)
        following = word_at(span_in(ctx, FOLLOWING), F_WORDS * (i - start) + F_NEXT)
        time_ms = word_at(record, TIME_MS)
        if row == NONE or not goes_on(ctx, slot, row, time_ms):
            if row != NONE:
                finish(ctx, row, is_new, marks, received_ms)
                # Another session of the visitor may be merged with this one, or make it stale.
                settle(ctx, received_ms)
            row, is_new, marks = place_or_count(ctx, slot, time_ms, received_ms), False, np.int64(0)
        if row == NONE:
            outcomes[i] = TOO_LATE
        else:
            set_visitor_word(ctx, slot, V_NEWEST, max(time_ms, visitor_word(ctx, slot, V_NEWEST)))
            add_count(ctx, EVENTS_APPLIED, 1)
            marks |= apply_event(ctx, span, record, row, find_name(ctx, word_at(record, NAME_ID)), received_ms)
            is_new = True
            cells = row_cells(ctx, row)
            if following != 0 and may_fire(ctx, cells, marks, received_ms):
                derive_changed(ctx, cells, marks, received_ms)
                run_triggers(ctx, cells, received_ms)
                is_new, marks = False, np.int64(0)
        if following == 0:
            break
        i = following
    if row != NONE:
        finish(ctx, row, is_new, marks, received_ms)
    if span_in(ctx, ONLINE_MODELS)[1] > 0:
        # What a model learns from an event depends on all events before it, and so does what it says.
        settle(ctx, received_ms)


@inner(forceinline=True)
def place_or_count(ctx, slot, time_ms, received_ms):  # type: ignore[no-untyped-def]
    """Return the row of an event's session, which is being written from now on; NONE if the event is late, which is counted."""
    row = place_event(ctx, slot, time_ms, received_ms)
    if row == NO_ROOM:
        settle(ctx, received_ms)
        make_room(ctx, max(1, span_in(ctx, DUE)[1] >> 6))
        # Once more from the start: sessions of this visitor may have left.
        row = place_event(ctx, slot, time_ms, received_ms)
    if row != LATE_EVENT:
        begin_write(ctx, row)
        return row
    add_count(ctx, EVENTS_LATE, 1)
    row = visitor_word(ctx, slot, V_HEAD)
    if row != NONE:
        begin_write(ctx, row)
        put_cell(ctx, row, LATE, cell(ctx, row, LATE) + 1)
        put_cell(ctx, row, STALE, 1)
        mark_touched(ctx, row)
        end_write(ctx, row)
    return np.int64(NONE)


@inner(forceinline=True)
def finish(ctx, row, is_new, marks, received_ms):  # type: ignore[no-untyped-def]
    """Let readers see a row into which events were lifted, once what follows from them has been computed.

    Args:
        ctx: Span of the context.
        row: The row, which is being written.
        is_new: Whether anything was lifted since the row was computed.
        marks: What that changed.
        received_ms: Received time of the entry.
    """
    if not is_new:
        show(ctx, row, received_ms)
        return
    lanes = span_in(ctx, LANES)
    lane = word_at(lanes, WAITING)
    put_lane(ctx, lane, row, row_cells(ctx, row), marks)
    put_word(lanes, WAITING, lane + 1)
    if lane + 1 == ALONE:
        settle(ctx, received_ms)


@inner(forceinline=False)
def settle(ctx, received_ms):  # type: ignore[no-untyped-def]
    """Compute the rows that wait for it, fire what is to fire then, and let readers see them."""
    lanes = span_in(ctx, LANES)
    count = word_at(lanes, WAITING)
    if count == 0:
        return
    put_word(lanes, WAITING, 0)
    derive_lanes(ctx, np.int64(0), count, received_ms)
    for lane in range(count):
        row = word_at(lanes, LANE_ROW + lane)
        run_triggers(ctx, row_cells(ctx, row), received_ms)
        show(ctx, row, received_ms)


@inner
def show(ctx, row, received_ms):  # type: ignore[no-untyped-def]
    """Let readers see a row whose derived attributes are up to date."""
    schedule(ctx, row, received_ms)
    mark_touched(ctx, row)
    end_write(ctx, row)


@inner
def refresh_stale(ctx, received_ms):  # type: ignore[no-untyped-def]
    """Compute what depends on the visit number, for the sessions that got another one though no event of theirs came."""
    touched = span_in(ctx, TOUCHED)
    for i in range(word_at(span_in(ctx, PROGRESS), TOUCHED_COUNT)):
        row = word_at(touched, i)
        if cell(ctx, row, STALE) & 1 != 0 and cell(ctx, row, STATE) != FREE:
            begin_write(ctx, row)
            derive_changed(ctx, row_cells(ctx, row), np.int64(0), received_ms)
            end_write(ctx, row)


@kernel
def refresh_rows(context):  # type: ignore[no-untyped-def]
    """Compute the derived attributes of all stale sessions, whose rows no reader can see yet, and what is due for them."""
    ctx = span_of(context)
    for row in range(count_of(ctx, HIGH_WATER)):
        if cell(ctx, row, STATE) != FREE and cell(ctx, row, STALE) & 1 != 0:
            derive_changed(ctx, row_cells(ctx, row), np.int64(0), count_of(ctx, CLOCK))
            hasten(ctx, row, count_of(ctx, CLOCK))


@inner(forceinline=True)
def apply_event(ctx, span, record, row, name, received_ms):  # type: ignore[no-untyped-def]
    """Lift one event into its session's row. Returns the marks of what has changed.

    Args:
        name: Row of the event's name in `plans`.
    """
    cells = row_cells(ctx, row)
    time_ms = word_at(record, TIME_MS)
    order = word_at(record, ORDER)
    if span_in(ctx, TRIGGERS)[1] > 0:
        settle_quiet(ctx, cells, received_ms)
    if span_in(ctx, ONLINE_MODELS)[1] > 0:
        learn_label(ctx, cells, word_at(record, NAME_ID), received_ms)
    put_word(cells, START, min(word_at(cells, START), time_ms))
    put_word(cells, LAST, max(word_at(cells, LAST), time_ms))
    put_word(cells, EVENTS, word_at(cells, EVENTS) + 1)
    if not has_sums(cells, SUM_EVENTS_MAX // ELEMENTS_MAX):
        put_word(cells, STALE, word_at(cells, STALE) | 1)
    put_word(cells, RECEIVED, received_ms)
    put_word(cells, LAG, min(word_at(cells, LAG), received_ms - time_ms))
    if word_at(cells, VISITOR) == 0:
        put_word(cells, VISITOR, store_text(ctx, span, record, np.int64(VISITOR_OFF)))
    if word_at(record, CUSTOMER_LEN) > 0:
        customer = word_at(cells, CUSTOMER)
        set_customer(ctx, row, time_ms << TAG_BITS, order, store_text(ctx, span, record, np.int64(CUSTOMER_OFF)))
        if word_at(cells, CUSTOMER) != customer:
            put_word(cells, STALE, word_at(cells, STALE) | 1)
    if word_at(record, ALIAS_LEN) > 0:
        add_alias(ctx, row, store_text(ctx, span, record, np.int64(ALIAS_OFF)), 0)
    if word_at(record, CHANNEL_LEN) > 0:
        channel = word_at(cells, CHANNEL)
        keep_last(cells, CHANNEL_TIME, time_ms << TAG_BITS, order, store_text(ctx, span, record, np.int64(CHANNEL_OFF)))
        if word_at(cells, CHANNEL) != channel:
            put_word(cells, STALE, word_at(cells, STALE) | 1)
    plans = span_in(ctx, PLANS)
    plan = (plans[0] + name * PLAN_WORDS * 8, np.int64(PLAN_WORDS))
    slots = span_in(ctx, SLOT_TAGS)[1]
    uses = (span_in(ctx, USES)[0] + name * slots * 8, slots)
    read_properties(ctx, span, word_at(record, PROPERTIES_OFF), word_at(record, PROPERTIES_LEN), uses)
    marks = word_at(plan, P_MARKS)
    marks |= run_ops(ctx, span, cells, word_at(plan, P_OPS), word_at(plan, P_OPS_END), time_ms, order)
    groups = span_in(ctx, GROUPS)
    tags = span_in(ctx, SLOT_TAGS)
    for g in range(word_at(plan, P_GROUPS) * GROUP_WORDS, word_at(plan, P_GROUPS_END) * GROUP_WORDS, GROUP_WORDS):
        slot, unless = word_at(groups, g + G_SLOT), word_at(groups, g + G_UNLESS)
        if (slot < 0 or word_at(tags, slot) != ERROR) and (unless < 0 or word_at(tags, unless) != COMPOUND):
            first, end = word_at(groups, g + G_OPS), word_at(groups, g + G_OPS_END)
            marks |= run_ops(ctx, span, cells, first, end, time_ms, order)
    if word_at(plan, P_EACH) != word_at(plan, P_EACH_END):
        marks |= fold_elements(ctx, span, record, cells, plan, uses)
    return marks


@inner(forceinline=False)
def fold_elements(ctx, span, record, cells, plan, uses):  # type: ignore[no-untyped-def]
    """Lift the elements of an event's lists into its session's row, each as an event of its own.

    Returns:
        Marks of what has changed.
    """
    marks = np.int64(0)
    time_ms = word_at(record, TIME_MS)
    order = word_at(record, ORDER)
    properties, length = word_at(record, PROPERTIES_OFF), word_at(record, PROPERTIES_LEN)
    for i in range(word_at(plan, P_EACH), word_at(plan, P_EACH_END)):
        each = (span_in(ctx, EACH)[0] + i * EACH_WORDS * 8, np.int64(EACH_WORDS))
        slot = word_at(each, EACH_SLOT)
        if slot >= 0 and word_at(span_in(ctx, SLOT_TAGS), slot) != COMPOUND:
            continue
        first, end = word_at(each, EACH_OPS), word_at(each, EACH_OPS_END)
        key, key_length = word_at(each, EACH_KEY), word_at(each, EACH_KEY_LEN)
        at, list_end = find_list(ctx, span, properties, length, key, key_length)
        count = np.int64(0)
        while at >= 0:
            element, at = next_element(span, at, list_end)
            if element < 0:
                break
            if count < ELEMENTS_MAX:
                read_element(ctx, span, element, at, uses, word_at(each, EACH_ITSELF))
                marks |= run_ops(ctx, span, cells, first, end, time_ms, order | count)
            count += 1
        if count > ELEMENTS_MAX:
            add_count(ctx, ELEMENTS_CUT, count - ELEMENTS_MAX)
    return marks


@inner(forceinline=False)
def run_ops(ctx, span, cells, first, end, time_ms, order):  # type: ignore[no-untyped-def]
    """Lift one event into some cells. Returns marks of what has changed."""
    ops = span_in(ctx, OPS)
    marks = np.int64(0)
    known = np.int64(-1)
    is_true = False
    for i in range(first, end):
        op = (ops[0] + i * OP_WORDS * 8, np.int64(OP_WORDS))
        where = word_at(op, OP_WHERE)
        if where != word_at(op, OP_WHERE_END):
            # Attributes next to each other often have the same condition.
            if where != known:
                tag, bits = run_code(ctx, where, word_at(op, OP_WHERE_END))
                known = where
                is_true = tag == BOOL and bits == 1
            if not is_true:
                continue
        if word_at(op, OP_KIND) == COUNT:
            at = word_at(op, OP_AT)
            own = own_cell_span(ctx, cells, at)
            put_word(own, at, word_at(own, at) + 1)
            marks |= word_at(op, OP_MARKS)
        elif run_op(ctx, span, cells, op, time_ms, order):
            marks |= word_at(op, OP_MARKS)
    return marks


@inner
def store_text(ctx, span, record, column):  # type: ignore[no-untyped-def]
    """Return the id of a text that the record points to by offset and length; it is in the pool from now on."""
    off = word_at(record, column)
    length = word_at(record, column + 1)
    text = text_id_of(ctx, span, off, length)
    keep_text(ctx, text, span, off, length)
    return text


@inner(forceinline=True)
def run_op(ctx, span, cells, op, time_ms, order):  # type: ignore[no-untyped-def]
    """Lift one event, for which its condition holds, into one cell. Returns whether what it shows may have changed."""
    kind = word_at(op, OP_KIND)
    at = word_at(op, OP_AT)
    if kind == ELAPSED:
        update_elapsed(own_cell_span(ctx, cells, at), at, word_at(op, OP_ROLE), time_ms)
        return True
    source = word_at(op, OP_SOURCE)
    tag = np.int64(NULL)
    bits = np.int64(0)
    if source == FROM_CODE:
        tag, bits = run_code(ctx, word_at(op, OP_CODE), word_at(op, OP_CODE_END))
    elif source != NO_SOURCE:
        tag = word_at(span_in(ctx, SLOT_TAGS), source)
        bits = word_at(span_in(ctx, SLOT_BITS), source)
        if word_at(op, OP_ONLY) != 0 and tag != word_at(op, OP_ONLY):
            return False
    if source != NO_SOURCE and not is_storable(tag, bits):
        return False
    bits = without_sign_of_zero(tag, bits)
    cells = own_cell_span(ctx, cells, at)
    stamp = (time_ms << TAG_BITS) | tag
    kept = False
    has_changed = True
    if kind == DISTINCT:
        before = word_at(cells, at)
        add_distinct(cells, at, word_at(op, OP_KEEP), word_at(op, OP_REGISTERS), value_hash(tag, bits))
        if before >= 0 and word_at(cells, at) < 0:
            add_count(ctx, VALUES_CUT, 1)
        has_changed = before < 0 or word_at(cells, at) != before
    elif kind == FIRST:
        kept = keep_first(cells, at, stamp, order, bits)
        has_changed = kept
    elif kind == KIND_LAST:
        kept = keep_last(cells, at, stamp, order, bits)
        has_changed = kept
    elif kind >= FIRST_OF_KINDS:
        kept = lift(ctx, cells, op, tag, bits, time_ms, order)
    elif kind == RECENT:
        kept = keep_recent(cells, at, word_at(op, OP_KEEP), word_at(op, OP_UNIQUE) != 0, stamp, order, bits)
    elif tag == STRING or not update_number(cells, kind, at, as_number(tag, bits)):
        add_count(ctx, VALUES_INVALID, 1)
    # The text of an expression's result is in the pool already.
    if kept and tag == STRING and source != FROM_CODE:
        off = word_at(span_in(ctx, SLOT_OFFSETS), source)
        keep_text(ctx, bits, span, off, word_at(span_in(ctx, SLOT_LENGTHS), source))
    return has_changed
