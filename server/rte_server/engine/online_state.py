"""What an online score has learned: the layout of its block in `Table.online`, doubles only.

A version is a copy of the words from O_EXAMPLES to the end of the weights, so what was measured goes back with them.
"""

from __future__ import annotations

import numpy as np

O_VERSION = np.int64(0)  # number of the newest version, from 1; 0 = none
O_ROLLBACKS = np.int64(1)
O_EXAMPLES = np.int64(2)  # examples learned from
O_POSITIVES = np.int64(3)
O_SHOWN = np.int64(4)  # 1 = it is shown
O_RECENT = np.int64(5)  # examples, each weighs `fade` times as much after every other one, as in all that follows here
O_RECENT_POSITIVES = np.int64(6)
O_LOSS = np.int64(7)  # sum of its logarithmic losses, nats
O_BASELINE_LOSS = np.int64(8)
O_BINS = np.int64(9)  # BINS counts of negative examples by what was predicted for them, then BINS of positive ones
BINS = np.int64(64)
O_WEIGHTS = np.int64(137)  # z of each coordinate, n of each, mean of each, sum of squared deviations of each

COORDINATE_WORDS = 4

VERSIONS = 8
"""Earlier versions that are kept. Each begins with its number, 0 = none."""

VERSION_EXAMPLES = 100
"""Examples between two versions."""

CELL_LEARNED = np.int64(0)  # of a row's cell: 1 = the session was an example already
CELL_VALUE = np.int64(1)  # the score at the latest event, a double; 0 = none
CELL_WORDS = 2


def online_words(inputs: int) -> int:
    """Return the words of a block for a score of `inputs` inputs."""
    learned = int(O_WEIGHTS - O_EXAMPLES) + COORDINATE_WORDS * (inputs + 1)
    return int(O_EXAMPLES) + learned + VERSIONS * (1 + learned)
