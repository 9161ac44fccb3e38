"""Reading the small requests that are journal entries: UpdateSession and EndSession. One per entry, so plain Python."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rte_server.engine.native import siphash24_128
from rte_server.engine.reasons import EngineError, Reason

Written = bool | float | str | None
"""A value that an application writes; None removes."""


@dataclass(frozen=True, slots=True)
class SessionWrite:
    """What an UpdateSessionRequest or an EndSessionRequest says.

    Attributes:
        session_id: Which session.
        attributes: Values by name, in the order of the request; empty for EndSession.
        etag: Condition, or empty.
        request_id: Idempotency key, or empty.
    """

    session_id: str
    attributes: dict[str, Written]
    etag: str
    request_id: str


def read_update(body: bytes) -> SessionWrite:
    """Read the wire form of an `UpdateSessionRequest`.

    Raises:
        EngineError: MALFORMED if it is none; WRONG_TYPE if a value is a list or a struct.
    """
    texts = {1: "", 3: "", 4: ""}
    attributes: dict[str, Written] = {}
    for number, content in _fields(body):
        if number == 2 and isinstance(content, bytes):
            for _, member in _fields(content):
                name, value = _member(_expect_bytes(member))
                attributes[name] = value
        elif number in texts:
            texts[number] = _text(content)
    return SessionWrite(texts[1], attributes, texts[3], texts[4])


def read_end(body: bytes) -> SessionWrite:
    """Read the wire form of an `EndSessionRequest`.

    Raises:
        EngineError: MALFORMED if it is none.
    """
    texts = {1: "", 2: ""}
    for number, content in _fields(body):
        if number in texts:
            texts[number] = _text(content)
    return SessionWrite(texts[1], {}, "", texts[2])


def write_hash(request_id: str, secret: NDArray[np.uint64]) -> int:
    """Return the keyed hash by which the id of such a request is remembered, an int64 that is not 0."""
    text = np.frombuffer(b"write\0" + request_id.encode(), np.uint8)
    low, _ = siphash24_128(text, 0, len(text), secret[0], secret[1])
    return int(low) or 1


def _member(entry: bytes) -> tuple[str, Written]:
    name = ""
    value: Written = None
    for number, content in _fields(entry):
        if number == 1:
            name = _text(content)
        elif number == 2:
            value = _value(name, _expect_bytes(content))
    return name, value


def _value(name: str, encoded: bytes) -> Written:
    value: Written = None
    for number, content in _fields(encoded):
        if number == 1:
            value = None
        elif number == 2:
            value = _double(_expect_bytes(content))
        elif number == 3:
            value = _text(content)
        elif number == 4:
            value = bool(content)
        else:
            raise EngineError(
                Reason.WRONG_TYPE,
                f"The attribute {name!r} is a list or an object; write a number, a boolean, a string or null.",
                field=f"attributes.{name}",
            )
    return value


def _expect_bytes(content: int | bytes) -> bytes:
    if isinstance(content, int):
        raise _malformed()
    return content


def _double(content: bytes) -> float:
    if len(content) != 8:
        raise _malformed()
    return float(struct.unpack("<d", content)[0])


def _text(content: int | bytes) -> str:
    try:
        return _expect_bytes(content).decode()
    except UnicodeDecodeError as error:
        raise _malformed() from error


def _fields(encoded: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield (field number, content): an int for varints, bytes for all else."""
    at = 0
    while at < len(encoded):
        tag, at = _varint(encoded, at)
        wire_type = tag & 7
        if wire_type == 0:
            number, at = _varint(encoded, at)
            yield tag >> 3, number
            continue
        if wire_type == 2:
            length, at = _varint(encoded, at)
        elif wire_type in (1, 5):
            length = 8 if wire_type == 1 else 4
        else:
            raise _malformed()
        if length > len(encoded) - at:
            raise _malformed()
        yield tag >> 3, encoded[at : at + length]
        at += length


def _varint(encoded: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(encoded) and shift < 64:
        byte = encoded[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise _malformed()


def _malformed() -> EngineError:
    return EngineError(Reason.MALFORMED, "The request is no valid protobuf message.")
