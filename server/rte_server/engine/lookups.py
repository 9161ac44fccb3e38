"""From keys to rows, for readers beside the writer."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rte_server.engine.table import ALIAS_COUNT_MAX, ALIASES, RETRY_READ, Table, read_index


def look_up(context: NDArray[np.int64], key: int) -> int:
    """Return the row that a key of the index leads to, or -1."""
    row = int(RETRY_READ)
    while row == RETRY_READ:
        row = int(read_index(context, key))
    return row


def has_alias(table: Table, row: int, low: int, high: int) -> bool:
    """Return whether a pair of words is among the other ids of a row's session."""
    pairs = table.rows[row, ALIASES : ALIASES + 2 * ALIAS_COUNT_MAX].reshape(-1, 2)
    return any(int(a) == low and int(b) == high for a, b in pairs)
