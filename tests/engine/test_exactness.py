"""What kinds declare: every kind says it, and what is measured agrees with what is declared."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from rte.v1.event_pb2 import Event
from rte_server.engine.attributes import SUM_EVENTS_MAX, SUM_MAGNITUDE_MAX
from rte_server.engine.elements import ELEMENTS_MAX
from rte_server.engine.exactness import Exactness, exactness, session_bytes
from rte_server.engine.expressions import Instruction, Op
from rte_server.engine.program import AttributeSpec, Kind, ModelSpec, OnlineSpec, ScoreSpec
from rte_server.engine.table import EVENTS, LAST
from tests.engine.attribute_samples import SPECS, load
from tests.engine.pair import new_engine
from tests.engine.strategies import START_MS
from tests.engine.test_laws import SETTINGS, folded, shown

NOT_SAMPLED = {
    Kind.TRIGGER: AttributeSpec("t", "m", Kind.TRIGGER, "bool", params=(0, 0), code=load("keen")),
    Kind.WRITTEN: AttributeSpec("w", "m", Kind.WRITTEN, "any"),
    Kind.ONLINE: AttributeSpec(
        "o", "m", Kind.ONLINE, "double", weights=(("things", 0.0, 0.0),), online=OnlineSpec(("x",))
    ),
    Kind.CUSTOMER: AttributeSpec("customer.x", "m", Kind.CUSTOMER, "any"),
    Kind.SCORE: AttributeSpec("s", "m", Kind.SCORE, "double", score=ScoreSpec("onnx", "x", inputs=(("things", 0.0),))),
}
KNOWN = {spec.name: spec for spec in SPECS}


@pytest.mark.parametrize("kind", Kind, ids=lambda kind: kind.name)
def test_every_kind_declares_how_exact_it_is_and_what_it_takes(kind: Kind) -> None:
    """No kind is taken for exact, or for of some size, because nobody thought of it."""
    spec = NOT_SAMPLED.get(kind) or next(spec for spec in SPECS if spec.kind == kind)
    assert str(exactness(spec, KNOWN))
    assert session_bytes(spec) % 8 == 0


def test_an_unknown_kind_is_refused() -> None:
    """A kind that declares nothing raises, instead of being exact and of two words."""
    spec = replace(SPECS[0], kind=99)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="99"):
        exactness(spec, {})
    with pytest.raises(ValueError, match="99"):
        session_bytes(spec)


def test_what_is_computed_from_estimates_declares_them() -> None:
    """Derived attributes and scores declare the worst of their inputs, through other derived ones, too."""
    derived = AttributeSpec("d", "m", Kind.DERIVED, "bool", code=(*load("things"), *load("pace"), Instruction(Op.LESS)))
    linear = AttributeSpec("l", "m", Kind.LINEAR, "double", weights=(("all_events", 1.0, 0.0), ("d", 1.0, 0.0)))
    plain = AttributeSpec("p", "m", Kind.DERIVED, "int", code=load("all_events"))
    known = KNOWN | {"d": derived}
    assert exactness(derived, known).exactness == Exactness.APPROXIMATE
    assert str(exactness(linear, known)).endswith(", as pace")
    assert exactness(plain, known).exactness == Exactness.EXACT
    assert exactness(NOT_SAMPLED[Kind.ONLINE], known).exactness == Exactness.EXACT_UP_TO


def test_what_has_no_bound_says_so() -> None:
    """A basket, and what follows from it, beyond the changes that are kept; a graph's score is no estimate of anything."""
    basket = AttributeSpec("basket", "m", Kind.BASKET, "list", keep=6)
    derived = AttributeSpec("d", "m", Kind.DERIVED, "bool", code=load("basket"))
    score = NOT_SAMPLED[Kind.SCORE]
    reads = AttributeSpec("r", "m", Kind.DERIVED, "bool", code=load(score.name))
    known = {"basket": basket, "d": derived, score.name: score}
    found = exactness(basket, known)
    assert (found.exactness, found.exact_up_to, found.error) == (Exactness.NO_BOUND, 6, 0.0)
    assert str(found) == "exact up to 6 changes since it was emptied, then from the latest, no bound beyond"
    assert exactness(derived, known).exactness == Exactness.NO_BOUND
    assert str(exactness(derived, known)) == "exact up to 6, no bound beyond, as basket"
    for spec, words in ((score, "what the onnx says, "), (reads, f"no true value to compare with, as {score.name}")):
        assert exactness(spec, known).exactness == Exactness.NOT_APPLICABLE
        assert str(exactness(spec, known)).startswith(words)


@pytest.mark.parametrize("keep", [8, 16, 64])
def test_the_standard_error_of_distinct_counts_is_the_declared_one(keep: int) -> None:
    """Over many sessions, the root of the mean square of relative errors is at most a little more than declared."""
    spec = AttributeSpec("d", "m", Kind.DISTINCT, "int", value=load("item_id"), keep=keep)
    assert "standard error" in str(exactness(spec, {}))
    engine = new_engine([ModelSpec("m", 1, "", (), "", (spec,))], SETTINGS)
    squares = []
    for session in range(120):
        events = [_event(number, item_id=f"{session}/{number}") for number in range(1, 12 * keep)]
        row = folded(engine, f"v{session}", events)
        count = shown(engine, row, int(row[LAST]))["d"]
        assert isinstance(count, float)
        squares.append((count / len(events) - 1) ** 2)
    measured = math.sqrt(sum(squares) / len(squares))
    assert measured <= 1.25 * exactness(spec, {}).error


def test_a_count_beyond_the_exact_ones_is_more_than_those() -> None:
    """More than `keep` different values are never shown as `keep` or fewer."""
    spec = AttributeSpec("d", "m", Kind.DISTINCT, "int", value=load("item_id"), keep=8)
    engine = new_engine([ModelSpec("m", 1, "", (), "", (spec,))], SETTINGS)
    for session in range(60):
        row = folded(engine, f"v{session}", [_event(number, item_id=f"{session}/{number}") for number in range(1, 10)])
        count = shown(engine, row, int(row[LAST]))["d"]
        assert isinstance(count, float) and count >= 9


def test_sums_are_rounded_to_the_nearest_and_cannot_overflow() -> None:
    """A number counts to the nearest 2^-64; in a session of more events than a sum has room for it has no value."""
    specs = (
        AttributeSpec("sum", "m", Kind.SUM, "double", value=load("x")),
        AttributeSpec("mean", "m", Kind.MEAN, "double", value=load("x")),
        AttributeSpec("lately", "m", Kind.WINDOW_SUM, "double", value=load("x"), params=(60_000, 10)),
        AttributeSpec("rate", "m", Kind.RATE, "double", value=load("x"), params=(60_000,)),
        AttributeSpec("level", "m", Kind.EWMA, "double", value=load("x"), params=(60_000,)),
        AttributeSpec("most", "m", Kind.MAX, "double", value=load("x")),
    )
    engine = new_engine([ModelSpec("m", 1, "", (), "", specs)], SETTINGS)
    row = folded(engine, "v", [_event(1, x=0.75 * 2.0**-64)])
    assert shown(engine, row, int(row[LAST]))["sum"] == 2.0**-64
    assert SUM_EVENTS_MAX * SUM_MAGNITUDE_MAX < 2.0**63
    row[EVENTS] = SUM_EVENTS_MAX
    assert shown(engine, row, int(row[LAST])).keys() == {spec.name for spec in specs}
    row[EVENTS] = SUM_EVENTS_MAX + 1
    assert shown(engine, row, int(row[LAST])).keys() == {"most"}


def test_sums_over_elements_have_room_for_all_elements() -> None:
    """An event may contribute as often as it has elements, so that the limit is so many times lower."""
    spec = AttributeSpec("sum", "m", Kind.SUM, "double", value=load("\0"), each="x")
    engine = new_engine([ModelSpec("m", 1, "", (), "", (spec,))], SETTINGS)
    event = _event(1)
    event.properties["x"] = [1e12] * int(ELEMENTS_MAX)
    row = folded(engine, "v", [event])
    limit = SUM_EVENTS_MAX // int(ELEMENTS_MAX)
    for _ in range(1, 16):
        row[slice(*engine.program.words_of(0))] *= 2
        row[EVENTS] *= 2
    assert row[EVENTS] <= limit and shown(engine, row, int(row[LAST]))["sum"] == int(row[EVENTS]) * 256e12
    row[EVENTS] = limit + 1
    assert not shown(engine, row, int(row[LAST]))


def test_extremes_take_any_finite_number() -> None:
    """Least and greatest need no limit: times in milliseconds, and more."""
    specs = (
        AttributeSpec("least", "m", Kind.MIN, "double", value=load("x")),
        AttributeSpec("most", "m", Kind.MAX, "double", value=load("x")),
        AttributeSpec("lately", "m", Kind.WINDOW_MAX, "double", value=load("x"), params=(60_000, 10)),
    )
    engine = new_engine([ModelSpec("m", 1, "", (), "", specs)], SETTINGS)
    row = folded(engine, "v", [_event(1, x=1.79e12), _event(2, x=-1e300)])
    assert shown(engine, row, int(row[LAST])) == {"least": -1e300, "most": 1.79e12, "lately": 1.79e12}
    assert engine.stats()["values_invalid"] == 0


def test_minus_zero_is_zero() -> None:
    """-0.0 and 0.0 are one value, as `==` says."""
    specs = (
        AttributeSpec("set", "m", Kind.SET, "list", value=load("x"), keep=4),
        AttributeSpec("recent", "m", Kind.RECENT, "list", value=load("x"), keep=4),
        AttributeSpec("different", "m", Kind.DISTINCT, "int", value=load("x"), keep=8),
        AttributeSpec("last", "m", Kind.LAST, "any", value=(*load("x"), Instruction(Op.NEGATE))),
    )
    engine = new_engine([ModelSpec("m", 1, "", (), "", specs)], SETTINGS)
    row = folded(engine, "v", [_event(1, x=0.0), _event(2, x=-0.0), _event(3, x=0.0)])
    found = shown(engine, row, int(row[LAST]))
    assert (found["set"], found["recent"], found["different"]) == ([0.0], [0.0], 1)
    assert math.copysign(1.0, found["last"]) == 1.0  # type: ignore[arg-type]


def test_what_finds_no_room_is_counted() -> None:
    """Values that fall out of attributes of bounded size show in the figures."""
    specs = (
        AttributeSpec("set", "m", Kind.SET, "list", value=load("item_id"), keep=4),
        AttributeSpec("different", "m", Kind.DISTINCT, "int", value=load("item_id"), keep=8),
        *(spec for spec in SPECS if spec.name == "small_basket"),
    )
    engine = new_engine([ModelSpec("m", 1, "", (), "", specs)], SETTINGS)
    folded(engine, "v", [_event(number, item_id=str(number)) for number in range(1, 5)])
    assert engine.stats()["values_cut"] == 0
    folded(engine, "v", [_event(number, item_id=str(number)) for number in range(5, 9)])
    assert engine.stats()["values_cut"] == 4
    folded(engine, "v", [_event(9, item_id="9")])
    assert engine.stats()["values_cut"] == 6
    events = [_event(number, item_id="a") for number in range(11, 15)]
    for event in events:
        event.name = "add_to_cart"
    folded(engine, "w", events)
    assert engine.stats()["values_cut"] == 8


def _event(number: int, **properties: float | str) -> Event:
    """Return an event with an id, and time, of its own."""
    event = Event(event_id=str(number), name="page_view", visitor_id="v")
    event.event_time.FromMilliseconds(START_MS + number)
    event.properties.update(properties)
    return event
