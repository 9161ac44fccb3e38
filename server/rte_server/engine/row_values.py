"""Values of a row: what expressions on rows, filters and answers see of its cells."""

from __future__ import annotations

import numpy as np
from numba import njit

from rte_server.engine.attributes import load_cell
from rte_server.engine.values import DOUBLE, INT, NULL, STRING
from rte_server.engine.native import float_bits
from rte_server.engine.program import A_AT, A_KIND, A_REGISTERS, A_ROLE
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


@njit(cache=True, nogil=True)
def load_input(attributes, cells, number):  # type: ignore[no-untyped-def]
    """Return the value (tag, bits) of an input: attribute `number`, or field `-1 - number` of the session.

    Args:
        attributes: int64[n, A_WORDS], of the program.
        cells: int64[:], the row.
        number: As in `program.load_number`.
    """
    if number >= 0:
        a = attributes[number]
        return load_cell(cells, a[A_KIND], a[A_AT], a[A_REGISTERS], a[A_ROLE])
    field = -1 - number
    if field == 0:
        return np.int64(INT), cells[EVENTS]
    if field == 1:
        return np.int64(INT), cells[START]
    if field == 2:
        return np.int64(INT), cells[LAST]
    if field == 3:
        return np.int64(DOUBLE), float_bits(np.float64(cells[LAST] - cells[START]) / 1000.0)
    if field == 4:
        return np.int64(INT), cells[VISIT]
    if field == 5:
        return np.int64(STRING), cells[VISITOR]
    if field == 6:
        return np.int64(STRING if cells[CUSTOMER_TIME] != 0 else NULL), cells[CUSTOMER]
    if field == 7:
        return np.int64(STRING if cells[CHANNEL_TIME] != 0 else NULL), cells[CHANNEL]
    return np.int64(INT), cells[LATE]
