"""Memory that a fold is about to fill is ready before it gets there."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from rte_server.journal.touch_ahead import AHEAD_BYTES, TouchAhead

SLACK_BYTES = 4 * 1024 * 1024
"""What a process may take for itself meanwhile; a huge page is 2 MiB."""


def test_memory_ahead_of_what_is_in_use_is_made_ready_and_no_more() -> None:
    """The thread follows what is in use at its distance, ends at the end of the array, and changes no content."""
    array = np.zeros((8 * AHEAD_BYTES // 64, 8), np.int64)
    used = 2 * AHEAD_BYTES
    array.reshape(-1)[: used // 8] = 7
    before = resident_bytes()
    with TouchAhead(lambda: [(array, used)]):
        assert until(lambda: resident_bytes() - before >= AHEAD_BYTES - SLACK_BYTES)
        time.sleep(0.05)
        assert resident_bytes() - before <= AHEAD_BYTES + SLACK_BYTES
        used = array.nbytes - AHEAD_BYTES // 2
        assert until(lambda: resident_bytes() - before >= 1.5 * AHEAD_BYTES - SLACK_BYTES)
    assert int(array.sum()) == 7 * 2 * AHEAD_BYTES // 8


def test_a_small_state_takes_no_more_memory() -> None:
    """Before AHEAD_BYTES are in use nothing is done ahead."""
    array = np.zeros(8 * AHEAD_BYTES // 8, np.int64)
    before = resident_bytes()
    with TouchAhead(lambda: [(array, AHEAD_BYTES - 1)]):
        time.sleep(0.1)
    assert resident_bytes() - before <= SLACK_BYTES


def resident_bytes() -> int:
    """Return the memory that this process has by now."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * 4096


def until(holds: Callable[[], bool]) -> bool:
    """Wait until something holds, for a while; return whether it does."""
    end_s = time.monotonic() + 20
    while not holds() and time.monotonic() < end_s:
        time.sleep(0.005)
    return holds()
