"""Order and pages."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rte_server.engine.query import Matches
from rte_server.service.paging import Place, take_page

TEXTS = {11: "apple", 12: "Birne", 13: "éclair", 14: ""}
Key = float | str | None

KEYS = st.none() | st.sampled_from([-1.5, 0.0, 2.0, 2.5, 1e18]) | st.sampled_from(list(TEXTS.values()))


def _id(session: tuple[Key, int]) -> int:
    return session[1]


SESSIONS = st.lists(st.tuples(KEYS, st.integers(0, 2**128 - 1)), unique_by=_id, max_size=60)


def matches_of(sessions: list[tuple[Key, int]]) -> Matches:
    """Return what the engine would answer for sessions given as (key, id); the row is the place in the list."""
    ids = {text: string_id for string_id, text in TEXTS.items()}
    words = np.array([[number & (2**64 - 1), number >> 64] for _, number in sessions], np.uint64).reshape(-1, 2)
    return Matches(
        np.arange(len(sessions)),
        words.view(np.int64),
        np.array([key if isinstance(key, float) else np.nan for key, _ in sessions], np.float64),
        np.array([ids[key] if isinstance(key, str) else 0 for key, _ in sessions], np.int64),
    )


def sorted_rows(sessions: list[tuple[Key, int]], *, descending: bool) -> list[int]:
    """Return the rows in order, the obvious way."""
    order = sorted(range(len(sessions)), key=lambda row: sessions[row][1])
    numbers = [row for row in order if isinstance(sessions[row][0], float)]
    texts = [row for row in order if isinstance(sessions[row][0], str)]
    for group in (numbers, texts):
        # Sorting in reverse keeps the order of equal ones.
        group.sort(key=lambda row: sessions[row][0], reverse=descending)  # type: ignore[arg-type,return-value]
    return numbers + texts + [row for row in order if sessions[row][0] is None]


@given(SESSIONS, st.integers(1, 9), st.booleans())
def test_pages_together_are_the_sorted_list(sessions: list[tuple[Key, int]], size: int, descending: bool) -> None:
    """All pages one after the other hold each session once, in order, and all but the last are full."""
    found: list[int] = []
    after: Place | None = None
    while True:
        page = take_page(matches_of(sessions), size, after, TEXTS.__getitem__, descending=descending)
        found += page.rows.tolist()
        after = page.last
        if after is None:
            break
        assert len(page.rows) == size
    assert found == sorted_rows(sessions, descending=descending)


@given(SESSIONS, st.integers(1, 9), st.booleans(), st.data())
def test_what_comes_and_goes_moves_nothing(
    sessions: list[tuple[Key, int]], size: int, descending: bool, data: st.DataObject
) -> None:
    """A session that does not change is in exactly one page even if others leave between the pages."""
    first = take_page(matches_of(sessions), size, None, TEXTS.__getitem__, descending=descending)
    if first.last is None:
        return
    stay = data.draw(st.lists(st.booleans(), min_size=len(sessions), max_size=len(sessions)))
    left = [pair for pair, stays in zip(sessions, stay, strict=True) if stays]
    second = take_page(matches_of(left), 1000, first.last, TEXTS.__getitem__, descending=descending)
    shown = {sessions[row][1] for row in first.rows.tolist()}
    rest = [pair for pair in left if pair[1] not in shown]
    expected = [rest[row][1] for row in sorted_rows(rest, descending=descending)]
    assert [left[row][1] for row in second.rows.tolist()] == expected


@pytest.mark.parametrize("ties", [False, True])
def test_the_top_of_many_is_found_without_sorting_all(ties: bool) -> None:
    """The first page of 100,000 sessions is right, also when most have the same key."""
    random = np.random.default_rng(5)
    keys = random.integers(0, 3, 100_000).astype(float) if ties else random.random(100_000)
    ids = random.integers(0, 2**63, (100_000, 2))
    matches = Matches(np.arange(100_000), ids, keys, np.zeros(100_000, np.int64))
    page = take_page(matches, 50, None, str, descending=False)
    words = ids.view(np.uint64)
    assert page.rows.tolist() == np.lexsort((words[:, 0], words[:, 1], keys))[:50].tolist()
