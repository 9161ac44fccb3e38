"""From the entries of `sequences` to attribute specifications."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from rte_server.engine.expressions import Code
from rte_server.engine.program import AttributeSpec, Kind, Role
from rte_server.engine.sequence import STEPS_MAX
from rte_server.models.documents import Item
from rte_server.models.event_members import read_condition
from rte_server.models.problems import did_you_mean
from rte_server.models.schema import KEEP, SEQUENCE_MEMBERS, STEP_MEMBERS, TEXT_CHARS_MAX, Reader

_EXAMPLE = "{steps: [view_item, add_to_cart, purchase], within: 30m}"


class _Step(NamedTuple):
    """Events that a step waits for, and their condition."""

    events: tuple[str, ...]
    where: Code


def read_sequence(
    reader: Reader, model: str, name: str, item: Item, lists: frozenset[str] = frozenset()
) -> AttributeSpec | None:
    """Return the attribute that shows the stage of a sequence, or None where that is not possible; notes its problems.

    Args:
        lists: Names of the look-up lists that its conditions may read.
    """
    where = f"sequence `{name}`"
    members = reader.mapping(item, where, _EXAMPLE)
    reader.known_members(members, SEQUENCE_MEMBERS, where)
    steps = _steps(reader, members, "steps", where, lists)
    if not 2 <= len(steps) <= STEPS_MAX:
        reader.problem(members.get("steps", item), f"{where} needs 2 to {STEPS_MAX} `steps`", f"write `{_EXAMPLE}`")
        return None
    nots = _steps(reader, members, "not", where, lists)
    _refuse_steps(reader, members, where, steps, nots)
    within_ms = reader.duration_ms(members["within"], 1) if "within" in members else 0
    low, default, high = KEEP[Kind.SEQUENCE]
    roles = [Role(number, step.events, False, step.where) for number, step in enumerate(steps) if number > 0]
    roles += [Role(len(steps), each.events, False, each.where) for each in nots]
    return AttributeSpec(
        name=f"{name}.stage",
        model=model,
        kind=Kind.SEQUENCE,
        value_type="int",
        description=reader.text(members, "description", TEXT_CHARS_MAX)
        or "Number of the last step that the present run through the steps has reached.",
        events=steps[0].events,
        where=steps[0].where,
        keep=reader.whole(members, "keep", default, low, high),
        roles=tuple(roles),
        params=(within_ms, len(steps), _optional(reader, members, steps, where), int(bool(nots))),
    )


def _steps(reader: Reader, members: Mapping[str, Item], word: str, where: str, lists: frozenset[str]) -> list[_Step]:
    """Return the steps of a list: each is an event, or a mapping with `event` (one or several) and `where`."""
    if word not in members:
        return []
    content = members[word].content
    items = content if isinstance(content, list) else [members[word]]
    steps = []
    for number, each in enumerate(items[: STEPS_MAX + 1], start=1):
        place = f"{where}, `{word}` {number}"
        if not isinstance(each.content, dict):
            steps.append(_Step(reader.events(each, place), ()))
            continue
        reader.known_members(each.content, STEP_MEMBERS, place)
        if "event" not in each.content:
            reader.problem(each, f"{place} has no `event`", "write for example `{event: view_item, where: ...}`")
        events = reader.events(each.content["event"], place) if "event" in each.content else ()
        steps.append(_Step(events, read_condition(reader, each.content, place, lists)))
    return steps


def _refuse_steps(
    reader: Reader, members: Mapping[str, Item], where: str, steps: Sequence[_Step], nots: Sequence[_Step]
) -> None:
    """Note events that would end each run that arrives at them."""
    ending = {event for each in nots if not each.where for event in each.events}
    for event in dict.fromkeys(event for step in steps for event in step.events if event in ending):
        message = f"{where}: `{event}` is a step and stands in `not`, so that it would end the run that reaches it"
        reader.problem(members["not"], message, "leave one out, or say with `where` which events end a run")


def _optional(reader: Reader, members: Mapping[str, Item], steps: list[_Step], where: str) -> int:
    """Return the optional steps as bits."""
    if "optional" not in members:
        return 0
    optional = 0
    for event in reader.events(members["optional"], f"{where}, `optional`"):
        matching = [number for number, step in enumerate(steps) if event in step.events]
        if not matching:
            known = {each for step in steps for each in step.events}
            reader.problem(members["optional"], f"{where} has no step `{event}`", did_you_mean(event, known))
        if {0, len(steps) - 1} & set(matching):
            message = f"{where}: the first and the last step cannot be optional, and `{event}` is one of them"
            reader.problem(members["optional"], message, "leave the step out of `optional`")
        optional |= sum(1 << number for number in matching)
    return optional
