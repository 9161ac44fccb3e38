"""What an entry did to the state."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from rte_server.engine.reasons import EngineError
from rte_server.engine.triggers import Fired


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one entry did.

    Attributes:
        event_outcomes: uint8[n], per event of the scanned request: `fold.APPLIED`, REJECTED, DUPLICATE or TOO_LATE.
        rows: int64[m], sessions that changed, each once.
        removed: Session ids that lead to no session of their own any more: left, evicted or merged.
        removed_all: The number removed; greater than `len(removed)` when there were too many to list.
        row: UPDATE, END: the session, or -1.
        error: UPDATE, END: why nothing was done.
        fired: Triggers that fired, in order.
        is_new_state: Every session may have other values, and be in another row: whoever follows changes begins anew.
    """

    event_outcomes: NDArray[np.uint8]
    rows: NDArray[np.int64]
    removed: list[str] = field(default_factory=list)
    removed_all: int = 0
    row: int = -1
    error: EngineError | None = None
    fired: list[Fired] = field(default_factory=list)
    is_new_state: bool = False
