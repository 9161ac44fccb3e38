"""The port of runners: what computes a score from a matrix of inputs."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from rte_server.engine.scores import CIRCUIT_OPEN, FAILED
from rte_server.runners.breaker import Breaker


class ScorerError(Exception):
    """A score cannot be computed; the message says why, for the log.

    Attributes:
        reason: Number of rte.v1.Score.Reason, for those who read the session.
        is_by_size: Whether fewer rows may go well: it lacked time or memory.
    """

    def __init__(self, message: str, reason: int = FAILED, *, is_by_size: bool = False) -> None:
        super().__init__(message)
        self.reason = reason
        self.is_by_size = is_by_size


class ScorerBusy(ScorerError):
    """It was not asked, because it still computes what another call has given up: that says nothing about these rows."""


class Scorer(Protocol):
    """Computes a score. `tests/runners/conformance.py` says what every one must keep to."""

    def score(self, inputs: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return float64[n]; NaN or an infinity where there is no score.

        The same row gives the same score, whatever rows stand beside it, and `inputs` are left as they are.

        Args:
            inputs: float32[n, k], finite, n >= 1.

        Raises:
            ScorerBusy: An earlier call that took too long has not ended yet.
            ScorerError: There is no score for any of the rows.
        """
        ...

    def is_expendable(self) -> bool:
        """Return whether a call that fails now would leave it able to answer the next one at once.

        Does not wait. False after a call that it has not recovered from; that it recovers is its own affair. Called by
        the thread that calls `score`.
        """
        ...

    def abort(self) -> None:
        """Let `score` fail at once, now and from now on. Any thread, also while `score` runs; idempotent."""
        ...

    def close(self) -> None:
        """Give back what it holds. Called once, by the thread that has called `score`."""
        ...


class RestingScorer:
    """A scorer behind a circuit breaker: what keeps failing is left alone for a while, so that nobody waits for it."""

    def __init__(self, scorer: Scorer, clock_s: Callable[[], float] = monotonic) -> None:
        """Make it.

        Args:
            scorer: Whatever computes the score.
            clock_s: Gives the time, seconds.
        """
        self._scorer = scorer
        self._clock_s = clock_s
        self._breaker = Breaker()

    def score(self, inputs: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return what the scorer gives.

        Raises:
            ScorerError: As the scorer, or CIRCUIT_OPEN.
        """
        if not self._breaker.allows(self._clock_s()):
            raise ScorerError("it failed too often and rests", CIRCUIT_OPEN)
        try:
            found = self._scorer.score(inputs)
        except ScorerBusy:
            raise
        except ScorerError:
            self._breaker.failed(self._clock_s())
            raise
        self._breaker.succeeded()
        return found

    def is_expendable(self) -> bool:
        """Return whether the scorer is."""
        return self._scorer.is_expendable()

    def abort(self) -> None:
        """Abort the scorer."""
        self._scorer.abort()

    def close(self) -> None:
        """Close the scorer."""
        self._scorer.close()
