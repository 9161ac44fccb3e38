"""What stays of entries when a person is cut out of them: a journal without the person folds to the same for all others."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from rte.v1.event_pb2 import Event
from rte.v1.session_pb2 import Session
from rte_server.engine.entries import Entry, EntryType
from rte_server.engine.erasure import Erasure
from rte_server.engine.table import HIGH_WATER
from rte_server.service.erasure.cuts import CUTS, Cut, cut
from rte_server.service.erasure.person import Person
from tests.engine.attribute_samples import KNOWN, MODEL, TOLD
from tests.engine.pair import SETTINGS, Pair, messages, new_engine
from tests.engine.strategies import SECRET, START_MS, Action, Batch, scripts
from tests.engine.test_twin_engine import CALM


def test_every_type_of_entry_has_a_cut() -> None:
    """A new type of entry cannot be forgotten."""
    assert set(CUTS) == set(EntryType)


@CALM
@given(scripts(), st.sampled_from(("k-1", "k-2")), scripts())
def test_the_journal_folds_to_the_same_without_a_person(
    script: list[Action], customer_id: str, later: list[Action]
) -> None:
    """After an ERASE entry the state is that of the journal out of which the person was cut, also with what comes later."""
    pair = Pair(settings=SETTINGS)
    for action in script:
        pair.run(action)
    before, person, now_ms = list(pair.entries), Person(SECRET, customer_id), START_MS
    events = [entry for entry in before if entry.type is EntryType.EVENTS]
    for entry in events:
        person.learn_visitors(person.scanned(entry.body, entry.received_ms))
    for entry in before:
        now_ms = max(now_ms, entry.received_ms)
        if entry.type is EntryType.EVENTS:
            person.collect(person.scanned(entry.body, entry.received_ms), now_ms)
    whole = Erasure("e", sorted(person.keys), sorted(person.id_hashes))
    bodies = [cut(entry, Cut(person)) for entry in before]
    shadow = new_engine(pair.models, SETTINGS)
    for entry, body in zip(before, bodies, strict=True):
        shadow.apply(shadow.position + 1, Entry(entry.type, entry.received_ms, body))
    for engine, erasure in ((pair.engine, whole), (shadow, Erasure("e"))):
        engine.apply(engine.position + 1, Entry(EntryType.ERASE, now_ms, erasure.body()))
    assert sorted(messages(shadow)) == sorted(messages(pair.engine))
    assert not {Session.FromString(each).visitor_id for each in messages(shadow)} & person.visitor_ids
    for action in later:
        if (entry_ := pair._entry(action)) is not None:
            outcomes = [each.apply(each.position + 1, entry_).event_outcomes.tolist() for each in (pair.engine, shadow)]
            assert outcomes[0] == outcomes[1]
    assert sorted(messages(shadow)) == sorted(messages(pair.engine))


def test_who_is_left_in_an_entry_of_customers_keeps_the_place() -> None:
    """The journal that two of three customers were cut out of, one after the other, gives the third's session the same bytes."""
    said = {name: {"segment": {"value": f"of {name}"}} for name in ("k-1", "k-2", "k-3")}
    whole = Entry(EntryType.CUSTOMER, START_MS, json.dumps({"customers": said}).encode())
    entry = whole
    for name in ("k-1", "k-2"):
        entry = Entry(entry.type, entry.received_ms, cut(entry, Cut(Person(SECRET, name))))
    assert b"k-1" not in entry.body and b"k-2" not in entry.body
    rows = []
    for each in (whole, entry):
        engine = new_engine((MODEL, TOLD, KNOWN))
        event = Event(event_id="1", name="page_view", visitor_id="v", customer_id="k-3")
        event.event_time.FromMilliseconds(START_MS)
        engine.apply(2, Entry(EntryType.EVENTS, START_MS, Batch((event,)).wire()))
        engine.apply(3, each)
        rows.append(engine._state.table.rows[: engine._state.table.counts[HIGH_WATER]].tobytes())
    assert rows[0] == rows[1]
    assert b"of k-3" in messages(engine)[0]
