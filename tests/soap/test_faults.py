"""Every failure is a fault of the right kind, whose detail says what gRPC says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from google.protobuf.any_pb2 import Any as Packed
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from rte.v1.error_reason_pb2 import ErrorReason
from rte_bridge.bodies import BodyLimits
from rte_bridge.problems import Reason
from rte_soap.contract import SERVICE_FAULT, Contract, new_message
from rte_soap.faults import CODES, EXCEPTIONS, REASONS, fault_of, set_status
from tests.soap.bridge import GET, Bridge, Call, envelope, running_bridge

CLIENT_CODES = {
    "INVALID_ARGUMENT",
    "OUT_OF_RANGE",
    "FAILED_PRECONDITION",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "UNAUTHENTICATED",
    "UNIMPLEMENTED",
}


@pytest.fixture
async def bridge() -> AsyncIterator[Bridge]:
    """A bridge in front of a server that fails as a test says."""
    async with running_bridge() as running:
        yield running


def status(code: grpc.StatusCode, *details: Any) -> status_pb2.Status:
    """Return a status with details."""
    made = status_pb2.Status(code=code.value[0], message="it is <so> & so")
    for detail in details:
        packed = Packed()
        packed.Pack(detail)
        made.details.append(packed)
    return made


def fails(bridge: Bridge, made: status_pb2.Status) -> None:
    """Let the server fail with a status."""

    async def answer(_: Call, context: Any) -> bytes:
        await context.abort_with_status(rpc_status.to_status(made))
        return b""

    bridge.answer = answer


INFO = error_details_pb2.ErrorInfo(
    reason="OUT_OF_RANGE", domain="rte.v1", metadata={"field": "page_size", "value": "-1", "limit": "1", "more": "x"}
)


@pytest.mark.parametrize(
    "code", [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK], ids=lambda c: c.name
)
async def test_codes(bridge: Bridge, code: grpc.StatusCode) -> None:
    """Each code of gRPC becomes a fault of its side in both versions, with all that the details say."""
    violation = error_details_pb2.BadRequest.FieldViolation(field="page_size", description="d", reason="OUT_OF_RANGE")
    bad = error_details_pb2.BadRequest(field_violations=[violation])
    fails(bridge, status(code, INFO, bad))
    is_callers = code.name in CLIENT_CODES
    for version, fault_code in (
        ("1.1", "Client" if is_callers else "Server"),
        ("1.2", "Sender" if is_callers else "Receiver"),
    ):
        reply = await bridge.call(version=version)
        expected = 401 if code.name == "UNAUTHENTICATED" else 500 if version == "1.1" or not is_callers else 400
        assert reply.status == expected
        assert reply.text("faultcode" if version == "1.1" else "Value") == f"soap:{fault_code}"
        assert reply.text("faultstring" if version == "1.1" else "Text") == "it is <so> & so"
        found = {name: reply.text(name) for name in ("code", "status", "message", "reason", "domain", "value", "limit")}
        assert found == {
            "code": str(code.value[0]),
            "status": code.name,
            "message": "it is <so> & so",
            "reason": "OUT_OF_RANGE",
            "domain": "rte.v1",
            "value": "-1",
            "limit": "1",
        }
        assert [each.text for each in reply.root.iter("{*}field")] == ["page_size", "page_size"]
        assert reply.text("description") == "d"
        assert (reply.text("key"), [each.text for each in reply.root.iter("{urn:rte:v1}value")][-1]) == ("more", "x")
        if version == "1.2":
            values = [each.text for each in reply.root.iter("{http://www.w3.org/2003/05/soap-envelope}Value")]
            assert values[1] == f"r:{code.name}"
        if code.name == "UNAUTHENTICATED":
            assert reply.headers["www-authenticate"] == 'Basic realm="rte", Bearer'


async def test_retry_delay(bridge: Bridge) -> None:
    """What the server asks callers to wait is in the detail and, in whole seconds, in the header retry-after."""
    retry = error_details_pb2.RetryInfo()
    retry.retry_delay.FromMilliseconds(1100)
    fails(bridge, status(grpc.StatusCode.RESOURCE_EXHAUSTED, INFO, retry))
    reply = await bridge.call()
    assert (reply.text("retryable"), reply.text("retryDelay")) == ("true", "PT1.100S")
    assert reply.headers["retry-after"] == "2"


@pytest.mark.parametrize(
    ("code", "reason", "retryable"),
    [
        (grpc.StatusCode.UNAVAILABLE, "SERVER_UNAVAILABLE", "true"),
        (grpc.StatusCode.INTERNAL, "INTERNAL", "false"),
        (grpc.StatusCode.UNKNOWN, "INTERNAL", "false"),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "REQUEST_TOO_LARGE", "false"),
        (grpc.StatusCode.PERMISSION_DENIED, "", "false"),
    ],
)
async def test_failures_of_grpc_itself_tell_nothing(
    bridge: Bridge, code: grpc.StatusCode, reason: str, retryable: str
) -> None:
    """A failure without a status of the server has a fixed text: that of gRPC may tell addresses and insides."""

    async def answer(_: Call, context: Any) -> bytes:
        await context.abort(code, "secret 10.0.0.1")
        return b""

    bridge.answer = answer
    reply = await bridge.call()
    assert b"secret" not in reply.body
    assert (reply.text("reason"), reply.text("retryable")) == (reason, retryable)
    assert reply.text("faultstring")


async def test_a_server_that_crashes_tells_nothing(bridge: Bridge) -> None:
    """An exception in the server is an INTERNAL fault without its text."""

    async def answer(_: Call, __: Any) -> bytes:
        raise RuntimeError("secret")

    bridge.answer = answer
    reply = await bridge.call()
    assert b"secret" not in reply.body
    assert reply.text("faultcode") == "soap:Server"


async def test_an_answer_that_is_no_message(bridge: Bridge) -> None:
    """An answer of the server that cannot be read is a fault of the server."""

    async def answer(_: Call, __: Any) -> bytes:
        return b"\xff\xff"

    bridge.answer = answer
    reply = await bridge.call()
    assert reply.text("faultcode") == "soap:Server"
    assert reply.text("reason") == "INTERNAL"


async def test_nobody_answers() -> None:
    """While no server answers, the fault says so at once, and that the call may be made again."""
    async with running_bridge() as bridge:
        service = bridge.app._service
        unreachable = grpc.aio.insecure_channel("127.0.0.1:1")
        service._calls["GetSession"] = unreachable.unary_unary(
            "/rte.v1.SessionService/GetSession", request_serializer=lambda message: message.SerializeToString()
        )
        reply = await bridge.call()
        assert (reply.text("reason"), reply.text("retryable")) == ("SERVER_UNAVAILABLE", "true")
        assert b"127.0.0.1" not in reply.body
        await unreachable.close()


async def test_deadline(bridge: Bridge) -> None:
    """A call that takes longer than its caller gives it ends with DEADLINE_EXCEEDED, which may be tried again."""

    async def answer(_: Call, __: Any) -> bytes:
        await asyncio.sleep(600)
        return b""

    bridge.answer = answer
    reply = await bridge.call(headers={"grpc-timeout": "50m"})
    assert (reply.text("reason"), reply.text("retryable")) == ("DEADLINE_EXCEEDED", "true")


async def test_caller_who_leaves_ends_the_call(bridge: Bridge) -> None:
    """When the caller leaves, the call at the server is cancelled."""
    ended = asyncio.Event()

    async def answer(_: Call, context: Any) -> bytes:
        try:
            await asyncio.sleep(600)
        except asyncio.CancelledError:
            ended.set()
            raise
        return b""

    bridge.answer = answer
    await bridge.post(envelope(GET), leaves=True)
    await asyncio.wait_for(ended.wait(), 60)


async def test_too_many_calls() -> None:
    """More calls than are worked on at a time are told to come again, and nothing of them is done."""
    async with running_bridge(bodies=BodyLimits(calls_max=2)) as bridge:
        go_on, both = asyncio.Event(), asyncio.Event()

        async def answer(_: Call, __: Any) -> bytes:
            if len(bridge.calls) == 2:
                both.set()
            await go_on.wait()
            return b""

        bridge.answer = answer
        waiting = [asyncio.create_task(bridge.call()) for _ in range(2)]
        await asyncio.wait_for(both.wait(), 60)
        reply = await bridge.call()
        assert (reply.text("reason"), reply.text("retryable"), reply.text("limit")) == ("OVERLOADED", "true", "2")
        go_on.set()
        assert [each.status for each in await asyncio.gather(*waiting)] == [200, 200]
        assert len(bridge.calls) == 2


def test_the_table_is_complete() -> None:
    """Every code of gRPC and every reason of the bridge has its line, and shared reasons are those of the contract."""
    assert set(CODES) == set(grpc.StatusCode) - {grpc.StatusCode.OK}
    assert set(REASONS) == set(Reason)
    assert set(EXCEPTIONS) <= set(Reason)
    for reason, (_, domain) in REASONS.items():
        assert (f"ERROR_REASON_{reason}" in ErrorReason.keys()) == (domain == "rte.v1")  # noqa: SIM118 - an enum wrapper


def test_a_status_comes_back() -> None:
    """A status becomes a ServiceFault and again the same status."""
    retry = error_details_pb2.RetryInfo()
    retry.retry_delay.FromMilliseconds(250)
    made = status(grpc.StatusCode.ABORTED, INFO, error_details_pb2.BadRequest(field_violations=[{"field": "f"}]), retry)
    again = status_pb2.Status()
    set_status(fault_of(made, Contract.shipped().message(SERVICE_FAULT)), again)
    assert [each.type_url for each in again.details] == [each.type_url for each in made.details]
    for left, right, kind in zip(
        made.details, again.details, (INFO, error_details_pb2.BadRequest(), retry), strict=True
    ):
        assert type(kind).FromString(left.value) == type(kind).FromString(right.value)


def test_unknown_codes_are_unknown() -> None:
    """A status with a number that gRPC does not have is shown as UNKNOWN, with its number."""
    fault = fault_of(status_pb2.Status(code=99), new_message(Contract.shipped().message(SERVICE_FAULT)).DESCRIPTOR)
    assert (fault.code, fault.status) == (99, "UNKNOWN")
