"""Attributes that hold several things: sets, tops, baskets, sums that reset; and the parts that such attributes show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from rte_server.engine.basket import BASKET_ITEMS, BASKET_QUANTITY, BASKET_VALUE, CLEARS, REMOVES, SETS
from rte_server.engine.expressions import Code, Instruction, Op
from rte_server.engine.program import AttributeSpec, Kind, Role
from rte_server.engine.resets import RESETS
from rte_server.engine.sequence import (
    SEQUENCE_COMPLETED,
    SEQUENCE_FURTHEST,
    SEQUENCE_STEP_TIMES,
    SEQUENCE_TIME_LEFT,
)
from rte_server.engine.top import TOP_FIRST, TOP_SHARE, TOP_WEIGHT
from rte_server.models.documents import Item
from rte_server.models.event_members import read_condition, read_each, read_value
from rte_server.models.schema import KEEP, TEXT_CHARS_MAX, TOP_OF_DEFAULT, TOP_OF_MAX, UNIT_CHARS_MAX, Reader
from rte_server.models.types import DOUBLE, NUMBER, type_name

_PARTS: dict[Kind, tuple[tuple[str, int, str, str], ...]] = {
    Kind.BASKET: (
        ("value", BASKET_VALUE, "double", "Quantity times price of all items in it."),
        ("quantity", BASKET_QUANTITY, "double", "Sum of the quantities of the items in it."),
        ("items", BASKET_ITEMS, "int", "Number of different items in it."),
    ),
    Kind.TOP: (
        ("first", TOP_FIRST, "any", "The value with the greatest weight."),
        ("weight", TOP_WEIGHT, "double", "Its weight."),
        ("share", TOP_SHARE, "double", "Share of its weight in that of all values, 0 to 1."),
    ),
    Kind.SEQUENCE: (
        ("furthest", SEQUENCE_FURTHEST, "int", "Number of the furthest step that was ever reached."),
        ("completed", SEQUENCE_COMPLETED, "bool", "Whether all steps were ever gone through."),
        ("step_times", SEQUENCE_STEP_TIMES, "list", "When the steps were reached; null for those that were not."),
        ("time_left_s", SEQUENCE_TIME_LEFT, "double", "Time left for the next steps."),
    ),
}
"""Name, number, value type and description of the parts that a kind shows beside itself."""

_UNITS = {"time_left_s": "s", "quantity": "", "share": ""}


def parts_of(spec: AttributeSpec) -> tuple[AttributeSpec, ...]:
    """Return the attributes that show parts of another one's cell; they take no memory of their own."""
    base = spec.name.partition(".")[0]
    return tuple(
        replace(
            spec,
            name=f"{base}.{name}",
            owner=spec.name,
            part=part,
            value_type=value_type,
            unit=_UNITS.get(name, spec.unit if value_type == "double" else ""),
            description=description,
        )
        for name, part, value_type, description in _PARTS.get(spec.kind, ())
    )


def names_of(name: str) -> tuple[str, ...]:
    """Return the names that an attribute or a sequence of this name may lead to, whatever its kind."""
    parts = {part for parts in _PARTS.values() for part, *_ in parts}
    return name, f"{name}.stage", *(f"{name}.{part}" for part in sorted(parts))


def read_keyed(
    reader: Reader, model: str, name: str, kind: Kind, word: str, members: Mapping[str, Item], lists: frozenset[str]
) -> AttributeSpec | None:
    """Return a set, a top, a basket or a sum that resets, or None where that is not possible; notes its problems.

    Args:
        kind: SET, TOP, BASKET or RESET_SUM.
        word: The member that says so; what it holds is the expression.
        members: All members of the attribute.
        lists: Names of the look-up lists that its expressions may read.
    """
    where = f"attribute `{name}`"
    found = read_value(reader, members[word], f"{where}, `{word}`", lists, each="each" in members)
    if found is None:
        return None
    value = found.code
    if kind == Kind.RESET_SUM:
        if not found.types & NUMBER:
            message = f"{where} needs a number, but the value is {type_name(found.types)}"
            reader.problem(members[word], message, "write an expression that is a number, such as `event.price`")
        value = value if found.types & DOUBLE else (*value, Instruction(Op.TO_DOUBLE))
    listens = members.get("add" if kind == Kind.BASKET else "on")
    if kind == Kind.BASKET and listens is None:
        reader.problem(members[word], f"{where} has no `add`", "name the events that add an item: `add: add_to_cart`")
    events = reader.events(listens, where) if listens is not None else ()
    roles = _basket_roles(reader, members, where) if kind == Kind.BASKET else _resets(reader, members, where, events)
    low, default, high = KEEP[kind]
    keep = reader.whole(members, "keep", default, low, high)
    params: tuple[int, ...] = ()
    if kind == Kind.TOP:
        params = reader.duration_ms(members["half_life"], 1) if "half_life" in members else 0, keep
        keep = reader.whole(members, "of", max(TOP_OF_DEFAULT, keep), keep, TOP_OF_MAX)
    extras = {Kind.BASKET: ("quantity", "price"), Kind.TOP: ("weight",)}.get(kind, ())
    each, or_event = read_each(reader, members, where)
    return AttributeSpec(
        name=name,
        model=model,
        kind=kind,
        value_type="double" if kind == Kind.RESET_SUM else "list",
        unit=reader.text(members, "unit", UNIT_CHARS_MAX),
        description=reader.text(members, "description", TEXT_CHARS_MAX),
        events=events,
        value=value,
        where=read_condition(reader, members, where, lists, each="each" in members),
        keep=keep,
        roles=roles,
        extras=tuple(_number(reader, members, word, where, lists) for word in extras),
        params=params,
        each=each,
        or_event=or_event,
    )


def _resets(reader: Reader, members: Mapping[str, Item], where: str, adding: tuple[str, ...]) -> tuple[Role, ...]:
    """Return what events reset a sum to which those in `adding` add; an event can do one thing only."""
    if "resets_on" not in members:
        return ()
    events = reader.events(members["resets_on"], f"{where}, `resets_on`")
    for event in [each for each in events if each in adding]:
        message = f"{where}: `{event}` stands both in `on` and in `resets_on`"
        reader.problem(members["resets_on"], message, "leave one out")
    return (Role(RESETS, events, needs_value=False),)


def _basket_roles(reader: Reader, members: Mapping[str, Item], where: str) -> tuple[Role, ...]:
    """Return what events other than those that add do; an event can do one thing only."""
    roles = []
    taken: dict[str, str] = {}
    for word, number in (("add", None), ("remove", REMOVES), ("set", SETS), ("clear", CLEARS)):
        if word not in members:
            continue
        events = reader.events(members[word], f"{where}, `{word}`")
        if not events:
            reader.problem(members[word], f"{where}, `{word}` cannot be every event", "name the events")
        for event in events:
            if event in taken:
                message = f"{where}: `{event}` stands both in `{taken[event]}` and in `{word}`"
                reader.problem(members[word], message, "leave one out")
            taken[event] = word
        if number is not None:
            roles.append(Role(number, events, needs_value=number != CLEARS))
    return tuple(roles)


def _number(reader: Reader, members: Mapping[str, Item], word: str, where: str, lists: frozenset[str]) -> Code:
    """Return the code of a further expression, which must be a number; () where it is not stated."""
    item = members.get(word)
    if item is None:
        return ()
    found = read_value(reader, item, f"{where}, `{word}`", lists, each="each" in members)
    if found is not None and not found.types & NUMBER:
        message = f"{where}, `{word}` must be a number, but it is {type_name(found.types)}"
        reader.problem(item, message, "write an expression that is a number, such as `event.price`")
    return found.code if found is not None else ()
