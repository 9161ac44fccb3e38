"""Rows wait for a runner in the order in which they changed."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from rte_server.runners.runner import INTERVAL_S, REST_S_MAX, REST_SHARE, rest_s
from rte_server.runners.waiting_rows import WaitingRows

ROWS_MAX = 32


def append(waiting: WaitingRows, rows: Sequence[int]) -> None:
    """Let rows wait, of which none does."""

    def fill(array: NDArray[np.int64], count: int) -> int:
        array[count : count + len(rows)] = rows
        return count + len(rows)

    waiting.append(fill)


@given(st.lists(st.one_of(st.lists(st.integers(0, ROWS_MAX - 1), unique=True), st.integers(1, 8)), max_size=40))
def test_they_are_a_queue(steps: list[list[int] | int]) -> None:
    """Whatever comes and is taken in between: first changed, first taken, and as many as were asked for if so many wait."""
    waiting, expected = WaitingRows(ROWS_MAX), deque[int]()
    for step in steps:
        if isinstance(step, list):
            new = [row for row in step if row not in expected]
            append(waiting, new)
            expected.extend(new)
        else:
            wanted = [expected.popleft() for _ in range(min(step, len(expected)))]
            assert waiting.take(step).tolist() == wanted
        assert len(waiting) == len(expected)


def test_what_was_taken_is_the_takers_own() -> None:
    """Rows that come later do not change it."""
    waiting = WaitingRows(ROWS_MAX)
    append(waiting, range(ROWS_MAX))
    taken = waiting.take(ROWS_MAX)
    append(waiting, range(ROWS_MAX - 1, -1, -1))
    waiting.take(1)
    append(waiting, [ROWS_MAX - 1])
    assert taken.tolist() == list(range(ROWS_MAX))


def test_a_runner_rests_for_a_share_of_its_work_only() -> None:
    """It waits for more changes while less than a batch waits; a slow batch is not followed by a long rest."""
    assert rest_s(0.005, is_full=False) == INTERVAL_S - 0.005
    assert rest_s(0.005, is_full=True) == 0.005 * REST_SHARE
    assert rest_s(0.150, is_full=False) == rest_s(0.150, is_full=True) == 0.150 * REST_SHARE
    assert rest_s(60.0, is_full=False) == REST_S_MAX


def test_it_is_known_since_when_a_row_has_waited() -> None:
    """Of rows that came together the time of the first; of those that came while others are taken out their own."""
    now_s = 5.0
    rows = WaitingRows(10, lambda: now_s)

    def append(row: int) -> None:
        def one(array: NDArray[np.int64], count: int) -> int:
            array[count] = row
            return count + 1

        rows.append(one)

    assert rows.since_s is None
    append(1)
    now_s = 6.0
    append(2)
    assert rows.since_s == 5.0
    rows.take(1)
    now_s = 7.0
    append(3)
    assert rows.since_s == 5.0
    rows.take(1)
    assert rows.since_s == 7.0
    rows.take(1)
    assert rows.since_s is None
