"""What every scorer must keep to. Source of the idea: online-ml/river, `river/checks`."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from rte_server.runners.scorer import Scorer

INPUTS = 3
MakeScorer = Callable[[], Scorer]


def rows(count: int, seed: int = 1) -> NDArray[np.float32]:
    """Return float32[count, INPUTS], among them zeros and large numbers."""
    chance = np.random.default_rng(seed)
    found = chance.normal(0.0, 10.0, (count, INPUTS)).astype(np.float32)
    found[0] = 0.0
    found[-1] = 1e6
    return found


def check_gives_a_number_per_row(make: MakeScorer) -> None:
    """As many float64 numbers as there are rows, for one row, too."""
    scorer = make()
    for count in (1, 2, 257):
        found = scorer.score(rows(count))
        assert found.dtype == np.float64
        assert found.shape == (count,)
        assert np.isfinite(found).all()
    scorer.close()


def check_leaves_inputs_alone(make: MakeScorer) -> None:
    """The matrix is what it was."""
    scorer = make()
    inputs = rows(50)
    before = inputs.copy()
    scorer.score(inputs)
    assert (inputs == before).all()
    scorer.close()


def check_same_row_same_score(make: MakeScorer) -> None:
    """Whatever rows stand beside it, in whatever order, and however often it is asked."""
    scorer = make()
    inputs = rows(64)
    found = scorer.score(inputs)
    assert (scorer.score(inputs) == found).all()
    assert np.abs(scorer.score(np.ascontiguousarray(inputs[::-1]))[::-1] - found).max() < 1e-6
    alone = np.concatenate([scorer.score(inputs[place : place + 1]) for place in range(8)])
    assert np.abs(alone - found[:8]).max() < 1e-6
    scorer.close()


def check_two_of_them_agree(make: MakeScorer) -> None:
    """What is made twice gives the same: nothing is left to chance."""
    first, second = make(), make()
    assert (first.score(rows(30)) == second.score(rows(30))).all()
    first.close()
    second.close()


def check_goes_on_after_strange_rows(make: MakeScorer) -> None:
    """The largest and smallest numbers of float32 give some answer, and the next rows are scored as before."""
    scorer = make()
    before = scorer.score(rows(5))
    limits = np.finfo(np.float32)
    strange = np.array([[limits.max] * INPUTS, [limits.min] * INPUTS, [limits.tiny] * INPUTS], np.float32)
    assert scorer.score(strange).shape == (3,)
    assert (scorer.score(rows(5)) == before).all()
    scorer.close()


CHECKS = (
    check_gives_a_number_per_row,
    check_leaves_inputs_alone,
    check_same_row_same_score,
    check_two_of_them_agree,
    check_goes_on_after_strange_rows,
)
