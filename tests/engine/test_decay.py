"""Decayed sums keep to their declared error, and their powers are the same on every machine."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from rte_server.engine.decay import (
    DECAY_ERROR,
    EWMA_WORDS,
    RATE_WORDS,
    decayed_value,
    ewma_value,
    half_life_of,
    lift_decayed,
    lift_ewma,
    power_of_two,
)
from rte_server.engine.exactness import exactness
from rte_server.engine.kernel import kernel
from rte_server.engine.native import span_of
from rte_server.engine.program import AttributeSpec, Kind
from tests.engine.strategies import START_MS


@kernel
def _decayed(times: NDArray[np.int64], weights: NDArray[np.float64], now_ms: int, half_life_ms: int) -> float:
    cells = np.zeros(RATE_WORDS, np.int64)
    for i in range(len(times)):
        lift_decayed(span_of(cells), 0, weights[i], times[i], half_life_ms)
    value: float = decayed_value(span_of(cells), 0, now_ms, half_life_ms)
    cells[0] = 0
    return value


@kernel
def _ewma(times: NDArray[np.int64], numbers: NDArray[np.float64], half_life_ms: int) -> float:
    cells = np.zeros(EWMA_WORDS, np.int64)
    for i in range(len(times)):
        lift_ewma(span_of(cells), 0, numbers[i], times[i], half_life_ms)
    value: float = ewma_value(span_of(cells), 0)
    cells[0] = 0
    return value


contributions = st.lists(
    st.tuples(st.integers(0, 5_000_000), st.floats(0, 1e12, allow_subnormal=False)), min_size=1, max_size=30
)


@given(contributions, st.integers(0, 3_000_000), st.sampled_from((1, 997, 60_000, 2_000_000)))
def test_a_decayed_sum_is_within_its_declared_error(
    given_contributions: list[tuple[int, float]], passed_ms: int, half_life_ms: int
) -> None:
    """The shown sum differs from the true one by at most the declared share of each event's weight, and per event."""
    times = np.array([START_MS + at for at, _ in given_contributions], np.int64)
    weights = np.array([weight for _, weight in given_contributions])
    now_ms = int(times.max()) + passed_ms
    ages = [float(Fraction(now_ms - int(time_ms), half_life_ms)) for time_ms in times]
    true = math.fsum(weight * 2.0**-age for weight, age in zip(weights, ages, strict=True) if age < 1000)
    shown = _decayed(times, weights, now_ms, half_life_ms)
    bound = DECAY_ERROR * (math.fsum(weights) + len(weights)) + 1e-14 * true
    assert abs(shown - true) <= bound


small = st.one_of(st.floats(-2.0, 2.0), st.floats(-1e-6, 1e-6), st.floats(-1e12, 1e12, allow_subnormal=False))


@given(
    st.lists(st.tuples(st.integers(0, 5_000_000), small), min_size=1, max_size=30),
    st.sampled_from((997, 60_000, 2_000_000)),
)
def test_a_moving_average_is_within_its_declared_error(
    given_contributions: list[tuple[int, float]], half_life_ms: int
) -> None:
    """The shown average differs from the mean as it is defined by at most the declared share of each number, from 1 up."""
    numbered = [(START_MS + at, number) for at, number in given_contributions]
    times = np.array([time_ms for time_ms, _ in numbered], np.int64)
    numbers = np.array([number for _, number in numbered])
    newest = max(time_ms for time_ms, _ in numbered)
    weights = [2.0 ** max(float(Fraction(time_ms - newest, half_life_ms)), -1070.0) for time_ms, _ in numbered]
    weighted = math.fsum(weight * number for weight, (_, number) in zip(weights, numbered, strict=True))
    spec = AttributeSpec("level", "laws", Kind.EWMA, "double", params=(half_life_ms,))
    bound = exactness(spec, {}).error * math.fsum(np.maximum(abs(numbers), 1.0)) + 1e-13 * abs(numbers).max()
    assert abs(_ewma(times, numbers, half_life_ms) - weighted / math.fsum(weights)) <= bound


@pytest.mark.parametrize("number", [1.0, 0.1, 1e-3, 1e-6, 1e-9])
def test_one_small_number_is_its_average_at_any_time_of_an_epoch(number: float) -> None:
    """Wherever in an epoch a number falls, the average shows it to the declared digits."""
    for half_lives in range(66):
        times = np.array([START_MS + half_lives * 1_000], np.int64)
        assert abs(_ewma(times, np.array([number]), 1_000) - number) <= DECAY_ERROR


def test_a_negative_weight_is_refused() -> None:
    """A rate is from 0: what has a negative weight is left out."""
    assert _decayed(np.array([START_MS], np.int64), np.array([-1.0]), START_MS, 1_000) == 0.0


@given(st.integers(1, 10**11), st.data())
def test_powers_are_right_to_the_last_bits(whole: int, drawn: st.DataObject) -> None:
    """The kernel's power of two differs from the true one by a few units in the last place."""
    part = drawn.draw(st.integers(0, whole - 1))
    assert math.isclose(power_of_two(part, whole), 2.0 ** float(Fraction(part, whole)), rel_tol=4 * 2.0**-53)


def test_an_exponential_window_is_a_time_constant() -> None:
    """After its window, a weight is 1/e of what it was."""
    half_life_ms = half_life_of(300_000)
    assert math.isclose(2.0 ** (-300_000 / half_life_ms), math.exp(-1), rel_tol=1e-5)
