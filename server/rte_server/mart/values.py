"""Values of columns: from what the drivers of databases give to what JSON can hold, without loss."""

from __future__ import annotations

import base64
import datetime as dt
import decimal
import json
import math
from dataclasses import dataclass
from enum import IntEnum
from typing import TypeAlias

Plain: TypeAlias = "bool | int | float | str | list[Plain] | dict[str, Plain] | None"
"""A value as JSON has it."""

EXACT_INTEGER_MAX = 2**53
"""Whole numbers up to here are exact as a double, which is what numbers are in JSON."""


class ValueType(IntEnum):
    """Which type a value has in the data mart. Numbers equal those of `rte.v1.CustomerAttribute.Type`."""

    BOOLEAN = 1
    INTEGER = 2
    NUMBER = 3
    DECIMAL = 4
    STRING = 5
    TIME = 6
    DATE = 7
    BYTES = 8
    JSON = 9
    LIST = 10


@dataclass(frozen=True, slots=True)
class Attribute:
    """One attribute of a customer.

    Attributes:
        value: Never None: what is NULL is absent.
        type: Its type in the data mart.
        source: Table, view or query; or what a writer said.
        column: Its column, or empty.
        as_of_ms: When its row was written, milliseconds since 1970; 0 if the row does not say.
        expire_ms: Until when it holds, milliseconds since 1970; 0: for good.
    """

    value: Plain
    type: ValueType
    source: str
    column: str = ""
    as_of_ms: int = 0
    expire_ms: int = 0


def plain(value: object, *, is_json: bool = False) -> tuple[Plain, ValueType]:
    """Return a value of a column as JSON can hold it, and its type.

    Args:
        value: As a driver gives it; not None.
        is_json: Whether the column holds JSON, so that a text is the text of a JSON document's root.
    """
    if is_json:
        return _json(value), ValueType.JSON
    if isinstance(value, bool):
        return value, ValueType.BOOLEAN
    if isinstance(value, int):
        return (value if abs(value) <= EXACT_INTEGER_MAX else str(value)), ValueType.INTEGER
    if isinstance(value, float):
        return (value if math.isfinite(value) else _not_finite(value)), ValueType.NUMBER
    if isinstance(value, decimal.Decimal):
        return (f"{value:f}" if value.is_finite() else _not_finite(float(value))), ValueType.DECIMAL
    if isinstance(value, dt.datetime):
        return time_text(value), ValueType.TIME
    if isinstance(value, dt.date | dt.time):
        return value.isoformat(), ValueType.DATE
    if isinstance(value, bytes | bytearray | memoryview):
        return base64.b64encode(bytes(value)).decode("ascii"), ValueType.BYTES
    if isinstance(value, dict | list | tuple):
        return _json(value), ValueType.JSON
    return str(value), ValueType.STRING


def time_text(moment: dt.datetime) -> str:
    """Return a moment as RFC 3339 in UTC; one without a zone is taken as UTC."""
    return _in_utc(moment).isoformat().replace("+00:00", "Z")


def time_ms(value: object) -> int:
    """Return a column's moment as milliseconds since 1970, or 0 if it is none."""
    if not isinstance(value, dt.datetime):
        return 0
    since = _in_utc(value) - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
    return max(since // dt.timedelta(milliseconds=1), 0)


def _in_utc(moment: dt.datetime) -> dt.datetime:
    return moment.replace(tzinfo=dt.UTC) if moment.tzinfo is None else moment.astimezone(dt.UTC)


def _not_finite(value: float) -> str:
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _json(value: object) -> Plain:
    """Return a document with everything in it that JSON does not have made plain."""
    if isinstance(value, dict):
        return {str(name): _json(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_json(each) for each in value]
    return value if value is None or isinstance(value, str) else plain(value)[0]


def from_json_text(text: str) -> Plain:
    """Return the document of a JSON text, or the text itself if it is none: what somebody wrote is shown as it stands.

    Numbers keep all their digits: those that a double cannot hold are strings.
    """
    try:
        document: Plain = json.loads(text, parse_int=_parsed_integer, parse_float=_parsed_number, parse_constant=str)
        if "\\ud" in str(text).lower():
            # Half a character can be escaped, and nobody can be told of it.
            json.dumps(document, ensure_ascii=False).encode()
    except (ValueError, ArithmeticError, RecursionError):
        return text
    return document


def _parsed_integer(digits: str) -> int | str:
    number = int(digits)
    return number if abs(number) <= EXACT_INTEGER_MAX else digits


def _parsed_number(digits: str) -> float | str:
    number = float(digits)
    is_exact = math.isfinite(number) and decimal.Decimal(digits) == decimal.Decimal(repr(number))
    return number if is_exact else digits
