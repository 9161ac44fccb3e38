"""A session taken apart: leaving out an event is what a fold without it gives, for every kind of attribute."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from rte.v1.event_pb2 import Event
from rte.v1.event_service_pb2 import IngestEventsRequest
from rte.v1.session_pb2 import Session
from rte_server.engine.engine import Engine
from rte_server.engine.entries import Entry, EntryType
from rte_server.engine.program import Kind, ModelSpec
from rte_server.engine.session_events import DUPLICATE, LATE, TAKEN, EventPicker, SessionEvents, judge
from rte_server.engine.session_parts import SessionParts
from rte_server.engine.settings import EngineSettings
from rte_server.engine.table import HEADER_WORDS, KEY_HI, KEY_LO
from rte_server.engine.wire import Limits, scan_request
from tests.engine import comparable
from tests.engine.attribute_samples import SPECS
from tests.engine.pair import new_engine
from tests.engine.strategies import SECRET, START_MS, event_lists

DAY_MS = 86_400_000
ONE_SESSION = EngineSettings(gap_ms=DAY_MS, lateness_ms=DAY_MS, closed_retention_ms=DAY_MS)
COMPUTED = (Kind.DERIVED, Kind.LINEAR, Kind.TRIGGER)
PLAIN = ModelSpec("plain", 1, "", (), "", tuple(spec for spec in SPECS if spec.kind not in COMPUTED))


def folded(events: list[Event]) -> Engine:
    """Return an engine that has folded events one by one."""
    engine = new_engine([PLAIN], ONE_SESSION)
    for number, event in enumerate(events):
        body = IngestEventsRequest(events=[event]).SerializeToString()
        engine.apply(engine.position + 1, Entry(EntryType.EVENTS, START_MS + number, body))
    return engine


def picked(events: list[Event], key: tuple[int, int]) -> SessionEvents:
    """Return events as a search of the journal finds them: newest entry first."""
    picker = EventPicker(key)
    for number, event in reversed(list(enumerate(events))):
        body = IngestEventsRequest(events=[event]).SerializeToString()
        picker.add(number + 2, scan_request(body, START_MS + number, SECRET, Limits.UNLIMITED))
    return picker.events()


def shown(body: bytes) -> dict[str, object]:
    """Return the attributes of a serialized session."""
    return comparable.of_struct(Session.FromString(body).attributes, frozenset())


@settings(max_examples=60, deadline=None)
@given(events=event_lists(12), passed_ms=st.integers(0, 4_000))
def test_leaving_out_an_event_is_folding_without_it(events: list[Event], passed_ms: int) -> None:
    """The row without an event shows what a fresh engine shows that never saw it; the whole what one shows that saw all."""
    for event in events:
        event.visitor_id = "v"
    engine = folded(events)
    row = engine._state.table.rows[engine.find_visitor("v")].copy()
    found = picked(events, (int(row[KEY_LO]), int(row[KEY_HI])))
    assert found.positions.tolist() == [number + 2 for number in range(len(events))]
    assert judge(found, ONE_SESSION).tolist() == [TAKEN] * len(events)
    parts = SessionParts(SECRET, [PLAIN], found, row[:HEADER_WORDS])
    now_ms = START_MS + len(events) + passed_ms
    mask = parts.mask(["attributes"])
    (whole,) = parts.encode([parts.whole], mask, None, now_ms)
    assert shown(whole) == shown(
        engine.encode([engine.find_visitor("v")], engine.mask(["attributes"]), None, now_ms)[0]
    )
    for place in range(len(events)):
        rest = folded(events[:place] + events[place + 1 :])
        (without,) = parts.encode([parts.without(place)], mask, None, now_ms)
        if len(events) > 1:
            # The session's time is that of all its events, as for the value that is explained.
            cells = rest._state.table.rows[rest.find_visitor("v")]
            cells[:HEADER_WORDS] = row[:HEADER_WORDS]
            expected = rest.encode([rest.find_visitor("v")], rest.mask(["attributes"]), None, now_ms)[0]
            assert shown(without) == shown(expected)


@settings(max_examples=40, deadline=None)
@given(events=event_lists(10))
def test_what_is_needed_gives_the_value(events: list[Event]) -> None:
    """The events that cannot all be left out give the value of all events, and each of them is needed among them."""
    for event in events:
        event.visitor_id = "v"
    engine = folded(events)
    row = engine._state.table.rows[engine.find_visitor("v")].copy()
    found = picked(events, (int(row[KEY_LO]), int(row[KEY_HI])))
    for name in ("price_max", "recent_items", "items", "last_item"):
        parts = SessionParts(SECRET, [PLAIN], found, row[:HEADER_WORDS])
        mask = parts.mask([f"attributes.{name}"])
        whole = parts.encode([parts.whole], mask)[0]
        needed = parts.needed([], list(range(len(events))), lambda at: parts.encode([at], mask)[0] == whole)  # noqa: B023
        few = SessionParts(SECRET, [PLAIN], found.chosen(np.array(needed, np.int64)), row[:HEADER_WORDS])
        assert few.encode([few.whole], mask)[0] == whole
        for place in range(len(needed)):
            assert few.encode([few.without(place)], mask)[0] != whole


def test_duplicates_and_late_events_are_told() -> None:
    """An id that was seen within the horizon is a duplicate; an event too far behind the newest is late."""
    settings_ = EngineSettings(lateness_ms=1_000, dedup_horizon_ms=2)
    times = [5_000, 5_000, 3_999, 4_000, 5_000]
    events = [Event(event_id=name, name="page_view", visitor_id="v") for name in ("a", "a", "b", "c", "a")]
    for event, time_ms in zip(events, times, strict=True):
        event.event_time.FromMilliseconds(START_MS + time_ms)
    engine = folded(events[:1])
    row = engine._state.table.rows[engine.find_visitor("v")]
    found = picked(events, (int(row[KEY_LO]), int(row[KEY_HI])))
    assert judge(found, settings_).tolist() == [TAKEN, DUPLICATE, LATE, TAKEN, TAKEN]
