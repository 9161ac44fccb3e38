"""Parts of web addresses: host, path, query parameters and the like, out of the bytes of an event.

An address is split once per event and property, however many parts of it are asked for; what was found stands in the
writer's working memory until the next address comes. Results are what Python's `urllib.parse` gives (`urlsplit`,
`parse_qs`), which the tests use as the oracle, but for what is refused here as malformed: control characters; brackets,
non-ASCII bytes or percent signs in the host. An address that is malformed, and a part that is empty or too long, have no value.

Source: RFC 3986; the WHATWG URL standard for `application/x-www-form-urlencoded`.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np

from rte_server.engine.context import URL_STATE, WORKSPACE, span_in
from rte_server.engine.kernel import inner
from rte_server.engine.native import byte_at, put_byte, put_word, word_at

PART_BYTES_MAX = 1024
"""Bytes of one part, after decoding; a longer one has no value."""

WORKSPACE_HALF = np.int64(4096)
WORKSPACE_BYTES = 8192
"""Bytes of the writer's working memory for texts: one half to decode, the other for the result."""


class UrlPart(IntEnum):
    """What can be asked of an address."""

    SCHEME = 0
    HOST = 1
    PATH = 2
    QUERY = 3  # the first parameter of a name that has a text
    FRAGMENT = 4


_SCHEME = np.int64(UrlPart.SCHEME)
_HOST = np.int64(UrlPart.HOST)
_PATH = np.int64(UrlPart.PATH)
_QUERY = np.int64(UrlPart.QUERY)
_FRAGMENT = np.int64(UrlPart.FRAGMENT)

# Words of the state of the last address: where it begins, whether it is well formed, then begin and end of each part,
# in the order of `UrlPart`.
_AT = np.int64(0)
_IS_VALID = np.int64(1)
_PARTS = np.int64(2)
URL_STATE_WORDS = 12

_HASH = 0x23
_PERCENT = 0x25
_AMPERSAND = 0x26
_PLUS = 0x2B
_SLASH = 0x2F
_COLON = 0x3A
_EQUALS = 0x3D
_QUESTION = 0x3F
_AT_SIGN = 0x40


@inner
def forget_url(ctx):  # type: ignore[no-untyped-def]
    """Forget the last address, before the bytes of another request."""
    put_word(span_in(ctx, URL_STATE), _AT, -1)


@inner
def _is_letter(byte):  # type: ignore[no-untyped-def]
    return np.uint64((byte | 0x20) - 0x61) < np.uint64(26)


@inner
def _scheme_end(span, at, end):  # type: ignore[no-untyped-def]
    """Return where the colon of the scheme is, or -1 if the address has none."""
    if at >= end or not _is_letter(byte_at(span, at)):
        return np.int64(-1)
    for i in range(at, end):
        byte = byte_at(span, i)
        if byte == _COLON:
            return i
        # Letters, digits, and + - .
        if not (_is_letter(byte) or 0x30 <= byte <= 0x39 or byte == _PLUS or byte == 0x2D or byte == 0x2E):
            break
    return np.int64(-1)


@inner
def _put_part(state, part, begin, end):  # type: ignore[no-untyped-def]
    put_word(state, _PARTS + 2 * part, begin)
    put_word(state, _PARTS + 2 * part + 1, end)


@inner
def _split_authority(span, state, at, end):  # type: ignore[no-untyped-def]
    """Find the host in `user@host:port`. Returns False if it is malformed."""
    host = at
    for i in range(at, end):
        byte = byte_at(span, i)
        if byte >= 0x80 or byte == 0x5B or byte == 0x5D:
            return False
        if byte == _AT_SIGN:
            host = i + 1
    host_end = host
    while host_end < end and byte_at(span, host_end) != _COLON:
        if byte_at(span, host_end) == _PERCENT:
            return False
        host_end += 1
    _put_part(state, _HOST, host, host_end)
    return True


@inner
def _split(span, state, at, end):  # type: ignore[no-untyped-def]
    """Split the address in `span[at:end]` into parts, which are empty where it lacks them."""
    put_word(state, _AT, at)
    put_word(state, _IS_VALID, 0)
    for part in range(5):
        _put_part(state, part, at, at)
    while at < end and byte_at(span, at) == 0x20:
        at += 1
    fragment = end
    query = end
    for i in range(at, end):
        byte = byte_at(span, i)
        if byte < 0x20:
            return
        if byte == _HASH and fragment == end:
            fragment = i
        if byte == _QUESTION and query == end and fragment == end:
            query = i
    body_end = min(query, fragment)
    colon = _scheme_end(span, at, body_end)
    if colon >= 0:
        _put_part(state, _SCHEME, at, colon)
        at = colon + 1
    if at + 1 < body_end and byte_at(span, at) == _SLASH and byte_at(span, at + 1) == _SLASH:
        authority_end = at + 2
        while authority_end < body_end and byte_at(span, authority_end) != _SLASH:
            authority_end += 1
        if not _split_authority(span, state, at + 2, authority_end):
            return
        at = authority_end
    _put_part(state, _PATH, at, body_end)
    _put_part(state, _QUERY, min(query + 1, fragment), fragment)
    _put_part(state, _FRAGMENT, min(fragment + 1, end), end)
    put_word(state, _IS_VALID, 1)


@inner
def _hex_digit(byte):  # type: ignore[no-untyped-def]
    """Return the value of a hexadecimal digit, or -1."""
    if 0x30 <= byte <= 0x39:
        return byte - 0x30
    lower = byte | 0x20
    return lower - 0x57 if 0x61 <= lower <= 0x66 else np.int64(-1)


@inner
def _decoded_byte(span, at, end):  # type: ignore[no-untyped-def]
    """Return the byte that a form-encoded text has at `at`, and how many bytes stand for it."""
    byte = byte_at(span, at)
    if byte == _PLUS:
        return np.int64(0x20), np.int64(1)
    if byte == _PERCENT and at + 2 < end:
        high = _hex_digit(byte_at(span, at + 1))
        low = _hex_digit(byte_at(span, at + 2))
        if high >= 0 and low >= 0:
            return high << 4 | low, np.int64(3)
    return byte, np.int64(1)


@inner
def _is_named(span, at, end, name, name_at, name_length):  # type: ignore[no-untyped-def]
    """Return whether a form-encoded text is a name, given as bytes of another span."""
    for i in range(name_length):
        if at >= end:
            return False
        byte, width = _decoded_byte(span, at, end)
        if byte != byte_at(name, name_at + i):
            return False
        at += width
    return at == end


@inner
def _decode(span, at, end, out):  # type: ignore[no-untyped-def]
    """Decode a form-encoded text into the first half of `out`; return its length, -1 if it is too long."""
    length = np.int64(0)
    broken = False
    while at < end:
        if length >= PART_BYTES_MAX:
            return np.int64(-1), False
        byte, width = _decoded_byte(span, at, end)
        # Only what was escaped can be no UTF-8: the request as a whole is.
        broken = broken or (width == 3 and byte >= 0x80)
        put_byte(out, length, byte)
        length += 1
        at += width
    return length, broken


@inner
def _sequence(span, at, end):  # type: ignore[no-untyped-def]
    """Return how many bytes from `at` on are one UTF-8 character, or minus how many are one error.

    An error is the longest start of a character that could not be completed, as Python and the WHATWG count.
    """
    lead = byte_at(span, at)
    if lead < 0x80:
        return np.int64(1)
    if lead < 0xC2 or lead > 0xF4:
        return np.int64(-1)
    more = np.int64(1) + np.int64(lead >= 0xE0) + np.int64(lead >= 0xF0)
    low = np.int64(0xA0 if lead == 0xE0 else (0x90 if lead == 0xF0 else 0x80))
    high = np.int64(0x9F if lead == 0xED else (0x8F if lead == 0xF4 else 0xBF))
    for i in range(1, more + 1):
        if at + i >= end or not low <= byte_at(span, at + i) <= high:
            return -i
        low = np.int64(0x80)
        high = np.int64(0xBF)
    return more + 1


@inner
def _mended(out, length):  # type: ignore[no-untyped-def]
    """Copy the first half of `out` to the second with U+FFFD for what is no UTF-8; return the length there."""
    at = np.int64(0)
    to = WORKSPACE_HALF
    while at < length:
        count = _sequence(out, at, length)
        if count < 0:
            put_byte(out, to, 0xEF)
            put_byte(out, to + 1, 0xBF)
            put_byte(out, to + 2, 0xBD)
            to += 3
            at -= count
        else:
            for i in range(count):
                put_byte(out, to + i, byte_at(out, at + i))
            to += count
            at += count
    return to - WORKSPACE_HALF


@inner
def _parameter(span, at, end, name, name_at, name_length, out):  # type: ignore[no-untyped-def]
    """Return (offset in `out`, length) of the first parameter of a name that has a text; length 0 if there is none."""
    while at < end:
        stop = at
        equals = np.int64(-1)
        while stop < end and byte_at(span, stop) != _AMPERSAND:
            if equals < 0 and byte_at(span, stop) == _EQUALS:
                equals = stop
            stop += 1
        if 0 <= equals < stop - 1 and _is_named(span, at, equals, name, name_at, name_length):
            length, broken = _decode(span, equals + 1, stop, out)
            if length > 0 and broken:
                length = _mended(out, length)
                return WORKSPACE_HALF, (length if length <= PART_BYTES_MAX else np.int64(0))
            return np.int64(0), max(length, 0)
        at = stop + 1
    return np.int64(0), np.int64(0)


@inner
def url_part(ctx, span, at, length, part, name, name_at, name_length):  # type: ignore[no-untyped-def]
    """Find a part of the address `span[at:at+length]`.

    Args:
        ctx: Span of the context.
        span: Span of the bytes of the request.
        at: Where the address begins in them.
        length: Its bytes.
        part: A UrlPart.
        name: QUERY: span of bytes that hold the name of the parameter.
        name_at: Where it begins there.
        name_length: Its bytes.

    Returns:
        (is it in the workspace, else in `span`; where it begins there; its length, 0 for no value).
    """
    state = span_in(ctx, URL_STATE)
    if word_at(state, _AT) != at:
        _split(span, state, at, at + length)
    if word_at(state, _IS_VALID) == 0:
        return False, np.int64(0), np.int64(0)
    begin = word_at(state, _PARTS + 2 * part)
    end = word_at(state, _PARTS + 2 * part + 1)
    out = span_in(ctx, WORKSPACE)
    if part == _QUERY:
        begin, found = _parameter(span, begin, end, name, name_at, name_length, out)
        return True, begin, found
    if part == _PATH and begin == end and word_at(state, _PARTS + 2 * _HOST) < word_at(state, _PARTS + 2 * _HOST + 1):
        put_byte(out, 0, _SLASH)
        return True, np.int64(0), np.int64(1)
    found = end - begin if end - begin <= PART_BYTES_MAX else np.int64(0)
    if part > _HOST:
        return False, begin, found
    for i in range(found):
        byte = byte_at(span, begin + i)
        put_byte(out, i, byte + 0x20 if 0x41 <= byte <= 0x5A else byte)
    return True, np.int64(0), found
