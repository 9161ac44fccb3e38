"""Turns the bytes of a request into records: what the service and the engine use of the scan kernels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from rte_server.engine import wire_layout as layout
from rte_server.engine.json_form import JSON_TAG, convert_json
from rte_server.engine.reasons import VALUE_CHARS_MAX, EngineError, Reason
from rte_server.engine.scan import count_events, scan
from rte_server.engine.wire_layout import (
    ALIAS_LEN,
    ALIAS_OFF,
    CHANNEL_LEN,
    CHANNEL_OFF,
    CUSTOMER_LEN,
    CUSTOMER_OFF,
    ENVELOPE_WORDS,
    EVENT_ID_HASH,
    EVENT_LEN,
    EVENT_OFF,
    FIELD,
    KEY_HI,
    KEY_LO,
    NAME_ID,
    NAME_LEN,
    NAME_OFF,
    ORDER,
    PROPERTIES_LEN,
    PROPERTIES_OFF,
    RECORD_WORDS,
    TIME_MS,
    VERDICT,
    VISITOR_LEN,
    VISITOR_OFF,
)

__all__ = [
    "ALIAS_LEN",
    "ALIAS_OFF",
    "CHANNEL_LEN",
    "CHANNEL_OFF",
    "CUSTOMER_LEN",
    "CUSTOMER_OFF",
    "ENVELOPE_WORDS",
    "EVENT_ID_HASH",
    "EVENT_LEN",
    "EVENT_OFF",
    "FIELD",
    "KEY_HI",
    "KEY_LO",
    "NAME_ID",
    "NAME_LEN",
    "NAME_OFF",
    "ORDER",
    "PROPERTIES_LEN",
    "PROPERTIES_OFF",
    "RECORD_WORDS",
    "TIME_MS",
    "VERDICT",
    "VISITOR_LEN",
    "VISITOR_OFF",
    "Limits",
    "ScannedRequest",
    "count_events",
    "scan",
    "scan_request",
]

_NO_LIMIT = 1 << 61


@dataclass(frozen=True, slots=True)
class Limits:
    """What a request may be at most. Times and sizes are integers in the unit of the name."""

    batch_events_max: int = 5000
    """Events of a request, 1 to 1,000,000."""
    event_bytes_max: int = 65536
    """Bytes of one event on the wire."""
    event_properties_max: int = 100
    """Members of the properties of one event."""
    property_depth_max: int = 8
    """Levels of the properties, the properties themselves being the first."""
    string_bytes_max: int = 1024
    """Bytes of one key or string in the properties."""
    event_future_ms_max: int = 300_000
    """How far ahead of the server's clock an event may be."""
    event_time_ms_min: int = 631_152_000_000
    """The earliest event time: 1990-01-01."""
    skew_ms_min: int = 10_000
    """A difference between `sent_time` and the server's clock up to here is not corrected. This is a rule and no
    limit: a journal must be folded with the value with which it was written."""

    UNLIMITED: ClassVar[Limits]
    """For entries of the journal, which have been checked: refuses only what is malformed."""

    def unlimited(self) -> Limits:
        """Return these rules without the limits, to read again what has been accepted under them."""
        return replace(
            self,
            batch_events_max=_NO_LIMIT,
            event_bytes_max=_NO_LIMIT,
            event_properties_max=_NO_LIMIT,
            property_depth_max=_NO_LIMIT,
            string_bytes_max=_NO_LIMIT,
            event_future_ms_max=_NO_LIMIT,
            event_time_ms_min=-_NO_LIMIT,
        )

    def as_array(self) -> NDArray[np.int64]:
        """Return int64[LIMIT_WORDS] for the kernels."""
        words = np.zeros(layout.LIMIT_WORDS, np.int64)
        words[layout.BATCH_EVENTS_MAX] = self.batch_events_max
        words[layout.EVENT_BYTES_MAX] = self.event_bytes_max
        words[layout.PROPERTIES_MAX] = self.event_properties_max
        words[layout.DEPTH_MAX] = self.property_depth_max
        words[layout.STRING_BYTES_MAX] = self.string_bytes_max
        words[layout.FUTURE_MS_MAX] = self.event_future_ms_max
        words[layout.TIME_MS_MIN] = self.event_time_ms_min
        words[layout.SKEW_MS_MIN] = self.skew_ms_min
        # An entry of the journal may be without events; a request may not.
        words[layout.EVENTS_REQUIRED] = self.batch_events_max < _NO_LIMIT
        return words


Limits.UNLIMITED = Limits().unlimited()


@dataclass(frozen=True, slots=True)
class ScannedRequest:
    """A request that has been checked.

    Attributes:
        body: The request as wire bytes; for a request that came as JSON, what it was turned into.
        buf: The same bytes, uint8[:], read-only.
        records: int64[events, RECORD_WORDS], one per event, refused ones included; none if there is an `error`.
        envelope: int64[ENVELOPE_WORDS].
        received_ms: When the server received it.
        limits: What it was checked against.
        source: The bytes that came in; differs from `body` for JSON. Names of JSON members lie in it.
    """

    body: bytes
    buf: NDArray[np.uint8]
    records: NDArray[np.int64]
    envelope: NDArray[np.int64]
    received_ms: int
    limits: Limits
    source: bytes

    @property
    def error(self) -> EngineError | None:
        """Return why the whole request is refused, or None."""
        return _request_error(self) if self.envelope[layout.REASON] else None

    @property
    def event_count(self) -> int:
        """Return the number of events, refused ones included."""
        return int(self.envelope[layout.EVENT_COUNT])

    @property
    def rejected_count(self) -> int:
        """Return the number of refused events."""
        return int(self.envelope[layout.REJECTED_COUNT])

    @property
    def accepted(self) -> NDArray[np.int64]:
        """Return the records of the accepted events, in their order."""
        if self.rejected_count == 0:
            return self.records
        records: NDArray[np.int64] = self.records[self.records[:, layout.VERDICT] == 0]
        return records

    @property
    def request_id(self) -> str:
        """Return the `request_id`, or an empty string."""
        off = int(self.envelope[layout.REQUEST_ID_OFF])
        return self.body[off : off + int(self.envelope[layout.REQUEST_ID_LEN])].decode()

    @property
    def waits_for_applied(self) -> bool:
        """Return whether the answer waits until the events are in the state."""
        return int(self.envelope[layout.WAIT]) == layout.WAIT_APPLIED

    @property
    def returns_sessions(self) -> bool:
        """Return whether the answer holds the sessions."""
        return bool(self.envelope[layout.RETURN_SESSIONS])

    def accepted_body(self) -> bytes:
        """Return the request's wire bytes without its refused events: what the journal stores."""
        if self.rejected_count == 0:
            return self.body
        parts: list[bytes] = []
        pos = 0
        for record in self.records[self.records[:, layout.VERDICT] != 0].tolist():
            parts.append(self.body[pos : record[layout.CUT_OFF]])
            pos = record[layout.EVENT_OFF] + record[layout.EVENT_LEN]
        parts.append(self.body[pos:])
        return b"".join(parts)

    def verdicts(self, limit: int) -> list[tuple[int, Reason, str, str]]:
        """Return (index, reason, field, message) of the first `limit` refused events."""
        indexes = np.flatnonzero(self.records[:, layout.VERDICT])[:limit].tolist()
        return [(index, *_explain(self, index, self.records[index].tolist())) for index in indexes]


def scan_request(body: bytes, received_ms: int, secret: NDArray[np.uint64], limits: Limits) -> ScannedRequest:
    """Check a request, in wire bytes or in the JSON form that begins with the tag of field 15; see json_form.

    Args:
        body: The request.
        received_ms: When the server received it, milliseconds since 1970.
        secret: uint64[4], see `native.secret_from_bytes`.
        limits: What to check against.

    Returns:
        The request; its `error` says whether it is refused as a whole. Nothing is raised for any bytes.
    """
    source = body
    refused: NDArray[np.int64] | None = None
    envelope = np.zeros(ENVELOPE_WORDS, np.int64)
    if body[:1] == JSON_TAG:
        body, refused = convert_json(body, limits.batch_events_max, envelope)
    buf = np.frombuffer(body, np.uint8)
    records = np.empty((0, RECORD_WORDS), np.int64)
    if not envelope[layout.REASON]:
        count = int(count_events(buf))
        if count < 0:
            envelope[layout.REASON] = Reason.MALFORMED
        elif count > limits.batch_events_max:
            envelope[layout.REASON] = Reason.BATCH_TOO_LARGE
            envelope[layout.ERROR_FIELD] = layout.EVENTS
            envelope[layout.VALUE] = count
            envelope[layout.LIMIT] = limits.batch_events_max
        else:
            records = np.empty((count, RECORD_WORDS), np.int64)
            scan(buf, received_ms, secret, limits.as_array(), records, envelope)
    if envelope[layout.REASON]:
        records = np.empty((0, RECORD_WORDS), np.int64)
    elif refused is not None:
        # An event that is no event in JSON stands as an empty one in the wire bytes, which the scan has refused.
        for index, reason, field, off, length in refused.tolist():
            records[index, layout.VERDICT] = reason
            records[index, layout.FIELD] = field
            records[index, layout.DETAIL_OFF] = off
            records[index, layout.DETAIL_LEN] = length
    return ScannedRequest(body, buf, records, envelope, received_ms, limits, source)


def _text(buf: bytes, off: int, length: int) -> str:
    """Return a text of the request, cut to 64 characters."""
    text = buf[off : off + min(length, 4 * VALUE_CHARS_MAX)].decode(errors="replace")
    return text if len(text) <= VALUE_CHARS_MAX else text[:VALUE_CHARS_MAX] + "..."


def _time_text(time_ms: int) -> str:
    """Return a time as RFC 3339."""
    return f"{np.datetime64(time_ms, 'ms')}Z"


def _request_error(request: ScannedRequest) -> EngineError:
    """Return the error of a request that is refused as a whole."""
    words = request.envelope.tolist()
    reason, value, limit = Reason(words[layout.REASON]), words[layout.VALUE], words[layout.LIMIT]
    field = known = layout.FIELD_NAMES[words[layout.ERROR_FIELD]]
    if words[layout.ERROR_LEN]:
        field = _text(request.source, words[layout.ERROR_OFF], words[layout.ERROR_LEN])
    if reason == Reason.MALFORMED:
        return EngineError(reason, "the request is no valid protobuf message, or a string in it is no valid UTF-8")
    if reason == Reason.UNKNOWN_FIELD:
        return EngineError(reason, f'"{field}" is no field of IngestEventsRequest', field=field)
    if reason == Reason.WRONG_TYPE:
        return EngineError(reason, f"{field} must be {_TYPES[known]}", field=field)
    if reason == Reason.BATCH_TOO_LARGE:
        message = f"the request holds {value:,} events, the limit is {limit:,}: send smaller batches"
        return EngineError(reason, message, field=field, value=str(value), limit=str(limit))
    if reason == Reason.FIELD_MISSING:
        return EngineError(reason, "events is required: a request holds at least one event", field=field)
    if reason == Reason.STRING_TOO_LONG:
        message = f"{field} has {value:,} bytes, the limit is {limit}"
        return EngineError(reason, message, field=field, value=str(value), limit=str(limit))
    if field == "return_sessions":
        return EngineError(reason, "return_sessions needs wait APPLIED", field=field, value="true")
    if field == "wait":
        return EngineError(
            reason, f"wait is {value}, it must be WAIT_DURABLE or WAIT_APPLIED", field=field, value=str(value)
        )
    message = "sent_time is no time: seconds go from the year 1 to 9999, nanos from 0 to 999,999,999"
    return EngineError(reason, message, field=field, value=str(value))


_TYPES = {
    "request_id": "a string",
    "events": "a list of events",
    "sent_time": "an RFC 3339 time",
    "wait": "WAIT_DURABLE or WAIT_APPLIED",
    "return_sessions": "true or false",
    "event_time": "an RFC 3339 time",
    "properties": "an object",
}


def _explain(request: ScannedRequest, index: int, record: list[int]) -> tuple[Reason, str, str]:
    """Return reason, field and message of a refused event."""
    reason, value, limits = Reason(record[layout.VERDICT]), record[layout.OFFENDING], request.limits
    code = record[layout.FIELD]
    name = layout.FIELD_NAMES[code]
    if reason in (Reason.UNKNOWN_FIELD, Reason.WRONG_TYPE):
        return _explain_member(request, index, reason, record)
    text = _text(request.body, record[layout.DETAIL_OFF], record[layout.DETAIL_LEN])
    if reason == Reason.MALFORMED:
        return reason, name, f"events[{index}] is no valid protobuf message, or a string in it is no valid UTF-8"
    if reason == Reason.EVENT_TOO_LARGE:
        return reason, "", f"the event has {value:,} bytes, the limit is {limits.event_bytes_max:,}"
    if code == layout.PROPERTIES:
        return _explain_property(limits, reason, value, text)
    if reason == Reason.FIELD_MISSING:
        return reason, name, f"{name} is required, 1 to {_bytes_max(code)} bytes"
    if reason == Reason.STRING_TOO_LONG:
        return reason, name, f'{name} "{text}" has {value:,} bytes, the limit is {_bytes_max(code)}'
    if reason == Reason.OUT_OF_RANGE:
        return reason, name, f"event_time has {value} nanos, they go from 0 to 999,999,999"
    if value < limits.event_time_ms_min:
        return reason, name, f"event_time {_time_text(value)} lies before {_time_text(limits.event_time_ms_min)}"
    ahead = f"more than {limits.event_future_ms_max:,} ms ahead of the server's clock"
    return reason, name, f"event_time {_time_text(value)} is {ahead}, {_time_text(request.received_ms)}"


def _explain_property(limits: Limits, reason: Reason, value: int, key: str) -> tuple[Reason, str, str]:
    """Return reason, field and message for an event whose properties are refused."""
    field = f"properties.{key}"
    if reason == Reason.TOO_MANY_PROPERTIES:
        return reason, "properties", f"the event has {value} properties, the limit is {limits.event_properties_max}"
    if reason == Reason.TOO_DEEP:
        return reason, field, f"{field} is nested deeper than {limits.property_depth_max} levels"
    if reason == Reason.STRING_TOO_LONG:
        return (
            reason,
            field,
            f"a key or string of {field} has {value:,} bytes, the limit is {limits.string_bytes_max:,}",
        )
    return reason, field, f"{field} holds a number that is NaN or infinite; numbers must be finite"


def _explain_member(request: ScannedRequest, index: int, reason: Reason, record: list[int]) -> tuple[Reason, str, str]:
    """Return reason, field and message for an event with a wrong JSON member."""
    member = _text(request.source, record[layout.DETAIL_OFF], record[layout.DETAIL_LEN])
    if not member:
        return reason, "", f"events[{index}] must be an object"
    if reason == Reason.UNKNOWN_FIELD:
        return reason, member, f'"events[{index}].{member}" is no field of an event'
    wanted = _TYPES.get(layout.FIELD_NAMES[record[layout.FIELD]], "a string")
    return reason, member, f"events[{index}].{member} must be {wanted}"


def _bytes_max(field: int) -> int:
    return int(layout.NAME_BYTES_MAX if field in {layout.NAME, layout.CHANNEL} else layout.ID_BYTES_MAX)
