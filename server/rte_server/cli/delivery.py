"""Delivery of event batches over one StreamEvents call, several in flight, sent again after a break."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rte.wire_events import batch_request
from rte_server.cli.connection import back_off_s, open_channel
from rte_server.cli.errors import CommandError, from_call
from rte_server.replay.csv_rows import Recorded
from rte_server.replay.problems import EXAMPLES_MAX

if TYPE_CHECKING:
    import grpc

    from rte.v1.event_service_pb2 import StreamEventsResponse

METHOD = "/rte.v1.EventService/StreamEvents"
IN_FLIGHT_MAX = 8
"""Batches that wait for their answer at a time; the server works on 16 of a stream."""

BREAKS_MAX = 8
"""Breaks of the stream in a row, without an answer between them, after which the delivery gives up."""

SILENCE_S_MAX = 60.0
"""How long a batch may wait for its answer; then the server is taken to hang."""


@dataclass(slots=True)
class Totals:
    """What became of the events.

    Attributes:
        sent: Events in batches that were answered.
        accepted: Of these, those that were accepted, duplicates and late ones included.
        rejected: Rejected events by reason. Beyond the verdicts that an answer lists the reason is `OTHER`.
        duplicate: Accepted ones that were seen before.
        late: Accepted ones that were too late for any session.
        examples: Sentences about the first EXAMPLES_MAX rejected events of each reason.
        position: Place of the latest batch in the journal.
    """

    sent: int = 0
    accepted: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    duplicate: int = 0
    late: int = 0
    examples: list[str] = field(default_factory=list)
    position: str = ""


@dataclass(slots=True)
class _Batch:
    events: Sequence[Recorded]
    request: bytes
    attempts: int = 0


class Delivery:
    """Sends batches and gathers what became of them. One thread sends; another reads the answers."""

    def __init__(self, server: str, *, strict: bool = False, in_flight_max: int = IN_FLIGHT_MAX) -> None:
        """Connect to a server.

        Args:
            server: `host:port`.
            strict: Whether the first rejected event ends the delivery.
            in_flight_max: Batches that wait for their answer at a time, >= 1.

        Raises:
            CommandError: The address has another form.
        """
        self.totals = Totals()
        self._server = server
        self._strict = strict
        self._in_flight_max = in_flight_max
        self._channel = open_channel(server)
        self._changed = threading.Condition()
        # All below is guarded by _changed.
        self._unsent: deque[_Batch] = deque()
        self._pending: deque[_Batch] = deque()
        self._stream: _Stream | None = None
        self._breaks = 0
        self._pause_until_s = 0.0
        self._heard_s = time.monotonic()
        self._failure: CommandError | None = None

    def send(self, events: Sequence[Recorded]) -> None:
        """Send one batch as soon as fewer than `in_flight_max` wait for their answer.

        Raises:
            CommandError: The server does not take it, or, if strict, rejected an event.
        """
        batch = _Batch(events, batch_request(body for _, body, _, _ in events))
        self._work_until(lambda: len(self._unsent) + len(self._pending) < self._in_flight_max)
        with self._changed:
            self._unsent.append(batch)
        self._work_until(lambda: not self._unsent)

    def finish(self) -> Totals:
        """Wait for all answers and return what became of the events. Raises what `send` raises."""
        self._work_until(lambda: not self._unsent and not self._pending)
        return self.totals

    def close(self) -> None:
        """End the call, whatever is still on its way."""
        with self._changed:
            stream, self._stream = self._stream, None
        if stream is not None:
            stream.end()
        self._channel.close()

    def _work_until(self, done: Callable[[], bool]) -> None:
        """Open streams and send what is unsent until `done`, which is called under the lock."""
        with self._changed:
            while True:
                if self._failure is not None:
                    raise self._failure
                pause_s = self._pause_until_s - time.monotonic()
                if self._unsent and pause_s <= 0:
                    self._send_all()
                if done():
                    return
                if self._pending and time.monotonic() - self._heard_s > SILENCE_S_MAX:
                    raise CommandError(f"The server at {self._server} gave no answer for {SILENCE_S_MAX:.0f} s.")
                # The limit lets Ctrl-C through where a wait without one would not notice it.
                self._changed.wait(min(pause_s, 0.5) if self._unsent and pause_s > 0 else 0.5)

    def _send_all(self) -> None:
        if self._stream is None:
            self._stream = _Stream(self, self._channel)
        if not self._pending:
            self._heard_s = time.monotonic()
        while self._unsent:
            batch = self._unsent.popleft()
            self._pending.append(batch)
            self._stream.put(batch.request)

    def on_answer(self, stream: _Stream, answer: StreamEventsResponse) -> None:
        """Take an answer; the answers of a stream come in the order of its batches."""
        with self._changed:
            if stream is not self._stream:
                return
            batch = self._pending.popleft()
            self._breaks = 0
            self._heard_s = time.monotonic()
            if answer.HasField("error"):
                self._on_refused(batch, answer)
            else:
                self._count(batch, answer)
            self._changed.notify_all()

    def on_break(self, stream: _Stream, error: grpc.RpcError | None) -> None:
        """Take the end of a stream: what was not answered is sent again, and counts once by its event ids.

        Args:
            stream: The stream.
            error: Why it ended; None: the server ended it.
        """
        import grpc

        with self._changed:
            if stream is not self._stream:
                return
            self._stream = None
            self._unsent.extendleft(reversed(self._pending))
            self._pending.clear()
            self._breaks += 1
            passing = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.CANCELLED)
            first_call = self.totals.sent == 0 and self._breaks > 2
            passes = error is None or (isinstance(error, grpc.Call) and error.code() in passing)
            if not passes or first_call or self._breaks > BREAKS_MAX:
                gone = CommandError(f"The server at {self._server} ends every stream at once.")
                self._failure = from_call(error, self._server) if error is not None else gone
            self._pause_until_s = time.monotonic() + back_off_s(self._breaks)
            self._changed.notify_all()

    def _on_refused(self, batch: _Batch, answer: StreamEventsResponse) -> None:
        from rte.errors import error_of_status

        refusal = error_of_status(answer.error)
        if refusal.retry_after_s is not None:
            batch.attempts += 1
            self._unsent.append(batch)
            self._pause_until_s = time.monotonic() + max(refusal.retry_after_s, back_off_s(batch.attempts))
            return
        reason = refusal.reason or "OTHER"
        _, _, file, line = batch.events[0]
        self.totals.sent += len(batch.events)
        self._reject(reason, len(batch.events), f"{file}:{line} and what follows: {answer.error.message} ({reason})")

    def _count(self, batch: _Batch, answer: StreamEventsResponse) -> None:
        from rte.v1.error_reason_pb2 import ErrorReason
        from rte.v1.event_pb2 import EventVerdict

        totals = self.totals
        totals.sent += len(batch.events)
        totals.accepted += answer.accepted_count
        totals.duplicate += answer.duplicate_count
        totals.late += answer.late_count
        totals.position = answer.position or totals.position
        unnamed = answer.rejected_count
        for verdict in answer.verdicts:
            if verdict.outcome != EventVerdict.OUTCOME_REJECTED:
                continue
            unnamed -= 1
            reason = ErrorReason.Name(verdict.reason).removeprefix("ERROR_REASON_")
            _, _, file, line = batch.events[verdict.index]
            self._reject(reason, 1, f"{file}:{line}: {verdict.message} ({reason})")
        if unnamed > 0:
            self._reject("OTHER", unnamed, "")

    def _reject(self, reason: str, count: int, example: str) -> None:
        before = self.totals.rejected[reason]
        self.totals.rejected[reason] += count
        if example and before < EXAMPLES_MAX:
            self.totals.examples.append(example)
        if self._strict and self._failure is None:
            self._failure = CommandError(f"{example or 'An event was rejected.'} Mend it, or leave out --strict.")


class _Stream:
    """One StreamEvents call, and the thread that reads its answers."""

    def __init__(self, owner: Delivery, channel: grpc.Channel) -> None:
        import queue

        from rte.v1.event_service_pb2 import StreamEventsResponse

        self._requests: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._owner = owner
        method: grpc.StreamStreamMultiCallable[bytes, StreamEventsResponse] = channel.stream_stream(
            METHOD, None, StreamEventsResponse.FromString
        )
        self._call = method(iter(self._requests.get, None))
        threading.Thread(target=self._read, name="rte-answers", daemon=True).start()

    def put(self, request: bytes) -> None:
        self._requests.put(request)

    def end(self) -> None:
        self._requests.put(None)
        self._call.cancel()

    def _read(self) -> None:
        import grpc

        try:
            for answer in self._call:
                self._owner.on_answer(self, answer)
        except grpc.RpcError as error:
            self._requests.put(None)
            self._owner.on_break(self, error)
        else:
            self._owner.on_break(self, None)
