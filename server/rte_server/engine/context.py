"""How kernels reach the arrays of the state: by one array of addresses.

Handing an array to a compiled function costs some nanoseconds each time, and the fold would hand dozens of them through
several calls per event. So the addresses and lengths of all arrays stand in one array, the context, and kernels pass
only that (as a span: address and length). With NUMBA_BOUNDSCHECK=1 every access is checked against the length.

Whoever makes a context keeps the arrays alive as long as it is used.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rte_server.engine.kernel import inner
from rte_server.engine.native import put_word, word_at

# Arrays of the table; see `table.Table`.
ROWS = np.int64(0)
DUE = np.int64(1)
FREE_STACK = np.int64(2)
VISITOR_TABLE = np.int64(3)
INDEX = np.int64(4)
DEDUP_SET = np.int64(5)
DEDUP_RING = np.int64(6)
WRITTEN_BLOCKS = np.int64(7)
WRITTEN_STACK = np.int64(8)
FACTS = np.int64(9)
COUNTS = np.int64(10)
TOUCHED_MARKS = np.int64(11)
ONLINE_STATE = np.int64(12)
BLOCKS = np.int64(13)
ANNEXES = np.int64(14)
# Arrays of the string pool; see `strings.StringPool`.
POOL_SLOTS = np.int64(15)
POOL_ARENA = np.int64(16)
POOL_COUNTS = np.int64(17)
# Arrays of the program; see `program.ProgramArrays`.
NAMES = np.int64(18)
PLANS = np.int64(19)
OPS = np.int64(20)
GROUPS = np.int64(21)
USES = np.int64(22)
KEYS = np.int64(23)
PROPERTY_SLOTS = np.int64(24)
CODES = np.int64(25)
TEXTS = np.int64(26)
ATTRIBUTES = np.int64(27)
LOADS = np.int64(28)
DERIVED_LOADS = np.int64(29)
DERIVED = np.int64(30)
WEIGHTS = np.int64(31)
WEIGHT_INPUTS = np.int64(32)
EXTRAS = np.int64(33)
PARAMS = np.int64(34)
TIMING = np.int64(35)
LISTS = np.int64(36)
FACT_FUNCTIONS = np.int64(37)
TRIGGERS = np.int64(38)
AT_ONCE = np.int64(39)
ELEMENT_KEYS = np.int64(40)
EACH = np.int64(41)
ONLINE_MODELS = np.int64(42)
PASSING = np.int64(43)
ANNEX_OF = np.int64(44)
# Working memory of the writer; see `fold.Scratch`.
SLOT_TAGS = np.int64(45)
SLOT_BITS = np.int64(46)
SLOT_OFFSETS = np.int64(47)
SLOT_LENGTHS = np.int64(48)
INPUT_TAGS = np.int64(49)
INPUT_BITS = np.int64(50)
INPUT_STAMPS = np.int64(51)
STACK_TAGS = np.int64(52)
STACK_BITS = np.int64(53)
LANES = np.int64(54)
TOUCHED = np.int64(55)
REMOVED = np.int64(56)
SEED = np.int64(57)
PROGRESS = np.int64(58)
BLOCK = np.int64(59)
URL_STATE = np.int64(60)
WORKSPACE = np.int64(61)
FIRED = np.int64(62)
VERDICTS = np.int64(63)
FOLLOWING = np.int64(64)
LATEST = np.int64(65)
# What the fold is told.
SETTINGS = np.int64(66)
SECRET = np.int64(67)
# What runners compute beside the fold; see `scores`.
SCORES = np.int64(68)
# The bytes of the request that is being folded; see `put_request`.
REQUEST = np.int64(69)
SPAN_COUNT = 70
ROW_WORDS = 2 * SPAN_COUNT
"""Word of the context that holds the words of a row, as rows lie in the table."""
WHOLE_ROW_WORDS = ROW_WORDS + 1
"""Word of the context that holds the words of a row in one piece, with all its annexes."""
CONTEXT_WORDS = ROW_WORDS + 2


def new_context(arrays: dict[int, NDArray[Any]], row_words: int, whole_row_words: int) -> NDArray[np.int64]:
    """Return the context of some arrays.

    Args:
        arrays: C-contiguous arrays by their number above.
        row_words: Words of a row as rows lie in the table.
        whole_row_words: Words of a row in one piece, see `annexes`.
    """
    context = np.zeros(CONTEXT_WORDS, np.int64)
    for number, array in arrays.items():
        assert array.flags.c_contiguous, number
        context[2 * number] = array.ctypes.data
        context[2 * number + 1] = array.size
    context[ROW_WORDS] = row_words
    context[WHOLE_ROW_WORDS] = whole_row_words
    return context


@inner
def span_in(ctx, number):  # type: ignore[no-untyped-def]
    """Return the span of an array of the context."""
    return word_at(ctx, 2 * number), word_at(ctx, 2 * number + 1)


@inner
def put_request(ctx, span):  # type: ignore[no-untyped-def]
    """Let the writer find the bytes of the request that it folds; they are kept alive by whoever called the fold."""
    put_word(ctx, 2 * REQUEST, span[0])
    put_word(ctx, 2 * REQUEST + 1, span[1])


@inner
def row_cells(ctx, row):  # type: ignore[no-untyped-def]
    """Return the span of the words of a row: of its core, where it has annexes."""
    words = word_at(ctx, ROW_WORDS)
    return word_at(ctx, 2 * ROWS) + row * words * 8, words


@inner
def count_of(ctx, number):  # type: ignore[no-untyped-def]
    """Return a word of `counts`."""
    return word_at(span_in(ctx, COUNTS), number)
