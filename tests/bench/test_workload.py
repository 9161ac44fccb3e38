"""The benchmark's input is what it claims to be, and the candidates that are compared agree on it."""

from __future__ import annotations

import pytest

from rte.v1.event_service_pb2 import IngestEventsRequest
from tests.bench import workload
from tests.bench.c_baseline import CBaseline, CompilerMissing

SMALL = workload.make_workload(event_count=4_000, visitor_count=300)


def test_the_bytes_are_requests_of_the_contract() -> None:
    """The hand-written bytes parse with the official parser, and nothing in them is unknown to it."""
    numbers = []
    for request in SMALL.requests:
        parsed = IngestEventsRequest.FromString(request)
        assert parsed.ByteSize() == len(request)
        numbers += [int(event.event_id) for event in parsed.events]
        assert all(event.visitor_id and event.name and event.HasField("event_time") for event in parsed.events)
    assert numbers == list(range(1, SMALL.event_count + 1))


def test_events_come_in_order_of_time() -> None:
    """No event is earlier than the one before it, and a request is received at the time of its last event."""
    times = []
    for request, received_ms in zip(SMALL.requests, SMALL.received_ms, strict=True):
        times += [event.event_time.ToMilliseconds() for event in IngestEventsRequest.FromString(request).events]
        assert times[-1] == received_ms
    assert times == sorted(times)


def test_the_same_seed_gives_the_same_bytes() -> None:
    """The workload is a function of its arguments."""
    assert workload.make_workload(event_count=4_000, visitor_count=300).requests == SMALL.requests


@pytest.mark.parametrize("prefetch", [False, True])
def test_the_c_loop_counts_what_is_there(prefetch: bool) -> None:
    """The C loop sees every event, and drops those that come again when told to."""
    try:
        loop = CBaseline(row_bits=10, dedup=True, prefetch=prefetch)
    except CompilerMissing as missing:
        pytest.skip(str(missing))
    assert sum(map(loop.fold, SMALL.requests)) == SMALL.event_count
    first = loop.checksum()
    assert sum(map(loop.fold, SMALL.requests)) == SMALL.event_count
    again = loop.checksum()
    loop.close()
    assert again[1] == SMALL.event_count
    assert again[0] == first[0]
    assert again[2:] == first[2:]
