"""What stays of entries when a person is cut out of them: a journal without the person folds to the same for all others."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rte.v1.session_pb2 import Session
from rte_server.engine.entries import Entry, EntryType
from rte_server.engine.erasure import Erasure
from rte_server.service.erasure.cuts import CUTS, Cut, cut
from rte_server.service.erasure.person import Person
from tests.engine.pair import SETTINGS, Pair, messages, new_engine
from tests.engine.strategies import SECRET, START_MS, Action, scripts
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
