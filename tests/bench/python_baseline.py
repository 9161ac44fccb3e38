"""The plain Python engine that the real one is measured against: a dictionary of objects with slots, upb decoding.

It does all attributes of the packs `base` and `retail`, hard-coded: what an event touches is updated by a function for its
name, and what follows from that is computed after each event. It parses the request, drops duplicates by event id, and finds the
session by the 30-minute rule. What a text says (address, user agent, channel) is found once per different text.

It leaves out some of what RTE does, which favours Python:

- Events that are late or of equal time, that join or merge older sessions; limits; readers beside the writer; snapshots; timers
  between events (a quiet basket is noticed at the next event, as in RTE without ticks).
- Checks of types: properties are taken to be of the type that GA4 gives them.
- What nothing else depends on is put together only when it is read, see `python_shown`: lists, tops and their parts, the stage
  of the sequence, the window of errors.

It keeps all different values where RTE estimates (`distinct`) or samples (`top`) beyond a number, which costs it memory but
hardly any time. `test_python_baseline.py` compares its attributes with RTE's.
"""

from __future__ import annotations

from rte.v1.event_service_pb2 import IngestEventsRequest
from tests.bench.python_handlers import HANDLERS, on_any_event
from tests.bench.python_session import Session, derive, judge_identity, new_session, tell_quiet, watch_clicks

GAP_MS = 1_800_000
ANY_EVENT = frozenset(("language", "device_category", "user_agent", "engagement_time_msec"))
"""Properties that count on whatever event they come with."""


class PythonEngine:
    """The state: visitors by id, their current session; closed ones are kept as well."""

    def __init__(self) -> None:
        self.sessions: dict[str, Session] = {}
        self.closed: list[Session] = []
        self.seen: set[str] = set()
        self.duplicates = 0

    def fold(self, request: bytes, received_ms: int) -> int:
        """Apply the wire bytes of a request that came at `received_ms`; return its number of events."""
        sessions, seen, handler_of = self.sessions, self.seen, HANDLERS.get
        events = IngestEventsRequest.FromString(request).events
        for event in events:
            visitor_id = event.visitor_id
            event_key = f"{visitor_id}\n{event.event_id}"  # not a tuple: the garbage collector would look at it
            if event_key in seen:
                self.duplicates += 1
                continue
            seen.add(event_key)
            moment = event.event_time
            time_ms = moment.seconds * 1000 + moment.nanos // 1_000_000
            delay_ms = received_ms - time_ms
            session = sessions.get(visitor_id)
            if session is None:
                session = sessions[visitor_id] = new_session(time_ms, 1, delay_ms)
            elif time_ms - session.last_ms > GAP_MS:
                self.closed.append(session)
                session = sessions[visitor_id] = new_session(time_ms, session.visit + 1, delay_ms)
            else:
                if session.has_open_basket:
                    tell_quiet(session, received_ms - session.delay_ms)
                session.last_ms = time_ms
                if delay_ms < session.delay_ms:  # noqa: PLR1730 - quicker than `min`
                    session.delay_ms = delay_ms
            session.events += 1
            customer, channel = event.customer_id, event.channel
            if customer:
                session.customer = customer
                judge_identity(session)
            if channel:
                session.sent_channel = channel
            fields = event.properties.fields
            keys = set(fields)  # asking the map for each name would take longer
            if not keys.isdisjoint(ANY_EVENT):
                on_any_event(session, fields, keys)
            handler = handler_of(event.name)
            if handler is not None:
                handler(session, fields, keys, time_ms)
            now_ms = received_ms - session.delay_ms
            if session.click_times:
                watch_clicks(session, now_ms)
            if session.has_open_basket:
                tell_quiet(session, now_ms)
            derive(session, now_ms)
        return len(events)

    def checksum(self) -> list[float]:
        """Return what `CBaseline.checksum` returns, as far as both have it: sessions, then sums over newest sessions."""
        newest = self.sessions.values()
        return [
            len(newest) + len(self.closed),
            self.duplicates,
            sum(session.events for session in newest),
            sum(session.page_views for session in newest),
            sum(session.product_views for session in newest),
            sum(session.add_to_carts for session in newest),
            sum(session.purchases for session in newest),
        ]
