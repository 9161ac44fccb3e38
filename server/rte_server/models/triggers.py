"""Entries of `triggers`: what is told once when a condition holds, at once or after a quiet while."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from rte_server.engine.expressions import Instruction, Op, input_names
from rte_server.engine.program import AttributeSpec, Kind
from rte_server.engine.trigger_cells import PART_COUNT, PART_TIME
from rte_server.models.attributes import read_derived
from rte_server.models.documents import Item
from rte_server.models.schema import TEXT_CHARS_MAX, Reader
from rte_server.models.types import BOOL, INT, NULL, UNKNOWN, TypeSet

TRIGGERS_MAX = 16  # of one model
QUIET_MS_MIN = 1_000
_MEMBERS = ("when", "quiet_for", "once_per", "description")
_ONCE_PER = ("session", "quiet")
_TIME = "When it fired last, milliseconds since 1970."
_EXAMPLE = "{when: basket_open, quiet_for: 10m, once_per: session}"


def trigger_inputs(name: str) -> dict[str, TypeSet]:
    """Return what expressions can read of a trigger, with the types."""
    return {name: BOOL, f"{name}.time": INT | NULL, f"{name}.count": INT}


def read_trigger(
    reader: Reader, model: str, name: str, item: Item, inputs: Mapping[str, TypeSet], lists: frozenset[str]
) -> tuple[AttributeSpec, ...]:
    """Return the attributes of an entry of `triggers`: its condition, the trigger, its parts. Notes its problems.

    Args:
        reader: Notes what is wrong.
        model: Name of the model.
        name: Name of the trigger.
        item: The entry.
        inputs: What its condition can read.
        lists: Names of the look-up lists that it can read.
    """
    where = f"trigger `{name}`"
    members = reader.mapping(item, where, _EXAMPLE)
    reader.known_members(members, _MEMBERS, where)
    if "when" not in members:
        reader.problem(item, f"{where} has no `when`", f"write for example `{_EXAMPLE}`")
        return ()
    condition = read_derived(reader, model, f"{name}.when", members["when"], inputs, lists)
    is_known = condition is None or UNKNOWN not in {inputs.get(read) for read in input_names(condition.code)}
    if condition is not None and condition.value_type != "bool" and is_known:
        reader.problem(members["when"], f"{where}: `when` must be true or false", "compare it, as in `views > 3`")
    quiet_ms = reader.duration_ms(members["quiet_for"], QUIET_MS_MIN) if "quiet_for" in members else 0
    each_quiet = reader.choice(members, "once_per", "session", _ONCE_PER) == "quiet"
    if each_quiet and not quiet_ms:
        reader.problem(members["once_per"], f"{where} fires once per quiet, but waits for none", "add `quiet_for: 10m`")
    if condition is None:
        return ()
    description = reader.text(members, "description", TEXT_CHARS_MAX)
    trigger = AttributeSpec(
        name=name,
        model=model,
        kind=Kind.TRIGGER,
        value_type="bool",
        description=description,
        code=(Instruction(Op.LOAD, name=condition.name),),
        params=(quiet_ms, int(each_quiet)),
    )
    part = replace(trigger, owner=name)
    return (
        replace(condition, description=f"Whether the condition of `{name}` holds."),
        trigger,
        replace(part, name=f"{name}.time", value_type="time", unit="ms", part=PART_TIME, description=_TIME),
        replace(part, name=f"{name}.count", value_type="int", part=PART_COUNT, description="How often it fired."),
    )
