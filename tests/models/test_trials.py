"""Trials find what is wrong with a model and say it."""

from __future__ import annotations

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
