"""Online scores: they learn exactly what a plain twin learns from the same journal, and are shown when they have earned it."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rte.v1.session_pb2 import Score, Session
from rte.wire_events import batch_request, event
from rte_server.engine.engine import Engine
from rte_server.engine.entries import Entry, EntryType
from rte_server.engine.expressions import Instruction, Op
from rte_server.engine.online_report import Learned, read_learned
from rte_server.engine.online_state import O_WEIGHTS
from rte_server.engine.program import AttributeSpec, Kind, ModelSpec, OnlineSpec
from rte_server.engine.snapshot import Held
from rte_server.engine.table import Capacity
from rte_server.models import ModelError, compile_models
from tests.engine.attribute_samples import load
from tests.engine.online_twin import OnlineTwin, bent
from tests.engine.pair import new_engine as engine_of

GAP_MS = 1_800_000
START_MS = 1_700_000_000_000
SECRET = np.arange(1, 5, dtype=np.uint64)
CAPACITY = Capacity(
    sessions_max=256, dedup_events_max=4096, strings_max=4096, string_bytes_max=1 << 20, written_sessions_max=16
)
MODEL = """
model: shop
attributes:
  views: {{count: view_item}}
  spent: {{sum: event.price, on: add_to_cart}}
  top_price: {{max: event.price}}
derived:
  keen: views >= 3
scores:
  guess: {{linear: {{intercept: -1.0, weights: {{views: 0.5}}}}}}
  p_online:
    online:
      inputs: [views, spent, top_price, keen]
      defaults: {{top_price: 2}}
      label: [purchase, sign_up]
      examples: {examples}
      margin: 0.01
      horizon: {horizon}
      alpha: 0.3
      l1: 0.05
      l2: 0.5
      {baseline}
    shadow: {shadow}
"""


def model(*, examples: int = 20, horizon: int = 50, baseline: str = "", shadow: bool = True) -> str:
    """Return the model file."""
    return MODEL.format(examples=examples, horizon=horizon, baseline=baseline, shadow=str(shadow).lower())


def new_twin(source: str) -> OnlineTwin:
    """Return what is to learn the same as the score of the model."""
    (spec,) = (spec for spec in compile_models({"shop": source})[0].attributes if spec.online is not None)
    assert spec.online is not None
    return OnlineTwin(spec.online, len(spec.weights))


@dataclass
class Visit:
    """What the twin knows of a session."""

    last_ms: int = 0
    views: int = 0
    spent: float = 0.0
    top: float = -math.inf
    events: int = 0
    learned: bool = False

    def row(self) -> list[float]:
        """Return the inputs as they enter."""
        top = self.top if self.top > -math.inf else 2.0
        return [bent(x) for x in (float(self.views), self.spent, top, float(self.views >= 3))]

    def guess(self) -> float:
        """Return the baseline that is named."""
        return 1.0 / (1.0 + math.exp(-(-1.0 + 0.5 * self.views)))

    def take(self, name: str, price: float, time_ms: int) -> None:
        """Fold an event."""
        self.last_ms = time_ms
        self.events += 1
        self.views += name == "view_item"
        self.spent += price if name == "add_to_cart" else 0.0
        self.top = max(self.top, price)


Made = tuple[int, str, str, float]
"""Time, visitor, name, price."""


def made_up(seed: int, count: int) -> list[Made]:
    """Return events in order of time, no two at one time: spells of four visitors, some of whom are keen and buy."""
    chance = random.Random(seed)
    time_ms = START_MS
    events: list[Made] = []
    views: dict[tuple[int, int], int] = {}
    for number in range(count):
        time_ms += chance.randrange(1, 120_000)
        spell, member = number // 40, chance.randrange(4)
        is_keen = (spell + member) % 3 == 0
        name = "view_item" if chance.random() < (0.8 if is_keen else 0.2) else "page_view"
        if chance.random() < 0.1:
            name = "add_to_cart"
        views[spell, member] = views.get((spell, member), 0) + (name == "view_item")
        if views[spell, member] >= 4 and chance.random() < 0.6:
            name = chance.choice(["purchase", "sign_up"])
        price = float(chance.randrange(1, 400)) / 4.0
        events.append((time_ms, f"v{spell % 3 * 4 + member}", name, price))
    return events


def entries(events: Sequence[Made], source: str) -> tuple[list[Entry], OnlineTwin]:
    """Return a journal, in which each session closes in a TICK of its own, and the twin after it."""
    configuration = {"settings": {}, "models": {"shop": source}}
    found = [Entry(EntryType.CONFIGURE, START_MS, json.dumps(configuration).encode())]
    twin, is_named = new_twin(source), "baseline: guess" in source
    visits: dict[str, Visit] = {}

    def learn(visit: Visit, label: float) -> None:
        twin.learn(visit.row(), label, visit.guess() if is_named else None)

    def close(before_ms: int) -> None:
        for visitor, visit in sorted(visits.items(), key=lambda item: item[1].last_ms):
            due_ms = visit.last_ms + GAP_MS + 1
            if due_ms <= before_ms:
                found.append(Entry(EntryType.TICK, due_ms, b""))
                if not visit.learned:
                    learn(visit, 0.0)
                del visits[visitor]

    for number, (time_ms, visitor, name, price) in enumerate(events):
        close(time_ms)
        visit = visits.setdefault(visitor, Visit())
        if name in ("purchase", "sign_up") and not visit.learned:
            visit.learned = True
            if visit.events:
                learn(visit, 1.0)
        visit.take(name, price, time_ms)
        body = event(event_id=str(number), name=name, time_ms=time_ms, visitor_id=visitor, properties={"price": price})
        found.append(Entry(EntryType.EVENTS, time_ms, batch_request([body])))
    close(events[-1][0] + 2 * GAP_MS)
    return found, twin


def new_engine() -> Engine:
    """Return an empty engine."""
    return Engine(SECRET, compile_models, CAPACITY)


def folded(journal: Sequence[Entry], engine: Engine | None = None) -> Engine:
    """Return an engine that has folded entries."""
    engine = engine or new_engine()
    for entry in journal:
        engine.apply(engine.position + 1, entry)
    return engine


def folded_until(journal: Sequence[Entry], condition: Callable[[Learned], bool]) -> Engine:
    """Return an engine that has folded entries up to the first after which the score is as wanted."""
    engine = new_engine()
    for entry in journal:
        engine.apply(engine.position + 1, entry)
        if condition(learned(engine)):
            break
    return engine


def learned(engine: Engine) -> Learned:
    """Return how the score does."""
    return read_learned(engine.score_view())[0]


def block(engine: Engine) -> np.ndarray:
    """Return what was learned."""
    return dict(engine.snapshot()[1])["online"]


def weights_of(engine: Engine) -> list[float]:
    """Return z, n, mean and sum of squared deviations of each coordinate."""
    return [float(word) for word in block(engine)[int(O_WEIGHTS) : int(O_WEIGHTS) + 20]]


@settings(max_examples=15)
@given(seed=st.integers(0, 2**16), baseline=st.sampled_from(["", "baseline: guess"]))
def test_it_learns_what_a_plain_twin_learns(seed: int, baseline: str) -> None:
    """Weights and losses are equal to the last bit."""
    journal, twin = entries(made_up(seed, 150), model(baseline=baseline))
    engine = folded(journal)
    state = weights_of(engine)
    assert state == [*twin.z, *twin.n, *twin.mean, 0.0, *twin.spread, 0.0]
    found = learned(engine)
    assert (found.examples, found.positives) == (twin.examples, twin.positives)
    assert (found.loss, found.baseline_loss) == twin.losses()
    assert found.is_shown == twin.is_shown
    assert found.auc == pytest.approx(twin.auc(), nan_ok=True)


def test_a_replay_and_a_snapshot_learn_the_same() -> None:
    """Byte for byte, whether the journal is folded at once or from a snapshot in its middle."""
    journal, _ = entries(made_up(5, 400), model())
    whole = folded(journal)
    half = folded(journal[:200])
    meta, arrays = half.snapshot()
    restored = new_engine()
    restored.restore(meta, Held(arrays))
    folded(journal[200:], restored)
    assert (block(whole) == block(restored)).all()
    assert (block(whole) == block(folded(journal))).all()


def shown(engine: Engine, visitor: str) -> Session:
    """Return the visitor's session."""
    return Session.FromString(engine.encode([engine.find_visitor(visitor)])[0])


def test_it_stays_in_the_shadow_until_it_beats_the_baseline() -> None:
    """Then sessions show it; before, they show why not and what it would be."""
    journal, twin = entries(made_up(2, 3000), model(examples=100))
    early = folded_until(journal, lambda found: found.examples >= 40)
    assert not learned(early).is_shown
    visitor = next(f"v{number}" for number in range(12) if early.find_visitor(f"v{number}") >= 0)
    session = shown(early, visitor)
    assert "p_online" not in session.attributes
    assert (session.scores[0].status, session.scores[0].reason) == (Score.STATUS_ABSENT, Score.REASON_SHADOW)
    assert 0.0 < session.scores[0].shadow_value < 1.0
    done = folded(journal[:-12])
    found = learned(done)
    assert found.is_shown
    assert found.baseline_loss - found.loss >= 0.01
    assert found.auc > 0.6
    visitor = next(f"v{number}" for number in range(12) if done.find_visitor(f"v{number}") >= 0)
    session = shown(done, visitor)
    assert 0.0 < session.attributes.fields["p_online"].number_value < 1.0
    assert session.scores[0].status == Score.STATUS_FRESH
    assert twin.examples >= found.examples


def test_without_a_shadow_it_is_shown_from_the_first_example() -> None:
    """As the model says."""
    journal, _ = entries(made_up(2, 60), model(shadow=False))
    assert learned(folded(journal)).is_shown


def test_earlier_weights_are_put_back_with_what_was_measured_of_them() -> None:
    """By an entry, so that a replay does it, too; a version that is not kept changes nothing and says so."""
    journal, _ = entries(made_up(3, 4000), model())
    engine = folded(journal)
    versions = learned(engine).versions
    assert len(versions) >= 3 and learned(engine).version == versions[-1]
    before = learned(engine)
    assert engine.apply(engine.position + 1, back_to(versions[0])).error is None
    then = learned(folded_until(journal, lambda found: found.version == versions[0]))
    assert then != before
    now = learned(engine)
    assert replace(now, version=then.version, versions=then.versions, rollbacks=0) == then
    assert (now.version, now.versions, now.rollbacks) == (before.version, versions, 1)
    after = block(engine)
    assert (block(folded([*journal, back_to(versions[0])])) == after).all()
    outcome = engine.apply(engine.position + 1, back_to(999))
    assert outcome.error is not None and outcome.error.reason.name == "WEIGHTS_NOT_FOUND"
    assert (block(engine) == after).all()


def back_to(version: int) -> Entry:
    """Return the entry that puts a version back."""
    return Entry(EntryType.ROLL_BACK, START_MS, json.dumps({"score": "p_online", "version": version}).encode())


def test_other_models_keep_what_was_learned() -> None:
    """A score whose definition stays goes on; one that is defined anew begins at nothing."""
    journal, _ = entries(made_up(4, 300), model())
    engine = folded(journal)
    before = block(engine)
    other = {"settings": {}, "models": {"shop": model() + "# a remark\n"}}
    engine.apply(engine.position + 1, Entry(EntryType.CONFIGURE, START_MS, json.dumps(other).encode()))
    assert (block(engine) == before).all()
    other = {"settings": {}, "models": {"shop": model(examples=21)}}
    engine.apply(engine.position + 1, Entry(EntryType.CONFIGURE, START_MS, json.dumps(other).encode()))
    assert learned(engine).examples == 0


def test_a_session_that_begins_with_its_label_teaches_nothing() -> None:
    """There was nothing to be seen before it; nor is it an example of 0 when it closes."""
    body = event(event_id="1", name="purchase", time_ms=START_MS, visitor_id="v", properties={"price": 1.0})
    configuration = json.dumps({"settings": {}, "models": {"shop": model()}}).encode()
    engine = folded(
        [
            Entry(EntryType.CONFIGURE, START_MS, configuration),
            Entry(EntryType.EVENTS, START_MS, batch_request([body])),
            Entry(EntryType.TICK, START_MS + GAP_MS + 1, b""),
        ]
    )
    assert learned(engine).examples == 0


@pytest.mark.parametrize("name", ["label", "inputs"])
def test_what_an_online_score_needs_is_said(name: str) -> None:
    """A missing member is named, with what to write."""
    from rte_server.models import ModelError

    lines = [line for line in model().splitlines() if not line.strip().startswith(f"{name}:")]
    with pytest.raises(ModelError) as refused:
        compile_models({"shop": "\n".join(lines)})
    assert f"`{name}`" in str(refused.value)
    assert refused.value.remedy


def test_an_example_with_an_infinite_input_is_skipped_and_counted() -> None:
    """What is not finite is not learned from: it would make all weights NaN for good."""
    specs = (
        AttributeSpec("views", "m", Kind.COUNT, "int", events=("view_item",)),
        AttributeSpec("never", "m", Kind.MAX, "double", events=("no_such",), value=load("price")),
        AttributeSpec(
            "guess",
            "m",
            Kind.ONLINE,
            "double",
            weights=(("views", 0.0, 0.0), ("never", 0.0, math.inf)),
            online=OnlineSpec(("purchase",), shadow=False),
        ),
    )
    engine = engine_of([ModelSpec("m", 1, "", (), "", specs)])
    for number, name in enumerate(("view_item", "purchase", "view_item")):
        body = event(event_id=str(number), name=name, time_ms=START_MS + number, visitor_id="v", properties={})
        engine.apply(engine.position + 1, Entry(EntryType.EVENTS, START_MS + number, batch_request([body])))
    (learned,) = read_learned(engine.score_view())
    assert (learned.examples, engine.stats()["examples_skipped"]) == (0, 1)
    assert all(math.isfinite(weight) for weight in learned.weights)


def test_a_linear_score_beyond_all_numbers_has_no_value() -> None:
    """An infinite score is no value for what reads it."""
    big = AttributeSpec(
        "big", "m", Kind.LINEAR, "double", weights=(("n", 1e308, 0.0),), intercept=1e308, link="identity"
    )
    above = (*load("big"), Instruction(Op.DOUBLE, number=0.0), Instruction(Op.GREATER))
    specs = (
        AttributeSpec("n", "m", Kind.COUNT, "int"),
        big,
        AttributeSpec("is_big", "m", Kind.DERIVED, "bool", code=above),
    )
    engine = engine_of([ModelSpec("m", 1, "", (), "", specs)])
    body = event(event_id="1", name="view_item", time_ms=START_MS, visitor_id="v", properties={})
    engine.apply(engine.position + 1, Entry(EntryType.EVENTS, START_MS, batch_request([body])))
    session = Session.FromString(engine.encode([engine.find_visitor("v")])[0])
    assert dict(session.attributes.items()) == {"n": 1.0}


@pytest.mark.parametrize("alpha", ["1.0e-320", "0", "1.0e+7"])
def test_learning_rates_are_bounded(alpha: str) -> None:
    """What is learned is divided by `alpha`, and must stay finite."""
    with pytest.raises(ModelError, match="`alpha` must be a number from 1e-06 to 1,000,000"):
        compile_models({"shop": model().replace("alpha: 0.3", f"alpha: {alpha}")})
