"""A whole server in this process, as `rte serve` runs it, for tests that talk to it over the network."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rte_server.bootstrap import wall_clock_ms
from rte_server.testing import SMALL, TestServer

LiveServer = TestServer

__all__ = ["SMALL", "LiveServer", "live_server"]


@contextmanager
def live_server(
    data_dir: Path, *, edge: bool = False, clock_ms: Callable[[], int] = wall_clock_ms, **options: object
) -> Iterator[LiveServer]:
    """Run a server for the time of a block."""
    with TestServer(data_dir, edge=edge, clock_ms=clock_ms, **options) as server:
        yield server
