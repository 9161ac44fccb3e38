"""SessionService over real gRPC."""

from __future__ import annotations

import time
from typing import Any

import grpc
import pytest
from google.protobuf import json_format
from google.protobuf.field_mask_pb2 import FieldMask

from rte.v1 import session_service_pb2 as pb
from rte.v1.session_pb2 import SESSION_STATE_CLOSED, Session
from rte.v1.session_service_pb2_grpc import SessionServiceStub
from rte_server.engine.entries import EntryType
from rte_server.engine.reasons import Reason
from rte_server.service.errors import reason_of
from tests.service.calls import event, new_visitor, refused, send
from tests.service.live_server import LiveServer

INVALID = grpc.StatusCode.INVALID_ARGUMENT
NOT_FOUND = grpc.StatusCode.NOT_FOUND


@pytest.fixture
def sessions(channel: grpc.Channel) -> SessionServiceStub:
    """The service."""
    return SessionServiceStub(channel)


@pytest.fixture
def visitor() -> str:
    """A visitor of this test alone."""
    return new_visitor()


def get(sessions: SessionServiceStub, visitor_id: str, *paths: str) -> Session:
    """Return a visitor's session."""
    request = pb.GetSessionRequest(visitor_id=visitor_id, read_mask=FieldMask(paths=paths))
    return sessions.GetSession(request, timeout=60).session


def update(session_id: str, **attributes: object) -> pb.UpdateSessionRequest:
    """Return a request to write attributes."""
    return json_format.ParseDict({"session_id": session_id, "attributes": attributes}, pb.UpdateSessionRequest())


def test_a_session_is_found_by_each_of_its_ids(
    channel: grpc.Channel, sessions: SessionServiceStub, visitor: str
) -> None:
    """Session, visitor, customer and client's session id lead to the same session."""
    send(channel, event(visitor, customer_id=f"c-{visitor}", client_session_id=f"a-{visitor}"))
    session = get(sessions, visitor)
    assert session.alias_ids == [f"a-{visitor}"]
    keys: tuple[dict[str, Any], ...] = (
        {"session_id": session.session_id},
        {"customer_id": f"c-{visitor}"},
        {"client_session_id": f"a-{visitor}"},
    )
    for key in keys:
        answer = sessions.GetSession(pb.GetSessionRequest(**key))
        assert answer.session == session
        assert answer.position.startswith("0-")
        assert abs(answer.as_of_time.ToMilliseconds() - time.time() * 1000) < 60_000


@pytest.mark.parametrize(
    ("request_fields", "expected"),
    [
        ({"session_id": "0" * 32}, (NOT_FOUND, Reason.SESSION_NOT_FOUND, "session_id")),
        ({"session_id": "ü"}, (NOT_FOUND, Reason.SESSION_NOT_FOUND, "session_id")),
        ({"visitor_id": "nobody"}, (NOT_FOUND, Reason.SESSION_NOT_FOUND, "visitor_id")),
        ({"customer_id": "nobody"}, (NOT_FOUND, Reason.SESSION_NOT_FOUND, "customer_id")),
        ({"client_session_id": "none"}, (NOT_FOUND, Reason.SESSION_NOT_FOUND, "client_session_id")),
        ({}, (INVALID, Reason.FIELD_MISSING, "session_id")),
        ({"visitor_id": ""}, (INVALID, Reason.FIELD_MISSING, "visitor_id")),
        ({"visitor_id": "v", "min_position": "x"}, (INVALID, Reason.INVALID_POSITION, "min_position")),
        ({"visitor_id": "v", "min_position": "0-99999999"}, (INVALID, Reason.INVALID_POSITION, "min_position")),
        (
            {"visitor_id": "v", "read_mask": FieldMask(paths=["nothing"])},
            (INVALID, Reason.INVALID_EXPRESSION, "read_mask"),
        ),
    ],
)
def test_a_wrong_get_is_refused(
    sessions: SessionServiceStub, request_fields: dict[str, Any], expected: tuple[object, ...]
) -> None:
    """Ids that lead nowhere and wrong arguments are refused with reason and field."""
    assert refused(sessions.GetSession, pb.GetSessionRequest(**request_fields)) == expected


def test_a_read_mask_chooses(channel: grpc.Channel, sessions: SessionServiceStub, visitor: str) -> None:
    """Only the fields and attributes that the mask names are in the answer."""
    send(channel, event(visitor))
    session = get(sessions, visitor, "visitor_id", "attributes.page_views")
    assert session == Session(visitor_id=visitor, attributes={"page_views": 1})


def test_a_batch_has_a_result_per_id(channel: grpc.Channel, sessions: SessionServiceStub, visitor: str) -> None:
    """Each id of a batch has its session or its status, in the order asked for."""
    send(channel, event(visitor), event(visitor + "-b"))
    found = get(sessions, visitor)
    request = pb.BatchGetSessionsRequest(
        session_ids=["nope", found.session_id], visitor_ids=[visitor + "-b", "", visitor]
    )
    results = sessions.BatchGetSessions(request).results
    assert [result.session.visitor_id or reason_of(result.error).name for result in results] == [
        "SESSION_NOT_FOUND",
        visitor,
        visitor + "-b",
        "FIELD_MISSING",
        visitor,
    ]
    too_many = pb.BatchGetSessionsRequest(visitor_ids=["v"] * 1001)
    assert refused(sessions.BatchGetSessions, too_many)[1] is Reason.OUT_OF_RANGE
    assert refused(sessions.BatchGetSessions, pb.BatchGetSessionsRequest())[1] is Reason.FIELD_MISSING


def test_a_list_in_pages(channel: grpc.Channel, sessions: SessionServiceStub, visitor: str) -> None:
    """The pages of a list hold each matching session once, in order, and count them all."""
    visitors = [f"{visitor}-{number:02}" for number in range(25)]
    send(
        channel,
        *(
            event(name, "purchase", channel=visitor, properties={"value": number % 4})
            for number, name in enumerate(visitors)
        ),
    )
    request = pb.ListSessionsRequest(
        filter=f'session.channel == "{visitor}" && purchases >= 1',
        order_by="session.visitor_id desc",
        page_size=10,
        read_mask=FieldMask(paths=["visitor_id"]),
    )
    found: list[str] = []
    for size in (10, 10, 5):
        answer = sessions.ListSessions(request)
        assert (len(answer.sessions), answer.total_count) == (size, 25)
        found += [session.visitor_id for session in answer.sessions]
        request.page_token = answer.next_page_token
    assert request.page_token == ""
    assert found == visitors[::-1]


def test_a_page_token_belongs_to_its_request(channel: grpc.Channel, sessions: SessionServiceStub, visitor: str) -> None:
    """A page token with another filter, order or state is refused; another page size or mask is fine."""
    send(channel, event(visitor), event(visitor + "-b"))
    request = pb.ListSessionsRequest(page_size=1)
    request.page_token = sessions.ListSessions(request).next_page_token
    assert request.page_token
    sessions.ListSessions(pb.ListSessionsRequest(page_size=2, page_token=request.page_token))
    changes: tuple[dict[str, Any], ...] = (
        {"filter": "page_views > 0"},
        {"order_by": "session.start_time desc"},
        {"state": 3},
    )
    for change in changes:
        other = pb.ListSessionsRequest(page_size=1, page_token=request.page_token, **change)
        assert refused(sessions.ListSessions, other) == (INVALID, Reason.INVALID_PAGE_TOKEN, "page_token")


@pytest.mark.parametrize(
    ("fields", "reason", "field"),
    [
        ({"filter": "nothing > 1"}, Reason.INVALID_EXPRESSION, "filter"),
        ({"filter": "page_views >"}, Reason.INVALID_EXPRESSION, "filter"),
        ({"filter": "page_views"}, Reason.INVALID_EXPRESSION, "filter"),
        ({"filter": f'session.channel == "{"x" * 5000}"'}, Reason.INVALID_EXPRESSION, "filter"),
        ({"order_by": "nothing"}, Reason.INVALID_EXPRESSION, "order_by"),
        ({"order_by": "page_views up"}, Reason.INVALID_EXPRESSION, "order_by"),
        ({"page_size": -1}, Reason.OUT_OF_RANGE, "page_size"),
        ({"state": 9}, Reason.OUT_OF_RANGE, "state"),
        ({"page_token": "x"}, Reason.INVALID_PAGE_TOKEN, "page_token"),
    ],
)
def test_a_wrong_list_is_refused(
    sessions: SessionServiceStub, fields: dict[str, Any], reason: Reason, field: str
) -> None:
    """Wrong arguments of a list are refused with reason and field."""
    assert refused(sessions.ListSessions, pb.ListSessionsRequest(**fields)) == (INVALID, reason, field)


def test_written_attributes_are_part_of_the_state(
    channel: grpc.Channel, sessions: SessionServiceStub, visitor: str
) -> None:
    """What an application writes is in the session, can be filtered by read, overwritten and removed."""
    send(channel, event(visitor))
    session_id = get(sessions, visitor).session_id
    answer = sessions.UpdateSession(update(session_id, tier="gold", score=2.5, vip=True))
    written = json_format.MessageToDict(answer.session.attributes)
    assert (written["tier"], written["score"], written["vip"]) == ("gold", 2.5, True)
    assert answer.position.startswith("0-")
    answer = sessions.UpdateSession(update(session_id, tier=None, score=3))
    written = json_format.MessageToDict(answer.session.attributes)
    assert ("tier" in written, written["score"], written["vip"]) == (False, 3, True)


def test_an_etag_is_a_condition(channel: grpc.Channel, sessions: SessionServiceStub, visitor: str) -> None:
    """A write with the etag that was read succeeds once; after any change it is refused with ETAG_MISMATCH."""
    send(channel, event(visitor))
    session = get(sessions, visitor)
    request = update(session.session_id, tier="gold")
    request.etag = session.etag
    assert sessions.UpdateSession(request).session.etag != session.etag
    assert refused(sessions.UpdateSession, request) == (grpc.StatusCode.ABORTED, Reason.ETAG_MISMATCH, "etag")


@pytest.mark.parametrize(
    ("attributes", "reason", "field"),
    [
        ({}, Reason.FIELD_MISSING, "attributes"),
        ({"page_views": 1}, Reason.ATTRIBUTE_NOT_WRITABLE, "attributes.page_views"),
        ({"Tier": 1}, Reason.OUT_OF_RANGE, "attributes"),
        ({"a" * 65: 1}, Reason.STRING_TOO_LONG, "attributes"),
        ({"tier": "x" * 1025}, Reason.STRING_TOO_LONG, "attributes.tier"),
        ({"tier": ["x"]}, Reason.WRONG_TYPE, "attributes.tier"),
        ({"tier": {}}, Reason.WRONG_TYPE, "attributes.tier"),
    ],
)
def test_a_wrong_write_is_refused(
    channel: grpc.Channel,
    sessions: SessionServiceStub,
    visitor: str,
    attributes: dict[str, object],
    reason: Reason,
    field: str,
) -> None:
    """Wrong names and values are refused before anything is written."""
    send(channel, event(visitor))
    session = get(sessions, visitor)
    assert refused(sessions.UpdateSession, update(session.session_id, **attributes)) == (INVALID, reason, field)
    assert get(sessions, visitor) == session


def test_too_many_written_attributes_are_refused(
    channel: grpc.Channel, sessions: SessionServiceStub, visitor: str
) -> None:
    """The seventeenth written attribute is refused with FAILED_PRECONDITION."""
    send(channel, event(visitor))
    session_id = get(sessions, visitor).session_id
    sessions.UpdateSession(update(session_id, **{f"a{number}": number for number in range(16)}))
    code, reason, _ = refused(sessions.UpdateSession, update(session_id, one_more=1))
    assert (code, reason) == (grpc.StatusCode.FAILED_PRECONDITION, Reason.TOO_MANY_WRITTEN_ATTRIBUTES)


def test_a_write_of_any_length_is_not_journalled(
    server: LiveServer, channel: grpc.Channel, sessions: SessionServiceStub, visitor: str
) -> None:
    """More attributes than a session holds, to write or to remove, and a long etag are refused before the journal."""
    send(channel, event(visitor))
    session_id = get(sessions, visitor).session_id
    pipeline = server.application.pipeline
    before = pipeline.durable_position
    for value in (1, None):
        request = update(session_id, **{f"b{number}": value for number in range(17)})
        assert refused(sessions.UpdateSession, request)[1:] == (Reason.TOO_MANY_WRITTEN_ATTRIBUTES, "attributes")
    request = update(session_id, tier="gold")
    request.etag = "x" * 5_000_000
    assert refused(sessions.UpdateSession, request) == (INVALID, Reason.STRING_TOO_LONG, "etag")
    # Time may have passed for sessions of other tests.
    assert {entry.type for _, entry in pipeline._journal.read(0, before + 1)} <= {EntryType.TICK}


def test_a_read_that_is_too_long_is_refused(sessions: SessionServiceStub) -> None:
    """A request to read of more than 256 KiB is refused with REQUEST_TOO_LARGE, naming the limit."""
    request = pb.ListSessionsRequest(read_mask={"paths": ["attributes." + "x" * 300_000]})
    code, reason, _ = refused(sessions.ListSessions, request)
    assert (code, reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, Reason.REQUEST_TOO_LARGE)


def test_writes_are_idempotent_by_request_id(channel: grpc.Channel, sessions: SessionServiceStub, visitor: str) -> None:
    """A write that is sent again with its request id changes nothing."""
    send(channel, event(visitor))
    session_id = get(sessions, visitor).session_id
    first = update(session_id, tier="gold")
    first.request_id = visitor
    sessions.UpdateSession(first)
    sessions.UpdateSession(update(session_id, tier="silver"))
    assert sessions.UpdateSession(first).session.attributes["tier"] == "silver"


def test_an_ended_session_takes_no_event(channel: grpc.Channel, sessions: SessionServiceStub, visitor: str) -> None:
    """After EndSession the session is closed, and the visitor's next event starts a new one."""
    send(channel, event(visitor))
    session_id = get(sessions, visitor).session_id
    ended = sessions.EndSession(pb.EndSessionRequest(session_id=session_id)).session
    assert ended.state == SESSION_STATE_CLOSED and ended.HasField("end_time")
    assert sessions.EndSession(pb.EndSessionRequest(session_id=session_id)).session == ended
    time.sleep(0.002)
    send(channel, event(visitor))
    again = get(sessions, visitor)
    assert again.session_id != session_id and again.visit_number == 2
    nobody = pb.EndSessionRequest(session_id="0" * 32)
    assert refused(sessions.EndSession, nobody) == (NOT_FOUND, Reason.SESSION_NOT_FOUND, "session_id")
    assert refused(sessions.EndSession, pb.EndSessionRequest()) == (INVALID, Reason.FIELD_MISSING, "session_id")


def test_a_watch_tells_changes_as_they_happen(
    channel: grpc.Channel, sessions: SessionServiceStub, visitor: str
) -> None:
    """A watch over gRPC gives its snapshot and then changes; one that resumes goes on from its token."""
    send(channel, event(visitor, channel=visitor))
    request = pb.WatchSessionsRequest(filter=f'session.channel == "{visitor}"')
    watch = sessions.WatchSessions(request, timeout=60)
    kinds = [next(watch).type, next(watch).type]
    assert kinds == [pb.WatchSessionsResponse.TYPE_UPSERT, pb.WatchSessionsResponse.TYPE_SYNCED]
    send(channel, event(visitor + "-b", channel=visitor))
    told = next(watch)
    assert told.session.visitor_id == visitor + "-b"
    watch.cancel()
    send(channel, event(visitor))
    request.resume_token = told.resume_token
    again = sessions.WatchSessions(request, timeout=60)
    assert next(again).session.attributes["page_views"] == 2
    again.cancel()


def test_a_wrong_watch_ends_with_its_reason(sessions: SessionServiceStub) -> None:
    """A watch that cannot be opened ends with the status of its reason."""
    cases: tuple[tuple[dict[str, Any], Reason], ...] = (
        ({"filter": "nothing"}, Reason.INVALID_EXPRESSION),
        ({"interval_ms_min": -1}, Reason.OUT_OF_RANGE),
        ({"interval_ms_min": 60_001}, Reason.OUT_OF_RANGE),
        ({"resume_token": "x"}, Reason.INVALID_RESUME_TOKEN),
    )
    for fields, reason in cases:

        def read_all(request: pb.WatchSessionsRequest, timeout: float) -> None:
            for message in sessions.WatchSessions(request, timeout=timeout):
                assert reason_of(message.error) is reason  # noqa: B023

        assert refused(read_all, pb.WatchSessionsRequest(**fields))[1] is reason
