"""Other models folded from history, beside the running server, until they have caught up with it.

A second engine begins with the state at an earlier position, takes over the models to come, and folds the journal in a
thread of its own. When it is near the end, the CONFIGURE entry is submitted like any other; the refold goes on up to the
entry before it, and there the running engine takes its state over. So the pause is the time for the last few entries,
however many sessions there are, and the state is a function of the journal: the entry says where the refold began.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from time import monotonic
from typing import Any, Generic

from rte_server.engine.entries import EntryType
from rte_server.journal.protocol import Journal
from rte_server.journal.recovery import Engine_, state_at
from rte_server.journal.snapshots import SnapshotStore

CAUGHT_UP_S = 0.05
"""A refold has caught up when what had come since its last look took at most this long to fold."""

LOOK_S = 0.001
"""How often a refold that is at the end of the journal looks for more."""

YIELD_S = 0.005
YIELDS_MAX = 10
"""While the running engine is behind, a refold waits before each entry, up to YIELDS_MAX times YIELD_S."""

FINISH_S = 60.0
"""How long the running engine waits for a refold at its entry; a refold that had caught up needs a thousandth of it."""

_log = logging.getLogger("rte.refold")


class Refold(Generic[Engine_]):
    """One refold. Its thread owns the second engine until it has ended."""

    def __init__(
        self,
        journal: Journal,
        shard: int,
        snapshots: SnapshotStore,
        make_engine: Callable[[], Engine_],
        base: int,
        configuration: Mapping[str, Any],
        body: bytes,
        is_busy: Callable[[], bool],
    ) -> None:
        """Begin; the thread runs from here on.

        Args:
            journal: Where the entries are.
            shard: Which of its shards.
            snapshots: The shard's snapshots; the caller sees to it that the one at `base` stays, and what follows it.
            make_engine: Makes an empty engine of the running one's capacity.
            base: The position from whose state on the models are folded.
            configuration: What the engine takes over there.
            body: The body of the entry before which the refold ends: the first one with it that is yet to come.
            is_busy: Whether the running engine is behind, so that the refold should leave it the processor.
        """
        self.base = base
        self._journal = journal
        self._shard = shard
        self._snapshots = snapshots
        self._make_engine = make_engine
        self._configuration = configuration
        self._body = body
        self._is_busy = is_busy
        self._ends_after = journal.last_position(shard)
        self._caught_up = threading.Event()
        self._stop = threading.Event()
        self._is_awaited = False
        self._engine: Engine_ | None = None
        self._failure: Exception | None = None
        self._began = monotonic()
        self._thread = threading.Thread(target=self._run, name=f"rte-refold-{shard}", daemon=True)
        self._thread.start()

    @property
    def seconds(self) -> float:
        """Return how long ago it began."""
        return monotonic() - self._began

    def wait_caught_up(self, timeout_s: float) -> bool:
        """Wait until it is near the end of the journal; return whether it is.

        Raises:
            ValueError: The configuration cannot be understood.
            JournalError: The journal or a snapshot cannot be read.
        """
        reached = self._caught_up.wait(timeout_s)
        if self._failure is not None:
            raise self._failure
        return reached

    def finish(self, position: int) -> Engine_:
        """Return the engine, which has folded all entries before `position`, that of the entry it ends at.

        Raises:
            RuntimeError: It has not: it failed, was stopped, or is far behind.
        """
        self._is_awaited = True
        self._thread.join(FINISH_S)
        engine, self._engine = self._engine, None
        if self._thread.is_alive() or engine is None or engine.position != position - 1:
            self._stop.set()
            raise RuntimeError(f"the refold for entry {position} has not arrived") from self._failure
        return engine

    def take(self) -> Engine_:
        """End it where it is, and return its engine.

        Raises:
            RuntimeError: It failed, or has not begun to fold.
        """
        self.stop()
        engine, self._engine = self._engine, None
        if engine is None:
            raise RuntimeError("the refold has failed") from self._failure
        return engine

    def stop(self) -> None:
        """End it; what it has is still there. Blocks until it has ended."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            engine = state_at(self._journal, self._shard, self._snapshots, self._make_engine, self.base)
            engine.begin_refold(self._configuration)
            self._follow(engine)
            self._engine = engine
        except Exception as failure:
            _log.exception("a refold from position %d failed", self.base)
            self._failure = failure
        finally:
            self._caught_up.set()

    def _follow(self, engine: Engine_) -> None:
        """Fold until told to stop, or up to the entry before the one to end at."""
        while not self._stop.is_set():
            began = monotonic()
            if engine.position < self._journal.last_position(self._shard):
                for position, entry in self._journal.read(self._shard, engine.position + 1):
                    is_end = (
                        position > self._ends_after and entry.type == EntryType.CONFIGURE and entry.body == self._body
                    )
                    if is_end or self._stop.is_set():
                        return
                    self._yield()
                    engine.apply(position, entry)
            else:
                self._stop.wait(LOOK_S)
            if monotonic() - began <= CAUGHT_UP_S:
                self._caught_up.set()

    def _yield(self) -> None:
        """Leave the processor to the running engine while it is behind, unless it waits for this."""
        tries = 0
        while tries < YIELDS_MAX and not self._is_awaited and self._is_busy():
            self._stop.wait(YIELD_S)
            tries += 1
