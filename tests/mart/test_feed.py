"""What the change feed notices of a table that is polled, look by look."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from rte_server.config import MartSettings
from rte_server.mart import feed as feed_module
from rte_server.mart.database import MartDatabase
from rte_server.mart.feed import ChangeFeed
from rte_server.mart.schema import reflect

COUNT = 12_000
"""More rows than a look can name."""

Told = list[str] | None
"""Customers whose rows changed; None: too many to name them."""


class Table:
    """A table of customers with the time of the last change, and the feed that looks at it."""

    def __init__(self, folder: Path) -> None:
        """Make it, with two customers."""
        self._connection = sqlite3.connect(folder / "shop.sqlite", timeout=60, isolation_level=None)
        self.sql("CREATE TABLE customer (customer_id TEXT PRIMARY KEY, updated_at DATETIME)")
        self.sql("CREATE INDEX customer_updated ON customer (updated_at)")
        self.write("2026-01-01 00:00:00", "old", "other")
        # Reading 12,000 rows takes long on a busy machine; how long is not the matter here.
        self._settings = MartSettings(query_ms_max=60_000)
        self._database = MartDatabase(f"sqlite+aiosqlite:///{folder}/shop.sqlite", self._settings)
        self._told: list[Told] = []

    async def begin(self) -> None:
        """Let the feed look for the first time."""
        schema = await self._database.run(lambda connection: reflect(connection, self._settings))

        async def reflected() -> None:
            raise AssertionError("the schema is the same")

        self._feed = ChangeFeed(self._database, self._settings, lambda: schema, reflected, self._changed)
        await self._feed.look()

    async def close(self) -> None:
        """End the connections."""
        await self._database.close()
        self._connection.close()

    def _changed(self, customer_ids: Sequence[str] | None) -> None:
        self._told.append(None if customer_ids is None else sorted(customer_ids))

    def sql(self, statement: str, *parameters: object) -> None:
        """Change something."""
        self._connection.execute(statement, parameters)

    def write(self, time: str, *customer_ids: str) -> None:
        """Write rows of customers with this time in one transaction."""
        self._connection.execute("BEGIN")
        rows = [(each, f"{time}.000000") for each in customer_ids]
        self._connection.executemany("INSERT OR REPLACE INTO customer VALUES (?, ?)", rows)
        self._connection.execute("COMMIT")

    async def look(self) -> list[Told]:
        """Let the feed look once, and return what it told."""
        self._told.clear()
        await self._feed.look()
        return list(self._told)


@pytest.fixture
async def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Table]:
    """A table that the feed has looked at, however soon it looks again."""
    monkeypatch.setattr(feed_module, "QUIET_RATIO", 0.0)
    found = Table(tmp_path)
    await found.begin()
    yield found
    await found.close()


async def test_rows_of_a_nightly_job_are_told_once(table: Table) -> None:
    """12,000 rows of one time are a change of everybody once; afterwards single changes are named, and no other is told."""
    await table.look()
    night = [f"c{n}" for n in range(COUNT)]
    table.write("2026-02-01 03:00:00", *night)
    assert await table.look() == [None]
    for _ in range(3):
        assert await table.look() == []
    table.write("2026-02-01 03:00:04", "c7", "new")
    assert await table.look() == [["c7", "new"]]
    table.write("2026-02-01 03:00:06", "c8")
    assert await table.look() == [["c8"]]
    assert await table.look() == []
    table.write("2026-02-01 09:00:00", "old")
    assert await table.look() == [["old"]]
    # From here on the night is not looked at any more.
    table.write("2026-02-01 08:59:55", "late")
    assert await table.look() == [["late"]]
    assert await table.look() == []


async def test_a_late_part_of_a_job_is_told(table: Table) -> None:
    """Rows that are committed later with the time of the others, or a little before, change everybody once more; so does the next job."""
    await table.look()
    table.write("2026-02-01 03:00:00", *(f"c{n}" for n in range(COUNT)))
    assert await table.look() == [None]
    table.write("2026-02-01 02:59:55", "late")
    assert await table.look() == [None]
    assert await table.look() == []
    table.write("2026-02-01 03:00:02", "c1", "c2")
    assert await table.look() == [["c1", "c2"]]
    table.write("2026-02-01 03:00:00", "later")
    assert await table.look() == [None]
    assert await table.look() == []
    table.write("2026-02-01 03:00:05", *(f"d{n}" for n in range(COUNT)))
    assert await table.look() == [None]
    assert await table.look() == []
    table.write("2026-02-02 03:00:00", *(f"c{n}" for n in range(COUNT)))
    assert await table.look() == [None]
    assert await table.look() == []
