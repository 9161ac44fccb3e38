"""Online scores in a real engine: which labels count, and what an explanation says of weights that have moved on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rte.v1.event_pb2 import Event
from rte.v1.session_service_pb2 import EndSessionRequest
from rte_server.engine.entries import EntryType
from rte_server.engine.online_report import Learned, read_learned
from rte_server.models import load_models
from tests.service.explaining import Explaining

START_MS = 1_790_000_000_000
MODEL = """
model: learner
version: 1
attributes:
  views: {count: page_view}
scores:
  p_shown:
    online: {inputs: [views], label: purchase, examples: 1000}
    shadow: false
  p_hidden:
    online: {inputs: [views], label: purchase, examples: 1000}
"""


@pytest.fixture
def learning(tmp_path: Path) -> Iterator[Explaining]:
    """An engine whose scores learn from purchases."""
    path = tmp_path / "learner.yaml"
    path.write_text(MODEL)
    opened = Explaining(tmp_path / "data", load_models([str(path)]), START_MS)
    yield opened
    opened.close()


def send(learning: Explaining, visitor: str, name: str, event_id: str = "", *, earlier_ms: int = 0) -> None:
    """Take an event that happened some time ago."""
    event = Event(event_id=event_id, name=name, visitor_id=visitor)
    event.event_time.FromMilliseconds(learning.now_ms - earlier_ms)
    learning.send(event)


def end(learning: Explaining, visitor: str) -> None:
    """Close a visitor's session."""
    engine = learning.engine
    request = EndSessionRequest(session_id=engine.session_id(engine.find_visitor(visitor)))
    learning.apply(EntryType.END, request.SerializeToString())


def learned(learning: Explaining) -> Learned:
    """Return what the score has learned."""
    return read_learned(learning.engine.score_view())[0]


def test_a_session_is_one_example_however_often_its_label_comes(learning: Explaining) -> None:
    """Sent again with its id, or another one of the same name: the first has said it."""
    send(learning, "ada", "page_view")
    for event_id in ("p1", "p1", "p2"):
        send(learning, "ada", "purchase", event_id)
    end(learning, "ada")
    assert (learned(learning).examples, learned(learning).positives) == (1, 1)


def test_a_label_after_the_close_leaves_the_example_a_zero(learning: Explaining) -> None:
    """Though it happened before the close, and joins the session."""
    send(learning, "ada", "page_view")
    learning.now_ms += 60_000
    end(learning, "ada")
    assert (learned(learning).examples, learned(learning).positives) == (1, 0)
    weights = learned(learning).weights
    send(learning, "ada", "purchase", "late", earlier_ms=59_000)
    learning.now_ms += 86_400_000
    learning.apply(EntryType.TICK, b"")
    assert (learned(learning).examples, learned(learning).positives) == (1, 0)
    assert learned(learning).weights == weights


def test_a_label_that_comes_late_but_before_the_close_counts(learning: Explaining) -> None:
    """What counts is the order in which entries are folded."""
    send(learning, "ada", "page_view")
    learning.now_ms += 60_000
    send(learning, "ada", "purchase", "late", earlier_ms=30_000)
    end(learning, "ada")
    assert (learned(learning).examples, learned(learning).positives) == (1, 1)


def test_an_explanation_states_the_value_of_then_and_of_now(learning: Explaining) -> None:
    """Its contributions add up to the one of now; after the next event both are one."""
    send(learning, "ada", "page_view")
    for number in range(30):
        send(learning, f"other-{number}", "page_view")
        send(learning, f"other-{number}", "purchase")
    found = learning.explain("ada", "p_shown")
    assert found.value.number_value == 0.5
    score = found.score
    assert score.base + sum(row.contribution for row in score.inputs) == pytest.approx(score.total, abs=1e-12)
    assert score.value > 0.6
    assert f"with the weights of now it would be {score.value:.4g}" in score.difference
    assert found.summary.startswith("`p_shown` is 0.5: ")
    assert score.difference in found.summary
    send(learning, "ada", "page_view")
    after = learning.explain("ada", "p_shown")
    assert after.score.value == pytest.approx(after.value.number_value, rel=1e-9)
    assert not after.score.difference
    assert "weights of now" not in after.summary


def test_an_explanation_says_that_a_score_is_in_the_shadow(learning: Explaining) -> None:
    """And what it would be."""
    send(learning, "ada", "page_view")
    found = learning.explain("ada", "p_hidden")
    assert not found.HasField("value")
    assert found.score.value == 0.5
    assert found.score.difference == "in the shadow it shows no value; with the weights of now it would be 0.5"
    assert found.score.difference in found.summary
