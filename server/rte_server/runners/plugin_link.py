"""The server's side of one process of a plug-in: its start, questions and answers over a socket pair, its end."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from time import monotonic

import numpy as np
from numpy.typing import NDArray

from rte_server.edge import parent_death
from rte_server.engine.scores import PACKAGE_MISSING, TIMEOUT
from rte_server.runners.plugin_output import log_output
from rte_server.runners.plugin_protocol import ANSWER_HEAD, NO_MEMORY, OK, REQUEST_HEAD, UNKNOWN
from rte_server.runners.scorer import ScorerError

START_S = 30.0
"""How long the process of a plug-in may take to import it."""

_MIB = 1 << 20


class ProcessLost(ScorerError):
    """The process has ended, or has to be: it answers nothing any more."""


class PluginLink:
    """One process of a plug-in. Belongs to one thread, but for `abort`."""

    def __init__(self, name: str, memory_bytes_max: int) -> None:
        """Make it; `start` starts the process.

        Args:
            name: Of its entry point.
            memory_bytes_max: What the process may hold in memory, bytes.
        """
        self._name = name
        self._memory_bytes_max = memory_bytes_max
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._is_loaded = False
        self._load_until_s = 0.0

    def start(self) -> None:
        """Start the process, and a thread for what it prints. Does not wait until the plug-in is imported.

        Raises:
            ProcessLost: The system refuses.
        """
        try:
            self._start()
        except (OSError, RuntimeError) as error:
            self.close()
            # No files, memory or threads are left: that passes.
            raise ProcessLost(f"the process of the plug-in {self._name} cannot be started: {error}") from None

    def _start(self) -> None:
        self._load_until_s = monotonic() + START_S
        self._socket, theirs = socket.socketpair()
        with theirs:
            # Through a small program that asks the kernel to end it with its parent.
            command = [sys.executable, "-I", "-S", parent_death.__file__, str(os.getpid())]
            command += [sys.executable, "-m", "rte_server.runners.plugin_process"]
            command += [self._name, str(theirs.fileno()), str(self._memory_bytes_max)]
            self._process = subprocess.Popen(
                command,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                # A process group of its own, so that what it starts can be ended with it.
                start_new_session=True,
            )
        threading.Thread(
            target=log_output, args=(self._name, self._process.stdout), name=f"rte-output-{self._name}", daemon=True
        ).start()

    def is_loaded(self) -> bool:
        """Return whether it can be asked, or tried to be, without waiting for the import."""
        assert self._socket is not None
        if self._is_loaded or monotonic() >= self._load_until_s:
            return True
        self._socket.settimeout(0.0)
        try:
            self._socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            return True  # It has ended, as `load` will say.
        return True

    def load(self) -> None:
        """Wait until the plug-in is imported.

        Raises:
            ProcessLost: PACKAGE_MISSING, there is none of that name; TIMEOUT; FAILED, it cannot be imported or called.
        """
        if self._is_loaded:
            return
        try:
            self._answer(self._load_until_s)
        except TimeoutError:
            message = f"the plug-in {self._name} took longer than {START_S:.0f} s to load"
            raise ProcessLost(message, TIMEOUT) from None
        except OSError:
            raise ProcessLost(f"{self._ended()} while it was loaded") from None
        except ScorerError as error:
            # It ends itself after that.
            raise ProcessLost(str(error), error.reason) from None
        self._is_loaded = True

    def ask(self, inputs: NDArray[np.float32], time_limit_s: float) -> bytes:
        """Return the bytes of the numbers that the plug-in gives.

        Args:
            inputs: float32[n, k].
            time_limit_s: How long it may take, seconds, > 0.

        Raises:
            ProcessLost: TIMEOUT, FAILED.
            ScorerError: It raised, or gave something else than numbers; the process goes on.
        """
        assert self._socket is not None
        until_s = monotonic() + time_limit_s
        try:
            self._socket.settimeout(max(0.001, time_limit_s))
            self._socket.sendall(REQUEST_HEAD.pack(*inputs.shape) + inputs.tobytes())
            return self._answer(until_s)
        except TimeoutError:
            message = f"the plug-in {self._name} took longer than {time_limit_s * 1000:.0f} ms for a batch"
            raise ProcessLost(message, TIMEOUT, is_by_size=True) from None
        except OSError:
            raise ProcessLost(self._ended()) from None

    def _answer(self, until_s: float) -> bytes:
        """Return the content of an answer.

        Raises:
            ScorerError: The plug-in raised, gave something else than numbers, or there is none.
            OSError: The process ended, or the time is over (TimeoutError).
        """
        assert self._socket is not None
        status, size = ANSWER_HEAD.unpack(_received(self._socket, ANSWER_HEAD.size, until_s))
        content = _received(self._socket, size, until_s)
        if status == OK:
            return content
        text = content.decode("utf-8", "replace")
        if status == UNKNOWN:
            raise ScorerError(text, PACKAGE_MISSING)
        if status == NO_MEMORY:
            message = f"the plug-in {self._name} reached its memory limit of {self._limit()}: {text}"
            raise ProcessLost(message, is_by_size=True)
        raise ScorerError(f"the plug-in {self._name} failed: {text}")

    def _limit(self) -> str:
        return f"{self._memory_bytes_max / _MIB:,.0f} MiB (`models.plugin_memory_bytes_max`)"

    def _ended(self) -> str:
        """Return a sentence that says how the process ended; ends it if it has only closed its socket."""
        self.abort()
        code = self._process.wait() if self._process is not None else 0
        if code >= 0:
            return f"the process of the plug-in {self._name} ended with code {code}"
        # Native code that gets no memory ends by such a signal, and cannot say why.
        name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
        return f"the process of the plug-in {self._name} was ended by {name}; its memory limit is {self._limit()}"

    def abort(self) -> None:
        """Kill the process with all of its group. Any thread; idempotent."""
        process = self._process
        # Its number stays its own until it is waited for, even if it has ended by itself.
        if process is not None and process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)

    def close(self) -> None:
        """End the process and give back what belongs to it; idempotent."""
        if self._socket is not None:
            self._socket.close()
        self.abort()
        if self._process is not None:
            self._process.wait()


def _received(channel: socket.socket, size: int, until_s: float) -> bytes:
    """Return exactly `size` bytes.

    Raises:
        OSError: The other side has ended; TimeoutError: the time is over.
    """
    content = bytearray()
    while len(content) < size:
        channel.settimeout(max(0.001, until_s - monotonic()))
        part = channel.recv(min(size - len(content), 1 << 20))
        if not part:
            raise ConnectionResetError
        content += part
    return bytes(content)
