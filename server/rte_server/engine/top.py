"""TOP: the values with the greatest weights.

Cell: an entry per value, as in `value_set`, with the sum of its weights: a 128-bit number, or the cell of a decayed sum (see
`decay`). A value that is among those with the smallest hashes of the whole is among them in every part that has it, so its
sum never lost a contribution: weights are exact, and up to `of` different values nothing is missing. Beyond that the values
are a uniform sample of all of them, whatever their weights.
"""

from __future__ import annotations

import numpy as np

from rte_server.engine.attributes import add_exact, add_fixed, exact_value
from rte_server.engine.decay import decayed_value, lift_decayed, merge_decayed
from rte_server.engine.kernel import inner
from rte_server.engine.native import float_bits, word_at
from rte_server.engine.value_set import find_or_insert
from rte_server.engine.values import DOUBLE, NULL

# Parts.
TOP_FIRST = 1  # the heaviest value
TOP_WEIGHT = 2  # double, its weight
TOP_SHARE = 3  # double, its share of the weights of all values kept, 0 to 1

# Numbers in `params`.
HALF_LIFE = 0  # ms, 0 = weights do not fade
SHOWN = 1  # values in the list

TOP_WIDTH = 4
DECAYED_WIDTH = 7
_WEIGHT = 2


@inner
def entry_words(half_life_ms):  # type: ignore[no-untyped-def]
    """Return the words of an entry."""
    return np.int64(TOP_WIDTH if half_life_ms == 0 else DECAYED_WIDTH)


@inner
def lift_top(cells, at, of, half_life_ms, tag, bits, weight, time_ms):  # type: ignore[no-untyped-def]
    """Lift a value with a weight, finite, 0 to SUM_MAGNITUDE_MAX.

    Returns whether the cell refers to the value now, and whether it or another one found no room.
    """
    entry, is_cut = find_or_insert(cells, at, of, entry_words(half_life_ms), tag, bits)
    if entry < 0:
        return False, is_cut
    if half_life_ms == 0:
        add_exact(cells, entry + _WEIGHT, weight)
    else:
        lift_decayed(cells, entry + _WEIGHT, weight, time_ms, half_life_ms)
    return True, is_cut


@inner
def merge_top(into, other, at, of, half_life_ms):  # type: ignore[no-untyped-def]
    """Merge a cell into another."""
    width = entry_words(half_life_ms)
    for entry in range(at, at + width * of, width):
        if word_at(other, entry) == 0:
            break
        place, _ = find_or_insert(into, at, of, width, word_at(other, entry), word_at(other, entry + 1))
        if place < 0:
            break
        if half_life_ms == 0:
            add_fixed(into, place + _WEIGHT, word_at(other, entry + _WEIGHT), word_at(other, entry + _WEIGHT + 1))
        else:
            merge_decayed(into, place + _WEIGHT, other, entry + _WEIGHT, 1)


@inner
def weight_of(cells, entry, half_life_ms, time_ms):  # type: ignore[no-untyped-def]
    """Return the weight of an entry at a session's time."""
    if half_life_ms == 0:
        return exact_value(cells, entry + _WEIGHT)
    return decayed_value(cells, entry + _WEIGHT, time_ms, half_life_ms)


@inner
def next_heaviest(cells, at, of, half_life_ms, time_ms, above):  # type: ignore[no-untyped-def]
    """Return the entry that follows `above` in the order of falling weight, then of hashes; -1 if none is left.

    Args:
        above: -1 for the heaviest of all.
    """
    width = entry_words(half_life_ms)
    limit = weight_of(cells, above, half_life_ms, time_ms) if above >= 0 else np.inf
    found = np.int64(-1)
    heaviest = -1.0
    for entry in range(at, at + width * of, width):
        if word_at(cells, entry) == 0:
            break
        weight = weight_of(cells, entry, half_life_ms, time_ms)
        if weight > heaviest and (weight < limit or (weight == limit and entry > above)):
            found = np.int64(entry)
            heaviest = weight
    return found


@inner
def total_weight(cells, at, of, half_life_ms, time_ms):  # type: ignore[no-untyped-def]
    """Return the weight of all values that are kept."""
    width = entry_words(half_life_ms)
    total = 0.0
    for entry in range(at, at + width * of, width):
        if word_at(cells, entry) == 0:
            break
        total += weight_of(cells, entry, half_life_ms, time_ms)
    return total


@inner
def load_top(cells, at, of, half_life_ms, part, time_ms):  # type: ignore[no-untyped-def]
    """Return the value (tag, bits) of a part; NULL where there is no value yet."""
    first = next_heaviest(cells, at, of, half_life_ms, time_ms, np.int64(-1))
    if first < 0:
        return np.int64(NULL), np.int64(0)
    if part == TOP_FIRST:
        return word_at(cells, first), word_at(cells, first + 1)
    weight = weight_of(cells, first, half_life_ms, time_ms)
    if part == TOP_SHARE:
        total = total_weight(cells, at, of, half_life_ms, time_ms)
        weight = weight / total if total > 0.0 else 0.0
    return np.int64(DOUBLE), float_bits(weight)
