"""The life of Envoy as a child: start, death, restart, drain, stop."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from rte_server.edge import Edge, EdgeError, EdgeSettings
from tests.e2e.calls import call, lines
from tests.e2e.conftest import Loop, make_stand_in
from tests.e2e.stand_in import StandIn


def until(condition: Callable[[], bool], timeout_s: float = 60) -> None:
    """Wait until a condition holds."""
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, "it did not come to pass"
        time.sleep(0.02)


def is_healthy(port: int) -> bool:
    """Say whether `/healthz` answers 200."""
    try:
        return call(port, "GET", "/healthz").status == 200
    except (OSError, http.client.HTTPException):
        return False


def is_alive(pid: int) -> bool:
    """Say whether a process runs."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] not in "ZX"
    except FileNotFoundError:
        return False


def make_edge(run_dir: Path, upstream: str, **settings: object) -> Edge:
    """Make an edge on a free port."""
    return Edge(EdgeSettings(run_dir=run_dir, upstream=upstream, **{"port": 0, **settings}))  # type: ignore[arg-type]


def kill(edge: Edge) -> None:
    """Kill Envoy."""
    assert edge.pid is not None
    os.kill(edge.pid, signal.SIGKILL)


def test_port_that_is_taken(loop: Loop, run_dir: Path, upstream: str) -> None:
    """A port that another program has is named in the error, and nothing is left running."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        edge = make_edge(run_dir, upstream, port=port)
        with pytest.raises(EdgeError, match=f"port {port} on 127.0.0.1 is taken"):
            loop.run(edge.start())
    assert edge.pid is None


def test_two_edges_never_share_a_port(loop: Loop, run_dir: Path, upstream: str, port: int) -> None:
    """A second Envoy does not take the port of the first, as Envoy would by default."""
    with pytest.raises(EdgeError, match="is taken"):
        loop.run(make_edge(run_dir, upstream, port=port).start())


def test_killed_envoy_is_restarted_on_its_port(loop: Loop, run_dir: Path, upstream: str) -> None:
    """After `kill -9` Envoy answers again on the same port, twice in a row."""
    edge = make_edge(run_dir, upstream)
    loop.run(edge.start())
    port = edge.port
    for count in (1, 2):
        kill(edge)
        until(lambda count=count: edge.restart_count == count and is_healthy(port))  # type: ignore[misc]
    assert edge.port == port
    loop.run(edge.stop(0))
    assert edge.pid is None
    assert not is_healthy(port)


def test_stop_while_a_restart_waits(loop: Loop, run_dir: Path, upstream: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An edge that is stopped between a death and the restart does not come back."""
    monkeypatch.setattr("rte_server.edge.child._RESTART_DELAY_S_MIN", 3_600.0)
    edge = make_edge(run_dir, upstream)
    loop.run(edge.start())
    supervision = edge._envoy._supervision
    assert supervision is not None
    kill(edge)
    until(lambda: edge.pid is None)
    loop.run(edge.stop(1))
    until(supervision.done)
    assert edge.pid is None
    assert edge.restart_count == 0


def test_stop_before_start_and_twice(loop: Loop, run_dir: Path, upstream: str) -> None:
    """Stopping an edge that does not run does nothing."""
    edge = make_edge(run_dir, upstream)
    loop.run(edge.stop(1))
    loop.run(edge.stop(1))


def test_drain_answers_every_call(loop: Loop, run_dir: Path, tmp_path: Path) -> None:
    """While an edge drains and stops under load, every call that reaches the server is answered with 200.

    What may fail is a connection that the kernel had accepted, and Envoy not yet, when the port was closed.
    """
    address = f"unix:{tmp_path}/grpc.sock"
    server = loop.run(make_stand_in())
    loop.run(server.start(address))
    edge = make_edge(run_dir, address)
    loop.run(edge.start())
    statuses: list[int] = []
    stopping = threading.Event()
    early: list[str] = []

    def load() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", edge.port, timeout=60)
        while True:
            try:
                connection.request("GET", "/v1/models")
                response = connection.getresponse()
                response.read()
                statuses.append(response.status)
            except (OSError, http.client.HTTPException) as error:
                if not stopping.is_set():
                    early.append(repr(error))
                return

    threads = [threading.Thread(target=load) for _ in range(4)]
    for thread in threads:
        thread.start()
    until(lambda: len(statuses) > 20 or bool(early))
    loop.run(edge.begin_drain(60))
    drained = len(statuses)
    until(lambda: len(statuses) > drained + 20 or bool(early))
    stopping.set()
    loop.run(edge.stop(60))
    for thread in threads:
        thread.join()
    loop.run(server.stop())
    assert early == []
    assert set(statuses) == {200}
    assert len(statuses) == server.models.list_count > 40


def test_drain_waits_for_a_slow_call(loop: Loop, run_dir: Path, tmp_path: Path) -> None:
    """A call that the server works on is answered, although the edge is stopped meanwhile; `/healthz` says 503."""
    address = f"unix:{tmp_path}/grpc.sock"
    server = loop.run(make_stand_in())
    loop.run(server.start(address))
    edge = make_edge(run_dir, address)
    loop.run(edge.start())
    port = edge.port
    statuses: list[int] = []
    thread = hold_a_call(port, server, statuses)
    loop.run(edge.begin_drain(600))
    assert call(port, "GET", "/healthz").status == 503
    stopped = loop.begin(edge.stop(600))
    with pytest.raises(TimeoutError):
        stopped.result(0.5)
    loop.run(server.let_go())
    stopped.result(60)
    thread.join()
    assert statuses == [404]
    loop.run(server.stop())


def hold_a_call(port: int, server: StandIn, statuses: list[int]) -> threading.Thread:
    """Make a call that the stand-in holds; the thread ends, and its status is there, when it lets go."""
    thread = threading.Thread(target=lambda: statuses.append(call(port, "GET", "/v1/visitors/held/session").status))
    thread.start()
    until(lambda: server.held_count == 1)
    return thread


def test_drain_ends_with_the_watches(loop: Loop, run_dir: Path, tmp_path: Path) -> None:
    """A watch gets its last message when the server ends it, and the edge then stops at once."""
    address = f"unix:{tmp_path}/grpc.sock"
    server = loop.run(make_stand_in())
    loop.run(server.start(address))
    edge = make_edge(run_dir, address)
    loop.run(edge.start())
    received: list[str] = []
    thread = threading.Thread(target=lambda: received.extend(lines(edge.port, "/v1/sessions:watch")))
    thread.start()
    until(lambda: any("TYPE_SYNCED" in line for line in received))
    loop.run(edge.begin_drain(600))
    loop.run(server.end_watches())
    loop.run(edge.stop(600))  # It is waited for far less.
    thread.join()
    assert any("TYPE_ERROR" in line for line in received)
    loop.run(server.stop())


def test_call_that_outlasts_the_drain_is_cut(loop: Loop, run_dir: Path, upstream: str) -> None:
    """A watch that nobody ends does not hold the stop up for longer than the drain."""
    edge = make_edge(run_dir, upstream)
    loop.run(edge.start())
    stream = lines(edge.port, "/v1/sessions:watch")
    next(stream)
    started_s = time.monotonic()
    loop.run(edge.stop(0.3))  # It ends, although the watch does not.
    assert time.monotonic() - started_s >= 0.3


def test_an_envoy_that_hangs_does_not_hold_up_a_stop(
    loop: Loop, run_dir: Path, upstream: str, caplog: pytest.LogCaptureFixture
) -> None:
    """One that answers nothing and does not end when it is told to is gone seconds after the drain, as the log says."""
    edge = make_edge(run_dir, upstream)
    loop.run(edge.start())
    pid = edge.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    started_s = time.monotonic()
    loop.run(edge.begin_drain(2))
    loop.run(edge.stop(2))
    # 2 s to drain, 1 s for the last question, 5 s to end; the rest is for a busy machine.
    assert time.monotonic() - started_s < 18
    assert not is_alive(pid)
    assert "envoy does not take the drain" in caplog.text
    assert "edge stops with some calls in flight" in caplog.text


def test_an_envoy_that_is_silent_for_a_while_keeps_its_calls(
    loop: Loop, run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the drain has time, an Envoy that does not say how many calls it has is not taken as one without calls."""
    monkeypatch.setattr("rte_server.edge.admin._REPLY_TIMEOUT_S", 0.2)
    address = f"unix:{tmp_path}/grpc.sock"
    server = loop.run(make_stand_in())
    loop.run(server.start(address))
    edge = make_edge(run_dir, address, ready_timeout_s=120)
    loop.run(edge.start())
    pid, port = edge.pid, edge.port
    statuses: list[int] = []
    assert pid is not None
    thread = hold_a_call(port, server, statuses)
    os.kill(pid, signal.SIGSTOP)
    stopped = loop.begin(edge.stop(600))
    with pytest.raises(TimeoutError):
        stopped.result(1.5)  # Several questions without an answer.
    os.kill(pid, signal.SIGCONT)
    with pytest.raises(TimeoutError):
        stopped.result(0.5)
    loop.run(server.let_go())
    stopped.result(60)
    thread.join()
    assert statuses == [404]
    loop.run(server.stop())


def test_server_that_is_away(loop: Loop, run_dir: Path, tmp_path: Path) -> None:
    """Without the server callers get 503 with a delay for the retry; once it is there they get answers."""
    address = f"unix:{tmp_path}/grpc.sock"
    edge = make_edge(run_dir, address)
    loop.run(edge.start())
    assert call(edge.port, "GET", "/healthz").status == 503
    reply = call(edge.port, "GET", "/v1/models")
    assert reply.status == 503
    assert reply.reason == "SERVER_UNAVAILABLE"
    assert reply.headers["retry-after"] == "1"
    assert str(tmp_path) not in reply.body.decode()
    server = loop.run(make_stand_in())
    loop.run(server.start(address))
    until(lambda: call(edge.port, "GET", "/v1/models").status == 200)
    loop.run(server.stop())
    loop.run(edge.stop(0))


def test_long_run_directory(loop: Loop, tmp_path: Path, upstream: str) -> None:
    """A run directory whose path is too long for a unix socket works all the same."""
    run_dir = tmp_path / ("long" * 25)
    run_dir.mkdir()
    edge = make_edge(run_dir, upstream)
    loop.run(edge.start())
    assert is_healthy(edge.port)
    loop.run(edge.stop(0))


def test_admin_interface_is_private(run_dir: Path, loop: Loop, upstream: str) -> None:
    """The admin interface is a unix socket that only its owner may use, and it is gone after the stop."""
    edge = make_edge(run_dir, upstream)
    loop.run(edge.start())
    path = run_dir / "envoy-admin.sock"
    assert path.stat().st_mode & 0o077 == 0
    loop.run(edge.stop(0))
    assert not path.exists()


def test_access_log_holds_one_line_per_call(run_dir: Path, loop: Loop, upstream: str) -> None:
    """With an access log each call is a JSON line with the public path and the RPC, without the query."""
    log = run_dir / "access.log"
    edge = make_edge(run_dir, upstream, access_log=log)
    loop.run(edge.start())
    name = uuid.uuid4().hex
    call(edge.port, "GET", f"/v1/models/{name}")
    call(edge.port, "GET", "/v1/sessions?filter=secret")
    loop.run(edge.stop(0))
    text = log.read_text()
    assert f'"path":"/v1/models/{name}"' in text
    assert '"rpc":"/rte.v1.ModelService/GetModel"' in text
    assert "secret" not in text


def test_envoy_dies_with_its_parent(run_dir: Path, upstream: str) -> None:
    """After `kill -9` of the server its Envoy is gone too."""
    script = textwrap.dedent(
        f"""
        import asyncio, pathlib
        from rte_server.edge import Edge, EdgeSettings

        async def main():
            edge = Edge(EdgeSettings(run_dir=pathlib.Path({str(run_dir)!r}), upstream={upstream!r}, port=0))
            await edge.start()
            print(edge.pid, flush=True)
            await asyncio.sleep(600)

        asyncio.run(main())
        """
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert is_alive(pid)
        parent.kill()
    until(lambda: not is_alive(pid))
