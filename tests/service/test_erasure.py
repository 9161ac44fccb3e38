"""Erasing a person: afterwards nothing that the server answers or keeps in a file gives back anything of the person."""

from __future__ import annotations

import json
import shutil
import sqlite3
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import json_format

from rte.v1 import customer_service_pb2 as pb
from rte.v1 import event_service_pb2, session_service_pb2
from rte.v1.customer_pb2 import Customer, ErasureReceipt
from rte.v1.customer_service_pb2_grpc import CustomerServiceStub
from rte.v1.event_service_pb2_grpc import EventServiceStub
from rte.v1.session_service_pb2_grpc import SessionServiceStub
from rte_server.engine.entries import EntryType
from rte_server.engine.reasons import Reason
from tests.service.calls import event, refused, send
from tests.service.live_server import LiveServer, live_server

MARK = "erasemarker"
"""Stands in every text of the person."""

PERSON = f"c-{MARK}"
CHROME = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36"
MODEL = """
model: browsers
version: 1
attributes:
  agents: {recent: event.user_agent, keep: 3}
  found: {last: ua.browser(event.user_agent)}
  spent: {sum: event.price}
derived:
  does: customer.hobby
"""
AMOUNT = 1234.5678


def started(data_dir: Path, *, home: Path | None = None, edge: bool = False) -> Any:
    """Start a server whose models need facts about texts; they lie in `home`, by default beside its data."""
    model = (home or data_dir.parent) / "browsers.yaml"
    if not model.exists():
        model.write_text(MODEL)
    return live_server(data_dir, edge=edge, mart__poll_ms=50, models__packs=("base", "retail", str(model)))


def traffic(channel: grpc.Channel, number: int) -> None:
    """Send events of the person on two devices, one of which says who it is only later, and of others, mixed."""
    properties = {"search_term": f"{MARK} shoes {number}", "price": AMOUNT, "user_agent": f"{CHROME} {MARK}"}
    events = [
        event(f"phone-{MARK}", "search", properties=properties, client_session_id=f"s-{MARK}"),
        event("other", "search", customer_id="stays", properties={"search_term": f"kept {number}", "price": 1.0}),
        event(f"phone-{MARK}", "login", customer_id=PERSON, event_id=f"e-{MARK}-{number}"),
        event(f"desk-{MARK}", "login", customer_id=PERSON, properties=properties),
        event("third", "page_view", properties={"user_agent": CHROME}),
    ]
    wait = event_service_pb2.WAIT_APPLIED
    request = event_service_pb2.IngestEventsRequest(events=events, wait=wait, request_id=f"r-phone-{MARK}-{number}")
    EventServiceStub(channel).IngestEvents(request, timeout=60)
    send(channel, event(f"phone-{MARK}", "page_view", properties={"user_agent": CHROME}))


def files_with(folder: Path, text: str) -> list[str]:
    """Return the files of a folder that hold a text anywhere in their bytes."""
    found = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return sorted(str(path.relative_to(folder)) for path in found if text.encode() in path.read_bytes())


def entries_with(server: LiveServer, text: str) -> set[EntryType]:
    """Return the types of entries of the journal that hold a text."""
    return {entry.type for _, entry in server.application.eraser._journal.read(0, 1) if text.encode() in entry.body}


def update_with_etag(channel: grpc.Channel) -> None:
    """Write to the session of `other`, with its etag: what the data mart says of a customer may change that meanwhile."""
    sessions = SessionServiceStub(channel)
    until = time.monotonic() + 60
    while True:
        other = sessions.GetSession(session_service_pb2.GetSessionRequest(visitor_id="other"), timeout=60).session
        kept = session_service_pb2.UpdateSessionRequest(session_id=other.session_id, etag=other.etag)
        kept.attributes["note"] = "kept note"
        try:
            sessions.UpdateSession(kept, timeout=60)
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.ABORTED or time.monotonic() > until:
                raise
        else:
            return


def prepared(channel: grpc.Channel) -> str:
    """Make sessions, writes and customer attributes of the person; return one of the sessions' id."""
    for number in range(2):
        traffic(channel, number)
    sessions = SessionServiceStub(channel)
    found = sessions.GetSession(session_service_pb2.GetSessionRequest(visitor_id=f"phone-{MARK}"), timeout=60).session
    write = session_service_pb2.UpdateSessionRequest(session_id=found.session_id, request_id=f"w-{MARK}")
    write.attributes["note"] = f"note {MARK}"
    sessions.UpdateSession(write, timeout=60)
    update_with_etag(channel)
    order = {"customer_id": PERSON, "source": "crm", "author": "ann", "attributes": {"hobby": f"{MARK} climbing"}}
    customers = CustomerServiceStub(channel)
    customers.UpdateCustomer(json_format.ParseDict(order, pb.UpdateCustomerRequest()), timeout=60)
    send(channel, event(f"tablet-{MARK}", "page_view"))
    for customer_id in (PERSON, "stays"):
        link = pb.LinkVisitorRequest(customer_id=customer_id, visitor_id=f"tablet-{MARK}", why=f"said {MARK}")
        customers.LinkVisitor(link, timeout=60)
    link = pb.LinkVisitorRequest(customer_id="stays", visitor_id="third", why="kept link")
    customers.LinkVisitor(link, timeout=60)
    return found.session_id


def refuse(server: LiveServer, *senders: dict[str, str]) -> None:
    """Have the collectors refuse an event of each sender, since its name is too long."""
    batch = [{"type": "track", "event": "e" * 300, **sender} for sender in senders]
    body = json.dumps({"batch": batch, "writeKey": "k"}).encode()
    url = f"http://127.0.0.1:{server.http_port}/v1/batch"
    request = urllib.request.Request(url, body, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        assert answer.status == 200


def no_session(channel: grpc.Channel, **key: Any) -> None:
    """Check that an id leads to no session."""
    request = session_service_pb2.GetSessionRequest(**key)
    assert refused(SessionServiceStub(channel).GetSession, request)[1] == Reason.SESSION_NOT_FOUND


def others(channel: grpc.Channel) -> dict[str, dict[str, Any]]:
    """Return all sessions by visitor, without what follows from the time of the question."""
    request = session_service_pb2.ListSessionsRequest(state=session_service_pb2.STATE_FILTER_ANY)
    listed = SessionServiceStub(channel).ListSessions(request, timeout=60).sessions
    shown = {}
    for each in listed:
        found = json_format.MessageToDict(each, preserving_proto_field_name=True)
        found["attributes"] = {name: found["attributes"][name] for name in found["attributes"] if name in COMPARED}
        for name in ("customer", "models", "etag"):  # What changes when time passes.
            found.pop(name, None)
        shown[each.visitor_id] = found
    return shown


COMPARED = frozenset(("note", "agents", "found", "spent", "page_views", "last_search", "searches"))


def gone(channel: grpc.Channel, session_id: str) -> None:
    """Check that no way to ask leads to the person, and that the others are there."""
    for key in (
        {"visitor_id": f"phone-{MARK}"},
        {"visitor_id": f"desk-{MARK}"},
        {"visitor_id": f"tablet-{MARK}"},
        {"customer_id": PERSON},
        {"session_id": session_id},
        {"client_session_id": f"s-{MARK}"},
    ):
        no_session(channel, **key)
    listed = others(channel)
    assert set(listed) == {"other", "third"} and MARK not in str(listed)
    assert listed["other"]["attributes"]["note"] == "kept note"
    assert listed["third"]["attributes"]["found"] == "Chrome"
    until = time.monotonic() + 60
    while True:
        request = pb.GetCustomerRequest(customer_id=PERSON)
        customer = CustomerServiceStub(channel).GetCustomer(request, timeout=60).customer
        if customer.freshness != Customer.FRESHNESS_UNAVAILABLE or time.monotonic() > until:
            break  # Right after a start the data mart may not have been asked yet.
    assert customer.freshness == Customer.FRESHNESS_UNKNOWN_CUSTOMER and not customer.attributes


def deleted(channel: grpc.Channel, **whom: str) -> pb.DeleteCustomerResponse:
    """Erase a person."""
    return CustomerServiceStub(channel).DeleteCustomer(pb.DeleteCustomerRequest(**whom), timeout=120)


def is_genuine(channel: grpc.Channel, receipt: ErasureReceipt, **whom: str) -> tuple[bool, bool, int]:
    """Return what is said of a receipt: genuine, about that person, sessions since."""
    request = pb.VerifyErasureReceiptRequest(receipt=receipt, **whom)
    answer = CustomerServiceStub(channel).VerifyErasureReceipt(request, timeout=60)
    return answer.genuine, answer.person_matches, answer.session_count


def removals(told: Iterator[session_service_pb2.WatchSessionsResponse], count: int) -> set[str]:
    """Return the ids of the next sessions that are removed; what the data mart says may have changed some before."""
    kind = session_service_pb2.WatchSessionsResponse.TYPE_REMOVE
    return {each.session_id for each in islice((each for each in told if each.type == kind), count)}


def test_nothing_of_a_person_is_left(tmp_path: Path) -> None:
    """After the receipt no call, file, snapshot or replay gives anything back; the others are as before, also after a restart."""
    data_dir = tmp_path / "data"
    with started(data_dir, edge=True) as server, server.channel() as channel:
        session_id = prepared(channel)
        server.application.pipeline.retention.forget_older().result(30)  # A snapshot that holds the person.
        traffic(channel, 3)
        watch = SessionServiceStub(channel).WatchSessions(session_service_pb2.WatchSessionsRequest(), timeout=120)
        told = iter(watch)
        while next(told).type != session_service_pb2.WatchSessionsResponse.TYPE_SYNCED:
            pass
        until = time.monotonic() + 60
        while not (types := entries_with(server, MARK)) >= {EntryType.CUSTOMER} and time.monotonic() < until:
            time.sleep(0.1)
        assert types == set(EntryType) - {
            EntryType.TICK,
            EntryType.CONFIGURE,
            EntryType.ROLL_BACK,
            EntryType.ERASE,
            EntryType.END,
        }
        refuse(server, {"userId": PERSON}, {"anonymousId": f"desk-{MARK}"}, {"anonymousId": f"x{MARK}x"[:3]})
        kept = files_with(data_dir, MARK)
        assert any("quarantine" in each for each in kept)
        assert any("journal" in each for each in kept) and any("snapshot" in each for each in kept)
        assert any("mart.sqlite" in each for each in kept)
        before = {name: each for name, each in others(channel).items() if MARK not in name}
        url = f"http://127.0.0.1:{server.http_port}/v1/customers/{PERSON}"
        with urllib.request.urlopen(urllib.request.Request(url, method="DELETE")) as answer:
            found = json_format.Parse(answer.read(), pb.DeleteCustomerResponse())
        receipt = found.receipt
        assert not found.remaining_sources and MARK not in str(found)
        counts = receipt.session_count, receipt.visitor_count, receipt.event_count, receipt.write_count
        assert counts == (3, 3, 13, 1) and receipt.row_count >= 3
        removed = removals(told, 3)
        assert len(removed) == 3 and session_id in removed
        watch.cancel()
        gone(channel, session_id)
        assert files_with(data_dir, MARK) == []
        with urllib.request.urlopen(f"http://127.0.0.1:{server.http_port}/v1/quarantined-events") as answer:
            assert json.load(answer)["total_count"] == 1
        assert is_genuine(channel, receipt) == (True, False, 0)
        assert is_genuine(channel, receipt, customer_id=PERSON) == (True, True, 0)
        assert is_genuine(channel, receipt, customer_id="stays") == (True, False, 2)
        assert is_genuine(channel, receipt, visitor_id=PERSON) == (True, False, 0)
        for changed in ({"event_count": 99}, {"seal": "0" * 32}, {"last_position": "x"}, {"person_digest": ""}):
            other = ErasureReceipt()
            other.CopyFrom(receipt)
            other.MergeFrom(ErasureReceipt(**changed))
            if changed == {"person_digest": ""}:
                other.person_digest = ""
            assert is_genuine(channel, other, customer_id=PERSON)[:2] == (False, False)
        assert others(channel) == before
    assert files_with(data_dir, MARK) == []
    with started(data_dir) as server, server.channel() as channel:
        gone(channel, session_id)
        assert others(channel) == before
        assert is_genuine(channel, receipt) == (True, False, 0)
    # And once more with nothing but the journal: what replaying it gives.
    for path in (data_dir / "snapshots").iterdir():
        path.unlink()
    with started(data_dir) as server, server.channel() as channel:
        gone(channel, session_id)
        assert others(channel) == before
        assert server.application.engine.open_erasures == {}
        # What comes with ids that were there before is no duplicate, as in the running server.
        traffic(channel, 0)
        again = deleted(channel, customer_id=PERSON).receipt
        assert (again.session_count, again.event_count) == (2, 4), again
        gone(channel, session_id)
    assert files_with(data_dir, MARK) == []


def test_a_person_may_come_back(tmp_path: Path) -> None:
    """Events after the erasure are those of a new person; tables of others are named, and what is wrong is refused."""
    with started(tmp_path / "data") as server, server.channel() as channel:
        prepared(channel)
        connection = sqlite3.connect(tmp_path / "data" / "mart.sqlite", timeout=60)
        with connection:
            connection.execute("INSERT INTO customer (customer_id, segment) VALUES (?, 'gold')", (PERSON,))
        connection.close()
        found = deleted(channel, customer_id=PERSON)
        assert list(found.remaining_sources) == ["customer"]
        traffic(channel, 0)
        sessions = SessionServiceStub(channel)
        request = session_service_pb2.GetSessionRequest(visitor_id=f"phone-{MARK}")
        session = sessions.GetSession(request, timeout=60).session
        assert session.event_count == 3 and session.visit_number == 1
        assert is_genuine(channel, found.receipt, customer_id=PERSON) == (True, True, 2)
        stub = CustomerServiceStub(channel)
        for empty in (pb.DeleteCustomerRequest(), pb.DeleteCustomerRequest(customer_id="")):
            assert refused(stub.DeleteCustomer, empty)[1:] == (Reason.FIELD_MISSING, "customer_id")
        longest = pb.DeleteCustomerRequest(visitor_id="v" * 129)
        assert refused(stub.DeleteCustomer, longest)[1:] == (Reason.STRING_TOO_LONG, "visitor_id")
        nothing = pb.VerifyErasureReceiptRequest()
        assert refused(stub.VerifyErasureReceipt, nothing)[1:] == (Reason.FIELD_MISSING, "receipt")
        assert server.application.engine.open_erasures == {}


def test_a_visitor_is_erased(tmp_path: Path) -> None:
    """One visitor is erased, who never named a customer, or who did; the customer's other devices stay."""
    with started(tmp_path / "data") as _, _.channel() as channel:
        prepared(channel)
        send(channel, event("nobody-erasemarkedvisitor", "search", properties={"search_term": "erasemarkedtext"}))
        receipt = deleted(channel, visitor_id="nobody-erasemarkedvisitor").receipt
        assert (receipt.session_count, receipt.event_count, receipt.row_count) == (1, 1, 0)
        assert is_genuine(channel, receipt, visitor_id="nobody-erasemarkedvisitor") == (True, True, 0)
        assert (
            files_with(tmp_path / "data", "erasemarkedvisitor")
            == files_with(tmp_path / "data", "erasemarkedtext")
            == []
        )
        assert deleted(channel, visitor_id=f"phone-{MARK}").receipt.event_count == 6
        no_session(channel, visitor_id=f"phone-{MARK}")
        assert f"desk-{MARK}" in others(channel)


def test_what_cannot_go_on_is_finished_later(tmp_path: Path) -> None:
    """An erasure that has begun and cannot go on says so; it is finished by itself or by asking again, with one receipt."""
    with started(tmp_path / "data") as server, server.channel() as channel:
        session_id = prepared(channel)
        retention, engine = server.application.pipeline.retention, server.application.engine
        base = retention.hold_base(oldest=False)  # As a model that is folded from history does.
        request = pb.DeleteCustomerRequest(customer_id=PERSON)
        stub = CustomerServiceStub(channel)
        assert refused(stub.DeleteCustomer, request, 60)[1] == Reason.JOURNAL_UNAVAILABLE
        (erasure_id,) = engine.open_erasures
        no_session(channel, session_id=session_id)
        retention.release_base(base)
        receipt = deleted(channel, customer_id=PERSON).receipt
        if receipt.erasure_id != erasure_id:  # It had been finished by itself meanwhile.
            assert receipt.event_count == 0
        assert is_genuine(channel, receipt, customer_id=PERSON) == (True, True, 0)
        gone(channel, session_id)
        assert files_with(tmp_path / "data", MARK) == [] and engine.open_erasures == {}


def test_traffic_goes_on(tmp_path: Path) -> None:
    """Events and reads of others go on while people are erased one after the other, at the same time."""
    with started(tmp_path / "data") as _, _.channel() as channel:
        prepared(channel)
        ends, failures, count = threading.Event(), list[Exception](), [0]
        sessions = SessionServiceStub(channel)

        def send_others() -> None:
            try:
                while not ends.is_set():
                    name = f"o{count[0] % 20}"
                    count[0] += 1
                    # In one request with events of those who are erased.
                    send(
                        channel,
                        event(name, "page_view", customer_id=f"c{name}"),
                        event(f"e{count[0] % 4}", "page_view"),
                    )
                    found = sessions.GetSession(session_service_pb2.GetSessionRequest(visitor_id=name), timeout=60)
                    assert found.session.event_count == (count[0] + 19) // 20
            except (grpc.RpcError, AssertionError) as failure:
                failures.append(failure)

        thread = threading.Thread(target=send_others)
        thread.start()
        try:
            for number in range(4):
                calls = [
                    CustomerServiceStub(channel).DeleteCustomer.future(pb.DeleteCustomerRequest(**whom), timeout=120)
                    for whom in ({"customer_id": PERSON}, {"visitor_id": f"e{number}"})
                ]
                for call in calls:
                    call.result()
                traffic(channel, number)
        finally:
            ends.set()
            thread.join()
        assert failures == [] and count[0] > 0
        deleted(channel, customer_id=PERSON)
        no_session(channel, customer_id=PERSON)
        assert files_with(tmp_path / "data", MARK) == []
        sent = sum(
            each["event_count"] for name, each in others(channel).items() if name.startswith("o") and name != "other"
        )
        assert sent == count[0]


class Crashes:
    """Copies the data directory before and after each step of an erasure: what a `kill -9` there would leave."""

    def __init__(self, data_dir: Path, copies: Path) -> None:
        self._data_dir = data_dir
        self._copies = copies
        # Held over each step: a copy that is made while another thread writes is none of a single moment.
        self._lock = threading.RLock()
        self.steps: list[str] = []

    def copy(self, step: str) -> None:
        """Copy the data directory."""
        self.steps.append(step)
        into = self._copies / f"{len(self.steps):02d}" / "data"
        shutil.copytree(self._data_dir, into, ignore=shutil.ignore_patterns("run"))

    def around(self, target: object, name: str, *, copies: bool = True) -> None:
        """Copy before and after each call of a method; without `copies` only keep others from copying meanwhile."""
        method: Callable[..., Any] = getattr(target, name)

        def called(*arguments: Any, **named: Any) -> Any:
            with self._lock:
                if not copies:
                    return method(*arguments, **named)
                self.copy(f"before {name}")
                found = method(*arguments, **named)
                self.copy(f"after {name}")
                return found

        setattr(target, name, called)


def finish(server: LiveServer) -> None:
    """Wait until no erasure is open."""
    until = time.monotonic() + 60
    while server.application.engine.open_erasures and time.monotonic() < until:
        time.sleep(0.05)
    assert server.application.engine.open_erasures == {}


def test_a_crash_at_any_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is left of a server that is killed while it erases: nothing had begun, or the next start finishes it."""
    data_dir = tmp_path / "data"
    with started(data_dir) as server, server.channel() as channel:
        session_id = prepared(channel)
        server.application.pipeline.retention.forget_older().result(30)
        traffic(channel, 3)
        crashes = Crashes(data_dir, tmp_path / "copies")
        eraser = server.application.eraser
        journal, pipeline = eraser._journal, server.application.pipeline
        for target, name in (
            (journal, "append"),
            (journal, "_replace"),
            (journal, "_give_up_wal"),
            (pipeline.retention._snapshots, "write"),
            (pipeline.retention._snapshots, "keep_only"),
        ):
            crashes.around(target, name)
        # It takes the journal's own lock before two of them are called, and so that of the copies before both.
        crashes.around(journal, "redact", copies=False)
        erased = deleted(channel, customer_id=PERSON).receipt
        before = others(channel)
    assert len(crashes.steps) >= 14, crashes.steps
    outcomes = []
    for number, step in enumerate(crashes.steps, 1):
        copy = tmp_path / "copies" / f"{number:02d}" / "data"
        with started(copy, home=tmp_path) as server, server.channel() as channel:
            if server.application.engine.find_customer(PERSON) >= 0:
                outcomes.append("whole")
                assert server.application.engine.open_erasures == {}, step
                assert len(others(channel)) == 5, step
                continue
            outcomes.append("erased")
            finish(server)
            gone(channel, session_id)
            assert others(channel) == before, step
            assert files_with(copy, MARK) == [], step
            ends = [
                entry for _, entry in server.application.eraser._journal.read(0, 1) if entry.type is EntryType.ERASE
            ]
            members = [found for entry in ends if (found := json.loads(entry.body).get("members"))]
            assert [found["receipt"]["event_count"] for found in members] == [erased.event_count], step
    assert outcomes == sorted(outcomes, reverse=True) and set(outcomes) == {"whole", "erased"}
