"""Reading the properties of an event: from the wire form of a `google.protobuf.Struct` into the slots of a program.

Only the properties that models read are looked at, the others are stepped over. The scan has checked the wire form, and
every length is checked here again, against the end of what holds it: a damaged event reads as one with fewer properties.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from rte_server.engine.context import (
    KEYS,
    PROPERTY_SLOTS,
    SLOT_BITS,
    SLOT_LENGTHS,
    SLOT_OFFSETS,
    SLOT_TAGS,
    TEXTS,
    span_in,
)
from rte_server.engine.native import byte_at, bytes_at, put_word, word_at
from rte_server.engine.values import BOOL, DOUBLE, ERROR, NULL, STRING

_UNREAD = np.int64(0)
"""Bits of a string slot whose id has not been computed yet; string ids are never 0."""


@njit(cache=True, nogil=True)
def _varint(span, at, end):  # type: ignore[no-untyped-def]
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


@njit(cache=True, nogil=True)
def _step_over(span, at, end, wire_type):  # type: ignore[no-untyped-def]
    """Return the place after a field's content in `span[at:end]`, or -1."""
    if wire_type == 0:
        return _varint(span, at, end)[1]
    if wire_type == 1:
        after = at + 8
    elif wire_type == 5:
        after = at + 4
    elif wire_type == 2:
        length, after = _varint(span, at, end)
        if after < 0 or length < 0 or length > end - after:
            return np.int64(-1)
        after += length
    else:
        return np.int64(-1)
    return after if after <= end else np.int64(-1)


@njit(cache=True, nogil=True)
def hash_key(span, at, length):  # type: ignore[no-untyped-def]
    """Return `program.key_hash` of a property key in the span."""
    if length >= 8:
        head = bytes_at(span, at)
        tail = bytes_at(span, at + length - 8)
    else:
        head = np.uint64(0)
        if at + 8 <= span[1]:
            head = bytes_at(span, at) & ((np.uint64(1) << np.uint64(8 * length)) - np.uint64(1))
        else:
            for i in range(length):
                head |= np.uint64(byte_at(span, at + i)) << np.uint64(8 * i)
        tail = head
    mixed = (head * np.uint64(0x9E3779B97F4A7C15)) ^ (tail * np.uint64(0xC2B2AE3D27D4EB4F)) ^ np.uint64(length)
    mixed ^= mixed >> np.uint64(29)
    return np.int64(mixed & np.uint64(0x7FFFFFFFFFFFFFFF))


@njit(cache=True, nogil=True)
def find_slot(ctx, span, at, length):  # type: ignore[no-untyped-def]
    """Return the slot of the property whose key is `span[at:at+length]`, or -1 if no model reads it."""
    hashed = hash_key(span, at, length)
    keys = span_in(ctx, KEYS)
    slots = span_in(ctx, PROPERTY_SLOTS)
    texts = span_in(ctx, TEXTS)
    mask = keys[1] - 1
    place = hashed & mask
    while True:
        slot = word_at(keys, place) - 1
        if slot < 0:
            return np.int64(-1)
        if word_at(slots, 3 * slot) == hashed and word_at(slots, 3 * slot + 2) == length:
            offset = word_at(slots, 3 * slot + 1)
            same = True
            for i in range(length):
                if byte_at(texts, offset + i) != byte_at(span, at + i):
                    same = False
                    break
            if same:
                return slot
        place = (place + 1) & mask


@njit(cache=True, nogil=True)
def read_value(ctx, span, at, end, slot):  # type: ignore[no-untyped-def]
    """Read the `google.protobuf.Value` in `span[at:end]` into a slot.

    Structs and lists read as ERROR: no expression can use them.
    """
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
            length, at = _varint(span, at, end)
            if at < 0 or length < 0 or length > end - at:
                return
            put_word(tags, slot, STRING)
            put_word(bits, slot, _UNREAD)
            put_word(span_in(ctx, SLOT_OFFSETS), slot, at)
            put_word(span_in(ctx, SLOT_LENGTHS), slot, length)
            at += length
        elif tag == 0x20 or tag == 0x08:
            number, at = _varint(span, at, end)
            if at < 0:
                return
            put_word(tags, slot, BOOL if tag == 0x20 else NULL)
            put_word(bits, slot, np.int64(number != 0) if tag == 0x20 else np.int64(0))
        else:
            key, at = _varint(span, at - 1, end)
            if at < 0:
                return
            if key >> 3 <= 6:
                put_word(tags, slot, ERROR)
            at = _step_over(span, at, end, key & 7)
            if at < 0:
                return


@njit(cache=True, nogil=True)
def read_properties(ctx, span, at, length):  # type: ignore[no-untyped-def]
    """Read the properties that models use into the slots; what is not there is ERROR.

    The last of two equal keys counts.

    Args:
        ctx: Span of the context.
        span: Span of the request's bytes.
        at: Where the Struct begins.
        length: Its bytes.
    """
    tags = span_in(ctx, SLOT_TAGS)
    for slot in range(tags[1]):
        put_word(tags, slot, ERROR)
    end = at + length
    while at < end:
        tag, at = _varint(span, at, end)
        if at < 0:
            return
        if tag != 0x0A:
            at = _step_over(span, at, end, tag & 7)
            if at < 0:
                return
            continue
        size, at = _varint(span, at, end)
        if at < 0 or size < 0 or size > end - at:
            return
        _read_member(ctx, span, at, at + size)
        at += size


@njit(cache=True, nogil=True)
def _read_member(ctx, span, at, end):  # type: ignore[no-untyped-def]
    """Read one entry of the Struct's map: key (field 1) and value (field 2), in any order."""
    key_at = at
    key_length = np.int64(0)
    value_at = np.int64(-1)
    value_end = np.int64(-1)
    while at < end:
        tag, at = _varint(span, at, end)
        if at < 0:
            return
        if tag != 0x0A and tag != 0x12:
            at = _step_over(span, at, end, tag & 7)
            if at < 0:
                return
            continue
        size, at = _varint(span, at, end)
        if at < 0 or size < 0 or size > end - at:
            return
        if tag == 0x0A:
            key_at = at
            key_length = size
        else:
            value_at = at
            value_end = at + size
        at += size
    slot = find_slot(ctx, span, key_at, key_length)
    if slot >= 0:
        put_word(span_in(ctx, SLOT_TAGS), slot, ERROR)
        if value_at >= 0:
            read_value(ctx, span, value_at, value_end, slot)
