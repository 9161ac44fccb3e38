"""Attributes whose value follows from time, from YAML to what a session shows."""

from __future__ import annotations

import math

import pytest

from rte_server.engine.exactness import Exactness, exactness, session_bytes
from rte_server.engine.program import AttributeSpec, Kind
from rte_server.models import ModelError, compile_model
from rte_server.models.trials import read_trials, run_trial


def attribute(text: str) -> AttributeSpec:
    """Return the attribute `a` of a model with this definition of it."""
    return compile_model(f"model: timed\nattributes:\n  a: {text}\n", "timed.yaml", {}).attributes[0]


def refusal(text: str) -> str:
    """Return the only problem of a model whose attribute `a` has this definition."""
    with pytest.raises(ModelError) as caught:
        attribute(text)
    (problem,) = caught.value.problems
    assert problem.line == 3
    return f"{problem.message}; {problem.remedy}"


def check(attributes: str, case: str) -> None:
    """Assert that a model with these attributes passes a case."""
    model = compile_model(f"model: timed\nattributes:\n{attributes}", "timed.yaml", {})
    (trial,) = read_trials(f"tests:\n- name: A case.\n{case}", "timed_tests.yaml")
    assert [str(failure) for failure in run_trial([model], trial)] == []


def test_rates_and_averages_are_read() -> None:
    """A rate counts events, or weights of them; fading is said by a half-life or by a time constant."""
    pace = attribute("{rate: page_view, window: 5m}")
    assert (pace.kind, pace.events, pace.params, pace.unit) == (Kind.RATE, ("page_view",), (207_944,), "1/min")
    spent = attribute("{rate: purchase, weight: event.price * event.quantity, half_life: 10m, unit: currency/min}")
    assert spent.params == (600_000,) and spent.value and spent.unit == "currency/min"
    level = attribute("{ewma: event.price, on: view_item, half_life: 10m}")
    assert (level.kind, level.events, level.value_type) == (Kind.EWMA, ("view_item",), "double")
    declared = exactness(pace, {})
    assert declared.exactness == Exactness.APPROXIMATE and declared.error == 2.0**-32
    assert (session_bytes(pace), session_bytes(level)) == (40, 72)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{rate: page_view}", "has neither `window` nor `half_life`; write one of them"),
        ("{rate: page_view, window: 5m, half_life: 1m}", "has both `window` and `half_life`"),
        ("{rate: page_view, window: soon}", "`soon` is not a duration"),
        ("{rate: page_view, window: 5m, weight: \"'a'\"}", "needs a number, but the value is a string"),
        ("{rate: page_view, window: 5m, on: page_view}", "has no member `on`"),
        ("{ewma: event.price, on: view_item}", "has neither `window` nor `half_life`"),
    ],
)
def test_what_is_wrong_with_fading_is_said(text: str, message: str) -> None:
    """Each mistake is named, with what to write instead."""
    assert message in refusal(text)


def test_a_rate_falls_while_nothing_comes() -> None:
    """Two events at once are a rate of 2 ln 2 / half-life, halved a half-life later; an average stays as it is."""
    check(
        """
  pace: {rate: page_view, half_life: 10m}
  level: {ewma: event.price, half_life: 1m}
derived:
  is_slow: pace < 0.1
""",
        f"""
  given:
  - {{event: page_view, at: 0s, properties: {{price: 10}}}}
  - {{event: page_view, at: 0s}}
  - {{event: view_item, at: 2m, properties: {{price: 20}}}}
  when: {{passes: 8m}}
  then: {{pace: {{near: {math.log(2) / 10}, within: 1e-9}}, level: {{near: 18, within: 1e-8}}, is_slow: true}}
""",
    )


@pytest.mark.parametrize(
    ("text", "kind", "words"),
    [
        ("{count: view_item, window: 5m}", Kind.WINDOW_COUNT, 11),
        ("{sum: event.price, on: view_item, window: 5m}", Kind.WINDOW_SUM, 21),
        ("{min: event.price, window: 5m}", Kind.WINDOW_MIN, 21),
        ("{max: event.price, window: 5m}", Kind.WINDOW_MAX, 21),
        ("{mean: event.price, window: 5m}", Kind.WINDOW_MEAN, 31),
        ("{distinct: event.item_id, window: 5m, keep: 20}", Kind.WINDOW_DISTINCT, 40),
    ],
)
def test_windows_are_read(text: str, kind: Kind, words: int) -> None:
    """A window makes a count, a sum or another kind that of the last while, in 10 tiles unless it is said otherwise."""
    spec = attribute(text)
    assert (spec.kind, spec.params, session_bytes(spec)) == (kind, (30_000, 10), 8 * words)
    assert attribute(text.replace("5m", "1h, tiles: 60")).params == (60_000, 60)
    assert "over the last 270 to 300 s" in str(exactness(spec, {}))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{count: view_item, tiles: 5}", "has `tiles` without a `window`"),
        ("{count: view_item, window: 5m, tiles: 1}", "`tiles` must be a whole number from 2 to 60"),
        ("{count: view_item, window: 10ms}", "is not a duration from 1000 ms"),
        ("{last: event.price, window: 5m}", "has no member `window`"),
    ],
)
def test_what_is_wrong_with_windows_is_said(text: str, message: str) -> None:
    """Each mistake is named, with what to write instead."""
    assert message in refusal(text)


def test_windows_shrink_while_nothing_comes() -> None:
    """What left the window counts no more, and what is derived from it is computed anew though no event comes."""
    attributes = """
  views: {count: view_item, window: 1m, tiles: 6}
  spent: {sum: event.price, on: view_item, window: 1m, tiles: 6}
  dearest: {max: event.price, window: 1m, tiles: 6}
  items: {distinct: event.item_id, window: 1m, tiles: 6}
derived:
  is_keen: views >= 2
"""
    given_events = """
  given:
  - {event: view_item, at: 5s, properties: {price: 30, item_id: a}}
  - {event: view_item, at: 25s, properties: {price: 10, item_id: b}}
"""
    check(attributes, given_events + "  then: {views: 2, spent: 40, dearest: 30, items: 2, is_keen: true}")
    then = "  when: {passes: 34.9s}\n  then: {views: 2, spent: 40, dearest: 30, items: 2, is_keen: true}"
    check(attributes, given_events + then)
    then = "  when: {passes: 35s}\n  then: {views: 1, spent: 10, dearest: 10, items: 1, is_keen: false}"
    check(attributes, given_events + then)
    then = "  when: {passes: 55s}\n  then: {views: 0, spent: 0, dearest: null, items: 0, is_keen: false}"
    check(attributes, given_events + then)


@pytest.mark.parametrize(
    ("window", "tiles", "note"),
    [
        ("1s", 60, "1.003 to 1.02 s"),
        ("1s", 7, "0.858 to 1.001 s"),
        ("1s", 10, "0.9 to 1 s"),
        ("1m", 7, "51.432 to 60.004 s"),
    ],
)
def test_a_window_covers_what_is_said_of_it(window: str, tiles: int, note: str) -> None:
    """Tiles are whole milliseconds, rounded up; an event counts for the lesser time, and for the greater one no more."""
    spec = attribute(f"{{count: view_item, window: {window}, tiles: {tiles}}}")
    assert exactness(spec, {}).note == f"over the last {note}"
    least_ms, most_ms = (round(float(each) * 1000) for each in note.removesuffix(" s").split(" to "))
    width_ms = spec.params[0]
    assert (least_ms, most_ms) == (width_ms * (tiles - 1), width_ms * tiles)
    for at_ms in (1, width_ms // 2, width_ms, 5 * width_ms + 3):
        for passes_ms, count in ((least_ms, 1), (most_ms, 0)):
            given_events = f"  given: [{{event: view_item, at: {at_ms}ms}}]\n  when: {{passes: {passes_ms}ms}}\n"
            check(
                f"  a: {{count: view_item, window: {window}, tiles: {tiles}}}\n",
                given_events + f"  then: {{a: {count}}}",
            )


TRIGGER = """
model: timed
attributes:
  views: {count: view_item}
  price: {last: event.price}
triggers:
  keen:
"""


def trigger(text: str) -> list[AttributeSpec]:
    """Return the attributes of a model whose trigger `keen` has this definition."""
    return list(compile_model(TRIGGER.rstrip() + f" {text}\n", "timed.yaml", {}).attributes[2:])


def test_triggers_are_read() -> None:
    """A trigger is its condition, the trigger itself and two parts of it."""
    condition, keen, time, count = trigger("{when: views > 2, quiet_for: 10m, once_per: quiet, description: Keen.}")
    assert [spec.name for spec in (condition, keen, time, count)] == ["keen.when", "keen", "keen.time", "keen.count"]
    assert (keen.kind, keen.params, keen.value_type, keen.description) == (Kind.TRIGGER, (600_000, 1), "bool", "Keen.")
    assert [session_bytes(spec) for spec in (condition, keen, time, count)] == [0, 32, 0, 0]
    assert trigger("{when: views > 2}")[1].params == (0, 0)
    source = TRIGGER.rstrip() + " {when: views > 2 && often}\nderived:\n  often: keen.count > 1 || keen\n"
    assert len(compile_model(source, "timed.yaml", {}).attributes) == 7


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{quiet_for: 10m}", "trigger `keen` has no `when`; write for example"),
        ("{when: views}", "`when` must be true or false; compare it"),
        ("{when: price}", "`when` must be true or false; compare it"),
        ("{when: view > 2}", "there is no attribute `view`"),
        ("{when: views > 2, once_per: quiet}", "fires once per quiet, but waits for none; add `quiet_for: 10m`"),
        ("{when: views > 2, once_per: visit}", "`once_per` cannot be `visit`"),
        ("{when: views > 2, quiet_for: 1ms}", "is not a duration from 1000 ms"),
        ("{when: views > 2, quiet: 10m}", "has no member `quiet`"),
        ("{when: event.price > 2.0}", "an expression on a session cannot read events"),
        ("views > 2", "trigger `keen` must be a mapping"),
    ],
)
def test_what_is_wrong_with_triggers_is_said(text: str, message: str) -> None:
    """Each mistake is named, with what to write instead."""
    with pytest.raises(ModelError) as caught:
        trigger(text)
    problems = [f"{problem.message}; {problem.remedy}" for problem in caught.value.problems]
    assert any(message in problem for problem in problems), problems
    assert {problem.line for problem in caught.value.problems} == {7}


def test_a_trigger_waits_for_quiet() -> None:
    """The condition must hold when the session was quiet for so long; the next event ends the quiet."""
    model = TRIGGER.rstrip() + " {when: views > 1, quiet_for: 10m}\ntests: timed_tests.yaml\n"
    specs = [compile_model(model, "timed.yaml", {})]
    given_events = "  given: [{event: view_item, at: 0s}, {event: view_item, at: 5m}]\n"
    for passes, then in (
        ("9m", "{keen: false, keen.when: true, keen.count: 0, keen.time: null}"),
        ("10m", "{keen: true, keen.when: true, keen.count: 1, keen.time: 1704068100000}"),
    ):
        source = f"tests:\n- name: Quiet.\n{given_events}  when: {{passes: {passes}}}\n  then: {then}\n"
        (trial,) = read_trials(source, "timed_tests.yaml")
        assert [str(failure) for failure in run_trial(specs, trial)] == []
