"""`track()` of the Python client in one process, beside batches that were encoded before, over the same server in turn."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import grpc

import rte
from rte.v1.event_service_pb2 import IngestEventsRequest
from rte.values import dict_of
from tests.bench.callers import ingest_unary
from tests.bench.figures import Figure, interleaved, median_ratio, percentile
from tests.bench.server_part import live_requests
from tests.bench.server_process import ServerProcess

PART = "Python client"
ROUNDS = 3
RUNS_FROM = 1_000
"""Numbers of runs, so that no other part has their event ids."""


def measure(event_count: int) -> list[Figure]:
    """Start a server and send it the workload in both ways in turn.

    Args:
        event_count: Events of one run, >= 1.
    """
    runs = iter(range(RUNS_FROM, RUNS_FROM + 10 * ROUNDS))
    with (
        tempfile.TemporaryDirectory() as folder,
        ServerProcess(Path(folder) / "data", edge=False) as server,
        grpc.insecure_channel(server.address) as channel,
    ):
        ways: dict[str, Callable[[], float]] = {
            "calls": partial(_tracked, server.address, runs, event_count),
            "ready": partial(_ready, channel, runs, event_count),
        }
        rates = interleaved(ways, ROUNDS)
    tracked, ready = (percentile(rates[name], 0.5) for name in ("calls", "ready"))
    ratio = f"{median_ratio(rates['calls'], rates['ready']):.2f} of batches that were encoded before"
    what = "`track()` from one thread, until all is durable, server on the same cores"
    return [
        Figure(PART, what, f"{tracked:,.0f} events/s", ratio),
        Figure(PART, "batches of 500 that were encoded before, unary calls", f"{ready:,.0f} events/s", ""),
    ]


def _tracked(address: str, runs: Iterator[int], event_count: int) -> float:
    """Return events per second of `track()`: from the first call to the end of `flush`."""
    events = [
        (event.name, event.visitor_id, dict_of(event.properties), datetime.fromtimestamp(event.event_time.seconds, UTC))
        for request in live_requests(event_count, next(runs))
        for event in IngestEventsRequest.FromString(request).events
    ]
    with rte.Client(address) as client:
        begun = time.monotonic()
        for name, visitor_id, properties, event_time in events:
            client.track(name, visitor_id=visitor_id, properties=properties, event_time=event_time)
        client.flush(600.0)
        taken_s = time.monotonic() - begun
        assert client.track_stats().delivered == len(events)
    return len(events) / taken_s


def _ready(channel: grpc.Channel, runs: Iterator[int], event_count: int) -> float:
    requests = live_requests(event_count, next(runs))
    begun = time.monotonic()
    ingest_unary(channel, requests)
    return event_count / (time.monotonic() - begun)
