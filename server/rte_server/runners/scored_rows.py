"""What one score of some rows is computed from, and how it is shown."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rte_server.engine.score_inputs import ScoreInputs
from rte_server.engine.score_view import ScoreView
from rte_server.engine.scores import FAILED, MISSING_INPUT, REASONS, SCORED
from rte_server.runners.scorer import Scorer, ScorerError


class ReadRows(NamedTuple):
    """Rows as they were read for one score.

    Attributes:
        rows: int64[n].
        inputs: float32[n, k]; NaN where an input is absent and has no default.
        stamps: int64[n, 3], as in `GatheredRows`; the first of a row is the low word of its session's id, or 0.
        is_ready: bool[n], whether it is a session's and has all inputs.
    """

    rows: NDArray[np.int64]
    inputs: NDArray[np.float32]
    stamps: NDArray[np.int64]
    is_ready: NDArray[np.bool_]

    def only(self, which: NDArray[np.bool_]) -> ReadRows:
        """Return some of them: bool[n]."""
        return ReadRows(self.rows[which], self.inputs[which], self.stamps[which], self.is_ready[which])


def read_rows(view: ScoreView, inputs: ScoreInputs, rows: NDArray[np.int64], now_ms: int) -> ReadRows:
    """Read rows for a score.

    Args:
        view: Of the engine.
        inputs: Those of the score.
        rows: int64[n], below the high water mark.
        now_ms: The time by the server's clock; at least that of the newest entry is taken.
    """
    found = view.gather(inputs, rows, now_ms)
    return ReadRows(rows, *found, np.isfinite(found.inputs).all(axis=1) & (found.stamps[:, 0] != 0))


def show(view: ScoreView, place: int, found: ReadRows, outcome: NDArray[np.float64] | ScorerError) -> None:
    """Show a score of some rows, or why there is none.

    Args:
        view: Of the engine.
        place: Which of the program's scores.
        found: The rows.
        outcome: float64[m], the scores of those that are ready, or why they have none.
    """
    statuses = np.full(len(found.rows), int(REASONS) + MISSING_INPUT, np.int64)
    values = np.zeros(len(found.rows), np.float64)
    if isinstance(outcome, ScorerError):
        statuses[found.is_ready] = int(REASONS) + outcome.reason
    else:
        is_number = np.isfinite(outcome)
        statuses[found.is_ready] = np.where(is_number, int(SCORED), int(REASONS) + FAILED)
        values[found.is_ready] = np.where(is_number, outcome, 0.0)
    view.put(place, found.rows, found.stamps, statuses, values)


def scored(scorer: Scorer | ScorerError, inputs: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return what a scorer gives for float32[n, k], as float64[n].

    Raises:
        ScorerError: It fails, or gives something else.
    """
    if isinstance(scorer, ScorerError):
        raise scorer
    found: object = scorer.score(inputs)
    try:
        values = np.asarray(found, np.float64)
    except (TypeError, ValueError):
        raise ScorerError(f"it gave a {type(found).__name__}, not numbers") from None
    if values.shape != (len(inputs),):
        raise ScorerError(f"it gave {values.shape} for {len(inputs)} rows")
    return values
