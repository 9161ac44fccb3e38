"""Writing the parts of serialized protobuf messages into a span of bytes: numbers, texts, times, values, members of Structs."""

from __future__ import annotations

import numpy as np

from rte_server.engine.context import POOL_ARENA, span_in
from rte_server.engine.kernel import inner
from rte_server.engine.native import byte_at, float_bits, put_byte
from rte_server.engine.strings import place_in
from rte_server.engine.values import BOOL, DOUBLE, INT, STRING

LENGTH_BYTES = 4
"""Bytes kept free for the length of a nested message while it is written; 28 bits of length."""

_EXPONENT = np.int64(0x7FF << 52)  # all ones in infinities and NaN


@inner
def put_varint(out, at, value):  # type: ignore[no-untyped-def]
    """Write a varint of a value >= 0; returns the place after it."""
    while value >= 0x80:
        put_byte(out, at, (value & 0x7F) | 0x80)
        value >>= 7
        at += 1
    put_byte(out, at, value)
    return at + 1


@inner
def put_bytes(out, at, source, offset, length):  # type: ignore[no-untyped-def]
    """Copy bytes of another span; returns the place after them."""
    for i in range(length):
        put_byte(out, at + i, byte_at(source, offset + i))
    return at + length


@inner
def put_text(out, at, tag, source, offset, length):  # type: ignore[no-untyped-def]
    """Write a string field; `tag` is one byte."""
    put_byte(out, at, tag)
    at = put_varint(out, at + 1, length)
    return put_bytes(out, at, source, offset, length)


@inner
def put_pooled(out, at, tag, ctx, text):  # type: ignore[no-untyped-def]
    """Write a string field from the pool; nothing if the pool has lost the text."""
    offset, length = place_in(ctx, text)
    if offset < 0:
        return at
    return put_text(out, at, tag, span_in(ctx, POOL_ARENA), offset, length)


@inner
def close_message(out, start, at):  # type: ignore[no-untyped-def]
    """Write the length of the message whose content is `out[start + LENGTH_BYTES:at]` before it, and close the gap.

    Returns the place after the message.
    """
    length = at - start - LENGTH_BYTES
    place = put_varint(out, start, length)
    return put_bytes(out, place, out, start + LENGTH_BYTES, length)


@inner
def put_time(out, at, tag, time_ms):  # type: ignore[no-untyped-def]
    """Write a `google.protobuf.Timestamp` field."""
    put_byte(out, at, tag)
    start = at + 1
    at = start + LENGTH_BYTES
    put_byte(out, at, 0x08)
    at = put_varint(out, at + 1, time_ms // 1000)
    nanos = (time_ms % 1000) * 1_000_000
    if nanos != 0:
        put_byte(out, at, 0x10)
        at = put_varint(out, at + 1, nanos)
    return close_message(out, start, at)


@inner
def put_hex(out, at, word):  # type: ignore[no-untyped-def]
    """Write 16 hexadecimal digits."""
    for i in range(16):
        digit = (word >> (60 - 4 * i)) & 15
        put_byte(out, at + i, digit + 48 if digit < 10 else digit + 87)
    return at + 16


@inner
def put_session_id(out, at, tag, low, high):  # type: ignore[no-untyped-def]
    """Write a session id as a string field of 32 hexadecimal digits, high word first."""
    put_byte(out, at, tag)
    put_byte(out, at + 1, 32)
    return put_hex(out, put_hex(out, at + 2, high), low)


@inner
def put_value(out, at, tag, bits, ctx):  # type: ignore[no-untyped-def]
    """Write the content of a `google.protobuf.Value`; nothing if there is no value to show."""
    if tag == DOUBLE and bits & _EXPONENT == _EXPONENT:
        # JSON has no form for it, and one such value would make the whole session unreadable.
        return at
    if tag == INT or tag == DOUBLE:
        number = bits if tag == DOUBLE else float_bits(np.float64(bits))
        put_byte(out, at, 0x11)
        for i in range(8):
            put_byte(out, at + 1 + i, (number >> (8 * i)) & 0xFF)
        return at + 9
    if tag == BOOL:
        put_byte(out, at, 0x20)
        put_byte(out, at + 1, bits)
        return at + 2
    if tag == STRING:
        return put_pooled(out, at, 0x1A, ctx, bits)
    return at


@inner
def put_number(out, at, tag, number):  # type: ignore[no-untyped-def]
    """Write an integer field; `tag` is one byte."""
    put_byte(out, at, tag)
    return put_varint(out, at + 1, number)


@inner
def open_member(out, at, names, name_at, name_length):  # type: ignore[no-untyped-def]
    """Begin a member of the attributes' Struct; returns where its value begins. End it with `close_member`."""
    put_byte(out, at, 0x0A)
    place = put_text(out, at + 1 + LENGTH_BYTES, 0x0A, names, name_at, name_length)
    put_byte(out, place, 0x12)
    return place + 1 + LENGTH_BYTES


@inner
def close_member(out, at, value_at, end):  # type: ignore[no-untyped-def]
    """End the member begun at `at`; returns the place after it, or `at` where there is no value."""
    if end == value_at:
        return at
    return close_message(out, at + 1, close_message(out, value_at - LENGTH_BYTES, end))


@inner
def put_member(out, at, name, name_length, tag, bits, ctx):  # type: ignore[no-untyped-def]
    """Write a member of a Struct; nothing if there is no value to show.

    Args:
        out: Span of the message.
        at: Where to write.
        name: Its name's bytes as a little-endian number.
        name_length: Their number, at most 8.
        tag: The value.
        bits: See `tag`.
        ctx: Span of the context.

    Returns:
        The place after it.
    """
    put_byte(out, at, 0x0A)
    place = at + 1 + LENGTH_BYTES
    put_byte(out, place, 0x0A)
    put_byte(out, place + 1, name_length)
    for i in range(name_length):
        put_byte(out, place + 2 + i, name >> (8 * i) & 0xFF)
    place += 2 + name_length
    put_byte(out, place, 0x12)
    value_at = place + 1 + LENGTH_BYTES
    return close_member(out, at, value_at, put_value(out, value_at, tag, bits, ctx))
