"""Snapshots take a small share of a core, unless somebody waits for them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from time import monotonic

import pytest

from rte_server.engine.state_copy import Pause, SnapshotAhead
from rte_server.journal.directory import DataDirectory
from rte_server.journal.snapshots import SnapshotStore
from rte_server.journal.sqlite import SqliteJournal
from rte_server.service import retention as module
from rte_server.service.pipeline_settings import PipelineSettings
from rte_server.service.retention import Retention
from tests.service.small_fold import SmallFold, events

WAIT_S = 60.0
"""How long something is waited for that comes at once, unless the machine is busy with other things."""


class Patient(SmallFold):
    """A fold whose copies make one pause each."""

    def __init__(self) -> None:
        super().__init__()
        self.pausing, self.went_on = threading.Event(), threading.Event()

    def begin_snapshot(self) -> SnapshotAhead:
        """Begin a snapshot that makes a pause while it is copied ahead."""

        def advance(pause: Pause) -> None:
            sum(range(10_000))
            self.pausing.set()
            pause()
            self.went_on.set()

        return SnapshotAhead(advance, lambda is_last: self.snapshot())


class Shard:
    """A retention whose pauses last for days, and its thread; the test is the fold's thread."""

    def __init__(self, path: Path) -> None:
        self.directory = DataDirectory(path)
        self.journal = SqliteJournal(self.directory)
        self.snapshots = SnapshotStore(self.directory.snapshots_path)
        self.fold = Patient()
        self.is_ahead = threading.Event()
        settings = PipelineSettings(snapshot_entries=1, snapshots_kept=2)
        self.retention = Retention(self.journal, 0, self.fold, self.snapshots, settings, self.is_ahead.set)
        self.thread = threading.Thread(target=self.retention.run, daemon=True)
        self.thread.start()

    def begin_snapshot(self) -> None:
        """Apply an entry, and begin a snapshot; return when it makes its pause."""
        self.fold.pausing.clear()
        self.fold.went_on.clear()
        self.is_ahead.clear()
        entry = events(7)
        self.fold.apply(self.journal.append(0, [entry]), entry)
        self.retention.note_applied(1, len(entry.body))
        until = monotonic() + WAIT_S
        while not self.fold.pausing.wait(0.001):  # Until it has stored the one before.
            self.retention.snapshot_if_due()
            assert monotonic() < until


@pytest.fixture
def shard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shard]:
    """A shard in a directory of its own."""
    monkeypatch.setattr(module, "SNAPSHOT_SHARE", 1e-9)
    shard = Shard(tmp_path)
    yield shard
    shard.retention.end()
    shard.thread.join(WAIT_S)
    shard.journal.close()
    shard.directory.close()


def test_a_stop_waits_for_no_pauses(shard: Shard) -> None:
    """What was begun goes on at once, and the last snapshot is stored without a pause."""
    shard.begin_snapshot()
    assert not shard.fold.went_on.wait(0.1)
    shard.retention.finish()
    shard.thread.join(WAIT_S)
    assert not shard.thread.is_alive()
    assert shard.snapshots.positions() == [1]


def test_a_failure_waits_for_no_pauses(shard: Shard) -> None:
    """The thread ends at once although nothing is stored any more."""
    shard.begin_snapshot()
    shard.retention.end()
    shard.thread.join(WAIT_S)
    assert not shard.thread.is_alive()


def test_who_waits_for_a_snapshot_waits_for_no_pauses(shard: Shard) -> None:
    """An erasure ends the pauses of the snapshot under way, which it waits for; the one after that makes its own again."""
    shard.begin_snapshot()
    future = shard.retention.forget_older()
    assert shard.is_ahead.wait(WAIT_S)
    shard.retention.snapshot_if_due()
    assert future.result(WAIT_S) == 1
    shard.begin_snapshot()
    assert not shard.fold.went_on.wait(0.1)
