"""The Customer State in sessions: a whole server with a real PostgreSQL, over gRPC and HTTP/JSON."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import grpc
import pytest

from rte.v1 import customer_service_pb2, session_service_pb2
from rte.v1.customer_pb2 import Customer
from rte.v1.customer_service_pb2_grpc import CustomerServiceStub
from rte.v1.session_pb2 import Session
from rte.v1.session_service_pb2_grpc import SessionServiceStub
from rte_server.engine.reasons import Reason
from tests.mart.live_mart import values
from tests.mart.postgres import Postgres
from tests.service.calls import event, new_visitor, refused, send
from tests.service.live_server import LiveServer, live_server

DATABASE = "sessions"


@dataclass
class Shop:
    """A server with a data mart.

    Attributes:
        server: The server.
        channel: To it.
        postgres: Where its data mart is.
    """

    server: LiveServer
    channel: grpc.Channel
    postgres: Postgres

    def sql(self, statements: str) -> str:
        """Run statements in the data mart."""
        return self.postgres.sql_in(DATABASE, statements)

    def session(self, visitor: str, **fields: Any) -> Session:
        """Return a visitor's session."""
        request = session_service_pb2.GetSessionRequest(visitor_id=visitor, **fields)
        return SessionServiceStub(self.channel).GetSession(request, timeout=60).session

    def joined(self, visitor: str, condition: Callable[[Customer], bool], timeout_s: float = 60) -> Customer:
        """Wait until the customer of a visitor's session fulfils a condition."""
        until_s = time.monotonic() + timeout_s
        while not condition(found := self.session(visitor).customer):
            assert time.monotonic() < until_s, f"never so: {found}"
            time.sleep(0.01)
        return found


@pytest.fixture(scope="module")
def shop(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """A server behind Envoy whose data mart is a PostgreSQL with the change feed."""
    url = postgres.database(DATABASE)
    postgres.sql_in(
        DATABASE,
        """
        CREATE TABLE customer (customer_id text PRIMARY KEY, segment text, lifetime_value numeric(12,2));
        INSERT INTO customer SELECT 'c' || n, 'gold', n FROM generate_series(1, 500) n;
        """,
    )
    folder = tmp_path_factory.mktemp("shop")
    # Changes come by notification alone: a poll would come too late for these tests.
    with live_server(folder, edge=True, mart__url=url, mart__poll_ms=3_600_000) as server, server.channel() as channel:
        found = Shop(server, channel, postgres)
        until_s = time.monotonic() + 60
        while "rte_watch_table" not in found.sql("SELECT proname FROM pg_proc WHERE proname = 'rte_watch_table';"):
            assert time.monotonic() < until_s
            time.sleep(0.05)
        found.sql("SELECT rte_watch_table('customer', 'customer_id');")
        yield found


def fresh(customer: Customer) -> bool:
    """Return whether a customer is FRESH."""
    return customer.freshness == Customer.FRESHNESS_FRESH


def test_a_session_has_its_customer(shop: Shop) -> None:
    """A customer known by an event is in the session soon, with types, source and age; others have none or are unknown."""
    visitor, nobody, stranger = new_visitor(), new_visitor(), new_visitor()
    send(
        shop.channel,
        event(visitor, "login", customer_id="c7"),
        event(nobody),
        event(stranger, "login", customer_id="who"),
    )
    found = shop.joined(visitor, fresh)
    assert found.customer_id == "c7"
    assert values(found) == {"segment": "gold", "lifetime_value": "7.00"}
    attribute = found.attributes["lifetime_value"]
    assert (attribute.source, attribute.column) == ("customer", "lifetime_value")
    assert abs(found.as_of_time.ToMilliseconds() - time.time() * 1000) < 60_000
    assert 0 <= found.age.ToMilliseconds() < 60_000
    assert not shop.session(nobody).HasField("customer")
    unknown = shop.joined(stranger, lambda c: c.freshness != Customer.FRESHNESS_UNAVAILABLE)
    assert unknown.freshness == Customer.FRESHNESS_UNKNOWN_CUSTOMER
    assert unknown.customer_id == "who" and not unknown.attributes


def test_it_is_the_same_over_http(shop: Shop) -> None:
    """HTTP/JSON shows the customer as plainly as the session's own attributes; so does CustomerService."""
    visitor = new_visitor()
    send(shop.channel, event(visitor, "login", customer_id="c8"))
    shop.joined(visitor, fresh)
    base = f"http://127.0.0.1:{shop.server.http_port}/v1"
    with urllib.request.urlopen(f"{base}/visitors/{visitor}/session") as answer:
        customer = json.load(answer)["session"]["customer"]
    assert customer["customer_id"] == "c8" and customer["freshness"] == "FRESHNESS_FRESH"
    assert customer["attributes"]["segment"]["value"] == "gold"
    with urllib.request.urlopen(f"{base}/customers/c8?max_age=0s") as answer:
        alone = json.load(answer)["customer"]
    assert alone["attributes"] == customer["attributes"]
    with urllib.request.urlopen(f"{base}/customers:batchGet?customer_ids=c9&customer_ids=nope") as answer:
        nine, nope = json.load(answer)["customers"]
    assert nine["attributes"]["lifetime_value"]["value"] == "9.00"
    assert nope["freshness"] == "FRESHNESS_UNKNOWN_CUSTOMER"


def test_read_masks_choose_it(shop: Shop) -> None:
    """`customer` in a read mask brings the customer, other masks leave it out; lists and batches have it, too."""
    visitor = new_visitor()
    send(shop.channel, event(visitor, "login", customer_id="c10"))
    shop.joined(visitor, fresh)
    only = shop.session(visitor, read_mask={"paths": ["customer"]})
    assert values(only.customer)["segment"] == "gold" and only.customer_id == "c10"
    assert not only.session_id and not only.attributes.fields
    assert not shop.session(visitor, read_mask={"paths": ["customer_id", "state"]}).HasField("customer")
    stub = SessionServiceStub(shop.channel)
    listed = stub.ListSessions(
        session_service_pb2.ListSessionsRequest(filter="session.customer_id == 'c10'"), timeout=60
    ).sessions
    assert [fresh(each.customer) for each in listed] == [True]
    batch = stub.BatchGetSessions(session_service_pb2.BatchGetSessionsRequest(visitor_ids=[visitor]), timeout=60)
    assert fresh(batch.results[0].session.customer)


def test_many_customers_cost_one_query(shop: Shop) -> None:
    """64 customers who become known at once are looked up by one query."""
    before = settled_look_ups(shop)
    visitors = [new_visitor() for _ in range(64)]
    send(shop.channel, *(event(each, "login", customer_id=f"c{100 + n}") for n, each in enumerate(visitors)))
    for n, each in enumerate(visitors):
        assert values(shop.joined(each, fresh))["lifetime_value"] == f"{100 + n}.00"
    assert look_ups(shop) == before + 1


def look_ups(shop: Shop) -> int:
    """Return how many batches were looked up so far."""
    return int(shop.server.application.metrics.registry.get_sample_value("rte_mart_look_ups") or 0)


def settled_look_ups(shop: Shop) -> int:
    """Return the same when nobody is looked up or about to be: changes of the tests before are looked up after they end."""
    states = shop.server.application.eraser._mart.states
    until_s = time.monotonic() + 60
    while states._tasks or states._waiting or states._gathering is not None:
        assert time.monotonic() < until_s
        time.sleep(0.01)
    return look_ups(shop)


def test_a_change_is_seen_at_once(shop: Shop) -> None:
    """A new column with an update in SQL is in GetSession and on a watch without a poll; benchmarks say how soon."""
    visitor = new_visitor()
    send(shop.channel, event(visitor, "login", customer_id="c11"))
    shop.joined(visitor, fresh)
    watch = SessionServiceStub(shop.channel).WatchSessions(
        session_service_pb2.WatchSessionsRequest(filter=f"session.visitor_id == '{visitor}'"), timeout=60
    )
    told = iter(watch)
    while next(told).type != session_service_pb2.WatchSessionsResponse.TYPE_SYNCED:
        pass
    statement = "ALTER TABLE customer ADD COLUMN tier text; UPDATE customer SET tier = 'A' WHERE customer_id = 'c11';"
    shop.sql(statement)
    while "tier" not in next(told).session.customer.attributes:
        pass
    assert values(shop.session(visitor).customer)["tier"] == "A"
    watch.cancel()


def test_a_maximum_age_asks_first(shop: Shop) -> None:
    """With `customer_max_age` the data mart is asked before the answer; wrong ages are refused."""
    visitor = new_visitor()
    send(shop.channel, event(visitor, "login", customer_id="c12"))
    shop.joined(visitor, fresh)
    before = settled_look_ups(shop)
    found = shop.session(visitor, customer_max_age={"seconds": 0}).customer
    assert look_ups(shop) == before + 1 and fresh(found)
    shop.session(visitor, customer_max_age={"seconds": 600})
    assert look_ups(shop) == before + 1
    stub = SessionServiceStub(shop.channel)
    request = session_service_pb2.GetSessionRequest(visitor_id=visitor, customer_max_age={"seconds": -1})
    assert refused(stub.GetSession, request)[1:] == (Reason.OUT_OF_RANGE, "customer_max_age")
    customers = CustomerServiceStub(shop.channel)
    empty = customer_service_pb2.GetCustomerRequest()
    assert refused(customers.GetCustomer, empty)[1:] == (Reason.FIELD_MISSING, "customer_id")
    long = customer_service_pb2.BatchGetCustomersRequest(customer_ids=["x" * 129])
    assert refused(customers.BatchGetCustomers, long)[1:] == (Reason.STRING_TOO_LONG, "customer_ids")
    many = customer_service_pb2.BatchGetCustomersRequest(customer_ids=["x"] * 1001)
    assert refused(customers.BatchGetCustomers, many)[1:] == (Reason.OUT_OF_RANGE, "customer_ids")
