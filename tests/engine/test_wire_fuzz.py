"""No bytes can make the scan crash, read outside of its buffer, or judge otherwise than the official parser."""

from __future__ import annotations

import random

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st

from rte_server.engine import wire_layout
from rte_server.engine.json_form import JSON_TAG
from rte_server.engine.reasons import Reason
from rte_server.engine.wire import Limits, scan_request
from tests.engine.wire_requests import (
    RECEIVED_MS,
    SECRET,
    IngestEventsRequest,
    field,
    merges_a_submessage,
    part,
    requests,
    seeded_request,
    varint,
)

GOOD = field(2, "n") + field(4, "v")


def judge(body: bytes) -> None:
    """Check that the scan takes the body if and only if the parser does, and finds the same in it."""
    if body[:1] == JSON_TAG:
        return  # The JSON form, which test_json_form_fuzz judges.
    scanned = scan_request(body, RECEIVED_MS, SECRET, Limits.UNLIMITED)
    verdicts = {verdict[1] for verdict in scanned.verdicts(1000)}
    error = scanned.error
    malformed = Reason.MALFORMED in verdicts or (error is not None and error.reason == Reason.MALFORMED)
    try:
        request = IngestEventsRequest.FromString(body)
    except DecodeError:
        # A request that is refused as a whole for another reason says nothing of its events.
        assert malformed or error is not None, body.hex()
        return
    if malformed:
        assert merges_a_submessage(body), body.hex()
        return
    if error is not None:
        return
    assert scanned.event_count == len(request.events)
    accepted = IngestEventsRequest.FromString(scanned.accepted_body())
    kept = [e for e, record in zip(request.events, scanned.records, strict=True) if not record[wire_layout.VERDICT]]
    # Compared as deterministic bytes: NaN in an unset member of a map would not equal itself.
    assert [e.SerializeToString(deterministic=True) for e in accepted.events] == [
        e.SerializeToString(deterministic=True) for e in kept
    ]
    for event, record in zip(request.events, scanned.records, strict=True):
        if not record[wire_layout.VERDICT]:
            assert part(body, record, wire_layout.NAME_OFF).decode() == event.name
            assert part(body, record, wire_layout.VISITOR_OFF).decode() == event.visitor_id


def mutated(body: bytes, dice: random.Random) -> bytes:
    """Return the body with a few bytes changed, cut out, put in or doubled."""
    changed = bytearray(body)
    for _ in range(dice.randrange(1, 4)):
        at = dice.randrange(len(changed) + 1)
        kind = dice.randrange(5)
        if kind == 0 and at < len(changed):
            changed[at] ^= 1 << dice.randrange(8)
        elif kind == 1 and at < len(changed):
            changed[at] = dice.choice([0, 1, 0x0A, 0x0B, 0x0C, 0x12, 0x1A, 0x2A, 0x32, 0x42, 0x7F, 0x80, 0xFF])
        elif kind == 2:
            del changed[at : at + dice.randrange(1, 9)]
        elif kind == 3:
            changed[at:at] = dice.randbytes(dice.randrange(1, 9))
        else:
            changed[at:at] = changed[at : at + dice.randrange(1, 60)]
    return bytes(changed)


def fuzz(seed: int, rounds: int) -> None:
    """Judge `rounds` mutated requests, and as many random bodies."""
    dice = random.Random(seed)
    seeds = [seeded_request(i, 3).SerializeToString() for i in range(5)]
    for _ in range(rounds):
        judge(mutated(dice.choice(seeds), dice))
        judge(dice.randbytes(dice.randrange(40)))
        # Mutated inside of an otherwise sound event, so that the walk gets deeper than the envelope.
        judge(field(2, GOOD + field(8, mutated(PROPERTIES, dice))))
        judge(field(2, mutated(GOOD + field(3, field(1, 1790000000) + field(2, 5)), dice)))


def entry(key: str, value: bytes) -> bytes:
    """Return a member of a Struct as wire bytes."""
    return field(1, field(1, key) + field(2, value))


PROPERTIES = (
    entry("s", field(3, "text ä"))
    + entry("n", b"\x11" + bytes(8))
    + entry("b", field(4, 1))
    + entry("null", field(1, 0))
    + entry("o", field(5, entry("i", field(6, field(1, field(3, "x")) + field(1, field(4, 0))))))
)


@settings(deadline=None, max_examples=150)
@given(requests(), st.integers(0, 2**32))
def test_mutated_requests_are_judged_as_by_the_parser(request: IngestEventsRequest, seed: int) -> None:
    """A changed request is accepted where the official parser accepts it, and read alike."""
    dice = random.Random(seed)
    body = request.SerializeToString(deterministic=True)
    judge(body)
    for _ in range(5):
        judge(mutated(body, dice))


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=60))
def test_random_bytes_are_judged_as_by_the_parser(body: bytes) -> None:
    """Bytes without any sense are accepted where the official parser accepts them."""
    judge(body)
    judge(field(2, body))
    judge(field(2, GOOD + field(8, body)))


def test_every_truncation_is_judged_as_by_the_parser() -> None:
    """A request, an event and properties cut off at any byte are accepted where the official parser accepts them."""
    body = seeded_request(3, 2).SerializeToString()
    for end in range(len(body)):
        judge(body[:end])
    for end in range(len(PROPERTIES)):
        judge(field(2, GOOD + field(8, PROPERTIES[:end])))


def test_odd_bytes_are_judged_as_by_the_parser() -> None:
    """Over-long varints, unknown fields, groups, wrong wire types and deep nesting are taken as the parser takes them."""
    for size in range(1, 12):
        long_one = bytes([0x81] + [0x80] * (size - 2) + [0]) if size > 1 else b"\x01"
        judge(b"\x20" + long_one)
        judge(b"\x12" + long_one + b"\x00" * 2)
        judge(bytes([0x92] + [0x80] * (size - 2) + [0]) + field(2, GOOD)[1:] if size > 1 else b"\x12\x00")
    for depth in range(95, 103):
        groups = b"\x53" * depth + b"\x54" * depth
        for body in (groups, field(2, groups), field(2, field(8, groups)), field(2, field(8, entry("k", groups)))):
            judge(body)
    for depth in range(44, 52):
        value = b""
        for _ in range(depth):
            value = field(6, field(1, value))
        judge(field(2, GOOD + field(8, entry("k", value))))
    for number in (1, 2, 3, 4, 5, 8, 15, 16, 2**29 - 1):
        for wire_type in range(8):
            for rest in (b"", b"\x00", bytes(4), bytes(8), b"\x80" * 9 + b"\x02", varint(number << 3 | 4)):
                tag = varint(number << 3 | wire_type)
                judge(tag + rest)
                judge(field(2, GOOD + tag + rest))
                judge(field(2, GOOD + field(8, tag + rest)))
    for text in (
        b"\xed\xa0\x80",
        b"\xed\x9f\xbf",
        b"\xc0\x80",
        b"\xf4\x90\x80\x80",
        b"\xf0\x9f\x98\x80",
        b"\xe2\x82",
        b"\x80",
    ):
        for padded in (text, b"1234567" + text, text + b"12345678", b"12345678" + text):
            judge(field(1, padded))
            judge(field(2, GOOD + field(8, entry("k", field(3, padded)))))
            judge(field(9, padded))


@pytest.mark.parametrize("seed", range(3))
def test_fuzz_with_seeds(seed: int) -> None:
    """Thousands of mutated requests of a fixed seed are judged as by the parser."""
    fuzz(seed, 3000)
