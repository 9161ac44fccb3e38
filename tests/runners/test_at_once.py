"""Scores without a thread: a session that breaks one is found as a runner finds it, and told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rte_server.engine.entries import EntryType
from rte_server.engine.scores import SC_STATUS, SCORED
from rte_server.models import configuration_of, load_models
from rte_server.runners import at_once
from rte_server.runners.at_once import NOT_FOUND, score_rows_at_once
from tests.runners import plugins
from tests.service.live_engine import LiveEngine

MODEL = (
    "model: plugged\nattributes:\n  looks: {count: page_view}\n"
    "scores:\n  score: {plugin: %s, inputs: [looks], time_limit: 60s}\n"
)
GOOD = [f"v{number}" for number in range(40)]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where plug-ins are installed."""
    plugins.install(tmp_path, monkeypatch)
    return tmp_path


def scored(folder: Path, plugin: str) -> tuple[set[str], set[str], dict[str, int]]:
    """Return who has a score and who has none for which reasons, of some sessions, two of which break plug-ins on three."""
    path = folder / "plugged.yaml"
    path.write_text(MODEL % plugin)
    live = LiveEngine()
    models = load_models([str(path)])
    live.apply(EntryType.CONFIGURE, json.dumps({"settings": {}, **configuration_of(models)}).encode())
    everyone = [*GOOD, "bad", "worse"]
    live.view(*everyone, *("bad", "worse") * 3)
    found = score_rows_at_once(live.engine, models, live.engine.rows_in_use(), ["score"])
    of = {live.engine.find_visitor(visitor): visitor for visitor in everyone}
    statuses = live.engine.score_view().scores[:, 0, SC_STATUS]
    unscored = found["score"].rows.tolist() if found else []
    reasons = dict(found["score"].reasons) if found else {}
    return {visitor for row, visitor in of.items() if statuses[row] == SCORED}, {of[row] for row in unscored}, reasons


def test_sessions_that_break_a_score_lose_their_own_only(folder: Path) -> None:
    """All others of their batch are scored; the two are told, with the reason."""
    for plugin, reason in (("breaks_on_three", "ValueError: three"), ("began", "ended with code 4")):
        good, bad, reasons = scored(folder, plugin)
        assert (good, bad) == (set(GOOD), {"bad", "worse"})
        assert [reason in each for each in reasons] == [True] and list(reasons.values()) == [2]


def test_what_fails_for_everything_is_told_of_all(folder: Path) -> None:
    """And what works for everything of nobody."""
    good, bad, reasons = scored(folder, "broken")
    assert not good and len(bad) == len(GOOD) + 2 and sum(reasons.values()) == len(bad)
    good, bad, reasons = scored(folder, "mean")
    assert len(good) == len(GOOD) + 2 and not bad and not reasons


def test_a_search_that_takes_too_long_is_given_up(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that were not found by then are told, too."""
    monkeypatch.setattr(at_once, "SEARCH_S_MAX", -1.0)
    monkeypatch.setattr("rte_server.runners.isolation.FAILURES_PER_ROUND", 1)
    good, bad, reasons = scored(folder, "breaks_on_three")
    assert not good & bad and {"bad", "worse"} <= bad and len(good | bad) == len(GOOD) + 2
    assert NOT_FOUND in reasons
