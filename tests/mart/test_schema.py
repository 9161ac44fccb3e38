"""What a data mart says of customers, whatever its schema: over SQLite and a real PostgreSQL."""

from __future__ import annotations

from pathlib import Path

from rte.v1.customer_pb2 import Customer, CustomerAttribute
from rte_server.config import MartSource
from tests.mart.live_mart import live_mart, values
from tests.mart.postgres import Postgres

TYPES = """
CREATE TABLE person (
  customer_id bigint PRIMARY KEY, is_active boolean, visits integer, big bigint, ratio double precision,
  balance numeric(30, 10), any_number numeric, name text, code char(5), born date, seen timestamp, paid timestamptz,
  wake time, doc jsonb, tags text[], raw bytea, device uuid, address inet, nothing text
);
INSERT INTO person VALUES (
  7, true, 3, 9007199254740993, 0.1, 12345678901234567890.0123456789, 0.10, 'Zoë', 'ab', '1990-02-03',
  '2026-01-02 03:04:05.678', '2026-01-02 03:04:05+02', '08:30', '{"a": [1, null, 12345678901234567890, 1.5]}',
  '{x,y}', '\\x00ff', 'c56a4180-65aa-42ec-a945-5fd21dec0538', '10.0.0.1', NULL
);
"""


def test_types_of_postgresql_come_without_loss(postgres: Postgres, database: str, tmp_path: Path) -> None:
    """Every type of column arrives with its value whole: decimals and large numbers as their digits."""
    url = postgres.database(database)
    postgres.sql_in(database, TYPES)
    with live_mart(tmp_path, url=url) as live:
        found = live.known("7")
        assert found.freshness == Customer.FRESHNESS_FRESH
        assert values(found) == {
            "is_active": True,
            "visits": 3,
            "big": "9007199254740993",
            "ratio": 0.1,
            "balance": "12345678901234567890.0123456789",
            "any_number": "0.10",
            "name": "Zoë",
            "code": "ab   ",
            "born": "1990-02-03",
            "seen": "2026-01-02T03:04:05.678000Z",
            "paid": "2026-01-02T01:04:05Z",
            "wake": "08:30:00",
            "doc": {"a": [1, None, "12345678901234567890", 1.5]},
            "tags": ["x", "y"],
            "raw": "AP8=",
            "device": "c56a4180-65aa-42ec-a945-5fd21dec0538",
            "address": "10.0.0.1",
        }
        kinds = {name: CustomerAttribute.Type.Name(each.type)[5:] for name, each in found.attributes.items()}
        assert (kinds["big"], kinds["balance"], kinds["born"], kinds["paid"]) == ("INTEGER", "DECIMAL", "DATE", "TIME")
        assert (kinds["doc"], kinds["tags"], kinds["raw"]) == ("JSON", "JSON", "BYTES")
        assert {each.source for each in found.attributes.values()} == {"person"}
        # A key of numbers is asked for by its number; nothing else is a customer there, and nothing breaks.
        for unknown in ("007", "x", "8", "-", "\uff19", "7 ", "9" * 30):
            assert live.known(unknown).freshness == Customer.FRESHNESS_UNKNOWN_CUSTOMER


def test_tables_views_and_queries_are_named(postgres: Postgres, database: str, tmp_path: Path) -> None:
    """Configured sources: another schema and key, renamed columns, a view, a query, a list in its order, a clash of names."""
    url = postgres.database(database)
    postgres.sql_in(
        database,
        """
        CREATE SCHEMA crm;
        CREATE TABLE crm.person (person_no varchar(20) PRIMARY KEY, ltv numeric(10,2), seg text, secret text);
        INSERT INTO crm.person VALUES ('a', 10.50, 'gold', 'x'), ('b', 1, NULL, 'y');
        CREATE VIEW crm.loyal AS SELECT person_no AS customer_id, 'loyal' AS seg FROM crm.person WHERE ltv > 5;
        CREATE TABLE orders (id serial PRIMARY KEY, customer_id text, total numeric(10,2), at timestamptz);
        INSERT INTO orders (customer_id, total, at)
          SELECT 'a', n, timestamptz '2026-01-01 00:00Z' + n * interval '1 hour' FROM generate_series(1, 30) n;
        """,
    )
    sources = (
        MartSource(table="crm.person", key="person_no", columns=("ltv as lifetime_value", "seg")),
        MartSource(table="crm.loyal", name="loyalty"),
        MartSource(table="orders", name="last_orders", items_max=3, order_by="at desc", columns=("total", "at")),
        MartSource(query="SELECT customer_id, count(*) AS n FROM orders GROUP BY 1", name="order_counts"),
    )
    with live_mart(tmp_path, url=url, sources=sources) as live:
        assert values(live.known("a")) == {
            "lifetime_value": "10.50",
            "seg": "gold",
            "loyalty.seg": "loyal",
            "last_orders": [{"total": f"{n}.00", "at": f"2026-01-02T0{n - 24}:00:00Z"} for n in (30, 29, 28)],
            "n": 30,
        }
        assert values(live.known("b")) == {"lifetime_value": "1.00"}
        assert live.customer("a").attributes["loyalty.seg"].column == "seg"


def test_the_schema_is_open(postgres: Postgres, database: str, tmp_path: Path) -> None:
    """New columns, new tables, dropped columns and changed types show up without a restart."""
    url = postgres.database(database)
    postgres.sql_in(database, "CREATE TABLE customer (customer_id text PRIMARY KEY, a int, b int);")
    postgres.sql_in(database, "INSERT INTO customer VALUES ('c', 1, 2);")
    with live_mart(tmp_path, url=url, poll_ms=50) as live:
        assert values(live.known("c")) == {"a": 1, "b": 2}
        postgres.sql_in(database, "ALTER TABLE customer ADD COLUMN tier text DEFAULT 'x';")
        live.known("c", lambda c: "tier" in c.attributes)
        postgres.sql_in(database, "ALTER TABLE customer DROP COLUMN b; ALTER TABLE customer ALTER a TYPE text;")
        live.known("c", lambda c: values(c) == {"a": "1", "tier": "x"})
        postgres.sql_in(database, "CREATE TABLE score (customer_id text PRIMARY KEY, churn float);")
        postgres.sql_in(database, "INSERT INTO score VALUES ('c', 0.5);")
        live.mart.states.refresh_all()
        live.known("c", lambda c: values(c).get("churn") == 0.5)
        postgres.sql_in(database, "DROP TABLE customer;")
        live.known("c", lambda c: values(c) == {"churn": 0.5})


def test_a_new_table_is_filled_and_seen_at_once(postgres: Postgres, database: str, tmp_path: Path) -> None:
    """A table that appears while a customer is known is read for it without anybody asking again."""
    url = postgres.database(database)
    postgres.sql_in(database, "CREATE TABLE customer (customer_id text PRIMARY KEY, a int);")
    postgres.sql_in(database, "INSERT INTO customer VALUES ('c', 1);")
    with live_mart(tmp_path, url=url, poll_ms=50) as live:
        live.known("c")
        postgres.sql_in(
            database,
            "BEGIN; CREATE TABLE extra (customer_id text PRIMARY KEY, z int); INSERT INTO extra VALUES ('c', 9); COMMIT;",
        )
        live.known("c", lambda c: values(c).get("z") == 9)
