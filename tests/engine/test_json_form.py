"""The JSON form of a request means what the official JSON parser reads in it, and what it does not know is told."""

from __future__ import annotations

import random
from datetime import datetime
from typing import Any

import numpy as np
import pytest
from google.protobuf import json_format
from google.protobuf.struct_pb2 import Struct
from hypothesis import given, settings
from hypothesis import strategies as st

from rte_server.engine import wire_layout
from rte_server.engine.json_form import convert_json
from rte_server.engine.reasons import EngineError, Reason
from rte_server.engine.wire import Limits, ScannedRequest, scan_request
from tests.engine.test_wire_fuzz import mutated
from tests.engine.wire_requests import RECEIVED_MS, SECRET, IngestEventsRequest, field, json_values, seeded_request

GOOD = {"name": "n", "visitor_id": "v"}
MEMBERS = ("event_id", "name", "event_time", "visitor_id", "customer_id", "client_session_id", "channel", "properties")


def json_body(request: dict[str, Any]) -> bytes:
    """Return what Envoy sends for a JSON body."""
    return field(15, json_format.ParseDict(request, Struct()).SerializeToString())


def scan_json(request: dict[str, Any], limits: Limits | None = None) -> ScannedRequest:
    """Scan a JSON body that came at RECEIVED_MS."""
    return scan_request(json_body(request), RECEIVED_MS, SECRET, limits or Limits())


def camel(name: str) -> str:
    """Return a field's name as protobuf's JSON writes it."""
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def member(name: str, values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Make {} or one member, in one of its two spellings, or null."""
    spelled = st.sampled_from([name, camel(name)])
    return st.just({}) | st.builds(lambda key, value: {key: value}, spelled, values | st.none())


def joined(*parts: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    """Make one object of all parts, its members in any order."""
    merged = st.tuples(*parts).map(lambda found: [pair for part in found for pair in part.items()])
    return merged.flatmap(st.permutations).map(dict)


times = st.datetimes(min_value=datetime(1960, 1, 1)).map(lambda moment: moment.isoformat() + "+00:30")  # noqa: DTZ001
words = st.text(max_size=8)
json_events = joined(
    *(member(name, words) for name in MEMBERS if name not in {"event_time", "properties"}),
    member("event_time", times),
    member("properties", st.dictionaries(st.text(max_size=6), json_values, max_size=3)),
)
json_requests = joined(
    member("request_id", words),
    st.builds(lambda events: {"events": events}, st.lists(json_events, max_size=4)),
    member("sent_time", times),
    member("wait", st.sampled_from(["WAIT_UNSPECIFIED", "WAIT_DURABLE", "WAIT_APPLIED", 0, 1, 2])),
    member("return_sessions", st.booleans()),
)


@settings(deadline=None, max_examples=300)
@given(json_requests)
def test_valid_json_means_what_the_official_parser_reads(request: dict[str, Any]) -> None:
    """The wire bytes that a valid JSON body is turned into are the message that the official parser makes of it."""
    expected = json_format.ParseDict(request, IngestEventsRequest())
    envelope = np.zeros(wire_layout.ENVELOPE_WORDS, np.int64)
    body, refused = convert_json(json_body(request), 5000, envelope)
    assert envelope[wire_layout.REASON] == 0
    assert len(refused) == 0
    found = IngestEventsRequest.FromString(body)
    # Compared with deterministic bytes, since 0.0 and -0.0 are equal as numbers.
    assert found.SerializeToString(deterministic=True) == expected.SerializeToString(deterministic=True)


@settings(deadline=None, max_examples=200)
@given(json_requests, st.integers(0, 2**32))
def test_one_wrong_member_refuses_one_event(request: dict[str, Any], seed: int) -> None:
    """An unknown name or a wrong type in one event is told for that event alone; the others stay as they were."""
    dice = random.Random(seed)
    before = scan_json(request)
    if not request["events"] or before.error is not None:
        return
    index = dice.randrange(len(request["events"]))
    name = dice.choice([*MEMBERS, "visitorid", "Name", "event_id ", "", "request_id"])
    wrong: list[Any] = [7, True, ["x"]] + ([] if name == "properties" else [{"a": 1}])
    request["events"][index] = {**GOOD, name: dice.choice(wrong)}
    scanned = scan_json(request)
    verdicts = {verdict[0]: verdict[1:] for verdict in scanned.verdicts(9)}
    reason, found, message = verdicts.pop(index)
    assert reason == (Reason.WRONG_TYPE if name in MEMBERS else Reason.UNKNOWN_FIELD)
    assert found == name
    assert f"events[{index}].{name}" in message or not name
    others = {verdict[0]: verdict[1:] for verdict in before.verdicts(9) if verdict[0] != index}
    assert verdicts == others
    assert scanned.rejected_count == len(verdicts) + 1
    assert (
        len(IngestEventsRequest.FromString(scanned.accepted_body()).events) == scanned.event_count - len(verdicts) - 1
    )


@pytest.mark.parametrize(
    ("request_json", "reason", "name"),
    [
        ({}, Reason.FIELD_MISSING, "events"),
        ({"events": None}, Reason.FIELD_MISSING, "events"),
        ({"events": []}, Reason.FIELD_MISSING, "events"),
        ({"events": {}}, Reason.WRONG_TYPE, "events"),
        ({"event": [GOOD]}, Reason.UNKNOWN_FIELD, "event"),
        ({"events": [GOOD], "json": {}}, Reason.UNKNOWN_FIELD, "json"),
        ({"events": [GOOD], "request_id": 5}, Reason.WRONG_TYPE, "request_id"),
        ({"events": [GOOD], "requestId": "x" * 129}, Reason.STRING_TOO_LONG, "request_id"),
        ({"events": [GOOD], "sentTime": "soon"}, Reason.WRONG_TYPE, "sentTime"),
        ({"events": [GOOD], "sent_time": 1790000000}, Reason.WRONG_TYPE, "sent_time"),
        ({"events": [GOOD], "wait": "SOON"}, Reason.WRONG_TYPE, "wait"),
        ({"events": [GOOD], "wait": 1.5}, Reason.WRONG_TYPE, "wait"),
        ({"events": [GOOD], "wait": 1e300}, Reason.WRONG_TYPE, "wait"),
        ({"events": [GOOD], "wait": 9}, Reason.OUT_OF_RANGE, "wait"),
        ({"events": [GOOD], "wait": -1}, Reason.OUT_OF_RANGE, "wait"),
        ({"events": [GOOD], "return_sessions": "yes"}, Reason.WRONG_TYPE, "return_sessions"),
        ({"events": [GOOD], "return_sessions": True}, Reason.OUT_OF_RANGE, "return_sessions"),
        ({"events": [GOOD] * 4}, Reason.BATCH_TOO_LARGE, "events"),
    ],
)
def test_a_wrong_request_is_refused_as_a_whole(request_json: dict[str, Any], reason: Reason, name: str) -> None:
    """What is wrong with the request itself refuses all of it and names the member."""
    error = scan_json(request_json, Limits(batch_events_max=3)).error
    assert isinstance(error, EngineError)
    assert (error.reason, error.field) == (reason, name)
    assert name in error.message or reason == Reason.BATCH_TOO_LARGE


@pytest.mark.parametrize("name", ["APPLIED", "WAIT_APPLIED", 2, 2.0])
def test_wait_has_a_short_name(name: object) -> None:
    """`wait` may be written with and without its prefix, or as its number."""
    assert scan_json({"events": [GOOD], "wait": name}).waits_for_applied


@pytest.mark.parametrize("event", [None, 7, "x", [], True])
def test_an_event_must_be_an_object(event: object) -> None:
    """A list element that is no object is refused in its place, the events around it are accepted."""
    scanned = scan_json({"events": [GOOD, event, GOOD]})
    assert scanned.verdicts(9) == [(1, Reason.WRONG_TYPE, "", "events[1] must be an object")]
    assert scanned.event_count == 3


def test_an_empty_event_is_told_what_it_lacks() -> None:
    """`{}` is an event without a name, not a wrong type."""
    assert scan_json({"events": [{}]}).verdicts(9)[0][1:3] == (Reason.FIELD_MISSING, "name")


def judge(body: bytes) -> None:
    """Check that whatever came in is taken as a request or refused, and that what is taken parses."""
    scanned = scan_request(body, RECEIVED_MS, SECRET, Limits())
    if scanned.error is None:
        scanned.verdicts(1000)
        assert len(IngestEventsRequest.FromString(scanned.accepted_body()).events) == len(scanned.accepted)


def fuzz(seed: int, rounds: int) -> None:
    """Judge `rounds` mutated requests in JSON form, with the outermost length right and wrong."""
    dice = random.Random(seed)
    requests: list[dict[str, Any]] = [json_format.MessageToDict(seeded_request(i, 2)) for i in range(3)]
    requests.append({"events": [GOOD, {"visitorid": 1}, None, 7], "sent_time": "2026-01-01T00:00:00Z", "wait": 1})
    forms = [json_format.ParseDict(request, Struct()).SerializeToString(deterministic=True) for request in requests]
    for _ in range(rounds):
        form = dice.choice(forms)
        judge(field(15, mutated(form, dice)))
        judge(b"\x7a" + mutated(field(15, form)[1:], dice))
        judge(b"\x7a" + dice.randbytes(dice.randrange(30)))


def test_every_truncation_is_refused() -> None:
    """A JSON form that is cut off anywhere is refused and reads nothing outside of its bytes."""
    body = json_body({"events": [GOOD], "wait": 1})
    for end in range(1, len(body)):
        assert scan_request(body[:end], RECEIVED_MS, SECRET, Limits()).error is not None
    for end in range(len(body)):
        judge(field(15, body[2:end]))


def test_fuzz_with_seeds() -> None:
    """Thousands of mutated requests are taken or refused, and what is taken is a valid message."""
    fuzz(3, 3000)
