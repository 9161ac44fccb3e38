"""The embedded journal: SQLite in WAL mode with `synchronous=FULL`, one transaction per append.

Why the checkpoint is our own: SQLite's automatic checkpoint copies the WAL into the database inside a commit, which gave
a p99 of 10 to 50 ms. Here a thread of the journal copies while appends go on. Under a steady load the copy never catches
up, so the WAL would grow for ever; once it has passed WAL_BYTES_SOFT_MAX the thread copies the small rest with the
append lock held (some milliseconds), and the next commit starts the WAL at its beginning. The file is then written over
in place, which also halves the cost of a commit, because its length no longer changes.
"""

from __future__ import annotations

import logging
import sqlite3
import struct
import threading
from collections.abc import Iterator, Mapping, Sequence
from time import monotonic, sleep
from zlib import crc32

from rte_server.engine.entries import Entry, EntryType
from rte_server.journal.directory import DataDirectory, sync_directory
from rte_server.journal.protocol import (
    ENTRY_BYTES_MAX,
    SHARDS_MAX,
    JournalDamaged,
    JournalError,
    JournalUnavailable,
)

APPLICATION_ID = 0x52544531
"""Marks the file as a journal of RTE ("RTE1")."""
FORMAT_VERSION = 1
"""The layout below. A file with another version is refused, never guessed at."""

PAGE_BYTES = 16384
"""Of 4, 16 and 64 KiB the fastest for batches of 500 events (72 KB) that still costs single events no more."""
CHECKPOINT_BYTES = 8 * 1024 * 1024
"""The thread copies after so many appended bytes, or when nothing was appended for IDLE_S."""
WAL_BYTES_SOFT_MAX = 64 * 1024 * 1024
IDLE_S = 0.5

POSITION_BITS = 48
"""A row's key is shard * 2^48 + position, so that each shard is one run of the only b-tree."""
READ_BYTES = 8 * 1024 * 1024
"""A reader takes about so much at a time, so that a slow reader never holds the WAL."""
GIVE_UP_S = 20.0
"""What was redacted is given up once nobody reads it any more; for so long it is waited for."""
TRIM_CHUNK_S = 0.003
"""An append waits at most about so long for the trimming of old entries."""

CREATE = """CREATE TABLE entry (
    place INTEGER PRIMARY KEY,
    type INTEGER NOT NULL,
    received_ms INTEGER NOT NULL,
    checksum INTEGER NOT NULL,
    body BLOB NOT NULL
)"""
INSERT = "INSERT INTO entry (place, type, received_ms, checksum, body) VALUES (?, ?, ?, ?, ?)"
SELECT = "SELECT place, type, received_ms, checksum, body FROM entry WHERE place >= ? AND place <= ? ORDER BY place"

_HEAD = struct.Struct("<HqBq")
_log = logging.getLogger("rte.journal")

_Row = tuple[int, int, int, int, bytes]  # As stored. As read, any column of a damaged row may be anything.


def checksum(shard: int, position: int, entry_type: int, received_ms: int, body: bytes) -> int:
    """Return the CRC-32 over everything an entry consists of, its place included, in [0, 2^32)."""
    return crc32(body, crc32(_HEAD.pack(shard, position, entry_type, received_ms)))


class _FairLock:
    """A lock that a loop of one thread cannot keep from another: who waits holds the place of the next."""

    def __init__(self) -> None:
        self._held = threading.Lock()
        self._next = threading.Lock()

    def __enter__(self) -> None:
        with self._next:
            self._held.acquire()

    def __exit__(self, *_: object) -> None:
        self._held.release()


class SqliteJournal:
    """A `Journal` in one file of a data directory. See `protocol.Journal` for what each method promises."""

    def __init__(self, directory: DataDirectory) -> None:
        """Open the journal, or create it.

        Args:
            directory: Locked by this process for as long as the journal is open.

        Raises:
            JournalDamaged: The file is no journal.
            JournalError: It was written by another version of RTE.
            JournalUnavailable: It cannot be opened or written.
        """
        self._path = directory.journal_path
        self._lock = _FairLock()  # Held by whoever uses the writing connection or the positions.
        self._last: dict[int, int] = {}
        self._first: dict[int, int] = {}
        self._stored_from: dict[int, int] = {}
        self._unchecked_bytes = 0
        self._wake = threading.Event()
        self._closed = False
        self._broken = False  # The writing connection holds a transaction that it cannot end.
        try:
            self._writer = self._connect()
            try:
                self._prepare()
                self._load_positions()
            except BaseException:
                self._writer.close()
                raise
        except sqlite3.Error as error:
            raise self._translated(error) from error
        # A daemon: what it does may stop anywhere, and a journal that nobody closed must not keep a process alive.
        self._upkeep = threading.Thread(target=self._run_upkeep, name="rte-journal-upkeep", daemon=True)
        self._upkeep.start()

    def append(self, shard: int, entries: Sequence[Entry]) -> int:
        """Store `entries` in one transaction; see `Journal.append`."""
        _check(shard, entries)
        with self._lock:
            if self._closed:
                raise JournalUnavailable(f"the journal {self._path} is closed")
            first = self._last.get(shard, 0) + 1
            try:
                if self._broken:
                    self._reopen()
                self._writer.execute("BEGIN IMMEDIATE")
                self._writer.executemany(INSERT, _rows(shard, first, entries))
                self._writer.execute("COMMIT")
            except sqlite3.Error as error:
                self._roll_back()
                raise self._translated(error) from error
            except BaseException:
                self._roll_back()
                raise
            self._last[shard] = first + len(entries) - 1
            self._first.setdefault(shard, first)
            self._stored_from.setdefault(shard, first)
            self._unchecked_bytes += sum(len(entry.body) for entry in entries)
            if self._unchecked_bytes >= CHECKPOINT_BYTES:
                self._wake.set()
        return first

    def read(self, shard: int, from_position: int) -> Iterator[tuple[int, Entry]]:
        """Yield entries in order; see `Journal.read`."""
        if not 0 <= shard < SHARDS_MAX or from_position < 1:
            raise ValueError(f"shard {shard} or position {from_position} is out of range")
        return self._read(shard, from_position)

    def trim(self, shard: int, before_position: int) -> None:
        """Hide old entries now, delete them in the background; see `Journal.trim`."""
        with self._lock:
            last = self._last.get(shard, 0)
            bound = min(before_position, last)
            if bound > self._first.get(shard, last):
                self._first[shard] = bound
                self._wake.set()

    def redact(self, shard: int, bodies: Mapping[int, bytes]) -> None:
        """Replace bodies for good; see `Journal.redact`."""
        try:
            # What was trimmed is still in the file until it is deleted, and then overwritten: `secure_delete`.
            self._delete_trimmed()
            with self._lock:
                if self._closed:
                    raise JournalUnavailable(f"the journal {self._path} is closed")
                self._replace(shard, bodies)
            self._give_up_wal()
        except sqlite3.Error as error:
            raise self._translated(error) from error

    def first_position(self, shard: int) -> int:
        """Return the oldest position; see `Journal.first_position`."""
        with self._lock:
            return self._first.get(shard, 0)

    def last_position(self, shard: int) -> int:
        """Return the newest position; see `Journal.last_position`."""
        with self._lock:
            return self._last.get(shard, 0)

    def close(self) -> None:
        """Stop the upkeep, copy the WAL into the database, close. See `Journal.close`."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        self._wake.set()
        self._upkeep.join()
        # SQLite checkpoints and removes the WAL when its last connection closes.
        self._writer.close()

    # How it is done.

    def _replace(self, shard: int, bodies: Mapping[int, bytes]) -> None:
        """Replace bodies in one transaction; the lock is held."""
        base = shard << POSITION_BITS
        try:
            if self._broken:
                self._reopen()
            self._writer.execute("BEGIN IMMEDIATE")
            for position, body in bodies.items():
                place = base + position
                found = self._writer.execute("SELECT type, received_ms FROM entry WHERE place = ?", (place,)).fetchone()
                if found is None or position < self._first.get(shard, 0) or len(body) > ENTRY_BYTES_MAX:
                    raise ValueError(f"position {position} of shard {shard} cannot get a body of {len(body)} bytes")
                sum_ = checksum(shard, position, found[0], found[1], body)
                self._writer.execute("UPDATE entry SET checksum = ?, body = ? WHERE place = ?", (sum_, body, place))
            self._writer.execute("COMMIT")
        except BaseException:
            self._roll_back()
            raise

    def _give_up_wal(self) -> None:
        """Copy all of the WAL and cut it to nothing, which waits for readers.

        Raises:
            JournalUnavailable: Somebody reads for longer than GIVE_UP_S.
        """
        until = monotonic() + GIVE_UP_S
        while True:
            with self._lock:
                # Appends wait for the lock, so SQLite must not wait for readers while it is held.
                self._writer.execute("PRAGMA busy_timeout = 0")
                is_busy = self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
                self._writer.execute("PRAGMA busy_timeout = 5000")
            if not is_busy:
                return
            if monotonic() > until:
                raise JournalUnavailable(f"the journal {self._path} is being read; try again later")
            sleep(0.05)

    def _connect(self) -> sqlite3.Connection:
        """Return a connection with the settings that durability rests on."""
        connection = sqlite3.connect(
            self._path,
            timeout=5.0,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=8,
        )
        try:
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA secure_delete = ON")
            connection.execute("PRAGMA wal_autocheckpoint = 0")
            connection.execute("PRAGMA cache_size = -16384")
            connection.execute(f"PRAGMA journal_size_limit = {2 * WAL_BYTES_SOFT_MAX}")
        except BaseException:
            connection.close()
            raise
        return connection

    def _prepare(self) -> None:
        """Create the table in a new file; refuse a file that is not ours."""
        writer = self._writer
        identity = writer.execute("PRAGMA application_id").fetchone()[0]
        version = writer.execute("PRAGMA user_version").fetchone()[0]
        if identity == 0 and writer.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0:
            writer.execute(f"PRAGMA page_size = {PAGE_BYTES}")
            writer.execute("PRAGMA journal_mode = WAL")
            # One transaction, so that a crash leaves either an empty file or a complete one.
            writer.execute("BEGIN IMMEDIATE")
            writer.execute(CREATE)
            writer.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            writer.execute(f"PRAGMA user_version = {FORMAT_VERSION}")
            writer.execute("COMMIT")
            sync_directory(self._path.parent)
            return
        if identity != APPLICATION_ID:
            raise JournalDamaged(
                f"{self._path} is an SQLite file, but not a journal of RTE; set another server.data_dir"
            )
        if version != FORMAT_VERSION:
            raise JournalError(
                f"{self._path} has journal format {version}, this server writes format {FORMAT_VERSION}; "
                "start the version of RTE that wrote it"
            )
        mode = writer.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        if mode != "wal":
            raise JournalUnavailable(f"{self._path} cannot be used in WAL mode; is it on a network file system?")

    def _load_positions(self) -> None:
        """Find the first and last position of each shard by seeking, one step per shard that exists."""
        place = -1
        while True:
            row = self._writer.execute("SELECT min(place) FROM entry WHERE place > ?", (place,)).fetchone()
            if row[0] is None:
                return
            shard, first = row[0] >> POSITION_BITS, row[0] & ((1 << POSITION_BITS) - 1)
            place = ((shard + 1) << POSITION_BITS) - 1
            last = self._writer.execute("SELECT max(place) FROM entry WHERE place <= ?", (place,)).fetchone()[0]
            self._first[shard] = self._stored_from[shard] = first
            self._last[shard] = last & ((1 << POSITION_BITS) - 1)

    def _read(self, shard: int, from_position: int) -> Iterator[tuple[int, Entry]]:
        expected = from_position
        with self._lock:
            if self._closed:
                raise JournalUnavailable(f"the journal {self._path} is closed")
            first, last = self._first.get(shard, 0), self._last.get(shard, 0)
        if expected < first:
            raise JournalDamaged(
                f"position {expected} of shard {shard} was trimmed, the journal begins at {first}",
                shard=shard,
                position=expected,
            )
        connection = self._connect()
        connection.text_factory = bytes  # No column is text; a damaged one must not raise while it is decoded.
        try:
            while expected <= last:
                for row in self._read_some(connection, shard, expected, last):
                    yield expected, self._checked(shard, expected, row)
                    expected += 1
        finally:
            connection.close()

    def _read_some(self, connection: sqlite3.Connection, shard: int, from_position: int, last: int) -> list[_Row]:
        """Return at least one row from `from_position` on, about READ_BYTES of them, not yet checked."""
        base = shard << POSITION_BITS
        rows: list[_Row] = []
        size = 0
        cursor = connection.cursor()
        try:
            for row in cursor.execute(SELECT, (base + from_position, base + last)):
                rows.append(row)
                size += 64 + (len(row[4]) if isinstance(row[4], bytes) else 0)
                if size >= READ_BYTES:
                    break
        except sqlite3.Error as error:
            # sqlite3 steps ahead, so the row before the bad one may be lost with it: take one at a time from here.
            rows = self._read_one(connection, base + from_position, error)
        finally:
            cursor.close()
        if not rows:
            raise self._damaged(shard, from_position, "is missing")
        return rows

    def _read_one(self, connection: sqlite3.Connection, place: int, cause: sqlite3.Error) -> list[_Row]:
        try:
            return connection.execute(SELECT, (place, place)).fetchall()
        except sqlite3.Error as error:
            translated = self._translated(error)
            if isinstance(translated, JournalDamaged):
                shard, position = (
                    place >> POSITION_BITS,
                    place & ((1 << POSITION_BITS) - 1),
                )
                raise self._damaged(shard, position, f"cannot be read ({error})") from cause
            raise translated from error

    def _checked(self, shard: int, position: int, row: _Row) -> Entry:
        place, entry_type, received_ms, stored, body = row
        if place != (shard << POSITION_BITS) + position:
            raise self._damaged(shard, position, "is missing")
        # SQLite is loosely typed: damage to a row's header can turn a number into anything.
        whole = isinstance(entry_type, int) and isinstance(received_ms, int) and isinstance(body, bytes)
        if not whole or not 0 <= entry_type < 256 or stored != checksum(shard, position, entry_type, received_ms, body):
            raise self._damaged(shard, position, "does not match its checksum")
        try:
            return Entry(EntryType(entry_type), received_ms, body)
        except ValueError:
            raise self._damaged(
                shard,
                position,
                f"has type {entry_type}, which this version does not know",
            ) from None

    def _damaged(self, shard: int, position: int, what: str) -> JournalDamaged:
        return JournalDamaged(
            f"the journal {self._path} is damaged: position {position} of shard {shard} {what}; restore it from a backup",
            shard=shard,
            position=position,
        )

    def _roll_back(self) -> None:
        """End a failed transaction, so that the next append starts afresh. Some failures have ended it already."""
        try:
            if self._writer.in_transaction:
                self._writer.execute("ROLLBACK")
        except sqlite3.Error as error:
            _log.warning(
                "the journal's connection is opened anew, because a transaction cannot be undone: %s",
                error,
            )
            self._broken = True

    def _reopen(self) -> None:
        self._writer.close()
        self._writer = self._connect()
        self._broken = False

    def _translated(self, error: sqlite3.Error) -> JournalError:
        code = (getattr(error, "sqlite_errorcode", 0) or 0) & 0xFF
        if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            return JournalDamaged(f"the journal {self._path} is damaged: {error}; restore it from a backup")
        return JournalUnavailable(f"the journal {self._path} cannot be used: {error}")

    # Upkeep: runs in its own thread, with its own connection where no lock is needed.

    def _run_upkeep(self) -> None:
        connection = self._connect()
        try:
            while not self._closed:
                woken = self._wake.wait(IDLE_S if self._unchecked_bytes else None)
                self._wake.clear()
                if self._closed:
                    return
                try:
                    if self._unchecked_bytes and (not woken or self._unchecked_bytes >= CHECKPOINT_BYTES):
                        self._checkpoint(connection)
                    self._delete_trimmed()
                except sqlite3.Error as error:
                    # A full disk: appends say so themselves. Copying goes on after the next append.
                    _log.warning("upkeep of the journal failed, it is tried again: %s", error)
        finally:
            connection.close()

    def _checkpoint(self, connection: sqlite3.Connection) -> None:
        """Copy the WAL into the database; let the next commit start it anew once it is long."""
        self._unchecked_bytes = 0
        _, wal_pages, _ = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        if wal_pages * PAGE_BYTES > WAL_BYTES_SOFT_MAX:
            with self._lock:
                connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()

    def _delete_trimmed(self) -> None:
        """Delete hidden entries in chunks, each as long as an append may be made to wait."""
        count = 16
        for shard in list(self._first):
            while not self._closed:
                with self._lock:
                    start = self._stored_from[shard]
                    end = min(start + count, self._first[shard])
                    if start >= end:
                        break
                    began = monotonic()
                    base = shard << POSITION_BITS
                    self._writer.execute(
                        "DELETE FROM entry WHERE place >= ? AND place < ?",
                        (base + start, base + end),
                    )
                    self._stored_from[shard] = end
                    took = monotonic() - began
                count = min(count * 2, 4096) if took < TRIM_CHUNK_S / 2 else max(count // 2, 1)
                self._unchecked_bytes += 1


def _rows(shard: int, first: int, entries: Sequence[Entry]) -> Iterator[_Row]:
    base = shard << POSITION_BITS
    for position, entry in enumerate(entries, first):
        number = int(entry.type)
        sum_ = checksum(shard, position, number, entry.received_ms, entry.body)
        yield base + position, number, entry.received_ms, sum_, entry.body


def _check(shard: int, entries: Sequence[Entry]) -> None:
    """Refuse what could not be read back.

    Raises:
        ValueError: Something is out of range.
    """
    if not 0 <= shard < SHARDS_MAX:
        raise ValueError(f"shard {shard} is outside of [0, {SHARDS_MAX})")
    if not entries:
        raise ValueError("an append needs at least one entry")
    for entry in entries:
        if not 0 <= entry.received_ms < 1 << 62:
            raise ValueError(f"received_ms {entry.received_ms} is outside of [0, 2^62)")
        if len(entry.body) > ENTRY_BYTES_MAX:
            raise ValueError(f"an entry of {len(entry.body)} bytes is longer than {ENTRY_BYTES_MAX}")
