"""A scan finds in a request what the official parser and plain Python find, and says why it refuses what it refuses."""

from __future__ import annotations

import math

import numpy as np
import pytest
from google.protobuf.struct_pb2 import Struct
from hypothesis import given, settings
from hypothesis import strategies as st

from rte.v1.event_service_pb2 import WAIT_APPLIED, WAIT_DURABLE
from rte_server.engine import native, wire_layout
from rte_server.engine.reasons import EngineError, Reason
from rte_server.engine.wire import Limits, ScannedRequest, scan_request
from tests.engine.wire_requests import (
    RECEIVED_MS,
    SECRET,
    IngestEventsRequest,
    as_array,
    expected_skew_ms,
    expected_verdict,
    field,
    part,
    requests,
    seeded_request,
)

TIGHT = Limits(event_properties_max=3, property_depth_max=3, string_bytes_max=12, event_bytes_max=300)


def scan_body(body: bytes, limits: Limits | None = None) -> ScannedRequest:
    """Scan a body that came at RECEIVED_MS."""
    return scan_request(body, RECEIVED_MS, SECRET, limits or Limits())


def scan_one(limits: Limits | None = None, **fields: object) -> tuple[ScannedRequest, list[int]]:
    """Scan a request with one event that has these fields; return it and its record."""
    request = IngestEventsRequest()
    request.events.add(**{"name": "n", "visitor_id": "v", **fields})
    scanned = scan_body(request.SerializeToString(), limits)
    return scanned, scanned.records[0].tolist()


def refuse(**fields: object) -> tuple[Reason, str, str]:
    """Return reason, field and message of the verdict on an event with these fields."""
    scanned, _ = scan_one(**fields)  # type: ignore[arg-type]
    ((index, reason, name, message),) = scanned.verdicts(10)
    assert index == 0
    return reason, name, message


def test_codes_are_those_of_the_contract() -> None:
    """The numbers that the kernels write are those of Reason, and field codes are the field numbers of Event."""
    for name in ("MALFORMED", "FIELD_MISSING", "OUT_OF_RANGE", "STRING_TOO_LONG", "EVENT_TOO_LARGE", "BATCH_TOO_LARGE"):
        assert getattr(wire_layout, name) == Reason[name]
    for name in ("TOO_MANY_PROPERTIES", "TOO_DEEP", "EVENT_TIME_OUT_OF_RANGE"):
        assert getattr(wire_layout, name) == Reason[name]
    event_fields = IngestEventsRequest().events.add().DESCRIPTOR.fields_by_number
    assert {number: found.name for number, found in event_fields.items()} == dict(
        enumerate(wire_layout.FIELD_NAMES[1:9], start=1)
    )


@settings(deadline=None, max_examples=300)
@given(requests(), st.sampled_from([Limits(), TIGHT]))
def test_verdicts_are_those_of_plain_python(request: IngestEventsRequest, limits: Limits) -> None:
    """Each event gets the reason and field that checks in plain Python give it; the accepted body keeps the others."""
    body = request.SerializeToString()
    scanned = scan_body(body, limits)
    assert scanned.error is None
    skew_ms = expected_skew_ms(request, limits)
    expected = [expected_verdict(event, limits, skew_ms) for event in request.events]
    found = [(int(record[0]), "") for record in scanned.records]
    assert [reason for reason, _ in found] == [reason for reason, _ in expected]
    for index, reason, name, message in scanned.verdicts(100):
        assert reason == expected[index][0]
        # With several offending keys the first one on the wire is named, which the parsed map does not know.
        assert name == expected[index][1] or (
            name.startswith("properties.") and expected[index][1].startswith("properties.")
        )
        assert message
    kept = [event for event, (reason, _) in zip(request.events, expected, strict=True) if not reason]
    accepted = IngestEventsRequest.FromString(scanned.accepted_body())
    assert list(accepted.events) == kept
    assert (accepted.request_id, accepted.wait, accepted.sent_time) == (
        request.request_id,
        request.wait,
        request.sent_time,
    )
    assert scanned.rejected_count == len(request.events) - len(kept)
    assert scanned.event_count == len(request.events)


@settings(deadline=None, max_examples=200)
@given(requests())
def test_records_are_what_the_parser_reads(request: IngestEventsRequest) -> None:
    """Text, time, key and properties in the record of an accepted event are those of the parsed event."""
    body = request.SerializeToString()
    scanned = scan_body(body)
    skew_ms = expected_skew_ms(request, Limits())
    for event, record in zip(request.events, scanned.records, strict=True):
        if record[wire_layout.VERDICT]:
            continue
        assert part(body, record, wire_layout.NAME_OFF).decode() == event.name
        assert part(body, record, wire_layout.VISITOR_OFF).decode() == event.visitor_id
        assert part(body, record, wire_layout.CUSTOMER_OFF).decode() == event.customer_id
        assert part(body, record, wire_layout.ALIAS_OFF).decode() == event.client_session_id
        assert part(body, record, wire_layout.CHANNEL_OFF).decode() == event.channel
        assert Struct.FromString(part(body, record, wire_layout.PROPERTIES_OFF)) == event.properties
        assert part(body, record, wire_layout.EVENT_OFF) == event.SerializeToString()
        visitor = event.visitor_id.encode()
        key = native.siphash24_128(as_array(visitor), 0, len(visitor), SECRET[0], SECRET[1])
        assert (record[wire_layout.KEY_LO], record[wire_layout.KEY_HI]) == key
        assert record[wire_layout.NAME_ID] == native.text_id(event.name.encode(), SECRET)
        time_ms = RECEIVED_MS
        if event.HasField("event_time"):
            time_ms = event.event_time.seconds * 1000 + event.event_time.nanos // 10**6 + skew_ms
        assert record[wire_layout.TIME_MS] == time_ms
        assert bool(record[wire_layout.EVENT_ID_HASH]) == bool(event.event_id)
        assert int(record[wire_layout.ORDER]) >= 0


def test_the_envelope_says_how_the_request_wants_to_be_answered() -> None:
    """request_id, wait and return_sessions are read; an absent request_id has no hash."""
    scanned = scan_body(
        IngestEventsRequest(request_id="r", events=[{}], wait=WAIT_APPLIED, return_sessions=True).SerializeToString()
    )
    assert (scanned.request_id, scanned.waits_for_applied, scanned.returns_sessions) == ("r", True, True)
    assert scanned.envelope[wire_layout.REQUEST_ID_HASH] != 0
    scanned = scan_body(IngestEventsRequest(events=[{}], wait=WAIT_DURABLE).SerializeToString())
    assert (scanned.request_id, scanned.waits_for_applied, scanned.returns_sessions) == ("", False, False)
    assert scanned.envelope[wire_layout.REQUEST_ID_HASH] == 0


@pytest.mark.parametrize(
    ("body", "reason", "name"),
    [
        (b"", Reason.FIELD_MISSING, "events"),
        (b"\x00", Reason.MALFORMED, ""),
        (field(1, b"\xff") + field(2, b""), Reason.MALFORMED, ""),
        (field(1, "x" * 129) + field(2, b""), Reason.STRING_TOO_LONG, "request_id"),
        (field(2, b"") * 4, Reason.BATCH_TOO_LARGE, "events"),
        (field(2, b"") + field(4, 3), Reason.OUT_OF_RANGE, "wait"),
        (field(2, b"") + field(5, 1), Reason.OUT_OF_RANGE, "return_sessions"),
        (field(2, b"") + field(3, field(2, 10**9)), Reason.OUT_OF_RANGE, "sent_time"),
        (field(2, b"") + field(3, field(1, 253402300800)), Reason.OUT_OF_RANGE, "sent_time"),
        (field(2, b"") + field(3, field(1, 1)) * 2, Reason.MALFORMED, ""),
    ],
)
def test_a_request_is_refused_as_a_whole(body: bytes, reason: Reason, name: str) -> None:
    """What is wrong with the request itself refuses all of it and names the field."""
    error = scan_body(body, Limits(batch_events_max=3)).error
    assert isinstance(error, EngineError)
    assert (error.reason, error.field) == (reason, name)
    assert error.message


def test_messages_show_value_and_limit() -> None:
    """The message of a verdict holds the offending value, cut to 64 characters, and the limit."""
    assert refuse(visitor_id="v" * 200) == (
        Reason.STRING_TOO_LONG,
        "visitor_id",
        f'visitor_id "{"v" * 64}..." has 200 bytes, the limit is 128',
    )
    assert refuse(name="") == (Reason.FIELD_MISSING, "name", "name is required, 1 to 64 bytes")
    late = refuse(event_time={"seconds": 5})
    assert late[2] == "event_time 1970-01-01T00:00:05.000Z lies before 1990-01-01T00:00:00.000Z"
    early = refuse(event_time={"seconds": RECEIVED_MS // 1000 + 301})
    assert early[0] == Reason.EVENT_TIME_OUT_OF_RANGE
    assert "more than 300,000 ms ahead of the server's clock, 2026-09-21T14:13:20.000Z" in early[2]
    assert refuse(event_time={"seconds": -(2**63)})[2].startswith("event_time 0000-12-31T23:59:59")
    assert refuse(properties={"price": math.nan})[1:] == (
        "properties.price",
        "properties.price holds a number that is NaN or infinite; numbers must be finite",
    )
    assert refuse(properties={str(i): 1.0 for i in range(101)}) == (
        Reason.TOO_MANY_PROPERTIES,
        "properties",
        "the event has 101 properties, the limit is 100",
    )
    assert "nested deeper than 8 levels" in refuse(properties={"a": [[[[[[[[1.0]]]]]]]]})[2]
    assert "has 1,025 bytes, the limit is 1,024" in refuse(properties={"a": {"b": "x" * 1025}})[2]
    assert "the limit is 65,536" in refuse(properties={str(i): "x" * 1000 for i in range(80)})[2]


def test_a_malformed_event_refuses_only_itself() -> None:
    """An event with broken bytes or text gets MALFORMED, the events around it are accepted."""
    good = field(2, "n") + field(4, "v")
    broken = [b"\x0a\x05a", field(2, b"\xff"), b"\x00", good + field(8, b"\x0a\x09"), good + field(3, b"\x08")]
    broken += [good + field(8, b"") * 2, good + field(3, b"") * 2, good + field(8, field(1, field(1, b"\xc0\x80")))]
    for body in broken:
        scanned = scan_body(field(2, good) + field(2, body) + field(2, good))
        assert [verdict[:2] for verdict in scanned.verdicts(9)] == [(1, Reason.MALFORMED)], body
        assert scanned.accepted_body() == field(2, good) * 2


def test_the_last_of_equal_strings_wins() -> None:
    """A singular string that occurs twice has its last value, as the official parser reads it."""
    body = field(2, field(4, "v1") + field(2, "first") + field(2, "second") + field(4, "v2"))
    record = scan_body(body).records[0]
    assert part(body, record, wire_layout.NAME_OFF) == b"second"
    assert part(body, record, wire_layout.VISITOR_OFF) == b"v2"


def test_skew_is_corrected_only_beyond_ten_seconds() -> None:
    """Up to 10 s of difference between sent_time and the server's clock is left alone; beyond it is added."""
    for ahead_ms, expected in ((10_000, RECEIVED_MS - 5000), (10_001, RECEIVED_MS - 5000 - 10_001)):
        request = IngestEventsRequest(events=[{"name": "n", "visitor_id": "v"}, {"name": "n", "visitor_id": "v"}])
        request.events[0].event_time.FromMilliseconds(RECEIVED_MS - 5000)
        request.sent_time.FromMilliseconds(RECEIVED_MS + ahead_ms)
        records = scan_body(request.SerializeToString()).records
        assert records[0, wire_layout.TIME_MS] == expected
        assert records[1, wire_layout.TIME_MS] == RECEIVED_MS


def test_event_ids_are_told_apart_per_visitor() -> None:
    """Equal ids of one visitor have equal hashes, of two visitors they have not; alone, events without id order by content."""
    _, first = scan_one(event_id="e")
    _, again = scan_one(event_id="e", name="other")
    _, other = scan_one(event_id="e", visitor_id="w")
    assert first[wire_layout.EVENT_ID_HASH] == again[wire_layout.EVENT_ID_HASH] != other[wire_layout.EVENT_ID_HASH]
    assert first[wire_layout.ORDER] == again[wire_layout.ORDER]
    _, plain = scan_one()
    _, same = scan_one()
    _, differs = scan_one(channel="web")
    assert plain[wire_layout.ORDER] == same[wire_layout.ORDER] != differs[wire_layout.ORDER]


def test_an_accepted_body_scans_to_the_same_records_without_limits() -> None:
    """The entry of the journal, scanned again without limits, gives the records that were accepted."""
    request = seeded_request(1, 20)
    request.events[3].name = ""
    request.events[19].visitor_id = "x" * 200
    scanned = scan_body(request.SerializeToString())
    stored = scan_body(scanned.accepted_body(), Limits.UNLIMITED)
    assert stored.rejected_count == 0
    columns = [wire_layout.TIME_MS, *range(wire_layout.KEY_LO, wire_layout.NAME_ID + 1), wire_layout.PROPERTIES_LEN]
    assert np.array_equal(scanned.accepted[:, columns], stored.records[:, columns])


def test_an_entry_without_events_is_fine_in_the_journal() -> None:
    """Only a request must hold events; without limits an empty one is read."""
    assert scan_body(b"", Limits.UNLIMITED).error is None
