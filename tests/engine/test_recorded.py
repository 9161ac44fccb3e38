"""Recorded data: every visit and every attribute of the shipped packs equals brute force over the same rows."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from rte.v1.session_pb2 import Session
from rte_server.engine.engine import Engine
from rte_server.engine.entries import Entry, EntryType
from rte_server.engine.reasons import Reason
from rte_server.engine.settings import EngineSettings
from rte_server.engine.table import Capacity
from rte_server.models import load_models, load_pack
from tests.engine import comparable
from tests.engine.brute_force import APPROXIMATE, DISTINCT_KEEP, attributes_of, derive_again, distinct_error_max
from tests.engine.comparable import differences
from tests.engine.pair import messages, new_engine
from tests.engine.recorded import Row, read_rows, requests, shuffled, visits
from tests.engine.strategies import START_MS

NOT_HERE = ("funnel", "affinity")
"""Models of kinds that the twin is compared with, `twin_keyed`: brute force does not repeat them."""
PACKS = tuple(load_models([name for name in load_pack("retail").uses if name not in NOT_HERE]))
ROOMY = Capacity(
    sessions_max=16_384,
    dedup_events_max=524_288,
    strings_max=131_072,
    string_bytes_max=16_777_216,
    written_sessions_max=64,
)
DAY_MS = 86_400_000
VISITS = {"ecom_events_dev": 2_704, "wiki_edits_dev": 9_858, "retail_orders_dev": 12_454}

State = dict[str, list[dict[str, object]]]


def feed(engine: Engine, rows: Iterable[Row], received_ms: int) -> dict[str, int]:
    """Send rows as a server would take them: scan, cut out what is refused, fold. Return how many were what."""
    counts = {"accepted": 0, "refused": 0}
    for request in requests(rows):
        scanned = engine.scan(request, received_ms)
        for _, reason, field, _ in scanned.verdicts(5_000):
            assert (reason, field) == (Reason.FIELD_MISSING, "visitor_id")
        engine.apply(engine.position + 1, Entry(EntryType.EVENTS, received_ms, scanned.accepted_body()), scanned)
        counts["refused"] += scanned.rejected_count
        counts["accepted"] += scanned.event_count - scanned.rejected_count
    return counts


def shown(engine: Engine) -> State:
    """Return all sessions of an engine, by visitor and in order of time."""
    state: State = {}
    for message in messages(engine):
        session = Session.FromString(message)
        state.setdefault(session.visitor_id, []).append(
            {
                "start_ms": session.start_time.ToMilliseconds(),
                "last_ms": session.last_event_time.ToMilliseconds(),
                "event_count": session.event_count,
                "visit_number": session.visit_number,
                "attributes": comparable.of_struct(session.attributes, APPROXIMATE),
            }
        )
    for rows in state.values():
        rows.sort(key=lambda row: str(row["start_ms"]))
    return state


def expected(rows: list[Row]) -> State:
    """Return the same by brute force."""
    return {
        visitor_id: [
            {
                "start_ms": visit[0].time_ms,
                "last_ms": visit[-1].time_ms,
                "event_count": len(visit),
                "visit_number": number,
                "attributes": {name: _rounded(name, value) for name, value in attributes_of(visit, number).items()},
            }
            for number, visit in enumerate(cut, 1)
        ]
        for visitor_id, cut in visits(rows).items()
    }


def _rounded(name: str, value: object) -> object:
    if name in APPROXIMATE:
        return f"about {value:.11g}"
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def settle_sketches(found: State, wanted: State) -> None:
    """Check the distinct counts that are estimates against their bound, and take them over where they hold it."""
    for visitor_id, sessions in wanted.items():
        for place, session in enumerate(sessions):
            true_values, shown_values = session["attributes"], found[visitor_id][place]["attributes"]
            assert isinstance(true_values, dict) and isinstance(shown_values, dict)
            for name in DISTINCT_KEEP:
                error = abs(shown_values[name] - true_values[name])
                assert error <= distinct_error_max(name, int(true_values[name])), (visitor_id, name, true_values[name])
                true_values[name] = shown_values[name]
            derive_again(true_values)


def roomy_engine() -> Engine:
    """Return an engine with the packs and the default settings, that can hold every visit of a data set."""
    return new_engine(PACKS, EngineSettings(max_length_ms=0), ROOMY)


@pytest.mark.parametrize("name", VISITS)
def test_recorded_events_give_the_visits_and_attributes_of_brute_force(name: str) -> None:
    """In order, shuffled within the lateness horizon, and sent twice: the state is that of brute force."""
    rows = read_rows(f"{name}.csv.gz")
    received_ms = START_MS  # the clock of an engine never goes back behind its CONFIGURE entry
    wanted = expected(rows)
    assert sum(map(len, wanted.values())) == VISITS[name]
    anonymous = sum(not row.visitor_id for row in rows)

    engine = roomy_engine()
    assert feed(engine, rows, received_ms) == {"accepted": len(rows) - anonymous, "refused": anonymous}
    found = shown(engine)
    settle_sketches(found, wanted)
    assert differences(found, wanted)[:20] == []

    feed(engine, rows, received_ms)
    assert differences(shown(engine), wanted)[:20] == []

    other = roomy_engine()
    feed(other, shuffled(rows, DAY_MS), received_ms)
    assert other.stats()["events_late"] == 0
    assert differences(shown(other), wanted)[:20] == []
