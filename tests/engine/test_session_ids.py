"""Session ids and etags: what a session is called follows from its visitor alone, whatever becomes of everybody else."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from rte.v1.event_pb2 import Event
from rte.v1.event_service_pb2 import IngestEventsRequest
from rte.v1.session_pb2 import Session
from rte.v1.session_service_pb2 import UpdateSessionRequest
from rte_server.engine.entries import Entry, EntryType
from rte_server.engine.settings import EngineSettings
from tests.engine.pair import SETTINGS, Pair, messages, new_engine
from tests.engine.strategies import GAP_MS, START_MS, VISITORS, Action, End, Update, scripts
from tests.engine.test_engine_faults import COUNT, Play
from tests.engine.test_twin_engine import CALM, SHORT, TIGHT

PLACEHOLDER = Event()
"""Stands where an event was: it is refused, and those after it keep their places."""


class Recorded(Pair):
    """Engine and twin that remember which entries wrote to whose session.

    Attributes:
        writers: For each entry the visitor whose session it writes to, or empty.
    """

    def __init__(self, settings: EngineSettings) -> None:
        super().__init__(settings=settings)
        self.writers: list[str] = []

    def run(self, action: Action) -> None:
        """Apply one action to both."""
        count = len(self.entries)
        super().run(action)
        if len(self.entries) > count:
            self.writers.append(action.visitor_id if isinstance(action, End | Update) else "")

    def without(self, visitor_id: str) -> list[Entry]:
        """Return the entries with nothing of one visitor in them."""
        return [
            Entry(entry.type, entry.received_ms, _cut(entry, visitor_id) if writer != visitor_id else b"")
            for entry, writer in zip(self.entries, self.writers, strict=True)
        ]


def _cut(entry: Entry, visitor_id: str) -> bytes:
    if entry.type is not EntryType.EVENTS:
        return entry.body
    request = IngestEventsRequest.FromString(entry.body)
    kept = [PLACEHOLDER if event.visitor_id == visitor_id else event for event in request.events]
    return IngestEventsRequest(events=kept).SerializeToString()


def others(bodies: Sequence[bytes], visitor_id: str) -> list[bytes]:
    """Return the sessions of the other visitors, serialized, in an order of their own."""
    return sorted(body for body in bodies if Session.FromString(body).visitor_id != visitor_id)


@CALM
@given(scripts(), st.sampled_from((SETTINGS, TIGHT, SHORT)), st.sampled_from(VISITORS))
def test_without_one_visitor_the_others_are_the_same(script: list[Action], rules: EngineSettings, gone: str) -> None:
    """A journal without one visitor's events gives the sessions of all others to the byte: ids, etags, numbers, values."""
    pair = Recorded(rules)
    for action in script:
        pair.run(action)
    engine = new_engine(pair.models, rules)
    for entry in pair.without(gone):
        engine.apply(engine.position + 1, entry)
    assert sorted(messages(engine)) == others(messages(pair.engine), gone)


@CALM
@given(scripts())
def test_no_two_sessions_have_one_id(script: list[Action]) -> None:
    """Every session that there ever was has an id of its own."""
    pair = Pair()
    seen: dict[str, str] = {}
    for action in script:
        pair.run(action)
        for body in messages(pair.engine):
            session = Session.FromString(body)
            assert seen.setdefault(session.session_id, session.visitor_id) == session.visitor_id
    ids = [Session.FromString(body).session_id for body in messages(pair.engine)]
    assert len(set(ids)) == len(ids)


def test_an_etag_outlives_whose_row_it_was() -> None:
    """A write on condition folds alike whether the session's row was another's before or is fresh."""

    def etag_and_error(*, crowded: bool) -> tuple[str, bool]:
        play = Play(COUNT)
        if crowded:
            for number in range(3):
                play.event(number, "other")
        play.now_ms += 10 * GAP_MS
        play.apply(EntryType.TICK, b"")
        play.now_ms += 100 * GAP_MS
        play.apply(EntryType.TICK, b"")
        play.event(120 * GAP_MS, "v")
        session = play.session("v")
        assert (play.engine.find_visitor("other") < 0) and play.engine.find_visitor("v") == 0
        request = UpdateSessionRequest(session_id=session.session_id, etag=session.etag)
        request.attributes["offer"] = 1
        error = play.apply(EntryType.UPDATE, request.SerializeToString()).error
        return session.etag, error is None

    assert etag_and_error(crowded=True) == etag_and_error(crowded=False)
    assert etag_and_error(crowded=True)[1]


def test_a_visitor_who_comes_again_has_another_session() -> None:
    """The same event, received again when its visitor has been forgotten, starts a session with another id."""
    play = Play(COUNT)
    ids = set()
    for _ in range(3):
        request = IngestEventsRequest(events=[Event(name="n", visitor_id="v")])
        request.events[0].event_time.FromMilliseconds(START_MS)
        play.apply(EntryType.EVENTS, request.SerializeToString())
        ids.add(play.session("v").session_id)
        play.now_ms += 1_000 * GAP_MS
        play.apply(EntryType.TICK, b"")
        play.now_ms += 1_000 * GAP_MS
        play.apply(EntryType.TICK, b"")
        assert play.engine.find_visitor("v") < 0
    assert len(ids) == 3
