"""Derived attributes and scores: what is computed from a session's row when something that it reads has changed."""

from __future__ import annotations

import math

import numpy as np

from rte_server.engine.annexes import cell_span
from rte_server.engine.attributes import as_number, is_storable
from rte_server.engine.context import (
    CODES,
    DERIVED,
    DERIVED_LOADS,
    DERIVED_ORDER,
    INPUT_BITS,
    INPUT_STAMPS,
    INPUT_TAGS,
    PASSING,
    PLANS,
    PROGRESS,
    STACK_BITS,
    STACK_TAGS,
    TEXTS,
    WEIGHT_INPUTS,
    WEIGHTS,
    span_in,
)
from rte_server.engine.derived_cells import derived_value, put_derived
from rte_server.engine.expressions import evaluate_spans
from rte_server.engine.kernel import inner
from rte_server.engine.native import bits_float, float_bits, put_word, word_at
from rte_server.engine.online import predict_online
from rte_server.engine.online_state import CELL_VALUE
from rte_server.engine.program import (
    D_AT,
    D_CODE,
    D_CODE_END,
    D_INTERCEPT,
    D_LINK,
    D_LOADS,
    D_LOADS_END,
    D_MARKS,
    D_READS,
    D_WORDS,
    L_AT,
    L_PLACE,
    L_PLACE_BITS,
    L_WAY,
    L_WORD_MASK,
    L_WORDS,
    LEARNED,
    LOGISTIC,
    MARK_TIME,
    NOT_LINEAR,
    OF_DERIVED,
    OF_WORD,
    P_DERIVED,
    P_DERIVED_END,
    P_MARKS,
    PASS_AT,
    PASS_LOAD,
    PASS_MARKS,
    PASS_WAIT,
    PASS_WORDS,
    PLAN_WORDS,
)
from rte_server.engine.row_values import load_input, session_time
from rte_server.engine.rows import ROUND
from rte_server.engine.table import STALE
from rte_server.engine.values import DOUBLE, ERROR, INT, NULL


@inner
def derive_changed(ctx, cells, name, marks, now_ms):  # type: ignore[no-untyped-def]
    """Compute the derived attributes whose inputs have changed, and what follows from those; all if the row is stale.

    Args:
        ctx: Span of the context.
        cells: Span of the row.
        name: Row of the event's name in `plans`; 0 where time alone has passed.
        marks: What the event has changed, see `program.MARKS_MAX`.
        now_ms: Received time of the entry.
    """
    plans = span_in(ctx, PLANS)
    first = name * PLAN_WORDS
    if word_at(cells, STALE) & 1 != 0:
        first = plans[1] - PLAN_WORDS
        marks = word_at(plans, first + P_MARKS)
    time_ms = session_time(cells, now_ms)
    marks |= MARK_TIME | _notice_time(ctx, cells, time_ms)
    progress = span_in(ctx, PROGRESS)
    put_word(progress, ROUND, word_at(progress, ROUND) + 1)
    derived = span_in(ctx, DERIVED)
    order = span_in(ctx, DERIVED_ORDER)
    for i in range(word_at(plans, first + P_DERIVED), word_at(plans, first + P_DERIVED_END)):
        d = (derived[0] + word_at(order, i) * D_WORDS * 8, np.int64(D_WORDS))
        if word_at(d, D_READS) & marks != 0:
            _load(ctx, cells, d, time_ms)
            if _derive(ctx, cells, d):
                marks |= word_at(d, D_MARKS)


@inner
def _notice_time(ctx, cells, time_ms):  # type: ignore[no-untyped-def]
    """Return the marks of inputs that change at certain times and may have. From now on the row is not stale.

    Such an input is mostly one that shows nothing: no value, false, or no events in its window. If it shows nothing and
    did so before, it has not changed. So one bit of STALE for each is enough to know.
    """
    passing = span_in(ctx, PASSING)
    before = word_at(cells, STALE)
    shown = np.int64(0)
    marks = np.int64(0)
    bit = np.int64(2)
    for p in range(0, passing[1], PASS_WORDS):
        at = word_at(passing, p + PASS_AT)
        since = word_at(cell_span(ctx, cells, at), at)
        if since != 0 and since + word_at(passing, p + PASS_WAIT) <= time_ms:
            tag, value = load_input(ctx, cells, word_at(passing, p + PASS_LOAD), time_ms)
            if tag != NULL and (tag == DOUBLE or value != 0):
                shown |= bit
        if (shown | before) & bit != 0:
            marks |= word_at(passing, p + PASS_MARKS)
        bit <<= 1
    put_word(cells, STALE, shown)
    return marks


@inner
def _load(ctx, cells, d, time_ms):  # type: ignore[no-untyped-def]
    """Load the inputs of a derived attribute, but those that only events change once for all that read them."""
    tags = span_in(ctx, INPUT_TAGS)
    bits = span_in(ctx, INPUT_BITS)
    stamps = span_in(ctx, INPUT_STAMPS)
    present = word_at(span_in(ctx, PROGRESS), ROUND)
    loads = span_in(ctx, DERIVED_LOADS)
    for i in range(word_at(d, D_LOADS) * L_WORDS, word_at(d, D_LOADS_END) * L_WORDS, L_WORDS):
        place = word_at(loads, i + L_PLACE)
        way = word_at(loads, i + L_WAY)
        at = word_at(loads, i + L_AT)
        if way == OF_WORD:
            put_word(tags, place, INT)
            put_word(bits, place, word_at(cell_span(ctx, cells, at), at))
        elif way == OF_DERIVED:
            tag, value = derived_value(cells, at & L_WORD_MASK, at >> L_PLACE_BITS)
            put_word(tags, place, tag)
            put_word(bits, place, value)
        elif word_at(stamps, place) != present:
            tag, value = load_input(ctx, cells, at, time_ms)
            put_word(tags, place, tag)
            put_word(bits, place, value)
            put_word(stamps, place, present)


@inner(forceinline=True)
def _derive(ctx, cells, d):  # type: ignore[no-untyped-def]
    """Compute one derived attribute or score from its inputs, and keep it in the row. Returns whether it has changed."""
    at = word_at(d, D_AT)
    tags = span_in(ctx, INPUT_TAGS)
    bits = span_in(ctx, INPUT_BITS)
    if word_at(d, D_LINK) == LEARNED:
        _, value = predict_online(ctx, tags, bits, word_at(d, D_INTERCEPT))
        put_word(cells, at + CELL_VALUE, value)
        # Whether it is shown may have changed, too.
        return True
    if word_at(d, D_LINK) != NOT_LINEAR:
        value = float_bits(_score(ctx, tags, bits, d))
        has_changed = word_at(cells, at) != value
        put_word(cells, at, value)
        return has_changed
    tag, value = evaluate_spans(
        ctx,
        span_in(ctx, CODES),
        word_at(d, D_CODE),
        word_at(d, D_CODE_END),
        span_in(ctx, TEXTS),
        tags,
        bits,
        span_in(ctx, STACK_TAGS),
        span_in(ctx, STACK_BITS),
    )
    if not is_storable(tag, value):
        tag = np.int64(ERROR)
        value = np.int64(0)
    return put_derived(cells, at, word_at(d, D_INTERCEPT), tag, value)


@inner(forceinline=True)
def _score(ctx, tags, bits, d):  # type: ignore[no-untyped-def]
    """Return a linear score: the intercept plus the weighted inputs, through the link function."""
    weights = span_in(ctx, WEIGHTS)
    inputs = span_in(ctx, WEIGHT_INPUTS)
    total = bits_float(word_at(d, D_INTERCEPT))
    for i in range(word_at(d, D_CODE), word_at(d, D_CODE_END)):
        place = word_at(inputs, i)
        number = as_number(word_at(tags, place), word_at(bits, place))
        if math.isnan(number):
            number = bits_float(word_at(weights, 2 * i + 1))
        total += bits_float(word_at(weights, 2 * i)) * number
    if word_at(d, D_LINK) == LOGISTIC:
        total = 1.0 / (1.0 + math.exp(-total))
    return total
