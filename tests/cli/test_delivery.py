"""Delivery of batches goes on after refusals and breaks, and gives up in a sentence."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import contextmanager
from typing import NoReturn

import grpc
import pytest
from google.protobuf import any_pb2
from google.rpc import code_pb2, error_details_pb2

from rte.v1.event_service_pb2 import StreamEventsRequest, StreamEventsResponse
from rte.v1.event_service_pb2_grpc import EventServiceServicer, add_EventServiceServicer_to_server
from rte.wire_events import event
from rte_server.cli.delivery import Delivery
from rte_server.cli.errors import CommandError
from rte_server.replay.csv_rows import Recorded

Behaviour = Callable[["StandIn", StreamEventsRequest, grpc.ServicerContext], StreamEventsResponse]


class StandIn(EventServiceServicer):
    """A server that does what a test wants with each batch, and remembers the ids of what it took."""

    def __init__(self, behaviour: Behaviour) -> None:
        self.behaviour = behaviour
        self.batch_count = 0
        self.stream_count = 0
        self.taken: list[str] = []

    def StreamEvents(
        self, requests: Iterator[StreamEventsRequest], context: grpc.ServicerContext
    ) -> Iterator[StreamEventsResponse]:
        """Answer each batch."""
        self.stream_count += 1
        for request in requests:
            self.batch_count += 1
            yield self.behaviour(self, request, context)

    def IngestEvents(self, request: object, context: grpc.ServicerContext) -> NoReturn:
        """Fail: a delivery only streams."""
        raise NotImplementedError

    def take(self, request: StreamEventsRequest) -> StreamEventsResponse:
        """Take all events."""
        self.taken += [each.event_id for each in request.events]
        return StreamEventsResponse(accepted_count=len(request.events))


@contextmanager
def stand_in(behaviour: Behaviour) -> Iterator[tuple[StandIn, str]]:
    """Run a stand-in and give it with its address."""
    server = grpc.server(futures.ThreadPoolExecutor(4))
    servicer = StandIn(behaviour)
    add_EventServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield servicer, f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


def batch(first: int, count: int = 3) -> list[Recorded]:
    """Return events with the ids from `first` on."""
    numbers = range(first, first + count)
    return [(n, event(event_id=str(n), name="x", time_ms=n, visitor_id="v"), "f.csv", n + 2) for n in numbers]


def refusal(reason: str, *, retry_ms: int = 0) -> StreamEventsResponse:
    """Return the answer to a batch that is refused as a whole."""
    answer = StreamEventsResponse()
    answer.error.code = code_pb2.RESOURCE_EXHAUSTED if retry_ms else code_pb2.INVALID_ARGUMENT
    answer.error.message = "no"
    details: list[error_details_pb2.ErrorInfo | error_details_pb2.RetryInfo] = [
        error_details_pb2.ErrorInfo(reason=reason, domain="rte.v1")
    ]
    if retry_ms:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromMilliseconds(retry_ms)
        details.append(retry)
    for detail in details:
        packed = any_pb2.Any()
        packed.Pack(detail)
        answer.error.details.append(packed)
    return answer


def deliver(address: str, count: int, *, strict: bool = False) -> Delivery:
    """Send `count` batches of three events and wait for the end."""
    delivery = Delivery(address, strict=strict)
    try:
        for number in range(count):
            delivery.send(batch(3 * number))
        delivery.finish()
    finally:
        delivery.close()
    return delivery


def test_every_event_arrives_in_order() -> None:
    """Without trouble all batches go over one stream, in order."""
    with stand_in(lambda server, request, _: server.take(request)) as (server, address):
        totals = deliver(address, 20).totals
    assert server.taken == [str(n) for n in range(60)]
    assert (server.stream_count, totals.sent, totals.accepted) == (1, 60, 60)


def test_an_overloaded_server_gets_the_batch_again() -> None:
    """A batch that is refused with a pause comes again after it, and counts once."""

    def behave(server: StandIn, request: StreamEventsRequest, _: grpc.ServicerContext) -> StreamEventsResponse:
        return refusal("OVERLOADED", retry_ms=20) if server.batch_count in (2, 4) else server.take(request)

    with stand_in(behave) as (server, address):
        totals = deliver(address, 5).totals
    assert sorted(map(int, server.taken)) == list(range(15))
    assert (totals.sent, totals.accepted, sum(totals.rejected.values())) == (15, 15, 0)


def test_a_broken_stream_is_opened_again() -> None:
    """What was not answered when a stream broke is sent over a new one; nothing is left out."""

    def behave(server: StandIn, request: StreamEventsRequest, context: grpc.ServicerContext) -> StreamEventsResponse:
        if server.batch_count in (2, 7):
            context.abort(grpc.StatusCode.UNAVAILABLE, "gone")
        return server.take(request)

    with stand_in(behave) as (server, address):
        totals = deliver(address, 6).totals
    assert set(map(int, server.taken)) == set(range(18))
    assert (totals.sent, totals.accepted) == (18, 18)
    assert server.stream_count == 3


def test_a_batch_that_is_refused_for_good_is_counted_by_its_reason() -> None:
    """A batch refused as a whole counts as rejected, named by its first line; the others go on."""

    def behave(server: StandIn, request: StreamEventsRequest, _: grpc.ServicerContext) -> StreamEventsResponse:
        return refusal("BATCH_TOO_LARGE") if server.batch_count == 1 else server.take(request)

    with stand_in(behave) as (_, address):
        totals = deliver(address, 2).totals
    assert totals.rejected == {"BATCH_TOO_LARGE": 3}
    assert totals.examples == ["f.csv:2 and what follows: no (BATCH_TOO_LARGE)"]
    assert totals.accepted == 3


def test_strict_ends_at_the_first_rejection() -> None:
    """A strict delivery fails with the place of the first rejected event."""
    with (
        stand_in(lambda *_: refusal("MALFORMED")) as (_, address),
        pytest.raises(CommandError, match=r"f\.csv:2 .*MALFORMED"),
    ):
        deliver(address, 1, strict=True)


def test_a_refused_call_is_not_repeated() -> None:
    """An error that a repetition cannot mend ends the delivery at once."""

    def behave(server: StandIn, request: StreamEventsRequest, context: grpc.ServicerContext) -> StreamEventsResponse:
        context.abort(grpc.StatusCode.PERMISSION_DENIED, "not you")
        raise AssertionError

    with stand_in(behave) as (server, address), pytest.raises(CommandError, match=r"Not you\. \(PERMISSION_DENIED\)"):
        deliver(address, 1)
    assert server.stream_count == 1


def test_no_server_is_found_out_soon() -> None:
    """Where nobody answers, a delivery gives up after a few attempts."""
    with pytest.raises(CommandError, match=r"No RTE server answers at 127\.0\.0\.1:1"):
        deliver("127.0.0.1:1", 1)
