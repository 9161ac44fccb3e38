"""Scores of many sessions at once, without a thread: for the tests of models and for comparisons."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from time import monotonic, sleep

import numpy as np
from numpy.typing import NDArray

from rte_server.engine.engine import Engine
from rte_server.engine.program import AttributeSpec, ModelSpec
from rte_server.engine.score_view import ScoreView
from rte_server.engine.scores import REASONS, SC_STATUS
from rte_server.models.comparison import Unscored
from rte_server.runners.isolation import IsolatedScore
from rte_server.runners.onnx import GraphError, OnnxScorer
from rte_server.runners.packages import GraphStore
from rte_server.runners.plugin import MEMORY_BYTES_MAX, PluginScorer
from rte_server.runners.scorer import Scorer, ScorerError

SEARCH_S_MAX = 60.0
"""For so long after the last batch of a score it is searched for the sessions that fail; those that were not found by then have
no score, with all that failed beside them."""

NOT_FOUND = "it failed with others beside it, and was not tried alone in time"


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
    plugin_memory_bytes_max: int = MEMORY_BYTES_MAX,
) -> Mapping[str, Unscored]:
    """Compute some scores of some sessions, isolated as runners do it; see `models.comparison.ScoreRows`.

    Args:
        engine: Runs the models; nobody applies entries meanwhile.
        models: What it runs.
        rows: int64[n], the sessions.
        names: The scores.
        pause: Called after each batch.
        store: Where graphs are that the models do not come with; None: nowhere.
        plugin_memory_bytes_max: What the process of a plug-in may hold in memory, bytes.

    Returns:
        The sessions whose score could not be computed, and why, by name of the score.
    """
    view = engine.score_view()
    graphs = {model.name: model.graphs for model in models}
    found: dict[str, Unscored] = {}
    for place, spec in enumerate(view.program.scores):
        if spec.name not in names:
            continue
        scorer = _scorer(spec, graphs[spec.model], store, plugin_memory_bytes_max)
        try:
            unscored = _score(view, place, scorer, rows.astype(np.int64), pause)
        finally:
            if not isinstance(scorer, ScorerError):
                scorer.close()
        if len(unscored.rows):
            found[spec.name] = unscored
    return found


def _score(
    view: ScoreView, place: int, scorer: Scorer | ScorerError, rows: NDArray[np.int64], pause: Callable[[], None]
) -> Unscored:
    """Compute one score of some sessions."""
    failed: dict[int, str] = {}

    def on_failure(error: ScorerError, of: NDArray[np.int64], _: bool) -> None:
        failed.update(dict.fromkeys(of.tolist(), str(error)))

    score = IsolatedScore(place, scorer, view.program, on_failure)
    left = rows
    while len(left):
        batch, left = left[: score.rows_max], left[score.rows_max :]
        score.compute(view, batch, 0, others_wait=len(left) > 0)
        pause()
    until_s = monotonic() + SEARCH_S_MAX
    while (due_s := score.search_due_in_s()) is not None and monotonic() + due_s < until_s:
        sleep(due_s)
        score.compute(view, score.rows_to_retry(view), 0)
        pause()
    statuses = view.scores[rows, place, SC_STATUS]
    # One that gives no number has answered: that is no value, as another one may be.
    is_failed = np.array([row in failed for row in rows.tolist()], np.bool_) & (statuses > REASONS)
    is_unscored = is_failed | (statuses == 0)
    found = rows[is_unscored]
    return Unscored(found, Counter(failed.get(row, NOT_FOUND) for row in found.tolist()))


def _scorer(
    spec: AttributeSpec, graphs: Mapping[str, bytes], store: GraphStore | None, plugin_memory_bytes_max: int
) -> Scorer | ScorerError:
    """Return what computes a score, or why nothing does."""
    score = spec.score
    assert score is not None
    if score.runner == "plugin":
        return PluginScorer(score.source, score.time_limit_ms / 1000, plugin_memory_bytes_max, has_spare=True)
    graph = graphs.get(score.source) or (store.get(score.sha256) if store is not None else None)
    if graph is None:
        return ScorerError(f"the file `{score.source}` of the model {spec.model} is not at hand")
    try:
        return OnnxScorer(graph, len(score.inputs), score.time_limit_ms / 1000)
    except GraphError as error:
        return ScorerError(str(error))
