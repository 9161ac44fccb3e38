"""Tiny states under constant eviction stay sane, and readers beside the writer never see what is not one session."""

from __future__ import annotations

import json
import random
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace

import numpy as np
import pytest

from rte.v1.event_pb2 import Event
from rte.v1.event_service_pb2 import IngestEventsRequest
from rte.v1.session_pb2 import Session
from rte.v1.session_service_pb2 import EndSessionRequest, UpdateSessionRequest
from rte_server.engine.engine import Engine
from rte_server.engine.entries import Entry, EntryType
from rte_server.engine.program import ModelSpec
from rte_server.engine.query import STATES_ANY
from rte_server.engine.settings import EngineSettings
from rte_server.engine.snapshot import Held
from rte_server.engine.table import Capacity
from rte_server.models import compile_filter
from tests.engine import sanity
from tests.engine.attribute_samples import MODEL, TOLD, VISIT
from tests.engine.pair import SETTINGS
from tests.engine.strategies import GAP_MS, SECRET, START_MS

TINY = Capacity(sessions_max=8, dedup_events_max=16, strings_max=128, string_bytes_max=1_024, written_sessions_max=3)
MODELS: Mapping[str, tuple[ModelSpec, ...]] = {
    "whole": (MODEL, TOLD),
    "half": (replace(MODEL, attributes=MODEL.attributes[:13]),),
    "other": (replace(MODEL, attributes=(VISIT, *MODEL.attributes[3:16])),),
}
RULES = (
    replace(SETTINGS, closed_max=3, dedup_horizon_ms=5 * GAP_MS, lateness_ms=6 * GAP_MS),
    replace(SETTINGS, closed_max=0, max_length_ms=1_500),
    replace(SETTINGS, gap_ms=2 * GAP_MS, closed_retention_ms=0),
)


def bare(capacity: Capacity = TINY) -> Engine:
    """Return an engine that has applied nothing; its models are those of MODELS, by name."""

    def compile_models(sources: Mapping[str, str], files: Mapping[str, str]) -> Sequence[ModelSpec]:
        return MODELS[next(iter(sources))]

    return Engine(SECRET, compile_models, capacity)


def configure(name: str, rules: EngineSettings, now_ms: int) -> Entry:
    """Return the entry that puts models and settings into force."""
    body = {"settings": asdict(rules), "models": {name: ""}}
    return Entry(EntryType.CONFIGURE, now_ms, json.dumps(body).encode())


class Script:
    """Makes up entries: many more visitors, strings and ids than a tiny state can hold.

    Args:
        seed: Of the random choices. Odd: many visitors; even: few, whose sessions meet.
    """

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.spread = (2, 5, 40, 4_000) if seed % 2 else (2, 3)
        self.now_ms = START_MS
        self.count = 0

    def entry(self, engine: Engine) -> Entry:
        """Return the next entry for an engine."""
        self.now_ms += self.random.choice((0, 1, 100, 300, 700, 700, 3 * GAP_MS))
        kind = self.random.choices(("events", "end", "update", "tick", "configure"), (12, 2, 3, 3, 1))[0]
        if kind == "events":
            events = [self._event() for _ in range(self.random.randint(1, 12))]
            request_id = self.random.choice(("", "", f"r{self.random.randint(0, 9)}"))
            body = IngestEventsRequest(events=events, request_id=request_id).SerializeToString()
            return Entry(EntryType.EVENTS, self.now_ms, body)
        if kind == "tick":
            return Entry(EntryType.TICK, self.now_ms, b"")
        if kind == "configure":
            return configure(self.random.choice(list(MODELS)), self.random.choice(RULES), self.now_ms)
        live = engine.select(engine.filter((), int(STATES_ANY))).rows.tolist()
        session_id = engine.session_id(self.random.choice(live)) if live else "0" * 32
        if kind == "end":
            return Entry(EntryType.END, self.now_ms, EndSessionRequest(session_id=session_id).SerializeToString())
        request = UpdateSessionRequest(session_id=session_id)
        for _ in range(self.random.randint(1, 6)):
            name = f"w{self.random.randint(0, 20)}"
            request.attributes.fields[name].null_value = 0  # type: ignore[assignment]
            if self.random.random() < 0.8:
                request.attributes[name] = self.random.choice(("text", f"t{self.count}", 1.5, True))
        return Entry(EntryType.UPDATE, self.now_ms, request.SerializeToString())

    def _event(self) -> Event:
        self.count += 1
        choose = self.random.choice
        event = Event(
            event_id=choose(("", str(self.count), str(self.random.randint(1, self.count)))),
            name=choose(("page_view", "view_item", "purchase")),
            visitor_id=f"visitor-{self.random.randint(0, choose(self.spread))}",
            customer_id=choose(("", "", "k1", "k2", f"k{self.count}")),
            client_session_id=choose(("", "a1", "a2", f"a{self.count}")),
            channel=choose(("", "web", "app")),
        )
        event.event_time.FromMilliseconds(self.now_ms - choose((0, 0, 500, 900, 1_500, 4_000, 9_000)))
        event.properties["item_id"] = f"i{self.random.randint(0, 60)}"
        event.properties["price"] = self.random.randint(0, 9) / 2
        return event


@pytest.mark.parametrize("seed", range(8))
def test_a_full_state_stays_sane(seed: int) -> None:
    """With 8 sessions at most, everything leads where it should after every entry of a made-up journal."""
    script = Script(seed)
    engine = bare()
    engine.apply(1, configure("whole", SETTINGS, START_MS))
    for _ in range(150):
        engine.apply(engine.position + 1, script.entry(engine))
        sanity.check(engine)
    counts = engine.stats()
    assert counts["dedup_evicted"] > 0
    assert counts["sessions_evicted_active" if seed % 2 else "sessions_merged"] > 0


@pytest.mark.parametrize("seed", range(4))
def test_a_restored_state_is_the_same_to_the_byte(seed: int) -> None:
    """A state restored from a snapshot, with all that follows, gives the same snapshot as the original."""
    script = Script(100 + seed)
    engine, restored = bare(), bare()
    engine.apply(1, configure("whole", SETTINGS, START_MS))
    for _ in range(60):
        engine.apply(engine.position + 1, script.entry(engine))
    meta, arrays = engine.snapshot()
    restored.restore(meta, Held(arrays))
    for _ in range(60):
        entry = script.entry(engine)
        for each in (engine, restored):
            each.apply(each.position + 1, entry)
    (meta, arrays), (other_meta, other_arrays) = engine.snapshot(), restored.snapshot()
    assert meta == other_meta
    for (name, array), (_, other) in zip(arrays, other_arrays, strict=True):
        assert np.array_equal(array, other), name


class Readers:
    """Threads that read an engine in every way and check that each session they see is one.

    Every event of the visitor `k` has the price k and the item `k`, so that each attribute tells whose it is.

    Args:
        engine: What they read.
        visitors: Number of visitors.
    """

    def __init__(self, engine: Engine, visitors: int) -> None:
        self.engine = engine
        self.visitors = visitors
        self.faults: list[str] = []
        self.seen_count = 0
        self.stop = threading.Event()
        self.threads = [threading.Thread(target=self._run, args=(work,)) for work in (self._list, self._find)]

    def read_once(self) -> None:
        """Read in every way, in this thread."""
        self._list(random.Random(0))
        self._find(random.Random(0))

    def _run(self, work: object) -> None:
        chooser = random.Random(7)
        try:
            while not self.stop.is_set() and not self.faults:
                work(chooser)  # type: ignore[operator]
        except Exception as error:  # noqa: BLE001 - whatever it is, the test must show it
            self.faults.append(repr(error))

    def _list(self, chooser: random.Random) -> None:
        found = self.engine.select(self.engine.filter((), int(STATES_ANY)), "session.event_count")
        if len(set(found.rows.tolist())) < len(found.rows):
            self.faults.append(f"a row was found twice: {found.rows}")
        for never in ("price_min < price_max", "session.event_count < 1", "price_min != price_max"):
            wanted = self.engine.filter(compile_filter(never, MODEL.attributes), int(STATES_ANY))
            if (torn := self.engine.select(wanted, "price_sum")).count:
                self.faults.append(f"{never} in {torn.rows}")
        bodies = self.engine.encode(found.rows, None, found.session_ids)
        for body, (low, high) in zip(bodies, found.session_ids.tolist(), strict=True):
            if body:
                session = self._look_at(body)
                assert int(session.session_id, 16) == ((high & (1 << 64) - 1) << 64 | (low & (1 << 64) - 1))
        self.engine.match(self.engine.filter((), int(STATES_ANY)), found.rows)

    def _find(self, chooser: random.Random) -> None:
        number = chooser.randrange(self.visitors)
        for find, key in (
            (self.engine.find_visitor, str(number)),
            (self.engine.find_customer, f"k{number}"),
            (self.engine.find_alias, f"a{number}"),
        ):
            body = self.engine.get(find, key)
            if body and self._look_at(body).visitor_id != str(number):
                self.faults.append(f"{find} {key} found {Session.FromString(body)}")

    def _look_at(self, body: bytes) -> Session:
        session = Session.FromString(body)
        self.seen_count += 1
        seen = dict(session.attributes.items())
        number, count = float(session.visitor_id), session.event_count
        expected: dict[str, float | str] = {"price_min": number, "price_max": number, "ticket": number}
        expected |= {
            "price_sum": number * count,
            "all_events": count,
            "items": 1,
            "last_item": session.visitor_id,
            "price_mean": number,
            "max_lately": number,
            "mean_lately": number,
            "left_keen": seen["left_keen.count"] == 1 if "left_keen.count" in seen else False,
        }
        shown = {name: seen[name] for name in expected if name in seen}
        right = {name: value for name, value in expected.items() if name in shown}
        average = session.attributes.fields["price_level"].number_value if "price_level" in seen else number
        lately = seen.get("sum_lately", 0.0)
        if abs(average - number) > 1e-6 or lately not in {number * some for some in range(int(count) + 1)}:
            self.faults.append(f"{session}: {average} and {lately} are not of {number}")
        if shown != right or "price_sum" not in seen or session.customer_id not in ("", f"k{session.visitor_id}"):
            self.faults.append(f"{session} is not {expected}")
        return session


@pytest.mark.long
@pytest.mark.timeout(300)
def test_readers_never_see_a_torn_or_foreign_session() -> None:
    """While sessions begin, merge, are evicted, models change and strings are swept, every answer is one session."""
    visitors = 60
    engine = bare(replace(TINY, sessions_max=40, strings_max=1024, string_bytes_max=65_536))
    engine.apply(1, configure("whole", SETTINGS, START_MS))
    readers = Readers(engine, visitors)
    readers.read_once()  # compiles what they need
    engine.sweep()
    for thread in readers.threads:
        thread.start()
    chooser = random.Random(3)
    now_ms, until_s = START_MS, time.monotonic() + 4
    # The threads take turns often: the readers get to run, and in the midst of what the writer does.
    interval_s = sys.getswitchinterval()
    sys.setswitchinterval(1e-4)
    try:
        while time.monotonic() < until_s and not readers.faults:
            now_ms += 400
            events = []
            for _ in range(60):
                number = chooser.randrange(visitors)
                event = Event(name="view_item", visitor_id=str(number), customer_id=f"k{number}")
                event.client_session_id = f"a{number}"
                event.event_time.FromMilliseconds(now_ms - chooser.choice((0, 0, 800, 1_600, 2_400)))
                event.properties["price"] = number
                event.properties["item_id"] = str(number)
                events.append(event)
            body = IngestEventsRequest(events=events).SerializeToString()
            engine.apply(engine.position + 1, Entry(EntryType.EVENTS, now_ms, body))
            if engine.due_count(now_ms):
                engine.apply(engine.position + 1, Entry(EntryType.TICK, now_ms, b""))
            if chooser.random() < 0.05:
                engine.sweep()
            if chooser.random() < 0.02:
                engine.apply(engine.position + 1, configure(chooser.choice(("whole", "half")), SETTINGS, now_ms))
    finally:
        sys.setswitchinterval(interval_s)
        readers.stop.set()
        for thread in readers.threads:
            thread.join()
    assert not readers.faults, readers.faults[0]
    assert readers.seen_count > 20
    assert engine.stats()["sessions_merged"] > 0
    assert engine.stats()["triggers_fired"] > 0
    assert engine.stats()["sessions_evicted_active"] + engine.stats()["sessions_evicted_closed"] > 0
    sanity.check(engine)
