"""Contributions: they add up, they are fair, and what an input cannot change it has no part in."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from rte_server.engine.program import AttributeSpec, Kind, ScoreSpec
from rte_server.runners.contributions import score_contributions
from rte_server.runners.scorer import ScorerError

NUMBERS = st.floats(-100, 100, width=32)


class Formula:
    """A scorer that is a formula: the product of the first two inputs, plus a multiple of the third."""

    def score(self, inputs: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the formula's value per row."""
        wide = inputs.astype(np.float64)
        return np.asarray(wide[:, 0] * wide[:, 1] + 3.0 * wide[:, 2] + 1000.0)

    def is_expendable(self) -> bool:
        """Return True: it keeps nothing."""
        return True

    def abort(self) -> None:
        """It is done before anyone could."""

    def close(self) -> None:
        """Do nothing."""


def spec(*defaults: float | None) -> AttributeSpec:
    """Return a score with as many inputs."""
    inputs = tuple((name, default) for name, default in zip("abcd", defaults, strict=False))
    return AttributeSpec("p", "m", Kind.SCORE, "double", score=ScoreSpec("onnx", "f.onnx", inputs=inputs))


@given(a=NUMBERS, b=NUMBERS, c=NUMBERS, d=NUMBERS)
def test_parts_add_up_and_are_fair(a: float, b: float, c: float, d: float) -> None:
    """What two inputs do together is shared, what one does alone is its own, what does nothing has no part."""
    found = score_contributions(spec(0.0, 0.0, 0.0, 0.0), {"a": a, "b": b, "c": c, "d": d}, Formula())
    parts = {each.name: each.part for each in found.parts}
    assert found.base + sum(parts.values()) == pytest.approx(found.total, abs=1e-6)
    assert parts["d"] == 0.0
    assert parts["c"] == pytest.approx(3.0 * c, abs=1e-6)
    assert parts["a"] == pytest.approx(parts["b"], abs=1e-6) == pytest.approx(a * b / 2, abs=1e-6)
    assert found.unit == "score" and found.method == "shapley_sampling"


def test_a_probability_is_explained_in_log_odds() -> None:
    """So that parts add up."""

    class Probability(Formula):
        def score(self, inputs: NDArray[np.float32]) -> NDArray[np.float64]:
            """Return a logistic function."""
            return np.asarray(1.0 / (1.0 + np.exp(-(inputs[:, 0].astype(np.float64) - 2.0 * inputs[:, 1]))))

    found = score_contributions(spec(0.0, 0.0), {"a": 1.5}, Probability())
    assert found.unit == "log_odds"
    assert {each.name: (each.is_default, round(each.part, 9)) for each in found.parts} == {
        "a": (False, 1.5),
        "b": (True, 0.0),
    }
    assert found.base == pytest.approx(0.0)
    assert found.total == pytest.approx(1.5)


def test_an_input_without_value_and_default_is_named() -> None:
    """There is no score then, so there is nothing to explain."""
    with pytest.raises(ScorerError, match="the inputs b have neither"):
        score_contributions(spec(0.0, None), {"a": 1.0}, Formula())
