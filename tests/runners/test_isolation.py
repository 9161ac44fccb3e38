"""A session that breaks a scorer loses its own score only: with real plug-ins and graphs, and with a stated bound of failures."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from rte_server.engine.program import AttributeSpec
from rte_server.engine.scores import CIRCUIT_OPEN, FAILED, REASONS, SC_STATUS, SCORED, TIMEOUT
from rte_server.runners.breaker import FAILURES_MAX, REST_S_MIN
from rte_server.runners.isolation import FAILURES_PER_ROUND, REFERENCE_TRIES, IsolatedScore
from rte_server.runners.onnx import OnnxScorer
from rte_server.runners.plugin import PluginScorer
from rte_server.runners.runner import Runner
from rte_server.runners.scorer import Scorer, ScorerError
from tests.runners import graphs, plugins
from tests.runners.plugged import LIMIT_S, plugged_engine
from tests.runners.test_scores_live import until
from tests.service.live_engine import LiveEngine


class Watched:
    """A scorer that keeps what it is asked and how often it failed."""

    def __init__(self, scorer: Scorer) -> None:
        self._scorer = scorer
        self.asked: list[NDArray[np.float32]] = []
        self.failures = 0

    def score(self, inputs: NDArray[np.float32]) -> NDArray[np.float64]:
        """Ask the scorer."""
        self.asked.append(inputs.copy())
        try:
            return self._scorer.score(inputs)
        except ScorerError:
            self.failures += 1
            raise

    def is_expendable(self) -> bool:
        """Return whether the scorer is."""
        return self._scorer.is_expendable()

    def abort(self) -> None:
        """Abort the scorer."""
        self._scorer.abort()

    def close(self) -> None:
        """Close the scorer."""
        self._scorer.close()


class Breaks:
    """A scorer of this process that breaks where `is_broken` says so of any row."""

    def __init__(self, is_broken: Callable[[NDArray[np.float32]], bool]) -> None:
        self.is_broken = is_broken

    def score(self, inputs: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return halves."""
        if any(self.is_broken(row) for row in inputs):
            raise ScorerError("broken")
        return np.full(len(inputs), 0.5)

    def is_expendable(self) -> bool:
        """Return True: it keeps nothing."""
        return True

    def abort(self) -> None:
        """It is done before anyone could."""

    def close(self) -> None:
        """Do nothing."""


@pytest.fixture
def engine(tmp_path: Path) -> LiveEngine:
    """An engine with a score of the views of a session."""
    return plugged_engine(tmp_path)


@contextmanager
def running(live: LiveEngine, make: Callable[[], Scorer]) -> Iterator[tuple[Runner, Watched]]:
    """Run the score; yields its runner and scorer. It begins with the sessions that there are."""
    program = live.engine.program
    scorer = Watched(make())
    runner = Runner(
        "test", live.engine.score_view, program, program.scores, lambda _: scorer, lambda: live.now_ms, lambda _: None
    )
    runner.start()
    try:
        yield runner, scorer
    finally:
        runner.stop()
        runner.abort()
        runner.join(10.0)


def status(live: LiveEngine, visitor: str) -> int:
    """Return how the score of a visitor's session stands."""
    return int(live.engine.score_view().scores[live.engine.find_visitor(visitor), 0, SC_STATUS])


def all_are(live: LiveEngine, visitors: list[str], expected: int) -> Callable[[], bool]:
    """Return whether the scores of all of these stand so."""
    return lambda: all(status(live, visitor) == expected for visitor in visitors)


def is_alone(asked: NDArray[np.float32]) -> bool:
    """Return whether a batch has no row that breaks the scorer, or nothing else."""
    return len(asked) == 1 or not (asked >= 3).any()


@pytest.mark.parametrize("plugin", ["breaks_on_three", "hangs_on_three"])
def test_a_session_that_breaks_a_plugin_loses_its_own_score_only(
    plugin: str, engine: LiveEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that came in the same request have theirs after a few attempts, and so has whoever comes later."""
    plugins.install(tmp_path, monkeypatch)
    others = [f"v{number}" for number in range(20)]
    engine.view("bad", *others, "bad", "bad")
    reason = TIMEOUT if plugin == "hangs_on_three" else FAILED
    with running(engine, lambda: PluginScorer(plugin, LIMIT_S)) as (runner, scorer):
        until(all_are(engine, others, int(SCORED)))
        until(all_are(engine, ["bad"], int(REASONS) + reason))
        assert scorer.failures <= FAILURES_PER_ROUND
        known = len(scorer.asked)
        for number in range(5):
            runner.mark(engine.engine.score_view(), engine.view(f"later{number}", "bad").rows)
            until(all_are(engine, [f"later{number}"], int(SCORED)))
            assert status(engine, "bad") == REASONS + reason
        assert all(is_alone(asked) for asked in scorer.asked[known:])


def test_a_session_that_hangs_a_graph_loses_its_own_score_only(engine: LiveEngine) -> None:
    """A loop without an end for one of 31; the others wait for a few time limits, once."""
    with_none = "with_none"
    others = [f"v{number}" for number in range(30)]
    # Of this graph every session with a view would be the one, so the others come by another event.
    engine.send(
        *({"visitor_id": each, "name": "other"} for each in others), {"visitor_id": with_none, "name": "page_view"}
    )
    with running(engine, lambda: OnnxScorer(graphs.endless(always=False), 1, LIMIT_S)) as (runner, scorer):
        until(all_are(engine, others, int(SCORED)))
        until(all_are(engine, [with_none], int(REASONS) + TIMEOUT))
        assert scorer.failures <= FAILURES_PER_ROUND
        runner.mark(engine.engine.score_view(), engine.send({"visitor_id": "later", "name": "other"}).rows)
        until(all_are(engine, ["later"], int(SCORED)))


def test_each_score_that_fails_is_logged(engine: LiveEngine, caplog: pytest.LogCaptureFixture) -> None:
    """However soon after another one of the same runner."""
    program = engine.engine.program
    view = engine.engine.score_view

    def make(spec: AttributeSpec) -> Scorer:
        return Breaks(lambda row: True)

    specs = [*program.scores, *program.scores]
    runner = Runner("test", view, program, specs, make, lambda: engine.now_ms, lambda _: None)
    engine.view("v")
    with caplog.at_level(logging.ERROR, "rte.runners"):
        runner.start()
        until(lambda: len(caplog.records) == len(specs))
        runner.stop()
        runner.join(10.0)
    assert runner.failures["score"].message == "broken" and runner.failures["score"].count >= len(specs)


def test_what_rests_tells_how_it_failed_last(engine: LiveEngine) -> None:
    """That it is left alone is no failure: the message and the count are those of what came before."""
    with running(engine, lambda: Breaks(lambda row: True)) as (runner, _):
        for number in range(FAILURES_MAX + 2):
            visitor = f"v{number}"
            runner.mark(engine.engine.score_view(), engine.view(visitor).rows)
            until(lambda: status(engine, visitor) >= int(REASONS))  # noqa: B023 - it is called in this round
        assert status(engine, visitor) == REASONS + CIRCUIT_OPEN
        found = runner.failures["score"]
        assert (found.count, found.message) == (FAILURES_MAX, "broken")


class Rounds:
    """An isolated score that is driven by hand."""

    def __init__(self, live: LiveEngine, is_broken: Callable[[NDArray[np.float32]], bool]) -> None:
        self.live = live
        self.now_s = 100.0
        self.scorer = Breaks(is_broken)
        self.watched = Watched(self.scorer)
        program = live.engine.program
        self.score = IsolatedScore(0, self.watched, program, lambda *_: None, lambda: self.now_s)

    def play(self, rows: NDArray[np.int64] | None = None) -> int:
        """Play a round; returns how many attempts failed in it."""
        before = self.watched.failures
        view = self.live.engine.score_view()
        some = np.zeros(0, np.int64) if rows is None else rows.astype(np.int64)
        self.score.compute(view, some, self.live.now_ms)
        return self.watched.failures - before


def test_however_many_break_it_rounds_are_bounded_and_the_others_scored(engine: LiveEngine) -> None:
    """Each round fails a few times at most, and what is known to break it never stands in a batch again."""
    chance = np.random.default_rng(5)
    visitors = [f"v{number}" for number in range(400)]
    bad = [visitors[place] for place in chance.choice(400, 30, replace=False)]
    good = [visitor for visitor in visitors if visitor not in bad]
    engine.view(*visitors)
    engine.view(*bad, *bad)
    rounds = Rounds(engine, lambda row: row[0] >= 3)
    rows = engine.engine.rows_in_use()
    failures = [rounds.play(rows)]
    while rounds.score.due_in_s() == 0.0:
        failures.append(rounds.play())
    assert max(failures) <= FAILURES_PER_ROUND + REFERENCE_TRIES
    assert all_are(engine, good, int(SCORED))() and all_are(engine, bad, int(REASONS) + FAILED)()
    assert rounds.score.aside_count == len(bad)
    known = len(rounds.watched.asked)
    assert rounds.play(rows) == 0
    rounds.now_s += REST_S_MIN
    assert [rounds.play(rows) for _ in bad] == [1] * len(bad)
    assert all(is_alone(asked) for asked in rounds.watched.asked[known:])


def test_who_fails_alone_is_tried_again_after_growing_pauses_and_then_like_others(engine: LiveEngine) -> None:
    """Though nothing changes; and one that goes well may stand in batches again."""
    engine.view("good", "bad", "bad", "bad")
    rounds = Rounds(engine, lambda row: row[0] >= 3)
    rounds.play(engine.engine.rows_in_use())
    assert rounds.play() == 0
    pauses = list[float]()
    for _ in range(6):
        pauses.append(rounds.score.due_in_s() or 0.0)
        rounds.now_s += pauses[-1]
        assert rounds.play() == 1
    assert pauses[0] == REST_S_MIN and pauses == sorted(pauses) and pauses[-1] > pauses[0]
    rounds.scorer.is_broken = lambda row: False
    rounds.now_s += rounds.score.due_in_s() or 0.0
    assert rounds.play() == 0
    assert status(engine, "bad") == SCORED
    assert rounds.score.due_in_s() is None and rounds.score.aside_count == 0


def test_the_row_of_a_session_that_failed_is_free_for_the_next(engine: LiveEngine) -> None:
    """Whoever gets it is scored at once, and the session that has gone is forgotten."""
    engine.view("good", "bad", "bad", "bad")
    rounds = Rounds(engine, lambda row: row[0] >= 3)
    rounds.play(engine.engine.rows_in_use())
    row = engine.engine.find_visitor("bad")
    assert rounds.score.aside_count == 1
    engine.tick(86_400_000)
    engine.tick(86_400_000)
    visitors = ["a", "b", "c"]
    rows = engine.view(*visitors).rows
    assert row in [engine.engine.find_visitor(visitor) for visitor in visitors]
    rounds.play(rows)
    assert all_are(engine, visitors, int(SCORED))()
    assert rounds.score.aside_count == 0


def test_the_circuit_opens_only_if_the_scorer_fails_for_everything(engine: LiveEngine) -> None:
    """Sessions that fail one after the other do not open it once it has worked; a scorer that answers nobody does."""
    engine.view("good")
    rounds = Rounds(engine, lambda row: row[0] >= 3)
    assert rounds.play(engine.engine.rows_in_use()) == 0
    for number in range(2 * FAILURES_MAX):
        visitor = f"bad{number}"
        rounds.play(engine.view(visitor, visitor, visitor).rows)
        assert status(engine, visitor) == REASONS + FAILED
    rounds.play(engine.view("later").rows)
    assert status(engine, "later") == SCORED
    rounds.scorer.is_broken = lambda row: True
    for number in range(FAILURES_MAX):
        rounds.play(engine.view(f"x{number}").rows)
        assert status(engine, f"x{number}") == REASONS + FAILED
    rounds.play(engine.view("y").rows)
    assert status(engine, "y") == REASONS + CIRCUIT_OPEN
    rounds.now_s += REST_S_MIN
    rounds.scorer.is_broken = lambda row: False
    again = rounds.score.rows_to_retry(engine.engine.score_view())
    rounds.play(again)
    assert all_are(engine, ["x0", "x1", "x2", "y"], int(SCORED))()


def test_a_scorer_that_answers_zeros_and_no_session_is_left_alone(engine: LiveEngine) -> None:
    """Else it would be asked about each session for a time limit, for ever."""
    rounds = Rounds(engine, lambda row: row[0] > 0)
    for number in range(FAILURES_MAX):
        rounds.play(engine.view(f"x{number}").rows)
    rounds.play(engine.view("y").rows)
    assert status(engine, "y") == REASONS + CIRCUIT_OPEN


def test_those_that_break_it_first_do_not_stand_for_all(engine: LiveEngine) -> None:
    """Where even zeros break it and it has never worked, rows of the batch are asked until one works."""
    bad, good = [f"b{number}" for number in range(20)], [f"g{number}" for number in range(4)]
    engine.view(*bad, *good)
    engine.view(*good)
    rounds = Rounds(engine, lambda row: row[0] < 2)
    rows = engine.engine.rows_in_use()
    for _ in range(60):
        rounds.play(rows)
        rounds.now_s += rounds.score.due_in_s() or 0.0
        rows = rounds.score.rows_to_retry(engine.engine.score_view())
    assert all_are(engine, good, int(SCORED))() and all_are(engine, bad, int(REASONS) + FAILED)()
