"""Scale: queries over 100,000 live sessions, memory and restart with 1,000,000, and the first start of all."""

from __future__ import annotations

import multiprocessing
import tempfile
import time
from pathlib import Path
from typing import Any

import grpc
import psutil

from rte.v1.event_service_pb2 import WAIT_APPLIED, IngestEventsRequest
from rte.v1.session_service_pb2 import ListSessionsRequest, ListSessionsResponse
from tests.bench.callers import INGEST, LIST, ingest_stream, timed_calls, unary, wait_until_folded
from tests.bench.figures import Figure, milliseconds, percentile
from tests.bench.python_baseline import PythonEngine
from tests.bench.server_process import ServerProcess
from tests.bench.workload import START_MS, Workload, one_event_each, sent_at

PART = "Scale"
FILTER = "product_views > 0 && purchase_propensity > 0.005"
ORDER = "max_viewed_price desc"
PYTHON_SESSIONS = 100_000
SESSION_BYTES_MAX = 2048


def measure(session_count: int, queries: int) -> list[Figure]:
    """Fill a server, ask it, and start it again.

    Args:
        session_count: Live sessions in the end; a tenth of them for the queries.
        queries: Calls of ListSessions.
    """
    room = {"RTE_SESSION__SESSIONS_MAX": str(session_count + 4_096)}
    few = session_count // 10
    with tempfile.TemporaryDirectory() as folder:
        data_dir = Path(folder) / "data"
        with ServerProcess(data_dir, edge=False, **room) as server:
            empty_bytes = server.resident_bytes()
            with server.channel() as channel:
                _fill(channel, one_event_each(range(1, few + 1)), few)
                figures = [_queries(channel, queries, few)]
                _fill(channel, one_event_each(range(few + 1, session_count + 1)), session_count)
            figures.append(_memory((server.resident_bytes() - empty_bytes) / session_count, session_count))
            server.kill()
        figures += _restarts(data_dir, room, session_count)
    return figures


def _fill(channel: grpc.Channel, workload: Workload, expected: int) -> None:
    """Make live sessions, and wait until the server shows them all."""
    wait_until_folded(channel, ingest_stream(channel, [sent_at(request, START_MS) for request in workload.requests]))
    assert _count(channel) == expected, f"the server shows {_count(channel)} of {expected} sessions"


def _count(channel: grpc.Channel) -> int:
    request = ListSessionsRequest(page_size=1).SerializeToString()
    return ListSessionsResponse.FromString(unary(channel, LIST)(request)).total_count


def _queries(channel: grpc.Channel, queries: int, sessions: int) -> Figure:
    request = ListSessionsRequest(filter=FILTER, order_by=ORDER, page_size=50).SerializeToString()
    answer = ListSessionsResponse.FromString(unary(channel, LIST)(request))
    assert len(answer.sessions) == 50
    durations = timed_calls(channel, LIST, [request] * queries)
    p99 = percentile(durations, 0.99)
    what = (
        f"`ListSessions` over {sessions:,} live sessions, filter `{FILTER}` ({answer.total_count:,} match), "
        f"the first 50 by `{ORDER}`, seen by the client"
    )
    value = f"p50 {milliseconds(percentile(durations, 0.5))}, p99 {milliseconds(p99)}"
    return Figure(PART, what, value, "", "p99 <= 10 ms", p99 <= 0.010)


def _memory(per_session: float, sessions: int) -> Figure:
    plain = _python_bytes()
    ratio = f"{per_session / plain:.2f} of plain Python ({plain:,.0f} bytes)"
    what = f"memory per live session of one event at {sessions:,}, `base` + `retail`, all of the process's growth"
    met = per_session <= SESSION_BYTES_MAX
    return Figure(PART, what, f"{per_session:,.0f} bytes", ratio, "<= 2 KiB", met)


def _python_bytes() -> float:
    """Return the bytes that a session takes in plain Python, measured in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_fill_python)


def _fill_python() -> float:
    workload = one_event_each(range(1, PYTHON_SESSIONS + 1))
    before = psutil.Process().memory_info().rss
    engine = PythonEngine()
    for request in workload.requests:
        engine.fold(request, START_MS)
    return (psutil.Process().memory_info().rss - before) / PYTHON_SESSIONS


def _restarts(data_dir: Path, room: dict[str, str], sessions: int) -> list[Figure]:
    """Start again after a crash (the journal alone) and after a stop in order (a snapshot)."""
    figures = []
    stops_s = []
    for what in ("a crash (kill -9, the whole journal is folded again)", "a stop in order (from the snapshot)"):
        with ServerProcess(data_dir, edge=False, **room) as server:
            with server.channel() as channel:
                found = _count(channel)
            stops_s.append(server.stop())
        assert found == sessions, f"{found} of {sessions} sessions after {what}"
        name = f"restart with {sessions:,} live sessions after {what}, to the first answer; none is missing"
        figures.append(Figure(PART, name, f"{server.start_s:.1f} s", "", "<= 5 s", server.start_s <= 5))
    figures.append(
        Figure(PART, f"stop in order with {sessions:,} live sessions, the snapshot included", f"{stops_s[0]:.1f} s")
    )
    return figures


def measure_first_start() -> list[Figure]:
    """Start a server where nothing has been compiled yet, then again where it has."""
    figures = []
    with tempfile.TemporaryDirectory() as folder:
        cache: dict[str, Any] = {"NUMBA_CACHE_DIR": str(Path(folder) / "kernels")}
        for name, bar_s in (("first start", 60), ("second start", None)):
            begun = time.monotonic()
            with ServerProcess(Path(folder) / name, **cache) as server, server.channel() as channel:
                request = IngestEventsRequest.FromString(one_event_each(range(1, 2)).requests[0])
                request.wait = WAIT_APPLIED
                unary(channel, INGEST)(request.SerializeToString(), timeout=120)
                seconds = time.monotonic() - begun
            what = f"{name} with Envoy, empty journal, to the first session"
            bar, met = (f"<= {bar_s} s", seconds <= bar_s) if bar_s else ("", None)
            figures.append(Figure("First start", what, f"{seconds:.1f} s", "", bar, met))
    return figures
