"""Calls of foreign native code under a time limit.

Such code cannot be ended from outside, it can only be asked to end. So each call runs on a daemon thread of its own:
whoever wants the result waits for the limit, asks, and goes on. A thread that does not listen is left to itself, and
nothing else is begun until it has ended, so there is never more than one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

Result = TypeVar("Result")

END_S = 0.5
"""How long a call that was asked to end is waited for, so that the next one finds the way free."""


class StillBusy(TimeoutError):
    """A call was not begun, because an earlier one has not ended yet."""


@dataclass(slots=True)
class _Call(Generic[Result]):
    """One call: what it gave or raised, once it is done."""

    is_done: bool = False
    result: Result | None = None
    error: Exception | None = None


class TimedThread:
    """Runs calls, one at a time. `run` belongs to one thread, `abort` may be called from any."""

    def __init__(self, name: str) -> None:
        """Make it; threads are started by `run`.

        Args:
            name: Of the threads.
        """
        self._name = name
        self._changed = threading.Condition()
        self._is_busy = False
        self._is_aborted = False

    def run(self, work: Callable[[], Result], limit_s: float, interrupt: Callable[[], None] = lambda: None) -> Result:
        """Return what a call returns.

        Args:
            work: The call.
            limit_s: How long it may take, seconds, > 0.
            interrupt: Asks it to end; called at most once, while it runs.

        Raises:
            StillBusy: An earlier one has not ended yet.
            TimeoutError: It took longer, or it was aborted.
            RuntimeError: No thread can be started.
            Exception: Whatever the call raises.
        """
        with self._changed:
            if self._is_aborted:
                raise TimeoutError
            if self._is_busy:
                raise StillBusy
            self._is_busy = True
        call: _Call[Result] = _Call()
        try:
            threading.Thread(target=self._do, args=(work, call), name=self._name, daemon=True).start()
        except RuntimeError:
            self._is_busy = False
            raise
        with self._changed:
            self._changed.wait_for(lambda: call.is_done or self._is_aborted, limit_s)
            if not call.is_done:
                interrupt()
                self._changed.wait_for(lambda: call.is_done, END_S)
                raise TimeoutError
        if call.error is not None:
            raise call.error
        return call.result  # type: ignore[return-value]  # it is done without an error

    def abort(self) -> None:
        """Let what runs, and all that comes later, raise TimeoutError at once. Any thread; idempotent."""
        with self._changed:
            self._is_aborted = True
            self._changed.notify_all()

    @property
    def is_busy(self) -> bool:
        """Whether a call has not ended yet, be it that nobody waits for it any more."""
        return self._is_busy

    @property
    def is_aborted(self) -> bool:
        """Whether `abort` was called."""
        return self._is_aborted

    def _do(self, work: Callable[[], Result], call: _Call[Result]) -> None:
        try:
            call.result = work()
        except Exception as error:  # noqa: BLE001 - it is raised where the result is waited for
            call.error = error
        with self._changed:
            call.is_done = True
            self._is_busy = False
            self._changed.notify_all()
