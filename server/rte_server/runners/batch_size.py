"""How many rows a batch of a score has: fewer where a full one takes too long, more again where there is time."""

from __future__ import annotations

import math
from collections.abc import Callable
from time import monotonic

BATCH_ROWS_MAX = 2048
"""Rows of one batch: some 15 ms of a large tree ensemble, and twice that where the cores are busy. Nobody sees a score before
its batch has ended, and the next batch has to wait for it."""

SHRINK = 16
"""After a batch that failed the next one has so many times fewer rows: that is how it is divided to find the cause, too, so what
is learned of one helps the other. From there it grows by what was measured, so that few more fail."""

GROW_SHARE = 1 / 4
"""A batch is doubled where it took at most this share of the time limit: then twice as many rows take half of it, or all of
it where the time grows with the square of the rows."""

CEILING_S = 60.0
"""For so long no batch is as large as one that failed: what fails by its size for another reason than time, such as memory,
gives no sign before."""


class BatchSize:
    """Adapts to what a scorer can do. Told of batches that the scorer, not a session, may have failed for."""

    def __init__(self, time_limit_s: float, clock_s: Callable[[], float] = monotonic) -> None:
        """Begin with full batches.

        Args:
            time_limit_s: How long a batch may take, seconds, > 0.
            clock_s: Gives the time, seconds.
        """
        self._time_limit_s = time_limit_s
        self._clock_s = clock_s
        self._rows_max = self._ceiling = BATCH_ROWS_MAX
        self._ceiling_until_s = -math.inf

    @property
    def rows_max(self) -> int:
        """How many rows the next batch has at most, 1 to BATCH_ROWS_MAX."""
        return self._rows_max

    def succeeded(self, count: int, took_s: float) -> None:
        """Take note of a batch that went well.

        Args:
            count: Its rows, >= 1. One with fewer than there might have been says nothing about more.
            took_s: How long it took, seconds.
        """
        if count < self._rows_max or took_s > GROW_SHARE * self._time_limit_s:
            return
        if self._clock_s() >= self._ceiling_until_s:
            self._ceiling = BATCH_ROWS_MAX
        self._rows_max = min(2 * self._rows_max, max(self._rows_max, self._ceiling))

    def failed(self, count: int) -> None:
        """Take note of a batch of `count` rows, >= 2, that failed, though the scorer answers."""
        self._rows_max = min(self._rows_max, max(1, count // SHRINK))
        self._ceiling = max(1, count // 2)
        self._ceiling_until_s = self._clock_s() + CEILING_S

    def forgive(self) -> None:
        """Take note that a session was found that fails alone: the size of the batches was not the cause."""
        self._ceiling_until_s = -math.inf
