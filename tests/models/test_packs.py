"""The models that ship: documented, right by their own tests, indifferent to order, bounded in memory as they declare."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import cache

import pytest

from rte_server.engine.exactness import session_bytes
from rte_server.engine.program import ModelSpec
from rte_server.engine.table import HEADER_WORDS
from rte_server.models import load_models, load_pack, pack_names, shipped_names, shipped_path
from rte_server.models.documents import read_document
from rte_server.models.trials import Trial, _encoded, _play, read_trials, run_file
from tests.engine.pair import new_engine

SESSION_BYTES_MAX = 4096
"""What the attributes of `base` and `retail` may take per session: 4 KiB."""
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
    """Shuffled, in several requests, and sent twice: every attribute is what it is in order, not only the stated ones."""
    models = closure(name)
    rng = random.Random(name)
    for trial in trials_of(name):
        events = [_encoded(event) for event in trial.events]
        in_order = _play(models, trial, [b"".join(events)])
        assert _play(models, trial, [b"".join(events)] * 2) == in_order, trial.name
        for _ in range(ORDERS):
            shuffled = rng.sample(events, len(events))
            cut = rng.randrange(len(events) + 1)
            requests = [b"".join(shuffled[:cut]), b"".join(shuffled[cut:])]
            assert _play(models, trial, [each for each in requests if each]) == in_order, trial.name


def row_bytes(models: Sequence[ModelSpec], name: str) -> int:
    """Return the bytes of a real engine's row that the attributes of one model are in."""
    program = new_engine(models).program
    words: set[int] = set()
    for number, spec in enumerate(program.attributes):
        if spec.model == name and not spec.owner:
            first, end = program.words_of(number)
            cells = set(range(first, end))
            assert int(HEADER_WORDS) <= first < end <= program.row_words and not cells & words
            words |= cells
    return 8 * len(words)


@pytest.mark.parametrize("name", MODELS)
def test_a_model_takes_no_more_memory_than_it_declares(name: str) -> None:
    """In the rows of a real engine a model has at most the bytes that it declares, and does not declare idly more."""
    taken = row_bytes(closure(name), name)
    assert taken == sum(map(session_bytes, load_pack(name).attributes)) <= declared_bytes(name)
    assert declared_bytes(name) <= taken + 32, "the bound says nothing"


def test_base_and_retail_together_stay_within_their_memory() -> None:
    """A row of a real engine with `base` and `retail` takes at most 4 KiB for its attributes."""
    words = new_engine(load_models(["retail"])).program.row_words - int(HEADER_WORDS)
    assert 8 * words <= SESSION_BYTES_MAX


def test_all_packs_run_side_by_side() -> None:
    """No two models that ship use one name for an attribute."""
    models = load_models(pack_names())
    assert {model.name for model in models} == set(shipped_names())
    names = [spec.name for model in models for spec in model.attributes]
    assert len(set(names)) == len(names)
