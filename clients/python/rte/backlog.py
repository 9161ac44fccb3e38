"""What `track()` holds until the server has it: bounded, in batches, counted. No threads, no clock, no network.

Both clients put their own lock around it. An event is held from `put` until its batch is `settled`, so the limits bound
what is waiting and what is on its way together.
"""

from __future__ import annotations

import logging
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import grpc

from rte.errors import Exhausted, InvalidArgument, RequestTooLarge, RteError
from rte.events import Event, event_of
from rte.results import Ingested, Verdict

_log = logging.getLogger("rte")

_BACK_OFF_S_MIN = 0.1


@dataclass(frozen=True, slots=True)
class TrackSettings:
    """How `track()` works.

    Attributes:
        events_max: Events that are held at a time, > 0.
        bytes_max: Bytes of events that are held at a time, > 0.
        batch_events_max: Events of a batch, 1 to the server's `limits.batch_events_max`.
        batch_bytes_max: Bytes of a batch, and of an event, > 0 and below the server's `limits.message_bytes_max`.
        linger_s: How long an event may wait for others to fill a batch, seconds, >= 0.
        when_full: What `track` does when there is no room: `wait` for it up to `full_wait_s`, then raise QueueFull;
            `raise` QueueFull at once; `drop` the event and count it.
        full_wait_s: See `when_full`, seconds.
        senders: Batches on their way at a time, > 0.
        back_off_s_max: The longest pause between attempts while the server is away, seconds.
    """

    events_max: int = 100_000
    bytes_max: int = 64 << 20
    batch_events_max: int = 500
    batch_bytes_max: int = 1 << 20
    linger_s: float = 0.2
    when_full: str = "wait"
    full_wait_s: float = 30.0
    senders: int = 2
    back_off_s_max: float = 10.0

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ValueError: One is out of its range.
        """
        counts = (self.events_max, self.bytes_max, self.batch_events_max, self.batch_bytes_max, self.senders)
        if min(counts) < 1 or min(self.linger_s, self.full_wait_s, self.back_off_s_max) < 0:
            raise ValueError(f"limits of track() must be positive: {self}")
        if self.when_full not in {"wait", "raise", "drop"}:
            raise ValueError(f"when_full is {self.when_full!r}; it must be one of wait, raise, drop")


@dataclass(frozen=True, slots=True)
class TrackStats:
    """What became of tracked events, since the client was made.

    Attributes:
        tracked: Events that `track` took.
        delivered: Events that are durable on the server; those that came too late for the state included.
        rejected: Events that the server refused.
        dropped: Events that found no room, with `when_full="drop"`.
        held: Events that are still held here.
        attempts_failed: Attempts to send a batch that failed.
        last_error: Why the latest failed; None before the first.
    """

    tracked: int = 0
    delivered: int = 0
    rejected: int = 0
    dropped: int = 0
    held: int = 0
    attempts_failed: int = 0
    last_error: RteError | None = None


class QueueFull(Exception):
    """`track` found no room: events come faster than the server takes them, or it is away. Nothing was taken."""


class NotDelivered(Exception):
    """`flush` or `close` ended before all events were delivered.

    Attributes:
        held: How many are held still.
        events: After `close`: these events, to be kept and tracked again; with their ids they count once, even if the server
            has taken some of them, as long as it remembers ids: the latest at most `dedup.events_max` within `dedup.horizon_ms`. What is
            too late by then is delivered, but not counted. Empty after `flush`, which goes on holding them.
        last_error: Why the latest attempt failed; None if none did.
    """

    def __init__(self, held: int, events: Sequence[Event], last_error: RteError | None) -> None:
        why = f": {last_error}" if last_error is not None else ""
        super().__init__(f"{held} events are not delivered{why}")
        self.held = held
        self.events = tuple(events)
        self.last_error = last_error


Batch = list[bytes]
"""Events as wire bytes."""

OnRejected: TypeAlias = "Callable[[Event, Verdict], None]"
"""Is told of an event that the server refused."""


class Backlog:
    """Events that the server does not have yet. All methods under one lock of the owner."""

    def __init__(self, settings: TrackSettings) -> None:
        self._settings = settings
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._on_way: dict[int, tuple[int, Batch]] = {}
        """By the identity of a batch: the number of its first event, and the batch. Events are numbered from 1 as they come."""
        self._held_bytes = 0
        self._oldest_s = 0.0
        self._hurry_to = 0
        """Events up to this number do not wait for others."""
        self.held = 0
        self.position = ""
        self._tracked = self._delivered = self._rejected = self._dropped = self._attempts_failed = 0
        self._last_error: RteError | None = None

    def put(self, body: bytes, now_s: float) -> bool:
        """Take an event; return False if there is no room.

        Args:
            body: The event as wire bytes.
            now_s: The time, monotonic seconds.

        Raises:
            ValueError: The event is larger than a batch, or than all that may be held.
        """
        settings = self._settings
        if self.held >= settings.events_max or self._held_bytes + len(body) > settings.bytes_max:
            if len(body) > settings.bytes_max:
                raise ValueError(f"the event has {len(body)} bytes; the limit is {settings.bytes_max}")
            return False
        if len(body) > settings.batch_bytes_max:
            raise ValueError(f"the event has {len(body)} bytes; the limit is {settings.batch_bytes_max}")
        if not self._waiting:
            self._oldest_s = now_s
        self._waiting.append(body)
        self._waiting_bytes += len(body)
        self._held_bytes += len(body)
        self.held += 1
        self._tracked += 1
        return True

    @property
    def has_begun(self) -> bool:
        """Whether the event that was put last is the first that waits, so that a sender has to look at the time."""
        return len(self._waiting) == 1

    def drop(self) -> None:
        """Count an event that found no room."""
        self._dropped += 1

    @property
    def last(self) -> int:
        """The number of the event that was put last."""
        return self._tracked

    @property
    def settled_to(self) -> int:
        """The number up to which no event is held any more."""
        return min([first for first, _ in self._on_way.values()], default=self._first_waiting) - 1

    @property
    def _first_waiting(self) -> int:
        """The number of the first event that waits; the next one's if none does."""
        return self._tracked - len(self._waiting) + 1

    def hurry(self, last: int) -> None:
        """Let what waits go at once, up to the event of that number."""
        self._hurry_to = max(self._hurry_to, last)

    def due_in_s(self, now_s: float) -> float | None:
        """Return how long until a batch is due, seconds, 0 if one is; None if nothing waits."""
        if not self._waiting:
            return None
        settings = self._settings
        if (
            self._first_waiting <= self._hurry_to
            or len(self._waiting) >= settings.batch_events_max
            or self._waiting_bytes >= settings.batch_bytes_max
        ):
            return 0.0
        return max(0.0, self._oldest_s + settings.linger_s - now_s)

    def take(self, now_s: float) -> Batch:
        """Return a batch of what waits, which must be something; it stays held until it is settled."""
        settings, batch, size, first = self._settings, list[bytes](), 0, self._first_waiting
        while self._waiting and len(batch) < settings.batch_events_max:
            size += len(self._waiting[0])
            if batch and size > settings.batch_bytes_max:
                break
            batch.append(self._waiting.popleft())
        self._waiting_bytes -= sum(map(len, batch))
        self._oldest_s = now_s
        self._on_way[id(batch)] = first, batch
        return batch

    def settle(self, batch: Batch, delivered: int, rejected: int, position: str) -> None:
        """Let go of a batch, or of a part of one, that the server has answered.

        Args:
            batch: What `take` returned, or a part of it.
            delivered: Events that are durable.
            rejected: Events that were refused.
            position: Where they stand in the journal; empty if none does.
        """
        self._on_way.pop(id(batch), None)
        self.held -= len(batch)
        self._held_bytes -= sum(map(len, batch))
        self._delivered += delivered
        self._rejected += rejected
        self.position = later_of(self.position, position)

    def split(self, batch: Batch) -> tuple[Batch, Batch]:
        """Return the halves of a batch that was refused as a whole, in its place."""
        middle = len(batch) // 2
        halves = (batch[:middle], batch[middle:])
        first, _ = self._on_way.pop(id(batch))
        for half, number in zip(halves, (first, first + middle), strict=True):
            self._on_way[id(half)] = number, half
        return halves

    def failed(self, error: RteError) -> None:
        """Count an attempt that failed."""
        self._attempts_failed += 1
        self._last_error = error

    def stats(self) -> TrackStats:
        """Return the counts."""
        return TrackStats(
            self._tracked,
            self._delivered,
            self._rejected,
            self._dropped,
            self.held,
            self._attempts_failed,
            self._last_error,
        )

    def not_delivered(self, *, with_events: bool) -> NotDelivered:
        """Return what to raise when time is up."""
        bodies = (
            [body for _, batch in self._on_way.values() for body in batch] + list(self._waiting) if with_events else []
        )
        return NotDelivered(self.held, [event_of(body) for body in bodies], self._last_error)


def later_of(before: str, now: str) -> str:
    """Return which of two positions covers the other: the higher number of a shard; of two shards, or without one, `now`.

    Batches that are on their way together are answered in any order.
    """
    shards, numbers = zip(*(position.rpartition("-")[::2] for position in (before, now)), strict=True)
    if shards[0] == shards[1] and all(number.isdecimal() for number in numbers):
        return max(before, now, key=lambda position: int(position.rpartition("-")[2]))
    return now or before


def failure_of(failure: Exception) -> RteError:
    """Return what is counted, logged and tried again where a send raised whatever it did."""
    return failure if isinstance(failure, RteError) else RteError(grpc.StatusCode.UNKNOWN, repr(failure))


def is_final(error: RteError, batch: Batch) -> bool:
    """Whether the same batch will never be taken, whatever is waited for.

    What is larger than gRPC itself takes is told without a reason and without a time: then smaller batches are tried.
    """
    if isinstance(error, Exhausted) and not error.reason and error.retry_after_s is None:
        return len(batch) > 1
    return isinstance(error, InvalidArgument | RequestTooLarge)


def pause_s(error: RteError, attempt: int, settings: TrackSettings) -> float:
    """Return how long to wait before another attempt: doubled each time, with a random half so that senders spread.

    Args:
        error: Why the attempt failed.
        attempt: Attempts that failed before, >= 0.
        settings: Bounds the pause.
    """
    whole = min(settings.back_off_s_max, _BACK_OFF_S_MIN * 2.0 ** min(attempt, 20))
    return max(error.retry_after_s or 0.0, whole / 2 + random.random() * whole / 2)  # noqa: S311 - spreads callers


def refused_alone(error: RteError) -> Ingested:
    """Return what became of a batch of one event that was refused as a whole."""
    verdict = Verdict(0, "rejected", error.reason or error.code.name, error.field, error.message)
    return Ingested("", 0, 1, 0, 0, (verdict,), ())


def report(batch: Batch, answer: Ingested, on_rejected: OnRejected | None) -> None:
    """Tell the owner which events of a batch were refused; without one, the log."""
    rejected = [verdict for verdict in answer.verdicts if verdict.outcome == "rejected"]
    if rejected and on_rejected is None:
        _log.warning("%d of %d events were refused: %s", answer.rejected_count, len(batch), rejected[0])
        return
    for verdict in rejected:
        assert on_rejected is not None
        try:
            on_rejected(event_of(batch[verdict.index]), verdict)
        except Exception:  # noqa: BLE001 - a fault of the owner's must not stop the delivery
            _log.exception("on_rejected failed")
