"""Filters and orders over all sessions, beside the writer.

The rows are walked once; a row that the writer changes while it is looked at is looked at again. What comes out is a
list of rows, each of which matched at one moment of the walk.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rte_server.engine.attributes import TAG_MASK, as_number
from rte_server.engine.context import ROW_WORDS, ROWS, WRITTEN_BLOCKS, count_of, row_cells, span_in
from rte_server.engine.encode import READ_TRIES
from rte_server.engine.expressions import (
    CODE_COLUMNS,
    STACK_DEPTH_MAX,
    WRITES,
    Code,
    Op,
    conjuncts,
    encode_code,
    evaluate_spans,
    input_names,
)
from rte_server.engine.kernel import inner, kernel
from rte_server.engine.native import acquire_at, fence_acquire, prefetch_at, put_word, span_of, word_at
from rte_server.engine.program import A_AT, CELLS_OF, Program, load_number
from rte_server.engine.reasons import EngineError, Reason
from rte_server.engine.row_values import load_input, session_time
from rte_server.engine.table import (
    ACTIVE,
    CLOSED,
    HIGH_WATER,
    LAG,
    LAST,
    SESSION_HI,
    SESSION_LO,
    STATE,
    VERSION,
    WRITTEN,
    WRITTEN_ITEM_WORDS,
    WRITTEN_WORDS,
    written_block,
)
from rte_server.engine.values import BOOL, NULL, STRING

STATES_ACTIVE = 1 << ACTIVE
STATES_CLOSED = 1 << CLOSED
STATES_ANY = STATES_ACTIVE | STATES_CLOSED

NO_ORDER = np.int64(-(2**31))

AHEAD = np.int64(6)
"""So many rows ahead memory is asked for what is read of a row. Each row is on pages of its own: without it the walk waits
for memory most of the time, and a core has no more than a few dozen requests under way."""

LINE_BYTES = 64

FIRST_WRITTEN = np.int64(-1000)
"""Input `FIRST_WRITTEN - i` is the written attribute number i of a filter; see `Filter.written`."""


class Filter(NamedTuple):
    """An expression on rows, ready to run.

    Attributes:
        codes: int64[n, 4], the instructions of its conjuncts, one after the other.
        parts: int64[m, 2], per conjunct where its instructions end, and how many of `loads` it and those before it need;
            empty: every row matches.
        texts: uint8[:], its constant texts.
        loads: int64[:], its inputs in the order in which conjuncts need them: as in `program.load_number`, or
            FIRST_WRITTEN - i.
        written: int64[:], string ids of the names of written attributes.
        states: Bit s is set if sessions in state s are wanted.
        numbers: The input of each name that can be ordered by.
        code: What it was made of.
        program: What it was made for; with another one its inputs are other attributes.
    """

    codes: NDArray[np.int64]
    parts: NDArray[np.int64]
    texts: NDArray[np.uint8]
    loads: NDArray[np.int64]
    written: NDArray[np.int64]
    states: int
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
    """

    rows: NDArray[np.int64]
    session_ids: NDArray[np.int64]
    key_numbers: NDArray[np.float64]
    key_texts: NDArray[np.int64]


@inner
def _input(ctx, cells, number, names, time_ms):  # type: ignore[no-untyped-def]
    """Return the value (tag, bits) of an input of a filter, when it is `time_ms` for the session."""
    if number > FIRST_WRITTEN or number <= CELLS_OF:
        return load_input(ctx, cells, number, time_ms)
    place = word_at(cells, WRITTEN)
    # The row may be changing: what is read then is thrown away, but it must lie inside of the blocks.
    if place >= 0 and (place + 1) * WRITTEN_WORDS <= span_in(ctx, WRITTEN_BLOCKS)[1]:
        block = written_block(ctx, place)
        for item in range(0, WRITTEN_WORDS, WRITTEN_ITEM_WORDS):
            if word_at(block, item) == word_at(names, FIRST_WRITTEN - number):
                return word_at(block, item + 1) & TAG_MASK, word_at(block, item + 3)
    return np.int64(NULL), np.int64(0)


@inner
def _matches(ctx, cells, time_ms, states, wanted, stack):  # type: ignore[no-untyped-def]
    """Return whether a row matches; `wanted` and `stack` are the spans that `match_rows` makes."""
    codes, parts, texts, loads, names = wanted
    tags, bits, stack_tags, stack_bits = stack
    state = word_at(cells, STATE)
    if (state != ACTIVE and state != CLOSED) or (states >> state) & 1 == 0:
        return False
    begin = np.int64(0)
    loaded = np.int64(0)
    # An expression is true if all of its conjuncts are: the first one that is false, or an error, decides.
    for part in range(0, parts[1], 2):
        end = word_at(parts, part)
        for i in range(loaded, word_at(parts, part + 1)):
            tag, value = _input(ctx, cells, word_at(loads, i), names, time_ms)
            put_word(tags, i, tag)
            put_word(bits, i, value)
        loaded = word_at(parts, part + 1)
        tag, value = evaluate_spans(ctx, codes, begin, end, texts, tags, bits, stack_tags, stack_bits)
        if tag != BOOL or value != 1:
            return False
        begin = end
    return True


@inner
def _ask_for(ctx, row, lines):  # type: ignore[no-untyped-def]
    """Ask memory for words of a row that is looked at soon."""
    cells = row_cells(ctx, row)
    for k in range(lines.shape[0]):
        prefetch_at(cells, lines[k])


@kernel
def match_rows(  # type: ignore[no-untyped-def]
    context,
    now_ms,
    states,
    codes,
    parts,
    texts,
    loads,
    written,
    order,
    candidates,
    lines,
    rows,
    session_ids,
    key_numbers,
    key_texts,
    progress,
):
    """Find the rows that match a filter, from the place on that `progress` says.

    Args:
        context: int64[CONTEXT_WORDS].
        now_ms: The time by the server's clock.
        states: Member of Filter, as the next five.
        order: Input to sort by, or NO_ORDER.
        candidates: int64[:], rows to look at; empty: all.
        lines: int64[:], words of a row, one of each cache line that is read of most rows.
        rows: int64[n], receives the rows. The other outputs have as many rows; see `Matches`.
        progress: int64[2], rows looked at, and rows found; zeros for the first call.

    Returns:
        True if all rows have been looked at; False if one kept changing: call again with the same arguments.
    """
    ctx = span_of(context)
    scratch = np.zeros(2 * (loads.shape[0] + STACK_DEPTH_MAX + 2), np.int64)
    inputs = loads.shape[0] + 1
    tags = (span_of(scratch)[0], np.int64(inputs))
    bits = (tags[0] + inputs * 8, np.int64(inputs))
    stack_tags = (bits[0] + inputs * 8, np.int64(STACK_DEPTH_MAX + 1))
    stack_bits = (stack_tags[0] + (STACK_DEPTH_MAX + 1) * 8, np.int64(STACK_DEPTH_MAX + 1))
    stack = tags, bits, stack_tags, stack_bits
    names = span_of(written)
    wanted = span_of(codes), span_of(parts), span_of(texts), span_of(loads), names
    everything = candidates.shape[0] == 0
    total = count_of(ctx, HIGH_WATER) if everything else candidates.shape[0]
    found = progress[1]
    for i in range(progress[0], total):
        is_read = False
        if i + AHEAD < total:
            _ask_for(ctx, i + AHEAD if everything else candidates[i + AHEAD], lines)
        row = i if everything else candidates[i]
        cells = row_cells(ctx, row)
        for _ in range(READ_TRIES):
            before = acquire_at(cells, VERSION)
            if before & 1 == 1:
                continue
            time_ms = session_time(cells, now_ms)
            matched = _matches(ctx, cells, time_ms, states, wanted, stack)
            if matched and found < rows.shape[0]:
                rows[found] = row
                session_ids[found, 0] = word_at(cells, SESSION_LO)
                session_ids[found, 1] = word_at(cells, SESSION_HI)
                key_numbers[found] = np.nan
                key_texts[found] = 0
                if order != NO_ORDER:
                    tag, value = _input(ctx, cells, order, names, time_ms)
                    key_numbers[found] = as_number(tag, value)
                    key_texts[found] = value if tag == STRING else 0
            fence_acquire()
            if acquire_at(cells, VERSION) == before:
                if matched and found < rows.shape[0]:
                    found += 1
                is_read = True
                break
        progress[0] = i + is_read
        progress[1] = found
        if not is_read:
            break
    # The scratch memory must live until here: the spans do not hold it.
    scratch[0] = progress[0]
    return scratch[0] >= total


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
    slots: dict[str, int] = {}
    texts = bytearray()
    encoded = [np.zeros((0, CODE_COLUMNS), np.int64)]
    parts = []
    for conjunct in conjuncts(code):
        for name in sorted(input_names(conjunct)):
            slots.setdefault(name, len(slots))
        encoded.append(encode_code(conjunct, slots, texts, secret))
        parts.append((sum(map(len, encoded)), len(slots)))
    codes = np.concatenate(encoded)
    loads = np.array([load_number(name, numbers) for name in slots], np.int64)
    constants = np.frombuffer(bytes(texts) + b"\0", np.uint8).copy()
    names = np.array([*written.values(), 0], np.int64)
    ends = np.array(parts, np.int64).reshape(-1, 2)
    return Filter(codes, ends, constants, loads, names, states, numbers, code, program)


def select_rows(
    context: NDArray[np.int64],
    wanted: Filter,
    order_by: str,
    candidates: NDArray[np.int64],
    size: int,
    now_ms: int,
) -> Matches:
    """Return the rows that match; see `match_rows`.

    Args:
        size: The most rows that can match.
        now_ms: The time by the server's clock.

    Raises:
        EngineError: INVALID_EXPRESSION if there is no attribute or field `order_by`.
    """
    order = int(NO_ORDER)
    if order_by:
        order = load_number(order_by, wanted.numbers)
    rows = np.empty(size, np.int64)
    session_ids = np.empty((size, 2), np.int64)
    numbers = np.empty(size, np.float64)
    texts = np.empty(size, np.int64)
    progress = np.zeros(2, np.int64)
    while not match_rows(
        context,
        now_ms,
        wanted.states,
        wanted.codes,
        wanted.parts,
        wanted.texts,
        wanted.loads,
        wanted.written,
        order,
        candidates,
        _lines(context, wanted, order),
        rows,
        session_ids,
        numbers,
        texts,
        progress,
    ):
        pass
    count = int(progress[1])
    return Matches(rows[:count], session_ids[:count], numbers[:count], texts[:count])


def _lines(context: NDArray[np.int64], wanted: Filter, order: int) -> NDArray[np.int64]:
    """Return words of a row's core, one of each cache line that is read of most rows; see `match_rows`."""
    words = [VERSION, SESSION_HI, LAST, LAG]
    attributes = wanted.program.arrays.attributes
    for load in (*wanted.loads.tolist(), order):
        number = CELLS_OF - load if load <= CELLS_OF else load
        if 0 <= number < len(attributes):
            words.append(attributes[number, A_AT])
    # Rows take whole lines, but the first need not begin with one.
    first, core = int(context[2 * ROWS]), int(context[ROW_WORDS])
    lines = {(first + 8 * int(word)) // LINE_BYTES: int(word) for word in words if word < core}
    return np.array(list(lines.values()), np.int64)
