"""Reads times written as RFC 3339, the JSON form of a Timestamp, in compiled kernels."""

from __future__ import annotations

import numpy as np

from rte_server.engine.kernel import inner
from rte_server.engine.native import byte_at

NANOS_DIGITS = 9
_DAY_SECONDS = 86_400
_TEXT_BYTES_MIN = 20  # 2026-11-23T10:00:00Z


@inner
def parse_time(span, off, length):  # type: ignore[no-untyped-def]
    """Return seconds since 1970, nanos (0 to 999,999,999), and whether the bytes are a time.

    Taken are `YYYY-MM-DDTHH:MM:SS`, an optional fraction of up to 9 digits, and `Z` or `+HH:MM` or `-HH:MM`; `T` and
    `Z` in either case. Years go from 1 to 9999; leap seconds (`:60`) are refused, as by the official JSON parser.

    Source: RFC 3339, section 5.6; protobuf's JSON mapping of Timestamp.
    """
    failed = (np.int64(0), np.int64(0), False)
    end = off + length
    if length < _TEXT_BYTES_MIN:
        return failed
    year = _number(span, off, 4)
    month, day = _number(span, off + 5, 2), _number(span, off + 8, 2)
    hour, minute, second = _number(span, off + 11, 2), _number(span, off + 14, 2), _number(span, off + 17, 2)
    if byte_at(span, off + 4) != 45 or byte_at(span, off + 7) != 45 or byte_at(span, off + 10) | 32 != 116:
        return failed
    if byte_at(span, off + 13) != 58 or byte_at(span, off + 16) != 58:
        return failed
    if year < 1 or month < 1 or month > 12 or day < 1 or day > _month_days(year, month):
        return failed
    if hour < 0 or hour > 23 or minute < 0 or minute > 59 or second < 0 or second > 59:
        return failed
    nanos, pos = _fraction(span, off + 19, end)
    offset_s, known = _offset(span, pos, end)
    if pos < 0 or not known:
        return failed
    seconds = _days(year, month, day) * _DAY_SECONDS + hour * 3600 + minute * 60 + second - offset_s
    return seconds, nanos, True


@inner
def _number(span, off, digits):  # type: ignore[no-untyped-def]
    """Return the number that `digits` bytes spell, or -1."""
    number = np.int64(0)
    for i in range(digits):
        digit = byte_at(span, off + i) - 48
        if digit < 0 or digit > 9:
            return np.int64(-1)
        number = number * 10 + digit
    return number


@inner
def _fraction(span, pos, end):  # type: ignore[no-untyped-def]
    """Return the nanos of an optional fraction at `pos`, and where it ends, or -1."""
    if pos >= end or byte_at(span, pos) != 46:
        return np.int64(0), pos
    pos += 1
    nanos = np.int64(0)
    digits = 0
    while pos < end and 48 <= byte_at(span, pos) <= 57:
        nanos = nanos * 10 + byte_at(span, pos) - 48
        digits += 1
        pos += 1
        if digits > NANOS_DIGITS:
            return np.int64(0), np.int64(-1)
    if digits == 0:
        return np.int64(0), np.int64(-1)
    for _ in range(NANOS_DIGITS - digits):
        nanos *= 10
    return nanos, pos


@inner
def _offset(span, pos, end):  # type: ignore[no-untyped-def]
    """Return the seconds that the zone at `pos` is ahead of UTC, and whether it is one that ends at `end`."""
    if pos < 0 or pos >= end:
        return np.int64(0), False
    sign = byte_at(span, pos)
    if sign | 32 == 122:
        return np.int64(0), pos + 1 == end
    if (sign != 43 and sign != 45) or end - pos != 6 or byte_at(span, pos + 3) != 58:
        return np.int64(0), False
    hours, minutes = _number(span, pos + 1, 2), _number(span, pos + 4, 2)
    if hours < 0 or hours > 23 or minutes < 0 or minutes > 59:
        return np.int64(0), False
    ahead = hours * 3600 + minutes * 60
    return ahead if sign == 43 else -ahead, True


@inner
def _month_days(year, month):  # type: ignore[no-untyped-def]
    """Return the number of days of a month of the Gregorian calendar."""
    if month == 2:
        leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
        return 29 if leap else 28
    return 30 if month == 4 or month == 6 or month == 9 or month == 11 else 31


@inner
def _days(year, month, day):  # type: ignore[no-untyped-def]
    """Return the days from 1970-01-01 to a date.

    Source: Howard Hinnant, "chrono-compatible low-level date algorithms", days_from_civil.
    """
    shifted = year - (1 if month <= 2 else 0)
    era = shifted // 400
    year_of_era = shifted - era * 400
    day_of_year = (153 * (month + (-3 if month > 2 else 9)) + 2) // 5 + day - 1
    day_of_era = year_of_era * 365 + year_of_era // 4 - year_of_era // 100 + day_of_year
    return era * 146_097 + day_of_era - 719_468
