"""Running the expressions of an op on the event whose properties have been read into the slots."""

from __future__ import annotations

import numpy as np

from rte_server.engine.attributes import SUM_MAGNITUDE_MAX, as_number
from rte_server.engine.context import (
    CODES,
    EXTRAS,
    SLOT_BITS,
    SLOT_TAGS,
    TEXTS,
    span_in,
)
from rte_server.engine.evaluation import evaluate_lanes
from rte_server.engine.kernel import inner
from rte_server.engine.lanes import event_lane, lane_stack
from rte_server.engine.native import word_at
from rte_server.engine.program import EXTRA_WORDS, NO_SOURCE, OP_EXTRAS, X_CODE, X_CODE_END, X_SOURCE
from rte_server.engine.table import VALUES_INVALID, add_count
from rte_server.engine.values import ERROR, NULL


@inner
def run_code(ctx, start, end):  # type: ignore[no-untyped-def]
    """Return the value of an expression on the event. The texts that it looks at are in the pool already."""
    inputs = span_in(ctx, SLOT_TAGS), span_in(ctx, SLOT_BITS)
    tags, bits = lane_stack(ctx)
    evaluate_lanes(ctx, span_in(ctx, CODES), start, end, span_in(ctx, TEXTS), inputs, (tags, bits), event_lane(ctx))
    return word_at(tags, 0), word_at(bits, 0)


@inner
def extra_number(ctx, op, number, absent, low):  # type: ignore[no-untyped-def]
    """Return the value of a further expression of an op as a number.

    Args:
        ctx: Span of the context.
        op: Span of the op.
        number: Which of its further expressions, from 0.
        absent: What to return where the op has no such expression, or the event no value for it.
        low: What is below, or beyond SUM_MAGNITUDE_MAX, or no number is counted as invalid.

    Returns:
        Whether the number is valid, and the number.
    """
    extras = span_in(ctx, EXTRAS)
    x = (word_at(op, OP_EXTRAS) + number) * EXTRA_WORDS
    if word_at(extras, x + X_SOURCE) == NO_SOURCE:
        return True, absent
    tag, bits = run_code(ctx, word_at(extras, x + X_CODE), word_at(extras, x + X_CODE_END))
    if tag == ERROR or tag == NULL:
        return True, absent
    found = as_number(tag, bits)
    if not (found >= low and found <= SUM_MAGNITUDE_MAX):
        add_count(ctx, VALUES_INVALID, 1)
        return False, absent
    return True, np.float64(found) + 0.0
