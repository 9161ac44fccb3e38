"""What a journal promises, whatever stores it.

A journal keeps one sequence of entries per shard. Positions are 1, 2, 3, ... without gaps; an entry never changes,
but for `redact`. The suite in `tests/journal/conformance.py` holds every implementation to the sentences below.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from rte_server.engine.entries import Entry

SHARDS_MAX = 4096
"""A shard is a number in [0, SHARDS_MAX)."""

ENTRY_BYTES_MAX = 64 * 1024 * 1024
"""The longest body of an entry. The server's message limit lies far below; a longer body is a programming error."""


class JournalError(Exception):
    """Anything that goes wrong with a journal. The message names the journal and says what to do."""


class JournalUnavailable(JournalError):
    """The journal cannot be written or read now (disk full, device error). Nothing was taken; a later call may work."""


class JournalLocked(JournalError):
    """Another process has the journal open. Two writers would tear it, so the second one is refused."""


class JournalDamaged(JournalError):
    """What is stored is not what was written. Never skipped: an operator must restore the journal from a backup.

    Attributes:
        shard: The shard whose entry is damaged, or -1 when the whole journal is unreadable.
        position: The first position that cannot be read, or 0 when the whole journal is unreadable.
    """

    def __init__(self, message: str, *, shard: int = -1, position: int = 0) -> None:
        super().__init__(message)
        self.shard = shard
        self.position = position


class Journal(Protocol):
    """An ordered, durable store of entries. Any thread may call any method."""

    def append(self, shard: int, entries: Sequence[Entry]) -> int:
        """Store `entries` behind the last one of `shard`, all of them or none, as one group commit.

        Args:
            shard: In [0, SHARDS_MAX).
            entries: At least one, each body at most ENTRY_BYTES_MAX bytes, `received_ms` >= 0.

        Returns:
            The position of the first of them; the others follow without gaps. They are durable when this returns.

        Raises:
            ValueError: An argument is out of range. Nothing was taken.
            JournalUnavailable: The disk is full or failed, or the journal is closed. Nothing was taken, and the next
                append takes the same positions once the cause is gone.
            JournalDamaged: The store is no longer a journal.
        """
        ...

    def read(self, shard: int, from_position: int) -> Iterator[tuple[int, Entry]]:
        """Yield the entries of `shard` from `from_position` (>= 1) on, in order, each with its position.

        Entries that are appended meanwhile may or may not be seen. A position beyond the last yields nothing.

        Raises:
            JournalDamaged: While iterating, at the first entry whose checksum does not match or that is missing, be it
                damaged or trimmed. Every entry before it was yielded.
            JournalUnavailable: The device failed, or the journal is closed.
        """
        ...

    def trim(self, shard: int, before_position: int) -> None:
        """Give up the entries of `shard` before `before_position`.

        Readers no longer get them; their room may come back later. The last entry always stays, so that positions go on
        where they were. Trimming what is gone does nothing. After a crash some of them may be there again.
        """
        ...

    def redact(self, shard: int, bodies: Mapping[int, bytes]) -> None:
        """Replace the bodies of entries that are kept, for good: the old ones are in no file of the store afterwards.

        Positions, types and times stay. All are replaced or none; after a crash it may be done or not. It is meant for
        erasing people, and may make appends wait.

        Args:
            shard: As above.
            bodies: By position; each at most ENTRY_BYTES_MAX bytes.

        Raises:
            ValueError: A position is not kept, or a body is too long.
            JournalUnavailable: The device failed, or somebody reads for so long that the old bodies cannot be given up;
                it can be done again.
        """
        ...

    def first_position(self, shard: int) -> int:
        """Return the position of the oldest entry that is kept, or 0 when the shard is empty."""
        ...

    def last_position(self, shard: int) -> int:
        """Return the position of the newest durable entry, or 0 when the shard is empty."""
        ...

    def close(self) -> None:
        """Finish what is under way and release the store. Closing twice does nothing."""
        ...
