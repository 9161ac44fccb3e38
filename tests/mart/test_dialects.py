"""Every query in the dialect of every database that is offered.

No live Oracle and Teradata was available: what is tested of them is that their drivers load, that an engine is made of an
address, and that each statement compiles to what their manuals ask for. SQLite and PostgreSQL are tested live beside this.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
import sqlalchemy as sa
from sqlalchemy.engine.reflection import Inspector
from sqlalchemy.schema import CreateTable

from rte_server.config import MartSettings, MartSource
from rte_server.mart.database import MartDatabase, MartError
from rte_server.mart.schema import KEYS_PARAMETER, Source, source_of
from rte_server.mart.written import ATTRIBUTES_STATEMENT, METADATA, VERSIONS_STATEMENT

ADDRESSES = {
    "sqlite": "sqlite+aiosqlite:///mart.sqlite",
    "postgresql": "postgresql+asyncpg://rte@127.0.0.1/crm",
    "oracle": "oracle+oracledb_async://rte:secret@127.0.0.1/?service_name=crm",
    "teradatasql": "teradatasql://rte:secret@127.0.0.1",
}


@pytest.fixture(params=list(ADDRESSES))
async def database(request: pytest.FixtureRequest) -> Any:
    """A data mart of each kind, not connected."""
    made = MartDatabase(ADDRESSES[request.param], MartSettings())
    yield made
    await made.close()


def source(**fields: Any) -> Source:
    """Return a source over a table of a few columns."""
    table = sa.table(
        "orders",
        sa.column("customer_id", sa.String(20)),
        sa.column("total", sa.Numeric(12, 2)),
        sa.column("updated_at", sa.DateTime()),
        schema="crm",
    )
    return source_of(MartSource(table="crm.orders", **fields), "orders", table, MartSettings(), ["customer_id"])


def text_of(statement: Any, database: MartDatabase) -> str:
    """Return a statement as a database gets it, with two keys in its list, on one line."""
    compiled = statement.compile(dialect=database.dialect, compile_kwargs={"render_postcompile": True})
    return " ".join(str(compiled).split())


def with_keys(statement: Any) -> Any:
    """Give a statement two customers to look for."""
    return statement.params({KEYS_PARAMETER: ["a", "b"]})


async def test_the_statement_of_one_row(database: MartDatabase) -> None:
    """One row per customer: key, columns and time, by a list of keys, whatever the marks of parameters are."""
    text = text_of(with_keys(source().statement), database)
    head, _, tail = text.partition(" WHERE ")
    quoted = head.replace('"', "")
    assert quoted == (
        "SELECT crm.orders.customer_id AS rte_key, crm.orders.total, crm.orders.updated_at, "
        "crm.orders.updated_at AS rte_updated_at FROM crm.orders"
    )
    assert tail.startswith("crm.orders.customer_id IN (") and tail.count(",") == 1


async def test_the_statement_of_a_list(database: MartDatabase) -> None:
    """Several rows per customer: numbered by a window, so that no more than the first leave the database."""
    text = text_of(with_keys(source(items_max=3, order_by="total desc").statement), database).replace('"', "")
    window = "row_number() OVER (PARTITION BY crm.orders.customer_id ORDER BY crm.orders.total DESC, crm.orders.customer_id DESC)"
    assert window in text
    assert "rte_ranked.rte_row <= " in text
    assert text.endswith("ORDER BY rte_ranked.rte_0, rte_ranked.rte_row")
    # Oracle knows no AS before the name of a subquery.
    assert (") AS rte_ranked" in text) == (database.dialect.name != "oracle")


async def test_the_probe_reads_no_row(database: MartDatabase) -> None:
    """What notices new columns asks for all of them and no row, without a boolean literal where there is none."""
    text = text_of(source().probe, database).replace('"', "")
    assert text == "SELECT * FROM crm.orders WHERE 1 = 0"


async def test_rtes_own_tables_and_their_statements_compile(database: MartDatabase) -> None:
    """RTE's own tables can be made, and what reads them compiles."""
    for table in METADATA.sorted_tables:
        created = str(CreateTable(table).compile(dialect=database.dialect))
        assert f"CREATE TABLE {table.name}" in " ".join(created.split())
    for statement in (VERSIONS_STATEMENT, ATTRIBUTES_STATEMENT):
        assert "customer_id IN (" in text_of(
            statement.params(ids=["a", "b"], **({"now_ms": 1} if statement is ATTRIBUTES_STATEMENT else {})), database
        )


async def test_texts_in_sqlite_are_read_as_stored() -> None:
    """SQLite's decimals of no stated scale are read as the numbers that it stores."""
    from rte_server.mart.schema import stored_columns

    inspector = cast(Inspector, SimpleNamespace(dialect=SimpleNamespace(name="sqlite")))
    found = stored_columns(inspector, [cast(Any, {"name": "a", "type": sa.Numeric()})])
    assert isinstance(found[0].type, sa.types.NullType)


@pytest.mark.parametrize("address", ["nonsense", "mysql+nothing://x/y", "postgresql+nothing://x/y"])
def test_a_wrong_address_is_said_at_the_start(address: str) -> None:
    """An address that names no database or no driver is refused with a sentence."""
    with pytest.raises(MartError, match="address cannot be used"):
        MartDatabase(address, MartSettings())
