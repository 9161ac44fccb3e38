"""The merged view of a customer equals one session with all events; links are entries, and leave no trace when they are taken back."""

from __future__ import annotations

import json
from dataclasses import replace

from google.protobuf.struct_pb2 import Struct
from hypothesis import given
from hypothesis import strategies as st

from rte.v1.event_pb2 import Event
from rte.v1.session_pb2 import Session
from rte.v1.session_service_pb2 import UpdateSessionRequest
from rte_server.engine.customer_rows import customer_rows
from rte_server.engine.engine import Engine
from rte_server.engine.entries import Entry, EntryType
from rte_server.engine.erasure import Erasure
from rte_server.engine.links import LINKS_OF_CUSTOMER_MAX, Links, visitor_key
from rte_server.engine.merged_view import merged_view
from rte_server.engine.reasons import Reason
from rte_server.engine.snapshot import Held
from tests.engine import comparable
from tests.engine.attribute_samples import KNOWN, MODEL
from tests.engine.pair import SETTINGS, SMALL, new_engine, rounded_of
from tests.engine.strategies import SECRET, START_MS, VISITORS, Batch, event_lists
from tests.engine.test_twin_engine import CALM, feed

MODELS = (MODEL, KNOWN)
LONG = replace(SETTINGS, gap_ms=1_800_000, lateness_ms=86_400_000)
MARKS = ("rich", "rich_and_quiet")
"""Triggers: what they told depends on when events came."""


def shown(message: bytes) -> dict[str, object]:
    """Return what a session shows that follows from its events, its visitor aside."""
    session = Session.FromString(message)
    attributes = comparable.of_struct(session.attributes, rounded_of(MODELS))
    return {
        "customer_id": session.customer_id,
        "channel": session.channel,
        "start_ms": session.start_time.ToMilliseconds(),
        "last_ms": session.last_event_time.ToMilliseconds(),
        "event_count": session.event_count,
        "attributes": {name: each for name, each in attributes.items() if not name.startswith(MARKS)},
    }


def view(engine: Engine, customer_id: str) -> tuple[dict[str, object], list[str]]:
    """Return the merged view of a customer."""
    found = merged_view(engine, SECRET, customer_id, engine.mask(()), START_MS)
    assert found is not None
    return shown(found[0]), found[1]


def link(engine: Engine, customer_id: str, visitor_id: str, *, is_linked: bool = True) -> Reason | None:
    """Link a visitor, or take that back; return why it was refused."""
    said = {"customer_id": customer_id, "visitor_id": visitor_id, "is_linked": is_linked, "why": "test", "author": "a"}
    outcome = engine.apply(engine.position + 1, Entry(EntryType.LINK, START_MS, json.dumps(said).encode()))
    return outcome.error.reason if outcome.error is not None else None


def say(engine: Engine, customer_id: str, value: float) -> None:
    """Let the data mart say something of a customer."""
    said = {"customers": {customer_id: {"lifetime_value": {"value": value}, "vip": {"value": True}}}}
    engine.apply(engine.position + 1, Entry(EntryType.CUSTOMER, START_MS, json.dumps(said).encode()))


def alike(events: list[Event], **fields: str) -> list[Batch]:
    """Return events with some fields changed."""
    changed = []
    for event in events:
        other = Event.FromString(event.SerializeToString())
        for name, value in fields.items():
            setattr(other, name, value)
        changed.append(other)
    return [Batch(tuple(changed))]


@CALM
@given(event_lists(), st.booleans())
def test_the_view_equals_one_session_with_all_events(events: list[Event], is_linked: bool) -> None:
    """Whether events name the customer or visitors are linked, the view shows what one session with all events does."""
    several, one = new_engine(MODELS, LONG), new_engine(MODELS, LONG)
    feed(several, alike(events, customer_id="" if is_linked else "k-1"))
    feed(one, alike(events, customer_id="k-1", visitor_id="one"))
    for visitor in VISITORS if is_linked else ():
        assert link(several, "k-1", visitor) is None
    if not is_linked:
        say(several, "k-1", 250.0)
        say(one, "k-1", 250.0)
    found, session_ids = view(several, "k-1")
    expected = shown(one.encode([one.find_visitor("one")])[0])
    assert found["attributes"] == expected["attributes"]
    # Without an event that names the customer only the service knows it.
    assert found | {"customer_id": "k-1"} == expected | {"attributes": found["attributes"]}
    assert len(session_ids) == len({event.visitor_id for event in events})


@CALM
@given(event_lists(), st.sampled_from(VISITORS))
def test_a_link_that_is_taken_back_leaves_no_trace(events: list[Event], visitor: str) -> None:
    """Linking changes no session, and after unlinking the view is what it was; a snapshot keeps links."""
    engine = new_engine(MODELS, LONG)
    feed(engine, [Batch(tuple(events))])
    feed(engine, alike([Event(name="login", visitor_id="known", event_id="k")], customer_id="k-9"))
    before, sessions = view(engine, "k-9"), engine.encode(engine.rows_in_use())
    assert link(engine, "k-9", visitor) is None
    assert engine.encode(engine.rows_in_use()) == sessions
    has_session = engine.find_visitor(visitor) >= 0
    assert len(view(engine, "k-9")[1]) == 1 + has_session
    assert customer_rows(engine, "k-9", SECRET).size == 1 + has_session
    meta, arrays = engine.snapshot()
    restored = Engine(SECRET, lambda *_: list(MODELS), SMALL)
    restored.restore(json.loads(json.dumps(meta)), Held(arrays))
    assert view(restored, "k-9") == view(engine, "k-9")
    assert link(engine, "k-9", visitor, is_linked=False) is None
    assert view(engine, "k-9") == before
    assert engine.encode(engine.rows_in_use()) == sessions
    assert link(engine, "k-9", visitor, is_linked=False) == Reason.LINK_NOT_FOUND


def test_what_applications_wrote_is_merged() -> None:
    """Of written attributes with the same name the later write is shown; each session keeps its own."""
    engine = new_engine(MODELS, LONG)
    for visitor in ("anna", "bert", "c"):
        feed(engine, alike([Event(name="login", visitor_id=visitor, event_id=visitor)], customer_id="k-1"))
    for visitor, name, value in (("anna", "offer", "x"), ("bert", "offer", "y"), ("anna", "agent", "z")):
        session_id = engine.session_id(engine.find_visitor(visitor))
        attributes = Struct()
        attributes[name] = value
        body = UpdateSessionRequest(session_id=session_id, attributes=attributes).SerializeToString()
        engine.apply(engine.position + 1, Entry(EntryType.UPDATE, START_MS, body))
    attributes_shown = view(engine, "k-1")[0]["attributes"]
    assert isinstance(attributes_shown, dict)
    assert (attributes_shown["offer"], attributes_shown["agent"]) == ("y", "z")
    anna = Session.FromString(engine.encode([engine.find_visitor("anna")])[0])
    assert anna.attributes["offer"] == "x"


def test_the_session_of_a_customer_may_be_a_linked_visitors() -> None:
    """By customer the session with the latest event is found, also of a linked visitor; whom that one's events name is not looked at."""
    engine = new_engine(MODELS, LONG)
    feed(engine, alike([Event(name="login", visitor_id="anna", event_id="1")], customer_id="k-1"))
    late = Event(name="login", visitor_id="bert", event_id="2", customer_id="k-2")
    late.event_time.FromMilliseconds(START_MS + 5)
    feed(engine, [Batch((late,))])
    say(engine, "k-1", 7.0)
    say(engine, "k-2", 9.0)
    assert engine.find_customer("k-1") == engine.find_visitor("anna")
    link(engine, "k-1", "bert")
    assert engine.find_customer("k-1") == engine.find_visitor("bert")
    merged = view(engine, "k-1")[0]["attributes"]
    assert isinstance(merged, dict) and merged["customer.lifetime_value"] == 7.0
    assert merged_view(engine, SECRET, "nobody", engine.mask(()), START_MS) is None


def test_links_have_limits() -> None:
    """A customer has so many links at most; linking again is no other link."""
    links = Links()

    def said(visitor: str) -> bytes:
        return json.dumps({"customer_id": "k", "visitor_id": visitor, "is_linked": True}).encode()

    for number in range(LINKS_OF_CUSTOMER_MAX):
        assert links.apply(said(str(number)), number, 1) is None
    assert links.apply(said("0"), 99, 1) is None
    assert links.of("k")[0].position == 0
    refusal = links.apply(said("one more"), 99, 1)
    assert refusal is not None and refusal.reason == Reason.OUT_OF_RANGE
    assert links.count == LINKS_OF_CUSTOMER_MAX


def test_an_erased_visitor_is_linked_to_nobody() -> None:
    """Links of a visitor who is erased are forgotten, others stay."""
    engine = new_engine(MODELS, LONG)
    for visitor in ("anna", "bert"):
        feed(engine, alike([Event(name="login", event_id="1")], visitor_id=visitor))
        link(engine, "k-1", visitor)
    erasure = Erasure("e", [visitor_key("anna", SECRET)])
    engine.apply(engine.position + 1, Entry(EntryType.ERASE, START_MS, erasure.body()))
    assert [each.visitor_id for each in engine.links_of("k-1")] == ["bert"]
    assert engine.find_visitor("anna") < 0
