"""What triggers do, session by session: the plain form of `engine.triggers`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rte_server.engine.program import AttributeSpec, Kind

Holds = Callable[[str, int], bool]
"""Says whether the condition of a trigger holds at a time of the session."""


@dataclass(slots=True)
class Mark:
    """What is remembered of a trigger for a session."""

    count: int = 0
    time_ms: int = 0
    fired_last_ms: int = 0
    """Time of the session's last event when it fired."""
    refused_last_ms: int = 0
    """The same when it was ready, and its condition did not hold."""

    def merged(self, other: Mark) -> Mark:
        """Return the marks of both."""
        return Mark(
            self.count + other.count,
            max(self.time_ms, other.time_ms),
            max(self.fired_last_ms, other.fired_last_ms),
            max(self.refused_last_ms, other.refused_last_ms),
        )


class Triggers:
    """The triggers of one session."""

    def __init__(self, specs: Sequence[AttributeSpec]) -> None:
        self.specs = [spec for spec in specs if spec.kind == Kind.TRIGGER and not spec.owner]
        self.marks = {spec.name: Mark() for spec in self.specs}

    def merge(self, other: Triggers) -> None:
        """Take over the marks of a session that becomes part of this one."""
        self.marks = {name: mark.merged(other.marks[name]) for name, mark in self.marks.items()}

    def settle(self, last_ms: int, time_ms: int, holds: Holds) -> None:
        """Decide those whose quiet is over, each at the moment at which it was."""
        for spec in self.specs:
            moment_ms = last_ms + spec.params[0]
            is_open = self.marks[spec.name].refused_last_ms < last_ms and not self.is_done(spec, last_ms)
            if spec.params[0] and moment_ms <= time_ms and is_open:
                self.fire(last_ms, moment_ms, holds)

    def fire(self, last_ms: int, time_ms: int, holds: Holds) -> None:
        """Fire those that are ready at `time_ms` and whose conditions hold."""
        for spec in self.specs:
            mark = self.marks[spec.name]
            moment_ms = last_ms + spec.params[0]
            if time_ms < moment_ms or self.is_done(spec, last_ms):
                continue
            if holds(spec.name, time_ms):
                is_late = not spec.params[0] or mark.refused_last_ms >= last_ms
                mark.count += 1
                mark.time_ms = max(mark.time_ms, time_ms if is_late else moment_ms)
                mark.fired_last_ms = max(mark.fired_last_ms, last_ms)
            elif spec.params[0]:
                mark.refused_last_ms = last_ms

    def is_done(self, spec: AttributeSpec, last_ms: int) -> bool:
        """Return whether a trigger does not fire any more, for now or for good."""
        mark = self.marks[spec.name]
        return mark.fired_last_ms >= last_ms if spec.params[1] else mark.count > 0

    def shown(self, last_ms: int) -> dict[str, bool | float | str]:
        """Return the attributes that show the triggers."""
        values: dict[str, bool | float | str] = {}
        for spec in self.specs:
            mark = self.marks[spec.name]
            values[spec.name] = self.is_done(spec, last_ms)
            values[f"{spec.name}.count"] = mark.count
            if mark.time_ms:
                values[f"{spec.name}.time"] = mark.time_ms
        return values
