"""Callers of the server: ingest as fast as it goes or at a rate, and single calls that are timed."""

from __future__ import annotations

import http.client
import itertools
import json
import multiprocessing
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.synchronize import Event as Signal
from typing import Any, Self

import grpc

from rte.v1.event_pb2 import Event
from rte.v1.event_service_pb2 import IngestEventsRequest, IngestEventsResponse, StreamEventsResponse
from rte.v1.session_pb2 import Session
from rte.v1.session_service_pb2 import GetSessionRequest, GetSessionResponse, ListSessionsRequest

INGEST = "/rte.v1.EventService/IngestEvents"
GET_SESSION = "/rte.v1.SessionService/GetSession"
STREAM = "/rte.v1.EventService/StreamEvents"
LIST = "/rte.v1.SessionService/ListSessions"
UNARY_WINDOW = 16
STREAM_WINDOW = 16
VISIBLE_TIMEOUT_S = 10.0
RETRY_S = 0.005
"""How long a caller waits after it was told that a queue is full."""


def unary(channel: grpc.Channel, method: str) -> Any:
    """Return a call that takes and gives bytes."""
    call: Any = channel.unary_unary(method)
    return call


def ingest_unary(channel: grpc.Channel, requests: Sequence[bytes], window: int = UNARY_WINDOW) -> str:
    """Send requests with `window` calls under way, and again those that a full queue refused.

    Returns:
        The position of the last answer, when every request is acknowledged.
    """
    call = unary(channel, INGEST)
    under_way: deque[tuple[bytes, Any]] = deque()
    waiting = deque(requests)
    position = ""
    while waiting or under_way:
        while waiting and len(under_way) < window:
            request = waiting.popleft()
            under_way.append((request, call.future(request)))
        request, pending = under_way.popleft()
        try:
            position = IngestEventsResponse.FromString(pending.result()).position
        except grpc.RpcError as error:
            if not isinstance(error, grpc.Call) or error.code() != grpc.StatusCode.RESOURCE_EXHAUSTED:
                raise
            waiting.append(request)
            time.sleep(RETRY_S)
    return position


def ingest_stream(channel: grpc.Channel, requests: Sequence[bytes], window: int = STREAM_WINDOW) -> str:
    """Send requests over one stream, `window` ahead of the answers; else as `ingest_unary`."""
    sender = _StreamSender(requests, window)
    stream: Any = channel.stream_stream(STREAM)
    position = ""
    for encoded in stream(sender.outgoing()):
        answer = StreamEventsResponse.FromString(encoded)
        refused = answer.HasField("error")
        if refused and answer.error.code != grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]:
            raise RuntimeError(answer.error.message)
        sender.answered(again=refused)
        position = answer.position or position
    return position


class _StreamSender:
    """The sending half of a stream: answers come in the order of the requests, so the oldest open one is meant."""

    def __init__(self, requests: Sequence[bytes], window: int) -> None:
        self._waiting = deque(requests)
        self._open: deque[bytes] = deque()
        self._window = window
        self._changed = threading.Condition()

    def outgoing(self) -> Iterator[bytes]:
        """Yield the requests, and those that were refused again, until all are acknowledged."""
        while True:
            with self._changed:
                self._changed.wait_for(self._may_go_on)
                if not self._waiting:
                    return
                request = self._waiting.popleft()
                self._open.append(request)
            yield request

    def _may_go_on(self) -> bool:
        return (bool(self._waiting) and len(self._open) < self._window) or not (self._waiting or self._open)

    def answered(self, *, again: bool) -> None:
        """Note an answer; with `again` its request must be sent once more, a little later."""
        if again:
            time.sleep(RETRY_S)
        with self._changed:
            request = self._open.popleft()
            if again:
                self._waiting.append(request)
            self._changed.notify()


def wait_until_folded(channel: grpc.Channel, position: str) -> None:
    """Return when a read of the server shows the state at `position`."""
    request = ListSessionsRequest(page_size=1, min_position=position)
    unary(channel, LIST)(request.SerializeToString(), timeout=120)


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


def one_event(visitor_id: str, event_id: str, **options: Any) -> bytes:
    """Return a request with one product view; `options` are fields of the request."""
    event = Event(event_id=event_id, name="view_item", visitor_id=visitor_id, channel="web")
    event.properties.update({"item_id": "SKU-00001", "price": 9.75})
    return IngestEventsRequest(events=[event], **options).SerializeToString()


def without_ids(requests: Sequence[bytes]) -> list[bytes]:
    """Return requests whose events count each time that they are sent."""
    found = []
    for encoded in requests:
        request = IngestEventsRequest.FromString(encoded)
        for event in request.events:
            event.event_id = ""
        request.request_id = ""
        found.append(request.SerializeToString())
    return found


def wait_for_session(
    read: Any, visitor_id: str, fields: Sequence[str], is_seen: Callable[[Session], bool], begun: float
) -> float:
    """Read a visitor's session until it is as wanted.

    Args:
        read: Call of GetSession, from `unary`.
        visitor_id: Whose session.
        fields: Of the session, that is all that is asked for.
        is_seen: Says whether it is as wanted.
        begun: Where the clock starts, by `time.perf_counter`.

    Returns:
        Seconds since then until the answer was there; more than VISIBLE_TIMEOUT_S if it is never as wanted.
    """
    request = GetSessionRequest(visitor_id=visitor_id)
    request.read_mask.paths.extend(fields)
    encoded = request.SerializeToString()
    while True:
        try:
            seen = is_seen(GetSessionResponse.FromString(read(encoded)).session)
        except grpc.RpcError:
            seen = False
        elapsed = time.perf_counter() - begun
        if seen or elapsed > VISIBLE_TIMEOUT_S:
            return elapsed


class Load:
    """A process that sends batches at a steady rate until told to stop.

    Args:
        address: Of the gRPC server.
        requests: Sent in turn, again and again; take their ids away (`without_ids`), or the second time they are duplicates.
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
