"""The load of the crash tests: which events a worker sends follows from its number and the number of the batch."""

from __future__ import annotations

from collections.abc import Sequence

from rte.v1 import event_service_pb2, session_pb2

START_MS = 1_790_000_000_000
WORKERS = 3
VISITORS = 4
"""Per worker; each gets the same number of events of each batch."""
EVENTS = 8
"""Per visitor and batch."""


def visitor(worker: int, number: int) -> str:
    """Return the id of a worker's visitor."""
    return f"worker-{worker}-visitor-{number}"


def request(worker: int, batch: int, start_ms: int = START_MS) -> event_service_pb2.IngestEventsRequest:
    """Return a batch. The same arguments give the same events with the same ids. Every third one waits for APPLIED."""
    message = event_service_pb2.IngestEventsRequest()
    message.wait = event_service_pb2.WAIT_DURABLE if batch % 3 else event_service_pb2.WAIT_APPLIED
    for number in range(VISITORS):
        for turn in range(EVENTS):
            event = message.events.add(
                visitor_id=visitor(worker, number), event_id=f"{worker}-{batch}-{turn}", name="add_to_cart"
            )
            event.event_time.FromMilliseconds(start_ms + batch * 10 + turn)
            # A sum of distinct powers of ten tells which turns were counted how often.
            event.properties["price"] = float(10**turn)
            event.properties["quantity"] = 1.0
    return message


def assert_exactly_once(
    worker: int, sessions: Sequence[session_pb2.Session | None], begun: int, acknowledged: int
) -> None:
    """Compare the sessions of a worker's visitors with what it knows.

    Args:
        worker: Which worker.
        sessions: One per visitor; None if the server knows none.
        begun: The last batch that it sent, -1 before the first.
        acknowledged: The last batch that was answered, -1 before the first.
    """
    batches = set()
    for session in sessions:
        count = session.event_count if session is not None else 0
        batches.add(count // EVENTS)
        assert count % EVENTS == 0, f"a batch of worker {worker} is torn"
        if session is not None:
            once = sum(10**turn for turn in range(EVENTS))
            assert session.attributes["added_value"] == count // EVENTS * once, "an event is missing or counted twice"
    assert len(batches) == 1, f"a batch of worker {worker} is in the state of some of its visitors only"
    # What was sent but not acknowledged may be there or not.
    assert batches.pop() in {acknowledged + 1, begun + 1}
