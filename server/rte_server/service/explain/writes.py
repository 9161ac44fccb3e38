"""The writes of applications behind a written attribute."""

from __future__ import annotations

from google.protobuf.struct_pb2 import Value

from rte.v1.session_explanation_pb2 import EventEvidence, ExplainedEvent
from rte_server.engine.requests import Written
from rte_server.service.explain.evidence import Chosen, Place
from rte_server.service.explain.journal_search import AttributeWrite, Found
from rte_server.service.explain.values import same
from rte_server.service.tokens import position_text


def write_evidence(name: str, value: Value | None, found: Found, chosen: Chosen) -> tuple[EventEvidence, Place | None]:
    """Return a page of the writes of an attribute, newest first, and the place of its last one if there are more.

    The journal holds requests; whether the fold refused one (its `etag` had changed, there was no room) shows in the
    value alone: the newest write of that value is the one that counts.

    Args:
        name: Name of the attribute.
        value: Its value, None if it has none.
        found: What the journal holds.
        chosen: Which of the writes are listed.
    """
    answer = EventEvidence(complete=not found.incomplete_reason, incomplete_reason=found.incomplete_reason)
    answer.journal_begin_position = position_text(found.begin_position)
    if found.begin_position:
        answer.journal_begin_time.FromMilliseconds(found.begin_ms)
    writes = [write for write in reversed(found.writes) if name in write.values]
    decisive = next((write for write in writes if same(_value(write.values[name]), value)), None)
    rows = [_explained(write, name, decisive) for write in writes]
    answer.counts.contributed = int(decisive is not None)
    answer.counts.without_effect = len(writes) - answer.counts.contributed
    places = [(write.received_ms, 0, write.position) for write in writes]
    wanted = [
        number
        for number, row in enumerate(rows)
        if (not chosen.contributed_only or row.outcome == ExplainedEvent.OUTCOME_CONTRIBUTED)
        and (chosen.after is None or places[number] < chosen.after)
    ]
    answer.events.extend(rows[number] for number in wanted[: chosen.size])
    return answer, places[wanted[chosen.size - 1]] if len(wanted) > chosen.size else None


def _explained(write: AttributeWrite, name: str, decisive: AttributeWrite | None) -> ExplainedEvent:
    row = ExplainedEvent(
        position=position_text(write.position),
        outcome=ExplainedEvent.OUTCOME_WITHOUT_EFFECT,
        contribution=_value(write.values[name]),
    )
    row.event_time.FromMilliseconds(write.received_ms)
    row.received_time.FromMilliseconds(write.received_ms)
    if write is decisive:
        row.outcome = ExplainedEvent.OUTCOME_CONTRIBUTED
    elif decisive is not None and write.position < decisive.position:
        row.reason = "a later write gave the value"
    else:
        row.reason = "it was refused: the session had changed (`etag`), or a limit was reached"
    return row


def _value(written: Written) -> Value | None:
    if written is None:
        return None
    if isinstance(written, bool):
        return Value(bool_value=written)
    return Value(string_value=written) if isinstance(written, str) else Value(number_value=written)
