"""`track()` of the client that blocks: events go to the server in batches, from threads behind it."""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable
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
from rte.errors import RteError
from rte.events import Event, wire_of
from rte.results import Ingested

_log = logging.getLogger("rte")

Send: TypeAlias = "Callable[[Batch], Ingested]"
"""Sends a batch and waits until it is durable; raises RteError."""

EXIT_S_MAX = 5.0
"""How long the end of the process waits for events that nobody flushed, seconds."""


class Tracker:
    """Holds events until the server has them. Safe for threads; a forked process starts with an empty one."""

    def __init__(self, send: Send, settings: TrackSettings, on_rejected: OnRejected | None = None) -> None:
        self._send = send
        self._settings = settings
        self._on_rejected = on_rejected
        self._begin()
        _trackers.add(self)

    def _begin(self) -> None:
        """Start from nothing: no events, no threads."""
        self._changed = threading.Condition()
        self._backlog = Backlog(self._settings)
        self._threads: list[threading.Thread] = []
        self._closing = False
        self._abandoned = False

    def track(self, event: Event) -> str:
        """Take an event and return its id.

        Raises:
            QueueFull: There is no room, by `when_full`.
            RuntimeError: The tracker is closed.
            TypeError: A property is no JSON.
            ValueError: The event is too large, or its time has no zone.
        """
        event_id, body = wire_of(event)
        changed = self._changed
        with changed:
            if self._closing:
                raise RuntimeError("the client is closed")
            if not self._backlog.put(body, time.monotonic()) and not self._find_room(body):
                return event_id
            if not self._threads:
                self._start()
            # Events between the first that waits and the one that fills a batch change nothing for a sender.
            if self._backlog.has_begun or self._backlog.due_in_s(time.monotonic()) == 0.0:
                changed.notify_all()
        return event_id

    def _find_room(self, body: bytes) -> bool:
        """Return whether the event found room after all; under the lock."""
        settings = self._settings
        if settings.when_full == "drop":
            self._backlog.drop()
            return False
        end_s = time.monotonic() + (settings.full_wait_s if settings.when_full == "wait" else 0.0)
        while (left_s := end_s - time.monotonic()) > 0:
            self._changed.wait(left_s)
            if self._closing:
                raise RuntimeError("the client is closed")
            if self._backlog.put(body, time.monotonic()):
                return True
        raise QueueFull(str(self._backlog.not_delivered(with_events=False)))

    def flush(self, timeout_s: float) -> str:
        """Wait until all events that were tracked before are delivered or refused; return the latest position.

        Raises:
            NotDelivered: Time is up; the events are held and tried on.
        """
        self._wait_until_settled(timeout_s, with_events=False)
        return self._backlog.position

    def close(self, timeout_s: float) -> None:
        """Deliver what is held, then stop. A second call does nothing.

        Raises:
            NotDelivered: Time is up; it has the events.
        """
        with self._changed:
            self._closing = True
            if self._abandoned:
                return
        try:
            self._wait_until_settled(timeout_s, with_events=True)
        finally:
            # A thread that is in a call ends when its owner closes the channel.
            with self._changed:
                self._abandoned = True
                self._changed.notify_all()

    def _wait_until_settled(self, timeout_s: float, *, with_events: bool) -> None:
        end_s = time.monotonic() + timeout_s
        with self._changed:
            last = self._backlog.last
            self._backlog.hurry(last)
            while self._backlog.settled_to < last:
                left_s = end_s - time.monotonic()
                if left_s <= 0:
                    raise self._backlog.not_delivered(with_events=with_events)
                self._changed.notify_all()
                self._changed.wait(min(left_s, 0.5))

    def stats(self) -> TrackStats:
        """Return what became of the events so far."""
        with self._changed:
            return self._backlog.stats()

    def _start(self) -> None:
        for number in range(self._settings.senders):
            thread = threading.Thread(target=self._run, name=f"rte-track-{number}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def _run(self) -> None:
        while (batch := self._next_batch()) is not None:
            self._deliver(batch)

    def _next_batch(self) -> Batch | None:
        """Wait for a batch that is due; None at the end."""
        with self._changed:
            while not self._abandoned:
                now_s = time.monotonic()
                due_s = self._backlog.due_in_s(now_s)
                if due_s == 0.0:
                    return self._backlog.take(now_s)
                self._changed.wait(due_s)
        return None

    def _deliver(self, batch: Batch) -> None:
        """Send a batch until the server has answered it; in halves, if it takes it neither now nor ever."""
        attempt = 0
        while True:
            try:
                answer = self._send(batch)
            except Exception as failure:  # noqa: BLE001 - whatever it is, the senders live on, and the events are held
                error = failure_of(failure)
                with self._changed:
                    self._backlog.failed(error)
                if is_final(error, batch):
                    return self._refused(batch, error)
                _log.warning("%d events wait for the server, attempt %d failed: %s", len(batch), attempt + 1, error)
                if self._pause(pause_s(error, attempt, self._settings)):
                    return None
                attempt += 1
            else:
                return self._answered(batch, answer)

    def _pause(self, seconds: float) -> bool:
        """Wait; return whether the tracker was abandoned meanwhile."""
        end_s = time.monotonic() + seconds
        with self._changed:
            while not self._abandoned and (left_s := end_s - time.monotonic()) > 0:
                self._changed.wait(left_s)
            return self._abandoned

    def _refused(self, batch: Batch, error: RteError) -> None:
        if len(batch) == 1:
            return self._answered(batch, refused_alone(error))
        with self._changed:
            halves = self._backlog.split(batch)
        for half in halves:
            self._deliver(half)

    def _answered(self, batch: Batch, answer: Ingested) -> None:
        report(batch, answer, self._on_rejected)
        with self._changed:
            self._backlog.settle(batch, answer.accepted_count, answer.rejected_count, answer.position)
            self._changed.notify_all()

    def leave(self) -> None:
        """Deliver what is held as the process ends, as far as there is time."""
        try:
            self.close(EXIT_S_MAX)
        except Exception as error:  # noqa: BLE001 - the process ends; what is lost has to be said
            _log.error("the process ends: %s", error)

    def forked(self) -> None:
        """Forget the parent's events, which it delivers itself, and its threads, which are not here."""
        self._begin()


_trackers: weakref.WeakSet[Tracker] = weakref.WeakSet()


def _leave_all() -> None:
    for tracker in list(_trackers):
        tracker.leave()


def _forked_all() -> None:
    for tracker in list(_trackers):
        tracker.forked()


atexit.register(_leave_all)
os.register_at_fork(after_in_child=_forked_all)
