"""A runner: one thread that computes scores of the sessions that changed.

    fold ── mark ──> rows that wait, each once ── take ──> gather ──> score ──> put ──> whoever watches

The fold only notes which rows changed. However slow the runner is, a row waits once, so the queue is bounded by the
number of sessions, and a session that changes a hundred times a second is scored from its newest state.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from time import monotonic, sleep

import numpy as np
from numpy.typing import NDArray

from rte_server.engine.program import AttributeSpec, Program
from rte_server.engine.score_view import ScoreView
from rte_server.engine.scores import CIRCUIT_OPEN
from rte_server.runners.batch_size import BATCH_ROWS_MAX
from rte_server.runners.isolation import IsolatedScore
from rte_server.runners.scorer import Scorer, ScorerBusy, ScorerError
from rte_server.runners.waiting_rows import WaitingRows

INTERVAL_S = 0.02
"""Batches begin at most this often while less than a whole one waits: what changes meanwhile is scored once. An idle runner
begins at once."""

REST_SHARE = 1 / 3
"""A runner rests at least for this share of the time that its batch took: the fold and the callers need the cores, too. To rest
for as long as the batch took made every disturbance last: batches take longer where the cores are busy, and then half of
the time is not enough for what changes."""

REST_S_MAX = 0.5
"""How long it rests at most: what waited for a plug-in has cost nobody a core."""

LOG_INTERVAL_S = 60.0
"""Failures of a score are logged at most this often."""

_log = logging.getLogger("rte.runners")


@dataclass(frozen=True, slots=True)
class Failures:
    """How often a score failed since its runner began, and how last.

    Attributes:
        count: Failures.
        message: Why, of the last one.
        time_ms: When that was, milliseconds since 1970.
    """

    count: int
    message: str
    time_ms: int


class Runner:
    """Computes some of the scores of one program, on a thread of its own."""

    def __init__(
        self,
        name: str,
        view: Callable[[], ScoreView],
        program: Program,
        specs: Sequence[AttributeSpec],
        make: Callable[[AttributeSpec], Scorer],
        clock_ms: Callable[[], int],
        on_scored: Callable[[NDArray[np.int64]], None],
    ) -> None:
        """Make a runner that is not running yet.

        Args:
            name: Of its thread.
            view: Gives what there is to see of the engine now.
            program: What the scores belong to. When another one runs, the runner ends.
            specs: The scores that it computes, members of `program.scores`.
            make: Makes the scorer of one; called on the thread. It may raise ScorerError: then that score is absent.
            clock_ms: Gives the time, milliseconds since 1970.
            on_scored: Told the rows whose scores are new, on the thread.
        """
        scores = program.scores
        self._view = view
        self._program = program
        self._specs = tuple(specs)
        self._places = np.array([scores.index(spec) for spec in specs], np.int64)
        self._make = make
        self._clock_ms = clock_ms
        self._on_scored = on_scored
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._stopping = False
        self._waiting = WaitingRows(view().sessions_max)
        self._taken_since_s: float | None = None
        self._failed_counts = [0] * len(specs)
        self._logged_at = [-math.inf] * len(specs)
        self._scorers: list[Scorer | ScorerError] = []
        self._scores: list[IsolatedScore] = []
        self.counts = {"rows": 0, "batches": 0, "failures": 0}
        self.failures: dict[str, Failures] = {}
        """By name of the score; those that did not fail are not there. Any thread may read it."""
        self._thread = threading.Thread(target=self._run, name=f"rte-scores-{name}", daemon=True)

    def start(self) -> None:
        """Start the thread; it begins with all sessions that there are."""
        self._thread.start()

    def stop(self) -> None:
        """Ask the thread to end; does not wait."""
        self._stopping = True
        self._wake.set()

    def abort(self) -> None:
        """Let the batch fail that is computed. After `stop`."""
        for scorer in list(self._scorers):
            if not isinstance(scorer, ScorerError):
                scorer.abort()

    def join(self, timeout_s: float) -> None:
        """Wait until the thread has ended."""
        if self._thread.ident is not None:
            self._thread.join(timeout_s)

    @property
    def waiting(self) -> int:
        """How many sessions wait to be scored."""
        return len(self._waiting)

    def stats_by_score(self) -> dict[str, dict[str, int | float]]:
        """Return of each score by name, any thread:

        `scored`: how often a session was scored; `failed`: how often one had no score because what computes it failed
        or rests; `set_aside`: sessions that fail alone now; `circuit_open`: 1 while what failed for
        everything rests, else 0; `batch_rows_max`: rows of a batch now; `age_seconds`: for how long the session that has
        waited for longest has waited, at most; 0 if none waits.
        """
        found: dict[str, dict[str, int | float]] = {}
        now_s, since_s = monotonic(), [self._taken_since_s, self._waiting.since_s]
        for number, score in enumerate(list(self._scores)):
            spec = self._specs[number]
            waits = [each for each in (*since_s, score.suspects_since_s) if each is not None]
            found[spec.name] = {
                "scored": score.scored_count,
                "failed": self._failed_counts[number],
                "set_aside": score.aside_count,
                "circuit_open": int(score.is_open),
                "batch_rows_max": score.rows_max,
                "age_seconds": max((now_s - each for each in waits), default=0.0),
            }
        return found

    def mark(self, view: ScoreView, rows: NDArray[np.int64]) -> None:
        """Note that sessions changed. The fold's thread; some 50 ns per row."""
        with self._lock:
            self._waiting.append(partial(view.mark, rows, self._places))
        if not self._wake.is_set():
            self._wake.set()

    def _run(self) -> None:
        try:
            for number in range(len(self._specs)):
                self._scorers.append(self._made(number))
                self._scores.append(self._isolated(number))
            self._mark(self._view().rows_in_use())
            while not self._stopping:
                if not self.waiting:
                    self._wake.wait(self._due_in_s())
                self._wake.clear()
                self._retry()
                if self._stopping or (not self.waiting and self._due_in_s() != 0.0):
                    continue
                began = monotonic()
                if not self._batch():
                    return
                took_s = monotonic() - began
                if not self._stopping and (self.waiting or self._due_in_s() == 0.0):
                    sleep(rest_s(took_s, is_full=self.waiting >= self._rows_max()))
        finally:
            for scorer in self._scorers:
                if isinstance(scorer, ScorerError):
                    continue
                scorer.close()

    def _due_in_s(self) -> float | None:
        """Return how long to wait for a change before something is tried again; None: until there is one."""
        return min((due_s for each in self._scores if (due_s := each.due_in_s()) is not None), default=None)

    def _retry(self) -> None:
        """Let the sessions wait again whose batch failed, if it is time to try those again, though nothing changed."""
        view = self._view()
        if view.program is self._program:
            for each in self._scores:
                self._mark(each.rows_to_retry(view))

    def _made(self, number: int) -> Scorer | ScorerError:
        try:
            return self._make(self._specs[number])
        except ScorerError as error:
            self._failed(number, error, np.zeros(0, np.int64), is_alone=False)
            return error

    def _isolated(self, number: int) -> IsolatedScore:
        on_failure = partial(self._failed, number)
        return IsolatedScore(int(self._places[number]), self._scorers[number], self._program, on_failure)

    def _rows_max(self) -> int:
        # What the slowest of its scores can do in time: they share the thread, so that the others would wait for it anyway.
        return min(each.rows_max for each in self._scores)

    def _mark(self, rows: NDArray[np.int64]) -> None:
        """Let sessions wait; a part at a time, so that the fold is not held up."""
        for start in range(0, len(rows), BATCH_ROWS_MAX):
            view = self._view()
            if view.program is not self._program:
                return
            self.mark(view, rows[start : start + BATCH_ROWS_MAX])

    def _batch(self) -> bool:
        """Score some of the rows that wait, if any do, and those that are looked at alone.

        Returns:
            False if other models run by now.
        """
        view = self._view()
        if view.program is not self._program:
            return False
        with self._lock:
            self._taken_since_s = self._waiting.since_s
            rows = self._waiting.take(self._rows_max())
            view.take(rows, self._places)
        now_ms, others_wait = self._clock_ms(), self.waiting > 0
        others = [also for each in self._scores for also in each.compute(view, rows, now_ms, others_wait=others_wait)]
        self.counts["rows"] += len(rows)
        self.counts["batches"] += 1
        self._taken_since_s = None
        self._on_scored(np.unique(np.concatenate([rows, *others])) if others else rows)
        return True

    def _failed(self, number: int, error: ScorerError, rows: NDArray[np.int64], is_alone: bool) -> None:
        """Count a failure of a score, and log it if none was for a while."""
        if self._stopping:
            return  # It was ended, which is no failure of its own.
        self.counts["failures"] += 1
        self._failed_counts[number] += len(rows)
        name = self._specs[number].name
        before = self.failures[name].count if name in self.failures else 0
        was_asked = error.reason != CIRCUIT_OPEN and not isinstance(error, ScorerBusy)
        if was_asked:  # Else what it rests for, or is busy with, is how it failed last.
            self.failures[name] = Failures(before + 1, str(error), self._clock_ms())
        now = monotonic()
        if now - self._logged_at[number] >= LOG_INTERVAL_S:
            self._logged_at[number] = now
            spec, of = self._specs[number], " of one session, which is tried again alone," if is_alone else ""
            _log.error("the score %s of the model %s%s is absent: %s", spec.name, spec.model, of, error)


def rest_s(took_s: float, *, is_full: bool) -> float:
    """Return how long a runner rests before its next batch, seconds.

    Args:
        took_s: How long the last batch took, seconds.
        is_full: Whether a whole batch waits.
    """
    share_s = min(REST_S_MAX, took_s * REST_SHARE)
    return share_s if is_full else max(INTERVAL_S - took_s, share_s)
