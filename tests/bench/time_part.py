"""Time: how punctual absences and triggers are through a real server, and what passing time costs with many sessions."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import grpc
import numpy as np

from rte.v1.event_service_pb2 import WAIT_DURABLE, IngestEventsRequest
from rte.v1.event_service_pb2_grpc import EventServiceStub
from rte.v1.session_service_pb2 import WatchSessionsRequest
from rte.v1.session_service_pb2_grpc import SessionServiceStub
from rte_server.engine.engine import Engine
from rte_server.engine.entries import Entry, EntryType
from rte_server.engine.table import Capacity
from rte_server.models import compile_models
from tests.bench.engine_part import SECRET, configure, engine_fold
from tests.bench.figures import Figure, milliseconds, percentile
from tests.bench.server_process import ServerProcess
from tests.bench.workload import one_event_each

PART = "Time"
TICK_MS = 40
PUNCTUAL_S = 0.1
WAIT_S = 2
SOON_S = 2
"""A wait that passes while a server starts."""

NAMES = ("absent_{wait_s}", "quiet_{wait_s}")
MODEL = """
model: punctual
uses: [base, retail]
attributes:
  carts: {{count: add_to_cart}}
{absences}triggers:
{triggers}"""
ABSENCE = "  absent_{wait_s}: {{absence: add_to_cart, of: purchase, for: {wait_s}s}}\n"
TRIGGER = "  quiet_{wait_s}: {{when: carts > 0, quiet_for: {wait_s}s}}\n"
WINDOWS = """
model: lately
uses: [base]
attributes:
  views_5m: {count: page_view, window: 5m}
  pages_per_minute: {rate: page_view, window: 5m}
derived:
  is_busy: views_5m >= 3 || pages_per_minute > 2.0
"""


@dataclass(frozen=True, slots=True)
class Restarted:
    """How late the absences and triggers were that a server had before it ended, seconds.

    Attributes:
        at_once: Those that became due while it was down, counted from the first answer of the next server.
        later: Those that became due afterwards, counted from their time.
    """

    at_once: list[float]
    later: list[float]


def visitors(count: int) -> list[str]:
    """Return the ids of some visitors."""
    return [f"punctual-{number}" for number in range(count)]


def model_file(folder: Path, *waits_s: int) -> Path:
    """Write a model with an absence and a trigger per wait, `absent_N` and `quiet_N` for N seconds."""
    path = folder / "punctual.yaml"
    absences = "".join(ABSENCE.format(wait_s=wait_s) for wait_s in waits_s)
    triggers = "".join(TRIGGER.format(wait_s=wait_s) for wait_s in waits_s)
    path.write_text(MODEL.format(absences=absences, triggers=triggers))
    return path


def send_carts(channel: grpc.Channel, visitor_ids: Sequence[str], pause_s: float) -> dict[str, float]:
    """Send one event for each visitor; return when each was sent, seconds since 1970."""
    stub = EventServiceStub(channel)
    sent: dict[str, float] = {}
    for visitor_id in visitor_ids:
        request = IngestEventsRequest(wait=WAIT_DURABLE)
        event = request.events.add(visitor_id=visitor_id, event_id=visitor_id, name="add_to_cart")
        sent[visitor_id] = time.time()
        event.event_time.FromNanoseconds(int(sent[visitor_id] * 1e9))
        stub.IngestEvents(request, timeout=30)
        time.sleep(pause_s)
    return sent


def watch_until_seen(
    channel: grpc.Channel, visitor_ids: Collection[str], waits_s: Sequence[int], timeout_s: float
) -> dict[tuple[str, int], list[float]]:
    """Watch until the absence and the trigger of each wait have been seen for every visitor.

    Returns:
        By visitor and wait, when the two were first seen, seconds since 1970.

    Raises:
        grpc.RpcError: DEADLINE_EXCEEDED: some were not seen within `timeout_s`.
    """
    # Looked up by visitor, so that looking is cheap beside what is measured.
    due = {each: {(wait_s, name.format(wait_s=wait_s)) for wait_s in waits_s for name in NAMES} for each in visitor_ids}
    found: dict[tuple[str, int], list[float]] = {}
    for message in SessionServiceStub(channel).WatchSessions(WatchSessionsRequest(), timeout=timeout_s):
        now_s = time.time()
        session = message.session
        for wait_s, name in sorted(due.get(session.visitor_id, ())):
            if session.attributes.fields[name].bool_value:
                found.setdefault((session.visitor_id, wait_s), []).append(now_s)
                due[session.visitor_id].remove((wait_s, name))
        if session.visitor_id in due and not due[session.visitor_id]:
            del due[session.visitor_id]
        if not due:
            break
    return found


def late_s(
    seen: Mapping[tuple[str, int], list[float]], sent: Mapping[str, float], wait_s: int, serving_s: float = 0.0
) -> list[float]:
    """Return how late each was seen, seconds, counted from its time, or from when the server served, if that is later.

    Args:
        seen: See `watch_until_seen`.
        sent: When the event of each visitor was sent, seconds since 1970.
        wait_s: Which of the waits.
        serving_s: When the server served, seconds since 1970.
    """
    return [
        at_s - max(sent_s + wait_s, serving_s)
        for visitor_id, sent_s in sent.items()
        for at_s in seen[visitor_id, wait_s]
    ]


def restart(folder: Path, count: int, end: Callable[[ServerProcess], object], **variables: str) -> Restarted:
    """Send events to a server, end it, start another on its data, and measure how punctual that one is.

    Args:
        folder: Where the data go, empty.
        count: Visitors, each with two absences and two triggers.
        end: Ends the first server.
        variables: Environment variables of both servers.
    """
    visitor_ids = visitors(count)
    variables |= {"RTE_MODELS__PACKS": str(model_file(folder, SOON_S, 1))}
    with ServerProcess(folder / "trial", edge=False, **variables):
        pass  # Kernels are compiled now, so that the start measured next is one like those to come.
    with ServerProcess(folder / "trial", edge=False, **variables) as server:
        wait_s = math.ceil(2 * server.start_s + 5)
    variables |= {"RTE_MODELS__PACKS": str(model_file(folder, SOON_S, wait_s))}
    with ServerProcess(folder / "data", edge=False, **variables) as server, server.channel() as channel:
        sent = send_carts(channel, visitor_ids, 0.005)
        end(server)
    with ServerProcess(folder / "data", edge=False, **variables) as server, server.channel() as channel:
        seen = watch_until_seen(channel, visitor_ids, (SOON_S, wait_s), 2 * wait_s + 30)
        serving_s = server.serving_s
    return Restarted(late_s(seen, sent, SOON_S, serving_s), late_s(seen, sent, wait_s, serving_s))


def measure(session_count: int, timer_count: int) -> list[Figure]:
    """Measure both.

    Args:
        session_count: Live sessions while time passes.
        timer_count: Absences and triggers whose delay is measured.
    """
    return [_punctuality(timer_count), *_restarted(timer_count // 4), *_passing(session_count)]


def _punctuality(count: int) -> Figure:
    visitor_ids = visitors(count)
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(1) as threads:
        packs = {"RTE_MODELS__PACKS": str(model_file(Path(folder), WAIT_S)), "RTE_SESSION__SESSIONS_MAX": "100000"}
        with (
            ServerProcess(Path(folder) / "data", edge=False, **packs) as server,
            server.channel() as channel,
            server.channel() as watching,
        ):
            watch = threads.submit(watch_until_seen, watching, visitor_ids, (WAIT_S,), 60 + count / 50)
            sent = send_carts(channel, visitor_ids, 0.005)
            late = late_s(watch.result(), sent, WAIT_S)
    what = f"{count} absences and {count} triggers, {WAIT_S} s after an event sent over gRPC, until a watcher sees them"
    return _lateness(what, late)


def _restarted(count: int) -> list[Figure]:
    """Kill a server and start it again, between the events and what they make due."""
    with tempfile.TemporaryDirectory() as folder:
        found = restart(Path(folder), count, ServerProcess.kill, RTE_SESSION__SESSIONS_MAX="100000")
    what = f"{count} absences and {count} triggers of a server that was killed and started again"
    return [
        _lateness(f"{what}, due while it was down, counted from its first answer", found.at_once),
        _lateness(f"{what}, due later", found.later),
    ]


def _lateness(what: str, late: Sequence[float]) -> Figure:
    p99 = percentile(late, 0.99)
    value = f"p50 {milliseconds(percentile(late, 0.5))}, p99 {milliseconds(p99)}, max {milliseconds(max(late))}"
    return Figure(PART, what, value, "", "p99 <= 100 ms", p99 <= PUNCTUAL_S)


def _passing(sessions: int) -> list[Figure]:
    """Let 90 s pass for sessions whose windows and rates change without an event; nothing else is done meanwhile."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "lately.yaml"
        path.write_text(WINDOWS)
        engine = Engine(SECRET, compile_models, Capacity(sessions_max=sessions + 4_096))
        engine.apply(1, configure(("base", "retail", str(path))))
    fold = engine_fold(engine)
    workload = one_event_each(range(1, sessions + 1))
    for request, received_ms in zip(workload.requests, workload.received_ms, strict=True):
        fold(request, received_ms)
    now_ms = workload.received_ms[-1]
    took_ms: list[float] = []
    rows = 0
    idle_ns = busy_ns = 0
    for step in range(90_000 // TICK_MS):
        begun = time.thread_time_ns()
        is_due = engine.due_count(now_ms + step * TICK_MS) > 0
        idle_ns += time.thread_time_ns() - begun
        if is_due:
            begun = time.thread_time_ns()
            rows += len(engine.apply(engine.position + 1, Entry(EntryType.TICK, now_ms + step * TICK_MS, b"")).rows)
            took_ms.append((time.thread_time_ns() - begun) / 1e6)
            busy_ns += time.thread_time_ns() - begun
    share = (idle_ns + busy_ns) / 90e9
    what = f"{sessions:,} live sessions with a window and a rate that a derived attribute reads: CPU of the fold for passing time"
    value = f"{share:.1%} of a core; {rows / 90:,.0f} sessions computed anew per second, {busy_ns / max(1, rows):.0f} ns each"
    p99 = float(np.percentile(took_ms, 99)) / 1000
    return [
        Figure(PART, what, value),
        Figure(
            PART,
            "the longest that events wait for a TICK, p99 of its work",
            milliseconds(p99),
            "",
            "<= 50 ms",
            p99 <= 0.05,
        ),
    ]
