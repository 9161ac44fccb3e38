"""Scores are listed from the command line, and weights put back."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.cli.conftest import Rte
from tests.service.calls import event, send
from tests.service.live_server import LiveServer, live_server

MODEL = """model: learning
attributes:
  looks: {count: view_item}
scores:
  p_online:
    online: {inputs: [looks], label: purchase, examples: 10, margin: 0}
    shadow: false
  p_shy:
    online: {inputs: [looks], label: purchase}
  fixed:
    linear: {intercept: -1.0, weights: {looks: 0.5}}
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """A server with a score that has learned from 100 sessions, and one that does not learn."""
    folder = tmp_path_factory.mktemp("learning")
    (folder / "learning.yaml").write_text(MODEL)
    with live_server(folder / "data", models__packs=(str(folder / "learning.yaml"),)) as running:
        with running.channel() as channel:
            for number in range(100):
                visitor = f"learn-{number}"
                send(channel, event(visitor, "view_item"), event(visitor, "purchase"))
        yield running


def rows(out: str) -> dict[str, list[str]]:
    """Return the rows of printed tables by their first column."""
    return {line.split("\t")[0]: line.split("\t")[1:] for line in out.splitlines() if line}


def test_scores_are_listed_with_how_they_learn(rte: Rte, server: LiveServer) -> None:
    """Each score with its runner and inputs, then a table of those that learn; as JSON the messages themselves."""
    result = rte("models", "scores", "--server", server.address)
    assert result.exit_code == 0, result.err
    *tables, why = result.out.rstrip().split("\n\n")
    assert why == "p_shy is in the shadow. It has learned from 100 sessions; it may be shown after 500 (`examples`)."
    listed, learning = map(rows, tables)
    assert listed["fixed"] == ["learning", "linear", "", "looks"]
    assert listed["p_online"] == ["learning", "online", "", "looks"]
    assert list(learning) == ["learns", "p_online", "p_shy"]
    by_title = dict(zip(learning["learns"], learning["p_online"], strict=True))
    assert (by_title["is"], by_title["examples"], by_title["of 1"]) == ("shown", "100", "100")
    assert (by_title["baseline"], by_title["AUC"], by_title["versions"]) == ("share of 1s", "", "1")
    assert by_title["horizon"] == "1,000"
    assert 0.0 < float(by_title["log loss"]) < 0.7
    found = json.loads(rte("models", "scores", "--format", "json", "--server", server.address).out)
    assert [each["name"] for each in found] == ["fixed", "p_online", "p_shy"]
    assert found[1]["online"]["example_count"] == 100 and "shadow_reason" not in found[1]["online"]
    shy = found[2]["online"]
    assert (shy["example_count_min"], shy["horizon_count"], shy["margin"]) == (500, 1000, 0.005)


def test_weights_are_put_back(rte: Rte, server: LiveServer) -> None:
    """A version that is kept comes back and the position is told; another one, or another score, is refused."""
    result = rte("models", "rollback-weights", "p_online", 1, "--server", server.address)
    assert result.exit_code == 0, result.err
    assert "p_online goes on with the weights of version 1 since position 0-" in result.out
    answer = json.loads(
        rte("models", "rollback-weights", "p_online", 1, "--format", "json", "--server", server.address).out
    )
    assert answer["score"]["online"]["rollback_count"] == 2
    for score, version, message in (
        ("p_online", 9, "no version 9 of the weights of 'p_online'; kept: 1"),
        ("fixed", 1, "No score that learns has the name 'fixed'"),
        ("nothing", 1, "No score that learns has the name 'nothing'"),
    ):
        refused = rte("models", "rollback-weights", score, version, "--server", server.address)
        assert refused.exit_code == 1
        assert message in refused.err and "WEIGHTS_NOT_FOUND" in refused.err
    assert rte("models", "rollback-weights", "p_online", 0, "--server", server.address).exit_code == 2
