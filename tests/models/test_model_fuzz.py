"""Models that ship and their tests, changed at random: whatever a file holds, its problems have file, line and sentence."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import cache
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from rte_server.engine.program import ModelSpec
from rte_server.models import ModelError, compile_model, load_models, pack_names, shipped_names, shipped_path
from rte_server.models.loader import Source, read_source
from rte_server.models.problems import Problem
from rte_server.models.trials import read_trials

Change = Callable[[str, st.DataObject], str]

FILE = "changed.yaml"
EXAMPLES = 150
WORDS = (
    "",
    "0",
    "-1",
    "1e400",
    ".nan",
    "~",
    "true",
    "*",
    "&a",
    "[]",
    "{}",
    "[[[]]]",
    "{a: {b: {c: d}}}",
    "'",
    '"',
    ":",
    "- ",
    "#",
    "\t",
    "\x00",
    "é",
    "\U0001f600",
    "!!python/object:os.system",
    "2026-01-01",
    "99999999999999999999",
    "10m",
    "500ms",
    "purchase",
    "event.price",
    "event.items",
    "item.price",
    "session.idle_s",
    "'x' in event.items",
    "lists.none",
    "1 / 0",
    "size('x')",
    "count",
    "top",
    "each",
    "where",
    "resets_on",
    "within",
    "\ud800",
    "(" * 200,
    "[" * 2000,
    "9" * 5000,
    "9" * 400 + "d",
    "x" * 3000,
)
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**20), 10**20),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(WORDS),
    st.lists(st.sampled_from(WORDS), max_size=3),
    st.dictionaries(st.sampled_from(WORDS), st.sampled_from(WORDS), max_size=3),
)


MODELS = tuple(name for name in shipped_names() if name not in pack_names())


@cache
def source_of(name: str) -> Source:
    """Return a model that ships, as a file."""
    return read_source(name)


@cache
def used_by(name: str) -> dict[str, ModelSpec]:
    """Return the models that one uses."""
    return {model.name: model for model in load_models([name]) if model.name != name}


def compile_changed(name: str, text: str) -> None:
    """Compile a text in the place of a model; if it is refused, look at how."""
    files = source_of(name).files
    try:
        compile_model(text, FILE, used_by(name), files)
    except ModelError as error:
        check(error.problems, text, files.keys())


def check(problems: Sequence[Problem], text: str, files: Collection[str]) -> None:
    """Assert that there are problems, each with a sentence about a line of the text or about another file."""
    last = text.count("\n") + 2  # YAML reports the end of a file one line later.
    assert problems
    for problem in problems:
        assert problem.message, problem
        assert problem.file in files or (problem.file == FILE and 0 < problem.line <= last), problem


def nodes(tree: Any) -> list[tuple[Any, Any]]:
    """Return every place of a tree, as a container and a key or an index."""
    found: list[tuple[Any, Any]] = []
    places = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for place, below in list(places):
        found += [(tree, place), *nodes(below)]
    return found


def with_changed_lines(text: str, data: st.DataObject) -> str:
    """Return a text with lines that are cut, repeated, moved or have another word in them."""
    lines = text.split("\n")
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(lines) - 1))
        line = lines[at]
        cut = data.draw(st.integers(0, len(line)))
        match data.draw(st.sampled_from(("cut", "drop", "repeat", "move", "indent", "word", "join"))):
            case "cut":
                lines[at] = line[:cut]
            case "drop" if len(lines) > 1:
                del lines[at]
            case "repeat":
                lines.insert(at, line)
            case "move":
                lines.insert(data.draw(st.integers(0, len(lines) - 1)), lines.pop(at))
            case "indent":
                lines[at] = " " * data.draw(st.integers(0, 6)) + line.strip()
            case "word":
                lines[at] = line[:cut] + data.draw(st.sampled_from(WORDS)) + line[cut:]
            case _:
                lines[at : at + 2] = [" ".join(lines[at : at + 2])]
    return "\n".join(lines)


def with_changed_members(text: str, data: st.DataObject) -> str:
    """Return a YAML text in which members have another value or stand under another name."""
    tree = yaml.safe_load(text)
    for _ in range(data.draw(st.integers(1, 3))):
        container, place = data.draw(st.sampled_from(nodes(tree)))
        if isinstance(container, dict) and place in container and data.draw(st.booleans()):
            container[data.draw(st.sampled_from(WORDS))] = container.pop(place)
        elif isinstance(container, dict) or place < len(container):
            container[place] = data.draw(VALUES)
        if not nodes(tree):
            break
    changed: str = yaml.safe_dump(tree, sort_keys=False, allow_unicode=data.draw(st.booleans()))
    return changed


CHANGES = pytest.mark.parametrize("change", [with_changed_lines, with_changed_members])


@CHANGES
@given(data=st.data())
@settings(max_examples=EXAMPLES)
def test_a_changed_model_never_crashes(change: Change, data: st.DataObject) -> None:
    """It compiles, or has problems."""
    name = data.draw(st.sampled_from(MODELS))
    compile_changed(name, change(source_of(name).text, data))


@CHANGES
@given(data=st.data())
@settings(max_examples=EXAMPLES)
def test_a_changed_test_file_never_crashes(change: Change, data: st.DataObject) -> None:
    """It holds tests, or has problems."""
    name = data.draw(st.sampled_from(MODELS))
    text = change(shipped_path(name).with_name(f"{name}_tests.yaml").read_text("utf-8"), data)
    try:
        read_trials(text, FILE)
    except ModelError as error:
        check(error.problems, text, frozenset())
