"""A whole server in this process, as `rte serve` runs it, for tests that talk to it over the network."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import grpc
import uvloop

from rte_server import config
from rte_server.bootstrap import Application, wall_clock_ms

START_TIMEOUT_S = 900
"""The first start of an installation compiles the kernels: 100 s of processor time, which others may want, too."""

SMALL = {
    "server.port": 0,
    "session.sessions_max": 20_000,
    "session.written_sessions_max": 1_000,
    "dedup.events_max": 50_000,
    "strings.strings_max": 100_000,
    "strings.string_bytes_max": 16 << 20,
}

T = TypeVar("T")


class LiveServer:
    """A running server, in an event loop in a thread of its own.

    Attributes:
        application: What runs.
    """

    def __init__(
        self, data_dir: Path, *, edge: bool = False, clock_ms: Callable[[], int] = wall_clock_ms, **options: object
    ) -> None:
        """Start a server.

        Args:
            data_dir: Its data directory, new or of an earlier server.
            edge: Whether Envoy serves the public port.
            clock_ms: Its clock, milliseconds since 1970.
            options: Settings by `section__name`.
        """
        settings = {name.replace("__", "."): value for name, value in options.items()}
        self._config = config.load(None, {}, SMALL | {"server.data_dir": data_dir, "edge.enabled": edge} | settings)
        self._clock_ms = clock_ms
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="live-server")
        self._thread.start()
        try:
            self.application = self.run(self._start(), START_TIMEOUT_S)
        except BaseException:
            self._end_loop()
            raise

    @property
    def address(self) -> str:
        """Return where the gRPC server listens."""
        return f"127.0.0.1:{self.application.grpc_port}"

    @property
    def http_port(self) -> int:
        """Return the public port."""
        return self.application.http_port

    def run(self, work: Coroutine[Any, Any, T], timeout_s: float = 30) -> T:
        """Run a coroutine in the server's loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout_s)

    def stop(self) -> None:
        """Stop the server in order. A second call does nothing."""
        if self._thread.is_alive():
            self.run(self.application.stop(), 120)
            self._end_loop()

    def channel(self) -> grpc.Channel:
        """Return a new channel; the caller closes it."""
        return grpc.insecure_channel(self.address)

    async def _start(self) -> Application:
        application = Application(self._config, self._clock_ms)
        await application.start()
        return application

    def _end_loop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()


@contextmanager
def live_server(
    data_dir: Path, *, edge: bool = False, clock_ms: Callable[[], int] = wall_clock_ms, **options: object
) -> Iterator[LiveServer]:
    """Run a server for the time of a block."""
    server = LiveServer(data_dir, edge=edge, clock_ms=clock_ms, **options)
    try:
        yield server
    finally:
        server.stop()
