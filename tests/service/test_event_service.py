"""EventService over real gRPC."""

from __future__ import annotations

import time
from collections.abc import Iterator

import grpc
import pytest
from google.protobuf import json_format, struct_pb2

from rte.v1 import event_service_pb2 as pb
from rte.v1.error_reason_pb2 import ErrorReason
from rte.v1.event_pb2 import Event, EventVerdict
from rte.v1.event_service_pb2_grpc import EventServiceStub
from rte.v1.session_service_pb2 import GetSessionRequest
from rte.v1.session_service_pb2_grpc import SessionServiceStub
from rte_server.engine.reasons import Reason
from rte_server.service.errors import reason_of
from tests.service.calls import event, new_visitor, raw, refused

INGEST = "/rte.v1.EventService/IngestEvents"


@pytest.fixture
def events(channel: grpc.Channel) -> EventServiceStub:
    """The service."""
    return EventServiceStub(channel)


@pytest.fixture
def sessions(channel: grpc.Channel) -> SessionServiceStub:
    """The service by which results are read."""
    return SessionServiceStub(channel)


@pytest.fixture
def visitor() -> str:
    """A visitor of this test alone."""
    return new_visitor()


def test_a_position_reads_its_own_write(events: EventServiceStub, sessions: SessionServiceStub, visitor: str) -> None:
    """A read with the position of a durable answer sees the events of the batch."""
    for count in range(1, 20):
        answer = events.IngestEvents(pb.IngestEventsRequest(events=[event(visitor)]))
        assert (answer.accepted_count, answer.rejected_count, len(answer.verdicts)) == (1, 0, 0)
        assert abs(answer.received_time.ToMilliseconds() - time.time() * 1000) < 60_000
        found = sessions.GetSession(GetSessionRequest(visitor_id=visitor, min_position=answer.position))
        assert found.session.event_count == count


def test_each_event_has_its_verdict(events: EventServiceStub, visitor: str) -> None:
    """Bad events are named with reason and field; the good ones beside them are taken."""
    request = pb.IngestEventsRequest(
        events=[
            event(visitor, event_id="a"),
            Event(name="page_view"),
            event(visitor, event_id="a"),
            event(visitor, name="n" * 65),
            event(visitor, event_time="1980-01-01T00:00:00Z"),
        ],
        wait=pb.WAIT_APPLIED,
    )
    answer = events.IngestEvents(request)
    assert (answer.accepted_count, answer.rejected_count, answer.duplicate_count) == (2, 3, 1)
    assert [(v.index, v.outcome, v.reason, v.field) for v in answer.verdicts] == [
        (1, EventVerdict.OUTCOME_REJECTED, ErrorReason.ERROR_REASON_FIELD_MISSING, "visitor_id"),
        (2, EventVerdict.OUTCOME_DUPLICATE, ErrorReason.ERROR_REASON_DUPLICATE_EVENT, "event_id"),
        (3, EventVerdict.OUTCOME_REJECTED, ErrorReason.ERROR_REASON_STRING_TOO_LONG, "name"),
        (4, EventVerdict.OUTCOME_REJECTED, ErrorReason.ERROR_REASON_EVENT_TIME_OUT_OF_RANGE, "event_time"),
    ]
    assert all(verdict.message for verdict in answer.verdicts)


def test_a_batch_in_which_all_is_refused_is_an_answer(events: EventServiceStub) -> None:
    """A batch without one good event is answered with verdicts, and its position can be waited for."""
    request = pb.IngestEventsRequest(events=[Event(name="x")], wait=pb.WAIT_APPLIED, return_sessions=True)
    answer = events.IngestEvents(request)
    assert (answer.accepted_count, answer.rejected_count, len(answer.sessions)) == (0, 1, 0)
    assert answer.position.startswith("0-")


def test_a_late_event_is_told(events: EventServiceStub, visitor: str) -> None:
    """An event older than its visitor's lateness horizon is accepted, counted as late, and changes no session."""
    events.IngestEvents(pb.IngestEventsRequest(events=[event(visitor)], wait=pb.WAIT_APPLIED))
    late = event(visitor, event_time="2026-01-01T00:00:00Z")
    answer = events.IngestEvents(pb.IngestEventsRequest(events=[late], wait=pb.WAIT_APPLIED))
    assert (answer.accepted_count, answer.late_count) == (1, 1)
    assert answer.verdicts[0].outcome == EventVerdict.OUTCOME_LATE


def test_the_resulting_sessions_come_back(events: EventServiceStub, visitor: str) -> None:
    """With return_sessions the answer holds each session that the batch touched, once, after the batch."""
    request = pb.IngestEventsRequest(
        events=[event(visitor), event(visitor), event(visitor + "-b")], wait=pb.WAIT_APPLIED, return_sessions=True
    )
    answer = events.IngestEvents(request)
    counts = {session.visitor_id: session.event_count for session in answer.sessions}
    assert counts == {visitor: 2, visitor + "-b": 1}


def test_a_request_id_counts_once(events: EventServiceStub, sessions: SessionServiceStub, visitor: str) -> None:
    """A request that is sent again with the same id changes nothing and says so."""
    request = pb.IngestEventsRequest(request_id=f"r-{visitor}", events=[event(visitor)], wait=pb.WAIT_APPLIED)
    assert events.IngestEvents(request).duplicate_count == 0
    assert events.IngestEvents(request).duplicate_count == 1
    assert sessions.GetSession(GetSessionRequest(visitor_id=visitor)).session.event_count == 1


@pytest.mark.parametrize(
    ("request_bytes", "reason", "field"),
    [
        (b"\xff\xff", Reason.MALFORMED, ""),
        (b"", Reason.FIELD_MISSING, "events"),
        (pb.IngestEventsRequest(events=[Event()] * 5001).SerializeToString(), Reason.BATCH_TOO_LARGE, "events"),
        (
            pb.IngestEventsRequest(events=[Event()], return_sessions=True).SerializeToString(),
            Reason.OUT_OF_RANGE,
            "return_sessions",
        ),
        (
            pb.IngestEventsRequest(events=[event("v", name="n" * (5 << 20))]).SerializeToString(),
            Reason.BATCH_TOO_LARGE,
            "",
        ),
    ],
    ids=["malformed", "empty", "too many", "return without wait", "too many bytes"],
)
def test_a_wrong_batch_is_refused(channel: grpc.Channel, request_bytes: bytes, reason: Reason, field: str) -> None:
    """A batch that is wrong as a whole is refused with INVALID_ARGUMENT, its reason and field."""
    assert refused(raw(channel, INGEST), request_bytes) == (grpc.StatusCode.INVALID_ARGUMENT, reason, field)


def test_json_bodies_name_unknown_members(channel: grpc.Channel, visitor: str) -> None:
    """In the form that Envoy gives to a JSON body, an unknown member of an event is its verdict."""
    body = {
        "events": [{"name": "page_view", "visitor_id": visitor, "propertys": {}}, {"name": "a", "visitor_id": visitor}]
    }
    form = json_format.ParseDict(body, struct_pb2.Struct()).SerializeToString()
    size = len(form)
    encoded = b"\x7a" + bytes((size & 0x7F | 0x80, size >> 7)) + form
    answer = pb.IngestEventsResponse.FromString(raw(channel, INGEST)(encoded))
    assert (answer.accepted_count, answer.rejected_count) == (1, 1)
    verdict = answer.verdicts[0]
    assert (verdict.reason, verdict.field) == (ErrorReason.ERROR_REASON_UNKNOWN_FIELD, "propertys")


def test_a_stream_answers_each_batch_in_order(events: EventServiceStub, visitor: str) -> None:
    """Every batch of a stream is answered, in order; one that is refused as a whole does not end it."""

    def batches() -> Iterator[pb.StreamEventsRequest]:
        for number in range(60):
            bad = number % 7 == 3
            wait = pb.WAIT_APPLIED if number % 2 else pb.WAIT_DURABLE
            count = 0 if bad else number % 5 + 1
            yield pb.StreamEventsRequest(events=[event(visitor)] * count, wait=wait)

    answers = list(events.StreamEvents(batches(), timeout=60))
    assert len(answers) == 60
    positions = []
    for number, answer in enumerate(answers):
        if number % 7 == 3:
            assert reason_of(answer.error) is Reason.FIELD_MISSING
        else:
            assert not answer.HasField("error")
            assert answer.accepted_count == number % 5 + 1
            positions.append(int(answer.position.split("-")[1]))
    assert positions == sorted(positions)


def test_a_stream_that_asks_and_waits_is_answered_at_once(events: EventServiceStub, visitor: str) -> None:
    """A caller that sends its next batch only after an answer gets it without sending more."""
    last: list[pb.StreamEventsResponse] = []

    def batches() -> Iterator[pb.StreamEventsRequest]:
        for number in range(5):
            while len(last) < number:
                time.sleep(0.001)
            yield pb.StreamEventsRequest(events=[event(visitor)])

    for answer in events.StreamEvents(batches(), timeout=60):
        last.append(answer)
    assert len(last) == 5
