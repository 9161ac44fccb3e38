"""Events of equal time are ordered by their ids as people read them: the kernel's word orders as the plain tuple does."""

from __future__ import annotations

import random
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rte.v1.event_pb2 import Event
from rte.v1.event_service_pb2 import IngestEventsRequest
from rte_server.engine import wire_layout
from rte_server.engine.event_order import LAST_PLACE
from rte_server.engine.wire import Limits, scan_request
from tests.engine.strategies import SECRET, START_MS
from tests.engine.twin_order import BASE32, order_of


def uuid7(time_ms: int, counter: int, rest: int = 0) -> str:
    """Return a UUIDv7 whose 42 bits after the time are a counter, as RFC 9562, 6.2 has it; `rest` is of 32 bits."""
    high, low = divmod(counter, 2**30)
    return str(uuid.UUID(int=time_ms << 80 | 7 << 76 | high << 64 | 2 << 62 | low << 32 | rest))


def ulid(time_ms: int, number: int) -> str:
    """Return a ULID with the 80 bits `number` after its time."""
    whole = time_ms << 80 | number
    return "".join(BASE32[whole >> 5 * place & 31] for place in reversed(range(26)))


def orders(ids: list[str], offset_ms: int = 0) -> list[int]:
    """Return the orders of events with these ids, in one request, all of one visitor and time."""
    events = [Event(event_id=event_id, name="n", visitor_id="v") for event_id in ids]
    for event in events:
        event.event_time.FromMilliseconds(START_MS + offset_ms)
    body = IngestEventsRequest(events=events).SerializeToString()
    scanned = scan_request(body, START_MS, SECRET, Limits())
    assert scanned.error is None and scanned.rejected_count == 0
    return [int(order) for order in scanned.records[:, wire_layout.ORDER]]


RANDOM = random.Random(5)
COUNTED = RANDOM.getrandbits(41)
ASCENDING = {
    "numbers": ["0", "1", "2", "9", "10", "99", "100", "12345678901234", "999999999999999"],
    "numbers with leading zeros": ["0001", "0002", "0009", "0010", "0100"],
    "numbers after a word": ["e-1", "e-2", "e-9", "e-10", "e-0011", "e-100"],
    "numbers of 19 digits": [str(1_541_815_603_606_036_480 + step) for step in (0, 1, 5, 4096, 5 << 22)],
    "UUIDv7 with a counter": [uuid7(START_MS, COUNTED + step, RANDOM.getrandbits(32)) for step in range(8)],
    "UUIDv7 over some milliseconds": [uuid7(START_MS + step, RANDOM.getrandbits(42)) for step in range(-40, 400, 7)],
    "ULIDs with a counter": [ulid(START_MS, (7 << 76) + step) for step in range(8)],
    "ULIDs over some milliseconds": [ulid(START_MS + step, RANDOM.getrandbits(80)) for step in range(-40, 4000, 70)],
    "words": ["a", "add", "b", "cart", "view"],
    "forms": ["17", uuid7(START_MS, 1), "e-3", "word", ""],
}


@pytest.mark.parametrize("name", sorted(ASCENDING))
def test_ids_order_as_they_read(name: str) -> None:
    """Ids of common forms, given in the order in which people read them, order events so, wherever they stand."""
    ids = ASCENDING[name]
    ascending = orders(ids)
    assert ascending == sorted(set(ascending))
    backwards = orders(ids[::-1])[::-1]
    places = [place for place, event_id in enumerate(ids) if event_id]
    assert [backwards[place] for place in places] == [ascending[place] for place in places]


def test_events_without_id_order_by_their_place_in_the_request() -> None:
    """What has no id is ordered as it stands in the request; what is refused does not count for the places."""
    found = orders([""] * 40)
    assert found == sorted(set(found))
    refused = Event(name="", visitor_id="v")
    event = Event(name="n", visitor_id="v")
    scanned = scan_request(
        IngestEventsRequest(events=[refused, event, refused, event]).SerializeToString(), START_MS, SECRET, Limits()
    )
    again = scan_request(scanned.accepted_body(), START_MS, SECRET, Limits.UNLIMITED)
    assert scanned.accepted[:, wire_layout.ORDER].tolist() == again.records[:, wire_layout.ORDER].tolist()


def test_there_is_room_for_the_places_of_elements() -> None:
    """The lowest bits of an order are free, and no order is negative."""
    for ids in ASCENDING.values():
        for order in orders(ids):
            assert order & int(LAST_PLACE) == 0 and 0 <= order < 2**63


forms = st.one_of(
    st.integers(0, 10**20).map(str),
    st.integers(0, 10**12).map(lambda number: f"{number:08}"),
    st.tuples(st.sampled_from(("e-", "order_", "", "0", "x")), st.integers(0, 10**12)).map(
        lambda parts: f"{parts[0]}{parts[1]}"
    ),
    st.builds(
        uuid7, st.integers(START_MS - 2_000, START_MS + 2_000), st.integers(0, 2**42 - 1), st.integers(0, 2**32 - 1)
    ),
    st.uuids().map(str),
    st.uuids(version=4).map(lambda each: each.hex),
    st.builds(ulid, st.integers(START_MS - 20_000, START_MS + 20_000), st.integers(0, 2**80 - 1)).map(
        lambda text: text.lower() if text[-1] < "8" else text
    ),
    st.text(min_size=1, max_size=30),
    st.text("0123456789-7ABCabcU", min_size=26, max_size=36),
    st.just(""),
)


@given(st.lists(forms, min_size=2, max_size=12, unique=True), st.integers(-3_000, 3_000))
def test_the_word_orders_as_the_plain_tuple(ids: list[str], offset_ms: int) -> None:
    """Any ids: sorted by the kernel's word, events are in the order of `twin_order`."""
    ids = [event_id for event_id in ids if len(event_id.encode()) <= wire_layout.ID_BYTES_MAX]
    found = orders(ids, offset_ms)
    events = [Event(event_id=event_id, name="n", visitor_id="v") for event_id in ids]
    for event in events:
        event.event_time.FromMilliseconds(START_MS + offset_ms)
    plain = [order_of(event, START_MS + offset_ms, place) for place, event in enumerate(events)]
    places = range(len(ids))
    assert sorted(places, key=found.__getitem__) == sorted(places, key=plain.__getitem__)
