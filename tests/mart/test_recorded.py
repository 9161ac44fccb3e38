"""Recorded orders of a shop: the earlier ones are the data mart, the later ones come as events."""

from __future__ import annotations

import csv
import gzip
import io
import json
from pathlib import Path

from rte.v1 import session_service_pb2
from rte.v1.customer_pb2 import Customer
from rte.v1.session_service_pb2_grpc import SessionServiceStub
from tests.engine.recorded import shared_file
from tests.mart.live_mart import values
from tests.mart.postgres import Postgres
from tests.service.calls import event, send
from tests.service.live_server import live_server

LIVE_FROM = "2011-08-15"
BATCH = 500

TABLES = """
CREATE TABLE lines (customer_id text, invoice text, at timestamptz, kind text, item_id text, value numeric(12,2));
"""
DERIVED = """
DELETE FROM lines WHERE customer_id IS NULL;
CREATE TABLE customer AS
  SELECT customer_id, sum(value) AS lifetime_value, count(DISTINCT invoice) AS order_count, max(at) AS last_order_time,
    bool_or(kind = 'return') AS has_returned
  FROM lines GROUP BY customer_id;
ALTER TABLE customer ADD PRIMARY KEY (customer_id);
CREATE TABLE last_orders AS
  SELECT customer_id, invoice, max(at) AS at, sum(value) AS total, count(*) AS line_count
  FROM lines GROUP BY customer_id, invoice;
ALTER TABLE last_orders ADD PRIMARY KEY (invoice, customer_id);
"""
ANSWER = """
SELECT json_object_agg(c.customer_id, json_build_object(
  'lifetime_value', c.lifetime_value::text, 'order_count', c.order_count, 'has_returned', c.has_returned,
  'last_order_time', to_char(c.last_order_time AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
  'last_orders', (SELECT json_agg(json_build_object('invoice', o.invoice, 'total', o.total::text, 'line_count', o.line_count,
      'at', to_char(o.at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')) ORDER BY o.at DESC, o.invoice DESC)
    FROM (SELECT * FROM last_orders o WHERE o.customer_id = c.customer_id ORDER BY at DESC, invoice DESC LIMIT 10) o)))
FROM customer c;
"""


def test_sessions_of_recorded_orders_have_what_sql_says(postgres: Postgres, database: str, tmp_path: Path) -> None:
    """Each live session's customer has exactly what the same SQL database answers to a query of its own."""
    with gzip.open(shared_file("retail_orders_dev.csv.gz"), "rt", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    history = [row for row in rows if row["ts"] < LIVE_FROM]
    live = [row for row in rows if row["ts"] >= LIVE_FROM and row["visitor_id"]]
    assert len(history) > 200_000 and len(live) > 10_000
    url = postgres.database(database)
    postgres.sql_in(database, TABLES)
    text = io.StringIO()
    wanted = ("visitor_id", "src_session_id", "ts", "event_type", "item_id", "value")
    csv.writer(text).writerows([[row[name] for name in wanted] for row in history])
    postgres.sql_in(database, f"COPY lines FROM STDIN (FORMAT csv);\n{text.getvalue()}\\.\n")
    postgres.sql_in(database, DERIVED)
    expected = json.loads(postgres.sql_in(database, ANSWER).splitlines()[-1])
    sources = [{"table": "customer"}, {"table": "last_orders", "items_max": 10, "order_by": "at desc"}]
    with live_server(tmp_path, mart__url=url, mart__sources=json.dumps(sources)) as server, server.channel() as channel:
        for start in range(0, len(live), BATCH):
            batch = [
                event(
                    row["visitor_id"],
                    "purchase",
                    customer_id=row["visitor_id"],
                    event_id=row["event_id"],
                    event_time=row["ts"],
                    properties={"item_id": row["item_id"], "value": float(row["value"] or 0)},
                )
                for row in live[start : start + BATCH]
            ]
            assert send(channel, *batch).accepted_count == len(batch)
        stub = SessionServiceStub(channel)
        unknown = 0
        for visitor in sorted({row["visitor_id"] for row in live}):
            request = session_service_pb2.GetSessionRequest(visitor_id=visitor, customer_max_age={"seconds": 600})
            customer = stub.GetSession(request, timeout=60).session.customer
            if visitor not in expected:
                assert customer.freshness == Customer.FRESHNESS_UNKNOWN_CUSTOMER
                unknown += 1
                continue
            assert customer.freshness == Customer.FRESHNESS_FRESH
            assert values(customer) == expected[visitor]
        assert 0 < unknown < 1_000
