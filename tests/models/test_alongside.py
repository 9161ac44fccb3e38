"""Versions of models beside one another: names, what they read, and what takes whose place."""

from __future__ import annotations

import pytest

from rte_server.engine.expressions import input_names
from rte_server.engine.program import ModelSpec
from rte_server.models import ModelError, compile_model, compile_models
from rte_server.models.alongside import local_name, names_inside
from rte_server.models.changes import Change, attribute_changes, model_changes
from rte_server.models.given import next_sources, with_files
from rte_server.models.loader import Source, sources_of

VISIT = "model: visit\nversion: {}\nattributes:\n  views: {{count: page_view{}}}\n"
SHOP = (
    "model: shop\nversion: {}\nuses: [visit]\nlists:\n  cards: {{file: cards.csv}}\nattributes:\n"
    "  bad: {{count: purchase, where: event.card in lists.cards}}\n"
    "derived:\n  keen: views > {} && bad == 0\n"
    "scores:\n  want: {{linear: {{intercept: 1.0, weights: {{views: 0.5, keen: 2.0}}}}}}\n"
)
FILES = {"shop/cards.csv": "1\n", "shop_v2/cards.csv": "2\n"}


def specs(models: list[ModelSpec]) -> dict[str, object]:
    """Return what each attribute reads, or its kind."""
    return {
        spec.name: set(input_names(spec.code)) or {name for name, _, _ in spec.weights} or spec.kind.name
        for model in models
        for spec in model.attributes
    }


def test_a_version_alongside_reads_its_own_attributes_and_those_alongside() -> None:
    """Where a model that it uses runs alongside, too, it reads that one; else the plain one."""
    sources = {"visit": VISIT.format(1, ""), "shop": SHOP.format(1, 3), "shop_v2": SHOP.format(2, 4)}
    models = compile_models(sources, FILES)
    found = specs(models)
    assert found["shop_v2.keen"] == {"views", "shop_v2.bad"}
    assert found["shop_v2.want"] == {"views", "shop_v2.keen"}
    models = compile_models({**sources, "visit_v2": VISIT.format(2, "")}, FILES)
    found = specs(models)
    assert found["shop_v2.keen"] == {"visit_v2.views", "shop_v2.bad"}
    assert found["keen"] == {"views", "bad"}
    beside = next(model for model in models if model.name == "shop_v2")
    assert beside.uses == ("visit_v2",)
    assert [(each.name, each.values) for each in beside.lists] == [("shop_v2.cards", ("2",))]
    assert beside.attributes[0].where[-1].text == b"shop_v2.cards"
    assert names_inside(beside, models) == {
        "bad": "shop_v2.bad",
        "keen": "shop_v2.keen",
        "want": "shop_v2.want",
        "cards": "shop_v2.cards",
        "views": "visit_v2.views",
    }
    assert [local_name(spec) for spec in beside.attributes] == ["bad", "keen", "want"]


def test_what_changes_follows_from_what_is_read() -> None:
    """An attribute whose rule stays has other values if what it reads is another one."""
    before = compile_models({"visit": VISIT.format(1, ""), "shop": SHOP.format(1, 3)}, FILES)
    after = compile_models({"visit": VISIT.format(2, ", where: event.x == 1.0"), "shop": SHOP.format(1, 3)}, FILES)
    assert [(each.name, each.change) for each in attribute_changes(before, after)] == [
        ("keen", Change.OTHER_VALUES),
        ("views", Change.CHANGED),
        ("want", Change.OTHER_VALUES),
    ]
    assert [(each.name, each.version_before, each.version_after) for each in model_changes(before, after)] == [
        ("visit", 1, 2)
    ]
    other_list = compile_models({"visit": VISIT.format(1, ""), "shop": SHOP.format(1, 3)}, {"shop/cards.csv": "7\n"})
    assert {each.name for each in attribute_changes(before, other_list)} == {"bad", "keen", "want"}


def test_models_given_take_their_places() -> None:
    """By name; alongside by name and version; what takes its place no longer runs alongside, too."""
    running = sources_of({"visit": VISIT.format(1, ""), "visit_v2": VISIT.format(2, "")}, {})
    second, third = Source("v.yaml", VISIT.format(2, ""), {}), Source("v.yaml", VISIT.format(3, ""), {})
    assert set(next_sources(running, [second], [], is_alongside=False)) == {"visit"}
    assert set(next_sources(running, [third], [], is_alongside=True)) == {"visit", "visit_v2", "visit_v3"}
    assert set(next_sources(running, [], ["visit_v2"], is_alongside=False)) == {"visit"}
    assert "base" in next_sources({}, [Source("a.yaml", "model: a\nuses: [base]\n", {})], [], is_alongside=False)
    with pytest.raises(ModelError, match="given twice"):
        next_sources(running, [second, third], [], is_alongside=False)


def test_files_are_for_all_models_or_for_one() -> None:
    """A name alone is for every model, `model/name` for one."""
    given = [Source("a.yaml", "model: a\n", {}), Source("b.yaml", "model: b\n", {})]
    found = with_files(given, {"x.csv": b"all", "b/x.csv": b"one"})
    assert [source.files["x.csv"] for source in found] == ["all", "one"]


def test_what_reads_a_trigger_or_an_input_of_a_score_that_changes_has_other_values() -> None:
    """Through a trigger, which stands after what reads it, and through the inputs of a plug-in."""
    text = """
model: told
attributes:
  views: {count: view_item}
derived:
  back: left.count > 0
scores:
  p: {plugin: some, inputs: [back]}
triggers:
  left: {when: views > 0, quiet_for: 10m}
"""
    models = [[compile_model(text.replace("10m", quiet), "told.yaml", {})] for quiet in ("10m", "25m")]
    changes = {each.name: each.change for each in attribute_changes(*models)}
    assert changes["left"] is Change.CHANGED
    assert (changes["back"], changes["p"]) == (Change.OTHER_VALUES, Change.OTHER_VALUES)
    assert "views" not in changes
