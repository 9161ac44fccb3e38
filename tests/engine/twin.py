"""The slow, obvious twin of the engine: the same fold of journal entries, over plain dictionaries and lists.

This file is the specification of what entries mean. Clarity comes before speed: a session keeps the set of its events,
and what it shows is computed from that set whenever it is asked for (`twin_values`). It reads requests with the
official protobuf parser, so it shares nothing with the kernels but the definitions of models and entries.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from google.protobuf.struct_pb2 import Struct
from google.protobuf.struct_pb2 import Value as WireValue

from rte.v1.event_pb2 import Event
from rte.v1.event_service_pb2 import IngestEventsRequest
from rte.v1.session_service_pb2 import EndSessionRequest, UpdateSessionRequest
from rte_server.engine.entries import Entry, EntryType
from rte_server.engine.facts import read_facts
from rte_server.engine.program import AttributeSpec
from tests.engine.twin_order import order_of
from tests.engine.twin_triggers import Triggers
from tests.engine.twin_values import COMPOUND, ERROR, TwinEvent, Value, attribute_values

APPLIED, DUPLICATE, LATE = 0, 2, 3
SKEW_MS_MIN = 10_000


@dataclass(frozen=True, slots=True)
class Rules:
    """How sessions are formed; all in milliseconds.

    Attributes:
        gap_ms: A gap strictly greater starts a new session.
        lateness_ms: An event older than its visitor's newest event by more than this is late.
        max_length_ms: No event joins a session that would become longer; 0 = no limit.
        closed_retention_ms: A closed session leaves this long after the last entry that touched it.
    """

    gap_ms: int = 1_800_000
    lateness_ms: int = 86_400_000
    max_length_ms: int = 0
    closed_retention_ms: int = 3_600_000


@dataclass(slots=True)
class TwinSession:
    """A session: the events that belong to it, and what callers did to it."""

    triggers: Triggers
    ids: list[str]
    """The ids that lead to it, its own first. Known from the engine (`Twin.adopt`), since the twin makes none."""
    events: list[TwinEvent] = field(default_factory=list)
    ended: bool = False
    written: dict[str, tuple[int, Value]] = field(default_factory=dict)
    said: tuple[tuple[int, int], str, dict[str, Value]] = (0, 0), "", {}
    """What a data mart said last: position of the entry and place in it, of whom, values."""
    late_count: int = 0
    closed: bool = False
    due_ms: int = 0
    """When it closes, or leaves."""

    @property
    def start_ms(self) -> int:
        """Return the time of the first event."""
        return min(event.time_ms for event in self.events)

    @property
    def last_ms(self) -> int:
        """Return the time of the last event."""
        return max(event.time_ms for event in self.events)

    def time_ms(self, now_ms: int) -> int:
        """Return what time it is for the session: the server's clock, set back by the least delay of an event."""
        return max(now_ms - min(event.received_ms - event.time_ms for event in self.events), self.last_ms)

    def of_customer(self) -> dict[str, Value]:
        """Return what is known of the session's customer, by the names that expressions use."""
        _, customer_id, values = self.said
        is_its = customer_id != "" and customer_id == self.latest("customer_id")
        return {f"customer.{name}": value for name, value in values.items()} if is_its else {}

    def latest(self, field_name: str) -> str:
        """Return the field of the latest event that has it, or empty."""
        named = [event for event in sorted(self.events, key=lambda event: event.key) if getattr(event, field_name)]
        return str(getattr(named[-1], field_name)) if named else ""


@dataclass(slots=True)
class TwinVisitor:
    """What is remembered of a visitor."""

    sessions: list[TwinSession] = field(default_factory=list)
    """Ordered by time; disjoint."""
    newest_ms: int = 0
    received_ms: int = 0
    """When its last event was received."""
    left_starts_ms: list[int] = field(default_factory=list)
    """Starts of the sessions that have left."""
    left_until_ms: int = 0
    """Newest event time of a session that has left; 0 = none has."""

    def number_of(self, session: TwinSession) -> int:
        """Return the number of a visit: 1 + how many remembered ones began before it."""
        starts_ms = [*self.left_starts_ms, *(other.start_ms for other in self.sessions)]
        return 1 + sum(start_ms < session.start_ms for start_ms in starts_ms)


class Twin:
    """The twin of `Engine`.

    Args:
        specs: The attributes of all models, in the order in which they can be computed.
        rules: How sessions are formed.
    """

    def __init__(self, specs: Sequence[AttributeSpec], rules: Rules | None = None) -> None:
        self.rules = rules or Rules()
        self.visitors: dict[str, TwinVisitor] = {}
        self.counts = {"applied": 0, "duplicate": 0, "late": 0, "merged": 0, "left": 0}
        self.clock_ms = 0
        self._specs = specs
        self._seen: set[tuple[str, str]] = set()
        self._requests: set[str] = set()
        self._facts: dict[tuple[str, str], Value] = {}

    def apply(self, position: int, entry: Entry) -> list[int]:
        """Apply an entry; return the outcome of each event: APPLIED, DUPLICATE or LATE."""
        self.clock_ms = max(self.clock_ms, entry.received_ms)
        outcomes: list[int] = []
        if entry.type == EntryType.EVENTS:
            outcomes = self._apply_events(IngestEventsRequest.FromString(entry.body), entry.received_ms)
        elif entry.type == EntryType.UPDATE:
            self._apply_update(UpdateSessionRequest.FromString(entry.body), position)
        elif entry.type == EntryType.END:
            self._apply_end(EndSessionRequest.FromString(entry.body))
        elif entry.type == EntryType.FACTS:
            known: dict[tuple[str, str], Value] = {
                (function, text): value for function, text, value in read_facts(json.loads(entry.body))
            }
            # A new dict, since events keep what was known when they came; what is known first stays.
            self._facts = known | self._facts
        elif entry.type == EntryType.TICK:
            self._expire()
        elif entry.type == EntryType.CUSTOMER:
            for place, (customer_id, attributes) in enumerate(json.loads(entry.body)["customers"].items()):
                values = {name: _number_or_text(attribute["value"]) for name, attribute in attributes.items()}
                self._apply_customer((position, place), customer_id, {k: v for k, v in values.items() if v is not None})
        return outcomes

    def adopt(self, visitor_id: str, start_ms: int, last_ms: int, session_id: str) -> None:
        """Learn the engine's id of the session from `start_ms` to `last_ms`."""
        for session in self.visitors[visitor_id].sessions:
            if (session.start_ms, session.last_ms) == (start_ms, last_ms) and not session.ids:
                session.ids.append(session_id)

    def find(self, session_id: str) -> TwinSession | None:
        """Return the session that an id leads to, also one that was merged into another."""
        for visitor in self.visitors.values():
            for session in visitor.sessions:
                if session_id in session.ids:
                    return session
        return None

    def state(self) -> dict[str, list[dict[str, object]]]:
        """Return all sessions, by visitor and in order of time, as plain values."""
        return {
            visitor_id: [self._shown(visitor_id, visitor.number_of(session), session) for session in visitor.sessions]
            for visitor_id, visitor in self.visitors.items()
            if visitor.sessions
        }

    def _apply_events(self, request: IngestEventsRequest, received_ms: int) -> list[int]:
        if request.request_id:
            if request.request_id in self._requests:
                return [DUPLICATE] * len(request.events)
            self._requests.add(request.request_id)
        sent_ms = _milliseconds(request.sent_time) if request.HasField("sent_time") else received_ms
        skew_ms = received_ms - sent_ms
        if abs(skew_ms) <= SKEW_MS_MIN:
            skew_ms = 0
        read = [self._read(event, received_ms, skew_ms, place) for place, event in enumerate(request.events)]
        return [self._apply_event(event, self.clock_ms) for event in read]

    def _read(self, event: Event, received_ms: int, skew_ms: int, place: int) -> TwinEvent:
        has_time = event.HasField("event_time")
        stated_ms = _milliseconds(event.event_time) if has_time else received_ms
        return TwinEvent(
            event_id=event.event_id,
            name=event.name,
            time_ms=stated_ms + skew_ms if has_time else received_ms,
            order=order_of(event, stated_ms, place),
            visitor_id=event.visitor_id,
            customer_id=event.customer_id,
            alias=event.client_session_id,
            channel=event.channel,
            properties=_properties(event.properties),
            facts=self._facts,
            received_ms=self.clock_ms,
            lists=_lists(event.properties),
        )

    def _apply_event(self, event: TwinEvent, received_ms: int) -> int:
        outcome = self._judge(event, received_ms)
        self.counts[{APPLIED: "applied", DUPLICATE: "duplicate", LATE: "late"}[outcome]] += 1
        return outcome

    def _judge(self, event: TwinEvent, received_ms: int) -> int:
        """Apply one event: a duplicate is recognized first, then a late one, else it joins a session."""
        if event.event_id:
            if (event.visitor_id, event.event_id) in self._seen:
                return DUPLICATE
            self._seen.add((event.visitor_id, event.event_id))
        visitor = self.visitors.setdefault(event.visitor_id, TwinVisitor(newest_ms=event.time_ms))
        visitor.received_ms = received_ms
        oldest_ms = visitor.newest_ms - self.rules.lateness_ms
        if event.time_ms < oldest_ms or event.time_ms <= visitor.left_until_ms:
            if visitor.sessions:
                visitor.sessions[-1].late_count += 1
            return LATE
        visitor.newest_ms = max(visitor.newest_ms, event.time_ms)
        session = self._session_for(visitor, event.time_ms)
        if session.events:
            self._settle(visitor, session, received_ms)
        session.events.append(event)
        visitor.sessions.sort(key=lambda session: session.start_ms)
        session.triggers.fire(session.last_ms, session.time_ms(received_ms), self._holds(visitor, session))
        self._schedule(session, received_ms)
        return APPLIED

    def _session_for(self, visitor: TwinVisitor, time_ms: int) -> TwinSession:
        """Return the session that an event joins: the one that it fits, two that it bridges as one, or a new one.

        Where the two would become too long as one, the event joins the older, unless it lies within the newer.
        """
        fitting = [session for session in visitor.sessions if self._fits(visitor, session, time_ms)]
        if not fitting:
            visitor.sessions.append(TwinSession(Triggers(self._specs), ids=[]))
            return visitor.sessions[-1]
        if len(fitting) == 1:
            return fitting[0]
        older, newer = fitting[-2:]
        if not self._too_long(older.start_ms, newer.last_ms):
            self._merge(visitor, older, newer)
        elif time_ms >= newer.start_ms:
            return newer
        return older

    def _fits(self, visitor: TwinVisitor, session: TwinSession, time_ms: int) -> bool:
        """Return whether an event may join a session: within a gap of it, on its side of every end, not too long."""
        after_ms = 0 if session.ended else self.rules.gap_ms
        if not session.start_ms - self.rules.gap_ms <= time_ms <= session.last_ms + after_ms:
            return False
        ends = [other.last_ms for other in visitor.sessions if other.ended and other.last_ms < session.start_ms]
        if any(time_ms <= end_ms for end_ms in ends):
            return False
        return not self._too_long(min(session.start_ms, time_ms), max(session.last_ms, time_ms))

    def _too_long(self, start_ms: int, last_ms: int) -> bool:
        return 0 < self.rules.max_length_ms < last_ms - start_ms

    def _merge(self, visitor: TwinVisitor, older: TwinSession, newer: TwinSession) -> None:
        older.ids += newer.ids
        older.events += newer.events
        older.triggers.merge(newer.triggers)
        older.ended = newer.ended
        older.late_count += newer.late_count
        older.said = max(older.said, newer.said, key=lambda said: said[0])
        for name, (position, value) in newer.written.items():
            if name not in older.written or older.written[name][0] < position:
                older.written[name] = position, value
        visitor.sessions.remove(newer)
        self.counts["merged"] += 1

    def _apply_update(self, request: UpdateSessionRequest, position: int) -> None:
        session = self.find(request.session_id)
        if session is None:
            return
        for name, value in _properties(request.attributes).items():
            session.written[name] = position, value

    def _apply_customer(self, said_at: tuple[int, int], customer_id: str, values: dict[str, Value]) -> None:
        for visitor in self.visitors.values():
            for session in visitor.sessions:
                # What is said again is no news.
                if session.latest("customer_id") == customer_id and session.said[1:] != (customer_id, values):
                    self._settle(visitor, session, self.clock_ms)
                    session.said = said_at, customer_id, values
                    session.triggers.fire(
                        session.last_ms, session.time_ms(self.clock_ms), self._holds(visitor, session)
                    )

    def _apply_end(self, request: EndSessionRequest) -> None:
        session = self.find(request.session_id)
        if session is None or session.ended:
            return
        session.ended = True
        self._schedule(session, self.clock_ms)

    def _schedule(self, session: TwinSession, received_ms: int) -> None:
        """Say until when the session is active by the clock of received times, and if it is not, when it leaves."""
        closes_ms = session.last_ms + self.rules.gap_ms + 1
        session.closed = session.ended or closes_ms <= received_ms
        session.due_ms = received_ms + self.rules.closed_retention_ms if session.closed else closes_ms

    def _expire(self) -> None:
        """Close what was quiet for a gap; let those leave that were closed for long enough.

        A visitor without sessions is forgotten when nothing was heard of it for the lateness horizon.
        """
        for visitor_id, visitor in list(self.visitors.items()):
            for session in visitor.sessions:
                self._settle(visitor, session, self.clock_ms)
            for session in [session for session in visitor.sessions if session.due_ms <= self.clock_ms]:
                if not session.closed:
                    self._schedule(session, self.clock_ms)
                    continue
                visitor.sessions.remove(session)
                visitor.left_starts_ms.append(session.start_ms)
                visitor.left_until_ms = max(visitor.left_until_ms, session.last_ms)
                self.counts["left"] += 1
            if not visitor.sessions and visitor.received_ms < self.clock_ms - self.rules.lateness_ms:
                del self.visitors[visitor_id]

    def _settle(self, visitor: TwinVisitor, session: TwinSession, now_ms: int) -> None:
        session.triggers.settle(session.last_ms, session.time_ms(now_ms), self._holds(visitor, session))

    def _holds(self, visitor: TwinVisitor, session: TwinSession) -> Callable[[str, int], bool]:
        def holds(trigger: str, time_ms: int) -> bool:
            fields = self._fields(session.events[0].visitor_id, visitor.number_of(session), session)
            return attribute_values(self._specs, session.events, fields, time_ms).get(f"{trigger}.when") is True

        return holds

    @staticmethod
    def _fields(visitor_id: str, number: int, session: TwinSession) -> dict[str, Value]:
        return {
            "session.event_count": len(session.events),
            "session.start_time": session.start_ms,
            "session.last_event_time": session.last_ms,
            "session.duration_s": (session.last_ms - session.start_ms) / 1000,
            "session.visit_number": number,
            "session.visitor_id": visitor_id,
            "session.customer_id": session.latest("customer_id") or None,
            "session.channel": session.latest("channel") or None,
            **session.of_customer(),
        }

    def _shown(self, visitor_id: str, number: int, session: TwinSession) -> dict[str, object]:
        """Return what a reader sees of a session."""
        fields = self._fields(visitor_id, number, session)
        time_ms = session.time_ms(self.clock_ms)
        attributes: dict[str, object] = dict(attribute_values(self._specs, session.events, fields, time_ms))
        attributes |= session.triggers.shown(session.last_ms)
        attributes |= {name: value for name, (_, value) in session.written.items() if value is not None}
        return {
            "visitor_id": visitor_id,
            "customer_id": session.latest("customer_id"),
            "channel": session.latest("channel"),
            "start_ms": session.start_ms,
            "last_ms": session.last_ms,
            "event_count": len(session.events),
            "late_event_count": session.late_count,
            "visit_number": number,
            "ended": session.ended,
            "closed": session.closed,
            "attributes": attributes,
        }


def _number_or_text(value: object) -> Value:
    """Return what models see of a value of a customer: whole numbers are doubles, lists and objects are nothing."""
    if isinstance(value, bool | str):
        return value
    return float(value) if isinstance(value, int | float) else None


def _milliseconds(timestamp: object) -> int:
    """Return a protobuf Timestamp in milliseconds since 1970, truncated."""
    return int(timestamp.seconds * 1000 + timestamp.nanos // 1_000_000)  # type: ignore[attr-defined]


def _lists(properties: Struct) -> dict[str, list[Value | dict[str, Value]]]:
    """Return the lists of a Struct; what is neither scalar nor object in them is COMPOUND."""
    return {
        name: [
            _properties(each.struct_value) if each.HasField("struct_value") else _scalar(each)
            for each in value.list_value.values
        ]
        for name, value in properties.fields.items()
        if value.HasField("list_value")
    }


def _properties(properties: Struct) -> dict[str, Value]:
    """Return the scalars of a Struct; lists and objects are COMPOUND."""
    return {name: _scalar(value) for name, value in properties.fields.items()}


def _scalar(value: WireValue) -> Value:
    kind = value.WhichOneof("kind")
    if kind == "null_value":
        return None
    if kind in ("number_value", "string_value", "bool_value"):
        found: Value = getattr(value, kind)
        return found
    return COMPOUND if kind else ERROR
