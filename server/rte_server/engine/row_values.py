"""Values of a row: what expressions on rows, filters and answers see of its cells."""

from __future__ import annotations

import numpy as np
from numba import njit

from rte_server.engine.attributes import load_cell
from rte_server.engine.native import float_bits, word_at
from rte_server.engine.program import A_AT, A_KIND, A_REGISTERS, A_ROLE, A_WORDS
from rte_server.engine.table import (
    CHANNEL,
    CHANNEL_TIME,
    CUSTOMER,
    CUSTOMER_TIME,
    EVENTS,
    LAST,
    LATE,
    START,
    VISIT,
    VISITOR,
)
from rte_server.engine.values import DOUBLE, INT, NULL, STRING


@njit(cache=True, nogil=True)
def load_input(attributes, cells, number):  # type: ignore[no-untyped-def]
    """Return the value (tag, bits) of an input: attribute `number`, or field `-1 - number` of the session.

    Args:
        attributes: Span of the attributes of the program.
        cells: Span of the row.
        number: As in `program.load_number`.
    """
    if number >= 0:
        a = number * A_WORDS
        return load_cell(
            cells,
            word_at(attributes, a + A_KIND),
            word_at(attributes, a + A_AT),
            word_at(attributes, a + A_REGISTERS),
            word_at(attributes, a + A_ROLE),
        )
    field = -1 - number
    if field == 0:
        return np.int64(INT), word_at(cells, EVENTS)
    if field == 1:
        return np.int64(INT), word_at(cells, START)
    if field == 2:
        return np.int64(INT), word_at(cells, LAST)
    if field == 3:
        return np.int64(DOUBLE), float_bits(np.float64(word_at(cells, LAST) - word_at(cells, START)) / 1000.0)
    if field == 4:
        return np.int64(INT), word_at(cells, VISIT)
    if field == 5:
        return np.int64(STRING), word_at(cells, VISITOR)
    if field == 6:
        return np.int64(STRING if word_at(cells, CUSTOMER_TIME) != 0 else NULL), word_at(cells, CUSTOMER)
    if field == 7:
        return np.int64(STRING if word_at(cells, CHANNEL_TIME) != 0 else NULL), word_at(cells, CHANNEL)
    return np.int64(INT), word_at(cells, LATE)
