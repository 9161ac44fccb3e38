"""Expressions taken apart: each part as text, with the code that computes it, so that a rule can be shown with values.

The official engine's tree holds no text of its parts, only where each begins. So the text of a part is written anew from
the tree, in the form in which people write CEL; the whole keeps the words of its author.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from rte_server.engine.expressions import Code
from rte_server.models.alongside import renamed_code
from rte_server.models.cel import parse_expression
from rte_server.models.lowering import Lowering
from rte_server.models.problems import ExpressionError
from rte_server.models.types import TypeSet

_BINARY = {
    "_||_": ("||", 2),
    "_&&_": ("&&", 3),
    "_==_": ("==", 4),
    "_!=_": ("!=", 4),
    "_<_": ("<", 4),
    "_<=_": ("<=", 4),
    "_>_": (">", 4),
    "_>=_": (">=", 4),
    "@in": ("in", 4),
    "_+_": ("+", 5),
    "_-_": ("-", 5),
    "_*_": ("*", 6),
    "_/_": ("/", 6),
    "_%_": ("%", 6),
}
"""Sign and precedence of the operators on two values. Source: cel-spec, doc/langdef.md, Syntax."""

_CHOICE_PRECEDENCE, _UNARY_PRECEDENCE, _ATOM_PRECEDENCE = 1, 7, 8
_CHAINS = ("_&&_", "_||_")
_UNARY = {"!_": "!", "-_": "-"}
_MACROS = {"math.@max": "math.greatest", "math.@min": "math.least"}
"""What people write for functions of the official engine that are made by macros."""

Node = Any
"""A `cel.expr.Expr`; its generated class is not typed."""


@dataclass(frozen=True, slots=True)
class Part:
    """A part of an expression.

    Attributes:
        text: The part as CEL.
        operator: What it does with its parts, in the words of the official engine: `_&&_`, `_?_:_`, `size`, ...; empty
            for an input or a constant.
        input: The input that it is: `basket_value`, `session.channel`, `event.price`; empty if it is none.
        code: Computes it.
        parts: Its operands, constants left out; those of a chain of `&&` or `||` are all side by side.
    """

    text: str
    operator: str
    input: str
    code: Code
    parts: tuple[Part, ...]


def renamed_part(part: Part, names: Mapping[str, str], *, is_on_event: bool = False) -> Part:
    """Return a part that reads attributes and look-up lists under other names; its text stays.

    Args:
        part: As it was taken apart.
        names: New names, by old name.
        is_on_event: Whether it reads properties of an event, which keep their names.
    """
    attributes = {} if is_on_event else names
    return replace(
        part,
        input=attributes.get(part.input, part.input),
        code=renamed_code(part.code, attributes, names),
        parts=tuple(renamed_part(each, names, is_on_event=is_on_event) for each in part.parts),
    )


def take_apart(text: str, inputs: Mapping[str, TypeSet] | None, lists: frozenset[str], *, each: bool = False) -> Part:
    """Return an expression with its parts.

    Args:
        text: An expression that compiles.
        inputs: As for `compile_row_expression`; None for an expression on an event.
        lists: Names of the look-up lists that it may read.
        each: Whether it may read `item`, an element of a list.

    Raises:
        ExpressionError: It does not compile.
    """
    tree, positions = parse_expression(text, inputs)
    whole = _Reader(text, positions, inputs, lists, each=each).part(tree)
    return Part(" ".join(text.split()), whole.operator, whole.input, whole.code, whole.parts)


class _Reader:
    """Turns nodes of one tree into parts."""

    def __init__(
        self,
        text: str,
        positions: Mapping[int, int],
        inputs: Mapping[str, TypeSet] | None,
        lists: frozenset[str],
        *,
        each: bool,
    ) -> None:
        self._lowering = (text, positions, inputs, lists)
        self._each = each

    def part(self, node: Node) -> Part:
        """Return the part that a node is.

        Raises:
            ExpressionError: It has no code of its own: a list, for instance.
        """
        lowering = Lowering(*self._lowering, each=self._each)
        lowering.lower(node)
        parts = []
        for operand in _operands(node):
            if operand.WhichOneof("expr_kind") == "const_expr":
                continue
            try:
                parts.append(self.part(operand))
            except ExpressionError:
                continue  # It has meaning only inside of the whole, as `event` in `event['item-id']` has.
        kind = node.WhichOneof("expr_kind")
        operator = node.call_expr.function if kind == "call_expr" else ""
        name = "" if operator or kind == "const_expr" else _written(node)[0]
        if operator == "_[_]" and not parts:
            operator, name = "", _written(node)[0]
        return Part(_written(node)[0], operator, name, tuple(lowering.code), tuple(parts))


def _operands(node: Node) -> list[Node]:
    """Return what a node works on; for a chain of `&&` or `||`, which the parser makes a tree of, all its members."""
    if node.WhichOneof("expr_kind") != "call_expr":
        return []
    call = node.call_expr
    if call.function in _CHAINS:
        members: list[Node] = []
        for each in call.args:
            same = each.WhichOneof("expr_kind") == "call_expr" and each.call_expr.function == call.function
            members += _operands(each) if same else [each]
        return members
    operands = [*([call.target] if call.HasField("target") else []), *call.args]
    lists = [each for each in operands if each.WhichOneof("expr_kind") == "list_expr"]
    return [each for each in operands if each not in lists] + [
        item for each in lists for item in each.list_expr.elements
    ]


def _written(node: Node) -> tuple[str, int]:
    """Return a node as CEL, and how tightly its outermost operator binds."""
    kind = node.WhichOneof("expr_kind")
    if kind == "const_expr":
        text = _constant(node.const_expr)
        return text, _UNARY_PRECEDENCE if text.startswith("-") else _ATOM_PRECEDENCE
    if kind == "ident_expr":
        return node.ident_expr.name.removeprefix("."), _ATOM_PRECEDENCE
    if kind == "select_expr":
        name = f"{_inside(node.select_expr.operand, _ATOM_PRECEDENCE)}.{node.select_expr.field}"
        return (f"has({name})" if node.select_expr.test_only else name), _ATOM_PRECEDENCE
    if kind == "list_expr":
        return f"[{', '.join(_written(each)[0] for each in node.list_expr.elements)}]", _ATOM_PRECEDENCE
    if kind == "call_expr":
        return _call(node.call_expr)
    return "...", _ATOM_PRECEDENCE


def _call(call: Any) -> tuple[str, int]:
    function, operands = call.function, list(call.args)
    if function in _BINARY:
        sign, precedence = _BINARY[function]
        # Operators of one precedence bind from the left.
        left, right = _inside(operands[0], precedence), _inside(operands[1], precedence + (function not in _CHAINS))
        return f"{left} {sign} {right}", precedence
    if function == "_?_:_":
        condition, left, right = (_inside(each, _CHOICE_PRECEDENCE + 1) for each in operands)
        return f"{condition} ? {left} : {right}", _CHOICE_PRECEDENCE
    if function in _UNARY:
        # Two signs right behind each other, or one before a number, would be another tree when they are read again.
        is_constant = operands[0].WhichOneof("expr_kind") == "const_expr"
        inner = _inside(operands[0], _ATOM_PRECEDENCE + 1 if is_constant else _ATOM_PRECEDENCE)
        return _UNARY[function] + inner, _UNARY_PRECEDENCE
    if function == "_[_]":
        return f"{_inside(operands[0], _ATOM_PRECEDENCE)}[{_written(operands[1])[0]}]", _ATOM_PRECEDENCE
    if function in _MACROS:
        function = _MACROS[function]
        operands = list(operands[0].list_expr.elements) or operands
    arguments = ", ".join(_written(each)[0] for each in operands)
    target = f"{_inside(call.target, _ATOM_PRECEDENCE)}." if call.HasField("target") else ""
    return f"{target}{function}({arguments})", _ATOM_PRECEDENCE


def _inside(node: Node, precedence: int) -> str:
    """Return an operand as CEL, in parentheses where it binds less tightly than what it stands in."""
    text, own = _written(node)
    return text if own >= precedence else f"({text})"


def _constant(constant: Any) -> str:
    kind = constant.WhichOneof("constant_kind")
    if kind == "null_value":
        return "null"
    if kind == "string_value":
        return (
            "'"
            + json.dumps(constant.string_value, ensure_ascii=False)[1:-1].replace("'", "\\'").replace('\\"', '"')
            + "'"
        )
    if kind == "bool_value":
        return "true" if constant.bool_value else "false"
    if kind == "double_value":
        return repr(constant.double_value)
    return str(getattr(constant, kind))
