"""A bounded log of what events contributed since the latest reset: the common part of sums that reset and of baskets.

Cell: (time, order) of the latest reset, 0 = none, and elsewhere in the row the `keep` latest contributions after it, newest
first. An entry is (time << STAMP_BITS | what it is, order, payload words); what it is fits STAMP_BITS and 0 = no entry.

The reset is a maximum. "The `keep` latest" and "those after the reset" may be taken in any order, since what is after the
reset is also what is latest; so the cell is a commutative monoid, and a late reset parts earlier from later contributions
as a timely one would have. The log is complete as long as at most `keep` contributions came after the reset.
"""

from __future__ import annotations

from rte_server.engine.event_order import LAST_PLACE
from rte_server.engine.kernel import inner
from rte_server.engine.native import put_word, word_at

STAMP_BITS = 6
RESET_WORDS = 2
WIDTH_MAX = 5
"""Words of an entry: 3 (one word of payload) or 5 (three)."""


@inner
def is_after(time_ms, order, other_ms, other_order):  # type: ignore[no-untyped-def]
    """Return whether one event comes after another by (event time, order)."""
    return time_ms > other_ms or (time_ms == other_ms and order > other_order)


@inner
def _precedes(cells, entry, width, stamp, order, first, second, third):  # type: ignore[no-untyped-def]
    """Return whether an entry comes before the given one: by time, by order, and then by what it says."""
    kept = word_at(cells, entry)
    if kept >> STAMP_BITS != stamp >> STAMP_BITS:
        return kept >> STAMP_BITS < stamp >> STAMP_BITS
    if word_at(cells, entry + 1) != order:
        return word_at(cells, entry + 1) < order
    if kept != stamp or word_at(cells, entry + 2) != first or width == 3:
        return kept < stamp or (kept == stamp and word_at(cells, entry + 2) < first)
    if word_at(cells, entry + 3) != second:
        return word_at(cells, entry + 3) < second
    return word_at(cells, entry + 4) < third


@inner
def log_entry(cells, at, entries, keep, width, stamp, order, first, second, third):  # type: ignore[no-untyped-def]
    """Put a contribution into the log.

    Args:
        cells: Span of the row.
        at: Word of the reset.
        entries: Word of the newest entry.
        keep: Entries kept.
        width: Words of an entry, 3 or 5; with 3 the last two words are not kept.
        stamp: time << STAMP_BITS | what it is.
        order: Orders events of equal time.
        first: Payload.
        second: Payload.
        third: Payload.

    Returns:
        Whether it is in the log now, and whether one that counts is not, since there was no room.
    """
    if not is_after(stamp >> STAMP_BITS, order, word_at(cells, at), word_at(cells, at + 1)):
        return False, False
    place = entries + width * (keep - 1)
    is_full = word_at(cells, place) != 0
    if is_full and not _precedes(cells, place, width, stamp, order, first, second, third):
        return False, True
    while place > entries:
        newer = place - width
        if word_at(cells, newer) != 0:
            if not _precedes(cells, newer, width, stamp, order, first, second, third):
                break
            for word in range(width):
                put_word(cells, place + word, word_at(cells, newer + word))
        place = newer
    put_word(cells, place, stamp)
    put_word(cells, place + 1, order)
    put_word(cells, place + 2, first)
    if width > 3:
        put_word(cells, place + 3, second)
        put_word(cells, place + 4, third)
    return True, is_full


@inner
def reset_log(cells, at, entries, keep, width, time_ms, order):  # type: ignore[no-untyped-def]
    """Take in a reset: contributions up to it drop out, those of its own event's elements among them.

    One before the latest reset changes nothing.
    """
    order |= LAST_PLACE
    if not is_after(time_ms, order, word_at(cells, at), word_at(cells, at + 1)):
        return
    put_word(cells, at, time_ms)
    put_word(cells, at + 1, order)
    for entry in range(entries, entries + width * keep, width):
        if not is_after(word_at(cells, entry) >> STAMP_BITS, word_at(cells, entry + 1), time_ms, order):
            for word in range(entry, entry + width):
                put_word(cells, word, 0)


@inner
def merge_logs(into, other, at, entries, keep, width):  # type: ignore[no-untyped-def]
    """Merge the log of one row into that of another."""
    if word_at(other, at) != 0:
        reset_log(into, at, entries, keep, width, word_at(other, at), word_at(other, at + 1))
    for entry in range(entries, entries + width * keep, width):
        if word_at(other, entry) == 0:
            break
        second = word_at(other, entry + 3) if width > 3 else 0
        third = word_at(other, entry + 4) if width > 3 else 0
        stamp, order, first = word_at(other, entry), word_at(other, entry + 1), word_at(other, entry + 2)
        log_entry(into, at, entries, keep, width, stamp, order, first, second, third)


@inner
def entry_count(cells, entries, keep, width):  # type: ignore[no-untyped-def]
    """Return the number of entries in the log."""
    count = 0
    while count < keep and word_at(cells, entries + width * count) != 0:
        count += 1
    return count
