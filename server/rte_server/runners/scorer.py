"""The port of runners: what computes a score from a matrix of inputs."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from rte_server.engine.scores import FAILED


class ScorerError(Exception):
    """A score cannot be computed; the message says why, for the log.

    Attributes:
        reason: Number of rte.v1.Score.Reason, for those who read the session.
    """

    def __init__(self, message: str, reason: int = FAILED) -> None:
        super().__init__(message)
        self.reason = reason


class Scorer(Protocol):
    """Computes a score. `tests/runners/conformance.py` says what every one must keep to."""

    def score(self, inputs: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return float64[n]; NaN or an infinity where there is no score.

        The same row gives the same score, whatever rows stand beside it, and `inputs` are left as they are.

        Args:
            inputs: float32[n, k], finite, n >= 1.

        Raises:
            ScorerError: There is no score for any of the rows.
        """
        ...

    def retry_in_s(self) -> float | None:
        """Return in how many seconds rows without a score should be tried again, >= 0; None if there are none."""
        ...

    def abort(self) -> None:
        """Let `score` fail at once, now and from now on. Any thread, also while `score` runs; idempotent."""
        ...

    def close(self) -> None:
        """Give back what it holds. Called once, by the thread that has called `score`."""
        ...
