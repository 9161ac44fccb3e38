"""What was submitted and is not folded yet: a bounded queue, from which the journal thread takes a commit at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from rte_server.engine.entries import Entry
from rte_server.engine.reasons import EngineError, Reason
from rte_server.journal.protocol import ENTRY_BYTES_MAX
from rte_server.service.pipeline_settings import PipelineSettings
from rte_server.service.receipts import Waiter, Want

ScannedT = TypeVar("ScannedT")

COMMIT_BYTES_MAX = 16 * 1024 * 1024
"""A commit takes at most about so much, so that its first waiter does not wait for the disk to take everything."""


@dataclass(slots=True)
class Submission(Generic[ScannedT]):
    """An entry on its way."""

    entry: Entry
    scanned: ScannedT | None
    """EVENTS: the engine's scan of the body, if it is at hand."""
    want: Want
    """What `waiter` waits for."""
    waiter: Waiter | None
    refolded: Callable[[int], Any] | None = None
    """CONFIGURE: gives, by the position of the entry, the engine to adopt instead of applying it."""
    position: int = 0
    """Its place in the journal, once it is durable."""


class Intake(Generic[ScannedT]):
    """Submissions that wait for the journal, and the room of all that are not folded. Its owner's lock guards it."""

    def __init__(self, settings: PipelineSettings) -> None:
        """Make an empty one."""
        self._bytes_max = settings.queue_bytes_max
        self._entries_max = settings.queue_entries_max
        self._waiting: deque[Submission[ScannedT]] = deque()
        self._bytes = 0
        self._entries = 0
        self._overloaded = 0

    def __len__(self) -> int:
        """Return how many wait for the journal."""
        return len(self._waiting)

    @property
    def is_busy(self) -> bool:
        """Return whether more than a quarter of the room is taken."""
        return 4 * self._bytes > self._bytes_max or 4 * self._entries > self._entries_max

    def admit(self, size: int) -> None:
        """Refuse bodies for which there is no room.

        An entry longer than the whole limit is taken when nothing else waits, else it never could be.

        Args:
            size: Bytes of the bodies of what comes together, see `size_of`.

        Raises:
            EngineError: OVERLOADED.
        """
        by_entries = self._entries >= self._entries_max
        if not self._entries or not (by_entries or self._bytes + size > self._bytes_max):
            return
        self._overloaded += 1
        raise EngineError(
            Reason.OVERLOADED,
            "the server takes in more than it can store and fold; nothing was taken, send it again later",
            field="queue_entries_max" if by_entries else "queue_bytes_max",
            value=str(self._entries + 1 if by_entries else self._bytes + size),
            limit=str(self._entries_max if by_entries else self._bytes_max),
        )

    def put(self, submission: Submission[ScannedT]) -> None:
        """Put one behind the others, whether there is room or not."""
        self._waiting.append(submission)
        self._entries += 1
        self._bytes += len(submission.entry.body)

    def take_group(self) -> list[Submission[ScannedT]]:
        """Take what waits for the journal, at most about COMMIT_BYTES_MAX, at least one. It keeps its room."""
        group = [self._waiting.popleft()]
        size = len(group[0].entry.body)
        while self._waiting and size + len(self._waiting[0].entry.body) <= COMMIT_BYTES_MAX:
            group.append(self._waiting.popleft())
            size += len(group[-1].entry.body)
        return group

    def release(self, group: Sequence[Submission[ScannedT]]) -> None:
        """Give back the room of some that were taken."""
        self._entries -= len(group)
        self._bytes -= sum(len(submission.entry.body) for submission in group)

    def clear(self) -> list[Submission[ScannedT]]:
        """Take all that wait for the journal, to refuse them."""
        cleared = list(self._waiting)
        self._waiting.clear()
        return cleared

    def stats(self) -> dict[str, int]:
        """Return counters and gauges by name."""
        return {"queued_entries": self._entries, "queued_bytes": self._bytes, "overloaded": self._overloaded}


def size_of(*entries: Entry) -> int:
    """Return the bytes of the bodies of entries that come together.

    Raises:
        EngineError: OUT_OF_RANGE: together they are longer than any journal takes.
    """
    size = sum(len(entry.body) for entry in entries)
    if size > ENTRY_BYTES_MAX:
        raise EngineError(
            Reason.OUT_OF_RANGE,
            f"the request takes {size} bytes in the journal, more than {ENTRY_BYTES_MAX}; send less at a time",
            value=str(size),
            limit=str(ENTRY_BYTES_MAX),
        )
    return size
