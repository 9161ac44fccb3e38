"""The twin against the definitions that it stands for: sessions as maximal chains, whatever the order of arrival."""

from __future__ import annotations

import json
import math

from hypothesis import given
from hypothesis import strategies as st

from rte.v1.event_pb2 import Event
from rte_server.engine.entries import Entry, EntryType
from tests.engine.attribute_samples import SPECS
from tests.engine.strategies import GAP_MS, LATENESS_MS, START_MS, Batch, event_lists, split
from tests.engine.twin import Rules, Twin
from tests.engine.twin_kinds import exact_sum

RULES = Rules(gap_ms=GAP_MS, lateness_ms=LATENESS_MS)


def feed(twin: Twin, batches: list[Batch]) -> None:
    """Apply batches in their order, all received long before anything closes."""
    for position, batch in enumerate(batches, 1):
        twin.apply(position, Entry(EntryType.EVENTS, START_MS, batch.wire()))


def chains(events: list[Event]) -> dict[str, list[tuple[int, int, int]]]:
    """Return start, end and number of events of each maximal chain, by visitor: the definition of a session."""
    found: dict[str, list[tuple[int, int, int]]] = {}
    for visitor_id in {event.visitor_id for event in events}:
        mine = [event.event_time.ToMilliseconds() for event in events if event.visitor_id == visitor_id]
        rows: list[tuple[int, int, int]] = []
        for time_ms in sorted(mine):
            if rows and time_ms - rows[-1][1] <= GAP_MS:
                rows[-1] = (rows[-1][0], time_ms, rows[-1][2] + 1)
            else:
                rows.append((time_ms, time_ms, 1))
        found[visitor_id] = rows
    return found


@given(event_lists(), st.data())
def test_sessions_are_maximal_chains(events: list[Event], drawn: st.DataObject) -> None:
    """However events arrive, sessions are the maximal chains of each visitor's events."""
    twin = Twin(SPECS, RULES)
    feed(twin, drawn.draw(split(events)))
    sessions = {
        visitor_id: [(row["start_ms"], row["last_ms"], row["event_count"]) for row in rows]
        for visitor_id, rows in twin.state().items()
    }
    assert sessions == chains(events)


@given(event_lists(), st.randoms(use_true_random=False))
def test_order_of_arrival_does_not_matter(events: list[Event], random: object) -> None:
    """The same events in another order give the same state."""
    shuffled = list(events)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    one, other = Twin(SPECS, RULES), Twin(SPECS, RULES)
    feed(one, [Batch(tuple(events))])
    feed(other, [Batch(tuple(shuffled))])
    assert json.dumps(one.state(), sort_keys=True) == json.dumps(other.state(), sort_keys=True)


def test_exact_sums_round_once() -> None:
    """A sum does not depend on the order of its parts and is the double nearest to the true sum."""
    assert exact_sum([0.1] * 10) == 1.0
    assert exact_sum([1e12, 0.1, -1e12]) == 0.1
    numbers = [9.99, 19.95, 0.07, 1234.56]
    assert exact_sum(numbers) == math.fsum(numbers)
