"""Derived attributes and scores: what is computed from a session's row after each event."""

from __future__ import annotations

import math

import numpy as np

from rte_server.engine.attributes import COUNT, as_number, is_storable
from rte_server.engine.context import (
    ATTRIBUTES,
    CODES,
    DERIVED,
    DERIVED_ORDER,
    INPUT_BITS,
    INPUT_TAGS,
    LOAD_ORDER,
    LOADS,
    PLANS,
    STACK_BITS,
    STACK_TAGS,
    TEXTS,
    WEIGHT_INPUTS,
    WEIGHTS,
    span_in,
)
from rte_server.engine.expressions import evaluate_spans
from rte_server.engine.kernel import inner
from rte_server.engine.native import bits_float, float_bits, put_word, word_at
from rte_server.engine.online import predict_online
from rte_server.engine.online_state import CELL_VALUE
from rte_server.engine.program import (
    A_AT,
    A_KIND,
    A_WORDS,
    D_AT,
    D_CODE,
    D_CODE_END,
    D_INPUT,
    D_INTERCEPT,
    D_LINK,
    D_WORDS,
    LEARNED,
    LOGISTIC,
    NOT_LINEAR,
    P_DERIVED,
    P_DERIVED_END,
    P_LOADS,
    P_LOADS_END,
    PLAN_WORDS,
)
from rte_server.engine.row_values import load_input, session_time
from rte_server.engine.table import STALE
from rte_server.engine.values import DOUBLE, ERROR, INT, NULL


@inner
def derive_changed(ctx, cells, name, now_ms):  # type: ignore[no-untyped-def]
    """Compute the derived attributes that an event of this name can have changed; all of them if the row is stale.

    Args:
        ctx: Span of the context.
        cells: Span of the row.
        name: Row of the event's name in `plans`.
        now_ms: Received time of the entry.
    """
    plans = span_in(ctx, PLANS)
    first = name * PLAN_WORDS
    if word_at(cells, STALE) != 0:
        put_word(cells, STALE, 0)
        first = plans[1] - PLAN_WORDS
    plan = (plans[0] + first * 8, np.int64(PLAN_WORDS))
    tags = span_in(ctx, INPUT_TAGS)
    bits = span_in(ctx, INPUT_BITS)
    order = span_in(ctx, LOAD_ORDER)
    loads = span_in(ctx, LOADS)
    attributes = span_in(ctx, ATTRIBUTES)
    time_ms = session_time(cells, now_ms)
    for i in range(word_at(plan, P_LOADS), word_at(plan, P_LOADS_END)):
        place = word_at(order, i)
        number = word_at(loads, place)
        if number >= 0 and word_at(attributes, number * A_WORDS + A_KIND) == COUNT:
            put_word(tags, place, INT)
            put_word(bits, place, word_at(cells, word_at(attributes, number * A_WORDS + A_AT)))
        else:
            tag, value = load_input(ctx, cells, number, time_ms)
            put_word(tags, place, tag)
            put_word(bits, place, value)
    derived = span_in(ctx, DERIVED)
    order = span_in(ctx, DERIVED_ORDER)
    for i in range(word_at(plan, P_DERIVED), word_at(plan, P_DERIVED_END)):
        _derive(ctx, cells, tags, bits, (derived[0] + word_at(order, i) * D_WORDS * 8, np.int64(D_WORDS)))


@inner(forceinline=True)
def _derive(ctx, cells, tags, bits, d):  # type: ignore[no-untyped-def]
    """Compute one derived attribute or linear score from the inputs; keep it in the row, and as an input of others."""
    at = word_at(d, D_AT)
    if word_at(d, D_LINK) != NOT_LINEAR:
        tag = np.int64(DOUBLE)
        if word_at(d, D_LINK) == LEARNED:
            tag, value = predict_online(ctx, tags, bits, word_at(d, D_INTERCEPT))
            put_word(cells, at + CELL_VALUE, value)
        else:
            value = float_bits(_score(ctx, tags, bits, d))
            put_word(cells, at, value)
            if not is_storable(tag, value):
                tag = np.int64(NULL)
    else:
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
            tag = np.int64(NULL)
            value = np.int64(0)
        put_word(cells, at, tag if tag != NULL else ERROR)
        put_word(cells, at + 1, value)
    place = word_at(d, D_INPUT)
    if place >= 0:
        put_word(tags, place, tag)
        put_word(bits, place, value)


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
