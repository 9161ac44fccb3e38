"""Snapshots are taken, and what they make unnecessary is given up: older snapshots, and entries of the journal.

Most of the state is copied in a thread of its own while the fold goes on, the rest between two entries in the fold's thread;
then it is stored in the thread of its own, which takes a share of one core only, unless somebody waits for it. The last time, in
a stop in order, the rows are not copied, since nothing changes them.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from queue import SimpleQueue
from time import monotonic, thread_time
from typing import Any, Generic, NamedTuple, TypeVar

from rte_server.engine.state_copy import Arrays, SnapshotAhead
from rte_server.journal.protocol import Journal, JournalError, JournalUnavailable
from rte_server.journal.recovery import FoldEngine, refold_bases
from rte_server.journal.snapshots import SnapshotStore
from rte_server.service.pacer import Pacer
from rte_server.service.pipeline_settings import PipelineSettings

ScannedT = TypeVar("ScannedT")
OutcomeT = TypeVar("OutcomeT")

SNAPSHOT_SHARE = 0.25
"""Of one core, for a snapshot for which nobody waits. At full speed it kept one of two cores busy for a second, in which the scores
of what changed came 0.1 s late."""

_log = logging.getLogger("rte.retention")


class _Copied(NamedTuple):
    """A snapshot to be stored.

    Attributes:
        position: The last entry that is in it.
        meta: What is small.
        arrays: The rest.
        forgetting: Wait until it is stored and the older ones are deleted.
    """

    position: int
    meta: dict[str, Any]
    arrays: Arrays
    forgetting: list[Future[int]]


class Retention(Generic[ScannedT, OutcomeT]):
    """Decides when a snapshot of one shard is due, and what is kept."""

    def __init__(
        self,
        journal: Journal,
        shard: int,
        engine: FoldEngine[ScannedT, OutcomeT],
        snapshots: SnapshotStore,
        settings: PipelineSettings,
        wake: Callable[[], None],
    ) -> None:
        """Make one that has begun nothing; arguments as for `Pipeline`.

        Args:
            wake: Called in the thread of `run` when `is_ahead` has become true: the fold should call `snapshot_if_due`.
        """
        self._journal = journal
        self._shard = shard
        self._engine = engine
        self._snapshots = snapshots
        self._settings = settings
        self._wake = wake
        self._since_entries = engine.position - max(snapshots.positions(), default=0)
        self._since_bytes = 0
        self._since_at = monotonic()
        self._is_busy = False
        self._ahead: SnapshotAhead | None = None
        # A large state is stored less often, so that snapshots write at most two bytes per byte of the journal.
        self._stored_bytes = 0
        self._work: SimpleQueue[SnapshotAhead | _Copied | None] = SimpleQueue()
        # Set while somebody waits for a snapshot: an erasure, or from now on the end of the server.
        self._awaited = threading.Event()
        self._is_ending = False
        self._pacer = Pacer(SNAPSHOT_SHARE, thread_time, self._awaited.wait)
        self._forgetting: list[Future[int]] = []
        self._has_ended = False
        # Held while snapshots and entries are given up, and while a refold chooses where it begins.
        self._lock = threading.Lock()
        self._held: list[int] = []
        self._keeping = 0
        self._counts = dict.fromkeys(("snapshots", "snapshot_failures"), 0)

    @property
    def is_ahead(self) -> bool:
        """Whether a snapshot is copied as far as it can be beside the fold. Any thread."""
        return self._ahead is not None

    def note_applied(self, entries: int, size: int) -> None:
        """Count entries that were applied, and the bytes of their bodies. Fold thread."""
        self._since_entries += entries
        self._since_bytes += size

    def snapshot_if_due(self) -> None:
        """Begin a snapshot if one is due and none is under way, or finish the copy of the one that is. Fold thread."""
        if self._ahead is not None:
            self._copy(self._ahead)
            return
        settings = self._settings
        since_ms = (monotonic() - self._since_at) * 1000
        is_due = (
            self._since_entries >= settings.snapshot_entries
            or self._since_bytes >= max(settings.snapshot_bytes, self._stored_bytes // 2)
            or (self._since_entries and since_ms >= settings.snapshot_interval_ms)
        )
        if (is_due or self._forgetting) and not self._is_busy:
            self._is_busy = True
            self._work.put(self._engine.begin_snapshot())

    def finish(self) -> None:
        """Let `run` store what is not in a snapshot yet, and end. Fold thread, which applies nothing any more."""
        self._hurry_to_the_end()
        if self._since_entries or self._forgetting:
            self._copy(self._ahead or self._engine.begin_snapshot(), is_last=True)
        self.end()

    def end(self) -> None:
        """Let `run` end. Any thread."""
        self._hurry_to_the_end()
        self._work.put(None)

    def run(self) -> None:
        """Copy ahead of the fold, and store what was copied, until told to end. In a thread of its own."""
        while (item := self._work.get()) is not None:
            if isinstance(item, SnapshotAhead):
                self._pacer.begin()
                item.advance(self._pacer.pause)
                self._ahead = item
                self._wake()
                continue
            position, meta, arrays, forgetting = item
            began = monotonic()
            self._pacer.begin()
            try:
                size = self._snapshots.write(position, meta, arrays, self._pacer.pause)
                self._give_up()
                if forgetting:
                    self._forget_before(position)
            except JournalError as error:
                for each in forgetting:
                    each.set_exception(error)
                self._counts["snapshot_failures"] += 1
                _log.error("no snapshot was stored at position %d, the journal is kept: %s", position, error)
            else:
                for each in forgetting:
                    each.set_result(position)
                self._counts["snapshots"] += 1
                self._stored_bytes = size
                _log.info("snapshot at position %d, %d bytes in %.1f s", position, size, monotonic() - began)
            finally:
                del item, arrays, forgetting
                with self._lock:
                    if not (self._forgetting or self._is_ending):
                        self._awaited.clear()
                self._is_busy = False
        with self._lock:
            self._has_ended = True
            left, self._forgetting = self._forgetting, []
        for each in left:
            each.set_exception(_ended())

    def forget_older(self) -> Future[int]:
        """Have a snapshot taken soon and all older ones deleted, for which nobody waits: they hold what was erased since.

        Any thread. Needs the journal's entries no less than before: what models can be folded from begins with it then.

        Returns:
            A future with its position, or with a JournalError: it could not be written, or an older one is held because
            models are being folded.
        """
        future: Future[int] = Future()
        with self._lock:
            if not self._has_ended:
                self._forgetting.append(future)
                self._awaited.set()
                return future
        future.set_exception(_ended())
        return future

    def hold_base(self, *, oldest: bool) -> int:
        """Choose a position from whose state on models can be folded, and keep what that needs until `release_base`.

        Args:
            oldest: Whether as much history as there is is wanted, else as little as is possible.
        """
        with self._lock:
            bases = refold_bases(self._journal, self._shard, self._snapshots, self._engine.refolds)
            base = bases[0 if oldest else -1]
            self._held.append(base)
            return base

    def release_base(self, base: int) -> None:
        """Undo one `hold_base`. What an entry needs that was adopted stays all the same."""
        with self._lock:
            self._held.remove(base)

    @contextmanager
    def entries_kept(self) -> Iterator[None]:
        """Give up no entry of the journal during a block, which reads them or changes them. Snapshots go on. Any thread."""
        with self._lock:
            self._keeping += 1
        try:
            yield
        finally:
            with self._lock:
                self._keeping -= 1

    def stats(self) -> dict[str, int]:
        """Return counters by name. Any thread."""
        return dict(self._counts)

    def _hurry_to_the_end(self) -> None:
        with self._lock:
            self._is_ending = True
            self._awaited.set()

    def _copy(self, ahead: SnapshotAhead, *, is_last: bool = False) -> None:
        self._ahead = None
        self._since_entries = self._since_bytes = 0
        self._since_at = monotonic()
        self._is_busy = True
        with self._lock:
            forgetting, self._forgetting = self._forgetting, []
        meta, arrays = ahead.finish(is_last=is_last)
        self._work.put(_Copied(self._engine.position, meta, arrays, forgetting))

    def _forget_before(self, position: int) -> None:
        """Delete every snapshot before a position.

        Raises:
            JournalUnavailable: One is held.
        """
        with self._lock:
            if self._held or any(since > position for since, _ in self._engine.refolds):
                raise JournalUnavailable("models are being folded from an older snapshot; try again when they run")
            self._snapshots.keep_only({position})

    def _give_up(self) -> None:
        """Give up snapshots and entries that nobody needs any more."""
        with self._lock:
            kept = self._snapshots.positions()[-self._settings.snapshots_kept :]
            # Whichever of the kept snapshots a recovery begins with, it must be able to repeat what comes after it.
            needed = {base for position, base in self._engine.refolds if position > kept[0]}
            needed.update(kept, self._held)
            self._snapshots.keep_only(needed)
            if self._settings.trim and len(kept) == self._settings.snapshots_kept and not self._keeping:
                # What began an erasure says what is left to be done, until it has ended.
                begun = (position for positions in self._engine.open_erasures.values() for position in positions)
                self._journal.trim(self._shard, min((min(needed) + 1, *begun)))


def _ended() -> JournalUnavailable:
    return JournalUnavailable("no more snapshots are stored, the server is stopping")
