"""Scores of many sessions at once, without a thread: for the tests of models and for comparisons."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from rte_server.engine.engine import Engine
from rte_server.engine.program import AttributeSpec, ModelSpec
from rte_server.runners.onnx import GraphError, OnnxScorer
from rte_server.runners.packages import GraphStore
from rte_server.runners.plugin import PluginScorer
from rte_server.runners.runner import BATCH_ROWS_MAX
from rte_server.runners.scored_rows import score_rows
from rte_server.runners.scorer import Scorer, ScorerError


def score_all(engine: Engine, models: Sequence[ModelSpec]) -> None:
    """Compute the scores that runners compute, of all sessions.

    Args:
        engine: Runs the models; nobody applies entries meanwhile.
        models: With the bytes of their graphs.
    """
    names = {spec.name for spec in engine.program.scores}
    score_rows_at_once(engine, models, engine.rows_in_use(), names)


def score_rows_at_once(
    engine: Engine,
    models: Sequence[ModelSpec],
    rows: NDArray[np.int64],
    names: Collection[str],
    pause: Callable[[], None] = lambda: None,
    *,
    store: GraphStore | None = None,
) -> Mapping[str, str]:
    """Compute some scores of some sessions, see `models.comparison.ScoreRows`.

    Args:
        engine: Runs the models; nobody applies entries meanwhile.
        models: What it runs.
        rows: int64[n], the sessions.
        names: The scores.
        pause: Called after each batch.
        store: Where graphs are that the models do not come with; None: nowhere.

    Returns:
        Why scores could not be computed, by name; a score that fails once is not computed any further.
    """
    view = engine.score_view()
    graphs = {model.name: model.graphs for model in models}
    failures: dict[str, str] = {}
    for place, spec in enumerate(view.program.scores):
        if spec.name not in names:
            continue
        scorer = _scorer(spec, graphs[spec.model], store)
        try:
            for start in range(0, len(rows), BATCH_ROWS_MAX):
                error = score_rows(view, place, scorer, rows[start : start + BATCH_ROWS_MAX].astype(np.int64), 0)
                if error is not None:
                    failures[spec.name] = str(error)
                    break
                pause()
        finally:
            if not isinstance(scorer, ScorerError):
                scorer.close()
    return failures


def _scorer(spec: AttributeSpec, graphs: Mapping[str, bytes], store: GraphStore | None) -> Scorer | ScorerError:
    """Return what computes a score, or why nothing does."""
    score = spec.score
    assert score is not None
    if score.runner == "plugin":
        return PluginScorer(score.source, score.time_limit_ms / 1000)
    graph = graphs.get(score.source) or (store.get(score.sha256) if store is not None else None)
    if graph is None:
        return ScorerError(f"the file `{score.source}` of the model {spec.model} is not at hand")
    try:
        return OnnxScorer(graph, len(score.inputs), score.time_limit_ms / 1000)
    except GraphError as error:
        return ScorerError(str(error))
