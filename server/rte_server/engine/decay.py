"""Decayed sums: what counts less the older it is, halved with every half-life. RATE and EWMA are made of them.

Forward decay: an event's weight is fixed when it comes, as 2^(its time / half-life), and only the reader divides by
2^(now / half-life). So nothing has to be touched while time passes, and events may come in any order. Numbers that grow
for ever would overflow; therefore time is cut into epochs of 32 half-lives, and a contribution counts as what it will be
worth at the end of its epoch, in the fixed point of SUM. The two newest epochs are kept: what is dropped is older than
32 half-lives, less than 2^-32 of its weight.

Cell of a group of n sums: 1 + number of the newest epoch (0 = nothing yet); n sums of two words for that epoch; n for
the epoch before it. It follows from the set of contributions alone (the maximum of epochs, sums of integers), so merging
is exact, associative and commutative. A shown value differs from the true one by at most 2^-32 of the weight of each
event, plus 2^-32 per event.

Source: Cormode, Shkapenyuk, Srivastava, Xu, "Forward Decay", ICDE 2009, exponential case.
"""

from __future__ import annotations

import math
from decimal import Decimal, localcontext

import numpy as np
from numpy.typing import NDArray

from rte_server.engine.attributes import SUM_MAGNITUDE_MAX, add_exact, add_fixed, fixed_value
from rte_server.engine.kernel import inner, kernel
from rte_server.engine.native import put_word, word_at

EPOCH = np.int64(32)
"""Half-lives of an epoch."""

DECAY_ERROR = 2.0**-32
"""Bound of the error, as a share of each event's weight; see above."""

RATE_WORDS = 5
EWMA_WORDS = 9
_MINUTE_MS = 60_000.0
_EXPONENT_MIN = np.int64(-2000)  # below it every double is zero

_STEPS = 64


def _power_table() -> NDArray[np.float64]:
    """Return 2^(i / _STEPS), each rounded once: the powers of a library may differ in the last bit between machines."""
    with localcontext() as context:
        context.prec = 40
        return np.array([float(Decimal(2) ** (Decimal(i) / _STEPS)) for i in range(_STEPS)])


_POWERS = _power_table()
_LN2 = math.log(2.0)


def half_life_of(window_ms: int) -> int:
    """Return the half-life of an exponential window, ms, at least 1: after `window_ms` a weight is 1/e of what it was."""
    return max(1, round(window_ms * _LN2))


def decayed_words(sums: int) -> int:
    """Return the words of a cell with some sums."""
    return 1 + 4 * sums


@kernel
def power_of_two(part, whole):  # type: ignore[no-untyped-def]
    """Return 2^(part / whole) for 0 <= part < whole, the same on every machine: additions and multiplications only."""
    exponent = np.float64(part) / np.float64(whole)
    step = np.int64(exponent * _STEPS)
    rest = (exponent - np.float64(step) / _STEPS) * _LN2  # < 0.011, so that six terms are exact to the last bit
    series = 1.0 + rest / 6.0
    series = 1.0 + rest / 5.0 * series
    series = 1.0 + rest / 4.0 * series
    series = 1.0 + rest / 3.0 * series
    series = 1.0 + rest / 2.0 * series
    return _POWERS[step] * (1.0 + rest * series)


@inner
def worth_at_end(number, time_ms, half_life_ms):  # type: ignore[no-untyped-def]
    """Return what `number`, valid at `time_ms`, will be worth at the end of its epoch: at most as much."""
    half_lives = time_ms // half_life_ms
    power = power_of_two(time_ms - half_lives * half_life_ms, half_life_ms)
    return number * np.ldexp(power, np.int32(half_lives % EPOCH - EPOCH))


@inner
def sums_at(cells, at, sums, epoch):  # type: ignore[no-untyped-def]
    """Return the word of the first sum for an epoch, made ready to be added to; -1 if that epoch is too old to count.

    Args:
        cells: Span of the row.
        at: First word of the cell.
        sums: Number of its sums.
        epoch: 1 + the number of the epoch.
    """
    newest = word_at(cells, at)
    if epoch > newest:
        for word in range(2 * sums):
            kept = word_at(cells, at + 1 + word) if epoch == newest + 1 else np.int64(0)
            put_word(cells, at + 1 + 2 * sums + word, kept)
            put_word(cells, at + 1 + word, 0)
        put_word(cells, at, epoch)
        return at + 1
    if epoch == newest:
        return at + 1
    return at + 1 + 2 * sums if epoch == newest - 1 else np.int64(-1)


@inner
def lift_decayed(cells, at, weight, time_ms, half_life_ms):  # type: ignore[no-untyped-def]
    """Add a contribution to a cell with one sum. Returns False if it is refused: NaN, negative, infinite or too large.

    Args:
        cells: Span of the row.
        at: First word of the cell, of RATE_WORDS words.
        weight: What it is worth at its time, any unit.
        time_ms: Event time.
        half_life_ms: Time in which a weight halves, ms, > 0; the same for every contribution to the cell.
    """
    if not 0.0 <= weight <= SUM_MAGNITUDE_MAX:
        return False
    place = sums_at(cells, at, 1, 1 + time_ms // half_life_ms // EPOCH)
    if place >= 0:
        add_exact(cells, place, worth_at_end(weight, time_ms, half_life_ms))
    return True


@inner
def merge_decayed(into, into_at, other, other_at, sums):  # type: ignore[no-untyped-def]
    """Merge a cell with some sums into another."""
    newest = word_at(other, other_at)
    if newest == 0:
        return
    for age in range(2):
        place = sums_at(into, into_at, sums, newest - age)
        if place < 0:
            break
        first = other_at + 1 + 2 * sums * age
        for word in range(0, 2 * sums, 2):
            add_fixed(into, place + word, word_at(other, first + word), word_at(other, first + word + 1))


@inner
def _worth(cells, at, sums, number):  # type: ignore[no-untyped-def]
    """Return what sum `number` of a cell will be worth at the end of its newest epoch."""
    first = at + 1 + 2 * number
    before = first + 2 * sums
    older = fixed_value(word_at(cells, before), word_at(cells, before + 1))
    return fixed_value(word_at(cells, first), word_at(cells, first + 1)) + np.ldexp(older, np.int32(-EPOCH))


@inner
def decayed_value(cells, at, time_ms, half_life_ms):  # type: ignore[no-untyped-def]
    """Return what a cell with one sum is worth at `time_ms`, which no contribution is later than."""
    half_lives = time_ms // half_life_ms
    power = power_of_two(time_ms - half_lives * half_life_ms, half_life_ms)
    exponent = max(word_at(cells, at) * EPOCH - half_lives, _EXPONENT_MIN)
    return np.ldexp(_worth(cells, at, 1, 0) / power, np.int32(exponent))


@inner
def rate_value(cells, at, time_ms, half_life_ms):  # type: ignore[no-untyped-def]
    """Return the rate per minute: what a steady stream with the same decayed sum would have."""
    return decayed_value(cells, at, time_ms, half_life_ms) * (_LN2 * _MINUTE_MS / np.float64(half_life_ms))


@inner
def lift_ewma(cells, at, number, time_ms, half_life_ms):  # type: ignore[no-untyped-def]
    """Add a number to a moving average. Returns False if it is refused: NaN, infinite or too large."""
    if not abs(number) <= SUM_MAGNITUDE_MAX:
        return False
    place = sums_at(cells, at, 2, 1 + time_ms // half_life_ms // EPOCH)
    if place >= 0:
        worth = worth_at_end(1.0, time_ms, half_life_ms)
        add_exact(cells, place, number * worth)
        add_exact(cells, place + 2, worth)
    return True


@inner
def ewma_value(cells, at):  # type: ignore[no-untyped-def]
    """Return the decayed mean of a cell that is not empty. Time alone does not change it: all weights fade alike."""
    return _worth(cells, at, 2, 0) / _worth(cells, at, 2, 1)
