"""What is submitted becomes durable, then folded, then visible; nothing is lost, nothing waits in vain."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from rte_server.engine.entries import Entry, EntryType
from rte_server.engine.reasons import EngineError, Reason
from rte_server.engine.state_copy import Pause, SnapshotAhead
from rte_server.journal.directory import DataDirectory
from rte_server.journal.protocol import JournalDamaged, JournalUnavailable
from rte_server.journal.recovery import configure, recover, state_at
from rte_server.journal.snapshots import SnapshotStore
from rte_server.journal.sqlite import SqliteJournal
from rte_server.service.pipeline import DUE_MANY, Pipeline
from rte_server.service.pipeline_settings import PipelineSettings
from rte_server.service.receipts import Want
from tests.service.small_fold import SmallFold, events

WAIT_S = 60.0
"""How long something is waited for that comes at once, unless the machine is busy with other things."""

CONFIGURATION = {"settings": {"gap_ms": 1}, "models": {"base": "model: base"}}


class Faulty(SqliteJournal):
    """A real journal whose appends can be held up or refused, as a slow or full disk does."""

    def __init__(self, directory: DataDirectory) -> None:
        super().__init__(directory)
        self.is_full = False
        self.gate = threading.Event()
        self.gate.set()

    def append(self, shard: int, entries: Sequence[Entry]) -> int:
        """Wait at the gate, then append unless the disk is full."""
        self.gate.wait(WAIT_S)
        if self.is_full:
            raise JournalUnavailable("disk full")
        return super().append(shard, entries)


class Shard:
    """A shard in a directory, from recovery to stop, as the composition root builds it."""

    def __init__(self, path: Path, settings: PipelineSettings | None = None) -> None:
        self.directory = DataDirectory(path)
        self.journal = Faulty(self.directory)
        self.snapshots = SnapshotStore(self.directory.snapshots_path)
        self.now_ms = 1
        self.heard: list[int] = []
        self.failures: list[BaseException] = []
        try:
            self.engine = recover(self.journal, 0, self.snapshots, SmallFold)
        except JournalDamaged:
            self.journal.close()
            self.directory.close()
            raise
        configure(self.journal, 0, self.snapshots, self.engine, SmallFold, CONFIGURATION, 1)
        self.pipeline = Pipeline(
            self.journal,
            0,
            self.engine,
            self.snapshots,
            settings or PipelineSettings(tick_ms=10),
            lambda: self.now_ms,
            self.failures.append,
        )
        self.pipeline.add_listener(lambda position, _: self.heard.append(position))
        self.pipeline.start()

    def submit(self, *ids: int, want: Want = Want.APPLIED) -> tuple[int, list[int] | None]:
        """Submit ids, wait, return position and outcome."""
        receipt = self.pipeline.submit_and_wait(events(*ids), None, want, WAIT_S)
        return receipt.position, receipt.outcome

    def close(self) -> None:
        """Stop as a server does."""
        self.journal.gate.set()
        self.pipeline.stop()
        self.journal.close()
        self.directory.close()


Open = Callable[..., Shard]


@pytest.fixture
def open_shard(tmp_path: Path) -> Iterator[Open]:
    """Give a way to open the shard of this test, once or again."""
    opened: list[Shard] = []

    def open_(settings: PipelineSettings | None = None) -> Shard:
        opened.append(Shard(tmp_path, settings))
        return opened[-1]

    yield open_
    for shard in opened:
        shard.close()


def until(condition: Callable[[], object]) -> None:
    """Wait until a condition holds."""
    end = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.002)


def test_an_applied_receipt_has_position_and_outcome(open_shard: Open) -> None:
    """The first submission follows the CONFIGURE entry; its outcome is what the fold returned; listeners knew before."""
    shard = open_shard()
    assert shard.submit(5, 5, 6) == (2, [1, 2, 1])
    assert shard.heard == [2]
    assert shard.pipeline.applied_position == shard.pipeline.durable_position == 2


def test_a_durable_receipt_does_not_wait_for_the_fold(open_shard: Open) -> None:
    """It has no outcome; waiting for its position then finds it folded."""
    shard = open_shard()
    position, outcome = shard.submit(1, want=Want.DURABLE)
    assert outcome is None
    assert shard.pipeline.wait_position_blocking(position, WAIT_S) >= position
    assert shard.engine.seen == {1: 1}


async def test_a_loop_awaits_many_submissions(open_shard: Open) -> None:
    """Submissions from one event loop come back in order, each with its own outcome, and reads see their writes."""
    shard = open_shard()
    futures = [shard.pipeline.submit(events(7), None, Want.APPLIED) for _ in range(200)]
    receipts = await asyncio.gather(*futures)
    assert [r.position for r in receipts] == list(range(2, 202))
    assert [r.outcome for r in receipts] == [[n] for n in range(1, 201)]
    durable = await shard.pipeline.submit(events(8))
    assert await shard.pipeline.wait_position(durable.position) >= durable.position
    assert shard.engine.seen[8] == 1
    assert await shard.pipeline.wait_position(1) >= 1


async def test_a_cancelled_waiter_changes_nothing(open_shard: Open) -> None:
    """A deadline that passes leaves the entry submitted and disturbs nobody else."""
    shard = open_shard()
    shard.journal.gate.clear()
    first = shard.pipeline.submit(events(1), None, Want.APPLIED)
    second = shard.pipeline.submit(events(2), None, Want.APPLIED)
    first.cancel()
    shard.journal.gate.set()
    assert (await second).position == 3
    assert shard.engine.seen == {1: 1, 2: 1}


def test_what_waits_becomes_one_commit(open_shard: Open) -> None:
    """Entries that arrive while a commit is under way share the next one."""
    shard = open_shard()
    shard.journal.gate.clear()
    threads = [threading.Thread(target=shard.submit, args=(n,)) for n in range(20)]
    for thread in threads:
        thread.start()
    until(lambda: shard.pipeline.stats()["queued_entries"] == 20)
    shard.journal.gate.set()
    for thread in threads:
        thread.join()
    stats = shard.pipeline.stats()
    assert stats["entries"] == 20
    assert stats["commits"] <= 3
    assert (stats["queued_entries"], stats["queued_bytes"]) == (0, 0)


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        (PipelineSettings(queue_entries_max=3), "queue_entries_max"),
        (PipelineSettings(queue_bytes_max=30), "queue_bytes_max"),
    ],
)
async def test_a_full_queue_refuses_and_recovers(open_shard: Open, settings: PipelineSettings, field: str) -> None:
    """The fourth entry is refused with the limit, nothing of it is taken, and later there is room again."""
    shard = open_shard(settings)
    shard.journal.gate.clear()
    taken = [shard.pipeline.submit(events(n)) for n in range(3)]
    with pytest.raises(EngineError) as caught:
        shard.pipeline.submit(events(99))
    assert caught.value.reason is Reason.OVERLOADED
    assert caught.value.metadata["field"] == field
    shard.journal.gate.set()
    positions = [(await future).position for future in taken]
    await shard.pipeline.wait_position(positions[-1])
    await shard.pipeline.submit(events(*range(10), received_ms=1), None, Want.APPLIED)
    assert 99 not in shard.engine.seen
    assert shard.pipeline.stats()["overloaded"] == 1


def test_a_journal_that_refuses_takes_nothing(open_shard: Open) -> None:
    """The submitter gets JOURNAL_UNAVAILABLE, nothing is folded, and the next one gets the same position."""
    shard = open_shard()
    shard.journal.is_full = True
    with pytest.raises(EngineError) as caught:
        shard.submit(1)
    assert caught.value.reason is Reason.JOURNAL_UNAVAILABLE
    assert shard.pipeline.stats()["queued_entries"] == 0
    shard.journal.is_full = False
    assert shard.submit(2) == (2, [1])
    assert shard.engine.seen == {2: 1}


def test_an_entry_that_no_journal_takes_is_refused_alone(open_shard: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """It gets OUT_OF_RANGE before it reaches the journal, where it would fail everybody's commit."""
    shard = open_shard()
    monkeypatch.setattr("rte_server.service.intake.ENTRY_BYTES_MAX", 8)
    with pytest.raises(EngineError) as caught:
        shard.submit(1, 2)
    assert caught.value.reason is Reason.OUT_OF_RANGE
    assert shard.submit(1) == (2, [1])


def test_positions_of_the_future_are_refused(open_shard: Open) -> None:
    """Nobody can have been told a position that is not durable."""
    shard = open_shard()
    with pytest.raises(EngineError) as caught:
        shard.pipeline.wait_position_blocking(99)
    assert caught.value.reason is Reason.INVALID_POSITION


def test_a_tick_is_appended_when_something_is_due(open_shard: Open) -> None:
    """One tick, not one per second, and none while nothing is due; it carries the clock's time."""
    shard = open_shard()
    shard.submit(1)
    time.sleep(0.05)
    assert shard.pipeline.stats()["ticks"] == 0
    shard.now_ms = 5_000
    until(lambda: shard.engine.closed_ms == 5_000)
    time.sleep(0.05)
    assert shard.pipeline.stats()["ticks"] == 1
    assert [e.type for _, e in shard.journal.read(0, 1)] == [EntryType.CONFIGURE, EntryType.EVENTS, EntryType.TICK]


def test_ticks_follow_one_another_while_much_is_due(open_shard: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """One TICK does a share of what is due; the next does not wait for the usual interval."""
    shard = open_shard(PipelineSettings(tick_ms=3_000))
    shard.submit(1)
    monkeypatch.setattr(shard.engine, "due_count", lambda _now_ms: DUE_MANY + 1)
    # At the usual interval this would take twice as long as it is waited for.
    until(lambda: shard.pipeline.stats()["ticks"] >= 2 * WAIT_S / 3)


def test_a_tick_that_could_not_be_stored_is_tried_again(open_shard: Open) -> None:
    """A full disk does not stop the clock for good."""
    shard = open_shard()
    shard.submit(1)
    shard.journal.is_full = True
    shard.now_ms = 5_000
    until(lambda: shard.pipeline.stats()["journal_failures"] >= 1)
    shard.journal.is_full = False
    until(lambda: shard.engine.closed_ms == 5_000)


async def test_a_stop_finishes_what_was_submitted(open_shard: Open) -> None:
    """Everything that was taken before a stop is durable and folded after it; later submissions are refused."""
    others = set(threading.enumerate())  # of servers that other tests have running in this process
    shard = open_shard()
    futures = [shard.pipeline.submit(events(n), None, Want.APPLIED) for n in range(500)]
    await asyncio.to_thread(shard.pipeline.stop)
    receipts = await asyncio.gather(*futures)
    assert [r.position for r in receipts] == list(range(2, 502))
    with pytest.raises(EngineError) as caught:
        shard.pipeline.submit(events(1))
    assert caught.value.reason is Reason.SHUTTING_DOWN
    shard.close()
    assert not [t.name for t in set(threading.enumerate()) - others if t.name.startswith("rte-")]
    again = open_shard()
    assert again.engine.seen == dict.fromkeys(range(500), 1)


def test_a_restart_needs_only_the_entries_after_the_snapshot(open_shard: Open) -> None:
    """Snapshots are taken by count, two are kept, the journal before the older is given up, the state is the same."""
    shard = open_shard(PipelineSettings(snapshot_entries=10, snapshots_kept=2))
    for n in range(60):
        shard.submit(n % 7)
    until(lambda: shard.pipeline.stats()["snapshots"] >= 2)
    wanted = dict(shard.engine.seen)
    shard.close()
    again = open_shard()
    kept = again.snapshots.positions()
    assert len(kept) == 2
    assert again.journal.first_position(0) > 1
    assert again.engine.seen == wanted
    assert again.engine.position == kept[-1] == 61
    assert again.submit(0) == (62, [wanted[0] + 1])


def test_trimming_can_be_switched_off(open_shard: Open) -> None:
    """With `trim` off the whole history stays readable."""
    shard = open_shard(PipelineSettings(snapshot_entries=10, trim=False))
    for n in range(60):
        shard.submit(n)
    until(lambda: shard.pipeline.stats()["snapshots"] >= 2)
    assert shard.journal.first_position(0) == 1


def test_a_damaged_snapshot_gives_the_same_state(open_shard: Open) -> None:
    """The older snapshot and the entries after it give what the newer one held."""
    shard = open_shard(PipelineSettings(snapshot_entries=10))
    for n in range(45):
        shard.submit(n % 7)
    until(lambda: shard.pipeline.stats()["snapshots"] >= 2)
    wanted = dict(shard.engine.seen)
    shard.close()
    newest = max(shard.directory.snapshots_path.iterdir())
    newest.write_bytes(newest.read_bytes()[:-9])
    assert open_shard().engine.seen == wanted


def test_entries_are_applied_while_a_snapshot_is_copied(open_shard: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long the copy beside the fold takes, what comes meanwhile becomes visible, and is in the snapshot."""
    copying, gate = threading.Event(), threading.Event()

    def begin_snapshot(fold: SmallFold) -> SnapshotAhead:
        def advance(_: Pause) -> None:
            copying.set()
            assert gate.wait(WAIT_S)

        return SnapshotAhead(advance, lambda is_last: fold.snapshot())

    monkeypatch.setattr(SmallFold, "begin_snapshot", begin_snapshot)
    shard = open_shard(PipelineSettings(snapshot_entries=5, tick_ms=10))
    for number in range(5):
        shard.submit(number)
    assert copying.wait(WAIT_S)
    last = [shard.submit(number)[0] for number in range(5, 25)][-1]
    assert shard.snapshots.positions() == []
    gate.set()
    until(lambda: shard.pipeline.stats()["snapshots"] >= 1)
    assert shard.snapshots.positions() == [last]
    shard.close()
    assert sorted(open_shard().engine.seen) == list(range(25))


def test_snapshots_that_cannot_be_stored_harm_nobody(open_shard: Open, tmp_path: Path) -> None:
    """When the snapshot directory is gone, entries are taken as before, and the journal keeps everything."""
    shard = open_shard(PipelineSettings(snapshot_entries=5))
    shard.directory.snapshots_path.rmdir()
    for n in range(20):
        shard.submit(n)
    until(lambda: shard.pipeline.stats()["snapshot_failures"] >= 1)
    assert shard.submit(0)[1] == [2]
    assert shard.journal.first_position(0) == 1


def test_a_lost_journal_beside_a_snapshot_is_damage(open_shard: Open) -> None:
    """A journal that ends before its newest snapshot lost entries: going on would give their positions again."""
    shard = open_shard()
    shard.submit(1)
    shard.close()
    for path in shard.directory.path.glob("journal.sqlite*"):
        path.unlink()
    with pytest.raises(JournalDamaged, match="there is a snapshot at position 2"):
        open_shard()


def test_a_snapshot_that_does_not_fit_is_made_up_by_the_journal(tmp_path: Path) -> None:
    """An engine that refuses every snapshot folds from the beginning, or says that the beginning is gone."""
    with DataDirectory(tmp_path) as directory:
        journal = SqliteJournal(directory)
        journal.append(0, [events(1), events(2), events(3)])
        store = SnapshotStore(directory.snapshots_path)
        engine = recover(journal, 0, store, SmallFold)
        store.write(3, *engine.snapshot())
        small = recover(journal, 0, store, lambda: SmallFold(capacity=1))
        assert small.seen == engine.seen
        journal.trim(0, 3)
        with pytest.raises(JournalDamaged, match="begins at position 3"):
            recover(journal, 0, store, lambda: SmallFold(capacity=1))
        assert recover(journal, 0, store, SmallFold).seen == engine.seen
        journal.close()


def test_a_snapshot_of_another_position_is_passed_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """One that restores to another position than its name says is logged; the one before and the journal give the state."""
    with DataDirectory(tmp_path) as directory:
        journal = SqliteJournal(directory)
        journal.append(0, [events(1), events(2), events(3)])
        store = SnapshotStore(directory.snapshots_path)
        engine = recover(journal, 0, store, SmallFold)
        store.write(2, *state_at(journal, 0, store, SmallFold, 2).snapshot())
        meta, arrays = engine.snapshot()
        store.write(3, meta | {"position": 1}, arrays)
        assert recover(journal, 0, store, SmallFold).seen == engine.seen == {1: 1, 2: 1, 3: 1}
        assert "snapshot 3 is passed over: it restored position 1" in caplog.text
        journal.close()


def test_configure_appends_only_what_changed(tmp_path: Path) -> None:
    """The same configuration is not written twice, another one is, and one that the engine refuses never is."""
    with DataDirectory(tmp_path) as directory:
        journal = SqliteJournal(directory)
        store = SnapshotStore(directory.snapshots_path)
        engine = recover(journal, 0, store, SmallFold)
        assert configure(journal, 0, store, engine, SmallFold, CONFIGURATION, 5)
        assert not configure(journal, 0, store, engine, SmallFold, CONFIGURATION, 6)
        assert configure(journal, 0, store, engine, SmallFold, CONFIGURATION | {"models": {}}, 7)
        with pytest.raises(ValueError, match="no settings"):
            configure(journal, 0, store, engine, SmallFold, {"models": {}}, 8)
        assert [e.received_ms for _, e in journal.read(0, 1)] == [5, 7]
        journal.close()


def test_a_fault_of_the_fold_refuses_everything_and_leaves_nobody_waiting(open_shard: Open) -> None:
    """The submitter, everybody behind it and everybody later get INTERNAL; the owner is told once."""
    shard = open_shard()
    shard.journal.gate.clear()
    reasons: list[Reason] = []

    def work(number: int) -> None:
        try:
            shard.submit(number)
        except EngineError as error:
            reasons.append(error.reason)

    threads = [threading.Thread(target=work, args=(n,)) for n in (-1, 1, 2)]
    for thread in threads:
        thread.start()
    until(lambda: shard.pipeline.stats()["queued_entries"] == 3)
    shard.journal.gate.set()
    for thread in threads:
        thread.join(WAIT_S)
    with pytest.raises(EngineError):
        shard.submit(3)
    until(lambda: shard.failures)
    assert set(reasons) == {Reason.INTERNAL}
    assert [type(failure) for failure in shard.failures] == [ZeroDivisionError]
    shard.pipeline.stop()


def test_load_from_many_threads_is_folded_exactly_once(open_shard: Open) -> None:
    """Several submitters, snapshots and trimming at once: each id is counted once, in order of its position."""
    shard = open_shard(replace(PipelineSettings(), snapshot_entries=100, tick_ms=5))

    def work(worker: int) -> None:
        for turn in range(150):
            shard.submit(worker * 1000 + turn, want=Want.DURABLE if turn % 3 else Want.APPLIED)

    threads = [threading.Thread(target=work, args=(w,)) for w in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    shard.close()
    wanted = {worker * 1000 + turn: 1 for worker in range(4) for turn in range(150)}
    assert shard.engine.seen == wanted
    assert shard.heard == list(range(2, 602))
    assert open_shard().engine.seen == wanted
