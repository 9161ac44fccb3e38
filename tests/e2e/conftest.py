"""A server behind a real Envoy, once for all tests of this folder.

By default the server is the small one of `stand_in.py`, which makes the tests of the edge independent of the engine.
With RTE_E2E_UPSTREAM=host:port (or unix:/path) they run against a server that is already there.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from rte_server.edge import Edge, EdgeSettings
from tests.e2e.stand_in import StandIn

UPSTREAM_VARIABLE = "RTE_E2E_UPSTREAM"


class Loop:
    """An event loop in a thread of its own, for fixtures of tests that block."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="e2e-loop")
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, Any], timeout_s: float = 120) -> Any:
        """Run a coroutine to its end and return what it returns."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout_s)

    def begin(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Begin to run a coroutine; return its future."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def close(self) -> None:
        """End the loop and its thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(60)
        self._loop.close()


@pytest.fixture(scope="package")
def loop() -> Iterator[Loop]:
    """The loop in which servers and edges of these tests run."""
    loop = Loop()
    yield loop
    loop.close()


@pytest.fixture(scope="package")
def upstream(loop: Loop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a running server."""
    given = os.environ.get(UPSTREAM_VARIABLE)
    if given:
        yield given
        return
    address = f"unix:{tmp_path_factory.mktemp('server')}/grpc.sock"
    server = loop.run(make_stand_in())
    loop.run(server.start(address))
    yield address
    loop.run(server.stop())


@pytest.fixture(scope="package")
def edge(loop: Loop, upstream: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    """Envoy in front of the server."""
    edge = Edge(EdgeSettings(run_dir=tmp_path_factory.mktemp("edge"), upstream=upstream, port=0))
    loop.run(edge.start())
    yield edge
    loop.run(edge.stop(0))


@pytest.fixture(scope="package")
def port(edge: Edge) -> int:
    """The public port."""
    return edge.port


async def make_stand_in() -> StandIn:
    """Make the server inside the loop that it belongs to."""
    return StandIn()


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """A run directory for one edge."""
    return tmp_path
