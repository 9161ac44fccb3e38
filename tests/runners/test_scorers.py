"""Scorers: each keeps to the conformance suite; what fails says how, and is left alone for a while."""

from __future__ import annotations

import logging
import re
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from rte_server.engine.scores import CIRCUIT_OPEN, FAILED, PACKAGE_MISSING, TIMEOUT
from rte_server.runners.breaker import FAILURES_MAX, REST_S_MAX, REST_S_MIN, Breaker
from rte_server.runners.onnx import GraphError, OnnxScorer
from rte_server.runners.plugin import PluginScorer
from rte_server.runners.plugin_output import BYTES_MAX
from rte_server.runners.scorer import RestingScorer, Scorer, ScorerError
from rte_server.training.fitting import Algorithm, fit
from rte_server.training.graph import graph_of
from rte_server.training.tasks import Encoding
from tests.runners import graphs, plugins
from tests.runners.conformance import CHECKS, INPUTS, MakeScorer, rows
from tests.runners.test_scores_live import until

TIME_LIMIT_S = 3.0


def fitted_graph(algorithm: Algorithm) -> bytes:
    """Return a small graph."""
    inputs = rows(200, seed=2)
    labels = inputs[:, 0] + inputs[:, 1] > 0
    return graph_of(fit(algorithm, (Encoding.SHARE,) * INPUTS, inputs, labels), INPUTS)


@pytest.fixture(params=["logistic", "lightgbm", "plugin"])
def make(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeScorer:
    """How a scorer of each sort is made."""
    if request.param == "plugin":
        plugins.install(tmp_path, monkeypatch)
        return lambda: PluginScorer("mean", 60.0)
    graph = fitted_graph(Algorithm(request.param))
    return lambda: OnnxScorer(graph, INPUTS, 60.0)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_scorers_conform(check: object, make: MakeScorer) -> None:
    """Each keeps to the whole suite."""
    assert callable(check)
    check(make)


@pytest.mark.parametrize(
    ("name", "reason", "text"),
    [
        ("broken", FAILED, "ValueError: it is broken"),
        ("wrong", FAILED, r"it gave \(2, 3\) for 2 rows"),
        ("changes", FAILED, "read-only"),
        ("dies", FAILED, "ended"),
        ("slow", TIMEOUT, "longer than 3000 ms"),
        ("busy", TIMEOUT, "longer than 3000 ms"),
        ("number", FAILED, "not callable"),
        ("gone", FAILED, "AttributeError"),
        (
            "unknown",
            PACKAGE_MISSING,
            "no plug-in 'unknown' is installed; installed are: began, breaks_on_three, broken",
        ),
    ],
)
def test_a_plugin_that_fails_says_how(
    name: str, reason: int, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the log by its message, to those who read by its reason."""
    plugins.install(tmp_path, monkeypatch)
    scorer = PluginScorer(name, TIME_LIMIT_S)
    with pytest.raises(ScorerError, match=text) as failed:
        scorer.score(rows(2))
    assert failed.value.reason == reason
    scorer.close()


def test_a_plugin_that_keeps_failing_rests_and_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While it rests it is not asked at all; one attempt that goes well closes the circuit."""
    plugins.install(tmp_path, monkeypatch)
    (tmp_path / "fails").touch()
    now_s = 100.0
    scorer = RestingScorer(PluginScorer("sometimes", 60.0), lambda: now_s)
    for _ in range(FAILURES_MAX):
        with pytest.raises(ScorerError, match="not now"):
            scorer.score(rows(2))
    with pytest.raises(ScorerError) as refused:
        scorer.score(rows(2))
    assert refused.value.reason == CIRCUIT_OPEN
    (tmp_path / "fails").unlink()
    with pytest.raises(ScorerError):
        scorer.score(rows(2))
    now_s += REST_S_MIN
    assert (scorer.score(rows(2)) == 1.0).all()
    scorer.close()


def test_a_process_that_was_killed_is_started_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a batch that took too long the next one is answered by a new process."""
    plugins.install(tmp_path, monkeypatch)
    scorer: Scorer = PluginScorer("busy", TIME_LIMIT_S)
    for _ in range(2):
        began = time.monotonic()
        with pytest.raises(ScorerError) as failed:
            scorer.score(rows(2))
        assert failed.value.reason == TIMEOUT
        assert time.monotonic() - began < 60
    scorer.close()


def test_a_breaker_rests_longer_each_time() -> None:
    """Up to a limit; one success makes it forget."""
    breaker = Breaker()
    now_s, rests = 0.0, list[float]()
    for _ in range(12):
        breaker.failed(now_s)
        rests.append(breaker.retry_in_s(now_s) or 0.0)
        assert breaker.is_open == (len(rests) >= FAILURES_MAX)
        assert breaker.allows(now_s) != breaker.is_open
        now_s += rests[-1]
        assert breaker.allows(now_s)
    assert rests[: FAILURES_MAX + 1] == [REST_S_MIN] * FAILURES_MAX + [2 * REST_S_MIN]
    assert rests[-1] == REST_S_MAX
    breaker.succeeded()
    assert breaker.allows(0.0) and not breaker.is_open


def test_what_a_plugin_prints_is_logged_in_bounds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As the text of records of its own; how much is left out is said at the end."""
    plugins.install(tmp_path, monkeypatch)
    scorer = PluginScorer("talks", 120.0)
    with caplog.at_level(logging.INFO, "rte.plugins"):
        assert (scorer.score(rows(3)) == 1.0).all()
        scorer.close()
        until(lambda: "bytes more, which are left out" in caplog.text)
    messages = [record.getMessage() for record in caplog.records if record.name == "rte.plugins"]
    assert messages[:2] == ["the plug-in talks printed: a line", 'the plug-in talks printed: {"level": "forged"}']
    assert sum(len(message) for message in messages) < 2 * BYTES_MAX
    assert int(re.findall(r"printed (\d+) bytes more", messages[-1])[0]) > 1_900_000


def test_what_a_plugin_has_started_ends_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When it takes too long, its children are ended, too."""
    plugins.install(tmp_path, monkeypatch)
    scorer = PluginScorer("parent", 10.0)
    with pytest.raises(ScorerError, match="longer than 10000 ms"):
        scorer.score(rows(2))
    child = int((tmp_path / "fails").read_text())
    until(lambda: not _is_running(child))
    scorer.close()


def _is_running(process_id: int) -> bool:
    """Return whether a process runs: neither gone nor dead and not yet waited for."""
    try:
        return Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("name", ["slow", "busy"])
def test_a_plugin_is_aborted_from_another_thread(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever its time limit is; it is not started again."""
    plugins.install(tmp_path, monkeypatch)
    scorer = PluginScorer(name, 600.0)
    threading.Timer(1.0, scorer.abort).start()
    began = time.monotonic()
    for _ in range(2):
        with pytest.raises(ScorerError):
            scorer.score(rows(2))
    assert time.monotonic() - began < 60
    scorer.close()


def test_a_graph_that_does_not_end_is_ended_rests_and_is_tried_again() -> None:
    """As a plug-in is; a row with which it ends closes the circuit, and nothing runs on meanwhile."""
    now_s = 100.0
    scorer = RestingScorer(OnnxScorer(graphs.endless(always=False), 1, TIME_LIMIT_S), lambda: now_s)
    endless, harmless = np.ones((2, 1), np.float32), np.zeros((2, 1), np.float32)
    assert (scorer.score(harmless) == 0.0).all()
    for _ in range(FAILURES_MAX):
        began = time.monotonic()
        with pytest.raises(ScorerError, match="longer than 3000 ms") as failed:
            scorer.score(endless)
        assert failed.value.reason == TIMEOUT
        assert time.monotonic() - began < 60
    with pytest.raises(ScorerError) as refused:
        scorer.score(harmless)
    assert refused.value.reason == CIRCUIT_OPEN
    until(lambda: not [thread for thread in threading.enumerate() if thread.name == "rte-onnx"])
    now_s += REST_S_MIN
    assert (scorer.score(harmless) == 0.0).all()


def test_a_graph_is_aborted_from_another_thread() -> None:
    """Whatever its time limit is."""
    scorer = OnnxScorer(graphs.endless(always=True), 1, 600.0)
    threading.Timer(0.2, scorer.abort).start()
    began = time.monotonic()
    for _ in range(2):
        with pytest.raises(ScorerError, match="ending"):
            scorer.score(np.ones((1, 1), np.float32))
    assert time.monotonic() - began < 60


def graph_with(inputs: list[int | None], output_type: int = TensorProto.FLOAT) -> bytes:
    """Return a graph that gives a row's first input, or something else."""
    start, end, axes = (
        helper.make_tensor(name, TensorProto.INT64, [1], [value]) for name, value in (("s", 0), ("e", 1), ("a", 1))
    )
    nodes = [helper.make_node("Slice", ["x", "s", "e", "a"], ["y"])]
    last = "y"
    if output_type != TensorProto.FLOAT:
        nodes.append(helper.make_node("Cast", ["y"], ["z"], to=output_type))
        last = "z"
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, inputs)],
        [helper.make_tensor_value_info(last, output_type, None)],
        [start, end, axes],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9).SerializeToString()


def test_graphs_that_do_not_fit_are_refused() -> None:
    """Other inputs, no numbers, or no graph at all; each with what to do."""
    assert (OnnxScorer(graph_with([None, INPUTS]), INPUTS, 60.0).score(rows(4)) == rows(4)[:, 0]).all()
    for graph, inputs, text in (
        (b"no graph", INPUTS, "no ONNX graph"),
        (graph_with([None, 5]), INPUTS, "takes 5 inputs, and the score names 3"),
        (graph_with([1, INPUTS]), INPUTS, "takes 1 row at a time"),
        (graph_with([4, INPUTS]), INPUTS, "takes 4 rows at a time"),
        (graph_with([None, INPUTS], TensorProto.INT64), INPUTS, "gives no numbers"),
    ):
        with pytest.raises(GraphError, match=text) as refused:
            OnnxScorer(graph, inputs, 60.0)
        assert refused.value.remedy
