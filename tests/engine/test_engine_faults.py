"""Faults that the engine had once, each in a journal as small as can be."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import numpy as np
import pytest

from rte.v1.event_pb2 import Event
from rte.v1.event_service_pb2 import IngestEventsRequest
from rte.v1.session_pb2 import Session
from rte.v1.session_service_pb2 import EndSessionRequest, UpdateSessionRequest
from rte_server.engine.engine import Engine
from rte_server.engine.entries import Entry, EntryType
from rte_server.engine.expressions import Instruction, Op
from rte_server.engine.outcome import Outcome
from rte_server.engine.program import AttributeSpec, Kind, ModelSpec
from rte_server.engine.query import STATES_ANY
from rte_server.engine.reasons import EngineError, Reason
from rte_server.engine.settings import EngineSettings
from rte_server.engine.snapshot import Held
from rte_server.engine.table import Capacity
from rte_server.engine.wire import Limits
from tests.engine import sanity
from tests.engine.attribute_samples import MODEL, load
from tests.engine.pair import SETTINGS, SMALL
from tests.engine.strategies import SECRET, START_MS

COUNT = AttributeSpec("seen", "m", Kind.COUNT, "int")
LAST = AttributeSpec("last", "m", Kind.LAST, "string", value=load("text"))
RATIO = AttributeSpec("ratio", "m", Kind.LAST, "double", value=(*load("a"), *load("b"), Instruction(Op.DIVIDE)))
RATIOS = replace(RATIO, name="ratios", kind=Kind.RECENT, value_type="list", keep=2)
TWICE = AttributeSpec("twice", "m", Kind.DERIVED, "int", code=(*load("seen"), *load("seen"), Instruction(Op.ADD)))
SCORE = AttributeSpec("score", "m", Kind.LINEAR, "double", weights=(("seen", 2.0, 0.0),), link="identity")
LATENESS = AttributeSpec("lateness", "m", Kind.DERIVED, "int", code=load("session.late_event_count"))


class Play:
    """An engine to which small entries are fed.

    Args:
        specs: Attributes of its model.
        settings: How it forms sessions.
        capacity: How much it may hold.
        limits: What its requests are checked against.
    """

    def __init__(
        self,
        *specs: AttributeSpec,
        settings: EngineSettings = SETTINGS,
        capacity: Capacity = SMALL,
        limits: Limits | None = None,
    ) -> None:
        self.specs = specs
        self.engine = Engine(SECRET, self._compile, capacity, limits)
        self.now_ms = START_MS
        self.count = 0
        self.configure(*specs, settings=settings)

    def _compile(self, _sources: object, _files: object) -> list[ModelSpec]:
        return [replace(MODEL, name="m", attributes=self.specs)]

    def configure(self, *specs: AttributeSpec, settings: EngineSettings = SETTINGS) -> None:
        """Put models and settings into force."""
        self.specs = specs
        self.apply(EntryType.CONFIGURE, json.dumps({"settings": asdict(settings), "models": {"m": ""}}).encode())

    def apply(self, entry_type: EntryType, body: bytes) -> Outcome:
        """Apply an entry."""
        return self.engine.apply(self.engine.position + 1, Entry(entry_type, self.now_ms, body))

    def event(self, at_ms: int = 0, visitor_id: str = "v", **fields: object) -> Outcome:
        """Apply an event at a time after START_MS; `properties` and other fields by name."""
        self.count += 1
        properties = fields.pop("properties", {})
        event = Event(event_id=str(self.count), name="n", visitor_id=visitor_id, **fields)  # type: ignore[arg-type]
        event.event_time.FromMilliseconds(START_MS + at_ms)
        event.properties.update(properties)  # type: ignore[arg-type]
        return self.apply(EntryType.EVENTS, IngestEventsRequest(events=[event]).SerializeToString())

    def update(self, session_id: str, attributes: dict[str, object], **fields: str) -> EngineError | None:
        """Write attributes; return why not."""
        request = UpdateSessionRequest(session_id=session_id, **fields)  # type: ignore[arg-type]
        request.attributes.update(attributes)  # type: ignore[arg-type]
        return self.apply(EntryType.UPDATE, request.SerializeToString()).error

    def end(self, session_id: str) -> None:
        """End a session."""
        self.apply(EntryType.END, EndSessionRequest(session_id=session_id).SerializeToString())

    def session(self, visitor_id: str = "v") -> Session:
        """Return the newest session of a visitor."""
        return Session.FromString(self.engine.encode([self.engine.find_visitor(visitor_id)])[0])

    def attributes(self, visitor_id: str = "v") -> dict[str, object]:
        """Return the attributes of the newest session of a visitor."""
        return dict(self.session(visitor_id).attributes)


def test_derived_values_are_computed_when_models_change() -> None:
    """A derived attribute or score that a new model brings is there at once, and the session has another etag."""
    play = Play(COUNT)
    play.event()
    etag = play.session().etag
    play.configure(COUNT, TWICE, SCORE)
    assert play.attributes() == {"seen": 1, "twice": 2, "score": 2.0}
    assert play.session().etag != etag


def test_a_filter_outlives_the_models_that_it_was_made_for() -> None:
    """A filter made for other models reads the attribute that it names, or says that there is none any more."""
    play = Play(LAST, COUNT)
    play.event()
    wanted = play.engine.filter(
        (*load("seen"), Instruction(Op.INT, number=0), Instruction(Op.GREATER)), int(STATES_ANY)
    )
    play.configure(COUNT)
    assert len(play.engine.select(wanted).rows) == 1
    play.configure()
    with pytest.raises(EngineError) as caught:
        play.engine.select(wanted)
    assert caught.value.reason is Reason.INVALID_EXPRESSION


def test_a_mask_outlives_the_models_that_it_was_made_for() -> None:
    """A mask chooses by name, also after a change of models that leaves as many attributes."""
    play = Play(LAST, COUNT)
    play.event(properties={"text": "t"})
    mask = play.engine.mask(["attributes.last"])
    play.configure(COUNT, LAST)
    play.event(1, properties={"text": "t"})
    body = play.engine.encode([play.engine.find_visitor("v")], mask)[0]
    assert dict(Session.FromString(body).attributes) == {"last": "t"}


def test_long_texts_are_kept_whole() -> None:
    """A text of more than 64 KiB is shown as it came, and does not damage others."""
    text = "ab" * 50_000
    play = Play(LAST, limits=Limits(string_bytes_max=1 << 20, event_bytes_max=1 << 20))
    play.event(properties={"text": text})
    play.event(visitor_id="w", properties={"text": "short"})
    assert play.attributes() == {"last": text}
    assert play.attributes("w") == {"last": "short"}


def test_limits_of_today_do_not_bind_the_texts_of_yesterday() -> None:
    """Texts that the journal accepted under larger limits fit the buffers of readers."""
    specs = [replace(LAST, name=f"last{number}") for number in range(20)]
    play = Play(*specs, limits=Limits(string_bytes_max=16))
    play.event(properties={"text": "x" * 10_000})
    assert play.attributes() == {spec.name: "x" * 10_000 for spec in specs}


def test_values_that_json_cannot_hold_are_no_values() -> None:
    """A division by zero gives no value, since one infinity would make a whole session unreadable as JSON."""
    play = Play(RATIO, RATIOS)
    play.event(properties={"a": 1.0, "b": 2.0})
    play.event(1, properties={"a": 1.0, "b": 0.0})
    play.event(2, properties={"a": 0.0, "b": 0.0})
    assert play.session().attributes["ratio"] == 0.5
    assert list(play.session().attributes["ratios"]) == [0.5]  # type: ignore[arg-type]


def test_a_refused_write_is_no_duplicate_when_it_comes_again() -> None:
    """A write that was refused is judged anew under the same request id; one that was done is a duplicate."""
    play = Play(COUNT)
    play.event()
    session = play.session()
    for _ in range(2):
        error = play.update(session.session_id, {"offer": 1}, etag="0" * 16, request_id="r")
        assert error is not None and error.reason is Reason.ETAG_MISMATCH
    assert play.update(session.session_id, {"offer": 2}, etag=session.etag, request_id="r") is None
    assert play.update(session.session_id, {"offer": 3}, request_id="r") is None
    assert play.attributes() == {"seen": 1, "offer": 2}


def test_sessions_that_become_one_have_etags_of_their_own() -> None:
    """An etag of a session that was merged into another never matches the other."""
    play = Play(COUNT)
    etags = set()
    for at_ms in (0, 1_500, 1_600, 1_700, 1_800, 1_900, 2_000):
        play.event(at_ms)
        etags.add(play.session().etag)
    play.event(800)
    for _ in range(8):
        assert play.session().etag not in etags
        play.event(800)


def test_a_refused_write_takes_no_room() -> None:
    """Where there is no room for a text, a write is refused and changes nothing."""
    play = Play(COUNT, capacity=replace(SMALL, string_bytes_max=256))
    play.event()
    error = play.update(play.session().session_id, {"offer": 1, "note": "x" * 300})
    assert error is not None and error.reason is Reason.OVERLOADED
    assert play.attributes() == {"seen": 1}


def test_a_full_pool_is_not_swept_before_every_entry() -> None:
    """Where what is in use fills the pool, sweeping again at once would free nothing."""
    play = Play(LAST, capacity=replace(SMALL, string_bytes_max=256))
    for number in range(40):
        play.event(number, visitor_id=f"a-rather-long-visitor-id-{number}", properties={"text": str(number)})
    assert play.engine.stats()["string_sweeps"] == 1
    assert play.engine.stats()["strings_lost"] > 0


def test_late_events_show_in_derived_attributes() -> None:
    """An attribute that reads the count of late events follows it."""
    play = Play(LATENESS, settings=replace(SETTINGS, lateness_ms=100))
    play.event(5_000)
    play.event(1_000)
    assert play.attributes() == {"lateness": 1}


def test_a_shorter_maximum_does_not_split_what_is_there() -> None:
    """An event within a session that is longer than a new maximum joins it."""
    play = Play(COUNT)
    for at_ms in (0, 900, 1_800):
        play.event(at_ms)
    play.configure(COUNT, settings=replace(SETTINGS, max_length_ms=500))
    play.event(1_000)
    assert play.attributes() == {"seen": 4}
    sanity.check(play.engine)


def test_the_index_has_room_for_all_that_leads_to_sessions() -> None:
    """With as many sessions, aliases and customers as there can be, each id leads to its session."""
    play = Play(COUNT, capacity=replace(SMALL, sessions_max=64))
    for number in range(64):
        for alias in range(4):
            fields = {"client_session_id": f"{number}-{alias}", "customer_id": f"k{number}"}
            play.event(alias, visitor_id=f"v{number}", **fields)
    for number in range(64):
        row = play.engine.find_visitor(f"v{number}")
        assert play.engine.find_session(play.engine.session_id(row)) == row
        assert play.engine.find_customer(f"k{number}") == row
        assert [play.engine.find_alias(f"{number}-{alias}") for alias in range(4)] == [row] * 4


def test_a_clock_that_is_set_back_loses_no_write() -> None:
    """The later entry wins, whatever the server's clock said."""
    play = Play(COUNT)
    play.event()
    session_id = play.session().session_id
    play.update(session_id, {"offer": 1})
    play.now_ms -= 10_000
    play.update(session_id, {"offer": 2})
    assert play.attributes() == {"seen": 1, "offer": 2}


def test_a_full_session_takes_a_name_for_one_that_is_removed() -> None:
    """One write may remove a name and use its room; and what is not there can be removed from a full session."""
    play = Play(COUNT)
    play.event()
    session_id = play.session().session_id
    assert play.update(session_id, {f"w{number}": number for number in range(16)}) is None
    assert play.update(session_id, {"unknown": None}) is None
    error = play.update(session_id, {"new": 1})
    assert error is not None and error.reason is Reason.TOO_MANY_WRITTEN_ATTRIBUTES
    assert play.update(session_id, {"new": 1, "w3": None}) is None
    expected = {f"w{number}": number for number in range(16) if number != 3}
    assert play.attributes() == {"seen": 1, "new": 1, **expected}


def test_a_customer_leads_to_the_session_with_the_latest_event() -> None:
    """Whatever the order in which a customer's sessions were named, the one with the latest event is found."""
    play = Play(COUNT)
    for number, at_ms in enumerate((50, 400, 300, 200)):
        play.event(at_ms, visitor_id=f"v{number}", customer_id="k")
    assert play.engine.find_customer("k") == play.engine.find_visitor("v1")
    assert play.engine.find_customer("nobody") == -1


def test_reading_no_row_gives_nothing() -> None:
    """Rows that are none, and rows that are another session's by now, give an empty message."""
    play = Play(COUNT)
    play.event()
    assert play.engine.encode([-1, 10_000, 5]) == [b"", b"", b""]
    row = play.engine.find_visitor("v")
    ids = play.engine.select(play.engine.filter((), int(STATES_ANY))).session_ids
    assert play.engine.encode([row], None, ids)[0] != b""
    assert play.engine.encode([row], None, ids + 2)[0] == b""


@pytest.mark.parametrize("sessions_max", [64, 2048])
def test_a_snapshot_fits_another_capacity_that_has_room(sessions_max: int) -> None:
    """After an operator changes the capacity, every session is found as before, and the next events join theirs."""
    play = Play(COUNT)
    for number in range(40):
        play.event(visitor_id=f"v{number}", client_session_id=f"c{number}", customer_id=f"p{number}")
    meta, arrays = play.engine.snapshot()
    other = Play(COUNT)
    capacity = replace(SMALL, sessions_max=sessions_max, dedup_events_max=16, strings_max=512)
    other.engine = Engine(SECRET, play._compile, capacity)
    other.engine.restore(meta, Held(arrays))
    other.count = play.count
    sanity.check(other.engine)
    other.event(5, visitor_id="v7")
    row = other.engine.find_visitor("v7")
    assert row == other.engine.find_alias("c7") == other.engine.find_customer("p7")
    assert Session.FromString(other.engine.encode([row])[0]).event_count == 2
    assert other.engine.stats()["visitors"] == 40


def test_a_snapshot_that_finds_no_room_is_refused() -> None:
    """A capacity that is too small is named, and nothing of the snapshot is taken over half."""
    play = Play(COUNT)
    for number in range(40):
        play.event(visitor_id=f"v{number}")
    meta, arrays = play.engine.snapshot()
    other = Engine(SECRET, play._compile, replace(SMALL, sessions_max=16))
    with pytest.raises(ValueError, match="sessions_max"):
        other.restore(meta, Held(arrays))


def test_a_snapshot_of_another_layout_is_refused() -> None:
    """A snapshot whose words mean something else is passed over."""
    play = Play(COUNT)
    meta, arrays = play.engine.snapshot()
    other = Engine(SECRET, play._compile, SMALL)
    with pytest.raises(ValueError, match="layout"):
        other.restore(meta | {"layout": 0}, Held(arrays))


def test_snapshots_of_one_state_are_equal() -> None:
    """A restored state gives the snapshot that it was made of, also when the ring of ids has turned."""
    play = Play(COUNT, capacity=replace(SMALL, dedup_events_max=16))
    for number in range(21):
        play.event(number)
    meta, arrays = play.engine.snapshot()
    restored = Engine(SECRET, play._compile, replace(SMALL, dedup_events_max=16))
    restored.restore(meta, Held(arrays))
    assert all(np.array_equal(a, b) for (_, a), (_, b) in zip(arrays, restored.snapshot()[1], strict=True))
    assert restored.snapshot()[0] == meta


def test_the_last_snapshot_is_the_state_itself() -> None:
    """It says what a copy says, and takes no memory for the rows; a copy stays as it is when more is folded."""
    play = Play(COUNT)
    for number in range(9):
        play.event(visitor_id=f"v{number}")
    ((rows, used),) = play.engine.growing()
    copies = dict(play.engine.snapshot()[1])
    last = dict(play.engine.begin_snapshot().finish(is_last=True)[1])
    assert all(np.array_equal(copies[name], last[name]) for name in copies)
    assert np.shares_memory(last["rows"], rows)
    assert last["rows"].nbytes == used
    play.event(visitor_id="v0")
    assert not np.array_equal(copies["rows"], rows[: len(copies["rows"])])


def test_old_readers_keep_what_was_written() -> None:
    """A reader that still holds the rows of before a change of models sees what was written to them then."""
    play = Play(COUNT)
    play.event()
    play.update(play.session().session_id, {"offer": 1})
    before = play.engine._state
    play.configure(COUNT, TWICE)
    play.update(play.session().session_id, {"offer": 2})
    assert before.table.written is not play.engine._state.table.written
    assert not np.array_equal(before.table.written, play.engine._state.table.written)


def test_many_sessions_of_one_visitor_leave_quickly() -> None:
    """Sessions leave in a time that does not depend on how many their visitor has."""
    play = Play(COUNT, capacity=replace(SMALL, sessions_max=4096), settings=replace(SETTINGS, closed_max=4096))
    for number in range(2_000):
        play.event(number * 2_000)
    play.now_ms += 10_000_000
    play.apply(EntryType.TICK, b"")
    play.now_ms += 10_000_000
    play.apply(EntryType.TICK, b"")
    assert play.engine.stats()["sessions_left"] == 2_000
    sanity.check(play.engine)


def test_a_full_state_makes_room_only_for_sessions() -> None:
    """Events of sessions that there are let nobody leave, and the last free row can be used."""
    play = Play(COUNT, capacity=replace(SMALL, sessions_max=8))
    for _ in range(3):
        for number in range(8):
            play.event(visitor_id=f"v{number}")
    assert play.engine.stats()["sessions_evicted_active"] == 0
    play.event(visitor_id="one more")
    assert play.engine.stats()["sessions_evicted_active"] == 1
