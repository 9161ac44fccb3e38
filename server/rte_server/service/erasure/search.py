"""Finds a person in the state and in the journal, before the erasure begins: nothing is changed here."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from typing import Any

import numpy as np

from rte_server.engine.configurations import FACTS
from rte_server.engine.engine import Engine
from rte_server.engine.entries import Entry, EntryType
from rte_server.engine.erasure import Erasure
from rte_server.engine.facts import read_facts
from rte_server.engine.ids import session_id_text
from rte_server.engine.links import visitor_key
from rte_server.engine.native import text_id
from rte_server.engine.reasons import EngineError, Reason
from rte_server.engine.requests import write_hash
from rte_server.engine.table import (
    ALIAS_COUNT_MAX,
    ALIASES,
    CUSTOMER,
    CUSTOMER_TIME,
    FREE,
    KEY_HI,
    KEY_LO,
    SESSION_HI,
    SESSION_LO,
    STATE,
    VISITOR,
)
from rte_server.engine.wire_layout import EVENT_LEN, EVENT_OFF
from rte_server.journal.protocol import Journal
from rte_server.service.erasure.cuts import Cut, cut, session_of, write_of
from rte_server.service.erasure.person import Person

TAIL_ROUNDS_MAX = 10
"""How often the journal's tail is looked through for what came while the rest was; then what is left comes later."""

Facts = Collection[tuple[str, str]]


class PersonSearch:
    """Searches for one person. One thread."""

    def __init__(
        self, engine: Engine, journal: Journal, shard: int, person: Person, visitors_max: int | None = None
    ) -> None:
        """Make it.

        Args:
            engine: The state; its writer goes on.
            journal: The entries.
            shard: Which of its shards.
            person: Whom; what is found is added.
            visitors_max: More visitors than that are refused. None: all are taken.
        """
        self._visitors_max = visitors_max
        self._engine = engine
        self._journal = journal
        self._shard = shard
        self.person = person
        self.seen = 0
        """Up to which position the journal has been looked through."""
        self.latest = 0
        """The last position at which something of the person stands."""
        self.receipts: dict[str, dict[str, Any]] = {}
        """Members of the receipts in the journal, whomever they are about, by erasure."""
        self.session_count = 0
        """Sessions of the person that are there."""
        self.written: set[str] = set()
        """Those of the person's sessions that entries of the journal write to."""

    def run(self) -> None:
        """Look through what was appended since the last time, or through everything if the person has more visitors now.

        Raises:
            EngineError: OUT_OF_RANGE: the person has more than `visitors_max` visitors.
        """
        person = self.person
        for _ in range(TAIL_ROUNDS_MAX):
            last = self._journal.last_position(self._shard)
            if last == self.seen:
                break
            keys = len(person.keys)
            self._find_visitors(last)
            if self._visitors_max is not None and len(person.keys) > self._visitors_max:
                message = "the customer has more visitors than can be erased together; nothing was erased, erase visitors first"
                limit, value = f"{self._visitors_max} visitors", str(len(person.keys))
                raise EngineError(Reason.OUT_OF_RANGE, message, field="customer_id", value=value, limit=limit)
            if len(person.keys) > keys:
                person.forget_collected()
                self.seen = 0
            self._collect(last)
            self.seen = last
        self._find_sessions()

    def live_sessions(self) -> int:
        """Return how many sessions of the person are there, as far as the state itself tells."""
        self._find_visitors(0)
        self._find_sessions()
        return self.session_count

    def id_hashes(self) -> list[int]:
        """Return the keyed hashes of the person's event and request ids that may be remembered still, ascending."""
        horizon_ms = max(self.person.id_hashes.values(), default=0) - self._engine.settings.dedup_horizon_ms
        return sorted(each for each, clock_ms in self.person.id_hashes.items() if clock_ms >= horizon_ms)

    def facts(self, since: int) -> Facts:
        """Return (function, text) of the facts about texts that only the person sent, as far as the journal goes back.

        Args:
            since: Models that were configured after this position may have read texts before it that have been cut out
                meanwhile: what they say about a text that nobody sends is taken for the person's.
        """
        texts, asked = self.person.texts, dict[tuple[str, str], int]()
        for position, entry in self._entries(1, self.seen):
            is_late = entry.type is EntryType.CONFIGURE and position > since
            if entry.type in (EntryType.FACTS, EntryType.CONFIGURE) and FACTS.encode() in entry.body:
                said = read_facts(json.loads(entry.body))
                asked.update(((name, text), position) for name, text, _ in said if is_late or text in texts)
        found = self.unshared(asked, self.seen)
        self.latest = max([self.latest, *(asked[each] for each in found)])
        return found

    def unshared(self, facts: Facts, last: int) -> Facts:
        """Return those of some facts whose texts nobody else has sent, up to an entry.

        Only what a request was scanned for can be told apart, so texts within others' texts count as theirs.
        """
        left = {text: text.encode() for _, text in facts}
        for _, entry in self._entries(1, last):
            if not left:
                break
            if entry.type is EntryType.EVENTS and any(each in entry.body for each in left.values()):
                body = self._without_person(entry)
                left = {text: each for text, each in left.items() if each not in body}
        return {(function, text) for function, text in facts if text in left}

    def said_after(self, position: int) -> bool:
        """Return whether models were configured after an entry that hold facts about texts."""
        return any(
            entry.type is EntryType.CONFIGURE and bool(json.loads(entry.body).get(FACTS))
            for _, entry in self._entries(position + 1, self._journal.last_position(self._shard))
        )

    def _without_person(self, entry: Entry) -> bytes:
        scanned = self.person.scanned(entry.body, entry.received_ms)
        records = np.delete(scanned.records, self.person.places(scanned), axis=0).tolist()
        return b"\0".join(scanned.body[r[EVENT_OFF] : r[EVENT_OFF] + r[EVENT_LEN]] for r in records)

    def _find_visitors(self, last: int) -> None:
        """Add the visitors who name the customer, in the state and in entries up to `last`."""
        person = self.person
        if not person.customer_id:
            return
        table = self._engine.score_view().table
        rows = self._engine.rows_in_use()
        customer = text_id(person.customer_id.encode(), person.secret)
        # Whole rows only of the few that matter: a copy of the table takes long, and is large.
        for row in table.rows[rows[table.rows[rows, CUSTOMER] == customer]]:
            if row[CUSTOMER_TIME] == 0 or row[CUSTOMER] != customer:
                continue
            if visitor := self._engine.text(int(row[VISITOR])):
                person.visitor_ids.add(visitor)
                person.keys.add((int(row[KEY_LO]), int(row[KEY_HI])))
        for link in self._engine.links_of(person.customer_id):
            person.visitor_ids.add(link.visitor_id)
            person.keys.add(visitor_key(link.visitor_id, person.secret))
        named = person.customer_id.encode()
        for _, entry in self._entries(self.seen + 1, last):
            if entry.type is EntryType.EVENTS and named in entry.body:
                person.learn_visitors(person.scanned(entry.body, entry.received_ms))

    def _collect(self, last: int) -> None:
        """Take note of the person's events, and of writes to the person's sessions, after `_seen` up to `last`."""
        person = self.person
        now_ms = 0
        for position, entry in self._entries(1, last):
            now_ms = max(now_ms, entry.received_ms)
            if position <= self.seen or not entry.body:
                continue
            is_mine = False
            if entry.type in (EntryType.CUSTOMER, EntryType.LINK):
                is_mine = cut(entry, Cut(person)) != entry.body
                person.entry_count += is_mine
            elif entry.type is EntryType.EVENTS and person.may_be_in(entry.body):
                is_mine = person.collect(person.scanned(entry.body, entry.received_ms), now_ms)
            elif entry.type is EntryType.ERASE and b"receipt" in entry.body:
                erasure = Erasure.of_body(entry.body)
                if "receipt" in (erasure.members or {}):
                    self.receipts[erasure.erasure_id] = erasure.members["receipt"]
            if is_mine:
                self.latest = max(self.latest, position)
        self._find_sessions()
        for position, entry in self._entries(self.seen + 1, last):
            is_write = entry.type in (EntryType.UPDATE, EntryType.END) and entry.body
            session_id = session_of(entry) if is_write else None
            if session_id is not None and session_id in person.session_ids:
                self.written.add(session_id)
                person.write_count += 1
                self.latest = max(self.latest, position)
                if (write := write_of(entry)) is not None and write.request_id:
                    person.id_hashes[write_hash(write.request_id, person.secret)] = now_ms

    def _find_sessions(self) -> None:
        """Take note of the sessions that are there, with the ids of those that became part of them."""
        person = self.person
        table, rows = self._engine.score_view().table, self._engine.rows_in_use()
        lows = np.array([low for low, _ in person.keys], np.int64)
        self.session_count = 0
        for row in table.rows[rows[np.isin(table.rows[rows, KEY_LO], lows)]].tolist():
            if (row[KEY_LO], row[KEY_HI]) not in person.keys or row[STATE] == FREE:
                continue
            self.session_count += 1
            person.session_ids.add(session_id_text(row[SESSION_LO], row[SESSION_HI]))
            for at in range(ALIASES, ALIASES + 2 * ALIAS_COUNT_MAX, 2):
                if row[at + 1] != 0:
                    person.session_ids.add(session_id_text(row[at], row[at + 1]))

    def _entries(self, first: int, last: int) -> Iterator[tuple[int, Entry]]:
        return entries(self._journal, self._shard, first, last)


def entries(journal: Journal, shard: int, first: int, last: int) -> Iterator[tuple[int, Entry]]:
    """Yield the entries in [first, last] that there are."""
    first = max(first, journal.first_position(shard), 1)
    if first <= last:
        for position, entry in journal.read(shard, first):
            if position > last:
                return
            yield position, entry
