"""Snapshots come back whole or not at all."""

from __future__ import annotations

import logging
import subprocess
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from rte_server.journal import snapshots as module
from rte_server.journal.snapshots import SnapshotStore


def arrays(seed: int = 0) -> list[tuple[str, module.Array]]:
    """Return arrays of several dtypes and shapes, among them empty ones."""
    random = np.random.default_rng(seed)
    return [
        ("cells", random.normal(size=(1000, 7))),
        ("empty", np.zeros((0, 4), np.int64)),
        ("ids", random.integers(0, 2**63, 5000, dtype=np.uint64)),
        ("scalar", np.array(seed, np.int32)),
        ("columns", np.asfortranarray(random.normal(size=(30, 20)))),
    ]


@dataclass
class Found:
    """A snapshot that was read as a whole."""

    position: int
    meta: dict[str, Any]
    arrays: dict[str, module.Array]


def latest(store: SnapshotStore, not_after: int | None = None) -> Found | None:
    """Read all of the newest snapshot that is whole."""
    return store.use_latest(
        lambda snapshot: Found(
            snapshot.position, snapshot.meta, {name: snapshot.arrays[name] for name in snapshot.arrays.names()}
        ),
        not_after,
    )


def same(left: list[tuple[str, module.Array]], right: dict[str, module.Array]) -> bool:
    """Say whether names, dtypes, shapes and contents agree."""
    return [n for n, _ in left] == list(right) and all(
        a.dtype == right[n].dtype and a.shape == right[n].shape and np.array_equal(a, right[n]) for n, a in left
    )


def test_a_snapshot_comes_back_as_it_was(tmp_path: Path) -> None:
    """Position, meta and every array are those that were written; the arrays can be written to."""
    store = SnapshotStore(tmp_path)
    assert latest(store) is None
    store.write(17, {"models": ["base"], "clock_ms": 2**62}, arrays())
    found = latest(SnapshotStore(tmp_path))
    assert found is not None
    assert (found.position, found.meta) == (17, {"models": ["base"], "clock_ms": 2**62})
    assert same(arrays(), found.arrays)
    found.arrays["cells"][0, 0] = 1.0


@given(content=hnp.arrays(st.sampled_from([np.int8, np.float64, np.uint16]), hnp.array_shapes(min_side=0, max_dims=3)))
def test_any_array_comes_back(content: module.Array, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Whatever dtype and shape, NaN included, the bytes are equal."""
    store = SnapshotStore(tmp_path_factory.mktemp("snapshots"))
    store.write(1, {}, [("a", content)])
    found = latest(store)
    assert found is not None
    assert found.arrays["a"].tobytes() == content.tobytes()
    assert found.arrays["a"].shape == content.shape


def test_only_those_stay_that_are_to_be_kept(tmp_path: Path) -> None:
    """The others are removed; what stays is found, whatever the number of digits."""
    store = SnapshotStore(tmp_path)
    for position in (8, 9, 10, 100):
        store.write(position, {}, arrays(position))
    store.keep_only([10, 100, 1000])
    assert store.positions() == [10, 100]
    found = latest(store, not_after=99)
    assert found is not None
    assert found.position == 10


def test_a_damaged_snapshot_falls_back_to_the_one_before(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Any flipped byte that matters, and any truncation, is noticed, logged, and the older snapshot serves."""
    store = SnapshotStore(tmp_path)
    store.write(1, {"n": 1}, arrays(1))
    store.write(2, {"n": 2}, arrays(2))
    newest = tmp_path / "00000000000000000002.snapshot"
    stored = newest.read_bytes()
    damages = [stored[:cut] for cut in (0, 7, 50, 5000, len(stored) - 1)]
    for offset in (0, 4096, 4096 + 8 * 6999, len(stored) - 100, len(stored) - 30, len(stored) - 20, len(stored) - 1):
        damages.append(stored[:offset] + bytes([stored[offset] ^ 1]) + stored[offset + 1 :])
    for damage in damages:
        newest.write_bytes(damage)
        caplog.clear()
        with caplog.at_level(logging.ERROR):
            found = latest(store)
        assert found is not None
        assert found.position == 1
        assert same(arrays(1), found.arrays)
        assert "snapshot 2 is passed over" in caplog.text


def test_large_arrays_are_checked_block_by_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An array of many blocks comes back, and damage in its last block is noticed. There is a pause after each part of a block."""
    monkeypatch.setattr(module, "BLOCK_BYTES", 1000)
    monkeypatch.setattr(module, "WRITTEN_AT_ONCE_BYTES", 300)
    store = SnapshotStore(tmp_path)
    pauses: list[None] = []
    store.write(5, {}, [("big", np.arange(12_345, dtype=np.uint8))], lambda: pauses.append(None))
    assert len(pauses) == 12 * 4 + 2
    found = latest(store)
    assert found is not None
    assert np.array_equal(found.arrays["big"], np.arange(12_345, dtype=np.uint8))
    path = tmp_path / "00000000000000000005.snapshot"
    content = bytearray(path.read_bytes())
    content[4096 + 12_344] ^= 1
    path.write_bytes(content)
    assert latest(store) is None


def test_an_array_is_read_into_the_place_that_it_is_for(tmp_path: Path) -> None:
    """A part of a larger array is filled, and nothing beside it; a place of another shape or kind is refused."""
    store = SnapshotStore(tmp_path)
    store.write(5, {}, [("cells", np.arange(12).reshape(4, 3))])
    table = np.full((6, 3), -1)

    assert store.use_latest(lambda snapshot: snapshot.arrays.shape("cells")) == (4, 3)
    assert store.use_latest(partial(read_cells, table[:4])) == 5
    assert table.ravel().tolist() == [*range(12), *[-1] * 6]
    for place in (table[:3], table.astype(float)[:4], np.zeros((4, 6), np.int64)[:, ::2]):
        assert store.use_latest(partial(read_cells, place)) is None


def read_cells(place: module.Array, snapshot: module.Snapshot) -> int:
    """Read an array into a place; return the position."""
    snapshot.arrays.read_into("cells", place)
    return snapshot.position


def test_damage_that_is_found_while_it_is_read_leads_to_the_one_before(tmp_path: Path) -> None:
    """Whoever reads is called anew for the older snapshot, with nothing kept of the first try."""
    store = SnapshotStore(tmp_path)
    store.write(1, {}, [("first", np.arange(3)), ("second", np.arange(3000))])
    store.write(2, {}, [("first", np.arange(3)), ("second", np.arange(3000))])
    path = tmp_path / "00000000000000000002.snapshot"
    content = bytearray(path.read_bytes())
    content[2 * 4096] ^= 1
    path.write_bytes(content)
    tries: list[int] = []

    def take(snapshot: module.Snapshot) -> list[module.Array]:
        tries.append(snapshot.position)
        return [snapshot.arrays[name] for name in ("first", "second")]

    found = store.use_latest(take)
    assert found is not None
    assert found[1].tolist() == list(range(3000))
    assert tries == [2, 1]


def test_wrong_arrays_are_refused(tmp_path: Path) -> None:
    """Two arrays of one name, or Python objects, are refused before anything is written."""
    store = SnapshotStore(tmp_path)
    with pytest.raises(ValueError, match="unique"):
        store.write(1, {}, [("a", np.zeros(1)), ("a", np.zeros(1))])
    with pytest.raises(ValueError, match="plain"):
        store.write(1, {}, [("a", np.array([object()]))])
    assert store.positions() == []


def test_what_a_crash_left_is_removed(tmp_path: Path) -> None:
    """A half-written file is never taken for a snapshot and goes at the next start."""
    (tmp_path / "00000000000000000003.tmp").write_bytes(b"half")
    store = SnapshotStore(tmp_path)
    assert latest(store) is None
    assert list(tmp_path.iterdir()) == []


FULL = """
import resource, sys
from pathlib import Path
import numpy as np
from rte_server.engine.entries import Entry, EntryType
from rte_server.journal.directory import DataDirectory
from rte_server.journal.protocol import JournalUnavailable
from rte_server.journal.snapshots import SnapshotStore
from rte_server.journal.sqlite import SqliteJournal
with DataDirectory(Path(sys.argv[1])) as directory:
    journal = SqliteJournal(directory)
    store = SnapshotStore(directory.snapshots_path)
    store.write(1, {}, [("a", np.zeros(1000))])
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    try:
        store.write(2, {}, [("a", np.zeros(1_000_000))])
    except JournalUnavailable as error:
        print(error)
    assert journal.append(0, [Entry(EntryType.TICK, 1, b"")]) == 1
    assert store.use_latest(lambda snapshot: snapshot.arrays["a"].sum() + snapshot.position) == 1
    assert len(list(directory.snapshots_path.iterdir())) == 1
    journal.close()
"""


def test_a_full_disk_keeps_the_old_snapshot_and_the_journal(tmp_path: Path) -> None:
    """A snapshot that does not fit leaves no trace, the one before it stays, and the journal goes on."""
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path)], capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, done.stderr
    assert "cannot write the snapshot" in done.stdout
