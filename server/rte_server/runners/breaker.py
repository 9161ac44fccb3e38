"""A circuit breaker: what keeps failing is left alone for a while, then tried once.

Source: Nygard, "Release It!", 2nd ed., section 5.2.
"""

from __future__ import annotations

import math

FAILURES_MAX = 3
"""Failures in a row after which the circuit opens."""

REST_S_MIN = 5.0
REST_S_MAX = 300.0
"""How long it stays open: at first, and at most; each failed attempt doubles it."""


class Breaker:
    """Counts failures. It is told the time, and decides nothing but whether to try."""

    def __init__(self) -> None:
        self._failures = 0
        self._rest_s = REST_S_MIN
        self._retry_at_s = -math.inf

    @property
    def is_open(self) -> bool:
        """Whether it has failed too often: attempts are refused for a while, and then one is allowed."""
        return self._failures >= FAILURES_MAX

    def retry_in_s(self, now_s: float) -> float | None:
        """Return in how many seconds what failed should be tried again, >= 0; None if nothing failed."""
        return max(0.0, self._retry_at_s - now_s) if math.isfinite(self._retry_at_s) else None

    def allows(self, now_s: float) -> bool:
        """Return whether an attempt may be made. Of an open circuit the first one after its rest is a trial."""
        return not self.is_open or now_s >= self._retry_at_s

    def succeeded(self) -> None:
        """Take note of an attempt that went well: the circuit is closed."""
        self._failures = 0
        self._rest_s = REST_S_MIN
        self._retry_at_s = -math.inf

    def failed(self, now_s: float) -> None:
        """Take note of one that did not."""
        was_open = self.is_open
        self._failures += 1
        self._rest_s = min(REST_S_MAX, 2 * self._rest_s) if was_open else self._rest_s
        self._retry_at_s = now_s + self._rest_s
