"""Notices changes of a data mart: of customers' rows, and of the schema.

Every `poll_ms`, and at once when PostgreSQL notifies, it looks at three things: whether sources have other columns, which
customers stand in the outbox (`written.CHANGES`) since the last look, and, for sources that no trigger watches, which rows
have a newer `updated_at`. A look also tells whether the data mart is alive.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from rte_server.config import MartSettings
from rte_server.mart.database import MartDatabase, MartError, has_other_columns
from rte_server.mart.schema import MartSchema, Source, customer_id_of, table_names
from rte_server.mart.written import CHANGE_TABLE, CHANGES, VERSIONS, has_written

ROWS_MAX = 10_000
"""Changes that one look takes; the next follows at once if there are more."""

GAPS_MAX = 1_000
GAP_S = 60.0
"""Ids that are missing in the outbox are looked for so long, so many at most."""

OVERLAP_S = 10.0
"""Rows whose `updated_at` is so much older than the newest are looked at again."""

QUIET_RATIO = 20.0
"""A source whose `updated_at` is polled is left alone for so many times as long as the last look took."""

KEPT_S = 3_600.0
CLEAN_INTERVAL_S = 60.0

LISTEN_AGAIN_S = 1.0

_log = logging.getLogger("rte.mart")


@dataclass(frozen=True, slots=True)
class _Changes:
    """What one look found: whose rows changed, whether too many to name did, and whether the schema did."""

    customer_ids: list[str]
    is_mass: bool
    is_other_schema: bool


class ChangeFeed:
    """Follows a data mart. Belongs to the mart's event loop."""

    def __init__(
        self,
        database: MartDatabase,
        settings: MartSettings,
        schema: Callable[[], MartSchema],
        schema_changed: Callable[[], Awaitable[None]],
        customers_changed: Callable[[Sequence[str] | None], None],
    ) -> None:
        """Make it.

        Args:
            database: What is followed.
            settings: How often.
            schema: Gives the schema as it was reflected last.
            schema_changed: Reflects it again.
            customers_changed: Is told whose rows have changed; None: those of too many to name them.
        """
        self._database = database
        self._settings = settings
        self._schema = schema
        self._schema_changed = schema_changed
        self._customers_changed = customers_changed
        self._wake = asyncio.Event()
        self._outbox_at = -1
        """The newest id of the outbox that has been seen; -1: none was looked for yet."""
        self._gaps: dict[int, float] = {}
        self._marks: deque[tuple[float, int]] = deque()
        self._followed: dict[str, _Followed] = {}
        self._clean_at_s = time.monotonic() + CLEAN_INTERVAL_S
        self.has_written = False
        """Whether the back office has ever written through RTE's tables."""
        self.notifications = 0
        self._is_ending = False

    async def run(self, heard: Callable[[], None], missed: Callable[[BaseException], None]) -> None:
        """Follow until `end` or cancelled; says after each look whether the data mart answers."""
        listening = asyncio.create_task(self._listen()) if self._database.dialect.name == "postgresql" else None
        try:
            while not self._is_ending:
                try:
                    is_more = await self.look()
                    heard()
                except MartError as error:
                    is_more = False
                    missed(error)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0 if is_more else self._settings.poll_ms / 1000):
                        await self._wake.wait()
                self._wake.clear()
        finally:
            if listening is not None:
                listening.cancel()
                await asyncio.gather(listening, return_exceptions=True)

    def end(self) -> None:
        """Let `run` end after the look that is under way."""
        self._is_ending = True
        self._wake.set()

    async def look(self) -> bool:
        """Look once; return whether there is more to see.

        Raises:
            MartError: The data mart does not answer.
        """
        schema = self._schema()
        found = await self._database.run(lambda connection: self._changes(connection, schema))
        if found.is_other_schema:
            await self._schema_changed()
        if found.customer_ids or found.is_mass:
            self._customers_changed(None if found.is_mass else found.customer_ids)
        return len(found.customer_ids) >= ROWS_MAX

    def _changes(self, connection: sa.Connection, schema: MartSchema) -> _Changes:
        """Return what has changed since the last look."""
        try:
            is_other = has_other_columns(connection, schema.sources)
        except sa.exc.DBAPIError as error:
            if error.connection_invalidated:
                raise
            return _Changes([], False, True)  # A source is gone; what the others say comes with the next look.
        if schema.tables and not is_other:
            is_other = table_names(connection, self._settings) != schema.tables
        changed: list[str] = []
        is_mass = False
        if CHANGE_TABLE in schema.own_tables:
            changed += self._outbox(connection)
        if VERSIONS.name in schema.own_tables and not self.has_written:
            self.has_written = has_written(connection)
        watched = _watched_tables(connection)
        for source in schema.sources:
            if source.updated_at and getattr(source.table, "name", "") not in watched:
                newer, is_many = self._newer_rows(connection, source)
                changed += newer
                is_mass |= is_many
        return _Changes(list(dict.fromkeys(changed)), is_mass, is_other)

    def _outbox(self, connection: sa.Connection) -> list[str]:
        """Return whom the outbox names since the last look.

        Ids are given before a transaction commits, so a smaller one may appear later: those that are missing are looked for
        again, for a while.
        """
        if self._outbox_at < 0:
            newest = connection.execute(sa.select(sa.func.max(CHANGES.c.change_id))).scalar()
            self._outbox_at = max(int(newest or 0) - GAPS_MAX, 0)
        is_new = sa.or_(CHANGES.c.change_id > self._outbox_at, CHANGES.c.change_id.in_(list(self._gaps)))
        statement = sa.select(CHANGES.c.change_id, CHANGES.c.customer_id).where(is_new)
        rows = connection.execute(statement.order_by(CHANGES.c.change_id).limit(ROWS_MAX)).all()
        now_s = time.monotonic()
        for change_id, _ in rows:
            self._gaps.pop(change_id, None)
            for missing in range(max(self._outbox_at + 1, change_id - GAPS_MAX), change_id):
                self._gaps[missing] = now_s
            self._outbox_at = max(self._outbox_at, change_id)
        for missing in [each for each, since_s in self._gaps.items() if now_s - since_s > GAP_S]:
            del self._gaps[missing]
        while len(self._gaps) > GAPS_MAX:
            del self._gaps[next(iter(self._gaps))]
        self._clean(connection, now_s)
        return [customer_id_of(customer_id) for _, customer_id in rows]

    def _clean(self, connection: sa.Connection, now_s: float) -> None:
        """Delete what has stood in the outbox for long."""
        if now_s < self._clean_at_s:
            return
        self._clean_at_s = now_s + CLEAN_INTERVAL_S
        self._marks.append((now_s, self._outbox_at))
        if now_s - self._marks[0][0] > KEPT_S:
            connection.execute(CHANGES.delete().where(CHANGES.c.change_id <= self._marks.popleft()[1]))

    def _newer_rows(self, connection: sa.Connection, source: Source) -> tuple[list[str], bool]:
        """Return whose rows of a source are newer than at the last look, and whether they are too many to name."""
        followed = self._followed.setdefault(source.name, _Followed())
        began_s = time.monotonic()
        if began_s < followed.look_at_s:
            return [], False
        updated_at = source.table.c[source.updated_at]
        is_mass = False
        if followed.newest is None:
            followed.newest = connection.execute(sa.select(sa.func.max(updated_at))).scalar()
            rows: Sequence[Any] = ()
        else:
            is_mass = followed.mass is not None and self._is_more(connection, source, followed)
            since = (
                updated_at >= _before(followed.newest) if followed.mass is None else updated_at > followed.mass.newest
            )
            statement = sa.select(source.table.c[source.key_column], updated_at).where(since)
            rows = connection.execute(statement.order_by(updated_at).limit(ROWS_MAX)).all()
        if len(rows) >= ROWS_MAX:
            # A job has written many rows, maybe all with the same time: they are not asked for again.
            is_mass = True
            newest = connection.execute(sa.select(sa.func.max(updated_at))).scalar()
            followed.newest = max(followed.newest, newest or rows[-1][1])
            followed.mass = _Mass(_before(followed.newest), followed.newest)
            followed.mass.count = _count(connection, source, followed.mass)
            followed.seen.clear()
            rows = ()
        new = [row for row in rows if (row[0], row[1]) not in followed.seen]
        if rows:
            followed.newest = max(followed.newest, rows[-1][1])
            followed.seen = {(row[0], row[1]) for row in rows}
        # A table without an index on the column is scanned each time: that must not be most of what it does.
        followed.look_at_s = time.monotonic() + QUIET_RATIO * (time.monotonic() - began_s)
        return [customer_id_of(row[0]) for row in new], is_mass

    def _is_more(self, connection: sa.Connection, source: Source, followed: _Followed) -> bool:
        """Return whether there are more of the many rows that a job wrote: a transaction that committed late.

        Rows that leave them were written once more, and are named for that.
        """
        mass = followed.mass
        assert mass is not None
        if _before(followed.newest) > mass.newest:
            followed.mass = None  # Nobody looks there any more.
            return False
        before, mass.count = mass.count, _count(connection, source, mass)
        return mass.count > before

    async def _listen(self) -> None:
        """Have PostgreSQL wake the feed, again after each loss of the connection."""
        engine = self._database.engine
        assert engine is not None
        while True:
            lost = asyncio.Event()
            try:
                async with engine.connect() as connection:
                    driver: Any = (await connection.get_raw_connection()).driver_connection
                    driver.add_termination_listener(lambda _, lost=lost: lost.set())
                    await driver.add_listener(CHANGE_TABLE, self._notified)
                    self._wake.set()
                    try:
                        await lost.wait()
                    finally:
                        await connection.invalidate()
            except asyncio.CancelledError:
                raise
            except Exception as error:  # noqa: BLE001 - whatever a driver raises while it connects: it is tried again
                _log.debug("no notifications from the data mart: %s", error)
            await asyncio.sleep(LISTEN_AGAIN_S)

    def _notified(self, *_: object) -> None:
        self.notifications += 1
        self._wake.set()


@dataclass(slots=True)
class _Mass:
    """Rows of about the same time, too many to name them: from `oldest` up to `newest`, both included."""

    oldest: Any
    newest: Any
    count: int = 0


@dataclass(slots=True)
class _Followed:
    """Up to where the rows of a source were seen."""

    newest: Any = None
    seen: set[tuple[Any, Any]] = field(default_factory=set)
    look_at_s: float = 0.0
    mass: _Mass | None = None
    """Rows within what is looked at again that are counted and not read."""


def _before(newest: Any) -> Any:
    """Return from where to look again: a transaction that committed late may have an older time."""
    return newest - dt.timedelta(seconds=OVERLAP_S) if isinstance(newest, dt.datetime) else newest


def _count(connection: sa.Connection, source: Source, mass: _Mass) -> int:
    updated_at = source.table.c[source.updated_at]
    statement = sa.select(sa.func.count()).where(updated_at.between(mass.oldest, mass.newest))
    return int(connection.execute(statement).scalar_one())


def _watched_tables(connection: sa.Connection) -> frozenset[str]:
    """Return the names of the tables whose changes triggers write into the outbox."""
    statements = {
        "sqlite": "SELECT tbl_name FROM sqlite_master WHERE type = 'trigger' AND sql LIKE :like",
        "postgresql": "SELECT c.relname FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid WHERE t.tgname LIKE :like",
    }
    statement = statements.get(connection.dialect.name)
    return (
        frozenset(connection.execute(sa.text(statement), {"like": f"%{CHANGE_TABLE}%"}).scalars())
        if statement
        else frozenset()
    )
