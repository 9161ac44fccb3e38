"""The fold: how entries change the state. One writer; compiled, without the GIL, no I/O, no clock."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from rte_server.engine.attributes import (
    COUNT,
    DISTINCT,
    ELAPSED,
    FIRST,
    LAST as KIND_LAST,
    LINEAR,
    RECENT,
    TAG_BITS,
    add_distinct,
    as_number,
    is_storable,
    keep_first,
    keep_last,
    keep_recent,
    load_cell,
    update_elapsed,
    update_number,
    value_hash,
)
from rte_server.engine.expressions import STACK_DEPTH_MAX, Op, evaluate
from rte_server.engine.native import bits_float, float_bits, prefetch, span_of, span_string_id
from rte_server.engine.program import (
    A_AT,
    A_KIND,
    A_REGISTERS,
    A_ROLE,
    D_ATTRIBUTE,
    D_CODE,
    D_CODE_END,
    D_INTERCEPT,
    D_LINK,
    D_LOADS,
    D_LOADS_END,
    FROM_CODE,
    OP_AT,
    OP_CODE,
    OP_CODE_END,
    OP_KEEP,
    OP_KIND,
    OP_REGISTERS,
    OP_ROLE,
    OP_SOURCE,
    OP_UNIQUE,
    OP_WHERE,
    OP_WHERE_END,
    S_DEDUP_HORIZON,
)
from rte_server.engine.event_slots import read_properties
from rte_server.engine.row_values import load_input
from rte_server.engine.sessions import (
    LATE_EVENT,
    add_alias,
    begin_entry,
    begin_write,
    end_write,
    find_or_add_visitor,
    make_room,
    mark_touched,
    place_event,
    schedule,
    set_customer,
)
from rte_server.engine.strings import intern
from rte_server.engine.table import (
    CHANNEL_TIME,
    EVENTS,
    EVENTS_APPLIED,
    EVENTS_DUPLICATE,
    EVENTS_LATE,
    FREE_ROWS,
    HIGH_WATER,
    LAST,
    LATE,
    NONE,
    RECEIVED,
    START,
    STRINGS_LOST,
    V_HEAD,
    V_KEY_HI,
    V_KEY_LO,
    V_NEWEST,
    V_RECEIVED,
    VALUES_INVALID,
    VISITOR,
    first_sight,
    forget_before,
)
from rte_server.engine.values import BOOL, ERROR, STRING
from rte_server.engine.wire_layout import (
    ALIAS_LEN,
    ALIAS_OFF,
    CHANNEL_LEN,
    CHANNEL_OFF,
    CUSTOMER_LEN,
    CUSTOMER_OFF,
    EVENT_ID_HASH,
    KEY_HI,
    KEY_LO,
    NAME_ID,
    ORDER,
    PROPERTIES_LEN,
    PROPERTIES_OFF,
    TIME_MS,
    VERDICT,
    VISITOR_LEN,
    VISITOR_OFF,
)

OP_LOAD = int(Op.LOAD)
OP_HAS = int(Op.HAS)

# What became of an event.
APPLIED = 0
REJECTED = 1
DUPLICATE = 2
TOO_LATE = 3

TOUCHED_MAX = 131_072
"""Rows that one entry can report as touched: more than the largest batch has events, and the limit of one TICK."""

PREFETCH_AHEAD = 12
"""Events between asking for a visitor's memory and using it; half of it for the session's row (make bench)."""


class Scratch(NamedTuple):
    """Working memory of one thread.

    Attributes:
        slot_tags: int64[slots], the inputs of expressions: type, value, and for strings where their bytes are.
        slot_bits: int64[slots].
        slot_offsets: int64[slots].
        slot_lengths: int64[slots].
        input_tags: int64[inputs], the inputs of expressions on rows.
        input_bits: int64[inputs].
        stack_tags: int64[STACK_DEPTH_MAX].
        stack_bits: int64[STACK_DEPTH_MAX].
        touched: int64[TOUCHED_MAX], rows that the entry changed.
        removed: int64[1 + 2 * n], number of sessions that the entry removed, then their ids as far as there is room.
        seed: int64[2], for new session ids.
        progress: int64[2], number of touched rows, position of the entry.
    """

    slot_tags: NDArray[np.int64]
    slot_bits: NDArray[np.int64]
    slot_offsets: NDArray[np.int64]
    slot_lengths: NDArray[np.int64]
    input_tags: NDArray[np.int64]
    input_bits: NDArray[np.int64]
    stack_tags: NDArray[np.int64]
    stack_bits: NDArray[np.int64]
    touched: NDArray[np.int64]
    removed: NDArray[np.int64]
    seed: NDArray[np.int64]
    progress: NDArray[np.int64]


def new_scratch(slots: int, inputs: int, touched_max: int = TOUCHED_MAX) -> Scratch:
    """Return working memory for programs with up to `slots` property slots and `inputs` inputs of one expression."""
    return Scratch(
        *(np.zeros(max(1, slots), np.int64) for _ in range(4)),
        *(np.zeros(max(1, inputs), np.int64) for _ in range(2)),
        *(np.zeros(STACK_DEPTH_MAX + 1, np.int64) for _ in range(2)),
        np.zeros(touched_max, np.int64),
        np.zeros(1 + 2 * touched_max, np.int64),
        np.zeros(2, np.int64),
        np.zeros(2, np.int64),
    )


@njit(cache=True, nogil=True)
def fold_events(table, pool, program, scratch, settings, secret, buf, records, received_ms, position, outcomes):  # type: ignore[no-untyped-def]
    """Fold the events of one entry.

    Args:
        buf: uint8[:], the request's bytes.
        records: int64[n, RECORD_WORDS], what the scan found in them.
        received_ms: Received time of the entry.
        position: Its position.
        outcomes: uint8[n], receives what became of each event.
    """
    span = span_of(buf)
    texts = span_of(program.texts)
    counts = table.counts
    begin_entry(table, scratch, received_ms, position)
    forget_before(table, received_ms - settings[S_DEDUP_HORIZON])
    count = records.shape[0]
    for i in range(count):
        ask_for_memory(table, records, i + PREFETCH_AHEAD, i + PREFETCH_AHEAD // 2)
        record = records[i]
        if record[VERDICT] != 0:
            outcomes[i] = REJECTED
            continue
        if record[EVENT_ID_HASH] != 0 and not first_sight(table, record[EVENT_ID_HASH], received_ms):
            outcomes[i] = DUPLICATE
            counts[EVENTS_DUPLICATE] += 1
            continue
        if counts[FREE_ROWS] == 0 and counts[HIGH_WATER] == table.rows.shape[0]:
            make_room(table, scratch, max(1, table.rows.shape[0] >> 6))
        time_ms = record[TIME_MS]
        slot = find_or_add_visitor(table, settings, record[KEY_LO], record[KEY_HI], time_ms)
        row = place_event(table, pool, program.attributes, scratch, settings, slot, time_ms, received_ms, secret)
        visitor = table.visitors[slot]
        visitor[V_RECEIVED] = received_ms
        if row == LATE_EVENT:
            outcomes[i] = TOO_LATE
            counts[EVENTS_LATE] += 1
            row = visitor[V_HEAD]
            if row != NONE:
                begin_write(table.rows, row)
                table.rows[row, LATE] += 1
                mark_touched(table, scratch, row)
                end_write(table.rows, row)
            continue
        visitor[V_NEWEST] = max(visitor[V_NEWEST], time_ms)
        outcomes[i] = APPLIED
        counts[EVENTS_APPLIED] += 1
        begin_write(table.rows, row)
        apply_event(table, pool, program, scratch, secret, span, buf, texts, record, row, received_ms)
        schedule(table, row, settings, received_ms)
        mark_touched(table, scratch, row)
        end_write(table.rows, row)


@njit(cache=True, nogil=True)
def ask_for_memory(table, records, far, near):  # type: ignore[no-untyped-def]
    """Prefetch what later events of the batch will need: the fold waits for memory more than it computes."""
    if far < records.shape[0]:
        mask = table.visitors.shape[0] - 1
        prefetch(table.visitors, (records[far, KEY_LO] & mask) * table.visitors.shape[1])
        prefetch(table.dedup_set, records[far, EVENT_ID_HASH] & (table.dedup_set.shape[0] - 1))
    if near < records.shape[0]:
        mask = table.visitors.shape[0] - 1
        slot = records[near, KEY_LO] & mask
        if table.visitors[slot, V_KEY_LO] == records[near, KEY_LO] and table.visitors[slot, V_KEY_HI] == records[near, KEY_HI]:
            row = table.visitors[slot, V_HEAD]
            if row >= 0:
                words = table.rows.shape[1]
                prefetch(table.due, row)
                prefetch(table.touched, row)
                for word in range(0, words, 8):
                    prefetch(table.rows, row * words + word)


@njit(cache=True, nogil=True)
def apply_event(table, pool, program, scratch, secret, span, buf, texts, record, row, received_ms):  # type: ignore[no-untyped-def]
    """Lift one event into its session's row."""
    cells = table.rows[row]
    time_ms = record[TIME_MS]
    order = record[ORDER]
    cells[START] = min(cells[START], time_ms)
    cells[LAST] = max(cells[LAST], time_ms)
    cells[EVENTS] += 1
    cells[RECEIVED] = received_ms
    if cells[VISITOR] == 0:
        cells[VISITOR] = store_text(table, pool, secret, span, buf, record[VISITOR_OFF], record[VISITOR_LEN])
    if record[CUSTOMER_LEN] > 0:
        text = store_text(table, pool, secret, span, buf, record[CUSTOMER_OFF], record[CUSTOMER_LEN])
        set_customer(table, row, time_ms << TAG_BITS, order, text)
    if record[ALIAS_LEN] > 0:
        text = store_text(table, pool, secret, span, buf, record[ALIAS_OFF], record[ALIAS_LEN])
        add_alias(table, row, text, 0)
    if record[CHANNEL_LEN] > 0:
        text = store_text(table, pool, secret, span, buf, record[CHANNEL_OFF], record[CHANNEL_LEN])
        keep_last(cells, CHANNEL_TIME, time_ms << TAG_BITS, order, text)
    read_properties(span, record[PROPERTIES_OFF], record[PROPERTIES_LEN], program, texts, scratch)
    name_row = find_name(program.names, record[NAME_ID])
    for i in range(program.ranges[name_row, 0], program.ranges[name_row, 1]):
        run_op(table, pool, program, scratch, secret, span, buf, cells, program.ops[i], time_ms, order)
    for i in range(program.derived.shape[0]):
        derive(pool, program, scratch, cells, program.derived[i])


@njit(cache=True, nogil=True)
def find_name(names, name_id):  # type: ignore[no-untyped-def]
    """Return the row of an event name in `ranges`; 0 for a name that no model lists."""
    mask = (names.shape[0] >> 1) - 1
    slot = name_id & mask
    while names[2 * slot] != 0:
        if names[2 * slot] == name_id:
            return names[2 * slot + 1]
        slot = (slot + 1) & mask
    return np.int64(0)


@njit(cache=True, nogil=True)
def store_text(table, pool, secret, span, buf, off, length):  # type: ignore[no-untyped-def]
    """Return the id of a text of the request, which is in the pool from now on (or counted as lost)."""
    text = span_string_id(span, off, length, secret[2], secret[3])
    if not intern(pool, text, buf, off, length):
        table.counts[STRINGS_LOST] += 1
    return text


@njit(cache=True, nogil=True)
def read_slot(scratch, secret, span, slot):  # type: ignore[no-untyped-def]
    """Return the value of a property slot; a string's id is computed when it is first asked for."""
    if scratch.slot_tags[slot] == STRING and scratch.slot_bits[slot] == 0:
        scratch.slot_bits[slot] = span_string_id(
            span, scratch.slot_offsets[slot], scratch.slot_lengths[slot], secret[2], secret[3]
        )
    return scratch.slot_tags[slot], scratch.slot_bits[slot]


@njit(cache=True, nogil=True)
def keep_text(table, pool, scratch, buf, bits):  # type: ignore[no-untyped-def]
    """Put the text with the id `bits`, which a slot of this event holds, into the pool."""
    for slot in range(scratch.slot_tags.shape[0]):
        if scratch.slot_tags[slot] == STRING and scratch.slot_bits[slot] == bits:
            if not intern(pool, bits, buf, scratch.slot_offsets[slot], scratch.slot_lengths[slot]):
                table.counts[STRINGS_LOST] += 1
            return


@njit(cache=True, nogil=True)
def run_code(table, pool, program, scratch, secret, span, buf, start, end):  # type: ignore[no-untyped-def]
    """Return the value of an expression on the event. The texts that it reads are in the pool before it runs."""
    for i in range(start, end):
        slot = program.codes[i, 1]
        if (program.codes[i, 0] == OP_LOAD or program.codes[i, 0] == OP_HAS) and scratch.slot_tags[slot] == STRING:
            bits = read_slot(scratch, secret, span, slot)[1]
            if not intern(pool, bits, buf, scratch.slot_offsets[slot], scratch.slot_lengths[slot]):
                table.counts[STRINGS_LOST] += 1
    return evaluate(
        program.codes,
        start,
        end,
        program.texts,
        scratch.slot_tags,
        scratch.slot_bits,
        pool,
        scratch.stack_tags,
        scratch.stack_bits,
    )


@njit(cache=True, nogil=True)
def run_op(table, pool, program, scratch, secret, span, buf, cells, op, time_ms, order):  # type: ignore[no-untyped-def]
    """Lift one event into one cell."""
    if op[OP_WHERE] < op[OP_WHERE_END]:
        tag, bits = run_code(table, pool, program, scratch, secret, span, buf, op[OP_WHERE], op[OP_WHERE_END])
        if tag != BOOL or bits != 1:
            return
    kind = op[OP_KIND]
    at = op[OP_AT]
    if kind == COUNT:
        cells[at] += 1
        return
    if kind == ELAPSED:
        update_elapsed(cells, at, op[OP_ROLE], time_ms)
        return
    if op[OP_SOURCE] == FROM_CODE:
        tag, bits = run_code(table, pool, program, scratch, secret, span, buf, op[OP_CODE], op[OP_CODE_END])
    else:
        tag, bits = read_slot(scratch, secret, span, op[OP_SOURCE])
    if not is_storable(tag):
        return
    kept = False
    stamp = (time_ms << TAG_BITS) | tag
    if kind == DISTINCT:
        add_distinct(cells, at, op[OP_KEEP], op[OP_REGISTERS], value_hash(tag, bits))
    elif kind == FIRST:
        kept = keep_first(cells, at, stamp, order, bits)
    elif kind == KIND_LAST:
        kept = keep_last(cells, at, stamp, order, bits)
    elif kind == RECENT:
        kept = keep_recent(cells, at, op[OP_KEEP], op[OP_UNIQUE] != 0, stamp, order, bits)
    elif tag == STRING or not update_number(cells, kind, at, as_number(tag, bits)):
        table.counts[VALUES_INVALID] += 1
    if kept and tag == STRING:
        keep_text(table, pool, scratch, buf, bits)


@njit(cache=True, nogil=True)
def derive(pool, program, scratch, cells, d):  # type: ignore[no-untyped-def]
    """Compute one derived attribute or linear score from the row, and keep it in the row."""
    attribute = program.attributes[d[D_ATTRIBUTE]]
    at = attribute[A_AT]
    if attribute[A_KIND] == LINEAR:
        total = bits_float(d[D_INTERCEPT])
        for i in range(d[D_CODE], d[D_CODE_END]):
            tag, bits = load_input(program.attributes, cells, program.weight_loads[i])
            number = as_number(tag, bits)
            if math.isnan(number):
                number = program.weights[i, 1]
            total += program.weights[i, 0] * number
        cells[at] = float_bits(1.0 / (1.0 + math.exp(-total)) if d[D_LINK] == 1 else total)
        return
    first = d[D_LOADS]
    for i in range(first, d[D_LOADS_END]):
        tag, bits = load_input(program.attributes, cells, program.loads[i])
        scratch.input_tags[i - first] = tag
        scratch.input_bits[i - first] = bits
    tag, bits = evaluate(
        program.codes,
        d[D_CODE],
        d[D_CODE_END],
        program.texts,
        scratch.input_tags,
        scratch.input_bits,
        pool,
        scratch.stack_tags,
        scratch.stack_bits,
    )
    cells[at] = tag if is_storable(tag) else ERROR
    cells[at + 1] = bits if is_storable(tag) else 0
