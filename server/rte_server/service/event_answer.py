"""The answer to a batch of events: counts, and verdicts for what was not plainly accepted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from heapq import merge
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from rte_server.engine.batch import DUPLICATE, TOO_LATE
from rte_server.engine.engine import Engine
from rte_server.engine.outcome import Outcome
from rte_server.engine.reasons import Reason
from rte_server.engine.wire import VERDICT, ScannedRequest
from rte_server.service.proto_wire import int_field, message_field, message_fields, text_field, timestamp_field
from rte_server.service.tokens import position_text

VERDICTS_MAX = 100
SESSIONS_MAX = 100

REJECTED_OUTCOME, DUPLICATE_OUTCOME, LATE_OUTCOME = 1, 2, 3
"""Numbers of `rte.v1.EventVerdict.Outcome`."""

_DUPLICATE_TEXT = "the event was seen before; it counts once"
_LATE_TEXT = "the event is too late for any session of its visitor"

Verdict = tuple[int, int, Reason, str, str]
"""Index, outcome, reason, field, message."""


@dataclass(frozen=True, slots=True)
class BatchResult:
    """What became of a batch.

    Attributes:
        scanned: The request.
        position: Where its accepted events stand in the journal.
        outcome: What the fold did with them, if the answer waited for it.
    """

    scanned: ScannedRequest
    position: int
    outcome: Outcome | None

    @property
    def accepted_count(self) -> int:
        """Return the number of accepted events."""
        return self.scanned.event_count - self.scanned.rejected_count

    def rejected_counts(self) -> dict[Reason, int]:
        """Return the number of refused events by reason."""
        if self.scanned.rejected_count == 0:
            return {}
        reasons, counts = np.unique(self.scanned.records[:, VERDICT], return_counts=True)
        return {
            Reason(reason): count for reason, count in zip(reasons.tolist(), counts.tolist(), strict=True) if reason
        }

    def with_outcome(self, code: int) -> NDArray[np.int64]:
        """Return the indexes of the events to which the fold did `code`, ascending."""
        if self.outcome is None:
            return np.empty(0, np.int64)
        is_accepted = self.scanned.records[:, VERDICT] == 0
        return np.flatnonzero((self.outcome.event_outcomes == code) & is_accepted)

    def verdicts(self) -> list[Verdict]:
        """Return the verdicts of the first events that were not plainly accepted."""
        rejected = (
            (index, REJECTED_OUTCOME, reason, field, text)
            for index, reason, field, text in self.scanned.verdicts(VERDICTS_MAX)
        )
        duplicates = self._of_fold(
            int(DUPLICATE), DUPLICATE_OUTCOME, Reason.DUPLICATE_EVENT, "event_id", _DUPLICATE_TEXT
        )
        late = self._of_fold(int(TOO_LATE), LATE_OUTCOME, Reason.EVENT_TOO_LATE, "event_time", _LATE_TEXT)
        return list(islice(merge(rejected, duplicates, late), VERDICTS_MAX))

    def _of_fold(self, code: int, outcome: int, reason: Reason, field: str, text: str) -> Iterator[Verdict]:
        for index in self.with_outcome(code)[:VERDICTS_MAX].tolist():
            yield index, outcome, reason, field, text

    def sessions(self, engine: Engine) -> list[bytes]:
        """Return the first sessions that the batch touched, serialized."""
        if self.outcome is None:
            return []
        return [session for session in engine.encode(self.outcome.rows[:SESSIONS_MAX]) if session]


def write_answer(result: BatchResult, sessions: Sequence[bytes]) -> bytes:
    """Return the serialized `IngestEventsResponse`, equally that of StreamEvents."""
    parts = [
        text_field(1, position_text(result.position)),
        int_field(2, result.accepted_count),
        int_field(3, result.scanned.rejected_count),
        timestamp_field(8, result.scanned.received_ms),
    ]
    if result.outcome is not None:
        parts.append(int_field(4, len(result.with_outcome(int(DUPLICATE)))))
        parts.append(int_field(5, len(result.with_outcome(int(TOO_LATE)))))
    for index, outcome, reason, field, text in result.verdicts():
        verdict = int_field(1, index) + int_field(2, outcome) + int_field(3, reason)
        parts.append(message_field(6, verdict + text_field(4, field) + text_field(5, text)))
    if sessions:
        parts.append(message_fields(7, sessions))
    return b"".join(parts)
