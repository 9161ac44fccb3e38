"""Read masks: which fields and attributes of a session are wanted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rte_server.engine.encode import ALL_FIELDS
from rte_server.engine.native import text_id
from rte_server.engine.program import Program
from rte_server.engine.reasons import EngineError, Reason

FIELD_NUMBERS = {
    "session_id": 1,
    "visitor_id": 2,
    "customer_id": 3,
    "state": 4,
    "start_time": 5,
    "last_event_time": 6,
    "end_time": 7,
    "event_count": 8,
    "channel": 9,
    "alias_ids": 10,
    "attributes": 11,
    "etag": 12,
    "visit_number": 13,
    "late_event_count": 14,
    "scores": 15,
}
"""Fields of rte.v1.Session by name."""

_ATTRIBUTES_BIT = 1 << FIELD_NUMBERS["attributes"]
_PREFIX = "attributes."


@dataclass(frozen=True, slots=True)
class Mask:
    """What is wanted of a session.

    Attributes:
        paths: What it was made of.
        fields: Bit n is set if field number n of rte.v1.Session is wanted.
        chosen: uint8[attributes of the program], 1 if wanted.
        all_written: Whether all written attributes are wanted.
        written_ids: int64[n], string ids of the names that are no attribute of a model: written ones, if any.
        program: What it was made for.
    """

    paths: tuple[str, ...]
    fields: int
    chosen: NDArray[np.uint8]
    all_written: bool
    written_ids: NDArray[np.int64]
    program: Program

    @staticmethod
    def of(paths: Sequence[str], program: Program, secret: NDArray[np.uint64]) -> Mask:
        """Return the mask of some paths; no path or `*` stands for everything.

        Raises:
            EngineError: INVALID_EXPRESSION for a path that there is not.
        """
        count = len(program.attributes)
        if not paths or "*" in paths:
            return Mask(tuple(paths), ALL_FIELDS, np.ones(count, np.uint8), True, np.zeros(0, np.int64), program)
        fields = 0
        chosen = np.zeros(count, np.uint8)
        written: list[int] = []
        everything = "attributes" in paths
        for path in paths:
            if path in FIELD_NUMBERS:
                fields |= 1 << FIELD_NUMBERS[path]
                continue
            if not path.startswith(_PREFIX) or len(path) == len(_PREFIX):
                raise EngineError(
                    Reason.INVALID_EXPRESSION,
                    f"The read_mask has no path {path!r}; write a field of Session, or attributes.NAME.",
                    field="read_mask",
                    value=path,
                )
            fields |= _ATTRIBUTES_BIT
            name = path[len(_PREFIX) :]
            number = program.number_of(name)
            if number >= 0:
                chosen[number] = 1
            else:
                written.append(text_id(name.encode(), secret))
        if everything:
            chosen[:] = 1
        return Mask(tuple(paths), fields, chosen, everything, np.array(written, np.int64), program)
