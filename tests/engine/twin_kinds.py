"""What kinds of attributes with modules of their own are worth, computed from contributions: (event time, number) each.

As in `twin_values`, nothing here is incremental.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

Contributions = Sequence[tuple[int, float]]

EPOCH = 32
QUANTUM = 2**64


def decayed(contributions: Contributions, time_ms: int, half_life_ms: int) -> float:
    """Return a decayed sum as it is defined: contributions in the fixed point of their epoch's end, two epochs of them."""
    newest = max((at_ms // half_life_ms // EPOCH for at_ms, _ in contributions), default=0)
    total = Fraction(0)
    for at_ms, number in contributions:
        epoch = at_ms // half_life_ms // EPOCH
        if epoch >= newest - 1:
            worth = number * 2.0 ** float(Fraction(at_ms, half_life_ms) - EPOCH * (epoch + 1))
            total += Fraction(int(Fraction(worth) * QUANTUM), QUANTUM) / 2 ** (EPOCH * (newest - epoch))
    passed = float(EPOCH * (newest + 1) - Fraction(time_ms, half_life_ms))
    return float(total) * 2.0**passed if passed > -1000 else 0.0


def rate(contributions: Contributions, time_ms: int, half_life_ms: int) -> float:
    """Return contributions per minute."""
    return decayed(contributions, time_ms, half_life_ms) * math.log(2) * 60_000 / half_life_ms


def ewma(contributions: Contributions, half_life_ms: int) -> float | None:
    """Return the mean of the contributions, each weighing half as much a half-life earlier."""
    if not contributions:
        return None
    time_ms = max(at_ms for at_ms, _ in contributions)
    weights = [(at_ms, 1.0) for at_ms, _ in contributions]
    return decayed(contributions, time_ms, half_life_ms) / decayed(weights, time_ms, half_life_ms)
