"""Texts of recorded files to values: times, numbers, the type of a column."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta

from rte.wire_events import Value
from rte_server.replay.problems import RowError

# A leading zero makes a code, not a number ("007"), and so does anything beyond what a double holds exactly.
_NUMBER = re.compile(r"-?(0|[1-9]\d{0,14})(\.\d+)?([eE][+-]?\d{1,2})?")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_SECONDS_MAX = 100_000_000_000  # larger whole numbers are milliseconds: as seconds they would be after the year 5000
_TRUE = frozenset(("true", "1", "yes", "t"))
_FALSE = frozenset(("false", "0", "no", "f"))


def parse_time(raw: str, time_format: str) -> int:
    """Return milliseconds since 1970, truncated.

    Args:
        raw: The text; without a zone it is taken as UTC.
        time_format: See ColumnMapping.time_format.

    Raises:
        RowError: FIELD_MISSING if it is empty, WRONG_TYPE if it is no time of this format.
    """
    if not raw:
        raise RowError("FIELD_MISSING", "there is no time")
    try:
        if time_format in ("auto", "iso") and not raw.isdigit():
            return _milliseconds(datetime.fromisoformat(raw))
        if time_format in ("auto", "seconds", "milliseconds"):
            number = float(raw)
            is_seconds = time_format == "seconds" or (time_format == "auto" and abs(number) < _SECONDS_MAX)
            return int(number * 1000 // 1) if is_seconds else int(number // 1)
        if time_format == "iso":
            raise ValueError
        return _milliseconds(datetime.strptime(raw, time_format))  # noqa: DTZ007 - made UTC there
    except (ValueError, OverflowError):
        raise RowError("WRONG_TYPE", f"`{_cut(raw)}` is no time ({time_format}); see --time-format") from None


def _milliseconds(moment: datetime) -> int:
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - _EPOCH) // _MILLISECOND


def column_type(samples: Iterable[str], column: str) -> str:
    """Return the type of a column that was not told: `number` or `text`.

    Args:
        samples: Texts of the column from the beginning of the file; empty ones say nothing.
        column: Its name; what is called an id is text, so that a product's number is not added up.
    """
    if column == "id" or column.lower().endswith(("_id", "id_")):
        return "text"
    found = [raw for raw in samples if raw]
    return "number" if found and all(map(_NUMBER.fullmatch, found)) else "text"


def converter(kind: str) -> Callable[[str], Value]:
    """Return what reads a text that is not empty.

    Args:
        kind: `text`; `number` or `bool`, which raise RowError WRONG_TYPE; or `auto-number`: a number where it is one.
    """
    return _CONVERTERS[kind]


def _number(raw: str) -> float:
    try:
        return float(raw)
    except ValueError:
        raise RowError("WRONG_TYPE", f"`{_cut(raw)}` is no number") from None


def _auto_number(raw: str) -> Value:
    return float(raw) if _NUMBER.fullmatch(raw) else raw


def _bool(raw: str) -> bool:
    lower = raw.lower()
    if lower in _TRUE:
        return True
    if lower in _FALSE:
        return False
    raise RowError("WRONG_TYPE", f"`{_cut(raw)}` is neither true nor false")


_CONVERTERS: dict[str, Callable[[str], Value]] = {
    "text": str,
    "number": _number,
    "bool": _bool,
    "auto-number": _auto_number,
}


def _cut(raw: str) -> str:
    return raw if len(raw) <= 64 else raw[:61] + "..."
