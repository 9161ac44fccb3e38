"""Samples of the kinds that hold several things, and their parts."""

from __future__ import annotations

from dataclasses import replace

from rte_server.engine.expressions import Code, Instruction, Op
from rte_server.engine.program import AttributeSpec, Kind, Role


def _load(name: str) -> Code:
    return (Instruction(Op.LOAD, name=name),)


_ITEM = _load("item_id")


def _part(owner: AttributeSpec, name: str, part: int, value_type: str) -> AttributeSpec:
    """Return what shows a part of another attribute's cell."""
    return replace(owner, name=f"{owner.name}.{name}", owner=owner.name, part=part, value_type=value_type)


def _basket(
    name: str,
    keep: int,
    extras: tuple[Code, Code],
    roles: tuple[Role, ...],
    value: Code = _ITEM,
    each: str = "",
    or_event: bool = False,
) -> tuple[AttributeSpec, ...]:
    owner = AttributeSpec(
        name=name,
        model="sample",
        kind=Kind.BASKET,
        value_type="list",
        events=("add_to_cart",),
        value=value,
        keep=keep,
        extras=extras,
        roles=roles,
        each=each,
        or_event=or_event,
    )
    parts = (("value", 1, "double"), ("quantity", 2, "double"), ("items", 3, "int"))
    return owner, *(_part(owner, *part) for part in parts)


def _top(name: str, params: tuple[int, int], keep: int, value: Code, **options: object) -> tuple[AttributeSpec, ...]:
    options = {"extras": ((),)} | options
    owner = AttributeSpec(name, "sample", Kind.TOP, "list", value=value, keep=keep, params=params, **options)  # type: ignore[arg-type]
    parts = (("first", 1, "any"), ("weight", 2, "double"), ("share", 3, "double"))
    return owner, *(_part(owner, *part) for part in parts)


def part_specs(sequence: AttributeSpec) -> tuple[AttributeSpec, ...]:
    """Return the parts of a sequence, other than its stage."""
    parts = (("furthest", 1, "int"), ("completed", 2, "bool"), ("step_times", 3, "list"), ("time_left_s", 4, "double"))
    return tuple(_part(sequence, *part) for part in parts)


def _sequence(name: str, params: tuple[int, ...], roles: tuple[Role, ...], keep: int = 30) -> tuple[AttributeSpec, ...]:
    owner = AttributeSpec(
        name=name,
        model="sample",
        kind=Kind.SEQUENCE,
        value_type="int",
        events=("page_view",),
        keep=keep,
        params=params,
        roles=roles,
    )
    return owner, *part_specs(owner)


def _step(number: int, name: str, where: Code = ()) -> Role:
    return Role(number, (name,), needs_value=False, where=where)


_DEAR = (*_load("price"), Instruction(Op.DOUBLE, number=10.0), Instruction(Op.GREATER))
_LISTED_DEAR = (*_load("\0.price"), *_load("price"), Instruction(Op.GREATER))
_LISTED_PRODUCT = (*_load("\0.price"), *_load("price"), Instruction(Op.MULTIPLY))
_RESETS = (Role(1, ("purchase",), needs_value=False),)

KEYED: tuple[AttributeSpec, ...] = (
    AttributeSpec("seen_items", "sample", Kind.SET, "list", value=_load("item_id"), keep=4),
    AttributeSpec("seen_things", "sample", Kind.SET, "list", value=_load("thing"), keep=3),
    AttributeSpec("open_sum", "sample", Kind.RESET_SUM, "double", value=_load("price"), keep=24, roles=_RESETS),
    AttributeSpec(
        "few_sum",
        "sample",
        Kind.RESET_SUM,
        "double",
        events=("view_item",),
        value=_load("price"),
        keep=2,
        roles=_RESETS,
    ),
    *_basket(
        "basket",
        24,
        (_load("price"), _load("thing")),
        (Role(1, ("view_item",)), Role(3, ("purchase",), needs_value=False)),
    ),
    *_basket("small_basket", 2, ((), _load("price")), (Role(2, ("view_item",)), Role(1, ("purchase",)))),
    *_top("top_items", (0, 2), 16, _load("item_id"), events=("view_item",)),
    *_top("top_things", (0, 5), 3, _load("thing"), extras=(_load("price"),)),
    *_top("fading_items", (700, 3), 8, _load("item_id"), extras=(_load("price"),)),
    *_top("listed_items", (0, 3), 4, _load("\0.item_id"), extras=(_load("\0.price"),), each="items"),
    *_sequence("funnel", (2_500, 3, 0b010, 0), (_step(1, "view_item"), _step(2, "add_to_cart"))),
    *_sequence(
        "checkout",
        (0, 4, 0b100, 1),
        (_step(1, "view_item"), _step(2, "view_item", _DEAR), _step(3, "add_to_cart"), _step(4, "purchase")),
    ),
    AttributeSpec("listed", "sample", Kind.COUNT, "int", each="items"),
    AttributeSpec("dear_listed", "sample", Kind.COUNT, "int", where=_LISTED_DEAR, each="items"),
    AttributeSpec(
        "listed_sum", "sample", Kind.SUM, "double", events=("purchase",), value=_LISTED_PRODUCT, each="items"
    ),
    AttributeSpec("listed_last", "sample", Kind.LAST, "any", value=_load("\0.thing"), each="items"),
    AttributeSpec("listed_itself", "sample", Kind.RECENT, "list", value=_load("\0"), keep=6, each="items"),
    AttributeSpec("listed_distinct", "sample", Kind.DISTINCT, "int", value=_load("\0"), keep=128, each="items"),
    *_basket(
        "listed_basket",
        32,
        ((), _load("\0.price")),
        (Role(2, ("view_item",)), Role(3, ("purchase",), needs_value=False)),
        value=_load("\0.item_id"),
        each="items",
    ),
    AttributeSpec("listed_or_not", "sample", Kind.COUNT, "int", each="items", or_event=True),
    AttributeSpec("dear_or_not", "sample", Kind.COUNT, "int", where=_LISTED_DEAR, each="items", or_event=True),
    AttributeSpec("last_or_not", "sample", Kind.LAST, "any", value=_load("\0.thing"), each="items", or_event=True),
    AttributeSpec("itself_or_not", "sample", Kind.SET, "list", value=_load("\0"), keep=9, each="items", or_event=True),
    *_basket(
        "basket_or_not",
        32,
        ((), _load("\0.price")),
        (Role(2, ("view_item",)), Role(3, ("purchase",), needs_value=False)),
        value=_load("\0.item_id"),
        each="items",
        or_event=True,
    ),
    *_sequence("again", (1_000, 2, 0, 1), (_step(1, "page_view"), _step(2, "purchase"))),
)
