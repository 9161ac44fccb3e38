"""Reading the properties of an event: from the wire form of a `google.protobuf.Struct` into the slots of a program.

Only the properties that models read are looked at, the others are stepped over. The scan has checked the wire form, and
every length is checked here again, against the end of what holds it: a damaged event reads as one with fewer properties.
"""

from __future__ import annotations

import numpy as np

from rte_server.engine.context import (
    KEYS,
    POOL_SLOTS,
    PROPERTY_SLOTS,
    SECRET,
    SLOT_BITS,
    SLOT_LENGTHS,
    SLOT_OFFSETS,
    SLOT_TAGS,
    TEXTS,
    span_in,
)
from rte_server.engine.kernel import inner
from rte_server.engine.native import byte_at, bytes_at, prefetch_at, put_word, span_string_id, word_at
from rte_server.engine.program import (
    NEEDS_TEXT,
    SLOT_HEAD,
    SLOT_LENGTH,
    SLOT_OFFSET,
    SLOT_TAIL,
    SLOT_WORDS,
)
from rte_server.engine.properties import plain_value
from rte_server.engine.strings import intern
from rte_server.engine.table import STRINGS_LOST, add_count
from rte_server.engine.values import BOOL, COMPOUND, DOUBLE, ERROR, NULL, STRING


@inner
def read_varint(span, at, end):  # type: ignore[no-untyped-def]
    """Return (value, place after it) of a varint in `span[at:end]`; the place is -1 if there is none."""
    if at < end:
        byte = byte_at(span, at)
        if byte < 0x80:
            return byte, at + 1
    value = np.int64(0)
    shift = 0
    while at < end and shift < 64:
        byte = byte_at(span, at)
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    return np.int64(0), np.int64(-1)


@inner
def step_over(span, at, end, wire_type):  # type: ignore[no-untyped-def]
    """Return the place after a field's content in `span[at:end]`, or -1."""
    if wire_type == 0:
        return read_varint(span, at, end)[1]
    if wire_type == 1:
        after = at + 8
    elif wire_type == 5:
        after = at + 4
    elif wire_type == 2:
        length, after = read_varint(span, at, end)
        if after < 0 or length < 0 or length > end - after:
            return np.int64(-1)
        after += length
    else:
        return np.int64(-1)
    return after if after <= end else np.int64(-1)


@inner
def text_id_of(ctx, span, off, length):  # type: ignore[no-untyped-def]
    """Return the string id of bytes of the request."""
    secret = span_in(ctx, SECRET)
    return span_string_id(span, off, length, np.uint64(word_at(secret, 2)), np.uint64(word_at(secret, 3)))


@inner
def keep_text(ctx, text, span, off, length):  # type: ignore[no-untyped-def]
    """Put a text of the request into the pool, or count it as lost."""
    if not intern(ctx, text, span, off, length):
        add_count(ctx, STRINGS_LOST, 1)


@inner
def _ends_of(span, at, length):  # type: ignore[no-untyped-def]
    """Return the first and the last 8 bytes of a property key as numbers; both the whole key if it is shorter."""
    if length >= 8:
        return bytes_at(span, at), bytes_at(span, at + length - 8)
    head = np.uint64(0)
    if at + 8 <= span[1]:
        head = bytes_at(span, at) & ((np.uint64(1) << np.uint64(8 * length)) - np.uint64(1))
    else:
        for i in range(length):
            head |= np.uint64(byte_at(span, at + i)) << np.uint64(8 * i)
    return head, head


@inner(forceinline=True)
def find_slot(ctx, keys, span, at, length):  # type: ignore[no-untyped-def]
    """Return the slot of the property whose key is `span[at:at+length]`, or -1 if no model reads it.

    Args:
        ctx: Span of the context.
        keys: Span of the table of keys: those of properties, or of members of elements.
        span: Span of the request's bytes.
        at: Where the key begins.
        length: Its bytes.
    """
    head, tail = _ends_of(span, at, length)
    # `program.key_hash`
    mixed = (head * np.uint64(0x9E3779B97F4A7C15)) ^ (tail * np.uint64(0xC2B2AE3D27D4EB4F)) ^ np.uint64(length)
    slots = span_in(ctx, PROPERTY_SLOTS)
    mask = keys[1] - 1
    place = np.int64(mixed ^ (mixed >> np.uint64(29))) & mask
    while True:
        slot = word_at(keys, place) - 1
        if slot < 0:
            return np.int64(-1)
        s = slot * SLOT_WORDS
        if (
            word_at(slots, s + SLOT_HEAD) == np.int64(head)
            and word_at(slots, s + SLOT_TAIL) == np.int64(tail)
            and word_at(slots, s + SLOT_LENGTH) == length
            and (length <= 16 or _same_middle(ctx, span, at, length, word_at(slots, s + SLOT_OFFSET)))
        ):
            return slot
        place = (place + 1) & mask


@inner
def _same_middle(ctx, span, at, length, offset):  # type: ignore[no-untyped-def]
    """Return whether a key equals a text of the program between its first and its last 8 bytes."""
    texts = span_in(ctx, TEXTS)
    for i in range(8, length - 8):
        if byte_at(texts, offset + i) != byte_at(span, at + i):
            return False
    return True


@inner(forceinline=True)
def _put_text(ctx, span, slot, use, at, length):  # type: ignore[no-untyped-def]
    """Put a string into a slot; into the pool as well if an expression looks at its bytes."""
    text = text_id_of(ctx, span, at, length)
    put_word(span_in(ctx, SLOT_TAGS), slot, STRING)
    put_word(span_in(ctx, SLOT_BITS), slot, text)
    put_word(span_in(ctx, SLOT_OFFSETS), slot, at)
    put_word(span_in(ctx, SLOT_LENGTHS), slot, length)
    if use == NEEDS_TEXT:
        keep_text(ctx, text, span, at, length)
    else:
        pool = span_in(ctx, POOL_SLOTS)
        prefetch_at(pool, 2 * (text & ((pool[1] >> 1) - 1)))


@inner
def read_value(ctx, span, at, end, slot, use):  # type: ignore[no-untyped-def]
    """Read the `google.protobuf.Value` in `span[at:end]` into a slot; one that has no kind or is damaged as ERROR."""
    tags = span_in(ctx, SLOT_TAGS)
    bits = span_in(ctx, SLOT_BITS)
    put_word(tags, slot, ERROR)
    while at < end:
        tag = byte_at(span, at)
        at += 1
        if tag == 0x11:
            if end - at < 8:
                return
            put_word(tags, slot, DOUBLE)
            put_word(bits, slot, np.int64(bytes_at(span, at)))
            at += 8
        elif tag == 0x1A:
            length, at = read_varint(span, at, end)
            if at < 0 or length < 0 or length > end - at:
                return
            _put_text(ctx, span, slot, use, at, length)
            at += length
        elif tag == 0x20 or tag == 0x08:
            number, at = read_varint(span, at, end)
            if at < 0:
                return
            put_word(tags, slot, BOOL if tag == 0x20 else NULL)
            put_word(bits, slot, np.int64(number != 0) if tag == 0x20 else np.int64(0))
        else:
            key, at = read_varint(span, at - 1, end)
            if at < 0:
                return
            at = step_over(span, at, end, key & 7)
            if at < 0:
                put_word(tags, slot, ERROR)
                return
            if key >> 3 <= 6:
                put_word(tags, slot, COMPOUND if key == 0x2A or key == 0x32 else ERROR)


@inner(forceinline=True)
def read_properties(ctx, span, at, length, uses):  # type: ignore[no-untyped-def]
    """Read the properties that are used for the event's name into the slots; what is not there is ERROR.

    The last of two equal keys counts.

    Args:
        ctx: Span of the context.
        span: Span of the request's bytes.
        at: Where the Struct begins.
        length: Its bytes.
        uses: Span of the row of `ProgramArrays.uses` for the event's name.
    """
    tags = span_in(ctx, SLOT_TAGS)
    for slot in range(tags[1]):
        put_word(tags, slot, ERROR)
    end = at + length
    while at < end:
        tag, at = read_varint(span, at, end)
        if at < 0:
            return
        if tag != 0x0A:
            at = step_over(span, at, end, tag & 7)
            if at < 0:
                return
            continue
        size, at = read_varint(span, at, end)
        if at < 0 or size < 0 or size > end - at:
            return
        if not _read_plain_member(ctx, span, at, at + size, uses):
            read_member(ctx, span_in(ctx, KEYS), span, at, at + size, uses)
        at += size


@inner(forceinline=True)
def _read_plain_member(ctx, span, at, end, uses):  # type: ignore[no-untyped-def]
    """Read an entry as every client writes it. Returns False if it is another one."""
    value = plain_value(span, at, end)
    if value < 0:
        return False
    slot = find_slot(ctx, span_in(ctx, KEYS), span, at + 2, value - at - 2)
    if slot < 0 or word_at(uses, slot) == 0:
        return True
    if byte_at(span, value + 2) == 0x11:
        put_word(span_in(ctx, SLOT_TAGS), slot, DOUBLE)
        put_word(span_in(ctx, SLOT_BITS), slot, np.int64(bytes_at(span, value + 3)))
    else:
        _put_text(ctx, span, slot, word_at(uses, slot), value + 4, end - value - 4)
    return True


@inner
def read_member(ctx, keys, span, at, end, uses):  # type: ignore[no-untyped-def]
    """Read one entry of a Struct's map: key (field 1) and value (field 2), in any order. For `keys` see `find_slot`."""
    key_at = at
    key_length = np.int64(0)
    value_at = np.int64(-1)
    value_end = np.int64(-1)
    while at < end:
        tag, at = read_varint(span, at, end)
        if at < 0:
            return
        if tag != 0x0A and tag != 0x12:
            at = step_over(span, at, end, tag & 7)
            if at < 0:
                return
            continue
        size, at = read_varint(span, at, end)
        if at < 0 or size < 0 or size > end - at:
            return
        if tag == 0x0A:
            key_at = at
            key_length = size
        else:
            value_at = at
            value_end = at + size
        at += size
    slot = find_slot(ctx, keys, span, key_at, key_length)
    if slot >= 0 and word_at(uses, slot) != 0:
        put_word(span_in(ctx, SLOT_TAGS), slot, ERROR)
        if value_at >= 0:
            read_value(ctx, span, value_at, value_end, slot, word_at(uses, slot))
