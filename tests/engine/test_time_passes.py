"""What happens to sessions while no event comes: when the engine wants a TICK, and what one does."""

from __future__ import annotations

import itertools

import pytest

from rte.v1.event_pb2 import Event
from rte.v1.session_pb2 import Session
from rte_server.engine import engine as engine_module
from rte_server.engine.engine import Engine
from rte_server.engine.entries import Entry, EntryType
from rte_server.engine.expressions import Instruction, Op
from rte_server.engine.kinds import BORDER_MS
from rte_server.engine.program import AttributeSpec, Kind, ModelSpec
from rte_server.engine.settings import EngineSettings
from tests.engine.attribute_samples import load
from tests.engine.pair import new_engine
from tests.engine.strategies import START_MS, Batch

TILE_MS = 30_000
LATELY = AttributeSpec("lately", "time", Kind.WINDOW_COUNT, "int", params=(TILE_MS, 4))
MANY = (*load("lately"), Instruction(Op.INT, number=1), Instruction(Op.GREATER))
IS_MANY = AttributeSpec("is_many", "time", Kind.DERIVED, "bool", code=MANY)
IDLE = (*load("session.idle_s"), Instruction(Op.DOUBLE, number=60.0), Instruction(Op.GREATER))
IS_IDLE = AttributeSpec("is_idle", "time", Kind.DERIVED, "bool", code=IDLE)


def engine_with(*specs: AttributeSpec) -> Engine:
    """Return an engine with these attributes."""
    return new_engine([ModelSpec("time", 1, "", (), "", specs)], EngineSettings())


def send(engine: Engine, at_ms: int, *visitor_ids: str) -> None:
    """Fold an event of each visitor, received when it happened."""
    events = [Event(name="page_view", visitor_id=visitor_id) for visitor_id in visitor_ids]
    for event in events:
        event.event_time.FromMilliseconds(at_ms)
    engine.apply(engine.position + 1, Entry(EntryType.EVENTS, at_ms, Batch(tuple(events)).wire()))


def tick(engine: Engine, at_ms: int) -> int:
    """Fold a TICK; return how many sessions it changed."""
    return len(engine.apply(engine.position + 1, Entry(EntryType.TICK, at_ms, b"")).rows)


def shown(engine: Engine, visitor_id: str, now_ms: int) -> dict[str, object]:
    """Return the attributes of a visitor's session."""
    return dict(Session.FromString(engine.get(engine.find_visitor, visitor_id, now_ms=now_ms)).attributes.items())


def dues(engine: Engine, until_ms: int, step_ms: int = 500) -> list[int]:
    """Let time pass in steps; return when there were TICKs, milliseconds after START_MS."""
    seen = []
    for at_ms in range(START_MS, until_ms, step_ms):
        if engine.due_count(at_ms):
            tick(engine, at_ms)
            seen.append(at_ms - START_MS)
    return seen


def test_a_window_is_computed_anew_when_a_tile_leaves() -> None:
    """Readers see the value of their time; what is derived and watchers follow at the next whole second."""
    engine = engine_with(LATELY, IS_MANY)
    first_ms = START_MS - START_MS % TILE_MS + TILE_MS + 250
    send(engine, first_ms, "v")
    send(engine, first_ms + TILE_MS, "v")
    leaves_ms = first_ms - 250 + 4 * TILE_MS
    assert shown(engine, "v", leaves_ms - 1) == {"lately": 2, "is_many": True}
    assert leaves_ms % BORDER_MS == 0
    assert (tick(engine, leaves_ms - 1), tick(engine, leaves_ms)) == (0, 1)
    assert shown(engine, "v", leaves_ms) == {"lately": 1, "is_many": False}
    assert tick(engine, leaves_ms + TILE_MS) == 1
    assert shown(engine, "v", leaves_ms + TILE_MS)["lately"] == 0
    assert tick(engine, leaves_ms + 10 * TILE_MS) == 0


def test_what_changes_all_the_time_is_looked_at_less_and_less() -> None:
    """Every 5 s at first, then each time a sixteenth of the idle time has passed, until the session closes."""
    engine = engine_with(IS_IDLE)
    send(engine, START_MS, "v")
    seen = dues(engine, START_MS + 1_800_000)
    pauses = [later - earlier for earlier, later in itertools.pairwise(seen)]
    assert max(pauses[:15]) <= 5_500
    assert all(pause <= 10_500 + at / 16 for at, pause in zip(seen, pauses, strict=False))
    assert len(seen) < 90
    assert shown(engine, "v", START_MS + 1_800_000)["is_idle"] is True


def test_no_session_waits_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """A TICK does so much and no more, and the next goes on where it stopped."""
    monkeypatch.setattr(engine_module, "EXPIRED_PER_TICK_MAX", 2)
    engine = engine_with(IS_IDLE)
    visitor_ids = [f"v{number}" for number in range(5)]
    send(engine, START_MS, *visitor_ids)
    for step in range(3):
        # More is due again at once, since so much time passes; yet each gets its turn.
        assert tick(engine, START_MS + 61_000 + step * 6_000) == 2
    assert all(shown(engine, each, START_MS + 80_000)["is_idle"] is True for each in visitor_ids)


def test_a_clock_that_is_set_back_stands_still() -> None:
    """What is derived and what readers see follow one clock, also of an entry that was received before the one before it."""
    some = (*load("lately"), Instruction(Op.INT, number=0), Instruction(Op.GREATER))
    engine = engine_with(LATELY, AttributeSpec("some", "time", Kind.DERIVED, "bool", code=some))
    send(engine, START_MS, "v")
    tick(engine, START_MS + 5 * TILE_MS)
    assert shown(engine, "v", START_MS)["some"] is False
    event = Event(name="page_view", visitor_id="v")
    event.event_time.FromMilliseconds(START_MS)
    engine.apply(engine.position + 1, Entry(EntryType.EVENTS, START_MS + 1, Batch((event,)).wire()))
    found = shown(engine, "v", START_MS + 1)
    assert (found["lately"], found["some"]) == (0, False)
