"""Lines of NDJSON to events: flat rows, nested ones by dotted paths, and events in RTE's own JSON form."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from itertools import chain, islice
from typing import Any

from rte import wire_events as wire
from rte_server.replay.csv_rows import SAMPLE_ROWS, Recorded
from rte_server.replay.mapping import ColumnMapping, Plan, fit
from rte_server.replay.problems import BadRow, RowError, RowProblems
from rte_server.replay.source import Source
from rte_server.replay.values import converter, parse_time

Row = dict[str, Any]


def ndjson_events(source: Source, mapping: ColumnMapping, problems: RowProblems, shift_ms: int) -> Iterator[Recorded]:
    """Yield the events of a file with one JSON object per line.

    Args:
        source: The file.
        mapping: What the members mean; `a.b` is member b of member a.
        problems: Gets the rows that cannot be sent.
        shift_ms: Added to each time, milliseconds.

    Raises:
        ReplayError: The file cannot be read or mapped, or `problems` is strict and got a row.
    """
    rows = _rows(source, problems)
    sample = list(islice(rows, SAMPLE_ROWS))
    if not sample:
        return
    plan = fit(mapping, _columns(sample), source.name)
    for row, line in chain(sample, rows):
        try:
            time_ms, body = _event(plan, row, line, shift_ms)
        except RowError as error:
            problems.add(BadRow(source.name, line, error.reason, error.message))
        except (TypeError, OverflowError, UnicodeEncodeError, RecursionError) as error:
            problems.add(BadRow(source.name, line, "MALFORMED", f"a value cannot be sent: {error}"))
        else:
            yield time_ms, body, source.name, line


def ndjson_times(source: Source, mapping: ColumnMapping) -> Iterator[int]:
    """Yield the times of the rows that have one, milliseconds since 1970. Raises what ndjson_events raises."""
    rows = _rows(source, RowProblems())
    sample = list(islice(rows, SAMPLE_ROWS))
    if not sample:
        return
    plan = fit(mapping, _columns(sample), source.name)
    for row, _ in chain(sample, rows):
        try:
            yield parse_time(_text(row, plan.mapping.time, "time"), plan.mapping.time_format)
        except RowError:
            continue


def _rows(source: Source, problems: RowProblems) -> Iterator[tuple[Row, int]]:
    for line, text in enumerate(source.lines(), start=1):
        if text.isspace():
            continue
        try:
            row = json.loads(text)
        except (ValueError, RecursionError) as error:
            problems.add(BadRow(source.name, line, "MALFORMED", f"the line is no JSON: {error}"))
            continue
        if isinstance(row, dict):
            yield row, line
        else:
            problems.add(BadRow(source.name, line, "MALFORMED", "the line is no JSON object"))


def _columns(sample: list[tuple[Row, int]]) -> list[str]:
    """Return the members of the sample, top level first, then the paths below."""
    top = dict.fromkeys(name for row, _ in sample for name in row)
    below = {
        f"{name}.{inner}": None
        for row, _ in sample
        for name, value in row.items()
        if isinstance(value, dict)
        for inner in value
    }
    return [*top, *(path for path in below if path not in top)]


def _event(plan: Plan, row: Row, line: int, shift_ms: int) -> tuple[int, bytes]:
    mapping = plan.mapping
    visitor_id = _text(row, mapping.visitor, "visitor")
    if not visitor_id:
        raise RowError("FIELD_MISSING", "there is no visitor, so that it belongs to no session")
    name = _text(row, mapping.name, "event name")
    if not name:
        raise RowError("FIELD_MISSING", "there is no event name")
    time_ms = parse_time(_text(row, mapping.time, "time"), mapping.time_format) + shift_ms
    body = wire.event(
        event_id=_text(row, mapping.id, "id") or _made_id(row, line),
        name=mapping.names.get(name, name),
        time_ms=time_ms,
        visitor_id=visitor_id,
        customer_id=_text(row, mapping.customer, "customer"),
        client_session_id=_text(row, mapping.session, "session"),
        channel=_text(row, mapping.channel, "channel"),
        properties=_properties(plan, row),
    )
    return time_ms, body


def _properties(plan: Plan, row: Row) -> dict[str, wire.Value]:
    found: dict[str, wire.Value] = {}
    own = row.get("properties")
    if isinstance(own, dict):
        found.update(own)
    mapped = set()
    for name, each in plan.properties.items():
        mapped.add(each.column)
        if "." in each.column and name == each.column:
            continue  # A path that nobody named: its top member is sent whole.
        value = _value(row, each.column)
        if value is not None and value != "":
            found[name] = _converted(value, each.type)
    if plan.mapping.rest:
        taken = {getattr(plan.mapping, name) for name in ("id", "time", "visitor", "name", "customer", "session")}
        taken |= {plan.mapping.channel, "properties"}
        for name, value in row.items():
            # A member that the sample did not have.
            if name not in found and name not in mapped and name not in taken and value is not None:
                found[name] = value
    if plan.unit_price and "price" not in found and found.get("quantity", 1) == 1 and "value" in found:
        found["price"] = found["value"]
    return found


def _converted(value: Any, kind: str) -> wire.Value:
    if kind == "auto" or (kind == "text" and isinstance(value, str)):
        return value  # type: ignore[no-any-return]
    if kind == "number" and isinstance(value, int | float) and not isinstance(value, bool):
        return value
    if kind == "bool" and isinstance(value, bool):
        return value
    convert: Callable[[str], wire.Value] = converter(kind)
    return convert(value if isinstance(value, str) else json.dumps(value))


def _value(row: Row, column: str) -> Any:
    if column.startswith("="):
        return column[1:]
    if column in row or "." not in column:
        return row.get(column)
    value: Any = row
    for part in column.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _text(row: Row, column: str, what: str) -> str:
    """Return a member as text; whole numbers are taken as they are written."""
    value = _value(row, column) if column else None
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    raise RowError("WRONG_TYPE", f"the {what} must be text or a number, not {json.dumps(value)[:40]}")


def _made_id(row: Row, line: int) -> str:
    """Return an id that follows from the row and its line, so that a second replay of the file changes nothing."""
    canonical = json.dumps([line, row], sort_keys=True).encode()
    return "r" + hashlib.blake2b(canonical, digest_size=12).hexdigest()
