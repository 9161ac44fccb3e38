"""Checks the properties of an event: a `google.protobuf.Struct` with all that is nested in it."""

from __future__ import annotations

import numpy as np

from rte_server.engine.kernel import inner
from rte_server.engine.native import byte_at, bytes_at, put_word, word_at
from rte_server.engine.wire_format import is_utf8, read_length, read_tag, skip_field
from rte_server.engine.wire_layout import (
    DEPTH_MAX,
    FRAME_WORDS,
    NESTING_MAX,
    PROPERTIES_MAX,
    STACK,
    STRING_BYTES_MAX,
)

# What the walk is in.
_STRUCT = 0
_LIST = 1
_ENTRY = 2
_VALUE = 3
_NO_CHILD = 4
_STRUCT_NESTING = NESTING_MAX - 2  # The request holds the event, the event holds the properties.
_EXPONENT = np.uint64(0x7FF << 52)

# Offences in the order in which they count.
TOO_MANY_RANK = 1
TOO_DEEP_RANK = 2
TOO_LONG_RANK = 3
NOT_FINITE_RANK = 4
NO_RANK = 5


@inner
def plain_value(span, pos, end):  # type: ignore[no-untyped-def]
    """Return where the value of the map entry `span[pos:end]` begins if it is as every client writes it, else -1.

    That is: a key, then a value that is one number or string, and lengths of one byte. The value's tag is at the place
    that is returned, and what it holds begins 3 (a number) or 4 bytes later.
    """
    if end - pos < 6 or byte_at(span, pos) != 0x0A or byte_at(span, pos + 1) >= 0x80:
        return np.int64(-1)
    value = pos + 2 + byte_at(span, pos + 1)
    length = end - value - 2
    if length < 2 or length >= 0x80 or byte_at(span, value) != 0x12 or byte_at(span, value + 1) != length:
        return np.int64(-1)
    kind = byte_at(span, value + 2)
    if (kind == 0x11 and length == 9) or (kind == 0x1A and byte_at(span, value + 3) == length - 2):
        return value
    return np.int64(-1)


@inner(forceinline=True)
def _is_sound(span, pos, end):  # type: ignore[no-untyped-def]
    """Return whether a map entry is plain and nothing is wrong with it but perhaps the length of its texts."""
    value = plain_value(span, pos, end)
    if value < 0 or not is_utf8(span, pos + 2, value - pos - 2):
        return False
    if byte_at(span, value + 2) == 0x11:
        return bytes_at(span, value + 3) & _EXPONENT != _EXPONENT
    return is_utf8(span, value + 4, end - value - 4)


@inner(forceinline=True)
def walk_properties(span, pos, end, scratch, limits):  # type: ignore[no-untyped-def]
    """Check the Struct `span[pos:end]` with all that is nested in it.

    Returns:
        The rank of the first offence in the order of the ranks (-1: malformed; NO_RANK: none), the number that
        passed the limit, and where the outermost map entry that holds it begins and ends.
    """
    string_max, depth_max = word_at(limits, STRING_BYTES_MAX), word_at(limits, DEPTH_MAX)
    kind, seen, level, top = np.int64(_STRUCT), np.int64(0), np.int64(1), np.int64(0)
    count, worst, offending = np.int64(0), np.int64(NO_RANK), np.int64(0)
    entry_off, entry_end, found_off, found_end = np.int64(0), np.int64(0), np.int64(0), np.int64(0)
    takes_plain = string_max >= 0x80 and depth_max >= 1
    malformed = (np.int64(-1), np.int64(0), np.int64(0), np.int64(0))
    while True:
        while pos == end:
            if top == 0:
                if count > word_at(limits, PROPERTIES_MAX):
                    return np.int64(TOO_MANY_RANK), count, np.int64(0), np.int64(0)
                return worst, offending, found_off, found_end
            level -= kind <= _LIST
            top -= 1
            frame = STACK + FRAME_WORDS * top
            end, kind, seen = word_at(scratch, frame), word_at(scratch, frame + 1), word_at(scratch, frame + 2)
        tag, pos = read_tag(span, pos, end)
        if pos < 0:
            return malformed
        rank, value = np.int64(NO_RANK), np.int64(0)
        child = _child(kind, tag)
        if child != _NO_CHILD:
            length, pos = read_length(span, pos, end)
            if top == 0 and pos >= 0 and takes_plain and _is_sound(span, pos, pos + length):
                count += 1
                pos += length
                continue
            repeated = kind >= _ENTRY and (seen >> child) & 1 != 0
            if pos < 0 or repeated or top == _STRUCT_NESTING:
                return malformed
            frame = STACK + FRAME_WORDS * top
            put_word(scratch, frame, end)
            put_word(scratch, frame + 1, kind)
            put_word(scratch, frame + 2, seen | np.int64(1) << child)
            end, kind, seen, top = pos + length, child, np.int64(0), top + 1
            level += kind <= _LIST
            if top == 1:
                count += 1
                entry_off, entry_end = pos, end
            if level > depth_max:
                rank, value = np.int64(TOO_DEEP_RANK), level
        elif (kind == _ENTRY and tag == 0x0A) or (kind == _VALUE and tag == 0x1A):
            length, pos = read_length(span, pos, end)
            if pos < 0 or not is_utf8(span, pos, length):
                return malformed
            pos += length
            if length > string_max:
                rank, value = np.int64(TOO_LONG_RANK), length
        elif kind == _VALUE and tag == 0x11 and end - pos >= 8:
            if bytes_at(span, pos) & _EXPONENT == _EXPONENT:
                rank = np.int64(NOT_FINITE_RANK)
            pos += 8
        else:
            pos = skip_field(span, pos, end, tag, _STRUCT_NESTING - top)
            if pos < 0:
                return malformed
        if rank < worst:
            worst, offending, found_off, found_end = rank, value, entry_off, entry_end


@inner
def key_of(span, pos, end):  # type: ignore[no-untyped-def]
    """Return offset and length of the key of the well-formed map entry `span[pos:end]`."""
    off, found = np.int64(0), np.int64(0)
    while pos < end:
        tag, pos = read_tag(span, pos, end)
        if tag == 0x0A:
            found, pos = read_length(span, pos, end)
            off = pos
            pos += found
        else:
            pos = skip_field(span, pos, end, tag, NESTING_MAX)
    return off, found


@inner
def _child(kind, tag):  # type: ignore[no-untyped-def]
    """Return which message the field `tag` of a message `kind` is: of Struct, its map entry, Value or ListValue."""
    if kind == _STRUCT:
        return _ENTRY if tag == 0x0A else _NO_CHILD
    if kind == _ENTRY:
        return _VALUE if tag == 0x12 else _NO_CHILD
    if kind == _LIST:
        return _VALUE if tag == 0x0A else _NO_CHILD
    if tag == 0x2A:
        return _STRUCT
    return _LIST if tag == 0x32 else _NO_CHILD
