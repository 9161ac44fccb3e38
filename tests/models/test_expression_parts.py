"""Expressions taken apart, and the places where models define attributes."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from rte_server.models import load_models, pack_names
from rte_server.models.cel import compile_event_expression, compile_row_expression
from rte_server.models.definitions import find_definition
from rte_server.models.expression_parts import Part, take_apart
from rte_server.models.problems import ExpressionError
from rte_server.models.types import TypeSet, row_inputs, types_of
from tests.models.expressions_strategy import ROW_INPUTS, expressions

NO_LISTS: frozenset[str] = frozenset()
ROW_TYPES = {name: types_of(value_type) for name, (value_type, _) in ROW_INPUTS.items()}
NAMES = {
    kind: [name for name, (value_type, _) in ROW_INPUTS.items() if value_type == kind]
    for kind in ("int", "double", "bool", "string")
} | {"has": [], "url": []}


def every(part: Part) -> list[Part]:
    """Return a part and all parts of it."""
    return [part, *(each for inner in part.parts for each in every(inner))]


@settings(max_examples=300, deadline=None)
@given(text=st.sampled_from(["bool", "int", "double"]).flatmap(lambda kind: expressions(NAMES, kind)))
def test_each_part_is_written_as_what_it_is(text: str) -> None:
    """The text of a part, compiled by itself, is the code of the part; the whole has the code of the whole.

    But for the order of the steps: what is chained by `&&` or `||` means the same however it is put in parentheses.
    """
    try:
        whole = compile_row_expression(text, ROW_TYPES)
    except ExpressionError:
        assume(False)
    found = take_apart(text, ROW_TYPES, NO_LISTS)
    assert found.code == whole.code
    for part in every(found):
        assert Counter(compile_row_expression(part.text, ROW_TYPES).code) == Counter(part.code), part.text
        assert (part.input != "") == (part.text in ROW_TYPES)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("a > 1 && b && (c || !b)", ["a > 1", "b", "c || !b"]),
        ("b ? d - 1.0 : 0.0", ["b", "d - 1.0"]),
        ("s in ['x', t] || s.startsWith('y')", ["s in ['x', t]", "s.startsWith('y')"]),
        ("math.greatest(a, e, 3)  >  2", ["math.greatest(a, e, 3)"]),
        ("s == 'it\\'s'", ["s"]),
    ],
)
def test_parts_stand_side_by_side(text: str, parts: list[str]) -> None:
    """The members of a chain are all parts of it, constants are none, and blanks of the author do not matter."""
    kinds = {"a": "int", "e": "int", "b": "bool", "c": "bool", "d": "double", "s": "string", "t": "string"}
    inputs: dict[str, TypeSet] = {name: types_of(kind) for name, kind in kinds.items()}
    found = take_apart(text, inputs, NO_LISTS)
    assert [part.text for part in found.parts] == parts
    assert found.text == " ".join(text.split())


@pytest.mark.parametrize(
    "text",
    [
        "has(event.quantity) ? event.price * event.quantity : event.price",
        "event['item-id'] == 'x'",
        "url.query(event.page_location, 'utm_source') == 'mail'",
        "url.host(event.page_location).lowerAscii() + event.x == 'y'",
        "event.card in lists.stolen",
    ],
)
def test_expressions_on_events_are_taken_apart(text: str) -> None:
    """Each part of an expression on an event can be computed by itself."""
    lists = frozenset(["stolen"])
    found = take_apart(text, None, lists)
    assert found.code == compile_event_expression(text, lists).code
    for part in every(found):
        assert compile_event_expression(part.text, lists).code == part.code


def test_every_attribute_of_the_packs_is_found_in_its_source() -> None:
    """The definition of an attribute begins with its name, in the line that is named, and holds what it is made of."""
    for model in load_models(pack_names()):
        lines = model.source.splitlines()
        inputs = row_inputs(spec for each in load_models(pack_names()) for spec in each.attributes)
        for spec in model.attributes:
            found = find_definition(model.source, spec.name)
            assert found is not None, spec.name
            assert lines[found.line - 1].strip().startswith(f"{spec.name.partition('.')[0]}:")
            assert found.source.splitlines()[0] == lines[found.line - 1].strip()
            if spec.code:
                assert take_apart(found.value, inputs, frozenset(each.name for each in model.lists)).text


def test_definitions_of_all_forms_are_found() -> None:
    """Entries on one line, over several lines and of steps are found with their conditions; others are not."""
    source = (
        "model: m\n"
        "attributes:\n"
        "  a: {count: view_item, where: event.x > 1.0}\n"
        "  b:\n"
        "    sum: event.price\n"
        "\n"
        "    where: event.y\n"
        "derived: {c: a > 1, d: {cel: a > 2}}\n"
        "sequences:\n"
        "  s:\n"
        "    steps: [p, {event: q, where: event.z}]\n"
    )
    found = {name: find_definition(source, name) for name in ("a", "b", "c", "d", "s.stage", "m_v2.b", "x", "p")}
    assert found["x"] is found["p"] is None
    shown = {name: (each.line, each.value, each.conditions) for name, each in found.items() if each is not None}
    assert shown == {
        "a": (3, "view_item", ("event.x > 1.0",)),
        "b": (4, "event.price", ("event.y",)),
        "c": (8, "a > 1", ()),
        "d": (8, "a > 2", ()),
        "s.stage": (10, "", ("event.z",)),
        "m_v2.b": (4, "event.price", ("event.y",)),
    }
    b = found["b"]
    assert b is not None and b.source == "b:\n  sum: event.price\n\n  where: event.y"
