"""Tests of models: given events, when time passes, then the attributes of the session.

Events are folded as a server folds them: each at its received time, with TICKs for what is due between them, so that triggers
fire between events. A trial passes only if the session has the expected attributes however the events arrive: in order, all
of a visitor at the end in reverse, and twice. So each trial tests that order does not matter and that a repeated event counts once, too.

What triggers told, and what follows from it, depends on when events came (see `engine.triggers`): of events that all come
at the end they tell something else, so there it is not looked at.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from google.protobuf import struct_pb2, timestamp_pb2
from numpy.typing import NDArray

from rte_server.engine.customer_values import CustomerValue
from rte_server.engine.engine import Engine
from rte_server.engine.entries import Entry, EntryType
from rte_server.engine.program import Kind, ModelSpec, customer_attribute
from rte_server.engine.table import Capacity
from rte_server.models.changes import following
from rte_server.models.clocked import ClockedFold
from rte_server.models.documents import Item, read_document
from rte_server.models.loader import compile_models, configuration_of, load_models
from rte_server.models.problems import ModelError, Problem, did_you_mean, unreadable
from rte_server.models.schema import TEXT_CHARS_MAX, Reader
from rte_server.models.shipped import shipped_path

TRIALS_MAX = 1000  # trials of one file
TRIAL_EVENTS_MAX = 1000  # events of one trial
EPOCH_MS = 1_704_067_200_000  # event time of `at: 0s`: 2024-01-01, 00:00 UTC
DEFAULT_VISITOR = "visitor-1"
DEFAULT_CUSTOMER = "customer-1"

_EXAMPLE = "write for example `{name: A view, given: [{event: view_item}], then: {views: 1}}`"
_TRIAL_MEMBERS = ("name", "given", "when", "then", "of")
_EVENT_MEMBERS = ("event", "at", "received", "id", "visitor", "customer", "channel", "properties")
_CUSTOMER_MEMBERS = ("customer", "id")
_RELATIVE_TOLERANCE = 1e-9
_SECRET: NDArray[np.uint64] = np.arange(1, 5, dtype=np.uint64)  # results do not depend on it
_CAPACITY = Capacity(
    sessions_max=1024, dedup_events_max=8192, strings_max=8192, string_bytes_max=1 << 20, written_sessions_max=16
)

# Fields of the contract that a trial writes and reads; rte/v1/event.proto, event_service.proto and session.proto.
_REQUEST_EVENTS = 2
_EVENT_ID, _EVENT_NAME, _EVENT_TIME, _EVENT_VISITOR, _EVENT_CUSTOMER, _EVENT_CHANNEL, _EVENT_PROPERTIES = (
    1,
    2,
    3,
    4,
    5,
    7,
    8,
)
_SESSION_ATTRIBUTES = 11

Value = bool | float | str | list["Value"] | dict[str, "Value"] | None
"""A value of an attribute or a property as JSON has it; numbers are floats, None is no value."""


@dataclass(frozen=True, slots=True)
class TrialEvent:
    """An event of a trial.

    Attributes:
        event_id: Its id; decimal, so that events of one time are ordered by it.
        name: Its name.
        time_ms: Its time, milliseconds since 1970.
        received_ms: When it is received, the same; not before the events above it.
        visitor_id: Its visitor.
        customer_id: Its customer, or empty.
        channel: Its channel, or empty.
        properties: Its properties.
    """

    event_id: str
    name: str
    time_ms: int
    received_ms: int
    visitor_id: str
    customer_id: str
    channel: str
    properties: Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class Expected:
    """What an attribute must be: `value`, numbers within `tolerance`; None is no value. `line`: where that is said."""

    value: Value
    tolerance: float = 0.0
    line: int = 0


@dataclass(frozen=True, slots=True)
class Trial:
    """One case.

    Attributes:
        name: One sentence saying what is true.
        file: Its file.
        line: Line where it begins, from 1.
        events: What is given.
        passes_ms: Time that passes after the last event was received, milliseconds, >= 0.
        visitor_id: Whose newest session is looked at.
        expected: What is expected, by attribute.
        customers: What the data mart says of customers: attributes by customer.
        said_lines: Where it is said, by attribute.
    """

    name: str
    file: str
    line: int
    events: tuple[TrialEvent, ...]
    passes_ms: int
    visitor_id: str
    expected: Mapping[str, Expected]
    customers: Mapping[str, Mapping[str, CustomerValue]] = field(default_factory=dict)
    said_lines: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Failure:
    """An attribute that is not as expected.

    Attributes:
        trial: The case.
        attribute: Name of the attribute, or empty where there is no session.
        arrival: How the events came, a key of `ARRIVALS`.
        expected: What it must be.
        found: What it is.
    """

    trial: Trial
    attribute: str
    arrival: str
    expected: Value
    found: Value

    def __str__(self) -> str:
        place = f"{self.trial.file}:{self.trial.line}: {self.trial.name}"
        if not self.attribute:
            return f"{place}: there is no session of `{self.trial.visitor_id}` (events {self.arrival})"
        return (
            f"{place}: `{self.attribute}` is {json.dumps(self.found)}, not {json.dumps(self.expected)} "
            f"(events {self.arrival})"
        )


def read_trials(source: str, file: str) -> list[Trial]:
    """Return the trials of a file.

    Raises:
        ModelError: With all problems of the file.
    """
    reader = Reader(file)
    members = reader.mapping(read_document(source, file, "`tests:` and a list of cases"), "a test file", "tests: [...]")
    reader.known_members(members, ("tests",), "a test file")
    items = members["tests"].content if "tests" in members else None
    if not isinstance(items, list) or not 1 <= len(items) <= TRIALS_MAX:
        reader.problem(1, f"`tests` must be a list of 1 to {TRIALS_MAX} cases", "write `tests:` and a list")
        items = []
    trials = [_trial(reader, item) for item in items]
    if reader.problems:
        raise ModelError(reader.problems)
    return trials


def _trial(reader: Reader, item: Item) -> Trial:
    members = reader.mapping(item, "a case", "{name: ..., given: [...], then: {...}}")
    reader.known_members(members, _TRIAL_MEMBERS, "a case")
    name = reader.text(members, "name", TEXT_CHARS_MAX)
    given = members["given"].content if "given" in members else None
    if not name or not isinstance(given, list) or not 1 <= len(given) <= TRIAL_EVENTS_MAX or "then" not in members:
        reader.problem(item, "a case needs `name`, `given` (a list of events) and `then`", _EXAMPLE)
        given = []
    events: list[TrialEvent] = []
    customers: dict[str, dict[str, CustomerValue]] = {}
    lines: dict[str, int] = {}
    for number, each in enumerate(given, start=1):
        content = each.content
        if isinstance(content, dict) and "customer" in content and isinstance(content["customer"].content, dict):
            customer_id, said = _customer(reader, each)
            customers.setdefault(customer_id, {}).update(said)
            lines |= dict.fromkeys(said, each.line)
        else:
            events.append(_event(reader, each, number, events[-1] if events else None))
    if DEFAULT_CUSTOMER in customers and not any(event.customer_id for event in events):
        events = [replace(event, customer_id=DEFAULT_CUSTOMER) for event in events]
    if given and not events:
        reader.problem(item, "a case needs an event: there is no session without one", _EXAMPLE)
    when = reader.mapping(members["when"], "`when`", "{passes: 31m}") if "when" in members else {}
    reader.known_members(when, ("passes",), "`when`")
    then = reader.mapping(members["then"], "`then`", "{page_views: 2}") if "then" in members else {}
    return Trial(
        name=name,
        file=reader.file,
        line=item.line,
        events=tuple(events),
        passes_ms=reader.duration_ms(when["passes"]) if "passes" in when else 0,
        visitor_id=reader.text(members, "of", TEXT_CHARS_MAX) or DEFAULT_VISITOR,
        expected={attribute: _expected(reader, each) for attribute, each in then.items()},
        customers=customers,
        said_lines=lines,
    )


def _customer(reader: Reader, item: Item) -> tuple[str, dict[str, CustomerValue]]:
    """Return whom the data mart says something of, and what."""
    members = reader.mapping(item, "a customer", "{customer: {lifetime_value: 250}}")
    reader.known_members(members, _CUSTOMER_MEMBERS, "a customer")
    said: dict[str, CustomerValue] = {}
    for name, each in reader.mapping(members["customer"], "`customer`", "{lifetime_value: 250}").items():
        value = _plain(each)
        if isinstance(value, bool | float | str):
            said[name] = value
        elif value is not None:
            remedy = "models read numbers, texts, booleans, and times as milliseconds since 1970"
            reader.problem(each, f"`{name}` of a customer is no single value", remedy)
    return reader.text(members, "id", TEXT_CHARS_MAX) or DEFAULT_CUSTOMER, said


def _event(reader: Reader, item: Item, number: int, above: TrialEvent | None) -> TrialEvent:
    """Return an event; without `at` it is at the time of the one above it."""
    members = reader.mapping(item, "an event", "{event: view_item, at: 5s, properties: {price: 9.9}}")
    reader.known_members(members, _EVENT_MEMBERS, "an event")
    name = reader.text(members, "event", TEXT_CHARS_MAX)
    if not name:
        reader.problem(item, "an event needs a name", "write `event: view_item`")
    properties = (
        reader.mapping(members["properties"], "`properties`", "{price: 9.9}") if "properties" in members else {}
    )
    time_ms = EPOCH_MS if above is None else above.time_ms
    if "at" in members:
        time_ms = EPOCH_MS + reader.duration_ms(members["at"])
    earliest_ms = time_ms if above is None else max(time_ms, above.received_ms)
    received_ms = EPOCH_MS + reader.duration_ms(members["received"]) if "received" in members else earliest_ms
    if received_ms < earliest_ms:
        remedy = (
            "give it a later `received`, or put the event where it belongs: they are in the order in which they come"
        )
        reader.problem(
            members["received"], "an event is received before it happens, or before the one above it", remedy
        )
    return TrialEvent(
        event_id=reader.text(members, "id", TEXT_CHARS_MAX) or str(number),
        name=name,
        time_ms=time_ms,
        received_ms=received_ms,
        visitor_id=reader.text(members, "visitor", TEXT_CHARS_MAX) or DEFAULT_VISITOR,
        customer_id=reader.text(members, "customer", TEXT_CHARS_MAX),
        channel=reader.text(members, "channel", TEXT_CHARS_MAX),
        properties={key: _plain(each) for key, each in properties.items()},
    )


def _plain(item: Item) -> Value:
    content = item.content
    if isinstance(content, list):
        return [_plain(each) for each in content]
    if isinstance(content, dict):
        return {name: _plain(each) for name, each in content.items()}
    return float(content) if isinstance(content, int) and not isinstance(content, bool) else content


def _expected(reader: Reader, item: Item) -> Expected:
    """Return what an attribute must be: a value, or `{near: 0.5, within: 0.01}`. Objects stand in lists only."""
    if not isinstance(item.content, dict):
        return Expected(_plain(item), line=item.line)
    reader.known_members(item.content, ("near", "within"), "an expected value")
    if set(item.content) != {"near", "within"}:
        reader.problem(item, "an expected number needs `near` and `within`", "write `{near: 0.5, within: 0.01}`")
        return Expected(None)
    near, within = (reader.number(item.content[word], f"`{word}`") for word in ("near", "within"))
    return Expected(near, within, item.line)


ScoreAll = Callable[[Engine, Sequence[ModelSpec]], None]
"""Computes the scores that runners compute, of all sessions of an engine."""


def run_file(path: str | Path, score_all: ScoreAll | None = None) -> tuple[int, list[Failure]]:
    """Run the tests that a model names.

    Args:
        path: Name of a model that ships, or path of a model file. Its tests are looked for beside it.
        score_all: Computes scores that are not computed in the fold; None: those have no value.

    Returns:
        The number of trials, and what failed.

    Raises:
        ModelError: The model or its tests cannot be read, or it names no tests.
    """
    models = load_models([path])
    trials = trials_of(path, models)
    if trials is None:
        raise ModelError([Problem(str(path), 0, "the model names no tests", "write `tests: my_tests.yaml`")])
    return len(trials), [failure for trial in trials for failure in run_trial(models, trial, score_all)]


def trials_of(path: str | Path, models: Sequence[ModelSpec]) -> list[Trial] | None:
    """Return the trials that a model names; None if it names none.

    Args:
        path: Name of a model that ships, or path of a model file. Its tests are looked for beside it.
        models: The model, and those that it uses.

    Raises:
        ModelError: The tests cannot be read, or look at what no model has.
    """
    text = str(path)
    file = shipped_path(text) if any(model.name == text for model in models) else Path(path)
    content = read_document(file.read_text("utf-8"), text).content
    named = content.get("tests") if isinstance(content, dict) else None
    if named is None or not isinstance(named.content, str):
        return None
    inside = PurePath(named.content)
    if not inside.parts or inside.is_absolute() or ".." in inside.parts or "\0" in named.content:
        remedy = "name a file in the folder of the model file, or below, such as `tests: my_tests.yaml`"
        raise ModelError([Problem(text, named.line, f"`{named.content}` cannot be the file of the tests", remedy)])
    try:
        tests = file.parent.joinpath(inside).read_text("utf-8")
    except OSError as error:
        message = f"the tests `{named.content}` cannot be read: {error.strerror}"
        raise ModelError([Problem(text, named.line, message, "put them beside the model")]) from None
    except UnicodeDecodeError as error:
        raise ModelError([unreadable(named.content, error)]) from None
    trials = read_trials(tests, named.content)
    _refuse_unknown(models, trials)
    return trials


def _refuse_unknown(models: Sequence[ModelSpec], trials: Sequence[Trial]) -> None:
    """Refuse trials that look at attributes which no model has: `null` would hold of them whatever happens.

    Raises:
        ModelError: With all such places.
    """
    known = {spec.name for model in models for spec in model.attributes}
    problems = [
        Problem(trial.file, each.line, f"there is no attribute `{name}` to look at", did_you_mean(name, known))
        for trial in trials
        for name, each in trial.expected.items()
        if name not in known
    ]
    read = {customer_attribute(spec) for model in models for spec in model.attributes if spec.kind == Kind.CUSTOMER}
    problems += [
        Problem(trial.file, line, f"no model reads `customer.{name}`", did_you_mean(name, read))
        for trial in trials
        for name, line in trial.said_lines.items()
        if name not in read
    ]
    if problems:
        raise ModelError(problems)


Requests = Sequence[tuple[int, bytes]]
"""What a server gets: received time, milliseconds since 1970, and the wire bytes of a request, by time."""


def _as_they_come(events: Sequence[TrialEvent]) -> Requests:
    return [
        (received_ms, b"".join(map(encoded, together)))
        for received_ms, together in groupby(events, lambda event: event.received_ms)
    ]


def _reversed(events: Sequence[TrialEvent]) -> Requests:
    visitors: dict[str, list[TrialEvent]] = {}
    for event in events:
        visitors.setdefault(event.visitor_id, []).append(event)
    times = {visitor_id: together_ms(own) for visitor_id, own in visitors.items()}
    return [
        (times[visitor_id], encoded(event))
        for visitor_id in sorted(visitors, key=lambda each: times[each])
        for event in reversed(visitors[visitor_id])
    ]


def together_ms(events: Sequence[TrialEvent]) -> int:
    """Return when events of a visitor can be received all at once so that the session's time is what it would have been.

    That is set back by the least delay of an event, so the latest one must come with just this delay.
    """
    return max(event.time_ms for event in events) + min(event.received_ms - event.time_ms for event in events)


def _twice(events: Sequence[TrialEvent]) -> Requests:
    return [request for request in _as_they_come(events) for _ in range(2)]


IN_ORDER = "in order"
REVERSED = "reversed"
ARRIVALS: Mapping[str, Callable[[Sequence[TrialEvent]], Requests]] = {
    IN_ORDER: _as_they_come,
    REVERSED: _reversed,
    "twice": _twice,
}
"""The ways in which the events of each trial come."""


def run_trial(models: Sequence[ModelSpec], trial: Trial, score_all: ScoreAll | None = None) -> list[Failure]:
    """Play a trial in all ways of arrival; return what is not as expected.

    Args:
        models: The models, each after those that it uses.
        trial: The case.
        score_all: As in `run_file`.
    """
    told = what_triggers_tell(models)
    sets = {spec.name for model in models for spec in model.attributes if spec.kind == Kind.SET}
    failures: list[Failure] = []
    for arrival, requests_of in ARRIVALS.items():
        found = play(models, trial, requests_of(trial.events), score_all)
        if found is None:
            failures.append(Failure(trial, "", arrival, None, None))
            continue
        failures += [
            Failure(trial, name, arrival, expected.value, found.get(name))
            for name, expected in trial.expected.items()
            if not _agrees(expected, found.get(name), in_any_order=name in sets)
            if not (arrival == REVERSED and name in told)
        ]
    return failures


def what_triggers_tell(models: Sequence[ModelSpec]) -> set[str]:
    """Return the attributes that say what triggers have told, and those that follow from them."""
    specs = [spec for model in models for spec in model.attributes]
    return following(specs, (spec.name for spec in specs if spec.kind == Kind.TRIGGER))


def play(
    models: Sequence[ModelSpec], trial: Trial, requests: Requests, score_all: ScoreAll | None = None
) -> dict[str, Value] | None:
    """Return the attributes of the visitor's newest session at the end of a trial, or None without a session.

    Args:
        models: The models, each after those that it uses.
        trial: The case.
        requests: Its events as they come.
        score_all: As in `run_file`.
    """
    engine = Engine(_SECRET, compile_models, capacity=_CAPACITY)
    fold = ClockedFold(engine)
    configuration: dict[str, Any] = {"settings": {}} | configuration_of(models)
    fold.entry(Entry(EntryType.CONFIGURE, requests[0][0], json.dumps(configuration).encode()))
    said = {name: {key: {"value": value} for key, value in each.items()} for name, each in trial.customers.items()}
    for received_ms, request in requests:
        fold.events(received_ms, request)
        if said:
            # Again after each, as a server does for sessions that have begun since.
            body = json.dumps({"customers": said}).encode()
            fold.entry(Entry(EntryType.CUSTOMER, received_ms, body))
    fold.look(trial.events[-1].received_ms + trial.passes_ms)
    if score_all is not None:
        score_all(engine, models)
    row = engine.find_visitor(trial.visitor_id)
    return attributes_of(engine.encode([row])[0]) if row >= 0 else None


def _agrees(expected: Expected, found: Value, *, in_any_order: bool = False) -> bool:
    """Return whether a value is as expected; the values of a set stand in any order, which the secret of a deployment decides."""
    value = expected.value
    if isinstance(value, float) and isinstance(found, float):
        tolerance = max(expected.tolerance, _RELATIVE_TOLERANCE * abs(value))
        return math.fabs(value - found) <= tolerance
    if isinstance(value, list) and isinstance(found, list) and in_any_order:
        left = list(found)
        for each in value:
            place = next((number for number, other in enumerate(left) if _agrees(Expected(each), other)), None)
            if place is None:
                return False
            del left[place]
        return not left
    if isinstance(value, list) and isinstance(found, list):
        return len(value) == len(found) and all(
            _agrees(Expected(left), right) for left, right in zip(value, found, strict=True)
        )
    if isinstance(value, dict) and isinstance(found, dict):
        return value.keys() == found.keys() and all(_agrees(Expected(value[name]), found[name]) for name in value)
    return type(value) is type(found) and value == found


def _field(number: int, body: bytes) -> bytes:
    """Return a length-delimited field of the protobuf wire format; the field number is at most 15."""
    return bytes([number << 3 | 2]) + _varint(len(body)) + body


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def encoded(event: TrialEvent) -> bytes:
    """Return the wire bytes of a request with one event; requests can be joined to longer ones."""
    properties = struct_pb2.Struct()
    properties.update(dict(event.properties))
    time = timestamp_pb2.Timestamp(seconds=event.time_ms // 1000, nanos=event.time_ms % 1000 * 1_000_000)
    fields = {
        _EVENT_ID: event.event_id.encode(),
        _EVENT_NAME: event.name.encode(),
        _EVENT_TIME: time.SerializeToString(),
        _EVENT_VISITOR: event.visitor_id.encode(),
        _EVENT_CUSTOMER: event.customer_id.encode(),
        _EVENT_CHANNEL: event.channel.encode(),
        _EVENT_PROPERTIES: properties.SerializeToString(),
    }
    return _field(_REQUEST_EVENTS, b"".join(_field(number, body) for number, body in fields.items() if body))


def attributes_of(session: bytes) -> dict[str, Value]:
    """Return the attributes of a serialized session; the engine's own bytes are trusted."""
    at = 0
    attributes = struct_pb2.Struct()
    while at < len(session):
        tag, at = _read_varint(session, at)
        if tag & 7 == 0:
            _, at = _read_varint(session, at)
            continue
        length, at = _read_varint(session, at)
        if tag >> 3 == _SESSION_ATTRIBUTES:
            attributes.MergeFromString(session[at : at + length])
        at += length
    return {name: _of_struct(value) for name, value in attributes.fields.items()}


def _read_varint(encoded: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = encoded[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def _of_struct(value: struct_pb2.Value) -> Value:
    kind = value.WhichOneof("kind")
    if kind == "list_value":
        return [_of_struct(each) for each in value.list_value.values]
    if kind == "struct_value":
        return {name: _of_struct(each) for name, each in value.struct_value.fields.items()}
    if kind == "bool_value":
        return value.bool_value
    if kind == "number_value":
        return value.number_value
    return value.string_value if kind == "string_value" else None
