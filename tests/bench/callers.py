"""Callers of the server: ingest as fast as it goes or at a rate, and single calls that are timed."""

from __future__ import annotations

import http.client
import itertools
import json
import multiprocessing
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from multiprocessing.synchronize import Event as Signal
from typing import Any, Self

import grpc

from rte.v1.event_service_pb2 import IngestEventsResponse

INGEST = "/rte.v1.EventService/IngestEvents"
GET_SESSION = "/rte.v1.SessionService/GetSession"
STREAM = "/rte.v1.EventService/StreamEvents"
UNARY_WINDOW = 16
STREAM_WINDOW = 16


def unary(channel: grpc.Channel, method: str) -> Any:
    """Return a call that takes and gives bytes."""
    call: Any = channel.unary_unary(method)
    return call


def ingest_unary(channel: grpc.Channel, requests: Sequence[bytes], window: int = UNARY_WINDOW) -> float:
    """Send requests with `window` calls under way; return the seconds until the last is acknowledged."""
    call = unary(channel, INGEST)
    under_way: deque[Any] = deque()
    begun = time.monotonic()
    for request in requests:
        if len(under_way) == window:
            under_way.popleft().result()
        under_way.append(call.future(request))
    for pending in under_way:
        pending.result()
    return time.monotonic() - begun


def ingest_stream(channel: grpc.Channel, requests: Sequence[bytes], window: int = STREAM_WINDOW) -> float:
    """Send requests over one stream, `window` ahead of the answers; return the seconds until the last answer."""
    room = threading.Semaphore(window)

    def outgoing() -> Iterator[bytes]:
        for request in requests:
            room.acquire()
            yield request

    begun = time.monotonic()
    answers = 0
    stream: Any = channel.stream_stream(STREAM)
    last = b""
    for answer in stream(outgoing()):
        room.release()
        answers += 1
        last = answer
    seconds = time.monotonic() - begun
    assert answers == len(requests), f"{answers} answers to {len(requests)} batches"
    assert IngestEventsResponse.FromString(last).rejected_count == 0
    return seconds


def timed_calls(channel: grpc.Channel, method: str, requests: Sequence[bytes]) -> list[float]:
    """Make unary calls one after the other; return the seconds of each."""
    call = unary(channel, method)
    durations = []
    for request in requests:
        begun = time.perf_counter()
        call(request, timeout=30)
        durations.append(time.perf_counter() - begun)
    return durations


def timed_http(port: int, calls: Sequence[tuple[str, str, object]]) -> list[float]:
    """Make HTTP calls one after the other over one connection; return the seconds of each.

    Args:
        port: Of the public port on this machine.
        calls: (method, path, body as JSON can hold it or None).

    Raises:
        RuntimeError: An answer was not 200.
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    durations = []
    for method, path, body in calls:
        encoded = None if body is None else json.dumps(body).encode()
        begun = time.perf_counter()
        connection.request(method, path, encoded, {"content-type": "application/json"})
        answer = connection.getresponse()
        text = answer.read()
        durations.append(time.perf_counter() - begun)
        if answer.status != 200:
            raise RuntimeError(f"{method} {path}: {answer.status} {text[:500]!r}")
    connection.close()
    return durations


class Load:
    """A process that sends batches at a steady rate until told to stop.

    Args:
        address: Of the gRPC server.
        requests: Sent in turn, again and again; give them ids that may repeat, or none.
        per_second: Batches per second.
    """

    def __init__(self, address: str, requests: Sequence[bytes], per_second: float) -> None:
        context = multiprocessing.get_context("spawn")
        self._stop = context.Event()
        self._process = context.Process(target=_pace, args=(address, requests, per_second, self._stop), daemon=True)

    def __enter__(self) -> Self:
        self._process.start()
        time.sleep(1.5)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._process.join(10)


def _pace(address: str, requests: Sequence[bytes], per_second: float, stop: Signal) -> None:
    with grpc.insecure_channel(address) as channel:
        call = unary(channel, INGEST)
        under_way: deque[Any] = deque()
        begun = time.monotonic()
        for number, request in enumerate(itertools.cycle(requests)):
            time.sleep(max(0.0, begun + number / per_second - time.monotonic()))
            if stop.is_set():
                break
            if len(under_way) >= UNARY_WINDOW:
                under_way.popleft().result()
            under_way.append(call.future(request))
        for pending in under_way:
            pending.result()
