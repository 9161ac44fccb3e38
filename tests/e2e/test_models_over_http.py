"""The life of a model as an HTTP client leads it: applied, asked, explained, its weights put back, gone back from."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.calls import call, event, ingest
from tests.service.live_server import LiveServer, live_server

MODEL = """model: learning
attributes:
  looks: {count: view_item}
scores:
  p_online:
    online: {inputs: [looks], label: purchase, examples: 10, margin: 0}
    shadow: false
"""
EXAMPLES = 100
"""So many make the first version of the weights."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """A whole server behind Envoy, whose models nobody else changes."""
    with live_server(tmp_path_factory.mktemp("data"), edge=True, models__packs=("base",)) as running:
        yield running


def test_a_score_that_learns_is_applied_listed_explained_put_back_and_gone_back_from(server: LiveServer) -> None:
    """Each step by one plain HTTP call; the last one leaves the models of the first."""
    port = server.http_port
    request = {"models": [{"yaml": MODEL, "file": "learning.yaml"}], "mode": "MODE_ACTIVATE", "note": "over HTTP"}
    applied = call(port, "POST", "/v1/models:apply", request)
    assert applied.status == 200, applied.body
    assert applied.json["models"] == [
        {"name": "learning", "kind": "KIND_ADDED", "version_before": 0, "version_after": 1}
    ]

    visitors = [f"learn-{number}" for number in range(EXAMPLES)]
    for name in ("view_item", "purchase"):
        reply = ingest(port, *(event(visitor, name=name) for visitor in visitors))
        assert reply.json["accepted_count"] == EXAMPLES, reply.body
    (score,) = [each for each in call(port, "GET", "/v1/scores").json["scores"] if each["name"] == "p_online"]
    assert (score["model"], score["runner"], score["inputs"]) == ("learning", "online", ["looks"])
    online = score["online"]
    assert (online["example_count"], online["positive_count"], online["versions"]) == (EXAMPLES, EXAMPLES, [1])

    explained = call(port, "GET", f"/v1/visitors/{visitors[0]}/session:explain?attribute=p_online")
    assert explained.status == 200, explained.body
    (part,) = explained.json["explanation"]["score"]["inputs"]
    assert part["name"] == "looks"

    back = call(port, "POST", "/v1/scores/p_online:rollBackWeights", {"version": 1})
    assert back.status == 200, back.body
    assert back.json["score"]["online"]["rollback_count"] == 1 and back.json["position"].startswith("0-")
    wrong = call(port, "POST", "/v1/scores/p_online:rollBackWeights", {"version": 7})
    assert (wrong.status, wrong.reason, wrong.metadata["field"]) == (404, "WEIGHTS_NOT_FOUND", "version")
    misspelt = call(port, "POST", "/v1/scores/p_online:rollBackWeights", {"verison": 1})
    assert (misspelt.status, misspelt.reason, misspelt.metadata["field"]) == (400, "UNKNOWN_FIELD", "verison")

    versions = call(port, "GET", "/v1/models:versions?page_size=2").json["configurations"]
    assert [each.get("is_active", False) for each in versions] == [True, False]
    assert (versions[0]["note"], versions[0]["position"]) == ("over HTTP", applied.json["position"])
    rolled = call(port, "POST", "/v1/models:rollBack", {"position": versions[1]["position"], "note": "enough"})
    assert rolled.status == 200, rolled.body
    assert [(each["name"], each["kind"]) for each in rolled.json["models"]] == [("learning", "KIND_REMOVED")]
    assert all(each["name"] != "p_online" for each in call(port, "GET", "/v1/scores").json.get("scores", ()))
