"""A customer data mart at work: its database, what is known of customers, its change feed, on a thread of their own.

Reading rows costs the interpreter's time. On an event loop of its own thread it delays nobody who reads sessions for
longer than the interpreter's switching interval.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa

from rte_server.config import MartSettings
from rte_server.mart.database import (
    MartDatabase,
    MartError,
    NotWritable,
    TooSlow,
    Unreadable,
    give_up_wal,
    read_customers,
)
from rte_server.mart.feed import ChangeFeed
from rte_server.mart.schema import MartSchema, SchemaError, reflect
from rte_server.mart.states import CLOSE_S, CustomerRecord, CustomerStates, Encode
from rte_server.mart.written import (
    METADATA,
    CustomerWrite,
    create_own_tables,
    erase,
    read_written,
    row_count,
    script,
    sqlite_triggers,
    write,
)

EMBEDDED_FILE = "mart.sqlite"

GIVE_UP_TRIES = 100
"""How often the log of a SQLite file is tried to be cut after an erasure, every 50 ms."""

_EMPTY = MartSchema((), frozenset(), frozenset())
_log = logging.getLogger("rte.mart")

T = TypeVar("T")


class CustomerMart:
    """Runs a data mart beside a server. Its methods may be called from any thread, unless they say otherwise.

    Attributes:
        states: What is known of customers.
    """

    states: CustomerStates

    def __init__(
        self,
        settings: MartSettings,
        data_dir: Path,
        encode: Encode,
        clock_ms: Callable[[], int],
        changed: Callable[[Mapping[str, CustomerRecord]], None],
    ) -> None:
        """Start the thread; the data mart need not answer yet.

        Args:
            settings: Where it is, and limits.
            data_dir: Where the embedded one lies, if `settings.url` is empty.
            encode: Makes the bytes that are remembered of a customer.
            clock_ms: The server's time, milliseconds since 1970.
            changed: Called on the mart's thread with customers of whom other things are known than before.

        Raises:
            MartError: The address cannot be used.
        """
        self._settings = settings
        self._clock_ms = clock_ms
        self._schema: MartSchema | None = None
        self._reflections = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="rte-mart")
        self._thread.start()
        try:
            url = settings.url or _embedded(data_dir)
            self._call(self._start(url, encode, changed)).result()
        except BaseException:
            self._end_loop()
            raise

    async def _start(self, url: str, encode: Encode, changed: Callable[[Mapping[str, CustomerRecord]], None]) -> None:
        self._database = MartDatabase(url, self._settings)
        self._reflecting = asyncio.Lock()
        self.states = CustomerStates(self._read, encode, self._clock_ms, self._settings, changed)
        self._feed = ChangeFeed(
            self._database, self._settings, lambda: self._schema or _EMPTY, self._reflect_anew, self._customers_changed
        )
        self._following = asyncio.create_task(self._follow())

    def stop(self) -> None:
        """End all work and close the connections. Blocks; a second call does nothing."""
        if self._thread.is_alive():
            self._call(self._stop()).result()
            self._end_loop()

    async def _stop(self) -> None:
        self._feed.end()
        await asyncio.wait((self._following,), timeout=CLOSE_S)
        self._following.cancel()
        await asyncio.gather(self._following, return_exceptions=True)
        await self.states.close()
        await self._database.close()

    def _end_loop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def stats(self) -> dict[str, int]:
        """Return counters and gauges by name."""
        return self.states.stats() | {
            "reflections": self._reflections,
            "notifications": self._feed.notifications,
            "sources": len(self._schema.sources) if self._schema is not None else 0,
        }

    async def reach(self, customer_ids: Iterable[str], since_ms: int, *, is_patient: bool = False) -> None:
        """Wait, on any event loop, until customers have been read since then.

        Returns after `read_wait_ms` in any case, or if `is_patient` after `query_ms_max`.
        """
        wait_s = (self._settings.query_ms_max if is_patient else self._settings.read_wait_ms) / 1000
        await asyncio.wrap_future(self._call(self.states.reach(list(customer_ids), since_ms, wait_s)))

    async def write(self, order: CustomerWrite) -> None:
        """Write attributes of a customer, and look it up again. On any event loop.

        Raises:
            VersionMismatch: See `CustomerWrite.version`.
            NotWritable: There are no tables of RTE's own.
            TooSlow: The data mart does not answer within `write_ms_max`. It may be written, or will be.
            MartError: It cannot be reached, or refuses. Nothing is written.
        """
        await asyncio.wrap_future(self._call(self._write(order)))

    async def row_count(self, customer_id: str) -> int:
        """Return how many rows of a customer are in RTE's own tables. On any event loop.

        Raises:
            MartError: The data mart does not answer.
        """
        return await asyncio.wrap_future(self._call(self._in_own_tables(lambda c: row_count(c, customer_id))))

    async def erase(self, customer_id: str) -> int:
        """Delete a customer's rows in RTE's own tables, and remember nothing of the customer. On any event loop.

        Returns:
            How many rows there were, but for the outbox.

        Raises:
            MartError: The data mart does not answer, or somebody reads its file for so long that what was deleted is
                still in it. It can be done again.
        """
        return await asyncio.wrap_future(self._call(self._erase(customer_id)))

    async def forget(self, customer_id: str) -> None:
        """Remember nothing of a customer. On any event loop."""

        async def work() -> None:
            self.states.forget(customer_id)

        await asyncio.wrap_future(self._call(work()))

    # On the mart's event loop.

    def _call(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    async def _follow(self) -> None:
        """Find the schema, however long the data mart does not answer; then follow its changes."""
        while self._schema is None:
            try:
                await self._prepare()
            except (MartError, SchemaError) as error:
                self.states.missed(error)
                await asyncio.sleep(self._settings.retry_ms / 1000)
        await self._feed.run(self.states.heard, self.states.missed)

    async def _prepare(self) -> None:
        async with self._reflecting:
            if self._schema is not None:
                return
            if self._settings.own_tables:
                try:
                    await self._database.run(create_own_tables, self._settings.write_ms_max / 1000)
                except MartError as error:
                    _log.warning("RTE has no tables of its own in the data mart, it only reads: %s", error)
            await self._reflect()

    async def _reflect(self) -> MartSchema:
        self._reflections += 1
        schema = await self._database.run(lambda connection: reflect(connection, self._settings))
        self._schema = schema
        names = ", ".join(f"{each.name} ({len(each.columns)} columns)" for each in schema.sources)
        _log.info("the data mart has %s", names or "no table with customers yet")
        return schema

    async def _reflect_anew(self) -> None:
        try:
            async with self._reflecting:
                await self._reflect()
        except SchemaError as error:
            raise MartError(str(error)) from error
        self.states.refresh_all()

    def _customers_changed(self, customer_ids: Sequence[str] | None) -> None:
        if customer_ids is None:
            self.states.refresh_all()
        else:
            self.states.refresh(customer_ids)

    async def _read(self, customer_ids: Sequence[str]) -> dict[str, CustomerRecord]:
        if self._schema is None:
            await self._prepare_or_fail()
        try:
            return await self._read_now(customer_ids)
        except MartError as error:
            if not error.may_be_schema:
                raise
        # A column or table may be gone, or of another type: once more with the schema as it is now.
        await self._reflect_anew()
        return await self._read_now(customer_ids)

    async def _prepare_or_fail(self) -> None:
        try:
            await self._prepare()
        except SchemaError as error:
            raise MartError(str(error)) from error

    async def _read_now(self, customer_ids: Sequence[str]) -> dict[str, CustomerRecord]:
        schema = self._schema or _EMPTY
        has_written, now_ms = self._feed.has_written, self._clock_ms()

        def read(connection: sa.Connection) -> dict[str, CustomerRecord]:
            found = {
                key: CustomerRecord(each) for key, each in read_customers(connection, schema, customer_ids).items()
            }
            if has_written:
                for customer_id, (version, written) in read_written(connection, customer_ids, now_ms).items():
                    before = found.get(customer_id, CustomerRecord({}))
                    found[customer_id] = CustomerRecord(before.attributes | written, version)
            return found

        def work(connection: sa.Connection) -> dict[str, CustomerRecord]:
            try:
                return read(connection)
            except (sa.exc.SQLAlchemyError, OSError):
                raise  # The data mart refuses, or is gone.
            except Exception as error:
                # The text of the error may hold values of a person.
                raise Unreadable(f"rows of customers cannot be read: {type(error).__name__}") from error

        return await self._database.run(work)

    async def _write(self, order: CustomerWrite) -> None:
        if self._schema is None:
            # The server has just started, or the data mart was away then.
            try:
                await self._prepare_or_fail()
            except TooSlow as error:
                raise MartError(str(error)) from error  # Nothing has been written.
        self._need_own_tables()
        await self._database.run(lambda connection: write(connection, order), self._settings.write_ms_max / 1000)
        self._feed.has_written = True
        await self.states.reach((order.customer_id,), self._clock_ms() + 1, self._settings.query_ms_max / 1000)

    async def _in_own_tables(self, work: Callable[[sa.Connection], int]) -> int:
        """Return what some work in RTE's own tables gives, 0 where there are none."""
        if self._schema is None:
            await self._prepare_or_fail()
        has_own = (self._schema or _EMPTY).own_tables.issuperset(METADATA.tables)
        return await self._database.run(work, self._settings.write_ms_max / 1000) if has_own else 0

    async def _erase(self, customer_id: str) -> int:
        # A write that was given up because it took too long may still be done, and would bring the person back.
        if not await self._database.ended(self._settings.write_ms_max / 1000):
            raise MartError("a write that takes too long has not ended")
        count = await self._in_own_tables(lambda connection: erase(connection, customer_id))
        self.states.forget(customer_id)
        if self._database.dialect.name != "sqlite":
            return count
        for _ in range(GIVE_UP_TRIES):
            if await self._database.run(give_up_wal, self._settings.write_ms_max / 1000):
                return count
            await asyncio.sleep(0.05)
        raise MartError("the data mart's file is being read, so that what was deleted is still in its log")

    def _need_own_tables(self) -> None:
        if not (self._schema or _EMPTY).own_tables.issuperset(METADATA.tables):
            raise NotWritable("the data mart has no tables of RTE's own, nothing was written; see mart.own_tables")


def _embedded(data_dir: Path) -> str:
    """Make the embedded data mart with its reference schema, if there is none; return its address."""
    path = data_dir / EMBEDDED_FILE
    if not path.exists():
        new = path.with_suffix(".new")
        new.unlink(missing_ok=True)
        engine = sa.create_engine(f"sqlite:///{new}")
        with engine.begin() as connection:
            create_own_tables(connection)
            for statement in script("sqlite_reference.sql").split(";\n\n"):
                connection.exec_driver_sql(statement)
            for table in ("customer", "recent_orders", "recommended_products"):
                for statement in sqlite_triggers(table, "customer_id"):
                    connection.exec_driver_sql(statement)
        with engine.connect() as connection:
            # Readers and writers of the file do not wait for each other then; the file remembers it.
            connection.exec_driver_sql("PRAGMA journal_mode = WAL")
        engine.dispose()
        new.rename(path)
    return f"sqlite+aiosqlite:///{path.resolve()}"
