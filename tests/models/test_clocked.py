"""TICKs come when something is due, as those of a server whose clock is looked at every millisecond."""

from __future__ import annotations

import json
import random

import pytest

from rte.v1.event_pb2 import Event
from rte_server.engine.engine import Engine
from rte_server.engine.entries import Entry, EntryType
from rte_server.models import compile_model, compile_models, configuration_of
from rte_server.models.clocked import ClockedFold
from rte_server.models.facts import fold_request
from tests.engine.pair import SMALL
from tests.engine.strategies import SECRET, START_MS, Batch

MODEL = """
model: due
attributes:
  lately: {count: look, window: 2s, tiles: 2}
  waits:  {absence: look, for: 700ms}
derived:
  busy: lately > 2
triggers:
  left:  {when: lately < 5, quiet_for: 1s, once_per: quiet}
  burst: {when: busy}
"""
SETTINGS = {"gap_ms": 3_000, "closed_retention_ms": 2_000}


@pytest.mark.parametrize("seed", range(4))
def test_ticks_come_when_something_is_due(seed: int) -> None:
    """The same TICKs at the same times, and the same sessions in the end, as by asking at every millisecond."""
    model = compile_model(MODEL, "due.yaml", {})
    body = json.dumps({"settings": SETTINGS, **configuration_of([model])}).encode()
    engines = [Engine(SECRET, compile_models, SMALL) for _ in range(2)]
    fold = ClockedFold(engines[0])
    fold.entry(Entry(EntryType.CONFIGURE, START_MS, body))
    engines[1].apply(1, Entry(EntryType.CONFIGURE, START_MS, body))
    rng = random.Random(seed)
    at_ms = START_MS
    for number in range(40):
        before_ms, at_ms = at_ms, at_ms + rng.choice((0, 1, 40, 300, 900, 2_500))
        event = Event(event_id=f"e-{number}", name="look", visitor_id=rng.choice("abc"))
        event.event_time.FromMilliseconds(at_ms - rng.choice((0, 0, 500)))
        request = Batch((event,)).wire()
        fold.events(at_ms, request)
        for now_ms in range(before_ms, at_ms + 1):
            if engines[1].due_count(now_ms):
                engines[1].apply(engines[1].position + 1, Entry(EntryType.TICK, now_ms, b""))
        fold_request(engines[1], at_ms, request)
        assert engines[0].position == engines[1].position, number
    shown = [engine.encode(engine.rows_in_use(), now_ms=at_ms) for engine in engines]
    assert sorted(shown[0]) == sorted(shown[1])
