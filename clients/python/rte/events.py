"""Events as programs write them, with ids that make another attempt count once."""

from __future__ import annotations

import os
import random
import secrets
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from rte import wire_events
from rte.v1 import event_pb2
from rte.values import Json, dict_of, milliseconds_of, time_of


@dataclass(frozen=True, slots=True)
class Event:
    """Something that a visitor did, at one instant. Names and properties follow the GA4 recommended events.

    Attributes:
        name: What happened, such as `page_view`; 1 to 64 bytes.
        visitor_id: The device or browser; 1 to 128 bytes.
        properties: What is known about it, as JSON.
        event_time: When it happened, with a zone; None: now, by the clock of this machine.
        customer_id: The person, where known; up to 128 bytes.
        channel: The way by which it came, such as `web`; up to 64 bytes.
        client_session_id: The sender's own session id; up to 128 bytes.
        event_id: Counts once, however often it is sent; up to 128 bytes. Empty: one is made when the event is given to a
            client.
    """

    name: str
    visitor_id: str
    properties: Mapping[str, Json] = field(default_factory=dict)
    event_time: datetime | None = None
    customer_id: str = ""
    channel: str = ""
    client_session_id: str = ""
    event_id: str = ""


def wire_of(event: Event) -> tuple[str, bytes]:
    """Return an event's id, which is made here if it has none, and its message as wire bytes.

    Raises:
        TypeError: A property is no JSON, or a text is no string.
        ValueError: The time has no zone, or a text is no valid Unicode.
        OverflowError: A number is beyond the range of a double.
    """
    event_id = event.event_id or new_id()
    time_ms = time.time_ns() // 1_000_000 if event.event_time is None else milliseconds_of(event.event_time)
    try:
        body = wire_events.event(
            event_id=event_id,
            name=event.name,
            time_ms=time_ms,
            visitor_id=event.visitor_id,
            customer_id=event.customer_id,
            client_session_id=event.client_session_id,
            channel=event.channel,
            properties=event.properties,
        )
    except AttributeError as error:
        # A number instead of a string; to look at each text before would cost every event.
        raise TypeError(f"ids and names are strings: {error}") from None
    return event_id, body


def event_of(body: bytes) -> Event:
    """Return the event of wire bytes that `wire_of` wrote."""
    message = event_pb2.Event.FromString(body)
    return Event(
        name=message.name,
        visitor_id=message.visitor_id,
        properties=dict_of(message.properties),
        event_time=time_of(message.event_time),
        customer_id=message.customer_id,
        channel=message.channel,
        client_session_id=message.client_session_id,
        event_id=message.event_id,
    )


class _Ids:
    """Makes UUIDs of version 7 that grow within a process, so that events of one millisecond stay in their order.

    Source: RFC 9562, section 6.2, method 1: twelve bits count within a millisecond, and the millisecond moves on when
    they are used up.
    """

    def __init__(self) -> None:
        self._last = 0
        self.begin()

    def begin(self) -> None:
        """Begin in a new process: another thread of the old one may have held the lock, and its chance is not this one's."""
        self._lock = threading.Lock()
        # Ids must differ, not be secret; to ask the kernel for each would cost a tenth of all that `track` does.
        self._chance = random.Random(secrets.randbits(256))  # noqa: S311

    def make(self) -> str:
        """Return the next id, 36 characters."""
        now = (time.time_ns() // 1_000_000) << 12
        with self._lock:
            self._last = last = max(self._last + 1, now)
        head, chance = f"{last:015x}", f"{self._chance.getrandbits(62) | 1 << 63:016x}"
        return f"{head[:8]}-{head[8:12]}-7{head[12:]}-{chance[:4]}-{chance[4:]}"


_ids = _Ids()
new_id = _ids.make


os.register_at_fork(after_in_child=_ids.begin)
