"""What kinds that hold several things are worth, computed from all events at once.

As in `twin_values`, nothing here is incremental. Events are told apart by their keys: (time in ms, order).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from functools import cmp_to_key

from rte_server.engine import values as tags
from rte_server.engine.native import text_id
from rte_server.engine.program import AttributeSpec
from tests.engine.strategies import SECRET
from tests.engine.twin_kinds import Near, decayed, exact_sum

Key = tuple[int, tuple[int, ...]]
Scalar = bool | int | float | str
Change = tuple[Key, int, Scalar, float, float | None]
"""What an event does to a basket: its key, role, item, quantity and price."""

ADDS, REMOVES, SETS = range(3)
NEVER: Key = (0, ())
_MASK = 2**64 - 1


def value_hash(value: Scalar) -> int:
    """Return the hash by which values are ordered: a 64-bit finalizer over bits and type, as a signed number."""
    if isinstance(value, bool):
        tag, bits = tags.BOOL, int(value)
    elif isinstance(value, int):
        tag, bits = tags.INT, value
    elif isinstance(value, float):
        tag, bits = tags.DOUBLE, struct.unpack("<q", struct.pack("<d", value))[0]
    else:
        tag, bits = tags.STRING, int(text_id(value.encode(), SECRET))
    word = _mix((bits ^ (tag << 60)) & _MASK)
    return word - 2**64 if word >> 63 else word


def _mix(word: int) -> int:
    """Return a 64-bit finalizer of a number, unsigned."""
    word = (word ^ word >> 30) * 0xBF58476D1CE4E5B9 & _MASK
    word = (word ^ word >> 27) * 0x94D049BB133111EB & _MASK
    return word ^ word >> 31


def top(
    weighed: Sequence[tuple[Scalar, int, float]], of: int, half_life_ms: int, time_ms: int
) -> list[tuple[Scalar, float]]:
    """Return values with their weights, the heaviest first: of those with the smallest hashes.

    Args:
        weighed: Value, event time and weight of each contribution.
    """
    values = sample([value for value, _, _ in weighed], of)
    entries: list[tuple[Scalar, float]] = []  # in the order of hashes, which parts equal weights
    for value in values:
        own = [(at_ms, weight) for each, at_ms, weight in weighed if type(each) is type(value) and each == value]
        if half_life_ms:
            entries.append((value, decayed(own, time_ms, half_life_ms)))
        else:
            entries.append((value, exact_sum([weight for _, weight in own])))
    return sorted(entries, key=cmp_to_key(_heavier))


def _heavier(left: tuple[Scalar, float], right: tuple[Scalar, float]) -> int:
    """Order entries by falling weight; weights that may be equal within what is declared leave them as they are."""
    within = sum(weight.within for _, weight in (left, right) if isinstance(weight, Near))
    difference = right[1] - left[1]
    return 0 if abs(difference) <= within else (1 if difference > 0 else -1)


def sample(values: Iterable[Scalar], keep: int) -> list[Scalar]:
    """Return the different values with the smallest hashes, in their order."""
    different = {(type(value), value_hash(value)): value for value in values}
    return sorted(different.values(), key=value_hash)[:keep]


def reset_sum(contributions: Sequence[tuple[Key, float]], resets: Sequence[Key], keep: int) -> list[float]:
    """Return the contributions that count: all without a reset, else the `keep` latest after the latest one."""
    if not resets:
        return [number for _, number in contributions]
    return [number for key, number in sorted(contributions) if key > max(resets)][-keep:]


def basket(changes: Sequence[Change], clears: Sequence[Key], keep: int) -> list[dict[str, Scalar]]:
    """Return what is in a basket, that with the latest change first."""
    after = max(clears, default=NEVER)
    counted = sorted((change for change in changes if change[0] > after), key=lambda change: change[0])[-keep:]
    quantities: dict[tuple[type, Scalar], float] = {}
    prices: dict[tuple[type, Scalar], float] = {}
    for _, role, item, quantity, price in counted:
        name = (type(item), item)
        before = quantities.pop(name, 0.0)
        after_it = {ADDS: before + quantity, REMOVES: max(before - quantity, 0.0), SETS: quantity}[role]
        quantities[name] = after_it
        if price is not None:
            prices[name] = price
    lines = [(name, quantity) for name, quantity in reversed(quantities.items()) if quantity > 0]
    return [
        {"item": name[1], "quantity": quantity} | ({"price": prices[name]} if name in prices else {})
        for name, quantity in lines
    ]


def basket_part(lines: Sequence[Mapping[str, Scalar]], part: int) -> float:
    """Return the value, the quantity or the number of items of a basket."""
    if part == 3:
        return len(lines)
    total = 0.0
    for line in lines:
        quantity = float(line["quantity"])
        total += quantity if part == 2 else quantity * float(line.get("price", 0.0))
    return total


Run = tuple[int, Key, list[Key | None]]
"""The number of the last step reached, the key of the last required one, and the keys of the steps."""


def run_from(start: Key, steps: Sequence[Sequence[Key]], nots: Sequence[Key], spec: AttributeSpec) -> Run:
    """Return what the run that begins with `start` reached."""
    within_ms, _, optional, _ = spec.params

    def belongs(key: Key) -> bool:
        in_time = not within_ms or key[0] - start[0] <= within_ms
        return in_time and not any(start < each <= key for each in nots)

    def first_after(key: Key, step: int) -> Key | None:
        return next((each for each in sorted(steps[step]) if each > key and belongs(each)), None)

    required = [step for step in range(1, len(steps)) if not optional >> step & 1]
    found: list[Key | None] = [start] + [None] * (len(steps) - 1)
    last = start
    for step in required:
        next_key = first_after(last, step)
        if next_key is None:
            break
        found[step] = last = next_key
    reached = 1
    for step in range(1, len(steps)):
        before = [found[each] for each in required if each < step]
        if step not in required and None not in before:
            found[step] = first_after(before[-1] if before else start, step)  # type: ignore[arg-type]
        if found[step] is not None:
            reached = step + 1
    for step in range(1, len(steps)):
        later = next((found[each] for each in required if each > step), None)
        key = found[step]
        if step not in required and key is not None and later is not None and key > later:
            found[step] = None
    return reached, last, found


def sequence(
    steps: Sequence[Sequence[Key]], nots: Sequence[Key], spec: AttributeSpec, time_ms: int
) -> int | bool | float | list[int | None] | None:
    """Return a part of a sequence from all occurrences of its steps."""
    starts = sorted(steps[0])
    runs = {start: run_from(start, steps, nots, spec) for start in starts}
    furthest = max((reached for reached, _, _ in runs.values()), default=0)
    if spec.part == 1:
        return furthest
    if spec.part == 2:
        return furthest == len(steps)
    completed = {start: run for start, run in runs.items() if run[0] == len(steps)}
    completion = max((run[1] for run in completed.values()), default=NEVER)
    shown: Key | None = None
    if completed and starts[-1] <= completion:
        shown = max(start for start, run in completed.items() if run[1] == completion)
    else:
        after = max([completion, *nots])
        within_ms = spec.params[0]
        still = [each for each in starts if each > after and (not within_ms or time_ms - each[0] <= within_ms)]
        if still:
            shown = max(still, key=lambda start: (runs[start][0], start))
    stage = runs[shown][0] if shown is not None else 0
    if spec.part == 0:
        return stage
    if spec.part == 3:
        return [key[0] if key else None for key in runs[shown][2]] if shown is not None else []
    if shown is None or stage == len(steps) or not spec.params[0]:
        return None
    return (shown[0] + spec.params[0] - time_ms) / 1000
