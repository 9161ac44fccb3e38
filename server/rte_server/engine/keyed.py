"""The kinds that hold several things: SET, BASKET, RESET_SUM, SEQUENCE, TOP. What each of them does is in its own module.

Called from `kinds`, which leads to all kinds with modules of their own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from rte_server.engine.attributes import SUM_MAGNITUDE_MAX, as_number, has_sums
from rte_server.engine.basket import (
    BASKET_ITEMS,
    BASKET_WIDTH,
    CLEARS,
    basket_total,
    basket_words,
    clear_basket,
    lift_basket,
    merge_basket,
)
from rte_server.engine.context import PARAMS, span_in
from rte_server.engine.event_code import extra_number
from rte_server.engine.event_log import RESET_WORDS
from rte_server.engine.kernel import inner
from rte_server.engine.native import float_bits, word_at
from rte_server.engine.program import (
    A_AT,
    A_KEEP,
    A_KIND,
    A_PARAMS,
    A_PART,
    A_REGISTERS,
    OP_AT,
    OP_KEEP,
    OP_KIND,
    OP_PARAMS,
    OP_ROLE,
    AttributeSpec,
    Kind,
)
from rte_server.engine.resets import RESETS, lift_reset_sum, merge_reset_sum, reset_sum_value, reset_sum_words
from rte_server.engine.sequence import (
    FIRST_KEPT,
    HAS_NOT,
    SEQUENCE_COMPLETED,
    SEQUENCE_STEP_TIMES,
    SEQUENCE_TIME_LEFT,
    STEPS,
    lift_sequence,
    merge_sequence,
    sequence_number,
    sequence_time_left_ms,
    slot_words,
)
from rte_server.engine.table import VALUES_CUT, VALUES_INVALID, add_count
from rte_server.engine.top import (
    DECAYED_WIDTH,
    HALF_LIFE,
    TOP_WIDTH,
    entry_words,
    lift_top,
    load_top,
    merge_top,
)
from rte_server.engine.value_set import SET_WIDTH, find_or_insert, merge_set
from rte_server.engine.values import BOOL, DOUBLE, INT, NULL

# Numbers of the kinds, as `program.Kind`.
SET = np.int64(Kind.SET)
BASKET = np.int64(Kind.BASKET)
RESET_SUM = np.int64(Kind.RESET_SUM)
SEQUENCE = np.int64(Kind.SEQUENCE)
TOP = np.int64(Kind.TOP)

FIRST_OF_KEYED = SET
"""Kinds from this number on are handled here."""

KINDS_OF_TEXTS = frozenset((Kind.SET, Kind.BASKET, Kind.TOP))
"""Those whose cells refer to texts."""

EXTRAS_READ = {Kind.BASKET: 2, Kind.TOP: 1}
"""Further expressions that are looked at for an event: quantity and price, and the weight."""


BEYOND = {
    Kind.SET: "values, then so many of them, a fair sample",
    Kind.BASKET: "changes since it was emptied, then from the latest",
    Kind.RESET_SUM: "contributions since a reset, then the latest",
    Kind.TOP: "values, then among so many, a fair sample",
    Kind.SEQUENCE: "occurrences of a step, then at most the true stages",
}
"""What comes beyond the number up to which a kind is exact, in some words."""


def keyed_words(kind: int, keep: int, params: Sequence[int]) -> int:
    """Return the words of one cell; see `kinds.cell_words`."""
    if kind == SET:
        return SET_WIDTH * keep
    if kind == BASKET:
        return basket_words(keep)
    if kind == RESET_SUM:
        return reset_sum_words(keep)
    if kind == TOP:
        return keep * (DECAYED_WIDTH if params[HALF_LIFE] else TOP_WIDTH)
    if kind == SEQUENCE:
        return (params[STEPS] + params[HAS_NOT]) * slot_words(keep)
    raise ValueError(f"kind {kind} does not say how many words it takes")


def exact_up_to(spec: AttributeSpec) -> int:
    """Return the number of values, contributions or occurrences up to which an attribute is exact; 0: see its kind.

    SET and TOP count different values; BASKET and RESET_SUM contributions since the latest reset; SEQUENCE occurrences of a step.
    """
    if spec.kind == SEQUENCE:
        return FIRST_KEPT + spec.keep
    return spec.keep if spec.kind >= FIRST_OF_KEYED else 0


@inner
def lift_keyed(ctx, cells, op, tag, bits, time_ms, order):  # type: ignore[no-untyped-def]
    """Lift an event into a cell; see `kinds.lift`."""
    is_kept, is_cut = _lift_keyed(ctx, cells, op, tag, bits, time_ms, order)
    if is_cut:
        add_count(ctx, VALUES_CUT, 1)
    return is_kept


@inner
def _lift_keyed(ctx, cells, op, tag, bits, time_ms, order):  # type: ignore[no-untyped-def]
    """Lift an event into a cell. Returns whether the cell refers to the value now, and whether something found no room."""
    kind = word_at(op, OP_KIND)
    at = word_at(op, OP_AT)
    keep = word_at(op, OP_KEEP)
    role = word_at(op, OP_ROLE)
    if kind == SEQUENCE:
        return False, lift_sequence(cells, at, keep, role, time_ms, order)
    if kind == SET:
        place, is_cut = find_or_insert(cells, at, keep, SET_WIDTH, tag, bits)
        return place >= 0, is_cut
    if kind == BASKET:
        if role == CLEARS:
            clear_basket(cells, at, keep, time_ms, order)
            return False, False
        is_valid, quantity = extra_number(ctx, op, 0, 1.0, 0.0)
        _, price = extra_number(ctx, op, 1, math.nan, -SUM_MAGNITUDE_MAX)
        if is_valid:
            return lift_basket(cells, at, keep, role, tag, bits, quantity, price, time_ms, order)
    elif kind == TOP:
        is_valid, weight = extra_number(ctx, op, 0, 1.0, 0.0)
        half_life_ms = word_at(span_in(ctx, PARAMS), word_at(op, OP_PARAMS) + HALF_LIFE)
        if is_valid:
            return lift_top(cells, at, keep, half_life_ms, tag, bits, weight, time_ms)
    elif kind == RESET_SUM:
        number = 0.0 if role == RESETS else as_number(tag, bits)
        if abs(number) <= SUM_MAGNITUDE_MAX:
            return False, lift_reset_sum(cells, at, keep, role, number, time_ms, order)
        add_count(ctx, VALUES_INVALID, 1)
    return False, False


@inner
def merge_keyed(into, other, attribute, params):  # type: ignore[no-untyped-def]
    """Merge the cell of one row into that of another; see `kinds.merge`."""
    kind = word_at(attribute, A_KIND)
    at = word_at(attribute, A_AT)
    keep = word_at(attribute, A_KEEP)
    first = word_at(attribute, A_PARAMS)
    if kind == SET:
        merge_set(into, other, at, keep)
    elif kind == BASKET:
        merge_basket(into, other, at, keep)
    elif kind == RESET_SUM:
        merge_reset_sum(into, other, at, keep)
    elif kind == TOP:
        merge_top(into, other, at, keep, word_at(params, first + HALF_LIFE))
    elif kind == SEQUENCE:
        merge_sequence(into, other, at, keep, word_at(params, first + STEPS) + word_at(params, first + HAS_NOT))


@inner
def load_keyed(row, cells, attribute, params, time_ms):  # type: ignore[no-untyped-def]
    """Return the value (tag, bits) that a cell shows; NULL for lists, which `kind_lists` writes. See `kinds.load`."""
    kind = word_at(attribute, A_KIND)
    at = word_at(attribute, A_AT)
    keep = word_at(attribute, A_KEEP)
    part = word_at(attribute, A_PART)
    events_max = word_at(attribute, A_REGISTERS)
    if events_max != 0 and not has_sums(row, events_max):
        return np.int64(NULL), np.int64(0)
    if kind == RESET_SUM:
        return np.int64(DOUBLE), float_bits(reset_sum_value(cells, at))
    if kind == BASKET and part != 0:
        total = basket_total(cells, at, keep, part)
        if part == BASKET_ITEMS:
            return np.int64(INT), np.int64(total)
        return np.int64(DOUBLE), float_bits(total)
    if kind == TOP and part != 0:
        return load_top(cells, at, keep, word_at(params, word_at(attribute, A_PARAMS) + HALF_LIFE), part, time_ms)
    if kind == SEQUENCE and part != SEQUENCE_STEP_TIMES:
        own = params_of(attribute, params)
        if part == SEQUENCE_TIME_LEFT:
            left_ms = sequence_time_left_ms(cells, at, keep, own, time_ms)
            if left_ms >= 0:
                return np.int64(DOUBLE), float_bits(np.float64(left_ms) / 1000.0)
            return np.int64(NULL), np.int64(0)
        number = sequence_number(cells, at, keep, own, part, time_ms)
        return np.int64(BOOL if part == SEQUENCE_COMPLETED else INT), number
    return np.int64(NULL), np.int64(0)


@inner
def params_of(attribute, params):  # type: ignore[no-untyped-def]
    """Return the span of the numbers that an attribute is made with, and of those behind them."""
    first = word_at(attribute, A_PARAMS)
    return params[0] + first * 8, params[1] - first


@inner
def text_entries(attribute, params):  # type: ignore[no-untyped-def]
    """Return where the values of a cell that may be texts are.

    Returns:
        First and end word of its entries, the words of each, and where in an entry the bits are; the tag is in the TAG_BITS
        lowest bits of the entry's first word. No entries for kinds that refer to no texts.
    """
    kind = word_at(attribute, A_KIND)
    at = word_at(attribute, A_AT)
    keep = word_at(attribute, A_KEEP)
    if kind == SET:
        return at, at + SET_WIDTH * keep, np.int64(SET_WIDTH), np.int64(1)
    if kind == BASKET:
        first = at + RESET_WORDS
        return first, first + BASKET_WIDTH * keep, np.int64(BASKET_WIDTH), np.int64(2)
    if kind == TOP:
        width = entry_words(word_at(params, word_at(attribute, A_PARAMS) + HALF_LIFE))
        return at, at + width * keep, width, np.int64(1)
    return at, at, np.int64(1), np.int64(0)
