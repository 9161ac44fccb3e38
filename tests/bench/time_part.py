"""Time: how punctual absences and triggers are through a real server, and what passing time costs with many sessions."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
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
MODEL = """
model: punctual
uses: [base, retail]
attributes:
  carts: {{count: add_to_cart}}
  left_cart: {{absence: add_to_cart, of: purchase, for: {wait_s}s}}
triggers:
  left: {{when: carts > 0, quiet_for: {wait_s}s}}
"""
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
class Seen:
    """When a watcher first saw what was due, seconds since 1970, by visitor.

    Attributes:
        absence: The attribute turned true.
        trigger: The trigger fired.
    """

    absence: dict[str, float] = field(default_factory=dict)
    trigger: dict[str, float] = field(default_factory=dict)

    def late_s(self, sent: Mapping[str, float], wait_s: int) -> list[float]:
        """Return how late each was seen, counted from when its event was sent, seconds."""
        return [seen[each] - sent[each] - wait_s for seen in (self.absence, self.trigger) for each in sent]


def visitors(count: int) -> list[str]:
    """Return the ids of some visitors."""
    return [f"punctual-{number}" for number in range(count)]


def model_file(folder: Path, wait_s: int) -> Path:
    """Write a model with an absence and a trigger that wait so long."""
    path = folder / f"punctual_{wait_s}.yaml"
    path.write_text(MODEL.format(wait_s=wait_s))
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


def watch_until_seen(channel: grpc.Channel, visitor_ids: Collection[str], timeout_s: float) -> Seen:
    """Watch until both have been seen for every visitor.

    Raises:
        grpc.RpcError: DEADLINE_EXCEEDED: some were not seen within `timeout_s`.
    """
    found = Seen()
    for message in SessionServiceStub(channel).WatchSessions(WatchSessionsRequest(), timeout=timeout_s):
        now_s = time.time()
        session = message.session
        if session.visitor_id in visitor_ids:
            for name, seen in (("left_cart", found.absence), ("left", found.trigger)):
                if session.attributes.fields[name].bool_value:
                    seen.setdefault(session.visitor_id, now_s)
        if len(found.absence) == len(found.trigger) == len(visitor_ids):
            break
    return found


def measure(session_count: int, timer_count: int) -> list[Figure]:
    """Measure both.

    Args:
        session_count: Live sessions while time passes.
        timer_count: Absences and triggers whose delay is measured.
    """
    return [_punctuality(timer_count), *_passing(session_count)]


def _punctuality(count: int) -> Figure:
    visitor_ids = visitors(count)
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(1) as threads:
        packs = {"RTE_MODELS__PACKS": str(model_file(Path(folder), WAIT_S)), "RTE_SESSION__SESSIONS_MAX": "100000"}
        with (
            ServerProcess(Path(folder) / "data", edge=False, **packs) as server,
            server.channel() as channel,
            server.channel() as watching,
        ):
            watch = threads.submit(watch_until_seen, watching, frozenset(visitor_ids), 60 + count / 50)
            sent = send_carts(channel, visitor_ids, 0.005)
            late = watch.result().late_s(sent, WAIT_S)
    p99 = percentile(late, 0.99)
    what = f"{count} absences and {count} triggers, {WAIT_S} s after an event sent over gRPC, until a watcher sees them"
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
