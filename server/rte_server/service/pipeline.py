"""The shell of a shard: what is submitted becomes durable, then folded, then visible, in one order.

    submit -> bounded queue -> journal thread -> fold thread -> listeners, waiters
                               one group commit    apply per entry, then publish

The journal thread takes everything that waits as one commit, and hands it to the fold thread; while that folds, the next
commit is under way. So batches grow by themselves under load, and an idle server answers after one commit.

A waiter is woken through its event loop, once per commit or publication for all of them: waking a loop costs more than
folding a small batch.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import heapq
import itertools
import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Generic, TypeVar

from rte_server.engine.entries import Entry, EntryType
from rte_server.engine.reasons import EngineError, Reason
from rte_server.journal.protocol import Journal, JournalError
from rte_server.journal.recovery import FoldEngine
from rte_server.journal.snapshots import SnapshotStore
from rte_server.service.intake import Intake, Submission, size_of
from rte_server.service.pipeline_settings import PipelineSettings
from rte_server.service.receipts import Receipt, Settlement, Waiter, Want, settle
from rte_server.service.retention import Retention

ScannedT = TypeVar("ScannedT")
OutcomeT = TypeVar("OutcomeT")

DUE_MANY = 1_000
"""With more than so much due, the next TICK follows after TICK_AGAIN_S: one TICK does a bounded share of it."""

TICK_AGAIN_S = 0.005

PUBLISH_S = 0.002
"""Under load the fold publishes at least about so often, so that what is folded becomes visible."""

_log = logging.getLogger("rte.pipeline")


class Pipeline(Generic[ScannedT, OutcomeT]):
    """Runs one shard. Any thread may submit and wait; the engine is written by the fold thread only.

    Attributes:
        retention: Keeps snapshots, and what a refold needs.
    """

    def __init__(
        self,
        journal: Journal,
        shard: int,
        engine: FoldEngine[ScannedT, OutcomeT],
        snapshots: SnapshotStore,
        settings: PipelineSettings,
        now_ms: Callable[[], int],
        on_failure: Callable[[BaseException], None] | None = None,
    ) -> None:
        """Make a pipeline that is not running yet.

        Args:
            journal: Open, not closed before the pipeline is stopped.
            shard: Which of its shards.
            engine: Has folded all of the journal, see `journal.recovery.recover`.
            snapshots: Where snapshots go.
            settings: Limits and intervals.
            now_ms: The clock, for the received time of ticks.
            on_failure: Called once, in one of the pipeline's threads, if the fold or the pipeline itself fails: it then
                refuses everything with INTERNAL, and the process should end.
        """
        self._journal = journal
        self._shard = shard
        self._engine = engine
        self._settings = settings
        self._now_ms = now_ms
        self._on_failure = on_failure
        self._listeners: list[Callable[[int, OutcomeT], None]] = []

        self._lock = threading.Lock()
        self._submitted = threading.Condition(self._lock)
        self._journalled = threading.Condition(self._lock)
        self._intake: Intake[ScannedT] = Intake(settings)
        self._to_fold: deque[Submission[ScannedT]] = deque()
        self._durable = self._applied = engine.position
        self._position_waiters: list[tuple[int, int, Waiter]] = []
        self._order = itertools.count()
        self._stopping = False
        self._journal_ended = False
        self._failure: BaseException | None = None
        self._counts = dict.fromkeys(("entries", "commits", "journal_failures", "ticks"), 0)
        self.retention = Retention(journal, shard, engine, snapshots, settings, self._wake_fold)

        self._journal_fails = False
        self._tick_pending = False
        self._tick_at = monotonic()
        self._threads = [
            threading.Thread(target=self._guarded, args=(run,), name=f"rte-{name}-{shard}")
            for name, run in (
                ("journal", self._run_journal),
                ("fold", self._run_fold),
                ("snapshot", self.retention.run),
            )
        ]

    def add_listener(self, listener: Callable[[int, OutcomeT], None]) -> None:
        """Have `listener(position, outcome)` called after each applied entry, in order, in the fold thread.

        It must be quick and must not raise. What it does is done before the entry counts as applied. Call before `start`.
        """
        self._listeners.append(listener)

    def start(self) -> None:
        """Start the threads. Call once."""
        for thread in self._threads:
            thread.start()

    @property
    def durable_position(self) -> int:
        """Return the position of the newest durable entry."""
        return self._durable

    @property
    def applied_position(self) -> int:
        """Return the position up to which the state and all listeners are."""
        return self._applied

    def submit(
        self,
        entry: Entry,
        scanned: ScannedT | None = None,
        want: Want = Want.DURABLE,
        *,
        before: Entry | None = None,
    ) -> asyncio.Future[Receipt[OutcomeT]]:
        """Submit an entry on an event loop, and return what to await. Cancelling it does not withdraw the entry.

        Args:
            entry: What to store and fold.
            scanned: EVENTS: the engine's scan of the body, if it is at hand.
            want: What to wait for.
            before: An entry that is stored and folded right before it.

        Returns:
            A future with the receipt, or with an EngineError: JOURNAL_UNAVAILABLE (nothing was taken), INTERNAL.

        Raises:
            EngineError: OVERLOADED if a queue limit is reached, OUT_OF_RANGE if the body is longer than any journal
                takes, SHUTTING_DOWN, INTERNAL. Nothing was taken.
        """
        future: asyncio.Future[Receipt[OutcomeT]] = asyncio.get_running_loop().create_future()
        self._submit(Submission(entry, scanned, want, future), before)
        return future

    def submit_and_wait(
        self, entry: Entry, scanned: ScannedT | None = None, want: Want = Want.DURABLE, timeout_s: float | None = None
    ) -> Receipt[OutcomeT]:
        """Submit an entry from a thread without an event loop, and wait; see `submit`.

        Raises:
            EngineError: As `submit` and its future.
            TimeoutError: `timeout_s` passed. The entry may be taken all the same.
        """
        future: concurrent.futures.Future[Receipt[OutcomeT]] = concurrent.futures.Future()
        self._submit(Submission(entry, scanned, want, future))
        return future.result(timeout_s)

    def activate(
        self, entry: Entry, refolded: Callable[[int], FoldEngine[ScannedT, OutcomeT]]
    ) -> asyncio.Future[Receipt[OutcomeT]]:
        """Submit a CONFIGURE entry that is applied by adopting another engine; wait until it is applied.

        Args:
            entry: It has the member `refold_from`; that position is held, see `Retention.hold_base`.
            refolded: Called in the fold thread with the position of the entry; gives the engine to adopt.

        Raises:
            EngineError: As `submit`.
        """
        future: asyncio.Future[Receipt[OutcomeT]] = asyncio.get_running_loop().create_future()
        self._submit(Submission(entry, None, Want.APPLIED, future, refolded))
        return future

    def is_busy(self) -> bool:
        """Return whether more than a quarter of the queue waits."""
        return self._intake.is_busy

    def wait_position(self, position: int) -> asyncio.Future[int]:
        """Return, on an event loop, what is done with the applied position once that is at least `position`.

        Raises:
            EngineError: INVALID_POSITION if `position` is not durable yet, so nobody can have been told it; INTERNAL.
        """
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._wait(position, future)
        return future

    def wait_position_blocking(self, position: int, timeout_s: float | None = None) -> int:
        """Wait in a thread until `position` is applied; see `wait_position`.

        Raises:
            EngineError: As `wait_position`.
            TimeoutError: `timeout_s` passed.
        """
        future: concurrent.futures.Future[int] = concurrent.futures.Future()
        self._wait(position, future)
        return future.result(timeout_s)

    def stop(self) -> None:
        """Refuse new entries, finish those that were submitted, store a snapshot, end the threads. Blocks; idempotent.

        An event loop calls it through `asyncio.to_thread`, and goes on running meanwhile.
        """
        with self._lock:
            self._stopping = True
            self._submitted.notify()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()

    def stats(self) -> dict[str, int]:
        """Return counters and gauges by name. Any thread."""
        with self._lock:
            return (
                self._counts
                | self._intake.stats()
                | self.retention.stats()
                | {
                    "durable_position": self._durable,
                    "applied_position": self._applied,
                    "position_waiters": len(self._position_waiters),
                }
            )

    # Submitting.

    def _submit(self, submission: Submission[ScannedT], before: Entry | None = None) -> None:
        entries = (submission.entry,) if before is None else (before, submission.entry)
        size = size_of(*entries)
        with self._lock:
            self._refuse_if_ended()
            self._intake.admit(size)
            if before is not None:
                self._enqueue(Submission(before, None, Want.DURABLE, None))
            self._enqueue(submission)

    def _enqueue(self, submission: Submission[ScannedT]) -> None:
        """Put an entry into the queue; the lock is held."""
        self._intake.put(submission)
        if len(self._intake) == 1:
            self._submitted.notify()

    def _wait(self, position: int, waiter: Waiter) -> None:
        with self._lock:
            if position <= self._applied:
                waiter.set_result(self._applied)
                return
            if self._failure is not None:
                raise _internal()
            if position > self._durable:
                raise EngineError(
                    Reason.INVALID_POSITION,
                    f"position {position} lies in the future of the journal, which ends at {self._durable}",
                    field="min_position",
                    value=str(position),
                    limit=str(self._durable),
                )
            heapq.heappush(self._position_waiters, (position, next(self._order), waiter))

    def _refuse_if_ended(self) -> None:
        if self._failure is not None:
            raise _internal()
        if self._stopping:
            raise EngineError(Reason.SHUTTING_DOWN, "the server is stopping; nothing was taken, send it again")

    # The journal thread.

    def _run_journal(self) -> None:
        while True:
            with self._lock:
                while not self._intake and not self._stopping and self._failure is None:
                    self._submitted.wait()
                if self._failure is not None:
                    return
                if not self._intake:
                    self._journal_ended = True
                    self._journalled.notify()
                    return
                group = self._intake.take_group()
            self._guarded_group(self._commit, group)

    def _commit(self, group: list[Submission[ScannedT]]) -> None:
        try:
            first = self._journal.append(self._shard, [submission.entry for submission in group])
        except JournalError as error:
            if not self._journal_fails:  # Once, not once per commit: a full disk must not fill the log, too.
                _log.error("entries are not taken until the journal works again: %s", error)
            self._journal_fails = True
            with self._lock:
                self._counts["journal_failures"] += 1
                self._intake.release(group)
                if any(submission.entry.type == EntryType.TICK for submission in group):
                    self._tick_pending = False
            settle([(s.waiter, None, _unavailable()) for s in group if s.waiter is not None])
            return
        if self._journal_fails:
            _log.warning("the journal works again, entries are taken")
            self._journal_fails = False
        for position, submission in enumerate(group, first):
            submission.position = position
        with self._lock:
            self._durable = first + len(group) - 1
            self._counts["commits"] += 1
            self._counts["entries"] += len(group)
            ended = self._failure is not None
            if not ended:
                self._to_fold.extend(group)
                self._journalled.notify()
        # Once the fold has failed nobody will apply these, but they are durable all the same.
        settle(
            [
                (s.waiter, Receipt(s.position, None), None) if s.want is Want.DURABLE else (s.waiter, None, _internal())
                for s in group
                if s.waiter is not None and (ended or s.want is Want.DURABLE)
            ]
        )

    # The fold thread.

    def _run_fold(self) -> None:
        while True:
            with self._lock:
                while not (self._to_fold or self._journal_ended or self._failure or self.retention.is_ahead):
                    if not self._journalled.wait(max(self._tick_at - monotonic(), 0.0)):
                        break
                group = list(self._to_fold)
                self._to_fold.clear()
                ended = self._journal_ended
            if self._failure is not None:
                return
            if group:
                self._guarded_group(self._fold, group)
            elif ended:
                break
            self._tick_if_due()
            self.retention.snapshot_if_due()
        self.retention.finish()

    def _wake_fold(self) -> None:
        with self._lock:
            self._journalled.notify()

    def _fold(self, group: list[Submission[ScannedT]]) -> None:
        """Apply entries in order, publishing now and then."""
        done: list[Submission[ScannedT]] = []
        settlements: list[Settlement] = []
        publish_at = monotonic() + PUBLISH_S
        for submission in group:
            outcome = self._apply(submission)
            for listener in self._listeners:
                listener(submission.position, outcome)
            done.append(submission)
            if submission.want is Want.APPLIED and submission.waiter is not None:
                settlements.append((submission.waiter, Receipt(submission.position, outcome), None))
            if submission.entry.type == EntryType.TICK:
                self._tick_pending = False
            if monotonic() >= publish_at:
                self._publish(done, settlements)
                done, settlements = [], []
                publish_at = monotonic() + PUBLISH_S
        if done:
            self._publish(done, settlements)

    def _apply(self, submission: Submission[ScannedT]) -> OutcomeT:
        if submission.refolded is None:
            return self._engine.apply(submission.position, submission.entry, submission.scanned)
        began = monotonic()
        refolded = submission.refolded(submission.position)
        outcome = self._engine.adopt(submission.position, submission.entry, refolded)
        _log.info(
            "other models since position %d, a pause of %.1f ms", submission.position, (monotonic() - began) * 1e3
        )
        return outcome

    def _publish(self, done: Sequence[Submission[ScannedT]], settlements: list[Settlement]) -> None:
        """Make entries count as applied, and wake those who wait for them."""
        self.retention.note_applied(len(done), sum(len(submission.entry.body) for submission in done))
        with self._lock:
            self._applied = applied = done[-1].position
            self._intake.release(done)
            while self._position_waiters and self._position_waiters[0][0] <= applied:
                settlements.append((heapq.heappop(self._position_waiters)[2], applied, None))
        settle(settlements)

    def _tick_if_due(self) -> None:
        """Append a TICK if something is due, at most one at a time."""
        if monotonic() < self._tick_at:
            return
        if self._tick_pending:
            self._tick_at = monotonic() + TICK_AGAIN_S
            return
        now_ms = self._now_ms()
        due = self._engine.due_count(now_ms)
        self._tick_at = monotonic() + (TICK_AGAIN_S if due > DUE_MANY else self._settings.tick_ms / 1000)
        if due == 0:
            return
        with self._lock:
            if self._stopping:
                return
            self._tick_pending = True
            self._counts["ticks"] += 1
            self._enqueue(Submission(Entry(EntryType.TICK, now_ms, b""), None, Want.DURABLE, None))

    # Failing.

    def _guarded(self, run: Callable[[], None]) -> None:
        """Run a thread; if it raises, end the others and refuse everything from then on."""
        try:
            run()
        except BaseException as failure:
            self._fail(failure)

    def _guarded_group(
        self, work: Callable[[list[Submission[ScannedT]]], None], group: list[Submission[ScannedT]]
    ) -> None:
        """Do something with a group; if that raises, nobody waits for its entries in vain."""
        try:
            work(group)
        except BaseException:
            settle([(s.waiter, None, _internal()) for s in group if s.waiter is not None])
            raise

    def _fail(self, failure: BaseException) -> None:
        with self._lock:
            is_first = self._failure is None
            self._failure = self._failure or failure
            waiting = [s.waiter for s in (*self._intake.clear(), *self._to_fold) if s.waiter is not None]
            waiting += [waiter for _, _, waiter in self._position_waiters]
            self._to_fold.clear()
            self._position_waiters.clear()
            self._submitted.notify_all()
            self._journalled.notify_all()
        self.retention.end()
        settle([(waiter, None, _internal()) for waiter in waiting])
        if is_first:
            _log.critical("the pipeline of shard %d failed and takes nothing more", self._shard, exc_info=failure)
            if self._on_failure is not None:
                self._on_failure(failure)


def _internal() -> EngineError:
    return EngineError(Reason.INTERNAL, "the server has failed and takes nothing more; its log says why")


def _unavailable() -> EngineError:
    return EngineError(
        Reason.JOURNAL_UNAVAILABLE, "the journal cannot be written; nothing was taken, send it again later"
    )
