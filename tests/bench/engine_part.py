"""Engine: wire bytes to folded and scored state, on one core, against plain Python, a C loop and memcpy."""

from __future__ import annotations

import ctypes
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict

import numpy as np

from rte.v1.session_pb2 import Session
from rte_server.engine.engine import Engine
from rte_server.engine.entries import Entry, EntryType
from rte_server.engine.query import STATES_ANY
from rte_server.engine.settings import EngineSettings
from rte_server.engine.table import Capacity
from rte_server.models import compile_models, configuration_of, load_models
from tests.bench.c_baseline import CBaseline, CompilerMissing, walk
from tests.bench.figures import Figure, interleaved, median_ratio
from tests.bench.python_baseline import PythonEngine
from tests.bench.workload import START_MS, Workload, make_workload

PART = "Engine"
PYTHON_EVENTS = 100_000
"""Plain Python gets the first tenth of the workload: its time per event does not depend on how long it runs."""
SECRET = np.arange(1, 5, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
AGREEMENT_EVENTS = 50_000
Fold = Callable[[bytes, int], int]


def configure(models: tuple[str, ...] = ("base", "retail"), settings: EngineSettings | None = None) -> Entry:
    """Return a first journal entry with packs."""
    body = {"settings": asdict(settings or EngineSettings())} | configuration_of(load_models(models))
    return Entry(EntryType.CONFIGURE, START_MS, json.dumps(body).encode())


def new_engine(capacity: Capacity | None = None) -> Engine:
    """Return an engine with the packs `base` and `retail`, and all settings as they are by default."""
    engine = Engine(SECRET, compile_models, capacity or Capacity(sessions_max=131_072))
    engine.apply(1, configure())
    return engine


def engine_fold(engine: Engine) -> Fold:
    """Return a function that does to a request what the server does: scan it, then fold it."""

    def fold(request: bytes, received_ms: int) -> int:
        scanned = engine.scan(request, received_ms)
        engine.apply(engine.position + 1, Entry(EntryType.EVENTS, received_ms, request), scanned)
        return scanned.event_count

    return fold


def timed(fold: Fold, workload: Workload, batches: int | None = None) -> float:
    """Fold the requests; return nanoseconds of CPU time of this thread per event."""
    requests = workload.requests[:batches]
    received = workload.received_ms[:batches]
    begun = time.thread_time_ns()
    events = sum(fold(request, received_ms) for request, received_ms in zip(requests, received, strict=True))
    return (time.thread_time_ns() - begun) / events


def measure(rounds: int, event_count: int) -> list[Figure]:
    """Run the candidates in turn.

    Args:
        rounds: How often each runs, >= 1; the tables show medians.
        event_count: Events of the workload; 1,000,000 for figures that count.
    """
    workload = make_workload(event_count, max(100, event_count // 20))
    check_agreement(workload)
    return _figures(interleaved(_candidates(workload), rounds), workload)


def touch(engine: Engine) -> None:
    """Use every page of the state once, as the C loop does.

    A server gets its memory from the operating system once in its life; a short measurement would see little else.
    """
    for block in (engine._state.table, engine._state.pool):
        for array in block:
            array.reshape(-1).view(np.uint8)[::4096] |= 0


def check_agreement(workload: Workload) -> None:
    """Fold the first events with every candidate; all must count the same."""
    requests = workload.requests[: AGREEMENT_EVENTS // 500]
    engine, python = new_engine(), PythonEngine()
    fold = engine_fold(engine)
    for request, received_ms in zip(requests, workload.received_ms, strict=False):
        fold(request, received_ms)
        python.fold(request, received_ms)
    assert engine_checksum(engine) == python.checksum(), "engine and plain Python disagree"
    for dedup, prefetch in ((False, False), (False, True), (True, False)):
        try:
            loop = CBaseline(dedup=dedup, prefetch=prefetch)
        except CompilerMissing as missing:
            print(missing)
            return
        for request in requests:
            loop.fold(request)
        assert loop.checksum()[: len(python.checksum())] == python.checksum(), "C and plain Python disagree"
        loop.close()


def _candidates(workload: Workload) -> dict[str, Callable[[], float]]:
    def run_engine() -> float:
        engine = new_engine()
        touch(engine)
        return timed(engine_fold(engine), workload)

    def run_python() -> float:
        engine = PythonEngine()
        return timed(engine.fold, workload, PYTHON_EVENTS // 500)

    def run_c(*, dedup: bool, prefetch: bool) -> Callable[[], float]:
        def run() -> float:
            loop = CBaseline(dedup=dedup, prefetch=prefetch)
            per_event = timed(lambda request, _: loop.fold(request), workload)
            loop.close()
            return per_event

        return run

    def run_memcpy() -> float:
        target = ctypes.create_string_buffer(max(map(len, workload.requests)))
        return timed(lambda request, _: _copy(target, request), workload) / 500

    found: dict[str, Callable[[], float]] = {"engine": run_engine, "python": run_python, "memcpy": run_memcpy}
    try:
        count = walk()
    except CompilerMissing:
        return found
    return found | {
        "c": run_c(dedup=False, prefetch=False),
        "c_prefetch": run_c(dedup=False, prefetch=True),
        "c_dedup": run_c(dedup=True, prefetch=False),
        "c_walk": lambda: timed(lambda request, _: count(request), workload),
    }


def _copy(target: ctypes.Array[ctypes.c_char], request: bytes) -> int:
    """Copy a request; counted as 500 events by its caller, since it does not look inside."""
    ctypes.memmove(target, request, len(request))
    return 1


def engine_checksum(engine: Engine) -> list[float]:
    """Return sessions, duplicates, then sums over the visitors' newest sessions; see `PythonEngine.checksum`."""
    newest: dict[str, Session] = {}
    for message in engine.encode(engine.select(engine.filter((), int(STATES_ANY))).rows):
        session = Session.FromString(message)
        known = newest.setdefault(session.visitor_id, session)
        if known.visit_number < session.visit_number:
            newest[session.visitor_id] = session
    stats = engine.stats()
    names = ("page_views", "product_views", "add_to_carts", "purchases")
    return [
        stats["sessions_started"] - stats["sessions_merged"],
        stats["events_duplicate"],
        sum(session.event_count for session in newest.values()),
        *(sum(session.attributes.fields[name].number_value for session in newest.values()) for name in names),
    ]


def _figures(measured: dict[str, list[float]], workload: Workload) -> list[Figure]:
    engine = measured["engine"]
    bytes_each = workload.byte_count / workload.event_count
    nanoseconds = {name: statistics.median(values) for name, values in measured.items()}
    to_python = median_ratio(measured["python"], engine)
    rows = [
        Figure(
            PART,
            f"RTE: scan, dedup, sessions, `base` + `retail`, score; {bytes_each:.0f} bytes per event",
            f"{nanoseconds['engine']:.0f} ns/event, {1e3 / nanoseconds['engine']:.2f} M/s",
            f"{to_python:.1f}x plain Python",
            ">= 12x plain Python",
            to_python >= 12,
        ),
        Figure(
            PART,
            "plain Python, upb, dict and slots, the same attributes hard-coded",
            f"{nanoseconds['python']:.0f} ns/event",
            "1x",
        ),
    ]
    if "c" in measured:
        to_c = median_ratio(measured["c"], engine)
        rows += [
            Figure(
                PART,
                "C loop `gcc -O3`, 22 hard-coded attributes, no checks, no dedup",
                f"{nanoseconds['c']:.0f} ns/event",
                f"RTE is {to_c:.2f} of it",
                ">= 0.4 of the C loop",
                to_c >= 0.4,
            ),
            _against("the C loop with decoding of whole requests and prefetch", "c_prefetch", measured),
            _against("the C loop with dedup by event id", "c_dedup", measured),
            _against("C: walk over the events without looking inside", "c_walk", measured),
        ]
    rows.append(_against("memcpy of the request's bytes", "memcpy", measured))
    return rows


def _against(what: str, name: str, measured: dict[str, list[float]]) -> Figure:
    ratio = median_ratio(measured[name], measured["engine"])
    return Figure(PART, what, f"{statistics.median(measured[name]):.0f} ns/event", f"RTE is {ratio:.2f} of it")
