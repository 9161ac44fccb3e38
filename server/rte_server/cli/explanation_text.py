"""Explanations as people read them in a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC
from typing import TYPE_CHECKING

from rte_server.cli.session_text import value_text

if TYPE_CHECKING:
    from google.protobuf.timestamp_pb2 import Timestamp

    from rte.v1.session_explanation_pb2 import (
        CustomerEvidence,
        EventEvidence,
        ExplainedEvent,
        Explanation,
        ExpressionPart,
        ScoreEvidence,
    )

EVENT_COLUMNS = ("time", "event", "id", "outcome", "gives", "properties", "why")

TEXT_CHARS_MAX = 48
"""Longer texts of a table's cell are cut."""

_OUTCOMES = (
    "",
    "contributed",
    "redundant",
    "without effect",
    "filtered out",
    "no value",
    "duplicate",
    "late",
)


def heading(explanation: Explanation) -> Iterator[str]:
    """Yield the lines that say what the value is, why, and how it is defined."""
    attribute = explanation.attribute
    yield explanation.summary.replace("`", "")
    yield ""
    unit = f", in {attribute.unit}" if attribute.unit else ""
    model = f"{attribute.model} version {explanation.model_version}" if attribute.model else "an application"
    yield f"{attribute.name}: {attribute.kind} of {model}{unit}, {attribute.exactness_note}"
    if attribute.description:
        yield attribute.description
    for number, line in enumerate(explanation.definition.source.splitlines(), explanation.definition.line):
        yield f"{number:>5} | {line}"
    if explanation.HasField("timer"):
        when = _time(explanation.timer.change_time) if explanation.timer.HasField("change_time") else ""
        yield explanation.timer.waits_for.replace("`", "") + (f": at {when}" if when else "")


def customer_lines(customer: CustomerEvidence) -> Iterator[str]:
    """Yield when the data mart said what is shown of a customer."""
    if customer.HasField("as_of_time"):
        yield f"the row was written at {_time(customer.as_of_time)}"
    if customer.HasField("received_time"):
        yield f"in the session since position {customer.position}, {_time(customer.received_time)}"


def rule_lines(rule: ExpressionPart) -> Iterator[str]:
    """Yield a rule as a tree with its values; what decides the value of the whole is marked with a star."""
    rows = list(_tree(rule, "", ""))
    width = max(len(text) for text, _ in rows)
    for text, part in rows:
        value = value_text(part.value) if part.HasField("value") else "no value"
        yield f"{'*' if part.decides else ' '} {text:<{width}}  = {value}" + ("  ..." if part.cut else "")


def _tree(part: ExpressionPart, first: str, others: str) -> Iterator[tuple[str, ExpressionPart]]:
    """Yield each part with its text behind the lines of the tree."""
    yield first + part.text, part
    for number, each in enumerate(part.parts, 1):
        is_last = number == len(part.parts)
        yield from _tree(each, others + ("└─ " if is_last else "├─ "), others + ("   " if is_last else "│  "))


def score_lines(score: ScoreEvidence) -> Iterator[str]:
    """Yield what went into a score, as a sum."""
    if score.reason:
        yield score.reason
        return
    names = [row.name for row in score.inputs]
    width = max((len(name) for name in [*names, "at defaults"]), default=0)
    start = "intercept" if score.method == "linear" else "at defaults"
    yield f"{start:<{width}}  {'':>12}  {'':>10}  {score.base:>+10.4g}"
    for row in score.inputs:
        shown = "default" if row.is_default else value_text(row.value)
        weight = f"x {row.weight:.4g}" if row.weight else ""
        yield f"{row.name:<{width}}  {shown:>12}  {weight:>10}  {row.contribution:>+10.4g}"
    yield f"{'total':<{width}}  {'':>12}  {'':>10}  {score.total:>+10.4g}"
    if score.link == "logistic":
        yield f"1 / (1 + exp(-total)) = {score.value:.6g}"
    if score.difference:
        yield f"Note: {score.difference}."


def events_heading(evidence: EventEvidence) -> Iterator[str]:
    """Yield the lines before the table of events: how many did what, and what is known of the journal."""
    counts = evidence.counts
    shown = [
        f"{getattr(counts, field.name)} {_OUTCOMES[field.number]}"
        for field in counts.DESCRIPTOR.fields
        if getattr(counts, field.name)
    ]
    other = f"; {evidence.other_event_count} of other names" if evidence.other_event_count else ""
    yield f"Events: {', '.join(shown) if shown else 'none'}{other}"
    if not evidence.complete:
        yield f"Not complete: {evidence.incomplete_reason}."
    if evidence.difference:
        yield f"Note: {evidence.difference}."


def event_cells(event: ExplainedEvent) -> Sequence[str]:
    """Return the cells of an event's line, in the order of EVENT_COLUMNS."""
    properties = ", ".join(f"{name}={value_text(value)}" for name, value in sorted(event.properties.fields.items()))
    return (
        _time(event.event_time),
        event.name or "(written)",
        event.event_id,
        _OUTCOMES[event.outcome],
        _cut(value_text(event.contribution)) if event.HasField("contribution") else "",
        _cut(properties),
        event.reason.replace("`", ""),
    )


def _time(moment: Timestamp) -> str:
    return f"{moment.ToDatetime(UTC):%Y-%m-%d %H:%M:%S.%f}"[:-3]


def _cut(text: str) -> str:
    return text if len(text) <= TEXT_CHARS_MAX else text[: TEXT_CHARS_MAX - 3] + "..."
