"""The whole server, asked and killed through its port: what callers were told holds after a restart."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import grpc
import pytest

from rte.v1 import event_service_pb2_grpc, session_pb2, session_service_pb2, session_service_pb2_grpc
from tests.ports import free_port
from tests.simulation import workload

ROOT = Path(__file__).parents[2]
START_S_MAX = 900
"""A first start compiles the kernels."""

END_S_MAX = 300
LOAD_S_MAX = 300


class Server:
    """One life of a server process on a data directory."""

    def __init__(self, data_dir: Path, log: Path, port: int = 0, /, **variables: str) -> None:
        self.port = port = port or free_port()
        environ = os.environ | {
            "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)]),
            "RTE_SERVER__DATA_DIR": str(data_dir),
            "RTE_SERVER__GRPC_PORT": str(port),
            "RTE_EDGE__ENABLED": "false",
            # So many snapshots and trims that a kill often falls into one; room for a million sessions is not needed.
            "RTE_JOURNAL__SNAPSHOT_ENTRIES": "40",
            "RTE_SESSION__SESSIONS_MAX": "10000",
            **variables,
        }
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "rte_server", "serve"], stdout=output, stderr=output, cwd=ROOT, env=environ
            )
        self.channel = grpc.insecure_channel(f"127.0.0.1:{port}")

    def wait_ready(self) -> None:
        """Wait until it takes calls."""
        ready = grpc.channel_ready_future(self.channel)
        end = time.monotonic() + START_S_MAX
        while self.process.poll() is None and time.monotonic() < end:
            try:
                return ready.result(0.5)
            except grpc.FutureTimeoutError:
                continue
        raise AssertionError(f"the server did not start, it ended with {self.process.returncode}")

    def end(self, number: int) -> int:
        """Send a signal and wait; return the exit code."""
        self.process.send_signal(number)
        code = self.process.wait(END_S_MAX)
        self.channel.close()
        return code


class Callers:
    """Several callers that send batches and remember what they were told."""

    def __init__(self) -> None:
        self.start_ms = int(time.time() * 1000)
        self.begun = [-1] * workload.WORKERS
        self.acknowledged = [-1] * workload.WORKERS
        self.position = [""] * workload.WORKERS

    def load(self, server: Server, seconds: float, ending: signal.Signals) -> int:
        """Send for some time from when each has been answered, then end the server under load; return its exit code."""
        begun = [each + 1 for each in self.acknowledged]
        threads = [threading.Thread(target=self._send, args=(server, worker)) for worker in range(workload.WORKERS)]
        for thread in threads:
            thread.start()
        # On a busy machine nobody may have been answered for a while, and what nobody was told cannot be lost.
        until = time.monotonic() + LOAD_S_MAX
        while any(told <= batch for told, batch in zip(self.acknowledged, begun, strict=True)):
            assert time.monotonic() < until, (self.acknowledged, begun)
            time.sleep(0.005)
        time.sleep(seconds)
        code = server.end(ending)
        for thread in threads:
            thread.join()
        return code

    def _send(self, server: Server, worker: int) -> None:
        stub = event_service_pb2_grpc.EventServiceStub(server.channel)
        while True:
            batch = self.acknowledged[worker] + 1
            request = workload.request(worker, batch, self.start_ms)
            self.begun[worker] = batch
            try:
                answer = stub.IngestEvents(request, timeout=60)
            except (grpc.RpcError, ValueError):  # The server died; the channel was closed.
                return
            assert answer.accepted_count == workload.VISITORS * workload.EVENTS
            self.acknowledged[worker], self.position[worker] = batch, answer.position

    def check(self, server: Server) -> None:
        """Compare what the server answers with what it said before it died."""
        stub = session_service_pb2_grpc.SessionServiceStub(server.channel)
        for worker in range(workload.WORKERS):
            sessions: list[session_pb2.Session | None] = []
            for number in range(workload.VISITORS):
                request = session_service_pb2.GetSessionRequest(
                    visitor_id=workload.visitor(worker, number), min_position=self.position[worker]
                )
                try:
                    sessions.append(stub.GetSession(request, timeout=60).session)
                except grpc.RpcError as error:
                    if error.code() is not grpc.StatusCode.NOT_FOUND:
                        raise
                    sessions.append(None)
            workload.assert_exactly_once(worker, sessions, self.begun[worker], self.acknowledged[worker])


def lives(path: Path, rounds: int, seed: int) -> None:
    """Let the server live and be killed `rounds` times, then stop it under load, and check after each."""
    chance = random.Random(seed)
    callers = Callers()
    for life in range(rounds + 2):
        server = Server(path / "data", path / "server.log")
        try:
            if 0 < life < rounds and chance.random() < 0.15:
                time.sleep(chance.uniform(0.0, 3.0))  # It may not have started yet.
                server.end(signal.SIGKILL)
                continue
            server.wait_ready()
            callers.check(server)
            if life < rounds:
                assert callers.load(server, chance.uniform(0.05, 1.0), signal.SIGKILL) == -signal.SIGKILL
            elif life == rounds:
                assert callers.load(server, 0.5, signal.SIGTERM) == 0, "a graceful stop ends with 0"
            else:
                assert server.end(signal.SIGTERM) == 0
        finally:
            if server.process.poll() is None:
                server.end(signal.SIGKILL)
    assert min(callers.acknowledged) > 0, "hardly any load"


@pytest.mark.timeout(2400)
def test_three_killed_servers_keep_their_word(tmp_path: Path) -> None:
    """Acknowledged events are there exactly once after each kill, and after a stop under load."""
    lives(tmp_path, 3, seed=1)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_fifty_killed_servers_keep_their_word(tmp_path: Path) -> None:
    """The same for fifty kills, each at another moment."""
    lives(tmp_path, 50, seed=random.randrange(10**9))
