"""What went into a score: its inputs and what each of them adds."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from google.protobuf.struct_pb2 import Value

from rte.v1.session_explanation_pb2 import ScoreEvidence, ScoreInput
from rte_server.engine.program import AttributeSpec
from rte_server.runners.contributions import LOG_ODDS, Contributions
from rte_server.runners.scorer import ScorerError

LINEAR = "linear"

Contribute = Callable[[AttributeSpec, Mapping[str, float | None]], Contributions]
"""Asks a runner how much each input has to do with a score; see `runners.Runners.contributions`."""


def linear_evidence(spec: AttributeSpec, values: Mapping[str, Value]) -> ScoreEvidence:
    """Return the inputs of a linear score and what each adds; intercept and contributions add up to the total.

    Args:
        spec: The score.
        values: Those of its inputs that have a value, by name.
    """
    inputs = []
    for name, weight, default in spec.weights:
        number = number_of(values.get(name))
        used = default if number is None else number
        row = ScoreInput(name=name, used=used, is_default=number is None, weight=weight, contribution=weight * used)
        if name in values:
            row.value.CopyFrom(values[name])
        inputs.append(row)
    # In the order of the kernel, so that the total is the same to the last bit.
    total = spec.intercept
    for row in inputs:
        total += row.contribution
    inputs.sort(key=lambda row: -abs(row.contribution))
    return ScoreEvidence(method=LINEAR, link=spec.link, base=spec.intercept, total=total, inputs=inputs)


def online_evidence(spec: AttributeSpec, values: Mapping[str, Value], weights: Sequence[float]) -> ScoreEvidence:
    """Return the inputs of an online score and what each adds with the weights of now.

    Args:
        spec: The score.
        values: Those of its inputs that have a value, by name.
        weights: One per input, then the intercept.
    """
    inputs = []
    for (name, _, default), weight in zip(spec.weights, weights, strict=False):
        number = number_of(values.get(name))
        used = default if number is None else number
        entered = math.copysign(math.log1p(abs(used)), used)
        row = ScoreInput(name=name, used=used, is_default=number is None, weight=weight, contribution=weight * entered)
        if name in values:
            row.value.CopyFrom(values[name])
        inputs.append(row)
    total = weights[-1] + sum(row.contribution for row in inputs)
    inputs.sort(key=lambda row: -abs(row.contribution))
    return ScoreEvidence(method=LINEAR, link="logistic", base=weights[-1], total=total, inputs=inputs)


def runner_evidence(
    spec: AttributeSpec, values: Mapping[str, Value], contributions: Contribute | None
) -> ScoreEvidence:
    """Return the inputs of a score that a runner computes, as they are now, and what each adds.

    Args:
        spec: The score.
        values: Those of its inputs that have a value, by name.
        contributions: Asks the runner; None: there is none.
    """
    numbers = {name: number_of(values.get(name)) for name, _ in spec.score.inputs} if spec.score else {}
    try:
        if contributions is None:
            raise ScorerError("no runner computes scores here")
        found = contributions(spec, numbers)
    except ScorerError as error:
        return ScoreEvidence(reason=str(error))
    inputs = []
    for part in found.parts:
        row = ScoreInput(name=part.name, used=part.value, is_default=part.is_default, contribution=part.part)
        if part.name in values:
            row.value.CopyFrom(values[part.name])
        inputs.append(row)
    link = "logistic" if found.unit == LOG_ODDS else "identity"
    return ScoreEvidence(method=found.method, link=link, base=found.base, total=found.total, inputs=inputs)


def value_of(evidence: ScoreEvidence) -> float:
    """Return the score that the evidence adds up to."""
    return 1.0 / (1.0 + math.exp(-evidence.total)) if evidence.link == "logistic" else evidence.total


def number_of(value: Value | None) -> float | None:
    """Return the number that a score takes a value for: a bool is 0 or 1; None where it takes the default."""
    kind = value.WhichOneof("kind") if value is not None else None
    if value is None or kind not in ("number_value", "bool_value"):
        return None
    return float(value.bool_value) if kind == "bool_value" else value.number_value


def score_summary(evidence: ScoreEvidence) -> str:
    """Return in a few words what a score follows from."""
    named = [f"`{row.name}` {row.contribution:+.3g}" for row in evidence.inputs[:3] if row.contribution]
    link = f", {evidence.link} of {evidence.total:.4g}" if evidence.link != "identity" else ""
    return (f"most of it comes from {', '.join(named)}" if named else "no input adds anything") + link
