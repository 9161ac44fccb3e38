"""What an append to the embedded journal costs, beside the same table with SQLite's automatic checkpoint.

    python -m tests.bench.journal_append [DIRECTORY]

Bodies of 72 KB, about a batch of 500 events; at a fixed rate, then as fast as possible. Both in turn, several rounds:
the medians of a quiet disk and of a busy one differ by far more than the two candidates.
"""

from __future__ import annotations

import os
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from rte_server.engine.entries import Entry, EntryType
from rte_server.journal.directory import DataDirectory
from rte_server.journal.sqlite import CREATE, INSERT, PAGE_BYTES, SqliteJournal

BODY = os.urandom(72_000)
ROUNDS = 3
SECONDS = 4.0


def measure(append: Callable[[], object], rate: int) -> str:
    """Append for SECONDS, at most `rate` times a second (0: no limit), and say how long that took."""
    took = []
    began = time.perf_counter()
    while (start := time.perf_counter()) < began + SECONDS:
        append()
        end = time.perf_counter()
        took.append(end - start)
        if rate and (pause := began + len(took) / rate - end) > 0:
            time.sleep(pause)
    took.sort()
    per_second = len(took) / SECONDS
    p50, p99, longest = (took[min(int(len(took) * part), len(took) - 1)] * 1000 for part in (0.5, 0.99, 1.0))
    return f"{per_second:6.0f}/s {per_second * len(BODY) / 1e6:4.0f} MB/s  p50 {p50:.2f}  p99 {p99:.2f}  max {longest:.1f} ms"


def of_the_journal(path: Path, rate: int) -> str:
    """Measure the journal."""
    group = [Entry(EntryType.EVENTS, 1, BODY)]
    with DataDirectory(path) as directory:
        journal = SqliteJournal(directory)
        try:
            return measure(lambda: journal.append(0, group), rate)
        finally:
            journal.close()


def of_plain_sqlite(path: Path, rate: int) -> str:
    """Measure the same transactions with SQLite's own checkpoint, after 16 MB as by default."""
    connection = sqlite3.connect(path / "plain.sqlite", isolation_level=None)
    for statement in (f"PRAGMA page_size={PAGE_BYTES}", "PRAGMA journal_mode=WAL", "PRAGMA synchronous=FULL", CREATE):
        connection.execute(statement)
    place = iter(range(1, 1 << 40))

    def append() -> None:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(INSERT, (next(place), 1, 1, 0, BODY))
        connection.execute("COMMIT")

    try:
        return measure(append, rate)
    finally:
        connection.close()


def main() -> None:
    """Print a line per candidate, rate and round."""
    parent = sys.argv[1] if len(sys.argv) > 1 else None
    for _ in range(ROUNDS):
        for rate in (600, 0):
            for name, run in (("journal", of_the_journal), ("sqlite, automatic checkpoint", of_plain_sqlite)):
                with tempfile.TemporaryDirectory(dir=parent) as path:
                    print(f"{name:29} {rate or 'free':>4}: {run(Path(path), rate)}", flush=True)


if __name__ == "__main__":
    main()
