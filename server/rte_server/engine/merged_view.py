"""The sessions of a customer as one: their cells merged when somebody asks, in copies that nothing else sees.

Every attribute is a commutative monoid, so the merge shows what one session would that had received all their events.
It changes nothing, so that a link that is taken back leaves no trace.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from rte_server.engine.context import row_cells
from rte_server.engine.customer_rows import customer_rows
from rte_server.engine.customer_values import CustomerInputs
from rte_server.engine.encode import F_CUSTOMER_ID, F_ETAG, F_SESSION_ID, F_VISITOR_ID
from rte_server.engine.fold import new_scratch, refresh_rows
from rte_server.engine.kernel import kernel
from rte_server.engine.masks import Mask
from rte_server.engine.native import span_of, text_id, word_at
from rte_server.engine.reader import Reader, State
from rte_server.engine.row_copy import RowCopy
from rte_server.engine.scores import new_scores
from rte_server.engine.sessions import merge_values
from rte_server.engine.settings import EngineSettings
from rte_server.engine.strings import USED
from rte_server.engine.table import (
    ACTIVE,
    CLOCK,
    CUSTOMER,
    CUSTOMER_TIME,
    HIGH_WATER,
    LAST,
    STALE,
    STATE,
    VERSION,
    VISIT,
    WRITTEN,
    WRITTEN_ITEM_WORDS,
    Capacity,
    new_table,
    written_block,
)
from rte_server.engine.written import write_item

MERGED_SESSIONS_MAX = 64
"""Sessions that are merged, those with the latest events."""

COPY_TRIES = 10

_OWN_FIELDS = 1 << F_SESSION_ID | 1 << F_VISITOR_ID | 1 << F_CUSTOMER_ID | 1 << F_ETAG
"""Fields of rte.v1.Session that several sessions together do not have, or that stand before them."""


def merged_view(
    engine: Reader, secret: NDArray[np.uint64], customer_id: str, mask: Mask, now_ms: int
) -> tuple[bytes, list[str]] | None:
    """Return the sessions of a customer as one, and the ids of those that went into it; None if it has none. Any thread.

    Args:
        engine: Has them.
        secret: uint64[4], the deployment secret.
        customer_id: Whose.
        mask: What is wanted. The ids of session, visitor and customer and the etag are left out.
        now_ms: The time by the server's clock, milliseconds since 1970.
    """
    copies: dict[str, RowCopy] = {}
    for _ in range(COPY_TRIES):
        found = {each: engine.copied(engine.find_session, each) for each in _chosen(engine, customer_id, secret)}
        copies = {session_id: copied for session_id, copied in found.items() if copied is not None}
        states = {session_id: (id(copied.program), id(copied.pool.arena)) for session_id, copied in copies.items()}
        if len(set(states.values())) <= 1:
            break
        # Models changed in between, or strings were swept: the words of some mean something else. At last, those are left out.
        newest = list(states.values())[-1]
        copies = {session_id: copied for session_id, copied in copies.items() if states[session_id] == newest}
    if not copies:
        return None
    view = _Merged(secret, list(copies.values()), text_id(customer_id.encode(), secret), now_ms)
    return view.shown(mask, now_ms), list(copies)


def _chosen(engine: Reader, customer_id: str, secret: NDArray[np.uint64]) -> list[str]:
    """Return the ids of the sessions of a customer that are merged, the one with the latest event first."""
    rows = customer_rows(engine, customer_id, secret)
    cells = engine.score_view().table.rows
    rows = rows[np.argsort(-cells[rows, LAST], kind="stable")]
    active = rows[cells[rows, STATE] == ACTIVE][:MERGED_SESSIONS_MAX]
    return [engine.session_id(row) for row in (active if active.size else rows[:1]).tolist()]


class _Merged(Reader):
    """Copies of sessions, with the strings and the program of the engine that has them."""

    def __init__(self, secret: NDArray[np.uint64], copies: Sequence[RowCopy], customer: int, now_ms: int) -> None:
        count = len(copies)
        self._secret, self._buffers = secret, deque()
        program, pool = copies[0].program, copies[0].pool
        capacity = replace(_CAPACITY, sessions_max=count, written_sessions_max=count)
        table = new_table(capacity, program.row_words)._replace(online=copies[0].online)
        said = CustomerInputs.of(program).words
        for row, copied in enumerate(copies):
            cells = table.rows[row]
            cells[:] = copied.cells
            if cells[CUSTOMER_TIME] == 0 or cells[CUSTOMER] != customer:
                # What is said of somebody else, whom a linked visitor's events name, is not said of the customer.
                cells[(said[:, np.newaxis] + np.arange(3)).ravel()] = 0
            cells[WRITTEN] = row
            table.written[row] = copied.written
        head = table.rows[0]
        head[[VERSION, STATE, CUSTOMER_TIME, CUSTOMER]] = 0, copies[0].cells[STATE], 1, customer
        head[VISIT], head[STALE] = table.rows[:, VISIT].max(), 1
        table.counts[[HIGH_WATER, CLOCK]] = 1, now_ms
        self._scratch = new_scratch(len(program.arrays.slots), len(program.arrays.loads))
        counts = pool.counts.copy()
        counts[USED] = len(pool.slots)
        self._settings = EngineSettings().words()
        scores = new_scores(1, len(program.scores))
        self._state = State.of(
            table, pool._replace(counts=counts), program, scores, self._scratch, self._settings, secret
        )
        merge_copies(self._state.context, count)

    def shown(self, mask: Mask, now_ms: int) -> bytes:
        """Return the merged session, serialized."""
        refresh_rows(self._state.context)
        wanted = replace(Mask.of(mask.paths, self.program, self._secret), fields=mask.fields & ~_OWN_FIELDS)
        return self.encode([0], wanted, None, now_ms)[0]


_CAPACITY = Capacity(dedup_events_max=16, strings_max=16, string_bytes_max=1024, facts_max=16)


@kernel
def merge_copies(context, count):  # type: ignore[no-untyped-def]
    """Merge the first `count` rows, of which nothing else knows, into the first. Called from Python."""
    ctx = span_of(context)
    into = row_cells(ctx, 0)
    for row in range(1, count):
        merge_values(ctx, into, row_cells(ctx, row))
        block = written_block(ctx, row)
        for at in range(0, block[1], WRITTEN_ITEM_WORDS):
            if word_at(block, at) != 0:
                write_item(written_block(ctx, 0), word_at(block, at), word_at(block, at + 1), word_at(block, at + 3))
