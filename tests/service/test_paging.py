"""Order and pages."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rte_server.engine.query import Matches
from rte_server.service.paging import Paging, Place

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
        len(sessions),
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
        page = Paging(size, after, TEXTS.__getitem__, descending).page(matches_of(sessions))
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
    first = Paging(size, None, TEXTS.__getitem__, descending).page(matches_of(sessions))
    if first.last is None:
        return
    stay = data.draw(st.lists(st.booleans(), min_size=len(sessions), max_size=len(sessions)))
    left = [pair for pair, stays in zip(sessions, stay, strict=True) if stays]
    second = Paging(1000, first.last, TEXTS.__getitem__, descending).page(matches_of(left))
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
    matches = Matches(np.arange(100_000), ids, keys, np.zeros(100_000, np.int64), 100_000)
    page = Paging(50, None, str, descending=False).page(matches)
    words = ids.view(np.uint64)
    assert page.rows.tolist() == np.lexsort((words[:, 0], words[:, 1], keys))[:50].tolist()


def narrowed(matches: Matches, paging: Paging, room: int) -> Matches:
    """Return what is left of matches that come one after the other, where `narrow` is asked whenever `room` are there."""
    choose = paging.narrow().choose
    kept: list[int] = []
    bounds: tuple[float, float] | None = None
    for place in range(len(matches.rows)):
        if bounds is None or bounds[0] <= matches.key_numbers[place] <= bounds[1]:
            kept.append(place)
        if len(kept) >= room:
            places, bounds = choose(_at(matches, kept))
            kept = [kept[each] for each in places]
    return _at(matches, kept)


def _at(matches: Matches, places: list[int]) -> Matches:
    at = np.array(places, np.int64)
    keys = matches.key_numbers[at], matches.key_texts[at]
    return Matches(matches.rows[at], matches.session_ids[at], *keys, matches.count)


@given(SESSIONS, st.integers(1, 4), st.booleans(), st.integers(1, 20))
def test_what_is_given_up_on_the_way_is_on_no_page(
    sessions: list[tuple[Key, int]], size: int, descending: bool, room: int
) -> None:
    """Each page is the same from what `narrow` leaves of the matches as from all of them."""
    matches = matches_of(sessions)
    after: Place | None = None
    while True:
        paging = Paging(size, after, TEXTS.__getitem__, descending)
        page, narrow_page = paging.page(matches), paging.page(narrowed(matches, paging, room))
        assert narrow_page.rows.tolist() == page.rows.tolist()
        assert narrow_page.last == page.last
        after = page.last
        if after is None:
            break


def test_of_many_numbers_few_are_kept() -> None:
    """Once there are more numbers than the page shows, what is worse than those is given up, and whatever is no number."""
    sessions: list[tuple[Key, int]] = [(float(number), number) for number in range(40)]
    matches = matches_of([*sessions, ("apple", 50), (None, 51)])
    for descending, bounds in ((False, (-np.inf, 3.0)), (True, (36.0, np.inf))):
        places, limits = Paging(3, None, TEXTS.__getitem__, descending).narrow().choose(matches)
        assert limits == bounds
        assert len(places) < 10
    after = Place(0, 30.0, (30, 0))
    assert Paging(3, after, TEXTS.__getitem__, descending=True).narrow().choose(matches)[1] == (26.0, 30.0)
