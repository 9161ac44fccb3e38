"""What callers reach through the one public port: gRPC, gRPC-Web, HTTP/JSON, streams."""

from __future__ import annotations

import gzip
import json
import struct
import uuid
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from rte.v1 import (
    event_pb2,
    event_service_pb2,
    event_service_pb2_grpc,
    session_service_pb2,
    session_service_pb2_grpc,
)
from tests.e2e.calls import call, event, ingest, lines, session_of


@pytest.fixture
def visitor() -> str:
    """A visitor that no other test uses."""
    return f"v-{uuid.uuid4().hex}"


@pytest.fixture
def channel(port: int) -> Iterator[grpc.Channel]:
    """A native gRPC channel through Envoy."""
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield channel


def test_native_grpc_ingests_and_reads(channel: grpc.Channel, visitor: str) -> None:
    """A gRPC caller sends an event and reads the session through the public port."""
    events = event_service_pb2_grpc.EventServiceStub(channel)
    sessions = session_service_pb2_grpc.SessionServiceStub(channel)
    request = event_service_pb2.IngestEventsRequest(
        events=[event_pb2.Event(name="page_view", visitor_id=visitor)], wait=event_service_pb2.WAIT_APPLIED
    )
    assert events.IngestEvents(request, timeout=60).accepted_count == 1
    answer = sessions.GetSession(session_service_pb2.GetSessionRequest(visitor_id=visitor), timeout=60)
    assert answer.session.event_count == 1


def test_native_grpc_streams_events(channel: grpc.Channel, visitor: str) -> None:
    """Each batch of a stream is answered before the stream ends."""
    batch = event_service_pb2.StreamEventsRequest(events=[event_pb2.Event(name="page_view", visitor_id=visitor)])
    stub = event_service_pb2_grpc.EventServiceStub(channel)
    answers = stub.StreamEvents(iter([batch, batch, batch]), timeout=60)
    assert [answer.accepted_count for answer in answers] == [1, 1, 1]


def test_health_and_reflection_pass(channel: grpc.Channel) -> None:
    """The health service and reflection are reachable through the public port."""
    health: Any = health_pb2_grpc.HealthStub(channel)
    check = health.Check(health_pb2.HealthCheckRequest(), timeout=60)
    assert check.status == health_pb2.HealthCheckResponse.SERVING
    assert "rte.v1.EventService" in ProtoReflectionDescriptorDatabase(channel).get_services()


def test_unknown_grpc_service_is_unimplemented(channel: grpc.Channel) -> None:
    """A gRPC call to a service that does not exist ends with UNIMPLEMENTED."""
    call_nothing: Any = channel.unary_unary("/no.such.Service/Call")
    with pytest.raises(grpc.RpcError) as raised:
        call_nothing(b"", timeout=60)
    assert raised.value.code() == grpc.StatusCode.UNIMPLEMENTED


def grpc_web(port: int, method: str, message: bytes, headers: dict[str, str] | None = None) -> tuple[bytes, str]:
    """Make a gRPC-Web call; return the first message and the trailers."""
    frame = b"\x00" + struct.pack(">I", len(message)) + message
    sent = {"content-type": "application/grpc-web+proto", "x-grpc-web": "1", **(headers or {})}
    reply = call(port, "POST", f"/rte.v1.{method}", frame, sent)
    assert reply.status == 200
    first, trailers, body = b"", reply.headers.get("grpc-status", ""), reply.body
    while body:
        flags, size = struct.unpack(">BI", body[:5])
        part, body = body[5 : 5 + size], body[5 + size :]
        if flags & 0x80:
            trailers = part.decode()
        else:
            first = first or part
    return first, trailers


def test_grpc_web_reads(port: int, visitor: str) -> None:
    """A browser reads a session by gRPC-Web."""
    session_of(port, visitor)
    request = session_service_pb2.GetSessionRequest(visitor_id=visitor).SerializeToString()
    message, trailers = grpc_web(port, "SessionService/GetSession", request)
    assert session_service_pb2.GetSessionResponse.FromString(message).session.visitor_id == visitor
    assert "grpc-status:0" in trailers.replace(" ", "")


def test_grpc_web_error_is_no_json(port: int) -> None:
    """A gRPC-Web caller gets the status of an error as trailers."""
    request = session_service_pb2.GetSessionRequest(session_id="0" * 32).SerializeToString()
    _, trailers = grpc_web(port, "SessionService/GetSession", request)
    assert trailers == "5" or "grpc-status:5" in trailers.replace(" ", "")


@pytest.mark.parametrize("path", ["/v1/events:ingest", "/rte.v1.SessionService/GetSession"])
def test_cors_preflight_from_this_machine(port: int, path: str) -> None:
    """A page on localhost may call, by JSON and by gRPC-Web; a page elsewhere gets no permission."""
    ask = {"access-control-request-method": "POST", "access-control-request-headers": "content-type"}
    near = call(port, "OPTIONS", path, headers={"origin": "http://localhost:3000", **ask})
    assert near.status == 200
    assert near.headers["access-control-allow-origin"] == "http://localhost:3000"
    assert "content-type" in near.headers["access-control-allow-headers"]
    far = call(port, "OPTIONS", path, headers={"origin": "https://elsewhere.example", **ask})
    assert "access-control-allow-origin" not in far.headers


def test_json_ingests(port: int, visitor: str) -> None:
    """Events as people write them are accepted, in snake_case and in camelCase, with counts in the answer."""
    first = event(visitor, event_id="1", event_time="2026-11-23T10:00:00Z", properties={"price": 9.9, "tags": ["a"]})
    second = {"name": "page_view", "visitorId": visitor, "eventId": "2"}
    reply = call(port, "POST", "/v1/events:ingest", {"events": [first, second], "wait": "WAIT_APPLIED"})
    assert reply.status == 200, reply.body
    assert reply.json["accepted_count"] == 2
    assert reply.json["rejected_count"] == 0
    assert reply.json["position"]


def test_json_answers_have_no_grpc_headers(port: int, visitor: str) -> None:
    """A JSON answer carries a request id and none of the headers of gRPC."""
    reply = ingest(port, event(visitor))
    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["x-request-id"]
    assert not [name for name in reply.headers if name.startswith(("grpc-", "x-envoy-"))]


def test_json_gets_a_session_by_every_id(port: int, visitor: str) -> None:
    """A session is found by its own id, by visitor, by customer and by the client's session id."""
    session = session_of(port, visitor, customer_id=f"c-{visitor}", client_session_id=f"s-{visitor}")
    paths = [
        f"/v1/sessions/{session['session_id']}",
        f"/v1/visitors/{visitor}/session",
        f"/v1/customers/c-{visitor}/session",
        f"/v1/client-sessions/s-{visitor}/session",
    ]
    for path in paths:
        reply = call(port, "GET", path)
        assert reply.status == 200, (path, reply.body)
        assert reply.json["session"]["session_id"] == session["session_id"]


def test_json_id_with_a_slash(port: int, visitor: str) -> None:
    """An id that holds a slash is written with %2F."""
    session_of(port, visitor, customer_id=f"a/{visitor}")
    reply = call(port, "GET", f"/v1/customers/a%2F{visitor}/session")
    assert reply.json["session"]["customer_id"] == f"a/{visitor}"


def test_json_gets_several_sessions(port: int, visitor: str) -> None:
    """Sessions are read at once by repeated query parameters, each with a result of its own."""
    session = session_of(port, visitor)
    reply = call(port, "GET", f"/v1/sessions:batchGet?session_ids={session['session_id']}&visitor_ids=nobody")
    assert reply.status == 200, reply.body
    found, missing = reply.json["results"]
    assert found["session"]["visitor_id"] == visitor
    assert missing["error"]["code"] == 5


def test_json_lists_sessions(port: int, visitor: str) -> None:
    """Sessions are listed, with the page size as a query parameter."""
    session_of(port, visitor)
    reply = call(port, "GET", "/v1/sessions?page_size=1&state=STATE_FILTER_ANY")
    assert reply.status == 200, reply.body
    assert len(reply.json["sessions"]) == 1
    assert reply.json["total_count"] >= 1


def test_json_updates_and_ends_a_session(port: int, visitor: str) -> None:
    """An application writes attributes to a session and ends it, also with an empty body."""
    session = session_of(port, visitor)
    path = f"/v1/sessions/{session['session_id']}"
    updated = call(port, "PATCH", path, {"attributes": {"tier": "gold", "score": 1.5}})
    assert updated.status == 200, updated.body
    assert updated.json["session"]["attributes"]["tier"] == "gold"
    same = call(port, "PATCH", path, {"attributes": {"tier": "blue"}, "session_id": session["session_id"]})
    assert same.status == 200, same.body
    ended = call(port, "POST", f"{path}:end")
    assert ended.status == 200, ended.body
    assert ended.json["session"]["state"] == "SESSION_STATE_CLOSED"


def test_json_lists_models(port: int) -> None:
    """Models and attributes are listed, and a model is read by name."""
    models = call(port, "GET", "/v1/models")
    name = models.json["models"][0]["name"]
    assert call(port, "GET", f"/v1/models/{name}").json["model"]["name"] == name
    assert call(port, "GET", "/v1/attributes").json["attributes"]


def test_json_ingests_gzip(port: int, visitor: str) -> None:
    """A gzip body of events is accepted, whatever stands in its strings."""
    body = json.dumps({"events": [event(visitor, properties={"text": 'a "quoted" } \\'})]}).encode()
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    reply = call(port, "POST", "/v1/events:ingest", gzip.compress(body), headers)
    assert reply.status == 200, reply.body
    assert reply.json["accepted_count"] == 1


@pytest.mark.parametrize(
    ("accept", "content_type", "prefix"),
    [("text/event-stream", "text/event-stream", "data: "), ("application/x-ndjson", "application/x-ndjson", "")],
)
def test_watch_streams(port: int, visitor: str, accept: str, content_type: str, prefix: str) -> None:
    """A watch over HTTP sends the snapshot, then each change at once, in the form that was asked for."""
    session_of(port, visitor)
    stream = lines(port, "/v1/sessions:watch", {"accept": accept})
    assert next(stream) == content_type
    seen = []
    changed = False
    for line in stream:
        if not line:
            continue
        assert line.startswith(prefix)
        message = json.loads(line.removeprefix(prefix))
        seen.append(message["type"])
        if message["type"] == "TYPE_SYNCED" and not changed:
            changed = True
            ingest(port, event(visitor))
        session = message.get("session") or {}
        if changed and session.get("visitor_id") == visitor and session["event_count"] == 2:
            break
    assert seen[-1] == "TYPE_UPSERT"
    assert "TYPE_SYNCED" in seen[:-1]
    stream.close()


def test_watch_is_a_stream_of_events_by_default(port: int) -> None:
    """Without a wish of the caller a watch is a stream of server-sent events that nobody stores."""
    stream = lines(port, "/v1/sessions:watch")
    assert next(stream) == "text/event-stream"
    stream.close()


def test_healthz(port: int) -> None:
    """`/healthz` answers 200 while the server is healthy."""
    assert call(port, "GET", "/healthz").status == 200


def test_an_explanation_is_asked_for_by_each_id(port: int, visitor: str) -> None:
    """`:explain` after a session's path, or after a visitor's, customer's or client session's, asks for an explanation."""
    ids = {"customer_id": f"c-{visitor}", "client_session_id": f"s-{visitor}"}
    session = session_of(port, visitor, **ids)
    for path in (
        f"/v1/sessions/{session['session_id']}:explain",
        f"/v1/visitors/{visitor}/session:explain",
        f"/v1/customers/c-{visitor}/session:explain",
        f"/v1/client-sessions/s-{visitor}/session:explain",
    ):
        reply = call(port, "GET", f"{path}?attribute=events&page_size=3")
        assert reply.status == 200, (path, reply.body)
        explanation = reply.json["explanation"]
        assert explanation["session_id"] == session["session_id"]
        assert (explanation["attribute"]["name"], explanation["value"]) == ("events", 1.0)
        refused = call(port, "POST", path)
        assert (refused.status, refused.reason, refused.headers["allow"]) == (405, "METHOD_NOT_ALLOWED", "GET, OPTIONS")
