"""ABSENCE: something happened, and what should follow has not come for a while.

Cell: (time, order) of the latest event waited after, then (time, order) of the latest one waited for; 0 = none. Both are
maxima, so the cell is a commutative monoid and exact.
"""

from __future__ import annotations

import numpy as np

from rte_server.engine.kernel import inner
from rte_server.engine.native import put_word, word_at
from rte_server.engine.table import NEVER_MS

ABSENCE_WORDS = 4
ENDS_WAIT = np.int64(1)
"""Role of the events that are waited for."""

_WAITED_FOR = np.int64(2)


@inner
def _keep_latest(cells, at, time_ms, order):  # type: ignore[no-untyped-def]
    if time_ms > word_at(cells, at) or (time_ms == word_at(cells, at) and order > word_at(cells, at + 1)):
        put_word(cells, at, time_ms)
        put_word(cells, at + 1, order)


@inner
def lift_absence(cells, at, role, time_ms, order):  # type: ignore[no-untyped-def]
    """Lift an event: of role 0 it begins the wait, of role ENDS_WAIT it ends it."""
    _keep_latest(cells, at + _WAITED_FOR if role == ENDS_WAIT else at, time_ms, order)


@inner
def merge_absence(into, other, at):  # type: ignore[no-untyped-def]
    """Merge a cell into another."""
    for first in (at, at + _WAITED_FOR):
        if word_at(other, first) != 0:
            _keep_latest(into, first, word_at(other, first), word_at(other, first + 1))


@inner
def absence_due_ms(cells, at, wait_ms):  # type: ignore[no-untyped-def]
    """Return the session time from which on the absence holds; NEVER_MS if nothing is waited for."""
    since = word_at(cells, at)
    until = word_at(cells, at + _WAITED_FOR)
    if since == 0 or until > since or (until == since and word_at(cells, at + 3) >= word_at(cells, at + 1)):
        return np.int64(NEVER_MS)
    return since + wait_ms
