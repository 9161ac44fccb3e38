"""BASKET: how many of which items, as events add, remove and set them.

Cell: the log of the `keep` latest such events after the latest one that emptied the basket, see `event_log`. An entry says
what was done (in the stamp, beside the item's tag), the item's bits, the quantity and the price, a NaN where there was none.
What the basket holds is computed from the log when it is looked at, in the order of the events: removing never leads below
zero, so the order counts, and a late event takes its place.
"""

from __future__ import annotations

import math

from rte_server.engine.attributes import TAG_BITS, TAG_MASK
from rte_server.engine.event_log import RESET_WORDS, STAMP_BITS, log_entry, merge_logs, reset_log
from rte_server.engine.kernel import inner
from rte_server.engine.native import bits_float, float_bits, word_at

# Roles of events.
ADDS = 0
REMOVES = 1
SETS = 2
CLEARS = 3

# Parts.
BASKET_VALUE = 1  # double, quantity times price of all items
BASKET_QUANTITY = 2  # double, of all items
BASKET_ITEMS = 3  # int, different items

BASKET_WIDTH = 5
_ITEM = 2
_QUANTITY = 3
_PRICE = 4


def basket_words(keep: int) -> int:
    """Return the words of a cell."""
    return RESET_WORDS + BASKET_WIDTH * keep


@inner
def clear_basket(cells, at, keep, time_ms, order):  # type: ignore[no-untyped-def]
    """Lift an event that empties the basket."""
    reset_log(cells, at, at + RESET_WORDS, keep, BASKET_WIDTH, time_ms, order)


@inner
def lift_basket(cells, at, keep, role, tag, bits, quantity, price, time_ms, order):  # type: ignore[no-untyped-def]
    """Lift an event that adds, removes or sets an item. Returns what `log_entry` does.

    Args:
        cells: Span of the row.
        at: Word of the cell.
        keep: Entries kept.
        role: ADDS, REMOVES or SETS.
        tag: The item.
        bits: See `tag`.
        quantity: Finite, >= 0.
        price: Finite, or NaN where the event has none.
        time_ms: Event time.
        order: Orders events of equal time.
    """
    stamp = time_ms << STAMP_BITS | role << TAG_BITS | tag
    q, p = float_bits(quantity + 0.0), float_bits(price + 0.0)
    return log_entry(cells, at, at + RESET_WORDS, keep, BASKET_WIDTH, stamp, order, bits, q, p)


@inner
def merge_basket(into, other, at, keep):  # type: ignore[no-untyped-def]
    """Merge a cell into another."""
    merge_logs(into, other, at, at + RESET_WORDS, keep, BASKET_WIDTH)


@inner
def _same_item(cells, entry, other):  # type: ignore[no-untyped-def]
    return (
        word_at(cells, entry + _ITEM) == word_at(cells, other + _ITEM)
        and (word_at(cells, entry) ^ word_at(cells, other)) & TAG_MASK == 0
    )


@inner
def basket_line(cells, at, keep, place):  # type: ignore[no-untyped-def]
    """Return (quantity, price) of the item that entry `place` of the log is about, the newest entry being 0.

    The quantity is 0 where the basket has none of it, or a newer entry is about the same item; the price is NaN where no
    event had one.
    """
    first = at + RESET_WORDS
    entry = first + BASKET_WIDTH * place
    for newer in range(first, entry, BASKET_WIDTH):
        if _same_item(cells, newer, entry):
            return 0.0, math.nan
    oldest = place
    while oldest + 1 < keep and word_at(cells, first + BASKET_WIDTH * (oldest + 1)) != 0:
        oldest += 1
    quantity = 0.0
    price = math.nan
    for older in range(first + BASKET_WIDTH * oldest, entry - 1, -BASKET_WIDTH):
        if _same_item(cells, older, entry):
            change = bits_float(word_at(cells, older + _QUANTITY))
            role = word_at(cells, older) >> TAG_BITS & 7
            if role == ADDS:
                quantity += change
            elif role == REMOVES:
                quantity = max(quantity - change, 0.0)
            else:
                quantity = change
            stated = bits_float(word_at(cells, older + _PRICE))
            price = price if math.isnan(stated) else stated
    return quantity, price


@inner
def basket_total(cells, at, keep, part):  # type: ignore[no-untyped-def]
    """Return a part as a double. An item without a price adds nothing to the value."""
    total = 0.0
    for place in range(keep):
        if word_at(cells, at + RESET_WORDS + BASKET_WIDTH * place) == 0:
            break
        quantity, price = basket_line(cells, at, keep, place)
        if quantity > 0.0:
            if part == BASKET_ITEMS:
                total += 1.0
            elif part == BASKET_QUANTITY:
                total += quantity
            elif not math.isnan(price):
                total += quantity * price
    return total
