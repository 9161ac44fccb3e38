"""Plain values instead of protobuf's: times, spans of time and JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.struct_pb2 import Struct, Value
from google.protobuf.timestamp_pb2 import Timestamp

Json: TypeAlias = "bool | int | float | str | Sequence[Json] | Mapping[str, Json] | None"
"""What attributes and properties may be."""

_WHOLE_MAX = float(1 << 53)
"""Beyond it a double is no longer a certain whole number."""


def json_of(value: Value) -> Any:
    """Return the value of a `google.protobuf.Value`: whole numbers as int, lists and objects as list and dict."""
    kind = value.WhichOneof("kind")
    if kind == "string_value":
        return value.string_value
    if kind == "number_value":
        number = value.number_value
        return int(number) if number.is_integer() and -_WHOLE_MAX <= number <= _WHOLE_MAX else number
    if kind == "bool_value":
        return value.bool_value
    if kind == "list_value":
        return [json_of(each) for each in value.list_value.values]
    if kind == "struct_value":
        return dict_of(value.struct_value)
    return None


def dict_of(struct: Struct) -> dict[str, Any]:
    """Return the members of a `google.protobuf.Struct`."""
    return {name: json_of(value) for name, value in struct.fields.items()}


def struct_of(members: Mapping[str, Json]) -> Struct:
    """Return members as a `google.protobuf.Struct`.

    Raises:
        TypeError: A value is no JSON.
    """
    struct = Struct()
    for name, value in members.items():
        _fill(struct.fields[name], value)
    return struct


def _fill(target: Value, value: Json) -> None:
    if value is None:
        target.null_value = 0  # type: ignore[assignment]
    elif isinstance(value, bool):
        target.bool_value = value
    elif isinstance(value, int | float):
        target.number_value = value
    elif isinstance(value, str):
        target.string_value = value
    elif isinstance(value, Mapping):
        target.struct_value.CopyFrom(struct_of(value))
    elif isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        target.list_value.SetInParent()
        for each in value:
            _fill(target.list_value.values.add(), each)
    else:
        raise TypeError(f"{value!r} is no JSON value; give a bool, number, string, None, list or mapping")


def time_of(stamp: Timestamp) -> datetime:
    """Return a time, in UTC."""
    return stamp.ToDatetime(tzinfo=UTC)


def milliseconds_of(time: datetime) -> int:
    """Return a time as milliseconds since 1970, truncated.

    Raises:
        ValueError: The time has no zone.
    """
    if time.tzinfo is None:
        raise ValueError(f"the time {time.isoformat()} has no zone; use datetime.now(timezone.utc) or astimezone()")
    return (time - _EPOCH) // _MILLISECOND


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


def stamp_of(time: datetime) -> Timestamp:
    """Return a time as protobuf has it. Raises what `milliseconds_of` raises."""
    stamp = Timestamp()
    stamp.FromMilliseconds(milliseconds_of(time))
    return stamp


def seconds_of(duration: Duration) -> float:
    """Return a span of time in seconds."""
    return float(duration.seconds + duration.nanos / 1e9)


def duration_of(seconds: float) -> Duration:
    """Return seconds, >= 0, as protobuf has them."""
    duration = Duration()
    duration.FromTimedelta(timedelta(seconds=seconds))
    return duration


def mask_of(paths: Iterable[str]) -> FieldMask:
    """Return paths such as `visitor_id` or `attributes.basket_value` as a read mask.

    Raises:
        TypeError: `paths` is one string.
    """
    if isinstance(paths, str):
        raise TypeError(f"fields are a list of paths; write [{paths!r}]")
    return FieldMask(paths=paths)
