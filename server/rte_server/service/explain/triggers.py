"""Why a trigger has fired or not: its condition, its wait, and what it has told, as they stand in the session's row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from google.protobuf.struct_pb2 import Value

from rte.v1.session_explanation_pb2 import ExpressionPart
from rte_server.engine.program import AttributeSpec, Kind
from rte_server.engine.row_copy import RowCopy
from rte_server.engine.table import LAG, LAST
from rte_server.engine.trigger_cells import COUNT_AT, LAST_AT, REFUSED_AT, TIME_AT
from rte_server.service.explain.stories import duration_text

WHEN = "when "
"""The rule of a trigger begins with it; no expression does."""


@dataclass(frozen=True, slots=True)
class TriggerState:
    """How a trigger stands in a session. Times are the session's, milliseconds since 1970.

    Attributes:
        quiet_ms: For how long the session must be quiet; 0: it fires at once.
        each_quiet: Whether it fires once per quiet, not once per session.
        count: How often it fired.
        fired_ms: When it fired last.
        told_ms: Of which last event the quiet was when it fired last.
        refused_ms: Of which last event the quiet was when its wait was over and its condition did not hold.
        last_ms: When the session's last event was.
        present_ms: What time it is for the session.
    """

    quiet_ms: int
    each_quiet: bool
    count: int
    fired_ms: int
    told_ms: int
    refused_ms: int
    last_ms: int
    present_ms: int

    @property
    def is_fired(self) -> bool:
        """Whether it has fired, in the present quiet if it fires once per quiet: its value."""
        return self.told_ms >= self.last_ms if self.each_quiet else self.count > 0

    @property
    def is_waiting(self) -> bool:
        """Whether it has not yet looked at its condition in the present quiet."""
        return not self.is_fired and self.quiet_ms > 0 and self.refused_ms < self.last_ms

    def sentence(self) -> str:
        """Return in one sentence what it waits for, or since when it waits no more."""
        quiet = duration_text(self.quiet_ms)
        if self.is_fired:
            after = "after the next event it may fire again" if self.each_quiet else "it fires once per session"
            return f"it {self._firing()}; {after}"
        before = f"; so far it {self._firing()}" if self.count else ""
        if self.is_waiting:
            return (
                f"the session is quiet since {_time(self.last_ms)}, and it fires at {_time(self.last_ms + self.quiet_ms)}, "
                f"after {quiet}, if its condition holds then{before}"
            )
        if self.quiet_ms:
            return (
                f"its condition did not hold at {_time(self.last_ms + self.quiet_ms)}, when the session had been quiet for "
                f"{quiet}; it fires as soon as it does, if no event comes before{before}"
            )
        return f"it fires as soon as its condition holds{before}"

    def shown(self, when: str, condition: ExpressionPart, *, decides: bool) -> ExpressionPart:
        """Return its rule as the contract has it.

        Args:
            when: Its condition as text.
            condition: The same with values, as if it decided.
            decides: Whether what it stands in has its value because of it.
        """
        text = WHEN + when + (f", quiet for {duration_text(self.quiet_ms)}" if self.quiet_ms else "")
        text += f", once per {'quiet' if self.each_quiet else 'session'}"
        found = ExpressionPart(text=text, value=Value(bool_value=self.is_fired), decides=decides)
        # Once it has fired, what its condition is by now says nothing.
        if self.is_fired or self.is_waiting:
            _undecide(condition)
        found.parts.append(condition)
        if self.quiet_ms:
            wait = f"quiet for {duration_text(self.quiet_ms)} since {_time(self.last_ms)}"
            is_over = self.present_ms >= self.last_ms + self.quiet_ms
            found.parts.add(text=wait, value=Value(bool_value=is_over), decides=decides and self.is_waiting)
        if self.is_fired:
            found.parts.add(text=self._firing(), value=Value(bool_value=True), decides=decides)
        return found

    def _firing(self) -> str:
        return f"fired at {_time(self.fired_ms)} (round {self.count})"


def trigger_states(copied: RowCopy, now_ms: int) -> Mapping[str, TriggerState]:
    """Return how the triggers of a session stand, by name, their parts among them.

    Args:
        copied: The session.
        now_ms: The time by the server's clock, milliseconds since 1970.
    """
    last_ms = int(copied.cells[LAST])
    present_ms = max(now_ms - int(copied.cells[LAG]), last_ms)
    return {
        spec.name: _state(copied, spec, last_ms, present_ms)
        for spec in copied.program.attributes
        if spec.kind == Kind.TRIGGER
    }


def _state(copied: RowCopy, spec: AttributeSpec, last_ms: int, present_ms: int) -> TriggerState:
    quiet_ms, each_quiet = spec.params
    at, _ = copied.program.words_of(copied.program.number_of(spec.owner or spec.name))
    count, fired_ms, told_ms, refused_ms = (
        int(copied.cells[at + word]) for word in (COUNT_AT, TIME_AT, LAST_AT, REFUSED_AT)
    )
    return TriggerState(quiet_ms, bool(each_quiet), count, fired_ms, told_ms, refused_ms, last_ms, present_ms)


def _undecide(part: ExpressionPart) -> None:
    part.decides = False
    for each in part.parts:
        _undecide(each)


def _time(time_ms: int) -> str:
    """Return a time as JSON has it."""
    text = datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec="milliseconds")
    return text.removesuffix("+00:00").removesuffix(".000") + "Z"
