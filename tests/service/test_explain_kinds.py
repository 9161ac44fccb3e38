"""Every kind of attribute is explained, by the samples on which its laws are tested."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rte.v1.event_pb2 import Event
from rte.v1.session_explanation_pb2 import ExplainedEvent
from rte_server.engine.kinds import changes_with_time
from rte_server.engine.program import Kind, ModelSpec
from rte_server.engine.settings import EngineSettings
from rte_server.service.explain.stories import UNKNOWN
from rte_server.service.explain.values import same
from tests.engine.attribute_samples import SPECS
from tests.engine.strategies import START_MS, event_lists
from tests.service.explaining import Explaining, refolded

COMPUTED = (Kind.DERIVED, Kind.LINEAR, Kind.TRIGGER, Kind.WRITTEN)
SAMPLES = tuple(spec for spec in SPECS if spec.kind not in COMPUTED)
MODELS = [ModelSpec("sample", 1, "", (), "model: sample\n", SAMPLES)]
KINDS = sorted({spec.kind for spec in SAMPLES})
DAY_MS = 86_400_000
SETTINGS = EngineSettings(gap_ms=DAY_MS, lateness_ms=DAY_MS, closed_retention_ms=DAY_MS)
BEHIND = (ExplainedEvent.OUTCOME_CONTRIBUTED, ExplainedEvent.OUTCOME_REDUNDANT)


@pytest.fixture(scope="module")
def explaining(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Explaining]:
    """What explains, with a sample of every kind."""
    made = Explaining(tmp_path_factory.mktemp("data") / "data", MODELS, START_MS + 10_000, settings=SETTINGS)
    yield made
    made.close()


def take(explaining: Explaining, events: list[Event]) -> str:
    """Take the events as those of a new visitor, in two batches; return the visitor."""
    visitor_id = f"v-{explaining.engine.position}"
    for event in events:
        event.visitor_id = visitor_id
    half = len(events) // 2
    explaining.send(*events[:half])
    explaining.send(*events[half:])
    return visitor_id


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: Kind(kind).name)
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(events=event_lists(8), passed_ms=st.integers(0, 4_000))
def test_what_each_event_did_is_true(explaining: Explaining, kind: Kind, events: list[Event], passed_ms: int) -> None:
    """The explained value is the session's; an event contributed if and only if a fold without it gives another."""
    visitor_id = take(explaining, events)
    explaining.now_ms += passed_ms
    known = {event.event_id: event for event in events}
    value = explaining.values(visitor_id)
    for spec in (spec for spec in SAMPLES if spec.kind == kind):
        found = explaining.explain(visitor_id, spec.name)
        assert found.events.complete and not found.events.difference, (spec.name, found.events)
        assert same(found.value if found.HasField("value") else None, value.get(spec.name))
        assert same(
            found.events.refolded_value if found.events.HasField("refolded_value") else None, value.get(spec.name)
        )
        for explained in found.events.events:
            if explained.outcome == ExplainedEvent.OUTCOME_WITHOUT_EFFECT:
                assert explained.reason not in ("", UNKNOWN), spec.name
            if len(known) == 1 or changes_with_time(spec):
                continue  # The session's time is another one without the event: `test_session_parts` does this for them.
            rest = [event for event_id, event in known.items() if event_id != explained.event_id]
            without = refolded(MODELS, SETTINGS, [(START_MS, rest)], START_MS)[visitor_id].get(spec.name)
            is_same = same(without, value.get(spec.name))
            assert is_same == (explained.outcome != ExplainedEvent.OUTCOME_CONTRIBUTED), (spec.name, explained)


@pytest.mark.parametrize("kind", [Kind.COUNT, Kind.SUM], ids=lambda kind: Kind(kind).name)
@settings(max_examples=40, deadline=None)
@given(events=event_lists(12))
def test_counts_and_sums_are_their_contributions(explaining: Explaining, kind: Kind, events: list[Event]) -> None:
    """The contributions to a count or a sum add up to its value."""
    visitor_id = take(explaining, events)
    for spec in (spec for spec in SAMPLES if spec.kind == kind):
        found = explaining.explain(visitor_id, spec.name)
        total = sum(each.contribution.number_value for each in found.events.events)
        assert total == pytest.approx(found.value.number_value, rel=1e-9, abs=1e-3)


def test_an_absence_says_what_it_waits_for(tmp_path: Path) -> None:
    """A value that changes without an event says when it does, and what must not come before."""
    with closing(Explaining(tmp_path / "data", MODELS, START_MS, settings=SETTINGS)) as explaining:
        _check_absence(explaining)


def _check_absence(explaining: Explaining) -> None:
    event = Event(event_id="1", name="view_item")
    event.event_time.FromMilliseconds(START_MS)
    visitor_id = take(explaining, [event])
    found = explaining.explain(visitor_id, "waits")
    assert found.value.bool_value is False
    assert found.timer.change_time.ToMilliseconds() == START_MS + 700
    assert found.timer.waits_for == (
        "it turns true when 700ms have passed since the latest `view_item` or `add_to_cart`, unless `purchase` comes"
    )
    explaining.now_ms += 700
    found = explaining.explain(visitor_id, "waits")
    assert found.value.bool_value is True
    assert not found.timer.HasField("change_time")
    assert found.timer.waits_for.startswith("700ms have passed since the latest")
    assert [each.outcome for each in found.events.events] == [ExplainedEvent.OUTCOME_CONTRIBUTED]
    later = Event(event_id="2", name="purchase")
    later.event_time.FromMilliseconds(START_MS + 600)
    later.visitor_id = visitor_id
    explaining.send(later)
    found = explaining.explain(visitor_id, "waits")
    assert found.value.bool_value is False
    assert found.timer.waits_for == ("it waits for `view_item` or `add_to_cart`; after the latest one `purchase` came")
    assert {each.event_id: each.outcome for each in found.events.events}["2"] in BEHIND
