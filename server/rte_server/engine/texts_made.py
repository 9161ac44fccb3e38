"""Texts that expressions make: parts of addresses, joined texts, other letters. One writer only.

What is made is a string like any other: an id, and its bytes in the pool if something keeps it or looks at it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rte_server.engine.context import (
    POOL_ARENA,
    REQUEST,
    SECRET,
    SLOT_LENGTHS,
    SLOT_OFFSETS,
    SLOT_TAGS,
    TEXTS,
    WORKSPACE,
    span_in,
)
from rte_server.engine.kernel import inner, kernel
from rte_server.engine.native import byte_at, put_byte, span_of, span_string_id, text_id, word_at
from rte_server.engine.strings import intern, place_in
from rte_server.engine.table import STRINGS_LOST, add_count
from rte_server.engine.url_parts import url_part
from rte_server.engine.values import ERROR, NULL, STRING

MADE_BYTES_MAX = 4096
"""Bytes of a text that an expression makes by joining or by changing letters; a longer one has no value."""

# How a URL instruction says what it wants: the name of the parameter in the program's texts, the part, and whether the
# bytes are needed.
NAME_LENGTH_BITS = np.int64(16)
PART_BITS = np.int64(4)
IS_KEPT = np.int64(8)


def keep_texts(context: NDArray[np.int64], texts: Sequence[bytes], secret: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Return the ids of texts that come from outside of the fold, int64[n]; they are in the pool, or counted as lost."""
    ids = [text_id(text, secret) for text in texts]
    for found, text in zip(ids, texts, strict=True):
        keep_bytes(context, found, np.frombuffer(text, np.uint8))
    return np.array(ids, np.int64)


@kernel
def keep_bytes(context, string_id, text):  # type: ignore[no-untyped-def]
    """Store the bytes `text` (uint8[:]) under `string_id`, or count them as lost; for calls from Python."""
    ctx = span_of(context)
    if not intern(ctx, string_id, span_of(text), np.int64(0), text.shape[0]):
        add_count(ctx, STRINGS_LOST, 1)


@inner
def _made(ctx, span, at, length, is_kept):  # type: ignore[no-untyped-def]
    """Return (tag, bits) of the text in `span[at:at+length]`; put it into the pool if `is_kept`."""
    secret = span_in(ctx, SECRET)
    text = span_string_id(span, at, length, np.uint64(word_at(secret, 2)), np.uint64(word_at(secret, 3)))
    if is_kept and not intern(ctx, text, span, at, length):
        add_count(ctx, STRINGS_LOST, 1)
    return np.int64(STRING), text


@inner
def part_of_property(ctx, slot, wanted, name):  # type: ignore[no-untyped-def]
    """Return (tag, bits) of a part of the address in a property of the event.

    Args:
        ctx: Span of the context.
        slot: The property's slot.
        wanted: A UrlPart, plus IS_KEPT if the bytes are needed.
        name: Place of the parameter's name in the program's texts: offset << NAME_LENGTH_BITS | length.
    """
    if word_at(span_in(ctx, SLOT_TAGS), slot) != STRING:
        return np.int64(ERROR), np.int64(0)
    span = span_in(ctx, REQUEST)
    in_workspace, at, length = url_part(
        ctx,
        span,
        word_at(span_in(ctx, SLOT_OFFSETS), slot),
        word_at(span_in(ctx, SLOT_LENGTHS), slot),
        wanted & (IS_KEPT - 1),
        span_in(ctx, TEXTS),
        name >> NAME_LENGTH_BITS,
        name & ((np.int64(1) << NAME_LENGTH_BITS) - 1),
    )
    if length == 0:
        return np.int64(NULL), np.int64(0)
    return _made(ctx, span_in(ctx, WORKSPACE) if in_workspace else span, at, length, wanted & IS_KEPT != 0)


@inner
def with_letters(ctx, tag, bits, first, shift):  # type: ignore[no-untyped-def]
    """Return (tag, bits) of a string of the pool with `shift` added to 26 ASCII letters from `first` on."""
    if tag != STRING:
        return np.int64(ERROR), np.int64(0)
    at, length = place_in(ctx, bits)
    if at < 0 or length > MADE_BYTES_MAX:
        return np.int64(ERROR), np.int64(0)
    arena = span_in(ctx, POOL_ARENA)
    out = span_in(ctx, WORKSPACE)
    changed = False
    for i in range(length):
        byte = byte_at(arena, at + i)
        is_letter = first <= byte < first + 26
        changed = changed or is_letter
        put_byte(out, i, byte + shift if is_letter else byte)
    if not changed:
        return np.int64(STRING), bits
    return _made(ctx, out, np.int64(0), length, True)


@inner
def joined(ctx, left, right):  # type: ignore[no-untyped-def]
    """Return (tag, bits) of two strings of the pool as one."""
    left_at, left_length = place_in(ctx, left)
    right_at, right_length = place_in(ctx, right)
    if left_at < 0 or right_at < 0 or left_length + right_length > MADE_BYTES_MAX:
        return np.int64(ERROR), np.int64(0)
    arena = span_in(ctx, POOL_ARENA)
    out = span_in(ctx, WORKSPACE)
    for i in range(left_length):
        put_byte(out, i, byte_at(arena, left_at + i))
    for i in range(right_length):
        put_byte(out, left_length + i, byte_at(arena, right_at + i))
    return _made(ctx, out, np.int64(0), left_length + right_length, True)
