"""Labelled recordings: rows to events of the contract, and the label of each visitor."""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

from rte.wire_events import Value, event
from rte_server.training.tasks import Task

EPOCH_MS = 1_704_067_200_000
"""Time of the first row where rows have none: 2024-01-01, 00:00 UTC."""

_GZIP_MAGIC = b"\x1f\x8b"
_TRUTH = {"0": False, "1": True, "false": False, "true": True}


class RecordingError(Exception):
    """The data cannot be used; the message says why, and where."""


@dataclass(frozen=True, slots=True)
class LabelledEvent:
    """An event of a recording.

    Attributes:
        visitor_id: Its visitor, as the data says.
        label: Whether its example is a positive one.
        time_ms: Its time, milliseconds since 1970.
        body: The wire bytes of the event.
    """

    visitor_id: str
    label: bool
    time_ms: int
    body: bytes


def read_events(task: Task, path: Path, prefix: str = "") -> Iterator[LabelledEvent]:
    """Yield the events of a file in its order.

    Args:
        task: What its columns mean.
        path: CSV with a header line, also gzip.
        prefix: Put before the ids of visitors and events, so that a server takes them for new ones.

    Raises:
        RecordingError: The file cannot be read, or lacks a column.
    """
    try:
        with _opened(path) as lines:
            reader = csv.DictReader(lines)
            columns = set(reader.fieldnames or ())
            is_numbered = task.is_visitor_per_row and task.visitor not in columns
            missing = {task.label, task.time, task.event} | (set() if is_numbered else {task.visitor})
            missing -= {"", *columns}
            if missing:
                raise RecordingError(f"{path} has no column {', '.join(sorted(missing))}.")
            for number, row in enumerate(reader):
                if is_numbered:
                    row[task.visitor] = str(number)
                if row[task.visitor]:
                    yield _event(task, row, number, f"{path}:{reader.line_num}", prefix)
    except (OSError, EOFError, UnicodeDecodeError, csv.Error) as error:
        raise RecordingError(f"{path} cannot be read: {error}.") from None


def labels_of(events: Iterable[LabelledEvent]) -> dict[str, bool]:
    """Return the label by visitor, in the order of their first events."""
    labels: dict[str, bool] = {}
    for each in events:
        labels[each.visitor_id] = each.label
    return labels


def _opened(path: Path) -> TextIO:
    with path.open("rb") as raw:
        is_packed = raw.read(2) == _GZIP_MAGIC
    if is_packed:
        return io.TextIOWrapper(gzip.GzipFile(path), "utf-8-sig", newline="")
    return path.open(encoding="utf-8-sig", newline="")


def _event(task: Task, row: dict[str, str], number: int, place: str, prefix: str) -> LabelledEvent:
    label = _TRUTH.get((row[task.label] or "").lower())
    if label is None:
        raise RecordingError(f"{place}: {task.label} is {row[task.label]!r}; it must be 0 or 1, or FALSE or TRUE.")
    time_ms = EPOCH_MS + 1000 * number
    if task.time:
        try:
            moment = datetime.fromisoformat(row[task.time])
        except ValueError:
            raise RecordingError(f"{place}: {task.time} is {row[task.time]!r}, no time.") from None
        time_ms = round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
    properties = {
        column: _value(text) for column, text in row.items() if text and column not in (*task.left_out, task.label)
    }
    visitor_id = prefix + row[task.visitor]
    body = event(
        event_id=f"{prefix}{number}",
        name=row[task.event] if task.event else task.event_default,
        time_ms=time_ms,
        visitor_id=visitor_id,
        properties=properties,
    )
    return LabelledEvent(visitor_id, label, time_ms, body)


def _value(text: str) -> Value:
    """Return a number where the text is one; a truth is 1 or 0, as models of labelled rows read it."""
    if text.lower() in ("true", "false"):
        return float(_TRUTH[text.lower()])
    try:
        return float(text)
    except ValueError:
        return text
