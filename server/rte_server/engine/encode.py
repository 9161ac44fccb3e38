"""Writing rows as serialized `rte.v1.Session` messages: no Python object per attribute.

A row is copied under its version first, so that what is written is one state of the session; the texts that it refers to
are never changed once they are in the pool.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from rte_server.engine.attributes import ENTRY_WORDS, RECENT, TAG_MASK
from rte_server.engine.values import BOOL, DOUBLE, ERROR, INT, NULL, STRING
from rte_server.engine.native import byte_at, fence_acquire, float_bits, load_acquire, put_byte, span_of
from rte_server.engine.program import A_AT, A_KEEP, A_KIND, A_NAME, A_NAME_LEN
from rte_server.engine.row_values import load_input
from rte_server.engine.strings import find, length_of, offset_of
from rte_server.engine.table import (
    ALIAS_COUNT_MAX,
    ALIASES,
    CHANNEL,
    CHANNEL_TIME,
    CUSTOMER,
    CUSTOMER_TIME,
    ENDED,
    EVENTS,
    FREE,
    LAST,
    LATE,
    NONE,
    SESSION_HI,
    SESSION_LO,
    START,
    STATE,
    VERSION,
    VISIT,
    VISITOR,
    WRITTEN,
    WRITTEN_ITEM_WORDS,
    WRITTEN_WORDS,
)

# Bits of `fields`: the fields of rte.v1.Session by number.
ALL_FIELDS = (1 << 15) - 1
F_SESSION_ID = 1
F_VISITOR_ID = 2
F_CUSTOMER_ID = 3
F_STATE = 4
F_START_TIME = 5
F_LAST_EVENT_TIME = 6
F_END_TIME = 7
F_EVENT_COUNT = 8
F_CHANNEL = 9
F_ALIAS_IDS = 10
F_ATTRIBUTES = 11
F_ETAG = 12
F_VISIT_NUMBER = 13
F_LATE_EVENT_COUNT = 14

LENGTH_BYTES = 4
"""Bytes kept free for the length of a nested message while it is written; 28 bits of length."""

READ_TRIES = 10_000


class ReadBuffers(NamedTuple):
    """Working memory of one reading thread.

    Attributes:
        cells: int64[row_words], copy of the row.
        written: int64[WRITTEN_WORDS], copy of its written attributes.
        out: uint8[n], the message.
    """

    cells: NDArray[np.int64]
    written: NDArray[np.int64]
    out: NDArray[np.uint8]


def new_read_buffers(row_words: int, string_bytes_max: int) -> ReadBuffers:
    """Return buffers that hold any session: each word of a row can at most be a string of full length."""
    out_bytes = (row_words + WRITTEN_WORDS) * (string_bytes_max + 96) + 4096
    return ReadBuffers(np.zeros(row_words, np.int64), np.zeros(WRITTEN_WORDS, np.int64), np.zeros(out_bytes, np.uint8))


@njit(cache=True, nogil=True)
def copy_row(table, row, buffers):  # type: ignore[no-untyped-def]
    """Copy a row and its written attributes as they are at one moment.

    Returns:
        True if the copy is whole; False if the writer kept changing the row for READ_TRIES tries.
    """
    words = table.rows.shape[1]
    at = row * words + VERSION
    for _ in range(READ_TRIES):
        before = load_acquire(table.rows, at)
        if before & 1 == 1:
            continue
        buffers.cells[:] = table.rows[row]
        block = buffers.cells[WRITTEN]
        if buffers.cells[STATE] != FREE and block >= 0 and block < table.written.shape[0]:
            buffers.written[:] = table.written[block]
        fence_acquire()
        if load_acquire(table.rows, at) == before:
            return True
    return False


@njit(cache=True, nogil=True)
def put_varint(out, at, value):  # type: ignore[no-untyped-def]
    """Write a varint of a value >= 0; returns the place after it."""
    while value >= 0x80:
        put_byte(out, at, (value & 0x7F) | 0x80)
        value >>= 7
        at += 1
    put_byte(out, at, value)
    return at + 1


@njit(cache=True, nogil=True)
def put_bytes(out, at, source, offset, length):  # type: ignore[no-untyped-def]
    """Copy bytes of another span; returns the place after them."""
    for i in range(length):
        put_byte(out, at + i, byte_at(source, offset + i))
    return at + length


@njit(cache=True, nogil=True)
def put_text(out, at, tag, source, offset, length):  # type: ignore[no-untyped-def]
    """Write a string field; `tag` is one byte."""
    put_byte(out, at, tag)
    at = put_varint(out, at + 1, length)
    return put_bytes(out, at, source, offset, length)


@njit(cache=True, nogil=True)
def put_pooled(out, at, tag, pool, arena, text):  # type: ignore[no-untyped-def]
    """Write a string field from the pool; nothing if the pool has lost the text."""
    slot = find(pool, text)
    if slot < 0:
        return at
    return put_text(out, at, tag, arena, offset_of(pool, slot), length_of(pool, slot))


@njit(cache=True, nogil=True)
def close_message(out, start, at):  # type: ignore[no-untyped-def]
    """Write the length of the message whose content is `out[start + LENGTH_BYTES:at]` before it, and close the gap.

    Returns the place after the message.
    """
    length = at - start - LENGTH_BYTES
    place = put_varint(out, start, length)
    return put_bytes(out, place, out, start + LENGTH_BYTES, length)


@njit(cache=True, nogil=True)
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


@njit(cache=True, nogil=True)
def put_hex(out, at, word):  # type: ignore[no-untyped-def]
    """Write 16 hexadecimal digits."""
    for i in range(16):
        digit = (word >> (60 - 4 * i)) & 15
        put_byte(out, at + i, digit + 48 if digit < 10 else digit + 87)
    return at + 16


@njit(cache=True, nogil=True)
def put_session_id(out, at, tag, low, high):  # type: ignore[no-untyped-def]
    """Write a session id as a string field of 32 hexadecimal digits, high word first."""
    put_byte(out, at, tag)
    put_byte(out, at + 1, 32)
    return put_hex(out, put_hex(out, at + 2, high), low)


@njit(cache=True, nogil=True)
def put_value(out, at, tag, bits, pool, arena):  # type: ignore[no-untyped-def]
    """Write the content of a `google.protobuf.Value`; nothing if there is no value to show."""
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
        return put_pooled(out, at, 0x1A, pool, arena, bits)
    return at


@njit(cache=True, nogil=True)
def put_list(out, at, cells, first, keep, pool, arena):  # type: ignore[no-untyped-def]
    """Write the content of a `Value` that is the list of a RECENT cell, newest first; nothing if it is empty."""
    if cells[first] == 0:
        return at
    put_byte(out, at, 0x32)
    list_start = at + 1
    at = list_start + LENGTH_BYTES
    for i in range(keep):
        entry = first + ENTRY_WORDS * i
        if cells[entry] == 0:
            break
        put_byte(out, at, 0x0A)
        start = at + 1
        end = put_value(out, start + LENGTH_BYTES, cells[entry] & TAG_MASK, cells[entry + 2], pool, arena)
        at = close_message(out, start, end)
    return close_message(out, list_start, at)


@njit(cache=True, nogil=True)
def put_member(out, at, names, name_at, name_length, a, cells, number, tag, bits, pool, arena):  # type: ignore[no-untyped-def]
    """Write one member of the attributes' Struct: attribute `number` of the row, or (number < 0) the value given.

    Returns the place after it, or `at` where there is no value.
    """
    put_byte(out, at, 0x0A)
    entry_start = at + 1
    place = put_text(out, entry_start + LENGTH_BYTES, 0x0A, names, name_at, name_length)
    put_byte(out, place, 0x12)
    value_start = place + 1
    place = value_start + LENGTH_BYTES
    if number >= 0 and a[A_KIND] == RECENT:
        end = put_list(out, place, cells, a[A_AT], a[A_KEEP], pool, arena)
    else:
        end = put_value(out, place, tag, bits, pool, arena)
    if end == place:
        return at
    return close_message(out, entry_start, close_message(out, value_start, end))


@njit(cache=True, nogil=True)
def put_attributes(out, at, cells, written, pool, arena, program, chosen, all_written, written_ids):  # type: ignore[no-untyped-def]
    """Write the content of `Session.attributes`: first those of models, then those that applications wrote."""
    texts = span_of(program.texts)
    for number in range(program.attributes.shape[0]):
        if chosen[number] == 0:
            continue
        a = program.attributes[number]
        tag, bits = np.int64(ERROR), np.int64(0)
        if a[A_KIND] != RECENT:
            tag, bits = load_input(program.attributes, cells, number)
        if tag == NULL:
            continue
        at = put_member(out, at, texts, a[A_NAME], a[A_NAME_LEN], a, cells, number, tag, bits, pool, arena)
    if cells[WRITTEN] == NONE:
        return at
    nothing = program.attributes[0] if program.attributes.shape[0] > 0 else cells
    for item in range(0, WRITTEN_WORDS, WRITTEN_ITEM_WORDS):
        name = written[item]
        slot = find(pool, name) if name != 0 else -1
        if slot < 0:
            continue
        wanted = all_written
        for i in range(written_ids.shape[0]):
            wanted = wanted or written_ids[i] == name
        if wanted:
            tag = written[item + 1] & TAG_MASK
            at = put_member(
                out,
                at,
                arena,
                offset_of(pool, slot),
                length_of(pool, slot),
                nothing,
                cells,
                np.int64(-1),
                tag,
                written[item + 3],
                pool,
                arena,
            )
    return at


@njit(cache=True, nogil=True)
def encode_session(table, pool, program, row, fields, chosen, all_written, written_ids, buffers):  # type: ignore[no-untyped-def]
    """Write a session into `buffers.out`.

    Args:
        row: Its row, 0 <= row < sessions_max.
        fields: Bit n is set if field number n of rte.v1.Session is wanted.
        chosen: uint8[attributes], 1 for attributes that are wanted.
        all_written: Whether all written attributes are wanted.
        written_ids: int64[:], string ids of the names of written attributes that are wanted.

    Returns:
        Bytes written; 0 if the row is free; -1 if it kept changing while it was read.
    """
    if not copy_row(table, row, buffers):
        return np.int64(-1)
    cells = buffers.cells
    if cells[STATE] == FREE:
        return np.int64(0)
    out = span_of(buffers.out)
    arena = span_of(pool.arena)
    at = np.int64(0)
    if fields >> F_SESSION_ID & 1:
        at = put_session_id(out, at, 0x0A, cells[SESSION_LO], cells[SESSION_HI])
    if fields >> F_VISITOR_ID & 1:
        at = put_pooled(out, at, 0x12, pool, arena, cells[VISITOR])
    if fields >> F_CUSTOMER_ID & 1 and cells[CUSTOMER_TIME] != 0:
        at = put_pooled(out, at, 0x1A, pool, arena, cells[CUSTOMER])
    if fields >> F_STATE & 1:
        put_byte(out, at, 0x20)
        at = put_varint(out, at + 1, cells[STATE])
    if fields >> F_START_TIME & 1:
        at = put_time(out, at, 0x2A, cells[START])
    if fields >> F_LAST_EVENT_TIME & 1:
        at = put_time(out, at, 0x32, cells[LAST])
    if fields >> F_END_TIME & 1 and cells[ENDED] != 0:
        at = put_time(out, at, 0x3A, cells[ENDED])
    if fields >> F_EVENT_COUNT & 1:
        put_byte(out, at, 0x40)
        at = put_varint(out, at + 1, cells[EVENTS])
    if fields >> F_CHANNEL & 1 and cells[CHANNEL_TIME] != 0:
        at = put_pooled(out, at, 0x4A, pool, arena, cells[CHANNEL])
    if fields >> F_ALIAS_IDS & 1:
        at = _put_aliases(out, at, cells, pool, arena)
    if fields >> F_ATTRIBUTES & 1:
        put_byte(out, at, 0x5A)
        start = at + 1
        end = put_attributes(
            out,
            start + LENGTH_BYTES,
            cells,
            buffers.written,
            pool,
            arena,
            program,
            chosen,
            all_written,
            written_ids,
        )
        at = close_message(out, start, end)
    if fields >> F_ETAG & 1:
        put_byte(out, at, 0x62)
        put_byte(out, at + 1, 16)
        at = put_hex(out, at + 2, cells[VERSION])
    if fields >> F_VISIT_NUMBER & 1:
        put_byte(out, at, 0x68)
        at = put_varint(out, at + 1, cells[VISIT])
    if fields >> F_LATE_EVENT_COUNT & 1 and cells[LATE] != 0:
        put_byte(out, at, 0x70)
        at = put_varint(out, at + 1, cells[LATE])
    return at


@njit(cache=True, nogil=True)
def _put_aliases(out, at, cells, pool, arena):  # type: ignore[no-untyped-def]
    for i in range(ALIAS_COUNT_MAX):
        low = cells[ALIASES + 2 * i]
        high = cells[ALIASES + 2 * i + 1]
        if low != 0 and high != 0:
            at = put_session_id(out, at, 0x52, low, high)
        elif low != 0:
            at = put_pooled(out, at, 0x52, pool, arena, low)
    return at
