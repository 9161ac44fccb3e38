"""Values of answers: comparing them, and writing them in a sentence."""

from __future__ import annotations

import math

from google.protobuf.struct_pb2 import Value
from google.protobuf.timestamp_pb2 import Timestamp

RELATIVE_TOLERANCE = 1e-12
"""What two ways of adding up the same numbers may differ by."""

TEXT_CHARS_MAX = 60


def same(left: Value | None, right: Value | None) -> bool:
    """Return whether two values are the same; None is no value."""
    if left is None or right is None:
        return left is right
    kinds = left.WhichOneof("kind"), right.WhichOneof("kind")
    if kinds[0] != kinds[1]:
        return False
    if kinds[0] == "number_value":
        return math.isclose(left.number_value, right.number_value, rel_tol=RELATIVE_TOLERANCE)
    if kinds[0] == "list_value":
        pairs = left.list_value.values, right.list_value.values
        return len(pairs[0]) == len(pairs[1]) and all(map(same, *pairs))
    if kinds[0] == "struct_value":
        members = left.struct_value.fields, right.struct_value.fields
        return members[0].keys() == members[1].keys() and all(
            same(members[0][key], members[1][key]) for key in members[0]
        )
    return left == right


def text_of(value: Value) -> str:
    """Return a value as people write it: JSON, shortened."""
    text = _text_of(value)
    return text if len(text) <= TEXT_CHARS_MAX else text[: TEXT_CHARS_MAX - 3] + "..."


def time_text(time_ms: int) -> str:
    """Return a time, milliseconds since 1970, as RFC 3339."""
    moment = Timestamp()
    moment.FromMilliseconds(time_ms)
    return moment.ToJsonString()


def _text_of(value: Value) -> str:
    kind = value.WhichOneof("kind")
    if kind == "number_value":
        number = value.number_value
        return f"{number:.0f}" if number.is_integer() and abs(number) < 1e15 else f"{number:.10g}"
    if kind == "string_value":
        return f'"{value.string_value}"'
    if kind == "bool_value":
        return "true" if value.bool_value else "false"
    if kind == "list_value":
        return "[" + ", ".join(map(_text_of, value.list_value.values)) + "]"
    if kind == "struct_value":
        return (
            "{" + ", ".join(f"{key}: {_text_of(each)}" for key, each in sorted(value.struct_value.fields.items())) + "}"
        )
    return "null"
