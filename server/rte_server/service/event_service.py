"""EventService: takes batches of events, as bytes."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable

import grpc

from rte_server.engine.engine import Engine
from rte_server.engine.reasons import EngineError
from rte_server.service.errors import refusal_of, status_of
from rte_server.service.event_answer import BatchResult, write_answer
from rte_server.service.interceptors import Context
from rte_server.service.metrics import Metrics
from rte_server.service.pipeline import Pipeline
from rte_server.service.proto_wire import message_field

ERROR_FIELD = 9
"""Of StreamEventsResponse; its other fields are those of IngestEventsResponse."""


class EventService:
    """Serves `rte.v1.EventService`."""

    def __init__(
        self,
        engine: Engine,
        pipeline: Pipeline,
        metrics: Metrics,
        clock_ms: Callable[[], int],
        *,
        stream_batches_max: int,
    ) -> None:
        """Make the service.

        Args:
            clock_ms: Gives the server's time, milliseconds since 1970.
            stream_batches_max: Batches of one stream that are worked on at a time, > 0.
        """
        self._engine = engine
        self._pipeline = pipeline
        self._metrics = metrics
        self._clock_ms = clock_ms
        self._stream_batches_max = stream_batches_max

    def handlers(self) -> dict[str, grpc.RpcMethodHandler]:
        """Return the methods by name."""
        return {
            "IngestEvents": grpc.unary_unary_rpc_method_handler(self.ingest_events),
            "StreamEvents": grpc.stream_stream_rpc_method_handler(self.stream_events),
        }

    async def ingest_events(self, body: bytes, context: Context) -> bytes:
        """Answer IngestEvents."""
        return await self._take(body)

    async def stream_events(self, bodies: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
        """Answer StreamEvents: batches are worked on side by side and answered in their order."""
        under_way: deque[asyncio.Task[bytes]] = deque()
        reader = aiter(bodies)
        next_body: asyncio.Task[bytes] | None = asyncio.ensure_future(_next(reader))
        try:
            while next_body is not None or under_way:
                waiting = {task for task in (next_body, under_way[0] if under_way else None) if task is not None}
                if len(under_way) >= self._stream_batches_max:
                    waiting = {under_way[0]}
                await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                while under_way and under_way[0].done():
                    yield under_way.popleft().result()
                if next_body is not None and next_body.done() and len(under_way) < self._stream_batches_max:
                    try:
                        body = next_body.result()
                    except StopAsyncIteration:
                        next_body = None
                        continue
                    under_way.append(asyncio.ensure_future(self._take_of_stream(body)))
                    next_body = asyncio.ensure_future(_next(reader))
        finally:
            for task in (next_body, *under_way):
                if task is not None:
                    task.cancel()

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
        received_ms = self._clock_ms()
        scanned = self._engine.scan(body, received_ms)
        if scanned.error is not None:
            self._count_refused(scanned.error, 1)
            raise scanned.error
        position, outcome = await self._pipeline.ingest(scanned)
        result = BatchResult(scanned, position, outcome)
        self._metrics.events_accepted.inc(result.accepted_count)
        for reason, count in result.rejected_counts().items():
            self._metrics.events_rejected.labels(reason.name).inc(count)
        sessions = result.sessions(self._engine) if scanned.returns_sessions else []
        return write_answer(result, sessions)

    def _count_refused(self, error: EngineError, count: int) -> None:
        self._metrics.events_rejected.labels(error.reason.name).inc(count)


async def _next(bodies: AsyncIterator[bytes]) -> bytes:
    return await anext(bodies)
