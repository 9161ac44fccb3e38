"""What an online score has learned: the layout of its block in `Table.online`, doubles only."""

from __future__ import annotations

import numpy as np

O_EXAMPLES = np.int64(0)
O_POSITIVES = np.int64(1)
O_LOSS = np.int64(2)  # sum of its logarithmic losses, nats
O_BASELINE_LOSS = np.int64(3)
O_SHOWN = np.int64(4)  # 1 = it is shown
O_VERSION = np.int64(5)  # number of the newest version of the weights, from 1; 0 = none
O_ROLLBACKS = np.int64(6)
O_BINS = np.int64(8)  # BINS counts of negative examples by what was predicted for them, then BINS of positive ones
BINS = np.int64(64)
O_WEIGHTS = np.int64(136)  # z of each coordinate, then n of each; then VERSIONS times: version number, z, n

VERSIONS = 8
"""Earlier versions of the weights that are kept."""

VERSION_EXAMPLES = 100
"""Examples between two versions."""

CELL_LEARNED = np.int64(0)  # of a row's cell: 1 = the session was an example already
CELL_VALUE = np.int64(1)  # the score at the latest event, a double; 0 = none
CELL_WORDS = 2


def online_words(inputs: int) -> int:
    """Return the words of a block for a score of `inputs` inputs."""
    return int(O_WEIGHTS) + 2 * (inputs + 1) + VERSIONS * (1 + 2 * (inputs + 1))
