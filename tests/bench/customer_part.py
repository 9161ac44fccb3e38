"""Customers: `GetSession` of sessions with a Customer State beside sessions without, two sessions merged as one, and how long it
takes until a change in SQL is in what a model derives from it.

The data mart is the embedded one; its change feed looks every `mart.poll_ms`.
"""

from __future__ import annotations

import sqlite3
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import grpc

from rte.v1.event_pb2 import Event
from rte.v1.event_service_pb2 import WAIT_APPLIED, IngestEventsRequest
from rte.v1.session_pb2 import Session
from rte.v1.session_service_pb2 import GetSessionRequest, GetSessionResponse
from tests.bench.callers import GET_SESSION, INGEST, unary
from tests.bench.figures import Figure, interleaved, milliseconds, percentile
from tests.bench.server_process import ServerProcess

PART = "Customers"
ROUNDS = 5
PEOPLE = 500
CHANGES = 60
POLL_MS = 50
JOINED_TIMEOUT_S = 30.0

_MODEL = "model: worth\nversion: 1\nuses: [base]\nderived: {worth: customer.lifetime_value * 2.0}\n"


def measure(calls: int) -> list[Figure]:
    """Start a server with some sessions and measure the ways in turn.

    Args:
        calls: Calls of each way per round, >= 1.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "worth.yaml").write_text(_MODEL, encoding="utf-8")
        variables = {
            "RTE_MODELS__PACKS": f"retail,{folder / 'worth.yaml'}",
            "RTE_MART__POLL_MS": str(POLL_MS),
        }
        with ServerProcess(folder / "data", edge=False, **variables) as server, server.channel() as channel:
            mart = folder / "data" / "mart.sqlite"
            _prepare(channel, mart)
            ways: dict[str, Callable[[int], GetSessionRequest]] = {
                "without": lambda n: GetSessionRequest(visitor_id=f"n-{n}"),
                "with": lambda n: GetSessionRequest(visitor_id=f"a-{n}"),
                "merged": lambda n: GetSessionRequest(customer_id=f"c{n}", merged=True),
            }
            durations: dict[str, list[float]] = {way: [] for way in ways}

            def timed(way: str) -> Callable[[], float]:
                def run() -> float:
                    durations[way] += _latencies(channel, ways[way], calls)
                    return 0.0

                return run

            for way in ways.values():
                _latencies(channel, way, 50)
            interleaved({way: timed(way) for way in ways}, ROUNDS)
            seen = _changes(channel, mart)
    return [*_read_figures(durations), _change_figure(seen)]


def _read_figures(durations: dict[str, list[float]]) -> list[Figure]:
    titles = {
        "without": "`GetSession` of a session without a customer",
        "with": "`GetSession` of a session with its customer (7 attributes)",
        "merged": "`GetSession` of a customer, two sessions merged",
    }
    plain = percentile(durations["without"], 0.5)
    found = []
    for way, title in titles.items():
        p50, p99 = percentile(durations[way], 0.5), percentile(durations[way], 0.99)
        ratio = "" if way == "without" else f"p50 is {p50 / plain:.2f}x without"
        found.append(Figure(PART, f"{title}, gRPC", f"p50 {milliseconds(p50)}, p99 {milliseconds(p99)}", ratio))
    return found


def _change_figure(seen: list[float]) -> Figure:
    value = f"p50 {milliseconds(percentile(seen, 0.5))}, p99 {milliseconds(percentile(seen, 0.99))}"
    what = f"`UPDATE` in the embedded data mart until a derived attribute shows it, looking every {POLL_MS} ms"
    return Figure(PART, what, value, "", "<= 1 s", percentile(seen, 0.99) <= 1.0)


def _prepare(channel: grpc.Channel, mart: Path) -> None:
    """Make sessions of people on two devices and of nobody, and wait until all have their customer."""
    with closing(sqlite3.connect(mart)) as database, database:
        rows = [(f"c{n}", "gold", float(n), n % 9, 1, '{"color": "red"}', "2026-11-25 10:00:00") for n in range(PEOPLE)]
        database.executemany("INSERT INTO customer VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
    events = [
        Event(
            event_id=f"{kind}{n}",
            name="view_item",
            visitor_id=f"{kind}-{n}",
            customer_id=f"c{n}" if kind != "n" else "",
        )
        for n in range(PEOPLE)
        for kind in ("a", "b", "n")
    ]
    request = IngestEventsRequest(events=events, wait=WAIT_APPLIED)
    unary(channel, INGEST)(request.SerializeToString(), timeout=60)
    until_s = time.monotonic() + JOINED_TIMEOUT_S
    for n in range(PEOPLE):
        while "worth" not in _session(channel, f"b-{n}").attributes.fields:
            if time.monotonic() > until_s:
                raise RuntimeError(f"the session of b-{n} never got its customer")
            time.sleep(0.01)


def _changes(channel: grpc.Channel, mart: Path) -> list[float]:
    """Return how long each of some updates takes until a session shows it, seconds."""
    seen = []
    for n in range(CHANGES):
        value = 1_000.0 + n
        with closing(sqlite3.connect(mart)) as database, database:
            database.execute("UPDATE customer SET lifetime_value = ? WHERE customer_id = ?", (value, f"c{n}"))
        begun = time.perf_counter()
        while _session(channel, f"a-{n}").attributes.fields["worth"].number_value != 2 * value:
            if time.perf_counter() - begun > JOINED_TIMEOUT_S:
                raise RuntimeError(f"the session of a-{n} never showed the change")
        seen.append(time.perf_counter() - begun)
    return seen


def _session(channel: grpc.Channel, visitor: str) -> Session:
    request = GetSessionRequest(visitor_id=visitor)
    return GetSessionResponse.FromString(unary(channel, GET_SESSION)(request.SerializeToString(), timeout=30)).session


def _latencies(channel: grpc.Channel, way: Callable[[int], GetSessionRequest], calls: int) -> list[float]:
    """Make calls one after the other; return the seconds of each."""
    call = unary(channel, GET_SESSION)
    durations = []
    for number in range(calls):
        request = way(number % PEOPLE).SerializeToString()
        begun = time.perf_counter()
        call(request, timeout=30)
        durations.append(time.perf_counter() - begun)
    return durations
