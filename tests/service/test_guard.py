"""What happens around every call, with handlers made for the purpose."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import grpc.aio
import pytest
from google.rpc import status_pb2

from rte_server.engine.reasons import EngineError, Reason
from rte_server.service.errors import DETAILS_METADATA_KEY, reason_of
from rte_server.service.interceptors import Context, Guard
from rte_server.service.metrics import Metrics
from rte_server.service.server import GrpcServer

SERVICE = "rte.v1.Trial"


class Trial:
    """A server with a few small methods."""

    def __init__(self) -> None:
        self.cancelled = asyncio.Event()
        self.waiting = 0
        self.metrics = Metrics()
        self.server = GrpcServer(
            {SERVICE: self._handlers()},
            Guard(self.metrics, calls_max=3, streams_max=2),
            request_bytes_max=1 << 20,
            answer_bytes_max=1 << 20,
        )
        self.channel: grpc.aio.Channel

    def _handlers(self) -> dict[str, Any]:
        async def echo(body: bytes, context: Context) -> bytes:
            return body

        async def fail(body: bytes, context: Context) -> bytes:
            raise RuntimeError("secret " + body.decode())

        async def refuse(body: bytes, context: Context) -> bytes:
            raise EngineError(Reason.OUT_OF_RANGE, "too much", field="x", value="9", limit="8")

        async def wait(body: bytes, context: Context) -> bytes:
            self.waiting += 1
            try:
                await asyncio.sleep(600)
            except asyncio.CancelledError:
                self.cancelled.set()
                raise
            finally:
                self.waiting -= 1
            return b""

        async def count(body: bytes, context: Context) -> AsyncIterator[bytes]:
            yield b"1"
            if body:
                raise ValueError("secret")
            await asyncio.sleep(600)

        unary = {"Echo": echo, "Fail": fail, "Refuse": refuse, "Wait": wait}
        methods: dict[str, Any] = {name: grpc.unary_unary_rpc_method_handler(method) for name, method in unary.items()}
        return methods | {"Count": grpc.unary_stream_rpc_method_handler(count)}

    def call(self, method: str) -> Any:
        """Return a unary method."""
        return self.channel.unary_unary(f"/{SERVICE}/{method}")

    def stream(self, body: bytes) -> Any:
        """Open a stream."""
        channel: Any = self.channel
        return channel.unary_stream(f"/{SERVICE}/Count")(body)

    def value(self, name: str, **labels: str) -> float:
        """Return the value of a metric, 0 if there is none."""
        return self.metrics.registry.get_sample_value(name, labels) or 0.0


def run(test: Callable[[Trial], Awaitable[None]]) -> None:
    """Run a test against a server of its own."""

    async def main() -> None:
        trial = Trial()
        port = await trial.server.start("127.0.0.1", 0)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as trial.channel:
            await asyncio.wait_for(test(trial), 120)
        await trial.server.stop(0)

    asyncio.run(main())


async def until(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds; the test's own limit ends it."""
    while not condition():  # noqa: ASYNC110 - what is waited for tells nobody
        await asyncio.sleep(0.005)


def reason_of_call(error: grpc.aio.AioRpcError) -> Reason:
    """Return the reason that a failed call carries."""
    details = dict(error.trailing_metadata() or ())[DETAILS_METADATA_KEY]
    return reason_of(status_pb2.Status.FromString(details))


def test_a_fault_tells_nothing_of_the_inside() -> None:
    """An unexpected exception, also in a stream, is INTERNAL with an incident id and none of its text."""

    async def test(trial: Trial) -> None:
        async def read_all() -> list[bytes]:
            return [answer async for answer in trial.stream(b"x")]

        for call in (trial.call("Fail")(b"x"), read_all()):
            with pytest.raises(grpc.aio.AioRpcError) as failure:
                await call
            assert failure.value.code() is grpc.StatusCode.INTERNAL
            assert reason_of_call(failure.value) is Reason.INTERNAL
            assert "secret" not in str(failure.value) and "incident" in str(failure.value.details())
        assert trial.value("rte_calls_total", method=f"{SERVICE}/Fail", code="INTERNAL") == 1

    run(test)


def test_a_refusal_is_its_status() -> None:
    """A refusal becomes the status that the table says, and is counted under its code."""

    async def test(trial: Trial) -> None:
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await trial.call("Refuse")(b"")
        assert (failure.value.code(), failure.value.details()) == (grpc.StatusCode.INVALID_ARGUMENT, "too much")
        assert reason_of_call(failure.value) is Reason.OUT_OF_RANGE
        assert trial.value("rte_calls_total", method=f"{SERVICE}/Refuse", code="INVALID_ARGUMENT") == 1

    run(test)


def test_a_deadline_is_answered_before_it_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that cannot be done in time is stopped, and the caller learns DEADLINE_EXCEEDED from the server."""
    # On a busy machine an answer may take longer than the usual margin, which is for those that are not.
    monkeypatch.setattr("rte_server.service.interceptors.DEADLINE_MARGIN_S", 1.0)

    async def test(trial: Trial) -> None:
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await trial.call("Wait")(b"", timeout=4)
        assert failure.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert reason_of_call(failure.value) is Reason.DEADLINE_EXCEEDED
        await asyncio.wait_for(trial.cancelled.wait(), 60)

    run(test)


def test_the_usual_margin_lets_the_answer_come_before_the_deadline() -> None:
    """With the margin that servers have, all callers learn the reason, unless the machine is busy all the time.

    Without a margin less than half of them do, now and then more.
    """

    async def test(trial: Trial) -> None:
        answered = []
        for _ in range(10):
            answered.append(0)
            for _ in range(20):
                with pytest.raises(grpc.aio.AioRpcError) as failure:
                    await trial.call("Wait")(b"", timeout=0.1)
                assert failure.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
                answered[-1] += DETAILS_METADATA_KEY in dict(failure.value.trailing_metadata() or ())
            if answered[-1] == 20:
                return
        pytest.fail(f"of 20 calls each, so many were answered before their deadline: {answered}")

    run(test)


def test_a_caller_who_leaves_frees_the_call() -> None:
    """Cancelling a call stops its work and gives its place back."""

    async def test(trial: Trial) -> None:
        calls = [trial.call("Wait")(b"") for _ in range(3)]
        await until(lambda: trial.waiting == 3)
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await trial.call("Echo")(b"x")
        assert failure.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert reason_of_call(failure.value) is Reason.OVERLOADED
        assert ("retry-after", "1") in tuple(failure.value.initial_metadata())
        for call in calls:
            call.cancel()
        await until(lambda: trial.waiting == 0)
        assert await trial.call("Echo")(b"x") == b"x"

    run(test)


def test_too_many_streams_are_refused() -> None:
    """A stream more than the limit is refused with TOO_MANY_CALLS; closing one makes room."""

    async def test(trial: Trial) -> None:
        streams = [trial.stream(b"") for _ in range(2)]
        for stream in streams:
            assert await stream.read() == b"1"
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await trial.stream(b"").read()
        assert reason_of_call(failure.value) is Reason.TOO_MANY_CALLS
        assert not tuple(failure.value.initial_metadata())  # With headers, Envoy would have answered 200.
        assert trial.value("rte_streams_open", method=f"{SERVICE}/Count") == 2
        streams[0].cancel()
        await until(lambda: trial.value("rte_streams_open", method=f"{SERVICE}/Count") == 1)
        assert await trial.stream(b"").read() == b"1"

    run(test)
