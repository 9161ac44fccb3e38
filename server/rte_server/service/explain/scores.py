"""What went into a score: its inputs and what each of them adds."""

from __future__ import annotations

from collections.abc import Mapping

from google.protobuf.struct_pb2 import Value

from rte.v1.session_explanation_pb2 import ScoreEvidence, ScoreInput
from rte_server.engine.program import AttributeSpec

LINEAR = "linear"


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
