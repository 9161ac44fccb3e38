"""What is wrong with a model, said so that its author can mend it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

WORDS_SHOWN = 24
"""Known words that a remedy lists where none of them is near."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong in a model file.

    Attributes:
        file: Name of the file as the caller gave it.
        line: Line in the file, from 1; 0 where it concerns the file as a whole.
        message: What is wrong, one sentence without a full stop.
        remedy: What to do, one sentence without a full stop, or empty.
    """

    file: str
    line: int
    message: str
    remedy: str = ""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{place}: {self.message}" + (f"; {self.remedy}" if self.remedy else "")


def unreadable(file: str, error: OSError | UnicodeDecodeError) -> Problem:
    """Return what is wrong with a file that cannot be read as text.

    Args:
        file: Its name as the caller gave it.
        error: What came of reading it as a whole.
    """
    if isinstance(error, OSError):
        return Problem(file, 0, f"the file cannot be read: {error.strerror}", "check the path")
    line = error.object.count(b"\n", 0, error.start) + 1
    return Problem(file, line, f"the file is not UTF-8: byte 0x{error.object[error.start]:02x}", "save it as UTF-8")


class ModelError(Exception):
    """A model file cannot be used. It carries all of its problems, not only the first.

    Attributes:
        problems: At least one, by line.
    """

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(sorted(problems, key=lambda problem: (problem.file, problem.line)))
        super().__init__("\n".join(str(problem) for problem in self.problems))

    @property
    def file(self) -> str:
        """Return the file of the first problem."""
        return self.problems[0].file

    @property
    def line(self) -> int:
        """Return the line of the first problem, from 1, or 0."""
        return self.problems[0].line

    @property
    def message(self) -> str:
        """Return what the first problem is."""
        return self.problems[0].message

    @property
    def remedy(self) -> str:
        """Return what to do about the first problem."""
        return self.problems[0].remedy


class ExpressionError(Exception):
    """An expression cannot be used.

    Attributes:
        message: What is wrong, without a full stop.
        remedy: What to write instead, without a full stop, or empty.
        line: Line in the expression, from 1.
        column: Column in that line, from 1.
        name: The name that an expression on an event cannot read, where that is what is wrong, or empty.
    """

    def __init__(self, message: str, remedy: str = "", *, line: int = 1, column: int = 1, name: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy
        self.line = line
        self.column = column
        self.name = name

    def __str__(self) -> str:
        place = f"line {self.line}, column {self.column}" if self.line > 1 else f"column {self.column}"
        return f"{place}: {self.message}" + (f"; {self.remedy}" if self.remedy else "")


def nearest(word: str, known: Iterable[str]) -> str:
    """Return the known word that `word` was probably meant to be, or an empty string."""
    found = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return found[0] if found else ""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return a remedy that names the nearest known word, or, where none is near, the known ones, the first of many."""
    words = sorted(known)
    near = nearest(word, words)
    if near:
        return f"did you mean `{near}`?"
    if not words:
        return ""
    more = f" and {len(words) - WORDS_SHOWN} more" if len(words) > WORDS_SHOWN else ""
    return "known are " + ", ".join(f"`{each}`" for each in words[:WORDS_SHOWN]) + more
