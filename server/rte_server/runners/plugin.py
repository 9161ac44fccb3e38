"""Plug-ins: scores by Python code of others, in a process of their own.

A plug-in is an entry point of the group `rte.scorers`: a callable that takes float32[n, k], read-only, and returns n
numbers. It runs in a process, not in a thread of the server: a thread cannot be ended, and one that computes in Python
takes every other one's turn. A process that exceeds its time limit is killed, and another one is started for the next
attempt.
"""

from __future__ import annotations

import os
import signal
import socket
import struct
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
from rte_server.runners.scorer import ScorerError

GROUP = "rte.scorers"
"""The group of entry points."""

START_S = 30.0
"""How long the process of a plug-in may take to import it."""

# Both ways: a head, then as many bytes as it says.
REQUEST_HEAD = struct.Struct("<II")  # rows, inputs; then float32
ANSWER_HEAD = struct.Struct("<BI")  # OK, BROKEN or UNKNOWN, bytes; then float64, or a text
OK, BROKEN, UNKNOWN = range(3)

NEAR = "; did you mean "
"""What follows in the text of UNKNOWN where an installed plug-in has a name like the one that is asked for."""


class PluginScorer:
    """Runs a plug-in."""

    def __init__(self, name: str, time_limit_s: float) -> None:
        """Make it; its process starts with the first batch.

        Args:
            name: Of its entry point.
            time_limit_s: How long it may take for one batch, seconds, > 0.
        """
        self._name = name
        self._time_limit_s = time_limit_s
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._is_aborted = False

    def load(self) -> None:
        """Start its process, which imports it, as the first batch would.

        Raises:
            ScorerError: PACKAGE_MISSING, there is none of that name; TIMEOUT; FAILED, it cannot be imported or called.
        """
        self._started()

    def score(self, inputs: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return what the plug-in says of the rows.

        Raises:
            ScorerError: TIMEOUT, FAILED, PACKAGE_MISSING.
        """
        channel = self._started()
        deadline_s = monotonic() + self._time_limit_s
        try:
            self._send(channel, REQUEST_HEAD.pack(*inputs.shape) + inputs.tobytes(), deadline_s)
            content = self._answer(channel, deadline_s)
        except TimeoutError:
            self._kill()
            message = f"the plug-in {self._name} took longer than {self._time_limit_s * 1000:.0f} ms for a batch"
            raise ScorerError(message, TIMEOUT) from None
        except OSError:
            self._kill()
            raise ScorerError(f"the process of the plug-in {self._name} ended") from None
        return np.frombuffer(content, np.float64)

    def _started(self) -> socket.socket:
        """Return the way to the process, which is started if it does not run."""
        if self._socket is not None:
            return self._socket
        try:
            self._start()
        except (OSError, RuntimeError) as error:
            self._kill()
            # No files, memory or threads are left: that passes.
            raise ScorerError(f"the process of the plug-in {self._name} cannot be started: {error}") from None
        assert self._socket is not None
        try:
            self._answer(self._socket, monotonic() + START_S)
        except TimeoutError:
            self._kill()
            raise ScorerError(f"the plug-in {self._name} took longer than {START_S:.0f} s to load", TIMEOUT) from None
        except OSError:
            self._kill()
            raise ScorerError(f"the process of the plug-in {self._name} ended while it was loaded") from None
        except ScorerError:
            self._kill()
            raise
        return self._socket

    def _start(self) -> None:
        """Start the process, and a thread for what it prints.

        Raises:
            OSError, RuntimeError: The system refuses.
        """
        self._socket, theirs = socket.socketpair()
        with theirs:
            # Through a small program that asks the kernel to end it with its parent.
            command = [sys.executable, "-I", "-S", parent_death.__file__, str(os.getpid())]
            command += [sys.executable, "-m", "rte_server.runners.plugin_process", self._name, str(theirs.fileno())]
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
        # Looked at after the process is known: `abort` has then ended it, or is seen here.
        if self._is_aborted:
            raise OSError("the server is ending")

    def _send(self, channel: socket.socket, content: bytes, deadline_s: float) -> None:
        channel.settimeout(max(0.001, deadline_s - monotonic()))
        channel.sendall(content)

    def _answer(self, channel: socket.socket, deadline_s: float) -> bytes:
        """Return the content of an answer.

        Raises:
            ScorerError: The plug-in raised, gave something else than numbers, or there is none.
            OSError: The process ended, or the time is over (TimeoutError).
        """
        status, size = ANSWER_HEAD.unpack(_received(channel, ANSWER_HEAD.size, deadline_s))
        content = _received(channel, size, deadline_s)
        if status == OK:
            return content
        text = content.decode("utf-8", "replace")
        if status == UNKNOWN:
            raise ScorerError(text, PACKAGE_MISSING)
        raise ScorerError(f"the plug-in {self._name} failed: {text}")

    def _kill(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if self._process is not None:
            _kill_group(self._process)
            self._process.wait()
            self._process = None

    def abort(self) -> None:
        """End the process, from another thread: `score` fails at once."""
        self._is_aborted = True
        process = self._process
        if process is not None:
            _kill_group(process)

    def close(self) -> None:
        """End the process."""
        self._kill()


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    """Kill a process that leads a group and has not been waited for, with all of the group."""
    # Its number stays its own until it is waited for, even if it has ended by itself.
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def _received(channel: socket.socket, size: int, deadline_s: float) -> bytes:
    """Return exactly `size` bytes.

    Raises:
        OSError: The other side has ended; TimeoutError: the time is over.
    """
    content = bytearray()
    while len(content) < size:
        channel.settimeout(max(0.001, deadline_s - monotonic()))
        part = channel.recv(min(size - len(content), 1 << 20))
        if not part:
            raise ConnectionResetError
        content += part
    return bytes(content)
