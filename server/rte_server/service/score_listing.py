"""The calls of ModelService about scores: what computes each, how those do that learn, and going back to earlier weights."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable, Mapping

import grpc

from rte.v1 import model_pb2, model_service_pb2
from rte_server.engine.engine import Engine
from rte_server.engine.entries import Entry, EntryType
from rte_server.engine.online_report import Learned, read_learned
from rte_server.engine.outcome import Outcome
from rte_server.engine.program import AttributeSpec, Kind, OnlineSpec
from rte_server.engine.reasons import EngineError, Reason
from rte_server.engine.score_view import ScoreView
from rte_server.engine.scores import MISSING_INPUT, REASONS, SC_SESSION, SC_STATUS
from rte_server.engine.table import SESSION_LO
from rte_server.engine.wire import ScannedRequest
from rte_server.runners.runner import Failures
from rte_server.service.interceptors import Context, Handler
from rte_server.service.json_body import parse, parse_with_json
from rte_server.service.pipeline import Pipeline
from rte_server.service.receipts import Want
from rte_server.service.tokens import position_text

SCORES = (Kind.LINEAR, Kind.ONLINE, Kind.SCORE)


class ScoreCalls:
    """Serves ListScores and RollBackWeights of `rte.v1.ModelService`."""

    def __init__(
        self,
        engine: Engine,
        pipeline: Pipeline[ScannedRequest, Outcome],
        clock_ms: Callable[[], int],
        failures: Callable[[], Mapping[str, Failures]],
    ) -> None:
        """Make the calls.

        Args:
            engine: Whose scores they are.
            pipeline: Takes entries.
            clock_ms: Gives the server's time, milliseconds since 1970.
            failures: Gives how the scores that runners compute failed, by name.
        """
        self._failures = failures
        self._engine = engine
        self._pipeline = pipeline
        self._clock_ms = clock_ms

    def handlers(self) -> dict[str, Handler]:
        """Return the methods by name."""
        methods = {"ListScores": self.list_scores, "RollBackWeights": self.roll_back_weights}
        return {name: grpc.unary_unary_rpc_method_handler(method) for name, method in methods.items()}

    async def list_scores(self, body: bytes, context: Context) -> bytes:
        """Answer ListScores."""
        parse(body, model_service_pb2.ListScoresRequest)
        found = scorers(self._engine)
        # Looks at a cell of each session.
        counts = await asyncio.to_thread(failed_counts, self._engine.score_view())
        failures = self._failures()
        for each in found:
            each.failed_session_count = counts.get(each.name, 0)
            if each.name in failures:
                failed = failures[each.name]
                each.failure_count, each.last_failure = failed.count, failed.message
                each.last_failure_time.FromMilliseconds(failed.time_ms)
        return model_service_pb2.ListScoresResponse(scores=found).SerializeToString()

    async def roll_back_weights(self, body: bytes, context: Context) -> bytes:
        """Answer RollBackWeights."""
        request = parse_with_json(body, model_service_pb2.RollBackWeightsRequest)
        if not request.score:
            raise EngineError(Reason.FIELD_MISSING, "score is required", field="score")
        if not request.version:
            raise EngineError(Reason.FIELD_MISSING, "version is required", field="version")
        # Refused before it is journalled, if that can be known by now; the fold looks again.
        kept = [each for each in read_learned(self._engine.score_view()) if each.spec.name == request.score]
        if not kept:
            message = f"no score that learns has the name {request.score[:64]!r}; see ListScores"
            raise EngineError(Reason.WEIGHTS_NOT_FOUND, message, field="score", value=request.score)
        if request.version not in kept[0].versions:
            known = ", ".join(map(str, kept[0].versions)) or "none"
            message = f"there is no version {request.version} of the weights of {request.score[:64]!r}; kept: {known}"
            raise EngineError(Reason.WEIGHTS_NOT_FOUND, message, field="version", value=str(request.version))
        change = json.dumps({"score": request.score, "version": request.version}).encode()
        entry = Entry(EntryType.ROLL_BACK, self._clock_ms(), change)
        receipt = await self._pipeline.submit(entry, want=Want.APPLIED)
        if receipt.outcome is not None and receipt.outcome.error is not None:
            raise receipt.outcome.error
        found = next((each for each in scorers(self._engine) if each.name == request.score), None)
        answer = model_service_pb2.RollBackWeightsResponse(score=found, position=position_text(receipt.position))
        return answer.SerializeToString()


def scorers(engine: Engine) -> list[model_pb2.Scorer]:
    """Return the scores of the running models, by name."""
    learned = {each.spec.name: each for each in read_learned(engine.score_view())}
    found = [spec for spec in engine.program.attributes if spec.kind in SCORES]
    return [_scorer(spec, learned.get(spec.name)) for spec in sorted(found, key=lambda spec: spec.name)]


def failed_counts(view: ScoreView) -> dict[str, int]:
    """Return by name how many sessions have no score because what computes it failed. Any thread."""
    rows = view.rows_in_use()
    sessions = view.table.rows[rows, SESSION_LO]
    found: dict[str, int] = {}
    for place, spec in enumerate(view.program.scores):
        is_failed = view.scores[rows, place, SC_STATUS] > REASONS + MISSING_INPUT
        found[spec.name] = int((is_failed & (view.scores[rows, place, SC_SESSION] == sessions)).sum())
    return found


def _scorer(spec: AttributeSpec, learned: Learned | None) -> model_pb2.Scorer:
    if spec.score is not None:
        return model_pb2.Scorer(
            name=spec.name,
            model=spec.model,
            runner=spec.score.runner,
            source=spec.score.source,
            sha256=spec.score.sha256,
            inputs=[name for name, _ in spec.score.inputs],
        )
    inputs = [name for name, _, _ in spec.weights]
    runner = "linear" if spec.online is None else "online"
    found = model_pb2.Scorer(name=spec.name, model=spec.model, runner=runner, inputs=inputs)
    if learned is not None and spec.online is not None:
        found.online.CopyFrom(_learning(learned, spec.online))
    return found


def _learning(learned: Learned, online: OnlineSpec) -> model_pb2.OnlineLearning:
    return model_pb2.OnlineLearning(
        example_count=learned.examples,
        positive_count=learned.positives,
        log_loss=learned.loss,
        baseline_log_loss=learned.baseline_loss,
        auc=0.0 if math.isnan(learned.auc) else learned.auc,
        is_shown=learned.is_shown,
        baseline=online.baseline,
        version=learned.version,
        versions=learned.versions,
        rollback_count=learned.rollbacks,
        shadow_reason=learned.why_in_shadow(),
        horizon_count=online.horizon,
        example_count_min=online.examples,
        margin=online.margin,
    )
