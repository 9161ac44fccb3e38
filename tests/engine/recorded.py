"""The recorded data sets as events, and brute force over them: plain loops over sorted rows, nothing incremental."""

from __future__ import annotations

import csv
import gzip
import os
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pytest

from rte.v1.event_pb2 import Event
from rte.v1.event_service_pb2 import IngestEventsRequest

REPOSITORY = Path(__file__).resolve().parents[2]
GAP_MS = 1_800_000
BATCH_EVENTS = 500
NAMES = {"view": "view_item", "cart": "add_to_cart", "return": "refund"}
"""Names of the sources that are not those of the contract."""


@dataclass(frozen=True, slots=True)
class Row:
    """One recorded event.

    Attributes:
        event_id: Its number in the recorded stream.
        time_ms: Milliseconds since 1970.
        visitor_id: Empty: anonymous.
        session: The source's own session or order id, or empty.
        name: The event's name in RTE.
        properties: What the event carries; numbers as float.
    """

    event_id: int
    time_ms: int
    visitor_id: str
    session: str
    name: str
    properties: dict[str, float | str]

    def event(self) -> Event:
        """Return the event as a sender would make it."""
        event = Event(
            event_id=str(self.event_id),
            name=self.name,
            visitor_id=self.visitor_id,
            client_session_id=self.session,
            channel="web",
        )
        event.event_time.FromMilliseconds(self.time_ms)
        event.properties.update(self.properties)
        return event


def shared_file(name: str) -> Path:
    """Return the path of a recorded data set, or skip the test where it is not."""
    folder = Path(os.environ.get("RTE_SHARED_DIR", REPOSITORY.parent / "shared"))
    path = folder / "data" / name
    if not path.exists():
        pytest.skip(f"{name} is not there: set RTE_SHARED_DIR to the folder that has data/{name}")
    return path


def read_rows(name: str) -> list[Row]:
    """Return the rows of a recorded data set in the order of the recording."""
    with gzip.open(shared_file(name), "rt", encoding="utf-8", newline="") as lines:
        return [_row(record) for record in csv.DictReader(lines)]


def _row(record: dict[str, str]) -> Row:
    properties: dict[str, float | str] = {}
    for column, name in (("item_id", "item_id"), ("category_code", "item_category"), ("brand", "item_brand")):
        if record.get(column):
            properties[name] = record[column]
    price = record.get("price") or record.get("value")
    if price:
        properties["price"] = float(price)
    for column in ("value", "quantity", "delta"):
        if record.get(column):
            properties[column] = float(record[column])
    moment = datetime.fromisoformat(record["ts"])
    return Row(
        event_id=int(record["event_id"]),
        time_ms=round(moment.timestamp() * 1000),
        visitor_id=record["visitor_id"],
        session=record["src_session_id"],
        name=NAMES.get(record["event_type"], record["event_type"]),
        properties=properties,
    )


def requests(rows: Iterable[Row]) -> Iterator[bytes]:
    """Return the rows as wire bytes of requests of BATCH_EVENTS events."""
    batch: list[Event] = []
    for row in rows:
        batch.append(row.event())
        if len(batch) == BATCH_EVENTS:
            yield IngestEventsRequest(events=batch).SerializeToString()
            batch = []
    if batch:
        yield IngestEventsRequest(events=batch).SerializeToString()


def shuffled(rows: Iterable[Row], lateness_ms: int, seed: int = 1) -> list[Row]:
    """Return the rows in an order in which none is later than `lateness_ms` behind the newest before it."""
    rng = random.Random(seed)
    return sorted(rows, key=lambda row: row.time_ms + rng.randrange(lateness_ms))


def visits(rows: Iterable[Row]) -> dict[str, list[list[Row]]]:
    """Return the visits of each visitor by the rule: a gap strictly greater than 30 minutes starts a new one."""
    by_visitor: dict[str, list[Row]] = {}
    for row in rows:
        if row.visitor_id:
            by_visitor.setdefault(row.visitor_id, []).append(row)
    return {visitor_id: _cut(mine) for visitor_id, mine in by_visitor.items()}


def _cut(rows: list[Row]) -> list[list[Row]]:
    cut: list[list[Row]] = []
    for row in sorted(rows, key=lambda row: (row.time_ms, row.event_id)):
        if cut and row.time_ms - cut[-1][-1].time_ms <= GAP_MS:
            cut[-1].append(row)
        else:
            cut.append([row])
    return cut
