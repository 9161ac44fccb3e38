"""A session copied out of the running state."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rte_server.engine.program import Program
from rte_server.engine.strings import StringPool


@dataclass(frozen=True, slots=True)
class RowCopy:
    """A session at one moment, with what its words refer to.

    Attributes:
        cells: int64[row_words], its row.
        written: int64[WRITTEN_WORDS], what applications wrote; zeros if nothing.
        program: The program that gives the words their meaning.
        pool: Holds its strings.
        position: Position of the last entry that was applied, or an earlier one.
        online: float64[n], what its online scores have learned.
    """

    cells: NDArray[np.int64]
    written: NDArray[np.int64]
    program: Program
    pool: StringPool
    position: int
    online: NDArray[np.float64]
