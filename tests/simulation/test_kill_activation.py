"""Servers that are killed while their models change: whatever runs afterwards has counted every event exactly once."""

from __future__ import annotations

import random
import signal
import threading
import time
from pathlib import Path

import grpc
import pytest

from rte.v1 import model_service_pb2, model_service_pb2_grpc, session_service_pb2, session_service_pb2_grpc
from tests.simulation.test_kill_server import Callers, Server

pb = model_service_pb2
KEEPS_ALL = {"RTE_JOURNAL__TRIM": "false"}
"""Then each new attribute has all the history, so that its count must be that of the session."""


def counting(version: int) -> pb.ModelSource:
    """Return a model whose attribute counts all events; each of three versions in a row has another one."""
    attribute = f"counted_{version % 3}"
    return pb.ModelSource(yaml=f'model: counting\nversion: {version}\nattributes:\n  {attribute}: {{count: "*"}}\n')


class Changer:
    """Changes the models for as long as the server lives, and remembers what it was told."""

    def __init__(self) -> None:
        self.version = 0
        self.begun = 0
        self.activated = 0
        self.seconds = 0.0
        """How long an activation takes on this machine, without load."""

    def run(self, server: Server) -> None:
        """Activate one version after the other."""
        try:
            while True:
                self.change(server)
        except (grpc.RpcError, ValueError):  # The server died; the channel was closed.
            return

    def change(self, server: Server) -> None:
        """Activate the next version."""
        version = self.begun = self.begun + 1
        began = time.monotonic()
        request = pb.ApplyModelsRequest(
            models=[counting(version)], mode=pb.ApplyModelsRequest.MODE_ACTIVATE, request_id=f"version-{version}"
        )
        model_service_pb2_grpc.ModelServiceStub(server.channel).ApplyModels(request, timeout=120)
        self.activated = version
        self.seconds = self.seconds or time.monotonic() - began

    def check(self, server: Server) -> int:
        """Compare each session's counts; return how many sessions have one."""
        models = model_service_pb2_grpc.ModelServiceStub(server.channel)
        running = {each.name: each.version for each in models.ListModels(pb.ListModelsRequest()).models}
        version = running.get("counting", 0)
        assert self.activated <= version <= self.begun
        self.begun = max(version, self.activated)
        sessions = session_service_pb2_grpc.SessionServiceStub(server.channel)
        request = session_service_pb2.ListSessionsRequest(page_size=1000)
        found = sessions.ListSessions(request, timeout=60).sessions
        for session in found if version else ():
            counts = {n: v.number_value for n, v in session.attributes.fields.items() if n.startswith("counted_")}
            assert counts == {f"counted_{version % 3}": session.event_count}
        return len(found) if version else 0


def lives(path: Path, rounds: int, seed: int) -> None:
    """Let the server live and be killed `rounds` times while models change, and check after each."""
    chance = random.Random(seed)
    callers, changer = Callers(), Changer()
    checked = 0
    for life in range(rounds + 1):
        server = Server(path / "data", path / "server.log", **KEEPS_ALL)
        try:
            server.wait_ready()
            callers.check(server)
            checked = changer.check(server)
            if life == rounds:
                assert server.end(signal.SIGTERM) == 0
                break
            if life == 0:
                changer.change(server)
            changing = threading.Thread(target=changer.run, args=(server,))
            changing.start()
            assert (
                callers.load(server, chance.uniform(0.2, 0.5 + 3 * changer.seconds), signal.SIGKILL) == -signal.SIGKILL
            )
            changing.join()
        finally:
            if server.process.poll() is None:
                server.end(signal.SIGKILL)
    assert checked > 0, "hardly any load"


@pytest.mark.timeout(2400)
def test_three_kills_while_models_change(tmp_path: Path) -> None:
    """What was acknowledged is there, and every attribute of the version that runs has counted each event once."""
    lives(tmp_path, 3, seed=2)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_thirty_kills_while_models_change(tmp_path: Path) -> None:
    """The same for thirty kills, each at another moment."""
    lives(tmp_path, 30, seed=time.time_ns())
