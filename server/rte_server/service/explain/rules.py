"""The rule of a derived attribute as a tree of parts with values, and which of them decide."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from google.protobuf.struct_pb2 import Value

from rte.v1.session_explanation_pb2 import ExpressionPart
from rte_server.engine.expressions import Code
from rte_server.engine.program import AttributeSpec, Kind, ModelSpec, Program
from rte_server.models.alongside import names_inside
from rte_server.models.definitions import find_definition
from rte_server.models.expression_parts import Part, renamed_part, take_apart
from rte_server.models.problems import ExpressionError
from rte_server.models.types import TypeSet, row_inputs
from rte_server.service.explain.triggers import WHEN, TriggerState
from rte_server.service.explain.values import text_of

ATTRIBUTES_DEPTH_MAX = 8
"""Derived attributes that are shown inside of one another."""

PARTS_MAX = 2_000
"""Parts of one tree; a rule that reads others again and again could grow without bounds."""

REASONS_MAX = 4
"""Reasons that a summary names."""


@dataclass(frozen=True, slots=True)
class Rule:
    """An expression with what is shown of the attributes that it reads.

    Attributes:
        part: The expression.
        name: Name by which its value is asked for.
        parts: Its parts; for an attribute that is derived: its rule.
        cut: Whether there is more than is shown.
        trigger: How the trigger stands whose rule it is; its only part is the condition.
    """

    part: Part
    name: str
    parts: tuple[Rule, ...]
    cut: bool = False
    trigger: TriggerState | None = None


class Codes:
    """Gives each different expression a name, by which its value is asked for. Names are numbers: no attribute's."""

    def __init__(self) -> None:
        self._names: dict[Code, str] = {}

    def name_of(self, code: Code) -> str:
        """Return the name of an expression."""
        return self._names.setdefault(code, str(len(self._names)))

    def __len__(self) -> int:
        return len(self._names)

    @property
    def by_name(self) -> dict[str, Code]:
        """The expressions by their names."""
        return {name: code for code, name in self._names.items()}


class RuleReader:
    """Takes the rules of derived attributes apart."""

    def __init__(self, program: Program, codes: Codes, triggers: Mapping[str, TriggerState]) -> None:
        self._specs = {spec.name: spec for spec in program.attributes}
        self._models = {model.name: model for model in program.models}
        self._inputs: Mapping[str, TypeSet] = row_inputs(program.attributes)
        self._lists = list_names(program.models)
        self._inside = {model.name: names_inside(model, program.models) for model in program.models}
        self._codes = codes
        self._triggers = triggers
        self._count = 0

    def rule_of(self, name: str) -> Rule | None:
        """Return the rule of a derived attribute or a trigger, or None if it is none or has no text."""
        return self._rule_of(name, ())

    def inputs_of(self, spec: AttributeSpec) -> tuple[Rule, ...]:
        """Return the inputs of a score, without what is behind them."""
        return tuple(self._input(name) for name in _inputs_of_score(spec))

    def _rule_of(self, name: str, inside: tuple[str, ...]) -> Rule | None:
        spec = self._specs.get(name)
        if spec is None or not spec.code:
            return None
        definition = find_definition(self._models[spec.model].source, spec.name)
        if definition is None:
            return None
        # In a model alongside, names mean its own attributes.
        names = self._inside[spec.model]
        inputs = {**self._inputs, **{name: self._inputs[full] for name, full in names.items() if full in self._inputs}}
        try:
            part = renamed_part(take_apart(definition.value, inputs, self._lists | names.keys()), names)
        except ExpressionError:
            return None
        rule = self._rule(part, (*inside, name))
        state = self._triggers.get(name)
        return rule if state is None else Rule(Part(part.text, "", "", (), ()), "", (rule,), trigger=state)

    def _rule(self, part: Part, inside: tuple[str, ...]) -> Rule:
        self._count += 1
        name = self._codes.name_of(part.code)
        if self._count >= PARTS_MAX:
            return Rule(part, name, (), cut=bool(part.parts))
        if part.input not in self._specs:
            return Rule(part, name, tuple(self._rule(each, inside) for each in part.parts))
        if len(inside) >= ATTRIBUTES_DEPTH_MAX:
            return Rule(part, name, (), cut=_is_computed(self._specs[part.input]))
        own = self._rule_of(part.input, inside)
        if own is not None:
            return Rule(part, name, (own,))
        return Rule(part, name, self.inputs_of(self._specs[part.input]))

    def _input(self, name: str) -> Rule:
        part = take_apart(name, self._inputs, self._lists)
        return Rule(part, self._codes.name_of(part.code), ())


def list_names(models: Iterable[ModelSpec]) -> frozenset[str]:
    """Return the names of the look-up lists of some models."""
    return frozenset(each.name for model in models for each in model.lists)


def _is_computed(spec: AttributeSpec) -> bool:
    return bool(spec.code) or spec.kind == Kind.LINEAR


def _inputs_of_score(spec: AttributeSpec) -> tuple[str, ...]:
    return tuple(name for name, _ in spec.score.inputs) if spec.score else tuple(name for name, _, _ in spec.weights)


def shown(rule: Rule, values: Mapping[str, Value], *, decides: bool = True) -> ExpressionPart:
    """Return a rule as the contract has it.

    Args:
        rule: The rule.
        values: What the expressions give, by their names; those that give nothing are not there.
        decides: Whether what it stands in has its value because of it.
    """
    if rule.trigger is not None:
        return rule.trigger.shown(rule.part.text, shown(rule.parts[0], values, decides=decides), decides=decides)
    found = ExpressionPart(text=rule.part.text, input=rule.part.input, decides=decides, cut=rule.cut)
    if rule.name in values:
        found.value.CopyFrom(values[rule.name])
    deciding = _deciding(rule, values) if decides else ()
    found.parts.extend(shown(each, values, decides=place in deciding) for place, each in enumerate(rule.parts))
    return found


def _deciding(rule: Rule, values: Mapping[str, Value]) -> tuple[int, ...]:
    """Return the places of the parts because of which a rule has its value."""
    every = tuple(range(len(rule.parts)))
    operator = rule.part.operator
    truths = [_truth(values.get(each.name)) for each in rule.parts]
    if operator in ("_&&_", "_||_"):
        # One side alone makes `&&` false and `||` true; without one that does, an error on a side is the result.
        enough = operator == "_||_"
        if enough in truths:
            return (truths.index(enough),)
        return tuple(place for place in every if truths[place] is None) or every
    if operator == "_?_:_" and rule.parts:
        return _deciding_choice(rule, truths)
    return every


def _deciding_choice(rule: Rule, truths: list[bool | None]) -> tuple[int, ...]:
    """Return the condition and the side that it chose; constants are no parts, so that a side may not be there."""
    if truths[0] is None:
        return (0,)
    sides = list(range(1, len(rule.parts)))
    if len(sides) == 2:
        return (0, 1 if truths[0] else 2)
    text = rule.part.text
    is_left = bool(sides) and f"? {rule.parts[sides[0]].part.text} :" in text
    return (0, *sides) if sides and is_left == truths[0] else (0,)


def _truth(value: Value | None) -> bool | None:
    return value.bool_value if value is not None and value.WhichOneof("kind") == "bool_value" else None


def reasons(part: ExpressionPart) -> list[str]:
    """Return in a few words each why a part has its value: the last comparisons along the parts that decide."""
    found = list(dict.fromkeys(_reasons(part)))
    return found if len(found) <= REASONS_MAX else [*found[: REASONS_MAX - 1], f"{len(found) - REASONS_MAX + 1} more"]


def _reasons(part: ExpressionPart) -> Iterator[str]:
    deciding = [each for each in part.parts if each.decides]
    if part.input:
        below = [reason for each in deciding for reason in _reasons(each)] if _is_truth(part) else []
        yield f"`{part.input}` {_is(part)}" + (f" because {' and '.join(below)}" if below else "")
    elif deciding and (_is_logic(part) or not _is_truth(part) or part.text.startswith(WHEN)):
        for each in deciding:
            yield from _reasons(each)
    else:
        inputs = [_equals(each) for each in _inputs(part)]
        yield f"`{part.text}` {_is(part)}" + (f" ({', '.join(inputs)})" if inputs else "")


def _is_truth(part: ExpressionPart) -> bool:
    return part.value.WhichOneof("kind") == "bool_value"


def _is_logic(part: ExpressionPart) -> bool:
    """Return whether all parts that decide are conditions themselves, so that the whole is only their combination."""
    return any(_is_truth(each) and not each.input for each in part.parts if each.decides) or (
        part.text.startswith("!") and len(part.parts) == 1
    )


def _inputs(part: ExpressionPart) -> Iterator[ExpressionPart]:
    if part.input:
        yield part
        return
    for each in part.parts:
        if each.decides:
            yield from _inputs(each)


def _equals(part: ExpressionPart) -> str:
    return f"`{part.input}` = {text_of(part.value)}" if part.HasField("value") else f"`{part.input}` has no value"


def _is(part: ExpressionPart) -> str:
    return f"is {text_of(part.value)}" if part.HasField("value") else "has no value"
