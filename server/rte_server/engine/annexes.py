"""Annexes: the cells of a row that most sessions never use, kept beside the rows in blocks that are taken when they are needed.

A row begins with its *core*: the header, what nearly every event changes, and what is derived. All other cells lie in
annexes, each for cells that the same events change. A row that has none of an annex has 0 for it, one that has it the number
of its block. Cells keep the word numbers that they would have in one long row: the span of an annex is made so that word n
of the row is word n of the span. Its words before the first of the annex belong to others; whoever needs the header takes
it from the row.

Block 0 of each annex is all zeros and stays so: who reads an annex that the row does not have reads zeros, the identity of
every kind. Blocks are zeroed when they are given back, so nothing of a session is left where it was. There are as many blocks of
each annex as rows, so that none is ever missing; memory that is not touched costs nothing.

A row that lies in one piece, such as the copy that a reader makes, is a span of all its words: then every cell is in it.
"""

from __future__ import annotations

import numpy as np

from rte_server.engine.blocks import X_BASE, X_FIRST, X_FREE, X_LENGTH, X_TAKEN, X_WORDS
from rte_server.engine.context import ANNEX_OF, ANNEXES, BLOCKS, row_cells, span_in
from rte_server.engine.kernel import inner, kernel
from rte_server.engine.native import prefetch_at, put_word, span_of, trailing_zeros, word_at
from rte_server.engine.table import FREE, HEADER_WORDS, STATE

LINE_BITS = np.int64(3)
"""Annexes begin at multiples of 8 words of a row in one piece: `ProgramArrays.annex_of` says for each 8 which it is."""

_NUMBER_BITS = np.int64(32)
_NUMBER_MASK = np.int64((1 << 32) - 1)


@inner
def block_number(cells, annex):  # type: ignore[no-untyped-def]
    """Return the number of the block that a row has of an annex; 0 = none."""
    return word_at(cells, HEADER_WORDS + (annex >> 1)) >> ((annex & 1) * _NUMBER_BITS) & _NUMBER_MASK


@inner
def _put_block_number(cells, annex, number):  # type: ignore[no-untyped-def]
    shift = (annex & 1) * _NUMBER_BITS
    at = HEADER_WORDS + (annex >> 1)
    put_word(cells, at, word_at(cells, at) & ~(_NUMBER_MASK << shift) | number << shift)


@inner
def annex_of(ctx, at):  # type: ignore[no-untyped-def]
    """Return the annex that a word behind the core is in."""
    return word_at(span_in(ctx, ANNEX_OF), at >> LINE_BITS)


@inner
def block_span(ctx, annex, number):  # type: ignore[no-untyped-def]
    """Return the span of a block, in which its words have the numbers that they have in a row."""
    annexes = span_in(ctx, ANNEXES)
    place = annex * X_WORDS
    first = word_at(annexes, place + X_FIRST)
    length = word_at(annexes, place + X_LENGTH)
    start = word_at(annexes, place + X_BASE) + number * length
    return span_in(ctx, BLOCKS)[0] + (start - first) * 8, first + length


@inner
def cell_span(ctx, cells, at):  # type: ignore[no-untyped-def]
    """Return the span in which a cell of a row lies, to read it: zeros if the row lacks the annex.

    Args:
        ctx: Span of the context.
        cells: Span of the row.
        at: First word of the cell.
    """
    if at < cells[1]:
        return cells
    annex = annex_of(ctx, at)
    return block_span(ctx, annex, block_number(cells, annex))


@inner
def has_cell(ctx, cells, at):  # type: ignore[no-untyped-def]
    """Return whether a row has room for a cell already. Arguments as in `cell_span`."""
    return at < cells[1] or block_number(cells, annex_of(ctx, at)) != 0


@inner
def own_cell_span(ctx, cells, at):  # type: ignore[no-untyped-def]
    """Return the span in which a cell of a row lies, to write it. The row is being written. Arguments as in `cell_span`."""
    if at < cells[1]:
        return cells
    annex = annex_of(ctx, at)
    number = block_number(cells, annex)
    if number == 0:
        number = _take_block(ctx, cells, annex)
    return block_span(ctx, annex, number)


@inner(forceinline=True)
def prefetch_annexes(ctx, cells, wanted):  # type: ignore[no-untyped-def]
    """Ask for the memory of those of a row's annexes that `wanted` has bits for."""
    annexes = span_in(ctx, ANNEXES)
    while wanted != 0:
        annex = trailing_zeros(wanted)
        number = block_number(cells, annex)
        if number != 0:
            block = block_span(ctx, annex, number)
            for word in range(word_at(annexes, annex * X_WORDS + X_FIRST), block[1], 8):
                prefetch_at(block, word)
        wanted &= wanted - 1


@inner(forceinline=False)
def _take_block(ctx, cells, annex):  # type: ignore[no-untyped-def]
    """Give a row a block of an annex, all zeros, and return its number."""
    annexes = span_in(ctx, ANNEXES)
    place = annex * X_WORDS
    number = word_at(annexes, place + X_FREE)
    if number != 0:
        block = block_span(ctx, annex, number)
        first = word_at(annexes, place + X_FIRST)
        put_word(annexes, place + X_FREE, word_at(block, first))
        put_word(block, first, 0)
    else:
        number = word_at(annexes, place + X_TAKEN) + 1
        put_word(annexes, place + X_TAKEN, number)
    _put_block_number(cells, annex, number)
    return number


@inner(forceinline=False)
def give_back_annexes(ctx, cells):  # type: ignore[no-untyped-def]
    """Take from a row all annexes that it has. The row is being written.

    A reader that goes on to read the blocks, which may be another row's soon, finds that this row's version has changed.
    """
    annexes = span_in(ctx, ANNEXES)
    for annex in range(annexes[1] // X_WORDS):
        number = block_number(cells, annex)
        if number != 0:
            block = block_span(ctx, annex, number)
            place = annex * X_WORDS
            first = word_at(annexes, place + X_FIRST)
            for word in range(first, block[1]):
                put_word(block, word, 0)
            # A free block leads to the next one.
            put_word(block, first, word_at(annexes, place + X_FREE))
            put_word(annexes, place + X_FREE, number)
            _put_block_number(cells, annex, np.int64(0))


@inner
def copy_annexes(ctx, cells, copy):  # type: ignore[no-untyped-def]
    """Copy the annexes of a row into a row in one piece.

    Args:
        ctx: Span of the context.
        cells: Span of the row, or of a copy of its core.
        copy: Span of the row in one piece.
    """
    annexes = span_in(ctx, ANNEXES)
    for annex in range(annexes[1] // X_WORDS):
        block = block_span(ctx, annex, block_number(cells, annex))
        for word in range(word_at(annexes, annex * X_WORDS + X_FIRST), block[1]):
            put_word(copy, word, word_at(block, word))
        # It has none of its own.
        _put_block_number(copy, annex, np.int64(0))


@inner
def copy_blocks(cells, blocks, annexes, target):  # type: ignore[no-untyped-def]
    """Copy the blocks of a row to where they are in the blocks of a copy of the state.

    Args:
        cells: Span of the row, or of a copy of its core.
        blocks: Span of `Table.blocks`.
        annexes: Span of `Table.annexes`.
        target: Span of the blocks of the copy.
    """
    for annex in range(annexes[1] // X_WORDS):
        number = block_number(cells, annex)
        if number != 0:
            words = word_at(annexes, annex * X_WORDS + X_LENGTH)
            first = word_at(annexes, annex * X_WORDS + X_BASE) + number * words
            for word in range(first, first + words):
                put_word(target, word, word_at(blocks, word))


@kernel
def copy_free_blocks(blocks, annexes, copied):  # type: ignore[no-untyped-def]
    """Make the free blocks of a copy of the state what they are: zeros, and which is the next. Called from Python.

    Args:
        blocks: int64[n], `Table.blocks`; the writer stands still.
        annexes: int64[annexes, X_WORDS], `Table.annexes`.
        copied: int64[n], the blocks of the copy.
    """
    for annex in range(annexes.shape[0]):
        words = annexes[annex, X_LENGTH]
        number = annexes[annex, X_FREE]
        while number != 0:
            first = annexes[annex, X_BASE] + number * words
            for word in range(first, first + words):
                copied[word] = blocks[word]
            number = blocks[first]


@kernel
def move_cells(old_context, new_context, moves, rows):  # type: ignore[no-untyped-def]
    """Copy cells of sessions into the rows of another layout, which nobody else sees yet. Called from Python.

    Args:
        old_context: int64[CONTEXT_WORDS], the state with the old rows.
        new_context: int64[CONTEXT_WORDS], the same with the new ones, whose headers are there already.
        moves: int64[n, 3], first word of a cell in the old layout and in the new one, and its words.
        rows: How many rows there are.
    """
    old, new = span_of(old_context), span_of(new_context)
    for row in range(rows):
        before, after = row_cells(old, row), row_cells(new, row)
        if word_at(before, STATE) == FREE:
            continue
        for i in range(moves.shape[0]):
            old_at, new_at = moves[i, 0], moves[i, 1]
            if not has_cell(old, before, old_at):
                continue
            source = cell_span(old, before, old_at)
            is_used = False
            for word in range(moves[i, 2]):
                is_used |= word_at(source, old_at + word) != 0
            if is_used:
                target = own_cell_span(new, after, new_at)
                for word in range(moves[i, 2]):
                    put_word(target, new_at + word, word_at(source, old_at + word))
