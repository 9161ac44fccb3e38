"""The embedded journal: conformance, damage, full disks, locks."""

from __future__ import annotations

import itertools
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from rte_server.engine.entries import Entry, EntryType
from rte_server.journal import sqlite as module
from rte_server.journal.directory import DataDirectory, SecretMissing
from rte_server.journal.protocol import (
    Journal,
    JournalDamaged,
    JournalError,
    JournalLocked,
    JournalUnavailable,
)
from rte_server.journal.sqlite import SqliteJournal
from tests.journal.conformance import (
    MACHINE_SETTINGS,
    JournalConformance,
    JournalMachine,
    entry,
)


class OwnedJournal(SqliteJournal):
    """A journal that closes its directory with itself, so that a test can open it again."""

    def __init__(self, path: Path) -> None:
        self.directory = DataDirectory(path)
        try:
            super().__init__(self.directory)
        except BaseException:
            self.directory.close()
            raise

    def close(self) -> None:
        """Close the journal, then its directory."""
        super().close()
        self.directory.close()


class TestConformance(JournalConformance):
    """The SQLite journal keeps every promise of the protocol."""

    def open_journal(self, directory: Path) -> Journal:
        """Open it by its data directory."""
        return OwnedJournal(directory)


class SqliteMachine(JournalMachine):
    """The SQLite journal under any sequence of calls."""

    def __init__(self) -> None:
        self.place = tempfile.TemporaryDirectory()
        super().__init__()

    def reopen(self) -> Journal:
        """Close and open by the data directory."""
        if hasattr(self, "journal"):
            self.journal.close()
        return OwnedJournal(Path(self.place.name))

    def teardown(self) -> None:
        """Leave nothing behind."""
        self.journal.close()
        self.place.cleanup()


TestSqliteMachine = SqliteMachine.TestCase
TestSqliteMachine.settings = MACHINE_SETTINGS


def filled(path: Path, count: int = 20, size: int = 5_000) -> Path:
    """Write a journal of `count` entries, close it, return its file."""
    journal = OwnedJournal(path)
    journal.append(0, [entry(n, size) for n in range(1, count + 1)])
    journal.close()
    return path / "journal.sqlite"


def test_a_flipped_byte_in_a_body_names_its_position(tmp_path: Path) -> None:
    """Whatever byte of a stored body changes, the read yields all before it and then names it."""
    path = filled(tmp_path)
    stored = path.read_bytes()
    for position in (1, 11, 20):
        start = stored.index(b"%020d" % position)
        for offset in (0, 19):
            path.write_bytes(
                stored[: start + offset] + bytes([stored[start + offset] ^ 1]) + stored[start + offset + 1 :]
            )
            journal = OwnedJournal(tmp_path)
            read: list[tuple[int, Entry]] = []
            with pytest.raises(JournalDamaged, match=f"position {position} of shard 0") as caught:
                read.extend(journal.read(0, 1))
            assert caught.value.position == position
            assert [found for found, _ in read] == list(range(1, position))
            journal.close()


def test_any_flipped_byte_of_the_file_is_noticed_or_harmless(tmp_path: Path) -> None:
    """A damaged file gives the entries that were written, a prefix of them with JournalDamaged, or is refused."""
    path = filled(tmp_path, count=4)
    stored = path.read_bytes()
    wanted = [(n, entry(n, 5_000)) for n in range(1, 5)]
    for offset in [
        *range(0, 100, 3),
        *range(100, len(stored), 1_777),
        *range(16_384, 16_384 + 120, 5),
    ]:
        path.write_bytes(stored[:offset] + bytes([stored[offset] ^ 0x41]) + stored[offset + 1 :])
        read: list[tuple[int, Entry]] = []
        try:
            journal = OwnedJournal(tmp_path)
        except JournalError:
            continue
        try:
            read.extend(journal.read(0, 1))
        except JournalError:
            pass
        finally:
            journal.close()
        assert read == wanted[: len(read)], f"byte {offset}"


def test_a_changed_time_or_type_does_not_match_its_checksum(tmp_path: Path) -> None:
    """The checksum covers type, received time and place, not only the body."""
    for change in (
        "received_ms = received_ms + 1",
        "type = 2",
        "type = 'x'",
        "body = 'text'",
        "checksum = checksum + 1",
    ):
        path = filled(tmp_path, count=3)
        with sqlite3.connect(path) as connection:
            connection.execute(f"UPDATE entry SET {change} WHERE place = 2")
        connection.close()
        journal = OwnedJournal(tmp_path)
        with pytest.raises(JournalDamaged, match="position 2 of shard 0"):
            list(journal.read(0, 1))
        journal.close()
        path.unlink()


def test_a_missing_entry_is_a_gap(tmp_path: Path) -> None:
    """An entry that was removed behind the journal's back is named, not skipped."""
    path = filled(tmp_path)
    with sqlite3.connect(path) as connection:
        connection.execute("DELETE FROM entry WHERE place = 7")
    connection.close()
    journal = OwnedJournal(tmp_path)
    with pytest.raises(JournalDamaged, match="position 7 of shard 0 is missing"):
        list(journal.read(0, 1))
    with pytest.raises(JournalDamaged, match="position 7 of shard 0 is missing"):
        list(journal.read(0, 7))
    assert [p for p, _ in journal.read(0, 8)] == list(range(8, 21))
    journal.close()


def test_an_entry_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    """A type that this version does not know stops the read although its checksum is right."""
    path = filled(tmp_path, count=2)
    with sqlite3.connect(path) as connection:
        connection.execute(
            "UPDATE entry SET type = 99, checksum = ? WHERE place = 2",
            (module.checksum(0, 2, 99, entry(2).received_ms, entry(2, 5_000).body),),
        )
    connection.close()
    journal = OwnedJournal(tmp_path)
    with pytest.raises(JournalDamaged, match="type 99"):
        list(journal.read(0, 1))
    journal.close()


def test_a_truncated_wal_loses_only_its_tail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut anywhere, the WAL gives back a prefix of the groups, each whole, and the journal goes on after it."""
    # Where an append takes long, the WAL would be copied and begun anew before the next one.
    monkeypatch.setattr(module, "IDLE_S", 3_600.0)
    journal = OwnedJournal(tmp_path / "live")
    for n in range(1, 31, 3):
        journal.append(0, [entry(n, 3_000), entry(n + 1, 3_000), entry(n + 2, 3_000)])
    database = (tmp_path / "live" / "journal.sqlite").read_bytes()
    wal = (tmp_path / "live" / "journal.sqlite-wal").read_bytes()
    secret = (tmp_path / "live" / "secret").read_bytes()
    journal.close()
    assert len(wal) > 100_000
    seen = set()
    for number, length in enumerate([*range(32, len(wal), len(wal) // 23), len(wal)]):
        copy = tmp_path / str(number)
        copy.mkdir()
        (copy / "journal.sqlite").write_bytes(database)
        (copy / "journal.sqlite-wal").write_bytes(wal[:length])
        (copy / "secret").write_bytes(secret)
        journal = OwnedJournal(copy)
        last = journal.last_position(0)
        assert last % 3 == 0
        assert list(journal.read(0, 1)) == [(n, entry(n, 3_000)) for n in range(1, last + 1)]
        assert journal.append(0, [entry(0)]) == last + 1
        journal.close()
        seen.add(last)
    assert len(seen) > 5
    assert max(seen) == 30


def test_foreign_and_newer_files_are_refused(tmp_path: Path) -> None:
    """A file that is no SQLite, no journal, or of another format says what to do."""
    for name, make, match in (
        ("text", lambda path: path.write_bytes(b"hello, world\n" * 1000), "damaged"),
        (
            "other",
            lambda path: sqlite3.connect(path).execute("CREATE TABLE a (b)").connection.close(),
            "not a journal",
        ),
    ):
        with DataDirectory(tmp_path / name) as directory:
            make(directory.journal_path)
            with pytest.raises(JournalDamaged, match=match):
                SqliteJournal(directory)
    path = filled(tmp_path / "newer")
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 2")
    connection.close()
    with (
        DataDirectory(tmp_path / "newer") as directory,
        pytest.raises(JournalError, match="format 2"),
    ):
        SqliteJournal(directory)


def test_a_half_created_file_is_completed(tmp_path: Path) -> None:
    """A crash between creating the file and its table leaves a file that the next start takes over."""
    with DataDirectory(tmp_path) as directory:
        connection = sqlite3.connect(directory.journal_path)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.close()
        journal = SqliteJournal(directory)
        assert journal.append(0, [entry(1)]) == 1
        journal.close()


def test_a_second_process_is_locked_out(tmp_path: Path) -> None:
    """While a process has the directory, another one gets an error that names the first."""
    with DataDirectory(tmp_path):
        with pytest.raises(JournalLocked, match=f"process {os.getpid()}"):
            DataDirectory(tmp_path)
        code = "import sys; from pathlib import Path; from rte_server.journal.directory import DataDirectory\n"
        code += "DataDirectory(Path(sys.argv[1]))"
        done = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 1
        assert "JournalLocked" in done.stderr
    DataDirectory(tmp_path).close()


def test_the_secret_is_made_once_and_private(tmp_path: Path) -> None:
    """The secret stays the same over restarts, only its owner can read it, and a lost one is not replaced."""
    with DataDirectory(tmp_path) as directory:
        secret = directory.secret
        SqliteJournal(directory).close()
    assert len(secret) == 32
    assert (tmp_path / "secret").stat().st_mode & 0o777 == 0o600
    with DataDirectory(tmp_path) as directory:
        assert directory.secret == secret
    (tmp_path / "secret").write_bytes(secret[:31])
    with pytest.raises(SecretMissing, match="damaged"):
        DataDirectory(tmp_path)
    (tmp_path / "secret").unlink()
    with pytest.raises(SecretMissing, match="missing"):
        DataDirectory(tmp_path)


DISK_FULL = """
import resource, sys
from pathlib import Path
from rte_server.engine.entries import Entry, EntryType
from rte_server.journal.directory import DataDirectory
from rte_server.journal.protocol import JournalUnavailable
from rte_server.journal.sqlite import SqliteJournal
with DataDirectory(Path(sys.argv[1])) as directory:
    journal = SqliteJournal(directory)
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, hard))
    taken, refused = [], 0
    for turn in range(60):
        if turn == 40:
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        body = bytes([turn]) * 50_000
        try:
            position = journal.append(0, [Entry(EntryType.EVENTS, turn, body)] * 2)
            taken += [(position, turn), (position + 1, turn)]
        except JournalUnavailable:
            refused += 1
            assert journal.last_position(0) == len(taken)
    assert refused > 10 and len(taken) > 50, (refused, taken)
    read = [(p, e.received_ms) for p, e in journal.read(0, 1)]
    assert read == taken, (read, taken)
    journal.close()
    journal = SqliteJournal(directory)
    assert [(p, e.received_ms) for p, e in journal.read(0, 1)] == taken
    journal.close()
print("fine", refused)
"""


def test_a_full_disk_takes_nothing_and_the_journal_goes_on_when_there_is_room(
    tmp_path: Path,
) -> None:
    """While files cannot grow every append is refused whole; afterwards positions go on without a gap."""
    done = subprocess.run(
        [sys.executable, "-c", DISK_FULL, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("fine")


def test_a_journal_that_hits_its_page_limit_stays_usable(tmp_path: Path) -> None:
    """SQLite's own FULL error is unavailability too, and trimming then makes room again."""
    journal = OwnedJournal(tmp_path)
    journal.append(0, [entry(n, 10_000) for n in range(1, 51)])
    journal._writer.execute("PRAGMA max_page_count = 60")
    with pytest.raises(JournalUnavailable, match="full"):
        list(map(journal.append, itertools.repeat(0), ([entry(n, 10_000)] for n in range(51, 300))))
    last = journal.last_position(0)
    journal.trim(0, last)
    until_s = time.monotonic() + 60
    while journal._stored_from[0] != last:
        assert time.monotonic() < until_s
        time.sleep(0.01)
    assert journal.append(0, [entry(n, 10_000) for n in range(last + 1, last + 20)]) == last + 1
    assert [p for p, _ in journal.read(0, last)] == list(range(last, last + 20))
    journal.close()


def test_the_wal_stays_bounded_under_steady_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However much is appended while the upkeep works, the WAL starts again near its soft limit.

    Appends only wait here until the upkeep, of which a busy machine can keep the processor, has begun with what it was told.
    """
    monkeypatch.setattr(module, "CHECKPOINT_BYTES", 1_000_000)
    monkeypatch.setattr(module, "WAL_BYTES_SOFT_MAX", 4_000_000)
    journal = OwnedJournal(tmp_path)
    group = [Entry(EntryType.EVENTS, 0, os.urandom(72_000))]
    wal, sizes = tmp_path / "journal.sqlite-wal", []
    for _ in range(1400):
        journal.append(0, group)
        sizes.append(wal.stat().st_size)
        until_s = time.monotonic() + 60
        while journal._unchecked_bytes >= module.CHECKPOINT_BYTES:
            assert time.monotonic() < until_s
            time.sleep(0.001)
    # What comes while it is copied, before it is seen to be too long and before it starts again.
    assert 4_000_000 < max(sizes) < 4_000_000 + 3 * 1_100_000
    journal.close()
