"""The change log and scores: they come without an entry, and no watch misses them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rte_server.service.change_log import ChangeLog


class Rows:
    """An engine of which all rows have changed."""

    def changed_since(self, position: int) -> NDArray[np.int64]:
        """Return five rows."""
        return np.arange(5)


def rows(*numbers: int) -> NDArray[np.int64]:
    """Return row numbers."""
    return np.array(numbers, np.int64)


def test_scores_are_new_once() -> None:
    """For whoever has read up to them they are not new again, though the position stays."""
    log = ChangeLog(Rows(), 10)
    log.add(11, rows(1), [])
    log.add_scored(rows(1, 2))
    found = log.since(11, 0)
    assert found is not None
    assert found.rows.tolist() == [1, 2]
    assert (found.positions == 12).all()
    again = log.since(found.until, found.scored)
    assert again is not None and again.rows.size == 0


def test_whoever_resumes_gets_the_scores_since() -> None:
    """Those that came at its position, too: they may have come after what it saw."""
    log = ChangeLog(Rows(), 10)
    log.add_scored(rows(4))
    log.add(11, rows(1), [])
    log.add_scored(rows(2))
    log.add(12, rows(3), [])
    log.add_scored(rows(1))
    found = log.since(11)
    assert found is not None
    assert sorted(found.rows.tolist()) == [1, 2, 3]
    assert found.positions.tolist() == sorted(found.positions.tolist())
    everything = log.since(10)
    assert everything is not None
    assert sorted(everything.rows.tolist()) == [1, 2, 3, 4]


def test_whoever_is_far_behind_gets_all_rows() -> None:
    """When the scores that it has not read are no longer kept."""
    log = ChangeLog(Rows(), 10, rows_max=3)
    for number in range(4):
        log.add_scored(rows(number))
    near, far = log.since(10, 2), log.since(10, 0)
    assert near is not None and near.rows.tolist() == [2, 3]
    assert far is not None and sorted(far.rows.tolist()) == [0, 1, 2, 3, 4]
