"""The load of the crash tests: which events a worker sends follows from its number and the number of the batch."""

from __future__ import annotations

from rte.v1 import event_service_pb2

START_MS = 1_790_000_000_000
WORKERS = 3
VISITORS = 4
"""Per worker; each gets the same number of events of each batch."""
EVENTS = 8
"""Per visitor and batch."""


def visitor(worker: int, number: int) -> str:
    """Return the id of a worker's visitor."""
    return f"worker-{worker}-visitor-{number}"


def request(worker: int, batch: int) -> bytes:
    """Return the wire bytes of a batch. The same arguments give the same events with the same ids."""
    message = event_service_pb2.IngestEventsRequest()
    for number in range(VISITORS):
        for turn in range(EVENTS):
            event = message.events.add(
                visitor_id=visitor(worker, number), event_id=f"{worker}-{batch}-{turn}", name="add_to_cart"
            )
            event.event_time.FromMilliseconds(START_MS + batch * 10 + turn)
            # A sum of distinct powers of ten tells which turns were counted how often.
            event.properties["price"] = float(10**turn)
            event.properties["quantity"] = 1.0
    return message.SerializeToString()
