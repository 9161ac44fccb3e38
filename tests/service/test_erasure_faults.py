"""What gets in the way of an erasure: trimming, a data mart that is away, models that are folded, what comes meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

from rte.v1 import customer_service_pb2 as pb
from rte.v1.customer_service_pb2_grpc import CustomerServiceStub
from rte_server.engine.configurations import FACTS
from rte_server.engine.entries import Entry, EntryType
from rte_server.engine.reasons import Reason
from rte_server.journal.recovery import to_body
from rte_server.mart.database import MartError
from rte_server.service.receipts import Want
from tests.service.calls import event, refused, send
from tests.service.live_server import live_server
from tests.service.test_erasure import (
    CHROME,
    MARK,
    PERSON,
    deleted,
    entries_with,
    files_with,
    finish,
    is_genuine,
    no_session,
    prepared,
    started,
    traffic,
)


def before(target: object, name: str, first: Callable[[], None]) -> None:
    """Have something done before the next call of a method."""
    method: Callable[..., Any] = getattr(target, name)

    def called(*arguments: Any, **named: Any) -> Any:
        setattr(target, name, method)
        first()
        return method(*arguments, **named)

    setattr(target, name, called)


def wait_until(holds: Callable[[], bool]) -> None:
    """Wait for something that happens soon."""
    until = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.02)


def trimming(tmp_path: Path) -> Any:
    """Start a server that takes snapshots all the time, and gives up entries before them."""
    settings: dict[str, Any] = {"journal__snapshot_entries": 5, "journal__snapshots_kept": 2}
    return live_server(tmp_path / "data", mart__poll_ms=50, **settings)


@pytest.mark.parametrize("step", ["read", "redact"])
def test_nothing_is_trimmed_while_a_person_is_searched_for_and_cut(tmp_path: Path, step: str) -> None:
    """The entries that were found are there until they are cut, however many snapshots are taken; then trimming goes on."""
    with trimming(tmp_path) as server, server.channel() as channel:
        application = server.application
        journal, pipeline = application.eraser._journal, application.pipeline

        def others_send() -> None:
            goal = pipeline.retention.stats()["snapshots"] + 4
            number = 0
            while pipeline.retention.stats()["snapshots"] < goal:
                send(channel, event(f"o{number % 5}", "page_view"))
                number += 1

        others_send()
        prepared(channel)
        first = journal.first_position(0)
        method: Callable[..., Any] = getattr(journal, step)

        def called(*arguments: Any) -> Any:
            # What it has been called with was chosen before the others sent more.
            setattr(journal, step, method)
            others_send()
            return method(*arguments)

        setattr(journal, step, called)
        receipt = deleted(channel, customer_id=PERSON).receipt
        assert receipt.event_count >= 1
        assert files_with(tmp_path / "data", MARK) == []
        no_session(channel, customer_id=PERSON)
        others_send()
        assert journal.first_position(0) > first


def test_an_erasure_that_fails_in_itself_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever goes wrong once, the erasure is finished without another call, in the same run of the server."""
    monkeypatch.setattr("rte_server.service.erasure.eraser.RETRY_S", 0.2)
    with trimming(tmp_path) as server, server.channel() as channel:
        prepared(channel)
        failures = [0]

        def fail() -> None:
            failures[0] += 1
            if failures[0] < 3:
                before(server.application.eraser._journal, "redact", fail)
            raise ValueError("a fault of ours")

        before(server.application.eraser._journal, "redact", fail)
        with pytest.raises(grpc.RpcError):
            deleted(channel, customer_id=PERSON)
        finish(server)
        assert failures == [3]
        assert files_with(tmp_path / "data", MARK) == []


def test_a_data_mart_that_is_away_brings_nobody_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the data mart said of the customer, and what the person sent, until the rows could be deleted leaves, too."""
    monkeypatch.setattr("rte_server.service.erasure.eraser.RETRY_S", 0.2)
    data_dir = tmp_path / "data"
    with started(data_dir) as server, server.channel() as channel:
        prepared(channel)
        wait_until(lambda: EntryType.CUSTOMER in entries_with(server, MARK))
        journal, mart = server.application.eraser._journal, server.application.eraser._mart
        erase, tries = mart.erase, [-1_000]

        def says_old_things() -> bool:
            said = [entry.type for _, entry in journal.read(0, 1) if f"{MARK} climbing".encode() in entry.body]
            begun = [entry.type for _, entry in journal.read(0, 1)]
            return EntryType.CUSTOMER in begun[begun.index(EntryType.ERASE) :] and len(said) >= 2

        async def away(customer_id: str) -> object:
            tries[0] += 1
            if tries[0] < 3:
                raise MartError("away: SELECT secrets")
            return await erase(customer_id)

        monkeypatch.setattr(mart, "erase", away)
        with pytest.raises(grpc.RpcError) as failure:
            deleted(channel, customer_id=PERSON)
        assert "the erasure has begun" in (said := str(failure.value.details())) and "SELECT" not in said
        stub = CustomerServiceStub(channel)
        request = pb.DeleteCustomerRequest(customer_id=PERSON)
        assert refused(stub.DeleteCustomer, request)[1:] == (Reason.MART_UNAVAILABLE, "mart")
        assert server.application.eraser.stats()["open"] == 1
        traffic(channel, 7)
        wait_until(says_old_things)
        tries[0] = 3
        finish(server)
        assert files_with(data_dir, MARK) == []
        no_session(channel, customer_id=PERSON)
        # Nobody has got that receipt yet.
        again = deleted(channel, customer_id=PERSON)
        (earlier,) = again.earlier_receipts
        assert earlier.event_count >= 13 and earlier.session_count > 3 and again.receipt.event_count == 0
        assert is_genuine(channel, earlier, customer_id=PERSON) == (True, True, 0)
        assert not deleted(channel, customer_id="stays").earlier_receipts
    with started(data_dir) as server, server.channel() as channel:
        no_session(channel, customer_id=PERSON)
        assert files_with(data_dir, MARK) == []


def test_models_that_read_the_persons_texts_meanwhile_bring_none_back(tmp_path: Path) -> None:
    """Facts that models took from texts before they were cut, and that come into the journal later, leave, too."""
    data_dir = tmp_path / "data"
    with started(data_dir) as server, server.channel() as channel:
        prepared(channel)
        pipeline = server.application.pipeline

        def configured() -> None:
            facts = {FACTS: {"ua.browser": {f"{CHROME} {MARK}": "Chrome"}}}
            body = to_body({**server.application.engine.configuration, **facts})
            pipeline.submit_and_wait(Entry(EntryType.CONFIGURE, 0, body), want=Want.APPLIED)
            assert EntryType.CONFIGURE in entries_with(server, MARK)

        before(pipeline.retention, "forget_older", configured)
        deleted(channel, customer_id=PERSON)
        assert files_with(data_dir, MARK) == []
        assert entries_with(server, "Chrome") >= {EntryType.FACTS}


def test_what_is_not_known_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a data mart, or with too many calls, nothing begins; what may remain is said; rows are those that were deleted."""
    with started(tmp_path / "data") as server, server.channel() as channel:
        prepared(channel)
        mart = server.application.eraser._mart

        async def away(*_: object) -> int:
            raise MartError("away: SELECT secrets")

        async def none(*_: object, **__: object) -> int:
            return 0

        request = pb.DeleteCustomerRequest(customer_id=PERSON)
        with monkeypatch.context() as patched:
            patched.setattr(mart, "row_count", away)
            found = refused(CustomerServiceStub(channel).DeleteCustomer, request)
            assert found[1:] == (Reason.MART_UNAVAILABLE, "mart")
            assert server.application.engine.open_erasures == {}
        with monkeypatch.context() as patched:
            patched.setattr("rte_server.service.erasure.eraser.CALLS_MAX", 0)
            assert refused(CustomerServiceStub(channel).DeleteCustomer, request)[1] == Reason.OVERLOADED
        with monkeypatch.context() as patched:
            patched.setattr("rte_server.service.erasure.eraser.VISITORS_MAX", 1)
            found = refused(CustomerServiceStub(channel).DeleteCustomer, request)
            assert found[1:] == (Reason.OUT_OF_RANGE, "customer_id")
            assert server.application.engine.open_erasures == {}
        with monkeypatch.context() as patched:
            patched.setattr(mart, "row_count", none)  # More rows come before they are deleted.
            patched.setattr(mart, "reach", none)
            answer = deleted(channel, customer_id=PERSON)
        assert answer.receipt.row_count == 3
        assert answer.remaining_sources_unknown and not answer.remaining_sources
        answer = deleted(channel, customer_id=PERSON)
        assert not answer.remaining_sources_unknown and len(answer.earlier_receipts) == 1
