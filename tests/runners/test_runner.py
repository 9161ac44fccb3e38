"""A runner with a real engine and real plug-ins: what failed is tried again, but only for sessions that wait for it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rte_server.engine.entries import EntryType
from rte_server.engine.score_view import ScoreView
from rte_server.engine.scores import FAILED, REASONS, SC_STATUS, SCORED
from rte_server.models import configuration_of, load_models
from rte_server.runners import breaker
from rte_server.runners.plugin import PluginScorer
from rte_server.runners.runner import Runner
from tests.runners import plugins
from tests.runners.test_scores_live import until
from tests.service.live_engine import LiveEngine

REST_S = 0.3


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LiveEngine:
    """An engine with plug-ins, which rest for a short while only."""
    plugins.install(tmp_path, monkeypatch)
    monkeypatch.setattr(breaker, "REST_S_MIN", REST_S)
    return LiveEngine()


@contextmanager
def running(live: LiveEngine, folder: Path, plugin: str) -> Iterator[tuple[Runner, list[float]]]:
    """Run the score of a plug-in; yields its runner, and when it has looked at the engine."""
    path = folder / "plugged.yaml"
    path.write_text(
        "model: plugged\nattributes:\n  looks: {count: page_view}\n"
        f"scores:\n  score: {{plugin: {plugin}, inputs: [looks], time_limit: 60s}}\n"
    )
    models = configuration_of(load_models([str(path)]))
    live.apply(EntryType.CONFIGURE, json.dumps({"settings": {}, **models}).encode())
    program = live.engine.program
    looked: list[float] = []

    def view() -> ScoreView:
        looked.append(time.monotonic())
        return live.engine.score_view()

    def make(_: object) -> PluginScorer:
        return PluginScorer(plugin, 120.0)

    runner = Runner("test", view, program, program.scores, make, lambda: live.now_ms, lambda _: None)
    runner.start()
    try:
        yield runner, looked
    finally:
        runner.stop()
        runner.abort()
        runner.join(10.0)


def statuses(live: LiveEngine) -> list[int]:
    """Return how the score of each session stands."""
    view = live.engine.score_view()
    return [int(status) for status in view.scores[view.rows_in_use(), 0, SC_STATUS]]


def send(live: LiveEngine, runner: Runner, *visitors: str) -> None:
    """Apply an event of each visitor and tell the runner."""
    outcome = live.view(*visitors)
    runner.mark(live.engine.score_view(), outcome.rows)


def fails(runner: Runner, at_least: int) -> Callable[[], bool]:
    """Return whether the runner has failed so often."""
    return lambda: runner.counts["failures"] >= at_least


def test_a_failed_plugin_leaves_the_runner_in_peace_when_no_session_is_left(engine: LiveEngine, tmp_path: Path) -> None:
    """Its thread sleeps; it does not look again and again for what is not there."""
    (tmp_path / "fails").touch()
    with running(engine, tmp_path, "sometimes") as (runner, looked):
        send(engine, runner, "ada")
        until(fails(runner, 1), 120.0)
        for _ in range(3):
            engine.tick(86_400_000)
        assert not statuses(engine)
        time.sleep(3 * REST_S)
        looked.clear()
        time.sleep(1.0)
        assert len(looked) < 5
        # It has not forgotten how to work.
        (tmp_path / "fails").unlink()
        send(engine, runner, "bob")
        until(lambda: statuses(engine) == [SCORED])


def test_all_sessions_are_scored_when_a_plugin_works_again(engine: LiveEngine, tmp_path: Path) -> None:
    """Also where other sessions never let the runner rest, so that one of them is the first that goes well."""
    (tmp_path / "fails").touch()
    with running(engine, tmp_path, "sometimes") as (runner, _):
        for visitor in ("ada", "bob", "eve"):
            send(engine, runner, visitor)
            until(lambda: not runner.waiting, 120.0)
        until(fails(runner, breaker.FAILURES_MAX), 120.0)
        assert SCORED not in statuses(engine)
        (tmp_path / "fails").unlink()

        def all_scored() -> bool:
            send(engine, runner, "busy")
            return len(statuses(engine)) == 4 and set(statuses(engine)) == {int(SCORED)}

        until(all_scored, 120.0)


def test_no_number_is_no_score_for_that_session_only(engine: LiveEngine, tmp_path: Path) -> None:
    """The others of the batch have theirs, and nothing is tried again."""
    with running(engine, tmp_path, "not_for_two") as (runner, _):
        send(engine, runner, "ada", "bob")
        send(engine, runner, "bob")
        until(lambda: sorted(statuses(engine)) == [SCORED, REASONS + FAILED], 120.0)
        assert runner.counts["failures"] == 0


def test_a_process_that_cannot_be_started_is_tried_again(
    engine: LiveEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The runner lives on: where the system had no files or memory left, it has some later."""
    with monkeypatch.context() as full:

        def refuse(*_: object, **__: object) -> None:
            raise OSError(24, "Too many open files")

        full.setattr("subprocess.Popen.__init__", refuse)
        with running(engine, tmp_path, "mean") as (runner, _):
            send(engine, runner, "ada")
            until(fails(runner, 1), 120.0)
            assert statuses(engine) == [REASONS + FAILED]
            full.undo()
            until(lambda: statuses(engine) == [SCORED], 120.0)
