"""Hypothesis strategies: few visitors and few times around the gap, so that everything meets everything."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st

from rte.v1.event_pb2 import Event
from rte.v1.event_service_pb2 import IngestEventsRequest

SECRET = np.arange(1, 5, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
START_MS = 1_764_000_000_000
GAP_MS = 1_000
LATENESS_MS = 20_000
VISITORS = ("anna", "bert", "c")
SAID = ("lifetime_value", "segment", "vip")
NAMES = ("page_view", "view_item", "add_to_cart", "purchase")


@dataclass(frozen=True, slots=True)
class Batch:
    """Ingest these events in one request."""

    events: tuple[Event, ...]

    def wire(self) -> bytes:
        """Return the request's bytes."""
        return IngestEventsRequest(events=self.events).SerializeToString()


@dataclass(frozen=True, slots=True)
class End:
    """End a session of a visitor, counted from the oldest, modulo how many there are."""

    visitor_id: str
    place: int


@dataclass(frozen=True, slots=True)
class Update:
    """Write attributes to a session of a visitor; the place as in `End`."""

    visitor_id: str
    place: int
    attributes: tuple[tuple[str, bool | float | str | None], ...]


@dataclass(frozen=True, slots=True)
class Tick:
    """Let this much time pass, milliseconds; negative: the host's clock is set back."""

    passed_ms: int


@dataclass(frozen=True, slots=True)
class Say:
    """Let the data mart say something of customers: values by attribute, by customer."""

    customers: tuple[tuple[str, tuple[tuple[str, bool | float | str | None], ...]], ...]


Action = Batch | End | Update | Tick | Say

ID_FORMS = (
    "{}",
    "{}",
    "{}",
    "e-{}",
    "{}0000000000000000000",
    "{}x",
    "019ab84d-1800-7{:03x}-8000-0123456789ab",
    "01JNWGT600000000000000{:04}",
    "",
)
"""Forms of ids: numbers, ids that end in one, texts, UUIDv7 and ULID; and none."""

# Steps of a tenth, half, all and a little more than a gap, up to a handful of gaps in all.
times = st.one_of(
    st.integers(0, 60).map(lambda step: START_MS + step * 100),
    st.integers(0, 12).map(lambda step: START_MS + step * (GAP_MS // 2)),
    st.integers(0, 6).map(lambda step: START_MS + step * (GAP_MS + 1)),
)
numbers = st.one_of(
    st.integers(-40, 400).map(lambda quarter: quarter / 4),
    st.sampled_from((0.1, 9.9, 19.99, -0.0, 1e-9, 1e12, -1e12, 1.0000001e12, 1e300)),
    st.floats(-1e6, 1e6),
)
texts = st.sampled_from(("", "a", "b", "SKU-1", "SKU-2", "caf\u00e9", "https://shop.example/p/1", "zzz"))
values = st.one_of(numbers, texts, st.booleans(), st.none())
elements = st.one_of(
    values,
    st.fixed_dictionaries(
        {}, optional={"item_id": st.sampled_from(("SKU-1", "SKU-2", "SKU-3")), "price": numbers, "thing": values}
    ),
    st.just([1.0, "a"]),
)
customers = st.sampled_from(("", "", "", "k-1", "k-2"))
channels = st.sampled_from(("", "", "web", "app"))


@st.composite
def events(draw: st.DrawFn, number: int, id_forms: tuple[str, ...] = ("{}",)) -> Event:
    """Draw an event whose id is `number` in one of some forms; a form without a place for it gives no id."""
    time_ms = draw(times)
    event = Event(
        event_id=draw(st.sampled_from(id_forms)).format(number),
        name=draw(st.sampled_from(NAMES)),
        visitor_id=draw(st.sampled_from(VISITORS)),
        customer_id=draw(customers),
        channel=draw(channels),
    )
    event.event_time.seconds, milliseconds = divmod(time_ms, 1000)
    event.event_time.nanos = milliseconds * 1_000_000
    _set(event, "price", draw(st.one_of(st.none(), numbers)))
    _set(event, "item_id", draw(st.one_of(st.none(), st.sampled_from(("SKU-1", "SKU-2", "SKU-3")))))
    if draw(st.booleans()):
        _set(event, "thing", draw(values), null=True)
    if draw(st.integers(0, 3)) == 0:
        event.properties["items"] = draw(st.lists(elements, max_size=4))  # type: ignore[assignment]
    return event


def _set(event: Event, name: str, value: bool | float | str | None, *, null: bool = False) -> None:
    if value is not None:
        event.properties[name] = value
    elif null:
        event.properties.fields[name].null_value = 0  # type: ignore[assignment]


@st.composite
def event_lists(draw: st.DrawFn, max_size: int = 24) -> list[Event]:
    """Draw events with the ids 1, 2, 3, ... in an order of their own, so that ids and times disagree."""
    count = draw(st.integers(1, max_size))
    ids = draw(st.permutations(range(1, count + 1)))
    return [draw(events(event_id)) for event_id in ids]


@st.composite
def scripts(draw: st.DrawFn, max_size: int = 16) -> list[Action]:
    """Draw a journal: batches, with some events sent again, ends, written attributes and passing time."""
    script: list[Action] = []
    sent: list[Event] = []
    for _ in range(draw(st.integers(1, max_size))):
        kind = draw(st.sampled_from(("events", "events", "events", "events", "again", "end", "update", "tick", "say")))
        visitor_id = draw(st.sampled_from(VISITORS))
        place = draw(st.integers(0, 3))
        if kind == "events":
            fresh = [draw(events(len(sent) + number, ID_FORMS)) for number in range(1, draw(st.integers(1, 6)) + 1)]
            sent += fresh
            script.append(Batch(tuple(fresh)))
        elif kind == "again" and sent:
            script.append(Batch(tuple(draw(st.lists(st.sampled_from(sent), min_size=1, max_size=5)))))
        elif kind == "end":
            script.append(End(visitor_id, place))
        elif kind == "update":
            written = draw(st.dictionaries(st.sampled_from(("offer", "agent", "note")), values, min_size=1))
            script.append(Update(visitor_id, place, tuple(written.items())))
        elif kind == "tick":
            script.append(Tick(draw(st.sampled_from((1, GAP_MS, 3 * GAP_MS, -700, -2 * GAP_MS)))))
        elif kind == "say":
            said = st.dictionaries(st.sampled_from(SAID), values).map(lambda each: tuple(each.items()))
            script.append(Say(tuple(draw(st.dictionaries(customers.filter(bool), said, min_size=1)).items())))
    return script


@st.composite
def split(draw: st.DrawFn, whole: list[Event]) -> list[Batch]:
    """Draw a way to cut a list of events into requests."""
    batches: list[Batch] = []
    rest = list(whole)
    while rest:
        size = draw(st.integers(1, len(rest)))
        batches.append(Batch(tuple(rest[:size])))
        rest = rest[size:]
    return batches
