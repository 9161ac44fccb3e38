"""The kinds of attributes whose cells have modules of their own: one place that leads from a kind to what it does.

Each is a commutative monoid over its cell, like those in `attributes`: zeros are the identity, `lift` takes in an event,
`merge` another cell. What it shows may follow from the time, too: `load` is told the session's time, and `due_ms` says
when the value changes though no event comes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rte_server.engine.absence import ABSENCE_WORDS, absence_due_ms, lift_absence, merge_absence
from rte_server.engine.attributes import DISTINCT, ENTRY_WORDS, RECENT, as_number, has_sums
from rte_server.engine.context import PARAMS, span_in
from rte_server.engine.customer_cells import customer_value, merge_customer
from rte_server.engine.decay import (
    EWMA_WORDS,
    RATE_WORDS,
    ewma_value,
    lift_decayed,
    lift_ewma,
    merge_decayed,
    rate_value,
)
from rte_server.engine.kernel import inner
from rte_server.engine.keyed import (
    FIRST_OF_KEYED,
    SEQUENCE,
    keyed_words,
    lift_keyed,
    load_keyed,
    merge_keyed,
    params_of,
)
from rte_server.engine.native import float_bits, word_at
from rte_server.engine.online_state import CELL_WORDS
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
from rte_server.engine.sequence import (
    SEQUENCE_COMPLETED,
    SEQUENCE_FURTHEST,
    SEQUENCE_TIME_LEFT,
    WITHIN,
    sequence_due_ms,
)
from rte_server.engine.table import NEVER_MS, VALUES_INVALID, add_count
from rte_server.engine.top import HALF_LIFE, TOP_WEIGHT
from rte_server.engine.trigger_cells import TRIGGER_WORDS, merge_trigger, trigger_due_ms, trigger_value
from rte_server.engine.values import BOOL, DOUBLE, NULL
from rte_server.engine.windows import is_window, lift_window, merge_window, window_due_ms, window_value, window_words

# Numbers of the kinds, as `program.Kind`.
ABSENCE = np.int64(Kind.ABSENCE)
CUSTOMER = np.int64(Kind.CUSTOMER)
RATE = np.int64(Kind.RATE)
EWMA = np.int64(Kind.EWMA)
TRIGGER = np.int64(Kind.TRIGGER)

FIRST_OF_KINDS = ABSENCE
"""Kinds from this number on are handled here."""

WINDOWED = frozenset(kind for kind in Kind if Kind.WINDOW_COUNT <= kind <= Kind.WINDOW_DISTINCT)
"""Kinds over the last while, see `windows`."""

KINDS_OF_SUMS = frozenset(
    (
        Kind.SUM,
        Kind.MEAN,
        Kind.WINDOW_SUM,
        Kind.WINDOW_MEAN,
        Kind.RATE,
        Kind.EWMA,
        Kind.RESET_SUM,
        Kind.TOP,
    )
)
"""Kinds whose cells hold sums in fixed point, see `attributes.has_sums`."""

KINDS_OF_TIME = WINDOWED | {Kind.ABSENCE, Kind.RATE, Kind.TRIGGER, Kind.SEQUENCE}
"""Kinds whose value changes though no event comes: at times that `due_ms` tells, or all the time, see `refresh_ms`."""

BORDER_MS = 1_000
"""Changes at borders of tiles are noticed at whole multiples of so much by the server's clock: sessions share a TICK."""

REFRESH_MS = 5_000
"""How often what is derived from values that change all the time is computed anew though no event comes."""

REFRESH_MS_MIN = 1_000
"""The same for those that change fast."""


_PLAIN_WORDS = {
    Kind.COUNT: 1,
    Kind.SUM: 2,
    Kind.MIN: 2,
    Kind.MAX: 2,
    Kind.MEAN: 3,
    Kind.FIRST: 3,
    Kind.LAST: 3,
    Kind.ELAPSED: 2,
    Kind.DERIVED: 1,
    Kind.LINEAR: 1,
    Kind.CUSTOMER: 3,
}
"""Words of the cells of kinds that are always of one size."""


def cell_words(kind: int, keep: int, params: Sequence[int] = ()) -> int:
    """Return the words of one cell of `kind`.

    Args:
        kind: A `program.Kind`.
        keep: Entries or values kept, where the kind has them.
        params: As in `AttributeSpec`.
    """
    if kind == DISTINCT:
        return 1 + keep
    if kind == RECENT:
        return int(ENTRY_WORDS) * keep
    if kind == ABSENCE:
        return ABSENCE_WORDS
    if kind in WINDOWED:
        return window_words(kind, keep, params[1])
    if kind == TRIGGER:
        return TRIGGER_WORDS
    if kind == RATE:
        return RATE_WORDS
    if kind == EWMA:
        return EWMA_WORDS
    if kind in (Kind.SCORE, Kind.WRITTEN):
        return 0  # They are kept beside the rows.
    if kind == Kind.ONLINE:
        return CELL_WORDS
    if kind >= FIRST_OF_KEYED:
        return keyed_words(kind, keep, params)
    return _PLAIN_WORDS[Kind(kind)]


def refresh_ms(spec: AttributeSpec) -> int:
    """Return how often what is derived from the attribute is computed anew though no event comes, ms; 0: never."""
    if spec.kind == Kind.RATE:
        return min(max(spec.params[0] // 8, REFRESH_MS_MIN), REFRESH_MS)
    if spec.kind == Kind.TOP and spec.part in (0, TOP_WEIGHT) and spec.params[HALF_LIFE] > 0:
        return min(max(spec.params[HALF_LIFE] // 8, REFRESH_MS_MIN), REFRESH_MS)
    return REFRESH_MS if spec.kind == Kind.SEQUENCE and spec.part == SEQUENCE_TIME_LEFT else 0


def changes_with_time(spec: AttributeSpec) -> bool:
    """Return whether the value of an attribute changes though no event comes."""
    return spec.kind in KINDS_OF_TIME or refresh_ms(spec) > 0


def passes(spec: AttributeSpec) -> bool:
    """Return whether what an attribute shows may change at a certain time though no event comes."""
    if spec.kind == Kind.SEQUENCE:
        return spec.part not in (SEQUENCE_FURTHEST, SEQUENCE_COMPLETED)
    return changes_with_time(spec) and not (spec.kind == Kind.TRIGGER and spec.part != 0)


def has_times(spec: AttributeSpec) -> bool:
    """Return whether `due_ms` says when the attribute changes though no event comes."""
    if spec.owner:
        return False
    if spec.kind == Kind.SEQUENCE:
        return spec.params[WITHIN] > 0
    return spec.kind in WINDOWED or spec.kind in (Kind.ABSENCE, Kind.TRIGGER)


@inner(forceinline=False)
def lift(ctx, cells, op, tag, bits, time_ms, order):  # type: ignore[no-untyped-def]
    """Lift an event into a cell.

    Args:
        ctx: Span of the context.
        cells: Span of the row.
        op: Span of the op.
        tag: Value of the op's expression; NULL for an event that needs none.
        bits: See `tag`.
        time_ms: Event time.
        order: Orders events of equal time.

    Returns:
        Whether the cell refers to the value now, so that its text must be kept.
    """
    at = word_at(op, OP_AT)
    kind = word_at(op, OP_KIND)
    if kind >= FIRST_OF_KEYED:
        return lift_keyed(ctx, cells, op, tag, bits, time_ms, order)
    params = span_in(ctx, PARAMS)
    first = word_at(op, OP_PARAMS)
    is_valid = True
    if is_window(kind):
        width_ms, tiles = word_at(params, first), word_at(params, first + 1)
        is_valid = lift_window(cells, at, kind, word_at(op, OP_KEEP), width_ms, tiles, tag, bits, time_ms)
    elif kind == ABSENCE:
        lift_absence(cells, at, word_at(op, OP_ROLE), time_ms, order)
    elif kind == RATE:
        weight = as_number(tag, bits) if tag != NULL else 1.0
        is_valid = lift_decayed(cells, at, weight, time_ms, word_at(params, first))
    elif kind == EWMA:
        is_valid = lift_ewma(cells, at, as_number(tag, bits), time_ms, word_at(params, first))
    if not is_valid:
        add_count(ctx, VALUES_INVALID, 1)
    return False


@inner(forceinline=False)
def merge(into, other, attribute, params):  # type: ignore[no-untyped-def]
    """Merge the cell of one row into that of another.

    Args:
        into: Span of the row.
        other: Span of the other row.
        attribute: Span of the attribute's words.
        params: Span of the program's `params`.
    """
    at = word_at(attribute, A_AT)
    kind = word_at(attribute, A_KIND)
    if kind >= FIRST_OF_KEYED:
        merge_keyed(into, other, attribute, params)
    elif is_window(kind):
        tiles = word_at(params, word_at(attribute, A_PARAMS) + 1)
        merge_window(into, other, at, kind, word_at(attribute, A_KEEP), tiles)
    elif kind == ABSENCE:
        merge_absence(into, other, at)
    elif kind == RATE:
        merge_decayed(into, at, other, at, 1)
    elif kind == EWMA:
        merge_decayed(into, at, other, at, 2)
    elif kind == TRIGGER:
        merge_trigger(into, other, at)
    elif kind == CUSTOMER:
        merge_customer(into, other, at)


@inner(forceinline=False)
def load(row, cells, attribute, params, time_ms):  # type: ignore[no-untyped-def]
    """Return the value (tag, bits) that a cell shows at a session's time; NULL where it has none.

    Args:
        row: Span of the row, for its header.
        cells: Span in which the cell lies.
        attribute: Span of the attribute's words.
        params: Span of the program's `params`.
        time_ms: The session's time.
    """
    at = word_at(attribute, A_AT)
    kind = word_at(attribute, A_KIND)
    if kind >= FIRST_OF_KEYED:
        return load_keyed(row, cells, attribute, params, time_ms)
    place = word_at(attribute, A_PARAMS)
    first = word_at(params, place)
    events_max = word_at(attribute, A_REGISTERS)
    if kind != TRIGGER and events_max != 0 and not has_sums(row, events_max):
        return np.int64(NULL), np.int64(0)
    if is_window(kind):
        tiles = word_at(params, place + 1)
        return window_value(cells, at, kind, word_at(attribute, A_KEEP), first, tiles, time_ms)
    if kind == ABSENCE:
        return np.int64(BOOL), np.int64(time_ms >= absence_due_ms(cells, at, first))
    if kind == RATE:
        return np.int64(DOUBLE), float_bits(rate_value(cells, at, time_ms, first))
    if kind == EWMA and word_at(cells, at) != 0:
        return np.int64(DOUBLE), float_bits(ewma_value(cells, at))
    if kind == TRIGGER:
        return trigger_value(row, at, word_at(attribute, A_PART), word_at(params, place + 1))
    if kind == CUSTOMER:
        return customer_value(row, at)
    return np.int64(NULL), np.int64(0)


@inner(forceinline=False)
def due_ms(cells, attribute, params, time_ms):  # type: ignore[no-untyped-def]
    """Return the session time at which the value changes next without an event, > `time_ms`; NEVER_MS: it does not."""
    at = word_at(attribute, A_AT)
    kind = word_at(attribute, A_KIND)
    place = word_at(attribute, A_PARAMS)
    first = word_at(params, place)
    due = np.int64(NEVER_MS)
    if kind == SEQUENCE:
        due = sequence_due_ms(cells, at, word_at(attribute, A_KEEP), params_of(attribute, params), time_ms)
    elif is_window(kind):
        tiles = word_at(params, place + 1)
        due = window_due_ms(cells, at, kind, word_at(attribute, A_KEEP), first, tiles, time_ms)
    elif kind == ABSENCE:
        due = absence_due_ms(cells, at, first)
    elif kind == TRIGGER:
        condition = word_at(attribute, A_REGISTERS)
        due = trigger_due_ms(cells, at, condition, first, word_at(params, place + 1), time_ms)
    return due if due > time_ms else np.int64(NEVER_MS)
