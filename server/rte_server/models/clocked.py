"""Entries folded as a running server folds them: each at its received time, and a TICK whenever something is due before it.

For tests of models and for comparisons over recorded events, where no server's clock runs: what follows from the time,
such as triggers, must happen between the events and not after all of them.
"""

from __future__ import annotations

import heapq

import numpy as np
from numpy.typing import NDArray

from rte_server.engine.engine import Engine
from rte_server.engine.entries import Entry, EntryType
from rte_server.engine.outcome import Outcome
from rte_server.engine.table import NEVER_MS
from rte_server.models.facts import facts_entry

_MOVES_ALL = frozenset({EntryType.CONFIGURE, EntryType.ERASE})
"""Entries after which something may be due at another time for rows that their outcome does not name."""


class ClockedFold:
    """An engine, and the times at which something is due in it. For one thread, which alone applies entries."""

    def __init__(self, engine: Engine) -> None:
        """Take an engine over.

        Args:
            engine: Whoever made it applies no more entries.
        """
        self._engine = engine
        # (when, row) of everything that is due, and of much that is so no more: a due time that moved leaves its old
        # place, which is noticed when it comes up. To look through all rows for each event would take longer than the fold.
        self._due: list[tuple[int, int]] = []
        self._ticked_ms = -1
        self._note(engine.rows_in_use())

    def events(self, received_ms: int, body: bytes) -> Outcome:
        """Let time pass until a request with accepted events is received, and fold it.

        Args:
            received_ms: When, milliseconds since 1970.
            body: Its wire bytes.
        """
        self.pass_until(received_ms)
        facts = facts_entry(self._engine, self._engine.scan(body, received_ms))
        if facts is not None:
            self._apply(facts)
        return self._apply(Entry(EntryType.EVENTS, received_ms, body))

    def entry(self, entry: Entry) -> Outcome:
        """Let time pass until an entry is received, and fold it."""
        self.pass_until(entry.received_ms)
        return self._apply(entry)

    def pass_until(self, until_ms: int) -> None:
        """Apply a TICK for all that is due until then.

        Args:
            until_ms: Milliseconds since 1970; what is due at that moment is included.
        """
        while True:
            due_ms = min(self._next_due_ms(), self._engine.idle_due_ms())
            # Where one TICK could not do all, the next one follows a millisecond later.
            due_ms = max(due_ms, self._engine.clock_ms, self._ticked_ms + 1)
            if due_ms > until_ms:
                return
            self._ticked_ms = due_ms
            self._apply(Entry(EntryType.TICK, due_ms, b""))

    def look(self, at_ms: int) -> None:
        """Let time pass until a moment, and compute all sessions anew for it, as if something were due for each.

        What changes all the time, a server computes anew every few seconds only; who looks at one moment wants it of then.

        Args:
            at_ms: Milliseconds since 1970, not before the last entry.
        """
        self.pass_until(at_ms)
        due_times, rows = self._engine.due_times(), self._engine.rows_in_use()
        due_times[rows] = np.minimum(due_times[rows], at_ms)
        self._apply(Entry(EntryType.TICK, at_ms, b""))

    def _next_due_ms(self) -> int:
        due_times = self._engine.due_times()
        while self._due and due_times[self._due[0][1]] != self._due[0][0]:
            heapq.heappop(self._due)
        return self._due[0][0] if self._due else int(NEVER_MS)

    def _apply(self, entry: Entry) -> Outcome:
        outcome = self._engine.apply(self._engine.position + 1, entry)
        if entry.type in _MOVES_ALL:
            self._due = []
            self._note(self._engine.rows_in_use())
        else:
            self._note(outcome.rows)
        return outcome

    def _note(self, rows: NDArray[np.int64]) -> None:
        due_times = self._engine.due_times()
        for row, due_ms in zip(rows.tolist(), due_times[rows].tolist(), strict=True):
            if due_ms < NEVER_MS:
                heapq.heappush(self._due, (due_ms, row))
