"""The laws of every kind of attribute: its cells are a commutative monoid, and show what all events together say.

The samples below are the register: a kind without one fails the first test, so no kind goes without its laws.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from google.protobuf.struct_pb2 import Struct
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from rte.v1.event_pb2 import Event
from rte_server.engine.context import ATTRIBUTES, PARAMS, span_in
from rte_server.engine.encode import put_attributes
from rte_server.engine.engine import Engine
from rte_server.engine.entries import Entry, EntryType
from rte_server.engine.kernel import kernel
from rte_server.engine.kinds import due_ms, has_times, refresh_ms
from rte_server.engine.native import span_of
from rte_server.engine.program import A_WORDS, Kind, ModelSpec
from rte_server.engine.row_values import merge_cells
from rte_server.engine.settings import EngineSettings
from rte_server.engine.table import EVENTS, FIRST_POSITION, HEADER_WORDS, LAG, LAST, NEVER_MS, START
from tests.engine import comparable
from tests.engine.attribute_samples import SPECS
from tests.engine.pair import new_engine
from tests.engine.strategies import START_MS, Batch, event_lists, split
from tests.engine.twin import Rules, Twin

COMPUTED = {Kind.DERIVED, Kind.LINEAR, Kind.ONLINE, Kind.SCORE, Kind.WRITTEN, Kind.TRIGGER, Kind.CUSTOMER}
"""Kinds whose cells are not lifted from events: they follow from others, are written by applications, come from the data
mart (see `test_twin_engine`), or are marks of what was told (see `test_triggers`)."""

DAY_MS = 86_400_000
SETTINGS = EngineSettings(gap_ms=DAY_MS, lateness_ms=DAY_MS, closed_retention_ms=DAY_MS)
PLAIN = tuple(spec for spec in SPECS if spec.kind not in COMPUTED)
ROUNDED = frozenset(spec.name for spec in PLAIN if spec.kind in comparable.ROUNDED_KINDS)
"""Samples whose values go through functions whose last digits may differ between libraries."""

Attributes = dict[str, object]


@kernel
def _merge(context: NDArray[np.int64], into: NDArray[np.int64], other: NDArray[np.int64]) -> None:
    merge_cells(span_of(context), span_of(into), span_of(other))


@kernel
def _show(
    context: NDArray[np.int64],
    cells: NDArray[np.int64],
    chosen: NDArray[np.uint8],
    time_ms: int,
    out: NDArray[np.uint8],
) -> int:
    at: int = put_attributes(span_of(out), 0, span_of(context), span_of(cells), span_of(chosen), time_ms)
    return at


@kernel
def _due_ms(context: NDArray[np.int64], cells: NDArray[np.int64], number: int, time_ms: int) -> int:
    ctx = span_of(context)
    attribute = (span_in(ctx, ATTRIBUTES)[0] + number * A_WORDS * 8, A_WORDS)
    due: int = due_ms(span_of(cells), attribute, span_in(ctx, PARAMS), time_ms)
    return due


def merged(engine: Engine, *rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the first row with the others merged in, one after the other: their cells, and when they began and ended."""
    into = rows[0].copy()
    for other in rows[1:]:
        _merge(engine._state.context, into, other)
    held = [row for row in rows if row[EVENTS]]
    into[EVENTS] = sum(int(row[EVENTS]) for row in held)
    into[START] = min((int(row[START]) for row in held), default=0)
    into[LAST] = max((int(row[LAST]) for row in held), default=0)
    return into


def shown(engine: Engine, row: NDArray[np.int64], time_ms: int) -> Attributes:
    """Return what the cells of a row show at a session's time."""
    out = np.zeros(1 << 20, np.uint8)
    chosen = np.ones(len(engine.program.attributes), np.uint8)
    size = _show(engine._state.context, row, chosen, time_ms, out)
    return comparable.of_struct(Struct.FromString(out[:size].tobytes()), ROUNDED)


def folded(
    engine: Engine, visitor_id: str, events: Sequence[Event], batches: Sequence[Batch] = ()
) -> NDArray[np.int64]:
    """Fold events as those of one visitor; return the row of the session, zeros where there are none."""
    for batch in batches or [Batch(tuple(events))]:
        mine = [Event.FromString(event.SerializeToString()) for event in batch.events]
        for event in mine:
            event.visitor_id = visitor_id
        if mine:
            entry = Entry(EntryType.EVENTS, START_MS, Batch(tuple(mine)).wire())
            engine.apply(engine.position + 1, entry)
    found = engine.copied(engine.find_visitor, visitor_id)
    return found.cells if found is not None else np.zeros(engine.program.row_words, np.int64)


def cells_of(row: NDArray[np.int64]) -> list[int]:
    """Return the words of the attributes of a row."""
    return [int(word) for word in row[HEADER_WORDS:]]


def test_every_kind_has_samples() -> None:
    """No kind of attribute can be added without samples on which its laws are tested."""
    missing = set(Kind) - COMPUTED - {spec.kind for spec in SPECS}
    assert not missing, f"add samples to tests/engine/attribute_samples.py for {missing}"


@pytest.mark.parametrize("kind", sorted({spec.kind for spec in PLAIN}), ids=lambda kind: Kind(kind).name)
@given(
    events=event_lists(), places=st.lists(st.integers(0, 2), min_size=24, max_size=24), passed_ms=st.integers(0, 9000)
)
def test_cells_are_a_commutative_monoid(kind: Kind, events: list[Event], places: list[int], passed_ms: int) -> None:
    """Merge is associative and commutative, zeros are its identity, and the parts merged are the whole: cell by cell."""
    engine = engine_of(kind)
    parts = [[event for event, place in zip(events, places, strict=False) if place == part] for part in range(3)]
    a, b, c = (folded(engine, f"part-{part}", parts[part]) for part in range(3))
    whole = folded(engine, "whole", events)
    nothing = np.zeros_like(a)
    assert cells_of(merged(engine, a, nothing)) == cells_of(a) == cells_of(merged(engine, nothing, a))
    assert cells_of(merged(engine, a, b)) == cells_of(merged(engine, b, a))
    left = merged(engine, merged(engine, a, b), c)
    right = merged(engine, a, merged(engine, b, c))
    assert cells_of(left) == cells_of(right) == cells_of(whole)
    time_ms = int(whole[LAST]) + passed_ms
    assert shown(engine, left, time_ms) == shown(engine, whole, time_ms)


@pytest.mark.parametrize("kind", sorted({spec.kind for spec in PLAIN}), ids=lambda kind: Kind(kind).name)
@given(events=event_lists(), drawn=st.data(), passed_ms=st.integers(0, 9000))
def test_arrival_does_not_matter_and_the_twin_agrees(
    kind: Kind, events: list[Event], drawn: st.DataObject, passed_ms: int
) -> None:
    """Shuffled, split and repeated events give the cells of orderly ones, which show what brute force computes."""
    specs = [spec for spec in PLAIN if spec.kind == kind]
    engine, other = engine_of(kind), engine_of(kind)
    ordered = sorted(events, key=lambda event: (event.event_time.ToMilliseconds(), int(event.event_id)))
    row = folded(engine, "v", ordered)
    batches = drawn.draw(split(drawn.draw(st.permutations(events))))
    again = folded(other, "v", (), [*batches, *batches])
    assert cells_of(again) == cells_of(row)
    assert (again[LAG], again[FIRST_POSITION]) == (row[LAG], row[FIRST_POSITION])
    twin = Twin(specs, Rules(gap_ms=DAY_MS, lateness_ms=DAY_MS))
    for event in events:
        event.visitor_id = "v"
    twin.apply(2, Entry(EntryType.EVENTS, START_MS, Batch(tuple(events)).wire()))
    twin.clock_ms = START_MS + passed_ms
    (session,) = twin.state()["v"]
    time_ms = max(twin.clock_ms - int(row[LAG]), int(row[LAST]))
    attributes = session["attributes"]
    assert isinstance(attributes, dict)
    different = comparable.differences(shown(engine, row, time_ms), comparable.of_mapping(attributes, ROUNDED))
    assert not different, "\n".join(different)


@pytest.mark.parametrize(
    "kind", sorted({spec.kind for spec in PLAIN if has_times(spec)}), ids=lambda kind: Kind(kind).name
)
@given(events=event_lists(), passed_ms=st.integers(0, 3000))
def test_values_change_only_when_they_are_due(kind: Kind, events: list[Event], passed_ms: int) -> None:
    """Up to the time that a kind says, its value stays what it is; past the last such time, nothing changes any more."""
    engine = engine_of(kind)
    row = folded(engine, "v", events)
    for number, spec in enumerate(engine.program.attributes):
        if refresh_ms(spec) > 0:
            continue  # It changes all the time.
        time_ms = int(row[LAST]) + passed_ms
        value = shown(engine, row, time_ms).get(spec.name)
        while (due := _due_ms(engine._state.context, row, number, time_ms)) != NEVER_MS:
            assert due > time_ms
            assert shown(engine, row, due - 1).get(spec.name) == value
            time_ms, value = due, shown(engine, row, due).get(spec.name)
        assert shown(engine, row, time_ms + DAY_MS).get(spec.name) == value


def engine_of(kind: Kind) -> Engine:
    """Return a new engine that computes the samples of one kind."""
    specs = tuple(spec for spec in PLAIN if spec.kind == kind)
    return new_engine([ModelSpec("laws", 1, "", (), "", specs)], SETTINGS)
