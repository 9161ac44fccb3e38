"""The walk over the rows that looks for those that match a filter, beside the writer.

Rows are looked at in blocks, one conjunct of the filter after the other: each is evaluated on those rows of the block
that the conjuncts before it have left. The walk waits for memory more than it computes; so the cells that a conjunct
reads are asked for before it is evaluated, many at once, and none of rows that are out already.

Each row counts as it was at one moment: its version is read before anything else of it, and once more after everything.
Rows that the writer changed meanwhile, or is changing, are looked at again with those of the next block.

Source: Boncz, Zukowski and Nes, "MonetDB/X100: Hyper-Pipelining Query Execution", CIDR 2005 (blocks, selection vectors).
"""

from __future__ import annotations

import numpy as np

from rte_server.engine.annexes import cell_span
from rte_server.engine.attributes import TAG_MASK, as_number, is_storable
from rte_server.engine.context import WRITTEN_BLOCKS, count_of, row_cells, span_in
from rte_server.engine.evaluation import evaluate_lanes
from rte_server.engine.expressions import STACK_DEPTH_MAX
from rte_server.engine.kernel import inner, kernel
from rte_server.engine.native import acquire_at, fence_acquire, prefetch_at, put_word, span_of, word_at
from rte_server.engine.program import CELLS_OF, IN_ITS_WAY, OF_WORD
from rte_server.engine.row_values import OF_EXTREME, load_input, session_time
from rte_server.engine.table import (
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
from rte_server.engine.values import BOOL, DOUBLE, ERROR, INT, NULL, STRING, compare_alike

BLOCK_ROWS = np.int64(256)
"""Rows that are looked at together: the lines of 64 bytes that are read of them stay in the processor's second cache."""

ROUNDS_MAX = 10_000
"""Rounds over what is left of the last block before the kernel gives up, so that the caller lets other threads run."""

NO_TIME = np.int64(-1)

NO_ORDER = np.int64(-(2**31))

NO_CELL = np.int64(-1)

FIRST_WRITTEN = np.int64(-1000)
"""Input `FIRST_WRITTEN - i` is the written attribute number i of a filter; see `query.Filter.written`."""

# Words of a conjunct in `query.Filter.parts`.
C_CODE = np.int64(0)  # first instruction and the one after the last, in `codes`
C_CODE_END = np.int64(1)
C_LOADS = np.int64(2)  # first input and the one after the last, in `loads`
C_LOADS_END = np.int64(3)
C_WAY = np.int64(4)  # BY_CODE, BY_INPUT or BY_WORD
C_COMPARISON = np.int64(5)  # else than BY_CODE: as `values.compare_alike` has it,
C_TAG = np.int64(6)  # and the constant that the input is compared with: an int or a double
C_BITS = np.int64(7)
C_WORDS = np.int64(8)

BY_CODE = np.int64(0)  # its instructions are carried out
BY_INPUT = np.int64(1)  # it compares its one input with a number, and is no `!=`, which is true without a value, too
BY_WORD = np.int64(2)  # likewise with an int, and the cell of the input is a word that is an int

# Words of an input in `query.Filter.loads`.
I_NUMBER = np.int64(0)  # as in `program.load_number`, or FIRST_WRITTEN - i
I_CELL = np.int64(1)  # first word of its cell, or NO_CELL
I_WAY = np.int64(2)  # as in `row_values.filter_way`
I_WORDS = np.int64(3)

# Words of `progress`.
R_NEXT = np.int64(0)  # the first row, or candidate, that has not been in a block
R_MATCHED = np.int64(1)  # rows that matched
R_FOUND = np.int64(2)  # those of them that are written down
R_LEFT = np.int64(3)  # rows of the present block that are still to be looked at,
R_BLOCK = np.int64(4)  # and which these are
R_WORDS = R_BLOCK + BLOCK_ROWS


@inner
def _input_in_its_way(ctx, cells, number, names, time_ms):  # type: ignore[no-untyped-def]
    """Return the value (tag, bits) of an input that is no word of the row."""
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


@inner(forceinline=True)
def _input(ctx, cells, load, names, time_ms):  # type: ignore[no-untyped-def]
    """Return the value (tag, bits) of an input of a filter.

    Args:
        ctx: Span of the context.
        cells: Span of the row.
        load: Span of the words of the input.
        names: Span of the names of written attributes.
        time_ms: The session's time.
    """
    way, cell = word_at(load, I_WAY), word_at(load, I_CELL)
    if way == IN_ITS_WAY:
        return _input_in_its_way(ctx, cells, word_at(load, I_NUMBER), names, time_ms)
    own = cell_span(ctx, cells, cell)
    value = word_at(own, cell)
    if way == OF_WORD:
        return np.int64(INT), value
    has_value = word_at(own, cell + 1) != 0 if way == OF_EXTREME else is_storable(DOUBLE, value)
    return np.int64(DOUBLE if has_value else NULL), value


@inner
def _time_of(cells, now_ms):  # type: ignore[no-untyped-def]
    """Return what time it is for a session. What nobody asks for is not read: it is in another line of the row."""
    return now_ms if now_ms == NO_TIME else session_time(cells, now_ms)


@inner
def _ask_for(ctx, looked_at, cell):  # type: ignore[no-untyped-def]
    """Ask memory for a cell of the chosen rows; NO_CELL: for nothing.

    Args:
        ctx: Span of the context.
        looked_at: Spans of the rows of the block and of the places of the chosen ones in it, and how many these are.
        cell: First word of the cell.
    """
    if cell != NO_CELL:
        block, chosen, count = looked_at
        for k in range(count):
            cells = row_cells(ctx, word_at(block, word_at(chosen, k)))
            prefetch_at(cell_span(ctx, cells, cell), cell)


@inner
def _evaluate(ctx, looked_at, part, now_ms, wanted, stack):  # type: ignore[no-untyped-def]
    """Evaluate a conjunct on the chosen rows: the values are in the lowest place of the stack then.

    Args:
        ctx: Span of the context.
        looked_at: As in `_ask_for`.
        part: First word of the conjunct in the parts of the filter.
        now_ms: The time by the server's clock, or NO_TIME.
        wanted: Spans of the members of the filter, as `match_rows` makes them.
        stack: Spans of the inputs and of the stack, likewise.
    """
    block, chosen, count = looked_at
    parts, codes, texts, loads, names = wanted
    inputs, values = stack
    first = word_at(parts, part + C_LOADS)
    for i in range(first, word_at(parts, part + C_LOADS_END)):
        load = (loads[0] + i * I_WORDS * 8, I_WORDS)
        for k in range(count):
            lane = word_at(chosen, k)
            cells = row_cells(ctx, word_at(block, lane))
            tag, value = _input(ctx, cells, load, names, _time_of(cells, now_ms))
            put_word(inputs[0], (i - first) * BLOCK_ROWS + lane, tag)
            put_word(inputs[1], (i - first) * BLOCK_ROWS + lane, value)
    code, end = word_at(parts, part + C_CODE), word_at(parts, part + C_CODE_END)
    evaluate_lanes(ctx, codes, code, end, texts, inputs, values, (chosen, count, BLOCK_ROWS))


@inner
def _is_true(values, lane):  # type: ignore[no-untyped-def]
    """Return whether what was evaluated is true of a row, 0 or 1: neither false, nor an error, nor without a value."""
    return np.int64(word_at(values[0], lane) == BOOL) & np.int64(word_at(values[1], lane) == 1)


@inner
def _choose_by_word(ctx, looked_at, part, wanted):  # type: ignore[no-untyped-def]
    """Do what `_choose_by` does for BY_WORD."""
    block, chosen, count = looked_at
    parts = wanted[0]
    cell = word_at(wanted[3], word_at(parts, part + C_LOADS) * I_WORDS + I_CELL)
    comparison, bits = word_at(parts, part + C_COMPARISON), word_at(parts, part + C_BITS)
    kept = np.int64(0)
    for k in range(count):
        i = word_at(chosen, k)
        cells = row_cells(ctx, word_at(block, i))
        # Without a branch here and below: which rows match is as good as random to the processor.
        put_word(chosen, kept, i)
        kept += compare_alike(comparison, np.int64(INT), word_at(cell_span(ctx, cells, cell), cell), bits)
    return kept


@inner
def _choose_by_input(ctx, looked_at, part, now_ms, wanted, stack):  # type: ignore[no-untyped-def]
    """Do what `_choose_by` does for BY_INPUT."""
    block, chosen, count = looked_at
    parts = wanted[0]
    load = (wanted[3][0] + word_at(parts, part + C_LOADS) * I_WORDS * 8, I_WORDS)
    comparison = word_at(parts, part + C_COMPARISON)
    tag, bits = word_at(parts, part + C_TAG), word_at(parts, part + C_BITS)
    kept = np.int64(0)
    for k in range(count):
        i = word_at(chosen, k)
        cells = row_cells(ctx, word_at(block, i))
        found, value = _input(ctx, cells, load, wanted[4], _time_of(cells, now_ms))
        is_true = np.int64(0)
        if found == tag:
            is_true = compare_alike(comparison, tag, value, bits)
        elif found != NULL and found != ERROR:
            alone = (chosen[0] + k * 8, np.int64(1))
            _evaluate(ctx, (block, alone, np.int64(1)), part, now_ms, wanted, stack)
            is_true = _is_true(stack[1], i)
        put_word(chosen, kept, i)
        kept += is_true
    return kept


@inner
def _choose_by(ctx, looked_at, part, now_ms, wanted, stack):  # type: ignore[no-untyped-def]
    """Leave of the chosen rows those of which a conjunct is true; return how many these are. Arguments as for others."""
    _, chosen, count = looked_at
    parts = wanted[0]
    for i in range(word_at(parts, part + C_LOADS), word_at(parts, part + C_LOADS_END)):
        _ask_for(ctx, looked_at, word_at(wanted[3], i * I_WORDS + I_CELL))
    if word_at(parts, part + C_WAY) == BY_WORD:
        return _choose_by_word(ctx, looked_at, part, wanted)
    if word_at(parts, part + C_WAY) == BY_INPUT:
        return _choose_by_input(ctx, looked_at, part, now_ms, wanted, stack)
    _evaluate(ctx, looked_at, part, now_ms, wanted, stack)
    kept = np.int64(0)
    for k in range(count):
        i = word_at(chosen, k)
        put_word(chosen, kept, i)
        kept += _is_true(stack[1], i)
    return kept


@inner
def _choose(ctx, block, count, now_ms, states, wanted, spans):  # type: ignore[no-untyped-def]
    """Choose the rows of a block that match, as far as they stand still, and note the versions of all. Returns how many match."""
    versions, chosen, stack = spans
    found = np.int64(0)
    for i in range(count):
        cells = row_cells(ctx, word_at(block, i))
        version = acquire_at(cells, VERSION)
        put_word(versions, i, version)
        put_word(chosen, found, i)
        found += (states >> (word_at(cells, STATE) & 3)) & 1 & ~version
    for part in range(0, wanted[0][1], C_WORDS):
        found = _choose_by(ctx, (block, chosen, found), part, now_ms, wanted, stack)
    return found


@inner
def _fill_block(progress, total, candidates):  # type: ignore[no-untyped-def]
    """Put further rows beside those that are left in the block; return how many."""
    first, left = progress[R_NEXT], progress[R_LEFT]
    count = min(BLOCK_ROWS - left, total - first)
    for i in range(count):
        progress[R_BLOCK + left + i] = candidates[first + i] if candidates.shape[0] > 0 else first + i
    progress[R_LEFT] += count
    progress[R_NEXT] += count
    return count


@inner
def _put_keys(ctx, looked_at, now_ms, order, names, bounds, found, outputs):  # type: ignore[no-untyped-def]
    """Write down what sorts the chosen rows, from place `found` of the outputs on; in `rows`, their places in the block.

    Returns:
        The place after the last one: a row beyond the bounds gets none.
    """
    rows, session_ids, key_numbers, key_texts = outputs
    block, chosen, count = looked_at
    has_order = word_at(order, I_NUMBER) != NO_ORDER
    _ask_for(ctx, looked_at, word_at(order, I_CELL))
    for k in range(count):
        i = word_at(chosen, k)
        cells = row_cells(ctx, word_at(block, i))
        tag, value = np.int64(NULL), np.int64(0)
        if has_order:
            tag, value = _input(ctx, cells, order, names, _time_of(cells, now_ms))
        key = as_number(tag, value)
        # What is no number is beyond all bounds.
        if bounds.shape[0] > 0 and not (bounds[0] <= key <= bounds[1]):
            continue
        rows[found] = i
        session_ids[found, 0] = word_at(cells, SESSION_LO)
        session_ids[found, 1] = word_at(cells, SESSION_HI)
        key_numbers[found] = key
        key_texts[found] = value if tag == STRING else 0
        found += 1
    return found


@inner
def _settle(ctx, progress, versions, looked_at, end, outputs):  # type: ignore[no-untyped-def]
    """Keep what was read of rows that stood still, and leave the others for the next round.

    Args:
        ctx: Span of the context.
        progress: As in `match_rows`.
        versions: Span of the versions that the rows of the block had.
        looked_at: As in `_ask_for`.
        end: The place after the last one in the outputs.
        outputs: As in `match_rows`.
    """
    rows, session_ids, key_numbers, key_texts = outputs
    block, chosen, count = looked_at
    fence_acquire()
    for i in range(progress[R_LEFT]):
        version = word_at(versions, i)
        stood_still = acquire_at(row_cells(ctx, word_at(block, i)), VERSION) == version and version & 1 == 0
        put_word(versions, i, np.int64(stood_still))
    for k in range(count):
        progress[R_MATCHED] += word_at(versions, word_at(chosen, k))
    kept = progress[R_FOUND]
    for place in range(progress[R_FOUND], end):
        i = rows[place]
        rows[kept] = word_at(block, i)
        session_ids[kept, 0] = session_ids[place, 0]
        session_ids[kept, 1] = session_ids[place, 1]
        key_numbers[kept] = key_numbers[place]
        key_texts[kept] = key_texts[place]
        kept += word_at(versions, i)
    progress[R_FOUND] = kept
    left = np.int64(0)
    for i in range(progress[R_LEFT]):
        put_word(block, left, word_at(block, i))
        left += 1 - word_at(versions, i)
    progress[R_LEFT] = left


@kernel
def match_rows(  # type: ignore[no-untyped-def]
    context,
    now_ms,
    states,
    parts,
    codes,
    texts,
    loads,
    written,
    order,
    candidates,
    bounds,
    rows,
    session_ids,
    key_numbers,
    key_texts,
    progress,
):
    """Find the rows that match a filter, from the place on that `progress` says.

    Args:
        context: int64[CONTEXT_WORDS].
        now_ms: The time by the server's clock; NO_TIME if neither the filter nor the order depends on it.
        states: Member of Filter, as the next five.
        order: int64[I_WORDS], the input to sort by; its number is NO_ORDER if nobody asks.
        candidates: int64[:], rows to look at; empty: all.
        bounds: float64[2], the least and the greatest key of rows that are written down; empty: all of them are.
        rows: int64[n], receives the rows. The other outputs have as many rows; see `Matches`.
        progress: int64[R_WORDS], zeros for the first call.

    Returns:
        Whether all rows have been looked at. Else the outputs have no room for a block, or a row kept changing: call
        again with the same arguments, after the outputs were emptied if there was no room.
    """
    ctx = span_of(context)
    # As many as all conjuncts have together, so enough for each.
    inputs = loads.shape[0] + 1
    scratch = np.empty(2 * BLOCK_ROWS * (1 + inputs + STACK_DEPTH_MAX), np.int64)
    versions = (span_of(scratch)[0], BLOCK_ROWS)
    chosen = (versions[0] + BLOCK_ROWS * 8, BLOCK_ROWS)
    input_words, stack_words = BLOCK_ROWS * inputs, BLOCK_ROWS * STACK_DEPTH_MAX
    tags = (chosen[0] + BLOCK_ROWS * 8, input_words)
    bits = (tags[0] + input_words * 8, input_words)
    stack_tags = (bits[0] + input_words * 8, stack_words)
    stack_bits = (stack_tags[0] + stack_words * 8, stack_words)
    spans = versions, chosen, ((tags, bits), (stack_tags, stack_bits))
    names = span_of(written)
    wanted = span_of(parts), span_of(codes), span_of(texts), span_of(loads), names
    outputs = rows, session_ids, key_numbers, key_texts
    block = (span_of(progress)[0] + R_BLOCK * 8, BLOCK_ROWS)
    total = candidates.shape[0] if candidates.shape[0] > 0 else count_of(ctx, HIGH_WATER)
    rounds = 0
    while progress[R_LEFT] > 0 or progress[R_NEXT] < total:
        if rounds == ROUNDS_MAX or progress[R_FOUND] + BLOCK_ROWS > rows.shape[0]:
            break
        rounds = 0 if _fill_block(progress, total, candidates) > 0 else rounds + 1
        matched = _choose(ctx, block, progress[R_LEFT], now_ms, states, wanted, spans)
        looked_at = block, chosen, matched
        end = _put_keys(ctx, looked_at, now_ms, span_of(order), names, bounds, progress[R_FOUND], outputs)
        _settle(ctx, progress, versions, looked_at, end, outputs)
    # The scratch memory must live until here: the spans do not hold it.
    scratch[0] = progress[R_LEFT]
    return scratch[0] == 0 and progress[R_NEXT] >= total
