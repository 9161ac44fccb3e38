"""SET: different values; all of them up to `keep`, beyond that those with the smallest hashes, a fair sample.

Cell: (tag, bits) of each value, ordered by hash; tag 0 = no value. What is among the smallest of the whole is among the
smallest of any part that has it, so the cell depends on the set of values alone.

Source: Cohen and Kaplan, "Summarizing Data using Bottom-k Sketches", PODC 2007.
"""

from __future__ import annotations

import numpy as np

from rte_server.engine.attributes import value_hash
from rte_server.engine.kernel import inner
from rte_server.engine.native import put_word, word_at

SET_WIDTH = 2


@inner
def comes_before(tag, bits, other_tag, other_bits):  # type: ignore[no-untyped-def]
    """Return whether one value comes before another: by hash, and by type and bits where hashes are equal."""
    own = value_hash(tag, bits)
    other = value_hash(other_tag, other_bits)
    if own != other:
        return own < other
    return tag < other_tag or (tag == other_tag and bits < other_bits)


@inner
def find_or_insert(cells, first, keep, width, tag, bits):  # type: ignore[no-untyped-def]
    """Find a value's entry, or make it where there is none yet.

    Args:
        cells: Span of the row.
        first: Word of the first entry; an entry is tag, bits, and further words, which are 0 in a new one.
        keep: Entries kept.
        width: Words of an entry.
        tag: The value.
        bits: See `tag`.

    Returns:
        The word of the entry, -1 if the value is not among the `keep` smallest; and whether it or another one found no room.
    """
    place = np.int64(first)
    end = first + width * keep
    while place < end and word_at(cells, place) != 0:
        kept_tag, kept_bits = word_at(cells, place), word_at(cells, place + 1)
        if kept_tag == tag and kept_bits == bits:
            return place, False
        if comes_before(tag, bits, kept_tag, kept_bits):
            break
        place += width
    if place == end:
        return np.int64(-1), True
    is_full = word_at(cells, end - width) != 0
    for word in range(end - 1, place + width - 1, -1):
        put_word(cells, word, word_at(cells, word - width))
    put_word(cells, place, tag)
    put_word(cells, place + 1, bits)
    for word in range(place + 2, place + width):
        put_word(cells, word, 0)
    return place, is_full


@inner
def merge_set(into, other, at, keep):  # type: ignore[no-untyped-def]
    """Merge a cell into another."""
    for entry in range(at, at + SET_WIDTH * keep, SET_WIDTH):
        if word_at(other, entry) == 0:
            break
        find_or_insert(into, at, keep, SET_WIDTH, word_at(other, entry), word_at(other, entry + 1))
