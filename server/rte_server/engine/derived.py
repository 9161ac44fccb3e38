"""Derived attributes and scores: what is computed from a session's row when something that it reads has changed.

Sessions that one request changes are computed together, one attribute after the other (see `lanes`).
"""

from __future__ import annotations

import math

import numpy as np

from rte_server.engine.annexes import cell_span
from rte_server.engine.attributes import as_number, is_storable
from rte_server.engine.context import (
    CODES,
    DERIVED,
    DERIVED_LOADS,
    INPUT_STAMPS,
    LANES,
    PASSING,
    PROGRESS,
    TEXTS,
    WEIGHT_INPUTS,
    WEIGHTS,
    span_in,
)
from rte_server.engine.derived_cells import derived_value, put_derived
from rte_server.engine.evaluation import evaluate_lanes
from rte_server.engine.kernel import inner
from rte_server.engine.lanes import (
    ALONE,
    LANE_MARKS,
    LANE_TIME,
    WIDTH,
    chosen_lanes,
    lane_cells,
    lane_inputs,
    lane_stack,
    lane_word,
    put_lane,
)
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
    EVERYTHING_CHANGED,
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
    PASS_AT,
    PASS_LOAD,
    PASS_MARKS,
    PASS_WAIT,
    PASS_WORDS,
)
from rte_server.engine.row_values import load_input, session_time
from rte_server.engine.rows import ROUND
from rte_server.engine.table import STALE
from rte_server.engine.values import DOUBLE, ERROR, INT, NULL


@inner
def derive_changed(ctx, cells, marks, now_ms):  # type: ignore[no-untyped-def]
    """Compute the derived attributes of one session, as `derive_lanes` does.

    Args:
        ctx: Span of the context.
        cells: Span of the row.
        marks: What has changed, see `program.MARKS_MAX`; 0 where time alone has passed.
        now_ms: Received time of the entry.
    """
    put_lane(ctx, ALONE, np.int64(0), cells, marks)
    derive_lanes(ctx, ALONE, ALONE + 1, now_ms)


@inner
def derive_lanes(ctx, first, end, now_ms):  # type: ignore[no-untyped-def]
    """Compute the derived attributes whose inputs have changed, and what follows from those; all where the row is stale.

    Args:
        ctx: Span of the context.
        first: The first lane.
        end: The one after the last.
        now_ms: Received time of the entry.
    """
    lanes = span_in(ctx, LANES)
    for lane in range(first, end):
        cells = lane_cells(ctx, lane)
        time_ms = session_time(cells, now_ms)
        put_word(lanes, LANE_TIME + lane, time_ms)
        is_stale = word_at(cells, STALE) & 1 != 0
        marks = EVERYTHING_CHANGED if is_stale else word_at(lanes, LANE_MARKS + lane)
        put_word(lanes, LANE_MARKS + lane, marks | MARK_TIME | _notice_time(ctx, cells, time_ms))
    progress = span_in(ctx, PROGRESS)
    put_word(progress, ROUND, word_at(progress, ROUND) + 1)
    derived = span_in(ctx, DERIVED)
    chosen = chosen_lanes(ctx)
    for place in range(0, derived[1], D_WORDS):
        d = (derived[0] + place * 8, np.int64(D_WORDS))
        reads = word_at(d, D_READS)
        count = np.int64(0)
        for lane in range(first, end):
            # Without a branch: which sessions need it is as good as random to the processor.
            put_word(chosen, count, lane)
            count += np.int64(reads & word_at(lanes, LANE_MARKS + lane) != 0)
        if count > 0:
            _load(ctx, d, chosen, count)
            _derive(ctx, d, chosen, count)


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
def _load(ctx, d, chosen, count):  # type: ignore[no-untyped-def]
    """Load the inputs of a derived attribute in some lanes, but those that only events change once for all that read them."""
    tags, bits = lane_inputs(ctx)
    stamps = span_in(ctx, INPUT_STAMPS)
    present = word_at(span_in(ctx, PROGRESS), ROUND)
    loads = span_in(ctx, DERIVED_LOADS)
    for i in range(word_at(d, D_LOADS) * L_WORDS, word_at(d, D_LOADS_END) * L_WORDS, L_WORDS):
        first = word_at(loads, i + L_PLACE) * WIDTH
        way = word_at(loads, i + L_WAY)
        at = word_at(loads, i + L_AT)
        for k in range(count):
            lane = word_at(chosen, k)
            place = first + lane
            cells = lane_cells(ctx, lane)
            if way == OF_WORD:
                put_word(tags, place, INT)
                put_word(bits, place, word_at(cell_span(ctx, cells, at), at))
            elif way == OF_DERIVED:
                tag, value = derived_value(cells, at & L_WORD_MASK, at >> L_PLACE_BITS)
                put_word(tags, place, tag)
                put_word(bits, place, value)
            elif word_at(stamps, place) != present:
                tag, value = load_input(ctx, cells, at, lane_word(ctx, LANE_TIME, lane))
                put_word(tags, place, tag)
                put_word(bits, place, value)
                put_word(stamps, place, present)


@inner(forceinline=True)
def _derive(ctx, d, chosen, count):  # type: ignore[no-untyped-def]
    """Compute one derived attribute or score in some lanes, keep it in their rows, and mark where it has changed."""
    at, link = word_at(d, D_AT), word_at(d, D_LINK)
    inputs, stack = lane_inputs(ctx), lane_stack(ctx)
    tags, bits = stack
    if link == NOT_LINEAR:
        code, end = word_at(d, D_CODE), word_at(d, D_CODE_END)
        lanes = chosen, count, WIDTH
        evaluate_lanes(ctx, span_in(ctx, CODES), code, end, span_in(ctx, TEXTS), inputs, stack, lanes)
    elif link != LEARNED:
        _score(ctx, d, inputs, bits, chosen, count)
    marks = span_in(ctx, LANES)
    for k in range(count):
        lane = word_at(chosen, k)
        cells = lane_cells(ctx, lane)
        if link == NOT_LINEAR:
            tag, value = word_at(tags, lane), word_at(bits, lane)
            if not is_storable(tag, value):
                tag, value = np.int64(ERROR), np.int64(0)
            has_changed = put_derived(cells, at, word_at(d, D_INTERCEPT), tag, value)
        elif link == LEARNED:
            _, value = predict_online(ctx, inputs, lane, word_at(d, D_INTERCEPT))
            put_word(cells, at + CELL_VALUE, value)
            # Whether it is shown may have changed, too.
            has_changed = True
        else:
            has_changed = word_at(cells, at) != word_at(bits, lane)
            put_word(cells, at, word_at(bits, lane))
        changed = word_at(d, D_MARKS) if has_changed else np.int64(0)
        put_word(marks, LANE_MARKS + lane, word_at(marks, LANE_MARKS + lane) | changed)


@inner(forceinline=True)
def _score(ctx, d, inputs, totals, chosen, count):  # type: ignore[no-untyped-def]
    """Compute a linear score in some lanes: the intercept plus the weighted inputs, through the link function.

    Args:
        ctx: Span of the context.
        d: Span of the words of the score.
        inputs: As from `lane_inputs`.
        totals: Span that receives the bits of the scores, by lane.
        chosen: Span of the lanes.
        count: How many these are.
    """
    weights = span_in(ctx, WEIGHTS)
    places = span_in(ctx, WEIGHT_INPUTS)
    for k in range(count):
        put_word(totals, word_at(chosen, k), word_at(d, D_INTERCEPT))
    for i in range(word_at(d, D_CODE), word_at(d, D_CODE_END)):
        first = word_at(places, i) * WIDTH
        weight, absent = bits_float(word_at(weights, 2 * i)), bits_float(word_at(weights, 2 * i + 1))
        for k in range(count):
            lane = word_at(chosen, k)
            number = as_number(word_at(inputs[0], first + lane), word_at(inputs[1], first + lane))
            total = bits_float(word_at(totals, lane)) + weight * (absent if math.isnan(number) else number)
            put_word(totals, lane, float_bits(total))
    if word_at(d, D_LINK) == LOGISTIC:
        for k in range(count):
            lane = word_at(chosen, k)
            put_word(totals, lane, float_bits(1.0 / (1.0 + math.exp(-bits_float(word_at(totals, lane))))))
