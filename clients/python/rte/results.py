"""What calls return: values of this package instead of messages."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from rte.errors import RteError
from rte.v1 import customer_pb2, event_pb2, event_service_pb2, session_pb2
from rte.v1.error_reason_pb2 import ErrorReason
from rte.values import dict_of, json_of, seconds_of, time_of

_STATES = {session_pb2.SESSION_STATE_ACTIVE: "active", session_pb2.SESSION_STATE_CLOSED: "closed"}


@dataclass(frozen=True, slots=True)
class Score:
    """How a score of a session stands; its value is among the session's attributes.

    Attributes:
        name: The name of its attribute.
        model: The model that it belongs to.
        status: `fresh`, `pending` or `absent`.
        reason: Why there is no value, such as `missing_input`; empty where there is one.
        as_of_time: Received time of the newest change that it has seen; None before the first.
        age_s: For how long the oldest change that it has not seen has waited, seconds; None if it has seen all.
        shadow_value: What it would be if it were shown; only with the reason `shadow`.
    """

    name: str
    model: str
    status: str
    reason: str
    as_of_time: datetime | None
    age_s: float | None
    shadow_value: float


@dataclass(frozen=True, slots=True)
class Customer:
    """What the customer data mart says about a person.

    Attributes:
        customer_id: The person.
        freshness: `fresh`, `stale`, `unavailable` or `unknown_customer`.
        attributes: By name; those that are NULL in the data mart are absent.
        as_of_time: When the data mart was asked; None if it has not answered yet.
        age_s: How long ago that was, seconds; None likewise.
        etag: A condition for `update_customer`.
    """

    customer_id: str
    freshness: str
    attributes: dict[str, Any]
    as_of_time: datetime | None
    age_s: float | None
    etag: str


@dataclass(frozen=True, slots=True)
class Session:
    """One visit of one visitor, up to the second. What `fields` left out is empty, 0 or None.

    Attributes:
        session_id: Given by the server.
        visitor_id: The device or browser.
        customer_id: The person, if an event named one, else empty.
        state: `active` or `closed`; empty if left out.
        start_time: Of its first event, UTC.
        last_event_time: Of its last event, UTC.
        end_time: When it was ended by `end_session`; None otherwise.
        event_count: Its events, duplicates not included.
        channel: Of its latest event that named one.
        alias_ids: Other ids that lead here, the latest 4.
        attributes: What models compute and applications wrote, by name; one without a value is absent.
        etag: A condition for `update_session`.
        visit_number: The visitor's number of this visit, from 1.
        late_event_count: The visitor's events that came too late for any session.
        scores: How the scores stand that are learned or computed beside the fold.
        customer: What the data mart says about the person; None without one.
    """

    session_id: str
    visitor_id: str
    customer_id: str
    state: str
    start_time: datetime | None
    last_event_time: datetime | None
    end_time: datetime | None
    event_count: int
    channel: str
    alias_ids: tuple[str, ...]
    attributes: dict[str, Any]
    etag: str
    visit_number: int
    late_event_count: int
    scores: tuple[Score, ...]
    customer: Customer | None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one event that was not plainly accepted.

    Attributes:
        index: Its place in the batch, from 0.
        outcome: `rejected`, `duplicate` or `late`.
        reason: Name of the reason, such as `FIELD_MISSING`.
        field: The field that caused it; may be empty.
        message: What is wrong, in a sentence.
    """

    index: int
    outcome: str
    reason: str
    field: str
    message: str


@dataclass(frozen=True, slots=True)
class Ingested:
    """What became of a batch.

    Attributes:
        position: Its place in the journal; give it to a read as `min_position`.
        accepted_count: Events that were accepted, duplicates and late ones included.
        rejected_count: Events that were refused.
        duplicate_count: Accepted events that were seen before; 0 unless the answer waited for `applied`.
        late_count: Accepted events that were too late; 0 likewise.
        verdicts: Of the first 100 events that were not plainly accepted.
        sessions: The sessions that were touched, at most 100, if they were asked for.
    """

    position: str
    accepted_count: int
    rejected_count: int
    duplicate_count: int
    late_count: int
    verdicts: tuple[Verdict, ...]
    sessions: tuple[Session, ...]


class ChangeKind(StrEnum):
    """What a change of a watch tells."""

    RESET = "reset"
    """Forget all sessions: a snapshot follows."""
    UPSERT = "upsert"
    """The session matches, and this is its state."""
    REMOVE = "remove"
    """The session no longer matches, or has left; only its id is known."""
    SYNCED = "synced"
    """The snapshot is complete; what follows are changes."""


@dataclass(frozen=True, slots=True)
class Change:
    """One change that a watch tells.

    Attributes:
        kind: What it tells.
        session_id: The session, with `upsert` and `remove`.
        session: Its state, with `upsert`.
    """

    kind: ChangeKind
    session_id: str = ""
    session: Session | None = None


SessionOrError = Session | RteError
"""One result of `get_sessions`: a session, or why there is none."""


def session_of(message: session_pb2.Session) -> Session:
    """Return the value of a session."""
    return Session(
        session_id=message.session_id,
        visitor_id=message.visitor_id,
        customer_id=message.customer_id,
        state=_STATES.get(message.state, ""),
        start_time=time_of(message.start_time) if message.HasField("start_time") else None,
        last_event_time=time_of(message.last_event_time) if message.HasField("last_event_time") else None,
        end_time=time_of(message.end_time) if message.HasField("end_time") else None,
        event_count=message.event_count,
        channel=message.channel,
        alias_ids=tuple(message.alias_ids),
        attributes=dict_of(message.attributes),
        etag=message.etag,
        visit_number=message.visit_number,
        late_event_count=message.late_event_count,
        scores=tuple(_score_of(score) for score in message.scores),
        customer=customer_of(message.customer) if message.HasField("customer") else None,
    )


def _score_of(message: session_pb2.Score) -> Score:
    return Score(
        name=message.name,
        model=message.model,
        status=_name(session_pb2.Score.Status, message.status, "STATUS_"),
        reason=_name(session_pb2.Score.Reason, message.reason, "REASON_") if message.reason else "",
        as_of_time=time_of(message.as_of_time) if message.HasField("as_of_time") else None,
        age_s=seconds_of(message.age) if message.HasField("age") else None,
        shadow_value=message.shadow_value,
    )


def customer_of(message: customer_pb2.Customer) -> Customer:
    """Return the value of a customer."""
    return Customer(
        customer_id=message.customer_id,
        freshness=_name(customer_pb2.Customer.Freshness, message.freshness, "FRESHNESS_"),
        attributes={name: json_of(attribute.value) for name, attribute in message.attributes.items()},
        as_of_time=time_of(message.as_of_time) if message.HasField("as_of_time") else None,
        age_s=seconds_of(message.age) if message.HasField("age") else None,
        etag=message.etag,
    )


def verdict_of(message: event_pb2.EventVerdict) -> Verdict:
    """Return the value of a verdict; a reason that this package does not know is its number."""
    reason = _name(ErrorReason, message.reason, "ERROR_REASON_").upper()
    outcome = _name(event_pb2.EventVerdict.Outcome, message.outcome, "OUTCOME_")
    return Verdict(message.index, outcome, reason, message.field, message.message)


def _name(kind: Any, number: int, prefix: str) -> str:
    """Return the name of an enum's value as this package says it; its number, if it is of a newer contract."""
    return kind.Name(number).removeprefix(prefix).lower() if number in kind.values() else str(number)


def ingested_of(message: event_service_pb2.IngestEventsResponse) -> Ingested:
    """Return the value of the answer to a batch."""
    return Ingested(
        position=message.position,
        accepted_count=message.accepted_count,
        rejected_count=message.rejected_count,
        duplicate_count=message.duplicate_count,
        late_count=message.late_count,
        verdicts=tuple(verdict_of(verdict) for verdict in message.verdicts),
        sessions=tuple(session_of(session) for session in message.sessions),
    )
