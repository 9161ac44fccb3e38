"""Writing rows as serialized `rte.v1.Session` messages: no Python object per attribute.

A row is copied under its version first, so that what is written is one state of the session; the texts that it refers to
are never changed once they are in the pool.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rte_server.engine.annexes import copy_annexes
from rte_server.engine.attributes import TAG_MASK
from rte_server.engine.context import (
    ATTRIBUTES,
    DUE,
    ONLINE_STATE,
    PARAMS,
    POOL_ARENA,
    POOL_COUNTS,
    TEXTS,
    WHOLE_ROW_WORDS,
    WRITTEN_BLOCKS,
    count_of,
    row_cells,
    span_in,
)
from rte_server.engine.kernel import inner, kernel
from rte_server.engine.kind_lists import put_list, shows_list
from rte_server.engine.message_parts import (
    LENGTH_BYTES,
    close_member,
    close_message,
    open_member,
    put_bytes,
    put_hex,
    put_number,
    put_pooled,
    put_session_id,
    put_time,
    put_value,
)
from rte_server.engine.native import (
    acquire_at,
    byte_at,
    fence_acquire,
    put_byte,
    put_word,
    span_of,
    word_at,
)
from rte_server.engine.online_state import CELL_VALUE, O_SHOWN
from rte_server.engine.program import A_AT, A_HEAD, A_HEAD_LEN, A_KEEP, A_KIND, A_NAME, A_NAME_LEN, A_REGISTERS, A_WORDS
from rte_server.engine.row_values import ONLINE, load_input, session_time
from rte_server.engine.scores import (
    REASONS,
    SC_BITS,
    SC_POSITION,
    SC_SESSION,
    SC_SINCE,
    SC_STATUS,
    SC_TIME,
    SCORE,
    SCORE_WORDS,
    SCORED,
    SHADOW,
    read_score,
    score_age_ms,
)
from rte_server.engine.strings import LONGEST, place_in
from rte_server.engine.table import (
    ALIAS_COUNT_MAX,
    ALIASES,
    CHANGED,
    CHANNEL,
    CHANNEL_TIME,
    CUSTOMER,
    CUSTOMER_TIME,
    ENDED,
    EVENTS,
    FREE,
    GENERATION,
    LAST,
    LATE,
    NONE,
    RECEIVED,
    SESSION_HI,
    SESSION_LO,
    START,
    STATE,
    VERSION,
    VERSION_CHANGES,
    VISIT,
    VISITOR,
    WRITTEN,
    WRITTEN_ITEM_WORDS,
    WRITTEN_WORDS,
    written_block,
)

# Bits of `fields`: the fields of rte.v1.Session by number.
ALL_FIELDS = (1 << 16) - 1
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
F_SCORES = 15

READ_TRIES = 10_000
# Numbers of rte.v1.Score.Status.
SCORE_FRESH = np.int64(1)
SCORE_PENDING = np.int64(2)
SCORE_ABSENT = np.int64(3)

TOO_SMALL = np.int64(-2)
"""Returned instead of a size when the message may need more room."""


class ReadBuffers(NamedTuple):
    """Working memory of one reading thread.

    Attributes:
        cells: int64[row_words], copy of the row in one piece.
        written: int64[WRITTEN_WORDS], copy of its written attributes.
        out: uint8[n], the message.
    """

    cells: NDArray[np.int64]
    written: NDArray[np.int64]
    out: NDArray[np.uint8]


def new_read_buffers(context: NDArray[np.int64]) -> ReadBuffers:
    """Return buffers that hold any session of the state that `context` leads to, as its strings are now."""
    return ReadBuffers(
        np.zeros(int(context[WHOLE_ROW_WORDS]), np.int64),
        np.zeros(WRITTEN_WORDS, np.int64),
        np.empty(int(message_bytes_max(context)), np.uint8),
    )


@kernel
def message_bytes_max(context):  # type: ignore[no-untyped-def]
    """Return the bytes that the largest message can have: each word of a row can at most be the longest string."""
    return _message_bytes_max(span_of(context))


@inner
def _message_bytes_max(ctx):  # type: ignore[no-untyped-def]
    words = word_at(ctx, WHOLE_ROW_WORDS) + WRITTEN_WORDS
    longest = word_at(span_in(ctx, POOL_COUNTS), LONGEST)
    # Scores and parts have no words of the row, but members, and scores messages, of their own.
    numbers = span_in(ctx, ATTRIBUTES)[1] // A_WORDS * 96
    return words * (longest + 96) + numbers + span_in(ctx, TEXTS)[1] + 4096


@inner
def copy_row(ctx, row, copy, written):  # type: ignore[no-untyped-def]
    """Copy a row, in one piece, and its written attributes as they are at one moment.

    Args:
        copy: Span of int64[row_words].
        written: Span of int64[WRITTEN_WORDS].

    Returns:
        True if the copy is whole; False if the writer kept changing the row for READ_TRIES tries.
    """
    cells = row_cells(ctx, row)
    blocks = span_in(ctx, WRITTEN_BLOCKS)[1] // WRITTEN_WORDS
    for _ in range(READ_TRIES):
        before = acquire_at(cells, VERSION)
        if before & 1 == 1:
            continue
        for word in range(cells[1]):
            put_word(copy, word, word_at(cells, word))
        copy_annexes(ctx, cells, copy)
        place = word_at(copy, WRITTEN)
        if word_at(copy, STATE) != FREE and place >= 0 and place < blocks:
            block = written_block(ctx, place)
            for word in range(WRITTEN_WORDS):
                put_word(written, word, word_at(block, word))
        fence_acquire()
        if acquire_at(cells, VERSION) == before:
            return True
    return False


@inner
def put_attributes(out, at, ctx, cells, chosen, time_ms):  # type: ignore[no-untyped-def]
    """Write the members of `Session.attributes` that models compute, as they are at a session's time."""
    attributes = span_in(ctx, ATTRIBUTES)
    texts = span_in(ctx, TEXTS)
    params = span_in(ctx, PARAMS)
    for number in range(attributes[1] // A_WORDS):
        if byte_at(chosen, number) == 0:
            continue
        attribute = (attributes[0] + number * A_WORDS * 8, A_WORDS)
        value_at = open_member(out, at, texts, word_at(attribute, A_NAME), word_at(attribute, A_NAME_LEN))
        if shows_list(attribute):
            end = put_list(out, value_at, ctx, cells, attribute, params, time_ms)
        else:
            tag, bits = load_input(ctx, cells, number, time_ms)
            end = put_value(out, value_at, tag, bits, ctx)
        at = close_member(out, at, value_at, end)
    return at


@inner
def put_written(out, at, ctx, written, all_written, written_ids):  # type: ignore[no-untyped-def]
    """Write the members of `Session.attributes` that applications wrote."""
    arena = span_in(ctx, POOL_ARENA)
    for item in range(0, WRITTEN_WORDS, WRITTEN_ITEM_WORDS):
        name = word_at(written, item)
        if name == 0:
            continue
        wanted = all_written
        for i in range(written_ids[1]):
            wanted = wanted or word_at(written_ids, i) == name
        name_at, name_length = place_in(ctx, name)
        if wanted and name_at >= 0:
            value_at = open_member(out, at, arena, name_at, name_length)
            end = put_value(out, value_at, word_at(written, item + 1) & TAG_MASK, word_at(written, item + 3), ctx)
            at = close_member(out, at, value_at, end)
    return at


@kernel
def encode_session(context, now_ms, row, low, high, fields, chosen, all_written, written_ids, copy, block, target):  # type: ignore[no-untyped-def]
    """Write a session into `target`.

    Args:
        context: int64[CONTEXT_WORDS].
        now_ms: The time by the server's clock.
        row: Its row.
        low: Low word of its session id; 0: whatever session has the row.
        high: High word of its session id.
        fields: Bit n is set if field number n of rte.v1.Session is wanted.
        chosen: uint8[attributes], 1 for attributes that are wanted.
        all_written: Whether all written attributes are wanted.
        written_ids: int64[:], string ids of the names of written attributes that are wanted.
        copy: int64[row_words], scratch.
        block: int64[WRITTEN_WORDS], scratch.
        target: uint8[:], room for any session; see `new_read_buffers`.

    Returns:
        Bytes written; 0 if the row is no session's, or another one's; -1 if it kept changing while it was read;
        TOO_SMALL if `target` is.
    """
    ctx = span_of(context)
    if row < 0 or row >= span_in(ctx, DUE)[1]:
        return np.int64(0)
    cells = span_of(copy)
    written = span_of(block)
    if not copy_row(ctx, row, cells, written):
        return np.int64(-1)
    if word_at(cells, STATE) == FREE:
        return np.int64(0)
    if low != 0 and (word_at(cells, SESSION_LO) != low or word_at(cells, SESSION_HI) != high):
        return np.int64(0)
    out = span_of(target)
    # After the copy: the texts that it refers to were in the pool before.
    if out[1] < _message_bytes_max(ctx):
        return np.int64(TOO_SMALL)
    at = put_fields(out, ctx, cells, fields)
    if fields >> F_ATTRIBUTES & 1:
        put_byte(out, at, 0x5A)
        start = at + 1
        end = put_attributes(out, start + LENGTH_BYTES, ctx, cells, span_of(chosen), session_time(cells, now_ms))
        if word_at(cells, WRITTEN) != NONE:
            end = put_written(out, end, ctx, written, all_written, span_of(written_ids))
        at = close_message(out, start, end)
    if fields >> F_SCORES & 1:
        at = put_session_scores(out, at, ctx, cells, now_ms)
    return at


@inner
def put_session_scores(out, at, ctx, cells, now_ms):  # type: ignore[no-untyped-def]
    """Write `Session.scores`: how each score that a runner computes stands."""
    attributes = span_in(ctx, ATTRIBUTES)
    words = np.zeros(SCORE_WORDS, np.int64)
    found = span_of(words)
    for a in range(0, attributes[1], A_WORDS):
        kind = word_at(attributes, a + A_KIND)
        if kind != SCORE and kind != ONLINE:
            continue
        if kind == ONLINE:
            _show_online(ctx, cells, attributes, a, found)
        elif not read_score(ctx, cells, word_at(attributes, a + A_AT), word_at(attributes, a + A_KEEP), found):
            for word in range(SC_SINCE):
                put_word(found, word, 0)
        put_byte(out, at, 0x7A)
        start = at + 1
        end = put_bytes(
            out,
            start + LENGTH_BYTES,
            span_in(ctx, TEXTS),
            word_at(attributes, a + A_HEAD),
            word_at(attributes, a + A_HEAD_LEN),
        )
        at = close_message(out, start, _put_score(out, end, found, cells, now_ms))
    # The memory must live until here: a span does not hold it.
    words[0] = 0
    return at


@inner
def _show_online(ctx, cells, attributes, a, found):  # type: ignore[no-untyped-def]
    """Fill `found` with how an online score stands: it has seen all events, and may be in the shadow."""
    is_shown = word_at(span_in(ctx, ONLINE_STATE), word_at(attributes, a + A_REGISTERS) + O_SHOWN) != 0
    put_word(found, SC_SESSION, word_at(cells, SESSION_LO))
    put_word(found, SC_POSITION, word_at(cells, CHANGED))
    put_word(found, SC_TIME, word_at(cells, RECEIVED))
    put_word(found, SC_STATUS, SCORED if is_shown else REASONS + SHADOW)
    put_word(found, SC_BITS, word_at(cells, word_at(attributes, a + A_AT) + CELL_VALUE))


@inner
def _put_score(out, at, found, cells, now_ms):  # type: ignore[no-untyped-def]
    """Write what changes of a `rte.v1.Score`; returns the place after it."""
    status = word_at(found, SC_STATUS)
    age_ms = score_age_ms(found, cells, now_ms)
    shown = SCORE_ABSENT
    if word_at(found, SC_SESSION) == 0:
        shown = SCORE_PENDING
    elif status == SCORED:
        shown = SCORE_PENDING if age_ms > 0 else SCORE_FRESH
    at = put_number(out, at, 0x20, shown)
    if word_at(found, SC_SESSION) != 0:
        at = put_time(out, at, 0x2A, word_at(found, SC_TIME))
    if age_ms > 0:
        at = put_time(out, at, 0x32, age_ms)
    if shown == SCORE_ABSENT:
        at = put_number(out, at, 0x38, status - REASONS)
    if status == REASONS + SHADOW:
        put_byte(out, at, 0x41)
        for i in range(8):
            put_byte(out, at + 1 + i, (word_at(found, SC_BITS) >> (8 * i)) & 0xFF)
        at += 9
    return at


@inner
def put_fields(out, ctx, cells, fields):  # type: ignore[no-untyped-def]
    """Write the fields of a Session other than its attributes; returns the place after them."""
    at = np.int64(0)
    if fields >> F_SESSION_ID & 1:
        at = put_session_id(out, at, 0x0A, word_at(cells, SESSION_LO), word_at(cells, SESSION_HI))
    if fields >> F_VISITOR_ID & 1:
        at = put_pooled(out, at, 0x12, ctx, word_at(cells, VISITOR))
    if fields >> F_CUSTOMER_ID & 1 and word_at(cells, CUSTOMER_TIME) != 0:
        at = put_pooled(out, at, 0x1A, ctx, word_at(cells, CUSTOMER))
    if fields >> F_STATE & 1:
        at = put_number(out, at, 0x20, word_at(cells, STATE))
    if fields >> F_START_TIME & 1:
        at = put_time(out, at, 0x2A, word_at(cells, START))
    if fields >> F_LAST_EVENT_TIME & 1:
        at = put_time(out, at, 0x32, word_at(cells, LAST))
    if fields >> F_END_TIME & 1 and word_at(cells, ENDED) != 0:
        at = put_time(out, at, 0x3A, word_at(cells, ENDED))
    if fields >> F_EVENT_COUNT & 1:
        at = put_number(out, at, 0x40, word_at(cells, EVENTS))
    if fields >> F_CHANNEL & 1 and word_at(cells, CHANNEL_TIME) != 0:
        at = put_pooled(out, at, 0x4A, ctx, word_at(cells, CHANNEL))
    if fields >> F_ALIAS_IDS & 1:
        at = _put_aliases(out, at, cells, ctx)
    if fields >> F_ETAG & 1:
        put_byte(out, at, 0x62)
        put_byte(out, at + 1, 16)
        version = (word_at(cells, VERSION) & VERSION_CHANGES) + count_of(ctx, GENERATION)
        at = put_hex(out, at + 2, version ^ word_at(cells, SESSION_LO))
    if fields >> F_VISIT_NUMBER & 1:
        at = put_number(out, at, 0x68, word_at(cells, VISIT))
    if fields >> F_LATE_EVENT_COUNT & 1 and word_at(cells, LATE) != 0:
        at = put_number(out, at, 0x70, word_at(cells, LATE))
    return at


@inner
def _put_aliases(out, at, cells, ctx):  # type: ignore[no-untyped-def]
    for i in range(ALIAS_COUNT_MAX):
        low = word_at(cells, ALIASES + 2 * i)
        high = word_at(cells, ALIASES + 2 * i + 1)
        if low != 0 and high != 0:
            at = put_session_id(out, at, 0x52, low, high)
        elif low != 0:
            at = put_pooled(out, at, 0x52, ctx, low)
    return at
