"""A whole server in this process, for the tests of programs that use RTE: the real engine on a loopback port, no mock.

    with rte_server.testing.TestServer() as server, rte.Client(server.address) as client:
        ...

It stands here, and not beside the client, because what others import never imports the server: a program that only calls one
needs neither numba nor Envoy. Its tests do.
"""

from __future__ import annotations

import asyncio
import logging
import tempfile
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import thread as _pools  # noqa: F401 - its hook is registered before the one below
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import grpc
import uvloop

from rte_server import config
from rte_server.bootstrap import Application, wall_clock_ms

_log = logging.getLogger("rte.testing")

START_TIMEOUT_S = 900
"""The first start of an installation compiles the kernels: 100 s of processor time, which others may want, too."""

STOP_TIMEOUT_S = 300

SMALL = {
    "server.port": 0,
    "session.sessions_max": 20_000,
    "session.written_sessions_max": 1_000,
    "dedup.events_max": 50_000,
    "strings.strings_max": 100_000,
    "strings.string_bytes_max": 16 << 20,
    # A test asks what is answered, not how soon: where others keep the machine busy, a query takes seconds now and then.
    "mart.query_ms_max": 60_000,
    "mart.read_wait_ms": 10_000,
    "mart.write_ms_max": 60_000,
    "explain.time_ms_max": 25_000,
}

T = TypeVar("T")


class TestServer:
    """A running server, in an event loop in a thread of its own. A context manager that stops it.

    Attributes:
        application: What runs.
    """

    __test__ = False  # So that pytest does not take it for a test.

    def __init__(
        self,
        data_dir: Path | None = None,
        *,
        edge: bool = False,
        clock_ms: Callable[[], int] = wall_clock_ms,
        **options: object,
    ) -> None:
        """Start a server.

        Args:
            data_dir: Its data directory, new or of an earlier server. None: one that is deleted at the end.
            edge: Whether Envoy serves the public port, for HTTP and gRPC-Web.
            clock_ms: Its clock, milliseconds since 1970.
            options: Settings by `section__name`, such as `session__gap_ms=1000`.
        """
        self._folder = None if data_dir is not None else tempfile.TemporaryDirectory(prefix="rte-test-")
        data_dir = data_dir if data_dir is not None else Path(self._folder.name if self._folder is not None else "")
        settings = {name.replace("__", "."): value for name, value in options.items()}
        self._config = config.load(None, {}, SMALL | {"server.data_dir": data_dir, "edge.enabled": edge} | settings)
        self._clock_ms = clock_ms
        self._loop = uvloop.new_event_loop()
        # A daemon, so that a test run ends where `stop` is not reached; the hook stops the server then.
        self._thread = threading.Thread(target=self._loop.run_forever, name="rte-test-server", daemon=True)
        self._thread.start()
        try:
            self.application = self.run(self._start(), START_TIMEOUT_S)
        except BaseException:
            self._end_loop()
            raise
        _running.add(self)

    @property
    def address(self) -> str:
        """Return where the gRPC server listens."""
        return f"127.0.0.1:{self.application.grpc_port}"

    @property
    def http_port(self) -> int:
        """Return the public port."""
        return self.application.http_port

    def run(self, work: Coroutine[Any, Any, T], timeout_s: float = 120) -> T:
        """Run a coroutine in the server's loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout_s)

    def stop(self) -> None:
        """Stop the server in order. A second call does nothing."""
        _running.discard(self)
        if self._thread.is_alive():
            try:
                self.run(self.application.stop(), STOP_TIMEOUT_S)
            finally:
                self._end_loop()
                if self._folder is not None:
                    self._folder.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def channel(self) -> grpc.Channel:
        """Return a new channel; the caller closes it."""
        return grpc.insecure_channel(self.address)

    async def _start(self) -> Application:
        application = Application(self._config, self._clock_ms)
        await application.start()
        return application

    def _end_loop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(STOP_TIMEOUT_S)
        self._loop.close()


_running: set[TestServer] = set()
"""Servers that nobody has stopped. They are held: the folder of one that is not would be deleted under it while it runs."""


def _stop_all() -> None:
    """Stop as the process ends what nobody has stopped."""
    for server in list(_running):
        try:
            server.stop()
        except Exception as error:  # noqa: BLE001 - the process ends; what is left behind has to be said
            _log.error("a test server did not stop in order: %r", error)


# `atexit` is too late: by then no pool of threads takes work, and the server needs them to stop. These hooks run in reverse
# order, so that of the pools, which their module has registered above, comes after this one.
threading._register_atexit(_stop_all)  # type: ignore[attr-defined]  # noqa: SLF001 - nothing public runs as early
