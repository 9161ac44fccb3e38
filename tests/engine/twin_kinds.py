"""What kinds of attributes with modules of their own are worth, computed from contributions: (event time, number) each.

As in `twin_values`, nothing here is incremental. What an attribute declares to be approximate is computed as it is defined,
and may differ by what is declared (`Near`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from fractions import Fraction

Contributions = Sequence[tuple[int, float]]

DECLARED = 2.0**-32
"""The declared error of decayed sums and averages: a share of each number, those below 1 taken as 1."""

ROUNDING = 1e-13
"""How far doubles that went through some operations may be off, as a share."""


class Near(float):
    """A number from which another one may differ by `within`."""

    within: float

    @classmethod
    def of(cls, value: float, within: float) -> Near:
        """Return a number with its tolerance."""
        near = cls(value)
        near.within = within
        return near


def exact_sum(numbers: Iterable[float]) -> float:
    """Return the sum, rounded once: each number counts as the nearest multiple of 2^-64, of two the one farther from 0."""
    total = sum(_multiple(Fraction(number)) for number in numbers)
    return float(Fraction(total, 2**64))


def _multiple(number: Fraction) -> int:
    whole = int(abs(number) * 2**64 + Fraction(1, 2))
    return whole if number > 0 else -whole


def _error(contributions: Contributions) -> float:
    return DECLARED * math.fsum(max(abs(number), 1.0) for _, number in contributions)


def _weighed(contributions: Contributions, time_ms: int, half_life_ms: int) -> list[float]:
    """Return what each contribution is worth at a time."""
    return [number * _power(Fraction(at_ms - time_ms, half_life_ms)) for at_ms, number in contributions]


def _power(exponent: Fraction) -> float:
    return 2.0 ** float(exponent) if exponent > -1000 else 0.0


def decayed(contributions: Contributions, time_ms: int, half_life_ms: int) -> Near:
    """Return a decayed sum: each contribution counts half as much a half-life later."""
    total = math.fsum(_weighed(contributions, time_ms, half_life_ms))
    return Near.of(total, _error(contributions) + ROUNDING * total)


def rate(contributions: Contributions, time_ms: int, half_life_ms: int) -> Near:
    """Return contributions per minute."""
    total = decayed(contributions, time_ms, half_life_ms)
    per_minute = math.log(2) * 60_000 / half_life_ms
    return Near.of(total * per_minute, total.within * per_minute)


def ewma(contributions: Contributions, half_life_ms: int) -> Near | None:
    """Return the mean of the contributions, each weighing half as much a half-life earlier."""
    if not contributions:
        return None
    time_ms = max(at_ms for at_ms, _ in contributions)
    weights = _weighed([(at_ms, 1.0) for at_ms, _ in contributions], time_ms, half_life_ms)
    mean = math.fsum(_weighed(contributions, time_ms, half_life_ms)) / math.fsum(weights)
    greatest = max(abs(number) for _, number in contributions)
    return Near.of(mean, _error(contributions) + ROUNDING * greatest)
