"""SOAP: `GetSession` through the bridge beside the same call as JSON, in one run, over the same Envoy.

Both go through Envoy over one connection that is kept. One caller gives latencies; several at a time give calls per
second, with the callers on the same cores as everything else.
"""

from __future__ import annotations

import http.client
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from rte.v1.event_service_pb2 import WAIT_APPLIED, IngestEventsRequest
from tests.bench.callers import INGEST, unary
from tests.bench.figures import Figure, interleaved, median_ratio, milliseconds, percentile
from tests.bench.server_part import live_requests
from tests.bench.server_process import ServerProcess

PART = "SOAP"
ROUNDS = 5
CALLERS = 4
EVENTS = 5_000

_ENVELOPE = (
    '<e:Envelope xmlns:e="http://schemas.xmlsoap.org/soap/envelope/"><e:Body><GetSession xmlns="urn:rte:v1"><request>'
    "<visitorId>{}</visitorId></request></GetSession></e:Body></e:Envelope>"
)

Caller = Callable[[http.client.HTTPConnection, str], None]


def measure(calls: int) -> list[Figure]:
    """Start a server with some sessions and measure both ways in turn.

    Args:
        calls: Calls of each way per round, >= 1.
    """
    with tempfile.TemporaryDirectory() as folder, ServerProcess(Path(folder) / "data") as server:
        visitors = _ingest(server)
        ways: dict[str, Caller] = {"soap": _soap, "json": _json}
        for way in ways.values():
            _latencies(server.http_port, way, visitors[:50])
        durations: dict[str, list[float]] = {name: [] for name in ways}

        def timed(name: str, way: Caller) -> Callable[[], float]:
            def run() -> float:
                chosen = [visitors[number % len(visitors)] for number in range(calls)]
                durations[name] += _latencies(server.http_port, way, chosen)
                return 0.0

            return run

        interleaved({name: timed(name, way) for name, way in ways.items()}, ROUNDS)
        rates = interleaved(
            {name: partial(_rate, server.http_port, way, visitors, calls) for name, way in ways.items()}, ROUNDS
        )
    return [*_latency_figures(durations), *_rate_figures(rates)]


def _latency_figures(durations: dict[str, list[float]]) -> list[Figure]:
    found = []
    for name, title in (("soap", "SOAP 1.1"), ("json", "JSON")):
        p50, p99 = percentile(durations[name], 0.5), percentile(durations[name], 0.99)
        ratio = f"p50 is {p50 / percentile(durations['json'], 0.5):.2f}x JSON" if name == "soap" else ""
        value = f"p50 {milliseconds(p50)}, p99 {milliseconds(p99)}"
        found.append(Figure(PART, f"`GetSession` over {title} through Envoy, one caller", value, ratio))
    return found


def _rate_figures(rates: dict[str, list[float]]) -> list[Figure]:
    found = []
    for name, title in (("soap", "SOAP 1.1"), ("json", "JSON")):
        rate = percentile(rates[name], 0.5)
        ratio = f"{median_ratio(rates['soap'], rates['json']):.2f}x JSON" if name == "soap" else ""
        what = f"`GetSession` over {title} through Envoy, {CALLERS} callers on the same cores"
        found.append(Figure(PART, what, f"{rate:,.0f} calls/s", ratio))
    return found


def _ingest(server: ServerProcess) -> list[str]:
    """Make sessions; return their visitors."""
    visitors: set[str] = set()
    with server.channel() as channel:
        for request in live_requests(EVENTS, 1):
            parsed = IngestEventsRequest.FromString(request)
            parsed.wait = WAIT_APPLIED
            visitors |= {event.visitor_id for event in parsed.events}
            unary(channel, INGEST)(parsed.SerializeToString(), timeout=60)
    return sorted(visitors)


def _soap(connection: http.client.HTTPConnection, visitor: str) -> None:
    connection.request("POST", "/soap", _ENVELOPE.format(visitor), {"content-type": "text/xml; charset=utf-8"})
    _check(connection, b"<sessionId>")


def _json(connection: http.client.HTTPConnection, visitor: str) -> None:
    connection.request("GET", f"/v1/visitors/{visitor}/session")
    _check(connection, b'"session_id"')


def _check(connection: http.client.HTTPConnection, expected: bytes) -> None:
    answer = connection.getresponse()
    body = answer.read()
    if answer.status != 200 or expected not in body:
        raise RuntimeError(f"{answer.status}: {body[:500]!r}")


def _latencies(port: int, way: Caller, visitors: list[str]) -> list[float]:
    """Call for each visitor, one after the other; return the seconds of each call."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    durations = []
    for visitor in visitors:
        begun = time.perf_counter()
        way(connection, visitor)
        durations.append(time.perf_counter() - begun)
    connection.close()
    return durations


def _rate(port: int, way: Caller, visitors: list[str], calls: int) -> float:
    """Return the calls per second of CALLERS callers that make `calls` calls together."""
    each = max(1, calls // CALLERS)
    threads = [threading.Thread(target=_latencies, args=(port, way, visitors[:each])) for _ in range(CALLERS)]
    begun = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return min(each, len(visitors)) * CALLERS / (time.perf_counter() - begun)
