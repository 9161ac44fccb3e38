"""ERASE entries: the person's sessions leave, nobody else's change, and nothing of the person stays in the state."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np

from rte.v1.event_pb2 import Event
from rte.v1.event_service_pb2 import IngestEventsRequest
from rte_server.engine.entries import EntryType
from rte_server.engine.erasure import Erasure, session_ids
from rte_server.engine.outcome import Outcome
from rte_server.engine.program import AttributeSpec, Kind
from rte_server.engine.snapshot import Held
from rte_server.engine.table import KEY_HI, KEY_LO
from rte_server.engine.wire import Limits, scan_request
from rte_server.engine.wire_layout import EVENT_ID_HASH, ORDER, VERDICT
from tests.engine import sanity
from tests.engine.attribute_samples import load
from tests.engine.pair import SMALL
from tests.engine.strategies import SECRET, START_MS
from tests.engine.test_engine_faults import COUNT, LAST, Play

AMOUNT = AttributeSpec("amount", "m", Kind.LAST, "double", value=load("a"))
SECRET_AMOUNT = 1234.5678


def key_of(play: Play, visitor_id: str) -> tuple[int, int]:
    """Return a visitor's key."""
    cells = play.engine.score_view().table.rows[play.engine.find_visitor(visitor_id)]
    return int(cells[KEY_LO]), int(cells[KEY_HI])


def state_bytes(play: Play) -> bytes:
    """Return all that a snapshot would hold."""
    meta, arrays = play.engine.snapshot()
    return repr(meta).encode() + b"".join(np.ascontiguousarray(each).tobytes() for _, each in arrays)


def erase(play: Play, **members: Any) -> Outcome:
    """Apply an ERASE entry that begins an erasure."""
    return play.apply(EntryType.ERASE, Erasure("e1", **members).body())


def test_what_a_body_says_survives_its_text() -> None:
    """A body says what it was made of, whatever the signs of keys and hashes."""
    keys = [(1, -1), (-(2**63), 2**63 - 1), (0, 0)]
    whole = Erasure("e1", keys, [-1, 5, -(2**63)], [("ua.browser", "caf\u00e9")], members={"customer_id": "c"})
    for each in (whole, Erasure("e2", [], [], []), Erasure("e3", [], [], [], is_end=True)):
        assert Erasure.of_body(each.body()) == each


def test_a_person_leaves_and_nobody_else() -> None:
    """All sessions of the visitors leave, their ids lead nowhere, others are the same to the byte."""
    play = Play(COUNT, LAST, AMOUNT)
    for at_ms in (0, 90_000_000, 90_001_000):
        play.event(at_ms, "erased-v", customer_id="erased-c", properties={"text": "erased-text", "a": SECRET_AMOUNT})
        play.event(at_ms, "other", customer_id="stays", properties={"text": "kept-text", "a": 1.0})
    play.update(play.session("erased-v").session_id, {"note": "erased-note"})
    ids = [each.session_id for each in (play.session("erased-v"), play.session("other"))]
    others = play.session("other")
    assert all(each in state_bytes(play) for each in (b"erased-v", b"erased-c", b"erased-text", b"erased-note"))
    assert np.float64(SECRET_AMOUNT).tobytes() in state_bytes(play)
    key = key_of(play, "erased-v")
    outcome = erase(play, visitor_keys=[key, (3, 4)])
    sanity.check(play.engine)
    assert len(outcome.removed) == 2 and ids[0] in outcome.removed
    engine = play.engine
    assert engine.find_visitor("erased-v") == engine.find_customer("erased-c") == engine.find_session(ids[0]) == -1
    assert play.session("other") == others and engine.find_customer("stays") == engine.find_visitor("other")
    left = state_bytes(play)
    assert b"erased" not in left and np.float64(SECRET_AMOUNT).tobytes() not in left and b"kept-text" in left
    assert np.int64(key[0]).tobytes() not in left
    assert erase(play, visitor_keys=[key]).removed == []


def test_a_visitor_begins_anew_afterwards() -> None:
    """An event after the erasure is the first of a new visitor, and the row is as good as new."""
    play = Play(COUNT, LAST, AMOUNT)
    play.event(0, "v", customer_id="c", properties={"a": 5.0, "text": "x"})
    first = play.session("v").session_id
    erase(play, visitor_keys=[key_of(play, "v")])
    play.event(1_000, "v")
    found = play.session("v")
    assert found.visit_number == 1 and found.event_count == 1 and found.customer_id == ""
    assert play.attributes("v")["seen"] == 1 and "last" not in play.attributes("v")
    assert found.session_id != first


def test_sessions_that_left_before_are_overwritten() -> None:
    """The key of a session that left before the erasure is in no row any more either; its annexes went when it left."""
    play = Play(COUNT, AMOUNT)
    play.event(0, "v", properties={"a": SECRET_AMOUNT})
    key = key_of(play, "v")
    for _ in range(2):
        play.now_ms += 10_000_000
        play.apply(EntryType.TICK, b"")
    assert play.engine.find_visitor("v") < 0 and np.int64(key[0]).tobytes() in state_bytes(play)
    assert np.float64(SECRET_AMOUNT).tobytes() not in state_bytes(play)
    erase(play, visitor_keys=[key])
    assert np.float64(SECRET_AMOUNT).tobytes() not in state_bytes(play)
    assert np.int64(key[0]).tobytes() not in state_bytes(play)


def test_ids_may_come_again() -> None:
    """What comes again with an event or request id that was forgotten is no duplicate; with another it is."""
    play = Play(COUNT, capacity=replace(SMALL, dedup_events_max=16))
    requests = [
        IngestEventsRequest(events=[Event(event_id=f"e{n}", name="n", visitor_id=f"v{n % 3}")]) for n in range(40)
    ]
    for request in requests:
        play.apply(EntryType.EVENTS, request.SerializeToString())
    hashes = [
        int(play.engine.scan(each.SerializeToString(), play.now_ms).records[0, EVENT_ID_HASH]) for each in requests
    ]
    gone = hashes[20:40:2]
    erase(play, id_hashes=[*gone, 1234567])
    sanity.check(play.engine)
    for number in range(39, 24, -1):
        outcome = play.apply(EntryType.EVENTS, requests[number].SerializeToString())
        assert outcome.event_outcomes.tolist() == [0 if hashes[number] in gone else 2]
    sanity.check(play.engine)


def test_an_erasure_is_open_until_it_ends() -> None:
    """An erasure is open from the first entry that begins it to the one that ends it, also through a snapshot."""
    play = Play(COUNT)
    for erasure_id, is_end in (("e1", False), ("e2", False), ("e1", False), ("e2", True)):
        play.apply(EntryType.ERASE, Erasure(erasure_id, is_end=is_end).body())
    assert play.engine.open_erasures == {"e1": (2, 4)}
    meta, arrays = play.engine.snapshot()
    other = Play(COUNT).engine
    restored = type(other)(SECRET, play._compile, SMALL)
    restored.restore(json.loads(json.dumps(meta)), Held(arrays))
    assert restored.open_erasures == {"e1": (2, 4)}
    play.apply(EntryType.ERASE, Erasure("e1", is_end=True).body())
    assert play.engine.open_erasures == {}


def test_session_ids_follow_from_events() -> None:
    """The id that a session has is among those that its events can have begun."""
    play = Play(COUNT)
    request = IngestEventsRequest(events=[Event(name="n", visitor_id="v"), Event(name="n", visitor_id="w")])
    play.apply(EntryType.EVENTS, request.SerializeToString())
    records = play.engine.scan(request.SerializeToString(), play.now_ms).records
    assert session_ids(records, play.now_ms, SECRET) == [play.session("v").session_id, play.session("w").session_id]


def test_an_empty_event_of_an_entry_keeps_its_place() -> None:
    """Where an event was erased, those behind it keep their places; in a request an empty event has none."""
    plain = [Event(name="n", visitor_id="v", customer_id=str(number)) for number in range(3)]
    whole, cut = (IngestEventsRequest(events=[first, *plain[1:]]) for first in (plain[0], Event()))
    stored = scan_request(cut.SerializeToString(), START_MS, SECRET, Limits.UNLIMITED).records
    entry = scan_request(whole.SerializeToString(), START_MS, SECRET, Limits.UNLIMITED).records
    assert stored[1:, ORDER].tolist() == entry[1:, ORDER].tolist() and stored[0, VERDICT] != 0
    taken = scan_request(cut.SerializeToString(), START_MS, SECRET, Limits())
    again = scan_request(taken.accepted_body(), START_MS, SECRET, Limits.UNLIMITED).records
    assert taken.records[1:, ORDER].tolist() == again[:, ORDER].tolist()
