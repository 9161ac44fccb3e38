"""A server for all tests of this folder, and the command as a user calls it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from rte_server.cli.app import main
from tests.service.live_server import LiveServer, live_server

TIMEOUT_S = 900
"""The first start compiles the kernels."""


@dataclass(frozen=True)
class Result:
    """What a command left."""

    exit_code: int
    out: str
    err: str


Rte = Callable[..., Result]


@pytest.fixture
def rte(capsys: pytest.CaptureFixture[str]) -> Rte:
    """The command, called in this process."""

    def call(*arguments: object) -> Result:
        with pytest.raises(SystemExit) as ended:
            main([str(each) for each in arguments])
        code = ended.value.code
        captured = capsys.readouterr()
        return Result(code if isinstance(code, int) else 0 if code is None else 1, captured.out, captured.err)

    return call


def in_process(*arguments: object, **variables: str) -> Result:
    """Call the command as a process of its own, with these environment variables in addition."""
    command = [sys.executable, "-m", "rte_server", *map(str, arguments)]
    environ = os.environ | variables
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False, env=environ)
    return Result(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """A server without Envoy, for the tests of one module."""
    with live_server(tmp_path_factory.mktemp("data")) as running:
        yield running
