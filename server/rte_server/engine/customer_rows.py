"""The sessions of a customer: those whose events name it, and those of visitors that are linked to it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rte_server.engine.lookups import look_up
from rte_server.engine.native import text_id
from rte_server.engine.reader import NO_ROW, Reader
from rte_server.engine.score_view import ScoreView
from rte_server.engine.table import (
    CUSTOMER,
    CUSTOMER_NEXT,
    CUSTOMER_VERSION,
    KEY_HI,
    KEY_LO,
    NONE,
    OLDER,
    customer_key,
)

CUSTOMER_ROWS_MAX = 1_000
"""Sessions of one customer that are found: of those that name it the ones that did so last, then those of its links."""

VISITOR_ROWS_MAX = 64
"""Sessions of one linked visitor, the newest."""

WALK_TRIES = 100


def naming_rows(reader: Reader, customer_id: str, secret: NDArray[np.uint64]) -> list[int]:
    """Return the rows of the sessions whose events name a customer, at most CUSTOMER_ROWS_MAX. Any thread."""
    return naming_rows_in(reader.score_view(), customer_id, secret, CUSTOMER_ROWS_MAX)


def naming_rows_in(view: ScoreView, customer_id: str, secret: NDArray[np.uint64], rows_max: int) -> list[int]:
    """Return the rows, in a view, of the `rows_max` sessions whose events were the last to name a customer. Any thread.

    Tries again while the writer changes the chain of its sessions.
    """
    customer = text_id(customer_id.encode(), secret)
    counts, cells = view.table.counts, view.table.rows
    rows: list[int] = []
    for _ in range(WALK_TRIES):
        before = int(counts[CUSTOMER_VERSION])
        rows = []
        row = look_up(view.context, int(customer_key(customer)))
        while row != NONE and len(rows) < rows_max and cells[row, CUSTOMER] == customer:
            rows.append(row)
            row = int(cells[row, CUSTOMER_NEXT])
        if before % 2 == 0 and int(counts[CUSTOMER_VERSION]) == before:
            break
    return rows


def customer_rows(reader: Reader, customer_id: str, secret: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Return the rows of all sessions of a customer, each once. Any thread."""
    rows = naming_rows(reader, customer_id, secret)
    for link in reader.links_of(customer_id):
        rows += _visitor_rows(reader, link.visitor_id)
    return np.array(list(dict.fromkeys(rows))[:CUSTOMER_ROWS_MAX], np.int64)


def _visitor_rows(reader: Reader, visitor_id: str) -> list[int]:
    """Return the rows of a visitor's sessions, the newest first."""
    rows: list[int] = []
    row = reader.find_visitor(visitor_id)
    if row == NO_ROW:
        return rows
    cells = reader.score_view().table.rows
    key = tuple(cells[row, [KEY_LO, KEY_HI]].tolist())
    # The chain may change under the walk: a row of somebody else ends it.
    while row != NONE and row not in rows and len(rows) < VISITOR_ROWS_MAX:
        if tuple(cells[row, [KEY_LO, KEY_HI]].tolist()) != key:
            break
        rows.append(row)
        row = int(cells[row, OLDER])
    return rows
