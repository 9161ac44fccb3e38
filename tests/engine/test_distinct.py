"""Distinct counts beyond the number up to which they are exact: the laws hold, and the estimate is near."""

from __future__ import annotations

import math
import random

import pytest

from rte.v1.event_pb2 import Event
from rte_server.engine.exactness import exactness
from rte_server.engine.expressions import Instruction, Op
from rte_server.engine.program import AttributeSpec, Kind, ModelSpec
from rte_server.engine.table import LAST
from tests.engine.pair import new_engine
from tests.engine.strategies import START_MS
from tests.engine.test_laws import SETTINGS, cells_of, folded, merged, shown

VALUE = (Instruction(Op.LOAD, name="item_id"),)
SPECS = tuple(AttributeSpec(f"d{keep}", "laws", Kind.DISTINCT, "int", value=VALUE, keep=keep) for keep in (8, 32, 256))


def _events(random_: random.Random, different: int) -> list[Event]:
    events = []
    for number in range(1, 2 * different + 1):
        event = Event(event_id=str(number), name="view_item")
        event.event_time.seconds = START_MS // 1000
        event.properties["item_id"] = f"SKU-{number if number <= different else random_.randint(1, different)}"
        events.append(event)
    random_.shuffle(events)
    return events


@pytest.mark.parametrize("different", [8, 9, 33, 150, 400])
def test_laws_and_error_beyond_the_exact_count(different: int) -> None:
    """Cells of any parts merge to that of the whole, in any order; the estimate is within five standard errors."""
    random_ = random.Random(different)
    events = _events(random_, different)
    engine = new_engine([ModelSpec("laws", 1, "", (), "", SPECS)], SETTINGS)
    cuts = sorted(random_.sample(range(len(events)), 2))
    parts = [events[: cuts[0]], events[cuts[0] : cuts[1]], events[cuts[1] :]]
    a, b, c = (folded(engine, f"part-{number}", part) for number, part in enumerate(parts))
    whole = folded(engine, "whole", events)
    assert cells_of(merged(engine, merged(engine, a, b), c)) == cells_of(merged(engine, a, merged(engine, c, b)))
    assert cells_of(merged(engine, c, b, a)) == cells_of(whole) == cells_of(folded(engine, "again", events[::-1]))
    found = shown(engine, whole, int(whole[LAST]))
    for spec in SPECS:
        error = 0.0 if different <= spec.keep else 5 * exactness(spec, {}).error * different + 1
        count = found[spec.name]
        assert isinstance(count, float)
        assert math.fabs(count - different) <= error, spec.name
