"""Sessions as people read them in a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from google.protobuf.struct_pb2 import Value
    from google.protobuf.timestamp_pb2 import Timestamp

    from rte.v1.session_pb2 import Session

COLUMNS = ("visitor", "state", "last event", "ev", "pages", "products", "basket", "propensity", "from", "device", "at")
"""Titles of the cells of a session's line."""

_NUMBERS = frozenset(("ev", "pages", "products", "basket", "propensity"))


def is_number(column: str) -> bool:
    """Say whether a column holds numbers, which stand at its right."""
    return column in _NUMBERS


def cells(session: Session, now: datetime) -> tuple[str, ...]:
    """Return the cells of a session's line, in the order of COLUMNS.

    Args:
        session: The session; attributes that its models lack are shown as empty.
        now: The present, with a zone.
    """
    attributes = session.attributes.fields
    state = {1: "active", 2: "closed"}.get(session.state, "")
    return (
        session.visitor_id + (f" ({session.customer_id})" if session.customer_id else ""),
        state,
        ago(session.last_event_time, now),
        str(session.event_count),
        _text(attributes, "page_views"),
        _text(attributes, "product_views"),
        _basket(attributes),
        _share(attributes, "purchase_propensity"),
        _text(attributes, "channel"),
        _text(attributes, "device"),
        _path(_text(attributes, "exit_page")),
    )


def ago(moment: Timestamp, now: datetime) -> str:
    """Return how long ago it was, or the date if it was more than a day ago."""
    then = moment.ToDatetime(UTC)
    seconds = int((now - then).total_seconds())
    if seconds < 2:
        return "now"
    if seconds < 100:
        return f"{seconds} s ago"
    if seconds < 6000:
        return f"{seconds // 60} min ago"
    if seconds < 86_400:
        return f"{seconds // 3600} h ago"
    return f"{then:%Y-%m-%d %H:%M}"


def value_text(value: Value) -> str:
    """Return an attribute's value as short text: JSON, but strings without quotes."""
    kind = value.WhichOneof("kind")
    if kind == "number_value":
        number = value.number_value
        return f"{number:.0f}" if number.is_integer() and abs(number) < 1e15 else f"{number:.10g}"
    if kind == "string_value":
        return value.string_value
    if kind == "bool_value":
        return "true" if value.bool_value else "false"
    if kind == "list_value":
        return "[" + ", ".join(value_text(each) for each in value.list_value.values) + "]"
    return "" if kind != "struct_value" else "{...}"


def _text(attributes: Mapping[str, Value], name: str) -> str:
    return value_text(attributes[name]) if name in attributes else ""


def _basket(attributes: Mapping[str, Value]) -> str:
    """Return the value of the open basket; what was bought, and what was abandoned, is marked."""
    bought = attributes["revenue"].number_value if "revenue" in attributes else 0.0
    if bought > 0:
        return f"paid {bought:,.2f}"
    value = attributes["open_basket_value"].number_value if "open_basket_value" in attributes else 0.0
    mark = "left " if _text(attributes, "abandonment_state") == "abandoned" else ""
    return f"{mark}{value:,.2f}" if value > 0 else ""


def _share(attributes: Mapping[str, Value], name: str) -> str:
    return f"{attributes[name].number_value:.0%}" if name in attributes else ""


def _path(address: str) -> str:
    """Return an address without scheme and host, cut to 40 characters."""
    path = "/" + address.partition("://")[2].partition("/")[2] if "://" in address else address
    return path if len(path) <= 40 else path[:37] + "..."
