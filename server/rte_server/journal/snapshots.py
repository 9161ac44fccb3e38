"""Snapshots: the engine's arrays at a position, so that a restart folds only the entries after it.

One file per snapshot, `<position, 20 digits>.snapshot`, little-endian:

    "RTESNAP1"                          8 bytes
    arrays                              raw, C order, each beginning at a multiple of 4096 bytes
    directory                           UTF-8 JSON: position, meta, and per array its name, dtype, shape, offset, blocks
    directory offset, length, CRC-32    3 x uint64
    "RTESNAP1"                          8 bytes

The directory comes last, so that arrays stream to disk and a file that was cut short is recognized at once. Each array
has a CRC-32 per block of BLOCK_BYTES, so that two threads can read and check one large array.
"""

from __future__ import annotations

import json
import logging
import os
import struct
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from rte_server.journal.directory import sync_directory
from rte_server.journal.protocol import JournalDamaged, JournalUnavailable

MAGIC = b"RTESNAP1"
SUFFIX = ".snapshot"
ALIGNMENT_BYTES = 4096
BLOCK_BYTES = 16 * 1024 * 1024
READERS = 2
DIRECTORY_BYTES_MAX = 64 * 1024 * 1024
_TAIL = struct.Struct("<QQQ8s")
_log = logging.getLogger("rte.snapshots")

Meta = Mapping[str, Any]
"""What the engine wants to find again beside its arrays; anything JSON can hold."""
Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A snapshot that was read back, every checksum verified."""

    position: int
    """The last entry that is folded into the arrays."""
    meta: dict[str, Any]
    arrays: dict[str, Array]
    """Fresh, writable arrays by name, in the order in which they were written."""


class SnapshotStore:
    """The snapshots of one shard in one directory. One thread writes at a time."""

    def __init__(self, directory: Path) -> None:
        """Create the directory if needed and remove what a crash left half-written.

        Raises:
            JournalUnavailable: The directory cannot be used.
        """
        self._directory = directory
        try:
            directory.mkdir(parents=True, exist_ok=True, mode=0o750)
            for left in directory.glob("*.tmp"):
                left.unlink(missing_ok=True)
        except OSError as error:
            raise JournalUnavailable(f"cannot use the snapshot directory {directory}: {error}") from error

    def positions(self) -> list[int]:
        """Return the positions of the stored snapshots, oldest first, damaged ones included."""
        stems = (path.stem for path in self._directory.glob(f"*{SUFFIX}"))
        return sorted(int(stem) for stem in stems if stem.isdigit())

    def write(self, position: int, meta: Meta, arrays: Sequence[tuple[str, Array]]) -> int:
        """Store a snapshot durably.

        Args:
            position: The last entry that is folded into `arrays`, >= 1.
            meta: JSON values.
            arrays: Unique names; any dtype without Python objects, any shape. Not changed by anybody meanwhile.

        Returns:
            The length of the file in bytes.

        Raises:
            ValueError: A name occurs twice, or an array holds Python objects.
            JournalUnavailable: The disk is full or failed. What was stored before is untouched.
        """
        if len({name for name, _ in arrays}) != len(arrays) or any(array.dtype.hasobject for _, array in arrays):
            raise ValueError("the arrays of a snapshot need unique names and plain dtypes")
        path = self._path(position)
        temporary = path.with_suffix(".tmp")
        try:
            with temporary.open("wb", buffering=0) as file:
                length = _write(file, position, meta, arrays)
                os.fsync(file.fileno())
            temporary.rename(path)
            sync_directory(self._directory)
            return length
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise JournalUnavailable(f"cannot write the snapshot {path}: {error}") from error

    def keep_only(self, positions: Collection[int]) -> None:
        """Remove the snapshots at other positions.

        Raises:
            JournalUnavailable: One cannot be removed.
        """
        for old in self.positions():
            if old not in positions:
                try:
                    self._path(old).unlink(missing_ok=True)
                except OSError as error:
                    raise JournalUnavailable(f"cannot remove the snapshot {self._path(old)}: {error}") from error

    def load_latest(self, not_after: int | None = None) -> Snapshot | None:
        """Return the newest snapshot that is whole, or None.

        A damaged one is logged and passed over, not deleted: the one before it plus the journal give the same state.

        Args:
            not_after: Pass over snapshots of later positions, if given.
        """
        for position in reversed(self.positions()):
            if not_after is not None and position > not_after:
                continue
            try:
                return _load(self._path(position), position)
            except (OSError, JournalDamaged) as error:
                _log.error("snapshot %d is passed over: %s", position, error)
        return None

    def discard(self, position: int) -> None:
        """Remove one snapshot, for example one that the engine of this version cannot restore."""
        self._path(position).unlink(missing_ok=True)

    def _path(self, position: int) -> Path:
        return self._directory / f"{position:020d}{SUFFIX}"


def _write(file: BinaryIO, position: int, meta: Meta, arrays: Sequence[tuple[str, Array]]) -> int:
    """Write everything to `file`, return its length in bytes."""
    offset = _write_all(file, MAGIC)
    entries = []
    for name, array in arrays:
        padding = -offset % ALIGNMENT_BYTES
        offset += _write_all(file, bytes(padding))
        content = _bytes_of(np.ascontiguousarray(array))
        blocks = []
        start = offset
        for begin in range(0, len(content), BLOCK_BYTES):
            block = content[begin : begin + BLOCK_BYTES]
            blocks.append(crc32(block))
            offset += _write_all(file, block)
        entries.append([name, array.dtype.str, list(array.shape), start, blocks])
    directory = json.dumps({"position": position, "meta": meta, "arrays": entries}).encode()
    tail = _TAIL.pack(offset, len(directory), crc32(directory), MAGIC)
    return offset + _write_all(file, directory) + _write_all(file, tail)


def _write_all(file: BinaryIO, content: bytes | memoryview) -> int:
    """Write all of `content`; a raw file may take less than it was given."""
    view = memoryview(content)
    done = 0
    while done < len(view):
        done += file.write(view[done:])
    return done


def _load(path: Path, position: int) -> Snapshot:
    """Read and verify one file.

    Raises:
        JournalDamaged: Anything in it is not what was written.
        OSError: It cannot be read.
    """
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        directory, end = _read_directory(handle, path)
        if directory["position"] != position:
            raise JournalDamaged(f"{path} holds position {directory['position']}")
        arrays: dict[str, Array] = {}
        work = []
        for name, dtype, shape, offset, blocks in directory["arrays"]:
            array = arrays[name] = np.empty(shape, np.dtype(dtype))
            content = _bytes_of(array)
            if offset + len(content) > end or len(blocks) != -(-len(content) // BLOCK_BYTES):
                raise JournalDamaged(f"{path}: the directory entry of array {name!r} is impossible")
            for number, expected in enumerate(blocks):
                begin = number * BLOCK_BYTES
                work.append((name, content[begin : begin + BLOCK_BYTES], offset + begin, expected))
        with ThreadPoolExecutor(READERS, thread_name_prefix="rte-snapshot-reader") as pool:
            whole = pool.map(lambda item: _read_block(handle, item[1], item[2]) == item[3], work)
            for (name, *_), fine in zip(work, whole, strict=True):
                if not fine:
                    raise JournalDamaged(f"{path}: array {name!r} does not match its checksum")
        return Snapshot(position, directory["meta"], arrays)
    finally:
        os.close(handle)


def _read_directory(handle: int, path: Path) -> tuple[dict[str, Any], int]:
    """Return the directory and where it begins, its checksum verified."""
    size = os.fstat(handle).st_size
    if size < len(MAGIC) + _TAIL.size or os.pread(handle, len(MAGIC), 0) != MAGIC:
        raise JournalDamaged(f"{path} is no snapshot, or was cut short")
    offset, length, expected, magic = _TAIL.unpack(os.pread(handle, _TAIL.size, size - _TAIL.size))
    if magic != MAGIC or offset + length + _TAIL.size != size or length > DIRECTORY_BYTES_MAX:
        raise JournalDamaged(f"{path} was cut short")
    content = os.pread(handle, length, offset)
    if crc32(content) != expected:
        raise JournalDamaged(f"{path}: the directory does not match its checksum")
    directory: dict[str, Any] = json.loads(content)
    return directory, offset


def _read_block(handle: int, into: memoryview, offset: int) -> int:
    """Fill `into` from the file and return its CRC-32, or -1 where the file ends too early."""
    done = 0
    while done < len(into):
        count = os.preadv(handle, [into[done:]], offset + done)
        if count == 0:
            return -1
        done += count
    return crc32(into)


def _bytes_of(array: Array) -> memoryview:
    """Return the memory of a contiguous array; one without elements has none."""
    return array.reshape(-1).view(np.uint8).data if array.size else memoryview(b"")
