"""Absences and triggers of a real server come at their time, also when it was killed or stopped in between."""

from __future__ import annotations

import math
import time
from pathlib import Path

import pytest

from tests.bench.figures import percentile
from tests.bench.server_process import ServerProcess
from tests.bench.time_part import model_file, send_carts, visitors, watch_until_seen

LATE_S_MAX = 2.0
"""Generous, since tests share their machine; the benchmark's part `time` shows the figure, some tens of milliseconds."""

VISITORS = visitors(40)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("ending", ["kill", "stop"])
def test_what_is_due_after_a_restart_comes_at_its_time(tmp_path: Path, ending: str) -> None:
    """Events before the end of one server make absences and triggers of the next, no earlier and hardly later than due."""
    settings = {"RTE_SESSION__SESSIONS_MAX": "10000", "RTE_JOURNAL__SNAPSHOT_ENTRIES": "15"}
    with ServerProcess(tmp_path / "first", edge=False, **settings):
        pass  # Kernels are compiled now, so that the start measured next is one like those to come.
    with ServerProcess(tmp_path / "second", edge=False, **settings) as server:
        wait_s = math.ceil(2 * server.start_s + 5)
    settings["RTE_MODELS__PACKS"] = str(model_file(tmp_path, wait_s))
    with ServerProcess(tmp_path / "data", edge=False, **settings) as server, server.channel() as channel:
        sent = send_carts(channel, VISITORS, 0.02)
        server.kill() if ending == "kill" else server.stop()
    with ServerProcess(tmp_path / "data", edge=False, **settings) as server, server.channel() as channel:
        assert time.time() < min(sent.values()) + wait_s, "the restart took too long for this test"
        late = watch_until_seen(channel, VISITORS, 2 * wait_s + 30).late_s(sent, wait_s)
    # An event is sent in microseconds and kept in milliseconds.
    assert min(late) >= -0.002
    assert percentile(late, 0.99) < LATE_S_MAX
