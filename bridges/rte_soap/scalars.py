"""Single values: their XML Schema types, how their texts are read, and how they are written.

A reader takes the text of an element as it stands and returns the value for the field, or raises LexicalError. All
patterns are anchored and linear, and only short texts of digits reach `int`.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from google.protobuf.descriptor import EnumDescriptor, FieldDescriptor

from rte_bridge.problems import Problem, Reason

XML_SPACE = " \t\r\n"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NANOS_PER_S = 1_000_000_000
DURATION_S_MAX = 315_576_000_000
"""The range of `google.protobuf.Duration`: some 10,000 years."""


@dataclass(frozen=True, slots=True)
class Scalar:
    """How a single value looks.

    Attributes:
        xsd: The name of its type in XML Schema, without a prefix.
        read: From text to the value of a field. Raises Problem.
        write: From the value of a field to escaped text.
    """

    xsd: str
    read: Callable[[str], Any]
    write: Callable[[Any], str]


_NOT_PLAIN = re.compile("[&<>\r\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
_ESCAPES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "\r": "&#13;"}


def escape(text: str) -> str:
    """Return text as it stands in an element. Characters that XML cannot hold become U+FFFD."""
    if _NOT_PLAIN.search(text) is None:
        return text
    return _NOT_PLAIN.sub(lambda match: _ESCAPES.get(match.group(), "\ufffd"), text)


def _wrong(kind: str, text: str) -> Problem:
    return Problem(Reason.WRONG_TYPE, f"expected {kind}", value=text)


_INTEGER = re.compile(r"[+-]?[0-9]{1,20}\Z")


def _integer(low: int, high: int) -> Callable[[str], int]:
    limit = f"{low} to {high}"

    def read(text: str) -> int:
        stripped = text.strip(XML_SPACE)
        if not _INTEGER.match(stripped):
            raise _wrong(f"a whole number, {limit}", text)
        value = int(stripped)
        if not low <= value <= high:
            raise Problem(Reason.OUT_OF_RANGE, f"expected a whole number, {limit}", value=text, limit=limit)
        return value

    return read


_FLOAT = re.compile(r"[+-]?(?:[0-9]{1,400}(?:\.[0-9]{0,400})?|\.[0-9]{1,400})(?:[eE][+-]?[0-9]{1,6})?\Z")
_SPECIAL_FLOATS = {"INF": math.inf, "+INF": math.inf, "-INF": -math.inf, "NaN": math.nan}
_FLOAT_MAX = struct.unpack(">f", b"\x7f\x7f\xff\xff")[0]


def _read_double(text: str, limit: float = math.inf) -> float:
    stripped = text.strip(XML_SPACE)
    if stripped in _SPECIAL_FLOATS:
        return _SPECIAL_FLOATS[stripped]
    if not _FLOAT.match(stripped):
        raise _wrong("a number", text)
    value = float(stripped)
    if abs(value) > limit or math.isinf(value):
        raise Problem(Reason.OUT_OF_RANGE, "the number is too large", value=text)
    return value


def _read_float(text: str) -> float:
    return _read_double(text, _FLOAT_MAX)


def _write_double(value: float) -> str:
    if math.isfinite(value):
        return repr(float(value))
    return "NaN" if math.isnan(value) else ("INF" if value > 0 else "-INF")


def _write_float(value: float) -> str:
    if not math.isfinite(value):
        return _write_double(value)
    # The shortest text that a reader of 32 bits takes for the same number; nine digits always do.
    for digits in range(6, 9):
        text = f"{value:.{digits}g}"
        if struct.pack(">f", float(text)) == struct.pack(">f", value):
            return text
    return f"{value:.9g}"


_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}


def _read_bool(text: str) -> bool:
    value = _BOOLEANS.get(text.strip(XML_SPACE))
    if value is None:
        raise _wrong("true or false", text)
    return value


def _write_bool(value: bool) -> str:
    return "true" if value else "false"


def _read_bytes(text: str) -> bytes:
    try:
        return base64.b64decode(re.sub(f"[{XML_SPACE}]+", "", text).encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError):
        raise _wrong("base64", text) from None


def _write_bytes(value: bytes) -> str:
    return base64.b64encode(value).decode("ascii")


_INT32 = Scalar("int", _integer(-(1 << 31), (1 << 31) - 1), str)
_INT64 = Scalar("long", _integer(-(1 << 63), (1 << 63) - 1), str)
_UINT32 = Scalar("unsignedInt", _integer(0, (1 << 32) - 1), str)
_UINT64 = Scalar("unsignedLong", _integer(0, (1 << 64) - 1), str)

BY_TYPE: Mapping[int, Scalar] = {
    FieldDescriptor.TYPE_STRING: Scalar("string", str, escape),
    FieldDescriptor.TYPE_BYTES: Scalar("base64Binary", _read_bytes, _write_bytes),
    FieldDescriptor.TYPE_BOOL: Scalar("boolean", _read_bool, _write_bool),
    FieldDescriptor.TYPE_DOUBLE: Scalar("double", _read_double, _write_double),
    FieldDescriptor.TYPE_FLOAT: Scalar("float", _read_float, _write_float),
    **dict.fromkeys((FieldDescriptor.TYPE_INT32, FieldDescriptor.TYPE_SINT32, FieldDescriptor.TYPE_SFIXED32), _INT32),
    **dict.fromkeys((FieldDescriptor.TYPE_INT64, FieldDescriptor.TYPE_SINT64, FieldDescriptor.TYPE_SFIXED64), _INT64),
    **dict.fromkeys((FieldDescriptor.TYPE_UINT32, FieldDescriptor.TYPE_FIXED32), _UINT32),
    **dict.fromkeys((FieldDescriptor.TYPE_UINT64, FieldDescriptor.TYPE_FIXED64), _UINT64),
}
"""The scalar types of protobuf, by `FieldDescriptor.type`."""


def enum_scalar(enum: EnumDescriptor, xsd: str) -> Scalar:
    """Return how values of an enum look: their names."""
    numbers = {value.name: value.number for value in enum.values}
    names = {value.number: value.name for value in reversed(enum.values)}
    first = enum.values[0].name

    def read(text: str) -> int:
        number = numbers.get(text.strip(XML_SPACE))
        if number is None:
            raise Problem(Reason.WRONG_TYPE, f"expected one of {', '.join(numbers)}", value=text)
        return number

    # A number of a newer server: strict clients would refuse the whole answer for a name outside of the schema.
    return Scalar(xsd, read, lambda number: names.get(number, first))


_TIME = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})T([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]{1,100}))?(Z|[+-][0-9]{2}:[0-9]{2})\Z"
)


def read_timestamp(text: str, message: Any) -> None:
    """Set a `google.protobuf.Timestamp` from an xs:dateTime with a zone; digits beyond nanoseconds are cut.

    Raises:
        Problem: It is none, or lies outside of the years 1 to 9999.
    """
    match = _TIME.match(text.strip(XML_SPACE))
    if match is None:
        raise _wrong("a time with a zone, such as 2026-11-23T10:00:00Z", text)
    year, month, day, hour, minute, second = (int(part) for part in match.groups()[:6])
    # XML Schema writes the end of a day as 24:00:00, too.
    is_midnight = (hour, minute, second) == (24, 0, 0) and not int(match[7] or 0)
    try:
        moment = datetime(year, month, day, 0 if is_midnight else hour, minute, second, tzinfo=UTC)
        moment += timedelta(days=is_midnight) - _zone_offset(match[8])
    except (ValueError, OverflowError):
        raise Problem(Reason.OUT_OF_RANGE, "there is no such time in the years 1 to 9999", value=text) from None
    message.seconds = (moment - _EPOCH) // timedelta(seconds=1)
    message.nanos = int((match[7] or "0")[:9].ljust(9, "0"))
    message.SetInParent()


def _zone_offset(text: str) -> timedelta:
    if text == "Z":
        return timedelta()
    hours, minutes = int(text[1:3]), int(text[4:6])
    if hours > 14 or minutes > 59 or (hours == 14 and minutes):
        raise ValueError("no zone is further than 14 hours from UTC")
    offset = timedelta(hours=hours, minutes=minutes)
    return -offset if text[0] == "-" else offset


def write_timestamp(message: Any) -> str:
    """Return a `google.protobuf.Timestamp` as xs:dateTime, in UTC."""
    moment = _EPOCH + timedelta(seconds=message.seconds)
    # `strftime` would not pad the years before 1000.
    return f"{moment.replace(tzinfo=None).isoformat()}{_fraction(message.nanos)}Z"


def _fraction(nanos: int) -> str:
    """Return a fraction of a second with 0, 3, 6 or 9 digits, as the JSON form of protobuf has it."""
    if not nanos:
        return ""
    if nanos % 1_000_000 == 0:
        return f".{nanos // 1_000_000:03}"
    return f".{nanos // 1000:06}" if nanos % 1000 == 0 else f".{nanos:09}"


_DURATION = re.compile(
    r"(-)?P(?=[0-9T])(?:([0-9]{1,12})D)?"
    r"(?:T(?=[0-9])(?:([0-9]{1,12})H)?(?:([0-9]{1,12})M)?(?:([0-9]{1,15})(?:\.([0-9]{1,100}))?S)?)?\Z"
)


def read_duration(text: str, message: Any) -> None:
    """Set a `google.protobuf.Duration` from an xs:duration without years and months.

    Raises:
        Problem: It is none, or longer than some 10,000 years.
    """
    match = _DURATION.match(text.strip(XML_SPACE))
    if match is None:
        raise _wrong("a duration of days, hours, minutes and seconds, such as PT1M30.5S", text)
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups()[1:5])
    total_s = ((days * 24 + hours) * 60 + minutes) * 60 + seconds
    if total_s > DURATION_S_MAX:
        limit = f"{DURATION_S_MAX} s"
        raise Problem(Reason.OUT_OF_RANGE, f"expected a duration of at most {limit}", value=text, limit=limit)
    nanos = int((match[6] or "0")[:9].ljust(9, "0"))
    sign = -1 if match[1] else 1
    message.seconds = sign * total_s
    message.nanos = sign * nanos
    message.SetInParent()


def write_duration(message: Any) -> str:
    """Return a `google.protobuf.Duration` as xs:duration, in seconds."""
    total = message.seconds * _NANOS_PER_S + message.nanos
    seconds, nanos = divmod(abs(total), _NANOS_PER_S)
    return f"{'-' if total < 0 else ''}PT{seconds}{_fraction(nanos)}S"


_CAMEL = re.compile(r"(?<=[a-z0-9])([A-Z])")


def read_field_mask(text: str, message: Any) -> None:
    """Set a `google.protobuf.FieldMask` from paths that are separated by commas.

    The first part of a path names a field: as in the contract (`visitor_id`) or as the element (`visitorId`), which
    cannot be mistaken, since names of fields have no capitals. What follows may be a name of data and stays as it is.
    """
    for path in text.split(","):
        stripped = path.strip(XML_SPACE)
        if stripped:
            first, dot, rest = stripped.partition(".")
            message.paths.append(_CAMEL.sub(lambda match: f"_{match[1].lower()}", first) + dot + rest)
    message.SetInParent()


def write_field_mask(message: Any) -> str:
    """Return a `google.protobuf.FieldMask` as paths that are separated by commas."""
    return escape(",".join(message.paths))


@dataclass(frozen=True, slots=True)
class SimpleMessage:
    """How a message that is one value looks.

    Attributes:
        xsd: The name of its type in XML Schema, without a prefix.
        read: Sets the message from text. Raises Problem.
        write: Returns the message as escaped text.
    """

    xsd: str
    read: Callable[[str, Any], None]
    write: Callable[[Any], str]


def _wrapper(field_type: int) -> SimpleMessage:
    scalar = BY_TYPE[field_type]

    def read(text: str, message: Any) -> None:
        message.value = scalar.read(text)
        message.SetInParent()

    return SimpleMessage(scalar.xsd, read, lambda message: scalar.write(message.value))


SIMPLE_MESSAGES: Mapping[str, SimpleMessage] = {
    "google.protobuf.Timestamp": SimpleMessage("dateTime", read_timestamp, write_timestamp),
    "google.protobuf.Duration": SimpleMessage("duration", read_duration, write_duration),
    "google.protobuf.FieldMask": SimpleMessage("string", read_field_mask, write_field_mask),
    "google.protobuf.DoubleValue": _wrapper(FieldDescriptor.TYPE_DOUBLE),
    "google.protobuf.FloatValue": _wrapper(FieldDescriptor.TYPE_FLOAT),
    "google.protobuf.Int64Value": _wrapper(FieldDescriptor.TYPE_INT64),
    "google.protobuf.UInt64Value": _wrapper(FieldDescriptor.TYPE_UINT64),
    "google.protobuf.Int32Value": _wrapper(FieldDescriptor.TYPE_INT32),
    "google.protobuf.UInt32Value": _wrapper(FieldDescriptor.TYPE_UINT32),
    "google.protobuf.BoolValue": _wrapper(FieldDescriptor.TYPE_BOOL),
    "google.protobuf.StringValue": _wrapper(FieldDescriptor.TYPE_STRING),
    "google.protobuf.BytesValue": _wrapper(FieldDescriptor.TYPE_BYTES),
}
"""Messages that are written as one value, by full name."""
