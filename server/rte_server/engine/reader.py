"""What is asked of the state of a shard, by any number of threads beside the one that folds.

A reader takes the state as it finds it. The arrays stay where they are while the writer changes rows, whose versions tell
what is whole; when models change or strings are swept, the state is replaced, and the reader looks once more.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rte_server.engine.context import new_context
from rte_server.engine.encode import TOO_SMALL, ReadBuffers, encode_session, new_read_buffers
from rte_server.engine.expiry import due_rows
from rte_server.engine.expressions import Code
from rte_server.engine.fact_scan import unknown_facts
from rte_server.engine.ids import parse_session_id, session_id_text
from rte_server.engine.links import Link, Links
from rte_server.engine.lookups import has_alias, look_up
from rte_server.engine.masks import Mask
from rte_server.engine.native import siphash24_128, text_id
from rte_server.engine.program import AttributeSpec, Kind, Program
from rte_server.engine.query import Filter, Matches, Narrow, make_filter, select_rows
from rte_server.engine.row_copy import RowCopy
from rte_server.engine.rows import read_customer
from rte_server.engine.score_view import ScoreView
from rte_server.engine.strings import StringPool, text_of
from rte_server.engine.table import (
    CHANGED,
    CLOCK,
    COUNT_NAMES,
    FIRST_POSITION,
    FREE,
    HIGH_WATER,
    LAST,
    NEVER_MS,
    SESSION_HI,
    SESSION_LO,
    STATE,
    VISITORS,
    Table,
    alias_key,
    read_visitor,
)
from rte_server.engine.table import (
    RETRY_READ as TABLE_RETRY_READ,
)
from rte_server.engine.wire import ScannedRequest

NO_ROW = -1
"""What a look-up gives when there is no session."""

RETRY_READ = int(TABLE_RETRY_READ)

GET_TRIES = 20
"""Looks for one session before it counts as not found, each of which found that its row had changed hands."""

CUSTOMER_TRIES = 100
"""Walks over a customer's sessions before one is taken during which another session came or went."""

IDLE_TICK_MS = 60_000
"""At least this often the clock moves, as long as there are visitors to forget."""


@dataclass(frozen=True, slots=True)
class State:
    """What readers need at once; replaced as a whole when models change or strings are swept.

    It holds all arrays whose addresses stand in its context.
    """

    table: Table
    pool: StringPool
    program: Program
    scores: NDArray[np.int64]
    context: NDArray[np.int64]
    beside: tuple[NDArray[Any], ...] = field(repr=False)
    """What else the context leads to: a reader may still have it when the writer has other working memory."""

    @staticmethod
    def of(
        table: Table,
        pool: StringPool,
        program: Program,
        scores: NDArray[np.int64],
        scratch: Sequence[NDArray[Any]],
        settings: NDArray[np.int64],
        secret: NDArray[np.uint64],
    ) -> State:
        """Return the state of some arrays, with the context by which kernels reach them.

        Args:
            table: The rows and what stands beside them.
            pool: Their strings.
            program: What gives the words of a row their meaning.
            scores: int64[rows, scores, SCORE_WORDS].
            scratch: Working memory of the writer, a `fold.Scratch`.
            settings: int64[S_WORDS], from `EngineSettings.words`.
            secret: uint64[4], the deployment secret.
        """
        arrays: list[NDArray[Any]] = [*table, *pool, *program.arrays, *scratch, settings, secret, scores]
        # Rows may also lie in one piece, with all their annexes.
        context = new_context(dict(enumerate(arrays)), table.rows.shape[1], program.row_words)
        return State(table, pool, program, scores, context, (*scratch, settings, secret))


class Reader:
    """The questions that a shard answers; `Engine` says how its state comes about."""

    _secret: NDArray[np.uint64]
    _state: State
    _position: int
    _written_names: dict[str, int]
    _names_version: int
    _everything: Mask
    _buffers: deque[ReadBuffers]
    _links: Links

    @property
    def position(self) -> int:
        """Position of the last entry that was applied; 0 before the first."""
        return self._position

    @property
    def program(self) -> Program:
        """What the running models do."""
        return self._state.program

    @property
    def filter_attributes(self) -> tuple[AttributeSpec, ...]:
        """What filters and orders can name: the attributes of the models, and those that applications have written."""
        written = (AttributeSpec(name, "", Kind.WRITTEN, "any") for name in self._written_names)
        return (*self._state.program.attributes, *written)

    @property
    def names_version(self) -> int:
        """A number that changes whenever `filter_attributes` does."""
        return self._names_version

    def unknown_facts(self, scanned: ScannedRequest) -> list[tuple[str, str]]:
        """Return (function, text), each once, of the facts that the events of a request need and the state lacks.

        What is found about them must be appended as a FACTS entry before the request. Any thread; the GIL is released.
        """
        return unknown_facts(self._state.context, self._state.program.fact_functions, scanned.buf, scanned.records)

    def due_count(self, now_ms: int) -> int:
        """Return how many things are due at `now_ms`; if any, append a TICK. Any thread; about 1 ms per million rows."""
        return int(due_rows(self._state.context, now_ms)) + int(now_ms >= self.idle_due_ms())

    @property
    def clock_ms(self) -> int:
        """The latest received time of an entry, milliseconds since 1970. Any thread."""
        return int(self._state.table.counts[CLOCK])

    def idle_due_ms(self) -> int:
        """Return when the clock is to move though nothing is due for any session, or NEVER_MS. Any thread."""
        counts = self._state.table.counts
        return int(counts[CLOCK]) + IDLE_TICK_MS if counts[VISITORS] > 0 else int(NEVER_MS)

    def due_times(self) -> NDArray[np.int64]:
        """Return int64[rows]: when something is due for a row in use, by the clock; not a copy.

        Only between two calls of `apply`, by who calls it.
        """
        return self._state.table.due

    def find_session(self, session_id: str) -> int:
        """Return the row of the session with this id, or of the one that it was merged into, or -1. Any thread."""
        try:
            low, high = parse_session_id(session_id)
        except ValueError:
            return NO_ROW
        while True:
            state = self._state
            row = look_up(state.context, low)
            if row == NO_ROW:
                return NO_ROW
            cells = state.table.rows[row]
            if (cells[SESSION_LO] == low and cells[SESSION_HI] == high) or has_alias(state.table, row, low, high):
                return row
            # Else a merge may have been under way, or the rows have been moved.
            if row == look_up(self._state.context, low) and state is self._state:
                return row if has_alias(state.table, row, low, high) else NO_ROW

    def find_alias(self, client_session_id: str) -> int:
        """Return the row of the latest session that a client calls by this id, or -1. Any thread."""
        text = text_id(client_session_id.encode(), self._secret)
        while True:
            state = self._state
            row = look_up(state.context, int(alias_key(text)))
            found = row if row != NO_ROW and has_alias(state.table, row, text, 0) else NO_ROW
            # The rows of a state that was replaced meanwhile stand still and say nothing about the present ones.
            if state is self._state:
                return found

    def find_customer(self, customer_id: str) -> int:
        """Return the row of the customer's session with the latest event, or -1; also of linked visitors. Any thread."""
        found = self._find_naming(customer_id)
        for link in self._links.of(customer_id):
            row, rows = self.find_visitor(link.visitor_id), self._state.table.rows
            if row != NO_ROW and (found == NO_ROW or rows[row, LAST] > rows[found, LAST]):
                found = row
        return found

    def links_of(self, customer_id: str) -> tuple[Link, ...]:
        """Return the visitors that are linked to a customer. Any thread."""
        return self._links.of(customer_id)

    def _find_naming(self, customer_id: str) -> int:
        """Return the row of the session with the latest event among those whose events name the customer, or -1."""
        text = text_id(customer_id.encode(), self._secret)
        row, tries = RETRY_READ, 0
        while row == RETRY_READ:
            tries += 1
            state = self._state
            row = int(read_customer(state.context, text, tries >= CUSTOMER_TRIES))
            row = row if state is self._state else RETRY_READ
        return row

    def find_visitor(self, visitor_id: str) -> int:
        """Return the row of the visitor's newest session, or -1. Any thread."""
        encoded = np.frombuffer(visitor_id.encode(), np.uint8)
        low, high = siphash24_128(encoded, 0, len(encoded), self._secret[0], self._secret[1])
        row = RETRY_READ
        while row == RETRY_READ:
            row = int(read_visitor(self._state.context, low, high))
        return row

    def get(self, find: Callable[[str], int], key: str, mask: Mask | None = None, now_ms: int = 0) -> bytes:
        """Return the serialized `rte.v1.Session` that an id leads to, or nothing. Any thread.

        A row found may be another session's a moment later. So the session in it is noted, the id is asked once more,
        and only that session is taken from the row: an id that a session had is never given again.

        Args:
            find: One of `find_session`, `find_alias`, `find_customer`, `find_visitor`.
            key: The id.
            mask: What is wanted; None: everything.
            now_ms: The time by the server's clock, for values that change with it; at least that of the newest entry.
        """
        for _ in range(GET_TRIES):
            row = find(key)
            if row == NO_ROW:
                break
            cells = self._state.table.rows[row]
            session_id = np.array([[cells[SESSION_LO], cells[SESSION_HI]]], np.int64)
            if find(key) == row and (body := self.encode([row], mask, session_id, now_ms)[0]):
                return body
        return b""

    def copied(self, find: Callable[[str], int], key: str) -> RowCopy | None:
        """Return a copy of the session that an id leads to, or None. Any thread. Arguments as for `get`."""
        for _ in range(GET_TRIES):
            state, position = self._state, self._position
            row = find(key)
            if row == NO_ROW:
                break
            buffers = new_read_buffers(state.context)
            # Nothing of it is encoded: what is wanted is the copy of the row that is made on the way.
            nothing = 0, np.zeros(len(state.program.attributes), np.uint8), False, np.zeros(0, np.int64)
            size = -1
            # A request with many events of one visitor may keep the row for longer than a kernel waits.
            while size == -1 and state is self._state:
                size = encode_session(state.context, 0, row, 0, 0, *nothing, *buffers)
            if size >= 0 and buffers.cells[STATE] != FREE and find(key) == row and state is self._state:
                return RowCopy(buffers.cells, buffers.written, state.program, state.pool, position, state.table.online)
        return None

    def mask(self, paths: Sequence[str]) -> Mask:
        """Return what a read mask chooses.

        Args:
            paths: Paths of rte.v1.Session, `attributes.NAME` for one attribute; empty: everything.

        Raises:
            EngineError: INVALID_EXPRESSION for a path that there is not.
        """
        return Mask.of(paths, self._state.program, self._secret)

    def encode(
        self,
        rows: Sequence[int] | NDArray[np.int64],
        mask: Mask | None = None,
        session_ids: NDArray[np.int64] | None = None,
        now_ms: int = 0,
    ) -> list[bytes]:
        """Return serialized `rte.v1.Session` messages, one per row; empty if the row is no session's. Any thread.

        Each is the state of the session at one moment.

        Args:
            rows: Rows, also -1.
            mask: What is wanted; None: everything.
            session_ids: int64[n, 2], as in `Matches`: empty also where the row is another session's by now.
            now_ms: As in `get`.
        """
        buffers = self._buffers.pop() if self._buffers else None
        encoded = []
        for place, row in enumerate(rows):
            low, high = (0, 0) if session_ids is None else session_ids[place]
            size = -1
            state = None
            # Once more where models changed or strings were swept meanwhile: the row may refer to what is new.
            while size < 0 or state is not self._state:
                state = self._state
                mask = self._everything if mask is None else mask
                if mask.program is not state.program:
                    mask = Mask.of(mask.paths, state.program, self._secret)
                if buffers is None or size == TOO_SMALL or len(buffers.cells) != state.program.row_words:
                    buffers = new_read_buffers(state.context)
                size = encode_session(
                    state.context,
                    max(now_ms, int(state.table.counts[CLOCK])),
                    row,
                    low,
                    high,
                    mask.fields,
                    mask.chosen,
                    mask.all_written,
                    mask.written_ids,
                    *buffers,
                )
            assert buffers is not None
            encoded.append(buffers.out[:size].tobytes())
        if buffers is not None:
            self._buffers.append(buffers)
        return encoded

    def filter(self, code: Code, states: int) -> Filter:
        """Return an expression on rows, ready for `select` and `match`.

        Args:
            code: From `models.compile_filter`; () matches every session.
            states: `query.STATES_ACTIVE`, STATES_CLOSED or STATES_ANY.

        Raises:
            EngineError: INVALID_EXPRESSION if it reads an attribute that there is not.
        """
        return make_filter(code, states, self._state.program, self._written_names, self._secret)

    def select(self, wanted: Filter, order_by: str = "", now_ms: int = 0, narrow: Narrow | None = None) -> Matches:
        """Return the sessions that match, in no order, with what to sort them by. Any thread.

        Args:
            wanted: From `filter`.
            order_by: Name of an attribute or field; empty: no matter.
            now_ms: As in `get`.
            narrow: What is wanted of them; None: all.

        Raises:
            EngineError: INVALID_EXPRESSION if there is no attribute or field `order_by`.
        """
        room = int(self._state.table.counts[HIGH_WATER])
        return self._matches(wanted, order_by, np.zeros(0, np.int64), room, now_ms, narrow)

    def match(self, wanted: Filter, rows: NDArray[np.int64], now_ms: int = 0, order_by: str = "") -> Matches:
        """Return those of the given rows that match; the others as in `select`. Any thread."""
        if len(rows) == 0:
            return Matches(rows, np.zeros((0, 2), np.int64), np.zeros(0), rows, 0)
        return self._matches(wanted, order_by, rows, len(rows), now_ms)

    def _matches(
        self,
        wanted: Filter,
        order_by: str,
        candidates: NDArray[np.int64],
        room: int,
        now_ms: int,
        narrow: Narrow | None = None,
    ) -> Matches:
        while True:
            state = self._state
            if wanted.program is not state.program:
                wanted = make_filter(wanted.code, wanted.states, state.program, self._written_names, self._secret)
            clock_ms = max(now_ms, int(state.table.counts[CLOCK]))
            found = select_rows(state.context, wanted, order_by, candidates, room, clock_ms, narrow)
            # Once more where models changed or strings were swept meanwhile: rows may refer to what is new.
            if state is self._state:
                return found

    def score_view(self) -> ScoreView:
        """Return what runners read and write, as it is until models change. Any thread."""
        state = self._state
        return ScoreView(state.program, state.context, state.table, state.scores, state.pool)

    def text(self, string_id: int) -> str:
        """Return the text of a string id, or an empty one if the pool does not hold it."""
        return (text_of(self._state.pool, string_id) or b"").decode()

    def session_id(self, row: int) -> str:
        """Return the session id of a row."""
        cells = self._state.table.rows[row]
        return session_id_text(int(cells[SESSION_LO]), int(cells[SESSION_HI]))

    def rows_in_use(self) -> NDArray[np.int64]:
        """Return the rows that hold sessions. Any thread."""
        return self.score_view().rows_in_use()

    def oldest_position(self) -> int:
        """Return the position of the first entry that any session there is began with, or that of the next one."""
        table = self._state.table
        rows = table.rows[: table.counts[HIGH_WATER]]
        return int(np.min(rows[:, FIRST_POSITION], where=rows[:, STATE] != FREE, initial=self._position + 1))

    def changed_since(self, position: int) -> NDArray[np.int64]:
        """Return the rows of sessions that an entry after `position` changed. Any thread."""
        rows = self._state.table.rows[: self._state.table.counts[HIGH_WATER]]
        return np.flatnonzero((rows[:, CHANGED] > position) & (rows[:, STATE] != FREE))

    def stats(self) -> dict[str, int]:
        """Return counters and gauges by name. Any thread."""
        counts = self._state.table.counts
        found = {name: int(counts[word]) for name, word in COUNT_NAMES.items()}
        pool = self._state.pool
        return found | {"position": self._position, "strings": int(pool.counts[0]), "string_bytes": int(pool.counts[1])}
