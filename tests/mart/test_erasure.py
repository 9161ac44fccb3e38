"""Erasing a person whose attributes lie in PostgreSQL: RTE's own tables there forget the person, those of others stay."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from google.protobuf import json_format

from rte.v1 import customer_service_pb2 as pb
from rte.v1.customer_service_pb2_grpc import CustomerServiceStub
from tests.mart.postgres import Postgres
from tests.service.live_server import live_server
from tests.service.test_erasure import MARK, MODEL, PERSON, deleted, files_with, gone, no_session, prepared

TABLE = f"""
CREATE TABLE customer (customer_id text PRIMARY KEY, segment text, updated_at timestamptz DEFAULT now());
INSERT INTO customer VALUES ('{PERSON}', '{MARK} gold'), ('stays', 'silver');
"""
OWN_TABLES = ("rte_customer_change", "rte_customer_version", "rte_customer_attribute", "rte_customer_audit")


def rows_of(postgres: Postgres, database: str, table: str, customer_id: str) -> int:
    """Return how many rows of a table are a customer's."""
    return int(
        postgres.sql_in(database, f"SELECT count(*) FROM {table} WHERE customer_id = '{customer_id}';").split()[-1]
    )


def test_postgresql_keeps_nothing_in_the_tables_of_rte(postgres: Postgres, database: str, tmp_path: Path) -> None:
    """What RTE wrote there is deleted with the audit; the customer's own table is named as a source that remains."""
    url = postgres.database(database)
    postgres.sql_in(database, TABLE)
    data_dir = tmp_path / "data"
    model = tmp_path / "browsers.yaml"
    model.write_text(MODEL)
    packs = ("base", "retail", str(model))
    settings: dict[str, Any] = {
        "mart__url": url,
        "mart__poll_ms": 50,
        "mart__query_ms_max": 60_000,
        "models__packs": packs,
    }
    with live_server(data_dir, **settings) as server, server.channel() as channel:
        session_id = prepared(channel)
        stays = pb.UpdateCustomerRequest(customer_id="stays", source="crm", author="ann")
        json_format.ParseDict({"attributes": {"hobby": "kept"}}, stays)
        CustomerServiceStub(channel).UpdateCustomer(stays, timeout=60)
        before = {table: rows_of(postgres, database, table, PERSON) for table in OWN_TABLES}
        assert before["rte_customer_attribute"] == 1 and before["rte_customer_audit"] >= 1, before
        answer = deleted(channel, customer_id=PERSON)
        assert list(answer.remaining_sources) == ["customer"] and not answer.remaining_sources_unknown
        assert answer.receipt.row_count >= 3
        assert [rows_of(postgres, database, table, PERSON) for table in OWN_TABLES] == [0, 0, 0, 0]
        assert rows_of(postgres, database, "rte_customer_attribute", "stays") == 1
        assert files_with(data_dir, MARK) == []
        no_session(channel, customer_id=PERSON)
        # It is for its owner to delete what lies in his table; then nothing leads to the person any more.
        postgres.sql_in(database, f"DELETE FROM customer WHERE customer_id = '{PERSON}';")
        deleted(channel, customer_id=PERSON)
        gone(channel, session_id)
        assert files_with(data_dir, MARK) == []
