"""What each kind of attribute declares: its memory per session, and how its value may differ from the true one."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import IntEnum

from rte_server.engine.attributes import sketch_registers
from rte_server.engine.decay import DECAY_ERROR
from rte_server.engine.expressions import CELLS_SUFFIX, input_names
from rte_server.engine.keyed import BEYOND, exact_up_to
from rte_server.engine.layout import spec_words
from rte_server.engine.program import AttributeSpec, Kind
from rte_server.engine.scores import SCORE_WORDS
from rte_server.engine.top import HALF_LIFE

WORD_BYTES = 8

SKETCH_ERROR = 1.04
"""Relative standard error of a HyperLogLog sketch times the root of its registers.
Source: Flajolet et al., "HyperLogLog", AofA 2007, theorem 1."""


class Exactness(IntEnum):
    """How a value may differ from the true one; numbers as in `rte.v1.Attribute.Exactness`."""

    EXACT = 1
    EXACT_UP_TO = 2
    APPROXIMATE = 3
    NO_BOUND = 4
    NOT_APPLICABLE = 5


@dataclass(frozen=True, slots=True)
class Declared:
    """What an attribute declares.

    Attributes:
        exactness: Whether it is exact.
        exact_up_to: EXACT_UP_TO, NO_BOUND: the number up to which it is; else 0.
        error: EXACT_UP_TO: standard error or bound of the error beyond, as a fraction of the true value. APPROXIMATE: what each
            number that went into the value may add to its error, as a fraction of the number, which is taken as 1 if it
            is less; NO_BOUND: the same, up to `exact_up_to`.
        is_standard_error: Whether `error` is a standard error: two of three values are within it.
        note: What else there is to know, in some words, or empty.
    """

    exactness: Exactness
    exact_up_to: int = 0
    error: float = 0.0
    is_standard_error: bool = False
    note: str = ""

    def __str__(self) -> str:
        words = "exact"
        if self.exactness == Exactness.NO_BOUND:
            return self._without_bound()
        if self.exactness == Exactness.NOT_APPLICABLE:
            return f"no true value to compare with, {self.note}" if self.note.startswith(_AS) else self.note
        if self.exactness == Exactness.EXACT_UP_TO:
            words = f"exact up to {self.exact_up_to}{self._beyond()}"
        elif self.exactness == Exactness.APPROXIMATE:
            words = f"within {self.error:.2g} of each number, those below 1 taken as 1"
        return f"{words}, {self.note}" if self.note else words

    def _without_bound(self) -> str:
        words = f"within {self.error:.2g} of each weight" if self.error else "exact"
        if self.note.startswith(_AS):
            return f"{words} up to {self.exact_up_to}, no bound beyond, {self.note}"
        return f"{words} up to {self.exact_up_to} {self.note}, no bound beyond"

    def _beyond(self) -> str:
        if self.is_standard_error:
            return f", then with a standard error of {self.error:.2g}"
        return ", then so many or more" if self.error >= 1 else ""


def exactness(spec: AttributeSpec, known: Mapping[str, AttributeSpec]) -> Declared:
    """Return how exact an attribute is.

    What is computed from other attributes declares the worst that one of them does.

    Args:
        spec: The attribute.
        known: All attributes of the models in use, by name.

    Raises:
        ValueError: The kind does not say how exact it is.
    """
    match spec.kind:
        case Kind.COUNT | Kind.SUM | Kind.MIN | Kind.MAX | Kind.MEAN | Kind.FIRST | Kind.LAST | Kind.RECENT:
            return Declared(Exactness.EXACT)
        case Kind.ELAPSED | Kind.ABSENCE | Kind.WRITTEN:
            return Declared(Exactness.EXACT)
        case Kind.CUSTOMER:
            return Declared(Exactness.EXACT, note="as the data mart said last")
        case Kind.DISTINCT:
            error = SKETCH_ERROR / math.sqrt(sketch_registers(spec.keep))
            return Declared(Exactness.EXACT_UP_TO, spec.keep, error, is_standard_error=True)
        case Kind.WINDOW_DISTINCT:
            return Declared(Exactness.EXACT_UP_TO, spec.keep, 1.0, note=_window_of(spec))
        case Kind.WINDOW_COUNT | Kind.WINDOW_SUM | Kind.WINDOW_MIN | Kind.WINDOW_MAX | Kind.WINDOW_MEAN:
            return Declared(Exactness.EXACT, note=_window_of(spec))
        case Kind.RATE | Kind.EWMA:
            return Declared(Exactness.APPROXIMATE, error=DECAY_ERROR)
        case Kind.TOP if spec.params[HALF_LIFE]:
            return Declared(Exactness.NO_BOUND, exact_up_to(spec), DECAY_ERROR, note=BEYOND[spec.kind])
        case Kind.SET | Kind.BASKET | Kind.RESET_SUM | Kind.SEQUENCE | Kind.TOP:
            return Declared(Exactness.NO_BOUND, exact_up_to(spec), note=BEYOND[spec.kind])
        case Kind.DERIVED | Kind.TRIGGER:
            return _worst_of(input_names(spec.code), known)
        case Kind.LINEAR | Kind.ONLINE:
            return _worst_of([name for name, _, _ in spec.weights], known)
        case Kind.SCORE:
            inputs = _worst_of([name for name, _ in spec.score.inputs] if spec.score else (), known)
            runner = spec.score.runner if spec.score else "runner"
            note = f"what the {runner} says, some milliseconds later, of inputs that are {inputs}"
            return Declared(Exactness.NOT_APPLICABLE, note=note)
    raise ValueError(f"kind {spec.kind} does not say how exact it is")


def _window_of(spec: AttributeSpec) -> str:
    width_ms, tiles = spec.params
    return f"over the last {width_ms * (tiles - 1) / 1000:g} to {width_ms * tiles / 1000:g} s"


def _worst_of(names: Iterable[str], known: Mapping[str, AttributeSpec]) -> Declared:
    """Return what the least exact of some inputs declares, with its name; fields of the session are exact."""
    worst = Declared(Exactness.EXACT)
    for name in sorted(name.removesuffix(CELLS_SUFFIX) for name in names):
        if name not in known:
            continue
        declared = exactness(known[name], known)
        if (declared.exactness, declared.error) > (worst.exactness, worst.error):
            origin = declared.note if declared.note.startswith(_AS) else f"{_AS}{name}"
            worst = replace(declared, note=origin)
    return worst


_AS = "as "


def session_bytes(spec: AttributeSpec) -> int:
    """Return the memory that an attribute takes in a session that has it, bytes; see `annexes`.

    The half byte for the type of a derived attribute counts as part of the row's header.
    """
    if spec.kind == Kind.SCORE:
        return WORD_BYTES * int(SCORE_WORDS)
    return 0 if spec.owner else WORD_BYTES * spec_words(spec)
