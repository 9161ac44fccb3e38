"""The blocks of memory that annexes of rows lie in: where each annex has its blocks, and which are free. See `annexes`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

# Words of an annex in `table.Table.annexes`.
X_FIRST = np.int64(0)  # its first word in a row in one piece
X_LENGTH = np.int64(1)  # its words
X_BASE = np.int64(2)  # word of `Table.blocks` at which its block 0 begins
X_TAKEN = np.int64(3)  # blocks ever taken
X_FREE = np.int64(4)  # the free block that is taken next, 0 = none; its first word says which is next
X_WORDS = np.int64(8)


def new_blocks(sessions_max: int, annexes: Sequence[tuple[int, int]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return empty `Table.blocks` and `Table.annexes`.

    Args:
        sessions_max: Rows of the table. Each annex has so many blocks, and one of zeros.
        annexes: First word and words of each annex.
    """
    found = np.zeros((len(annexes), X_WORDS), np.int64)
    base = 0
    for annex, (first, words) in enumerate(annexes):
        found[annex, [X_FIRST, X_LENGTH, X_BASE]] = first, words, base
        base += (sessions_max + 1) * words
    return np.zeros(base, np.int64), found


def taken_blocks(annexes: NDArray[np.int64]) -> list[tuple[str, slice]]:
    """Return where in `Table.blocks` the blocks are that were ever taken of each annex, without that of zeros, by name."""
    found = []
    for annex, (words, base, taken) in enumerate(annexes[:, [X_LENGTH, X_BASE, X_TAKEN]].tolist()):
        found.append((f"blocks_{annex}", slice(base + words, base + words * (1 + taken))))
    return found
