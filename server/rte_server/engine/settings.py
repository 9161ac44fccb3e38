"""What the configuration tells the fold."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rte_server.engine.program import S_WORDS


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """What the fold is told by the configuration; it stands in the journal.

    Attributes:
        gap_ms: A gap between events strictly greater than this starts a new session, > 0.
        max_length_ms: No event makes a session longer than this; 0 = no limit.
        lateness_ms: Events older than this against their visitor's newest event are too late, >= 0.
        dedup_horizon_ms: Event ids are remembered for this time after they were received, >= 0.
        closed_retention_ms: Closed sessions stay for this time after the last entry that touched them, >= 0.
        closed_max: At most this many closed sessions stay, >= 0.
    """

    gap_ms: int = 1_800_000
    max_length_ms: int = 86_400_000
    lateness_ms: int = 86_400_000
    dedup_horizon_ms: int = 86_400_000
    closed_retention_ms: int = 3_600_000
    closed_max: int = 200_000

    def words(self) -> NDArray[np.int64]:
        """Return them as the kernels read them: int64[S_WORDS]."""
        found = np.array(
            [
                self.gap_ms,
                self.max_length_ms,
                self.lateness_ms,
                self.dedup_horizon_ms,
                self.closed_retention_ms,
                self.closed_max,
            ],
            np.int64,
        )
        assert len(found) == S_WORDS
        return found
