"""Order and pages of a list of sessions.

Pages go by key: a token names the last session of a page by its sort key and id, so a session that does not change is
in exactly one page, whatever comes and goes around it. Numbers come before texts, sessions without a value last, equal
ones by session id.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rte_server.engine.query import Matches

NUMBER, TEXT, ABSENT = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Place:
    """Where a session stands in an order.

    Attributes:
        rank: NUMBER, TEXT or ABSENT.
        key: The sort key; 0.0 if absent.
        session_id: Low and high word of its id.
    """

    rank: int
    key: float | str
    session_id: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Page:
    """A page of rows.

    Attributes:
        rows: int64[n], in order.
        session_ids: int64[n, 2], as in `Matches`.
        last: The place of the last of them, or None if no page follows.
    """

    rows: NDArray[np.int64]
    session_ids: NDArray[np.int64]
    last: Place | None


def take_page(
    matches: Matches, size: int, after: Place | None, text_of: Callable[[int], str], *, descending: bool
) -> Page:
    """Return the first `size` sessions after a place.

    Args:
        matches: All sessions that match, in any order.
        size: >= 1.
        after: Where the page before ended, or None for the first page.
        text_of: Gives the text of a string id.
        descending: Whether greater keys come first. Session ids ascend all the same.
    """
    columns, texts = _columns(matches, text_of, descending)
    if after is not None:
        keep = _is_after(columns, after, texts, descending)
        columns = tuple(column[keep] for column in columns)
    # One more than asked for tells whether a page follows.
    columns = _smallest(columns, size + 1)
    rank, key, high, low, rows = columns
    order = np.lexsort((low, high, key, rank))
    chosen = order[:size]
    last = None
    if len(order) > size:
        at = chosen[-1]
        number = -float(key[at]) if descending else float(key[at])
        last = Place(
            int(rank[at]),
            texts[int(number)] if rank[at] == TEXT else number,
            (int(low[at].view(np.int64)), int(high[at].view(np.int64))),
        )
    session_ids = np.column_stack((low[chosen], high[chosen])).view(np.int64)
    return Page(rows[chosen], session_ids, last)


Columns = tuple[NDArray[Any], ...]
"""rank int8[n], key float64[n], high and low word of the id uint64[n], row int64[n]; all ascend in the wanted order."""


def _columns(matches: Matches, text_of: Callable[[int], str], descending: bool) -> tuple[Columns, list[str]]:
    """Return what to sort by, and the texts whose places stand as keys of texts, in order."""
    is_text = matches.key_texts != 0
    is_absent = np.isnan(matches.key_numbers) & ~is_text
    key = np.where(is_absent, 0.0, matches.key_numbers)
    texts: list[str] = []
    if is_text.any():
        ids, where = np.unique(matches.key_texts[is_text], return_inverse=True)
        found = [text_of(int(string_id)) for string_id in ids]
        texts = sorted(set(found))
        places = {text: place for place, text in enumerate(texts)}
        key[is_text] = np.array([places[text] for text in found], np.float64)[where]
    rank = np.where(is_absent, ABSENT, np.where(is_text, TEXT, NUMBER)).astype(np.int8)
    words = np.ascontiguousarray(matches.session_ids).view(np.uint64)
    return (rank, -key if descending else key, words[:, 1], words[:, 0], matches.rows), texts


def _is_after(columns: Columns, after: Place, texts: list[str], descending: bool) -> NDArray[np.bool_]:
    """Return which sessions stand after a place."""
    rank, key, high, low, _ = columns
    place = after.key
    if isinstance(place, str):
        # A text that no session has any more stands between two others.
        at = bisect_left(texts, place)
        place = float(at) if at < len(texts) and texts[at] == place else at - 0.5
    if descending:
        place = -place
    low_word, high_word = (np.int64(word).view(np.uint64) for word in after.session_id)
    later_id = (high > high_word) | ((high == high_word) & (low > low_word))
    later: NDArray[np.bool_] = (rank > after.rank) | (
        (rank == after.rank) & ((key > place) | ((key == place) & later_id))
    )
    return later


def _smallest(columns: Columns, count: int) -> Columns:
    """Return at least the `count` sessions that come first: finding them costs less than sorting all."""
    parts: list[Columns] = []
    for number in range(3):
        column = columns[number]
        if len(column) <= 2 * count:
            break
        limit = np.partition(column, count - 1)[count - 1]
        below = column < limit
        # Those below are in; of those that tie, the next column decides.
        parts.append(tuple(part[below] for part in columns))
        count -= int(below.sum())
        columns = tuple(part[column == limit] for part in columns)
    parts.append(columns)
    return tuple(np.concatenate(pieces) for pieces in zip(*parts, strict=True))
