"""The data directory: where it keeps what, who may open it, and the deployment's secret."""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
from pathlib import Path
from types import TracebackType
from typing import Self

from rte_server.journal.protocol import JournalError, JournalLocked, JournalUnavailable

SECRET_BYTES = 32


class SecretMissing(JournalError):
    """The journal is there but its secret is not: with a new one, no visitor would be found again."""


class DataDirectory:
    """A directory that exactly one process uses at a time.

    It holds `journal.sqlite` (with its `-wal` and `-shm`), `snapshots/`, `graphs/`, `secret` and `lock`.
    """

    def __init__(self, path: Path) -> None:
        """Create the directory and its secret when they are missing, and lock it until `close`.

        Raises:
            JournalLocked: Another process (or another object of this one) has locked it.
            SecretMissing: The secret is gone or damaged although the journal exists.
            JournalUnavailable: It cannot be created, read or written.
        """
        self.path = path
        try:
            path.mkdir(parents=True, exist_ok=True, mode=0o750)
            self._lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        except OSError as error:
            raise JournalUnavailable(f"cannot use the data directory {path}: {error.strerror}") from error
        self._take_lock()
        try:
            self.secret = self._load_secret()
            """32 bytes that key every hash of this deployment. Made at the first start, never again."""
        except BaseException:
            self.close()
            raise

    @property
    def journal_path(self) -> Path:
        """Return where the embedded journal lies."""
        return self.path / "journal.sqlite"

    @property
    def snapshots_path(self) -> Path:
        """Return the directory of the snapshots."""
        return self.path / "snapshots"

    @property
    def graphs_path(self) -> Path:
        """Return the directory of the ONNX graphs."""
        return self.path / "graphs"

    def _take_lock(self) -> None:
        """Lock the directory, or say who holds it."""
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(self._lock, 32, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(self._lock)
            self._lock = -1
            raise JournalLocked(
                f"the data directory {self.path} is in use by process {holder}; stop it, or set another server.data_dir"
            ) from error
        # The process id only makes the message above helpful. A full disk must not prevent a start for its sake.
        try:
            os.ftruncate(self._lock, 0)
            os.pwrite(self._lock, f"{os.getpid()}\n".encode("ascii"), 0)
        except OSError:
            pass

    def _load_secret(self) -> bytes:
        """Read the secret, or make it; the caller's `Raises` apply."""
        path = self.path / "secret"
        try:
            found = path.read_bytes() if path.exists() else b""
            if len(found) == SECRET_BYTES:
                return found
            if self.journal_path.exists():
                raise SecretMissing(
                    f"{path} {'is damaged' if found else 'is missing'}, but the journal beside it was written with it; "
                    "put the original file back"
                )
            made = secrets.token_bytes(SECRET_BYTES)
            _write_private(path, made)
            return made
        except OSError as error:
            raise JournalUnavailable(f"cannot read or write {path}: {error.strerror}") from error

    def close(self) -> None:
        """Let the next process in. Closing twice does nothing."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def sync_directory(path: Path) -> None:
    """Make creations, renames and removals in `path` durable.

    Raises:
        OSError: The device failed.
    """
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _write_private(path: Path, content: bytes) -> None:
    """Write a file that only its owner may read, all of it or nothing, durably."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.unlink(missing_ok=True)
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        if os.write(handle, content) != len(content):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fsync(handle)
    finally:
        os.close(handle)
    temporary.rename(path)
    sync_directory(path.parent)
