"""The rows that wait for a runner: who changed first is scored first, and nobody waits twice."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

import numpy as np
from numpy.typing import NDArray

Append = Callable[[NDArray[np.int64], int], int]
"""Appends rows to those that wait: gets the array and how many are in it, returns how many are in it then."""


class WaitingRows:
    """A queue of rows in two arrays: one is filled while the other is emptied. Its user holds a lock."""

    def __init__(self, rows_max: int, clock_s: Callable[[], float] = monotonic) -> None:
        """Make an empty queue.

        Args:
            rows_max: How many rows there can be; none is appended that waits already.
            clock_s: Gives the time, seconds.
        """
        self._clock_s = clock_s
        self._filled_since_s = self._emptied_since_s = 0.0
        self._filled, self._emptied = (np.zeros(rows_max, np.int64) for _ in range(2))
        self._filled_count = 0
        self._begin = self._end = 0

    def __len__(self) -> int:
        """Return how many rows wait; also without the lock, for whom a moment ago is good enough."""
        return self._filled_count + self._end - self._begin

    @property
    def since_s(self) -> float | None:
        """Since when a row has waited, by the clock; None: none does. Of those taken out together the time of the first."""
        if self._end > self._begin:
            return self._emptied_since_s
        return self._filled_since_s if self._filled_count else None

    def append(self, append: Append) -> None:
        """Let rows wait behind all others."""
        if not self._filled_count:
            self._filled_since_s = self._clock_s()
        self._filled_count = append(self._filled, self._filled_count)

    def take(self, count_max: int) -> NDArray[np.int64]:
        """Take out the rows that have waited for longest.

        Args:
            count_max: So many at most, >= 1; fewer only where fewer wait.

        Returns:
            int64[n], the caller's own.
        """
        rows = self._take_emptied(count_max)
        if len(rows) < count_max and self._filled_count:
            self._filled, self._emptied = self._emptied, self._filled
            self._emptied_since_s = self._filled_since_s
            self._begin, self._end, self._filled_count = 0, self._filled_count, 0
            rows = np.concatenate([rows, self._take_emptied(count_max - len(rows))])
        return rows

    def _take_emptied(self, count_max: int) -> NDArray[np.int64]:
        begin = self._begin
        self._begin = min(self._end, begin + count_max)
        return self._emptied[begin : self._begin].copy()
