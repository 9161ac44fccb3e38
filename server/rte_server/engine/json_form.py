"""Turns the JSON form of a request into ordinary wire bytes.

Envoy's transcoder drops JSON members that it does not know, without a word. So that a misspelt `visitorid` is told,
Envoy is given a contract in which the request is one field, `google.protobuf.Struct json = 15`: it passes on every
member, and the kernel here does what the transcoder would have done. Names are taken in camelCase and in snake_case,
times as RFC 3339, `wait` by name or number; null is absent. The properties are a Struct already and are copied.

What is wrong with one event becomes the verdict of that event: in the wire bytes an empty event stands in its place,
so that places are kept, and `refused` says what was wrong. What is wrong with the request itself refuses the request.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rte_server.engine.kernel import inner, kernel
from rte_server.engine.native import bits_float, byte_at, bytes_at, put_byte, put_word, span_of, word_at
from rte_server.engine.time_text import parse_time
from rte_server.engine.wire_format import read_length, read_tag, read_varint, skip_field
from rte_server.engine.wire_layout import (
    BATCH_TOO_LARGE,
    ERROR_FIELD,
    ERROR_LEN,
    ERROR_OFF,
    EVENT_TIME,
    EVENTS,
    FIELD_NAMES,
    LIMIT,
    MALFORMED,
    MEMBER,
    NESTING_MAX,
    PROPERTIES,
    REASON,
    REQUEST_ID,
    RETURN_SESSIONS_FIELD,
    SENT_TIME,
    UNKNOWN_FIELD,
    VALUE,
    WAIT_FIELD,
    WRONG_TYPE,
)

JSON_TAG = bytes([15 << 3 | 2])
"""The first byte of a request in JSON form."""

REFUSED_WORDS = 5
"""Columns of `refused`: index of the event, reason, code of the field, offset and length of the member's name."""

# What a google.protobuf.Value holds: the number of the field that is set.
_NULL = 1
_NUMBER = 2
_STRING = 3
_BOOL = 4
_STRUCT = 5
_LIST = 6

# Slots: three words for each field that was found: what it holds (0 = absent), then offset and length, or for times
# seconds and nanos, or for `wait` and `return_sessions` the value.
_SLOT_WORDS = 3
_SLOTS = _SLOT_WORDS * (int(MEMBER) + 1)
_NANOS_TAG = 2 << 3
_INT32_MAX = (1 << 31) - 1
_REQUEST_LEVEL = np.int64(0)
_EVENT_LEVEL = np.int64(1)
_WAIT_LEVEL = np.int64(2)
_WAIT_NAMES = ("UNSPECIFIED", "DURABLE", "APPLIED")


def _name_table() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return all member names, one after the other, and int64[names, 4]: level, code, offset, length of each.

    Levels are the request, an event, and the names of `wait`, whose code is the number of the value.
    """
    texts = bytearray()
    rows: list[tuple[int, int, int, int]] = []

    def add(level: np.int64, code: int, name: str) -> None:
        rows.append((int(level), code, len(texts), len(name)))
        texts.extend(name.encode())

    for code, name in enumerate(FIELD_NAMES):
        words = name.split("_")
        camel = words[0] + "".join(word.capitalize() for word in words[1:])
        for spelling in sorted({name, camel} - {""}):
            add(_REQUEST_LEVEL if code > PROPERTIES else _EVENT_LEVEL, code, spelling)
    for code, name in enumerate(_WAIT_NAMES):
        add(_WAIT_LEVEL, code, name)
        add(_WAIT_LEVEL, code, f"WAIT_{name}")
    return np.frombuffer(bytes(texts), np.uint8), np.array(rows, np.int64)


_NAMES, _NAME_ROWS = _name_table()


def convert_json(body: bytes, events_max: int, envelope: NDArray[np.int64]) -> tuple[bytes, NDArray[np.int64]]:
    """Turn a request in JSON form into wire bytes.

    Args:
        body: The bytes that came in, beginning with JSON_TAG.
        events_max: The largest number of events.
        envelope: int64[ENVELOPE_WORDS], zeros. REASON and what belongs to it are set if the request is refused.

    Returns:
        The wire bytes of an IngestEventsRequest, and int64[n, REFUSED_WORDS] of the events that are refused.
    """
    buf = np.frombuffer(body, np.uint8)
    # A member takes more bytes in a Struct than in its message, an event as a list element no fewer: it always fits.
    out = np.empty(len(body) + 16, np.uint8)
    # An element of a list has at least two bytes.
    refused = np.empty((min(events_max, len(body) // 2) + 1, REFUSED_WORDS), np.int64)
    slots = np.zeros(_SLOTS, np.int64)
    size, count = convert(buf, _NAMES, _NAME_ROWS, events_max, slots, out, refused, envelope)
    if envelope[REASON]:
        return b"", refused[:0]
    return out[:size].tobytes(), refused[:count]


@kernel
def convert(buf, names, name_rows, events_max, slot_array, out, refused, envelope):  # type: ignore[no-untyped-def]
    """Write the request in `buf` as wire bytes to `out`; return their number and the number of refused events."""
    span, target, words, slots = span_of(buf), span_of(out), span_of(envelope), span_of(slot_array)
    table = (span_of(names), span_of(name_rows))
    nothing = (np.int64(0), np.int64(0))
    end = np.int64(span[1])
    length, pos = read_length(span, np.int64(1), end)
    if pos < 0 or pos + length != end:
        put_word(words, REASON, MALFORMED)
        return nothing
    reason, code, key_off, key_len = _collect(span, pos, end, _REQUEST_LEVEL, slots, table)
    if reason != 0:
        put_word(words, REASON, reason if reason > 0 else MALFORMED)
        put_word(words, ERROR_FIELD, code)
        put_word(words, ERROR_OFF, key_off)
        put_word(words, ERROR_LEN, key_len)
        return nothing
    at = _put_text(target, np.int64(0), 1, span, slots, REQUEST_ID)
    at, count, refused_count = _convert_events(span, events_max, slots, table, target, at, span_of(refused))
    if at < 0:
        put_word(words, REASON, MALFORMED)
        return nothing
    if count > events_max:
        put_word(words, REASON, BATCH_TOO_LARGE)
        put_word(words, ERROR_FIELD, EVENTS)
        put_word(words, VALUE, count)
        put_word(words, LIMIT, events_max)
        return nothing
    at = _put_time(target, at, 3, slots, SENT_TIME)
    at = _put_number(target, at, 4, slots, WAIT_FIELD)
    at = _put_number(target, at, 5, slots, RETURN_SESSIONS_FIELD)
    return at, refused_count


@inner
def _convert_events(span, events_max, slots, table, target, at, refused):  # type: ignore[no-untyped-def]
    """Write the events of the list in the slot of `events`; return (end of output or -1, events, refused events)."""
    pos = word_at(slots, _SLOT_WORDS * EVENTS + 1)
    end = pos + word_at(slots, _SLOT_WORDS * EVENTS + 2)
    if word_at(slots, _SLOT_WORDS * EVENTS) == 0:
        end = pos
    count, refused_count = np.int64(0), np.int64(0)
    failed = (np.int64(-1), np.int64(0), np.int64(0))
    while pos < end:
        tag, pos = read_tag(span, pos, end)
        if pos < 0:
            return failed
        if tag != 0x0A:
            pos = skip_field(span, pos, end, tag, NESTING_MAX)
            if pos < 0:
                return failed
            continue
        length, pos = read_length(span, pos, end)
        if pos < 0:
            return failed
        if count < events_max:
            reason, code, key_off, key_len = _collect_event(span, pos, pos + length, slots, table)
            if reason < 0:
                return failed
            if reason == 0:
                at = _put_event(target, at, span, slots)
            else:
                base = REFUSED_WORDS * refused_count
                put_word(refused, base, count)
                put_word(refused, base + 1, reason)
                put_word(refused, base + 2, code)
                put_word(refused, base + 3, key_off)
                put_word(refused, base + 4, key_len)
                refused_count += 1
                put_byte(target, at, 0x12)
                put_byte(target, at + 1, 0)
                at += 2
        count += 1
        pos += length
    return at, count, refused_count


@inner
def _collect_event(span, pos, end, slots, table):  # type: ignore[no-untyped-def]
    """Fill the slots with the members of the Value `span[pos:end]`, an event; return as `_collect` does."""
    for i in range(_SLOT_WORDS * (PROPERTIES + 1)):
        put_word(slots, i, 0)
    kind, off, length = _read_value(span, pos, end)
    if kind < 0:
        return np.int64(-1), np.int64(0), np.int64(0), np.int64(0)
    if kind != _STRUCT:
        return np.int64(WRONG_TYPE), np.int64(MEMBER), np.int64(0), np.int64(0)
    return _collect(span, off, off + length, _EVENT_LEVEL, slots, table)


@inner
def _collect(span, pos, end, level, slots, table):  # type: ignore[no-untyped-def]
    """Fill the slots with the members of the Struct `span[pos:end]`.

    Returns:
        0, or the reason of the first wrong member, or -1 for malformed bytes; then the code of the member's field and
        where its name lies.
    """
    malformed = (np.int64(-1), np.int64(0), np.int64(0), np.int64(0))
    while pos < end:
        tag, pos = read_tag(span, pos, end)
        if pos < 0:
            return malformed
        if tag != 0x0A:
            pos = skip_field(span, pos, end, tag, NESTING_MAX)
            if pos < 0:
                return malformed
            continue
        length, pos = read_length(span, pos, end)
        if pos < 0:
            return malformed
        key_off, key_len, value_off, value_len = _read_entry(span, pos, pos + length)
        pos += length
        if key_off < 0:
            return malformed
        kind, off, size = _read_value(span, value_off, value_off + value_len)
        if kind < 0:
            return malformed
        code = _find_name(span, key_off, key_len, level, table)
        if code < 0:
            return np.int64(UNKNOWN_FIELD), np.int64(MEMBER), key_off, key_len
        if not _fill_slot(span, code, kind, off, size, slots, table):
            return np.int64(WRONG_TYPE), code, key_off, key_len
    return np.int64(0), np.int64(0), np.int64(0), np.int64(0)


@inner
def _fill_slot(span, code, kind, off, size, slots, table):  # type: ignore[no-untyped-def]
    """Keep the value of a field. Return False if it has the wrong type."""
    slot = _SLOT_WORDS * code
    first, second = off, size
    if kind == _NULL:
        put_word(slots, slot, 0)
        return True
    if code == PROPERTIES or code == EVENTS:
        known = kind == (_STRUCT if code == PROPERTIES else _LIST)
    elif code == WAIT_FIELD:
        if kind == _NUMBER:
            first, known = _whole_number(span, off)
        else:
            first = _find_name(span, off, size, _WAIT_LEVEL, table) if kind == _STRING else np.int64(-1)
            known = first >= 0
    elif code == RETURN_SESSIONS_FIELD:
        known = kind == _BOOL
    elif code == EVENT_TIME or code == SENT_TIME:
        first, second, known = parse_time(span, off, size if kind == _STRING else np.int64(0))
    else:
        known = kind == _STRING
    put_word(slots, slot, kind)
    put_word(slots, slot + 1, first)
    put_word(slots, slot + 2, second)
    return known


@inner
def _whole_number(span, off):  # type: ignore[no-untyped-def]
    """Return the int32 that the double at `off` is, and whether it is one."""
    value = bits_float(np.int64(bytes_at(span, off)))
    if not -_INT32_MAX <= value <= _INT32_MAX:
        return np.int64(0), False
    whole = np.int64(value)
    return whole, np.float64(whole) == value


@inner
def _find_name(span, off, length, level, table):  # type: ignore[no-untyped-def]
    """Return the code of the name `span[off:off+length]` on a level, or -1."""
    texts, rows = table
    for base in range(0, rows[1], 4):
        if word_at(rows, base) == level and word_at(rows, base + 3) == length:
            start = word_at(rows, base + 2)
            same = True
            for i in range(length):
                if byte_at(span, off + i) != byte_at(texts, start + i):
                    same = False
                    break
            if same:
                return word_at(rows, base + 1)
    return np.int64(-1)


@inner
def _read_entry(span, pos, end):  # type: ignore[no-untyped-def]
    """Return (offset, length) of key and of value of the map entry `span[pos:end]`; key offset -1 if malformed."""
    key_off, key_len, value_off, value_len = np.int64(0), np.int64(0), np.int64(0), np.int64(0)
    malformed = (np.int64(-1), np.int64(0), np.int64(0), np.int64(0))
    while pos < end:
        tag, pos = read_tag(span, pos, end)
        if pos < 0:
            return malformed
        if tag == 0x0A or tag == 0x12:
            length, pos = read_length(span, pos, end)
            # As in properties, a second value would have to be merged with the first.
            if pos < 0 or (tag == 0x12 and value_off != 0):
                return malformed
            if tag == 0x0A:
                key_off, key_len = pos, length
            else:
                value_off, value_len = pos, length
            pos += length
        else:
            pos = skip_field(span, pos, end, tag, NESTING_MAX)
            if pos < 0:
                return malformed
    return key_off, key_len, value_off, value_len


@inner
def _read_value(span, pos, end):  # type: ignore[no-untyped-def]
    """Return what the Value `span[pos:end]` holds (-1: malformed; nothing set: null), then offset and length.

    A number has the offset of its 8 bytes, a boolean its value in place of the offset.
    """
    kind, off, length = np.int64(_NULL), np.int64(0), np.int64(0)
    malformed = (np.int64(-1), np.int64(0), np.int64(0))
    messages = 0
    while pos < end:
        tag, pos = read_tag(span, pos, end)
        if pos < 0:
            return malformed
        if tag == 0x1A or tag == 0x2A or tag == 0x32:
            length, pos = read_length(span, pos, end)
            messages += tag != 0x1A
            if pos < 0 or messages > 1:
                return malformed
            kind, off = tag >> 3, pos
            pos += length
        elif tag == 0x11:
            kind, off = np.int64(_NUMBER), pos
            pos = skip_field(span, pos, end, tag, NESTING_MAX)
        elif tag == 0x08 or tag == 0x20:
            value, pos = read_varint(span, pos, end, 10)
            kind, off = tag >> 3, np.int64(1 if value != 0 else 0)
        else:
            pos = skip_field(span, pos, end, tag, NESTING_MAX)
        if pos < 0:
            return malformed
    return kind, off, length


@inner
def _put_event(target, at, span, slots):  # type: ignore[no-untyped-def]
    """Write the event in the slots as field 2 of the request; return where it ends."""
    size = np.int64(0)
    for code in range(1, PROPERTIES + 1):
        slot = _SLOT_WORDS * code
        if word_at(slots, slot) != 0:
            if code == EVENT_TIME:
                length = _time_bytes(word_at(slots, slot + 1), word_at(slots, slot + 2))
            else:
                length = word_at(slots, slot + 2)
            size += 1 + _varint_bytes(length) + length
    put_byte(target, at, 0x12)
    at = _put_varint(target, at + 1, size)
    for code in range(1, PROPERTIES + 1):
        if code == EVENT_TIME:
            at = _put_time(target, at, code, slots, code)
        else:
            at = _put_text(target, at, code, span, slots, code)
    return at


@inner
def _put_text(target, at, number, span, slots, code):  # type: ignore[no-untyped-def]
    """Write the bytes to which a slot points as field `number`, if there are any; return where the field ends."""
    slot = _SLOT_WORDS * code
    if word_at(slots, slot) == 0:
        return at
    off, length = word_at(slots, slot + 1), word_at(slots, slot + 2)
    put_byte(target, at, number << 3 | 2)
    at = _put_varint(target, at + 1, length)
    for i in range(length):
        put_byte(target, at + i, byte_at(span, off + i))
    return at + length


@inner
def _put_time(target, at, number, slots, code):  # type: ignore[no-untyped-def]
    """Write the time in a slot as a Timestamp in field `number`, if there is one; return where the field ends."""
    slot = _SLOT_WORDS * code
    if word_at(slots, slot) == 0:
        return at
    seconds, nanos = word_at(slots, slot + 1), word_at(slots, slot + 2)
    put_byte(target, at, number << 3 | 2)
    put_byte(target, at + 1, _time_bytes(seconds, nanos))
    at += 2
    if seconds != 0:
        put_byte(target, at, 1 << 3)
        at = _put_varint(target, at + 1, seconds)
    if nanos != 0:
        put_byte(target, at, _NANOS_TAG)
        at = _put_varint(target, at + 1, nanos)
    return at


@inner
def _time_bytes(seconds, nanos):  # type: ignore[no-untyped-def]
    """Return the size of a Timestamp on the wire, at most 16."""
    size = np.int64(0)
    if seconds != 0:
        size += 1 + _varint_bytes(seconds)
    if nanos != 0:
        size += 1 + _varint_bytes(nanos)
    return size


@inner
def _put_number(target, at, number, slots, code):  # type: ignore[no-untyped-def]
    """Write the number in a slot as a varint in field `number`, if there is one; return where the field ends."""
    slot = _SLOT_WORDS * code
    if word_at(slots, slot) == 0:
        return at
    put_byte(target, at, number << 3)
    return _put_varint(target, at + 1, word_at(slots, slot + 1))


@inner
def _varint_bytes(value):  # type: ignore[no-untyped-def]
    """Return the size of a varint; negative numbers (int64) have 10 bytes."""
    rest = np.uint64(value) >> np.uint64(7)
    size = np.int64(1)
    while rest != np.uint64(0):
        rest >>= np.uint64(7)
        size += 1
    return size


@inner
def _put_varint(target, at, value):  # type: ignore[no-untyped-def]
    """Write a varint; return where it ends."""
    rest = np.uint64(value)
    while rest >= np.uint64(0x80):
        put_byte(target, at, np.int64(rest & np.uint64(0x7F)) | 0x80)
        rest >>= np.uint64(7)
        at += 1
    put_byte(target, at, np.int64(rest))
    return at + 1
