"""How kernels reach the arrays of the state: by one array of addresses.

Handing an array to a compiled function costs some nanoseconds each time, and the fold would hand dozens of them through
several calls per event. So the addresses and lengths of all arrays stand in one array, the context, and kernels pass
only that (as a span: address and length). With NUMBA_BOUNDSCHECK=1 every access is checked against the length.

Whoever makes a context keeps the arrays alive as long as it is used.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from rte_server.engine.native import word_at

# Arrays of the table; see `table.Table`.
ROWS = 0
DUE = 1
FREE_STACK = 2
VISITOR_TABLE = 3
INDEX = 4
DEDUP_SET = 5
DEDUP_RING = 6
WRITTEN_BLOCKS = 7
WRITTEN_STACK = 8
COUNTS = 9
TOUCHED_MARKS = 10
# Arrays of the string pool; see `strings.StringPool`.
POOL_SLOTS = 11
POOL_ARENA = 12
POOL_COUNTS = 13
# Arrays of the program; see `program.ProgramArrays`.
NAMES = 14
RANGES = 15
OPS = 16
KEYS = 17
PROPERTY_SLOTS = 18
CODES = 19
TEXTS = 20
ATTRIBUTES = 21
LOADS = 22
DERIVED = 23
DERIVED_RANGES = 24
DERIVED_ORDER = 25
WEIGHTS = 26
WEIGHT_LOADS = 27
# Working memory of the writer; see `fold.Scratch`.
SLOT_TAGS = 28
SLOT_BITS = 29
SLOT_OFFSETS = 30
SLOT_LENGTHS = 31
INPUT_TAGS = 32
INPUT_BITS = 33
STACK_TAGS = 34
STACK_BITS = 35
TOUCHED = 36
REMOVED = 37
SEED = 38
PROGRESS = 39
BLOCK = 40
# What the fold is told.
SETTINGS = 41
SECRET = 42
SPAN_COUNT = 43
ROW_WORDS = 2 * SPAN_COUNT
"""Word of the context that holds the words of a row."""
CONTEXT_WORDS = ROW_WORDS + 1


def new_context(arrays: dict[int, NDArray[Any]], row_words: int) -> NDArray[np.int64]:
    """Return the context of some arrays.

    Args:
        arrays: C-contiguous arrays by their number above.
        row_words: Words of a row.
    """
    context = np.zeros(CONTEXT_WORDS, np.int64)
    for number, array in arrays.items():
        assert array.flags.c_contiguous, number
        context[2 * number] = array.ctypes.data
        context[2 * number + 1] = array.size
    context[ROW_WORDS] = row_words
    return context


@njit(cache=True, nogil=True)
def span_in(ctx, number):  # type: ignore[no-untyped-def]
    """Return the span of an array of the context."""
    return word_at(ctx, 2 * number), word_at(ctx, 2 * number + 1)


@njit(cache=True, nogil=True)
def row_cells(ctx, row):  # type: ignore[no-untyped-def]
    """Return the span of the words of a row."""
    words = word_at(ctx, ROW_WORDS)
    return word_at(ctx, 2 * ROWS) + row * words * 8, words


@njit(cache=True, nogil=True)
def count_of(ctx, number):  # type: ignore[no-untyped-def]
    """Return a word of `counts`."""
    return word_at(span_in(ctx, COUNTS), number)
