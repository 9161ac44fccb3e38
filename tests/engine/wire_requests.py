"""Requests for tests of the scan, and what the scan must find in them, said in plain Python."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
from google.protobuf.struct_pb2 import Struct, Value
from hypothesis import strategies as st
from numpy.typing import NDArray

from rte.v1 import event_pb2, event_service_pb2
from rte_server.engine.native import secret_from_bytes
from rte_server.engine.reasons import Reason
from rte_server.engine.wire import Limits

SECRET = secret_from_bytes(bytes(range(32)))
RECEIVED_MS = 1_790_000_000_000
IngestEventsRequest = event_service_pb2.IngestEventsRequest

texts = st.text(max_size=12) | st.sampled_from(["", "v-1", "page_view", "x" * 64, "x" * 65, "ü" * 64, "x" * 129])
numbers = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(10**6), 10**6).map(float)
json_values = st.recursive(
    st.none() | st.booleans() | numbers | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)
times_ms = st.integers(RECEIVED_MS - 10**7, RECEIVED_MS + 4 * 10**5) | st.sampled_from(
    [
        0,
        631_151_999_999,
        631_152_000_000,
        RECEIVED_MS + 300_000,
        RECEIVED_MS + 300_001,
        -62135596800000,
        253402300799999,
    ]
)


@st.composite
def events(draw: st.DrawFn) -> event_pb2.Event:
    """Make events, most of them acceptable."""
    event = event_pb2.Event(
        event_id=draw(texts | st.integers(0, 10**19).map(str)),
        name=draw(texts | st.just("page_view")),
        visitor_id=draw(texts | st.just("v")),
        customer_id=draw(texts),
        client_session_id=draw(texts),
        channel=draw(texts),
    )
    if draw(st.booleans()):
        time_ms = draw(times_ms)
        event.event_time.seconds = time_ms // 1000
        event.event_time.nanos = time_ms % 1000 * 10**6 + draw(st.sampled_from([0, 999_999]))
        if draw(st.integers(0, 20)) == 0:
            event.event_time.nanos = draw(st.sampled_from([-1, 10**9, -(2**31)]))
    if draw(st.booleans()):
        event.properties.update(draw(st.dictionaries(st.text(max_size=6), json_values, max_size=4)))
        if draw(st.integers(0, 20)) == 0:
            event.properties["odd"] = draw(st.sampled_from([math.nan, math.inf, -math.inf]))
    return event


@st.composite
def requests(draw: st.DrawFn) -> event_service_pb2.IngestEventsRequest:
    """Make requests that are not refused as a whole."""
    request = IngestEventsRequest(
        request_id=draw(st.sampled_from(["", "r-1", "é" * 64])),
        events=draw(st.lists(events(), min_size=1, max_size=6)),
        wait=draw(st.sampled_from(event_service_pb2.Wait.keys())),
    )
    request.return_sessions = request.wait == 2 and draw(st.booleans())
    if draw(st.integers(0, 3)) == 0:
        sent_ms = RECEIVED_MS + draw(st.integers(-20_000, 20_000) | st.just(-RECEIVED_MS + 86_400_000))
        request.sent_time.FromMilliseconds(sent_ms)
    return request


def seeded_request(seed: int, count: int) -> event_service_pb2.IngestEventsRequest:
    """Return a request with ordinary events of about 140 bytes, always the same for a seed."""
    dice = random.Random(seed)
    request = IngestEventsRequest(request_id=f"r-{seed}")
    for i in range(count):
        event = request.events.add(event_id=str(1000 + i), name="view_item", visitor_id=f"visitor-{dice.randrange(9)}")
        event.event_time.FromMilliseconds(RECEIVED_MS - dice.randrange(10**6))
        event.properties.update(
            {"price": dice.randrange(400) / 4, "item_id": f"item-{i}", "new": True, "tags": ["ä", None]}
        )
    return request


def expected_verdict(event: event_pb2.Event, limits: Limits, skew_ms: int) -> tuple[int, str]:
    """Return (reason, field) that the scan must give; (0, "") for an accepted event."""
    if event.ByteSize() > limits.event_bytes_max:
        return Reason.EVENT_TOO_LARGE, ""
    for field in ("name", "visitor_id", "event_id", "customer_id", "client_session_id", "channel"):
        size = len(getattr(event, field).encode())
        if size > (64 if field in ("name", "channel") else 128):
            return Reason.STRING_TOO_LONG, field
        if size == 0 and field in ("name", "visitor_id"):
            return Reason.FIELD_MISSING, field
    if event.HasField("event_time"):
        if not 0 <= event.event_time.nanos <= 999_999_999:
            return Reason.OUT_OF_RANGE, "event_time"
        time_ms = event.event_time.seconds * 1000 + event.event_time.nanos // 10**6 + skew_ms
        if not limits.event_time_ms_min <= time_ms <= RECEIVED_MS + limits.event_future_ms_max:
            return Reason.EVENT_TIME_OUT_OF_RANGE, "event_time"
    return _properties_verdict(event.properties, limits)


def _properties_verdict(properties: Struct, limits: Limits) -> tuple[int, str]:
    if len(properties.fields) > limits.event_properties_max:
        return Reason.TOO_MANY_PROPERTIES, "properties"
    checks = (
        (Reason.TOO_DEEP, lambda key, value, level: level > limits.property_depth_max),
        (Reason.STRING_TOO_LONG, lambda key, value, level: _longest(key, value) > limits.string_bytes_max),
        (Reason.OUT_OF_RANGE, lambda key, value, level: not math.isfinite(value.number_value)),
    )
    for reason, offends in checks:
        for top in properties.fields:
            if any(offends(*node) for node in _nodes(top, properties.fields[top], 1)):
                return reason, f"properties.{top}"
    return 0, ""


def _longest(key: str, value: Value) -> int:
    return max(len(key.encode()), len(value.string_value.encode()))


def _nodes(key: str, value: Value, level: int) -> Iterator[tuple[str, Value, int]]:
    """Yield every value with its key (empty in lists) and the level of what it opens, or else lies in."""
    kind = value.WhichOneof("kind")
    opens = level + (kind in ("struct_value", "list_value"))
    yield key, value, opens
    for inner_key, inner in value.struct_value.fields.items():
        yield from _nodes(inner_key, inner, opens)
    for inner in value.list_value.values:
        yield from _nodes("", inner, opens)


def expected_skew_ms(request: event_service_pb2.IngestEventsRequest, limits: Limits) -> int:
    """Return what the scan must add to each event time."""
    if not request.HasField("sent_time"):
        return 0
    skew_ms: int = RECEIVED_MS - (request.sent_time.seconds * 1000 + request.sent_time.nanos // 10**6)
    return skew_ms if abs(skew_ms) > limits.skew_ms_min else 0


def merges_a_submessage(body: bytes) -> bool:
    """Return whether the well-formed request holds a submessage twice where the parser would merge the two.

    This is the documented deviation of the scan from the parser: it refuses such bytes.
    """
    return _merges(body, "request")


# Kind -> {field number: (kind of the submessage, whether the parser would merge a second one)}.
_SUBMESSAGES: dict[str, dict[int, tuple[str, bool]]] = {
    "request": {2: ("event", False), 3: ("time", True)},
    "event": {3: ("time", True), 8: ("struct", True)},
    "time": {},
    "struct": {1: ("entry", False)},
    "entry": {2: ("value", True)},
    "value": {5: ("struct", True), 6: ("list", True)},
    "list": {1: ("value", False)},
}


def _merges(body: bytes, kind: str) -> bool:
    seen: set[int] = set()
    for number, wire_type, content in fields_of(body):
        if wire_type != 2 or number not in _SUBMESSAGES[kind]:
            continue
        inner, once = _SUBMESSAGES[kind][number]
        if (once and number in seen) or _merges(content, inner):
            return True
        seen.add(number)
    return False


def fields_of(body: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Yield (number, wire type, content) of the fields of a well-formed message; groups are passed over."""
    pos = 0
    groups = 0
    while pos < len(body):
        tag, pos = varint_at(body, pos)
        wire_type = tag & 7
        start = pos
        if wire_type == 0:
            _, pos = varint_at(body, pos)
        elif wire_type == 2:
            length, start = varint_at(body, pos)
            pos = start + length
        elif wire_type in (1, 5):
            pos += 8 if wire_type == 1 else 4
        else:
            groups += 1 if wire_type == 3 else -1
            continue
        if groups == 0:
            yield tag >> 3, wire_type, body[start:pos]


def varint_at(body: bytes, pos: int) -> tuple[int, int]:
    """Return the varint at `pos` and where it ends."""
    value = shift = 0
    while True:
        value |= (body[pos] & 0x7F) << shift
        shift += 7
        pos += 1
        if body[pos - 1] < 0x80:
            return value, pos


def varint(value: int) -> bytes:
    """Return an unsigned number as a varint."""
    parts = bytearray()
    while value >= 0x80:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(parts) + bytes([value])


def field(number: int, content: bytes | int | str) -> bytes:
    """Return a field as wire bytes: text and bytes with their length, a number as a varint."""
    if isinstance(content, int):
        return varint(number << 3) + varint(content)
    raw = content.encode() if isinstance(content, str) else content
    return varint(number << 3 | 2) + varint(len(raw)) + raw


def part(body: bytes, record: Any, off: int) -> bytes:
    """Return the bytes to which the columns `off` and `off + 1` of a record point."""
    start = int(record[off])
    return body[start : start + int(record[off + 1])]


def as_array(body: bytes) -> NDArray[np.uint8]:
    """Return the bytes as an array, as kernels take them."""
    return np.frombuffer(body, np.uint8)
