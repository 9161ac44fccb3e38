"""The engine equals its slow twin on made-up journals, and keeps the laws that the twin keeps by construction."""

from __future__ import annotations

import os
import random
from dataclasses import replace

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rte.v1.event_pb2 import Event
from rte_server.engine.engine import Engine
from rte_server.engine.entries import Entry, EntryType
from rte_server.engine.program import ModelSpec
from rte_server.engine.settings import EngineSettings
from rte_server.engine.snapshot import Held
from tests.engine.attribute_samples import KNOWN, MODEL, PATIENT, TOLD
from tests.engine.pair import SETTINGS, SMALL, Pair, messages, new_engine, state_of
from tests.engine.strategies import SECRET, START_MS, Action, Batch, event_lists, scripts, split

CALM = settings(
    deadline=None,
    max_examples=int(os.environ.get("RTE_TEST_EXAMPLES", "60")),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def feed(engine: Engine, batches: list[Batch]) -> None:
    """Apply batches in their order, all received at the same moment."""
    for batch in batches:
        engine.apply(engine.position + 1, Entry(EntryType.EVENTS, START_MS, batch.wire()))


TIGHT = replace(SETTINGS, lateness_ms=2_500)
SHORT = replace(SETTINGS, max_length_ms=2_300)


@CALM
@given(scripts(), st.sampled_from((SETTINGS, TIGHT, SHORT)), st.sampled_from((TOLD, PATIENT)))
def test_engine_equals_twin(script: list[Action], rules: EngineSettings, triggers: ModelSpec) -> None:
    """After any journal of events, ends, written attributes and passing time, engine and twin show the same."""
    pair = Pair((MODEL, triggers, KNOWN) if triggers is TOLD else (MODEL, triggers), rules)
    for action in script:
        pair.run(action)
        pair.check()


@CALM
@given(event_lists(), st.data())
def test_order_and_batches_do_not_matter(events: list[Event], drawn: st.DataObject) -> None:
    """The same events in another order and in other requests give the same state."""
    one, other = new_engine(), new_engine()
    feed(one, [Batch(tuple(events))])
    shuffled = drawn.draw(st.permutations(events))
    feed(other, drawn.draw(split(shuffled)))
    assert state_of(one) == state_of(other)


@CALM
@given(event_lists(), st.integers(0, 2**32))
def test_replaying_twice_changes_nothing(events: list[Event], seed: int) -> None:
    """Events that come again, in any order, are duplicates: they change no session."""
    engine = new_engine()
    feed(engine, [Batch(tuple(events))])
    before = state_of(engine)
    again = list(events)
    random.Random(seed).shuffle(again)
    feed(engine, [Batch(tuple(again))])
    assert state_of(engine) == before
    assert engine.stats()["events_duplicate"] == len(events)


@CALM
@given(scripts(), st.integers(0, 16))
def test_restored_engine_goes_on_as_the_original(script: list[Action], cut: int) -> None:
    """An engine that is restored from a snapshot in the middle ends in the same state, ids included."""
    pair = Pair()
    for action in script[:cut]:
        pair.run(action)
    restored = new_bare_engine()
    meta, arrays = pair.engine.snapshot()
    restored.restore(meta, Held(arrays))
    done = len(pair.entries)
    for action in script[cut:]:
        pair.run(action)
    for entry in pair.entries[done:]:
        restored.apply(restored.position + 1, entry)
    assert _bare(restored) == _bare(pair.engine)
    assert state_of(restored) == state_of(pair.engine)


def new_bare_engine() -> Engine:
    """Return an engine without its first entry, as one that is about to be restored."""
    return Engine(SECRET, lambda sources, files: [MODEL, TOLD, KNOWN], SMALL)


def _bare(engine: Engine) -> list[bytes]:
    """Return the serialized sessions, in one order."""
    return sorted(messages(engine))
