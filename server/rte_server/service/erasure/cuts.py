"""What stays of an entry of the journal when a person is cut out of it: one function per type of entry.

A new type of entry whose body can hold something of a person needs a line in `CUTS`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from rte_server.engine.configurations import FACTS
from rte_server.engine.customer_values import EMPTY_PLACES, places_of
from rte_server.engine.entries import Entry, EntryType
from rte_server.engine.reasons import EngineError
from rte_server.engine.requests import SessionWrite, read_end, read_update
from rte_server.engine.wire_layout import (
    DETAIL_OFF,
    EVENT_LEN,
    EVENT_OFF,
    REQUEST_ID_LEN,
    REQUEST_ID_OFF,
    VERDICT,
)
from rte_server.service.erasure.person import Person

ERASED_EVENT = b"\x12\x00"
"""An empty event: those behind it keep their places in the request, see `engine.scan`."""


@dataclass(frozen=True, slots=True)
class Cut:
    """What is cut out.

    Attributes:
        person: Whom.
        facts: (function, text), facts about texts that only the person sent.
        is_live: Says whether a session with an id is there now.
        is_whole: Whether the journal has all entries, so that every session of the person is known.
    """

    person: Person
    facts: Collection[tuple[str, str]] = ()
    is_live: Callable[[str], bool] = lambda _: True
    is_whole: bool = True


def cut(entry: Entry, order: Cut) -> bytes:
    """Return what stays of an entry's body; the body itself, if nothing of the person is in it."""
    if not entry.body:
        return entry.body
    return CUTS[entry.type](entry, order)


def _cut_events(entry: Entry, order: Cut) -> bytes:
    person = order.person
    if not person.may_be_in(entry.body):
        return entry.body
    scanned = person.scanned(entry.body, entry.received_ms)
    places = person.places(scanned)
    if len(places) == 0:
        return entry.body
    if len(places) == int((scanned.records[:, VERDICT] == 0).sum()):
        # A request of which nothing is left has no use for its request id either.
        return b""
    spans = [(r[DETAIL_OFF], r[EVENT_OFF] + r[EVENT_LEN], ERASED_EVENT) for r in scanned.records[places].tolist()]
    if person.is_named_by(scanned.request_id):
        start, length = int(scanned.envelope[REQUEST_ID_OFF]), int(scanned.envelope[REQUEST_ID_LEN])
        spans.append((start, start + length, _pseudonym(scanned.request_id, length, person)))
    parts, at = [], 0
    for start, end, instead in sorted(spans):
        parts += [scanned.body[at:start], instead]
        at = end
    return b"".join([*parts, scanned.body[at:]])


def _pseudonym(request_id: str, length: int, person: Person) -> bytes:
    """Return what stands for a request id: of the same length, and the same wherever the request was sent again."""
    digest = hashlib.blake2b(request_id.encode(), key=person.secret.tobytes(), digest_size=32).hexdigest()
    return (digest * (length // len(digest) + 1))[:length].encode()


def _cut_write(entry: Entry, order: Cut) -> bytes:
    session_id = session_of(entry)
    if session_id is None or session_id in order.person.session_ids:
        return b""
    # Of a trimmed journal nobody can say any more whose a session was that began before and has left. A write to it has no
    # effect on any state to come, but may be about the person. That such a session was ended stays: it says nothing.
    is_lost = not order.is_whole and entry.type is EntryType.UPDATE and not order.is_live(session_id)
    return b"" if is_lost else entry.body


def _cut_facts(entry: Entry, order: Cut) -> bytes:
    """Cut facts out of the JSON of a FACTS or CONFIGURE entry."""
    body = json.loads(entry.body)
    functions: Mapping[str, Mapping[str, Any]] = body.get(FACTS) or {}
    kept = {
        function: {text: value for text, value in facts.items() if (function, text) not in order.facts}
        for function, facts in functions.items()
    }
    return entry.body if kept == functions else _json({**body, FACTS: kept})


def _cut_customers(entry: Entry, order: Cut) -> bytes:
    body = json.loads(entry.body)
    places = {customer_id: place for place, customer_id in places_of(body)}
    erased = order.person.customer_id
    if erased not in places:
        return entry.body
    kept = {customer_id: values for customer_id, values in body["customers"].items() if customer_id != erased}
    empty = sorted((*body.get(EMPTY_PLACES, ()), places[erased]))
    return _json({**body, "customers": kept, EMPTY_PLACES: empty})


def _cut_link(entry: Entry, order: Cut) -> bytes:
    said, person = json.loads(entry.body), order.person
    is_named = person.customer_id != "" and said.get("customer_id") == person.customer_id
    return b"" if is_named or said.get("visitor_id") in person.visitor_ids else entry.body


def _cut_nothing(entry: Entry, _order: Cut) -> bytes:
    return entry.body


CUTS: Mapping[EntryType, Callable[[Entry, Cut], bytes]] = {
    EntryType.EVENTS: _cut_events,
    EntryType.UPDATE: _cut_write,
    EntryType.END: _cut_write,
    EntryType.TICK: _cut_nothing,
    EntryType.CONFIGURE: _cut_facts,
    EntryType.FACTS: _cut_facts,
    EntryType.ROLL_BACK: _cut_nothing,
    EntryType.CUSTOMER: _cut_customers,
    EntryType.LINK: _cut_link,
    # Those of the erasure itself are replaced when it is complete; earlier ones name nobody.
    EntryType.ERASE: _cut_nothing,
}


def write_of(entry: Entry) -> SessionWrite | None:
    """Return what an UPDATE or END entry says; None if nobody can read it, so that it had no effect."""
    try:
        return (read_update if entry.type is EntryType.UPDATE else read_end)(entry.body)
    except EngineError:
        return None


def session_of(entry: Entry) -> str | None:
    """Return the id of the session that an UPDATE or END entry is about, as ids are written; None as `write_of`."""
    write = write_of(entry)
    return None if write is None else write.session_id.lower()


def _json(body: Any) -> bytes:
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
