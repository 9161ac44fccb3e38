"""The client that blocks, for threads and scripts. `rte.aio.Client` is the same for asyncio."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from types import TracebackType
from typing import Self

import grpc

from rte import requests
from rte.backlog import Batch, OnRejected, TrackSettings, TrackStats
from rte.connection import DEADLINE_S, Connection, Tls
from rte.errors import RteError, error_of_status
from rte.events import Event
from rte.results import (
    Change,
    Customer,
    Ingested,
    Session,
    SessionOrError,
    customer_of,
    ingested_of,
    session_of,
)
from rte.stubs import INGEST, Stubs, translated
from rte.tracker import Tracker
from rte.v1.customer_service_pb2 import LinkVisitorRequest, UnlinkVisitorRequest
from rte.v1.event_service_pb2 import IngestEventsResponse
from rte.v1.session_service_pb2 import ListSessionsRequest
from rte.values import Json
from rte.watching import WatchCursor

DELIVERY_S_MAX = 30.0
"""How long `flush` and `close` wait by default, seconds."""


class Client:
    """A connection to a server. Safe for threads. Connects with the first call, so it may be made before a fork.

    Every method raises an RteError by the reason that the server gives; what is listed under `Raises` comes beside that.
    A call is tried up to four times within its deadline where that is safe. `timeout_s`: all attempts together, seconds.

        with rte.Client("localhost:8080") as client:
            client.track("view_item", visitor_id="ada", properties={"item_id": "SKU-1", "price": 9.9})
            client.wait_applied(client.flush())
            print(client.get_session(visitor_id="ada").attributes["product_views"])
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
        """Make a client.

        Args:
            address: `host:port` of the public port, or `unix:/path`.
            tls: True: TLS with the roots of gRPC; a Tls says more.
            token: See `Connection`.
            track: How `track` works.
            on_rejected: Told of each tracked event that the server refuses, from a thread; by default it is logged.

        Raises:
            ValueError: The address has another form.
        """
        self._connection = Connection(address, Tls() if tls is True else tls or None, token)
        self._stubs: Stubs | None = None
        self._process_id = os.getpid()
        self._tracker = Tracker(self._send, track, on_rejected)

    @property
    def raw(self) -> Stubs:
        """The generated stubs, with messages of `rte.v1`; they raise `grpc.RpcError`."""
        stubs = self._stubs
        if stubs is None or self._process_id != os.getpid():
            # A channel of the parent is dead in a forked process.
            stubs = self._stubs = Stubs(self._connection.channel())
            self._process_id = os.getpid()
        return stubs

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self, timeout_s: float = DELIVERY_S_MAX) -> None:
        """Deliver what was tracked, then disconnect.

        Raises:
            NotDelivered: Time is up; it has the events.
        """
        try:
            self._tracker.close(timeout_s)
        finally:
            stubs, self._stubs = self._stubs, None
            if stubs is not None and self._process_id == os.getpid():
                stubs.channel.close()

    def track(
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
        """Send an event, some time soon, in a batch with others; return its id. See Event for the arguments.

        It is held here until the server has it, over failures and restarts, and counts once. `flush` waits for it. What
        the server refuses is told to `on_rejected`.

        Raises:
            QueueFull: There is no room, by `TrackSettings.when_full`.
            TypeError: A property is no JSON.
            ValueError: The event is too large, or its time has no zone.
            RuntimeError: The client is closed.
        """
        return self._tracker.track(
            Event(name, visitor_id, properties or {}, event_time, customer_id, channel, client_session_id, event_id)
        )

    def track_event(self, event: Event) -> str:
        """Send an event as `track` does."""
        return self._tracker.track(event)

    def flush(self, timeout_s: float = DELIVERY_S_MAX) -> str:
        """Wait until every tracked event is durable or refused; return the latest position, for `wait_applied`.

        Raises:
            NotDelivered: Time is up; the events are held and tried on.
        """
        return self._tracker.flush(timeout_s)

    def track_stats(self) -> TrackStats:
        """Return what became of tracked events so far."""
        return self._tracker.stats()

    def ingest(
        self,
        events: Iterable[Event],
        *,
        wait: str = "durable",
        return_sessions: bool = False,
        request_id: str = "",
        timeout_s: float = DEADLINE_S,
    ) -> Ingested:
        """Send a batch at once, and return what became of each event.

        Args:
            events: At most as many as the server's `limits.batch_events_max`.
            wait: `durable`, or `applied`: until the state has them.
            return_sessions: Whether the answer has the sessions that they touched; needs `applied`.
            request_id: Makes the whole batch count once.
            timeout_s: See the class.

        Raises:
            TypeError: A property is no JSON.
            ValueError: `wait` is unknown, or the time of an event has no zone.
        """
        request = requests.ingest(events, wait, return_sessions, request_id)
        with translated():
            return ingested_of(self._ingest(request, timeout=timeout_s))

    def get_session(
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
        """Return a session, by exactly one of its ids.

        Args:
            session_id: Given by the server; an alias leads there, too.
            visitor_id: Its session with the latest event.
            customer_id: Likewise.
            client_session_id: The sender's own id.
            fields: Paths of a session, such as `event_count` or `attributes.basket_value`; none: all.
            min_position: Waits until the state has reached it.
            customer_max_age_s: Asks the data mart first if what is known of the customer is older, seconds.
            merged: With `customer_id`: all active sessions of the customer as one, those of linked visitors included.
            timeout_s: See the class.

        Raises:
            SessionNotFound: There is none.
            TypeError: Not exactly one id is given.
        """
        request = requests.get_session(
            session_id, visitor_id, customer_id, client_session_id, fields, min_position, customer_max_age_s, merged
        )
        with translated():
            return session_of(self.raw.sessions.GetSession(request, timeout=timeout_s).session)

    def get_sessions(
        self,
        session_ids: Iterable[str] = (),
        *,
        visitor_ids: Iterable[str] = (),
        fields: Iterable[str] = (),
        min_position: str = "",
        timeout_s: float = DEADLINE_S,
    ) -> list[SessionOrError]:
        """Return up to 1,000 sessions, first by session, then by visitor ids; SessionNotFound stands where there is none."""
        request = requests.get_sessions(session_ids, visitor_ids, fields, min_position)
        with translated():
            results = self.raw.sessions.BatchGetSessions(request, timeout=timeout_s).results
        return [
            error_of_status(result.error) if result.HasField("error") else session_of(result.session)
            for result in results
        ]

    def list_sessions(
        self,
        filter: str = "",  # noqa: A002 - the word of the contract
        *,
        order_by: str = "",
        state: str = "active",
        fields: Iterable[str] = (),
        min_position: str = "",
        page_size: int = requests.PAGE_SIZE,
        timeout_s: float = DEADLINE_S,
    ) -> Iterator[Session]:
        """Yield the sessions that match, page by page.

        Args:
            filter: A CEL expression over attributes, such as `basket_value > 50.0 && purchases == 0`; empty: all.
            order_by: An attribute or `session.` field, then optionally ` desc`.
            state: `active`, `closed` or `any`.
            fields: See `get_session`.
            min_position: See `get_session`.
            page_size: Sessions that are asked for at a time, 1 to 1,000.
            timeout_s: Of each page.

        Raises:
            ValueError: `state` is unknown.
        """
        request = requests.list_sessions(filter, order_by, state, fields, min_position, page_size)
        return self._pages(request, timeout_s)

    def watch_sessions(
        self,
        filter: str = "",  # noqa: A002 - the word of the contract
        *,
        state: str = "active",
        fields: Iterable[str] = (),
        interval_ms_min: int = 0,
    ) -> Iterator[Change]:
        """Yield the sessions that match, then each change, without an end; goes on by itself after a break.

        A reader that is slow gets the newest state of each session. Where the server cannot go on, a `reset` comes first and
        then all sessions anew. Leave the loop, or close the iterator, to end the watch.

        Args:
            filter: See `list_sessions`.
            state: See `list_sessions`.
            fields: See `get_session`.
            interval_ms_min: How often one session is told at most, 0 to 60,000 ms.

        Raises:
            ValueError: `state` is unknown.
        """
        return self._watch(WatchCursor(requests.watch_sessions(filter, state, fields, interval_ms_min)))

    def wait_applied(self, position: str, timeout_s: float = DEADLINE_S) -> None:
        """Wait until the state has reached a position, as `flush` and `ingest` return it; an empty one is no wait.

        Raises:
            DeadlineExceeded: It has not yet.
        """
        if position:
            with translated():
                self.raw.sessions.BatchGetSessions(requests.applied(position), timeout=timeout_s)

    def update_session(
        self,
        session_id: str,
        attributes: Mapping[str, Json],
        *,
        etag: str = "",
        request_id: str = "",
        timeout_s: float = DEADLINE_S,
    ) -> Session:
        """Write attributes of one's own to a session, once however often it is tried; return it as it is then.

        Args:
            session_id: The session.
            attributes: Numbers, booleans and strings by name; None removes.
            etag: Writes only if the session's `etag` is this one.
            request_id: Makes calls of one's own count once; by default one is made.
            timeout_s: See the class.

        Raises:
            EtagMismatch: The session changed meanwhile.
            AttributeNotWritable: A model computes it.
            SessionNotFound: There is none.
        """
        request = requests.update_session(session_id, attributes, etag, request_id)
        with translated():
            return session_of(self.raw.sessions.UpdateSession(request, timeout=timeout_s).session)

    def end_session(self, session_id: str, *, request_id: str = "", timeout_s: float = DEADLINE_S) -> Session:
        """End a session, so that the visitor's next event starts a new one; return it as it ended."""
        request = requests.end_session(session_id, request_id)
        with translated():
            return session_of(self.raw.sessions.EndSession(request, timeout=timeout_s).session)

    def get_customer(
        self, customer_id: str, *, max_age_s: float | None = None, timeout_s: float = DEADLINE_S
    ) -> Customer:
        """Return what the data mart says about a person; `freshness` says how far it can be relied on.

        Args:
            customer_id: The person.
            max_age_s: Asks the data mart first if what is known is older, seconds; None: only if nothing is known.
            timeout_s: See the class.
        """
        with translated():
            answer = self.raw.customers.GetCustomer(requests.get_customer(customer_id, max_age_s), timeout=timeout_s)
        return customer_of(answer.customer)

    def get_customers(
        self, customer_ids: Iterable[str], *, max_age_s: float | None = None, timeout_s: float = DEADLINE_S
    ) -> list[Customer]:
        """Return up to 1,000 customers, in the order of their ids."""
        request = requests.get_customers(customer_ids, max_age_s)
        with translated():
            answer = self.raw.customers.BatchGetCustomers(request, timeout=timeout_s)
        return [customer_of(customer) for customer in answer.customers]

    def update_customer(
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
        """Write attributes of a person into the data mart; return the customer as it is then. Not tried twice.

        Args:
            customer_id: The person.
            attributes: JSON by name; None removes.
            source: Where they come from, such as a campaign.
            expire_time: Until when they hold, with a zone.
            etag: Writes only if the customer's `etag` is this one.
            author: Who writes, for the audit.
            why: Why, for the audit.
            timeout_s: See the class.

        Raises:
            EtagMismatch: The customer was written meanwhile.
            ValueError: `expire_time` has no zone.
        """
        request = requests.update_customer(customer_id, attributes, source, expire_time, etag, author, why)
        with translated():
            return customer_of(self.raw.customers.UpdateCustomer(request, timeout=timeout_s).customer)

    def link_visitor(
        self, customer_id: str, visitor_id: str, *, why: str, author: str = "", timeout_s: float = DEADLINE_S
    ) -> None:
        """Count a visitor's sessions as the customer's when sessions are read by customer; linking again changes nothing.

        Args:
            customer_id: The person.
            visitor_id: The device or browser; it need not have a session.
            why: Why they are the same person, for the audit.
            author: Who says so.
            timeout_s: See the class.

        Raises:
            CustomerNotFound: Neither the data mart nor a session knows the customer.
        """
        request = LinkVisitorRequest(customer_id=customer_id, visitor_id=visitor_id, why=why, author=author)
        with translated():
            self.raw.customers.LinkVisitor(request, timeout=timeout_s)

    def unlink_visitor(
        self, customer_id: str, visitor_id: str, *, why: str, author: str = "", timeout_s: float = DEADLINE_S
    ) -> None:
        """Take a link back.

        Raises:
            LinkNotFound: There is none.
        """
        request = UnlinkVisitorRequest(customer_id=customer_id, visitor_id=visitor_id, why=why, author=author)
        with translated():
            self.raw.customers.UnlinkVisitor(request, timeout=timeout_s)

    @property
    def _ingest(self) -> grpc.UnaryUnaryMultiCallable[bytes, IngestEventsResponse]:
        """The call that takes a batch as wire bytes, so that events are encoded once."""
        return self.raw.channel.unary_unary(INGEST, None, IngestEventsResponse.FromString)

    def _send(self, batch: Batch) -> Ingested:
        """Send a batch for the tracker; a closed channel is a failure like others."""
        with translated():
            try:
                return ingested_of(self._ingest(requests.tracked(batch), timeout=DEADLINE_S))
            except ValueError as closed:
                raise RteError(grpc.StatusCode.CANCELLED, str(closed)) from None

    def _pages(self, request: ListSessionsRequest, timeout_s: float) -> Iterator[Session]:
        while True:
            with translated():
                answer = self.raw.sessions.ListSessions(request, timeout=timeout_s)
            yield from map(session_of, answer.sessions)
            if not answer.next_page_token:
                return
            request.page_token = answer.next_page_token

    def _watch(self, cursor: WatchCursor) -> Iterator[Change]:
        while True:
            stream = self.raw.sessions.WatchSessions(cursor.request)
            try:
                with translated():
                    for message in stream:
                        yield from cursor.take(message)
                raise RteError(grpc.StatusCode.UNAVAILABLE, "the server ended the watch")
            except RteError as error:
                pause = cursor.broken(error, time.monotonic())
            finally:
                stream.cancel()
            time.sleep(pause)
