"""Turns the JSON form of a request into ordinary wire bytes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rte_server.engine import wire_layout as layout

JSON_TAG = bytes([15 << 3 | 2])


def convert_json(body: bytes, events_max: int, envelope: NDArray[np.int64]) -> tuple[bytes, NDArray[np.int64]]:
    """Not yet: refuse the request."""
    envelope[layout.REASON] = 1
    return b"", np.empty((0, 5), np.int64)
