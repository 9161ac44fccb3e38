"""Sequences beyond what is kept of their steps: never more is shown than what happened."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rte.v1.event_pb2 import Event
from rte_server.engine.program import AttributeSpec, Kind, ModelSpec, Role
from rte_server.engine.table import LAST
from tests.engine import twin_keyed
from tests.engine.keyed_samples import part_specs
from tests.engine.pair import new_engine
from tests.engine.strategies import START_MS
from tests.engine.test_laws import SETTINGS, cells_of, folded, merged, shown

STEPS = ("a", "b", "c")
NOT = "n"


def _spec(within_ms: int, optional: int, keep: int) -> tuple[AttributeSpec, ...]:
    roles = tuple(Role(step, (name,), needs_value=False) for step, name in enumerate((*STEPS, NOT)) if step)
    owner = AttributeSpec(
        "run",
        "laws",
        Kind.SEQUENCE,
        "int",
        events=("a",),
        keep=keep,
        params=(within_ms, 3, optional, 1),
        roles=roles,
    )
    return owner, *part_specs(owner)


def _event(number: int, name: str, at_ms: int) -> Event:
    event = Event(event_id=str(number), name=name)
    event.event_time.seconds, milliseconds = divmod(START_MS + at_ms, 1000)
    event.event_time.nanos = milliseconds * 1_000_000
    return event


@st.composite
def _histories(draw: st.DrawFn) -> list[Event]:
    """Draw up to 60 events in a few milliseconds, so that every step is forgotten now and then."""
    names = draw(st.lists(st.sampled_from("aaabbccn"), min_size=8, max_size=60))
    numbers = draw(st.permutations(range(1, len(names) + 1)))
    steps = draw(st.lists(st.integers(0, 4), min_size=len(names), max_size=len(names)))
    events = []
    at_ms = 0
    for number, name, step in zip(numbers, names, steps, strict=True):
        at_ms += step
        events.append(_event(number, name, at_ms))
    return events


@pytest.mark.parametrize("within_ms", [0, 12])
@pytest.mark.parametrize("optional", [0, 0b010])
@pytest.mark.parametrize("keep", [1, 4])
@given(events=_histories(), passed_ms=st.integers(0, 14), cut=st.integers(0, 60))
def test_what_is_forgotten_never_adds_a_step(
    within_ms: int, optional: int, keep: int, events: list[Event], passed_ms: int, cut: int
) -> None:
    """However often steps occur: stages are at most the true ones, and the cell is the merged one of any two parts."""
    specs = _spec(within_ms, optional, keep)
    engine = new_engine([ModelSpec("laws", 1, "", (), "", specs)], SETTINGS)
    row = folded(engine, "v", events)
    parts = merged(engine, folded(engine, "left", events[:cut]), folded(engine, "right", events[cut:]))
    assert cells_of(parts) == cells_of(row)
    keys = {name: [_key(event) for event in events if event.name == name] for name in (*STEPS, NOT)}
    time_ms = max(key[0] for each in keys.values() for key in each) + passed_ms
    assert int(row[LAST]) <= time_ms
    found = shown(engine, row, time_ms)
    steps = [keys[name] for name in STEPS]
    true = {spec.name: twin_keyed.sequence(steps, keys[NOT], spec, time_ms) for spec in specs}
    for name in ("run", "run.furthest", "run.completed"):
        assert found[name] <= true[name], name  # type: ignore[operator]
    if all(len(each) <= 2 + keep for each in keys.values()):
        assert {name: found.get(name) for name in true} == {
            name: value or None if isinstance(value, list) else value for name, value in true.items()
        }


def _key(event: Event) -> twin_keyed.Key:
    return event.event_time.ToMilliseconds(), (int(event.event_id),)
