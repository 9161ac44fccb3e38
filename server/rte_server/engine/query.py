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
from rte_server.engine.context import WRITTEN_BLOCKS, count_of, row_cells, span_in
from rte_server.engine.encode import READ_TRIES
from rte_server.engine.expressions import (
    CODE_COLUMNS,
    STACK_DEPTH_MAX,
    WRITES,
    Code,
    Op,
    encode_code,
    evaluate_spans,
    input_names,
)
from rte_server.engine.kernel import inner, kernel
from rte_server.engine.native import acquire_at, fence_acquire, put_word, span_of, word_at
from rte_server.engine.program import CELLS_OF, Program, load_number
from rte_server.engine.reasons import EngineError, Reason
from rte_server.engine.row_values import load_input, session_time
from rte_server.engine.table import (
    ACTIVE,
    CLOSED,
    HIGH_WATER,
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

FIRST_WRITTEN = np.int64(-1000)
"""Input `FIRST_WRITTEN - i` is the written attribute number i of a filter; see `Filter.written`."""


class Filter(NamedTuple):
    """An expression on rows, ready to run.

    Attributes:
        codes: int64[n, 4], its instructions; empty: every row matches.
        texts: uint8[:], its constant texts.
        loads: int64[:], its inputs: as in `program.load_number`, or FIRST_WRITTEN - i.
        written: int64[:], string ids of the names of written attributes.
        states: Bit s is set if sessions in state s are wanted.
        numbers: The input of each name that can be ordered by.
        code: What it was made of.
        program: What it was made for; with another one its inputs are other attributes.
    """

    codes: NDArray[np.int64]
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
def _input(ctx, cells, number, names, now_ms):  # type: ignore[no-untyped-def]
    """Return the value (tag, bits) of an input of a filter."""
    if number > FIRST_WRITTEN or number <= CELLS_OF:
        return load_input(ctx, cells, number, session_time(cells, now_ms))
    place = word_at(cells, WRITTEN)
    # The row may be changing: what is read then is thrown away, but it must lie inside of the blocks.
    if place >= 0 and (place + 1) * WRITTEN_WORDS <= span_in(ctx, WRITTEN_BLOCKS)[1]:
        block = written_block(ctx, place)
        for item in range(0, WRITTEN_WORDS, WRITTEN_ITEM_WORDS):
            if word_at(block, item) == word_at(names, FIRST_WRITTEN - number):
                return word_at(block, item + 1) & TAG_MASK, word_at(block, item + 3)
    return np.int64(NULL), np.int64(0)


@inner
def _matches(ctx, cells, now_ms, states, codes, texts, loads, names, tags, bits, stack_tags, stack_bits):  # type: ignore[no-untyped-def]
    state = word_at(cells, STATE)
    if (state != ACTIVE and state != CLOSED) or (states >> state) & 1 == 0:
        return False
    if codes[1] == 0:
        return True
    for i in range(loads[1]):
        tag, value = _input(ctx, cells, word_at(loads, i), names, now_ms)
        put_word(tags, i, tag)
        put_word(bits, i, value)
    tag, value = evaluate_spans(
        ctx,
        codes,
        np.int64(0),
        codes[1] // CODE_COLUMNS,
        texts,
        tags,
        bits,
        stack_tags,
        stack_bits,
    )
    return tag == BOOL and value == 1


@kernel
def match_rows(  # type: ignore[no-untyped-def]
    context,
    now_ms,
    states,
    codes,
    texts,
    loads,
    written,
    order,
    candidates,
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
        states: Member of Filter, as the next four.
        order: Input to sort by, or NO_ORDER.
        candidates: int64[:], rows to look at; empty: all.
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
    code_span = span_of(codes)
    text_span = span_of(texts)
    load_span = span_of(loads)
    names = span_of(written)
    everything = candidates.shape[0] == 0
    total = count_of(ctx, HIGH_WATER) if everything else candidates.shape[0]
    found = progress[1]
    for i in range(progress[0], total):
        is_read = False
        row = i if everything else candidates[i]
        cells = row_cells(ctx, row)
        for _ in range(READ_TRIES):
            before = acquire_at(cells, VERSION)
            if before & 1 == 1:
                continue
            matched = _matches(
                ctx, cells, now_ms, states, code_span, text_span, load_span, names, tags, bits, stack_tags, stack_bits
            )
            if matched and found < rows.shape[0]:
                rows[found] = row
                session_ids[found, 0] = word_at(cells, SESSION_LO)
                session_ids[found, 1] = word_at(cells, SESSION_HI)
                key_numbers[found] = np.nan
                key_texts[found] = 0
                if order != NO_ORDER:
                    tag, value = _input(ctx, cells, order, names, now_ms)
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
    inputs = sorted(input_names(code))
    loads = np.array([load_number(name, numbers) for name in inputs], np.int64)
    texts = bytearray()
    codes = np.zeros((0, CODE_COLUMNS), np.int64)
    if code:
        codes = encode_code(code, {name: slot for slot, name in enumerate(inputs)}, texts, secret)
    constants = np.frombuffer(bytes(texts) + b"\0", np.uint8).copy()
    names = np.array([*written.values(), 0], np.int64)
    return Filter(codes, constants, loads, names, states, numbers, code, program)


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
        wanted.texts,
        wanted.loads,
        wanted.written,
        order,
        candidates,
        rows,
        session_ids,
        numbers,
        texts,
        progress,
    ):
        pass
    count = int(progress[1])
    return Matches(rows[:count], session_ids[:count], numbers[:count], texts[:count])
