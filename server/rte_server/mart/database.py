"""Queries of a data mart, over whichever driver there is.

All work on the database is written once, as functions of a plain `sqlalchemy.Connection`. Drivers that are asynchronous run
them in greenlets on the event loop, the others (Teradata) in threads, as many as there are look-ups at a time.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from rte_server.config import MartSettings
from rte_server.mart.schema import KEYS_PARAMETER, MartSchema, Source, customer_id_of, key_of
from rte_server.mart.values import Attribute, Plain, ValueType, from_json_text, plain, time_ms

SYNCHRONOUS = frozenset(("teradatasql",))
"""Dialects without an asynchronous driver."""

CONNECTIONS_BESIDE = 2
"""Connections beside those of look-ups: the change feed's, and one that waits for notifications."""

CLOSE_S = 30.0
"""Queries of a SQLite file that are under way may take so long when the server stops; a lock of others ends after 5 s."""

T = TypeVar("T")
Attributes = dict[str, Attribute]


class MartError(Exception):
    """The data mart does not answer, or not in time, or cannot be understood.

    Attributes:
        may_be_schema: Whether it answered, and refused: its schema may be another one by now.
    """

    def __init__(self, message: str, *, may_be_schema: bool = False) -> None:
        super().__init__(message)
        self.may_be_schema = may_be_schema


class TooSlow(MartError):
    """The data mart does not answer in time. What was asked for may be done all the same."""


class Unreadable(MartError):
    """The data mart answers, with rows that nothing can be made of."""


class NotWritable(MartError):
    """RTE has no tables of its own in the data mart."""


class MartDatabase:
    """A pool of connections to a data mart. Belongs to one event loop."""

    def __init__(self, url: str, settings: MartSettings) -> None:
        """Prepare; nothing is connected yet.

        Args:
            url: Address for SQLAlchemy.
            settings: Limits.

        Raises:
            MartError: The address cannot be understood, or its driver is not installed.
        """
        self._timeout_s = settings.query_ms_max / 1000
        self._under_way: set[asyncio.Task[Any]] = set()
        size = settings.queries_max + CONNECTIONS_BESIDE
        try:
            address = sa.make_url(url)
            dialect = address.get_dialect()
            options: dict[str, Any] = {"pool_pre_ping": False, "hide_parameters": True}
            if dialect.name in ("postgresql", "sqlite"):
                options["json_deserializer"] = from_json_text
            if address.database not in (None, "", ":memory:") or dialect.name != "sqlite":
                # `run` ends the waiting for a connection sooner where less time is left.
                longest_s = max(settings.query_ms_max, settings.write_ms_max) / 1000
                options |= {"pool_size": size, "max_overflow": 0, "pool_timeout": longest_s}
            self._sync: sa.Engine | None = None
            self.engine: AsyncEngine | None = None
            if dialect.name in SYNCHRONOUS:
                self._sync = sa.create_engine(address, poolclass=sa.QueuePool, **options)
            else:
                self.engine = create_async_engine(address, **options)
        except (sa.exc.SQLAlchemyError, ImportError) as error:
            raise MartError(f"the data mart's address cannot be used: {error}") from error
        if dialect.name == "sqlite":
            # What is deleted is overwritten: it may be a person who is erased.
            sa.event.listen(self._asynchronous.sync_engine, "connect", _overwrite_deleted)
        self._threads = ThreadPoolExecutor(size, "rte-mart-query") if self._sync is not None else None
        self.dialect: sa.Dialect = (self._sync or self._asynchronous).dialect

    @property
    def _asynchronous(self) -> AsyncEngine:
        assert self.engine is not None
        return self.engine

    async def close(self) -> None:
        """Close all connections; does not wait for queries in threads that may take for ever."""
        await self.ended(CLOSE_S)
        if self._sync is not None and self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)
            self._sync.dispose()
        if self.engine is not None:
            await self.engine.dispose()

    async def ended(self, timeout_s: float) -> bool:
        """Wait until nothing is under way for which nobody waits any more; return whether it has ended."""
        return not self._under_way or not (await asyncio.wait(self._under_way, timeout=timeout_s))[1]

    async def run(self, work: Callable[[sa.Connection], T], timeout_s: float | None = None) -> T:
        """Run something in a transaction of its own.

        Args:
            work: Called with a connection, maybe in another thread or greenlet; commits if it does not raise.
            timeout_s: How long it may take; None: `query_ms_max`.

        Raises:
            TooSlow: The data mart does not answer in time.
            MartError: It refuses, or cannot be reached.
        """
        timeout_s = self._timeout_s if timeout_s is None else timeout_s
        try:
            async with asyncio.timeout(timeout_s):
                return await self._in_its_way(work)
        except TimeoutError as error:
            raise TooSlow(f"the data mart takes longer than {timeout_s:g} s") from error
        except (sa.exc.SQLAlchemyError, OSError) as error:
            is_refused = isinstance(error, sa.exc.DBAPIError) and not error.connection_invalidated
            raise MartError(str(error), may_be_schema=is_refused) from error
        except asyncio.CancelledError:
            raise
        except Exception as error:  # Drivers raise errors of their own while they connect.
            if type(error).__module__.partition(".")[0] in ("asyncpg", "oracledb", "sqlite3", "teradatasql"):
                raise MartError(str(error)) from error
            raise

    async def _in_its_way(self, work: Callable[[sa.Connection], T]) -> T:
        """Run something as the driver can: in a greenlet, or in a thread."""
        if self._sync is not None:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._threads, _in_transaction, self._sync, work)
        if self.dialect.name != "sqlite":
            return await _in_greenlet(self._asynchronous, work)
        # Nothing interrupts SQLite's thread: were its connection given up, it would go on, and write into a folder that
        # may be another's by then. So it keeps its connection until it ends, and `close` waits for it.
        task = asyncio.create_task(_in_greenlet(self._asynchronous, work))
        self._under_way.add(task)
        task.add_done_callback(self._ended)
        return await asyncio.shield(task)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._under_way.discard(task)
        if not task.cancelled():
            task.exception()  # Nobody may wait for it any more.


def give_up_wal(connection: sa.Connection) -> bool:
    """Copy the write-ahead log of a SQLite file into it and cut it to nothing; return False if somebody reads it."""
    return connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").scalar() == 0


def _overwrite_deleted(connection: Any, _: object) -> None:
    connection.execute("PRAGMA secure_delete = ON").close()


async def _in_greenlet(engine: AsyncEngine, work: Callable[[sa.Connection], T]) -> T:
    async with engine.begin() as connection:
        return await connection.run_sync(work)


def _in_transaction(engine: sa.Engine, work: Callable[[sa.Connection], T]) -> T:
    with engine.begin() as connection:
        return work(connection)


def read_customers(connection: sa.Connection, schema: MartSchema, customer_ids: Sequence[str]) -> dict[str, Attributes]:
    """Return the attributes of customers by their id, those of sources; one statement per source.

    Customers that no source holds are not in the answer. Where two sources have an attribute of the same name, the first
    keeps it, and the other's is called `source.name`.
    """
    found: dict[str, Attributes] = {}
    for source in schema.sources:
        keys = [key for each in customer_ids if (key := key_of(each, source.key_type)) is not None]
        rows = connection.execute(source.statement, {KEYS_PARAMETER: keys}) if keys else ()
        grouped: defaultdict[str, list[Sequence[Any]]] = defaultdict(list)
        for row in rows:
            grouped[customer_id_of(row[0])].append(row)
        for customer_id, own in grouped.items():
            attributes = found.setdefault(customer_id, {})
            _add(attributes, source, _list(source, own) if source.items_max else _columns(source, own[0]))
    return found


def has_other_columns(connection: sa.Connection, sources: Iterable[Source]) -> bool:
    """Return whether a source has other columns than when it was reflected.

    Raises:
        sqlalchemy.exc.DBAPIError: Also if a source is not there any more.
    """
    return any(tuple(connection.execute(source.probe).keys()) != source.all_columns for source in sources)


def _columns(source: Source, row: Sequence[Any]) -> Attributes:
    as_of_ms = time_ms(row[-1]) if source.updated_at else 0
    found = {}
    for column, value in zip(source.columns, row[1:], strict=False):
        if value is not None:
            shown, kind = plain(value, is_json=column.is_json)
            found[column.name] = Attribute(shown, kind, source.name, column.column, as_of_ms)
    return found


def _list(source: Source, rows: Sequence[Sequence[Any]]) -> Attributes:
    as_of_ms = max(time_ms(row[-1]) for row in rows) if source.updated_at else 0
    items: list[Plain] = [
        {
            column.name: plain(value, is_json=column.is_json)[0]
            for column, value in zip(source.columns, row[1:], strict=False)
            if value is not None
        }
        for row in rows
    ]
    return {source.name.lower(): Attribute(items, ValueType.LIST, source.name, "", as_of_ms)}


def _add(attributes: Attributes, source: Source, new: Mapping[str, Attribute]) -> None:
    for name, attribute in new.items():
        attributes.setdefault(name if name not in attributes else f"{source.name.lower()}.{name}", attribute)
