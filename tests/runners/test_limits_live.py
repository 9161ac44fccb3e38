"""Graphs without an end in a running server: they are refused or absent, and nobody waits for them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import grpc
import pytest

from rte.v1.event_pb2 import Event
from rte.v1.event_service_pb2 import WAIT_APPLIED, IngestEventsRequest
from rte.v1.event_service_pb2_grpc import EventServiceStub
from rte.v1.model_service_pb2 import ApplyModelsRequest, ApplyModelsResponse, ModelSource
from rte.v1.model_service_pb2_grpc import ModelServiceStub
from rte.v1.session_explanation_pb2 import Explanation
from rte.v1.session_pb2 import Score
from rte.v1.session_service_pb2 import ExplainSessionRequest
from rte.v1.session_service_pb2_grpc import SessionServiceStub
from rte_server.models import scores
from rte_server.runners import runners
from tests.runners import graphs
from tests.runners.test_scores_live import session, until
from tests.service.live_server import LiveServer, live_server

LIMIT = "3s"
"""What a graph that ends needs less than, however busy the machine is, and one that does not reaches."""

MODEL = """model: {name}
version: 1
attributes:
  {name}_looks: {{count: view_item}}
scores:
  {name}_score: {{onnx: g.onnx, inputs: [{name}_looks], time_limit: {limit}{more}}}
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """A server that runs nothing of the sort."""
    with live_server(tmp_path_factory.mktemp("data")) as running:
        yield running


def apply(
    server: LiveServer, name: str, graph: bytes, limit: str, more: str = "", *, only_try: bool = False
) -> ApplyModelsResponse:
    """Apply a model with one graph."""
    mode = ApplyModelsRequest.MODE_VALIDATE if only_try else ApplyModelsRequest.MODE_ACTIVATE
    source = ModelSource(yaml=MODEL.format(name=name, limit=limit, more=more), file=f"{name}.yaml")
    request = ApplyModelsRequest(models=[source], files={"g.onnx": graph}, mode=mode)
    with server.channel() as channel:
        return ModelServiceStub(channel).ApplyModels(request, timeout=60)


def look(server: LiveServer, visitor: str) -> None:
    """Send an event and wait until it is folded."""
    event = Event(name="view_item", visitor_id=visitor)
    with server.channel() as channel:
        EventServiceStub(channel).IngestEvents(IngestEventsRequest(events=[event], wait=WAIT_APPLIED))


def score(server: LiveServer, visitor: str, name: str) -> Score:
    """Return how a score of a visitor's session stands."""
    return next(each for each in session(server, visitor).scores if each.name == name)


def explain(server: LiveServer, visitor: str, attribute: str) -> Explanation:
    """Explain an attribute."""
    request = ExplainSessionRequest(visitor_id=visitor, attribute=attribute)
    with server.channel() as channel:
        return SessionServiceStub(channel).ExplainSession(request, timeout=60).explanation


def test_a_graph_without_an_end_holds_up_nobody(tmp_path: Path) -> None:
    """Its score is absent and says why; other graphs, explanations and orders go on."""
    with live_server(tmp_path / "data") as server:
        apply(server, "good", graphs.identity(), "10s")
        apply(server, "bad", graphs.endless(always=False), LIMIT)
        look(server, "ada")
        timed_out = (Score.REASON_TIMEOUT, Score.REASON_CIRCUIT_OPEN)
        until(lambda: score(server, "ada", "bad_score").reason in timed_out)
        look(server, "ada")
        until(lambda: score(server, "ada", "good_score").status == Score.STATUS_FRESH)
        until(lambda: session(server, "ada").attributes.fields["good_score"].number_value == 2.0)
        explained = explain(server, "ada", "bad_score")
        assert "longer than 3000 ms" in explained.score.reason
        assert explain(server, "ada", "good_score").value.number_value == 2.0
        assert explain(server, "ada", "bad_looks").value.number_value == 2.0


def test_the_end_of_a_server_waits_for_no_graph(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long it may take by its model, and though an explanation waits for it, too; both end with the server."""
    monkeypatch.setattr(runners, "ASKED_S_MAX", 3600.0)
    monkeypatch.setattr(scores, "TIME_LIMIT_MS_MAX", 3_600_000)
    until(lambda: not _graph_threads())  # Those of tests before.
    server = LiveServer(tmp_path / "data")
    try:
        apply(server, "bad", graphs.endless(always=False), "1h")
        look(server, "ada")
        until(lambda: len(_graph_threads()) == 1)
        asking = threading.Thread(target=_ask_in_vain, args=(server,))
        asking.start()
        until(lambda: len(_graph_threads()) == 2)
    finally:
        began = time.monotonic()
        server.stop()
    assert time.monotonic() - began < 240.0  # Less than a test server may take, and far less than the graph.
    until(lambda: not _graph_threads())
    asking.join(60.0)


def _graph_threads() -> list[threading.Thread]:
    """Return the threads that run graphs now."""
    return [thread for thread in threading.enumerate() if thread.name == "rte-onnx"]


def _ask_in_vain(server: LiveServer) -> None:
    """Ask for an explanation, and take whatever the end of the server makes of it."""
    with suppress(grpc.RpcError):
        explain(server, "ada", "bad_score")


@pytest.mark.parametrize(
    ("graph", "more", "line", "text"),
    [
        (graphs.endless(always=True), "", 6, "fails on two rows of zeros: the graph took longer than 3000 ms"),
        (
            graphs.endless(always=False),
            ", golden: [{inputs: [1], score: 1}]",
            6,
            "fails on its golden rows: the graph took longer than 3000 ms",
        ),
        (graphs.one_row_inside(), "", 6, "fails on two rows of zeros: the graph failed"),
    ],
    ids=["always", "golden row", "one row inside"],
)
def test_a_graph_that_cannot_do_is_refused(graph: bytes, more: str, line: int, text: str, server: LiveServer) -> None:
    """Before it runs, with its line."""
    (problem,) = apply(server, "bad", graph, LIMIT, more, only_try=True).problems
    assert (problem.file, problem.line) == ("bad.yaml", line)
    assert text in problem.message
    assert ("`time_limit`" in problem.remedy) == ("longer than" in text)
