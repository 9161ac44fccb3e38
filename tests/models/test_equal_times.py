"""Events of one time: sequences, baskets, resets and elements of lists take them in the order of their ids."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import pytest
from google.protobuf import json_format

from rte.v1.event_pb2 import Event
from rte.v1.session_pb2 import Session
from rte_server.engine.engine import Engine
from rte_server.engine.entries import Entry, EntryType
from rte_server.models import compile_model
from tests.engine.pair import new_engine
from tests.engine.strategies import START_MS, Batch
from tests.engine.test_event_order import ulid, uuid7

MODEL = """
model: m
attributes:
  basket: {basket: event.item_id, add: add, remove: remove, clear: purchase}
  latest: {last: event.n}
  latest_element: {last: item, each: event.list}
  since: {sum: item, on: add, each: event.list, resets_on: purchase}
  listed: {basket: item, add: add, each: event.list, clear: purchase}
sequences:
  funnel: {steps: [view, add, checkout, purchase]}
"""
COUNTER = 3 << 38
FORMS: dict[str, Callable[[int], str]] = {
    "uuid7": lambda number: uuid7(START_MS, COUNTER + number),
    "ulid": lambda number: ulid(START_MS, COUNTER + number),
    "number": lambda number: str(9 + number),
    "word and number": lambda number: f"evt-{9 + number}",
    "leading zeros": lambda number: f"{9 + number:06}",
    "none": lambda number: "",
}


def play(events: Sequence[Event]) -> dict[str, object]:
    """Return what a session shows after these events, all at one time and in one request."""
    engine: Engine = new_engine([compile_model(MODEL, "m.yaml", {}, {})])
    for event in events:
        event.visitor_id = "v"
        event.event_time.FromMilliseconds(START_MS)
    engine.apply(engine.position + 1, Entry(EntryType.EVENTS, START_MS, Batch(tuple(events)).wire()))
    session = Session.FromString(engine.encode([engine.find_visitor("v")])[0])
    shown: dict[str, object] = json_format.MessageToDict(session)["attributes"]
    return shown


def in_order(form: str, names: Sequence[str], lists: Sequence[Sequence[float]] = ()) -> list[Event]:
    """Return events whose ids, of one form, ascend."""
    events = []
    for number, name in enumerate(names):
        event = Event(event_id=FORMS[form](number), name=name)
        event.properties.update({"item_id": "a", "n": number})
        if number < len(lists):
            event.properties["list"] = list(lists[number])
        events.append(event)
    return events


@pytest.mark.parametrize("form", FORMS)
def test_a_funnel_of_one_millisecond_is_completed(form: str) -> None:
    """Steps of one time are reached in the order of their ids, in whatever order a request has them."""
    events = in_order(form, ("view", "add", "checkout", "purchase"))
    if form != "none":
        random.Random(form).shuffle(events)
    shown = play(events)
    assert (shown["funnel.completed"], shown["funnel.stage"]) == (True, 4)
    assert shown["latest"] == 3


@pytest.mark.parametrize("form", FORMS)
def test_what_is_removed_at_the_time_at_which_it_was_added_is_gone(form: str) -> None:
    """An item that is added and removed in one millisecond is not in the basket, the other way round it is."""
    assert play(in_order(form, ("add", "remove")))["basket.items"] == 0
    assert play(in_order(form, ("remove", "add")))["basket.items"] == 1


@pytest.mark.parametrize("form", FORMS)
def test_elements_stand_where_their_event_stands(form: str) -> None:
    """Elements of a later event come after those of an earlier one, and what resets after them empties the cell."""
    lists = ([1.0, 2.0], [3.0, 4.0])
    shown = play(in_order(form, ("add", "add"), lists))
    assert (shown["latest_element"], shown["since"], shown["listed.items"]) == (4, 10, 4)
    shown = play(in_order(form, ("add", "purchase", "add"), ([1.0, 2.0], [], [5.0])))
    assert (shown["since"], shown["listed.items"]) == (5, 1)
    shown = play(in_order(form, ("add", "purchase"), ([1.0, 2.0],)))
    assert (shown["since"], shown["listed.items"]) == (0, 0)
