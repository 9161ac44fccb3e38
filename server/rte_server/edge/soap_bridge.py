"""Run the SOAP bridge as a child: Envoy sends `/soap` to its socket, and it calls the gRPC server like any client."""

from __future__ import annotations

import asyncio
import logging
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from rte_server.edge.child import Child

_log = logging.getLogger("rte_server.edge.soap")

_LEVELS = {"DEBUG": 10, "INFO": 20, "WARNING": 30, "ERROR": 40, "CRITICAL": 50}
_LOG_LINE = re.compile(r"(DEBUG|INFO|WARNING|ERROR|CRITICAL) (.*)", re.DOTALL)
_TAIL_CHARACTERS = 600


@dataclass(frozen=True, slots=True)
class SoapSettings:
    """What the bridge is told."""

    run_dir: Path
    """Existing directory for its socket. Nobody else may write there."""

    server: str
    """Address of the gRPC server: `unix:/path` or `host:port`."""

    body_bytes_max: int
    """Largest request, bytes, also after decompression, >= 1,024."""

    public_url: str = ""
    """Address that the WSDL gives. Empty: the one by which the caller reached Envoy."""

    plaintext_passwords: bool = False
    """Takes passwords in the envelope over connections without TLS, too."""

    ready_timeout_s: float = 30.0
    """Seconds that a start may take, > 0."""

    restart_delay_s_max: float = 5.0
    """Longest pause before a restart, seconds."""


class SoapBridge:
    """One supervised bridge. Belongs to the event loop in which `start` is awaited; it ends with this process."""

    def __init__(self, settings: SoapSettings) -> None:
        self._settings = settings
        self._child = Child(
            "soap",
            settings.run_dir / "soap.sock",
            is_ready=self._is_ready,
            log_line=_log_line,
            ready_timeout_s=settings.ready_timeout_s,
            restart_delay_s_max=settings.restart_delay_s_max,
        )

    @property
    def upstream(self) -> str:
        """The address to which Envoy sends `/soap`; it stays the same over restarts."""
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
        command = [sys.executable, "-m", "rte_soap", "--listen", self.upstream, "--server", settings.server]
        command += ["--body-bytes-max", str(settings.body_bytes_max), "--public-url", settings.public_url]
        if settings.plaintext_passwords:
            command.append("--plaintext-passwords")
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
