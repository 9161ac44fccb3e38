"""EventService: takes batches of events, as bytes."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc

from rte.v1 import event_service_pb2
from rte_server.engine.engine import Engine
from rte_server.engine.entries import Entry, EntryType
from rte_server.engine.json_form import JSON_TAG
from rte_server.engine.outcome import Outcome
from rte_server.engine.reasons import EngineError, Reason
from rte_server.engine.wire import ScannedRequest
from rte_server.models import facts_about
from rte_server.service.errors import refusal_of, status_of
from rte_server.service.event_answer import BatchResult, write_answer
from rte_server.service.interceptors import Context, Handler
from rte_server.service.metrics import Metrics
from rte_server.service.pipeline import Pipeline
from rte_server.service.proto_wire import message_field
from rte_server.service.receipts import Want
from rte_server.service.watch import stopping

# Requests stay bytes here, and answers are written as bytes; the import also makes the file known to server reflection.
ERROR_FIELD = event_service_pb2.StreamEventsResponse.ERROR_FIELD_NUMBER
"""Of StreamEventsResponse; its other fields are those of IngestEventsResponse."""


class EventService:
    """Serves `rte.v1.EventService`."""

    def __init__(
        self,
        engine: Engine,
        pipeline: Pipeline[ScannedRequest, Outcome],
        metrics: Metrics,
        clock_ms: Callable[[], int],
        *,
        stream_batches_max: int,
        message_bytes_max: int,
    ) -> None:
        """Make the service.

        Args:
            clock_ms: Gives the server's time, milliseconds since 1970.
            stream_batches_max: Batches of one stream that are worked on at a time, > 0.
            message_bytes_max: Bytes of a request in its native form. What came as JSON was measured by the edge.
        """
        self._engine = engine
        self._pipeline = pipeline
        self._metrics = metrics
        self._clock_ms = clock_ms
        self._stream_batches_max = stream_batches_max
        self._message_bytes_max = message_bytes_max
        self._closing = asyncio.Event()

    def handlers(self) -> dict[str, Handler]:
        """Return the methods by name."""
        return {
            "IngestEvents": grpc.unary_unary_rpc_method_handler(self.ingest_events),
            "StreamEvents": grpc.stream_stream_rpc_method_handler(self.stream_events),
        }

    async def ingest_events(self, body: bytes, context: Context) -> bytes:
        """Answer IngestEvents."""
        return await self._take(body)

    def close(self) -> None:
        """End all streams with SHUTTING_DOWN once they have answered what they have read."""
        self._closing.set()

    async def stream_events(self, bodies: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
        """Answer StreamEvents: batches are worked on side by side and answered in their order."""
        under_way: deque[asyncio.Task[bytes]] = deque()
        reader = aiter(bodies)
        closing = asyncio.ensure_future(self._closing.wait())
        reading: asyncio.Task[bytes] | None = asyncio.ensure_future(_next(reader))
        try:
            while reading is not None or under_way:
                # The oldest batch is answered first; the next one is read only if there is room for it.
                waiting: set[asyncio.Task[Any]] = {under_way[0]} if under_way else set()
                if reading is not None and len(under_way) < self._stream_batches_max:
                    waiting |= {reading, closing}
                await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                while under_way and under_way[0].done():
                    yield under_way.popleft().result()
                if reading is None or len(under_way) >= self._stream_batches_max:
                    continue
                if reading.done():
                    if reading.exception() is not None:
                        reading = self._last_read(reading)
                        continue
                    under_way.append(asyncio.ensure_future(self._take_of_stream(reading.result())))
                    reading = asyncio.ensure_future(_next(reader))
                elif closing.done():
                    reading.cancel()
                    reading = None
            if closing.done():
                raise stopping()
        finally:
            for task in (reading, closing, *under_way):
                if task is not None:
                    task.cancel()

    @staticmethod
    def _last_read(reading: asyncio.Task[bytes]) -> None:
        """Take the end of the stream for what it is; raise anything else that a read may raise."""
        failure = reading.exception()
        if failure is not None and not isinstance(failure, StopAsyncIteration):
            raise failure

    async def _take_of_stream(self, body: bytes) -> bytes:
        """Take one batch of a stream; a refusal is an answer."""
        try:
            return await self._take(body)
        except Exception as failure:
            status = status_of(refusal_of(failure))
            return message_field(ERROR_FIELD, status.SerializeToString())

    async def _take(self, body: bytes) -> bytes:
        """Take one batch and return the answer.

        Raises:
            EngineError: The batch is refused as a whole.
        """
        if len(body) > self._message_bytes_max and body[:1] != JSON_TAG:
            limit = self._message_bytes_max
            message = f"the request has {len(body):,} bytes, the limit is {limit:,}: send smaller batches"
            error = EngineError(Reason.BATCH_TOO_LARGE, message, value=str(len(body)), limit=str(limit))
            self._count_refused(error, 1)
            raise error
        received_ms = self._clock_ms()
        scanned = self._engine.scan(body, received_ms)
        if scanned.error is not None:
            self._count_refused(scanned.error, 1)
            raise scanned.error
        result = await self._submit(scanned)
        self._metrics.events_accepted.inc(result.accepted_count)
        for reason, count in result.rejected_counts().items():
            self._metrics.events_rejected.labels(reason.name).inc(count)
        sessions = result.sessions(self._engine) if scanned.returns_sessions else []
        return write_answer(result, sessions)

    async def _submit(self, scanned: ScannedRequest) -> BatchResult:
        """Journal the accepted events, if there are any, and wait as the request says."""
        if scanned.event_count == scanned.rejected_count:
            return BatchResult(scanned, self._pipeline.durable_position, None)
        want = Want.APPLIED if scanned.waits_for_applied else Want.DURABLE
        entry = Entry(EntryType.EVENTS, scanned.received_ms, scanned.accepted_body())
        unknown = self._engine.unknown_facts(scanned)
        # What is known costs nothing; what is new takes about 0.1 ms per text, too much for the event loop.
        facts = await asyncio.to_thread(facts_about, unknown, scanned.received_ms) if unknown else None
        # A caller who leaves meanwhile withdraws nothing: the pipeline's future is only what this call waits for.
        receipt = await self._pipeline.submit(entry, scanned, want, before=facts)
        return BatchResult(scanned, receipt.position, receipt.outcome)

    def _count_refused(self, error: EngineError, count: int) -> None:
        self._metrics.events_rejected.labels(error.reason.name).inc(count)


async def _next(bodies: AsyncIterator[bytes]) -> bytes:
    return await anext(bodies)
