"""What triggers tell: once, at their moment, whatever entry comes first after it; also after a restart."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from rte.v1.event_pb2 import Event
from rte.v1.session_pb2 import Session
from rte_server.engine.engine import Engine
from rte_server.engine.entries import Entry, EntryType
from rte_server.engine.expressions import Instruction, Op
from rte_server.engine.kernel import kernel
from rte_server.engine.native import span_of
from rte_server.engine.outcome import Outcome
from rte_server.engine.program import AttributeSpec, Kind, ModelSpec
from rte_server.engine.settings import EngineSettings
from rte_server.engine.snapshot import Held
from rte_server.engine.trigger_cells import TRIGGER_WORDS, merge_trigger
from rte_server.engine.triggers import Fired
from tests.engine.attribute_samples import load, trigger
from tests.engine.pair import new_engine
from tests.engine.strategies import START_MS, Batch

MINUTE_MS = 60_000
SETTINGS = EngineSettings()


def _views(name: str, kind: Kind, *params: int) -> AttributeSpec:
    return AttributeSpec(name, "told", kind, "int", events=("view_item",), params=params)


ATTRIBUTES = (_views("views", Kind.COUNT), _views("lately", Kind.WINDOW_COUNT, MINUTE_MS, 5))
MANY = (*load("views"), Instruction(Op.INT, number=1), Instruction(Op.GREATER))
CALM = (*load("lately"), Instruction(Op.INT, number=0), Instruction(Op.EQUAL))


def told(*triggers: tuple[AttributeSpec, ...]) -> ModelSpec:
    """Return a model with these triggers."""
    return ModelSpec("told", 1, "", (), "", (*ATTRIBUTES, *(spec for each in triggers for spec in each)))


LEFT = told(trigger("left", MANY, 10 * MINUTE_MS, each_quiet=False))


class Play:
    """An engine and a clock, in minutes since the start."""

    def __init__(self, model: ModelSpec = LEFT) -> None:
        self.engine = new_engine([model], SETTINGS)
        self.events = 0

    def event(self, at_min: float, name: str = "view_item", came_min: float | None = None) -> list[Fired]:
        """Fold an event of that time; it comes at once, or later."""
        self.events += 1
        event = Event(event_id=str(self.events), name=name, visitor_id="v")
        event.event_time.FromMilliseconds(_ms(at_min))
        came_ms = _ms(at_min if came_min is None else came_min)
        return self._apply(Entry(EntryType.EVENTS, came_ms, Batch((event,)).wire())).fired

    def tick(self, at_min: float) -> list[Fired]:
        """Fold a TICK, if something is due."""
        if not self.engine.due_count(_ms(at_min)):
            return []
        return self._apply(Entry(EntryType.TICK, _ms(at_min), b"")).fired

    def shown(self, at_min: float) -> dict[str, object]:
        """Return the attributes of the session at a time."""
        body = self.engine.get(self.engine.find_visitor, "v", now_ms=_ms(at_min))
        return dict(Session.FromString(body).attributes.items())

    def _apply(self, entry: Entry) -> Outcome:
        return self.engine.apply(self.engine.position + 1, entry)


def _ms(minutes: float) -> int:
    return START_MS + round(minutes * MINUTE_MS)


def _times(fired: list[Fired]) -> list[tuple[str, float, int]]:
    return [(each.trigger, (each.time_ms - START_MS) / MINUTE_MS, each.round) for each in fired]


def test_a_trigger_fires_once_when_the_quiet_is_over() -> None:
    """It fires at its wait after the last event, by a TICK at that time or later, and never again in the session."""
    play = Play()
    assert play.event(0) == [] and play.event(1) == []
    assert play.tick(10.99) == []
    fired = play.tick(11)
    assert _times(fired) == [("left", 11.0, 1)]
    assert fired[0].fire_id == f"left/{play.engine.session_id(play.engine.find_visitor('v'))}/1"
    shown = play.shown(11)
    assert (shown["left"], shown["left.count"], shown["left.time"]) == (True, 1, _ms(11))
    assert play.event(12) == [] and play.tick(40) == []
    assert play.shown(40)["left.count"] == 1
    assert play.engine.stats()["triggers_fired"] == 1


def test_a_condition_that_does_not_hold_does_not_fire() -> None:
    """One view is not many: the quiet passes, and nothing is told."""
    play = Play()
    play.event(0)
    assert play.tick(10) == [] and play.tick(29) == []
    assert play.shown(29)["left"] is False


def test_late_ticks_and_events_change_nothing() -> None:
    """Whether a TICK is late, or the next event comes before any TICK: the same trigger fires with the same time."""
    late = Play()
    late.event(0), late.event(1)
    assert _times(late.tick(20)) == [("left", 11.0, 1)]
    crossed = Play()
    crossed.event(0), crossed.event(1)
    assert _times(crossed.event(15)) == [("left", 11.0, 1)]
    assert crossed.tick(29) == []


def test_a_closed_session_is_told_of_too() -> None:
    """A wait longer than the gap fires while the closed session can still be read, even with the TICK it leaves by."""
    model = told(trigger("gone", MANY, 45 * MINUTE_MS, each_quiet=False))
    play = Play(model)
    play.event(0), play.event(1)
    assert play.tick(32) == []
    assert _times(play.tick(46)) == [("gone", 46.0, 1)]
    asleep = Play(model)
    asleep.event(0), asleep.event(1)
    asleep.tick(32)
    assert _times(asleep.tick(600)) == [("gone", 46.0, 1)]
    assert asleep.engine.find_visitor("v") == -1


def test_once_per_quiet_fires_in_each() -> None:
    """A trigger that fires once per quiet is open again with the next event."""
    play = Play(told(trigger("pauses", MANY, MINUTE_MS, each_quiet=True)))
    play.event(0), play.event(0.5)
    assert _times(play.tick(2)) == [("pauses", 1.5, 1)]
    assert play.shown(2)["pauses"] is True
    assert play.tick(3) == [] and play.event(4) == []
    assert play.shown(4)["pauses"] is False
    assert _times(play.tick(5)) == [("pauses", 5.0, 2)]


def test_without_a_wait_it_fires_with_the_event() -> None:
    """The event that makes the condition true fires the trigger, in the same entry."""
    play = Play(told(trigger("many", MANY, 0, each_quiet=False)))
    assert play.event(0) == []
    assert _times(play.event(1)) == [("many", 1.0, 1)]
    assert play.event(2) == []


def test_a_condition_may_come_true_with_time() -> None:
    """A window that empties fires a trigger at the border of a tile, or later than its wait where that is over."""
    play = Play(told(trigger("calm", CALM, MINUTE_MS, each_quiet=False)))
    play.event(0.5)
    assert play.tick(1.5) == []
    seen = [_times(play.tick(minutes / 4)) for minutes in range(6, 30)]
    (fired,) = filter(None, seen)
    ((name, at_min, number),) = fired
    assert (name, number) == ("calm", 1) and 4.5 <= at_min <= 5.75


def test_one_trigger_may_lead_to_another() -> None:
    """What fires may make the condition of another true, which then fires in the same entry."""
    counted = (*load("many.count"), Instruction(Op.INT, number=1), Instruction(Op.GREATER_EQUAL))
    play = Play(told(trigger("next", counted, 0, each_quiet=False), trigger("many", MANY, 0, each_quiet=False)))
    assert play.event(0) == []
    assert _times(play.event(1)) == [("many", 1.0, 1), ("next", 1.0, 1)]


def test_a_restart_in_between_changes_nothing() -> None:
    """An engine that was restored from a snapshot fires what the one before it would have fired."""
    play = Play()
    play.event(0), play.event(1)
    meta, arrays = play.engine.snapshot()
    other = Play()
    fresh = Engine(play.engine._secret, lambda sources, files: [LEFT], play.engine._capacity)
    fresh.restore(meta, Held(arrays))
    other.engine = fresh
    assert other.tick(10.9) == []
    assert other.tick(11) == play.tick(11) != []


def test_a_trigger_that_is_switched_on_finds_who_is_quiet_already() -> None:
    """A model that is taken in fires for sessions whose last event came before it."""
    models = [ModelSpec("told", 1, "", (), "", ATTRIBUTES)]
    engine = Engine(np.arange(1, 5, dtype=np.uint64), lambda sources, files: list(models))
    play = Play()
    play.engine = engine
    configure = b'{"settings": {}, "models": {}}'
    engine.apply(1, Entry(EntryType.CONFIGURE, START_MS, configure))
    play.event(0), play.event(1)
    models[0] = LEFT
    engine.apply(engine.position + 1, Entry(EntryType.CONFIGURE, _ms(2), configure))
    assert play.tick(2.1) == []
    assert _times(play.tick(11)) == [("left", 11.0, 1)]


@kernel
def _merged(into: NDArray[np.int64], other: NDArray[np.int64]) -> None:
    merge_trigger(span_of(into), span_of(other), 0)


marks = st.lists(st.integers(0, 2**40), min_size=TRIGGER_WORDS, max_size=TRIGGER_WORDS)


@given(marks, marks, marks)
def test_marks_are_a_commutative_monoid(a: list[int], b: list[int], c: list[int]) -> None:
    """Marks of sessions that become one merge in any order, and none change nothing."""

    def merged(*parts: list[int]) -> list[int]:
        into = np.array(parts[0], np.int64)
        for other in parts[1:]:
            _merged(into, np.array(other, np.int64))
        return [int(word) for word in into]

    assert merged(a, b) == merged(b, a)
    assert merged(merged(a, b), c) == merged(a, merged(b, c))
    assert merged(a, [0] * TRIGGER_WORDS) == a == merged([0] * TRIGGER_WORDS, a)
