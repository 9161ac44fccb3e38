"""A program that runs as a child of the server: started, watched, restarted, ended."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import sys
import tempfile
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from rte_server.edge.settings import EdgeError

_log = logging.getLogger("rte_server.edge")

_RESTART_DELAY_S_MIN = 0.1
_STABLE_S = 30.0
"""After this long in service a death is a new one, and the pause before the restart is the shortest again."""

_POLL_S = 0.02
_SOCKET_PATH_BYTES_MAX = 100
"""Linux allows 107 bytes for the path of a unix socket."""


class Child:
    """One supervised program, which listens on a unix socket.

    Belongs to the event loop in which `start` is awaited. The program ends with this process, however that ends. Its
    socket is removed before each start, since one that was left behind could not be bound.

    Attributes:
        socket: Path of its socket.
        restart_count: How often it had to be restarted since `start`.
    """

    def __init__(
        self,
        name: str,
        socket: Path,
        *,
        is_ready: Callable[[], Awaitable[bool]],
        log_line: Callable[[str], None],
        ready_timeout_s: float,
        restart_delay_s_max: float,
        kill_after_s: float,
    ) -> None:
        """Describe a program that does not run yet.

        Args:
            name: For logs and errors.
            socket: Where its socket shall be, in an existing directory. Where the path is too long for a socket, it
                stands in a temporary directory.
            is_ready: Says whether the program serves.
            log_line: Takes a line that the program wrote to its standard error.
            ready_timeout_s: Seconds that a start may take, > 0.
            restart_delay_s_max: Longest pause before a restart, seconds; pauses begin at 0.1 s and double.
            kill_after_s: How long the program may take to end when it is told to, seconds, > 0.
        """
        self.restart_count = 0
        self._name = name
        self._is_ready = is_ready
        self._log_line = log_line
        self._ready_timeout_s = ready_timeout_s
        self._restart_delay_s_max = restart_delay_s_max
        self._kill_after_s = kill_after_s
        self._command: Sequence[str] = ()
        self._explain: Callable[[str], str] = str
        self._restarted: Callable[[], Awaitable[None]] | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._supervision: asyncio.Task[None] | None = None
        self._reader: asyncio.Task[None] | None = None
        self._tail: deque[str] = deque(maxlen=40)
        self._socket_dir: Path | None = None
        self.socket = socket
        if len(os.fsencode(socket)) > _SOCKET_PATH_BYTES_MAX:
            self._socket_dir = Path(tempfile.mkdtemp(prefix="rte-"))
            self.socket = self._socket_dir / socket.name

    @property
    def pid(self) -> int | None:
        """The process id; None while it does not run."""
        process = self._process
        return process.pid if process is not None and process.returncode is None else None

    async def start(self, command: Sequence[str], explain: Callable[[str], str]) -> None:
        """Start the program and return when it serves.

        Args:
            command: An absolute path and arguments.
            explain: Returns the part of what it wrote that says why it ended.

        Raises:
            EdgeError: It ended, or was not ready in time; it is gone then.
        """
        self._command, self._explain = command, explain
        try:
            await self._spawn()
        except BaseException:
            await self.end()
            raise

    def supervise(self, restarted: Callable[[], Awaitable[None]] | None = None) -> None:
        """Restart the program from now on when it ends, and call `restarted` after each time."""
        self._restarted = restarted
        self._supervision = asyncio.create_task(self._supervise(), name=f"{self._name}-supervision")

    def leave_alone(self) -> None:
        """Restart it no more. A second call does nothing."""
        if self._supervision is not None:
            self._supervision.cancel()
            self._supervision = None

    async def end(self) -> None:
        """End the program. Returns when it is gone. Never raises; a second call does nothing."""
        self.leave_alone()
        await self._end_process()
        if self._socket_dir is not None:
            shutil.rmtree(self._socket_dir, ignore_errors=True)
            self._socket_dir = None

    async def _spawn(self) -> None:
        self.socket.unlink(missing_ok=True)
        self._tail.clear()
        shim = Path(__file__).with_name("parent_death.py")
        self._process = process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", str(shim), str(os.getpid()), *self._command),
            stdin=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,  # Control-C in a terminal is for the server, which ends its children in order.
        )
        self._reader = asyncio.create_task(self._read_log(process), name=f"{self._name}-log")
        deadline_s = time.monotonic() + self._ready_timeout_s
        while not await self._is_ready():
            if process.returncode is not None:
                await self._reader
                why = self._explain(" ".join(self._tail))
                raise EdgeError(f"{self._name} ended with code {process.returncode}: {why}")
            if time.monotonic() > deadline_s:
                await self._end_process()
                raise EdgeError(f"{self._name} was not ready within {self._ready_timeout_s} s")
            await asyncio.sleep(_POLL_S)

    async def _supervise(self) -> None:
        delay_s = _RESTART_DELAY_S_MIN
        while self._process is not None:
            started_s = time.monotonic()
            code = await self._process.wait()
            if time.monotonic() - started_s > _STABLE_S:
                delay_s = _RESTART_DELAY_S_MIN
            _log.error("%s ended with code %d; it restarts in %.1f s", self._name, code, delay_s)
            await asyncio.sleep(delay_s)
            delay_s = min(delay_s * 2, self._restart_delay_s_max)
            self.restart_count += 1
            try:
                await self._spawn()
            except (EdgeError, OSError) as error:
                _log.error("%s does not restart: %s", self._name, error)
                continue
            _log.warning("%s restarted, %d times so far", self._name, self.restart_count)
            if self._restarted is not None:
                await self._restarted()

    async def _end_process(self) -> None:
        process = self._process
        if process is not None and process.returncode is None:
            process.terminate()
            try:
                await asyncio.wait_for(process.wait(), self._kill_after_s)
            except TimeoutError:
                _log.warning("%s did not end within %.0f s and is killed", self._name, self._kill_after_s)
                process.kill()
                await process.wait()
        if self._reader is not None:
            await self._reader
            self._reader = None
        self.socket.unlink(missing_ok=True)

    async def _read_log(self, process: asyncio.subprocess.Process) -> None:
        while process.stderr is not None and (line := await _read_line(process.stderr)):
            text = line.decode(errors="replace").rstrip()
            self._tail.append(text)
            self._log_line(text)


async def _read_line(stream: asyncio.StreamReader) -> bytes:
    try:
        return await stream.readline()
    except ValueError:  # Longer than the buffer of the reader; what is left of it is the next line.
        return b"(a line that is too long)\n"
