"""What runners see of the engine: the rows that their scores are computed from, and the cells that the scores go into."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rte_server.engine.program import Program
from rte_server.engine.score_inputs import CHANGING, GatheredRows, ScoreInputs, gather_rows
from rte_server.engine.scores import mark_waiting, put_scores, take_waiting
from rte_server.engine.strings import StringPool
from rte_server.engine.table import CLOCK, FREE, HIGH_WATER, STATE, Table


@dataclass(frozen=True, slots=True)
class ScoreView:
    """The engine as it is until models change; what is written through an older view is seen by nobody.

    Attributes:
        program: What the running models do. A runner compares it with the one that it was made for.
        context: int64[CONTEXT_WORDS], see `context`.
        table: The state.
        scores: int64[sessions_max, scores, SCORE_WORDS], the cells.
        pool: The strings. Held, as are the others, because the context has only their addresses.
    """

    program: Program
    context: NDArray[np.int64]
    table: Table
    scores: NDArray[np.int64]
    pool: StringPool

    @property
    def sessions_max(self) -> int:
        """How many sessions there can be."""
        return len(self.table.rows)

    def rows_in_use(self) -> NDArray[np.int64]:
        """Return the rows of all sessions. Any thread."""
        return np.flatnonzero(self.table.rows[: self.table.counts[HIGH_WATER], STATE] != FREE)

    def mark(self, rows: NDArray[np.int64], places: NDArray[np.int64], waiting: NDArray[np.int64], count: int) -> int:
        """Note that sessions changed, for one runner. The fold's thread, under the runner's lock.

        Args:
            rows: int64[n].
            places: int64[k], which of `program.scores` the runner computes.
            waiting: int64[sessions_max], the rows that wait for it.
            count: How many do.

        Returns:
            How many do now.
        """
        return int(mark_waiting(self.context, rows, places, self.scores.shape[1], waiting, count))

    def take(self, rows: NDArray[np.int64], places: NDArray[np.int64]) -> None:
        """Note that a runner is about to read rows. Any thread, under the same lock."""
        take_waiting(self.context, rows, places, self.scores.shape[1])

    def gather(self, inputs: ScoreInputs, rows: NDArray[np.int64], now_ms: int = 0) -> GatheredRows:
        """Return the inputs of a score for some rows below the high water mark. Any thread.

        Args:
            inputs: Made for `program`.
            rows: int64[n].
            now_ms: The time by the server's clock; at least that of the newest entry is taken.
        """
        found = GatheredRows(np.zeros((len(rows), len(inputs.loads)), np.float32), np.zeros((len(rows), 3), np.int64))
        found.stamps[:, 0] = CHANGING
        # A request with many events of one visitor may keep a row for longer than a kernel waits.
        while len(left := np.flatnonzero(found.stamps[:, 0] == CHANGING)):
            part = GatheredRows(found.inputs[left], found.stamps[left])
            gather_rows(self.context, max(now_ms, int(self.table.counts[CLOCK])), rows[left], *inputs, *part)
            found.inputs[left], found.stamps[left] = part
        return found

    def put(
        self,
        place: int,
        rows: NDArray[np.int64],
        stamps: NDArray[np.int64],
        statuses: NDArray[np.int64],
        values: NDArray[np.float64],
    ) -> None:
        """Show a score of some rows. One thread per score; see `scores.put_scores`."""
        put_scores(self.context, place, self.scores.shape[1], rows, stamps, statuses, values)
