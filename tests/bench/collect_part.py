"""Collectors: the same events by each protocol beside native ingest, in one run, over the same Envoy.

Each batch holds 100 events, as SDKs of servers send them, and is answered when it is durable. Several callers send at a
time, on the same cores as everything else.
"""

from __future__ import annotations

import http.client
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from google.protobuf.json_format import ParseDict

from rte.v1.event_service_pb2 import IngestEventsRequest, IngestEventsResponse
from tests.bench.callers import INGEST, unary
from tests.bench.figures import Figure, interleaved, median_ratio, percentile
from tests.bench.server_process import ServerProcess

PART = "Collectors"
ROUNDS = 5
CALLERS = 2
BATCH_EVENTS = 100
VISITORS = 2_000
START_S_MAX = 120.0

Make = Callable[[int], dict[str, Any]]
"""Makes the event of a number."""


def measure(events: int) -> list[Figure]:
    """Start a server and send the same events by each way in turn.

    Args:
        events: Events of each way per round, at least CALLERS times BATCH_EVENTS.
    """
    numbers = iter(range(1 << 40))
    with tempfile.TemporaryDirectory() as folder, ServerProcess(Path(folder) / "data") as server:
        _wait_for_collectors(server.http_port)
        ways = _ways(server)
        for way in ways.values():
            _rate(way, CALLERS * BATCH_EVENTS, next(numbers))
        rates = interleaved(
            {name: lambda way=way: _rate(way, events, next(numbers)) for name, way in ways.items()},  # type: ignore[misc]
            ROUNDS,
        )
    found = []
    for name, measured in rates.items():
        ratio = "" if name == "gRPC" else f"{median_ratio(measured, rates['gRPC']):.2f}x gRPC"
        what = f"{name}, batches of {BATCH_EVENTS}, durable, {CALLERS} callers on the same cores"
        found.append(Figure(PART, what, f"{percentile(measured, 0.5):,.0f} events/s", ratio))
    return found


Bodies = Callable[[int, int], list[bytes]]
"""Makes the batches of so many events of a run."""

Send = Callable[[Sequence[bytes]], None]
"""Sends batches, one after the other, and checks each answer."""


def _ways(server: ServerProcess) -> dict[str, tuple[Bodies, Callable[[], Send]]]:
    """Return what each way sends, and what makes a caller of it."""
    http = partial(_http, server.http_port)
    json_type = "application/json"
    return {
        "gRPC": (partial(_batches, _native, _native_request), lambda: partial(_grpc, server)),
        "HTTP/JSON": (partial(_batches, _native, _json_of("events")), lambda: http("/v1/events:ingest", json_type)),
        "Segment, RudderStack": (partial(_batches, _segment, _json_of("batch")), lambda: http("/v1/batch", json_type)),
        "Snowplow": (
            partial(_batches, _snowplow, _json_of("data")),
            lambda: http("/com.snowplowanalytics.snowplow/tp2", json_type),
        ),
        "CloudEvents": (
            partial(_batches, _cloud_event, lambda events: json.dumps(events).encode()),
            lambda: http("/cloudevents", "application/cloudevents-batch+json"),
        ),
    }


def _batches(make: Make, body: Callable[[list[dict[str, Any]]], bytes], events: int, run: int) -> list[bytes]:
    first = run * 10_000_000
    starts = range(first, first + events, BATCH_EVENTS)
    return [body([make(number) for number in range(start, start + BATCH_EVENTS)]) for start in starts]


def _native_request(events: list[dict[str, Any]]) -> bytes:
    return bytes(ParseDict({"events": events}, IngestEventsRequest()).SerializeToString())


def _json_of(member: str) -> Callable[[list[dict[str, Any]]], bytes]:
    return lambda events: json.dumps({member: events}).encode()


def _product(number: int) -> dict[str, Any]:
    return {"name": f"Product {number % 500}", "category": "Games", "price": 9.75, "quantity": 1}


def _now_text() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime())


def _native(number: int) -> dict[str, Any]:
    product = {"item_id": f"p-{number % 500}", "item_name": f"Product {number % 500}", "item_category": "Games"}
    return {
        "event_id": f"n-{number}",
        "name": "view_item",
        "visitor_id": f"v-{number % VISITORS}",
        "event_time": _now_text(),
        "channel": "web",
        "properties": {
            **product,
            "price": 9.75,
            "quantity": 1,
            "page_location": f"https://shop.example/{number % 500}",
        },
    }


def _segment(number: int) -> dict[str, Any]:
    return {
        "type": "track",
        "event": "Product Viewed",
        "messageId": f"s-{number}",
        "anonymousId": f"v-{number % VISITORS}",
        "timestamp": _now_text(),
        "channel": "web",
        "properties": {"product_id": f"p-{number % 500}", **_product(number)},
        "context": {"page": {"url": f"https://shop.example/{number % 500}"}, "library": {"name": "analytics.js"}},
        "integrations": {},
    }


def _snowplow(number: int) -> dict[str, Any]:
    snowplow = "iglu:com.snowplowanalytics.snowplow"
    action = {
        "schema": f"{snowplow}.ecommerce/snowplow_ecommerce_action/jsonschema/1-0-2",
        "data": {"type": "product_view"},
    }
    product = {"id": f"p-{number % 500}", **_product(number), "currency": "EUR"}
    entity = {"schema": f"{snowplow}.ecommerce/product/jsonschema/1-0-0", "data": product}
    return {
        "e": "ue",
        "eid": f"w-{number}",
        "duid": f"v-{number % VISITORS}",
        "dtm": str(time.time_ns() // 1_000_000),
        "p": "web",
        "url": f"https://shop.example/{number % 500}",
        "ue_pr": json.dumps({"schema": f"{snowplow}/unstruct_event/jsonschema/1-0-0", "data": action}),
        "co": json.dumps({"schema": f"{snowplow}/contexts/jsonschema/1-0-0", "data": [entity]}),
    }


def _cloud_event(number: int) -> dict[str, Any]:
    event = _native(number)
    return {
        "specversion": "1.0",
        "id": f"c-{number}",
        "source": "/shop",
        "type": "com.example.view_item",
        "subject": event["visitor_id"],
        "time": event["event_time"],
        "data": event["properties"],
    }


def _grpc(server: ServerProcess, bodies: Sequence[bytes]) -> None:
    with server.channel() as channel:
        ingest = unary(channel, INGEST)
        for body in bodies:
            answer = IngestEventsResponse.FromString(ingest(body, timeout=60))
            if answer.rejected_count:
                raise RuntimeError(f"refused: {answer.verdicts[:1]}")


def _http(port: int, path: str, content_type: str) -> Send:
    def send(bodies: Sequence[bytes]) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        for body in bodies:
            connection.request("POST", path, body, {"content-type": content_type})
            answer = connection.getresponse()
            text = answer.read()
            if answer.status != 200:
                raise RuntimeError(f"{answer.status}: {text[:500]!r}")
        connection.close()

    return send


def _rate(way: tuple[Bodies, Callable[[], Send]], events: int, run: int) -> float:
    """Return the events per second of CALLERS callers that send `events` events together."""
    make, caller = way
    bodies = make(events, run)
    with ThreadPoolExecutor(CALLERS) as callers:
        begun = time.perf_counter()
        parts = [callers.submit(caller(), bodies[number::CALLERS]) for number in range(CALLERS)]
        for part in parts:
            part.result()
        return len(bodies) * BATCH_EVENTS / (time.perf_counter() - begun)


def _wait_for_collectors(port: int) -> None:
    """Wait until the collectors answer, which start beside Envoy."""
    end_s = time.monotonic() + START_S_MAX
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        try:
            connection.request("GET", "/health")
            if connection.getresponse().status == 200:
                return
        except OSError:
            pass
        finally:
            connection.close()
        if time.monotonic() > end_s:
            raise RuntimeError(f"the collectors do not answer within {START_S_MAX} s")
        time.sleep(0.05)
