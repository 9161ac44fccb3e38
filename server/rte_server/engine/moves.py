"""From one program to the next: which attributes go on with their cells, and which begin without a history."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rte_server.engine.blocks import new_blocks
from rte_server.engine.configurations import Since
from rte_server.engine.expressions import Code, Instruction, Op
from rte_server.engine.program import AttributeSpec, Kind, ModelSpec, Program
from rte_server.engine.table import HEADER_WORDS, HIGH_WATER, STALE, WRITTEN_HIGH_WATER, Table


def carried(before: Program, after: Program, since: Since) -> dict[int, int]:
    """Return for attributes of a new program the old ones whose cells they go on with, by number.

    Those are the ones that are computed in the same way under the same name. The name of a model that runs alongside
    another version of itself is not looked at, so that it keeps its values when it takes the place of the other one.
    Of several, the one with the most history is taken.

    Args:
        before: The old program.
        after: The new one.
        since: Which attributes of `before` lack history.
    """
    found: dict[tuple[Any, ...], int] = {}
    attributes = before.attributes
    lists = list_values(before.models)
    for number, spec in enumerate(attributes):
        if not is_computed(spec):
            key = definition(spec, lists)
            if key not in found or _start(spec, since) < _start(attributes[found[key]], since):
                found[key] = number
    lists = list_values(after.models)
    keys = {n: definition(spec, lists) for n, spec in enumerate(after.attributes) if not is_computed(spec)}
    return {number: found[key] for number, key in keys.items() if key in found}


def definition(spec: AttributeSpec, lists: Mapping[str, tuple[str, ...]]) -> tuple[Any, ...]:
    """Return what must be equal for two attributes to have equal cells, hashable.

    Args:
        spec: The attribute.
        lists: The values of the look-up lists of its program, by name.
    """
    prefix = f"{spec.model}."
    plain = replace(
        spec,
        name=spec.name.removeprefix(prefix),
        owner=spec.owner.removeprefix(prefix),
        model="",
        unit="",
        description="",
        value=_without_lists(spec.value),
        where=_without_lists(spec.where),
        extras=tuple(map(_without_lists, spec.extras)),
        code=tuple(_without_prefix(step, prefix) for step in _without_lists(spec.code)),
    )
    codes = (spec.value, spec.where, *spec.extras, spec.code)
    used = [step.text.decode() for code in codes for step in code if step.op == Op.IN_LIST and step.text is not None]
    return plain, *(lists.get(name, ()) for name in used)


def list_values(models: Sequence[ModelSpec]) -> dict[str, tuple[str, ...]]:
    """Return the values of the look-up lists of models, by name."""
    return {each.name: each.values for model in models for each in model.lists}


def _without_prefix(step: Instruction, prefix: str) -> Instruction:
    """Return an instruction in which the attributes of a model alongside have the names that they have in its place."""
    return step if step.name is None else step._replace(name=step.name.removeprefix(prefix))


def _without_lists(code: Code) -> Code:
    """Return code without the names of look-up lists: their values decide, not their names."""
    return tuple(step._replace(text=b"") if step.op == Op.IN_LIST else step for step in code)


def is_computed(spec: AttributeSpec) -> bool:
    """Return whether an attribute follows from others, so that it needs no history of its own."""
    return spec.kind in (Kind.DERIVED, Kind.LINEAR, Kind.SCORE)


def needs_history(spec: AttributeSpec) -> bool:
    """Return whether a new attribute lacks something that earlier events would have given it."""
    return not is_computed(spec) and spec.kind != Kind.CUSTOMER


def since_after(
    before: Program, after: Program, goes_on: Mapping[int, int], since: Since, begin: tuple[int, int] | None
) -> dict[str, tuple[int, int]]:
    """Return which attributes of a new program lack history, and since when they are complete.

    Args:
        before: The old program.
        after: The new one.
        goes_on: From `carried`.
        since: The same of the old program.
        begin: Since when the new attributes are; None: there has been no session yet.
    """
    found = {}
    for number, spec in enumerate(after.attributes):
        if number in goes_on:
            old = before.attributes[goes_on[number]].name
            if old in since:
                found[spec.name] = since[old]
        elif begin is not None and needs_history(spec):
            found[spec.name] = begin
    return found


def is_same_layout(before: Program, after: Program) -> bool:
    """Return whether the rows of one program are those of another as they are."""
    return before.row_words == after.row_words and before.attributes == after.attributes


def moved_table(table: Table, before: Program, after: Program, row_words: int) -> Table:
    """Return the table with the rows that another program needs: its own, or new ones with the headers of the old.

    Readers may still go through the old rows, which lead to the blocks beside them as they are now: so these are copied, too.

    Args:
        table: The table.
        before: What ran.
        after: What runs now.
        row_words: Words of its rows in the table: of their core, or of rows in one piece.
    """
    used = int(table.counts[HIGH_WATER])
    if is_same_layout(before, after):
        if list_values(before.models) != list_values(after.models):
            # What is derived may look values up: it is computed with the next event.
            table.rows[:used, STALE] = 1
        return table
    rows = np.zeros((len(table.rows), row_words), np.int64)
    rows[:used, :HEADER_WORDS] = table.rows[:used, :HEADER_WORDS]
    rows[:used, STALE] = 1
    blocks, annexes = new_blocks(len(rows), after.annexes if row_words == after.core_words else ())
    written = np.zeros(table.written.shape, np.int64)
    blocks_used = int(table.counts[WRITTEN_HIGH_WATER])
    written[:blocks_used] = table.written[:blocks_used]
    return table._replace(rows=rows, blocks=blocks, annexes=annexes, written=written)


def cell_moves(before: Program, after: Program, goes_on: Mapping[int, int]) -> NDArray[np.int64]:
    """Return int64[n, 3], the cells that go on: their first word before and after, and how many they have."""
    moves = [(before.words_of(old)[0], *after.words_of(number)) for number, old in goes_on.items()]
    return np.array([(old, first, end - first) for old, first, end in moves], np.int64).reshape(-1, 3)


def _start(spec: AttributeSpec, since: Since) -> int:
    return since[spec.name][0] if spec.name in since else 0
