"""What each protocol has to do: take a request apart, and translate one event."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from rte_bridge.problems import Problem
from rte_collect.requests import Request


@dataclass(frozen=True, slots=True)
class Raw:
    """One event as it came: all that is needed to translate it, now or later.

    Attributes:
        document: Its JSON text.
        hints: What the request says about it beside, such as the kind that the path names.
    """

    document: bytes
    hints: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Parcel:
    """What one request brings.

    Attributes:
        events: In their order.
        is_batch: Whether a bad event leaves the answer good; a request with one event is refused with it.
        sent_ms: When it was sent, by the clock of its events, milliseconds since 1970; None: not told, or told by each.
    """

    events: Sequence[Raw]
    is_batch: bool
    sent_ms: int | None = None


@dataclass(slots=True)
class Translated:
    """One event in the words of RTE. Empty texts are absent.

    Attributes:
        event_id: Identifies it; must be given, so that what is sent twice counts once.
        name: What happened.
        visitor_id: Whose device it was.
        time_ms: When, by the sender's clock, milliseconds since 1970; None: when it was received.
        sent_ms: When it was sent, by the same clock; None: as the parcel says.
        customer_id: Who it was.
        client_session_id: The sender's own session.
        channel: By which way it came.
        properties: What is known about it.
    """

    event_id: str
    name: str
    visitor_id: str
    time_ms: int | None = None
    sent_ms: int | None = None
    customer_id: str = ""
    client_session_id: str = ""
    channel: str = ""
    properties: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer over HTTP.

    Attributes:
        status: Of HTTP.
        body: Its bytes.
        content_type: Of the body.
        headers: Beside it, names in lower case.
    """

    status: int
    body: bytes
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()


class Collector(Protocol):
    """One protocol. Holds no state beside its tables."""

    name: str
    """As the quarantine calls it."""

    def take_apart(self, request: Request) -> Parcel:
        """Return the events of a request, untranslated.

        Raises:
            Problem: The request as a whole cannot be used.
        """
        ...

    def translate(self, raw: Raw) -> Sequence[Translated]:
        """Return an event in the words of RTE: usually one, several where RTE has one for each part.

        Raises:
            Problem: It cannot be used.
        """
        ...

    def accepted(self, request: Request) -> Reply:
        """Return the answer to a request whose events were taken."""
        ...

    def status_of(self, problem: Problem) -> int:
        """Return the status of HTTP that makes this protocol's SDKs do what fits a refusal for good."""
        ...
