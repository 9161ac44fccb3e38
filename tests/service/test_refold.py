"""Other models are folded from history beside the running server, and taken over at one entry, however it ends."""

from __future__ import annotations

import asyncio
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rte_server.engine.configurations import REFOLD_FROM
from rte_server.engine.entries import Entry, EntryType
from rte_server.journal.directory import DataDirectory
from rte_server.journal.recovery import configure, recover, refold_bases, to_body
from rte_server.journal.snapshots import SnapshotStore
from rte_server.journal.sqlite import SqliteJournal
from rte_server.service.pipeline import Pipeline
from rte_server.service.pipeline_settings import PipelineSettings
from rte_server.service.receipts import Want
from rte_server.service.refold import Refold
from tests.service.small_fold import SmallFold, events

SETTINGS = PipelineSettings(tick_ms=100_000)
WAIT_S = 60.0
"""How long something is waited for that comes at once, unless the machine is busy with other things."""


class Shard:
    """A shard in a directory, from recovery to stop or to a crash."""

    def __init__(self, path: Path, settings: PipelineSettings = SETTINGS) -> None:
        self.directory = DataDirectory(path)
        self.journal = SqliteJournal(self.directory)
        self.snapshots = SnapshotStore(self.directory.snapshots_path)
        self.engine = recover(self.journal, 0, self.snapshots, SmallFold)
        if self.engine.position == 0:
            configure(self.journal, 0, self.snapshots, self.engine, SmallFold, model(1), 1)
        self.pipeline = Pipeline(self.journal, 0, self.engine, self.snapshots, settings, lambda: 1)
        self.pipeline.start()

    def send(self, *ids: int) -> None:
        """Have some ids counted."""
        self.pipeline.submit_and_wait(events(*ids), None, Want.APPLIED, WAIT_S)

    def snapshots_stored(self, count: int) -> None:
        """Wait until so many snapshots have been stored in all, and what they make unnecessary was given up."""
        until(lambda: self.pipeline.retention.stats()["snapshots"] >= count)

    def refold(self, step: int, *, oldest: bool = True) -> tuple[Refold[SmallFold], Entry]:
        """Begin to fold another model."""
        base = self.pipeline.retention.hold_base(oldest=oldest)
        wanted = model(step) | {REFOLD_FROM: base}
        body = to_body(wanted)
        refold = Refold(self.journal, 0, self.snapshots, SmallFold, base, wanted, body, self.pipeline.is_busy)
        assert refold.wait_caught_up(WAIT_S)
        return refold, Entry(EntryType.CONFIGURE, 1, body)

    def activate(self, step: int, *, oldest: bool = True) -> int:
        """Let another model run; return the position of its entry."""
        refold, entry = self.refold(step, oldest=oldest)

        async def submit() -> int:
            receipt = await self.pipeline.activate(entry, refold.finish)
            return receipt.position

        position = asyncio.run(submit())
        self.pipeline.retention.release_base(refold.base)
        return position

    def copy(self, path: Path) -> None:
        """Copy what is stored now: what a crash would leave."""
        shutil.copytree(self.directory.path, path, ignore=shutil.ignore_patterns("*.tmp"))

    def close(self) -> None:
        """Stop as a server does."""
        self.pipeline.stop()
        self.journal.close()
        self.directory.close()


Open = Callable[..., Shard]


def until(condition: Callable[[], object]) -> None:
    """Wait until a condition holds."""
    end = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.002)


@pytest.fixture
def open_shard(tmp_path: Path) -> Iterator[Open]:
    """Give a way to open a shard of this test, once or again."""
    opened: list[Shard] = []

    def open_(settings: PipelineSettings = SETTINGS, name: str = "data") -> Shard:
        opened.append(Shard(tmp_path / name, settings))
        return opened[-1]

    yield open_
    for shard in opened:
        shard.close()


def model(step: int) -> dict[str, object]:
    """Return a configuration whose model weighs each id by `step`."""
    return {"settings": {}, "models": {"step": str(step)}}


def test_another_model_has_all_the_history(open_shard: Open) -> None:
    """What was folded before it counts for it, too, and nothing twice."""
    shard = open_shard()
    shard.send(1, 2, 2)
    assert shard.activate(10) == 3
    shard.send(1)
    assert shard.engine.weights == {1: 20, 2: 20}
    assert shard.engine.seen == {1: 2, 2: 2}


@pytest.mark.parametrize("is_crash", [False, True], ids=["stop", "crash"])
def test_a_restart_gives_the_same_state(open_shard: Open, tmp_path: Path, *, is_crash: bool) -> None:
    """With a snapshot behind the entry, and without one: then the models are folded once more."""
    shard = open_shard(PipelineSettings(tick_ms=100_000, snapshot_entries=10, snapshots_kept=2))
    for n in range(45):
        shard.send(n % 7)
    shard.activate(10)
    shard.send(1, 2)
    shard.activate(7)
    shard.send(3)
    wanted, position = shard.engine.weights, shard.engine.position
    if is_crash:
        shard.copy(tmp_path / "copy")
    else:
        shard.close()
    again = open_shard(name="copy" if is_crash else "data")
    assert (again.engine.weights, again.engine.position) == (wanted, position)
    assert again.engine.weights[3] % 7 == 0


def test_what_a_recovery_needs_stays(open_shard: Open) -> None:
    """The beginning of a refold stays until every kept snapshot lies behind its entry; then it is given up."""
    shard = open_shard(PipelineSettings(tick_ms=100_000, snapshot_entries=10, snapshots_kept=2))

    def send_until(done: Callable[[], bool]) -> None:
        end = time.monotonic() + WAIT_S
        while not done():
            assert time.monotonic() < end, "waited in vain"
            shard.send(1)
            # However slow the disk: what is looked at next has no other snapshot on its way.
            until(lambda: not shard.pipeline.retention._is_busy)

    send_until(lambda: shard.journal.first_position(0) > 1)
    position = shard.activate(10)
    base = shard.engine.refolds[-1][1]
    assert base == shard.snapshots.positions()[0]
    send_until(lambda: shard.snapshots.positions()[-1] > position)
    # The older of the two newest lies before the entry.
    assert base in shard.snapshots.positions()
    assert shard.journal.first_position(0) <= base + 1
    send_until(lambda: shard.snapshots.positions()[0] > position)
    send_until(lambda: shard.journal.first_position(0) > position)


def test_little_history_is_enough_for_a_model_without_new_attributes(open_shard: Open) -> None:
    """It begins with the newest snapshot, but never inside of an earlier refold."""
    shard = open_shard(PipelineSettings(tick_ms=100_000, snapshot_entries=10, snapshots_kept=2))
    for count in (1, 2):
        for _ in range(10):
            shard.send(1)
        shard.snapshots_stored(count)  # No other one is due: there would have to be ten more entries.
    newest = shard.snapshots.positions()[-1]
    shard.activate(1, oldest=False)
    assert shard.engine.refolds[-1][1] == newest
    bases = refold_bases(shard.journal, 0, shard.snapshots, [(1000, newest - 1), *shard.engine.refolds])
    assert newest not in bases


def test_events_that_come_meanwhile_count_once(open_shard: Open) -> None:
    """Several senders go on while models change back and forth; each id counts once in each model."""
    shard = open_shard(PipelineSettings(tick_ms=100_000, snapshot_entries=50))
    stop = threading.Event()
    sent = [0, 0, 0]

    def send(worker: int) -> None:
        while not stop.is_set():
            shard.send(worker, worker, 100 + worker)
            sent[worker] += 1

    threads = [threading.Thread(target=send, args=(worker,)) for worker in range(3)]
    for thread in threads:
        thread.start()
    until(lambda: min(sent) > 0)
    for step in (10, 3, 5, 10, 2, 4):
        shard.activate(step)
    stop.set()
    for thread in threads:
        thread.join()
    assert shard.engine.seen == {w: 2 * sent[w] for w in range(3)} | {100 + w: sent[w] for w in range(3)}
    assert set(shard.engine.weights) <= set(shard.engine.seen)
    again = recover(shard.journal, 0, shard.snapshots, SmallFold)
    assert again.weights == shard.engine.weights


def test_a_refold_that_is_not_wanted_any_more_leaves_nothing(open_shard: Open) -> None:
    """It can be stopped, the server runs on with what it had, and no position is held."""
    shard = open_shard()
    shard.send(1)
    refold, _ = shard.refold(10)
    assert refold.take().weights == {1: 10}
    shard.pipeline.retention.release_base(refold.base)
    shard.send(1)
    assert shard.engine.weights == {1: 2}


def test_a_start_with_another_model_has_all_the_history(tmp_path: Path) -> None:
    """What a start configures is folded from the beginning of the journal, and a restart gives the same."""
    with DataDirectory(tmp_path) as directory:
        journal = SqliteJournal(directory)
        store = SnapshotStore(directory.snapshots_path)
        engine = recover(journal, 0, store, SmallFold)
        configure(journal, 0, store, engine, SmallFold, model(1), 1)
        entry = events(4, 4)
        engine.apply(journal.append(0, [entry]), entry)
        assert configure(journal, 0, store, engine, SmallFold, model(5), 2)
        assert engine.weights == {4: 10}
        assert recover(journal, 0, store, SmallFold).weights == {4: 10}
        journal.close()
