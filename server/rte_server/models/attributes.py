"""From the members of a model file to attribute specifications."""

from __future__ import annotations

from collections.abc import Mapping

from rte_server.engine.absence import ENDS_WAIT
from rte_server.engine.attributes import TO_END
from rte_server.engine.expressions import BOOL as BOOL_TAG
from rte_server.engine.expressions import DOUBLE as DOUBLE_TAG
from rte_server.engine.expressions import STRING as STRING_TAG
from rte_server.engine.expressions import Code, Instruction, Op
from rte_server.engine.program import AttributeSpec, Kind, Role
from rte_server.models.cel import Expression, compile_row_expression
from rte_server.models.documents import Item
from rte_server.models.event_members import read_condition, read_each, read_expression, read_value
from rte_server.models.keyed_attributes import read_keyed
from rte_server.models.problems import did_you_mean
from rte_server.models.schema import (
    DERIVED_MEMBERS,
    FIRST_LAST_TYPES,
    KEEP,
    KINDS,
    MEMBERS,
    NOT_IN_THIS_VERSION,
    TEXT_CHARS_MAX,
    UNIT_CHARS_MAX,
    Reader,
)
from rte_server.models.timed import timed_params, windowed
from rte_server.models.types import BOOL, DOUBLE, INT, NULL, NUMBER, STRING, TypeSet, type_name, value_type_of

_EVENT_KINDS = (Kind.COUNT, Kind.ELAPSED, Kind.ABSENCE, Kind.RATE)
_NUMBER_KINDS = (Kind.SUM, Kind.MIN, Kind.MAX, Kind.MEAN, Kind.RATE, Kind.EWMA)
_VALUE_TYPES = {
    Kind.COUNT: "int",
    Kind.SUM: "double",
    Kind.MIN: "double",
    Kind.MAX: "double",
    Kind.MEAN: "double",
    Kind.DISTINCT: "int",
    Kind.RECENT: "list",
    Kind.ELAPSED: "double",
    Kind.ABSENCE: "bool",
    Kind.RATE: "double",
    Kind.EWMA: "double",
}
_UNITS = {Kind.ELAPSED: "s", Kind.RATE: "1/min"}
_TYPES = {"any": BOOL | DOUBLE | STRING | INT, "bool": BOOL, "int": NUMBER, "double": NUMBER, "string": STRING}
_EXAMPLE = "product_views: {count: view_item}"

_OF_BASKETS = frozenset(("add", "remove", "clear"))
_NO_KINDS = frozenset(word for members in MEMBERS.values() for word in members) - KINDS.keys() | {"event"}
"""Members that are not what was meant as the kind."""


def read_attribute(
    reader: Reader, model: str, name: str, item: Item, lists: frozenset[str] = frozenset()
) -> AttributeSpec | None:
    """Return the attribute of an entry of `attributes`, or None where that is not possible; notes its problems.

    Args:
        lists: Names of the look-up lists that its expressions may read.
    """
    where = f"attribute `{name}`"
    members = reader.mapping(item, where, _EXAMPLE)
    words = [word for word in members if word in KINDS]
    if "basket" in words:
        words = ["basket"]  # `set` is a member of it, too.
    if words == ["set"] and _OF_BASKETS & members.keys():
        words = []  # The same, of a misspelt one.
    if len(words) != 1:
        _refuse_kinds(reader, item, members, where, words)
        return None
    kind = Kind.RESET_SUM if words[0] == "sum" and "resets_on" in members else KINDS[words[0]]
    reader.known_members(members, (words[0], *MEMBERS[kind]), where)
    if kind in (Kind.SET, Kind.BASKET, Kind.RESET_SUM, Kind.TOP):
        return read_keyed(reader, model, name, kind, words[0], members, lists)
    head = members[words[0]]
    value: Code = ()
    value_type = _VALUE_TYPES.get(kind, "any")
    word = words[0] if kind not in _EVENT_KINDS else "weight"
    if word in members:
        found = read_value(reader, members[word], f"{where}, `{word}`", lists, each="each" in members)
        if found is None:
            return None
        value, value_type = _value(reader, members[word], kind, found, members, where)
    shown_kind = windowed(kind, members)
    low, default, high = KEEP.get(shown_kind, (0, 0, 0))
    listens = head if kind in _EVENT_KINDS else members.get("on")
    each, or_event = read_each(reader, members, where)
    return AttributeSpec(
        name=name,
        model=model,
        kind=shown_kind,
        value_type=value_type,
        unit=reader.text(members, "unit", UNIT_CHARS_MAX) or _UNITS.get(kind, ""),
        description=reader.text(members, "description", TEXT_CHARS_MAX),
        events=reader.events(listens, where) if listens is not None else (),
        value=value,
        where=read_condition(reader, members, where, lists, each="each" in members),
        each=each,
        or_event=or_event,
        keep=reader.whole(members, "keep", default, low, high) if shown_kind in KEEP else 0,
        unique=reader.flag(members, "unique", True),
        roles=_roles(reader, kind, members, where),
        params=timed_params(reader, kind, members, where),
    )


def _roles(reader: Reader, kind: Kind, members: Mapping[str, Item], where: str) -> tuple[Role, ...]:
    """Return the further events that an attribute listens to."""
    number, word = {Kind.ELAPSED: (int(TO_END), "to"), Kind.ABSENCE: (int(ENDS_WAIT), "of")}.get(kind, (0, ""))
    if word not in members:
        return ()
    return (Role(number, reader.events(members[word], f"{where}, `{word}`")),)


def _refuse_kinds(reader: Reader, item: Item, members: Mapping[str, Item], where: str, words: list[str]) -> None:
    if len(words) > 1:
        reader.problem(item, f"{where} has two kinds: " + ", ".join(f"`{word}`" for word in words), "keep one")
        return
    if not members:
        return
    for word in members:
        if word in NOT_IN_THIS_VERSION:
            reader.problem(members[word], f"{where}: this version has no `{word}`", did_you_mean("", KINDS))
            return
    candidates = [word for word in members if word not in _NO_KINDS]
    word = candidates[0] if candidates else ""
    message = f"{where} has no kind" + (f", and `{word}` is none" if word else "")
    reader.problem(item, message, did_you_mean(word, KINDS))


def _value(
    reader: Reader, item: Item, kind: Kind, found: Expression, members: Mapping[str, Item], where: str
) -> tuple[Code, str]:
    """Return the code and the value type of an attribute's value, so that only values of its type count."""
    if kind in _NUMBER_KINDS:
        if not found.types & NUMBER:
            message = f"{where} needs a number, but the value is {type_name(found.types)}"
            reader.problem(item, message, "make a number of it, as in `x ? 1.0 : 0.0`")
        # What can be a double is checked where it is folded; an int alone has to be made one.
        code = found.code if found.types & DOUBLE else (*found.code, Instruction(Op.TO_DOUBLE))
        return code, "double"
    if kind not in (Kind.FIRST, Kind.LAST):
        return found.code, _VALUE_TYPES[kind]
    inferred = value_type_of(found.types)
    wanted = reader.choice(members, "type", inferred, FIRST_LAST_TYPES)
    if not found.types & (_TYPES[wanted] | NULL):
        message = f"{where} is to be {wanted}, but the value is {type_name(found.types)}"
        reader.problem(members.get("type", item), message, f"write `type: {inferred}`, or leave it out")
    if wanted in ("any", inferred):
        return found.code, wanted
    tail = {
        "bool": Instruction(Op.ONLY, BOOL_TAG),
        "string": Instruction(Op.ONLY, STRING_TAG),
        "double": Instruction(Op.TO_DOUBLE if found.types & INT else Op.ONLY, 0 if found.types & INT else DOUBLE_TAG),
        "int": Instruction(Op.WHOLE),
    }
    return (*found.code, tail[wanted]), wanted


def derived_text(item: Item) -> Item:
    """Return the item with the expression of an entry of `derived`, which may stand alone or as member `cel`."""
    if isinstance(item.content, dict):
        return item.content.get("cel", Item(None, item.line, item.line))
    return item


def read_derived(
    reader: Reader,
    model: str,
    name: str,
    item: Item,
    inputs: Mapping[str, TypeSet],
    lists: frozenset[str] = frozenset(),
) -> AttributeSpec | None:
    """Return the attribute of an entry of `derived`, or None; notes its problems."""
    where = f"derived `{name}`"
    members = item.content if isinstance(item.content, dict) else {}
    reader.known_members(members, DERIVED_MEMBERS, where)
    found = read_expression(reader, derived_text(item), where, lambda text: compile_row_expression(text, inputs, lists))
    if found is None:
        return None
    if not found.types & ~NULL:
        reader.problem(item, f"{where} never has a value", "use an attribute in it")
    return AttributeSpec(
        name=name,
        model=model,
        kind=Kind.DERIVED,
        value_type=value_type_of(found.types),
        unit=reader.text(members, "unit", UNIT_CHARS_MAX),
        description=reader.text(members, "description", TEXT_CHARS_MAX),
        code=found.code,
    )
