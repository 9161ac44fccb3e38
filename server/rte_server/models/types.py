"""Static types of expressions: sets of the types that a value can have when the expression is evaluated.

The official checker is told that every input is `dyn`, so that `basket_value > 50` needs no `50.0`. It then finds
little wrong. These sets find what cannot work whatever the input: `basket_value * 2`, where one is a double and the
other an int, is an error each time it is evaluated, and is refused when it is compiled instead.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from rte_server.engine.program import SESSION_FIELDS, AttributeSpec, Kind

TypeSet = int
"""A set of types: the sum of the constants below."""

NULL: TypeSet = 1
BOOL: TypeSet = 2
INT: TypeSet = 4
DOUBLE: TypeSet = 8
STRING: TypeSet = 16
LIST: TypeSet = 32
ENTRIES: TypeSet = 64  # a list of plain values, which `x in name` looks through

NUMBER: TypeSet = INT | DOUBLE
# A property is what google.protobuf.Value can be; its numbers are doubles. Lists and objects are no values.
PROPERTY: TypeSet = NULL | BOOL | DOUBLE | STRING
# An attribute that could not be read is taken to be whatever its readers want: its own problem is enough.
UNKNOWN: TypeSet = PROPERTY | NUMBER | ENTRIES

LISTS_OF_VALUES = frozenset((Kind.RECENT, Kind.SET))
"""Kinds whose value is a list of plain values, in a cell of `keep` entries as `expressions.cells_place` says."""

_OF_VALUE_TYPE: dict[str, TypeSet] = {
    "bool": BOOL | NULL,
    "int": INT | NULL,
    "double": DOUBLE | NULL,
    "string": STRING | NULL,
    "time": INT | NULL,
    "any": PROPERTY,
    "list": LIST | NULL,
}

_NAMES: dict[TypeSet, str] = {
    NULL: "null",
    BOOL: "a bool",
    INT: "an int",
    DOUBLE: "a double",
    STRING: "a string",
    LIST: "a list",
}


def types_of(value_type: str) -> TypeSet:
    """Return the types that an attribute of `value_type` can have. Each attribute can be without a value: null."""
    return _OF_VALUE_TYPE[value_type]


def value_type_of(types: TypeSet) -> str:
    """Return the value type of an attribute whose expression has these types: one of them, or `any`."""
    single = {BOOL: "bool", INT: "int", DOUBLE: "double", STRING: "string"}
    return single.get(types & ~NULL, "any")


def row_inputs(attributes: Iterable[AttributeSpec]) -> dict[str, TypeSet]:
    """Return the inputs of expressions on a row: the attributes and the fields of the session, with their types."""
    return {
        **{each.name: types_of(each.value_type) | _entries(each) for each in attributes},
        **{name: types_of(value_type) for name, (_, value_type) in SESSION_FIELDS.items()},
    }


def known_names(inputs: Mapping[str, TypeSet]) -> list[str]:
    """Return the names among inputs that can be proposed: of an attribute that could not be read nobody knows the parts."""
    return [name for name, types in inputs.items() if types != UNKNOWN or "." not in name]


def _entries(spec: AttributeSpec) -> TypeSet:
    return ENTRIES if spec.kind in LISTS_OF_VALUES else 0


def type_name(types: TypeSet) -> str:
    """Return `types` in words, null left out where it is not alone."""
    shown = types & ~NULL or types
    return " or ".join(name for single, name in _NAMES.items() if shown & single)
