"""Small journals that decide a rule, played to the engine and its twin alike."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rte.v1.event_pb2 import Event
from tests.engine.attribute_samples import MODEL, VISIT
from tests.engine.pair import Pair, state_of
from tests.engine.strategies import GAP_MS, START_MS, Batch, End, Say, Tick, Update


def at(*offsets_ms: int, visitor_id: str = "v", first_id: int = 1) -> Batch:
    """Return a request with one event at each time after START_MS."""
    events = []
    for number, offset_ms in enumerate(offsets_ms, first_id):
        event = Event(event_id=str(number), name="page_view", visitor_id=visitor_id)
        event.event_time.FromMilliseconds(START_MS + offset_ms)
        events.append(event)
    return Batch(tuple(events))


def play(pair: Pair, *actions: Batch | End | Update | Tick | Say) -> list[tuple[object, ...]]:
    """Run the actions, compare after each, and return (visit number, start, last, events) per session of `v`."""
    for action in actions:
        pair.run(action)
        pair.check()
    sessions = state_of(pair.engine).get("v", [])
    return [
        (row["visit_number"], _offset(row["start_ms"]), _offset(row["last_ms"]), row["event_count"]) for row in sessions
    ]


def _offset(time_ms: object) -> int:
    assert isinstance(time_ms, int)
    return time_ms - START_MS


def test_a_gap_belongs_to_the_session_and_one_more_millisecond_does_not() -> None:
    """Only a gap strictly greater than the limit starts a new session."""
    assert play(Pair(), at(0, GAP_MS)) == [(1, 0, GAP_MS, 2)]
    assert play(Pair(), at(0, GAP_MS + 1)) == [(1, 0, 0, 1), (2, GAP_MS + 1, GAP_MS + 1, 1)]


def test_a_late_event_makes_two_sessions_one() -> None:
    """An event between two sessions, within a gap of both, merges them; the older one's number remains."""
    assert play(Pair(), at(0, 1_500), at(800, first_id=3)) == [(1, 0, 1_500, 3)]


def test_an_ended_session_takes_no_later_event() -> None:
    """After an end, an event within the gap starts a new session, and one before the end still joins the old one."""
    sessions = play(Pair(), at(0, 100), End("v", 0), at(200, 50, first_id=3))
    assert sessions == [(1, 0, 100, 3), (2, 200, 200, 1)]


def test_an_end_parts_sessions_for_good() -> None:
    """Events that come later and fill the time after an end never merge the ended session with the one after it."""
    sessions = play(Pair(), at(0, 1_500), End("v", 0), at(600, first_id=3), at(0, first_id=4))
    assert sessions == [(1, 0, 0, 2), (2, 600, 1_500, 2)]


def test_a_visit_is_numbered_after_those_that_left() -> None:
    """A new visit counts every earlier one, also where a newer one left memory before an older one."""
    # The first session is ended late, so that it stays longer than the second.
    sessions = play(
        Pair(),
        at(0, 1_100),
        End("v", 1),
        Tick(2 * GAP_MS - 1),
        End("v", 0),
        Tick(1),
        at(5_000, first_id=3),
    )
    assert sessions == [(1, 0, 0, 1), (3, 5_000, 5_000, 1)]


def test_expressions_see_the_number_of_the_visit_as_it_is() -> None:
    """A derived attribute that reads the visit's number follows when an earlier visit turns up or two become one."""
    pair = Pair((replace(MODEL, attributes=(*MODEL.attributes, VISIT)),))
    play(pair, at(9_000), at(6_000, first_id=2), at(3_000, first_id=3), at(4_500, first_id=4), at(3_800, first_id=5))


def test_written_attributes_survive_a_merge() -> None:
    """When two sessions become one, the later write of a name wins, and a removal is a write."""
    play(
        Pair(),
        at(0, 1_500),
        Update("v", 0, (("offer", "a"), ("note", 1.0), ("agent", True))),
        Update("v", 1, (("note", None),)),
        Update("v", 1, (("offer", "b"),)),
        Update("v", 0, (("agent", False),)),
        at(800, first_id=3),
    )


def test_events_older_than_the_horizon_are_late() -> None:
    """An event behind its visitor's newest by more than the horizon changes nothing but the count of late ones."""
    pair = Pair(settings=replace(Pair().settings, lateness_ms=2_000))
    assert play(pair, at(5_000, 3_000, 2_999)) == [(1, 3_000, 3_000, 1), (2, 5_000, 5_000, 1)]
    assert state_of(pair.engine)["v"][1]["late_event_count"] == 1


def test_ids_of_any_form_order_equal_times_alike() -> None:
    """Events of one millisecond are ordered by id: numbers first, then other ids in an order of their own."""
    for arrival in ((0, 1, 2, 3), (3, 2, 1, 0), (2, 0, 3, 1)):
        pair = Pair()
        events = [_thing(event_id) for event_id in ("9", "10", "b-1", "09")]
        for place in arrival:
            pair.run(Batch((events[place],)))
            pair.check()


def _thing(event_id: str) -> Event:
    event = Event(event_id=event_id, name="view_item", visitor_id="v")
    event.event_time.FromMilliseconds(START_MS)
    event.properties["thing"] = event_id
    return event


@pytest.mark.parametrize("names", [("k-1", "k-2"), ("k-2", "k-1")])
def test_what_one_entry_says_of_two_customers_whose_sessions_merge(names: tuple[str, str]) -> None:
    """The entry names them one after the other: what it says of the second one is later, whoever the session belongs to."""
    early, late = at(0), at(1_500, first_id=2)
    early.events[0].customer_id, late.events[0].customer_id = "k-2", "k-1"
    said = Say(tuple((name, (("segment", f"of {name}"),)) for name in names))
    pair = Pair()
    assert play(pair, early, late, said, at(800, first_id=3)) == [(1, 0, 1_500, 3)]
    (row,) = state_of(pair.engine)["v"]
    shown = row["attributes"]
    assert isinstance(shown, dict)
    assert (row["customer_id"], shown.get("segment")) == ("k-1", "of k-1" if names[1] == "k-1" else None)
