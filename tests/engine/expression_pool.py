"""A string pool that is filled from Python, for tests of expressions."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from rte_server.engine.native import text_id
from rte_server.engine.strings import LENGTH_BITS, StringPool, new_pool

SLOTS = 128


def pool_of(texts: Iterable[str], secret: NDArray[np.uint64]) -> StringPool:
    """Return a pool that holds some texts, fewer than SLOTS."""
    pool = new_pool(SLOTS, 8192)
    used = 0
    for text in set(texts):
        encoded = text.encode()
        string_id = text_id(encoded, secret)
        slot = string_id & (SLOTS - 1)
        while pool.slots[2 * slot] != 0:
            slot = (slot + 1) & (SLOTS - 1)
        pool.slots[2 * slot] = string_id
        pool.slots[2 * slot + 1] = used << LENGTH_BITS | len(encoded)
        pool.arena[used : used + len(encoded)] = np.frombuffer(encoded, np.uint8)
        used += len(encoded)
    return pool
