"""What happens around every call: limits, deadlines, metrics, and errors that say no more than they should.

One interceptor does it all, and wraps each method once: a chain of small ones would cost every call a coroutine each.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeAlias

import grpc
import grpc.aio

from rte_server.engine.reasons import EngineError, Reason
from rte_server.service.errors import RULES, refusal_of, status_of, trailing_metadata
from rte_server.service.metrics import Metrics

UNARY_SECONDS_MAX = 30.0
"""How long a unary call may take if its caller gives no deadline, or a later one."""

LONG_SECONDS_MAX = 600.0
LONG_METHODS = frozenset(
    ("rte.v1.ModelService/ApplyModels", "rte.v1.ModelService/RollBackModels", "rte.v1.CustomerService/DeleteCustomer")
)
"""The same for calls that fold or search history: envoy.yaml gives them as long."""

DEADLINE_MARGIN_S = 0.02
"""The server gives up this long before the caller does, so that its answer still arrives and names the reason."""

Context = Any
"""`grpc.aio.ServicerContext`; its stubs leave it generic."""

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
"""A method as gRPC takes it."""

Unary = Callable[[Any, Context], Awaitable[Any]]
Streaming = Callable[[Any, Context], AsyncIterator[Any]]

OWN_PACKAGE = "/rte.v1."


class Guard(grpc.aio.ServerInterceptor):
    """Wraps the methods of `rte.v1`; health and reflection pass."""

    def __init__(self, metrics: Metrics, *, calls_max: int, streams_max: int) -> None:
        """Make the guard.

        Args:
            metrics: Where calls are counted.
            calls_max: Unary calls in flight, > 0. One more is refused with OVERLOADED.
            streams_max: Streaming calls that are open, > 0. One more is refused with TOO_MANY_CALLS.
        """
        self._metrics = metrics
        self._calls_max = calls_max
        self._streams_max = streams_max
        self._calls = 0
        self._streams = 0
        self._wrapped: dict[str, Handler] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """Return the wrapped handler of the method."""
        method = handler_call_details.method
        wrapped = self._wrapped.get(method)
        if wrapped is None:
            wrapped = await continuation(handler_call_details)
            if wrapped is not None and method.startswith(OWN_PACKAGE):
                wrapped = self._wrapped[method] = self._wrap(method.removeprefix("/"), wrapped)
        return wrapped

    def _wrap(self, name: str, handler: Any) -> Handler:
        if handler.unary_unary is not None:
            return grpc.unary_unary_rpc_method_handler(self._unary(name, handler.unary_unary))
        if handler.unary_stream is not None:
            return grpc.unary_stream_rpc_method_handler(self._stream(name, handler.unary_stream))
        return grpc.stream_stream_rpc_method_handler(self._stream(name, handler.stream_stream))

    def _unary(self, name: str, inner: Unary) -> Unary:
        seconds = self._metrics.call_seconds.labels(name)
        answered = self._metrics.calls.labels(name, "OK")
        seconds_max = LONG_SECONDS_MAX if name in LONG_METHODS else UNARY_SECONDS_MAX

        async def call(request: Any, context: Context) -> Any:
            started = time.perf_counter()
            self._calls += 1
            try:
                if self._calls > self._calls_max:
                    message = f"{self._calls_max} calls are in flight; send fewer at a time"
                    raise EngineError(Reason.OVERLOADED, message, limit=str(self._calls_max))
                async with asyncio.timeout(_seconds_left(context, seconds_max)):
                    answer = await inner(request, context)
                answered.inc()
                return answer
            except Exception as failure:
                await self._refuse(name, failure, context, is_unary=True)
            except asyncio.CancelledError:
                self._metrics.calls.labels(name, grpc.StatusCode.CANCELLED.name).inc()
                raise
            finally:
                self._calls -= 1
                seconds.observe(time.perf_counter() - started)

        return call

    def _stream(self, name: str, inner: Streaming) -> Any:
        opened = self._metrics.streams_open.labels(name)

        async def call(request: Any, context: Context) -> AsyncIterator[Any]:
            self._streams += 1
            opened.inc()
            try:
                if self._streams > self._streams_max:
                    message = f"{self._streams_max} streams are open; close one"
                    raise EngineError(Reason.TOO_MANY_CALLS, message, limit=str(self._streams_max))
                async for answer in inner(request, context):
                    yield answer
                self._metrics.calls.labels(name, "OK").inc()
            except Exception as failure:
                await self._refuse(name, failure, context)
            finally:
                self._streams -= 1
                opened.dec()

        return call

    async def _refuse(self, name: str, failure: Exception, context: Context, *, is_unary: bool = False) -> None:
        """End the call with the status of `failure`."""
        if isinstance(failure, grpc.aio.AbortError):
            raise failure
        if isinstance(failure, TimeoutError):
            message = "the deadline of the call passed; events may have been taken all the same"
            failure = EngineError(Reason.DEADLINE_EXCEEDED, message)
        refusal = refusal_of(failure)
        status = status_of(refusal)
        retry_after_ms = RULES[refusal.reason].retry_after_ms
        if retry_after_ms is not None and is_unary:
            # Clients of HTTP know this header, in whole seconds, where they do not know RetryInfo. A stream must fail
            # with trailers only: once headers were sent, Envoy has answered 200.
            await context.send_initial_metadata((("retry-after", str(-(-retry_after_ms // 1000))),))
        code = next(code for code in grpc.StatusCode if code.value[0] == status.code)
        self._metrics.calls.labels(name, code.name).inc()
        await context.abort(code, status.message, trailing_metadata(status))


def _seconds_left(context: Context, seconds_max: float) -> float:
    """Return how long the server works on a unary call, > 0."""
    left: float | None = context.time_remaining()
    if left is None:
        return seconds_max
    return min(max(left - min(DEADLINE_MARGIN_S, left / 4), 0.0), seconds_max)
