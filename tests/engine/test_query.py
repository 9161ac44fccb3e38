"""Filters over all sessions: what is left out on the way changes nothing of what is found."""

from __future__ import annotations

import pytest

from rte_server.engine.engine import Engine
from rte_server.engine.entries import Entry, EntryType
from rte_server.engine.expressions import conjuncts
from rte_server.engine.query import STATES_ANY
from rte_server.engine.table import Capacity
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
