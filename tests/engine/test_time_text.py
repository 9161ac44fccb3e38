"""Times written as RFC 3339 are read as the official JSON parser reads them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from rte_server.engine.kernel import kernel
from rte_server.engine.native import span_of
from rte_server.engine.time_text import parse_time


@kernel
def _parse(buf: NDArray[np.uint8]) -> Any:
    return parse_time(span_of(buf), 0, len(buf))


def parse(text: str) -> tuple[int, int] | None:
    """Return seconds and nanos, or None where the text is no time."""
    seconds, nanos, known = _parse(np.frombuffer(text.encode(), np.uint8))
    return (int(seconds), int(nanos)) if known else None


def official(text: str) -> tuple[int, int] | None:
    """Return what the official parser reads."""
    try:
        stamp = Timestamp()
        stamp.FromJsonString(text)
    except ValueError:
        return None
    return stamp.seconds, stamp.nanos


zones = st.just("Z") | st.builds("{}{:02}:{:02}".format, st.sampled_from("+-"), st.integers(0, 23), st.integers(0, 59))
fractions = st.just("") | st.text("0123456789", min_size=1, max_size=9).map(lambda digits: "." + digits)


@settings(deadline=None, max_examples=300)
@given(st.datetimes(), fractions, zones)
def test_times_are_those_of_the_official_parser(moment: object, fraction: str, zone: str) -> None:
    """Any date from year 1 to 9999 with any fraction up to nanoseconds and any offset is the same instant."""
    text = f"{str(moment)[:10]}T{str(moment)[11:19]}{fraction}{zone}"
    expected = official(text)
    if expected is None:
        # Pushed out of the years 1 to 9999 by its offset: the scan refuses the instant as out of range.
        assert text[:4] in {"0001", "9999"}
    else:
        assert parse(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "2026-09-21",
        "2026-09-21T14:13:20",
        "2026-09-21 14:13:20Z",
        "2026-9-21T14:13:20.000Z",
        "2026-02-29T00:00:00Z",
        "2026-04-31T00:00:00Z",
        "2100-02-29T00:00:00Z",
        "2026-00-10T00:00:00Z",
        "2026-13-10T00:00:00Z",
        "2026-01-00T00:00:00Z",
        "0000-01-01T00:00:00Z",
        "2026-01-01T24:00:00Z",
        "2026-01-01T00:60:00Z",
        "2026-01-01T00:00:60Z",
        "2026-01-01T00:00:00.Z",
        "2026-01-01T00:00:00.0123456789Z",
        "2026-01-01T00:00:00+0200",
        "2026-01-01T00:00:00+02",
        "2026-01-01T00:00:00+24:00",
        "2026-01-01T00:00:00+02:60",
        "2026-01-01T00:00:00Zx",
        "2026-01-01T00:00:00+02:00x",
        "+026-01-01T00:00:00Z",
        "2026-01-01T00:00:0xZ",
        "2026-01-01T00:00:00é",
    ],
)
def test_what_is_no_time_is_refused(text: str) -> None:
    """A text that is not a whole RFC 3339 time, or names a day that does not exist, is no time."""
    assert parse(text) is None


def test_letters_may_be_small() -> None:
    """`t` and `z` may be written small, as RFC 3339 allows."""
    assert parse("2026-01-01t00:00:00z") == parse("2026-01-01T00:00:00Z") == (1767225600, 0)
