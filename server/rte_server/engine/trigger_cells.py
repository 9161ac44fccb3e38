"""The marks of a trigger in its session's row; see `triggers`."""

from __future__ import annotations

import numpy as np

from rte_server.engine.derived_cells import is_true
from rte_server.engine.kernel import inner
from rte_server.engine.native import put_word, word_at
from rte_server.engine.table import LAST, NEVER_MS
from rte_server.engine.values import BOOL, INT, NULL

# Words of the cell.
COUNT_AT = np.int64(0)  # how often it fired
TIME_AT = np.int64(1)  # the latest time it fired at, by the session's time
LAST_AT = np.int64(2)  # time of the session's last event when it fired
REFUSED_AT = np.int64(3)  # time of the session's last event when it was ready, and its condition did not hold
TRIGGER_WORDS = 4

# Parts that attributes show.
PART_TIME = 1
PART_COUNT = 2


@inner
def is_done(cells, at, each_quiet):  # type: ignore[no-untyped-def]
    """Return whether a trigger does not fire any more: until the next event if it does once per quiet, else for good."""
    if each_quiet != 0:
        return word_at(cells, at + LAST_AT) >= word_at(cells, LAST)
    return word_at(cells, at + COUNT_AT) > 0


@inner
def trigger_due_ms(cells, at, condition, quiet_ms, each_quiet, time_ms):  # type: ignore[no-untyped-def]
    """Return when a trigger must be looked at though nothing changes; NEVER_MS: not at all.

    Its condition is a derived attribute, the place of whose type is `condition`.
    """
    if is_done(cells, at, each_quiet):
        return np.int64(NEVER_MS)
    if quiet_ms > 0 and word_at(cells, at + REFUSED_AT) < word_at(cells, LAST):
        return max(word_at(cells, LAST) + quiet_ms, time_ms + 1)
    # It would have fired, but the report of the entry was full.
    return time_ms + 1 if is_true(cells, condition) else np.int64(NEVER_MS)


@inner
def merge_trigger(into, other, at):  # type: ignore[no-untyped-def]
    """Merge the marks of two sessions."""
    put_word(into, at + COUNT_AT, word_at(into, at + COUNT_AT) + word_at(other, at + COUNT_AT))
    for word in (at + TIME_AT, at + LAST_AT, at + REFUSED_AT):
        put_word(into, word, max(word_at(into, word), word_at(other, word)))


@inner
def trigger_value(cells, at, part, each_quiet):  # type: ignore[no-untyped-def]
    """Return the value (tag, bits): whether it fired (in the present quiet, if it does once per quiet), or a part."""
    if part == PART_COUNT:
        return np.int64(INT), word_at(cells, at + COUNT_AT)
    if part == PART_TIME:
        return np.int64(INT if word_at(cells, at + TIME_AT) != 0 else NULL), word_at(cells, at + TIME_AT)
    return np.int64(BOOL), np.int64(is_done(cells, at, each_quiet))
