"""Compiled expressions give what the official CEL evaluator gives."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from cel_expr_python import cel
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from rte_server.engine.evaluation import cells_place
from rte_server.engine.native import bits_float, float_bits, text_id
from rte_server.engine.values import BOOL, DOUBLE, ERROR, INT, NULL, STRING
from rte_server.models.cel import EXTENSIONS, Expression, compile_event_expression, compile_row_expression
from rte_server.models.problems import ExpressionError
from rte_server.models.types import ENTRIES, LIST, types_of
from tests.engine.expression_pool import Machine
from tests.models.expressions_strategy import LISTS, ROW_INPUTS, event_values, expressions, row_values, texts
from tests.models.url_oracle import url_declarations

SECRET = np.arange(7, 11, dtype=np.uint64)
DYN = cel.Type.DYN
LIST_TYPE = cel.Type.Map(cel.Type.STRING, cel.Type.List(cel.Type.STRING))
EVENT_ENVIRONMENT = cel.NewEnv(
    variables={"event": cel.Type.Map(cel.Type.STRING, DYN), "lists": LIST_TYPE},
    functions=url_declarations(),
    extensions=EXTENSIONS,
)
ROW_ENVIRONMENT = cel.NewEnv(variables=dict.fromkeys(ROW_INPUTS, DYN) | {"lists": LIST_TYPE}, extensions=EXTENSIONS)
ROW_TYPES = {name: types_of(value_type) for name, (value_type, _) in ROW_INPUTS.items()}
ROW_NAMES = {
    kind: [name for name, (value_type, _) in ROW_INPUTS.items() if value_type == kind]
    for kind in ("int", "double", "bool", "string")
} | {"has": [], "url": []}
EVENT_NAMES = {
    "int": ["int(event.n)"],
    "double": ["event.n", "event.m"],
    "bool": ["event.x", "event.y"],
    "string": ["event.x", "event.y"],
    "has": ["event.n", "event.m", "event.x", "event.y"],
    "url": ["event.x", "event.y"],
}


def _value(value: Any) -> tuple[int, int]:
    if value is None:
        return NULL, 0
    if isinstance(value, bool):
        return BOOL, int(value)
    if isinstance(value, int):
        return INT, value
    if isinstance(value, float):
        return DOUBLE, int(float_bits(value))
    return STRING, text_id(value.encode(), SECRET)


def run(found: Expression, inputs: Mapping[str, Any]) -> Any:
    """Evaluate with the kernel; inputs that are not given are missing. Errors are the string `error`."""
    machine = Machine(found.code, SECRET, LISTS)
    strings = {name: value for name, value in inputs.items() if isinstance(value, str)}
    tag, bits = machine.run({name: _value(value) for name, value in inputs.items()}, strings)
    if tag == STRING:
        return "text", machine.text(bits)
    return {ERROR: "error", NULL: None, BOOL: bool(bits), INT: int(bits)}.get(tag, float(bits_float(bits)))


def official(environment: Any, text: str, given_values: Mapping[str, Any]) -> Any:
    """Evaluate with the official engine, in the same words as `run`."""
    try:
        compiled = environment.compile(text)
    except RuntimeError:
        compiled = environment.compile(text, disable_check=True)
    found = compiled.eval(data={**given_values, "lists": LISTS})
    if found.type() == cel.Type.ERROR:
        return "error"
    value = found.plain_value()
    return ("text", value) if isinstance(value, str) else value


def same(left: Any, right: Any) -> bool:
    """Return whether two results are the same in type and value; a NaN is the same as a NaN."""
    if isinstance(left, float) and isinstance(right, float):
        return (left == right and math.copysign(1, left) == math.copysign(1, right)) or (
            left != left and right != right
        )
    return type(left) is type(right) and left == right


@settings(max_examples=600, deadline=None)
@given(
    text=st.sampled_from(["bool", "bool", "int", "double", "string"]).flatmap(
        lambda kind: expressions(ROW_NAMES, kind)
    ),
    row=row_values(),
)
def test_expressions_on_rows_equal_the_official_evaluator(text: str, row: dict[str, Any]) -> None:
    """On any row, null attributes included, the kernel and the official evaluator agree, errors included."""
    try:
        found = compile_row_expression(text, ROW_TYPES, frozenset(LISTS))
    except ExpressionError:
        assume(False)
    assert same(run(found, row), official(ROW_ENVIRONMENT, text, row)), (text, row)


@settings(max_examples=600, deadline=None)
@given(
    text=st.sampled_from(["bool", "bool", "int", "double", "string"]).flatmap(
        lambda kind: expressions(EVENT_NAMES, kind)
    ),
    event=event_values(),
)
def test_expressions_on_events_equal_the_official_evaluator(text: str, event: dict[str, Any]) -> None:
    """On any event, missing properties included, the kernel and the official evaluator agree, errors included."""
    try:
        found = compile_event_expression(text, frozenset(LISTS))
    except ExpressionError:
        assume(False)
    assert same(run(found, event), official(EVENT_ENVIRONMENT, text, {"event": event})), (text, event)


@settings(max_examples=200, deadline=None)
@given(
    text=st.sampled_from(["int", "double", "bool", "string"]).flatmap(lambda kind: expressions(ROW_NAMES, kind, 1)),
    row=row_values(),
    items=st.lists(st.booleans() | st.sampled_from([1, 2, 2**53 + 1, 0.0, -0.0, 1.0, 2.5]) | texts, max_size=4),
    free=st.integers(0, 2),
)
def test_membership_in_a_list_attribute_equals_the_official_evaluator(
    text: str, row: dict[str, Any], items: list[Any], free: int
) -> None:
    """`x in tags` is what the official evaluator says of the list, also where it is not full or empty."""
    text = f"({text}) in tags"
    try:
        found = compile_row_expression(text, ROW_TYPES | {"tags": LIST | ENTRIES}, frozenset(LISTS))
    except ExpressionError:
        assume(False)
    entries = np.zeros((len(items) + free, 3), np.int64)
    for entry, item in zip(entries, items, strict=False):
        tag, bits = _value(item)
        entry[:] = 1 << 40 | tag, 7, bits
    place = int(cells_place((entries.ctypes.data, entries.size), 0, len(entries), 3))
    machine = Machine(found.code, SECRET, LISTS)
    strings = {name: value for name, value in row.items() if isinstance(value, str)}
    values = {name: _value(value) for name, value in row.items()} | {"tags[]": (INT, place)}
    tag, bits = machine.run(values, strings)
    environment = cel.NewEnv(
        variables=dict.fromkeys([*ROW_INPUTS, "tags"], DYN) | {"lists": LIST_TYPE}, extensions=EXTENSIONS
    )
    expected = official(environment, text, row | {"tags": items})
    assert {ERROR: "error", BOOL: bool(bits)}[tag] == expected, (text, row, items)


@pytest.mark.parametrize(
    ("text", "event"),
    [
        ("event.a && event.b", {"b": False}),
        ("event.a || event.b", {"a": 3.0, "b": True}),
        ("event.a == null", {"a": None}),
        ("event.a == null", {}),
        ("has(event.a) ? event.a : 0.0", {}),
        ("event.a in [event.b, 'x']", {"a": "x"}),
        ("event.a in []", {"a": 1.0}),
        ("event.a in [1, 2]", {"a": 2.0}),
        ("event['item-id'] == 'é'", {"item-id": "é"}),
        ("size(event.a) == 2", {"a": "日本"}),
        ("event.a < 'b' && 'a' <= event.a", {"a": "abc"}),
        ("event.a < event.b", {"a": "ab", "b": "abc"}),
        ("event.a > 100", {"a": 100.5}),
        ("event.a * 2.0 > 100", {"a": 50.5}),
        ("event.a / 0.0", {"a": 0.0}),
        ("int(event.a) % 3 == -1", {"a": -4.0}),
        ("event.a ? 1 : null", {"a": False}),
    ],
)
def test_chosen_expressions_equal_the_official_evaluator(text: str, event: dict[str, Any]) -> None:
    """Cases that are easy to get wrong agree with the official evaluator."""
    assert same(
        run(compile_event_expression(text, frozenset(LISTS)), event),
        official(EVENT_ENVIRONMENT, text, {"event": event}),
    )


def test_what_differs_from_cel_on_purpose() -> None:
    """Properties that may be numbers are added, not joined; strings are not converted: no value where CEL gives one."""
    assert run(compile_event_expression("event.a + event.b"), {"a": "x", "b": "y"}) == "error"
    assert run(compile_event_expression("double(event.a)"), {"a": "1.5"}) == "error"
    assert official(EVENT_ENVIRONMENT, "double(event.a)", {"event": {"a": "1.5"}}) == 1.5
