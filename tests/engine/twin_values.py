"""What a session's attributes are worth, computed from the set of its events, slowly and plainly.

This is the specification of the attribute kinds and of the expression machine. Nothing here is incremental: every value
is computed from all events of a session each time it is asked for, so there is no state that could go wrong.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from rte_server.engine import values as tags
from rte_server.engine.expressions import CELLS_SUFFIX, Code, Op
from rte_server.engine.program import AttributeSpec, Kind, Role
from rte_server.engine.url_parts import UrlPart
from tests.engine import twin_keyed, twin_kinds
from tests.models.patterns_oracle import finds_match
from tests.models.url_oracle import part_of


class Error:
    """The value of an expression that went wrong; there is one, `ERROR`."""

    def __repr__(self) -> str:
        return "ERROR"


class Compound(Error):
    """The value of a property that is a list or an object: an error to all but `has`; there is one, `COMPOUND`."""


ERROR = Error()
COMPOUND = Compound()
Value = None | bool | int | float | str | Error
Plain = bool | float | str
MAGNITUDE_MAX = 1e12
ELEMENTS_MAX = 256
INT_MIN, INT_MAX = -(2**63), 2**63 - 1


@dataclass(frozen=True, slots=True)
class TwinEvent:
    """One accepted event.

    Attributes:
        event_id: Empty: it has none.
        name: What happened.
        time_ms: When, milliseconds since 1970.
        order: Orders events of equal time, see `twin_order`; of an element, its place follows.
        visitor_id: Whose.
        customer_id: Empty: not named.
        alias: The client's session id, or empty.
        channel: Empty: not named.
        properties: Scalars by name; null is None. Lists and objects are COMPOUND: they are no scalar.
        received_ms: When the server received it.
        lists: Properties that are lists: elements are scalars, or objects with the scalars among their members.
        facts: What was known when the event was folded: values by (function, text).
    """

    event_id: str
    name: str
    time_ms: int
    order: tuple[int, ...]
    visitor_id: str
    customer_id: str = ""
    alias: str = ""
    channel: str = ""
    properties: Mapping[str, Value] = field(default_factory=dict)
    received_ms: int = 0
    lists: Mapping[str, Sequence[Value | Mapping[str, Value]]] = field(default_factory=dict)
    facts: Mapping[tuple[str, str], Value] = field(default_factory=dict)

    @property
    def key(self) -> twin_keyed.Key:
        """Return what events are ordered by."""
        return self.time_ms, self.order


def attribute_values(
    specs: Sequence[AttributeSpec], events: Iterable[TwinEvent], fields: Mapping[str, Value], time_ms: int
) -> dict[str, Value | list[Value]]:
    """Return the value of each attribute that has one.

    Args:
        specs: In the order in which they can be computed.
        events: The events of one session, in any order.
        fields: The `session.` fields that row expressions may read.
        time_ms: What time it is for the session.
    """
    ordered = sorted(events, key=lambda event: event.key)
    values: dict[str, Value | list[Value]] = {}
    row: dict[str, Any] = dict(fields)
    for spec in specs:
        if spec.kind == Kind.TRIGGER:
            continue  # they follow from what was told, not from the events alone: see `twin_triggers`
        shown = _value_of(spec, ordered, row, time_ms)
        row[spec.name] = (shown[0] if shown else None) if isinstance(shown, list) else shown
        row[spec.name + CELLS_SUFFIX] = shown if isinstance(shown, list) else []
        if shown is not None and shown != []:
            values[spec.name] = shown
    return values


def _value_of(
    spec: AttributeSpec, whole: list[TwinEvent], row: Mapping[str, Value], time_ms: int
) -> Value | list[Value]:
    if spec.kind == Kind.CUSTOMER:
        return row.get(spec.name)
    events = _elements(spec, whole) if spec.each else whole
    if spec.kind == Kind.ABSENCE:
        return _absence(spec, events, time_ms)
    if Kind.WINDOW_COUNT <= spec.kind <= Kind.WINDOW_DISTINCT:
        return _windowed(spec, events, time_ms)
    if spec.kind == Kind.RATE:
        return twin_kinds.rate(_contributions(spec, events), time_ms, spec.params[0])
    if spec.kind == Kind.EWMA:
        return twin_kinds.ewma(_contributions(spec, events), spec.params[0])
    if spec.kind in _KEYED:
        return _KEYED[spec.kind](spec, events, whole, time_ms)
    if spec.kind == Kind.DERIVED:
        value = run(spec.code, row.get)
        return None if isinstance(value, Error) else value
    if spec.kind == Kind.LINEAR:
        return _linear(spec, row)
    if spec.kind == Kind.ELAPSED:
        return _elapsed(spec, events)
    if spec.kind == Kind.COUNT:
        return sum(_counts(spec, event) for event in events)
    if spec.kind in (Kind.SUM, Kind.MEAN, Kind.MIN, Kind.MAX):
        return _number(spec.kind, _numbers(spec, events))
    values = _values(spec, events)
    if spec.kind == Kind.FIRST:
        return values[0] if values else None
    if spec.kind == Kind.LAST:
        return values[-1] if values else None
    if spec.kind == Kind.DISTINCT:
        return len(set(map(identity, values)))
    newest_first = values[::-1]
    if spec.unique:
        newest_first = _unique(values[::-1])
    return newest_first[: spec.keep]


def _unique(values: list[Value]) -> list[Value]:
    """Return each value at its first place only."""
    seen: dict[tuple[str, object], Value] = {}
    for value in values:
        seen.setdefault(identity(value), value)
    return list(seen.values())


def identity(value: Value) -> tuple[str, object]:
    """Return what makes two values the same one: type and bits, so that 1 and 1.0 and true differ."""
    return type(value).__name__, struct.pack("<d", value) if isinstance(value, float) else value


def _counts(spec: AttributeSpec, event: TwinEvent, names: tuple[str, ...] | None = None) -> bool:
    """Return whether the attribute listens to the event."""
    names = spec.events if names is None else names
    if names and event.name not in names:
        return False
    return not spec.where or on_event(spec.where, event) is True


def on_event(code: Code, event: TwinEvent) -> Value:
    """Return what an expression comes to on an event: a property that it lacks is an error."""
    return run(code, lambda name: event.properties.get(name, ERROR), event.facts)


def _values(spec: AttributeSpec, events: Iterable[TwinEvent]) -> list[Value]:
    """Return the values of the events that count, in the order of the events."""
    matching = (event for event in events if _counts(spec, event))
    values = [on_event(spec.value, event) for event in matching]
    return [_kept(value) for value in values if value is not None and not isinstance(value, Error)]


def _kept(value: Value) -> Value:
    """Return a value as it is kept: minus zero is zero."""
    return value + 0.0 if isinstance(value, float) else value


def _numbers(spec: AttributeSpec, events: Iterable[TwinEvent]) -> list[float]:
    """Return the valid contributions; a boolean is 0 or 1, and minus zero is zero."""
    return [number for _, number in _contributions(spec, events)]


def _contributions(spec: AttributeSpec, events: Iterable[TwinEvent]) -> list[tuple[int, float]]:
    """Return the valid contributions with the times of their events; 1 each where there is no expression."""
    found: list[tuple[int, float]] = []
    for event in events:
        if not _counts(spec, event):
            continue
        value = on_event(spec.value, event) if spec.value else 1.0
        if isinstance(value, (bool, int, float)) and _is_contribution(spec.kind, value):
            found.append((event.time_ms, float(value) + 0.0))
    return found


def _is_contribution(kind: Kind, value: float) -> bool:
    """Return whether a kind takes a number: extremes any that is finite, sums none beyond 1e12, rates none below 0."""
    if kind in (Kind.MIN, Kind.MAX, Kind.WINDOW_MIN, Kind.WINDOW_MAX):
        return math.isfinite(value)
    return abs(value) <= MAGNITUDE_MAX and (kind != Kind.RATE or value >= 0)


def _number(kind: Kind, numbers: list[float]) -> float | None:
    if kind == Kind.SUM:
        return twin_kinds.exact_sum(numbers)
    if not numbers:
        return None
    if kind == Kind.MEAN:
        return twin_kinds.exact_sum(numbers) / len(numbers)
    return min(numbers) if kind == Kind.MIN else max(numbers)


def _elapsed(spec: AttributeSpec, events: list[TwinEvent]) -> float | None:
    begins = [event.time_ms for event in events if _counts(spec, event)]
    if not spec.roles:
        return (max(begins) - min(begins)) / 1000 if begins else None
    ends = [event.time_ms for event in events if _counts(spec, event, spec.roles[0].events)]
    if not begins or not ends or min(ends) < min(begins):
        return None
    return (min(ends) - min(begins)) / 1000


def _windowed(spec: AttributeSpec, events: list[TwinEvent], time_ms: int) -> Value:
    width_ms, tiles = spec.params
    in_window = [event for event in events if event.time_ms // width_ms > time_ms // width_ms - tiles]
    if spec.kind == Kind.WINDOW_COUNT:
        return len([event for event in in_window if _counts(spec, event)])
    if spec.kind == Kind.WINDOW_DISTINCT:
        return min(spec.keep, len(set(map(identity, _values(spec, in_window)))))
    return _number(Kind(spec.kind - Kind.WINDOW_COUNT + Kind.COUNT), _numbers(spec, in_window))


def _absence(spec: AttributeSpec, events: list[TwinEvent], time_ms: int) -> bool:
    begins = [event for event in events if _counts(spec, event)]
    ends = [event for event in events for role in spec.roles if _counts(spec, event, role.events)]
    if not begins or (ends and ends[-1].key >= begins[-1].key):
        return False
    return time_ms >= begins[-1].time_ms + spec.params[0]


def _elements(spec: AttributeSpec, events: list[TwinEvent]) -> list[TwinEvent]:
    """Return an event for each element of a list of theirs, and for an event without it where the attribute says so."""
    found = []
    for event in events:
        elements = event.lists.get(spec.each, ())[:ELEMENTS_MAX]
        if spec.or_event and event.properties.get(spec.each) is not COMPOUND:
            elements = (event.properties,)
        for place, element in enumerate(elements):
            members: dict[str, Value] = {"\0": ERROR if isinstance(element, Mapping) else element}
            if isinstance(element, Mapping):
                members |= {f"\0.{key}": value for key, value in element.items()}
            found.append(replace(event, order=(*event.order, place), properties={**event.properties, **members}))
    return sorted(found, key=lambda event: event.key)


def _keys(spec: AttributeSpec, events: list[TwinEvent], number: int) -> list[twin_keyed.Key]:
    """Return the keys of the events of a role that needs no value."""
    roles = [role for role in spec.roles if role.number == number]
    return [event.key for event in events for role in roles if _plays(role, event)]


def _resets(spec: AttributeSpec, events: list[TwinEvent], number: int) -> list[twin_keyed.Key]:
    """Return the keys of the events that reset: each comes after all elements of its own list."""
    return [(time_ms, (*order, ELEMENTS_MAX)) for time_ms, order in _keys(spec, events, number)]


def _plays(role: Role, event: TwinEvent) -> bool:
    is_named = not role.events or event.name in role.events
    return is_named and (not role.where or on_event(role.where, event) is True)


def _set(spec: AttributeSpec, events: list[TwinEvent], whole: list[TwinEvent], time_ms: int) -> list[Value]:
    return list(twin_keyed.sample(_values(spec, events), spec.keep))  # type: ignore[arg-type]


def _reset_sum(spec: AttributeSpec, events: list[TwinEvent], whole: list[TwinEvent], time_ms: int) -> float:
    contributions = [(event.key, number) for event in events for number in _numbers(spec, [event])]
    return twin_kinds.exact_sum(twin_keyed.reset_sum(contributions, _resets(spec, whole, 1), spec.keep))


def _basket(spec: AttributeSpec, events: list[TwinEvent], whole: list[TwinEvent], time_ms: int) -> Value | list[Value]:
    changes: list[twin_keyed.Change] = []
    roles = [(0, spec.events), *((role.number, role.events) for role in spec.roles if role.needs_value)]
    for event in events:
        for role, names in roles:
            item = on_event(spec.value, event) if _counts(spec, event, names) else ERROR
            quantity = _extra(spec.extras[0], event, 1.0)
            is_counted = isinstance(quantity, (bool, int, float)) and 0 <= quantity <= MAGNITUDE_MAX
            if item is None or isinstance(item, Error) or not is_counted:
                continue
            price = _extra(spec.extras[1], event, None)
            is_priced = isinstance(price, (bool, int, float)) and abs(price) <= MAGNITUDE_MAX
            changes.append((event.key, role, item, float(quantity), float(price) if is_priced else None))  # type: ignore[arg-type]
    lines = twin_keyed.basket(changes, _resets(spec, whole, 3), spec.keep)
    return twin_keyed.basket_part(lines, spec.part) if spec.part else list(lines)  # type: ignore[arg-type]


def _extra(code: Code, event: TwinEvent, absent: float | None) -> Value:
    """Return the value of a further expression, or `absent` where there is none."""
    value = on_event(code, event) if code else None
    return absent if value is None or isinstance(value, Error) else value


def _top(spec: AttributeSpec, events: list[TwinEvent], whole: list[TwinEvent], time_ms: int) -> Value | list[Value]:
    weighed: list[tuple[twin_keyed.Scalar, int, float]] = []
    for event in events:
        weight = _extra(spec.extras[0], event, 1.0)
        if isinstance(weight, (bool, int, float)) and 0 <= weight <= MAGNITUDE_MAX:
            weighed += [(value, event.time_ms, float(weight)) for value in _values(spec, [event])]  # type: ignore[misc]
    half_life_ms, shown = spec.params
    entries = twin_keyed.top(weighed, spec.keep, half_life_ms, time_ms)
    if spec.part == 0:
        return [{"value": value, "weight": weight} for value, weight in entries[:shown]]  # type: ignore[misc]
    if not entries:
        return None
    if spec.part == 3:
        total = sum(weight for _, weight in sorted(entries, key=lambda entry: twin_keyed.value_hash(entry[0])))
        within = sum(weight.within for _, weight in entries if isinstance(weight, twin_kinds.Near))
        share = entries[0][1] / total if total > 0 else 0.0
        return twin_kinds.Near.of(share, min(2 * within / total, 1.0) + twin_kinds.ROUNDING if total > 0 else 1.0)
    return entries[0][spec.part - 1]


def _sequence(
    spec: AttributeSpec, events: list[TwinEvent], whole: list[TwinEvent], time_ms: int
) -> Value | list[Value]:
    count, has_not = spec.params[1], spec.params[3]
    steps = [[event.key for event in events if _counts(spec, event)]]
    steps += [_keys(spec, events, step) for step in range(1, count)]
    nots = _keys(spec, events, count) if has_not else []
    shown = twin_keyed.sequence(steps, nots, spec, time_ms)
    return list(shown) if isinstance(shown, list) else shown


_KEYED: dict[Kind, Callable[[AttributeSpec, list[TwinEvent], list[TwinEvent], int], Value | list[Value]]] = {
    Kind.SET: _set,
    Kind.RESET_SUM: _reset_sum,
    Kind.BASKET: _basket,
    Kind.SEQUENCE: _sequence,
    Kind.TOP: _top,
}


def _linear(spec: AttributeSpec, row: Mapping[str, Value]) -> float | None:
    total = spec.intercept
    for name, weight, absent in spec.weights:
        value = row.get(name)
        usable = isinstance(value, (bool, int, float)) and not math.isnan(value)
        total += weight * (float(value) if usable else absent)  # type: ignore[arg-type]
    if spec.link == "identity":
        return total if math.isfinite(total) else None
    return 1 / (1 + math.exp(-total)) if total > -709.78 else 0.0


def run(
    code: Code, load: Callable[[str], Value], facts: Mapping[tuple[str, str], Value] = MappingProxyType({})
) -> Value:
    """Return what an expression comes to: CEL's semantics, one plain step per instruction.

    Args:
        code: Not empty.
        load: Gives the value of an input; ERROR where it is missing.
        facts: Values of FACT, by (function, text); ERROR where it is missing.
    """
    stack: list[Value] = []
    for step in code:
        op = step.op
        if op == Op.NULL:
            stack.append(None)
        elif op == Op.BOOL:
            stack.append(bool(step.number))
        elif op == Op.INT:
            stack.append(int(step.number))
        elif op == Op.DOUBLE:
            stack.append(float(step.number))
        elif op == Op.TEXT:
            stack.append((step.text or b"").decode())
        elif op == Op.LOAD:
            value = load(step.name or "")
            stack.append(ERROR if isinstance(value, Compound) else value)
        elif op == Op.HAS:
            stack.append(load(step.name or "") is not ERROR)
        elif op == Op.URL:
            address = load(step.name or "")
            part, parameter = UrlPart(int(step.number)).name.lower(), (step.text or b"").decode()
            stack.append(part_of(address, part, parameter) if isinstance(address, str) else ERROR)
        elif op == Op.FACT:
            text = load(step.name or "")
            stack.append(facts.get(((step.text or b"").decode(), text), ERROR) if isinstance(text, str) else ERROR)
        elif op == Op.IN_CELLS:
            items: Any = load(step.name or "")
            if not isinstance(stack[-1], Error):
                stack[-1] = any(_equal(stack[-1], item) for item in items)
        elif op == Op.IN_START:
            stack.append(False)
        elif op == Op.IN_ITEM:
            item = stack.pop()
            found = stack.pop()
            if isinstance(item, Error):
                stack[-1] = ERROR
            stack.append(found is True or (not isinstance(stack[-1], Error) and _equal(stack[-1], item)))
        elif op == Op.IN_END:
            found = stack.pop()
            stack[-1] = ERROR if isinstance(stack[-1], Error) else found
        elif op == Op.SELECT:
            condition, yes, no = stack[-3:]
            stack[-3:] = [(yes if condition else no) if isinstance(condition, bool) else ERROR]
        elif op >= Op.AND:
            right = stack.pop()
            stack[-1] = _two(op, stack[-1], right)
        else:
            stack[-1] = _one(op, stack[-1], step.text, int(step.number))
    return stack[0]


def _one(op: Op, value: Value, text: bytes | None, tag: int) -> Value:
    """Return the result of an operator on one value."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if op == Op.NOT:
        return (not value) if isinstance(value, bool) else ERROR
    if op == Op.NEGATE:
        return _in_range(-value) if number else ERROR  # type: ignore[operator]
    if op == Op.TO_DOUBLE:
        return float(value) if number else ERROR  # type: ignore[arg-type]
    if op == Op.TO_INT and isinstance(value, bool):
        return int(value)
    if op in (Op.TO_INT, Op.WHOLE):
        return _to_int(value, whole=op == Op.WHOLE) if number else ERROR  # type: ignore[arg-type]
    if op == Op.ONLY:
        return value if _tag(value) == tag else ERROR
    if not isinstance(value, str):
        return ERROR
    if op == Op.SIZE:
        return len(value)
    if op == Op.MATCHES:
        return finds_match(text or b"", value)
    if op in (Op.LOWER, Op.UPPER):
        return "".join(_letter(op, char) for char in value)
    other = (text or b"").decode()
    tests: dict[Op, Callable[[], bool]] = {
        Op.STARTS_WITH: lambda: value.startswith(other),
        Op.ENDS_WITH: lambda: value.endswith(other),
        Op.CONTAINS: lambda: other in value,
        Op.TEXT_LESS: lambda: value < other,
        Op.TEXT_LESS_EQUAL: lambda: value <= other,
        Op.TEXT_GREATER: lambda: value > other,
        Op.TEXT_GREATER_EQUAL: lambda: value >= other,
    }
    return tests[op]()


def _letter(op: Op, char: str) -> str:
    """Return a character with its ASCII letter changed."""
    if not char.isascii():
        return char
    return char.lower() if op == Op.LOWER else char.upper()


def _to_int(value: float, *, whole: bool) -> Value:
    if isinstance(value, int):
        return value
    if not -(2.0**63) < value < 2.0**63 or (whole and value != int(value)):
        return ERROR
    return int(value)


def _tag(value: Value) -> int:
    if value is None:
        return tags.NULL
    return {bool: tags.BOOL, int: tags.INT, float: tags.DOUBLE, str: tags.STRING, Error: tags.ERROR}[type(value)]


def _two(op: Op, left: Value, right: Value) -> Value:
    """Return the result of an operator on two values."""
    if op in (Op.AND, Op.OR):
        decides = op == Op.OR
        if left is decides or right is decides:
            return decides
        return (not decides) if isinstance(left, bool) and isinstance(right, bool) else ERROR
    if isinstance(left, Error) or isinstance(right, Error):
        return ERROR
    if op in (Op.EQUAL, Op.NOT_EQUAL):
        return _equal(left, right) == (op == Op.EQUAL)
    if op <= Op.GREATER_EQUAL:
        return _order(op, left, right)
    if op == Op.JOIN:
        return left + right if isinstance(left, str) and isinstance(right, str) else ERROR
    if op in (Op.GREATEST, Op.LEAST):
        if not (_is_number(left) and _is_number(right)):
            return ERROR
        return right if _order(Op.GREATER if op == Op.GREATEST else Op.LESS, right, left) is True else left
    return _arithmetic(op, left, right)


def _is_number(value: Value) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _pair(left: Value, right: Value) -> tuple[Value, Value]:
    """Return two numbers as they are compared: an int beside a double becomes a double."""
    if type(left) is not type(right) and _is_number(left) and _is_number(right):
        return float(left), float(right)  # type: ignore[arg-type]
    return left, right


def _equal(left: Value, right: Value) -> bool:
    left, right = _pair(left, right)
    return type(left) is type(right) and left == right


def _order(op: Op, left: Value, right: Value) -> Value:
    left, right = _pair(left, right)
    if type(left) is not type(right) or left is None:
        return ERROR
    results: dict[Op, bool] = {
        Op.LESS: left < right,  # type: ignore[operator]
        Op.LESS_EQUAL: left <= right,  # type: ignore[operator]
        Op.GREATER: left > right,  # type: ignore[operator]
        Op.GREATER_EQUAL: left >= right,  # type: ignore[operator]
    }
    return results[op]


def _in_range(value: float) -> Value:
    return value if isinstance(value, float) or INT_MIN <= value <= INT_MAX else ERROR


def _arithmetic(op: Op, left: Value, right: Value) -> Value:
    if not (_is_number(left) and type(left) is type(right)):
        return ERROR
    a, b = left, right
    assert isinstance(a, (int, float)) and isinstance(b, (int, float))
    if op == Op.ADD:
        return _in_range(a + b)
    if op == Op.SUBTRACT:
        return _in_range(a - b)
    if op == Op.MULTIPLY:
        return _in_range(a * b)
    if isinstance(a, int) and isinstance(b, int):
        if b == 0:
            return ERROR
        quotient = abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)
        return _in_range(quotient) if op == Op.DIVIDE or (a == INT_MIN and b == -1) else a - quotient * b
    if op != Op.DIVIDE:
        return ERROR
    if b == 0:
        return math.nan if a == 0 or math.isnan(a) else math.copysign(math.inf, a) * math.copysign(1, b)
    return a / b
