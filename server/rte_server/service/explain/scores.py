"""What went into a score: its inputs and what each of them adds."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from google.protobuf.struct_pb2 import Value

from rte.v1.session_explanation_pb2 import ScoreEvidence, ScoreInput
from rte_server.engine.online_report import Learned
from rte_server.engine.program import AttributeSpec
from rte_server.runners.contributions import LOG_ODDS, Contributions
from rte_server.runners.scorer import ScorerError

LINEAR = "linear"
LOGISTIC = "logistic"

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
    value = _linked(spec.link, total)
    return ScoreEvidence(method=LINEAR, link=spec.link, base=spec.intercept, total=total, inputs=inputs, value=value)


def online_evidence(learned: Learned | None, values: Mapping[str, Value], shown: float | None) -> ScoreEvidence:
    """Return the inputs of an online score and what each adds with the weights of now.

    The weights that made the value of the session are known no more: every session that has closed since then has
    changed them. So the evidence is of the score as it would be now, and says if that is another one.

    Args:
        learned: What the score has learned; None if the models have changed meanwhile.
        values: Those of its inputs that have a value, by name.
        shown: The value of the session, None if it has none.
    """
    if learned is None:
        return ScoreEvidence(reason="the models have changed meanwhile; ask again")
    inputs = []
    for i, (name, _, default) in enumerate(learned.spec.weights):
        number = number_of(values.get(name))
        used, weight = default if number is None else number, learned.weights[i]
        row = ScoreInput(name=name, used=used, is_default=number is None, weight=weight)
        row.contribution = weight * learned.entered(i, used)
        if name in values:
            row.value.CopyFrom(values[name])
        inputs.append(row)
    total = learned.base + sum(row.contribution for row in inputs)
    inputs.sort(key=lambda row: -abs(row.contribution))
    evidence = ScoreEvidence(method=LINEAR, link=LOGISTIC, base=learned.base, total=total, inputs=inputs)
    evidence.value = _linked(LOGISTIC, total)
    if shown is None:
        why = "it has no value yet" if learned.is_shown else "in the shadow it shows no value"
        evidence.difference = f"{why}; with the weights of now it would be {evidence.value:.4g}"
    elif not math.isclose(shown, evidence.value, rel_tol=1e-9):
        evidence.difference = f"that is from its last event; it has learned since, and with the weights of now it would be {evidence.value:.4g}"
    return evidence


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
    link = LOGISTIC if found.unit == LOG_ODDS else "identity"
    return ScoreEvidence(
        method=found.method,
        link=link,
        base=found.base,
        total=found.total,
        inputs=inputs,
        value=_linked(link, found.total),
    )


def _linked(link: str, total: float) -> float:
    """Return the score of a total; for totals below -745 the logistic function is 0, as is exp of them."""
    if link != LOGISTIC:
        return total
    return 1.0 / (1.0 + math.exp(-total)) if total >= 0.0 else math.exp(total) / (1.0 + math.exp(total))


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
    difference = f"{evidence.difference}; " if evidence.difference else ""
    return difference + (f"most of it comes from {', '.join(named)}" if named else "no input adds anything") + link
