"""`rte run` and `rte serve` as processes of their own."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rte_server.cli.live_table import Rate
from tests.cli.conftest import in_process

STOP_TIMEOUT_S = 300


@contextmanager
def running(*arguments: object) -> Iterator[subprocess.Popen[str]]:
    """Run a command for the time of a block; its lines come over `stdout`, errors and log too."""
    command = [sys.executable, "-u", "-m", "rte_server", *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def line_with(process: subprocess.Popen[str], pattern: str) -> re.Match[str]:
    """Read lines until one has the pattern."""
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        found = re.search(pattern, line)
        if found:
            return found
    raise AssertionError(f"no line with {pattern} in:\n{''.join(lines)}")


def test_run_shows_live_sessions_and_its_curl_line_works(tmp_path: Path) -> None:
    """`rte run` opens the shop, prints lines without a terminal, answers its own curl line, and stops at SIGINT."""
    with running("run", "--port", 0, "--data-dir", tmp_path / "data") as process:
        url = line_with(process, r"try  curl '(\S+)'").group(1)
        # The shop opens before the first line: how many sessions that one shows depends on how busy the machine is.
        while int(line_with(process, r"(\d+) active sessions, ([\d,]+) events").group(1)) <= 50:
            pass
        with urllib.request.urlopen(url, timeout=60) as answer:
            assert b"session_id" in answer.read()
        process.send_signal(signal.SIGINT)
        assert process.wait(STOP_TIMEOUT_S) == 0


def test_serve_keeps_its_state_and_its_data_directory(tmp_path: Path) -> None:
    """`rte serve` stops at SIGTERM with 0; a second server on the same directory is refused in a sentence."""
    options = ("serve", "--port", 0, "--data-dir", tmp_path / "data")
    with running(*options) as process:
        line_with(process, "serving: gRPC on port")
        second = in_process(*options)
        assert second.exit_code == 1
        assert "Error: The server cannot start: The data directory" in second.err
        process.send_signal(signal.SIGTERM)
        assert process.wait(STOP_TIMEOUT_S) == 0


def test_serve_for_some_seconds_ends_by_itself(tmp_path: Path) -> None:
    """`--seconds` is for scripts: the server stops in order after that time."""
    result = in_process("serve", "--port", 0, "--seconds", 0.5, "--data-dir", tmp_path)
    assert result.exit_code == 0, result.err


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    """A server whose gRPC port is taken says which and what to do."""
    with running("serve", "--port", 0, "--data-dir", tmp_path / "a") as process:
        port = line_with(process, r"serving: gRPC on port (\d+)").group(1)
        second = in_process("serve", "--port", 0, "--grpc-port", port, "--data-dir", tmp_path / "b")
    assert second.exit_code == 1
    assert f"The port {port} on 127.0.0.1 is taken or cannot be used" in second.err
    assert "Traceback" not in second.err


def test_a_public_port_that_is_taken_is_named_at_once(tmp_path: Path) -> None:
    """A server whose public port is taken says so before it compiles anything or makes a journal."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = in_process("serve", "--port", port, "--data-dir", tmp_path)
    assert result.exit_code == 1
    assert f"Port {port} on 127.0.0.1 is taken by another program" in result.err
    assert not list(tmp_path.rglob("*.sqlite*")) and "kernels" not in result.err


def test_a_rate_is_that_of_the_last_seconds() -> None:
    """The shown rate follows the counter within its window, and is 0 as long as there is only one look."""
    rate = Rate(window_s=10.0)
    assert rate.of(1000, 0.0) == 0.0
    assert rate.of(1100, 5.0) == 20.0
    assert rate.of(1100, 15.0) == 0.0
