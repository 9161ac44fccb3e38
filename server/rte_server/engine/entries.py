"""The entries of the journal: the only input of the fold."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class EntryType(IntEnum):
    """Says what the body of an entry holds. The numbers are stored in journals: never reuse one."""

    EVENTS = 1
    """Wire bytes of an `IngestEventsRequest` out of which the refused events have been cut."""
    UPDATE = 2
    """Wire bytes of an `UpdateSessionRequest`."""
    END = 3
    """Wire bytes of an `EndSessionRequest`."""
    TICK = 4
    """Empty. Only moves the engine's clock to `received_ms`, so that sessions close and leave."""
    CONFIGURE = 5
    """UTF-8 JSON `{"settings": {...}, "models": {name: yaml source}, "files": {"model/file": text}}`. The first entry of
    every journal, and again whenever the configuration, a model or one of its files changes. With `"refold_from": position`
    its models have been folded from the state at that position on, see `Engine.adopt`; who, why and the like are in members
    that the fold passes over. `"facts"` are those that its models need about history, as in FACTS."""
    FACTS = 6
    """UTF-8 JSON `{"facts": {function: {text: value}}}`: what functions outside of the fold said of texts, see
    `engine.facts`. It stands before the events that need it."""
    ROLL_BACK = 7
    """UTF-8 JSON `{"score": name, "version": number}`: puts back earlier weights of an online score."""
    ERASE = 10
    """UTF-8 JSON, see `engine.erasure.Erasure`: erases a person. It begins the erasure, or ends it when nothing of the person
    is left. Then the bodies of those that began it name nobody any more, as those of entries before them do not."""
    CUSTOMER = 8
    """UTF-8 JSON `{"customers": {customer id: {attribute: {"value": plain value, ...}}}}`: what a data mart said of customers,
    of the attributes that models read. One that is not there has no value. See `engine.customer_values`."""
    LINK = 9
    """UTF-8 JSON `{"customer_id", "visitor_id", "is_linked", "why", "author"}`: a visitor is linked to a customer, or no more. See
    `engine.links`."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One change, as the journal stores it and the fold applies it."""

    type: EntryType
    received_ms: int
    """When the server received the change, milliseconds since 1970 by the server's clock, >= 0."""
    body: bytes
    """What changes; the form depends on `type`."""
