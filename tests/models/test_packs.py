"""The models that ship: documented, right by their own tests, indifferent to order, bounded in memory as they declare."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import pytest

from rte.v1.event_pb2 import Event
from rte_server.engine.blocks import X_LENGTH, X_TAKEN
from rte_server.engine.engine import Engine
from rte_server.engine.entries import Entry, EntryType
from rte_server.engine.exactness import session_bytes
from rte_server.engine.program import ModelSpec
from rte_server.engine.table import HEADER_WORDS, Capacity
from rte_server.models import (
    compile_models,
    configuration_of,
    load_models,
    load_pack,
    pack_names,
    shipped_names,
    shipped_path,
)
from rte_server.models.documents import read_document
from rte_server.models.facts import fold_request
from rte_server.models.trials import (
    ARRIVALS,
    IN_ORDER,
    Trial,
    attributes_of,
    encoded,
    play,
    read_trials,
    run_file,
    run_trial,
    together_ms,
    what_triggers_tell,
)
from tests.bench.engine_part import engine_fold
from tests.bench.engine_part import new_engine as bench_engine
from tests.bench.workload import one_event_each
from tests.engine.pair import new_engine
from tests.engine.strategies import SECRET, START_MS, Batch

SESSION_BYTES_MAX = 4_608
"""What the attributes of `base` and `retail` may take in a session that has all of them: a model that needs more takes it from another
one. What most sessions take is far less, since cells are taken when they are needed: see `EVENT_BYTES_MAX`."""
EVENT_BYTES_MAX = 1_480
"""What a row may take, with its annexes, in sessions of one event each, of the benchmark's mixture."""
ORDERS = 5
"""Shuffled orders in which the events of each case are sent."""

MODELS = tuple(name for name in shipped_names() if name not in pack_names())


@cache
def closure(name: str) -> tuple[ModelSpec, ...]:
    """Return a model that ships, and before it those that it uses."""
    return tuple(load_models([name]))


def trials_of(name: str) -> list[Trial]:
    """Return the cases of a model that ships."""
    path = shipped_path(name).with_name(f"{name}_tests.yaml")
    return read_trials(path.read_text("utf-8"), path.name)


def declared_bytes(name: str) -> int:
    """Return what a model says that it takes per session."""
    content = read_document(shipped_path(name).read_text("utf-8"), name).content
    assert isinstance(content, dict)
    stated = content["bytes_max"].content
    assert isinstance(stated, int)
    return stated


def test_the_packs_ship() -> None:
    """Each pack is a list of models and has no attribute of its own; `retail` brings `base`."""
    assert pack_names() == ("base", "finance", "media", "retail")
    for name in pack_names():
        pack = load_pack(name)
        assert not pack.attributes and pack.uses
    loaded = [model.name for model in load_models(["retail"])]
    assert loaded.index("base") < loaded.index("retail")
    assert set(load_pack("retail").uses) | set(load_pack("base").uses) < set(loaded)


def test_every_model_belongs_to_the_pack_of_its_folder() -> None:
    """Each model that ships is in use by the pack whose folder it is in."""
    for name in MODELS:
        assert name in load_pack(shipped_path(name).parent.name).uses


@pytest.mark.parametrize("name", MODELS)
def test_every_attribute_says_what_it_is(name: str) -> None:
    """Each attribute has one sentence of description; times and amounts have a unit."""
    model = load_pack(name)
    assert model.description.endswith(".")
    for spec in model.attributes:
        assert spec.description.endswith(".") or spec.owner, spec.name
        if any(word in spec.name for word in ("_value", "price_viewed", "revenue")):
            assert spec.unit == "currency", spec.name
        if spec.name.startswith(("time_to", "duration", "seconds")) or spec.name.endswith("_s"):
            assert spec.unit == "s", spec.name


@pytest.mark.parametrize("name", MODELS)
def test_every_model_says_what_it_reads_and_why(name: str) -> None:
    """The comment at the top of each model names its inputs and its rule."""
    comment = [line for line in shipped_path(name).read_text("utf-8").splitlines() if line.startswith("#")]
    assert comment[0].startswith("# Inputs: ")
    assert any(line.startswith("# Rule: ") for line in comment)


@pytest.mark.parametrize("name", [*MODELS, "retail"])
def test_every_model_passes_its_own_tests(name: str) -> None:
    """Every case of a model holds: in order, reversed, and with each event twice."""
    count, failures = run_file(name)
    assert count >= (1 if name in pack_names() else 3)
    assert not failures, "\n".join(str(failure) for failure in failures)


@pytest.mark.parametrize("name", MODELS)
def test_the_tests_of_a_model_look_at_each_of_its_attributes(name: str) -> None:
    """No attribute is without a case that states its value."""
    looked_at = {attribute for trial in trials_of(name) for attribute in trial.expected}
    assert {spec.name for spec in load_pack(name).attributes if not spec.owner} <= looked_at


@pytest.mark.parametrize("name", MODELS)
def test_no_order_and_no_repetition_changes_an_attribute(name: str) -> None:
    """Shuffled, in several requests, and sent twice: every attribute is what it is in order, not only the stated ones.

    What triggers told is left out: it tells what holds when it holds, so it depends on when events come.
    """
    models = closure(name)
    told = what_triggers_tell(models)

    def played(trial: Trial, requests: Sequence[tuple[int, bytes]]) -> dict[str, object]:
        found = play(models, trial, requests)
        assert found is not None
        return {name: value for name, value in found.items() if name not in told}

    rng = random.Random(name)
    for trial in trials_of(name):
        events = [encoded(event) for event in trial.events]
        last_ms = together_ms(trial.events)
        in_order = played(trial, ARRIVALS[IN_ORDER](trial.events))
        assert played(trial, [(last_ms, b"".join(events))] * 2) == in_order, trial.name
        for _ in range(ORDERS):
            shuffled = rng.sample(events, len(events))
            cut = rng.randrange(len(events) + 1)
            requests = [b"".join(shuffled[:cut]), b"".join(shuffled[cut:])]
            assert played(trial, [(last_ms, each) for each in requests if each]) == in_order, trial.name


def row_bytes(models: Sequence[ModelSpec], name: str) -> int:
    """Return the bytes of a real engine's row that the attributes of one model are in."""
    program = new_engine(models).program
    words: set[int] = set()
    for number, spec in enumerate(program.attributes):
        if spec.model == name and not spec.owner:
            first, end = program.words_of(number)
            cells = set(range(first, end))
            assert not cells & words and cells <= set(range(int(HEADER_WORDS), program.row_words))
            words |= cells
    return 8 * len(words)


@pytest.mark.parametrize("name", MODELS)
def test_a_model_takes_no_more_memory_than_it_declares(name: str) -> None:
    """In the rows of a real engine a model has at most the bytes that it declares, and does not declare idly more."""
    taken = row_bytes(closure(name), name)
    assert taken == sum(map(session_bytes, load_pack(name).attributes)) <= declared_bytes(name)
    assert declared_bytes(name) <= taken + 32, "the bound says nothing"


def test_base_and_retail_together_stay_within_their_memory() -> None:
    """A row of a real engine with `base` and `retail` takes no more for its attributes than SESSION_BYTES_MAX."""
    words = new_engine(load_models(["retail"])).program.row_words - int(HEADER_WORDS)
    assert 8 * words <= SESSION_BYTES_MAX


def test_sessions_of_one_event_stay_within_their_memory() -> None:
    """Rows of sessions of one event, with the annexes that they took, take no more than EVENT_BYTES_MAX on average."""
    engine = bench_engine(Capacity(sessions_max=4_096))
    fold = engine_fold(engine)
    workload = one_event_each(range(1, 2_001))
    for request in workload.requests:
        fold(request, START_MS)
    table = engine._state.table
    annexes = int((table.annexes[:, X_LENGTH] * table.annexes[:, X_TAKEN]).sum())
    assert 8 * (table.rows.shape[1] + annexes / 2_000) <= EVENT_BYTES_MAX


def test_all_packs_run_side_by_side() -> None:
    """No two models that ship use one name for an attribute."""
    models = load_models(pack_names())
    assert {model.name for model in models} == set(shipped_names())
    names = [spec.name for model in models for spec in model.attributes]
    assert len(set(names)) == len(names)


OWN_GOALS = """
model: conversion
attributes:
  conversions: {count: [subscribe, book_demo], description: Our goals.}
"""


def test_a_model_of_ones_own_goes_before_the_one_that_ships(tmp_path: Path) -> None:
    """A file `conversion` with other goals takes the place of the one that ships, and the pack counts by it."""
    own = tmp_path / "conversion.yaml"
    own.write_text(OWN_GOALS, "utf-8")
    models = load_models(["base", own])
    assert [model.source for model in models if model.name == "conversion"] == [OWN_GOALS]
    cases = """
tests:
  - name: Our goal engages, a purchase is none
    given: [{event: book_demo}, {event: purchase}]
    then: {conversions: 1, engaged: true, engagement_score: 10}
"""
    assert [failure for trial in read_trials(cases, "own.yaml") for failure in run_trial(models, trial)] == []


class Visit:
    """A visit to a shop by the clock, in seconds since its first event."""

    def __init__(self, *names: str) -> None:
        self.engine = Engine(SECRET, compile_models, Capacity(16, 64, 4096, 65_536, 4))
        body: dict[str, dict[str, str]] = {"settings": {}, **configuration_of(load_models(names))}
        self.engine.apply(1, Entry(EntryType.CONFIGURE, START_MS, json.dumps(body).encode()))
        self.count = 0

    def event(self, at_s: float, name: str, **properties: float | str) -> None:
        """Fold an event as it happens."""
        self.count += 1
        event = Event(event_id=str(self.count), name=name, visitor_id="v")
        event.event_time.FromMilliseconds(START_MS + round(1000 * at_s))
        event.properties.update(properties)
        fold_request(self.engine, START_MS + round(1000 * at_s), Batch((event,)).wire())

    def tick(self, at_s: float) -> list[tuple[str, int]]:
        """Let time pass; return the triggers that fired with how often they did by then."""
        entry = Entry(EntryType.TICK, START_MS + round(1000 * at_s), b"")
        return [(fired.trigger, fired.round) for fired in self.engine.apply(self.engine.position + 1, entry).fired]

    def shown(self, name: str) -> object:
        """Return the value of an attribute."""
        return attributes_of(self.engine.encode([self.engine.find_visitor("v")])[0]).get(name)


def test_a_basket_is_abandoned_recovered_and_abandoned_again() -> None:
    """Each quiet of 10 minutes with an open basket is told once; between them, and after the purchase, it is recovered."""
    visit = Visit("abandonment")
    visit.event(0, "add_to_cart", item_id="a", price=10)
    assert visit.tick(599) == []
    assert (visit.shown("abandonment_state"), visit.shown("value_at_risk")) == ("at_risk", 10)
    assert visit.tick(601) == [("abandoned_basket", 1)]
    assert visit.tick(700) == []
    assert (visit.shown("abandonment_state"), visit.shown("abandoned_basket")) == ("abandoned", True)
    visit.event(900, "page_view")
    assert (visit.shown("abandonment_state"), visit.shown("abandoned_basket")) == ("recovered", False)
    assert visit.tick(1501) == [("abandoned_basket", 2)]
    assert visit.shown("abandonment_state") == "abandoned"
    visit.event(1600, "purchase", value=10)
    assert (visit.shown("abandonment_state"), visit.shown("value_at_risk")) == ("recovered", 0)
    assert visit.tick(3300) == []


def test_an_emptied_basket_is_not_recovered() -> None:
    """Who comes back to take everything out has not recovered the basket."""
    visit = Visit("abandonment")
    visit.event(0, "add_to_cart", item_id="a", price=10)
    assert visit.tick(601) == [("abandoned_basket", 1)]
    visit.event(900, "remove_from_cart", item_id="a")
    assert visit.shown("abandonment_state") == "none"
    assert visit.tick(1600) == []


def test_a_burst_of_clicks_is_told_when_it_happens_and_stays() -> None:
    """The third click on one element within a second fires; what comes long after changes nothing."""
    visit = Visit("frustration")
    visit.event(0, "click", target="#buy")
    visit.event(0.4, "click", target="#buy")
    assert visit.shown("rage_burst") is False
    visit.event(0.9, "click", target="#buy")
    assert (visit.shown("rage_burst"), visit.shown("frustration_score")) == (True, 30)
    visit.event(60, "page_view")
    visit.tick(120)
    assert (visit.shown("recent_clicks"), visit.shown("rage_burst"), visit.shown("rage_burst.count")) == (0, True, 1)


def test_a_watched_value_is_told_once() -> None:
    """The first hit fires with its event, a second one does not, and an abandoned quote is told at its time."""
    visit = Visit("tripwire", "quote_abandonment")
    visit.event(0, "add_payment_info", card_id="tok-trial-stolen")
    visit.event(1, "add_payment_info", card_id="tok-trial-lost")
    assert (visit.shown("tripwire"), visit.shown("tripwire.count"), visit.shown("tripwire.time")) == (True, 1, START_MS)
    visit.event(5, "quote_start", product="car")
    assert visit.tick(604) == []
    assert visit.tick(606) == [("abandoned_quote", 1)]
    assert visit.shown("quote_state") == "abandoned"
