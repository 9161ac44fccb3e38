"""Killed at any moment, a server has every acknowledged event exactly once, and nothing torn."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from rte.v1 import session_pb2
from rte_server.engine.engine import Engine
from rte_server.journal.directory import DataDirectory
from tests.simulation import workload
from tests.simulation.shard_process import opened

ROOT = Path(__file__).parents[2]
START_S_MAX = 900
"""A first start compiles the kernels."""


class Told:
    """What the killed processes said: the batch that each worker began last, and the one acknowledged last."""

    def __init__(self) -> None:
        self.begun = [-1] * workload.WORKERS
        self.acknowledged = [-1] * workload.WORKERS
        self.position = 0

    def hear(self, line: str) -> None:
        """Take in a line of a process."""
        word, *numbers = line.split()
        values = [int(number) for number in numbers]
        if word == "ready":
            assert values[0] >= self.position, "recovered to before the last acknowledged position"
        elif word == "begin":
            assert values[1] == self.acknowledged[values[0]] + 1
            self.begun[values[0]] = values[1]
        else:
            self.acknowledged[values[0]] = values[1]
            self.position = max(self.position, values[2])


def run_and_kill(directory: Path, told: Told, chance: random.Random) -> None:
    """Start a process, kill it at a random moment: mostly under load, now and then while it starts."""
    command = [sys.executable, "-m", "tests.simulation.shard_process", str(directory)]
    command += [str(done + 1) for done in told.acknowledged]
    environ = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)])}
    lines: list[str] = []
    under_load = threading.Event()

    def listen() -> None:
        assert process.stdout is not None
        answers = [0] * workload.WORKERS
        for line in process.stdout:
            lines.append(line)
            if line.startswith("ack"):
                answers[int(line.split()[1])] += 1
            if min(answers) >= 2:  # However slow the machine: each worker has something to lose.
                under_load.set()
        under_load.set()  # A process that has ended by itself is not waited for; its exit code says so below.

    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environ) as process:
        listener = threading.Thread(target=listen)
        listener.start()
        if chance.random() < 0.85:
            under_load.wait(START_S_MAX)
            time.sleep(chance.uniform(0.0, 0.6))
        else:
            time.sleep(chance.uniform(0.0, 2.0))
        process.send_signal(signal.SIGKILL)
        listener.join()
    assert process.returncode == -signal.SIGKILL
    for line in lines:
        told.hear(line)


def check(engine: Engine, told: Told) -> None:
    """Compare the state with what was acknowledged."""
    assert engine.position >= told.position
    for worker in range(workload.WORKERS):
        rows = [engine.find_visitor(workload.visitor(worker, number)) for number in range(workload.VISITORS)]
        sessions = [session_pb2.Session.FromString(engine.encode([row])[0]) if row >= 0 else None for row in rows]
        workload.assert_exactly_once(worker, sessions, told.begun[worker], told.acknowledged[worker])


def crash(directory: Path, rounds: int, seed: int) -> None:
    """Kill and check `rounds` times, one after the other on the same data."""
    chance = random.Random(seed)
    told = Told()
    for _ in range(rounds):
        run_and_kill(directory, told, chance)
        with DataDirectory(directory) as locked:
            journal, engine, _snapshots = opened(locked)
            try:
                check(engine, told)
            finally:
                journal.close()
    assert min(told.acknowledged) > 0, "hardly any load"


@pytest.mark.timeout(2400)
def test_three_kills_lose_and_double_nothing(tmp_path: Path) -> None:
    """Acknowledged events are in the state exactly once, batches are whole, and what is sent again counts once."""
    crash(tmp_path, 3, seed=1)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_fifty_kills_lose_and_double_nothing(tmp_path: Path) -> None:
    """The same for fifty kills, each at another moment."""
    crash(tmp_path, 50, seed=random.randrange(10**9))
