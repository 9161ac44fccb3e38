"""Filters over all sessions: what is left out on the way changes nothing of what is found."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from rte_server.engine.engine import Engine
from rte_server.engine.entries import Entry, EntryType
from rte_server.engine.expressions import conjuncts
from rte_server.engine.matching import BLOCK_ROWS, BY_CODE, BY_INPUT, BY_WORD, C_WAY
from rte_server.engine.query import STATES_ANY, Matches, Narrow
from rte_server.engine.table import VERSION, Capacity
from rte_server.models import compile_filter
from tests.bench.engine_part import new_engine
from tests.bench.workload import START_MS, make_workload

# Some are errors for some sessions: they have no such value, or it is no number.
PARTS = (
    "product_views > 0",
    "purchase_propensity > 0.005",
    "max_viewed_price > 20.0",
    "max_viewed_price / 0.0 > 1.0 || product_views > 1",
    "last_search == 'warm coat 001' ? searches > 0 : add_to_carts > 0",
    "session.duration_s > 10.0 && searches > 0",
    "session.idle_s > 86400.0",
    "!(product_views > 2)",
)


@pytest.fixture(scope="module", name="engine")
def made_engine() -> Engine:
    """An engine with a few thousand sessions, active and closed."""
    engine = new_engine(
        Capacity(sessions_max=8192, dedup_events_max=32_768, strings_max=16_384, string_bytes_max=1 << 20)
    )
    workload = make_workload(15_000, 2_000)
    for request, received_ms in zip(workload.requests, workload.received_ms, strict=True):
        engine.apply(engine.position + 1, Entry(EntryType.EVENTS, received_ms, request))
    return engine


def rows_of(engine: Engine, text: str) -> set[int]:
    """Return the rows that a filter finds."""
    wanted = engine.filter(compile_filter(text, engine.filter_attributes), int(STATES_ANY))
    return set(engine.select(wanted, "", START_MS).rows.tolist())


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("product_views > 0", 1),
        ("product_views > 0 || searches > 0", 1),
        ("product_views > 0 && searches > 0", 2),
        ("product_views > 0 && (searches > 0 && purchases > 0) && revenue > 1.0", 4),
        ("(product_views > 0 && searches > 0) || purchases > 0", 1),
        ("(product_views > 0 || searches > 0) && !(purchases > 0 && revenue > 1.0)", 2),
        ("(searches > 0 ? product_views : purchases) > 1 && searches in [1, 2, 3]", 2),
    ],
)
def test_a_filter_is_taken_apart_at_its_conjunctions(engine: Engine, text: str, count: int) -> None:
    """Each `&&` that stands under no other operator parts two codes, and nothing is lost but those."""
    code = compile_filter(text, engine.filter_attributes)
    found = conjuncts(code)
    assert len(found) == count
    assert sum(map(len, found)) == len(code) - (count - 1)


def test_no_filter_has_no_conjunct() -> None:
    """Nothing is to be true of every session."""
    assert conjuncts(()) == ()


@pytest.mark.parametrize("first", PARTS)
@pytest.mark.parametrize("second", PARTS)
def test_a_conjunction_finds_what_both_find(engine: Engine, first: str, second: str) -> None:
    """In either order, with inputs that both read, and where one of the two is an error."""
    found = rows_of(engine, f"({first}) && ({second})")
    assert found == rows_of(engine, first) & rows_of(engine, second)


def test_the_parts_find_some_and_not_all(engine: Engine) -> None:
    """The filters above tell sessions apart; else the test above would be of no worth."""
    count = len(engine.rows_in_use())
    found = [len(rows_of(engine, part)) for part in PARTS]
    assert count > 1_500
    assert sum(0 < each < count for each in found) >= 6, found


@pytest.mark.parametrize("comparison", ["==", "!=", "<", "<=", ">", ">="])
@pytest.mark.parametrize(
    ("left", "right", "way"),
    [
        ("product_views", "2", BY_WORD),
        ("session.event_count", "3", BY_WORD),
        ("session.start_time", f"{START_MS + 1_800_000}", BY_WORD),
        ("max_viewed_price", "30.0", BY_INPUT),
        ("purchase_propensity", "0.01", BY_INPUT),
        ("open_basket_value", "20.0", BY_INPUT),
        ("distinct_items", "2", BY_INPUT),
        ("session.idle_s", "600.0", BY_INPUT),
        ("product_views", "1.5", BY_INPUT),
        ("max_viewed_price", "30", BY_INPUT),
        ("last_search", "'warm coat 001'", BY_CODE),
    ],
)
def test_a_comparison_finds_the_same_by_a_shorter_way(
    engine: Engine, left: str, right: str, way: np.int64, comparison: str
) -> None:
    """What is compared without the interpreter is as if it were interpreted; sessions without the value are in neither."""
    text = f"{left} {comparison} {right}"
    wanted = engine.filter(compile_filter(text, engine.filter_attributes), int(STATES_ANY))
    assert wanted.parts[:, C_WAY].tolist() == [BY_CODE if comparison == "!=" else way]
    longer = f"!(!({text}))"
    interpreted = engine.filter(compile_filter(longer, engine.filter_attributes), int(STATES_ANY))
    assert interpreted.parts[:, C_WAY].tolist() == [BY_CODE]
    assert rows_of(engine, text) == rows_of(engine, longer)


@pytest.mark.parametrize("room", [1, 10, 1_000_000])
def test_a_walk_that_keeps_few_counts_all(engine: Engine, room: int) -> None:
    """With a choice on the way, the best are among what is found, and all that matched are counted."""
    wanted = engine.filter(compile_filter("product_views > 0", engine.filter_attributes), int(STATES_ANY))
    everything = engine.select(wanted, "max_viewed_price", START_MS)

    def choose(matches: Matches) -> tuple[np.ndarray, tuple[float, float]]:
        best = np.argsort(-matches.key_numbers, kind="stable")[:7]
        return best, (float(matches.key_numbers[best[-1]]), np.inf)

    found = engine.select(wanted, "max_viewed_price", START_MS, Narrow(room, choose))
    assert found.count == everything.count == len(everything.rows) > 4 * BLOCK_ROWS
    assert room > 1_000 or len(found.rows) < 3 * BLOCK_ROWS
    best = np.sort(everything.key_numbers)[-7:]
    assert np.sort(found.key_numbers)[-7:].tolist() == best.tolist()
    assert len(set(found.rows.tolist())) == len(found.rows)


def test_more_may_match_than_was_thought(engine: Engine) -> None:
    """Sessions that begin during the walk are found as well: the room for what is found grows."""
    wanted = engine.filter((), int(STATES_ANY))
    found = engine._matches(wanted, "", np.zeros(0, np.int64), 1, START_MS)
    assert sorted(found.rows.tolist()) == sorted(engine.rows_in_use().tolist())


def test_a_row_that_is_being_written_is_waited_for(engine: Engine) -> None:
    """The walk comes back to a row until the writer has left it, and finds it once, with those beside it."""
    rows = engine._state.table.rows
    row = int(engine.rows_in_use()[BLOCK_ROWS + 5])
    found: list[set[int]] = []
    expected = rows_of(engine, "product_views >= 0")
    rows[row, VERSION] |= 1
    reader = threading.Thread(target=lambda: found.append(rows_of(engine, "product_views >= 0")), daemon=True)
    reader.start()
    time.sleep(0.05)
    assert not found
    rows[row, VERSION] += 1
    reader.join(60)
    assert found == [expected]
