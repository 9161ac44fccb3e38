"""Scores as `rte sessions explain` prints them."""

from __future__ import annotations

import pytest

from rte.v1.session_explanation_pb2 import ScoreEvidence
from rte_server.cli.explanation_text import score_lines
from rte_server.engine.program import AttributeSpec, Kind
from rte_server.service.explain.scores import linear_evidence


@pytest.mark.parametrize(("total", "shown"), [(-1000.0, "0"), (0.0, "0.5"), (1000.0, "1")])
def test_no_total_is_too_large(total: float, shown: str) -> None:
    """The logistic function of large numbers, of either sign, is a number."""
    spec = AttributeSpec("p", "m", Kind.LINEAR, "double", intercept=total)
    assert list(score_lines(linear_evidence(spec, {})))[-1] == f"1 / (1 + exp(-total)) = {shown}"


def test_a_score_without_a_value_prints_its_reason_only() -> None:
    """No sum of nothing."""
    assert list(score_lines(ScoreEvidence(reason="the graph is lost"))) == ["the graph is lost"]


def test_a_difference_is_printed() -> None:
    """Below the sum."""
    score = ScoreEvidence(method="linear", link="logistic", value=0.5, difference="it has learned since")
    assert list(score_lines(score))[-1] == "Note: it has learned since."
