"""Work that nobody waits for is kept to a share of a core, so that it takes longer instead of making others wait."""

from __future__ import annotations

from collections.abc import Callable


class Pacer:
    """Makes pauses in proportion to the work done between them. For one thread."""

    def __init__(self, share: float, clock_s: Callable[[], float], rest: Callable[[float], object]) -> None:
        """Make one; `begin` comes first.

        Args:
            share: Of one core, in (0, 1].
            clock_s: How much its thread has worked, seconds.
            rest: Returns after so many seconds, or at once when there is no time for pauses.
        """
        self._rest_per_work = 1.0 / share - 1.0
        self._clock_s = clock_s
        self._rest = rest
        self._since_s = 0.0

    def begin(self) -> None:
        """Count the work from now on."""
        self._since_s = self._clock_s()

    def pause(self) -> None:
        """Rest for the work since the last pause."""
        self._rest((self._clock_s() - self._since_s) * self._rest_per_work)
        self._since_s = self._clock_s()
