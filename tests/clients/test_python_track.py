"""`track()` of the Python client: nothing is lost and everything counts once, whatever happens."""

from __future__ import annotations

import asyncio
import collections
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import grpc
import pytest

import rte
import rte.aio
from rte.aio_tracker import AioTracker
from rte.results import ChangeKind
from rte.tracker import Tracker
from rte_server.testing import TestServer
from tests.ports import free_port
from tests.simulation.test_kill_server import Server

ROOT = Path(__file__).parents[2]
NOBODY = "127.0.0.1:1"
"""Where no server is."""

PATIENT_S = 120.0
"""How long a flush may take on a busy machine, seconds."""


def count_of(client: rte.Client, visitor: str, position: str = "") -> int:
    """Return the events of a visitor's session."""
    return client.get_session(visitor_id=visitor, min_position=position, fields=["event_count"]).event_count


def test_tracked_events_arrive_in_batches(address: str, visitor: str) -> None:
    """Events are sent in batches by themselves, with their properties, and `flush` waits for all of them."""
    with rte.Client(address) as client:
        ids = [client.track("view_item", visitor_id=visitor, properties={"item_id": f"{n}"}) for n in range(1_234)]
        position = client.flush(PATIENT_S)
        assert len(set(ids)) == 1_234
        assert count_of(client, visitor, position) == 1_234
        assert client.get_session(visitor_id=visitor).attributes["product_views"] == 1_234
        stats = client.track_stats()
        assert (stats.tracked, stats.delivered, stats.rejected, stats.held) == (1_234, 1_234, 0, 0)


def test_an_event_alone_goes_after_a_moment(address: str, visitor: str) -> None:
    """A single event is sent without a flush, when it has waited for others."""
    with rte.Client(address, track=rte.TrackSettings(linger_s=0.05)) as client:
        client.track("login", visitor_id=visitor)
        end = time.monotonic() + PATIENT_S
        while client.track_stats().delivered == 0 and time.monotonic() < end:
            time.sleep(0.01)
        assert client.track_stats().delivered == 1


def test_an_event_with_its_id_counts_once(address: str, visitor: str) -> None:
    """The same id, tracked again by another client, counts once."""
    for _ in range(2):
        with rte.Client(address) as client:
            client.track("login", visitor_id=visitor, event_id="one")
    with rte.Client(address) as client:
        assert count_of(client, visitor) == 1


def test_a_refused_event_is_told(address: str, visitor: str) -> None:
    """An event that the server refuses is told to the owner, whose own failure does not stop the rest."""
    told: list[tuple[rte.Event, rte.Verdict]] = []

    def on_rejected(event: rte.Event, verdict: rte.Verdict) -> None:
        told.append((event, verdict))
        raise RuntimeError("the owner fails")

    with rte.Client(address, on_rejected=on_rejected) as client:
        client.track("login", visitor_id=visitor)
        bad = client.track("x" * 65, visitor_id=visitor)
        client.track("login", visitor_id=visitor)
        assert count_of(client, visitor, client.flush(PATIENT_S)) == 2
        stats = client.track_stats()
    assert (stats.delivered, stats.rejected, stats.held) == (2, 1, 0)
    ((event, verdict),) = told
    assert (event.event_id, verdict.reason, verdict.field) == (bad, "STRING_TOO_LONG", "name")


def test_a_batch_that_is_too_large_is_halved(tmp_path: Path, visitor: str, caplog: pytest.LogCaptureFixture) -> None:
    """A server with a lower limit than the client's batches gets all events in smaller ones."""
    with (
        TestServer(tmp_path, limits__batch_events_max=30) as server,
        rte.Client(server.address) as client,
        caplog.at_level(logging.CRITICAL, "rte"),
    ):
        for _ in range(400):
            client.track("login", visitor_id=visitor)
        assert count_of(client, visitor, client.flush(PATIENT_S)) == 400


EAGER = rte.TrackSettings(linger_s=0.0, back_off_s_max=0.0, senders=1)


def test_a_send_that_raises_anything_is_tried_again() -> None:
    """Whatever a send raises is counted, and the same events are sent again: no sender ends of it."""
    failures: list[Exception] = [OSError("no such file"), KeyError("x")]

    def send(batch: list[bytes]) -> rte.Ingested:
        if failures:
            raise failures.pop(0)
        return rte.Ingested("0-1", len(batch), 0, 0, 0, (), ())

    tracker = Tracker(send, EAGER)
    tracker.track(rte.Event("login", "ada"))
    assert tracker.flush(PATIENT_S) == "0-1"
    stats = tracker.stats()
    tracker.close(PATIENT_S)
    assert (stats.delivered, stats.attempts_failed) == (1, 2) and "KeyError" in str(stats.last_error)


def test_a_send_of_asyncio_that_raises_anything_is_tried_again() -> None:
    """The same of the client for asyncio."""
    failures: list[Exception] = [OSError("no such file")]

    async def send(batch: list[bytes]) -> rte.Ingested:
        if failures:
            raise failures.pop(0)
        return rte.Ingested("0-1", len(batch), 0, 0, 0, (), ())

    async def deliver() -> rte.TrackStats:
        tracker = AioTracker(send, EAGER)
        await tracker.track(rte.Event("login", "ada"))
        await tracker.flush(PATIENT_S)
        await tracker.close(PATIENT_S)
        return tracker.stats()

    stats = asyncio.run(deliver())
    assert (stats.delivered, stats.attempts_failed) == (1, 1)


def test_a_flush_ends_while_others_track() -> None:
    """`flush` waits for what was tracked before, not for what is tracked meanwhile without a pause."""

    def send(batch: list[bytes]) -> rte.Ingested:
        return rte.Ingested("0-1", len(batch), 0, 0, 0, (), ())

    def track() -> None:
        while not is_over.is_set():
            tracker.track(rte.Event("login", "ada"))

    is_over = threading.Event()
    tracker = Tracker(send, rte.TrackSettings(batch_events_max=7, linger_s=60.0, events_max=1_000_000))
    others = threading.Thread(target=track)
    others.start()
    try:
        for _ in range(20):
            before = tracker.stats().tracked
            tracker.flush(PATIENT_S)
            assert tracker.stats().delivered >= before
    finally:
        is_over.set()
        others.join()
        tracker.close(PATIENT_S)


def test_a_batch_that_grpc_finds_too_large_is_halved() -> None:
    """What is refused without a reason for its size is sent in smaller batches; one event alone is tried again."""
    refused: list[int] = []

    def send(batch: list[bytes]) -> rte.Ingested:
        if len(batch) > 3 or (not refused.count(1) and len(batch) == 1):
            refused.append(len(batch))
            raise rte.errors.Exhausted(grpc.StatusCode.RESOURCE_EXHAUSTED, "Received message larger than max")
        return rte.Ingested("0-1", len(batch), 0, 0, 0, (), ())

    tracker = Tracker(send, rte.TrackSettings(linger_s=60.0, back_off_s_max=0.01))
    for _ in range(20):
        tracker.track(rte.Event("login", "ada"))
    tracker.flush(PATIENT_S)
    tracker.track(rte.Event("login", "ada"))
    tracker.close(PATIENT_S)
    assert (tracker.stats().delivered, tracker.stats().rejected, refused.count(1)) == (21, 0, 1)


def test_a_certificate_that_cannot_be_read_is_told_at_once(tmp_path: Path) -> None:
    """A file of certificates that does not exist is told where the client is made, not by each call."""
    with pytest.raises(FileNotFoundError):
        rte.Client("localhost:1", tls=rte.Tls(root_certificates=tmp_path / "nope.pem"))


def test_a_full_queue_raises_waits_or_drops() -> None:
    """Without room an event is refused at once, after a while, or counted as dropped; what is held stays bounded."""
    settings = {"events_max": 10, "full_wait_s": 0.2, "linger_s": 60.0}
    for when_full in ("raise", "wait", "drop"):
        client = rte.Client(NOBODY, track=rte.TrackSettings(when_full=when_full, **settings))  # type: ignore[arg-type]
        for _ in range(10):
            client.track("login", visitor_id="ada")
        begun = time.monotonic()
        if when_full == "drop":
            client.track("login", visitor_id="ada")
        else:
            with pytest.raises(rte.QueueFull, match="10 events"):
                client.track("login", visitor_id="ada")
        assert when_full != "wait" or time.monotonic() - begun >= 0.2
        stats = client.track_stats()
        assert (stats.held, stats.dropped) == (10, int(when_full == "drop"))
        with pytest.raises(rte.NotDelivered):
            client.close(0.0)


def test_a_full_queue_by_bytes() -> None:
    """The bytes of what is held are bounded, too."""
    client = rte.Client(NOBODY, track=rte.TrackSettings(when_full="raise", bytes_max=10_000, linger_s=60.0))
    with pytest.raises(rte.QueueFull):
        collections.deque(client.track("login", visitor_id="ada", properties={"x": "y" * 100}) for _ in range(10_000))
    assert 50 < client.track_stats().held < 100
    with pytest.raises(rte.NotDelivered):
        client.close(0.0)


def test_who_waits_for_room_gets_it(address: str, visitor: str) -> None:
    """Callers who are faster than the server wait for room, and nothing is lost."""
    settings = rte.TrackSettings(events_max=50, batch_events_max=20, full_wait_s=PATIENT_S)
    with rte.Client(address, track=settings) as client:
        for _ in range(600):
            client.track("login", visitor_id=visitor)
        assert count_of(client, visitor, client.flush(PATIENT_S)) == 600


def test_close_gives_back_what_it_cannot_deliver(address: str, visitor: str, caplog: pytest.LogCaptureFixture) -> None:
    """What `close` could not deliver can be tracked by another client, and counts once."""
    with caplog.at_level(logging.CRITICAL, "rte"):
        away = rte.Client(NOBODY)
        for number in range(20):
            away.track("view_item", visitor_id=visitor, properties={"item_id": str(number)})
        with pytest.raises(rte.NotDelivered) as flushed:
            away.flush(0.3)
        assert flushed.value.held == 20 and flushed.value.events == ()
        wait_until(lambda: away.track_stats().attempts_failed > 0)
        with pytest.raises(rte.NotDelivered) as failure:
            away.close(0.1)
    assert isinstance(failure.value.last_error, rte.RteError)
    with pytest.raises(RuntimeError, match="closed"):
        away.track("login", visitor_id=visitor)
    away.close()
    with rte.Client(address) as client:
        for event in failure.value.events * 2:
            client.track_event(event)
        assert count_of(client, visitor, client.flush(PATIENT_S)) == 20


def test_many_threads_track(address: str, visitor: str) -> None:
    """Threads share a client; each event counts once."""

    def work() -> None:
        for _ in range(300):
            client.track("login", visitor_id=visitor)

    with rte.Client(address) as client:
        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENT_S)
        assert count_of(client, visitor, client.flush(PATIENT_S)) == 2_400


async def test_track_in_an_event_loop(address: str, visitor: str) -> None:
    """The client for asyncio tracks in the same way: batches, room, refusals, the end."""
    told: list[str] = []
    settings = rte.TrackSettings(events_max=100, batch_events_max=30, full_wait_s=PATIENT_S)
    async with rte.aio.Client(
        address, track=settings, on_rejected=lambda _, verdict: told.append(verdict.reason)
    ) as client:
        for _ in range(700):
            await client.track("login", visitor_id=visitor)
        await client.track("", visitor_id=visitor)
        await client.wait_applied(await client.flush(PATIENT_S))
        assert (await client.get_session(visitor_id=visitor)).event_count == 700
        assert told == ["FIELD_MISSING"]
        await client.track("login", visitor_id=visitor)
    with pytest.raises(RuntimeError, match="closed"):
        await client.track("login", visitor_id=visitor)
    async with rte.aio.Client(address) as client:
        assert (await client.get_session(visitor_id=visitor)).event_count == 701
    away = rte.aio.Client(NOBODY, track=rte.TrackSettings(events_max=1, when_full="raise"))
    await away.track("login", visitor_id=visitor)
    with pytest.raises(rte.QueueFull):
        await away.track("login", visitor_id=visitor)
    with pytest.raises(rte.NotDelivered) as failure:
        await away.close(0.2)
    assert len(failure.value.events) == 1


EXIT_TRIES = 5
"""The machine may be busy with other things for longer than a process waits as it ends, but not each time."""

EXIT = """
import sys, rte
client = rte.Client(sys.argv[1])
for number in range(10):
    client.track("login", visitor_id=sys.argv[2])
"""

FORK = """
import os, sys, rte
address, visitor, used = sys.argv[1:]
client = rte.Client(address)
if used == "used":
    client.track("login", visitor_id=visitor)
    client.flush(120)
client.track("login", visitor_id=visitor)
child = os.fork()
for number in range(3):
    client.track("login", visitor_id=visitor)
client.close(120)
if child == 0:
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
"""


def run_script(script: str, *arguments: str, **variables: str) -> None:
    """Run a script in a process of its own; it must succeed."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))} | variables
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]


def test_a_process_that_ends_delivers(address: str, visitor: str) -> None:
    """A process that ends without closing its client still delivers what it tracked."""
    visitors = [f"{visitor}-{number}" for number in range(EXIT_TRIES)]
    with rte.Client(address) as client:
        for each in visitors:
            run_script(EXIT, address, each)
            try:
                assert count_of(client, each) == 10
                return
            except (AssertionError, rte.RteError):
                if each == visitors[-1]:
                    raise


@pytest.mark.parametrize("used", ["used", "unused"])
def test_a_forked_process_has_its_own_events(address: str, visitor: str, used: str) -> None:
    """After a fork parent and child deliver their own events, each once; gRPC needs to be told if it was used before."""
    run_script(FORK, address, visitor, used, **({"GRPC_ENABLE_FORK_SUPPORT": "1"} if used == "used" else {}))
    with rte.Client(address) as client:
        assert count_of(client, visitor) == (8 if used == "used" else 7)


@pytest.mark.timeout(1800)
def test_nothing_is_lost_over_killed_servers(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """While a program tracks, the server is killed and started again, twice: every event is in the state exactly once."""
    server = Server(tmp_path / "data", tmp_path / "server.log")
    try:
        server.wait_ready()
        visitors, rounds = [f"v-{number}" for number in range(7)], [0]
        with caplog.at_level(logging.CRITICAL, "rte"):
            client = rte.Client(f"127.0.0.1:{server.port}", track=rte.TrackSettings(full_wait_s=600.0))
            stop = threading.Event()
            thread = threading.Thread(target=track_until, args=(client, visitors, rounds, stop))
            thread.start()
            for _ in range(2):
                wait_until(partial(has_delivered, client, client.track_stats().delivered + 2_000))
                server.end(signal.SIGKILL)
                time.sleep(0.5)
                server = Server(tmp_path / "data", tmp_path / "server.log", server.port)
                server.wait_ready()
            stop.set()
            thread.join(PATIENT_S)
            position = client.flush(PATIENT_S)
        stats = client.track_stats()
        assert stats.attempts_failed > 0, "the kills hit nothing"
        assert (stats.delivered, stats.held, stats.rejected) == (rounds[0] * len(visitors), 0, 0)
        assert [count_of(client, visitor, position) for visitor in visitors] == [rounds[0]] * len(visitors)
        client.close()
    finally:
        server.end(signal.SIGKILL)


@pytest.mark.timeout(1800)
async def test_nothing_is_lost_over_a_killed_server_in_an_event_loop(tmp_path: Path) -> None:
    """The same of the client for event loops, whose program goes on tracking while nobody answers."""
    server = await asyncio.to_thread(ready_server, tmp_path)
    try:
        client = rte.aio.Client(f"127.0.0.1:{server.port}", track=rte.TrackSettings(full_wait_s=600.0))
        count = 0

        async def track_until_delivered(more: int) -> None:
            nonlocal count
            goal = client.track_stats().delivered + more
            end = time.monotonic() + PATIENT_S
            while client.track_stats().delivered < goal:
                assert time.monotonic() < end
                await client.track("view_item", visitor_id="ada", properties={"price": 1.5})
                count += 1
                await asyncio.sleep(0.0005)

        await track_until_delivered(1_000)
        await asyncio.to_thread(server.end, signal.SIGKILL)
        for _ in range(500):
            await client.track("view_item", visitor_id="ada", properties={"price": 1.5})
        count += 500
        await asyncio.to_thread(wait_until, lambda: client.track_stats().attempts_failed > 0)
        server = await asyncio.to_thread(ready_server, tmp_path, server.port)
        await track_until_delivered(1_000)
        position = await client.flush(PATIENT_S)
        stats = client.track_stats()
        assert (stats.delivered, stats.held, stats.rejected) == (count, 0, 0)
        session = await client.get_session(visitor_id="ada", min_position=position)
        assert (session.event_count, session.attributes["product_views"]) == (count, count)
        await client.close()
    finally:
        server.end(signal.SIGKILL)


def ready_server(folder: Path, port: int = 0) -> Server:
    """Start a server that can be killed, and wait until it answers."""
    server = Server(folder / "data", folder / "server.log", port)
    server.wait_ready()
    return server


def track_until(client: rte.Client, visitors: list[str], rounds: list[int], stop: threading.Event) -> None:
    """Track one event of each visitor at a time; `rounds[0]` counts how often."""
    while not stop.is_set():
        for visitor in visitors:
            client.track("view_item", visitor_id=visitor, properties={"price": 1.5})
        rounds[0] += 1
        time.sleep(0.0005)


def has_delivered(client: rte.Client, count: int) -> bool:
    """Say whether so many events are durable."""
    return client.track_stats().delivered >= count


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait until something is so."""
    end = time.monotonic() + PATIENT_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.timeout(1800)
def test_a_watch_goes_on_over_a_restart(tmp_path: Path) -> None:
    """A watch that is read while its server restarts goes on by itself and tells the changes since."""
    first = TestServer(tmp_path, server__grpc_port=free_port())
    address = first.address
    with rte.Client(address) as client:
        client.ingest([rte.Event("login", "ada")], wait="applied")
        changes = client.watch_sessions()
        assert [next(changes).kind, next(changes).kind] == [ChangeKind.UPSERT, ChangeKind.SYNCED]
        first.stop()
        with TestServer(tmp_path, server__grpc_port=int(address.rpartition(":")[2])):
            client.ingest([rte.Event("login", "bob")], wait="applied", timeout_s=120)
            seen = set()
            for change in changes:
                if change.session is not None:
                    seen.add(change.session.visitor_id)
                if "bob" in seen:
                    break
