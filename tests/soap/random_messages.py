"""Random messages of any type, as hypothesis makes them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.rpc import error_details_pb2
from hypothesis import strategies as st

from rte_soap.contract import new_message

DEPTH_MAX = 3
XML_TEXT = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\ufffe\uffff").filter(
        lambda character: character >= " " or character in "\t\n\r"
    ),
    max_size=8,
)
"""Texts that XML can hold, with much that must be escaped."""

TEXT = st.one_of(XML_TEXT, st.sampled_from(["", " ", "<&>]]>", "\r\n", "0", "false", "é\U0001f600", " x "]))

_INT32 = st.integers(-(1 << 31), (1 << 31) - 1)
_INT64 = st.integers(-(1 << 63), (1 << 63) - 1)
_UINT32 = st.integers(0, (1 << 32) - 1)
_UINT64 = st.integers(0, (1 << 64) - 1)
_BY_TYPE: dict[int, st.SearchStrategy[Any]] = {
    FieldDescriptor.TYPE_STRING: TEXT,
    FieldDescriptor.TYPE_BYTES: st.binary(max_size=8),
    FieldDescriptor.TYPE_BOOL: st.booleans(),
    # XML has one NaN; the others are not told apart.
    FieldDescriptor.TYPE_DOUBLE: st.floats(allow_nan=False) | st.just(math.nan),
    FieldDescriptor.TYPE_FLOAT: st.floats(width=32, allow_nan=False) | st.just(math.nan),
    FieldDescriptor.TYPE_INT32: _INT32,
    FieldDescriptor.TYPE_SINT32: _INT32,
    FieldDescriptor.TYPE_SFIXED32: _INT32,
    FieldDescriptor.TYPE_INT64: _INT64,
    FieldDescriptor.TYPE_SINT64: _INT64,
    FieldDescriptor.TYPE_SFIXED64: _INT64,
    FieldDescriptor.TYPE_UINT32: _UINT32,
    FieldDescriptor.TYPE_FIXED32: _UINT32,
    FieldDescriptor.TYPE_UINT64: _UINT64,
    FieldDescriptor.TYPE_FIXED64: _UINT64,
}
_TIMES = st.integers(-62_135_596_800, 253_402_300_799)
_NANOS = st.one_of(st.just(0), st.integers(0, 999_999_999), st.integers(0, 999).map(lambda ms: ms * 1_000_000))
_PATHS = st.lists(st.sampled_from(["visitor_id", "attributes.productViews", "attributes.A_b", "a.b_c"]), max_size=3)


@st.composite
def messages(draw: st.DrawFn, descriptor: Descriptor) -> Any:
    """Return a strategy for messages of a type."""
    message = new_message(descriptor)
    _fill(draw, message, 0)
    return message


def _fill(draw: st.DrawFn, message: Any, depth: int) -> None:
    special = _SPECIAL.get(message.DESCRIPTOR.full_name)
    if special is not None:
        special(draw, message)
        return
    fields = list(message.DESCRIPTOR.fields)
    count = draw(st.integers(0, min(len(fields), 8)))
    chosen = st.lists(st.sampled_from(fields), min_size=count, max_size=count, unique_by=lambda field: field.number)
    for field in draw(chosen) if fields else ():
        # What is set last of a oneof stays.
        _fill_field(draw, message, field, depth)


def _fill_field(draw: st.DrawFn, message: Any, field: FieldDescriptor, depth: int) -> None:
    kind = field.message_type
    if kind is not None and depth >= DEPTH_MAX and kind.full_name not in _SPECIAL:
        return
    if kind is not None and kind.GetOptions().map_entry:
        _fill_map(draw, getattr(message, field.name), kind, depth)
    elif field.is_repeated:
        for _ in range(draw(st.integers(1, 3))):
            target = getattr(message, field.name)
            if kind is not None:
                _fill(draw, target.add(), depth + 1)
            else:
                target.append(draw(_scalar(field)))
    elif kind is not None:
        inner = getattr(message, field.name)
        inner.SetInParent()
        _fill(draw, inner, depth + 1)
    else:
        setattr(message, field.name, draw(_scalar(field)))


def _fill_map(draw: st.DrawFn, entries: Any, entry: Descriptor, depth: int) -> None:
    key, value = entry.fields_by_name["key"], entry.fields_by_name["value"]
    for _ in range(draw(st.integers(1, 3))):
        name = draw(_scalar(key))
        if value.message_type is not None:
            _fill(draw, entries[name], depth + 1)
        else:
            entries[name] = draw(_scalar(value))


def _scalar(field: FieldDescriptor) -> st.SearchStrategy[Any]:
    if field.enum_type is not None:
        return st.sampled_from([value.number for value in field.enum_type.values])
    return _BY_TYPE[field.type]


def _timestamp(draw: st.DrawFn, message: Any) -> None:
    message.seconds, message.nanos = draw(_TIMES), draw(_NANOS)


def _duration(draw: st.DrawFn, message: Any) -> None:
    sign = draw(st.sampled_from([1, -1]))
    message.seconds, message.nanos = sign * draw(st.integers(0, 315_576_000_000)), sign * draw(_NANOS)


def _mask(draw: st.DrawFn, message: Any) -> None:
    message.paths.extend(draw(_PATHS))


def _status(draw: st.DrawFn, message: Any) -> None:
    """Fill a status as the server makes it: details in this order, and each at most once."""
    message.code, message.message = draw(st.integers(1, 16)), draw(TEXT)
    details: list[Any] = []
    if draw(st.booleans()):
        info = error_details_pb2.ErrorInfo(reason="SESSION_NOT_FOUND", domain="rte.v1")
        info.metadata.update({"field": "session_id", "incident": draw(TEXT)})
        details.append(info)
    if draw(st.booleans()):
        bad = error_details_pb2.BadRequest()
        bad.field_violations.add(field=draw(TEXT), description=draw(TEXT), reason="WRONG_TYPE")
        details.append(bad)
    if draw(st.booleans()):
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.seconds = draw(st.integers(0, 100))
        details.append(retry)
    for detail in details:
        packed = message.details.add()
        packed.type_url = f"type.googleapis.com/{detail.DESCRIPTOR.full_name}"
        packed.value = detail.SerializeToString(deterministic=True)


_SPECIAL: dict[str, Callable[[st.DrawFn, Any], None]] = {
    "google.protobuf.Timestamp": _timestamp,
    "google.protobuf.Duration": _duration,
    "google.protobuf.FieldMask": _mask,
    "google.rpc.Status": _status,
}
