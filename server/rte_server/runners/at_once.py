"""Scores of all sessions at once, without a thread: for the tests of models."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rte_server.engine.engine import Engine
from rte_server.engine.program import ModelSpec
from rte_server.runners.onnx import GraphError, OnnxScorer
from rte_server.runners.plugin import PluginScorer
from rte_server.runners.runner import score_rows
from rte_server.runners.scorer import Scorer, ScorerError


def score_all(engine: Engine, models: Sequence[ModelSpec]) -> None:
    """Compute the scores that runners compute.

    Args:
        engine: Runs the models; nobody applies entries meanwhile.
        models: With the bytes of their graphs.
    """
    view = engine.score_view()
    graphs = {model.name: model.graphs for model in models}
    rows = view.rows_in_use()
    for place, spec in enumerate(view.program.scores):
        assert spec.score is not None
        scorer: Scorer | ScorerError
        try:
            if spec.score.runner == "plugin":
                scorer = PluginScorer(spec.score.source, spec.score.time_limit_ms / 1000)
            else:
                scorer = OnnxScorer(
                    graphs[spec.model].get(spec.score.source, b""),
                    len(spec.score.inputs),
                    spec.score.time_limit_ms / 1000,
                )
        except GraphError as error:
            scorer = ScorerError(str(error))
        score_rows(view, place, scorer, rows.astype(np.int64), 0)
        if not isinstance(scorer, ScorerError):
            scorer.close()
