"""Trials find what is wrong with a model and say it."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from rte_server.models import ModelError, compile_model
from rte_server.models.trials import EPOCH_MS, read_trials, run_file, run_trial

MODEL = """
model: shop
attributes:
  views: {count: view_item}
  last_item: {last: event.item_id, on: view_item}
  items: {recent: event.item_id, on: view_item, keep: 3}
  price: {mean: event.price}
derived:
  many: views > 1
tests: shop_tests.yaml
"""
TESTS = """
tests:
  - name: Views are counted
    given:
      - {event: view_item, at: 0s, properties: {item_id: a, price: 1}}
      - {event: view_item, at: 1.5s, properties: {item_id: b, price: 2}, visitor: visitor-1}
      - {event: view_item, properties: {item_id: c}}
      - {event: view_item, visitor: someone-else, channel: app, customer: c-1, id: "77"}
    when: {passes: 31m}
    then: {views: 3, last_item: c, items: [c, b, a], price: {near: 1.4, within: 0.2}, many: true}
"""


def _models() -> list[object]:
    return [compile_model(MODEL, "shop.yaml", {})]


def test_a_trial_that_holds_passes() -> None:
    """Nothing is reported where all is as expected; events without `at` are at the time of the one before."""
    (trial,) = read_trials(TESTS, "shop_tests.yaml")
    assert [event.time_ms - EPOCH_MS for event in trial.events] == [0, 1500, 1500, 1500]
    assert trial.passes_ms == 31 * 60_000
    assert run_trial(_models(), trial) == []  # type: ignore[arg-type]


def test_a_trial_that_does_not_hold_says_what_is_instead() -> None:
    """A failure names the case, the attribute, what it is and what it should be, for each way of arrival."""
    tests = TESTS.replace("views: 3", "views: 4").replace("items: [c, b, a]", "items: [c]")
    (trial,) = read_trials(tests.replace("many: true", "many: null"), "shop_tests.yaml")
    failures = run_trial(_models(), trial)  # type: ignore[arg-type]
    assert {failure.arrival for failure in failures} == {"in order", "reversed", "twice"}
    texts = [str(failure) for failure in failures if failure.arrival == "reversed"]
    assert texts == [
        "shop_tests.yaml:3: Views are counted: `views` is 3.0, not 4.0 (events reversed)",
        'shop_tests.yaml:3: Views are counted: `items` is ["c", "b", "a"], not ["c"] (events reversed)',
        "shop_tests.yaml:3: Views are counted: `many` is true, not null (events reversed)",
    ]


SETS = """
tests:
  - name: What is in a set is in it in any order
    given:
      - {event: a, properties: {x: red}}
      - {event: a, properties: {x: blue}}
      - {event: a, properties: {x: 2.5}}
      - {event: a, properties: {x: true}}
    then: {colours: [EXPECTED]}
"""


@pytest.mark.parametrize(
    ("expected", "holds"),
    [
        *((f"{a}, {b}, 2.5, {c}", True) for a, b, c in itertools.permutations(("red", "blue", "true"))),
        ("red, blue, 2.5", False),
        ("red, blue, 2.5, true, red", False),
        ("red, red, 2.5, true", False),
        ("red, blue, 2.5, 1", False),
    ],
)
def test_sets_are_compared_without_order(expected: str, holds: bool) -> None:
    """Their order follows from a secret that differs between servers; each value must be there, and nothing else."""
    model = compile_model("model: shop\nattributes: {colours: {set: event.x}}\n", "shop.yaml", {})
    (trial,) = read_trials(SETS.replace("EXPECTED", expected), "shop_tests.yaml")
    assert (run_trial([model], trial) == []) == holds


BOOLEANS = """
model: shop
attributes:
  total: {sum: event.x}
  least: {min: event.x}
  greatest: {max: event.x, window: 1h}
  mean: {mean: event.x}
  weighed: {top: event.y, weight: event.x}
  more: {sum: event.x + 1.0}
  stays: {recent: event.x}
"""
BOOLEAN_TESTS = """
tests:
  - name: Booleans count as 1 and 0 where a property is taken as a number
    given:
      - {event: a, properties: {x: true, y: q}}
      - {event: a, at: 1s, properties: {x: false, y: q}}
      - {event: a, at: 2s, properties: {x: 5, y: q}}
    then: {total: 6, least: 0, greatest: 5, mean: 2, weighed.weight: 6, more: 6, stays: [5, false, true]}
"""


def test_booleans_of_events_count_as_1_and_0() -> None:
    """In sums, extremes, means and weights; arithmetic on them is an error, and where values are kept they stay what they are."""
    (trial,) = read_trials(BOOLEAN_TESTS, "shop_tests.yaml")
    assert [str(each) for each in run_trial([compile_model(BOOLEANS, "shop.yaml", {})], trial)] == []


TIMED = """
model: timed
attributes:
  views: {count: view_item}
derived:
  came_back: told.count > 0 && !told
  dozes: session.idle_s > 60.0
triggers:
  told: {when: views > 0, quiet_for: 3s, once_per: quiet}
  dozed: {when: dozes}
tests: timed_tests.yaml
"""
TIMED_TESTS = """
tests:
  - name: The trigger fires between two events, and in each quiet
    given: [{event: view_item}, {event: view_item, at: 4s}, {event: view_item, at: 6s}, {event: view_item, at: 9s}]
    when: {passes: 1s}
    then: {views: 4, told: false, told.count: 2, told.time: 1704067209000, came_back: true, dozed: false}
  - name: What the time does between two events has been told
    given: [{event: view_item}, {event: view_item, at: 2m}]
    then: {dozed: true, dozed.count: 1, dozes: false}
  - name: An event that comes late does not take back what was told
    given: [{event: view_item}, {event: view_item, at: 2s, received: 10s}]
    then: {views: 2, told.count: 2, told: true}
  - name: One that happened before the one above it comes with that one
    given: [{event: view_item}, {event: view_item, at: 10s}, {event: view_item, at: 2s}]
    then: {views: 3, told.count: 1, came_back: true}
  - name: Nothing holds up the time of another visitor
    given: [{event: view_item}, {event: view_item, at: 70s, visitor: visitor-2}]
    then: {dozes: true, told: true}
  - name: The look is at one moment, to the second, whenever a server would have looked last
    given: [{event: view_item}]
    when: {passes: 61s}
    then: {dozes: true}
"""


def test_time_passes_between_events_as_on_a_server(tmp_path: Path) -> None:
    """Triggers fire at their time and not after all events, with what follows from them; late events come when they come."""
    (tmp_path / "timed.yaml").write_text(TIMED)
    (tmp_path / "timed_tests.yaml").write_text(TIMED_TESTS)
    count, failures = run_file(tmp_path / "timed.yaml")
    assert (count, [str(failure) for failure in failures]) == (6, [])


def test_what_triggers_tell_is_looked_at_where_events_come_in_order() -> None:
    """A wrong count is found in order and twice; of events that come all at once triggers tell something else."""
    (trial, *_) = read_trials(TIMED_TESTS.replace("told.count: 2", "told.count: 1"), "timed_tests.yaml")
    failures = run_trial([compile_model(TIMED, "timed.yaml", {})], trial)
    assert [(failure.attribute, failure.arrival) for failure in failures] == [
        ("told.count", "in order"),
        ("told.count", "twice"),
    ]


def test_a_trial_without_a_session_fails() -> None:
    """Looking at a visitor that sent nothing is a failure, not an error."""
    (trial,) = read_trials(TESTS.replace("    when:", "    of: nobody\n    when:"), "shop_tests.yaml")
    failures = run_trial(_models(), trial)  # type: ignore[arg-type]
    assert "there is no session of `nobody`" in str(failures[0])


@pytest.mark.parametrize(
    ("source", "line", "message"),
    [
        ("cases: []", 1, "no member `cases`"),
        ("tests: []", 1, "1 to 1000 cases"),
        ("tests:\n  - {name: x, given: [], then: {}}", 2, "a case needs"),
        ("tests:\n  - {name: x, given: [{event: a}], than: {}}", 2, "did you mean `then`?"),
        ("tests:\n  - name: x\n    given: [{event: a, at: soon}]\n    then: {}", 3, "`soon` is not a duration"),
        (
            "tests:\n  - name: x\n    given: [{event: a, at: 9s},\n      {event: a, received: 5s}]\n    then: {}",
            4,
            "before the one above it; give it a later `received`",
        ),
        ("tests:\n  - name: x\n    given: [{evnt: a}]\n    then: {}", 3, "did you mean `event`?"),
        ("tests:\n  - name: x\n    given: [{event: a}]\n    then: {a: {near: 1}}", 4, "needs `near` and `within`"),
    ],
)
def test_damaged_tests_are_refused_with_their_line(source: str, line: int, message: str) -> None:
    """A test file that cannot be read is refused like a model file: with line, message and remedy."""
    with pytest.raises(ModelError) as caught:
        read_trials(source, "shop_tests.yaml")
    assert any(
        problem.line == line and message in f"{problem.message}; {problem.remedy}" for problem in caught.value.problems
    ), str(caught.value)


def test_tests_lie_beside_their_model(tmp_path: Path) -> None:
    """`tests` names a file in the folder of the model; a model without tests, or whose tests are gone, says so."""
    path = tmp_path / "shop.yaml"
    path.write_text(MODEL)
    with pytest.raises(ModelError, match="cannot be read"):
        run_file(path)
    (tmp_path / "shop_tests.yaml").write_text(TESTS)
    assert run_file(path) == (1, [])
    path.write_text(MODEL.replace("tests: shop_tests.yaml", ""))
    with pytest.raises(ModelError, match="names no tests"):
        run_file(path)


def test_what_is_no_utf8_says_so_with_its_line(tmp_path: Path) -> None:
    """A model file and its tests: not the path is to be looked at, but the line that some other program wrote."""
    path = tmp_path / "shop.yaml"
    path.write_bytes(MODEL.encode() + b"# \xff\n")
    with pytest.raises(ModelError) as caught:
        run_file(path)
    (problem,) = caught.value.problems
    assert (problem.line, problem.remedy) == (MODEL.count("\n") + 1, "save it as UTF-8")
    path.write_text(MODEL)
    (tmp_path / "shop_tests.yaml").write_bytes(b"tests:\n# \xe4\n")
    with pytest.raises(ModelError) as caught:
        run_file(path)
    (problem,) = caught.value.problems
    assert (problem.file, problem.line, problem.remedy) == ("shop_tests.yaml", 2, "save it as UTF-8")
