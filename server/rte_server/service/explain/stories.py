"""How each kind of attribute is explained: one table, in which every kind has its place."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import TypeAlias

from google.protobuf.struct_pb2 import Value

from rte_server.engine.attributes import SUM_MAGNITUDE_MAX
from rte_server.engine.program import AttributeSpec, Kind
from rte_server.engine.sequence import WITHIN


class Behind(Enum):
    """What stands behind a value."""

    EVENTS = "events"
    RULE = "rule"
    SCORE = "score"
    WRITES = "writes"
    CUSTOMER = "customer"


@dataclass(frozen=True, slots=True)
class Moment:
    """An event that was taken, and the session at the time of the answer.

    Attributes:
        time_ms: When the event happened, milliseconds since 1970.
        present_ms: What time it is for the session.
        gives: What the attribute shows for this event alone; None: nothing.
        shows: What it shows for the session; None: nothing.
    """

    time_ms: int
    present_ms: int
    gives: Value | None
    shows: Value | None


Range: TypeAlias = tuple[float, float]
_FINITE: Range = (-sys.float_info.max, sys.float_info.max)
_SUMMED: Range = (-SUM_MAGNITUDE_MAX, SUM_MAGNITUDE_MAX)
_WEIGHTS: Range = (0.0, SUM_MAGNITUDE_MAX)


@dataclass(frozen=True, slots=True)
class Story:
    """How a kind is explained.

    Attributes:
        behind: What stands behind its value.
        without_effect: Says why the value would be the same without an event that was taken.
        waits: Says what an attribute waits for that changes without an event: told its value, and whether there is a
            time at which it changes. Returns nothing where there is nothing to say.
        takes: Least and greatest of the numbers that are values, bools among them; None: values of all types are.
    """

    behind: Behind
    without_effect: Callable[[AttributeSpec, Moment], str] = lambda _spec, _moment: UNKNOWN
    waits: Callable[[AttributeSpec, Value | None, bool], str] = lambda _spec, _value, _is_due: ""
    takes: Range | None = None


UNKNOWN = "the other events give the same value without it"
"""What is said of a kind that has no words of its own."""


def _always(text: str, takes: Range | None = None) -> Story:
    return Story(Behind.EVENTS, lambda _spec, _moment: text, takes=takes)


def _recent(spec: AttributeSpec, moment: Moment) -> str:
    listed = list(moment.shows.list_value.values) if moment.shows is not None else []
    if spec.unique and moment.gives is not None and all(value in listed for value in moment.gives.list_value.values):
        return "a newer event gives the same value"
    return f"it was pushed out: the {spec.keep} newest are kept"


def _window(text: str, takes: Range | None = None) -> Story:
    """Return the story of a windowed kind: an event has left the window, or else `text` is said."""

    def without_effect(spec: AttributeSpec, moment: Moment) -> str:
        width_ms, tiles = spec.params
        if moment.time_ms // width_ms <= moment.present_ms // width_ms - tiles:
            return f"it is older than the window of {duration_text(width_ms * tiles)}"
        return text

    return Story(Behind.EVENTS, without_effect, _window_waits, takes=takes)


def _window_waits(spec: AttributeSpec, _value: Value | None, is_due: bool) -> str:
    width_ms, tiles = spec.params
    window = duration_text(width_ms * tiles)
    return f"events leave the window of {window} in steps of {duration_text(width_ms)}" if is_due else ""


def _absence(spec: AttributeSpec, value: Value | None, is_due: bool) -> str:
    began = " or ".join(f"`{name}`" for name in spec.events) or "any event"
    ends = " or ".join(f"`{name}`" for role in spec.roles for name in role.events)
    waited = duration_text(spec.params[0])
    if value is not None and value.bool_value:
        return f"{waited} have passed since the latest {began}" + (f", and no {ends} came after it" if ends else "")
    if is_due:
        return f"it turns true when {waited} have passed since the latest {began}" + (
            f", unless {ends} comes" if ends else ""
        )
    return f"it waits for {began}" + (f"; after the latest one {ends} came" if ends else "")


def _sequence(spec: AttributeSpec, _value: Value | None, is_due: bool) -> str:
    within = duration_text(spec.params[WITHIN])
    return (
        f"the run that is shown ends {within} after its first step, unless another one takes its place"
        if is_due
        else ""
    )


def duration_text(duration_ms: int) -> str:
    """Return a duration as models write it."""
    for unit, unit_ms in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)):
        if duration_ms and duration_ms % unit_ms == 0:
            return f"{duration_ms // unit_ms}{unit}"
    return f"{duration_ms}ms"


STORIES: Mapping[Kind, Story] = MappingProxyType(
    {
        Kind.COUNT: _always("another event counts in its place"),
        Kind.SUM: _always("it adds 0", _SUMMED),
        Kind.MIN: _always("another event has the same or a lower value", _FINITE),
        Kind.MAX: _always("another event has the same or a higher value", _FINITE),
        Kind.MEAN: _always("its value equals the mean of the others", _SUMMED),
        Kind.FIRST: _always("an earlier event gave the value, or another one gave the same"),
        Kind.LAST: _always("a later event gave the value, or another one gave the same"),
        Kind.DISTINCT: _always("its value comes with other events, too"),
        Kind.RECENT: Story(Behind.EVENTS, _recent),
        Kind.ELAPSED: _always("the interval begins and ends with other events"),
        Kind.ABSENCE: Story(
            Behind.EVENTS, lambda _spec, _moment: "a later event decides, or another one at the same time", _absence
        ),
        Kind.RATE: _always("it has faded away", _WEIGHTS),
        Kind.EWMA: _always("it has faded away, or equals the average of the others", _SUMMED),
        Kind.WINDOW_COUNT: _window("another event counts in its place"),
        Kind.WINDOW_SUM: _window("it adds 0", _SUMMED),
        Kind.WINDOW_MIN: _window("another event has the same or a lower value", _FINITE),
        Kind.WINDOW_MAX: _window("another event has the same or a higher value", _FINITE),
        Kind.WINDOW_MEAN: _window("its value equals the mean of the others", _SUMMED),
        Kind.WINDOW_DISTINCT: _window("its value comes with a newer event, too, or `keep` newer values push it out"),
        Kind.SET: _always("its value comes with other events, too, or is not among those that are kept"),
        Kind.TOP: _always("it adds 0, or its value is not among the heaviest that are shown"),
        Kind.BASKET: _always("the basket was emptied after it, or newer events make up for it"),
        Kind.RESET_SUM: _always("the sum began anew after it, or it adds 0", _SUMMED),
        Kind.SEQUENCE: Story(
            Behind.EVENTS, lambda _spec, _moment: "the run that is shown reached the step with another event", _sequence
        ),
        Kind.DERIVED: Story(Behind.RULE),
        Kind.LINEAR: Story(Behind.SCORE),
        Kind.TRIGGER: Story(Behind.RULE),
        Kind.ONLINE: Story(Behind.SCORE),
        Kind.SCORE: Story(Behind.SCORE),
        Kind.WRITTEN: Story(Behind.WRITES),
        Kind.CUSTOMER: Story(Behind.CUSTOMER),
    }
)


def story_of(kind: Kind) -> Story:
    """Return how a kind is explained; one that is not in the table is taken to be computed from events."""
    return STORIES.get(kind, Story(Behind.EVENTS))


def waits_for(spec: AttributeSpec, value: Value | None, *, is_due: bool) -> str:
    """Return what an attribute waits for, or nothing.

    Args:
        spec: The attribute.
        value: Its value.
        is_due: Whether there is a time at which it changes without an event.
    """
    text = story_of(spec.kind).waits(spec, value, is_due)
    return text or ("it changes with the time, though no event comes" if is_due else "")
