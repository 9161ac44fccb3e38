"""Plug-ins and online scores in a running server: what fails says so and holds nobody up; what learns is shown and put back."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Iterator

import grpc
import pytest

from rte.v1.event_pb2 import Event
from rte.v1.event_service_pb2 import WAIT_APPLIED, IngestEventsRequest
from rte.v1.event_service_pb2_grpc import EventServiceStub
from rte.v1.model_pb2 import Scorer
from rte.v1.model_service_pb2 import ApplyModelsRequest, ListScoresRequest, ModelSource, RollBackWeightsRequest
from rte.v1.model_service_pb2_grpc import ModelServiceStub
from rte.v1.session_explanation_pb2 import Explanation
from rte.v1.session_pb2 import Score
from rte.v1.session_service_pb2 import ExplainSessionRequest
from rte.v1.session_service_pb2_grpc import SessionServiceStub
from tests.runners import plugins
from tests.runners.test_scores_live import session, until
from tests.service.live_server import LiveServer, live_server

MEMORY_BYTES_MAX = 1 << 30
MODEL = """
model: plugged
attributes:
  looks: {count: view_item}
scores:
  good: {plugin: mean, inputs: [looks, session.event_count, session.visit_number], time_limit: 60s}
  busy: {plugin: busy, inputs: [looks], time_limit: 3s}
  lost: {plugin: nowhere, inputs: [looks]}
  needy: {plugin: mean, inputs: [first_price]}
  limit: {plugin: limit, inputs: [looks], time_limit: 60s}
  p_online:
    online: {inputs: [looks], label: purchase, examples: 10, margin: 0}
    shadow: false
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """A server with plug-ins, one of which never ends."""
    folder = tmp_path_factory.mktemp("plugins")
    text = MODEL.replace(
        "  looks: {count: view_item}", "  looks: {count: view_item}\n  first_price: {min: event.price}"
    )
    (folder / "plugged.yaml").write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        plugins.install(folder, patch)
        # One that is there when its model is checked, and not when it is to score.
        points = next(folder.rglob("entry_points.txt"))
        installed = points.read_text()
        points.write_text(f"{installed}nowhere = plugins_for_tests:mean\n")
        with live_server(
            folder / "data",
            models__packs=(str(folder / "plugged.yaml"),),
            models__plugin_memory_bytes_max=MEMORY_BYTES_MAX,
        ) as running:
            points.write_text(installed)
            yield running


def send(stub: EventServiceStub, visitor: str, name: str) -> float:
    """Send an event, wait until it is folded, and return the seconds that it took."""
    began = time.perf_counter()
    stub.IngestEvents(IngestEventsRequest(events=[Event(name=name, visitor_id=visitor)], wait=WAIT_APPLIED))
    return time.perf_counter() - began


def scores(server: LiveServer, visitor: str) -> dict[str, Score]:
    """Return how the scores of a visitor's session stand."""
    return {score.name: score for score in session(server, visitor).scores}


def test_a_plugin_that_never_ends_delays_nothing(server: LiveServer) -> None:
    """Events are folded and other scores computed as ever; its own score says why it is absent."""
    with server.channel() as channel:
        stub = EventServiceStub(channel)
        took = [send(stub, f"v{number % 7}", "view_item") for number in range(100)]
    until(lambda: scores(server, "v1")["good"].status == Score.STATUS_FRESH)
    until(lambda: scores(server, "v1")["busy"].reason in (Score.REASON_TIMEOUT, Score.REASON_CIRCUIT_OPEN))
    assert scores(server, "v1")["busy"].status == Score.STATUS_ABSENT
    assert "busy" not in session(server, "v1").attributes
    # Whoever waited for the plug-in would wait for its time limit.
    assert statistics.median(took) < 1.5


def test_what_is_not_there_and_what_lacks_an_input_say_so(server: LiveServer) -> None:
    """By their reasons."""
    with server.channel() as channel:
        send(EventServiceStub(channel), "reasons", "view_item")
    until(lambda: scores(server, "reasons")["lost"].reason == Score.REASON_PACKAGE_MISSING)
    until(lambda: scores(server, "reasons")["needy"].reason == Score.REASON_MISSING_INPUT)


def test_a_plugin_that_cannot_be_used_is_refused_with_its_line(server: LiveServer) -> None:
    """Misspelt, or an entry point that leads nowhere; what runs goes on."""
    text = "model: other\nattributes:\n  n: {count: view_item}\nscores:\n  s:\n    plugin: NAME\n    inputs: [n]\n"
    with server.channel() as channel:
        for name, message in (("maen", "no plug-in 'maen' is installed"), ("gone", "has no attribute 'gone'")):
            source = ModelSource(yaml=text.replace("NAME", name), file="other.yaml")
            (problem,) = ModelServiceStub(channel).ApplyModels(ApplyModelsRequest(models=[source])).problems
            assert (problem.file, problem.line) == ("other.yaml", 6)
            assert message in problem.message and problem.remedy
            assert ("did you mean 'mean'?" in problem.message) == (name == "maen")


def test_scores_that_fail_are_listed_with_the_reason(server: LiveServer) -> None:
    """Each by itself, with the sessions that lack it."""
    with server.channel() as channel:
        send(EventServiceStub(channel), "listed", "view_item")
        models = ModelServiceStub(channel)

        def listed() -> dict[str, Scorer]:
            return {each.name: each for each in models.ListScores(ListScoresRequest()).scores}

        until(lambda: listed()["lost"].failed_session_count > 0 and listed()["busy"].failed_session_count > 0)
        found = listed()
        assert "no plug-in 'nowhere' is installed" in found["lost"].last_failure
        assert found["lost"].failure_count > 0 and found["busy"].HasField("last_failure_time")
        assert "3000 ms" in found["busy"].last_failure
        assert not found["good"].last_failure and found["good"].failed_session_count == 0


def test_a_plugin_has_the_memory_that_the_settings_give_it(server: LiveServer) -> None:
    """Its process is limited by `models.plugin_memory_bytes_max`."""
    with server.channel() as channel:
        send(EventServiceStub(channel), "limited", "view_item")
    until(lambda: scores(server, "limited")["limit"].status == Score.STATUS_FRESH)
    assert session(server, "limited").attributes.fields["limit"].number_value == MEMORY_BYTES_MAX


def test_each_score_that_runs_has_its_own_figures(server: LiveServer) -> None:
    """By its name, so there are as many as scores: how many sessions it scored and did not, and how it stands."""
    registry = server.application.metrics.registry

    def figure(name: str, score: str) -> float | None:
        return registry.get_sample_value(f"rte_score_{name}", {"score": score})

    with server.channel() as channel:
        send(EventServiceStub(channel), "counted", "view_item")
    until(lambda: scores(server, "counted")["good"].status == Score.STATUS_FRESH)
    until(lambda: figure("circuit_open", "busy") == 1.0)
    until(lambda: figure("age_seconds", "good") == 0.0)
    assert (figure("scored", "good") or 0.0) >= 1.0 and figure("failed", "good") == 0.0
    assert figure("scored", "busy") == 0.0 and (figure("failed", "busy") or 0.0) >= 1.0
    assert (figure("circuit_open", "good"), figure("set_aside", "good")) == (0.0, 0.0)
    families = [family for family in registry.collect() if family.name.startswith("rte_score_")]
    names = {sample.labels["score"] for family in families for sample in family.samples}
    assert names == {"good", "busy", "lost", "needy", "limit"}


def test_an_online_score_is_listed_and_its_weights_put_back(server: LiveServer) -> None:
    """It shows how it does; a version that is kept comes back, another one is refused."""
    with server.channel() as channel:
        events, models = EventServiceStub(channel), ModelServiceStub(channel)
        for number in range(110):
            send(events, f"learn-{number}", "view_item")
            send(events, f"learn-{number}", "purchase")
        found = {each.name: each for each in models.ListScores(ListScoresRequest()).scores}
        assert set(found) == {"good", "busy", "lost", "needy", "limit", "p_online"}
        assert (found["good"].runner, found["good"].source, list(found["busy"].inputs)) == ("plugin", "mean", ["looks"])
        online = found["p_online"].online
        assert (online.example_count, online.positive_count, online.version) == (110, 110, 1)
        assert online.is_shown and list(online.versions) == [1]
        assert 0.5 < session(server, "learn-109").attributes.fields["p_online"].number_value < 1.0
        back = models.RollBackWeights(RollBackWeightsRequest(score="p_online", version=1))
        assert back.score.online.rollback_count == 1 and back.position
        with pytest.raises(grpc.RpcError, match="no version 7 of the weights of 'p_online'; kept: 1") as refused:
            models.RollBackWeights(RollBackWeightsRequest(score="p_online", version=7))
        assert refused.value.code() == grpc.StatusCode.NOT_FOUND


def explanation(server: LiveServer, visitor: str, score: str) -> Explanation:
    """Return why a score of a visitor's session is what it is."""
    with server.channel() as channel:
        request = ExplainSessionRequest(visitor_id=visitor, attribute=score)
        return SessionServiceStub(channel).ExplainSession(request, timeout=60).explanation


def test_a_plugin_is_explained_by_what_each_input_adds(server: LiveServer) -> None:
    """The plug-in itself is asked: base and contributions add up to the logarithm of the odds, an absent score says why."""
    with server.channel() as channel:
        for _ in range(3):
            send(EventServiceStub(channel), "explained", "view_item")
    until(lambda: scores(server, "explained")["good"].status == Score.STATUS_FRESH)
    found = explanation(server, "explained", "good").score
    value = session(server, "explained").attributes.fields["good"].number_value
    assert (found.method, found.link) == ("shapley_sampling", "logistic")
    used = {each.name: each.used for each in found.inputs}
    assert used == {"looks": 3.0, "session.event_count": 3.0, "session.visit_number": 1.0}
    # The plug-in is the logistic function of the mean of its inputs, whose defaults are 0.
    assert {each.name: each.contribution for each in found.inputs} == pytest.approx(
        {name: number / 3 for name, number in used.items()}, abs=1e-6
    )
    assert found.base + sum(each.contribution for each in found.inputs) == pytest.approx(found.total, abs=1e-9)
    assert 1 / (1 + math.exp(-found.total)) == pytest.approx(value, abs=1e-6)
    until(lambda: "busy" in explanation(server, "explained", "busy").summary)
    assert explanation(server, "explained", "busy").score.reason


def test_an_online_score_is_explained_by_its_weights(server: LiveServer) -> None:
    """Exactly: base and contributions, each a weight times the input's distance from its mean, give the value."""
    with server.channel() as channel:
        for number in range(12):
            for _ in range(1 + number % 3):
                send(EventServiceStub(channel), f"taught-{number}", "view_item")
            send(EventServiceStub(channel), f"taught-{number}", "purchase")
        for _ in range(4):
            send(EventServiceStub(channel), "asked", "view_item")
    found = explanation(server, "asked", "p_online").score
    (looks,) = found.inputs
    assert (found.method, found.link, looks.name) == ("linear", "logistic", "looks")
    assert (looks.value.number_value, looks.used, looks.is_default) == (4.0, 4.0, False)
    assert looks.weight != 0.0 and 0.0 < looks.contribution / looks.weight <= 4.0
    assert found.total == pytest.approx(found.base + looks.contribution)
    value = session(server, "asked").attributes.fields["p_online"].number_value
    assert value == pytest.approx(1 / (1 + math.exp(-found.total)), abs=1e-12)
