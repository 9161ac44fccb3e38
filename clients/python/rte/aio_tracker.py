"""`track()` of the client for asyncio: events go to the server in batches, from tasks behind it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeAlias

from rte.backlog import (
    Backlog,
    Batch,
    OnRejected,
    QueueFull,
    TrackSettings,
    TrackStats,
    failure_of,
    is_final,
    pause_s,
    refused_alone,
    report,
)
from rte.events import Event, wire_of
from rte.results import Ingested

_log = logging.getLogger("rte")

Send: TypeAlias = "Callable[[Batch], Awaitable[Ingested]]"
"""Sends a batch and waits until it is durable; raises RteError."""


class AioTracker:
    """Holds events until the server has them, within one event loop. See `rte.tracker.Tracker`."""

    def __init__(self, send: Send, settings: TrackSettings, on_rejected: OnRejected | None = None) -> None:
        self._send = send
        self._settings = settings
        self._on_rejected = on_rejected
        self._backlog = Backlog(settings)
        self._changed = asyncio.Condition()
        self._tasks: list[asyncio.Task[None]] = []
        self._closing = False

    async def track(self, event: Event) -> str:
        """Take an event and return its id. Raises what `Tracker.track` raises."""
        event_id, body = wire_of(event)
        if self._closing:
            raise RuntimeError("the client is closed")
        if not self._backlog.put(body, time.monotonic()) and not await self._find_room(body):
            return event_id
        if not self._tasks:
            self._tasks = [asyncio.create_task(self._run()) for _ in range(self._settings.senders)]
        if self._backlog.has_begun or self._backlog.due_in_s(time.monotonic()) == 0.0:
            await self._notify()
        return event_id

    async def _find_room(self, body: bytes) -> bool:
        settings = self._settings
        if settings.when_full == "drop":
            self._backlog.drop()
            return False
        end_s = time.monotonic() + (settings.full_wait_s if settings.when_full == "wait" else 0.0)
        while (left_s := end_s - time.monotonic()) > 0:
            await self._wait(left_s, unless=partial(self._has_let_go, self._backlog.held))
            if self._closing:
                raise RuntimeError("the client is closed")
            if self._backlog.put(body, time.monotonic()):
                return True
        raise QueueFull(str(self._backlog.not_delivered(with_events=False)))

    def _has_let_go(self, held_before: int) -> bool:
        return self._backlog.held < held_before

    async def flush(self, timeout_s: float) -> str:
        """Wait until all events that were tracked before are delivered or refused; return the latest position. Raises NotDelivered."""
        await self._wait_until_settled(timeout_s, with_events=False)
        return self._backlog.position

    async def close(self, timeout_s: float) -> None:
        """Deliver what is held, then stop. A second call does nothing. Raises NotDelivered, with the events."""
        if self._closing:
            return
        self._closing = True
        await self._notify()
        try:
            await self._wait_until_settled(timeout_s, with_events=True)
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def stats(self) -> TrackStats:
        """Return what became of the events so far."""
        return self._backlog.stats()

    async def _wait_until_settled(self, timeout_s: float, *, with_events: bool) -> None:
        end_s, last = time.monotonic() + timeout_s, self._backlog.last
        self._backlog.hurry(last)
        while self._backlog.settled_to < last:
            left_s = end_s - time.monotonic()
            if left_s <= 0:
                raise self._backlog.not_delivered(with_events=with_events)
            await self._notify()
            await self._wait(min(left_s, 0.5), unless=lambda: self._backlog.settled_to >= last)

    async def _run(self) -> None:
        while True:
            now_s = time.monotonic()
            due_s = self._backlog.due_in_s(now_s)
            if due_s == 0.0:
                await self._deliver(self._backlog.take(now_s))
            else:
                await self._wait(due_s, unless=self._has_work if due_s is None else self._is_due)

    def _has_work(self) -> bool:
        return self._backlog.due_in_s(time.monotonic()) is not None

    def _is_due(self) -> bool:
        return self._backlog.due_in_s(time.monotonic()) == 0.0

    async def _deliver(self, batch: Batch) -> None:
        attempt = 0
        while True:
            try:
                answer = await self._send(batch)
            except Exception as failure:  # noqa: BLE001 - whatever it is, the senders live on, and the events are held
                error = failure_of(failure)
                self._backlog.failed(error)
                if is_final(error, batch) and len(batch) > 1:
                    for half in self._backlog.split(batch):
                        await self._deliver(half)
                    return
                if is_final(error, batch):
                    await self._answered(batch, refused_alone(error))
                    return
                _log.warning("%d events wait for the server, attempt %d failed: %s", len(batch), attempt + 1, error)
                await asyncio.sleep(pause_s(error, attempt, self._settings))
                attempt += 1
            else:
                await self._answered(batch, answer)
                return

    async def _answered(self, batch: Batch, answer: Ingested) -> None:
        report(batch, answer, self._on_rejected)
        self._backlog.settle(batch, answer.accepted_count, answer.rejected_count, answer.position)
        await self._notify()

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def _wait(self, seconds: float | None, unless: Callable[[], bool] = lambda: False) -> None:
        """Wait for a change, at most so long; not at all if `unless` holds when the lock is there."""
        async with self._changed:
            if not unless():
                try:
                    async with asyncio.timeout(seconds):
                        await self._changed.wait()
                except TimeoutError:
                    pass
