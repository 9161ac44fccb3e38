"""Where the cells of attributes lie in a session's row: in its core, or in one of its annexes."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rte_server.engine.attributes import BOTH_ENDS, FROM_END, SUM_EVENTS_MAX, sketch_registers
from rte_server.engine.derived_cells import NO_WORD, TYPES_PER_WORD, type_place
from rte_server.engine.elements import ELEMENTS_MAX
from rte_server.engine.kinds import KINDS_OF_SUMS, cell_words
from rte_server.engine.marks import COMPUTED
from rte_server.engine.program import (
    A_AT,
    A_CELL_WORDS,
    A_KEEP,
    A_PARAMS,
    A_PART,
    A_REGISTERS,
    A_ROLE,
    A_WORDS,
    CACHE_LINE_WORDS,
    AttributeSpec,
    Kind,
)
from rte_server.engine.table import HEADER_WORDS

CORE_KINDS = (*COMPUTED, Kind.TRIGGER, Kind.CUSTOMER, Kind.ABSENCE)
"""Kinds whose cells are always in the core: what reads them needs the header as well, or most events change them."""

SHARED_WORDS_MAX = 32
"""Words of an annex for cells that different events change: whoever has one of them pays for all."""

ANNEX_WORDS_MAX = 64
"""Words of an annex for cells that the same events change. A larger cell has one of its own."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the cells of some attributes lie.

    Attributes:
        attributes: int64[n, A_WORDS], what is known of `ProgramArrays.attributes` from the layout alone.
        params: `ProgramArrays.params`.
        core_words: Words of the core.
        annexes: First word and words of each annex.
        row_words: Words of a row in one piece.
    """

    attributes: NDArray[np.int64]
    params: list[int]
    core_words: int
    annexes: tuple[tuple[int, int], ...]
    row_words: int

    def annex_of(self) -> NDArray[np.int64]:
        """Return `ProgramArrays.annex_of`."""
        found = np.full(self.row_words // CACHE_LINE_WORDS, -1, np.int64)
        for annex, (first, words) in enumerate(self.annexes):
            found[first // CACHE_LINE_WORDS : -(-(first + words) // CACHE_LINE_WORDS)] = annex
        return found


def lay_out(attributes: Sequence[AttributeSpec], numbers: Mapping[str, int]) -> Layout:
    """Give each attribute its words of the row.

    What every event changes comes first, then what the same events change: the fold waits for cache lines.

    Args:
        attributes: All attributes.
        numbers: Their numbers by name.
    """
    order = sorted((number for number, spec in enumerate(attributes) if not spec.owner), key=_key(attributes))
    in_core = [number for number in order if _is_in_core(attributes[number])]
    groups = _groups(attributes, [number for number in order if not _is_in_core(attributes[number])])
    found, params = _described(attributes, order, numbers)
    derived = [number for number in order if attributes[number].kind == Kind.DERIVED]
    # Two numbers of blocks to a word.
    first_type = int(HEADER_WORDS) + (len(groups) + 1) // 2
    for place, number in enumerate(derived):
        found[number, A_REGISTERS] = type_place(first_type, place)
    at = first_type + -(-len(derived) // TYPES_PER_WORD)
    for number in in_core:
        words = int(found[number, A_CELL_WORDS])
        found[number, A_AT], at = at if words else NO_WORD, at + words
    core_words = at = _whole_lines(at)
    annexes = []
    for group in groups:
        first = at
        for number in group:
            found[number, A_AT], at = at, at + int(found[number, A_CELL_WORDS])
        annexes.append((first, at - first))
        at = _whole_lines(at)
    _place_scores(attributes, found, order)
    for number, spec in enumerate(attributes):
        if spec.owner:
            found[number] = found[numbers[spec.owner]]
            found[number, A_PART : A_CELL_WORDS + 1] = spec.part, 0
    return Layout(found, params, core_words, tuple(annexes), at)


def _described(
    attributes: Sequence[AttributeSpec], order: Sequence[int], numbers: Mapping[str, int]
) -> tuple[NDArray[np.int64], list[int]]:
    """Return the words of attributes without their places, and `params`."""
    found = np.zeros((len(attributes), A_WORDS), np.int64)
    params: list[int] = []
    for number in order:
        spec = attributes[number]
        role = FROM_END if spec.kind == Kind.ELAPSED and spec.roles else BOTH_ENDS
        registers = sketch_registers(spec.keep) if spec.kind == Kind.DISTINCT else 0
        if spec.kind in KINDS_OF_SUMS:
            registers = SUM_EVENTS_MAX // int(ELEMENTS_MAX) if spec.each else SUM_EVENTS_MAX
        found[number, : A_ROLE + 1] = spec.kind, 0, spec.keep, spec.unique, registers, role
        found[number, A_PARAMS : A_CELL_WORDS + 1] = len(params), 0, spec_words(spec)
        params += spec.params
    return found, params


def _place_scores(attributes: Sequence[AttributeSpec], found: NDArray[np.int64], order: Sequence[int]) -> None:
    """Note which of the scores each is that a runner computes: their cells are beside the rows."""
    scores = [number for number in order if attributes[number].kind == Kind.SCORE]
    for place, number in enumerate(scores):
        found[number, [A_AT, A_KEEP]] = place, len(scores)


def spec_words(spec: AttributeSpec) -> int:
    """Return the words of the cell of an attribute; a boolean that is derived has a type and no word."""
    if spec.kind == Kind.DERIVED and spec.value_type == "bool":
        return 0
    return cell_words(spec.kind, spec.keep, spec.params)


def _whole_lines(words: int) -> int:
    return int(-(-words // CACHE_LINE_WORDS) * CACHE_LINE_WORDS)


def _is_in_core(spec: AttributeSpec) -> bool:
    return spec.kind in CORE_KINDS or spec_words(spec) == 0 or (not spec.events and not spec.value)


def _key(attributes: Sequence[AttributeSpec]) -> Callable[[int], tuple[int, tuple[str, ...], bool, int]]:
    """Return by what attributes are laid out: which events change them, and what only they change before the rest."""

    def key(number: int) -> tuple[int, tuple[str, ...], bool, int]:
        spec = attributes[number]
        if spec.kind in COMPUTED:
            return 1, (), False, 0
        if not spec.events:
            return (3 if spec.value or spec.kind == Kind.CUSTOMER else 0), (), False, 0
        return 2, spec.events, bool(spec.roles), spec_words(spec)

    return key


def _groups(attributes: Sequence[AttributeSpec], order: Sequence[int]) -> list[list[int]]:
    """Return the attributes of each annex."""
    groups: list[list[int]] = []
    words = SHARED_WORDS_MAX
    for _, same in itertools.groupby(order, key=lambda number: attributes[number].events):
        numbers = list(same)
        is_new = words + sum(spec_words(attributes[number]) for number in numbers) > SHARED_WORDS_MAX
        for number in numbers:
            size = spec_words(attributes[number])
            if is_new or words + size > ANNEX_WORDS_MAX:
                groups.append([])
                words = 0
                is_new = False
            groups[-1].append(number)
            words += size
    return groups
