"""Write the few protobuf fields that wrap serialized sessions, without making an object per attribute.

`engine.encode` gives each Session as wire bytes. An answer embeds them as they are: tag, length, bytes. The order of
fields in a message is free, so small fields are written by hand around them.
Source: protobuf encoding, "Length-Delimited Records".
"""

from __future__ import annotations

from collections.abc import Iterable

LENGTH_DELIMITED = 2
VARINT = 0


def varint(number: int) -> bytes:
    """Return the varint of `number`, >= 0."""
    if number < 0x80:
        return bytes((number,))
    parts = bytearray()
    while number >= 0x80:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    parts.append(number)
    return bytes(parts)


def message_field(number: int, body: bytes) -> bytes:
    """Return field `number` holding the bytes of a message or string; written even if empty."""
    return varint(number << 3 | LENGTH_DELIMITED) + varint(len(body)) + body


def message_fields(number: int, bodies: Iterable[bytes]) -> bytes:
    """Return the repeated field `number` holding each of `bodies`."""
    tag = varint(number << 3 | LENGTH_DELIMITED)
    parts: list[bytes] = []
    for body in bodies:
        parts += (tag, varint(len(body)), body)
    return b"".join(parts)


def text_field(number: int, text: str) -> bytes:
    """Return field `number` holding a string; nothing if it is empty."""
    return message_field(number, text.encode()) if text else b""


def int_field(number: int, value: int) -> bytes:
    """Return field `number` holding an integer or enum value >= 0; nothing if it is 0."""
    return varint(number << 3 | VARINT) + varint(value) if value else b""


def timestamp_field(number: int, time_ms: int) -> bytes:
    """Return field `number` holding a `google.protobuf.Timestamp` of milliseconds since 1970, >= 0."""
    seconds, rest_ms = divmod(time_ms, 1000)
    return message_field(number, int_field(1, seconds) + int_field(2, rest_ms * 1_000_000))
