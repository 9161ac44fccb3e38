"""What the back office writes: through CustomerService and by plain SQL, over SQLite and a real PostgreSQL."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import json_format

from rte.v1 import customer_service_pb2 as pb
from rte.v1.customer_pb2 import Customer
from rte.v1.customer_service_pb2_grpc import CustomerServiceStub
from rte.v1.session_service_pb2 import GetSessionRequest
from rte.v1.session_service_pb2_grpc import SessionServiceStub
from rte_server.engine.reasons import Reason
from rte_server.mart.database import MartError, TooSlow
from rte_server.mart.written import CustomerWrite, WrittenValue
from tests.mart.live_mart import live_mart, now_ms, values
from tests.mart.postgres import Postgres
from tests.service.calls import event, new_visitor, refused, send
from tests.service.live_server import LiveServer, live_server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """A server behind Envoy with the embedded data mart."""
    with live_server(tmp_path_factory.mktemp("office"), edge=True, mart__poll_ms=50) as running:
        yield running


@pytest.fixture(scope="module")
def channel(server: LiveServer) -> Iterator[grpc.Channel]:
    """A channel to it."""
    with server.channel() as channel:
        yield channel


@pytest.fixture
def customers(channel: grpc.Channel) -> CustomerServiceStub:
    """CustomerService."""
    return CustomerServiceStub(channel)


def written(customers: CustomerServiceStub, customer_id: str, **fields: Any) -> Customer:
    """Write attributes; fields as in JSON."""
    request = {"customer_id": customer_id, "source": "crm", **fields}
    return customers.UpdateCustomer(json_format.ParseDict(request, pb.UpdateCustomerRequest()), timeout=60).customer


def audit(server: LiveServer, customer_id: str) -> list[tuple[Any, ...]]:
    """Return the audit's rows of a customer."""
    path = server.application.config.server.data_dir / "mart.sqlite"
    with sqlite3.connect(path, timeout=60) as connection:
        statement = "SELECT author, why, change_text FROM rte_customer_audit WHERE customer_id = ? ORDER BY audit_id"
        found = connection.execute(statement, (customer_id,)).fetchall()
    connection.close()
    return found


def test_what_is_written_is_in_the_session(
    server: LiveServer, channel: grpc.Channel, customers: CustomerServiceStub
) -> None:
    """Attributes of every JSON type are in the live session when the call returns, with source; null removes; it is audited."""
    visitor = new_visitor()
    send(channel, event(visitor, "login", customer_id="w1"))
    attributes = {"a": 1, "b": 2.5, "c": "x", "d": True, "e": [1, {"f": None}], "gone": "y"}
    found = written(customers, "w1", attributes=attributes, author="ann", why="call of today")
    assert values(found) == attributes
    assert {each.source for each in found.attributes.values()} == {"crm"}
    assert found.attributes["a"].as_of_time.seconds > 0
    session = SessionServiceStub(channel).GetSession(GetSessionRequest(visitor_id=visitor), timeout=60).session
    assert values(session.customer) == attributes
    again = written(customers, "w1", attributes={"gone": None, "a": 2})
    assert values(again) == {name: each for name, each in {**attributes, "a": 2}.items() if name != "gone"}
    first, second = audit(server, "w1")
    assert first[:2] == ("ann", "call of today") and json.loads(first[2])["attributes"]["a"]["value"] == 1
    assert second[:2] == (None, None)


def test_a_write_waits_for_the_schema(tmp_path: Path) -> None:
    """The first write after a start finds the data mart's schema itself; it is not refused because nobody has looked yet."""
    for number in range(5):
        order = CustomerWrite("c", {"n": WrittenValue(float(number))}, "test", "", "", None, now_ms())
        with live_mart(tmp_path) as live:
            asyncio.run(live.mart.write(order))
            assert values(live.customer("c"))["n"] == number


def test_a_write_that_takes_too_long_is_done_later_and_does_not_outlive_an_erasure(tmp_path: Path) -> None:
    """While somebody locks the file a write is given up as not known; an erasure waits for it, or says that it cannot."""
    with live_mart(tmp_path, write_ms_max=300) as live:
        asyncio.run(live.mart.write(CustomerWrite("c", {"n": WrittenValue(1.0)}, "test", "", "", None, now_ms())))
        with sqlite3.connect(tmp_path / "mart.sqlite", isolation_level=None) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(TooSlow):
                asyncio.run(
                    live.mart.write(CustomerWrite("c", {"n": WrittenValue(2.0)}, "test", "", "", None, now_ms()))
                )
            with pytest.raises(MartError, match="has not ended"):
                asyncio.run(live.mart.erase("c"))
            other.execute("ROLLBACK")
            until_s = time.monotonic() + 60
            while True:
                try:
                    count = asyncio.run(live.mart.erase("c"))
                    break
                except MartError:
                    assert time.monotonic() < until_s
            # The write that was given up was done before: its rows are among those that were deleted.
            assert count >= 4
            rows = "SELECT count(*) FROM rte_customer_attribute WHERE customer_id = 'c'"
            assert other.execute(rows).fetchone() == (0,)


def test_a_write_on_condition(customers: CustomerServiceStub) -> None:
    """With an etag only the first of two writers who read the same wins; the etag of nobody is refused."""
    etag = customers.GetCustomer(pb.GetCustomerRequest(customer_id="w2"), timeout=60).customer.etag
    assert etag == ""
    first = written(customers, "w2", attributes={"a": 1})
    second = written(customers, "w2", attributes={"a": 2}, etag=first.etag)
    assert second.etag != first.etag
    for wrong in (first.etag, "zz", "f" * 15):
        request = pb.UpdateCustomerRequest(customer_id="w2", source="x", etag=wrong)
        request.attributes["a"] = 3
        assert refused(customers.UpdateCustomer, request)[::2] == (grpc.StatusCode.ABORTED, "etag")
    assert values(customers.GetCustomer(pb.GetCustomerRequest(customer_id="w2"), timeout=60).customer) == {"a": 2}


def test_what_expires_is_gone_in_time(tmp_path: Path) -> None:
    """An attribute with an expiry is absent from then on, though nobody writes and the data mart is not asked."""
    clock = [now_ms()]
    until_ms = clock[0] + 1_500
    expire = f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(until_ms // 1000))}.{until_ms % 1000:03}Z"
    with live_server(tmp_path, clock_ms=lambda: clock[0]) as server, server.channel() as channel:
        customers = CustomerServiceStub(channel)
        found = written(customers, "w3", attributes={"offer": "x"}, expire_time=expire)
        assert found.attributes["offer"].expire_time.ToMilliseconds() == until_ms
        written(customers, "w3", attributes={"stays": 1})
        request = pb.GetCustomerRequest(customer_id="w3")
        clock[0] = until_ms - 1
        assert values(customers.GetCustomer(request, timeout=60).customer) == {"offer": "x", "stays": 1}
        clock[0] = until_ms
        assert values(customers.GetCustomer(request, timeout=60).customer) == {"stays": 1}


def test_wrong_writes_are_refused(customers: CustomerServiceStub) -> None:
    """Each rule of UpdateCustomerRequest is checked, and says field and limit."""
    good = {"customer_id": "w4", "source": "crm", "attributes": {"a": 1}}
    for change, reason, field in (
        ({"customer_id": ""}, Reason.FIELD_MISSING, "customer_id"),
        ({"customer_id": "x" * 129}, Reason.STRING_TOO_LONG, "customer_id"),
        ({"source": ""}, Reason.FIELD_MISSING, "source"),
        ({"source": "x" * 129}, Reason.STRING_TOO_LONG, "source"),
        ({"why": "x" * 501}, Reason.STRING_TOO_LONG, "why"),
        ({"attributes": {}}, Reason.FIELD_MISSING, "attributes"),
        ({"attributes": {f"a{n}": 1 for n in range(101)}}, Reason.OUT_OF_RANGE, "attributes"),
        ({"attributes": {"a b": 1}}, Reason.OUT_OF_RANGE, "attributes"),
        ({"attributes": {"a" * 65: 1}}, Reason.STRING_TOO_LONG, "attributes"),
        ({"attributes": {"a": "x" * 70_000}}, Reason.OUT_OF_RANGE, "attributes"),
        ({"expire_time": "2020-01-01T00:00:00Z"}, Reason.OUT_OF_RANGE, "expire_time"),
    ):
        request = json_format.ParseDict(good | change, pb.UpdateCustomerRequest())
        assert refused(customers.UpdateCustomer, request)[1:] == (reason, field)
    infinite = pb.UpdateCustomerRequest(customer_id="w4", source="crm")
    infinite.attributes["a"] = float("inf")
    assert refused(customers.UpdateCustomer, infinite)[1:] == (Reason.OUT_OF_RANGE, "attributes.a")


def test_writes_over_http(server: LiveServer) -> None:
    """PATCH writes, and a misspelt member is refused by its name."""
    url = f"http://127.0.0.1:{server.http_port}/v1/customers/w5"

    def patch(body: dict[str, Any]) -> dict[str, Any]:
        request = urllib.request.Request(url, json.dumps(body).encode(), method="PATCH")
        request.add_header("content-type", "application/json")
        with urllib.request.urlopen(request) as answer:
            found: dict[str, Any] = json.load(answer)
        return found

    customer = patch({"source": "job", "attributes": {"tier": "A", "n": 3}})["customer"]
    assert customer["attributes"]["tier"]["value"] == "A" and customer["attributes"]["n"]["type"] == "TYPE_INTEGER"
    with pytest.raises(urllib.error.HTTPError) as failure:
        patch({"sauce": "job", "attributes": {"tier": "A"}})
    assert failure.value.code == 400 and "sauce" in failure.value.read().decode()
    failure.value.close()


def test_plain_sql_counts_as_much(server: LiveServer, channel: grpc.Channel) -> None:
    """The worked example of the guide: a nightly job in SQL shows in a live session, in its order."""
    visitor = new_visitor()
    send(channel, event(visitor, "login", customer_id="w6"))
    path = server.application.config.server.data_dir / "mart.sqlite"
    with sqlite3.connect(path, timeout=60) as connection:
        connection.execute("INSERT INTO customer (customer_id, segment) VALUES ('w6', 'gold')")
        connection.executemany(
            "INSERT INTO recommended_products VALUES ('w6', ?, ?, ?, 'bought often')",
            [(2, "b", 0.5), (1, "a", 0.9), (3, "c", 0.1)],
        )
        connection.execute("INSERT INTO rte_customer_attribute (customer_id, name, value) VALUES ('w6', 'vip', 'true')")
    connection.close()
    stub, request = SessionServiceStub(channel), GetSessionRequest(visitor_id=visitor)
    until_s = time.monotonic() + 60
    # Tables are read one after the other: what was committed in between comes with the look-up that the outbox asks for.
    wanted = {"vip", "segment", "recommended_products"}
    while not wanted <= set((found := stub.GetSession(request, timeout=60).session.customer).attributes):
        assert time.monotonic() < until_s, found
        time.sleep(0.01)
    assert [each["item_id"] for each in values(found)["recommended_products"]] == ["a", "b", "c"]
    assert values(found)["segment"] == "gold" and values(found)["vip"] is True


def test_written_attributes_in_postgresql(postgres: Postgres, database: str, tmp_path: Path) -> None:
    """RTE's own tables in PostgreSQL: SQL writes into them are notified, and hide attributes of other sources."""
    url = postgres.database(database)
    postgres.sql_in(database, "CREATE TABLE customer (customer_id text PRIMARY KEY, tier text);")
    postgres.sql_in(database, "INSERT INTO customer VALUES ('c', 'B');")
    with live_mart(tmp_path, url=url, poll_ms=60_000) as live:
        assert values(live.known("c")) == {"tier": "B"}
        until_s = time.monotonic() + 60
        while "t" not in postgres.sql_in(database, "SELECT to_regclass('rte_customer_attribute') IS NOT NULL;"):
            assert time.monotonic() < until_s
        postgres.sql_in(
            database, "INSERT INTO rte_customer_attribute (customer_id, name, value) VALUES ('c', 'tier', '\"A\"');"
        )
        assert live.known("c", lambda c: values(c) == {"tier": "A"}).attributes["tier"].source == ""
