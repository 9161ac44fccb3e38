"""Recorded data: every visit and every attribute of the shipped packs equals brute force over the same rows."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from rte.v1.session_pb2 import Session
from rte_server.engine.engine import Engine
from rte_server.engine.entries import Entry, EntryType
from rte_server.engine.reasons import Reason
from rte_server.engine.settings import EngineSettings
from rte_server.engine.table import Capacity
from rte_server.models import load_models
from tests.engine import comparable
from tests.engine.brute_force import (
    APPROXIMATE,
    DISTINCT_KEEP,
    STEP_KEEP,
    TOP_KEEP,
    TOP_OF,
    TOPS,
    attributes_of,
    derive_again,
    distinct_error_max,
    step_counts,
    weights_of,
)
from tests.engine.comparable import differences
from tests.engine.pair import messages, new_engine
from tests.engine.recorded import Row, read_rows, requests, shuffled, visits
from tests.engine.strategies import START_MS

PACKS = tuple(load_models(["retail"]))
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


def settle(found: State, wanted: State, rows: list[Row]) -> None:
    """Check what is not exact, or has no stated order, against its bound, and take it over where it holds it."""
    cut = visits(rows)
    for visitor_id, sessions in wanted.items():
        for place, session in enumerate(sessions):
            true_values, shown_values = session["attributes"], found[visitor_id][place]["attributes"]
            assert isinstance(true_values, dict) and isinstance(shown_values, dict)
            settle_sketches(shown_values, true_values)
            visit = cut[visitor_id][place]
            for name, by in TOPS.items():
                settle_top(name, weights_of(visit, by), shown_values, true_values)
            if max(step_counts(visit)) > STEP_KEEP:
                settle_way(shown_values, true_values)


def settle_sketches(shown_values: dict[str, Any], true_values: dict[str, Any]) -> None:
    """Settle the distinct counts, and what follows from them."""
    for name in DISTINCT_KEEP:
        error = abs(shown_values[name] - true_values[name])
        assert error <= distinct_error_max(name, int(true_values[name])), (name, true_values[name])
        true_values[name] = shown_values[name]
    derive_again(true_values)


def settle_top(
    name: str, weights: dict[float | str, int], shown_values: dict[str, Any], true_values: dict[str, Any]
) -> None:
    """Settle a top: the order of equal weights, and beyond TOP_OF values which ones are in the sample."""
    if not weights:
        return
    listed = shown_values[name]
    assert [weights[line["value"]] for line in listed] == [line["weight"] for line in listed], name
    heaviest = sorted(weights.values(), reverse=True)[:TOP_KEEP]
    if len(weights) <= TOP_OF:
        assert [line["weight"] for line in listed] == heaviest, name
    else:
        assert len(listed) == TOP_KEEP and listed[0]["weight"] >= listed[-1]["weight"], name
        assert heaviest[0] / sum(weights.values()) <= shown_values[f"{name}.share"] * heaviest[0] / listed[0]["weight"]
        true_values[f"{name}.share"] = shown_values[f"{name}.share"]
    true_values[name] = listed
    true_values[f"{name}.first"] = listed[0]["value"]
    true_values[f"{name}.weight"] = listed[0]["weight"]


def settle_way(shown_values: dict[str, Any], true_values: dict[str, Any]) -> None:
    """Settle the stages of a visit that repeated a step more often than is kept: they are never more than the true ones."""
    assert shown_values["checkout.furthest"] <= true_values["checkout.furthest"]
    assert shown_values["checkout.stage"] <= max(true_values["checkout.stage"], true_values["checkout.furthest"])
    for name in ("stage", "furthest", "completed", "step_times", "time_left_s"):
        true_values.pop(f"checkout.{name}", None)
        if f"checkout.{name}" in shown_values:
            true_values[f"checkout.{name}"] = shown_values[f"checkout.{name}"]


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
    settle(found, wanted, rows)
    assert differences(found, wanted)[:20] == []

    feed(engine, rows, received_ms)
    assert differences(shown(engine), wanted)[:20] == []

    other = roomy_engine()
    feed(other, shuffled(rows, DAY_MS), received_ms)
    assert other.stats()["events_late"] == 0
    assert differences(shown(other), wanted)[:20] == []
