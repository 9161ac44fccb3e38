"""What each kind of attribute declares: its memory per session, and how its value may differ from the true one."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum

from rte_server.engine.attributes import sketch_registers
from rte_server.engine.decay import DECAY_ERROR
from rte_server.engine.keyed import BEYOND, exact_up_to
from rte_server.engine.kinds import WINDOWED, cell_words
from rte_server.engine.program import AttributeSpec, Kind
from rte_server.engine.scores import SCORE_WORDS

WORD_BYTES = 8

SKETCH_ERROR = 1.04
"""Relative standard error of a HyperLogLog sketch times the root of its registers.
Source: Flajolet et al., "HyperLogLog", AofA 2007, theorem 1."""


class Exactness(IntEnum):
    """How a value may differ from the true one; numbers as in `rte.v1.Attribute.Exactness`."""

    EXACT = 1
    EXACT_UP_TO = 2
    APPROXIMATE = 3


@dataclass(frozen=True, slots=True)
class Declared:
    """What an attribute declares.

    Attributes:
        exactness: Whether it is exact.
        exact_up_to: EXACT_UP_TO: the value up to which it is; else 0.
        error: EXACT_UP_TO, APPROXIMATE: standard error or bound of the error, as a fraction of the true value; 0 where the
            note says what comes beyond.
        note: What else there is to know, in some words, or empty.
    """

    exactness: Exactness
    exact_up_to: int = 0
    error: float = 0.0
    note: str = ""

    def __str__(self) -> str:
        words = f"within {self.error:.2g}"
        if self.exactness == Exactness.EXACT:
            words = "exact"
        elif self.exactness == Exactness.EXACT_UP_TO and not self.error:
            words = f"exact up to {self.exact_up_to}"
        elif self.exactness == Exactness.EXACT_UP_TO:
            beyond = "so many or more" if self.error >= 1 else words
            words = f"exact up to {self.exact_up_to}, then {beyond}"
        return f"{words}, {self.note}" if self.note else words


def exactness(spec: AttributeSpec) -> Declared:
    """Return how exact an attribute is. One that is computed from others is exact for the values that these show."""
    if spec.kind == Kind.DISTINCT:
        error = SKETCH_ERROR / math.sqrt(sketch_registers(spec.keep))
        return Declared(Exactness.EXACT_UP_TO, spec.keep, error)
    if spec.kind in WINDOWED:
        width_ms, tiles = spec.params
        note = f"over the last {width_ms * (tiles - 1) / 1000:g} to {width_ms * tiles / 1000:g} s"
        if spec.kind == Kind.WINDOW_DISTINCT:
            return Declared(Exactness.EXACT_UP_TO, spec.keep, 1.0, note)
        return Declared(Exactness.EXACT, note=note)
    if spec.kind in (Kind.RATE, Kind.EWMA):
        return Declared(Exactness.APPROXIMATE, error=DECAY_ERROR)
    if exact_up_to(spec):
        return Declared(Exactness.EXACT_UP_TO, exact_up_to(spec), note=BEYOND[spec.kind])
    return Declared(Exactness.EXACT)


def session_bytes(spec: AttributeSpec) -> int:
    """Return the memory that an attribute takes in each session, bytes."""
    if spec.kind == Kind.SCORE:
        return WORD_BYTES * int(SCORE_WORDS)
    return 0 if spec.owner else WORD_BYTES * cell_words(spec.kind, spec.keep, spec.params)
