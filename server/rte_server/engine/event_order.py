"""The order of events of equal time, by their ids as people read them: one word, 0 to 2^63 - 1.

From the highest bits down: the form of the id (3 bits), what orders ids of that form (52), and the place of an element in its
event's list (PLACE_BITS), 0 in the word of the event itself. So what an event says stands between what the events before and
after it say, element by element.

A whole id has no room in 52 bits. What is left out is told by docs/guides/models.md; two events whose words are equal are
ordered by what they say, so that the state follows from the set of events all the same.
"""

from __future__ import annotations

import numpy as np

from rte_server.engine.kernel import inner
from rte_server.engine.native import byte_at

PLACE_BITS = np.int64(8)
LAST_PLACE = np.int64((1 << 8) - 1)
"""A reset comes after all elements of its own event: its order is that of the event with this place."""

# Forms of ids, in the order of events whose ids differ in it.
NUMBER = np.int64(0)  # a decimal number of up to NUMBER_DIGITS_MAX digits, without leading zeros: its value
UUID = np.int64(1)  # version 7: its time, then the bits that makers of such ids count up
ULID = np.int64(2)  # likewise
ENDING = np.int64(3)  # ends in decimal digits: the number that its last ENDING_DIGITS are, then 18 bits of its hash
TEXT = np.int64(4)  # its first 4 bytes, then 20 bits of its hash
WITHOUT_ID = np.int64(
    5
)  # the place among the accepted events of its request (20 bits), then 32 bits of a hash of the event

NUMBER_DIGITS_MAX = 15
ENDING_DIGITS = 10
REQUEST_PLACE_BITS = 20

_FORM_SHIFT = np.int64(60)
_ENDING_MAX = np.int64(10**ENDING_DIGITS)
_REQUEST_PLACE_MASK = np.int64((1 << REQUEST_PLACE_BITS) - 1)
_REQUEST_PLACE_SHIFT = PLACE_BITS + np.int64(32)

_UUID_BYTES = 36
_ULID_BYTES = 26
_ULID_TIME_CHARS = 10
# Times of ids are kept relative to the event's, modulo so much: it is exact while they differ by less than half of it.
_UUID_TIME_MASK = np.int64((1 << 10) - 1)
_ULID_TIME_MASK = np.int64((1 << 14) - 1)
_UUID_REST_BITS = 42  # rand_a and the upper 30 bits of rand_b: the longest counter that RFC 9562, 6.2 has
_ULID_REST_BITS = 38

_ZERO, _NINE = np.int64(0x30), np.int64(0x39)
_DASH = np.int64(0x2D)
_SEVEN = np.int64(0x37)
_NO_DIGIT = np.int64(-1)


@inner
def _form(form, content):  # type: ignore[no-untyped-def]
    return form << _FORM_SHIFT | content << PLACE_BITS


@inner
def order_of_id(span, off, length, hashed, time_ms):  # type: ignore[no-untyped-def]
    """Return the order of an event with an id.

    Args:
        span: Span of the request's bytes.
        off: Where the id begins.
        length: Its bytes, > 0.
        hashed: uint64, a hash of the id.
        time_ms: The event's time as its sender stated it, or the received time.
    """
    digits = np.int64(0)
    number = np.int64(0)
    power = np.int64(1)
    while digits < length and digits < NUMBER_DIGITS_MAX:
        digit = byte_at(span, off + length - 1 - digits) - _ZERO
        if digit < 0 or digit > 9:
            break
        number += digit * power
        power *= 10
        digits += 1
    if digits == length and (length == 1 or byte_at(span, off) != _ZERO):
        return _form(NUMBER, number)
    if length == _UUID_BYTES:
        content = _uuid_content(span, off, time_ms)
        if content >= 0:
            return _form(UUID, content)
    elif length == _ULID_BYTES:
        content = _ulid_content(span, off, time_ms)
        if content >= 0:
            return _form(ULID, content)
    if digits > 0:
        return _form(ENDING, number % _ENDING_MAX << 18 | np.int64(hashed & np.uint64(0x3FFFF)))
    content = np.int64(0)
    for i in range(4):
        content = content << 8 | (byte_at(span, off + i) if i < length else np.int64(0))
    return _form(TEXT, content << 20 | np.int64(hashed & np.uint64(0xFFFFF)))


@inner
def order_without_id(hashed):  # type: ignore[no-untyped-def]
    """Return the order of an event without an id that is the first of its request; see `order_in_request`."""
    return _form(WITHOUT_ID, np.int64(hashed & np.uint64(0xFFFFFFFF)))


@inner
def order_in_request(order, place):  # type: ignore[no-untyped-def]
    """Return `order_without_id` of the event that is at a place, from 0, among the accepted ones of its request."""
    return order | (place & _REQUEST_PLACE_MASK) << _REQUEST_PLACE_SHIFT


@inner
def _time_content(id_ms, time_ms, mask, rest_bits, rest):  # type: ignore[no-untyped-def]
    return ((id_ms - time_ms + (mask >> 1) + 1) & mask) << rest_bits | rest


@inner
def _hexadecimal(char):  # type: ignore[no-untyped-def]
    """Return the value of a hexadecimal digit, or _NO_DIGIT."""
    if _ZERO <= char <= _NINE:
        return char - _ZERO
    letter = (char | 0x20) - 0x61
    return letter + 10 if 0 <= letter < 6 else _NO_DIGIT


@inner
def _uuid_content(span, off, time_ms):  # type: ignore[no-untyped-def]
    """Return what orders a UUIDv7 in its text form of 36 bytes, or -1 if it is none. Source: RFC 9562, 5.7."""
    if byte_at(span, off + 14) != _SEVEN:
        return np.int64(-1)
    id_ms = np.int64(0)
    rest = np.int64(0)
    for i in range(_UUID_BYTES):
        char = byte_at(span, off + i)
        if i == 8 or i == 13 or i == 18 or i == 23:
            if char != _DASH:
                return np.int64(-1)
            continue
        digit = _hexadecimal(char)
        if digit < 0:
            return np.int64(-1)
        if i < 13:
            id_ms = id_ms << 4 | digit
        elif i == 19:
            rest = rest << 2 | digit & 3  # Its upper half is the variant.
        elif 14 < i < 28:
            rest = rest << 4 | digit
    return _time_content(id_ms, time_ms, _UUID_TIME_MASK, _UUID_REST_BITS, rest)


@inner
def _base32(char):  # type: ignore[no-untyped-def]
    """Return the value of a digit of Crockford's Base32, either case, or _NO_DIGIT."""
    if _ZERO <= char <= _NINE:
        return char - _ZERO
    letter = (char | 0x20) - 0x61
    # I, L, O and U are none.
    if letter < 0 or letter > 25 or letter == 8 or letter == 11 or letter == 14 or letter == 20:
        return _NO_DIGIT
    return 10 + letter - np.int64(letter > 8) - np.int64(letter > 11) - np.int64(letter > 14) - np.int64(letter > 20)


@inner
def _ulid_content(span, off, time_ms):  # type: ignore[no-untyped-def]
    """Return what orders a ULID in its text form of 26 bytes, or -1 if it is none. Source: github.com/ulid/spec."""
    if byte_at(span, off) > _SEVEN:
        return np.int64(-1)
    id_ms = np.int64(0)
    rest = np.int64(0)
    for i in range(_ULID_BYTES):
        digit = _base32(byte_at(span, off + i))
        if digit < 0:
            return np.int64(-1)
        if i < _ULID_TIME_CHARS:
            id_ms = id_ms << 5 | digit
        else:
            # Makers of ULIDs count the whole number up, so that its lowest bits tell those of one millisecond apart.
            rest = (rest << 5 | digit) & ((1 << _ULID_REST_BITS) - 1)
    return _time_content(id_ms, time_ms, _ULID_TIME_MASK, _ULID_REST_BITS, rest)
