"""Marks: what is derived is the same as if all of it were computed anew after each entry."""

from __future__ import annotations

import numpy as np
import pytest

from rte_server.engine.engine import Engine
from rte_server.engine.entries import Entry, EntryType
from rte_server.engine.expressions import Instruction, Op
from rte_server.engine.fold import refresh_rows
from rte_server.engine.marks import Marks
from rte_server.engine.program import MARK_NEW, MARK_TIME, MARKS_MAX, PASSING_MAX, AttributeSpec, Kind
from rte_server.engine.table import HEADER_WORDS, HIGH_WATER, STALE, Capacity
from tests.bench.engine_part import engine_fold, new_engine
from tests.bench.workload import make_workload


def _count(name: str) -> AttributeSpec:
    return AttributeSpec(name, "m", Kind.COUNT, "int", events=(name,))


def _absence(name: str) -> AttributeSpec:
    return AttributeSpec(name, "m", Kind.ABSENCE, "bool", events=(name,), params=(1000,))


def _derived(name: str, *read: str) -> AttributeSpec:
    loads = tuple(Instruction(Op.LOAD, name=each) for each in read)
    return AttributeSpec(name, "m", Kind.DERIVED, "int", code=loads)


def _marks(*specs: AttributeSpec) -> Marks:
    return Marks(specs, {spec.name: number for number, spec in enumerate(specs)})


def _derived_cells(engine: Engine) -> np.ndarray:
    """Return the cells in the core of all rows: those of what is derived are among them."""
    table = engine._state.table
    return table.rows[: table.counts[HIGH_WATER], HEADER_WORDS:].copy()


@pytest.mark.parametrize("batch_events", [1, 40])
def test_what_is_derived_equals_what_is_computed_anew(batch_events: int) -> None:
    """After events in and out of order, and with time passing, no derived cell of the packs is behind its inputs."""
    workload = make_workload(2_000, 60, batch_events)
    requests = workload.requests
    # Some come late, so that sessions begin earlier, get other numbers, and merge.
    for i in range(0, len(requests) - 9, 10):
        requests[i], requests[i + 9] = requests[i + 9], requests[i]
    engine = new_engine(Capacity(4096, 8192, 8192, 1 << 20, 64, 64))
    fold = engine_fold(engine)
    for i, (request, received_ms) in enumerate(zip(requests, workload.received_ms, strict=True)):
        fold(request, received_ms)
        if i % max(1, 400 // batch_events) == 0:
            # Some sessions have been idle by then, but not for so long that a trigger computes all anew.
            later_ms = (received_ms // 1000 + 150) * 1000
            engine.apply(engine.position + 1, Entry(EntryType.TICK, later_ms, b""))
            found = _derived_cells(engine)
            engine._state.table.rows[:, STALE] |= 1
            refresh_rows(engine._state.context)
            np.testing.assert_array_equal(found, _derived_cells(engine))


def test_inputs_with_the_same_readers_share_a_mark() -> None:
    """What the same attributes read has one mark; each waits for the marks of what it reads, and for being new."""
    a, b, c, d = _count("a"), _count("b"), _count("c"), _count("d")
    marks = _marks(a, b, c, d, _derived("x", "a", "b"), _derived("y", "c"))
    assert marks.of_attribute(a) == marks.of_attribute(b) != marks.of_attribute(c)
    assert marks.of_attribute(d) == 0
    assert marks.read_by(_derived("x", "a", "b")) == marks.of_attribute(a) | int(MARK_NEW)


def test_more_inputs_than_marks_share_them() -> None:
    """Every reader finds its input's mark, however many there are, and none is one of those with a meaning of their own."""
    counts = [_count(f"c{n}") for n in range(3 * MARKS_MAX)]
    readers = [_derived(f"d{n}", f"c{n}") for n in range(3 * MARKS_MAX)]
    marks = _marks(*counts, *readers)
    for count, reader in zip(counts, readers, strict=True):
        assert marks.of_attribute(count) & marks.read_by(reader) != 0
        assert not marks.of_attribute(count) & int(MARK_TIME | MARK_NEW)


def test_inputs_that_pass_beyond_the_bits_of_a_row_count_as_changing_all_the_time() -> None:
    """A row has a bit for so many inputs that change at certain times; what reads another one is computed each time."""
    absences = [_absence(f"a{n}") for n in range(PASSING_MAX + 1)]
    readers = [_derived(f"d{n}", f"a{n}") for n in range(PASSING_MAX + 1)]
    marks = _marks(*absences, *readers)
    assert len(marks.passing) == PASSING_MAX
    assert [marks.read_by(reader) & int(MARK_TIME) != 0 for reader in readers] == [False] * PASSING_MAX + [True]
