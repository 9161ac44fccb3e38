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

from rte_server.engine.query import Matches, Narrow

NUMBER, TEXT, ABSENT = 0, 1, 2

ROOM = 4096
"""Matches that are collected before those that the page does not need are given up. Choosing among so many takes 0.1 ms."""


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


@dataclass(frozen=True, slots=True)
class Paging:
    """Which page is wanted.

    Attributes:
        size: Sessions of a page, >= 1.
        after: Where the page before ended, or None for the first page.
        text_of: Gives the text of a string id.
        descending: Whether greater keys come first. Session ids ascend all the same.
    """

    size: int
    after: Place | None
    text_of: Callable[[int], str]
    descending: bool

    def narrow(self) -> Narrow:
        """Return what of the matches the page needs, so that all others are given up on the way."""
        return Narrow(max(ROOM, 4 * self.size), self._choose)

    def _choose(self, matches: Matches) -> tuple[NDArray[np.int64], tuple[float, float] | None]:
        rank, key, _, _, places = self._first(matches)[0]
        numbers = key[rank == NUMBER]
        if len(numbers) <= self.size:
            return places, None
        # Numbers come before all else, and so many are enough: what is of interest is at least as good as the last of them.
        worst = float(np.partition(numbers, self.size)[self.size])
        best = -np.inf if self.after is None else self._sign * float(self.after.key)
        return places, (-worst, -best) if self.descending else (best, worst)

    @property
    def _sign(self) -> int:
        return -1 if self.descending else 1

    def _first(self, matches: Matches) -> tuple[Columns, list[str]]:
        """Return the matches after the place, at least as many as the page shows and one more, and texts as `_columns` does."""
        columns, texts = _columns(matches, self.text_of, self.descending)
        if self.after is not None:
            keep = _is_after(columns, self.after, texts, self.descending)
            columns = tuple(column[keep] for column in columns)
        # One more than asked for tells whether a page follows.
        return _smallest(columns, self.size + 1), texts

    def page(self, matches: Matches) -> Page:
        """Return the first sessions after the place.

        Args:
            matches: All sessions that match, in any order; but those that `narrow` gave up.
        """
        columns, texts = self._first(matches)
        rank, key, high, low, places = columns
        order = np.lexsort((low, high, key, rank))
        chosen = order[: self.size]
        last = None
        if len(order) > self.size:
            at = chosen[-1]
            number = self._sign * float(key[at])
            last = Place(
                int(rank[at]),
                texts[int(number)] if rank[at] == TEXT else number,
                (int(low[at].view(np.int64)), int(high[at].view(np.int64))),
            )
        session_ids = np.column_stack((low[chosen], high[chosen])).view(np.int64)
        return Page(matches.rows[places[chosen]], session_ids, last)


Columns = tuple[NDArray[Any], ...]
"""rank int8[n], key float64[n], high and low word of the id uint64[n], place in the matches int64[n]; all ascend in the wanted order."""


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
    return (rank, -key if descending else key, words[:, 1], words[:, 0], np.arange(len(rank))), texts


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
