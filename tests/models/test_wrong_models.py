"""Wrong model files: each gets an error with the file, the line and the remedy. The cases are in `tests/cases`."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from rte_server.engine.program import ModelSpec
from rte_server.models import ModelError, compile_model, load_models
from rte_server.models.cel import EXPRESSION_BYTES_MAX
from rte_server.models.trials import read_trials, run_file

FOLDER = Path(__file__).resolve().parents[1] / "cases" / "wrong_models"
MODEL_FILE, TESTS_FILE = "shop.yaml", "shop_tests.yaml"
CASES_MIN = 130


@dataclass(frozen=True, slots=True)
class Wrong:
    """A wrong file.

    Attributes:
        name: What is wrong.
        line: Where it must be found.
        message: Part of what must be said of it.
        remedy: Part of what must be proposed.
        model: Text of the model file, if it is wrong, or if its tests are run.
        trials: Text of its tests, if they are wrong.
        files: Texts of further files beside the model.
        known: Models that run and that it does not use.
        file: The file that the error must name.
    """

    name: str
    line: int
    message: str
    remedy: str
    model: str | None = None
    trials: str | None = None
    files: dict[str, str] = field(default_factory=dict)
    known: list[str] = field(default_factory=list)
    file: str = ""


def cases() -> list[Any]:
    """Return all cases, as parameters of tests."""
    found = []
    for path in sorted(FOLDER.glob("*.yaml")):
        for case in yaml.safe_load(path.read_text("utf-8"))["cases"]:
            found.append(pytest.param(Wrong(**case), id=f"{path.stem}: {case['name']}"))
    return found


def load(wrong: Wrong, folder: Path) -> None:
    """Read the files of a case."""
    if wrong.model is None:
        assert wrong.trials is not None
        read_trials(wrong.trials, TESTS_FILE)
    elif wrong.trials is not None or wrong.file == MODEL_FILE:
        (folder / MODEL_FILE).write_text(wrong.model, "utf-8")
        if wrong.trials is not None:
            (folder / TESTS_FILE).write_text(wrong.trials, "utf-8")
        run_file(folder / MODEL_FILE)
    else:
        text = wrong.model.replace("{too_long}", "views > 1 || " * EXPRESSION_BYTES_MAX)
        text = text.replace("{digits}", "9" * 5_000)
        compile_model(text, MODEL_FILE, known_models(*wrong.known, "base"), wrong.files)


@cache
def known_models(*names: str) -> dict[str, ModelSpec]:
    """Return models that ship, by name."""
    return {model.name: model for model in load_models(names)}


@pytest.mark.parametrize("wrong", cases())
def test_a_wrong_file_is_refused_with_file_line_and_remedy(wrong: Wrong, tmp_path: Path) -> None:
    """The error names the file and the line, says what is wrong there, and what to do about it."""
    with pytest.raises(ModelError) as caught:
        load(wrong, tmp_path)
    problems = caught.value.problems
    file = wrong.file or (MODEL_FILE if wrong.trials is None else TESTS_FILE)
    fitting = [
        problem
        for problem in problems
        if problem.line == wrong.line and wrong.message in problem.message and wrong.remedy in problem.remedy
    ]
    assert fitting, "\n".join(map(str, problems))
    assert all(Path(problem.file).name == file for problem in fitting), str(fitting[0])
    assert all(problem.remedy for problem in problems), "\n".join(map(str, problems))


def test_there_are_cases_of_every_sort() -> None:
    """There are at least 130 cases, no two under one name."""
    names = [case.id for case in cases()]
    assert len(names) >= CASES_MIN and len(set(names)) == len(names)


MISSPELT = """model: shop
attributes:
  views: {coutn: view_item, where: event.price > 3.0}
  seen: {recnt: event.item_id, on: view_item}
  cart: {add: add_to_cart, baskett: event.item_id, set: update_cart, clear: purchase}
derived:
  keen: views > 3 && 'a' in seen && cart.value > 2.0
scores:
  p: {linear: {weights: {views: 1, cart.value: 2, keen: 3}}}
  q: {plugin: some, inputs: [views, cart.items]}
triggers:
  t: {when: keen, quiet_for: 10m}
  u: {when: views}
"""


def test_a_misspelt_kind_is_one_problem() -> None:
    """What reads such an attribute is not refused on its account: nobody knows what it will be."""
    with pytest.raises(ModelError) as caught:
        compile_model(MISSPELT, MODEL_FILE, {})
    found = [(problem.line, problem.remedy) for problem in caught.value.problems]
    assert found == [(3, "did you mean `count`?"), (4, "did you mean `recent`?"), (5, "did you mean `basket`?")]


def problems_of(model: str) -> list[tuple[int, str, str]]:
    """Return line, message and remedy of each problem of a model."""
    with pytest.raises(ModelError) as caught:
        compile_model(model, MODEL_FILE, {})
    return [(problem.line, problem.message, problem.remedy) for problem in caught.value.problems]


def test_a_wrong_name_is_one_problem() -> None:
    """That nothing else stands in the model is no problem of its own."""
    (found,) = problems_of("model: shop\nattributes:\n  Views: {count: view_item}\n")
    assert found[:2] == (3, "`Views` is not a name for an attribute")


def test_parts_of_what_could_not_be_read_are_not_proposed() -> None:
    """Whether `n` is a basket or a sequence nobody knows, so its parts are neither known nor near."""
    model = "model: shop\nattributes: {n: {coutn: a}, m: {count: a}}\nderived: {d: x > 1, e: n.item > 1}\n"
    remedies = [remedy for _, _, remedy in problems_of(model + "scores: {s: {linear: {weights: {zzzz: 1}}}}\n")]
    assert len(remedies) == 4 and "known are `m`, `n`" in " ".join(remedies)
    assert not [remedy for remedy in remedies if "n." in remedy.replace("session.", "")], remedies
