"""One session taken apart: what each of its events gives alone, and what all the others give without it.

Every attribute is a commutative monoid, so the session without one event is the merge of what comes before that event
and what comes after it. With the merges of all beginnings and all ends, leaving out each of n events in turn costs 3 n
merges instead of n (n - 1) lifts; and what it shows is what a fold without that event gives, by the laws that the tests
hold every kind to.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rte_server.engine.context import row_cells
from rte_server.engine.engine import Engine
from rte_server.engine.entries import Entry, EntryType
from rte_server.engine.fact_scan import unknown_facts
from rte_server.engine.facts import store_facts
from rte_server.engine.fold import fold_events
from rte_server.engine.kernel import kernel
from rte_server.engine.native import span_of
from rte_server.engine.program import ModelSpec, Program
from rte_server.engine.row_values import merge_cells
from rte_server.engine.session_events import SessionEvents
from rte_server.engine.settings import EngineSettings
from rte_server.engine.table import (
    ACTIVE,
    CUSTOMER_TIME,
    HEADER_WORDS,
    HIGH_WATER,
    NONE,
    STATE,
    VERSION,
    WRITTEN,
    Capacity,
)
from rte_server.engine.wire_layout import ALIAS_LEN, CUSTOMER_LEN, EVENT_ID_HASH, KEY_HI, KEY_LO

STRINGS_MIN = 4_096
STRINGS_PER_EVENT = 64
"""Room for the strings of an event: those of its properties that a model reads, and what is cut out of them."""

SPARE_ROWS = 3
"""Rows beside two per event: that of all events, and two for work."""

_SETTINGS = EngineSettings(max_length_ms=0, lateness_ms=1 << 60, closed_max=1 << 40)


class SessionParts(Engine):
    """An engine that holds one session in parts: one row per event, and per event one row of all others."""

    def __init__(
        self,
        secret: NDArray[np.uint64],
        models: Sequence[ModelSpec],
        events: SessionEvents,
        header: NDArray[np.int64],
        facts_of: Callable[[list[tuple[str, str]]], Any] = lambda _: None,
    ) -> None:
        """Take a session apart.

        Args:
            secret: uint64[4], the deployment secret.
            models: What is computed; derived attributes have no meaning here.
            events: The events that count, each once.
            header: int64[HEADER_WORDS], the header of the session's row: for values that follow from the time.
            facts_of: Gives the facts that the models need, see `Engine.unknown_facts` and `facts.read_facts`.
        """
        self.count = len(events)
        content_bytes = len(events.buf)
        super().__init__(
            secret,
            lambda *_: models,
            Capacity(
                sessions_max=2 * self.count + SPARE_ROWS,
                dedup_events_max=16,
                strings_max=STRINGS_MIN + STRINGS_PER_EVENT * self.count,
                string_bytes_max=(1 << 16) + 4 * content_bytes,
                written_sessions_max=1,
            ),
        )
        configuration = {"settings": asdict(_SETTINGS), "models": {}}
        self.apply(1, Entry(EntryType.CONFIGURE, 0, json.dumps(configuration).encode()))
        context = self._state.context
        unknown = unknown_facts(context, self.program.fact_functions, events.buf, events.records)
        store_facts(context, facts_of(unknown), secret, self._capacity.facts_max)
        self._lift_each(events)
        self._leave_out_each(header)

    @staticmethod
    def _row_words(program: Program) -> int:
        """Return the words of a row in one piece: rows are copied and cleared as a whole here."""
        return program.row_words

    @property
    def whole(self) -> int:
        """The row of all events together."""
        return 2 * self.count

    def without(self, place: int) -> int:
        """Return the row of all events but the one at `place`; the row `place` itself is that event alone."""
        return self.count + place

    def needed(self, certain: Sequence[int], doubtful: Sequence[int], is_whole: Callable[[int], bool]) -> list[int]:
        """Return those of the doubtful events that cannot all be left out. Overwrites the rows of `without`.

        They are left out one after the other, as long as the value stays what it is: those that remain give it.

        Args:
            certain: Places of events that stay.
            doubtful: Places of events of which each alone can be left out; the first are left out first.
            is_whole: Says whether a row shows the value of all events together.
        """
        rows = self._state.table.rows
        ends = [self.count + number for number in range(len(doubtful))]
        kept, trial = self.whole + 1, self.whole + 2
        self._clear(kept)
        for place in certain:
            self._merge(kept, place)
        if is_whole(kept):
            return []
        for number in range(len(doubtful) - 1, 0, -1):
            self._clear(ends[number - 1])
            if number < len(doubtful) - 1:
                self._merge(ends[number - 1], ends[number])
            self._merge(ends[number - 1], doubtful[number])
        found = []
        for number, place in enumerate(doubtful):
            rows[trial] = rows[kept]
            if number < len(doubtful) - 1:
                self._merge(trial, ends[number])
            if not is_whole(trial):
                self._merge(kept, place)
                found.append(place)
        return found

    def _clear(self, row: int) -> None:
        self._state.table.rows[row, HEADER_WORDS:] = 0

    def _merge(self, into: int, other: int) -> None:
        merge_rows(self._state.context, into, other)

    def _lift_each(self, events: SessionEvents) -> None:
        """Fold each event into a row of its own: as if each were another visitor's."""
        records = events.records.copy()
        records[:, KEY_LO] = np.arange(1, self.count + 1)
        records[:, KEY_HI] = 1
        # What leads to sessions or tells duplicates does not matter here.
        records[:, [EVENT_ID_HASH, CUSTOMER_LEN, ALIAS_LEN]] = 0
        bounds = [0, *(np.flatnonzero(np.diff(events.positions)) + 1).tolist(), self.count]
        for start, end in itertools.pairwise(bounds):
            if start < end:
                # The shard's clock does not go back where that of the host did.
                received_ms, outcomes = int(events.received_ms[:end].max()), np.zeros(end - start, np.uint8)
                context = self._state.context
                fold_events(context, events.buf, records[start:end], received_ms, start + 3, outcomes)

    def _leave_out_each(self, header: NDArray[np.int64]) -> None:
        """Merge the rows of the events so that there is one row per event of all others."""
        table = self._state.table
        total = self.whole + SPARE_ROWS
        common = header[:HEADER_WORDS].copy()
        common[[VERSION, STATE, CUSTOMER_TIME, WRITTEN]] = 0, ACTIVE, 0, NONE
        table.rows[:total, :HEADER_WORDS] = common
        table.counts[HIGH_WATER] = total
        ends = self.whole + 1
        for place in range(self.count):
            table.rows[self.without(place) + 1] = table.rows[self.without(place)]
            self._merge(self.without(place) + 1, place)
        for place in range(self.count - 1, -1, -1):
            self._merge(self.without(place), ends)
            self._merge(ends, place)


@kernel
def merge_rows(context, into, other):  # type: ignore[no-untyped-def]
    """Merge the cells of the row `other` into those of the row `into`; for calls from Python."""
    ctx = span_of(context)
    merge_cells(ctx, row_cells(ctx, into), row_cells(ctx, other))
