"""The cells of derived attributes: half a byte for the type, and a word for the value unless it is a boolean.

Most derived attributes are booleans, and every session has all of them. So their types stand next to each other in the
row's core, 16 to a word, with a boolean's value as the highest bit. The *place* of a type is its word << PLACE_BITS | its
first bit. Type 0 is no value, as in a row that has not been computed yet.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rte_server.engine.kernel import inner
from rte_server.engine.native import put_word, word_at
from rte_server.engine.values import BOOL, ERROR, NULL

PLACE_BITS = np.int64(6)
_SHIFT_MASK = np.int64((1 << 6) - 1)
TYPES_PER_WORD = 16
TYPE_BITS = 4
_TYPE_MASK = np.int64((1 << TYPE_BITS) - 1)
_TAG_MASK = np.int64(7)
_VALUE_BIT = np.int64(3)
_IS_TRUE = np.int64(BOOL | 1 << 3)

NO_WORD = np.int64(0)
"""Place of the value of an attribute that is a boolean if it has one."""


def type_place(first: int, number: int) -> int:
    """Return the place of the type of derived attribute `number`, from 0, if the types begin at word `first`."""
    return (first + number // TYPES_PER_WORD) << int(PLACE_BITS) | number % TYPES_PER_WORD * TYPE_BITS


@inner
def _type_at(cells, place):  # type: ignore[no-untyped-def]
    return word_at(cells, place >> PLACE_BITS) >> (place & _SHIFT_MASK) & _TYPE_MASK


@inner
def derived_value(cells, at, place):  # type: ignore[no-untyped-def]
    """Return the value (tag, bits) of a derived attribute; NULL where it has none.

    Args:
        cells: Span of the row.
        at: Word of its value, or NO_WORD.
        place: Place of its type.
    """
    found = _type_at(cells, place)
    tag = found & _TAG_MASK
    if tag == BOOL:
        return np.int64(BOOL), found >> _VALUE_BIT
    if tag <= NULL:
        return np.int64(NULL), np.int64(0)
    return tag, word_at(cells, at)


@inner
def is_true(cells, place):  # type: ignore[no-untyped-def]
    """Return whether a derived attribute is true, by the place of its type."""
    return _type_at(cells, place) == _IS_TRUE


@inner
def put_derived(cells, at, place, tag, bits):  # type: ignore[no-untyped-def]
    """Set the value of a derived attribute; ERROR: it has none. Returns whether it has changed.

    Args:
        cells: Span of the row, which is being written.
        at: Word of its value, or NO_WORD: then what is no boolean is no value.
        place: Place of its type.
        tag: BOOL, INT, DOUBLE, STRING or ERROR.
        bits: The value.
    """
    found = np.int64(tag)
    value = np.int64(0)
    if tag == BOOL:
        found |= bits << _VALUE_BIT
    elif at == NO_WORD:
        found = np.int64(ERROR)
    elif tag != ERROR:
        value = bits
    word, shift = place >> PLACE_BITS, place & _SHIFT_MASK
    before = word_at(cells, word)
    after = before & ~(_TYPE_MASK << shift) | found << shift
    has_changed = before != after
    put_word(cells, word, after)
    if at != NO_WORD:
        has_changed |= word_at(cells, at) != value
        put_word(cells, at, value)
    return has_changed


def shows_true(row: NDArray[np.int64], place: int) -> bool:
    """Do what `is_true` does, for a row in Python."""
    return int(row[place >> int(PLACE_BITS)]) >> (place & int(_SHIFT_MASK)) & int(_TYPE_MASK) == int(_IS_TRUE)


def copy_type(source: NDArray[np.int64], place: int, target: NDArray[np.int64], target_place: int) -> None:
    """Copy the type of a derived attribute from one row to another in which it has none yet; values are words as others."""
    word, shift = place >> int(PLACE_BITS), place & int(_SHIFT_MASK)
    found = int(source[word]) >> shift & int(_TYPE_MASK)
    target[target_place >> int(PLACE_BITS)] |= np.uint64(found << (target_place & int(_SHIFT_MASK))).astype(np.int64)
