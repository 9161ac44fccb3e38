"""The attribute kinds as commutative monoids over the cells of a row: identity, lift, merge, and the value they show.

A new row is all zeros, and zero words are the identity of every kind, so that a row needs no program-dependent set-up.
Each kind's `merge` of two cells equals lifting the events of both into one, in any order. Memory per kind, in words of
8 bytes, is `kinds.cell_words`. Kinds of more than a few lines have modules of their own, see `kinds`.

A value is a pair (tag, bits), see `engine.values`.
"""

from __future__ import annotations

import math

import numpy as np

from rte_server.engine.derived_cells import derived_value
from rte_server.engine.kernel import inner
from rte_server.engine.native import bits_float, float_bits, leading_zeros, put_word, word_at
from rte_server.engine.table import EVENTS, mix64
from rte_server.engine.values import BOOL, DOUBLE, INT, NULL, STRING

# Numbers of the kinds, as `engine.program.Kind`; plain constants, since kernels cannot read an enum quickly.
COUNT = np.int64(1)
SUM = np.int64(2)
MIN = np.int64(3)
MAX = np.int64(4)
MEAN = np.int64(5)
FIRST = np.int64(6)
LAST = np.int64(7)
DISTINCT = np.int64(8)
RECENT = np.int64(9)
ELAPSED = np.int64(10)
DERIVED = np.int64(11)
LINEAR = np.int64(12)

# Values of `role` for ELAPSED.
BOTH_ENDS = np.int64(0)  # first and last matching event
FROM_END = np.int64(1)  # first event that starts the interval
TO_END = np.int64(2)  # first event that ends it

TAG_BITS = np.int64(3)
TAG_MASK = np.int64(7)
ENTRY_WORDS = np.int64(3)  # (time << 3) | tag, order, bits

SUM_MAGNITUDE_MAX = 1e12
"""A contribution to a sum that is larger than this is refused, so that SUM_EVENTS_MAX of them fit the 63 bits of its whole part."""

SUM_EVENTS_MAX = (2**63 - 1) // 10**12
"""Contributions up to which a sum cannot overflow. In a session of more events, sums have no value, see `has_sums`."""

_EXPONENT_BIAS = np.int64(1023)
_EXPONENT = np.int64(0x7FF << 52)  # all ones in infinities and NaN
_MINUS_ZERO = np.int64(-(2**63))
_NUMBER_MAX = np.finfo(np.float64).max
_TWO_64 = 2.0**64


def sketch_registers(keep: int) -> int:
    """Return the number of registers that the sketch of a DISTINCT cell has: a power of two of bytes in its words."""
    return 1 << int(math.log2(8 * keep))


@inner
def add_exact(cells, at, value):  # type: ignore[no-untyped-def]
    """Add a double to a 128-bit fixed-point number (int64 whole part, 64 bits of fraction), exactly.

    Binary floating-point addition is not associative, so a sum of doubles would depend on the order of arrival. This
    sum does not: each contribution is rounded to the nearest multiple of 2^-64, and those are added exactly.

    Args:
        cells: Span of the row.
        at: Word of the whole part; the fraction is in the next.
        value: Finite, magnitude at most SUM_MAGNITUDE_MAX.
    """
    magnitude = abs(value)
    whole = np.int64(magnitude)
    scaled = (magnitude - np.float64(whole)) * _TWO_64
    fraction = np.uint64(scaled)
    fraction += np.uint64(scaled - np.float64(fraction) >= 0.5)
    if value < 0:
        fraction = ~fraction + np.uint64(1)
        whole = ~whole + np.int64(fraction == np.uint64(0))
    add_fixed(cells, at, whole, np.int64(fraction))


@inner
def add_fixed(cells, at, whole, fraction):  # type: ignore[no-untyped-def]
    """Add a 128-bit fixed-point number to another."""
    total = np.uint64(word_at(cells, at + 1)) + np.uint64(fraction)
    carry = np.int64(total < np.uint64(fraction))
    put_word(cells, at + 1, np.int64(total))
    put_word(cells, at, word_at(cells, at) + whole + carry)


@inner
def has_sums(row, events_max):  # type: ignore[no-untyped-def]
    """Return whether the sums of a row cannot have overflowed: it has at most so many events.

    The number of events is a commutative monoid as the sums are, so that it does not matter how events come together.

    Args:
        row: Span of the row.
        events_max: SUM_EVENTS_MAX; less where one event contributes several times.
    """
    return word_at(row, EVENTS) <= events_max


@inner
def exact_value(cells, at):  # type: ignore[no-untyped-def]
    """Return the double nearest to a 128-bit fixed-point number (ties to even)."""
    return fixed_value(word_at(cells, at), word_at(cells, at + 1))


@inner
def fixed_value(whole, fraction):  # type: ignore[no-untyped-def]
    """Return the double nearest to a 128-bit fixed-point number (ties to even)."""
    high = np.uint64(whole)
    low = np.uint64(fraction)
    negative = whole < 0
    if negative:
        low = ~low + np.uint64(1)
        high = ~high + np.uint64(low == np.uint64(0))
    exponent = np.int64(0)
    # Normalize to 64 significant bits; what falls off below them is kept as a sticky last bit, so that the one
    # rounding of the conversion is the only one.
    if high == np.uint64(0):
        top = low
        sticky = np.uint64(0)
        exponent = np.int64(-64)
    else:
        shift = np.uint64(leading_zeros(high))
        if shift == np.uint64(0):
            top = high
            sticky = low
        else:
            top = (high << shift) | (low >> (np.uint64(64) - shift))
            sticky = low << shift
        exponent = -np.int64(shift)
    if sticky != np.uint64(0):
        top |= np.uint64(1)
    # A power of two, made of its exponent: the product is exact.
    result = np.float64(top) * bits_float((exponent + _EXPONENT_BIAS) << 52)
    return -result if negative else result


@inner
def _precedes(cells, at, time, order, bits):  # type: ignore[no-untyped-def]
    """Return whether the entry at word `at` comes before the given one: by event time, by order, and then by its value.

    Times carry a tag in their low bits. The value decides where orders are equal, which they hardly ever are.
    """
    kept = word_at(cells, at)
    if kept >> TAG_BITS != time >> TAG_BITS:
        return kept < time
    if word_at(cells, at + 1) != order:
        return word_at(cells, at + 1) < order
    return kept < time or (kept == time and word_at(cells, at + 2) < bits)


@inner
def _follows(cells, at, time, order, bits):  # type: ignore[no-untyped-def]
    """Return whether the entry at word `at` comes after the given one."""
    is_same = word_at(cells, at) == time and word_at(cells, at + 1) == order and word_at(cells, at + 2) == bits
    return not is_same and not _precedes(cells, at, time, order, bits)


@inner
def _put_entry(cells, at, time, order, bits):  # type: ignore[no-untyped-def]
    put_word(cells, at, time)
    put_word(cells, at + 1, order)
    put_word(cells, at + 2, bits)


@inner
def keep_first(cells, at, time, order, bits):  # type: ignore[no-untyped-def]
    """Keep the earlier of the entry in the cell and the given one. Returns whether the given one was kept."""
    if word_at(cells, at) == 0 or _follows(cells, at, time, order, bits):
        _put_entry(cells, at, time, order, bits)
        return True
    return False


@inner
def keep_last(cells, at, time, order, bits):  # type: ignore[no-untyped-def]
    """Keep the later of the entry in the cell and the given one. Returns whether the given one was kept."""
    if word_at(cells, at) == 0 or _precedes(cells, at, time, order, bits):
        _put_entry(cells, at, time, order, bits)
        return True
    return False


@inner
def keep_recent(cells, at, keep, unique, time, order, bits):  # type: ignore[no-untyped-def]
    """Insert an entry into a list of the `keep` latest, newest first. Returns whether it is in the list now.

    With `unique` a value has one entry, its latest. Truncation loses nothing: an entry that is among the latest of the
    whole is among the latest of any part that holds it.
    """
    last = keep - 1
    if unique:
        for i in range(keep):
            entry = at + ENTRY_WORDS * i
            if word_at(cells, entry) == 0:
                break
            if word_at(cells, entry + 2) == bits and (word_at(cells, entry) & TAG_MASK) == (time & TAG_MASK):
                if not _precedes(cells, entry, time, order, bits):
                    return True
                last = i
                break
    entry = at + ENTRY_WORDS * last
    if word_at(cells, entry) != 0 and last == keep - 1 and not _precedes(cells, entry, time, order, bits):
        return False
    i = last
    while i > 0:
        above = at + ENTRY_WORDS * (i - 1)
        if word_at(cells, above) != 0 and not _precedes(cells, above, time, order, bits):
            break
        _put_entry(
            cells, at + ENTRY_WORDS * i, word_at(cells, above), word_at(cells, above + 1), word_at(cells, above + 2)
        )
        i -= 1
    _put_entry(cells, at + ENTRY_WORDS * i, time, order, bits)
    return True


@inner
def _register(cells, at, registers, value_hash):  # type: ignore[no-untyped-def]
    """Raise the HyperLogLog register that `value_hash` falls on."""
    place = value_hash & (registers - 1)
    rest = np.uint64(value_hash) >> np.uint64(16)
    rank = np.int64(1)
    while rank < 48 and rest & np.uint64(1) == np.uint64(0):
        rank += 1
        rest >>= np.uint64(1)
    word = at + 1 + (place >> 3)
    shift = (place & 7) << 3
    if (word_at(cells, word) >> shift) & 0xFF < rank:
        put_word(cells, word, (word_at(cells, word) & ~(np.int64(0xFF) << shift)) | (rank << shift))


@inner
def add_distinct(cells, at, keep, registers, value_hash):  # type: ignore[no-untyped-def]
    """Add a value to a distinct count.

    Up to `keep` values are kept as a sorted set of hashes; one more turns it into a HyperLogLog sketch in the same
    words (first word -1 - `keep`, so many there are at least). Both depend on the set of values alone, not on their order.

    Source: Flajolet et al., "HyperLogLog", AofA 2007.
    """
    count = word_at(cells, at)
    if count < 0:
        _register(cells, at, registers, value_hash)
        return
    place = count
    while place > 0 and word_at(cells, at + place) >= value_hash:
        if word_at(cells, at + place) == value_hash:
            return
        place -= 1
    if count < keep:
        for i in range(count, place, -1):
            put_word(cells, at + i + 1, word_at(cells, at + i))
        put_word(cells, at + place + 1, value_hash)
        put_word(cells, at, count + 1)
        return
    _make_sketch(cells, at, keep, registers)
    _register(cells, at, registers, value_hash)


@inner
def _make_sketch(cells, at, keep, registers):  # type: ignore[no-untyped-def]
    """Turn a set of values into a sketch of the same values."""
    kept = np.empty(keep, np.int64)
    count = word_at(cells, at)
    for i in range(count):
        kept[i] = word_at(cells, at + 1 + i)
    put_word(cells, at, -1 - keep)
    for i in range(keep):
        put_word(cells, at + 1 + i, 0)
    for i in range(count):
        _register(cells, at, registers, kept[i])


@inner
def distinct_value(cells, at, registers):  # type: ignore[no-untyped-def]
    """Return the distinct count, exact or estimated, as an int."""
    if word_at(cells, at) >= 0:
        return word_at(cells, at)
    inverse = 0.0
    empty = 0
    for place in range(registers):
        rank = (word_at(cells, at + 1 + (place >> 3)) >> ((place & 7) << 3)) & 0xFF
        inverse += np.ldexp(1.0, np.int32(-rank))
        empty += rank == 0
    estimate = 0.7213 / (1.0 + 1.079 / registers) * registers * registers / inverse
    if estimate <= 2.5 * registers and empty > 0:
        estimate = registers * math.log(registers / empty)
    # A sketch begins with the value after the last one that was kept.
    return max(np.int64(round(estimate)), -word_at(cells, at))


@inner
def value_hash(tag, bits):  # type: ignore[no-untyped-def]
    """Return a hash of a value that differs between types; never 0."""
    hashed = mix64(bits ^ (tag << 60))
    return hashed if hashed != 0 else np.int64(1)


@inner
def as_number(tag, bits):  # type: ignore[no-untyped-def]
    """Return the double that a number or boolean stands for, or NaN for any other value."""
    if tag == DOUBLE:
        return bits_float(bits)
    if tag == INT or tag == BOOL:
        return np.float64(bits)
    return math.nan


@inner
def is_contribution(kind, number):  # type: ignore[no-untyped-def]
    """Return whether SUM, MIN, MAX or MEAN take a number: finite and, for sums, at most SUM_MAGNITUDE_MAX."""
    return abs(number) <= (_NUMBER_MAX if kind == MIN or kind == MAX else SUM_MAGNITUDE_MAX)


@inner
def update_number(cells, kind, at, number):  # type: ignore[no-untyped-def]
    """Lift a number into a SUM, MIN, MAX or MEAN cell. Returns False if it is refused: NaN, infinite or, for sums, too large."""
    if not is_contribution(kind, number):
        return False
    number += 0.0  # -0.0 and 0.0 are one value
    if kind == SUM:
        add_exact(cells, at, number)
    elif kind == MEAN:
        add_exact(cells, at, number)
        put_word(cells, at + 2, word_at(cells, at + 2) + 1)
    elif kind == MIN:
        if word_at(cells, at + 1) == 0 or number < bits_float(word_at(cells, at)):
            put_word(cells, at, float_bits(number))
            put_word(cells, at + 1, 1)
    elif word_at(cells, at + 1) == 0 or number > bits_float(word_at(cells, at)):
        put_word(cells, at, float_bits(number))
        put_word(cells, at + 1, 1)
    return True


@inner
def update_elapsed(cells, at, role, time_ms):  # type: ignore[no-untyped-def]
    """Lift an event time into an ELAPSED cell; 0 is "no time"."""
    if role != TO_END and (word_at(cells, at) == 0 or time_ms < word_at(cells, at)):
        put_word(cells, at, time_ms)
    if role == TO_END:
        if word_at(cells, at + 1) == 0 or time_ms < word_at(cells, at + 1):
            put_word(cells, at + 1, time_ms)
    elif role == BOTH_ENDS and time_ms > word_at(cells, at + 1):
        put_word(cells, at + 1, time_ms)


@inner
def merge_cell(into, other, kind, at, keep, unique, registers, role):  # type: ignore[no-untyped-def]
    """Merge the cell of one row into that of another. DERIVED and LINEAR are computed again, not merged."""
    if kind == COUNT:
        put_word(into, at, word_at(into, at) + word_at(other, at))
    elif kind == SUM:
        add_fixed(into, at, word_at(other, at), word_at(other, at + 1))
    elif kind == MEAN:
        add_fixed(into, at, word_at(other, at), word_at(other, at + 1))
        put_word(into, at + 2, word_at(into, at + 2) + word_at(other, at + 2))
    elif kind == MIN or kind == MAX:
        if word_at(other, at + 1) != 0:
            update_number(into, kind, at, bits_float(word_at(other, at)))
    elif kind == FIRST:
        if word_at(other, at) != 0:
            keep_first(into, at, word_at(other, at), word_at(other, at + 1), word_at(other, at + 2))
    elif kind == LAST:
        if word_at(other, at) != 0:
            keep_last(into, at, word_at(other, at), word_at(other, at + 1), word_at(other, at + 2))
    elif kind == RECENT:
        for i in range(keep):
            entry = at + ENTRY_WORDS * i
            if word_at(other, entry) == 0:
                break
            keep_recent(
                into, at, keep, unique, word_at(other, entry), word_at(other, entry + 1), word_at(other, entry + 2)
            )
    elif kind == DISTINCT:
        _merge_distinct(into, other, at, keep, registers)
    elif kind == ELAPSED:
        if word_at(other, at) != 0:
            update_elapsed(into, at, FROM_END, word_at(other, at))
        if word_at(other, at + 1) != 0:
            if role == BOTH_ENDS:
                put_word(into, at + 1, max(word_at(into, at + 1), word_at(other, at + 1)))
            else:
                update_elapsed(into, at, TO_END, word_at(other, at + 1))


@inner
def _merge_distinct(into, other, at, keep, registers):  # type: ignore[no-untyped-def]
    if word_at(other, at) >= 0:
        for i in range(word_at(other, at)):
            add_distinct(into, at, keep, registers, word_at(other, at + 1 + i))
        return
    if word_at(into, at) >= 0:
        _make_sketch(into, at, keep, registers)
    for word in range(at + 1, at + 1 + keep):
        merged = np.int64(0)
        for shift in range(0, 64, 8):
            a = (word_at(into, word) >> shift) & 0xFF
            b = (word_at(other, word) >> shift) & 0xFF
            merged |= max(a, b) << shift
        put_word(into, word, merged)


@inner
def load_cell(row, cells, kind, at, registers, role):  # type: ignore[no-untyped-def]
    """Return the value (tag, bits) that a cell shows; NULL where it has none. RECENT shows its newest value.

    Args:
        row: Span of the row, for its header.
        cells: Span in which the cell lies.
        kind: Of the attribute, as are the others.
    """
    if kind == COUNT:
        return np.int64(INT), word_at(cells, at)
    if (kind == SUM or kind == MEAN) and not has_sums(row, registers):
        return np.int64(NULL), np.int64(0)
    if kind == SUM:
        return np.int64(DOUBLE), float_bits(exact_value(cells, at))
    if kind == MEAN:
        if word_at(cells, at + 2) == 0:
            return np.int64(NULL), np.int64(0)
        return np.int64(DOUBLE), float_bits(exact_value(cells, at) / np.float64(word_at(cells, at + 2)))
    if kind == MIN or kind == MAX:
        return (np.int64(DOUBLE) if word_at(cells, at + 1) != 0 else np.int64(NULL)), word_at(cells, at)
    if kind == FIRST or kind == LAST or kind == RECENT:
        if word_at(cells, at) == 0:
            return np.int64(NULL), np.int64(0)
        return word_at(cells, at) & TAG_MASK, word_at(cells, at + 2)
    if kind == DISTINCT:
        return np.int64(INT), distinct_value(cells, at, registers)
    if kind == ELAPSED:
        if word_at(cells, at) == 0 or word_at(cells, at + 1) == 0 or word_at(cells, at + 1) < word_at(cells, at):
            return np.int64(NULL), np.int64(0)
        return np.int64(DOUBLE), float_bits(np.float64(word_at(cells, at + 1) - word_at(cells, at)) / 1000.0)
    if kind == DERIVED:
        return derived_value(cells, at, registers)
    # A linear score may be infinite: it has no value then.
    return (np.int64(DOUBLE) if is_storable(DOUBLE, word_at(cells, at)) else np.int64(NULL)), word_at(cells, at)


@inner
def without_sign_of_zero(tag, bits):  # type: ignore[no-untyped-def]
    """Return the bits of a value: those of 0.0 for -0.0, which is the same number."""
    return np.int64(0) if tag == DOUBLE and bits == _MINUS_ZERO else bits


@inner
def is_storable(tag, bits):  # type: ignore[no-untyped-def]
    """Return whether a value can be kept in a cell; infinities and NaN cannot."""
    return tag == BOOL or tag == INT or tag == STRING or (tag == DOUBLE and bits & _EXPONENT != _EXPONENT)
