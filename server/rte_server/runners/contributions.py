"""How much each input has to do with a score that a runner computes.

Of a scorer only answers can be had. So the parts are Shapley values, estimated over orders in which the inputs change from their defaults to what they are. For each order the changes
add up to the difference between the score and the score of the defaults, so their means do, too, exactly. The orders
are the same each time, each together with its reverse, so an answer can be repeated.

Source: Štrumbelj, Kononenko, "Explaining prediction models and individual predictions with feature contributions",
Knowledge and Information Systems 41 (2014); the reversed orders: Mitchell et al., "Sampling Permutations for Shapley Value
Estimation", JMLR 23 (2022).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rte_server.engine.program import AttributeSpec
from rte_server.runners.scored_rows import scored
from rte_server.runners.scorer import Scorer, ScorerError

ORDERS = 32
"""Orders of the inputs, half of them reversed: 580 rows for 17 inputs, some 2 ms of a large tree ensemble."""

LOG_ODDS = "log_odds"
METHOD = "shapley_sampling"

_SEED = 20_240_101
_ODDS_MIN = 1e-9


@dataclass(frozen=True, slots=True)
class Contribution:
    """The part of one input.

    Attributes:
        name: Its attribute.
        value: What the score has read: the attribute's value, or its default.
        is_default: Whether the attribute had no value.
        part: What it adds to the score, in `Contributions.unit`; negative: it lowers it.
    """

    name: str
    value: float
    is_default: bool
    part: float


@dataclass(frozen=True, slots=True)
class Contributions:
    """What a score is made of: `base` and the parts add up to `total`.

    Attributes:
        method: METHOD.
        unit: LOG_ODDS of a probability, or `score` as it is.
        base: The score of the defaults.
        total: The score.
        parts: One per input, by falling size.
    """

    method: str
    unit: str
    base: float
    total: float
    parts: tuple[Contribution, ...]


def score_contributions(spec: AttributeSpec, values: Mapping[str, float | None], scorer: Scorer) -> Contributions:
    """Return the parts of a score that a runner computes.

    Args:
        spec: Of kind SCORE.
        values: The inputs by name, a bool as 0 or 1; None or missing: it has no value.
        scorer: Computes it.

    Raises:
        ScorerError: An input has neither a value nor a default, or the scorer fails.
    """
    assert spec.score is not None
    inputs = spec.score.inputs
    given = [values.get(name) for name, _ in inputs]
    missing = [name for (name, default), value in zip(inputs, given, strict=True) if value is None and default is None]
    if missing:
        raise ScorerError(f"the inputs {', '.join(missing)} have neither a value nor a default")
    # An input that may not be absent is compared with 0.
    base = np.array([default or 0.0 for _, default in inputs], np.float32)
    row = np.array(
        [default if value is None else value for (_, default), value in zip(inputs, given, strict=True)], np.float32
    )
    steps = _steps(len(inputs))
    # Row s of an order has the inputs that come first in it as they are, and the others at their defaults.
    scores = _scores(scorer, np.where(steps.reshape(-1, len(inputs)), row, base).astype(np.float32))
    is_probability = bool((scores >= 0).all() and (scores <= 1).all())
    if is_probability:
        clipped = np.clip(scores, _ODDS_MIN, 1 - _ODDS_MIN)
        scores = np.log(clipped / (1 - clipped))
    scores = scores.reshape(steps.shape[:2])
    changed = steps[:, 1:] != steps[:, :-1]
    means = (np.diff(scores, axis=1)[:, :, None] * changed).sum(axis=1).mean(axis=0)
    parts = [
        Contribution(name, float(row[place]), given[place] is None, float(means[place]))
        for place, (name, _) in enumerate(inputs)
    ]
    unit = LOG_ODDS if is_probability else "score"
    return Contributions(METHOD, unit, float(scores[0, 0]), float(scores[0, -1]), _by_size(parts))


def _steps(count: int) -> NDArray[np.bool_]:
    """Return bool[ORDERS, count + 1, count]: which inputs are as they are after each step of each order."""
    chance = np.random.default_rng(_SEED)
    half = [chance.permutation(count) for _ in range(ORDERS // 2)]
    orders = np.array([order for each in half for order in (each, each[::-1])])
    places = np.argsort(orders, axis=1)
    return places[:, None, :] < np.arange(count + 1)[None, :, None]


def _scores(scorer: Scorer, rows: NDArray[np.float32]) -> NDArray[np.float64]:
    scores = scored(scorer, rows)
    if not np.isfinite(scores).all():
        raise ScorerError("it gives no number for some values of the inputs")
    return scores


def _by_size(parts: list[Contribution]) -> tuple[Contribution, ...]:
    return tuple(sorted(parts, key=lambda each: (-abs(each.part), each.name)))
