"""The cell of an attribute of the session's customer: what the data mart said last, and of whom.

The words of an entry as `attributes.keep_last` has them: (position of the CUSTOMER entry << PLACE_BITS | place of the
customer in it) << 3 | type, string id of the customer, value. What was said later wins, so cells merge in any order. What was said of somebody who is
not the session's customer, or is not any more, is not shown.
"""

from __future__ import annotations

import numpy as np

from rte_server.engine.attributes import TAG_BITS, TAG_MASK, keep_last
from rte_server.engine.kernel import inner
from rte_server.engine.native import word_at
from rte_server.engine.table import CUSTOMER, CUSTOMER_TIME
from rte_server.engine.values import NULL

# Words of the cell.
STAMP_AT = np.int64(0)
OF_AT = np.int64(1)
BITS_AT = np.int64(2)

PLACE_BITS = np.int64(10)
"""An entry says something of several customers, one after the other; the server puts 64 into one, which leaves room. Beyond so many
bits they count as said at once."""
PLACE_MAX = (1 << PLACE_BITS) - 1


def position_of(stamp: int) -> int:
    """Return the position of the entry that a cell's first word tells of."""
    return stamp >> int(PLACE_BITS + TAG_BITS)


@inner
def customer_value(cells, at):  # type: ignore[no-untyped-def]
    """Return the value (tag, bits) that the cell shows; NULL where nothing was said of the session's customer."""
    is_said = word_at(cells, at + STAMP_AT) != 0 and word_at(cells, CUSTOMER_TIME) != 0
    if not is_said or word_at(cells, at + OF_AT) != word_at(cells, CUSTOMER):
        return np.int64(NULL), np.int64(0)
    return word_at(cells, at + STAMP_AT) & TAG_MASK, word_at(cells, at + BITS_AT)


@inner
def merge_customer(into, other, at):  # type: ignore[no-untyped-def]
    """Merge the cell of one row into that of another: what was said later stays."""
    if word_at(other, at + STAMP_AT) != 0:
        keep_last(into, at, word_at(other, at + STAMP_AT), word_at(other, at + OF_AT), word_at(other, at + BITS_AT))
