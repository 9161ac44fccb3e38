"""Models read customers: a whole server with a real PostgreSQL, and what its journal gives without any data mart."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.json_format import MessageToDict

from rte.v1 import model_service_pb2, session_service_pb2
from rte.v1.model_service_pb2_grpc import ModelServiceStub
from rte.v1.session_explanation_pb2 import Explanation
from rte.v1.session_service_pb2_grpc import SessionServiceStub
from rte_server.engine.entries import EntryType
from rte_server.journal.directory import DataDirectory
from rte_server.journal.sqlite import SqliteJournal
from tests.mart.postgres import Postgres
from tests.service.calls import event, new_visitor, send
from tests.service.live_server import LiveServer, live_server

MODEL = """
model: shop
version: 1
attributes:
  views: {count: view_item}
derived:
  worth: customer.lifetime_value * 2.0
  is_gold: customer.segment == 'gold' && customer.newsletter
  days_known: (double(session.start_time) - customer.since) / 86400000.0
scores:
  affinity:
    linear: {weights: {customer.lifetime_value: 0.5, views: 1.0}, default: {customer.lifetime_value: -8}}
    link: identity
triggers:
  rich: {when: customer.lifetime_value > 100000}
"""
SCHEMA = """
CREATE TABLE customer (customer_id text PRIMARY KEY, segment text, lifetime_value numeric(12,2), newsletter boolean,
  since timestamptz, note text);
INSERT INTO customer SELECT 'c' || n, 'gold', n, n % 2 = 0, '2026-01-01T00:00:00Z', 'x' FROM generate_series(1, 200) n;
CREATE TABLE orders (customer_id text, order_no int);
INSERT INTO orders VALUES ('c1', 1), ('c1', 2);
"""


class Shop:
    """A server whose data mart is a PostgreSQL with the change feed.

    Attributes:
        server: The server.
        channel: To it.
    """

    def __init__(self, server: LiveServer, channel: grpc.Channel, sql: Callable[[str], str]) -> None:
        """Name them."""
        self.server = server
        self.channel = channel
        self.sql = sql

    def attributes(self, visitor: str) -> dict[str, Any]:
        """Return the attributes of a visitor's session."""
        request = session_service_pb2.GetSessionRequest(visitor_id=visitor)
        session = SessionServiceStub(self.channel).GetSession(request, timeout=60).session
        return MessageToDict(session.attributes)

    def until(
        self, visitor: str, condition: Callable[[Mapping[str, Any]], bool], timeout_s: float = 60
    ) -> dict[str, Any]:
        """Wait until the attributes of a visitor's session fulfil a condition; return them."""
        until_s = time.monotonic() + timeout_s
        while not condition(found := self.attributes(visitor)):
            assert time.monotonic() < until_s, f"never so: {found}"
            time.sleep(0.01)
        return found

    def entries(self) -> float:
        """Return how many entries about customers were appended; one that is under way is among them."""
        self.server.application._customer_feed.settle()
        return self.server.application.metrics.registry.get_sample_value("rte_customer_feed_entries") or 0

    def until_entries(self, count: float, timeout_s: float = 60) -> None:
        """Wait until just so many were."""
        until_s = time.monotonic() + timeout_s
        while (found := self.entries()) < count:
            assert time.monotonic() < until_s, f"only {found} entries"
            time.sleep(0.01)
        assert found == count


@contextmanager
def shop_at(folder: Path, postgres: Postgres, database: str, url: str, **options: object) -> Iterator[Shop]:
    """Run a server for the time of a block."""
    model = folder.parent / f"{folder.name}.yaml"
    model.write_text(MODEL)
    settings: dict[str, Any] = {"mart__url": url, "mart__poll_ms": 3_600_000, "models__packs": (str(model),)} | options
    with live_server(folder, **settings) as server, server.channel() as channel:
        yield Shop(server, channel, lambda text: postgres.sql_in(database, text))


@pytest.fixture(scope="module")
def shop(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """A server whose model reads customers."""
    url = postgres.database("models")
    postgres.sql_in("models", SCHEMA)
    with shop_at(tmp_path_factory.mktemp("models") / "data", postgres, "models", url) as found:
        until_s = time.monotonic() + 60
        while "rte_watch_table" not in found.sql("SELECT proname FROM pg_proc WHERE proname = 'rte_watch_table';"):
            assert time.monotonic() < until_s
            time.sleep(0.05)
        found.sql("SELECT rte_watch_table('customer', 'customer_id');")
        yield found


def test_a_model_reads_a_number_of_the_customer(shop: Shop) -> None:
    """Derived attributes and scores follow from what the data mart says; of a customer without it they have defaults."""
    visitor, stranger = new_visitor(), new_visitor()
    send(shop.channel, event(visitor, "view_item", customer_id="c7"), event(stranger, "view_item", customer_id="who"))
    found = shop.until(visitor, lambda each: "worth" in each)
    assert found["customer.lifetime_value"] == 7.0 and found["worth"] == 14.0 and found["affinity"] == 4.5
    assert found["customer.newsletter"] is False and found["is_gold"] is False
    assert found["days_known"] > 300
    strange = shop.attributes(stranger)
    assert "worth" not in strange and "customer.lifetime_value" not in strange and strange["affinity"] == -3.0


def test_a_change_in_sql_changes_what_models_say(shop: Shop) -> None:
    """An UPDATE is in derived attributes, scores and triggers, and watchers are told; other columns are nothing."""
    visitor = new_visitor()
    send(shop.channel, event(visitor, "view_item", customer_id="c8"))
    shop.until(visitor, lambda each: each.get("worth") == 16.0)
    watch = SessionServiceStub(shop.channel).WatchSessions(
        session_service_pb2.WatchSessionsRequest(filter="worth > 1000.0"), timeout=60
    )
    told = iter(watch)
    while next(told).type != session_service_pb2.WatchSessionsResponse.TYPE_SYNCED:
        pass
    before = shop.entries()
    shop.sql("UPDATE customer SET lifetime_value = 200000 WHERE customer_id = 'c8';")
    entered = next(told).session
    assert entered.visitor_id == visitor and entered.attributes["worth"] == 400_000.0
    assert entered.attributes["rich"] is True and entered.attributes["is_gold"] is True
    watch.cancel()
    shop.until_entries(before + 1)
    shop.sql("UPDATE customer SET note = 'y' WHERE customer_id = 'c8';")
    shop.sql("UPDATE customer SET lifetime_value = 9 WHERE customer_id = 'c8';")
    shop.until(visitor, lambda each: each["worth"] == 18.0)
    shop.until_entries(before + 2)


def test_another_session_of_the_customer_has_it_too(shop: Shop) -> None:
    """A session that begins later, and one whose customer becomes another, show what is said of theirs."""
    first, second = new_visitor(), new_visitor()
    send(shop.channel, event(first, "view_item", customer_id="c20"))
    shop.until(first, lambda each: each.get("worth") == 40.0)
    send(shop.channel, event(second, "view_item", customer_id="c20"))
    shop.until(second, lambda each: each.get("worth") == 40.0)
    send(shop.channel, event(second, "login", customer_id="c21"))
    shop.until(second, lambda each: each.get("worth") == 42.0)
    assert shop.attributes(first)["worth"] == 40.0


def test_a_new_model_reads_more_of_the_sessions_there_are(shop: Shop) -> None:
    """Models that begin to read another attribute find it in sessions that began before; lists have no value for them."""
    visitor = new_visitor()
    send(shop.channel, event(visitor, "view_item", customer_id="c1"))
    shop.until(visitor, lambda each: "worth" in each)
    source = "model: more\nversion: 1\nderived:\n  noted: customer.note == 'x'\n  ordered: customer.orders\n"
    stub = ModelServiceStub(shop.channel)
    request = model_service_pb2.ApplyModelsRequest(
        models=[{"yaml": source}], mode=model_service_pb2.ApplyModelsRequest.MODE_ACTIVATE
    )
    applied = stub.ApplyModels(request, timeout=60)
    assert not applied.problems
    found = shop.until(visitor, lambda each: each.get("noted") is True)
    assert "ordered" not in found and "customer.orders" not in found
    stub.ApplyModels(model_service_pb2.ApplyModelsRequest(remove_names=["more"], mode=request.mode), timeout=60)


def test_the_journal_alone_gives_the_same(postgres: Postgres, tmp_path: Path) -> None:
    """What models saw is in the journal: a server without a data mart shows the same sessions, and the entries hold no more."""
    url = postgres.database("replayed")
    postgres.sql_in("replayed", SCHEMA)
    folder, visitors = tmp_path / "data", [new_visitor() for _ in range(8)]
    with shop_at(folder, postgres, "replayed", url) as shop:
        send(shop.channel, *(event(each, "view_item", customer_id=f"c{n + 1}") for n, each in enumerate(visitors)))
        before = {each: shop.until(each, lambda found: "worth" in found) for each in visitors}
    for snapshot in (folder / "snapshots").glob("*"):
        snapshot.unlink()
    with shop_at(folder, postgres, "replayed", url, mart__enabled=False) as shop:
        assert {each: shop.attributes(each) for each in visitors} == before
    postgres.sql_in("replayed", "UPDATE customer SET lifetime_value = 4000 WHERE customer_id = 'c3';")
    with shop_at(folder, postgres, "replayed", url) as shop:
        # What changed while no data mart was there is noticed when there is one.
        shop.until(visitors[2], lambda found: found["worth"] == 8000.0)
    said = [json.loads(body) for kind, body in journal_of(folder) if kind == EntryType.CUSTOMER]
    names = {name for each in said for attributes in each["customers"].values() for name in attributes}
    assert names == {"lifetime_value", "segment", "newsletter", "since"}


def journal_of(folder: Path) -> list[tuple[EntryType, bytes]]:
    """Return the entries of a server's journal."""
    directory = DataDirectory(folder)
    journal = SqliteJournal(directory)
    try:
        return [(entry.type, entry.body) for _, entry in journal.read(0, journal.first_position(0))]
    finally:
        journal.close()
        directory.close()


def test_an_explanation_names_table_and_column(shop: Shop) -> None:
    """ExplainSession says which table and column gave a value, and why there is none."""
    visitor, stranger = new_visitor(), new_visitor()
    send(shop.channel, event(visitor, "view_item", customer_id="c30"), event(stranger, "view_item"))
    shop.until(visitor, lambda each: "worth" in each)
    stub = SessionServiceStub(shop.channel)

    def explained(of: str, attribute: str) -> Explanation:
        request = session_service_pb2.ExplainSessionRequest(visitor_id=of, attribute=attribute)
        return stub.ExplainSession(request, timeout=60).explanation

    found = explained(visitor, "customer.lifetime_value")
    assert found.value.number_value == 30.0 and found.attribute.kind == "customer"
    evidence = found.customer
    assert (evidence.customer_id, evidence.source, evidence.column) == ("c30", "customer", "lifetime_value")
    assert evidence.position and evidence.HasField("received_time") and not evidence.reason
    assert "column `lifetime_value`" in found.summary
    assert "names a customer" in explained(stranger, "customer.segment").customer.reason
    rule = explained(visitor, "worth")
    assert "customer.lifetime_value" in str(rule.rule) and rule.value.number_value == 60.0
