"""The README's commands work as they are printed."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.house.sources import ROOT
from tests.ports import free_port

START_S_MAX = 900.0
RUN_S_MAX = 300.0
SCRIPTS = re.findall(r"^```sh\n(.*?)^```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
EXPECTED = {
    "return_sessions": '"accepted_count":2',
    "/v1/visitors/ada/session?read_mask": '"open_basket_value":',
    "--data-urlencode": '"total_count":',
    "sessions:watch": "data: {",
    "PATCH": '"offer":"free-shipping"',
    "propertys": "ERROR_REASON_UNKNOWN_FIELD",
    "buf curl": "rte.v1.EventService/StreamEvents",
}
"""What the script that holds the key must print."""


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The public port of a server that `rte serve` started, in a process of its own."""
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    port = free_port()
    folder = tmp_path_factory.mktemp("readme")
    command = [sys.executable, "-m", "rte_server", "serve", "--port", str(port), "--data-dir", str(folder / "state")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
    try:
        wait_until_healthy(server, port, folder / "log")
        yield port
    finally:
        server.send_signal(signal.SIGTERM)
        code = server.wait(RUN_S_MAX)
    assert code == 0


def wait_until_healthy(server: subprocess.Popen[bytes], port: int, log: Path) -> None:
    """Wait until the public port answers."""
    end = time.monotonic() + START_S_MAX
    while server.poll() is None and time.monotonic() < end:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise AssertionError(f"the server did not start:\n{log.read_text(encoding='utf-8')[-4000:]}")


def play(script: str, port: int) -> str:
    """Run a script of the README against the server and return what it printed."""
    script = script.replace("localhost:8080", f"127.0.0.1:{port}").replace(".venv/bin/buf", buf())
    # Watching ends by its time limit, which curl reports as failure 28. A shorter one would end it on a busy machine before
    # anything has come.
    done = subprocess.run(
        ["bash", "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=RUN_S_MAX, check=False
    )
    assert done.returncode in (0, 28), done.stdout + done.stderr
    return done.stdout


def buf() -> str:
    """Return the path of buf beside this Python."""
    return str(Path(sys.executable).parent / "buf")


def test_the_commands_of_the_readme_work(port: int) -> None:
    """Each script of the README, played in order, succeeds and prints what it is there to show."""
    shown = set()
    for script in SCRIPTS:
        printed = play(script, port)
        assert '"code":' not in printed
        for key, expected in EXPECTED.items():
            if key in script:
                assert expected in printed, script
                shown.add(key)
    assert shown == set(EXPECTED)


def test_the_python_of_the_readme_works(port: int) -> None:
    """The Python program of the README prints the value that the events before it made."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (program,) = re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    program = program.replace("localhost:8080", f"127.0.0.1:{port}")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=RUN_S_MAX, check=False
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) >= 0.0
