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
from functools import partial
from time import monotonic, sleep

import numpy as np
from numpy.typing import NDArray

from rte_server.engine.program import AttributeSpec, Program
from rte_server.engine.score_inputs import ScoreInputs
from rte_server.engine.score_view import ScoreView
from rte_server.engine.scores import FAILED, MISSING_INPUT, REASONS, SC_STATUS, SCORED
from rte_server.runners.scorer import Scorer, ScorerError
from rte_server.runners.waiting_rows import WaitingRows

BATCH_ROWS_MAX = 2048
"""Rows of one batch: some 15 ms of a large tree ensemble, and twice that where the cores are busy. Nobody sees a score before
its batch has ended, and the next batch has to wait for it."""

INTERVAL_S = 0.02
"""Batches begin at most this often while less than a whole one waits: what changes meanwhile is scored once. An idle runner
begins at once."""

REST_SHARE = 1 / 3
"""A runner rests at least for this share of the time that its batch took: the fold and the callers need the cores, too. To rest
for as long as the batch took made every disturbance last: batches take longer where the cores are busy, and then half of
the time is not enough for what changes."""

LOG_INTERVAL_S = 60.0
"""A failure is logged at most this often."""

_log = logging.getLogger("rte.runners")


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
        self._inputs = [ScoreInputs.of(spec, program) for spec in specs]
        self._make = make
        self._clock_ms = clock_ms
        self._on_scored = on_scored
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._stopping = False
        self._waiting = WaitingRows(view().sessions_max)
        self._logged_at = -math.inf
        self._scorers: list[Scorer | ScorerError] = []
        self._retry_at_s: dict[int, float] = {}
        self.counts = {"rows": 0, "batches": 0, "failures": 0}
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

    def mark(self, view: ScoreView, rows: NDArray[np.int64]) -> None:
        """Note that sessions changed. The fold's thread; some 50 ns per row."""
        with self._lock:
            self._waiting.append(partial(view.mark, rows, self._places))
        if not self._wake.is_set():
            self._wake.set()

    def _run(self) -> None:
        try:
            for spec in self._specs:
                self._scorers.append(self._made(spec))
            self._mark(self._view().rows_in_use())
            while not self._stopping:
                if not self.waiting:
                    self._wake.wait(self._retry_in_s())
                self._wake.clear()
                self._retry()
                if not self.waiting or self._stopping:
                    continue
                began = monotonic()
                if not self._batch():
                    return
                took_s = monotonic() - began
                if self.waiting and not self._stopping:
                    sleep(rest_s(took_s, self.waiting))
        finally:
            for scorer in self._scorers:
                if isinstance(scorer, ScorerError):
                    continue
                scorer.close()

    def _retry_in_s(self) -> float | None:
        """Return how long to wait for a change before what failed is tried again; None: until there is one."""
        due_s = min(self._retry_at_s.values(), default=None)
        return None if due_s is None else max(0.0, due_s - monotonic())

    def _retry(self) -> None:
        """Let the sessions wait again whose scores failed, if it is time to try those again, though nothing changed.

        Each failure is good for one retry. If no session waits for it any more, nothing notes another one, and the
        next row that has all inputs will be the next attempt.
        """
        now_s = monotonic()
        due = [number for number, at_s in self._retry_at_s.items() if at_s <= now_s]
        if not due:
            return
        for number in due:
            del self._retry_at_s[number]
        view = self._view()
        if view.program is not self._program:
            return
        rows = view.rows_in_use()
        statuses = view.scores[rows[:, None], self._places[due], SC_STATUS]
        self._mark(rows[(statuses > REASONS + MISSING_INPUT).any(axis=1)])

    def _made(self, spec: AttributeSpec) -> Scorer | ScorerError:
        try:
            return self._make(spec)
        except ScorerError as error:
            self._log(spec, error)
            return error

    def _mark(self, rows: NDArray[np.int64]) -> None:
        """Let sessions wait; a part at a time, so that the fold is not held up."""
        for start in range(0, len(rows), BATCH_ROWS_MAX):
            view = self._view()
            if view.program is not self._program:
                return
            self.mark(view, rows[start : start + BATCH_ROWS_MAX])

    def _batch(self) -> bool:
        """Score some of the rows that wait; returns False if other models run by now."""
        view = self._view()
        if view.program is not self._program:
            return False
        with self._lock:
            rows = self._waiting.take(BATCH_ROWS_MAX)
            view.take(rows, self._places)
        now_ms = self._clock_ms()
        for number, scorer in enumerate(self._scorers):
            error = score_rows(view, int(self._places[number]), scorer, rows, now_ms, self._inputs[number])
            if error is None:
                continue
            self.counts["failures"] += 1
            self._log(self._specs[number], error)
            wait_s = None if isinstance(scorer, ScorerError) else scorer.retry_in_s()
            if wait_s is not None:
                # A later success does not change it: these rows have still failed.
                self._retry_at_s.setdefault(number, monotonic() + wait_s)
        self.counts["rows"] += len(rows)
        self.counts["batches"] += 1
        self._on_scored(rows)
        return True

    def _log(self, spec: AttributeSpec, error: ScorerError) -> None:
        now = monotonic()
        if self._stopping:
            return  # It was ended, which is no failure of its own.
        if now - self._logged_at >= LOG_INTERVAL_S:
            self._logged_at = now
            _log.error("the score %s of the model %s is absent: %s", spec.name, spec.model, error)


def rest_s(took_s: float, waiting: int) -> float:
    """Return how long a runner rests before its next batch, seconds.

    Args:
        took_s: How long the last batch took, seconds.
        waiting: Rows that wait.
    """
    share_s = took_s * REST_SHARE
    return share_s if waiting >= BATCH_ROWS_MAX else max(INTERVAL_S - took_s, share_s)


def score_rows(
    view: ScoreView,
    place: int,
    scorer: Scorer | ScorerError,
    rows: NDArray[np.int64],
    now_ms: int,
    inputs: ScoreInputs | None = None,
) -> ScorerError | None:
    """Compute one score of some rows and show it, or why there is none.

    Args:
        view: Of the engine.
        place: Which of the program's scores.
        scorer: Computes it, or why nothing does.
        rows: int64[n], below the high water mark.
        now_ms: The time by the server's clock; at least that of the newest entry is taken.
        inputs: Those of the score, if they are at hand.

    Returns:
        Why the scorer gave nothing; None if it did, or no row had all inputs.
    """
    gathered = view.gather(inputs or ScoreInputs.of(view.program.scores[place], view.program), rows, now_ms)
    statuses = np.full(len(rows), int(REASONS) + MISSING_INPUT, np.int64)
    values = np.zeros(len(rows), np.float64)
    ready = np.isfinite(gathered.inputs).all(axis=1) & (gathered.stamps[:, 0] != 0)
    failure = None
    if ready.any():
        try:
            if isinstance(scorer, ScorerError):
                raise scorer
            found = checked(scorer.score(gathered.inputs[ready]), int(ready.sum()))
        except ScorerError as error:
            failure = error
            statuses[ready] = int(REASONS) + error.reason
        else:
            is_number = np.isfinite(found)
            statuses[ready] = np.where(is_number, int(SCORED), int(REASONS) + FAILED)
            values[ready] = np.where(is_number, found, 0.0)
    view.put(place, rows, gathered.stamps, statuses, values)
    return failure


def checked(found: object, count: int) -> NDArray[np.float64]:
    """Return what a scorer gave as float64[count].

    Raises:
        ScorerError: It is something else.
    """
    try:
        values = np.asarray(found, np.float64)
    except (TypeError, ValueError):
        raise ScorerError(f"it gave a {type(found).__name__}, not numbers") from None
    if values.shape != (count,):
        raise ScorerError(f"it gave {values.shape} for {count} rows")
    return values
