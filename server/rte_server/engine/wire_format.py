"""Reads the protobuf wire format in compiled kernels, as strictly as the official parser does.

The functions work on a span (`native.span_of`) of uint8 and return the new position, or -1 where the official parser
(upb) refuses the bytes: tags and lengths have up to 5 bytes, other varints up to 10; field number 0, wire types 6 and
7 and an end of a group without its begin are refused; messages and groups are nested up to 100 deep.

Source: Protocol Buffers, "Encoding"; compared with the official parser in tests/engine/test_wire_fuzz.py.
"""

from __future__ import annotations

import numpy as np

from rte_server.engine.kernel import inner
from rte_server.engine.native import byte_at, bytes_at

VARINT = 0
FIXED64 = 1
LENGTH = 2
GROUP = 3
GROUP_END = 4
FIXED32 = 5

_LENGTH_MAX = (1 << 31) - 1
_TAG_MAX = (1 << 32) - 1
_SECONDS_TAG = 1 << 3
_NANOS_TAG = 2 << 3
_HIGH_BITS = np.uint64(0x8080808080808080)
_NO_BITS = np.uint64(0)


@inner
def read_varint(span, pos, end, bytes_max):  # type: ignore[no-untyped-def]
    """Return the 64 bits of the varint at `pos` as int64, and where it ends; it may have up to `bytes_max` bytes."""
    value = np.int64(0)
    for i in range(bytes_max):
        if pos >= end:
            return np.int64(0), np.int64(-1)
        byte = byte_at(span, pos)
        pos += 1
        value |= (byte & 0x7F) << np.int64(7 * i)
        if byte < 0x80:
            return value, pos
    return np.int64(0), np.int64(-1)


@inner
def read_tag(span, pos, end):  # type: ignore[no-untyped-def]
    """Return the tag at `pos` (field number << 3 | wire type), and where it ends."""
    if pos < end:
        byte = byte_at(span, pos)
        if 8 <= byte < 0x80:
            return byte, pos + 1
    tag, pos = read_varint(span, pos, end, 5)
    if tag > _TAG_MAX or tag >> 3 == 0:
        return np.int64(0), np.int64(-1)
    return tag, pos


@inner
def read_length(span, pos, end):  # type: ignore[no-untyped-def]
    """Return the length at `pos`, at most what remains up to `end`, and where the bytes that it counts begin."""
    if pos < end:
        byte = byte_at(span, pos)
        if byte < 0x80:
            pos += 1
            return byte, pos if byte <= end - pos else np.int64(-1)
    length, pos = read_varint(span, pos, end, 5)
    if pos < 0 or length > _LENGTH_MAX or length > end - pos:
        return np.int64(0), np.int64(-1)
    return length, pos


@inner
def skip_field(span, pos, end, tag, nesting):  # type: ignore[no-untyped-def]
    """Return where the value of an unknown field ends, whose tag has just been read.

    `nesting` is how many levels of groups may still be opened.
    """
    if tag & 7 == GROUP:
        return _skip_group(span, pos, end, tag, nesting)
    return _skip_plain(span, pos, end, tag)


@inner
def _skip_plain(span, pos, end, tag):  # type: ignore[no-untyped-def]
    """Return where the value of an unknown field that is no group ends."""
    wire_type = tag & 7
    if wire_type == VARINT:
        return read_varint(span, pos, end, 10)[1]
    if wire_type == LENGTH:
        length, pos = read_length(span, pos, end)
        return pos + length if pos >= 0 else pos
    if wire_type == FIXED64 or wire_type == FIXED32:
        width = 8 if wire_type == FIXED64 else 4
        return pos + width if end - pos >= width else np.int64(-1)
    return np.int64(-1)


@inner
def _skip_group(span, pos, end, tag, nesting):  # type: ignore[no-untyped-def]
    """Return where the group ends whose begin (`tag`) has just been read. Not recursive: numba cannot cache that."""
    numbers = np.empty(max(nesting, 1), np.int64)
    depth = 0
    while True:
        if tag & 7 == GROUP:
            if depth >= nesting:
                return np.int64(-1)
            numbers[depth] = tag >> 3
            depth += 1
        elif tag & 7 == GROUP_END:
            depth -= 1
            if numbers[depth] != tag >> 3:
                return np.int64(-1)
            if depth == 0:
                return pos
        else:
            pos = _skip_plain(span, pos, end, tag)
            if pos < 0:
                return pos
        tag, pos = read_tag(span, pos, end)
        if pos < 0:
            return pos


@inner
def is_utf8(span, pos, length):  # type: ignore[no-untyped-def]
    """Return whether `length` bytes from `pos` on are valid UTF-8. ASCII takes one test per 8 bytes."""
    end = pos + length
    at = pos
    while at + 8 <= end:
        if bytes_at(span, at) & _HIGH_BITS != _NO_BITS:
            return _is_utf8_slow(span, at, end)
        at += 8
    if at == end:
        return True
    if at + 8 <= span[1]:
        high = _HIGH_BITS >> np.uint64(8 * (at + 8 - end))
        if bytes_at(span, at) & high == _NO_BITS:
            return True
    return _is_utf8_slow(span, at, end)


@inner
def _is_utf8_slow(span, pos, end):  # type: ignore[no-untyped-def]
    """Return whether the bytes are well-formed UTF-8: Unicode 15, table 3-7."""
    while pos < end:
        lead = byte_at(span, pos)
        pos += 1
        if lead < 0x80:
            continue
        if 0xC2 <= lead <= 0xDF:
            follow = 1
        elif 0xE0 <= lead <= 0xEF:
            follow = 2
        elif 0xF0 <= lead <= 0xF4:
            follow = 3
        else:
            return False
        if end - pos < follow:
            return False
        # The second byte of some leads is limited: no over-long form, no surrogate, nothing above U+10FFFF.
        second = byte_at(span, pos)
        low = 0xA0 if lead == 0xE0 else (0x90 if lead == 0xF0 else 0x80)
        high = 0x9F if lead == 0xED else (0x8F if lead == 0xF4 else 0xBF)
        if second < low or second > high:
            return False
        for i in range(1, follow):
            if byte_at(span, pos + i) & 0xC0 != 0x80:
                return False
        pos += follow
    return True


@inner
def read_timestamp(span, pos, end, nesting):  # type: ignore[no-untyped-def]
    """Return seconds (int64), nanos (int32 as int64) of a `google.protobuf.Timestamp`, and `end`, or -1."""
    seconds = np.int64(0)
    nanos = np.int64(0)
    while pos < end:
        tag, pos = read_tag(span, pos, end)
        if pos < 0:
            break
        if tag == _SECONDS_TAG:
            seconds, pos = read_varint(span, pos, end, 10)
        elif tag == _NANOS_TAG:
            nanos, pos = read_varint(span, pos, end, 10)
            nanos = as_int32(nanos)
        else:
            pos = skip_field(span, pos, end, tag, nesting)
        if pos < 0:
            break
    return seconds, nanos, pos


@inner
def as_int32(value):  # type: ignore[no-untyped-def]
    """Return the lowest 32 bits of a varint (int64) as a signed number, as the parser reads an int32 or an enum."""
    return (value << 32) >> 32
