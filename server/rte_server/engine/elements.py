"""The elements of a list among an event's properties: attributes with `each` take in one after the other.

The list is looked for in the wire form of the properties only if the event's name has such attributes. As in `event_slots`
the scan has checked the wire form, and every length is checked here again, against the end of what holds it.
"""

from __future__ import annotations

import numpy as np

from rte_server.engine.context import ELEMENT_KEYS, SLOT_TAGS, TEXTS, span_in
from rte_server.engine.event_order import PLACE_BITS
from rte_server.engine.event_slots import read_member, read_value, read_varint, step_over
from rte_server.engine.kernel import inner
from rte_server.engine.native import byte_at, put_word, word_at
from rte_server.engine.values import ERROR

ELEMENTS_MAX = np.int64(1) << PLACE_BITS
"""Elements of one list that are taken in; the others are counted (`elements_cut`)."""

_KEY = 0x0A  # of a Struct's map entry
_ENTRY_VALUE = 0x12
_STRUCT = 0x2A  # of a Value
_LIST = 0x32
_FIRST = 0x0A  # the field of a Struct and of a ListValue


@inner
def _next_field(span, at, end):  # type: ignore[no-untyped-def]
    """Return (tag, place of the content, end of the field) of the field at `span[at]`; the places are -1 if it is damaged.

    Of fields without a length the content begins where the field ends.
    """
    tag, at = read_varint(span, at, end)
    if at >= 0 and tag & 7 == 2:
        size, at = read_varint(span, at, end)
        if at >= 0 and 0 <= size <= end - at:
            return tag, at, at + size
    elif at >= 0:
        after = step_over(span, at, end, tag & 7)
        return tag, after, after
    return tag, np.int64(-1), np.int64(-1)


@inner
def _kind_in(span, at, end, wanted):  # type: ignore[no-untyped-def]
    """Return (place, end) of the list or object that the Value `span[at:end]` is; (-1, -1) if it is something else.

    Args:
        wanted: _LIST or _STRUCT.
    """
    found, found_end = np.int64(-1), np.int64(-1)
    while at < end:
        tag, content, at = _next_field(span, at, end)
        if at < 0:
            return np.int64(-1), np.int64(-1)
        if tag == wanted:
            found, found_end = content, at
        elif tag == _LIST or tag == _STRUCT or tag == 0x08 or tag == 0x11 or tag == 0x1A or tag == 0x20:
            found, found_end = np.int64(-1), np.int64(-1)
    return found, found_end


@inner
def find_list(ctx, span, at, length, key, key_length):  # type: ignore[no-untyped-def]
    """Return (place, end) of the `ListValue` that is the property of a certain key; (-1, -1) if it is none.

    Args:
        ctx: Span of the context.
        span: Span of the request's bytes.
        at: Where the Struct of the properties begins.
        length: Its bytes.
        key: Place of the key in `texts`.
        key_length: Its bytes.
    """
    found, found_end = np.int64(-1), np.int64(-1)
    end = at + length
    while at < end:
        tag, entry, at = _next_field(span, at, end)
        if at < 0:
            break
        if tag != _FIRST:
            continue
        own_key, own_length = entry, np.int64(0)
        value, value_end = np.int64(-1), np.int64(-1)
        while entry < at and entry >= 0:
            tag, content, entry = _next_field(span, entry, at)
            if entry >= 0 and tag == _KEY:
                own_key, own_length = content, entry - content
            elif entry >= 0 and tag == _ENTRY_VALUE:
                value, value_end = content, entry
        if own_length == key_length and _same_text(ctx, span, own_key, key, key_length):
            found, found_end = _kind_in(span, value, value_end, _LIST)
    return found, found_end


@inner
def _same_text(ctx, span, at, key, length):  # type: ignore[no-untyped-def]
    texts = span_in(ctx, TEXTS)
    for i in range(length):
        if byte_at(span, at + i) != byte_at(texts, key + i):
            return False
    return True


@inner
def next_element(span, at, end):  # type: ignore[no-untyped-def]
    """Return (place, end) of the next `Value` in the `ListValue` `span[at:end]`, (-1, -1) if there is none.

    The next one is looked for at the end of this one.
    """
    while at < end:
        tag, content, at = _next_field(span, at, end)
        if at < 0:
            break
        if tag == _FIRST:
            return content, at
    return np.int64(-1), np.int64(-1)


@inner
def read_element(ctx, span, at, end, uses, itself):  # type: ignore[no-untyped-def]
    """Read an element into the slots: its members where it is an object, and the element itself.

    Args:
        ctx: Span of the context.
        span: Span of the request's bytes.
        at: Where the `Value` begins.
        end: Where it ends.
        uses: As in `event_slots.read_properties`.
        itself: Slot of the element itself; -1 if no expression reads it.
    """
    tags = span_in(ctx, SLOT_TAGS)
    keys = span_in(ctx, ELEMENT_KEYS)
    for place in range(keys[1]):
        if word_at(keys, place) != 0:
            put_word(tags, word_at(keys, place) - 1, ERROR)
    if itself >= 0:
        read_value(ctx, span, at, end, itself, word_at(uses, itself))
    member, members_end = _kind_in(span, at, end, _STRUCT)
    while 0 <= member < members_end:
        tag, content, member = _next_field(span, member, members_end)
        if member >= 0 and tag == _FIRST:
            read_member(ctx, keys, span, content, member, uses)
