"""Scores: ingest with an ONNX score on, and how far a score is behind the events of its session at half of that load.

The score is a gradient-boosted ensemble of the size that `rte models train` writes, over attributes of `base` and `retail`.
"""

from __future__ import annotations

import hashlib
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import grpc
import numpy as np

from rte.v1.session_pb2 import Score, Session
from rte_server.training.fitting import Algorithm, fit
from rte_server.training.graph import graph_of
from rte_server.training.tasks import Encoding
from tests.bench.callers import (
    GET_SESSION,
    INGEST,
    Load,
    ingest_stream,
    one_event,
    unary,
    wait_for_session,
    wait_until_folded,
    without_ids,
)
from tests.bench.figures import Figure, milliseconds, percentile
from tests.bench.server_part import live_requests
from tests.bench.server_process import ServerProcess

PART = "Scores"
ROUNDS = 3
INPUTS = (
    "product_views",
    "list_views",
    "searches",
    "add_to_carts",
    "removals",
    "checkouts",
    "purchases",
    "revenue",
    "added_value",
    "mean_viewed_price",
    "max_viewed_price",
    "distinct_items",
    "distinct_categories",
    "open_basket_value",
    "session.event_count",
    "session.duration_s",
)


def measure(event_count: int, probes: int) -> list[Figure]:
    """Start a server with `base`, `retail` and a model with an ONNX score, and measure it.

    Args:
        event_count: Events of one run of ingest.
        probes: Events after which a score is waited for.
    """
    with (
        tempfile.TemporaryDirectory() as folder,
        _server(Path(folder)) as server,
        server.channel() as channel,
    ):
        rate = statistics.median(_ingest(channel, event_count, run) for run in range(1, ROUNDS + 1))
        what = "ingest with `base`, `retail` and an ONNX score, one stream, batches of 500, until all is durable and folded"
        figures = [Figure(PART, what, f"{rate:,.0f} events/s", "", ">= 250,000 events/s", rate >= 250_000)]
        return [*figures, _ages(server, channel, rate / 2, probes)]


@contextmanager
def _server(folder: Path) -> Iterator[ServerProcess]:
    """Run a server with the model."""
    chance = np.random.default_rng(1)
    inputs = chance.exponential(5.0, (5_000, len(INPUTS))).astype(np.float32)
    labels = inputs[:, 0] + inputs[:, 3] * inputs[:, 4] > chance.exponential(40.0, len(inputs))
    graph = graph_of(fit(Algorithm.LIGHTGBM, [Encoding.AMOUNT] * len(INPUTS), inputs, labels), len(INPUTS))
    (folder / "model.onnx").write_bytes(graph)
    lines = ["model: benchmark", "uses: [base, retail]", "scores:", "  benchmark_score:", "    onnx: model.onnx"]
    lines += [
        f"    sha256: {hashlib.sha256(graph).hexdigest()}",
        "    inputs:",
        *(f"      - {name}" for name in INPUTS),
    ]
    lines += ["    defaults:", *(f"      {name}: 0" for name in INPUTS)]
    (folder / "model.yaml").write_text("\n".join(lines) + "\n")
    packs = f"base,retail,{folder / 'model.yaml'}"
    with ServerProcess(folder / "data", edge=False, RTE_MODELS__PACKS=packs) as server:
        yield server


def _ingest(channel: grpc.Channel, event_count: int, run: int) -> float:
    """Return events per second."""
    requests = live_requests(event_count, run)
    begun = time.monotonic()
    wait_until_folded(channel, ingest_stream(channel, requests))
    return event_count / (time.monotonic() - begun)


def _ages(server: ServerProcess, channel: grpc.Channel, events_per_second: float, probes: int) -> Figure:
    """Measure the time from the acknowledgement of an event to a read whose score follows from it, under load."""
    ingest, read = unary(channel, INGEST), unary(channel, GET_SESSION)
    delays = []
    with Load(server.address, without_ids(live_requests(200_000, 100)), events_per_second / 500):
        for number in range(1, probes + 1):
            ingest(one_event("probe", f"probe-{number}"))
            acknowledged = time.perf_counter()
            seen = partial(_is_scored, number)
            delays.append(wait_for_session(read, "probe", ["event_count", "scores"], seen, acknowledged))
    p99 = percentile(delays, 0.99)
    value = f"p50 {milliseconds(percentile(delays, 0.5))}, p99 {milliseconds(p99)}"
    what = f"acknowledged to an ONNX score that follows from it (the read included), {events_per_second:,.0f} events/s beside it"
    return Figure(PART, what, value, "", "p99 <= 100 ms", p99 <= 0.100)


def _is_scored(count: int, session: Session) -> bool:
    """Say whether a session has `count` events, and all of its scores have seen them."""
    fresh = [score.status == Score.STATUS_FRESH for score in session.scores]
    return session.event_count >= count and bool(fresh) and all(fresh)
