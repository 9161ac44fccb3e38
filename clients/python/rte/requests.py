"""Requests from keyword arguments, for the client that blocks and the one that does not."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from datetime import datetime

from rte.backlog import Batch
from rte.events import Event, new_id, wire_of
from rte.v1 import customer_service_pb2, session_service_pb2
from rte.values import Json, duration_of, mask_of, stamp_of, struct_of
from rte.wire_events import batch_request

WAITS = ("durable", "applied")
STATES = {
    "active": session_service_pb2.STATE_FILTER_ACTIVE,
    "closed": session_service_pb2.STATE_FILTER_CLOSED,
    "any": session_service_pb2.STATE_FILTER_ANY,
}
PAGE_SIZE = 500
"""Sessions that a list asks for at a time."""

NO_SESSION = "0" * 32
"""An id that no session has; to ask for it waits for a position and costs nothing else."""


def ingest(events: Iterable[Event], wait: str, return_sessions: bool, request_id: str) -> bytes:
    """Return a batch as wire bytes; events without an id get one, so that another attempt counts once.

    Raises:
        ValueError: `wait` is neither `durable` nor `applied`; see also `wire_of`.
        TypeError: See `wire_of`.
    """
    if wait not in WAITS:
        raise ValueError(f"wait is {wait!r}; it must be one of {', '.join(WAITS)}")
    bodies = [wire_of(event)[1] for event in events]
    return batch_request(bodies, request_id, is_applied=wait == "applied", return_sessions=return_sessions)


def tracked(batch: Batch) -> bytes:
    """Return a batch of tracked events as wire bytes, with the time of this attempt."""
    return batch_request(batch, is_applied=False, sent_ms=time.time_ns() // 1_000_000)


def get_session(
    session_id: str,
    visitor_id: str,
    customer_id: str,
    client_session_id: str,
    fields: Iterable[str],
    min_position: str,
    customer_max_age_s: float | None,
    merged: bool,
) -> session_service_pb2.GetSessionRequest:
    """Return the request for one session.

    Raises:
        TypeError: Not exactly one id is given.
    """
    keys = {
        "session_id": session_id,
        "visitor_id": visitor_id,
        "customer_id": customer_id,
        "client_session_id": client_session_id,
    }
    given = {name: value for name, value in keys.items() if value}
    if len(given) != 1:
        raise TypeError(f"give exactly one of {', '.join(keys)}, not {', '.join(given) or 'none'}")
    request = session_service_pb2.GetSessionRequest(read_mask=mask_of(fields), min_position=min_position, merged=merged)
    for name, value in given.items():
        setattr(request, name, value)
    if customer_max_age_s is not None:
        request.customer_max_age.CopyFrom(duration_of(customer_max_age_s))
    return request


def get_sessions(
    session_ids: Iterable[str], visitor_ids: Iterable[str], fields: Iterable[str], min_position: str
) -> session_service_pb2.BatchGetSessionsRequest:
    """Return the request for several sessions."""
    return session_service_pb2.BatchGetSessionsRequest(
        session_ids=session_ids, visitor_ids=visitor_ids, read_mask=mask_of(fields), min_position=min_position
    )


def list_sessions(
    filter: str,  # noqa: A002 - the word of the contract
    order_by: str,
    state: str,
    fields: Iterable[str],
    min_position: str,
    page_size: int,
) -> session_service_pb2.ListSessionsRequest:
    """Return the request for the first page of a list.

    Raises:
        ValueError: `state` is unknown.
    """
    return session_service_pb2.ListSessionsRequest(
        filter=filter,
        order_by=order_by,
        page_size=page_size,
        read_mask=mask_of(fields),
        state=_state(state),
        min_position=min_position,
    )


def watch_sessions(
    filter: str,  # noqa: A002 - the word of the contract
    state: str,
    fields: Iterable[str],
    interval_ms_min: int,
) -> session_service_pb2.WatchSessionsRequest:
    """Return the request for a watch from its beginning.

    Raises:
        ValueError: `state` is unknown.
    """
    return session_service_pb2.WatchSessionsRequest(
        filter=filter, read_mask=mask_of(fields), state=_state(state), interval_ms_min=interval_ms_min
    )


def update_session(
    session_id: str, attributes: Mapping[str, Json], etag: str, request_id: str
) -> session_service_pb2.UpdateSessionRequest:
    """Return the request that writes attributes; without `request_id` it gets one, so that it counts once."""
    return session_service_pb2.UpdateSessionRequest(
        session_id=session_id, attributes=struct_of(attributes), etag=etag, request_id=request_id or new_id()
    )


def end_session(session_id: str, request_id: str) -> session_service_pb2.EndSessionRequest:
    """Return the request that ends a session."""
    return session_service_pb2.EndSessionRequest(session_id=session_id, request_id=request_id or new_id())


def get_customers(
    customer_ids: Iterable[str], max_age_s: float | None
) -> customer_service_pb2.BatchGetCustomersRequest:
    """Return the request for several customers."""
    request = customer_service_pb2.BatchGetCustomersRequest(customer_ids=customer_ids)
    if max_age_s is not None:
        request.max_age.CopyFrom(duration_of(max_age_s))
    return request


def get_customer(customer_id: str, max_age_s: float | None) -> customer_service_pb2.GetCustomerRequest:
    """Return the request for one customer."""
    request = customer_service_pb2.GetCustomerRequest(customer_id=customer_id)
    if max_age_s is not None:
        request.max_age.CopyFrom(duration_of(max_age_s))
    return request


def update_customer(
    customer_id: str,
    attributes: Mapping[str, Json],
    source: str,
    expire_time: datetime | None,
    etag: str,
    author: str,
    why: str,
) -> customer_service_pb2.UpdateCustomerRequest:
    """Return the request that writes attributes of a customer."""
    return customer_service_pb2.UpdateCustomerRequest(
        customer_id=customer_id,
        attributes=struct_of(attributes),
        source=source,
        expire_time=stamp_of(expire_time) if expire_time is not None else None,
        etag=etag,
        author=author,
        why=why,
    )


def applied(position: str) -> session_service_pb2.BatchGetSessionsRequest:
    """Return the request that is answered once the state has reached a position."""
    return session_service_pb2.BatchGetSessionsRequest(session_ids=[NO_SESSION], min_position=position)


def _state(name: str) -> session_service_pb2.StateFilter:
    if name not in STATES:
        raise ValueError(f"state is {name!r}; it must be one of {', '.join(STATES)}")
    return STATES[name]
