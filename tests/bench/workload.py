"""The work W1: a day of a shop's events as wire bytes, the same on every machine.

Shape: 1,000,000 events of 50,000 visitors (zipf-like, the busiest with some 5,400 events) in 24 h of event time, about
103,000 visits, about 142 bytes per event, in batches of 500 in order of time. Prices are quarters, so that sums are
exact and every candidate can be compared by a checksum. Bytes are written by hand, not with the protobuf library,
because a million messages with a Struct each would take a minute; `test_workload.py` parses them back.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np

DAY_MS = 86_400_000
START_MS = 1_764_000_000_000
"""2025-11-24T16:00:00Z; any instant would do, this one makes a six-byte varint of the seconds unnecessary."""
ITEMS = 2_000
PAGES = 400
SEARCHES = 300
VISITS_PER_EVENT = 0.142
NAMES = ("page_view", "view_item", "search", "add_to_cart", "begin_checkout", "purchase")
SHARES = (0.45, 0.30, 0.08, 0.09, 0.05, 0.03)
PAGE_VIEW, VIEW_ITEM, SEARCH, ADD_TO_CART, BEGIN_CHECKOUT, PURCHASE = range(len(NAMES))


@dataclass(frozen=True, slots=True)
class Workload:
    """Requests in order of time.

    Attributes:
        requests: Wire bytes of `rte.v1.IngestEventsRequest`, one per batch.
        received_ms: When the server got each of them, milliseconds since 1970: the time of its last event.
        event_count: Events in all requests.
        visitor_count: Visitors among whom they were drawn.
    """

    requests: list[bytes]
    received_ms: list[int]
    event_count: int
    visitor_count: int

    @property
    def byte_count(self) -> int:
        """Return the bytes of all requests."""
        return sum(map(len, self.requests))


def make_workload(
    event_count: int = 1_000_000,
    visitor_count: int = 50_000,
    batch_events: int = 500,
    seed: int = 1,
    ids_from: int = 1,
) -> Workload:
    """Return the workload; equal arguments give equal bytes.

    Args:
        event_count: Events, >= 1.
        visitor_count: Visitors, >= 1. Fewer events per visitor than 20 thin out the day's visits in proportion.
        batch_events: Events per request, 1 to 5,000.
        seed: Of the random generator.
        ids_from: The first event id; the others follow.
    """
    rng = np.random.default_rng(seed)
    visitors, times = _visits(rng, event_count, visitor_count)
    kinds = rng.choice(len(NAMES), event_count, p=SHARES)
    items = np.minimum(rng.zipf(1.3, event_count) - 1, ITEMS - 1)
    pages = rng.integers(0, PAGES, event_count)
    quantities = rng.integers(1, 4, event_count)
    write = _EventWriter()
    requests: list[bytes] = []
    received: list[int] = []
    columns = zip(
        visitors.tolist(),
        times.tolist(),
        kinds.tolist(),
        items.tolist(),
        pages.tolist(),
        quantities.tolist(),
        strict=True,
    )
    parts: list[bytes] = []
    for number, row in enumerate(columns, 1):
        parts.append(write.event(ids_from + number - 1, *row))
        if len(parts) == batch_events or number == event_count:
            requests.append(b"".join(parts))
            received.append(row[1])
            parts.clear()
    return Workload(requests, received, event_count, visitor_count)


def one_event_each(visitors: range, batch_events: int = 500, seed: int = 2) -> Workload:
    """Return a workload in which each visitor has exactly one event, of one instant: as many live sessions.

    Args:
        visitors: Numbers of the visitors; they are the numbers of the events as well.
        batch_events: Events per request.
        seed: Of the random generator.
    """
    rng = np.random.default_rng(seed)
    items = np.minimum(rng.zipf(1.3, len(visitors)) - 1, ITEMS - 1).tolist()
    kinds = rng.choice(len(NAMES), len(visitors), p=SHARES).tolist()
    write = _EventWriter()
    events = [
        write.event(visitor, visitor, START_MS, kind, item, item % PAGES, 1)
        for visitor, kind, item in zip(visitors, kinds, items, strict=True)
    ]
    requests = [b"".join(events[at : at + batch_events]) for at in range(0, len(events), batch_events)]
    return Workload(requests, [START_MS] * len(requests), len(visitors), len(visitors))


def sent_at(request: bytes, sent_ms: int) -> bytes:
    """Return a request that says when it was sent, by the clock of its events.

    The server moves the events' times by the difference to its own clock: so a workload of long ago is live traffic.
    """
    time = b"\x08" + varint(sent_ms // 1000) + b"\x10" + varint(sent_ms % 1000 * 1_000_000)
    return request + b"\x1a" + varint(len(time)) + time


def _visits(rng: np.random.Generator, event_count: int, visitor_count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return visitor and time of each event, in order of time: visits of geometric length, steps of some 40 s."""
    visit_count = max(visitor_count, int(event_count * VISITS_PER_EVENT))
    weights = (np.arange(visitor_count) + 12.0) ** -0.95
    again = rng.choice(visitor_count, visit_count - visitor_count, p=weights / weights.sum())
    visit_visitors = np.concatenate((np.arange(visitor_count), again))
    visit_starts = rng.integers(0, DAY_MS - 3_600_000, visit_count)
    lengths = rng.geometric(min(1.0, visit_count / event_count), visit_count)
    while lengths.sum() < event_count:
        lengths[rng.integers(0, visit_count)] += 1
    owners = np.repeat(np.arange(visit_count), lengths)
    steps = rng.exponential(40_000, owners.size).astype(np.int64) + 1
    steps_before = np.cumsum(steps)
    first = np.concatenate(([0], np.cumsum(lengths)[:-1]))
    offsets = steps_before - np.repeat(steps_before[first], lengths)
    times = np.minimum(visit_starts[owners] + offsets, DAY_MS - 1)
    kept = np.sort(rng.permutation(owners.size)[:event_count])
    order = np.argsort(times[kept], kind="stable")
    return visit_visitors[owners[kept]][order], (START_MS + times[kept][order]).astype(np.int64)


class _EventWriter:
    """Writes events in the wire form of `rte.v1.Event`, field by field in ascending order."""

    def __init__(self) -> None:
        self._names = [_text(2, name) for name in NAMES]
        self._channel = _text(7, "web")
        self._pages = [_entry_text("page_location", f"https://shop.example/c/{page:03d}/list") for page in range(PAGES)]
        self._items = [_entry_text("item_id", f"SKU-{item:05d}") for item in range(ITEMS)]
        self._prices = [_entry_number("price", (item * 37 % 800 + 4) / 4) for item in range(ITEMS)]
        self._quantities = [_entry_number("quantity", float(count)) for count in range(4)]
        self._searches = [_entry_text("search_term", f"warm coat {term:03d}") for term in range(SEARCHES)]

    def event(self, number: int, visitor: int, time_ms: int, kind: int, item: int, page: int, quantity: int) -> bytes:
        """Return the event as a field of a request: tag, length, body."""
        if kind in (PAGE_VIEW, BEGIN_CHECKOUT):
            properties = self._pages[page]
        elif kind == SEARCH:
            properties = self._pages[page] + self._searches[page % SEARCHES]
        else:
            properties = self._items[item] + self._prices[item] + self._quantities[quantity] + self._pages[page]
        seconds, milliseconds = divmod(time_ms, 1000)
        time = b"\x08" + varint(seconds)
        if milliseconds:
            time += b"\x10" + varint(milliseconds * 1_000_000)
        body = (
            _text(1, str(number))
            + self._names[kind]
            + b"\x1a"
            + varint(len(time))
            + time
            + _text(4, f"visitor-{visitor:07d}")
            + self._channel
            + b"\x42"
            + varint(len(properties))
            + properties
        )
        return b"\x12" + varint(len(body)) + body


def varint(number: int) -> bytes:
    """Return `number` (>= 0) as a protobuf varint."""
    if number < 128:
        return bytes((number,))
    groups = bytearray()
    while number >= 128:
        groups.append(number & 127 | 128)
        number >>= 7
    groups.append(number)
    return bytes(groups)


def _text(field: int, text: str) -> bytes:
    encoded = text.encode()
    return bytes((field << 3 | 2,)) + varint(len(encoded)) + encoded


def _entry(key: str, value: bytes) -> bytes:
    body = _text(1, key) + b"\x12" + varint(len(value)) + value
    return b"\x0a" + varint(len(body)) + body


def _entry_text(key: str, text: str) -> bytes:
    return _entry(key, _text(3, text))


def _entry_number(key: str, number: float) -> bytes:
    return _entry(key, b"\x11" + struct.pack("<d", number))
