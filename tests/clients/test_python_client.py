"""The Python client against a real server, past Envoy and through it."""

from __future__ import annotations

import inspect
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest

import rte
import rte.aio
import rte.v1
from rte import errors
from rte.aio import Stubs as AioStubs
from rte.connection import SERVICE_CONFIG, Connection
from rte.results import ChangeKind
from rte.stubs import Stubs
from rte.v1 import session_service_pb2
from rte.v1.error_reason_pb2 import ErrorReason
from rte.v1.model_service_pb2 import ListModelsRequest
from rte_server.service.errors import RULES
from rte_server.testing import TestServer

WAIT_S = 60


def events(visitor: str, count: int) -> list[rte.Event]:
    """Return views of different items."""
    return [rte.Event("view_item", visitor, {"item_id": f"SKU-{number}", "price": 9.5}) for number in range(count)]


def test_what_is_ingested_is_read(client: rte.Client, visitor: str) -> None:
    """A batch is answered with plain values, and the session that it makes has them."""
    answer = client.ingest(
        [
            rte.Event("page_view", visitor, {"page_location": "https://shop.example/a"}, channel="web"),
            *events(visitor, 2),
        ],
        wait="applied",
        return_sessions=True,
    )
    assert (answer.accepted_count, answer.rejected_count, answer.verdicts) == (3, 0, ())
    session = client.get_session(visitor_id=visitor)
    assert answer.sessions[0].session_id == session.session_id
    assert (session.visitor_id, session.state, session.event_count, session.channel) == (visitor, "active", 3, "web")
    assert session.attributes["product_views"] == 2 and isinstance(session.attributes["product_views"], int)
    assert session.start_time is not None and abs(session.start_time - datetime.now(UTC)) < timedelta(minutes=5)
    assert client.get_session(session.session_id, fields=["event_count"]).visitor_id == ""


def test_a_bad_event_has_a_verdict(client: rte.Client, visitor: str) -> None:
    """One bad event of a batch is refused with its reason, and the others are taken."""
    answer = client.ingest([*events(visitor, 1), rte.Event("", visitor), *events(visitor, 1)])
    assert (answer.accepted_count, answer.rejected_count) == (2, 1)
    (verdict,) = answer.verdicts
    assert (verdict.index, verdict.outcome, verdict.reason, verdict.field) == (1, "rejected", "FIELD_MISSING", "name")


def test_failures_have_classes(client: rte.Client, visitor: str) -> None:
    """A failed call raises the class of its reason, with the field, and the class of its status code fits, too."""
    with pytest.raises(errors.SessionNotFound, match=visitor) as failure:
        client.get_session(visitor_id=visitor)
    assert isinstance(failure.value, errors.NotFound)
    assert (failure.value.reason, failure.value.field) == ("SESSION_NOT_FOUND", "visitor_id")
    with pytest.raises(errors.InvalidExpression):
        list(client.list_sessions("nonsense ++"))
    with pytest.raises(errors.InvalidPosition):
        client.wait_applied("nonsense")
    with pytest.raises(TypeError, match="exactly one"):
        client.get_session(visitor_id=visitor, customer_id="c")
    with pytest.raises(ValueError, match="zone"):
        client.ingest([rte.Event("login", visitor, event_time=datetime(2026, 1, 1))])  # noqa: DTZ001


def test_several_sessions(client: rte.Client, visitor: str) -> None:
    """Each of several ids has a session, or an error of its own."""
    client.ingest(events(visitor, 1), wait="applied")
    found, missing = client.get_sessions(visitor_ids=[visitor, f"{visitor}-not"])
    assert isinstance(found, rte.Session) and found.visitor_id == visitor
    assert isinstance(missing, errors.SessionNotFound)


def test_a_list_reads_all_pages(client: rte.Client, visitor: str) -> None:
    """A list yields what matches in order, whatever the size of its pages."""
    names = [f"{visitor}-{number}" for number in range(7)]
    client.ingest([event for number, name in enumerate(names) for event in events(name, number + 1)], wait="applied")
    found = client.list_sessions(
        f"session.visitor_id.startsWith('{visitor}-')", order_by="session.event_count desc", page_size=3
    )
    assert [session.visitor_id for session in found] == names[::-1]


def test_an_attribute_is_written_and_a_session_ended(client: rte.Client, visitor: str) -> None:
    """Applications write attributes, on condition too, and end sessions."""
    client.ingest(events(visitor, 1), wait="applied")
    before = client.get_session(visitor_id=visitor)
    after = client.update_session(before.session_id, {"offer": "x", "rank": 3}, etag=before.etag)
    assert (after.attributes["offer"], after.attributes["rank"]) == ("x", 3)
    with pytest.raises(errors.EtagMismatch):
        client.update_session(before.session_id, {"offer": "y"}, etag=before.etag)
    with pytest.raises(errors.AttributeNotWritable):
        client.update_session(before.session_id, {"product_views": 1})
    assert client.end_session(before.session_id).state == "closed"


def test_customers(client: rte.Client, visitor: str) -> None:
    """What the back office writes about a person is read, and stands in the session."""
    written = client.update_customer(visitor, {"tier": "gold", "points": 7}, source="test")
    assert written.attributes == {"tier": "gold", "points": 7}
    client.ingest([rte.Event("login", visitor, customer_id=visitor)], wait="applied")
    assert client.get_customer(visitor, max_age_s=0).freshness == "fresh"
    session = client.get_session(customer_id=visitor, customer_max_age_s=0)
    assert session.customer is not None and session.customer.attributes["tier"] == "gold"
    assert [customer.customer_id for customer in client.get_customers([visitor, "nobody"])] == [visitor, "nobody"]
    with pytest.raises(errors.EtagMismatch):
        client.update_customer(visitor, {"tier": "x"}, source="test", etag="nonsense")


def test_a_customer_has_sessions_of_several_visitors(client: rte.Client, visitor: str) -> None:
    """Visitors that are linked to a customer are one session when that is asked for, until the link is taken back."""
    person, phone = f"c-{visitor}", f"{visitor}-phone"
    client.ingest([rte.Event("login", visitor, customer_id=person), *events(phone, 2)], wait="applied")
    client.link_visitor(person, phone, why="called from this number")
    assert client.get_session(customer_id=person, merged=True).event_count == 3
    client.unlink_visitor(person, phone, why="a mistake", author="ann")
    assert client.get_session(customer_id=person, merged=True).event_count == 1
    with pytest.raises(errors.LinkNotFound):
        client.unlink_visitor(person, phone, why="again")


def test_a_watch_tells_snapshot_and_changes(client: rte.Client, visitor: str) -> None:
    """A watch tells what matches, that this is all, and then what changes."""
    client.ingest(events(visitor, 1), wait="applied")
    changes = client.watch_sessions(f"session.visitor_id == '{visitor}'")
    first, synced = next(changes), next(changes)
    assert first.session is not None and first.session.visitor_id == visitor and synced.kind is ChangeKind.SYNCED
    client.ingest(events(visitor, 1), wait="applied")
    second = next(changes)
    assert second.session is not None and second.session.event_count == 2
    client.end_session(first.session_id)
    gone = next(changes)
    assert (gone.kind, gone.session_id) == (ChangeKind.REMOVE, first.session_id)
    close = getattr(changes, "close")  # noqa: B009 - an Iterator that is a generator
    close()


def test_the_stubs_are_there(client: rte.Client, visitor: str) -> None:
    """`raw` has the generated stubs; what they raise becomes an RteError by `error_of_call`."""
    assert client.raw.models.ListModels(ListModelsRequest()).models
    with pytest.raises(grpc.RpcError) as failure:
        client.raw.sessions.GetSession(session_service_pb2.GetSessionRequest(visitor_id=visitor))
    assert isinstance(errors.error_of_call(failure.value), errors.SessionNotFound)


async def test_the_asynchronous_client(address: str, visitor: str) -> None:
    """The client for asyncio makes every call and gets the same values."""
    async with rte.aio.Client(address) as client:
        answer = await client.ingest(events(visitor, 2), wait="applied")
        await client.track("view_item", visitor_id=visitor, properties={"item_id": "SKU-9"})
        await client.wait_applied(await client.flush())
        session = await client.get_session(visitor_id=visitor, min_position=answer.position)
        assert session.event_count == 3
        listed = [each async for each in client.list_sessions(f"session.visitor_id == '{visitor}'")]
        assert [each.session_id for each in listed] == [session.session_id]
        (same,) = await client.get_sessions([session.session_id])
        assert isinstance(same, rte.Session) and same.session_id == session.session_id
        assert (await client.update_session(session.session_id, {"offer": "x"})).attributes["offer"] == "x"
        await client.update_customer(visitor, {"tier": "gold"}, source="test")
        assert (await client.get_customer(visitor)).attributes["tier"] == "gold"
        assert len(await client.get_customers([visitor])) == 1
        kinds = []
        async for change in client.watch_sessions(f"session.visitor_id == '{visitor}'"):
            kinds.append(change.kind)
            if change.kind is ChangeKind.SYNCED:
                break
        assert kinds == [ChangeKind.UPSERT, ChangeKind.SYNCED]
        assert (await client.end_session(session.session_id)).state == "closed"
        with pytest.raises(errors.SessionNotFound):
            await client.get_session(visitor_id=f"{visitor}-not")


def test_both_clients_have_the_same_methods() -> None:
    """The two clients have the same methods with the same arguments."""

    def signatures(kind: type) -> dict[str, list[str]]:
        members = inspect.getmembers(kind, inspect.isfunction)
        return {name: list(inspect.signature(each).parameters) for name, each in members if not name.startswith("_")}

    assert signatures(rte.Client) == signatures(rte.aio.Client)


def test_every_service_has_deadlines_and_stubs() -> None:
    """Each service of the contract stands in the service config, and among the stubs of both clients."""
    names = {
        path.name.removesuffix("_service_pb2_grpc.py")
        for path in Path(rte.v1.__path__[0]).glob("*_service_pb2_grpc.py")
    }
    configured = {name["service"] for name in SERVICE_CONFIG["methodConfig"][0]["name"]}  # type: ignore[index]
    assert configured == {f"rte.v1.{name.title()}Service" for name in names}
    for stubs in (Stubs, AioStubs):
        assert {f"{name}s" for name in names} <= set(dir(stubs))


def test_every_reason_has_a_class() -> None:
    """Each reason of the contract has a class, under the class of the status code that the server gives it."""
    names = {name.removeprefix("ERROR_REASON_") for name in dict(ErrorReason.items())} - {"UNSPECIFIED"}
    assert set(errors.BY_REASON) == names
    for reason, rule in RULES.items():
        if reason.name != "UNSPECIFIED":
            made = errors.BY_REASON[reason.name]
            parent = errors._BY_CODE.get(rule.code, errors.RteError)
            assert issubclass(made, parent), reason.name


def test_a_server_that_is_away_is_told_at_once() -> None:
    """Without a server a call fails by class, well before its deadline."""
    with rte.Client("127.0.0.1:1") as client, pytest.raises(errors.Unavailable):
        client.get_session(visitor_id="ada", timeout_s=30)


@pytest.mark.parametrize("address", ["localhost", "http://localhost:8080", "localhost:99999", "localhost:x"])
def test_wrong_addresses_are_refused(address: str) -> None:
    """An address that is none is refused when the client is made."""
    with pytest.raises(ValueError, match="host:port"):
        Connection(address)


class Listener:
    """A server of GetSession that remembers the tokens of calls and fails the first ones."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.failures = 0

    def get_session(
        self, request: session_service_pb2.GetSessionRequest, context: grpc.ServicerContext
    ) -> session_service_pb2.GetSessionResponse:
        """Answer with nothing."""
        self.seen.append(str(dict(context.invocation_metadata()).get("authorization", "")))
        if len(self.seen) <= self.failures:
            context.abort(grpc.StatusCode.UNAVAILABLE, "not yet")
        return session_service_pb2.GetSessionResponse()


@pytest.fixture
def listener() -> Iterator[tuple[Listener, str]]:
    """A stand-in that tells what a client sends, and its address."""
    from concurrent.futures import ThreadPoolExecutor

    server, servicer = grpc.server(ThreadPoolExecutor(2)), Listener()
    method = grpc.unary_unary_rpc_method_handler(
        servicer.get_session,
        request_deserializer=session_service_pb2.GetSessionRequest.FromString,
        response_serializer=session_service_pb2.GetSessionResponse.SerializeToString,
    )
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("rte.v1.SessionService", {"GetSession": method}),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield servicer, f"127.0.0.1:{port}"
    server.stop(0).wait()


def test_a_token_goes_with_each_call(listener: tuple[Listener, str]) -> None:
    """A token is sent as a bearer; a function that gives it is asked for each call."""
    servicer, address = listener
    with rte.Client(address, token="secret") as client:
        client.get_session("x")
    tokens = iter(["one", "two"])
    with rte.Client(address, token=lambda: next(tokens)) as client:
        client.get_session("x")
        client.raw.sessions.GetSession(session_service_pb2.GetSessionRequest(session_id="x"))
    assert servicer.seen == ["Bearer secret", "Bearer one", "Bearer two"]


def test_a_call_is_tried_again(listener: tuple[Listener, str]) -> None:
    """A server that is unavailable for a moment is asked again, up to four times in all."""
    servicer, address = listener
    servicer.failures = 3
    with rte.Client(address) as client:
        client.get_session("x")
        assert len(servicer.seen) == 4
        servicer.failures = 100
        with pytest.raises(errors.Unavailable):
            client.get_session("x")
    assert len(servicer.seen) <= 8


def test_a_client_is_for_many_threads(client: rte.Client, visitor: str) -> None:
    """Threads that share a client get their own answers."""
    names = [f"{visitor}-{number}" for number in range(8)]
    client.ingest([event for name in names for event in events(name, 1)], wait="applied")
    wrong: list[str] = []

    def read(name: str) -> None:
        for _ in range(20):
            if client.get_session(visitor_id=name).visitor_id != name:
                wrong.append(name)

    threads = [threading.Thread(target=read, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    assert wrong == []


def test_a_server_of_ones_own_in_a_test() -> None:
    """`rte_server.testing` gives programs a server for their tests, with a clock of theirs; it leaves nothing."""
    now = 1_800_000_000_000

    def clock_ms() -> int:
        return now

    with TestServer(clock_ms=clock_ms) as server, rte.Client(server.address) as client:
        folder = server.application.config.server.data_dir
        moment = datetime.fromtimestamp(now / 1000, UTC)
        client.ingest([rte.Event("login", "ada", event_time=moment)], wait="applied")
        assert client.get_session(visitor_id="ada").start_time == moment
        now += 31 * 60_000
        moment = datetime.fromtimestamp(now / 1000, UTC)
        client.ingest([rte.Event("login", "ada", event_time=moment)], wait="applied")
        assert client.get_session(visitor_id="ada").visit_number == 2
    assert not folder.exists()


def test_a_server_that_nobody_stops_ends_with_the_process() -> None:
    """A test server that nobody holds runs on; its process ends all the same, with its own status, and leaves no folder."""
    program = """
import gc
from rte_server.testing import TestServer
folder = TestServer().application.config.server.data_dir
gc.collect()
print(folder, folder.exists(), flush=True)
raise SystemExit(3)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 3, done.stderr
    folder, is_there = done.stdout.split()
    assert is_there == "True"
    assert not Path(folder).exists() and "did not stop" not in done.stderr
