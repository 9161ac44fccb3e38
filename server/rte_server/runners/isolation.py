"""One score of a runner, kept from being taken from all sessions by the rows of a few.

    batch ── fails ──> does the scorer work at all? ── no ──> all of the batch failed; the circuit breaker counts it
                         │                         └── yes ─> up to 16 parts, each tried by itself ── a row that fails
                         └── still busy ─> asked later                alone: set aside, tried again alone, with growing pauses

Whether it works at all is asked with a row that went well before. What is known or suspected to break the scorer never
stands in a batch with other rows, and costs them a bounded time. It is tried only while the scorer is expendable, so that
a plug-in's process that ends has a successor. A round of the search ends after `FAILURES_PER_ROUND` failed attempts or
`ROUND_S`, and goes on after the rows that have changed since. So these wait for at most `ROUND_S` and one more attempt: a
time limit, and the question whether the scorer works.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic

import numpy as np
from numpy.typing import NDArray

from rte_server.engine.program import Program
from rte_server.engine.score_inputs import ScoreInputs
from rte_server.engine.score_view import ScoreView
from rte_server.engine.scores import (
    CIRCUIT_OPEN,
    MISSING_INPUT,
    PACKAGE_MISSING,
    REASONS,
    SC_SESSION,
    SC_STATUS,
    SCORED,
    TIMEOUT,
)
from rte_server.engine.table import SESSION_LO
from rte_server.runners.batch_size import BatchSize
from rte_server.runners.breaker import Breaker
from rte_server.runners.scored_rows import ReadRows, read_rows, scored, show
from rte_server.runners.scorer import Scorer, ScorerBusy, ScorerError

PARTS = 16
"""Into so many parts rows are divided that fail together. A part that goes well takes milliseconds, one that does not a time
limit: so one row among 2,048 costs 4 failed attempts, where halves would cost 12."""

FAILURES_PER_ROUND = 4
"""After so many failed attempts a round ends, and the rows that changed meanwhile are scored first. Enough to find one row
among 2,048."""

ROUND_S = 0.25
"""After so long, too, seconds: whoever watches a score that is a second late sees it, and a round has as many attempts as it has
time for at the default time limit of plug-ins."""

RETRY_SHARE = 0.1
"""At most this share of the time is spent on rows that are tried again alone, until the scorer has recovered from them."""

REFERENCE_TRIES = 2
"""How many rows of a failed batch are asked alone whether the scorer works, where it has never worked yet."""

RECOVERY_POLL_S = 0.05
"""How often a scorer is looked at that has not recovered from a failed attempt."""

OnFailure = Callable[[ScorerError, NDArray[np.int64], bool], None]
"""Told why rows have no score, which, int64[n], and whether that is because they fail alone."""


@dataclass(slots=True)
class _SetAside:
    """A session that fails alone.

    Attributes:
        session: Low word of its id: the row may be another's by now.
        error: How it failed.
        pauses: For how long it is left alone.
        at_s: When it is tried again.
    """

    session: int
    error: ScorerError
    pauses: Breaker = field(default_factory=Breaker)
    at_s: float = 0.0


@dataclass(frozen=True, slots=True)
class _Doubt:
    """A batch that failed, while nobody can say yet whether the scorer works: it still computes that batch."""

    found: ReadRows
    error: ScorerError


class IsolatedScore:
    """Computes one score of the rows that changed. Belongs to the thread of its runner."""

    def __init__(
        self,
        place: int,
        scorer: Scorer | ScorerError,
        program: Program,
        on_failure: OnFailure,
        clock_s: Callable[[], float] = monotonic,
    ) -> None:
        """Make it.

        Args:
            place: Which of the program's scores.
            scorer: Computes it, or why nothing does.
            program: What the score belongs to.
            on_failure: Told why rows have no score.
            clock_s: Gives the time, seconds.
        """
        spec = program.scores[place]
        assert spec.score is not None
        self._place = place
        self._scorer = scorer
        self._inputs = ScoreInputs.of(spec, program)
        self._on_failure = on_failure
        self._clock_s = clock_s
        self._breaker = Breaker()
        self._size = BatchSize(spec.score.time_limit_ms / 1000, clock_s)
        self._retry_at_s: float | None = None
        self._parts: deque[NDArray[np.int64]] = deque()
        self._new_parts: deque[NDArray[np.int64]] = deque()
        self._aside: dict[int, _SetAside] = {}
        self._pauses: list[tuple[float, int]] = []
        self._alone_at_s = -np.inf
        self._alone_since_s: float | None = None
        self._search_at_s = -np.inf
        self._suspects_since_s: float | None = None
        self._is_held = np.zeros(0, np.bool_)
        self._reference = np.zeros((1, len(self._inputs.loads)), np.float32)
        self._has_worked = False
        self._is_busy = False
        self._doubt: _Doubt | None = None
        self._turn = 0
        self._failures_left = 0
        self._is_resting = False
        self._also_shown: list[NDArray[np.int64]] = []
        self.scored_count = 0
        """How often a session was scored. Any thread may read it."""

    @property
    def aside_count(self) -> int:
        """How many sessions fail alone. Any thread."""
        return len(self._aside)

    @property
    def is_open(self) -> bool:
        """Whether the circuit is open: the scorer failed for everything, too often. Any thread."""
        return self._breaker.is_open

    @property
    def rows_max(self) -> int:
        """How many rows `compute` should be given at most: what the scorer can do in its time. Any thread."""
        return self._size.rows_max

    @property
    def suspects_since_s(self) -> float | None:
        """Since when there have been sessions that wait because their batch failed, by the clock; None: none. Any thread."""
        return self._suspects_since_s

    def due_in_s(self) -> float | None:
        """Return in how many seconds there is something to do though nothing changes, >= 0; None: never."""
        now_s = self._clock_s()
        found = [] if self._retry_at_s is None else [self._retry_at_s - now_s]
        search_s = self.search_due_in_s()
        if search_s is not None:
            found.append(search_s)
        if self._is_busy or self._alone_since_s is not None:
            found.append(0.0 if self._has_recovered() else RECOVERY_POLL_S)
        elif self._aside:
            alone_s = max(self._alone_at_s, self._next_alone()[0]) - now_s
            found.append(self._unless_resting(alone_s if alone_s > 0.0 or self._may_lose() else RECOVERY_POLL_S))
        return max(0.0, min(found)) if found else None

    def search_due_in_s(self) -> float | None:
        """Return in how many seconds rows are tried that failed with others, >= 0; None: there are none."""
        if self._doubt is not None:
            return 0.0 if self._has_recovered() else RECOVERY_POLL_S
        return self._unless_resting(0.0 if self._may_lose() else RECOVERY_POLL_S) if self._is_searching else None

    @property
    def _is_searching(self) -> bool:
        return bool(self._parts or self._new_parts)

    def _unless_resting(self, due_s: float) -> float:
        return max(due_s, self._breaker.retry_in_s(self._clock_s()) or 0.0) if self._breaker.is_open else due_s

    def _has_recovered(self) -> bool:
        return isinstance(self._scorer, ScorerError) or self._scorer.is_expendable()

    def _may_lose(self) -> bool:
        """Return whether the scorer may be asked what may break it; where nobody has a score yet, nobody waits for it."""
        return not self._is_busy and (not self._has_worked or self._has_recovered())

    def rows_to_retry(self, view: ScoreView) -> NDArray[np.int64]:
        """Return the rows whose batch failed, if it is time to try them again; int64[n].

        Each failure is good for one retry. If no session waits for it any more, nothing notes another one, and the
        next row that has all inputs will be the next attempt.
        """
        if self._retry_at_s is None or self._retry_at_s > self._clock_s():
            return np.zeros(0, np.int64)
        self._retry_at_s = None
        rows = view.rows_in_use()
        is_wanted: NDArray[np.bool_] = view.scores[rows, self._place, SC_STATUS] > REASONS + MISSING_INPUT
        if len(self._is_held):
            is_wanted &= ~self._is_held[rows]
        return rows[is_wanted]

    def compute(
        self, view: ScoreView, rows: NDArray[np.int64], now_ms: int, *, others_wait: bool = False
    ) -> list[NDArray[np.int64]]:
        """Score rows that changed, then some of those that are looked at alone.

        Args:
            view: Of the engine.
            rows: int64[n], below the high water mark, n <= `rows_max`.
            now_ms: The time by the server's clock.
            others_wait: Whether more rows changed: then at most half of the time goes to those that are looked at alone.

        Returns:
            The other rows whose score may be new.
        """
        self._also_shown = []
        self._failures_left = FAILURES_PER_ROUND
        self._is_resting = False
        self._recover(view)
        rows = self._without_held(view, rows, now_ms)
        if rows.size and self._has_worked and not self._is_busy and not self._has_recovered():
            rows = self._without_new(view, rows)
        if rows.size:
            self._try(view, read_rows(view, self._inputs, rows, now_ms))
        if not others_wait or self._clock_s() >= self._search_at_s:
            self._search(view, now_ms)
        if not self._is_searching and self._doubt is None:
            self._suspects_since_s = None
        is_in_vain = self._failures_left < FAILURES_PER_ROUND and not self._has_worked
        if is_in_vain and not self._is_resting and self._doubt is None:
            # It answers zeros, and no session so far: that is no good reason to go on and on.
            self._rest()
        return self._also_shown

    def _search(self, view: ScoreView, now_ms: int) -> None:
        """Try rows that failed with others, then one that fails alone, until the round is over."""
        began_s = self._clock_s()
        while self._is_searching and self._goes_on(began_s):
            parts = self._parts or self._new_parts
            part = parts.popleft()
            if len(part) > self.rows_max:
                parts.appendleft(part[self.rows_max :])
                part = part[: self.rows_max]
            self._is_held[part] = False
            self._also_shown.append(part)
            self._try(view, read_rows(view, self._inputs, part, now_ms))
        if self._goes_on(began_s):
            self._try_alone(view, now_ms)
        now_s = self._clock_s()
        self._search_at_s = 2 * now_s - began_s

    def _goes_on(self, began_s: float) -> bool:
        now_s = self._clock_s()
        has_time = now_s < began_s + ROUND_S or not self._has_worked
        return has_time and self._failures_left > 0 and self._breaker.allows(now_s) and self._may_lose()

    def _recover(self, view: ScoreView) -> None:
        """Take note that the scorer has recovered from a failed attempt, if it has."""
        if not (self._is_busy or self._alone_since_s is not None) or not self._has_recovered():
            return
        now_s = self._clock_s()
        if self._alone_since_s is not None:
            self._alone_at_s = now_s + (now_s - self._alone_since_s) * (1 / RETRY_SHARE - 1)
            self._alone_since_s = None
        if self._is_busy:
            self._is_busy = False
            doubt, self._doubt = self._doubt, None
            if doubt is not None:
                self._is_held[doubt.found.rows] = False
                self._also_shown.append(doubt.found.rows)
                self._judge(view, doubt.found, doubt.error)
            if not self._is_resting:
                # Those that came meanwhile.
                self._retry_at_s = now_s

    def _without_held(self, view: ScoreView, rows: NDArray[np.int64], now_ms: int) -> NDArray[np.int64]:
        """Return the rows that may stand in a batch; those that fail alone say so of their newest state."""
        if not len(self._is_held) or not self._is_held[rows].any():
            return rows
        aside = [row for row in rows[self._is_held[rows]].tolist() if row in self._aside]
        found = read_rows(view, self._inputs, np.array(aside, np.int64), now_ms)
        for number, row in enumerate(aside):
            known = self._aside[row]
            if found.stamps[number, 0] in (0, known.session):
                one = np.arange(len(aside)) == number
                show(view, self._place, found.only(one), known.error)
            else:
                self._release(row)
        return rows[~self._is_held[rows]]

    def _without_new(self, view: ScoreView, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the rows of sessions that the scorer has scored; the others wait until they cannot cost these a process."""
        was_scored = self._was_scored(view, rows, view.table.rows[rows, SESSION_LO])
        if not was_scored.all():
            self._hold(view, rows[~was_scored])
            self._new_parts.append(rows[~was_scored])
        return rows[was_scored]

    def _was_scored(self, view: ScoreView, rows: NDArray[np.int64], sessions: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return whether rows show a score: what breaks a scorer is rarely a session that it has scored."""
        cells = view.scores[rows, self._place]
        found: NDArray[np.bool_] = (cells[:, SC_STATUS] == SCORED) & (cells[:, SC_SESSION] == sessions)
        return found

    def _try(self, view: ScoreView, found: ReadRows) -> None:
        """Score rows as one batch; if that fails, find out why."""
        if not found.is_ready.any():
            show(view, self._place, found, np.zeros(0))
            return
        refusal = self._refusal()
        if refusal is not None:
            self._refuse(view, found, refusal)
            return
        inputs = found.inputs[found.is_ready]
        began_s = self._clock_s()
        try:
            values = scored(self._scorer, inputs)
        except ScorerBusy as error:
            self._is_busy = True
            self._refuse(view, found, error)
        except ScorerError as error:
            self._failures_left -= 1
            show(view, self._place, found.only(~found.is_ready), np.zeros(0))
            self._judge(view, found.only(found.is_ready), error)
        else:
            show(view, self._place, found, values)
            self.scored_count += len(values)
            self._size.succeeded(len(values), self._clock_s() - began_s)
            self._worked(inputs[-1:])

    def _refusal(self) -> ScorerError | None:
        """Return why nothing is asked of the scorer now, if that is so."""
        if isinstance(self._scorer, ScorerError):
            return self._scorer
        if self._is_busy:
            return ScorerBusy("it still computes a batch that took too long", TIMEOUT)
        if self._breaker.allows(self._clock_s()):
            return None
        self._retry_later()
        return ScorerError("it failed too often and rests", CIRCUIT_OPEN)

    def _refuse(self, view: ScoreView, found: ReadRows, why: ScorerError) -> None:
        """Show rows that were not asked about; they are when it is time to retry."""
        show(view, self._place, found, why)
        self._on_failure(why, found.rows[found.is_ready], False)

    def _judge(self, view: ScoreView, ready: ReadRows, error: ScorerError) -> None:
        """Divide rows that failed together, unless the scorer fails for everything, or nobody can say that yet."""
        try:
            works = error.reason != PACKAGE_MISSING and self._works(ready.inputs)
        except ScorerBusy:
            self._is_busy = True
            self._doubt = _Doubt(ready, error)
            self._hold(view, ready.rows)
            show(view, self._place, ready, error)
            # Now: it may take for ever.
            self._on_failure(error, ready.rows, False)
            return
        if not works:
            show(view, self._place, ready, error)
            self._on_failure(error, ready.rows, False)
            self._rest()
        elif len(ready.rows) == 1:
            show(view, self._place, ready, error)
            self._size.forgive()
            self._hold(view, ready.rows)
            self._set_aside(int(ready.rows[0]), _SetAside(int(ready.stamps[0, 0]), error))
        else:
            if error.is_by_size:
                self._size.failed(len(ready.rows))
            # Until they are tried again they are as old as they are: nothing is said against any of them.
            self._hold(view, ready.rows)
            # Those that were scored before wait for no search among the others.
            was_scored = self._was_scored(view, ready.rows, ready.stamps[:, 0])
            for parts, rows in ((self._parts, ready.rows[was_scored]), (self._new_parts, ready.rows[~was_scored])):
                if len(rows):
                    parts.extend(np.array_split(rows, min(PARTS, len(rows))))

    def _hold(self, view: ScoreView, rows: NDArray[np.int64]) -> None:
        """Keep rows out of batches."""
        if not len(self._is_held):
            self._is_held = np.zeros(view.sessions_max, np.bool_)
        self._is_held[rows] = True
        if self._suspects_since_s is None:
            self._suspects_since_s = self._clock_s()

    def _works(self, inputs: NDArray[np.float32]) -> bool:
        """Return whether the scorer answers a row that it should be able to answer.

        Args:
            inputs: float32[n, k], the rows that it has just failed for.

        Raises:
            ScorerBusy: Nobody can say.
        """
        asked = [self._reference]
        if not self._has_worked and len(inputs) > 1:
            # Others each time, so that a few that break it do not stand for all.
            step = len(inputs) // REFERENCE_TRIES
            places = {(self._turn + number * step) % len(inputs) for number in range(REFERENCE_TRIES)}
            asked += [inputs[place : place + 1] for place in places]
            self._turn += 1
        for number, row in enumerate(asked):
            try:
                scored(self._scorer, row)
            except ScorerBusy:
                if not number:
                    raise
                return False  # It is busy with the row that was asked before, which is an answer.
            except ScorerError:
                self._failures_left -= 1
                continue
            if number:
                self._worked(row)
            return True
        return False

    def _worked(self, row: NDArray[np.float32]) -> None:
        self._reference = row.copy()
        self._has_worked = True
        self._breaker.succeeded()

    def _rest(self) -> None:
        """Take note that the scorer failed for everything that it was asked in this round."""
        self._failures_left = 0
        self._is_resting = True
        self._breaker.failed(self._clock_s())
        self._retry_later()

    def _retry_later(self) -> None:
        # A later success does not change it: these rows have still failed.
        if self._retry_at_s is None:
            now_s = self._clock_s()
            self._retry_at_s = now_s + (self._breaker.retry_in_s(now_s) or 0.0)

    def _try_alone(self, view: ScoreView, now_ms: int) -> None:
        """Try the session again whose pause has ended first, if any has; those that are gone are forgotten."""
        began_s = self._clock_s()
        while self._aside and self._alone_since_s is None and began_s >= self._alone_at_s:
            at_s, row = self._next_alone()
            if at_s > began_s:
                return
            known = self._aside[row]
            found = read_rows(view, self._inputs, np.array([row], np.int64), now_ms)
            self._release(row)
            self._also_shown.append(found.rows)
            if int(found.stamps[0, 0]) != known.session:
                continue
            if not found.is_ready[0]:
                show(view, self._place, found, np.zeros(0))
                continue
            try:
                show(view, self._place, found, scored(self._scorer, found.inputs))
                self.scored_count += 1
            except ScorerError as error:
                known.error = error
                show(view, self._place, found, error)
                self._set_aside(row, known)
            # What it costs is known when the scorer has recovered.
            self._alone_since_s = began_s
            self._recover(view)
            return

    def _next_alone(self) -> tuple[float, int]:
        """Return when a session is to be tried alone, and its row. Some is set aside."""
        while True:
            at_s, row = self._pauses[0]
            if row in self._aside and self._aside[row].at_s == at_s:
                return at_s, row
            heapq.heappop(self._pauses)  # It was released meanwhile.

    def _set_aside(self, row: int, known: _SetAside) -> None:
        now_s = self._clock_s()
        known.pauses.failed(now_s)
        known.at_s = now_s + (known.pauses.retry_in_s(now_s) or 0.0)
        heapq.heappush(self._pauses, (known.at_s, row))
        self._aside[row] = known
        self._is_held[row] = True
        self._on_failure(known.error, np.array([row], np.int64), True)

    def _release(self, row: int) -> None:
        del self._aside[row]
        self._is_held[row] = False
