"""Server: durable ingest, how soon it can be read, and single calls; the client on the same cores.

The baseline is a `grpc.aio` server with the same methods that looks at nothing (`echo_server`): the ceiling of the
transport, run in turn with the real one.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import grpc

from rte.v1.event_service_pb2 import WAIT_APPLIED, IngestEventsRequest, IngestEventsResponse
from rte.v1.session_pb2 import Session
from rte.v1.session_service_pb2 import GetSessionRequest
from tests.bench.callers import (
    GET_SESSION,
    INGEST,
    Load,
    ingest_stream,
    ingest_unary,
    one_event,
    timed_calls,
    timed_http,
    unary,
    wait_for_session,
    wait_until_folded,
    without_ids,
)
from tests.bench.figures import Figure, interleaved, median_ratio, milliseconds, percentile
from tests.bench.server_process import ServerProcess
from tests.bench.workload import make_workload, sent_at
from tests.ports import free_port

PART = "Server"
ROUNDS = 3
VISITORS = 50_000
IDS_PER_RUN = 10_000_000


def measure(event_count: int, calls: int) -> list[Figure]:
    """Start a server with an empty journal, and the echo beside it, and measure both.

    Args:
        event_count: Events of one run of ingest.
        calls: Single calls of each kind.
    """
    with (
        tempfile.TemporaryDirectory() as folder,
        ServerProcess(Path(folder) / "data") as server,
        server.channel() as channel,
        _echo() as echo,
    ):
        figures, per_second = _ingest(channel, echo, event_count)
        visitors = _visitors(live_requests(event_count, 1)[:10])
        figures += _reads(server, channel, echo, [visitors[number % len(visitors)] for number in range(calls)])
        figures += _single_events(server, channel, echo, calls)
        figures += [_visible(server, channel, per_second / 2, calls)]
    return figures


@contextmanager
def _echo() -> Iterator[grpc.Channel]:
    """Run the echo server in a process of its own."""
    port = free_port()
    process = subprocess.Popen([sys.executable, "-m", "tests.bench.echo_server", str(port)])
    try:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            grpc.channel_ready_future(channel).result(30)
            yield channel
    finally:
        process.terminate()
        process.wait(10)


def live_requests(event_count: int, run: int) -> list[bytes]:
    """Return the workload as traffic of now, with event ids that no other run has."""
    workload = make_workload(event_count, VISITORS, ids_from=run * IDS_PER_RUN + 1)
    pairs = zip(workload.requests, workload.received_ms, strict=True)
    return [sent_at(request, sent_ms) for request, sent_ms in pairs]


def _visitors(requests: Sequence[bytes]) -> list[str]:
    return sorted({event.visitor_id for each in requests for event in IngestEventsRequest.FromString(each).events})


def _ingest(channel: grpc.Channel, echo: grpc.Channel, event_count: int) -> tuple[list[Figure], float]:
    """Return the figures of ingest, and the events per second of the fastest way."""
    figures: list[Figure] = []
    rates: list[float] = []
    run = 0
    senders: dict[str, Callable[[grpc.Channel, Sequence[bytes]], str]] = {
        "unary calls": ingest_unary,
        "one stream": ingest_stream,
    }
    for name, send in senders.items():
        measured: dict[str, list[float]] = {"server": [], "echo": []}
        for _ in range(ROUNDS):
            run += 1
            requests = live_requests(event_count, run)
            begun = time.monotonic()
            wait_until_folded(channel, send(channel, requests))
            measured["server"].append(event_count / (time.monotonic() - begun))
            begun = time.monotonic()
            send(echo, requests)
            measured["echo"].append(event_count / (time.monotonic() - begun))
        rate = statistics.median(measured["server"])
        rates.append(rate)
        ratio = f"{median_ratio(measured['server'], measured['echo']):.2f} of a server that does nothing"
        what = f"ingest, {name}, batches of 500, until all is durable and folded, client on the same cores"
        figures.append(Figure(PART, what, f"{rate:,.0f} events/s", ratio, ">= 300,000 events/s", rate >= 300_000))
    return figures, max(rates)


def _reads(server: ServerProcess, channel: grpc.Channel, echo: grpc.Channel, visitors: list[str]) -> list[Figure]:
    """Measure GetSession on sessions that the ingest made, over gRPC and as JSON."""
    requests = [GetSessionRequest(visitor_id=visitor_id).SerializeToString() for visitor_id in visitors]
    found = _in_turn(
        {
            "grpc": lambda: timed_calls(channel, GET_SESSION, requests),
            "echo": lambda: timed_calls(echo, GET_SESSION, requests),
            "json": lambda: timed_http(
                server.http_port, [("GET", f"/v1/visitors/{each}/session", None) for each in visitors]
            ),
        }
    )
    return [
        _latency("`GetSession` over gRPC, seen by the client", found["grpc"], found["echo"], 0.002),
        _latency("`GetSession` as JSON through Envoy, seen by the client", found["json"], found["echo"], 0.005),
    ]


def _single_events(server: ServerProcess, channel: grpc.Channel, echo: grpc.Channel, calls: int) -> list[Figure]:
    """Measure batches of one event that wait until they are applied."""
    answer = IngestEventsResponse.FromString(unary(channel, INGEST)(one_event("single-0", "first", wait=WAIT_APPLIED)))
    assert answer.accepted_count == 1
    requests = [one_event(f"single-{number % 500}", f"g-{number}", wait=WAIT_APPLIED) for number in range(calls)]
    found = _in_turn(
        {
            "grpc": lambda: timed_calls(channel, INGEST, requests),
            "echo": lambda: timed_calls(echo, INGEST, requests),
            "json": lambda: timed_http(
                server.http_port, [("POST", "/v1/events:ingest", _json_event(number)) for number in range(calls)]
            ),
        }
    )
    return [
        _latency("`IngestEvents`, one event, `wait: APPLIED`, gRPC", found["grpc"], found["echo"]),
        _latency("`IngestEvents`, one event, `wait: APPLIED`, JSON through Envoy", found["json"], found["echo"]),
    ]


def _in_turn(candidates: dict[str, Callable[[], list[float]]]) -> dict[str, list[float]]:
    """Run each candidate ROUNDS times in turn; return all its durations."""
    durations: dict[str, list[float]] = {name: [] for name in candidates}

    def run(name: str) -> Callable[[], float]:
        def once() -> float:
            durations[name] += candidates[name]()
            return 0.0

        return once

    interleaved({name: run(name) for name in candidates}, ROUNDS)
    return durations


def _json_event(number: int) -> dict[str, object]:
    properties = {"item_id": "SKU-00001", "price": 9.75}
    event = {"event_id": f"h-{number}", "name": "view_item", "visitor_id": f"single-{number % 500}"}
    return {"wait": "WAIT_APPLIED", "events": [event | {"properties": properties}]}


def _latency(what: str, durations: list[float], echo: list[float], p99_max_s: float | None = None) -> Figure:
    p99 = percentile(durations, 0.99)
    value = f"p50 {milliseconds(percentile(durations, 0.5))}, p99 {milliseconds(p99)}"
    ratio = f"p50 is {percentile(durations, 0.5) / percentile(echo, 0.5):.1f}x a server that does nothing (gRPC)"
    if p99_max_s is None:
        return Figure(PART, what, value, ratio)
    return Figure(PART, what, value, ratio, f"p99 <= {p99_max_s * 1000:.0f} ms", p99 <= p99_max_s)


def _visible(server: ServerProcess, channel: grpc.Channel, events_per_second: float, probes: int) -> Figure:
    """Measure the time from the acknowledgement of an event to a read that shows it, under load."""
    ingest, read = unary(channel, INGEST), unary(channel, GET_SESSION)
    delays = []
    with Load(server.address, without_ids(live_requests(200_000, 100)), events_per_second / 500):
        for number in range(1, probes + 1):
            ingest(one_event("probe", f"probe-{number}"))
            acknowledged = time.perf_counter()
            seen = partial(_has_events, number)
            delays.append(wait_for_session(read, "probe", ["event_count"], seen, acknowledged))
    p99 = percentile(delays, 0.99)
    value = f"p50 {milliseconds(percentile(delays, 0.5))}, p99 {milliseconds(p99)}"
    what = f"acknowledged to visible (the call that reads it included), {events_per_second:,.0f} events/s beside it"
    return Figure(PART, what, value, "", "p99 <= 10 ms", p99 <= 0.010)


def _has_events(count: int, session: Session) -> bool:
    return session.event_count >= count
