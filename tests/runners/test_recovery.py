"""What a scorer that breaks costs the sessions that do not break it: time is simulated, but for the processes and graphs."""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from rte_server.engine.scores import FAILED, REASONS, SC_POSITION, SC_STATUS, SCORED, TIMEOUT
from rte_server.engine.table import CHANGED
from rte_server.runners.batch_size import BATCH_ROWS_MAX, CEILING_S, SHRINK, BatchSize
from rte_server.runners.breaker import FAILURES_MAX
from rte_server.runners.isolation import RETRY_SHARE, ROUND_S, IsolatedScore
from rte_server.runners.onnx import OnnxScorer
from rte_server.runners.plugin import SPARE_S, PluginScorer
from rte_server.runners.scorer import RestingScorer, ScorerBusy, ScorerError
from tests.runners import graphs, plugins
from tests.runners.plugged import LIMIT_S, plugged_engine
from tests.runners.test_isolation import running
from tests.runners.test_scores_live import until
from tests.service.live_engine import LiveEngine


class Simulated:
    """A scorer in simulated time, for rows that break it where the first input is at least 3."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.failures = 0

    def clock_s(self) -> float:
        """Return the simulated time."""
        return self.now_s

    def score(self, inputs: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return halves."""
        if (inputs[:, 0] >= 3).any():
            self.failures += 1
            self.fail()
        return np.full(len(inputs), 0.5)

    def fail(self) -> None:
        """Fail in some way."""
        raise ScorerError("broken")

    def is_expendable(self) -> bool:
        """Return True: it has recovered at once."""
        return True

    def abort(self) -> None:
        """It is done before anyone could."""

    def close(self) -> None:
        """Do nothing."""


class Dies(Simulated):
    """One whose process takes START_S to start, with a spare: as a plug-in behaves."""

    START_S = 2.0

    def __init__(self) -> None:
        super().__init__()
        self.is_ready_at_s = self.now_s
        self.is_spare_at_s = self.now_s + self.START_S

    def score(self, inputs: NDArray[np.float32]) -> NDArray[np.float64]:
        """Wait for the process, then answer."""
        self.now_s = max(self.now_s, self.is_ready_at_s)
        return super().score(inputs)

    def fail(self) -> None:
        """Die: the spare takes over, when it is ready."""
        self.is_ready_at_s = max(self.now_s, self.is_spare_at_s)
        self.is_spare_at_s = self.is_ready_at_s + self.START_S
        super().fail()

    def is_expendable(self) -> bool:
        """Return whether the spare is ready."""
        return self.now_s >= self.is_spare_at_s


class Sticks(Simulated):
    """One that computes on for 60 s after its time limit, and cannot be asked meanwhile: as a graph behaves."""

    STUCK_S = 60.0

    def __init__(self) -> None:
        super().__init__()
        self.free_at_s = self.now_s

    def score(self, inputs: NDArray[np.float32]) -> NDArray[np.float64]:
        """Answer unless it is busy."""
        if self.now_s < self.free_at_s:
            raise ScorerBusy("busy", TIMEOUT)
        return super().score(inputs)

    def fail(self) -> None:
        """Take too long."""
        self.now_s += LIMIT_S
        self.free_at_s = self.now_s + self.STUCK_S
        raise ScorerError("too long", TIMEOUT, is_by_size=True)

    def is_expendable(self) -> bool:
        """Return whether it is free."""
        return self.now_s >= self.free_at_s


class SlowRows(Simulated):
    """One that takes so long for each row, up to the time limit."""

    row_s = 0.005

    def score(self, inputs: NDArray[np.float32]) -> NDArray[np.float64]:
        """Take the time of all rows."""
        self.now_s += min(LIMIT_S, len(inputs) * self.row_s)
        if len(inputs) * self.row_s > LIMIT_S:
            self.failures += 1
            raise ScorerError("too long", TIMEOUT, is_by_size=True)
        return super().score(inputs)


@pytest.fixture
def engine(tmp_path: Path) -> LiveEngine:
    """An engine with a score of the views of a session."""
    return plugged_engine(tmp_path)


def isolated(live: LiveEngine, scorer: Simulated) -> IsolatedScore:
    """Return the score, driven by hand."""
    return IsolatedScore(0, scorer, live.engine.program, lambda *_: None, scorer.clock_s)


def play(live: LiveEngine, score: IsolatedScore, rows: NDArray[np.int64] | None = None) -> None:
    """Play a round, as a runner does."""
    view = live.engine.score_view()
    some = score.rows_to_retry(view) if rows is None else rows.astype(np.int64)
    score.compute(view, some, live.now_ms, others_wait=False)


def statuses(live: LiveEngine, *visitors: str) -> set[int]:
    """Return how the scores of these stand."""
    rows = [live.engine.find_visitor(visitor) for visitor in visitors]
    return set(live.engine.score_view().scores[rows, 0, SC_STATUS].tolist())


def test_others_never_wait_for_a_process_that_a_suspect_has_ended(engine: LiveEngine) -> None:
    """Suspects are tried only while there is a spare; who fails alone costs a share of the time, with the start of processes."""
    bad, good = [f"bad{number}" for number in range(20)], [f"good{number}" for number in range(40)]
    scorer = Dies()
    score = isolated(engine, scorer)
    play(engine, score, engine.view(*good).rows)
    play(engine, score, engine.view(*bad, *bad, *bad).rows)
    scorer.now_s = max(scorer.now_s, scorer.is_ready_at_s)
    while score.aside_count < len(bad) or score.search_due_in_s() is not None:
        before_s = scorer.now_s
        play(engine, score, engine.view(*good[:3], name="other").rows)
        assert scorer.now_s == before_s and statuses(engine, *good) == {int(SCORED)}
        scorer.now_s += 0.1
    failures, began_s = scorer.failures, scorer.now_s
    while scorer.now_s < began_s + 200.0:
        before_s = scorer.now_s
        play(engine, score, engine.view(*good[:3], name="other").rows)
        assert scorer.now_s == before_s and statuses(engine, *good) == {int(SCORED)}
        scorer.now_s += 0.1
    retried_s = (scorer.failures - failures) * Dies.START_S
    assert Dies.START_S < retried_s <= RETRY_SHARE * 200.0 + Dies.START_S


def test_sessions_that_come_and_break_it_cost_those_that_were_scored_one_process_only(engine: LiveEngine) -> None:
    """While there is no spare, sessions that have not been scored yet wait for one."""
    good = [f"good{number}" for number in range(40)]
    scorer = Dies()
    score = isolated(engine, scorer)
    play(engine, score, engine.view(*good).rows)
    waited_s = 0.0
    for number in range(100):
        before_s, bad = scorer.now_s, f"bad{number // 10}"
        rows = engine.send(
            {"visitor_id": good[number % 40], "name": "other"}, *[{"visitor_id": bad, "name": "page_view"}] * 3
        ).rows
        play(engine, score, rows)
        waited_s += scorer.now_s - before_s
        scorer.now_s += 0.1
    assert waited_s <= Dies.START_S
    while score.search_due_in_s() is not None:
        play(engine, score)
        scorer.now_s += 0.1
    assert statuses(engine, *(f"bad{number}" for number in range(10))) == {int(REASONS) + FAILED}
    view, found = engine.engine.score_view(), [engine.engine.find_visitor(visitor) for visitor in good]
    assert (view.scores[found, 0, SC_POSITION] >= view.table.rows[found, CHANGED]).all()


def test_a_search_ends_by_time(engine: LiveEngine) -> None:
    """After an attempt that took longer than a round those that changed come first, and they get half of the time."""
    bad = [f"bad{number}" for number in range(8)]
    scorer = Sticks()
    scorer.STUCK_S = 0.0  # It takes its time limit only.
    score = isolated(engine, scorer)
    play(engine, score, engine.view("good", name="other").rows)
    play(engine, score, engine.view(*bad, *bad, *bad).rows)
    while score.search_due_in_s() is not None:
        before = scorer.failures
        play(engine, score, engine.view("good", name="other").rows)
        assert scorer.failures <= before + 1 and LIMIT_S > ROUND_S
        failed_s, view = scorer.now_s, engine.engine.score_view()
        while scorer.now_s < failed_s + LIMIT_S - 0.5:
            score.compute(
                view, engine.view("good", name="other").rows.astype(np.int64), engine.now_ms, others_wait=True
            )
            scorer.now_s += 0.4
        assert scorer.failures <= before + 1
    assert statuses(engine, *bad) == {int(REASONS) + TIMEOUT} and statuses(engine, "good") == {int(SCORED)}


def test_a_scorer_that_is_busy_with_its_last_batch_has_not_failed(engine: LiveEngine) -> None:
    """The circuit stays closed however long it takes and whoever comes; when it is free all are scored but the one."""
    scorer = Sticks()
    score = isolated(engine, scorer)
    play(engine, score, engine.view("good", name="other").rows)
    play(engine, score, engine.view("beside", "bad", "bad", "bad").rows)
    for number in range(3 * FAILURES_MAX):
        play(engine, score, engine.view(f"later{number}").rows)
        assert statuses(engine, f"later{number}") == {int(REASONS) + TIMEOUT}
        assert score.due_in_s()
        scorer.now_s += 1.0
    assert not score.is_open and scorer.failures == 1
    others = ["good", "beside", *(f"later{number}" for number in range(3 * FAILURES_MAX))]
    for _ in range(200):
        play(engine, score)
        scorer.now_s += 1.0
        if statuses(engine, *others) == {int(SCORED)} and score.aside_count:
            break
    assert statuses(engine, *others) == {int(SCORED)} and statuses(engine, "bad") == {int(REASONS) + TIMEOUT}
    assert not score.is_open


def test_what_is_busy_tells_how_it_failed_last(engine: LiveEngine) -> None:
    """At once, as it may be busy for ever; that nothing is asked meanwhile is no failure."""
    engine.view("good")
    with running(engine, Sticks) as (runner, _):
        until(lambda: statuses(engine, "good") == {int(SCORED)})
        for visitors in (("bad", "bad", "bad"), ("later",), ("last",)):
            runner.mark(engine.engine.score_view(), engine.view(*visitors).rows)
            until(lambda: statuses(engine, visitors[0]) == {int(REASONS) + TIMEOUT})  # noqa: B023 - called in this round
        until(lambda: runner.counts["failures"] >= 3)
        assert (runner.failures["score"].count, runner.failures["score"].message) == (1, "too long")


def test_a_scorer_that_is_too_slow_for_a_full_batch_gets_smaller_ones(engine: LiveEngine) -> None:
    """After one time-out: all are scored, the circuit stays closed, and nothing fails again while it is as slow."""
    scorer = SlowRows()
    score = isolated(engine, scorer)
    engine.view(*(f"v{number}" for number in range(2000)))
    rows = engine.engine.rows_in_use()

    def all_of_them() -> None:
        left = rows
        while len(left):
            batch, left = left[: score.rows_max], left[score.rows_max :]
            play(engine, score, batch)
        while score.search_due_in_s() is not None:
            play(engine, score)
        assert set(engine.engine.score_view().scores[rows, 0, SC_STATUS].tolist()) == {int(SCORED)}

    for _ in range(3):
        all_of_them()
    assert scorer.failures == 1 and not score.is_open
    assert 2000 // SHRINK < score.rows_max <= LIMIT_S / scorer.row_s
    scorer.row_s = 0.000_01
    scorer.now_s += CEILING_S
    for _ in range(3):
        all_of_them()
    assert score.rows_max == BATCH_ROWS_MAX and scorer.failures == 1


def test_batches_grow_up_to_half_of_one_that_failed_and_further_later() -> None:
    """What lacks memory gives no sign before; if a session was to blame, the size was not."""
    now_s = 0.0
    size = BatchSize(1.0, lambda: now_s)

    def grown() -> int:
        for _ in range(12):
            size.succeeded(size.rows_max, 0.001)
        return size.rows_max

    size.failed(BATCH_ROWS_MAX)
    assert size.rows_max == BATCH_ROWS_MAX // SHRINK
    assert grown() == BATCH_ROWS_MAX // 2
    now_s += CEILING_S
    assert grown() == BATCH_ROWS_MAX
    size.failed(3)
    assert (size.rows_max, grown()) == (1, 1)
    size.succeeded(1, 0.9)
    size.forgive()
    assert (size.rows_max, grown()) == (1, BATCH_ROWS_MAX)


def test_the_spare_of_a_plugin_is_there_before_it_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the first process that was lost on, until none was for a while."""
    plugins.install(tmp_path, monkeypatch)
    now_s = 100.0
    scorer = PluginScorer("began", 60.0, has_spare=True, clock_s=lambda: now_s)
    good, bad = np.zeros((1, 1), np.float32), np.full((1, 1), 3.0, np.float32)

    def die() -> float:
        with pytest.raises(ScorerError, match="ended with code 4"):
            scorer.score(bad)
        return time.time()

    try:
        assert scorer.score(good)[0] < time.time() and scorer.is_expendable()
        die()
        for _ in range(2):
            until(scorer.is_expendable, 120.0)
            died_s = die()
            assert scorer.score(good)[0] < died_s
        until(scorer.is_expendable, 120.0)
        now_s += SPARE_S
        assert scorer.is_expendable()
        died_s = die()
        assert scorer.score(good)[0] > died_s
    finally:
        scorer.close()


def test_a_plugin_has_so_much_memory_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that wants more says so, in a way that fewer rows may help; the next batch finds a process with all of it again."""
    plugins.install(tmp_path, monkeypatch)
    scorer = PluginScorer("hoards", 60.0, 256 << 20)
    good, bad = np.zeros((1, 1), np.float32), np.full((1, 1), 3.0, np.float32)
    try:
        for _ in range(2):
            assert scorer.score(good)[0] == 0.5
            with pytest.raises(ScorerError, match=r"memory limit of 256 MiB.*plugin_memory_bytes_max") as failed:
                scorer.score(bad)
            assert failed.value.reason == FAILED and failed.value.is_by_size
    finally:
        scorer.close()


def test_a_system_that_gives_less_memory_has_the_last_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The plug-in runs with what there is, where its limit could not be set."""
    plugins.install(tmp_path, monkeypatch)
    program = (
        "import resource, numpy\n"
        "from rte_server.runners.plugin import PluginScorer\n"
        "resource.setrlimit(resource.RLIMIT_DATA, (3 << 30, 3 << 30))\n"
        "scorer = PluginScorer('limit', 60.0, 4 << 30)\n"
        "print(int(scorer.score(numpy.zeros((1, 1), numpy.float32))[0]))\n"
        "scorer.close()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=300)
    assert int(done.stdout) == 3 << 30


def test_the_process_of_a_plugin_loads_nothing_of_the_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would start four times as slowly, in four times the memory."""
    plugins.install(tmp_path, monkeypatch)
    scorer = PluginScorer("has_numba", 60.0)
    assert scorer.score(np.zeros((1, 1), np.float32))[0] == 0.0
    scorer.close()


def test_a_graph_that_does_not_listen_is_busy_until_it_has_ended() -> None:
    """Whoever asks meanwhile is told so, which is no failure of theirs."""
    scorer = RestingScorer(OnnxScorer(graphs.stuck(), 1, 0.2))
    good, bad = np.zeros((1, 1), np.float32), np.full((1, 1), 3.0, np.float32)
    until(lambda: _scores(scorer, good), 120.0)
    with pytest.raises(ScorerError, match="longer than 200 ms"):
        scorer.score(bad)
    assert not scorer.is_expendable()
    for _ in range(2 * FAILURES_MAX):
        with pytest.raises(ScorerBusy):
            scorer.score(good)
    until(scorer.is_expendable, 300.0)
    # Had it been counted, it would rest.
    until(lambda: _scores(scorer, good), 120.0)


def _scores(scorer: RestingScorer, row: NDArray[np.float32]) -> bool:
    with suppress(ScorerError):  # On a busy machine it may take too long.
        return len(scorer.score(row)) == 1
    return False
