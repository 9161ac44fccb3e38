"""Events of one request -> one call of IngestEvents, and what became of each."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass

import grpc.aio

from rte import wire_events
from rte.v1 import error_reason_pb2, event_pb2, event_service_pb2
from rte_bridge.problems import Problem, Reason
from rte_collect.protocol import Collector, Parcel, Raw, Translated

METHOD = "/rte.v1.EventService/IngestEvents"

CALL_S_MAX = 20.0
"""As long as a call may wait for the disk; then the sender is told to come again."""

CLOCK_ERROR_MS = 10_000
"""A difference of clocks up to this is none, as the server has it (`IngestEventsRequest.sent_time`)."""

EVENTS_MAX = 10_000
"""Events of one request, as they come and also after products became events of their own. Real ones are larger than the
400 bytes that this leaves each; without it, a body of nothing but braces would cost a second and fill the quarantine."""

_BATCH_BYTES = 1 << 20
"""Bytes of one call, about: a body of 4 MiB may grow on its way."""

_TRANSLATED_AT_A_TIME = 256
"""Events, some 5 ms; then other requests have their turn."""

_log = logging.getLogger("rte_collect")

_REJECTED = event_pb2.EventVerdict.OUTCOME_REJECTED
_LATE = event_pb2.EventVerdict.OUTCOME_LATE

_VERDICTS_MAX = 100
"""An answer of the server names so many events; a call of no more tells of each."""


@dataclass(frozen=True, slots=True)
class Refused:
    """One event that was not taken.

    Attributes:
        index: Its place in the request, from 0.
        raw: As it came.
        reason: A value of `rte.v1.ErrorReason`, without its prefix.
        field: What caused it; may be empty.
        message: One sentence.
        sent_ms: When it was sent, by the sender's clock, milliseconds since 1970; None: not told.
    """

    index: int
    raw: Raw
    reason: str
    field: str
    message: str
    sent_ms: int | None


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of a request.

    Attributes:
        accepted_count: Events that are in the journal.
        refused: The others.
    """

    accepted_count: int
    refused: Sequence[Refused]


@dataclass(frozen=True, slots=True)
class Again:
    """An event that came before.

    Attributes:
        collector: Of its protocol.
        raw: As it came.
        received_ms: When it came, milliseconds since 1970.
        sent_ms: When it was sent, by the sender's clock; None: not told, or told by the event.
    """

    collector: Collector
    raw: Raw
    received_ms: int
    sent_ms: int | None


class Intake:
    """Sends events to the server. Belongs to the event loop in which it is made."""

    def __init__(
        self,
        channel: grpc.aio.Channel,
        batch_events_max: int,
        event_bytes_max: int = 64 * 1024,
        wire_bytes_max: int = 16 << 20,
    ) -> None:
        """Make an intake.

        Args:
            channel: To the server.
            batch_events_max: The most events that the server takes in one call.
            event_bytes_max: Bytes of the largest event on the wire that the server takes.
            wire_bytes_max: Bytes on the wire of all events of one request.
        """
        self._event_bytes_max = event_bytes_max
        self._wire_bytes_max = wire_bytes_max
        self._batch_events_max = batch_events_max
        self._call: grpc.aio.UnaryUnaryMultiCallable[bytes, event_service_pb2.IngestEventsResponse] = (
            channel.unary_unary(METHOD, response_deserializer=event_service_pb2.IngestEventsResponse.FromString)
        )

    async def take(self, collector: Collector, parcel: Parcel, metadata: Sequence[tuple[str, str]]) -> Taken:
        """Translate the events of a request and send them to the server, all that are good in one call.

        Args:
            collector: Of the protocol.
            parcel: What came.
            metadata: Goes on to the server.

        Raises:
            Problem: REQUEST_TOO_LARGE: translated, the events are too many or too large; nothing was taken.
            grpc.aio.AioRpcError: The server took nothing, or not all; what it took is recognized when it comes again.
        """
        refused: list[Refused] = []
        good: list[tuple[int, Translated]] = []
        for index, raw in enumerate(parcel.events):
            if index % _TRANSLATED_AT_A_TIME == _TRANSLATED_AT_A_TIME - 1:
                await asyncio.sleep(0)
            try:
                events = translated(collector, raw)
            except Problem as problem:
                refused.append(_refused(index, raw, problem, parcel.sent_ms))
                continue
            good += [(index, each) for each in events]
            _check_total("events", len(good), EVENTS_MAX)
        sent_ms = parcel.sent_ms
        if sent_ms is None:
            sent_ms = max((each.sent_ms for _, each in good if each.sent_ms is not None), default=None)
        bodies: list[tuple[int, bytes]] = []
        total_bytes = 0
        for index, event in good:
            if parcel.sent_ms is None and sent_ms is not None:
                _fit_to(event, sent_ms)
            try:
                bodies.append((index, self._body(event)))
            except Problem as problem:
                refused.append(_refused(index, parcel.events[index], problem, parcel.sent_ms))
                continue
            total_bytes += len(bodies[-1][1])
            _check_total("bytes", total_bytes, self._wire_bytes_max)
        for index, verdict in await self._send_all(bodies, sent_ms, metadata):
            refused.append(_refused(index, parcel.events[index], verdict, parcel.sent_ms))
        refused.sort(key=lambda each: each.index)
        return Taken(len(parcel.events) - len({each.index for each in refused}), refused)

    async def take_again(self, events: Sequence[Again]) -> list[Refused]:
        """Translate events that came before and send them to the server; return those that are refused or came too late.

        Raises:
            grpc.aio.AioRpcError: The server took nothing, or not all.
        """
        refused: list[Refused] = []
        bodies: list[tuple[int, bytes]] = []
        for index, each in enumerate(events):
            try:
                for event in translated(each.collector, each.raw):
                    event.time_ms = _time_then(event, each)
                    bodies.append((index, self._body(event)))
            except Problem as problem:
                refused.append(_refused(index, each.raw, problem, each.sent_ms))
        for start in range(0, len(bodies), min(_VERDICTS_MAX, self._batch_events_max)):
            part = bodies[start : start + min(_VERDICTS_MAX, self._batch_events_max)]
            # Only who waits until they are applied learns which were too late to count.
            for index, verdict in (await self._call_with(part, None, (), is_applied=True))[0]:
                refused.append(_refused(index, events[index].raw, verdict, events[index].sent_ms))
        return refused

    def _body(self, event: Translated) -> bytes:
        """Return an event as the wire wants it, unless it is so large that a call with it would be refused as a whole."""
        body = wire_body(event)
        if len(body) > self._event_bytes_max:
            limit = str(self._event_bytes_max)
            message = f"the event has {len(body)} bytes on the wire, the limit is {limit}"
            raise Problem(Reason.EVENT_TOO_LARGE, message, value=str(len(body)), limit=limit)
        return body

    async def _send_all(
        self, bodies: Sequence[tuple[int, bytes]], sent_ms: int | None, metadata: Sequence[tuple[str, str]]
    ) -> list[tuple[int, event_pb2.EventVerdict]]:
        found = []
        for start, end in self._chunks(bodies):
            found += await self._send(bodies[start:end], sent_ms, metadata)
        return found

    def _chunks(self, bodies: Sequence[tuple[int, bytes]]) -> list[tuple[int, int]]:
        """Return the half-open intervals of events that go in one call each; usually one."""
        chunks = []
        start = size = 0
        for at, (_, body) in enumerate(bodies):
            if at > start and (at - start >= self._batch_events_max or size + len(body) > _BATCH_BYTES):
                chunks.append((start, at))
                start, size = at, 0
            size += len(body)
        return [*chunks, (start, len(bodies))] if bodies else []

    async def _send(
        self, bodies: Sequence[tuple[int, bytes]], sent_ms: int | None, metadata: Sequence[tuple[str, str]]
    ) -> list[tuple[int, event_pb2.EventVerdict]]:
        """Send events; return the verdicts of those that the server refused, with their places in the request.

        An answer names the first hundred only: what comes after the last one named is asked for once more, a hundred
        at a time, which changes nothing, since each event has its id.
        """
        found, count, end = await self._call_with(bodies, sent_ms, metadata, is_applied=False)
        if count > len(found) > 0:
            for start in range(end, len(bodies), _VERDICTS_MAX):
                part = bodies[start : start + _VERDICTS_MAX]
                found += (await self._call_with(part, sent_ms, metadata, is_applied=False))[0]
        return found

    async def _call_with(
        self,
        bodies: Sequence[tuple[int, bytes]],
        sent_ms: int | None,
        metadata: Sequence[tuple[str, str]],
        *,
        is_applied: bool,
    ) -> tuple[list[tuple[int, event_pb2.EventVerdict]], int, int]:
        """Return the verdicts of events that do not count, how many were refused, and behind which the last named is."""
        request = wire_events.batch_request((body for _, body in bodies), sent_ms=sent_ms, is_applied=is_applied)
        answer = await self._call(request, timeout=CALL_S_MAX, metadata=tuple(metadata))
        verdicts = [each for each in answer.verdicts if each.outcome in (_REJECTED, _LATE)]
        end = verdicts[-1].index + 1 if verdicts else 0
        return [(bodies[each.index][0], each) for each in verdicts], answer.rejected_count, end


def translated(collector: Collector, raw: Raw) -> Sequence[Translated]:
    """Return an event in the words of RTE. A fault of the collector refuses the event, not the others of its batch.

    Raises:
        Problem: It cannot be used.
    """
    try:
        return collector.translate(raw)
    except Problem:
        raise
    except Exception as error:  # noqa: BLE001 - at this border every fault of a collector becomes INTERNAL
        _log.exception("an event of %s cannot be translated", collector.name)
        raise Problem(Reason.INTERNAL, f"the collector failed: {type(error).__name__}") from None


def wire_body(event: Translated) -> bytes:
    """Return an event as the wire wants it.

    Raises:
        Problem: MALFORMED, OUT_OF_RANGE, WRONG_TYPE: JSON can say it, and the wire cannot.
    """
    try:
        return wire_events.event(
            event_id=event.event_id,
            name=event.name,
            time_ms=event.time_ms,
            visitor_id=event.visitor_id,
            customer_id=event.customer_id,
            client_session_id=event.client_session_id,
            channel=event.channel,
            properties=event.properties,
        )
    except UnicodeEncodeError:
        raise Problem(Reason.MALFORMED, "a text holds half of a surrogate pair") from None
    except OverflowError as error:
        raise Problem(Reason.OUT_OF_RANGE, str(error)) from None
    except TypeError as error:
        raise Problem(Reason.WRONG_TYPE, str(error)) from None
    except RecursionError:
        raise Problem(Reason.TOO_DEEP, "the properties are nested too deeply") from None


def _check_total(what: str, found: int, limit: int) -> None:
    if found > limit:
        message = f"the request becomes more than {limit} {what}, each product being an event; send smaller batches"
        raise Problem(Reason.REQUEST_TOO_LARGE, message, limit=str(limit))


def _fit_to(event: Translated, sent_ms: int) -> None:
    """Change the time of an event so that the server's correction by one time of sending for all is right for it.

    What was sent earlier happened that much later; what does not tell when it was sent is not to be corrected.
    """
    if event.time_ms is None:
        return
    if event.sent_ms is not None:
        event.time_ms += sent_ms - event.sent_ms
        return
    error_ms = time.time_ns() // 1_000_000 - sent_ms
    if abs(error_ms) > CLOCK_ERROR_MS:
        event.time_ms -= error_ms


def _time_then(event: Translated, again: Again) -> int:
    """Return the time of an event as it would have been corrected when it came, milliseconds since 1970."""
    sent_ms = event.sent_ms if again.sent_ms is None else again.sent_ms
    if event.time_ms is None:
        return again.received_ms
    error_ms = 0 if sent_ms is None else again.received_ms - sent_ms
    return event.time_ms + (error_ms if abs(error_ms) > CLOCK_ERROR_MS else 0)


def _refused(index: int, raw: Raw, why: Problem | event_pb2.EventVerdict, sent_ms: int | None) -> Refused:
    if isinstance(why, Problem):
        return Refused(index, raw, why.reason.value, why.field, why.message, sent_ms)
    reason = error_reason_pb2.ErrorReason.Name(why.reason).removeprefix("ERROR_REASON_")
    return Refused(index, raw, reason, why.field, why.message, sent_ms)
