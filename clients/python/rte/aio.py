"""The client for asyncio: the same calls as `rte.Client`, awaited. It belongs to the event loop that makes it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Self

import grpc.aio

from rte import requests
from rte.aio_tracker import AioTracker
from rte.backlog import Batch, OnRejected, TrackSettings, TrackStats
from rte.client import DELIVERY_S_MAX
from rte.connection import DEADLINE_S, Connection, Tls
from rte.errors import RteError, error_of_status
from rte.events import Event
from rte.results import Change, Customer, Ingested, Session, SessionOrError, customer_of, ingested_of, session_of
from rte.stubs import INGEST, translated
from rte.v1.collector_service_pb2_grpc import CollectorServiceStub
from rte.v1.customer_service_pb2 import LinkVisitorRequest, UnlinkVisitorRequest
from rte.v1.customer_service_pb2_grpc import CustomerServiceStub
from rte.v1.event_service_pb2 import IngestEventsResponse
from rte.v1.event_service_pb2_grpc import EventServiceStub
from rte.v1.model_service_pb2_grpc import ModelServiceStub
from rte.v1.session_service_pb2_grpc import SessionServiceStub
from rte.values import Json
from rte.watching import WatchCursor

if TYPE_CHECKING:
    from rte.v1.collector_service_pb2_grpc import CollectorServiceAsyncStub
    from rte.v1.customer_service_pb2_grpc import CustomerServiceAsyncStub
    from rte.v1.event_service_pb2_grpc import EventServiceAsyncStub
    from rte.v1.model_service_pb2_grpc import ModelServiceAsyncStub
    from rte.v1.session_service_pb2_grpc import SessionServiceAsyncStub


@dataclass(frozen=True)
class Stubs:
    """The generated stubs of one channel; see `rte.stubs.Stubs`."""

    channel: grpc.aio.Channel

    @cached_property
    def events(self) -> EventServiceAsyncStub:
        """Events in."""
        return EventServiceStub(self.channel)

    @cached_property
    def sessions(self) -> SessionServiceAsyncStub:
        """Session States."""
        return SessionServiceStub(self.channel)

    @cached_property
    def customers(self) -> CustomerServiceAsyncStub:
        """Customer States."""
        return CustomerServiceStub(self.channel)

    @cached_property
    def models(self) -> ModelServiceAsyncStub:
        """Models, attributes and scores."""
        return ModelServiceStub(self.channel)

    @cached_property
    def collectors(self) -> CollectorServiceAsyncStub:
        """What collectors keep in quarantine."""
        return CollectorServiceStub(self.channel)


class Client:
    """A connection to a server, for one event loop. Arguments, results and errors are those of `rte.Client`.

    async with rte.aio.Client("localhost:8080") as client:
        await client.track("view_item", visitor_id="ada", properties={"item_id": "SKU-1", "price": 9.9})
        await client.wait_applied(await client.flush())
        session = await client.get_session(visitor_id="ada")
    """

    def __init__(
        self,
        address: str = "localhost:8080",
        *,
        tls: Tls | bool = False,
        token: str | Callable[[], str] = "",
        track: TrackSettings = TrackSettings(),  # noqa: B008 - frozen
        on_rejected: OnRejected | None = None,
    ) -> None:
        """Make a client. See `rte.Client`; `on_rejected` is called in the event loop."""
        self._connection = Connection(address, Tls() if tls is True else tls or None, token)
        self._tracker = AioTracker(self._send, track, on_rejected)

    @cached_property
    def raw(self) -> Stubs:
        """The generated stubs, with messages of `rte.v1`; they raise `grpc.aio.AioRpcError`."""
        return Stubs(self._connection.aio_channel())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self, timeout_s: float = DELIVERY_S_MAX) -> None:
        """Deliver what was tracked, then disconnect. Raises NotDelivered as `rte.Client.close` does."""
        try:
            await self._tracker.close(timeout_s)
        finally:
            if "raw" in self.__dict__:
                await self.raw.channel.close()

    async def track(
        self,
        name: str,
        *,
        visitor_id: str,
        properties: Mapping[str, Json] | None = None,
        event_time: datetime | None = None,
        customer_id: str = "",
        channel: str = "",
        client_session_id: str = "",
        event_id: str = "",
    ) -> str:
        """Send an event some time soon; return its id. Waits only where there is no room. See `rte.Client.track`."""
        return await self._tracker.track(
            Event(name, visitor_id, properties or {}, event_time, customer_id, channel, client_session_id, event_id)
        )

    async def track_event(self, event: Event) -> str:
        """Send an event as `track` does."""
        return await self._tracker.track(event)

    async def flush(self, timeout_s: float = DELIVERY_S_MAX) -> str:
        """Wait until every tracked event is durable or refused; return the latest position."""
        return await self._tracker.flush(timeout_s)

    def track_stats(self) -> TrackStats:
        """Return what became of tracked events so far."""
        return self._tracker.stats()

    async def ingest(
        self,
        events: Iterable[Event],
        *,
        wait: str = "durable",
        return_sessions: bool = False,
        request_id: str = "",
        timeout_s: float = DEADLINE_S,
    ) -> Ingested:
        """Send a batch at once. See `rte.Client.ingest`."""
        request = requests.ingest(events, wait, return_sessions, request_id)
        with translated():
            return ingested_of(await self._ingest(request, timeout=timeout_s))

    async def get_session(
        self,
        session_id: str = "",
        *,
        visitor_id: str = "",
        customer_id: str = "",
        client_session_id: str = "",
        fields: Iterable[str] = (),
        min_position: str = "",
        customer_max_age_s: float | None = None,
        merged: bool = False,
        timeout_s: float = DEADLINE_S,
    ) -> Session:
        """Return a session, by exactly one of its ids. See `rte.Client.get_session`."""
        request = requests.get_session(
            session_id, visitor_id, customer_id, client_session_id, fields, min_position, customer_max_age_s, merged
        )
        with translated():
            return session_of((await self.raw.sessions.GetSession(request, timeout=timeout_s)).session)

    async def get_sessions(
        self,
        session_ids: Iterable[str] = (),
        *,
        visitor_ids: Iterable[str] = (),
        fields: Iterable[str] = (),
        min_position: str = "",
        timeout_s: float = DEADLINE_S,
    ) -> list[SessionOrError]:
        """Return up to 1,000 sessions. See `rte.Client.get_sessions`."""
        request = requests.get_sessions(session_ids, visitor_ids, fields, min_position)
        with translated():
            results = (await self.raw.sessions.BatchGetSessions(request, timeout=timeout_s)).results
        return [
            error_of_status(result.error) if result.HasField("error") else session_of(result.session)
            for result in results
        ]

    async def list_sessions(
        self,
        filter: str = "",  # noqa: A002 - the word of the contract
        *,
        order_by: str = "",
        state: str = "active",
        fields: Iterable[str] = (),
        min_position: str = "",
        page_size: int = requests.PAGE_SIZE,
        timeout_s: float = DEADLINE_S,
    ) -> AsyncIterator[Session]:
        """Yield the sessions that match, page by page. See `rte.Client.list_sessions`."""
        request = requests.list_sessions(filter, order_by, state, fields, min_position, page_size)
        while True:
            with translated():
                answer = await self.raw.sessions.ListSessions(request, timeout=timeout_s)
            for session in answer.sessions:
                yield session_of(session)
            if not answer.next_page_token:
                return
            request.page_token = answer.next_page_token

    async def watch_sessions(
        self,
        filter: str = "",  # noqa: A002 - the word of the contract
        *,
        state: str = "active",
        fields: Iterable[str] = (),
        interval_ms_min: int = 0,
    ) -> AsyncIterator[Change]:
        """Yield the sessions that match, then each change; goes on after a break. See `rte.Client.watch_sessions`."""
        cursor = WatchCursor(requests.watch_sessions(filter, state, fields, interval_ms_min))
        while True:
            stream = self.raw.sessions.WatchSessions(cursor.request)
            try:
                with translated():
                    async for message in stream:
                        for change in cursor.take(message):
                            yield change
                raise RteError(grpc.StatusCode.UNAVAILABLE, "the server ended the watch")
            except RteError as error:
                pause_s = cursor.broken(error, time.monotonic())
            finally:
                stream.cancel()
            await asyncio.sleep(pause_s)

    async def wait_applied(self, position: str, timeout_s: float = DEADLINE_S) -> None:
        """Wait until the state has reached a position. See `rte.Client.wait_applied`."""
        if position:
            with translated():
                await self.raw.sessions.BatchGetSessions(requests.applied(position), timeout=timeout_s)

    async def update_session(
        self,
        session_id: str,
        attributes: Mapping[str, Json],
        *,
        etag: str = "",
        request_id: str = "",
        timeout_s: float = DEADLINE_S,
    ) -> Session:
        """Write attributes of one's own to a session. See `rte.Client.update_session`."""
        request = requests.update_session(session_id, attributes, etag, request_id)
        with translated():
            return session_of((await self.raw.sessions.UpdateSession(request, timeout=timeout_s)).session)

    async def end_session(self, session_id: str, *, request_id: str = "", timeout_s: float = DEADLINE_S) -> Session:
        """End a session; return it as it ended."""
        request = requests.end_session(session_id, request_id)
        with translated():
            return session_of((await self.raw.sessions.EndSession(request, timeout=timeout_s)).session)

    async def get_customer(
        self, customer_id: str, *, max_age_s: float | None = None, timeout_s: float = DEADLINE_S
    ) -> Customer:
        """Return what the data mart says about a person. See `rte.Client.get_customer`."""
        request = requests.get_customer(customer_id, max_age_s)
        with translated():
            return customer_of((await self.raw.customers.GetCustomer(request, timeout=timeout_s)).customer)

    async def get_customers(
        self, customer_ids: Iterable[str], *, max_age_s: float | None = None, timeout_s: float = DEADLINE_S
    ) -> list[Customer]:
        """Return up to 1,000 customers, in the order of their ids."""
        request = requests.get_customers(customer_ids, max_age_s)
        with translated():
            answer = await self.raw.customers.BatchGetCustomers(request, timeout=timeout_s)
        return [customer_of(customer) for customer in answer.customers]

    async def update_customer(
        self,
        customer_id: str,
        attributes: Mapping[str, Json],
        *,
        source: str,
        expire_time: datetime | None = None,
        etag: str = "",
        author: str = "",
        why: str = "",
        timeout_s: float = DEADLINE_S,
    ) -> Customer:
        """Write attributes of a person into the data mart. See `rte.Client.update_customer`."""
        request = requests.update_customer(customer_id, attributes, source, expire_time, etag, author, why)
        with translated():
            return customer_of((await self.raw.customers.UpdateCustomer(request, timeout=timeout_s)).customer)

    async def link_visitor(
        self, customer_id: str, visitor_id: str, *, why: str, author: str = "", timeout_s: float = DEADLINE_S
    ) -> None:
        """Count a visitor's sessions as the customer's. See `rte.Client.link_visitor`."""
        request = LinkVisitorRequest(customer_id=customer_id, visitor_id=visitor_id, why=why, author=author)
        with translated():
            await self.raw.customers.LinkVisitor(request, timeout=timeout_s)

    async def unlink_visitor(
        self, customer_id: str, visitor_id: str, *, why: str, author: str = "", timeout_s: float = DEADLINE_S
    ) -> None:
        """Take a link back. See `rte.Client.unlink_visitor`."""
        request = UnlinkVisitorRequest(customer_id=customer_id, visitor_id=visitor_id, why=why, author=author)
        with translated():
            await self.raw.customers.UnlinkVisitor(request, timeout=timeout_s)

    @cached_property
    def _ingest(self) -> grpc.aio.UnaryUnaryMultiCallable[bytes, IngestEventsResponse]:
        """The call that takes a batch as wire bytes, so that events are encoded once."""
        return self.raw.channel.unary_unary(INGEST, None, IngestEventsResponse.FromString)

    async def _send(self, batch: Batch) -> Ingested:
        with translated():
            return ingested_of(await self._ingest(requests.tracked(batch), timeout=DEADLINE_S))
