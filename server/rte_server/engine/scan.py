"""The scan kernels: one walk over the wire bytes of an `IngestEventsRequest` that checks everything there is to check.

Per event a record of `RECORD_WORDS` int64 comes out: a verdict, where its parts lie in the buffer, its time, the hash
of its visitor and of its id, its order. Nothing is copied and no Python object is made. The bytes come from anybody:
every length is checked against what remains before it is used, and what is refused is what the official parser
refuses, with three deviations that keep "the bytes mean what the parser says" simple for all later readers: a
submessage that occurs twice where the parser would merge (`event_time`, `properties`, `sent_time`, the value of a
property, a struct or list within one value) is refused as MALFORMED.
"""

from __future__ import annotations

import numpy as np

from rte_server.engine.event_order import order_in_request, order_of_id, order_without_id
from rte_server.engine.kernel import inner, kernel
from rte_server.engine.native import (
    put_word,
    span_of,
    span_siphash13_64,
    span_siphash24_128,
    span_string_id,
    word_at,
)
from rte_server.engine.properties import (
    NO_RANK,
    NOT_FINITE_RANK,
    TOO_LONG_RANK,
    TOO_MANY_RANK,
    key_of,
    walk_properties,
)
from rte_server.engine.wire_format import (
    LENGTH,
    as_int32,
    is_utf8,
    read_length,
    read_tag,
    read_timestamp,
    read_varint,
    skip_field,
)
from rte_server.engine.wire_layout import (
    ALIAS_OFF,
    BATCH_EVENTS_MAX,
    BATCH_TOO_LARGE,
    CHANNEL,
    CHANNEL_OFF,
    CLIENT_SESSION_ID,
    CUSTOMER_ID,
    CUSTOMER_OFF,
    CUT_OFF,
    DETAIL_LEN,
    DETAIL_OFF,
    ENVELOPE_WORDS,
    ERROR_FIELD,
    EVENT_BYTES_MAX,
    EVENT_COUNT,
    EVENT_ID,
    EVENT_ID_HASH,
    EVENT_LEN,
    EVENT_OFF,
    EVENT_TIME,
    EVENT_TIME_OUT_OF_RANGE,
    EVENT_TOO_LARGE,
    EVENTS,
    EVENTS_REQUIRED,
    FIELD,
    FIELD_MISSING,
    FUTURE_MS_MAX,
    ID_BYTES_MAX,
    KEY_HI,
    KEY_LO,
    LIMIT,
    MALFORMED,
    NAME,
    NAME_BYTES_MAX,
    NAME_ID,
    NAME_OFF,
    NESTING_MAX,
    NONE,
    OFFENDING,
    ORDER,
    OUT_OF_RANGE,
    PROPERTIES,
    PROPERTIES_OFF,
    REASON,
    RECORD_WORDS,
    REJECTED_COUNT,
    REQUEST_ID,
    REQUEST_ID_HASH,
    REQUEST_ID_LEN,
    REQUEST_ID_OFF,
    RETURN_SESSIONS,
    RETURN_SESSIONS_FIELD,
    SCRATCH_WORDS,
    SECONDS_MAX,
    SECONDS_MIN,
    SENT_MS,
    SENT_TIME,
    SKEW_MS_MIN,
    STACK,
    STRING_TOO_LONG,
    TIME_MS,
    TIME_MS_MIN,
    TOO_DEEP,
    TOO_MANY_PROPERTIES,
    VALUE,
    VERDICT,
    VISITOR_ID,
    VISITOR_OFF,
    WAIT,
    WAIT_APPLIED,
    WAIT_FIELD,
)

_NO_TIME = -(1 << 63)

_EVENT_TAG = 2 << 3 | LENGTH
_SENT_TIME_TAG = 3 << 3 | LENGTH
_WAIT_TAG = 4 << 3
_RETURN_SESSIONS_TAG = 5 << 3


@kernel
def count_events(buf):  # type: ignore[no-untyped-def]
    """Return the number of events in the request `buf` (uint8[:]), or -1 if its outermost level is malformed."""
    span = span_of(buf)
    end = np.int64(span[1])
    pos = np.int64(0)
    count = np.int64(0)
    while pos < end:
        tag, pos = read_tag(span, pos, end)
        if pos >= 0:
            pos = skip_field(span, pos, end, tag, NESTING_MAX)
        if pos < 0:
            return np.int64(-1)
        if tag == _EVENT_TAG:
            count += 1
    return count


@kernel
def scan(buf, received_ms, secret, limits, records, envelope):  # type: ignore[no-untyped-def]
    """Check a request and write one record per event.

    Args:
        buf: uint8[:], the wire bytes.
        received_ms: When the server received them, milliseconds since 1970.
        secret: uint64[4], see `native.secret_from_bytes`.
        limits: int64[LIMIT_WORDS].
        records: int64[count_events(buf), RECORD_WORDS], written.
        envelope: int64[ENVELOPE_WORDS], written. When REASON is not 0, the records mean nothing.
    """
    scratch = np.zeros(SCRATCH_WORDS, np.int64)
    span = span_of(buf)
    rows = span_of(records)
    words = span_of(envelope)
    keys = (secret[0], secret[1], secret[2], secret[3])
    for i in range(ENVELOPE_WORDS):
        put_word(words, i, 0)
    put_word(words, EVENT_COUNT, records.shape[0])
    sound = _scan_request(span, span_of(scratch), span_of(limits), keys, rows, words, received_ms)
    scratch[0] = 0  # Numba frees an array after its last mention, and the span does not count as one.
    if not sound:
        put_word(words, REASON, MALFORMED)
        return
    _check_envelope(span, span_of(limits), keys, words)
    if word_at(words, REASON) == 0:
        _finish_times(received_ms, span_of(limits), rows, words)


@inner
def _scan_request(span, scratch, limits, keys, rows, words, received_ms):  # type: ignore[no-untyped-def]
    """Walk over the outermost level. Return False if it is malformed."""
    end = np.int64(span[1])
    pos = np.int64(0)
    base = np.int64(0)
    while pos < end:
        start = pos
        tag, pos = read_tag(span, pos, end)
        if pos < 0:
            return False
        if tag & 7 == LENGTH and tag <= _SENT_TIME_TAG:
            length, pos = read_length(span, pos, end)
            if pos < 0:
                return False
            if tag == _EVENT_TAG:
                if base + RECORD_WORDS > rows[1]:
                    return False
                _scan_event(span, start, pos, length, scratch, limits, keys, rows, base, received_ms)
                base += RECORD_WORDS
            elif tag == _SENT_TIME_TAG:
                if not _read_sent_time(span, pos, pos + length, words):
                    return False
            else:
                if not is_utf8(span, pos, length):
                    return False
                put_word(words, REQUEST_ID_OFF, pos)
                put_word(words, REQUEST_ID_LEN, length)
            pos += length
        elif tag == _WAIT_TAG or tag == _RETURN_SESSIONS_TAG:
            value, pos = read_varint(span, pos, end, 10)
            if tag == _WAIT_TAG:
                put_word(words, WAIT, as_int32(value))
            else:
                put_word(words, RETURN_SESSIONS, 1 if value != 0 else 0)
        else:
            pos = skip_field(span, pos, end, tag, NESTING_MAX)
        if pos < 0:
            return False
    return base == rows[1]


@inner
def _read_sent_time(span, pos, end, words):  # type: ignore[no-untyped-def]
    """Take `sent_time`. Return False if it is malformed or a second one."""
    seconds, nanos, pos = read_timestamp(span, pos, end, NESTING_MAX - 1)
    if pos < 0 or word_at(words, SENT_MS) != 0 or word_at(words, ERROR_FIELD) == SENT_TIME:
        return False
    if seconds < SECONDS_MIN or seconds > SECONDS_MAX or nanos < 0 or nanos > 999_999_999:
        put_word(words, ERROR_FIELD, SENT_TIME)
        put_word(words, VALUE, seconds)
        return True
    # 0 means absent; a sender that says 1970-01-01T00:00:00.000Z sharp is a millisecond off.
    sent_ms = seconds * 1000 + nanos // 1_000_000
    put_word(words, SENT_MS, sent_ms if sent_ms != 0 else 1)
    return True


@inner
def _check_envelope(span, limits, keys, words):  # type: ignore[no-untyped-def]
    """Check what concerns the whole request: the first offence becomes REASON."""
    length = word_at(words, REQUEST_ID_LEN)
    if word_at(words, ERROR_FIELD) == SENT_TIME:
        put_word(words, REASON, OUT_OF_RANGE)
    elif length > ID_BYTES_MAX:
        _refuse_request(words, STRING_TOO_LONG, REQUEST_ID, length, ID_BYTES_MAX)
    elif word_at(words, EVENT_COUNT) == 0 and word_at(limits, EVENTS_REQUIRED) != 0:
        _refuse_request(words, FIELD_MISSING, EVENTS, NONE, NONE)
    elif word_at(words, EVENT_COUNT) > word_at(limits, BATCH_EVENTS_MAX):
        count, limit = word_at(words, EVENT_COUNT), word_at(limits, BATCH_EVENTS_MAX)
        _refuse_request(words, BATCH_TOO_LARGE, EVENTS, count, limit)
    elif word_at(words, WAIT) < 0 or word_at(words, WAIT) > WAIT_APPLIED:
        _refuse_request(words, OUT_OF_RANGE, WAIT_FIELD, word_at(words, WAIT), WAIT_APPLIED)
    elif word_at(words, RETURN_SESSIONS) != 0 and word_at(words, WAIT) != WAIT_APPLIED:
        _refuse_request(words, OUT_OF_RANGE, RETURN_SESSIONS_FIELD, NONE, NONE)
    elif length > 0:
        found = np.int64(span_siphash13_64(span, word_at(words, REQUEST_ID_OFF), length, keys[0], keys[1]))
        put_word(words, REQUEST_ID_HASH, found if found != 0 else 1)


@inner
def _refuse_request(words, reason, field, value, limit):  # type: ignore[no-untyped-def]
    put_word(words, REASON, reason)
    put_word(words, ERROR_FIELD, field)
    put_word(words, VALUE, value)
    put_word(words, LIMIT, limit)


@inner
def _finish_times(received_ms, limits, rows, words):  # type: ignore[no-untyped-def]
    """Correct the times for skew and check them: `sent_time` may stand behind the events. Count what is refused.

    Events without an id get their place in the request: it is known only now what is refused.
    """
    skew = np.int64(0)
    if word_at(words, SENT_MS) != 0:
        skew = received_ms - word_at(words, SENT_MS)
        if abs(skew) <= word_at(limits, SKEW_MS_MIN):
            skew = np.int64(0)
    time_min = word_at(limits, TIME_MS_MIN)
    time_max = received_ms + word_at(limits, FUTURE_MS_MAX)
    rejected = 0
    place = np.int64(0)
    for base in range(0, rows[1], RECORD_WORDS):
        time_ms = word_at(rows, base + TIME_MS)
        verdict = word_at(rows, base + VERDICT)
        if time_ms == _NO_TIME:
            put_word(rows, base + TIME_MS, received_ms)
        else:
            time_ms += skew
            put_word(rows, base + TIME_MS, time_ms)
            # What is wrong with the properties comes after what is wrong with the time.
            checked = verdict == 0 or word_at(rows, base + FIELD) == PROPERTIES
            if checked and (time_ms < time_min or time_ms > time_max):
                cut = word_at(rows, base + (DETAIL_OFF if verdict == 0 else CUT_OFF))
                verdict = EVENT_TIME_OUT_OF_RANGE
                _refuse_event(rows, base, cut, verdict, EVENT_TIME, NONE, NONE, time_ms)
        if verdict != 0:
            rejected += 1
            # Refused events are no part of the entry, so they do not count for the places in it. An empty one in an entry
            # stands where an event was that has been erased, so that those after it keep their places.
            place += word_at(limits, EVENTS_REQUIRED) == 0 and word_at(rows, base + EVENT_LEN) == 0
            continue
        if word_at(rows, base + EVENT_ID_HASH) == 0:
            put_word(rows, base + ORDER, order_in_request(word_at(rows, base + ORDER), place))
        place += 1
    put_word(words, REJECTED_COUNT, rejected)


@inner
def _refuse_event(rows, base, cut, reason, field, detail_off, detail_len, value):  # type: ignore[no-untyped-def]
    put_word(rows, base + VERDICT, reason)
    put_word(rows, base + FIELD, field)
    put_word(rows, base + DETAIL_OFF, detail_off)
    put_word(rows, base + DETAIL_LEN, detail_len)
    put_word(rows, base + CUT_OFF, cut)
    put_word(rows, base + OFFENDING, value)


@inner(forceinline=True)
def _scan_event(span, start, pos, length, scratch, limits, keys, rows, base, received_ms):  # type: ignore[no-untyped-def]
    """Write the record of the event at `pos`, whose tag begins at `start`."""
    put_word(rows, base + EVENT_OFF, pos)
    put_word(rows, base + EVENT_LEN, length)
    put_word(rows, base + TIME_MS, _NO_TIME)
    if length > word_at(limits, EVENT_BYTES_MAX):
        _refuse_event(rows, base, start, EVENT_TOO_LARGE, NONE, NONE, NONE, length)
        return
    if not _split_event(span, pos, pos + length, scratch):
        _refuse_event(rows, base, start, MALFORMED, NONE, NONE, NONE, NONE)
        return
    begin, end = _part(scratch, EVENT_TIME)
    seconds, nanos, after = read_timestamp(span, begin, end, NESTING_MAX - 2)
    begin, end = _part(scratch, PROPERTIES)
    rank, offending, entry_off, entry_end = walk_properties(span, begin, end, scratch, limits)
    if after < 0 or rank < 0:
        _refuse_event(rows, base, start, MALFORMED, EVENT_TIME if after < 0 else PROPERTIES, NONE, NONE, NONE)
        return
    put_word(rows, base + VERDICT, 0)
    put_word(rows, base + FIELD, 0)
    put_word(rows, base + DETAIL_OFF, start)
    put_word(rows, base + DETAIL_LEN, 0)
    if not _check_strings(scratch, start, rows, base):
        return
    if word_at(scratch, 2 * EVENT_TIME) != 0:
        if nanos < 0 or nanos > 999_999_999:
            _refuse_event(rows, base, start, OUT_OF_RANGE, EVENT_TIME, NONE, NONE, nanos)
            return
        seconds = min(max(seconds, SECONDS_MIN - 1), SECONDS_MAX + 1)
        put_word(rows, base + TIME_MS, seconds * 1000 + nanos // 1_000_000)
    if rank < NO_RANK:
        reason = TOO_MANY_PROPERTIES if rank == TOO_MANY_RANK else TOO_DEEP
        reason = STRING_TOO_LONG if rank == TOO_LONG_RANK else reason
        reason = OUT_OF_RANGE if rank == NOT_FINITE_RANK else reason
        key_off, key_len = key_of(span, entry_off, entry_end)
        _refuse_event(rows, base, start, reason, PROPERTIES, key_off, key_len, offending)
        return
    _write_record(span, pos, length, scratch, keys, rows, base, received_ms)


@inner
def _part(scratch, field):  # type: ignore[no-untyped-def]
    """Return where a field of the event begins and ends."""
    off = word_at(scratch, 2 * field)
    return off, off + word_at(scratch, 2 * field + 1)


@inner(forceinline=True)
def _split_event(span, pos, end, scratch):  # type: ignore[no-untyped-def]
    """Write offset and length of each field of the event at `pos` into scratch. Return False if it is malformed."""
    for i in range(STACK):
        put_word(scratch, i, 0)
    while pos < end:
        tag, pos = read_tag(span, pos, end)
        if pos < 0:
            return False
        field = tag >> 3
        if tag & 7 != LENGTH or field > PROPERTIES:
            pos = skip_field(span, pos, end, tag, NESTING_MAX - 1)
            if pos < 0:
                return False
            continue
        length, pos = read_length(span, pos, end)
        if pos < 0:
            return False
        if field == EVENT_TIME or field == PROPERTIES:
            # Offset 0 means absent: the tag of the event stands before.
            if word_at(scratch, 2 * field) != 0:
                return False
        elif not is_utf8(span, pos, length):
            return False
        put_word(scratch, 2 * field, pos)
        put_word(scratch, 2 * field + 1, length)
        pos += length
    return True


_CHECKED = (NAME, VISITOR_ID, EVENT_ID, CUSTOMER_ID, CLIENT_SESSION_ID, CHANNEL)


@inner
def _check_strings(scratch, start, rows, base):  # type: ignore[no-untyped-def]
    """Check the lengths of the event's own strings. Return False if the event is refused."""
    for i in range(len(_CHECKED)):
        field = _CHECKED[i]
        length = word_at(scratch, 2 * field + 1)
        limit = NAME_BYTES_MAX if field == NAME or field == CHANNEL else ID_BYTES_MAX
        if length > limit:
            off = word_at(scratch, 2 * field)
            _refuse_event(rows, base, start, STRING_TOO_LONG, field, off, length, length)
            return False
        if length == 0 and i < 2:
            _refuse_event(rows, base, start, FIELD_MISSING, field, NONE, NONE, NONE)
            return False
    return True


@inner(forceinline=True)
def _write_record(span, pos, length, scratch, keys, rows, base, received_ms):  # type: ignore[no-untyped-def]
    """Write the part of the record that only an accepted event has."""
    visitor_off, visitor_len = word_at(scratch, 2 * VISITOR_ID), word_at(scratch, 2 * VISITOR_ID + 1)
    key_lo, key_hi = span_siphash24_128(span, visitor_off, visitor_len, keys[0], keys[1])
    put_word(rows, base + KEY_LO, key_lo)
    put_word(rows, base + KEY_HI, key_hi)
    _copy_part(scratch, NAME, rows, base + NAME_OFF)
    _copy_part(scratch, VISITOR_ID, rows, base + VISITOR_OFF)
    _copy_part(scratch, CUSTOMER_ID, rows, base + CUSTOMER_OFF)
    _copy_part(scratch, CLIENT_SESSION_ID, rows, base + ALIAS_OFF)
    _copy_part(scratch, CHANNEL, rows, base + CHANNEL_OFF)
    _copy_part(scratch, PROPERTIES, rows, base + PROPERTIES_OFF)
    name_off, name_len = word_at(scratch, 2 * NAME), word_at(scratch, 2 * NAME + 1)
    put_word(rows, base + NAME_ID, span_string_id(span, name_off, name_len, keys[2], keys[3]))
    id_off, id_len = word_at(scratch, 2 * EVENT_ID), word_at(scratch, 2 * EVENT_ID + 1)
    if id_len == 0:
        put_word(rows, base + EVENT_ID_HASH, 0)
        put_word(rows, base + ORDER, order_without_id(span_siphash13_64(span, pos, length, keys[2], keys[3])))
        return
    # The visitor's key is part of the key: equal ids of two visitors have nothing to do with one another.
    k0, k1 = keys[2] ^ np.uint64(key_lo), keys[3] ^ np.uint64(key_hi)
    found = span_siphash13_64(span, id_off, id_len, k0, k1)
    put_word(rows, base + EVENT_ID_HASH, np.int64(found) if found != np.uint64(0) else np.int64(1))
    time_ms = word_at(rows, base + TIME_MS)
    time_ms = received_ms if time_ms == _NO_TIME else time_ms
    put_word(rows, base + ORDER, order_of_id(span, id_off, id_len, found, time_ms))


@inner
def _copy_part(scratch, field, rows, column):  # type: ignore[no-untyped-def]
    put_word(rows, column, word_at(scratch, 2 * field))
    put_word(rows, column + 1, word_at(scratch, 2 * field + 1))
