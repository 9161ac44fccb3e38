"""Compiles or loads every kernel before the first call, so that no caller waits for a compiler."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from rte_server.engine.engine import Engine
from rte_server.engine.entries import Entry, EntryType
from rte_server.engine.kernel_cache import is_empty
from rte_server.engine.merged_view import merged_view
from rte_server.engine.query import STATES_ANY
from rte_server.engine.score_inputs import ScoreInputs
from rte_server.engine.scores import carry_scores
from rte_server.engine.session_copy import evaluate_on_copy
from rte_server.engine.session_events import EventPicker
from rte_server.engine.session_parts import SessionParts
from rte_server.engine.snapshot import Held
from rte_server.engine.table import HEADER_WORDS, KEY_HI, KEY_LO, Capacity
from rte_server.models import compile_filter

_TIME_MS = 1_600_000_000_000
_SESSION_ID = "0" * 32
_FIRST_ROW = np.zeros(1, np.int64)


def warm_up(make_engine: Callable[[], Engine], configuration: dict[str, Any]) -> None:
    """Run each kernel once on an engine that is thrown away.

    Takes some 0.3 s, and on the first start of an installation up to a minute, in which numba compiles and keeps what
    it compiled. It compiles one function at a time; so a second process compiles the kernels that read meanwhile.

    Args:
        make_engine: Makes an empty engine, as small as it likes.
        configuration: The body of a CONFIGURE entry.
    """
    beside = subprocess.Popen([sys.executable, "-m", __name__]) if is_empty() else None
    engine = make_engine()
    engine.apply(1, Entry(EntryType.CONFIGURE, _TIME_MS, json.dumps(configuration).encode()))
    _take_event(engine)
    _write(engine, engine.session_id(engine.find_visitor("v")))
    engine.apply(engine.position + 1, Entry(EntryType.TICK, _TIME_MS + 1, b""))
    if beside is not None:
        # Whether it did well or not: what it left undone is compiled here.
        beside.wait()
    _read(engine)
    _explain(engine)
    _score(engine)
    engine.apply(engine.position + 1, Entry(EntryType.TICK, _TIME_MS + 100_000_000, b""))
    snapshot = engine.begin_snapshot()
    snapshot.advance()
    meta, arrays = snapshot.finish()
    make_engine().restore(meta, Held(arrays))
    _ask_for_facts(make_engine())
    _hear_of_customer(make_engine())


def _read(engine: Engine) -> None:
    """Ask all that can be asked; the engine need not hold anything."""
    for find in (engine.find_session, engine.find_alias, engine.find_customer, engine.find_visitor):
        find(_SESSION_ID)
    wanted = engine.filter(compile_filter("session.event_count >= 1", engine.program.attributes), int(STATES_ANY))
    engine.select(wanted, "session.start_time")
    engine.match(wanted, _FIRST_ROW)
    engine.encode(_FIRST_ROW)
    engine.changed_since(0)
    engine.due_count(_TIME_MS)
    engine.sweep()


def _ask_for_facts(engine: Engine) -> None:
    """Ask about a text and be told, as with a model that has functions on user agents."""
    model = "model: warm_up\nattributes: {os: {last: ua.os(event.price)}}\n"
    configuration = {"settings": {}, "models": {"warm_up": model}}
    facts = {"facts": {"ua.os": {"x": None}}}
    engine.apply(1, Entry(EntryType.CONFIGURE, _TIME_MS, json.dumps(configuration).encode()))
    engine.apply(2, Entry(EntryType.FACTS, _TIME_MS, json.dumps(facts).encode()))
    engine.unknown_facts(engine.scan(_one_event(), _TIME_MS))


def _hear_of_customer(engine: Engine) -> None:
    """Be told of a customer, as with a model that reads one, and read all sessions of one as one."""
    model = "model: warm_up\nderived: {known: customer.a}\n"
    configuration = {"settings": {}, "models": {"warm_up": model}}
    engine.apply(1, Entry(EntryType.CONFIGURE, _TIME_MS, json.dumps(configuration).encode()))
    link = {"customer_id": "c", "visitor_id": "v", "is_linked": True}
    said = {"customers": {"c": {"a": {"value": 1.5}}}}
    for entry_type, body in ((EntryType.LINK, link), (EntryType.CUSTOMER, said)):
        engine.apply(engine.position + 1, Entry(entry_type, _TIME_MS, json.dumps(body).encode()))
    engine.apply(engine.position + 1, Entry(EntryType.EVENTS, _TIME_MS, _one_event()))
    merged_view(engine, np.ones(4, np.uint64), "c", engine.mask(()), _TIME_MS)


def _one_event() -> bytes:
    """Return a request with one event that has one property."""
    # IngestEventsRequest{events: {event_id: "1", name: "view_item", visitor_id: "v", properties: {"price": 9.5}}}
    number = b"\x11" + b"\x00\x00\x00\x00\x00\x00\x23\x40"
    member = b"\x0a\x05price" + b"\x12" + bytes((len(number),)) + number
    properties = b"\x0a" + bytes((len(member),)) + member
    event = b"\x0a\x011" + b"\x12\x09view_item" + b"\x22\x01v" + b"\x42" + bytes((len(properties),)) + properties
    return b"\x12" + bytes((len(event),)) + event


def _take_event(engine: Engine) -> None:
    """Take one event, twice, and once as JSON."""
    body = _one_event()
    for _ in range(2):
        scanned = engine.scan(body, _TIME_MS)
        entry = Entry(EntryType.EVENTS, _TIME_MS, scanned.accepted_body())
        engine.apply(engine.position + 1, entry, scanned)
    # {"events": [{"name": "n"}]} as a google.protobuf.Struct in field 15.
    json_event = b"\x0a\x0b\x0a\x04name\x12\x03\x1a\x01n"
    json_list = b"\x0a" + bytes((len(json_event) + 2,)) + b"\x2a" + bytes((len(json_event),)) + json_event
    value = b"\x32" + bytes((len(json_list),)) + json_list
    entry_bytes = b"\x0a\x06events\x12" + bytes((len(value),)) + value
    form = b"\x0a" + bytes((len(entry_bytes),)) + entry_bytes
    engine.scan(b"\x7a" + bytes((len(form),)) + form, _TIME_MS)


def _explain(engine: Engine) -> None:
    """Copy a session and take it apart, as an explanation does. The secret keys strings only; any is as good."""
    secret = np.ones(4, np.uint64)
    copied = engine.copied(engine.find_visitor, "v")
    assert copied is not None
    evaluate_on_copy(secret, copied, {}, (), _TIME_MS)
    picker = EventPicker((int(copied.cells[KEY_LO]), int(copied.cells[KEY_HI])))
    picker.add(2, engine.scan(_one_event(), _TIME_MS))
    SessionParts(secret, engine.program.models, picker.events(), copied.cells[:HEADER_WORDS])


def _write(engine: Engine, session_id: str) -> None:
    """Write an attribute and end the session."""
    key = b"\x0a" + bytes((len(session_id),)) + session_id.encode()
    member = b"\x0a\x01a" + b"\x12\x03\x1a\x01b"
    attributes = b"\x0a" + bytes((len(member),)) + member
    update = key + b"\x12" + bytes((len(attributes),)) + attributes
    for entry_type, body in ((EntryType.UPDATE, update), (EntryType.END, key)):
        engine.apply(engine.position + 1, Entry(entry_type, _TIME_MS, body))


def _score(engine: Engine) -> None:
    """Do what a runner does, for no score: the models may have none, and other ones may come."""
    view = engine.score_view()
    rows = _FIRST_ROW.copy()
    places = np.zeros(0, np.int64)
    view.mark(rows, places, np.zeros(len(rows) + 1, np.int64), 0)
    view.take(rows, places)
    gathered = view.gather(ScoreInputs(places, np.zeros(0)), rows)
    view.put(0, rows[:0], gathered.stamps[:0], places, np.zeros(0))
    carry_scores(view.program, view.scores, view.program, view.scores)


if __name__ == "__main__":
    _read(Engine(np.ones(4, np.uint64), lambda *_: [], Capacity(1024, 1024, 4096, 1 << 20, 64)))
