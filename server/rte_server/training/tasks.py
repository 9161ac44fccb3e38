"""What can be trained: which events the labelled rows become, and which attributes of a session the score reads.

The examples of a task are sessions as the engine folds them, never the rows themselves: what a model is trained on is
what the running server will hand to it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import Enum


class Encoding(Enum):
    """How a number reaches a linear model. Trees take all but categories as they are."""

    AMOUNT = "amount"
    """Not negative and skewed, such as counts and durations: its logarithm, bent at some quantiles."""
    SHARE = "share"
    """As it is, bent at some quantiles."""
    PLAIN = "plain"
    """As it is."""
    CATEGORY = "category"
    """A code without order: one 0 or 1 per code that occurs."""
    REQUIRED = "required"
    """No column at all: a session without a value has no score, since it has nothing of what the model was trained on."""


@dataclass(frozen=True, slots=True)
class Feature:
    """An attribute of the model that is trained.

    Attributes:
        name: Its name.
        definition: What stands behind the name in the model file, YAML in one line.
        encoding: How it is used; None: it is no input, other attributes read it.
        is_derived: Whether it stands under `derived`.
        column: The column of the data that it comes from, for `--without`; empty: from several.
    """

    name: str
    definition: str
    encoding: Encoding | None
    is_derived: bool = False
    column: str = ""


@dataclass(frozen=True, slots=True)
class Task:
    """Something to be predicted.

    Attributes:
        name: Name on the command line.
        description: One sentence.
        model: Name of the model that is written.
        score: Name of its score.
        label: Column with 0 or 1, or FALSE or TRUE.
        visitor: Column of the visitor. All events of a visitor are one example: its newest session.
        is_visitor_per_row: Whether each row is a visitor of its own where there is no such column.
        time: Column of the event's time, ISO 8601; empty: rows follow one another by a second.
        event: Column of the event's name.
        event_default: Name of the event where there is no such column.
        left_out: Columns that are not sent: the label, and what a visitor does not do.
        features: The attributes, in the order of the model file.
    """

    name: str
    description: str
    model: str
    score: str
    label: str
    visitor: str
    time: str
    event: str
    event_default: str
    left_out: tuple[str, ...]
    features: tuple[Feature, ...]
    is_visitor_per_row: bool = False

    @property
    def inputs(self) -> tuple[Feature, ...]:
        """The features that the score reads, in order."""
        return tuple(feature for feature in self.features if feature.encoding is not None)

    def without(self, column: str) -> Task:
        """Return the task without what comes from a column.

        Raises:
            KeyError: No attribute comes from it alone.
        """
        kept = tuple(feature for feature in self.features if feature.column != column)
        if len(kept) == len(self.features):
            raise KeyError(column)
        return replace(self, features=kept)


def _last(name: str, column: str, encoding: Encoding) -> Feature:
    return Feature(name, f"{{last: event.{column}, on: visit_summary, type: double}}", encoding, column=column)


def _code(name: str, column: str, codes: Mapping[str, int]) -> Feature:
    """Return a category whose texts become numbers; any other text becomes 0."""
    chosen = "".join(f'event.{column} == "{text}" ? {number}.0 : ' for text, number in codes.items())
    definition = f"{{last: '{chosen}0.0', on: visit_summary, type: double}}"
    return Feature(name, definition, Encoding.CATEGORY, column=column)


def _required(name: str, counted: str) -> Feature:
    """Return the input that only sessions have in which something was counted."""
    return Feature(name, f"'{counted} > 0 ? 1.0 : null'", Encoding.REQUIRED, is_derived=True)


_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "June", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

PURCHASE = Task(
    name="purchase",
    description="Whether a visit to a shop ends in a purchase, from the summary of the visit.",
    model="purchase",
    score="purchase_probability",
    label="Revenue",
    visitor="row_id",
    time="",
    event="",
    event_default="visit_summary",
    left_out=("row_id",),
    features=(
        Feature("visit_summaries", "{count: visit_summary}", None),
        _required("has_visit_summary", "visit_summaries"),
        _last("administrative", "Administrative", Encoding.AMOUNT),
        _last("administrative_duration", "Administrative_Duration", Encoding.AMOUNT),
        _last("informational", "Informational", Encoding.AMOUNT),
        _last("informational_duration", "Informational_Duration", Encoding.AMOUNT),
        _last("product_related", "ProductRelated", Encoding.AMOUNT),
        _last("product_related_duration", "ProductRelated_Duration", Encoding.AMOUNT),
        _last("bounce_rates", "BounceRates", Encoding.SHARE),
        _last("exit_rates", "ExitRates", Encoding.SHARE),
        _last("page_values", "PageValues", Encoding.AMOUNT),
        _last("special_day", "SpecialDay", Encoding.PLAIN),
        _last("weekend", "Weekend", Encoding.PLAIN),
        _code("month", "Month", {month: number for number, month in enumerate(_MONTHS, start=1)}),
        _code("visitor_type", "VisitorType", {"Returning_Visitor": 1, "New_Visitor": 2, "Other": 3}),
        _last("operating_systems", "OperatingSystems", Encoding.CATEGORY),
        _last("browser_code", "Browser", Encoding.CATEGORY),
        _last("region_code", "Region", Encoding.CATEGORY),
        _last("traffic_type", "TrafficType", Encoding.CATEGORY),
    ),
    is_visitor_per_row=True,
)


def _count(name: str, where: str) -> Feature:
    return Feature(name, f"{{count: [edit, page_create], where: '{where}'}}", None)


def _share(name: str, of: str) -> Feature:
    definition = f"'wiki_edits > 0 ? double({of}) / double(wiki_edits) : null'"
    return Feature(name, definition, Encoding.SHARE, is_derived=True)


def _of_events(name: str, kind: str, expression: str, encoding: Encoding, more: str = "") -> Feature:
    return Feature(name, f"{{{kind}: '{expression}', on: [edit, page_create]{more}}}", encoding)


_NAMESPACES = ("main", "talk", "user", "other")

BOT = Task(
    name="bot",
    description="Whether the one who edits a wiki is a program, from how the edits of the session look.",
    model="wiki_bot",
    score="bot_probability",
    label="is_robot",
    visitor="visitor_id",
    time="ts",
    event="event_type",
    event_default="",
    left_out=("event_id", "ts", "visitor_id", "src_session_id", "event_type"),
    features=(
        Feature("wiki_edits", "{count: [edit, page_create]}", Encoding.AMOUNT),
        _required("has_wiki_edit", "wiki_edits"),
        Feature("wiki_page_creates", "{count: page_create}", None),
        _of_events("wiki_pages", "distinct", "event.item_id", Encoding.AMOUNT, ", keep: 64"),
        _of_events("wiki_projects", "distinct", "event.channel", Encoding.AMOUNT),
        Feature("wiki_span_s", "{elapsed: [edit, page_create]}", Encoding.AMOUNT),
        _count("wiki_minor_edits", "event.is_minor == 1.0"),
        _count("wiki_unpatrolled_edits", "event.is_unpatrolled == 1.0"),
        _count("wiki_anonymous_edits", "event.is_anonymous == 1.0"),
        *(_count(f"wiki_{name}_edits", f'event.namespace == "{name}"') for name in _NAMESPACES),
        _of_events("wiki_added_mean", "mean", "event.added", Encoding.AMOUNT),
        _of_events("wiki_deleted_mean", "mean", "event.deleted", Encoding.AMOUNT),
        _of_events("wiki_added_max", "max", "event.added", Encoding.AMOUNT),
        _of_events("wiki_added_min", "min", "event.added", Encoding.AMOUNT),
        _of_events("wiki_deleted_max", "max", "event.deleted", Encoding.AMOUNT),
        Feature(
            "wiki_pause_s",
            "'wiki_edits > 1 ? wiki_span_s / double(wiki_edits - 1) : null'",
            Encoding.AMOUNT,
            is_derived=True,
        ),
        _share("wiki_page_create_share", "wiki_page_creates"),
        _share("wiki_minor_share", "wiki_minor_edits"),
        _share("wiki_unpatrolled_share", "wiki_unpatrolled_edits"),
        _share("wiki_anonymous_share", "wiki_anonymous_edits"),
        *(_share(f"wiki_{name}_share", f"wiki_{name}_edits") for name in _NAMESPACES),
        Feature(
            "wiki_added_spread",
            "'wiki_added_max - wiki_added_min'",
            Encoding.AMOUNT,
            is_derived=True,
        ),
    ),
)

TASKS: Mapping[str, Task] = {task.name: task for task in (PURCHASE, BOT)}

Progress = Callable[[str], None]
"""Told what is being done, a sentence at a time."""
