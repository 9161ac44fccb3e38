"""A snapshot that was copied ahead, beside the writer, is the state at its end, whatever happened meanwhile."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Sequence
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rte_server.engine import state_copy
from rte_server.engine.engine import Engine
from rte_server.engine.entries import Entry, EntryType
from rte_server.engine.erasure import Erasure
from rte_server.engine.kernel import kernel
from rte_server.engine.native import fence_release, put_word, release_at, span_of, word_at
from rte_server.engine.state_copy import SnapshotAhead
from rte_server.engine.table import HIGH_WATER, KEY_HI, KEY_LO, STRING_SWEEPS, VERSION, Capacity
from tests.bench.engine_part import new_engine as new_shop
from tests.bench.workload import START_MS as DAY_START_MS
from tests.bench.workload import make_workload, one_event_each
from tests.engine.pair import Pair
from tests.engine.strategies import Action, scripts
from tests.engine.test_engine_moves import VIEWS, Play
from tests.engine.test_twin_engine import CALM

WIDE = Capacity(sessions_max=16_384, dedup_events_max=65_536, strings_max=65_536, string_bytes_max=8 << 20)
ROOMY = Capacity(sessions_max=8192, dedup_events_max=32_768, strings_max=16_384, string_bytes_max=1 << 20)


def assert_is_state(snapshot: SnapshotAhead, engine: Engine, *, is_last: bool = False) -> None:
    """Assert that a snapshot that was begun earlier ends as one that is begun now."""
    meta, arrays = snapshot.finish(is_last=is_last)
    expected_meta, expected = engine.snapshot()
    assert meta == expected_meta
    assert [name for name, _ in arrays] == [name for name, _ in expected]
    for (name, found), (_, wanted) in zip(arrays, expected, strict=True):
        assert np.array_equal(found, wanted), name


@CALM
@given(scripts(), st.lists(st.integers(0, 16), max_size=4), st.booleans())
def test_whatever_happens_after_a_copy_was_begun_is_in_it(
    script: Sequence[Action], copied_at: list[int], is_last: bool
) -> None:
    """Sessions begin, merge, end, leave and are written to between the passes of a copy; it ends as one made at once."""
    pair = Pair()
    snapshot = pair.engine.begin_snapshot()
    for number, action in enumerate(script):
        if number in copied_at:
            snapshot.advance()
        pair.run(action)
    assert_is_state(snapshot, pair.engine, is_last=is_last)


def test_a_copy_beside_a_busy_writer_is_the_state_at_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """One is made in a thread while events are folded, more of which come after it; no row is torn, none is old."""
    monkeypatch.setattr(state_copy, "LEFT_MAX", 0)  # As long as anything changes there is another pass.
    monkeypatch.setattr(state_copy, "PASSES_MAX", 100)
    engine = new_shop(WIDE)
    workload, random, beside = make_workload(60_000, 4_000, batch_events=20), Random(1), 0
    entries = iter([Entry(EntryType.EVENTS, DAY_START_MS + 86_400_000, request) for request in workload.requests])
    for _ in range(15):
        snapshot, made = engine.begin_snapshot(), threading.Event()

        def advance(snapshot: SnapshotAhead = snapshot, made: threading.Event = made) -> None:
            snapshot.advance()
            made.set()

        thread = threading.Thread(target=advance)
        begin = random.randrange(100)
        for number in range(150):
            if number == begin:
                thread.start()
            engine.apply(engine.position + 1, next(entries))
            beside += number > begin and not made.is_set()
        thread.join()
        for _ in range(random.randrange(50)):
            engine.apply(engine.position + 1, next(entries))
        assert_is_state(snapshot, engine)
    assert beside > 0, "nothing was folded beside a copy"
    assert engine.score_view().table.counts[STRING_SWEEPS] == 0, "it was the copy of another state, and made anew"


def test_a_second_call_goes_on_from_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """It copies only what changed since; where there is no room for what came, it begins anew."""
    monkeypatch.setattr(state_copy, "ROOM_ROWS", 100)
    monkeypatch.setattr(state_copy, "ROWS_PER_STEP", 10_000)
    engine = new_shop(ROOMY)
    requests = one_event_each(range(1, 1_200), batch_events=1).requests
    changed: list[int] = []
    copy_rows = state_copy.copy_changed_rows

    def count(*arguments: object) -> int:
        changed.append(copy_rows(*arguments))
        return changed[-1]

    monkeypatch.setattr(state_copy, "copy_changed_rows", count)
    snapshot = engine.begin_snapshot()
    for until, expected in ((1_000, 1_000), (1_050, 50), (1_199, 1_199)):
        for request in requests[engine.position - 1 : until]:
            engine.apply(engine.position + 1, Entry(EntryType.EVENTS, DAY_START_MS, request))
        changed.clear()
        snapshot.advance()
        assert changed[0] == expected
    assert_is_state(snapshot, engine)


def test_pauses_are_made_while_most_is_copied_and_not_when_the_rest_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """After each step of the first pass. What changes in the pauses is found by later passes, which make none."""
    monkeypatch.setattr(state_copy, "ROWS_PER_STEP", 100)
    monkeypatch.setattr(state_copy, "LEFT_MAX", 0)
    engine = new_shop(ROOMY)
    requests = iter(one_event_each(range(1, 2_000), batch_events=10).requests)

    def apply(count: int) -> None:
        for request in itertools.islice(requests, count):
            engine.apply(engine.position + 1, Entry(EntryType.EVENTS, DAY_START_MS, request))

    apply(100)
    snapshot = engine.begin_snapshot()
    begun: list[int] = []
    copy_rows = state_copy.copy_changed_rows

    def note(*arguments: object) -> int:
        begun.append(int(arguments[-2]))  # type: ignore[call-overload]
        return int(copy_rows(*arguments))

    monkeypatch.setattr(state_copy, "copy_changed_rows", note)
    paused_after: list[int] = []

    def pause() -> None:
        paused_after.append(len(begun))
        apply(1)

    snapshot.advance(pause)
    steps = 11  # 1,000 sessions, and those that came while memory was made ready.
    assert begun[:steps] == list(range(0, 1_100, 100))
    assert len(begun) > steps, "there was no second pass"
    assert [after for after in paused_after if after] == list(range(1, steps + 1))
    assert_is_state(snapshot, engine)


def test_what_did_not_change_is_not_copied_again() -> None:
    """After a pass only the rows that an entry has changed since are left for the writer."""
    engine = new_shop(ROOMY)
    workload = make_workload(20_000, 2_000, batch_events=10)
    for request in workload.requests[:-1]:
        engine.apply(engine.position + 1, Entry(EntryType.EVENTS, DAY_START_MS + 86_400_000, request))
    table = engine.score_view().table
    count = int(table.counts[HIGH_WATER])
    copied, versions = np.zeros_like(table.rows[:count]), np.full(count, state_copy.NOT_COPIED)
    arrays = table.rows, copied, versions, table.blocks, table.annexes, np.empty_like(table.blocks)
    assert state_copy.copy_changed_rows(*arrays, 0, 500) == 500
    assert state_copy.copy_changed_rows(*arrays, 0, count) == count - 500 > 500
    assert state_copy.copy_changed_rows(*arrays, 0, count) == 0
    last = Entry(EntryType.EVENTS, DAY_START_MS + 86_400_000, workload.requests[-1])
    changed = engine.apply(engine.position + 1, last).rows
    assert 0 < state_copy.copy_changed_rows(*arrays, 0, count) <= len(changed)


def test_a_row_that_is_being_written_is_copied_later() -> None:
    """A row of odd version counts as changed until a pass finds it whole."""
    rows = np.arange(2 * 64, dtype=np.int64).reshape(2, 64)
    rows[:, 0] = 5, 8
    copied, versions = np.zeros_like(rows), np.full(2, state_copy.NOT_COPIED)
    arrays = rows, copied, versions, np.zeros(0, np.int64), np.zeros((0, 8), np.int64), np.zeros(0, np.int64)
    assert state_copy.copy_changed_rows(*arrays, 0, 2) == 2
    assert versions.tolist() == [state_copy.NOT_COPIED, 8]
    rows[0, 0] = 6
    assert state_copy.copy_changed_rows(*arrays, 0, 2) == 1
    assert np.array_equal(copied, rows)


@kernel
def write_rows(rows: Any, times: Any) -> None:
    """Write to all rows many times, as the writer does; what they hold is known by their versions."""
    words, cells = rows.shape[1], span_of(rows)
    for number in range(times):
        for row in range(rows.shape[0]):
            at = row * words
            release_at(cells, at, word_at(cells, at) | 1)
            fence_release()
            for word in range(1, words):
                put_word(cells, at + word, number)
            release_at(cells, at, (word_at(cells, at) | 1) + 1)


def test_a_row_that_is_written_to_meanwhile_is_never_kept_torn() -> None:
    """Beside a writer who never pauses, a copy that has a version is the row as it was at that version."""
    rows = np.full((8, 65_536), -1, np.int64)  # Long ones: to copy takes most of the time, so that the two meet.
    rows[:, VERSION] = 0
    copied, versions = np.zeros_like(rows), np.full(len(rows), state_copy.NOT_COPIED)
    arrays = rows, copied, versions, np.zeros(0, np.int64), np.zeros((0, 8), np.int64), np.zeros(0, np.int64)
    write_rows(rows[:0], 1)
    thread = threading.Thread(target=write_rows, args=(rows, 2_000))
    thread.start()
    kept = left = 0
    while thread.is_alive():
        versions[:] = state_copy.NOT_COPIED
        state_copy.copy_changed_rows(*arrays, 0, len(rows))
        whole = versions != state_copy.NOT_COPIED
        assert (copied[whole, 1:] == versions[whole, None] // 2 - 1).all()
        kept += int(whole.sum())
        left += int((~whole).sum())
    thread.join()
    assert kept > 0 < left, "nothing was copied, or nothing was written to meanwhile"


def test_more_than_there_is_room_for_is_copied_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sessions, visitors, texts and ids beyond the room that a copy took are in it all the same."""
    monkeypatch.setattr(state_copy, "ROOM_ROWS", 0)
    monkeypatch.setattr(state_copy, "ROOM_RECORDS", 0)
    engine = new_shop(ROOMY)
    workload = make_workload(20_000, 2_000, batch_events=100)
    half = len(workload.requests) // 2
    for number, request in enumerate(workload.requests):
        if number == half:
            snapshot = engine.begin_snapshot()
            snapshot.advance()
        engine.apply(engine.position + 1, Entry(EntryType.EVENTS, DAY_START_MS + 86_400_000, request))
    assert_is_state(snapshot, engine)


@pytest.mark.parametrize("change", ["other models", "a refold", "a sweep"])
def test_another_state_is_copied_instead(change: str) -> None:
    """When models change or strings are swept after a copy was begun, the snapshot is of the state that there is then."""
    play = Play()
    play.configure(shop=VIEWS.format(1, ""))
    play.view("v")
    snapshot = play.engine.begin_snapshot()
    snapshot.advance()
    if change == "other models":
        play.configure(shop=VIEWS.format(2, "  all: {count: '*'}\n"))
    elif change == "a refold":
        play.adopt(0, shop=VIEWS.format(2, "  all: {count: '*'}\n"))
    else:
        play.engine.sweep()
    play.view("v")
    assert_is_state(snapshot, play.engine)


def test_a_person_who_was_erased_meanwhile_is_in_no_snapshot() -> None:
    """Neither the session nor a text of a person is in a snapshot that was begun before the erasure.

    An erasure sweeps the strings, so the state is another one, and what was copied of the former one is left.
    """
    play = Play()
    play.configure(shop=VIEWS.format(1, ""))
    play.view("somebody-who-leaves")
    snapshot = play.engine.begin_snapshot()
    snapshot.advance()
    key = play.engine.score_view().table.rows[play.engine.find_visitor("somebody-who-leaves"), [KEY_LO, KEY_HI]]
    play.apply(EntryType.ERASE, Erasure("e", visitor_keys=[(int(key[0]), int(key[1]))]).body())
    meta, arrays = snapshot.finish()
    assert not any(b"somebody-who-leaves" in array.tobytes() for _, array in arrays)
    assert not any(key[:1].tobytes() in array.tobytes() for _, array in arrays)
    assert meta["position"] == play.engine.position
