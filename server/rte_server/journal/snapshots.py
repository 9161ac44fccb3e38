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
import math
import os
import struct
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, NamedTuple, Self, TypeVar
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from rte_server.journal.directory import sync_directory
from rte_server.journal.protocol import JournalDamaged, JournalUnavailable

MAGIC = b"RTESNAP1"
SUFFIX = ".snapshot"
ALIGNMENT_BYTES = 4096
BLOCK_BYTES = 16 * 1024 * 1024
WRITTEN_AT_ONCE_BYTES = 2 * 1024 * 1024
"""So much is written between two pauses, some 2 ms."""
READERS = 2
DIRECTORY_BYTES_MAX = 64 * 1024 * 1024
_TAIL = struct.Struct("<QQQ8s")
_log = logging.getLogger("rte.snapshots")

Meta = Mapping[str, Any]
"""What the engine wants to find again beside its arrays; anything JSON can hold."""
Array = NDArray[Any]


Taken = TypeVar("Taken")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A snapshot that is being read."""

    position: int
    """The last entry that is folded into the arrays."""
    meta: dict[str, Any]
    arrays: StoredArrays
    """Every checksum is verified when an array is read."""


class _Place(NamedTuple):
    """Where an array is in a file."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    offset: int
    blocks: list[int]
    """The CRC-32 of each block."""


class StoredArrays:
    """The arrays of one file; see `engine.snapshot.Stored`. They are read straight into the memory that they are for."""

    def __init__(self, path: Path) -> None:
        """Open a file and verify its directory.

        Raises:
            JournalDamaged: It is not what was written.
            OSError: It cannot be read.
        """
        self._path = path
        self._handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="rte-snapshot-reader")
        try:
            self.directory, end = _read_directory(self._handle, path)
            self._places: dict[str, _Place] = {}
            for name, dtype, shape, offset, blocks in self.directory["arrays"]:
                place = self._places[name] = _Place(np.dtype(dtype), tuple(shape), offset, blocks)
                size = place.dtype.itemsize * math.prod(place.shape)
                if offset + size > end or len(blocks) != -(-size // BLOCK_BYTES):
                    raise JournalDamaged(f"{path}: the directory entry of array {name!r} is impossible")
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; no array can be read any more."""
        self._readers.shutdown()
        os.close(self._handle)

    def names(self) -> list[str]:
        """Return the names of the arrays, in the order in which they were written."""
        return list(self._places)

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of an array."""
        return self._places[name].shape

    def __getitem__(self, name: str) -> Array:
        """Return an array, writable and the caller's own. Raises as `read_into`."""
        place = self._places[name]
        array = np.empty(place.shape, place.dtype)
        self.read_into(name, array)
        return array

    def read_into(self, name: str, target: Array) -> None:
        """Fill `target`, which is contiguous and has the shape and the dtype of the array.

        Raises:
            ValueError: It has not.
            JournalDamaged: The array is not what was written; `target` holds anything.
            OSError: It cannot be read.
        """
        place = self._places[name]
        if target.shape != place.shape or target.dtype != place.dtype or not target.flags.c_contiguous:
            raise ValueError(
                f"array {name!r} is {place.dtype}{place.shape}, there is {target.dtype}{target.shape} for it"
            )
        content = _bytes_of(target)

        def is_whole(number: int) -> bool:
            begin = number * BLOCK_BYTES
            read = _read_block(self._handle, content[begin : begin + BLOCK_BYTES], place.offset + begin)
            return read == place.blocks[number]

        # All of them, though the first be damaged: nobody writes to `target` any more when this returns.
        if not all(list(self._readers.map(is_whole, range(len(place.blocks))))):
            raise JournalDamaged(f"{self._path}: array {name!r} does not match its checksum")


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

    def write(
        self,
        position: int,
        meta: Meta,
        arrays: Sequence[tuple[str, Array]],
        pause: Callable[[], None] = lambda: None,
    ) -> int:
        """Store a snapshot durably.

        Args:
            position: The last entry that is folded into `arrays`, >= 1.
            meta: JSON values.
            arrays: Unique names; any dtype without Python objects, any shape. Not changed by anybody meanwhile.
            pause: Called after each WRITTEN_AT_ONCE_BYTES.

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
                length = _write(file, position, meta, arrays, pause)
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

    def use_latest(self, take: Callable[[Snapshot], Taken], not_after: int | None = None) -> Taken | None:
        """Return what `take` makes of the newest snapshot that is whole and that it accepts, or None.

        Others are logged and passed over, not deleted: the one before plus the journal give the same state.

        Args:
            take: Reads what it needs of a snapshot. It raises ValueError for one that it does not accept. It is called anew
                for an older one, also if it finds damage while it reads.
            not_after: Pass over snapshots of later positions, if given.
        """
        for position in reversed(self.positions()):
            if not_after is not None and position > not_after:
                continue
            try:
                with StoredArrays(self._path(position)) as arrays:
                    if arrays.directory["position"] != position:
                        raise JournalDamaged(f"{self._path(position)} holds position {arrays.directory['position']}")
                    return take(Snapshot(position, arrays.directory["meta"], arrays))
            except (OSError, JournalDamaged, ValueError) as error:
                _log.error("snapshot %d is passed over: %s", position, error)
        return None

    def discard(self, position: int) -> None:
        """Remove one snapshot, for example one that the engine of this version cannot restore."""
        self._path(position).unlink(missing_ok=True)

    def _path(self, position: int) -> Path:
        return self._directory / f"{position:020d}{SUFFIX}"


def _write(
    file: BinaryIO, position: int, meta: Meta, arrays: Sequence[tuple[str, Array]], pause: Callable[[], None]
) -> int:
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
            blocks.append(_write_block(file, offset, block, pause))
            offset += len(block)
        entries.append([name, array.dtype.str, list(array.shape), start, blocks])
    directory = json.dumps({"position": position, "meta": meta, "arrays": entries}).encode()
    tail = _TAIL.pack(offset, len(directory), crc32(directory), MAGIC)
    return offset + _write_all(file, directory) + _write_all(file, tail)


def _write_block(file: BinaryIO, offset: int, block: memoryview, pause: Callable[[], None]) -> int:
    """Write a block, which begins at `offset` of the file, and return its CRC-32."""
    checksum = 0
    for begin in range(0, len(block), WRITTEN_AT_ONCE_BYTES):
        part = block[begin : begin + WRITTEN_AT_ONCE_BYTES]
        checksum = crc32(part, checksum)
        _write_all(file, part)
        _begin_storing(file, offset + begin, len(part))
        pause()
    return checksum


def _begin_storing(file: BinaryIO, offset: int, length: int) -> None:
    """Let the system store what was written, without waiting for it.

    Else all of it would be stored by one `fsync` in the end, and commits of the journal on the same disk wait behind it.
    That is what the advice does on Linux beside giving up pages that are stored already.
    """
    os.posix_fadvise(file.fileno(), offset, length, os.POSIX_FADV_DONTNEED)


def _write_all(file: BinaryIO, content: bytes | memoryview) -> int:
    """Write all of `content`; a raw file may take less than it was given."""
    view = memoryview(content)
    done = 0
    while done < len(view):
        done += file.write(view[done:])
    return done


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
