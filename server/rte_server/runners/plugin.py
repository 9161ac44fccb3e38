"""Plug-ins: scores by Python code of others, in a process of their own.

A plug-in is an entry point of the group `rte.scorers`: a callable that takes float32[n, k], read-only, and returns n
numbers. It runs in a process, not in a thread of the server: a thread cannot be ended, and one that computes in Python
takes every other one's turn. A process that exceeds its time limit is killed, and another one takes its place.

Importing a plug-in may take seconds, for which nobody has a score. So where processes have been lost, another one is kept
that has imported it already: the spare.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from time import monotonic

import numpy as np
from numpy.typing import NDArray

from rte_server.runners.plugin_link import PluginLink, ProcessLost

MEMORY_BYTES_MAX = 4 << 30
"""What a process may hold in memory where nobody says it, bytes: what libraries for tree ensembles and small networks need, a
few times over."""

SPARE_S = 600.0
"""A spare is kept for so long after a process was lost: as long as two of the longest pauses after which a session that
ends processes is tried again. Plug-ins that lose none cost the memory of one process."""


class PluginScorer:
    """Runs a plug-in."""

    def __init__(
        self,
        name: str,
        time_limit_s: float,
        memory_bytes_max: int = MEMORY_BYTES_MAX,
        *,
        has_spare: bool = False,
        clock_s: Callable[[], float] = monotonic,
    ) -> None:
        """Make it; its process starts with the first batch.

        Args:
            name: Of its entry point.
            time_limit_s: How long it may take for one batch, seconds, > 0.
            memory_bytes_max: What one process may hold in memory, bytes.
            has_spare: Whether a spare is kept after a process was lost.
            clock_s: Gives the time, seconds.
        """
        self._name = name
        self._time_limit_s = time_limit_s
        self._memory_bytes_max = memory_bytes_max
        self._has_spare = has_spare
        self._clock_s = clock_s
        self._link: PluginLink | None = None
        self._spare: PluginLink | None = None
        self._spare_until_s = -math.inf
        self._no_spare_until_s = -math.inf
        self._is_aborted = False

    def load(self) -> None:
        """Start its process, which imports it, as the first batch would.

        Raises:
            ScorerError: PACKAGE_MISSING, there is none of that name; TIMEOUT; FAILED, it cannot be imported or called.
        """
        self._loaded()

    def score(self, inputs: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return what the plug-in says of the rows.

        Raises:
            ScorerError: TIMEOUT, FAILED, PACKAGE_MISSING.
        """
        if self._clock_s() >= self._spare_until_s:
            self._drop_spare()
        link = self._loaded()
        try:
            return np.frombuffer(link.ask(inputs, self._time_limit_s), np.float64)
        except ProcessLost:
            self._lost()
            raise

    def is_expendable(self) -> bool:
        """Return whether a call that fails now would leave a process that answers the next one at once.

        That is taken to be so as long as no process was lost for a while, and where the system gives none for a spare:
        then it is as if there were no spares. Starts processes that are not there, and does not wait for them.
        """
        now_s = self._clock_s()
        if now_s >= self._spare_until_s:
            self._drop_spare()
            return True
        try:
            if self._link is None:
                self._link = self._started()
            if not self._link.is_loaded():
                return False
            if self._spare is None and now_s >= self._no_spare_until_s:
                # Only now, so that the two imports do not take the processor from each other.
                self._spare = self._started()
            if self._spare is None:
                return True
            if not self._spare.is_loaded():
                return False
            self._spare.load()
        except ProcessLost:
            # If it was the first one, the next call says so.
            self._drop_spare()
            self._no_spare_until_s = now_s + SPARE_S
        return True

    def _loaded(self) -> PluginLink:
        """Return the process, which is started if it does not run."""
        if self._link is None:
            self._link = self._started()
        try:
            self._link.load()
        except ProcessLost:
            self._replace()
            raise
        return self._link

    def _started(self) -> PluginLink:
        link = PluginLink(self._name, self._memory_bytes_max)
        link.start()
        # Looked at after the process runs: `abort` has ended the others.
        if self._is_aborted:
            link.close()
            raise ProcessLost("the server is ending")
        return link

    def _lost(self) -> None:
        """Replace a process that a call has ended; without a spare the next one begins to import the plug-in at once."""
        self._replace()
        if self._has_spare and not self._is_aborted:
            self._spare_until_s = self._clock_s() + SPARE_S
            if self._link is None:
                with suppress(ProcessLost):
                    self._link = self._started()

    def _replace(self) -> None:
        """End the process; the spare takes its place, if there is one."""
        if self._link is not None:
            self._link.close()
        self._link, self._spare = self._spare, None

    def _drop_spare(self) -> None:
        if self._spare is not None:
            self._spare.close()
            self._spare = None

    def abort(self) -> None:
        """End the processes, from another thread: `score` fails at once."""
        self._is_aborted = True
        for link in (self._link, self._spare):
            if link is not None:
                link.abort()

    def close(self) -> None:
        """End the processes."""
        self._drop_spare()
        if self._link is not None:
            self._link.close()
            self._link = None
