"""Run a bridge as a child: a program that Envoy sends requests to, and that calls the gRPC server like any client."""

from __future__ import annotations

import asyncio
import logging
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rte_server.edge.child import Child

_log = logging.getLogger("rte_server.edge.bridge")

_LEVELS = {"DEBUG": 10, "INFO": 20, "WARNING": 30, "ERROR": 40, "CRITICAL": 50}
_LOG_LINE = re.compile(r"(DEBUG|INFO|WARNING|ERROR|CRITICAL) (.*)", re.DOTALL)
_TAIL_CHARACTERS = 600
_KILL_AFTER_S = 15.0
"""A bridge gives its calls 10 s when it is told to end."""


@dataclass(frozen=True, slots=True)
class BridgeSettings:
    """Which bridge, and what it is told."""

    name: str
    """For logs, errors and the name of its socket, such as `soap`."""

    module: str
    """The package that is run, such as `rte_soap`."""

    run_dir: Path
    """Existing directory for its socket. Nobody else may write there."""

    server: str
    """Address of the gRPC server: `unix:/path` or `host:port`."""

    arguments: Sequence[str] = ()
    """Its own options. Others can read them: nothing secret."""

    ready_timeout_s: float = 120.0
    """Seconds that a start may take, > 0: one or two, but on an overloaded machine many times that. A bridge that ends instead is
    noticed at once."""

    restart_delay_s_max: float = 5.0
    """Longest pause before a restart, seconds."""


class Bridge:
    """One supervised bridge. Belongs to the event loop in which `start` is awaited; it ends with this process."""

    def __init__(self, settings: BridgeSettings) -> None:
        self._settings = settings
        self._child = Child(
            settings.name,
            settings.run_dir / f"{settings.name}.sock",
            is_ready=self._is_ready,
            log_line=_log_line,
            ready_timeout_s=settings.ready_timeout_s,
            restart_delay_s_max=settings.restart_delay_s_max,
            kill_after_s=_KILL_AFTER_S,
        )

    @property
    def upstream(self) -> str:
        """The address to which Envoy sends its requests; it stays the same over restarts."""
        return f"unix:{self._child.socket}"

    @property
    def pid(self) -> int | None:
        """The process id; None while it does not run."""
        return self._child.pid

    @property
    def restart_count(self) -> int:
        """How often it had to be restarted since `start`."""
        return self._child.restart_count

    async def start(self) -> None:
        """Start the bridge and return when it serves.

        Raises:
            EdgeError: It ended, or was not ready in time.
        """
        settings = self._settings
        command = [sys.executable, "-m", settings.module, "--listen", self.upstream, "--server", settings.server]
        command += settings.arguments
        await self._child.start(command, lambda output: output[-_TAIL_CHARACTERS:])
        self._child.supervise()

    async def stop(self) -> None:
        """End the bridge after the calls that it works on. Never raises; a second call does nothing."""
        await self._child.end()

    async def _is_ready(self) -> bool:
        try:
            _, writer = await asyncio.open_unix_connection(str(self._child.socket))
        except OSError:
            return False
        writer.close()
        return True


def _log_line(text: str) -> None:
    match = _LOG_LINE.fullmatch(text)
    level, text = (_LEVELS[match[1]], match[2]) if match else (logging.WARNING, text)
    # That it starts and stops is known here.
    _log.log(logging.DEBUG if level <= logging.INFO else level, "%s", text)
