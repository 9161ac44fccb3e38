"""What the process of a plug-in prints: into the log as records of it, bounded; the rest is read and thrown away."""

from __future__ import annotations

import logging
from collections.abc import Callable
from time import monotonic
from typing import IO

LINE_BYTES_MAX = 500
"""Longer lines become several records."""

BYTES_MAX = 10_000
INTERVAL_S = 60.0
"""What is logged of a process: so much in each interval."""

_PART_BYTES = 1 << 16

_log = logging.getLogger("rte.plugins")


def log_output(name: str, stream: IO[bytes], clock_s: Callable[[], float] = monotonic) -> None:
    """Read until the other side ends, so that it never has to wait for a reader.

    Args:
        name: Of the plug-in.
        stream: What it prints; closed at the end.
        clock_s: Gives the time, seconds.
    """
    began_s, logged_bytes, left_out_bytes = clock_s(), 0, 0
    with stream:
        while part := _part(stream, is_logged=logged_bytes < BYTES_MAX):
            if clock_s() - began_s >= INTERVAL_S:
                _report(name, left_out_bytes)
                began_s, logged_bytes, left_out_bytes = clock_s(), 0, 0
            if logged_bytes < BYTES_MAX and len(part) <= LINE_BYTES_MAX:
                logged_bytes += len(part)
                _log.info("the plug-in %s printed: %s", name, part.decode("utf-8", "replace").rstrip())
            else:
                left_out_bytes += len(part)
    _report(name, left_out_bytes)


def _part(stream: IO[bytes], *, is_logged: bool) -> bytes:
    """Return a line or a part of one to be logged, or whatever is there."""
    return stream.readline(LINE_BYTES_MAX) if is_logged else stream.read1(_PART_BYTES)  # type: ignore[attr-defined]


def _report(name: str, left_out_bytes: int) -> None:
    if left_out_bytes:
        _log.warning("the plug-in %s printed %d bytes more, which are left out", name, left_out_bytes)
