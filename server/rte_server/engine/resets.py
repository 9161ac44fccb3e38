"""RESET_SUM: a sum that begins anew with certain events.

Cell: the latest reset, the exact sum of all contributions ever, the exact sum of those in the log, and the log of the
`keep` latest contributions after the reset (see `event_log`). Without a reset the first sum is what is shown: exact however
many contributions there are. After one it is the second: exact up to `keep` contributions, beyond them that of the latest.
"""

from __future__ import annotations

from rte_server.engine.attributes import add_exact, add_fixed, exact_value
from rte_server.engine.event_log import RESET_WORDS, STAMP_BITS, log_entry, merge_logs, reset_log
from rte_server.engine.kernel import inner
from rte_server.engine.native import bits_float, float_bits, put_word, word_at

RESETS = 1
"""Role of the events that reset."""

_EVER = RESET_WORDS
_SINCE = _EVER + 2
_ENTRIES = _SINCE + 2
_WIDTH = 3
_CONTRIBUTION = 1


def reset_sum_words(keep: int) -> int:
    """Return the words of a cell."""
    return _ENTRIES + _WIDTH * keep


@inner
def lift_reset_sum(cells, at, keep, role, number, time_ms, order):  # type: ignore[no-untyped-def]
    """Lift an event: of role RESETS it resets, else it contributes `number`, finite and at most SUM_MAGNITUDE_MAX.

    Returns whether one of the contributions that are shown found no room: without a reset, the sum needs none of them.
    """
    is_cut = False
    if role == RESETS:
        reset_log(cells, at, at + _ENTRIES, keep, _WIDTH, time_ms, order)
    else:
        add_exact(cells, at + _EVER, number)
        stamp = time_ms << STAMP_BITS | _CONTRIBUTION
        is_cut = log_entry(cells, at, at + _ENTRIES, keep, _WIDTH, stamp, order, float_bits(number + 0.0), 0, 0)[1]
    _add_up(cells, at, keep)
    return is_cut and word_at(cells, at) != 0


@inner
def merge_reset_sum(into, other, at, keep):  # type: ignore[no-untyped-def]
    """Merge a cell into another."""
    add_fixed(into, at + _EVER, word_at(other, at + _EVER), word_at(other, at + _EVER + 1))
    merge_logs(into, other, at, at + _ENTRIES, keep, _WIDTH)
    _add_up(into, at, keep)


@inner
def _add_up(cells, at, keep):  # type: ignore[no-untyped-def]
    """Compute the sum of the log anew, where it is shown."""
    if word_at(cells, at) == 0:
        return
    put_word(cells, at + _SINCE, 0)
    put_word(cells, at + _SINCE + 1, 0)
    for entry in range(at + _ENTRIES, at + _ENTRIES + _WIDTH * keep, _WIDTH):
        if word_at(cells, entry) == 0:
            break
        add_exact(cells, at + _SINCE, bits_float(word_at(cells, entry + 2)))


@inner
def reset_sum_value(cells, at):  # type: ignore[no-untyped-def]
    """Return the sum since the latest reset."""
    return exact_value(cells, at + (_EVER if word_at(cells, at) == 0 else _SINCE))
