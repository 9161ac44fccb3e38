"""What each event of a session did to the value of an attribute."""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from google.protobuf.struct_pb2 import Struct, Value
from numpy.typing import NDArray

from rte.v1.event_pb2 import Event
from rte.v1.session_explanation_pb2 import EventEvidence, ExplainedEvent
from rte.v1.session_pb2 import Session
from rte_server.engine.expressions import Code, input_names
from rte_server.engine.program import ELEMENT_MEMBER, AttributeSpec, Kind, ModelSpec
from rte_server.engine.session_events import DUPLICATE, LATE, TAKEN, judge
from rte_server.engine.session_parts import SessionParts
from rte_server.engine.settings import EngineSettings
from rte_server.engine.table import EVENTS, LAG, LAST, START
from rte_server.engine.wire_layout import (
    EVENT_OFF,
    NAME_OFF,
    ORDER,
    TIME_MS,
)
from rte_server.models.alongside import names_inside
from rte_server.models.definitions import Definition
from rte_server.models.expression_parts import Part, renamed_part, take_apart
from rte_server.models.facts import facts_of
from rte_server.models.problems import ExpressionError
from rte_server.service.explain.journal_search import Found, not_all
from rte_server.service.explain.rules import Codes, Rule, list_names, shown
from rte_server.service.explain.scores import number_of
from rte_server.service.explain.stories import Moment, story_of
from rte_server.service.explain.values import same, text_of, time_text
from rte_server.service.tokens import position_text

CONTRIBUTED = ExplainedEvent.OUTCOME_CONTRIBUTED
REDUNDANT = ExplainedEvent.OUTCOME_REDUNDANT
WITHOUT_EFFECT = ExplainedEvent.OUTCOME_WITHOUT_EFFECT
FILTERED_OUT = ExplainedEvent.OUTCOME_FILTERED_OUT
NO_VALUE = ExplainedEvent.OUTCOME_NO_VALUE
OUTCOME_DUPLICATE = ExplainedEvent.OUTCOME_DUPLICATE
OUTCOME_LATE = ExplainedEvent.OUTCOME_LATE

Outcome: TypeAlias = "ExplainedEvent.Outcome"
Place = tuple[int, int, int]
"""Where an event stands in the order of the answer: event time, order of equal times, position."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What is explained.

    Attributes:
        spec: The attribute.
        cell: The attribute whose cell it shows: itself, unless it is a part of another one.
        definition: Its definition.
        header: int64[HEADER_WORDS], the header of the session's row.
        value: The attribute's value, None if it has none.
        now_ms: The time by the server's clock.
        models: The running models.
        since_ms: Since when the attribute takes in events, where it does not have all of the history; else None.
    """

    spec: AttributeSpec
    cell: AttributeSpec
    definition: Definition
    header: NDArray[np.int64]
    value: Value | None
    now_ms: int
    models: Sequence[ModelSpec]
    since_ms: int | None


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which of the events are listed.

    Attributes:
        size: At most so many, > 0.
        after: The events after this place only; None: from the newest on.
        contributed_only: Only those that stand behind the value.
    """

    size: int
    after: Place | None
    contributed_only: bool


class Evidence:
    """The events behind one attribute."""

    def __init__(self, secret: NDArray[np.uint64], subject: Subject, found: Found, settings: EngineSettings) -> None:
        """Find out what each event did.

        Args:
            secret: uint64[4], the deployment secret.
            subject: What is explained.
            found: What the journal holds.
            settings: Those in force.
        """
        self._subject = subject
        self._found = found
        header = subject.header
        judged = judge(found.events, settings)
        times = found.events.records[:, TIME_MS]
        inside = (times >= header[START]) & (times <= header[LAST])
        names = [found.events.text(place, NAME_OFF) for place in range(len(found.events))]
        listens = np.array([_listens(subject.cell, name) for name in names], np.bool_)
        self._member_count = int((inside & (judged == TAKEN)).sum())
        self._other_count = int((inside & (judged == TAKEN) & ~listens).sum())
        listed = listens & (inside | (judged == LATE))
        self._events = found.events.chosen(listed)
        self._judged = judged[listed]
        self._taken = np.flatnonzero(self._judged == TAKEN)
        self._codes = Codes()
        # What decides is the code that the fold runs; the trees show where it comes from.
        rules = [rule for text in subject.definition.conditions if (rule := self._rule(text)) is not None]
        self._conditions = {rule.part.code: rule for rule in rules}
        self._value = self._rule(subject.definition.value) if subject.cell.value else None
        self._value_name = self._codes.name_of(subject.cell.value) if subject.cell.value else ""
        wheres = (subject.cell.where, *(role.where for role in subject.cell.roles))
        for where in filter(None, wheres):
            self._codes.name_of(where)
        self._read = (*wheres, subject.cell.value, *subject.cell.extras)
        self._parts = SessionParts(secret, [self._model()], self._events.chosen(self._taken), header, facts_of)
        mask = self._parts.mask(
            [f"attributes.{subject.spec.name}", *(f"attributes.{name}" for name in self._codes.by_name)]
        )
        self._mask = self._parts.mask([f"attributes.{subject.spec.name}"])
        everything = self._parts.encode(range(len(self._taken)), mask, None, subject.now_ms)
        self._alone = [_attributes(body) for body in everything]
        self._whole = self._shown(self._parts.whole)
        self._outcomes = self._judge_all()

    def _rule(self, text: str) -> Rule | None:
        """Return an expression on the event as a tree whose values can be asked for."""
        if not text:
            return None
        try:
            subject = self._subject
            model = next(each for each in subject.models if each.name == subject.spec.model)
            names = names_inside(model, subject.models)
            lists = list_names(subject.models) | names.keys()
            part = take_apart(text, None, lists, each=subject.cell.or_event)
            return self._named(renamed_part(part, names, is_on_event=True))
        except ExpressionError:
            return None

    def _named(self, part: Part) -> Rule:
        return Rule(part, self._codes.name_of(part.code), tuple(self._named(each) for each in part.parts))

    def _model(self) -> ModelSpec:
        """Return what is computed: the attribute, and each part of its expressions as the latest value."""
        subject = self._subject
        own = dict.fromkeys((subject.cell, subject.spec))
        cell = subject.cell
        elements: Any = {"each": cell.each, "or_event": True} if cell.or_event else {}
        parts = [
            AttributeSpec(name, subject.spec.model, Kind.LAST, "any", value=code, **elements)
            for name, code in self._codes.by_name.items()
        ]
        specs = (*own, *parts)
        read = {step.text for code in self._read for step in code}
        lists = (each for model in subject.models for each in model.lists if each.name.encode() in read)
        return ModelSpec(subject.spec.model, 1, "", (), "", specs, tuple(lists))

    def _judge_all(self) -> list[Outcome]:
        """Return the outcome of each listed event."""
        outcomes: list[Outcome] = [
            OUTCOME_DUPLICATE if judged == DUPLICATE else OUTCOME_LATE for judged in self._judged.tolist()
        ]
        taken: list[int] = self._taken.tolist()
        for number, place in enumerate(taken):
            outcome = self._not_taken(number, place)
            if outcome is None:
                is_needed = not same(self._shown(self._parts.without(number)), self._whole)
                outcome = CONTRIBUTED if is_needed else WITHOUT_EFFECT
            outcomes[place] = outcome
        numbers = {place: number for number, place in enumerate(taken)}
        oldest_first = [numbers[int(place)] for place in reversed(self._events.newest_first()) if place in numbers]
        doubtful = [number for number in oldest_first if outcomes[taken[number]] == WITHOUT_EFFECT]
        if doubtful:
            certain = [number for number in oldest_first if outcomes[taken[number]] == CONTRIBUTED]
            for number in self._parts.needed(certain, doubtful, lambda row: same(self._shown(row), self._whole)):
                outcomes[taken[number]] = REDUNDANT
        return outcomes

    def _shown(self, row: int) -> Value | None:
        """Return the value of the attribute in a row of the session's parts."""
        (body,) = self._parts.encode([row], self._mask, None, self._subject.now_ms)
        return _attributes(body).get(self._subject.spec.name)

    def _not_taken(self, number: int, place: int) -> Outcome | None:
        """Return why an event gives the attribute nothing, or None if it gives something."""
        if self._has_elements(place):
            return None  # Expressions are about elements, of which an event has several.
        alone = self._alone[number]
        outcome: Outcome | None = None
        for where, needs_value in self._ways(self._events.text(place, NAME_OFF)):
            if where and not alone.get(self._codes.name_of(where), Value()).bool_value:
                outcome = FILTERED_OUT if outcome is None else outcome
            elif needs_value and self._value_name and not self._is_usable(alone.get(self._value_name)):
                outcome = NO_VALUE
            else:
                return None
        return outcome

    def _has_elements(self, place: int) -> bool:
        """Return whether the attribute takes in the elements of a list of an event, and not the event itself."""
        cell = self._subject.cell
        if not cell.or_event:
            return bool(cell.each)
        event = Event.FromString(self._events.content(place, EVENT_OFF))
        found = event.properties.fields.get(cell.each)
        return found is not None and found.WhichOneof("kind") in ("list_value", "struct_value")

    def _ways(self, event_name: str) -> list[tuple[Code, bool]]:
        """Return the ways in which an event of this name is taken: its condition, and whether it needs a value."""
        cell = self._subject.cell
        main = not cell.events or event_name in cell.events
        roles = [role for role in cell.roles if not role.events or event_name in role.events]
        ways = [(cell.where, True)] if main or any(role.needs_value for role in roles) else []
        return ways + [(role.where, False) for role in roles if not role.needs_value]

    def _is_usable(self, value: Value | None) -> bool:
        """Return whether the attribute can take in a value of its expression."""
        takes = story_of(self._subject.cell.kind).takes
        if value is None or takes is None:
            return value is not None
        number = number_of(value)
        return number is not None and takes[0] <= number <= takes[1]

    def page(self, chosen: Chosen) -> tuple[EventEvidence, Place | None]:
        """Return a page of the events with what is known of all, and the place of its last event if there are more."""
        found, subject = self._found, self._subject
        answer = EventEvidence(other_event_count=self._other_count)
        counts: Counter[int] = Counter(self._outcomes)
        for field in answer.counts.DESCRIPTOR.fields:
            setattr(answer.counts, field.name, counts[ExplainedEvent.Outcome.Value(f"OUTCOME_{field.name.upper()}")])
        answer.incomplete_reason = self._incomplete_reason()
        answer.complete = not answer.incomplete_reason
        answer.journal_begin_position = position_text(found.begin_position)
        if found.begin_position:
            answer.journal_begin_time.FromMilliseconds(found.begin_ms)
        if self._whole is not None:
            answer.refolded_value.CopyFrom(self._whole)
        if answer.complete and not same(self._whole, subject.value):
            answer.difference = self._difference()
        wanted = [
            int(place)
            for place in self._events.newest_first()
            if not chosen.contributed_only or self._outcomes[place] in (CONTRIBUTED, REDUNDANT)
        ]
        if chosen.after is not None:
            wanted = [place for place in wanted if self._place(place) < chosen.after]
        numbers = {place: number for number, place in enumerate(self._taken.tolist())}
        answer.events.extend(self._explained(place, numbers.get(place)) for place in wanted[: chosen.size])
        return answer, self._place(wanted[chosen.size - 1]) if len(wanted) > chosen.size else None

    def _difference(self) -> str:
        """Return why the events give another value than the session has, although none is missing."""
        given = text_of(self._whole) if self._whole is not None else "no value"
        since_ms = self._subject.since_ms
        if since_ms is not None:
            return f"its events give {given}, but the attribute takes them in since {time_text(since_ms)} only"
        return f"its events give {given} when they are folded anew with the model that is running now"

    def summary(self) -> str:
        """Return in a sentence what the events did."""
        counts = Counter(self._outcomes)
        taken, all_count = counts[CONTRIBUTED] + counts[REDUNDANT], len(self._outcomes)
        what = _names(self._subject.cell)
        missing = self._incomplete_reason()
        if not all_count and missing:
            return f"no {what + ' ' if what else ''}event was found{not_all(missing)}"
        if not all_count:
            return f"there is no {what} event in the session" if what else "the session has no events"
        # Events that came before the attribute did have no part in its value.
        since_ms = self._subject.since_ms
        is_younger = not missing and since_ms is not None and not same(self._whole, self._subject.value)
        verb = "would stand" if is_younger else "stands" if taken == 1 else "stand"
        events = f"{what + ' ' if what else ''}event{'s' if all_count != 1 else ''}"
        parts = [f"{taken} of {all_count} {events}{' found' if missing else ''} {verb} behind it"]
        words = (
            (WITHOUT_EFFECT, "changes nothing", "change nothing"),
            (FILTERED_OUT, "does not satisfy `where`", "do not satisfy `where`"),
            (NO_VALUE, "has no value", "have no value"),
            (OUTCOME_DUPLICATE, "is a duplicate", "are duplicates"),
            (OUTCOME_LATE, "came too late", "came too late"),
        )
        for outcome, one, several in words:
            if counts[outcome]:
                parts.append(f"{counts[outcome]} {one if counts[outcome] == 1 else several}")
        if since_ms is not None and is_younger:
            return f"{', '.join(parts)}, but the attribute takes them in since {time_text(since_ms)} only"
        return ", ".join(parts) + not_all(missing)

    def _incomplete_reason(self) -> str:
        """Return why these are not all events of the session; empty if they are."""
        return self._found.incomplete_reason or self._mismatch()

    def _mismatch(self) -> str:
        """Return what is said if other events were found than the session counts."""
        counted = int(self._subject.header[EVENTS])
        if self._member_count == counted:
            return ""
        return (
            f"the session counts {counted:,} events, and the journal shows {self._member_count:,} of them from position "
            f"{self._found.begin_position} on"
        )

    def _place(self, place: int) -> Place:
        record = self._events.records[place]
        return int(record[TIME_MS]), int(record[ORDER]), int(self._events.positions[place])

    def _explained(self, place: int, number: int | None) -> ExplainedEvent:
        events = self._events
        event = Event.FromString(events.content(place, EVENT_OFF))
        explained = ExplainedEvent(
            event_id=event.event_id,
            name=event.name,
            position=position_text(int(events.positions[place])),
            outcome=self._outcomes[place],
        )
        explained.event_time.FromMilliseconds(int(events.records[place, TIME_MS]))
        explained.received_time.FromMilliseconds(int(events.received_ms[place]))
        explained.properties.CopyFrom(self._properties(event))
        if number is not None:
            alone = self._alone[number]
            self._tell(explained, alone)
        return explained

    def _properties(self, event: Event) -> Struct:
        """Return the properties that the attribute reads, as far as the event has them."""
        cell, read = self._subject.cell, Struct()
        names = {name for code in self._read for name in input_names(code)}
        if cell.or_event:
            names = {name.removeprefix(ELEMENT_MEMBER) for name in names} | {cell.each}
        for name in sorted(names):
            if name in event.properties.fields:
                read.fields[name].CopyFrom(event.properties.fields[name])
        return read

    def _tell(self, explained: ExplainedEvent, alone: Mapping[str, Value]) -> None:
        """Add what the event gives, or why it gives nothing."""
        outcome, subject = explained.outcome, self._subject
        if outcome == FILTERED_OUT:
            where = next(where for where, _ in self._ways(explained.name) if where)
            rule = self._conditions.get(where)
            if rule is not None:
                explained.condition.CopyFrom(shown(rule, alone))
                explained.reason = f"`{rule.part.text}` is {'false' if rule.name in alone else 'without a value'}"
        elif outcome == NO_VALUE:
            explained.reason = self._why_no_value(alone)
        elif subject.spec.name in alone:
            explained.contribution.CopyFrom(alone[subject.spec.name])
        if outcome == REDUNDANT:
            explained.reason = "others give the same"
        if outcome == WITHOUT_EFFECT:
            present_ms = max(subject.now_ms - int(subject.header[LAG]), int(subject.header[LAST]))
            moment = Moment(
                explained.event_time.ToMilliseconds(), present_ms, alone.get(subject.spec.name), self._whole
            )
            explained.reason = story_of(subject.cell.kind).without_effect(subject.cell, moment)

    def _why_no_value(self, alone: Mapping[str, Value]) -> str:
        """Return why the expression of the attribute has no value on an event."""
        if self._value is None:
            return "its expression has no value"
        missing = [rule.part.text for rule in _leaves(self._value) if rule.name not in alone]
        if missing and self._value_name not in alone:
            return " and ".join(f"`{text}`" for text in dict.fromkeys(missing)) + " is missing, null, or no plain value"
        value = alone.get(self._value_name)
        if value is not None:
            low, high = story_of(self._subject.cell.kind).takes or (-math.inf, math.inf)
            limits = f" from {low:,.0f} to {high:,.0f}" if high < sys.float_info.max else ""
            return f"`{self._value.part.text}` is {text_of(value)}, and only numbers{limits} are taken"
        given = [f"`{rule.part.text}` is {text_of(alone[rule.name])}" for rule in _leaves(self._value)]
        return f"`{self._value.part.text}` has no {self._subject.cell.value_type} value: {' and '.join(given)}"


def _listens(cell: AttributeSpec, name: str) -> bool:
    heard = (cell.events, *(role.events for role in cell.roles))
    return any(not events or name in events for events in heard)


def _names(cell: AttributeSpec) -> str:
    names = list(dict.fromkeys([*cell.events, *(name for role in cell.roles for name in role.events)]))
    return " or ".join(f"`{name}`" for name in names) if cell.events else ""


def _leaves(rule: Rule) -> Sequence[Rule]:
    return [leaf for each in rule.parts for leaf in _leaves(each)] if rule.parts else [rule]


def _attributes(body: bytes) -> Mapping[str, Value]:
    return dict(Session.FromString(body).attributes.fields)
