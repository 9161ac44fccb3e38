"""The embedded journal as a recording: read without taking it, so that its server may run meanwhile."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

from rte_server.engine.entries import Entry, EntryType
from rte_server.journal.directory import SECRET_BYTES
from rte_server.journal.protocol import JournalDamaged, JournalUnavailable
from rte_server.journal.sqlite import APPLICATION_ID, FORMAT_VERSION, POSITION_BITS, SELECT, checksum


def read_recording(directory: Path, shard: int = 0) -> Iterator[Entry]:
    """Yield the entries of a shard that the journal of a data directory still has, oldest first.

    Raises:
        JournalUnavailable: There is no journal, or it cannot be read.
        JournalDamaged: An entry is not what was written.
    """
    path = directory / "journal.sqlite"
    if not path.exists():
        raise JournalUnavailable(f"there is no journal in {directory}")
    try:
        connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, isolation_level=None)
    except sqlite3.Error as error:
        raise JournalUnavailable(f"the journal {path} cannot be read: {error}") from error
    try:
        _check(connection, path)
        base = shard << POSITION_BITS
        for place, number, received_ms, stored, body in connection.execute(SELECT, (base, base + (1 << 48) - 1)):
            position = place - base
            if stored != checksum(shard, position, number, received_ms, body):
                message = f"the journal {path} is damaged: position {position} does not match its checksum"
                raise JournalDamaged(message, shard=shard, position=position)
            yield Entry(EntryType(number), received_ms, body)
    except sqlite3.Error as error:
        raise JournalUnavailable(f"the journal {path} cannot be read: {error}") from error
    finally:
        connection.close()


def read_secret(directory: Path) -> bytes:
    """Return the secret of a deployment.

    Raises:
        JournalUnavailable: There is none.
    """
    path = directory / "secret"
    try:
        found = path.read_bytes()
    except OSError as error:
        raise JournalUnavailable(f"{path} cannot be read: {error.strerror}") from error
    if len(found) != SECRET_BYTES:
        raise JournalUnavailable(f"{path} is no secret of a journal")
    return found


def _check(connection: sqlite3.Connection, path: Path) -> None:
    identity = connection.execute("PRAGMA application_id").fetchone()[0]
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if identity != APPLICATION_ID or version != FORMAT_VERSION:
        raise JournalUnavailable(f"{path} is no journal that this version of RTE reads")
