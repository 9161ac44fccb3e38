"""Filters and orders over all sessions, beside the writer.

The rows are walked once, see `matching`. What comes out is a list of rows, each of which matched at one moment of the walk.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rte_server.engine.expressions import (
    CODE_COLUMNS,
    OF_SLOT_AND_CONSTANT,
    WRITES,
    Code,
    Op,
    conjuncts,
    encode_code,
    input_names,
)
from rte_server.engine.matching import (
    BLOCK_ROWS,
    BY_CODE,
    BY_INPUT,
    BY_WORD,
    C_WORDS,
    FIRST_WRITTEN,
    I_WAY,
    I_WORDS,
    NO_CELL,
    NO_ORDER,
    NO_TIME,
    R_FOUND,
    R_MATCHED,
    R_WORDS,
    match_rows,
)
from rte_server.engine.program import CELLS_OF, IN_ITS_WAY, OF_WORD, Program, load_number
from rte_server.engine.reasons import EngineError, Reason
from rte_server.engine.row_values import cell_of, filter_way, reads_time
from rte_server.engine.table import ACTIVE, CLOSED
from rte_server.engine.values import DOUBLE, INT

STATES_ACTIVE = 1 << ACTIVE
STATES_CLOSED = 1 << CLOSED
STATES_ANY = STATES_ACTIVE | STATES_CLOSED

_COMPARISONS = (Op.EQUAL, Op.LESS, Op.LESS_EQUAL, Op.GREATER, Op.GREATER_EQUAL)


class Filter(NamedTuple):
    """An expression on rows, ready to run.

    Attributes:
        parts: int64[m, C_WORDS], its conjuncts; empty: every row matches.
        codes: int64[n, 4], their instructions, one after the other.
        texts: uint8[:], its constant texts.
        loads: int64[:, I_WORDS], the inputs of each conjunct.
        written: int64[:], string ids of the names of written attributes.
        states: Bit s is set if sessions in state s are wanted.
        is_timed: Whether an input depends on the session's time.
        numbers: The input of each name that can be ordered by.
        code: What it was made of.
        program: What it was made for; with another one its inputs are other attributes.
    """

    parts: NDArray[np.int64]
    codes: NDArray[np.int64]
    texts: NDArray[np.uint8]
    loads: NDArray[np.int64]
    written: NDArray[np.int64]
    states: int
    is_timed: bool
    numbers: Mapping[str, int]
    code: Code
    program: Program


@dataclass(frozen=True, slots=True)
class Matches:
    """The rows that a filter chose.

    Attributes:
        rows: int64[n].
        session_ids: int64[n, 2], low and high word of their session ids when they matched.
        key_numbers: float64[n], sort keys; NaN where a row has none, or a text.
        key_texts: int64[n], string ids of sort keys that are texts, else 0.
        count: How many matched, n or more: those that were given up by `Narrow` are counted, too.
    """

    rows: NDArray[np.int64]
    session_ids: NDArray[np.int64]
    key_numbers: NDArray[np.float64]
    key_texts: NDArray[np.int64]
    count: int


@dataclass(frozen=True, slots=True)
class Narrow:
    """What of the matches is wanted, if it is not all of them: so that a walk over many rows keeps few.

    Attributes:
        room: How many matches are collected before `choose` is asked, >= 1. It should leave less than half of them.
        choose: Returns the places of those of the matches that are kept, and the least and the greatest key that others
            need to be of interest; no bounds: any other may be. It must say the same of the same matches.
    """

    room: int
    choose: Callable[[Matches], tuple[NDArray[np.int64], tuple[float, float] | None]]


def make_filter(
    code: Code, states: int, program: Program, written: Mapping[str, int], secret: NDArray[np.uint64]
) -> Filter:
    """Return an expression on rows, ready to run on rows of `program`.

    Args:
        written: String ids of the names of written attributes that may be read.

    Raises:
        EngineError: INVALID_EXPRESSION if it reads an attribute that there is not, makes texts, or is too large.
    """
    if {step.op for step in code} & (WRITES | {Op.IN_LIST}):
        raise EngineError(
            Reason.INVALID_EXPRESSION,
            "A filter can neither make texts nor read lists: make it a derived attribute.",
            field="filter",
        )
    numbers = {name: int(FIRST_WRITTEN) - i for i, name in enumerate(written)}
    numbers |= {spec.name: number for number, spec in enumerate(program.attributes)}
    attributes = program.arrays.attributes
    texts = bytearray()
    loads: list[tuple[int, int, int]] = []
    encoded = [np.zeros((0, CODE_COLUMNS), np.int64)]
    parts = []
    for conjunct in conjuncts(code):
        slots = {name: slot for slot, name in enumerate(sorted(input_names(conjunct)))}
        begin = sum(map(len, encoded)), len(loads)
        encoded.append(encode_code(conjunct, slots, texts, secret))
        loads += [_input(load_number(name, numbers), attributes) for name in slots]
        shortcut = _shortcut(encoded[-1], loads[begin[1] :])
        parts.append((begin[0], begin[0] + len(encoded[-1]), begin[1], len(loads), *shortcut))
    codes = np.concatenate(encoded)
    constants = np.frombuffer(bytes(texts) + b"\0", np.uint8).copy()
    names = np.array([*written.values(), 0], np.int64)
    ends = np.array(parts, np.int64).reshape(-1, int(C_WORDS))
    inputs = np.array(loads, np.int64).reshape(-1, int(I_WORDS))
    is_timed = any(reads_time(attributes, number) for number, _, _ in loads if number > FIRST_WRITTEN)
    return Filter(ends, codes, constants, inputs, names, states, is_timed, numbers, code, program)


def _input(number: int, attributes: NDArray[np.int64]) -> tuple[int, int, int]:
    """Return the words of an input by its number."""
    if CELLS_OF < number <= FIRST_WRITTEN:
        return number, int(NO_CELL), int(IN_ITS_WAY)
    cell = cell_of(attributes, number)
    return number, int(NO_CELL) if cell is None else cell, filter_way(attributes, number)


def _shortcut(code: NDArray[np.int64], loads: Sequence[tuple[int, int, int]]) -> tuple[int, int, int, int]:
    """Return the words of a conjunct from C_WAY on."""
    op, tag, bits, _ = code[-1].tolist()
    comparison = op - int(OF_SLOT_AND_CONSTANT)
    if len(code) > 1 or comparison not in _COMPARISONS or tag not in (INT, DOUBLE):
        return int(BY_CODE), 0, 0, 0
    way = BY_WORD if loads[0][I_WAY] == OF_WORD and tag == INT else BY_INPUT
    return int(way), comparison - Op.EQUAL, tag, bits


def select_rows(
    context: NDArray[np.int64],
    wanted: Filter,
    order_by: str,
    candidates: NDArray[np.int64],
    room: int,
    now_ms: int,
    narrow: Narrow | None = None,
) -> Matches:
    """Return the rows that match; see `match_rows`.

    Args:
        context: int64[CONTEXT_WORDS].
        wanted: From `make_filter`.
        order_by: Name of an attribute or field; empty: no matter.
        candidates: int64[:], rows to look at; empty: all.
        room: About as many rows as can match.
        now_ms: The time by the server's clock.
        narrow: What is wanted of them; None: all.

    Raises:
        EngineError: INVALID_EXPRESSION if there is no attribute or field `order_by`.
    """
    attributes = wanted.program.arrays.attributes
    order = int(NO_ORDER), int(NO_CELL), int(IN_ITS_WAY)
    if order_by:
        order = _input(load_number(order_by, wanted.numbers), attributes)
    is_timed = wanted.is_timed or (order[0] > FIRST_WRITTEN and reads_time(attributes, order[0]))
    collected = _collected(room if narrow is None else narrow.room)
    bounds = np.zeros(0)
    progress = np.zeros(int(R_WORDS), np.int64)
    while not match_rows(
        context,
        now_ms if is_timed else int(NO_TIME),
        wanted.states,
        wanted.parts,
        wanted.codes,
        wanted.texts,
        wanted.loads,
        wanted.written,
        np.array(order, np.int64),
        candidates,
        bounds,
        *collected,
        progress,
    ):
        found = int(progress[R_FOUND])
        if found + BLOCK_ROWS <= len(collected[0]):
            continue  # A row kept changing.
        if narrow is not None:
            places, limits = narrow.choose(_matches(collected, found, found))
            progress[R_FOUND] = len(places)
            for part in collected:
                part[: len(places)] = part[places]
            bounds = np.zeros(0) if limits is None else np.array(limits)
        found = int(progress[R_FOUND])
        if found + max(found, int(BLOCK_ROWS)) > len(collected[0]):
            collected = _collected(2 * len(collected[0]), collected, found)
    return _matches(collected, int(progress[R_FOUND]), int(progress[R_MATCHED]))


_Collected = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]


def _collected(room: int, before: Sequence[NDArray[Any]] = (), count: int = 0) -> _Collected:
    """Return the outputs of `match_rows`, with room for some rows and a block more, and `count` of those before."""
    size = room + int(BLOCK_ROWS)
    made = np.empty(size, np.int64), np.empty((size, 2), np.int64), np.empty(size, np.float64), np.empty(size, np.int64)
    for new, old in zip(made, before, strict=False):
        new[:count] = old[:count]
    return made


def _matches(collected: _Collected, found: int, count: int) -> Matches:
    rows, session_ids, key_numbers, key_texts = collected
    return Matches(rows[:found], session_ids[:found], key_numbers[:found], key_texts[:found], count)
