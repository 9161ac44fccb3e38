"""One attribute of every kind and option, written as code by hand, so that these tests need no model compiler."""

from __future__ import annotations

from rte_server.engine.expressions import Code, Instruction, Op
from rte_server.engine.program import AttributeSpec, Kind, ModelSpec, Role
from tests.engine.keyed_samples import KEYED


def load(name: str) -> Code:
    """Return the code of reading an input."""
    return (Instruction(Op.LOAD, name=name),)


def _compare(name: str, op: Op, number: float) -> Code:
    return (*load(name), Instruction(Op.DOUBLE, number=number), Instruction(op))


def _product(left: str, right: str) -> Code:
    return (*load(left), *load(right), Instruction(Op.MULTIPLY))


def _spec(name: str, kind: Kind, value_type: str, **options: object) -> AttributeSpec:
    return AttributeSpec(name=name, model="sample", kind=kind, value_type=value_type, **options)  # type: ignore[arg-type]


PRICE, ITEM, THING = load("price"), load("item_id"), load("thing")
SHOP = ("view_item", "add_to_cart")

SPECS: tuple[AttributeSpec, ...] = (
    _spec("all_events", Kind.COUNT, "int"),
    _spec("item_views", Kind.COUNT, "int", events=("view_item",)),
    _spec("dear_views", Kind.COUNT, "int", events=SHOP, where=_compare("price", Op.GREATER, 10.0)),
    _spec("with_list", Kind.COUNT, "int", where=(Instruction(Op.HAS, name="items"),)),
    _spec("price_sum", Kind.SUM, "double", value=PRICE),
    _spec("bought_sum", Kind.SUM, "double", events=("purchase",), value=_product("price", "price")),
    _spec("price_min", Kind.MIN, "double", value=PRICE),
    _spec("price_max", Kind.MAX, "double", events=SHOP, value=PRICE),
    _spec("price_mean", Kind.MEAN, "double", value=PRICE),
    _spec("first_thing", Kind.FIRST, "any", value=THING),
    _spec("last_thing", Kind.LAST, "any", value=THING),
    _spec("last_item", Kind.LAST, "string", events=SHOP, value=ITEM),
    _spec("items", Kind.DISTINCT, "int", value=ITEM, keep=16),
    _spec("things", Kind.DISTINCT, "int", value=THING, keep=128),
    _spec("recent_items", Kind.RECENT, "list", value=ITEM, keep=2),
    _spec("recent_things", Kind.RECENT, "list", value=THING, keep=5),
    _spec("recent_each", Kind.RECENT, "list", value=ITEM, keep=3, unique=False),
    _spec("seen_s", Kind.ELAPSED, "double"),
    _spec("to_purchase_s", Kind.ELAPSED, "double", events=("view_item",), roles=(Role(2, ("purchase",)),)),
    _spec("waits", Kind.ABSENCE, "bool", events=SHOP, roles=(Role(1, ("purchase",)),), params=(700,)),
    _spec("quiet", Kind.ABSENCE, "bool", params=(2_500,)),
    _spec("pace", Kind.RATE, "double", events=SHOP, params=(40,)),
    _spec("spending", Kind.RATE, "double", value=PRICE, params=(1_300,)),
    _spec("price_level", Kind.EWMA, "double", value=PRICE, params=(60,)),
    _spec("dear_level", Kind.EWMA, "double", value=PRICE, where=_compare("price", Op.GREATER, 10.0), params=(9_000,)),
    _spec("views_lately", Kind.WINDOW_COUNT, "int", events=("view_item",), params=(100, 2)),
    _spec("all_lately", Kind.WINDOW_COUNT, "int", params=(700, 10)),
    _spec("sum_lately", Kind.WINDOW_SUM, "double", value=PRICE, params=(300, 4)),
    _spec("bought_lately", Kind.WINDOW_SUM, "double", events=("purchase",), value=PRICE, params=(501, 60)),
    _spec("min_lately", Kind.WINDOW_MIN, "double", value=PRICE, params=(250, 4)),
    _spec("max_lately", Kind.WINDOW_MAX, "double", events=SHOP, value=PRICE, params=(1_000, 3)),
    _spec("mean_lately", Kind.WINDOW_MEAN, "double", value=PRICE, params=(333, 5)),
    _spec("things_lately", Kind.WINDOW_DISTINCT, "int", value=THING, keep=8, params=(200, 6)),
    _spec("items_lately", Kind.WINDOW_DISTINCT, "int", value=ITEM, keep=64, params=(1_500, 2)),
    *KEYED,
    _spec(
        "ticket",
        Kind.DERIVED,
        "double",
        code=(*load("price_sum"), *load("all_events"), Instruction(Op.TO_DOUBLE), Instruction(Op.DIVIDE)),
    ),
    _spec("keen", Kind.DERIVED, "bool", code=_compare("price_max", Op.GREATER_EQUAL, 20.0)),
    _spec(
        "score",
        Kind.LINEAR,
        "double",
        weights=(("all_events", 0.25, 0.0), ("price_mean", -0.125, 3.0), ("keen", 1.5, -1.0)),
        intercept=0.5,
    ),
    _spec("score_raw", Kind.LINEAR, "double", weights=(("items", 2.0, 0.0),), intercept=-1.0, link="identity"),
)


def trigger(name: str, when: Code, quiet_ms: int, each_quiet: bool) -> tuple[AttributeSpec, ...]:
    """Return a trigger: its condition, itself, and its parts."""
    marks = {"params": (quiet_ms, int(each_quiet)), "code": load(f"{name}.when")}
    return (
        _spec(f"{name}.when", Kind.DERIVED, "bool", code=when),
        _spec(name, Kind.TRIGGER, "bool", **marks),
        _spec(f"{name}.time", Kind.TRIGGER, "time", owner=name, part=1, **marks),
        _spec(f"{name}.count", Kind.TRIGGER, "int", owner=name, part=2, **marks),
    )


TRIGGERS: tuple[AttributeSpec, ...] = (
    *trigger("seen_enough", _compare("price_sum", Op.GREATER, 50.0), 0, each_quiet=False),
    *trigger("left_keen", load("keen"), 400, each_quiet=False),
    *trigger("pauses", _compare("session.event_count", Op.GREATER, 1.0), 1_700, each_quiet=True),
    *trigger("long_gone", _compare("price_min", Op.LESS, 5.0), 2_600, each_quiet=False),
)
"""Triggers with and without a wait, shorter and longer than the gap; their conditions follow from events alone."""

WAITING: tuple[AttributeSpec, ...] = (
    *trigger("left_keen", load("keen"), 400, each_quiet=False),
    *trigger("pauses", _compare("session.event_count", Op.GREATER, 1.0), 700, each_quiet=True),
    *trigger("cheap", _compare("price_min", Op.LESS, 5.0), 800, each_quiet=True),
)
"""Triggers that all wait, so that events of one visitor are lifted together while none of them can fire."""

CUSTOMERS: tuple[AttributeSpec, ...] = (
    *(_spec(f"customer.{name}", Kind.CUSTOMER, "any") for name in ("lifetime_value", "segment", "vip")),
    _spec(
        "worth",
        Kind.DERIVED,
        "double",
        code=(*load("customer.lifetime_value"), *load("price_sum"), Instruction(Op.ADD)),
    ),
    _spec(
        "is_known",
        Kind.DERIVED,
        "bool",
        code=(*load("customer.segment"), Instruction(Op.NULL), Instruction(Op.NOT_EQUAL)),
    ),
    _spec("segment", Kind.DERIVED, "string", code=load("customer.segment")),
    _spec(
        "customer_score",
        Kind.LINEAR,
        "double",
        weights=(("customer.lifetime_value", 0.5, 2.0), ("customer.vip", 4.0, -1.0), ("all_events", 1.0, 0.0)),
        link="identity",
    ),
    *trigger("rich", _compare("customer.lifetime_value", Op.GREATER, 20.0), 0, each_quiet=False),
    *trigger("rich_and_quiet", _compare("customer.lifetime_value", Op.GREATER, 20.0), 400, each_quiet=True),
)

VISIT = _spec("visit", Kind.DERIVED, "int", code=load("session.visit_number"))

MODEL = ModelSpec(
    name="sample",
    version=1,
    description="Every kind of attribute.",
    uses=(),
    source="",
    attributes=SPECS,
)

TOLD = ModelSpec(
    name="told",
    version=1,
    description="Triggers: unlike attributes, what they told depends on when events came.",
    uses=("sample",),
    source="",
    attributes=TRIGGERS,
)

PATIENT = ModelSpec(
    name="patient",
    version=1,
    description="Triggers that all wait.",
    uses=("sample",),
    source="",
    attributes=WAITING,
)

KNOWN = ModelSpec(
    name="known",
    version=1,
    description="What a data mart says of customers: it depends on when it was said.",
    uses=("sample",),
    source="",
    attributes=CUSTOMERS,
)
