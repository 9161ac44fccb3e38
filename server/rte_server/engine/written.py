"""Attributes that applications write: blocks beside the rows, for the few sessions that have some."""

from __future__ import annotations

import numpy as np

from rte_server.engine.attributes import TAG_BITS, TAG_MASK, keep_last
from rte_server.engine.context import BLOCK, PROGRESS, WRITTEN_BLOCKS, WRITTEN_STACK, count_of, row_cells, span_in
from rte_server.engine.kernel import inner, kernel
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


@inner
def write_item(block, name_id, written_at, bits):  # type: ignore[no-untyped-def]
    """Write an attribute into a block of written attributes, unless it holds a later write of it.

    Args:
        block: Span of the block.
        name_id: String id of the name.
        written_at: (position of the entry << TAG_BITS) | tag. Not its time: the server's clock may be set back.
        bits: The value.

    Returns:
        False if the block is full; to remove what is not there needs no room.
    """
    free = -1
    removed = -1
    for at in range(0, WRITTEN_WORDS, WRITTEN_ITEM_WORDS):
        if word_at(block, at) == name_id:
            keep_last(block, at + 1, written_at, np.int64(0), bits)
            return True
        if word_at(block, at) == 0:
            free = at if free < 0 else free
        elif word_at(block, at + 1) & TAG_MASK == NULL and (
            removed < 0 or word_at(block, at + 1) < word_at(block, removed + 1)
        ):
            removed = at
    # A removed attribute is kept as NULL, so that an older write cannot bring it back. Where there is no other room,
    # that of the one that was removed first is used.
    if free < 0:
        free = removed
    if free < 0:
        return written_at & TAG_MASK == NULL
    put_word(block, free, name_id)
    put_word(block, free + 1, written_at)
    put_word(block, free + 2, 0)
    put_word(block, free + 3, bits)
    return True


@inner
def take_written_block(ctx):  # type: ignore[no-untyped-def]
    """Return a free block for written attributes, or NONE if there is none."""
    if count_of(ctx, WRITTEN_FREE) > 0:
        add_count(ctx, WRITTEN_FREE, -1)
        return word_at(span_in(ctx, WRITTEN_STACK), count_of(ctx, WRITTEN_FREE))
    if count_of(ctx, WRITTEN_HIGH_WATER) * WRITTEN_WORDS == span_in(ctx, WRITTEN_BLOCKS)[1]:
        return np.int64(NONE)
    add_count(ctx, WRITTEN_HIGH_WATER, 1)
    return count_of(ctx, WRITTEN_HIGH_WATER) - 1


@kernel
def write_attributes(context, row, names, tags, bits):  # type: ignore[no-untyped-def]
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
    # First what makes room.
    for removes in (True, False):
        for i in range(names.shape[0]):
            written_at = (position << TAG_BITS) | tags[i]
            if (tags[i] == NULL) == removes and not write_item(block, names[i], written_at, bits[i]):
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


@inner
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
                word_at(block, at + 3),
            )
