"""Scores of a running server: they equal offline prediction, say how they stand, and outlive what goes wrong."""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from rte.v1.event_pb2 import Event
from rte.v1.event_service_pb2 import WAIT_APPLIED, IngestEventsRequest
from rte.v1.event_service_pb2_grpc import EventServiceStub
from rte.v1.model_service_pb2 import ApplyModelsRequest, ListModelsRequest, ModelSource
from rte.v1.model_service_pb2_grpc import ModelServiceStub
from rte.v1.session_pb2 import Score, Session
from rte.v1.session_service_pb2 import (
    ExplainSessionRequest,
    GetSessionRequest,
    ListSessionsRequest,
    WatchSessionsRequest,
    WatchSessionsResponse,
)
from rte.v1.session_service_pb2_grpc import SessionServiceStub
from rte_server.models import ModelError
from rte_server.models.trials import run_file
from rte_server.runners.at_once import score_all
from rte_server.runners.packages import GRAPHS_KEPT
from rte_server.training.evaluation import area_under_curve, evaluate
from rte_server.training.examples import examples_of
from rte_server.training.fitting import Algorithm, fit
from rte_server.training.package import train
from rte_server.training.recordings import read_events
from rte_server.training.reports import write_package
from rte_server.training.tasks import PURCHASE, Task
from tests.cli.conftest import Rte, rte
from tests.service.live_server import LiveServer, live_server
from tests.training.test_training import available, small_file

__all__ = ["rte"]

SMALL_COLUMNS = ("Administrative", "ProductRelated", "PageValues", "Month", "VisitorType", "Weekend")
TASK: Task = available(PURCHASE, SMALL_COLUMNS)


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package that was trained from a small recording, and the recording beside it."""
    folder = tmp_path_factory.mktemp("package")
    events = list(read_events(TASK, small_file(folder)))
    write_package(folder, train(TASK, Algorithm.LIGHTGBM, (), events, lambda _: None)[1])
    return folder


@pytest.fixture(scope="module")
def server(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """A server that runs the model of the package."""
    packs = ("base", str(package / "model.yaml"))
    with live_server(tmp_path_factory.mktemp("data"), models__packs=packs) as running:
        yield running


def until(condition: Callable[[], bool], limit_s: float = 120.0) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, "it has not come about"
        time.sleep(0.005)


def send(server: LiveServer, visitor: str, event_id: str, **properties: float | str) -> None:
    """Send the summary of a visit and wait until it is folded."""
    event = Event(event_id=event_id, name="visit_summary", visitor_id=visitor)
    event.properties.update(properties)
    with server.channel() as channel:
        EventServiceStub(channel).IngestEvents(IngestEventsRequest(events=[event], wait=WAIT_APPLIED))


def session(server: LiveServer, visitor: str) -> Session:
    """Return the visitor's session."""
    with server.channel() as channel:
        return SessionServiceStub(channel).GetSession(GetSessionRequest(visitor_id=visitor)).session


def until_fresh(server: LiveServer, visitor: str) -> None:
    """Wait until the score of a visitor's session has seen all of its events."""
    until(lambda: session(server, visitor).scores[0].status == Score.STATUS_FRESH)


def test_scores_equal_offline_prediction(server: LiveServer, package: Path) -> None:
    """What comes back from the server is what the fitted model says of the same rows, to 1e-5."""
    events = list(read_events(TASK, package / "rows.csv"))
    examples = examples_of(TASK, events)
    encodings = [feature.encoding for feature in TASK.inputs if feature.encoding is not None]
    fitted = fit(Algorithm.LIGHTGBM, encodings, examples.inputs, examples.labels)
    with server.channel() as channel:
        send_bytes: Callable[..., bytes] = channel.unary_unary("/rte.v1.EventService/IngestEvents")
        sessions = SessionServiceStub(channel)
        found = evaluate(TASK, package / "rows.csv", send_bytes, sessions.BatchGetSessions, 20, lambda _: None)
    assert found.scored == found.examples == 200
    offline = fitted.probabilities(examples.inputs)
    assert np.abs(found.scores - offline).max() < 1e-5
    assert found.auc == pytest.approx(area_under_curve(offline, examples.labels), abs=1e-9)
    assert found.auc > 0.8


def test_who_has_no_visit_summary_has_no_score(server: LiveServer) -> None:
    """Of a visitor that the model was told nothing of it says nothing; single values that are missing have defaults."""
    with server.channel() as channel:
        event = Event(event_id="n1", name="view_item", visitor_id="nobody")
        EventServiceStub(channel).IngestEvents(IngestEventsRequest(events=[event], wait=WAIT_APPLIED))
    until(lambda: session(server, "nobody").scores[0].reason == Score.REASON_MISSING_INPUT)
    found = session(server, "nobody")
    assert found.scores[0].status == Score.STATUS_ABSENT
    assert "purchase_probability" not in found.attributes
    send(server, "somebody", "n2", ProductRelated=1.0)
    until_fresh(server, "somebody")


def test_only_the_model_that_was_given_is_evaluated(
    rte: Rte, server: LiveServer, package: Path, tmp_path: Path
) -> None:
    """Another package with a score of that name is refused, with what to do; alongside, its own score is measured."""
    at = ("--server", server.address)
    other = tmp_path / "other"
    events = list(read_events(TASK, package / "rows.csv"))
    write_package(other, train(TASK, Algorithm.LOGISTIC, ("ProductRelated",), events, lambda _: None)[1])
    for folder, without in ((package, []), (other, ["ProductRelated"])):
        report = json.loads((folder / "report.json").read_text())
        unused = [each.column for each in PURCHASE.inputs if each.column and each.column not in SMALL_COLUMNS]
        (folder / "report.json").write_text(json.dumps(report | {"without": [*unused, *without]}))
    rows = package / "rows.csv"
    first = rte("models", "evaluate", package, rows, *at)
    assert first.out.startswith("purchase_probability: AUC 0.9"), first.err
    result = rte("models", "evaluate", other, rows, *at)
    assert result.exit_code == 1
    assert f"does not run the model of {other}: its model `purchase` is another one" in result.err
    assert "--alongside" in result.err
    assert rte("models", "apply", other / "model.yaml", "--alongside", *at).exit_code == 0
    try:
        result = rte("models", "evaluate", other, rows, *at)
        assert result.out.startswith("purchase_v1.purchase_probability: AUC "), result.err
        assert result.out.split()[2] != first.out.split()[2]
    finally:
        rte("models", "apply", "--remove", "purchase_v1", *at)


def test_a_score_says_how_it_stands(server: LiveServer) -> None:
    """It becomes fresh, names its model and the time of what it has seen; a new event makes it fresh again."""
    send(server, "standing", "s1", ProductRelated=1.0)
    until_fresh(server, "standing")
    first = session(server, "standing")
    score = first.scores[0]
    assert (score.name, score.model, score.model_version) == ("purchase_probability", "purchase", 1)
    assert score.as_of_time.seconds > 0 and not score.HasField("age")
    before = first.attributes["purchase_probability"]
    send(server, "standing", "s2", ProductRelated=80.0)
    until(lambda: session(server, "standing").attributes["purchase_probability"] != before)
    later = session(server, "standing").scores[0]
    assert later.as_of_time.ToNanoseconds() >= score.as_of_time.ToNanoseconds()


def test_a_list_filters_and_orders_by_a_score(server: LiveServer) -> None:
    """As by any other attribute."""
    for number in range(5):
        send(server, f"listed-{number}", f"l{number}", ProductRelated=float(20 * number))
        until_fresh(server, f"listed-{number}")
    request = ListSessionsRequest(
        filter='purchase_probability > 0.0 && session.visitor_id.startsWith("listed-")',
        order_by="purchase_probability desc",
    )
    with server.channel() as channel:
        found = SessionServiceStub(channel).ListSessions(request).sessions
    scores = [each.attributes.fields["purchase_probability"].number_value for each in found]
    assert len(scores) == 5
    assert scores == sorted(scores, reverse=True)


def test_a_watch_is_told_of_a_score_that_comes_later(server: LiveServer) -> None:
    """The state with the fresh score is sent though no event comes; a resumed watch repeats it and skips nothing."""
    request = WatchSessionsRequest(filter='session.visitor_id == "watched"')
    with server.channel() as channel:
        watch = SessionServiceStub(channel).WatchSessions(request, timeout=60)
        for message in watch:
            if message.type == WatchSessionsResponse.TYPE_SYNCED:
                send(server, "watched", "w1", ProductRelated=3.0)
            if message.type == WatchSessionsResponse.TYPE_UPSERT:
                if message.session.scores[0].status == Score.STATUS_FRESH:
                    break
                # From a place before the score: the score must be sent again.
                request.resume_token = message.resume_token
        watch.cancel()
        resumed = SessionServiceStub(channel).WatchSessions(request, timeout=60)
        statuses = (
            message.session.scores[0].status for message in resumed if message.type == WatchSessionsResponse.TYPE_UPSERT
        )
        assert next(status for status in statuses if status == Score.STATUS_FRESH)
        resumed.cancel()


def test_a_restart_computes_scores_anew_without_the_folder_of_the_model(package: Path, tmp_path: Path) -> None:
    """The graph is kept by its digest; the scores are those of before."""
    folder = tmp_path / "model"
    write_package(folder, {name: (package / name).read_bytes() for name in ("model.yaml", "model.onnx")})
    data = tmp_path / "data"
    with live_server(data, models__packs=(str(folder / "model.yaml"),)) as running:
        send(running, "back", "b1", ProductRelated=30.0)
        until_fresh(running, "back")
        before = session(running, "back").attributes["purchase_probability"]
    (folder / "model.onnx").unlink()
    with live_server(data, models__packs=(str(folder / "model.yaml"),)) as running:
        until_fresh(running, "back")
        assert session(running, "back").attributes["purchase_probability"] == before


def test_a_changed_graph_is_refused(package: Path, tmp_path: Path) -> None:
    """By its digest, with file, line and remedy; and where the digest is that of the file, by its golden rows."""
    files = {name: (package / name).read_bytes() for name in ("model.yaml", "model.onnx")}
    text = files["model.yaml"].decode()
    line = next(number for number, each in enumerate(text.splitlines(), 1) if "sha256:" in each)
    write_package(tmp_path, files | {"model.onnx": files["model.onnx"] + b"\0"})
    with pytest.raises(ModelError) as refused:
        LiveServer(tmp_path / "data", models__packs=(str(tmp_path / "model.yaml"),))
    assert refused.value.line == line
    assert "has another digest" in refused.value.message
    golden = next(number for number, each in enumerate(text.splitlines(), 1) if "{inputs:" in each)
    changed = text.replace("score: 0.", "score: 1.", 1)
    write_package(tmp_path, files | {"model.yaml": changed.encode()})
    with pytest.raises(ModelError) as refused:
        LiveServer(tmp_path / "data", models__packs=(str(tmp_path / "model.yaml"),))
    assert refused.value.line == golden
    assert "golden row 1 gives" in refused.value.message
    assert refused.value.remedy


def test_a_score_is_explained(server: LiveServer) -> None:
    """By what each input adds to the logarithm of its odds; all together they make the score that is shown."""
    send(server, "explained", "e1", ProductRelated=60.0, PageValues=0.9)
    until_fresh(server, "explained")
    shown = session(server, "explained").attributes.fields["purchase_probability"].number_value
    request = ExplainSessionRequest(visitor_id="explained", attribute="purchase_probability")
    with server.channel() as channel:
        explanation = SessionServiceStub(channel).ExplainSession(request).explanation
    score = explanation.score
    assert (score.method, score.link) == ("shapley_sampling", "logistic")
    assert score.base + sum(row.contribution for row in score.inputs) == pytest.approx(score.total, abs=1e-9)
    assert explanation.value.number_value == pytest.approx(shown, abs=1e-6)
    assert next(row for row in score.inputs if row.name == "product_related").used == 60.0


def test_a_package_is_applied_to_a_running_server(package: Path, tmp_path: Path) -> None:
    """With the bytes of its graph in the request; sessions that are there are scored; a restart finds the graph again."""
    model = ModelSource(yaml=(package / "model.yaml").read_text(), file="model.yaml")
    graph = (package / "model.onnx").read_bytes()
    request = ApplyModelsRequest(models=[model], files={"model.onnx": graph}, mode=ApplyModelsRequest.MODE_ACTIVATE)
    with live_server(tmp_path / "data", models__packs=("base",)) as running:
        send(running, "applied", "a1", ProductRelated=30.0)
        assert not session(running, "applied").scores
        with running.channel() as channel:
            ModelServiceStub(channel).ApplyModels(request, timeout=60)
        until(lambda: len(session(running, "applied").scores) == 1)
        until_fresh(running, "applied")
        # The attributes of the model are complete from the journal, so the score is that of the event before.
        score = session(running, "applied").attributes["purchase_probability"]
    with live_server(tmp_path / "data", models__packs=("base",)) as running:
        until_fresh(running, "applied")
        assert session(running, "applied").attributes["purchase_probability"] == score


def test_a_package_that_does_not_fit_is_refused_with_its_line(server: LiveServer, package: Path) -> None:
    """The running models stay; the answer names file, line and remedy."""
    text = (package / "model.yaml").read_text().replace("model: purchase", "model: other", 1)
    text = text.replace("purchase_probability", "other_probability").replace("      - weekend\n", "", 1)
    names = [line.split(":")[0].strip() for line in text.splitlines() if ": {last:" in line]
    for name in names:
        text = re.sub(rf"\b{name}\b", f"other_{name}", text)
    request = ApplyModelsRequest(
        models=[ModelSource(yaml=text, file="other.yaml")], files={"model.onnx": (package / "model.onnx").read_bytes()}
    )
    with server.channel() as channel:
        problems = ModelServiceStub(channel).ApplyModels(request, timeout=60).problems
    assert problems
    assert all(problem.file == "other.yaml" and problem.line > 0 for problem in problems)


def test_the_tests_of_a_model_see_its_score(package: Path, tmp_path: Path) -> None:
    """`rte models test` computes it as the server would."""
    write_package(tmp_path, {name: (package / name).read_bytes() for name in ("model.yaml", "model.onnx")})
    path = tmp_path / "model.yaml"
    path.write_text(path.read_text() + "tests: tests.yaml\n")
    (tmp_path / "tests.yaml").write_text(
        "tests:\n  - name: Whoever looks at much buys\n    given:\n"
        "      - {event: visit_summary, properties: {ProductRelated: 90}}\n"
        "    then: {purchase_probability: {near: 0.9, within: 0.2}}\n"
    )
    assert run_file(path, score_all) == (1, [])
    assert run_file(path)[1]


def test_models_that_are_only_tried_never_push_out_the_graph_that_runs(package: Path, tmp_path: Path) -> None:
    """However many other graphs came since, the next start has it."""
    text, graph = (package / "model.yaml").read_text(), (package / "model.onnx").read_bytes()
    settings: dict[str, Any] = {"models__packs": (str(package / "model.yaml"),)}
    with live_server(tmp_path / "data", **settings) as running, running.channel() as channel:
        (kept,) = (tmp_path / "data").rglob("*.onnx")
        for number in range(GRAPHS_KEPT + 1):
            # A later name in the graph's metadata: another digest, the same scores.
            other = onnx.load_model_from_string(graph)
            other.doc_string = f"trial {number}"
            encoded = other.SerializeToString()
            digest = hashlib.sha256(encoded).hexdigest()
            source = ModelSource(yaml=re.sub(r"sha256: \S+", f"sha256: {digest}", text))
            files = {f"{TASK.name}/model.onnx": encoded}
            request = ApplyModelsRequest(models=[source], files=files, mode=ApplyModelsRequest.MODE_VALIDATE)
            assert not ModelServiceStub(channel).ApplyModels(request).problems
            os.utime(kept, (0, 0))
        assert kept.exists()
    with live_server(tmp_path / "data", **settings) as running:
        send(running, "after", "a1", ProductRelated=5.0)
        until_fresh(running, "after")


def test_a_server_starts_without_a_graph_that_was_lost(package: Path, tmp_path: Path) -> None:
    """The score is absent and says why; sessions and other models go on, and the list of models names the file."""
    settings: dict[str, Any] = {"models__packs": (str(package / "model.yaml"),)}
    with live_server(tmp_path / "data", **settings) as running:
        send(running, "before", "b1", ProductRelated=5.0)
    (graph,) = (tmp_path / "data").rglob("*.onnx")
    graph.unlink()
    moved = package / "model.onnx"
    content = moved.read_bytes()
    moved.unlink()
    try:
        with live_server(tmp_path / "data", **settings) as running, running.channel() as channel:
            until(lambda: session(running, "before").scores[0].reason == Score.REASON_PACKAGE_MISSING)
            (model,) = ModelServiceStub(channel).ListModels(ListModelsRequest()).models
            assert "model.onnx" in model.problems[0].message
    finally:
        moved.write_bytes(content)
