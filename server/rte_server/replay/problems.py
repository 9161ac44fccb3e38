"""What is wrong with a recorded file: errors that end a replay, and rows that cannot become events."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

EXAMPLES_MAX = 10
"""Rows that are named per reason; the others are only counted."""


class ReplayError(Exception):
    """A file or a mapping cannot be used; the message says in one sentence what to do."""


class RowError(Exception):
    """One row cannot become an event.

    Attributes:
        reason: Names the kind of problem, in the words of `rte.v1.ErrorReason` where it has one.
        message: Says what is wrong with it.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that was not sent.

    Attributes:
        file: Name of the file as it was given.
        line: Line on which the row ends, from 1.
        reason: See RowError.
        message: See RowError.
    """

    file: str
    line: int
    reason: str
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.message} ({self.reason})"


@dataclass(slots=True)
class RowProblems:
    """Collects the rows that were not sent.

    Attributes:
        strict: Whether the first one ends the replay.
        counts: Rows by reason.
        examples: The first EXAMPLES_MAX rows of each reason.
    """

    strict: bool = False
    counts: Counter[str] = field(default_factory=Counter)
    examples: list[BadRow] = field(default_factory=list)

    def add(self, row: BadRow) -> None:
        """Count one row.

        Raises:
            ReplayError: `strict` is set.
        """
        if self.strict:
            raise ReplayError(f"{row}. Mend the row, or leave out --strict.")
        self.counts[row.reason] += 1
        if self.counts[row.reason] <= EXAMPLES_MAX:
            self.examples.append(row)
