"""Marks: how the fold knows which derived attributes to compute anew.

Inputs that the same derived attributes read share a mark, one bit of a word. An event sets the marks of what it changes,
and so does a derived attribute whose value has become another one; each is computed if a mark of its inputs is set. Where
there are more marks than bits, some share a bit, and more is computed than need be.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rte_server.engine.expressions import CELLS_SUFFIX, input_names
from rte_server.engine.kinds import passes, refresh_ms
from rte_server.engine.program import (
    CELLS_OF,
    FIELDS_OF_EVERY_EVENT,
    FIELDS_OF_TIME,
    MARK_NEW,
    MARK_TIME,
    MARKS_MAX,
    PASSING_MAX,
    AttributeSpec,
    Kind,
    load_number,
)
from rte_server.engine.table import NEVER_MS

COMPUTED = (Kind.DERIVED, Kind.LINEAR, Kind.ONLINE)
"""Kinds that are computed from a session's row."""


_NOT_OF_EVENTS = frozenset((Kind.CUSTOMER, Kind.WRITTEN, Kind.SCORE, Kind.ONLINE, Kind.TRIGGER))
"""Kinds of attributes that something else than an event of the session may change."""


class Marks:
    """The marks of a program.

    Attributes:
        passing: Numbers of the inputs that change at certain times and that a row has a bit for, see `table.STALE`.
    """

    def __init__(self, attributes: Sequence[AttributeSpec], numbers: Mapping[str, int]) -> None:
        """Give the inputs of derived attributes their marks.

        Args:
            attributes: All attributes.
            numbers: Their numbers by name.

        Raises:
            EngineError: INVALID_EXPRESSION if one reads what there is not.
        """
        self._attributes = attributes
        self._numbers = numbers
        readers: dict[int, set[str]] = {}
        for spec in attributes:
            for name in names_read(spec) if spec.kind in COMPUTED else ():
                readers.setdefault(load_number(name, numbers), set()).add(spec.name)
        places: dict[frozenset[str], int] = {}
        self._marks = {
            number: 1 << places.setdefault(frozenset(each), len(places)) % MARKS_MAX for number, each in readers.items()
        }
        found = (n for n in self._marks if n >= 0 and passes(attributes[n]) and refresh_ms(attributes[n]) == 0)
        self.passing = sorted(found)[:PASSING_MAX]

    def of_input(self, number: int) -> int:
        """Return the mark of an input, by its number as in `ProgramArrays.loads`; 0 if nothing reads it."""
        return self._marks.get(number, 0)

    def of_attribute(self, spec: AttributeSpec) -> int:
        """Return the marks of an attribute that takes events, and of its parts. Those in `passing` are looked at anyway."""
        marks = 0
        for number, each in enumerate(self._attributes):
            if spec.name in (each.name, each.owner) and number not in self.passing:
                marks |= self.of_input(number) | self.of_input(CELLS_OF - number)
        return marks

    def of_fields(self) -> int:
        """Return the marks of the fields that every event changes. Where the customer or the channel does, all is computed."""
        marks = 0
        for name in FIELDS_OF_EVERY_EVENT - {"session.customer_id", "session.channel"}:
            marks |= self.of_input(load_number(name, self._numbers))
        return marks

    def read_by(self, spec: AttributeSpec) -> int:
        """Return the marks of what a derived attribute reads."""
        # The weights of an online score may have changed.
        marks = int(MARK_TIME) if spec.kind == Kind.ONLINE else 0
        for name in names_read(spec):
            number = load_number(name, self._numbers)
            plain = self._numbers.get(name.removesuffix(CELLS_SUFFIX))
            marks |= self.of_input(number)
            if name in FIELDS_OF_TIME or (
                plain is not None and passes(self._attributes[plain]) and number not in self.passing
            ):
                marks |= int(MARK_TIME)
        return marks | int(MARK_NEW)

    def passing_rows(self, cells_at: Sequence[int]) -> list[tuple[int, int, int, int]]:
        """Return `ProgramArrays.passing`.

        Args:
            cells_at: Word of each attribute's cell in a row.
        """
        rows = []
        for number in self.passing:
            spec = self._attributes[number]
            wait_ms = spec.params[0] if spec.kind == Kind.ABSENCE else -int(NEVER_MS)
            rows.append((number, self._marks[number], int(cells_at[number]), wait_ms))
        return rows

    def at_once(self) -> tuple[int, int, int]:
        """Return `ProgramArrays.at_once`."""
        triggers = [spec for spec in self._attributes if spec.kind == Kind.TRIGGER and not spec.owner]
        waits = [spec.params[0] for spec in triggers if spec.params[0] > 0]
        waiting = [name for spec in triggers if spec.params[0] == 0 for name in input_names(spec.code)]
        behind: set[str] = set()
        marks = 0
        is_of_events = True
        while waiting:
            name = waiting.pop().removesuffix(CELLS_SUFFIX)
            number = self._numbers.get(name)
            # Fields of the session are not: without events they are something else than at its first event.
            is_of_events &= number is not None and self._attributes[number].kind not in _NOT_OF_EVENTS
            if number is not None and name not in behind and self._attributes[number].kind in COMPUTED:
                behind.add(name)
                marks |= self.read_by(self._attributes[number]) & ~int(MARK_NEW)
                waiting += names_read(self._attributes[number])
        return min(waits, default=int(NEVER_MS)), marks, int(is_of_events)


def names_read(spec: AttributeSpec) -> set[str]:
    """Return what a derived attribute reads."""
    return set(input_names(spec.code)) | {name for name, _, _ in spec.weights}
