"""An erasure whose server is killed is finished by the next one."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.service.erasure_process import STEPS
from tests.service.test_erasure import (
    MARK,
    PERSON,
    deleted,
    files_with,
    finish,
    is_genuine,
    no_session,
    started,
)


@pytest.mark.parametrize("step", STEPS)
def test_a_killed_server_is_survived(tmp_path: Path, step: str) -> None:
    """Once an erasure has begun, the next start finishes it, wherever the process ended; the receipt can be had."""
    data_dir = tmp_path / "data"
    command = [sys.executable, "-m", "tests.service.erasure_process", str(data_dir), step]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=600)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert files_with(data_dir, MARK) != []
    with started(data_dir) as server, server.channel() as channel:
        finish(server)
        assert files_with(data_dir, MARK) == []
        no_session(channel, customer_id=PERSON)
        (receipt,) = deleted(channel, customer_id=PERSON).earlier_receipts
        assert (receipt.session_count, receipt.event_count, receipt.row_count) == (3, 9, 3)
        assert is_genuine(channel, receipt, customer_id=PERSON) == (True, True, 0)
    assert files_with(data_dir, MARK) == []
