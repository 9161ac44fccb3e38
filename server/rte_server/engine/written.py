"""Attributes that applications write: blocks beside the rows, for the few sessions that have some."""

from __future__ import annotations

import numpy as np
from numba import njit

from rte_server.engine.attributes import TAG_BITS, TAG_MASK, keep_last
from rte_server.engine.context import BLOCK, PROGRESS, WRITTEN_BLOCKS, WRITTEN_STACK, count_of, row_cells, span_in
from rte_server.engine.native import put_word, span_of, word_at
from rte_server.engine.rows import POSITION, begin_write, cell, end_write, mark_touched, put_cell
from rte_server.engine.table import (
    NONE,
    WRITTEN,
    WRITTEN_FREE,
    WRITTEN_HIGH_WATER,
    WRITTEN_ITEM_WORDS,
    WRITTEN_WORDS,
    add_count,
    written_block,
)
from rte_server.engine.values import NULL


@njit(cache=True, nogil=True)
def write_item(block, name_id, time, position, bits):  # type: ignore[no-untyped-def]
    """Write an attribute into a block of written attributes, unless it holds a later write of it.

    Returns False if the block is full.
    """
    free = -1
    for at in range(0, WRITTEN_WORDS, WRITTEN_ITEM_WORDS):
        if word_at(block, at) == name_id:
            keep_last(block, at + 1, time, position, bits)
            return True
        # A removed attribute is kept as NULL, so that an older write cannot bring it back; its room can be used.
        if free < 0 and (word_at(block, at) == 0 or word_at(block, at + 1) & TAG_MASK == NULL):
            free = at
    if free < 0:
        return False
    put_word(block, free, name_id)
    put_word(block, free + 1, time)
    put_word(block, free + 2, position)
    put_word(block, free + 3, bits)
    return True


@njit(cache=True, nogil=True)
def take_written_block(ctx):  # type: ignore[no-untyped-def]
    """Return a free block for written attributes, or NONE if there is none."""
    if count_of(ctx, WRITTEN_FREE) > 0:
        add_count(ctx, WRITTEN_FREE, -1)
        return word_at(span_in(ctx, WRITTEN_STACK), count_of(ctx, WRITTEN_FREE))
    if count_of(ctx, WRITTEN_HIGH_WATER) * WRITTEN_WORDS == span_in(ctx, WRITTEN_BLOCKS)[1]:
        return np.int64(NONE)
    add_count(ctx, WRITTEN_HIGH_WATER, 1)
    return count_of(ctx, WRITTEN_HIGH_WATER) - 1


@njit(cache=True, nogil=True)
def write_attributes(context, row, names, tags, bits, received_ms):  # type: ignore[no-untyped-def]
    """Change the written attributes of a session, all of the given ones or none. Called from Python.

    Args:
        names: int64[n], string ids.
        tags: int64[n], NULL removes.
        bits: int64[n].

    Returns:
        0 if it is done, 1 if the session would have too many, 2 if too many sessions have some.
    """
    ctx = span_of(context)
    cells = row_cells(ctx, row)
    block = span_in(ctx, BLOCK)
    place = word_at(cells, WRITTEN)
    for word in range(WRITTEN_WORDS):
        put_word(block, word, 0 if place == NONE else word_at(written_block(ctx, place), word))
    position = word_at(span_in(ctx, PROGRESS), POSITION)
    for i in range(names.shape[0]):
        if not write_item(block, names[i], (received_ms << TAG_BITS) | tags[i], position, bits[i]):
            return 1
    if place == NONE:
        place = take_written_block(ctx)
        if place == NONE:
            return 2
    begin_write(ctx, row)
    target = written_block(ctx, place)
    for word in range(WRITTEN_WORDS):
        put_word(target, word, word_at(block, word))
    put_word(cells, WRITTEN, place)
    mark_touched(ctx, row)
    end_write(ctx, row)
    return 0


@njit(cache=True, nogil=True)
def merge_written(ctx, older, newer):  # type: ignore[no-untyped-def]
    """Merge the attributes that applications wrote; the later write of a name wins. What finds no room is dropped."""
    source = cell(ctx, newer, WRITTEN)
    if source == NONE:
        return
    if cell(ctx, older, WRITTEN) == NONE:
        put_cell(ctx, older, WRITTEN, source)
        put_cell(ctx, newer, WRITTEN, NONE)
        return
    block = written_block(ctx, source)
    for at in range(0, WRITTEN_WORDS, WRITTEN_ITEM_WORDS):
        if word_at(block, at) != 0:
            write_item(
                written_block(ctx, cell(ctx, older, WRITTEN)),
                word_at(block, at),
                word_at(block, at + 1),
                word_at(block, at + 2),
                word_at(block, at + 3),
            )
