"""A process that runs a shard with the real engine under load, for somebody to kill.

    python -m tests.simulation.shard_process DIRECTORY FIRST_BATCH...

One worker per FIRST_BATCH sends batches for ever, the next one when the last is answered. It writes `begin WORKER BATCH`
before it sends and `ack WORKER BATCH POSITION` after the answer, and `ready POSITION` once the shard is recovered.
"""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

from rte_server.config import Config
from rte_server.engine.engine import Engine
from rte_server.engine.entries import Entry, EntryType
from rte_server.engine.native import secret_from_bytes
from rte_server.engine.outcome import Outcome
from rte_server.engine.table import Capacity
from rte_server.engine.wire import ScannedRequest
from rte_server.journal.directory import DataDirectory
from rte_server.journal.protocol import Journal
from rte_server.journal.recovery import configure, recover
from rte_server.journal.snapshots import SnapshotStore
from rte_server.journal.sqlite import SqliteJournal
from rte_server.models import compile_models, configuration_of, load_models
from rte_server.service.pipeline import Pipeline
from rte_server.service.pipeline_settings import PipelineSettings
from rte_server.service.receipts import Want
from tests.simulation import workload

SMALL = Capacity(sessions_max=4096, dedup_events_max=1 << 20, strings_max=16384, string_bytes_max=1 << 20)


def now_ms() -> int:
    """Return a clock that stands: nothing may become due, so that each visitor keeps one session."""
    return workload.START_MS


def opened(directory: DataDirectory) -> tuple[Journal, Engine, SnapshotStore]:
    """Recover the shard in a directory."""
    journal = SqliteJournal(directory)
    snapshots = SnapshotStore(directory.snapshots_path)

    def make_engine() -> Engine:
        return Engine(secret_from_bytes(directory.secret), compile_models, SMALL)

    engine = recover(journal, 0, snapshots, make_engine)
    configuration = {"settings": Config().engine_settings()} | configuration_of(load_models(["retail"]))
    configure(journal, 0, snapshots, engine, make_engine, configuration, now_ms())
    return journal, engine, snapshots


def say(text: str) -> None:
    """Write a line at once and whole: a line of a pipe that is this short is never torn."""
    os.write(1, text.encode() + b"\n")


def work(pipeline: Pipeline[ScannedRequest, Outcome], engine: Engine, worker: int, first_batch: int) -> None:
    """Send batches for ever, every third one waiting until it is applied."""
    batch = first_batch
    while True:
        received_ms = workload.START_MS + batch * 10
        scanned = engine.scan(workload.request(worker, batch).SerializeToString(), received_ms)
        entry = Entry(EntryType.EVENTS, received_ms, scanned.accepted_body())
        say(f"begin {worker} {batch}")
        want = Want.DURABLE if batch % 3 else Want.APPLIED
        receipt = pipeline.submit_and_wait(entry, scanned, want)
        say(f"ack {worker} {batch} {receipt.position}")
        batch += 1


def main() -> None:
    """Run until killed."""
    directory = DataDirectory(Path(sys.argv[1]))
    journal, engine, snapshots = opened(directory)
    # So many snapshots and trims that a kill often falls into one.
    settings = PipelineSettings(snapshot_entries=40)
    pipeline = Pipeline(journal, 0, engine, snapshots, settings, now_ms, lambda _: os._exit(3))
    pipeline.start()
    say(f"ready {engine.position}")
    for worker, first_batch in enumerate(sys.argv[2:]):
        threading.Thread(target=work, args=(pipeline, engine, worker, int(first_batch))).start()


if __name__ == "__main__":
    main()
