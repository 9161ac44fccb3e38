"""What the columns of a recorded file mean: told by a YAML file and options, or recognized by their names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

from rte_server.replay.problems import ReplayError

TYPES = ("auto", "number", "text", "bool")
"""How a property's text is read."""

FORMATS = ("csv", "ndjson")

_KNOWN_COLUMNS: dict[str, tuple[str, ...]] = {
    "id": ("event_id", "message_id", "messageId", "id"),
    "time": ("ts", "event_time", "timestamp", "time", "datetime"),
    "visitor": ("visitor_id", "anonymous_id", "anonymousId", "client_id", "user_pseudo_id", "user_id"),
    "name": ("event_type", "event_name", "name", "event"),
    "customer": ("customer_id",),
    "session": ("src_session_id", "client_session_id", "user_session", "session_id"),
}
"""Column names that say by themselves what they hold, the most telling first."""

_KNOWN_NAMES = {"view": "view_item", "cart": "add_to_cart"}
"""Event names of recorded shop traffic that GA4 calls otherwise."""

_KNOWN_PROPERTIES = {"category_code": "item_category", "brand": "item_brand"}
"""Columns that models know by their GA4 name. They are sent under both names."""

_TEXTS = ("id", "time", "visitor", "name", "customer", "session", "channel")


@dataclass(frozen=True, slots=True)
class Property:
    """Where a property comes from.

    Attributes:
        column: Name of the column, or `=text` for a constant.
        type: One of TYPES.
    """

    column: str
    type: str = "auto"


@dataclass(frozen=True, slots=True)
class ColumnMapping:
    """What the columns of a file mean. Empty: recognized by name, or absent.

    Attributes:
        format: One of FORMATS; empty: told by the name of the file or its first character.
        delimiter: One character between the columns of CSV.
        time_format: `auto`, `iso`, `seconds`, `milliseconds`, or a pattern of `strptime`, taken as UTC.
        id, time, visitor, name, customer, session, channel: A column each, or `=text` for a constant.
        names: Event name in the file -> event name to send; others are sent as they are.
        properties: Name of the property -> its column.
        rest: Whether columns without a meaning are sent as properties under their own names.
    """

    format: str = ""
    delimiter: str = ","
    time_format: str = "auto"
    id: str = ""
    time: str = ""
    visitor: str = ""
    name: str = ""
    customer: str = ""
    session: str = ""
    channel: str = ""
    names: Mapping[str, str] = field(default_factory=lambda: dict(_KNOWN_NAMES))
    properties: Mapping[str, Property] = field(default_factory=dict)
    rest: bool = True


def read_mapping(path: Path) -> ColumnMapping:
    """Read a mapping file.

    Raises:
        ReplayError: It cannot be read, is no YAML mapping, or holds something unknown or of the wrong type.
    """
    try:
        members = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ReplayError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}.") from None
    except yaml.YAMLError as error:
        raise ReplayError(f"{path} is no YAML: {' '.join(str(error).split())}.") from None
    if not isinstance(members, dict):
        raise ReplayError(f"{path} must hold members such as `time: ts`, one on a line.")
    known = [each.name for each in fields(ColumnMapping)]
    for member in members:
        if member not in known:
            near = get_close_matches(str(member), known, 1)
            advice = f"did you mean `{near[0]}`?" if near else f"known are {', '.join(known)}."
            raise ReplayError(f"{path} has an unknown member `{member}`; {advice}")
    return _checked(path, members)


def _checked(path: Path, members: Mapping[str, Any]) -> ColumnMapping:
    found: dict[str, Any] = {}
    for member, value in members.items():
        if member == "names":
            found[member] = _texts(path, member, value)
        elif member == "properties":
            if not isinstance(value, dict):
                raise ReplayError(f"{path}: `properties` must hold members such as `price: amount`.")
            found[member] = {str(name): _property(path, str(name), each) for name, each in value.items()}
        elif member == "rest":
            if value not in ("keep", "drop"):
                raise ReplayError(f"{path}: `rest` must be `keep` or `drop`.")
            found[member] = value == "keep"
        elif not isinstance(value, str):
            raise ReplayError(f"{path}: `{member}` must be text, such as the name of a column; put it in quotes.")
        else:
            found[member] = value
    mapping = ColumnMapping(**found)
    if mapping.format not in ("", *FORMATS):
        raise ReplayError(f"{path}: `format` must be one of {', '.join(FORMATS)}.")
    if len(mapping.delimiter) != 1:
        raise ReplayError(f"{path}: `delimiter` must be one character.")
    return mapping


def _texts(path: Path, member: str, value: object) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(each, str) for each in value.values()):
        raise ReplayError(f"{path}: `{member}` must hold members such as `view: view_item`.")
    return {str(key): each for key, each in value.items()}


def _property(path: Path, name: str, value: object) -> Property:
    members = {"column": value} if isinstance(value, str) else value
    if not isinstance(members, dict) or not isinstance(members.get("column"), str):
        raise ReplayError(f"{path}: property `{name}` needs a column, such as `{name}: amount`.")
    unknown = [each for each in members if each not in ("column", "type")]
    if unknown:
        raise ReplayError(f"{path}: property `{name}` has an unknown member `{unknown[0]}`; known are column, type.")
    kind = members.get("type", "auto")
    if kind not in TYPES:
        raise ReplayError(f"{path}: the type of property `{name}` must be one of {', '.join(TYPES)}.")
    return Property(members["column"], kind)


def with_options(mapping: ColumnMapping, options: Mapping[str, str | None], properties: Sequence[str]) -> ColumnMapping:
    """Return a mapping with what the command line says on top.

    Args:
        mapping: What the mapping file says.
        options: Text members by name; None where the option was not given.
        properties: `NAME=COLUMN` or `NAME=COLUMN:TYPE` each.

    Raises:
        ReplayError: A property has another form.
    """
    found: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
    if properties:
        found["properties"] = {**mapping.properties, **dict(_option(each) for each in properties)}
    return replace(mapping, **found)


def _option(option: str) -> tuple[str, Property]:
    name, equals, column = option.partition("=")
    if not (name and equals and column):
        raise ReplayError(f"--property {option} must have the form NAME=COLUMN, such as price=amount.")
    head, _, kind = column.rpartition(":")
    return name, Property(head, kind) if head and kind in TYPES else Property(column)


@dataclass(frozen=True, slots=True)
class Plan:
    """A mapping that was fitted to the columns of one file.

    Attributes:
        mapping: With the recognized columns filled in.
        properties: Name of each property -> its column.
        unit_price: Column whose value is sent as `price` as well, or empty. See `fit`.
    """

    mapping: ColumnMapping
    properties: Mapping[str, Property]
    unit_price: str


def fit(mapping: ColumnMapping, columns: Iterable[str], file: str) -> Plan:
    """Fit a mapping to a file: recognize what the mapping does not name.

    Args:
        mapping: What was told.
        columns: The names of the file's columns.
        file: Its name, for errors.

    Raises:
        ReplayError: A column that was told does not exist, or none is recognized for time, visitor or name.
    """
    present = list(dict.fromkeys(columns))
    told = {name: getattr(mapping, name) for name in _TEXTS}
    for name, column in told.items():
        _require(column, present, file, f"--{name}")
    for name, each in mapping.properties.items():
        _require(each.column, present, file, f"--property {name}")
    taken = {column for column in told.values() if column}
    for name, candidates in _KNOWN_COLUMNS.items():
        if not told[name]:
            told[name] = next((each for each in candidates if each in present and each not in taken), "")
            taken.add(told[name])
    for name in ("time", "visitor", "name"):
        if not told[name]:
            raise ReplayError(
                f"{file} has no column that is known to hold the {name}; its columns are {', '.join(present)}. "
                f"Say which one by --{name} COLUMN."
            )
    properties = dict(mapping.properties)
    if mapping.rest:
        _add_rest(properties, [each for each in present if each not in taken and each != "properties"])
    return Plan(replace(mapping, **told), properties, _unit_price(properties, present))


def _require(column: str, present: Sequence[str], file: str, option: str) -> None:
    if column and not column.startswith("=") and column not in present:
        near = get_close_matches(column, present, 1)
        advice = f"did you mean `{near[0]}`?" if near else f"it has {', '.join(present)}."
        raise ReplayError(f"{file} has no column `{column}` ({option}); {advice}")


def _add_rest(properties: dict[str, Property], columns: Iterable[str]) -> None:
    named = {each.column for each in properties.values()}
    for column in columns:
        if not column or column in named or column in properties:
            continue
        properties[column] = Property(column)
        other = _KNOWN_PROPERTIES.get(column)
        if other is not None and other not in properties:
            properties[other] = Property(column, "text")


def _unit_price(properties: Mapping[str, Property], columns: Sequence[str]) -> str:
    """Return `value` if it is the money of one unit at least sometimes and nothing else is the price.

    Without a quantity every row is about one unit; with one, only the rows whose quantity is 1 are (see `rows.py`).
    """
    return "value" if "value" in columns and "value" in properties and "price" not in properties else ""
