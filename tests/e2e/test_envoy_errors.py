"""Errors over HTTP/JSON: those of Envoy and those of the server look alike, with reason and field."""

from __future__ import annotations

import gzip
import json
import socket
import uuid

import pytest

from tests.e2e.calls import Reply, call, event, ingest, session_of

GZIP = {"content-type": "application/json", "content-encoding": "gzip"}


@pytest.fixture
def visitor() -> str:
    """A visitor that no other test uses."""
    return f"v-{uuid.uuid4().hex}"


def check(reply: Reply, status: int, code: int, reason: str) -> None:
    """Check the shape of an error."""
    assert reply.status == status, reply.body
    assert reply.headers["content-type"] == "application/json"
    assert reply.json["code"] == code
    assert reply.json["message"]
    assert reply.reason == reason
    # No text of an exception, no module, no address of the server.
    text = reply.body.decode()
    for leak in ("Traceback", "Unexpected <", "\\u003cclass", "Error(", "rte_server", ".sock", "reset reason"):
        assert leak not in text


@pytest.mark.parametrize(
    "body",
    [
        b'{"events": [}',
        b'{"events": [',
        b"{",
        b"{} x",
        b"[]",
        b'"text"',
        b"7",
        b'{"events": [{"name": "\xff"}]}',
        b"\xef\xbb\xbf{}x",
        b"not json",
    ],
)
def test_malformed_json(port: int, body: bytes) -> None:
    """A body that is no JSON object is answered with 400 and MALFORMED."""
    check(call(port, "POST", "/v1/events:ingest", body, {"content-type": "application/json"}), 400, 3, "MALFORMED")


@pytest.mark.parametrize("body", [b"", b"null", b"{}", b'{"events": []}'])
def test_no_events(port: int, body: bytes) -> None:
    """A body without events is refused by the server, which names the field."""
    reply = call(port, "POST", "/v1/events:ingest", body, {"content-type": "application/json"})
    check(reply, 400, 3, "FIELD_MISSING")
    assert reply.metadata["field"] == "events"


@pytest.mark.parametrize("path", ["/", "/v1/", "/v1/nope", "/v1/models/a/b", "/v2/sessions", "/rte.v1.EventService/X"])
def test_unknown_path(port: int, path: str) -> None:
    """A path that does not exist is answered with 404 and UNKNOWN_PATH."""
    check(call(port, "GET", path), 404, 5, "UNKNOWN_PATH")


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", "/v1/events:ingest", "POST, OPTIONS"),
        ("POST", "/v1/sessions", "GET, OPTIONS"),
        ("DELETE", "/v1/sessions/abc", "GET, PATCH, OPTIONS"),
        ("POST", "/v1/sessions/abc", "GET, PATCH, OPTIONS"),
        ("GET", "/v1/sessions/abc:end", "POST, OPTIONS"),
        ("PUT", "/v1/sessions:watch", "GET, OPTIONS"),
        ("POST", "/v1/visitors/v/session", "GET, OPTIONS"),
        ("DELETE", "/v1/models/base", "GET, OPTIONS"),
    ],
)
def test_wrong_verb(port: int, method: str, path: str, allow: str) -> None:
    """A verb that a path does not take is answered with 405, and the answer says which it takes."""
    reply = call(port, method, path)
    check(reply, 405, 12, "METHOD_NOT_ALLOWED")
    assert reply.headers["allow"] == allow


@pytest.mark.parametrize(
    ("path", "reason", "field"),
    [
        ("/v1/sessions?nope=1", "UNKNOWN_FIELD", "nope"),
        ("/v1/sessions?page_size=1&no-pe=1", "UNKNOWN_FIELD", "no-pe"),
        ("/v1/sessions:watch?nope=1", "UNKNOWN_FIELD", "nope"),
        ("/v1/visitors/v/session?nope=1", "UNKNOWN_FIELD", "nope"),
        ("/v1/models/base?page_size=1", "UNKNOWN_FIELD", "page_size"),
        ("/v1/sessions?page_size=many", "WRONG_TYPE", "page_size"),
        ("/v1/sessions?state=STATE_FILTER_NOPE", "WRONG_TYPE", "state"),
        ("/v1/sessions:watch?interval_ms_min=x", "WRONG_TYPE", "interval_ms_min"),
    ],
)
def test_wrong_query_parameter(port: int, path: str, reason: str, field: str) -> None:
    """A query parameter that is unknown or has a wrong value is answered with 400, and the answer names it."""
    reply = call(port, "GET", path)
    check(reply, 400, 3, reason)
    assert reply.metadata == {"field": field}
    assert field in reply.json["message"]


def test_wrong_query_parameter_of_a_line_stream(port: int) -> None:
    """A watch as lines of JSON names a wrong parameter too."""
    reply = call(port, "GET", "/v1/sessions:watch?nope=1", headers={"accept": "application/x-ndjson"})
    assert reply.status == 400
    assert reply.metadata == {"field": "nope"}


def test_query_parameter_on_a_whole_body(port: int) -> None:
    """Fields of a request that is the body are not taken from the query."""
    reply = call(port, "POST", "/v1/events:ingest?request_id=r", {"events": []})
    check(reply, 400, 3, "UNKNOWN_FIELD")
    assert reply.metadata == {"field": "request_id"}


@pytest.mark.parametrize("name", ["session_id", "sessionId", "visitor_id", "session%5Fid"])
def test_query_parameter_never_replaces_the_path(port: int, visitor: str, name: str) -> None:
    """A query parameter with the name of a field in the path is refused."""
    session = session_of(port, visitor)
    path = f"/v1/sessions/{session['session_id']}?{name}=other"
    check(call(port, "GET", path), 400, 3, "UNKNOWN_FIELD")
    check(call(port, "PATCH", path, {"attributes": {"a": 1}}), 400, 3, "UNKNOWN_FIELD")


def test_edge_name_of_a_path_field_has_no_effect(port: int, visitor: str) -> None:
    """The name that a path field has inside of the edge cannot be used to read another session."""
    session = session_of(port, visitor)
    reply = call(port, "GET", f"/v1/sessions/{session['session_id']}?path_session_id=other")
    assert reply.status == 200
    assert reply.json["session"]["session_id"] == session["session_id"]


def test_body_that_is_too_large(port: int) -> None:
    """A body beyond 4 MiB is answered with 413, and the answer names the limit."""
    body = json.dumps({"events": [event("v", properties={"text": "x" * 4_400_000})]}).encode()
    reply = call(port, "POST", "/v1/events:ingest", body, {"content-type": "application/json"})
    check(reply, 413, 8, "REQUEST_TOO_LARGE")
    assert reply.metadata["limit"] == "4194304"


def test_headers_that_are_too_large(port: int) -> None:
    """Headers beyond 32 KiB are answered with 431."""
    reply = call(port, "GET", "/v1/models", headers={"x-large": "y" * 40_000})
    check(reply, 431, 8, "REQUEST_TOO_LARGE")


def test_header_that_is_no_header(port: int) -> None:
    """Bytes that are no HTTP are answered with 400 in the same form."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(b"GET /v1/models HTTP/1.1\r\nhost: a\r\nbad header\r\n\r\n")
        answer = b"".join(iter(lambda: connection.recv(65_536), b""))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400")
    assert json.loads(body)["details"][0]["reason"] == "MALFORMED"


def test_misspelt_member_of_an_event(port: int, visitor: str) -> None:
    """A misspelt member refuses that event, named in its verdict, and no other."""
    reply = ingest(port, event(visitor), {**event(visitor), "propertys": {"price": 1}})
    assert reply.status == 200, reply.body
    assert reply.json["accepted_count"] == 1
    assert reply.json["rejected_count"] == 1
    [verdict] = reply.json["verdicts"]
    assert verdict["index"] == 1
    assert verdict["reason"] == "ERROR_REASON_UNKNOWN_FIELD"
    assert "propertys" in verdict["field"]


def test_misspelt_member_of_a_batch(port: int, visitor: str) -> None:
    """A misspelt member beside the events refuses the request and is named."""
    reply = call(port, "POST", "/v1/events:ingest", {"events": [event(visitor)], "wiat": "WAIT_APPLIED"})
    check(reply, 400, 3, "UNKNOWN_FIELD")
    assert reply.metadata["field"] == "wiat"


def test_misspelt_member_of_an_update(port: int, visitor: str) -> None:
    """A misspelt member of an update refuses it and is named; nothing was written."""
    session = session_of(port, visitor)
    path = f"/v1/sessions/{session['session_id']}"
    reply = call(port, "PATCH", path, {"attributes": {"tier": "gold"}, "etagg": "x"})
    check(reply, 400, 3, "UNKNOWN_FIELD")
    assert reply.metadata["field"] == "etagg"
    assert "tier" not in call(port, "GET", path).json["session"]["attributes"]


def test_misspelt_member_of_an_end(port: int, visitor: str) -> None:
    """A misspelt member of EndSession refuses it; the session goes on."""
    session = session_of(port, visitor)
    path = f"/v1/sessions/{session['session_id']}"
    check(call(port, "POST", f"{path}:end", {"requestid": "x"}), 400, 3, "UNKNOWN_FIELD")
    assert call(port, "GET", path).json["session"]["state"] == "SESSION_STATE_ACTIVE"


@pytest.mark.parametrize("name", ["session_id", "sessionId"])
def test_body_never_replaces_the_path(port: int, visitor: str, name: str) -> None:
    """A body that names another session than the path is refused, and neither is changed."""
    first, second = session_of(port, visitor), session_of(port, f"{visitor}-2")
    path = f"/v1/sessions/{first['session_id']}"
    reply = call(port, "PATCH", path, {"attributes": {"tier": "gold"}, name: second["session_id"]})
    assert reply.status == 400, reply.body
    assert reply.metadata["field"] == "session_id"
    for session in (first, second):
        found = call(port, "GET", f"/v1/sessions/{session['session_id']}").json["session"]
        assert "tier" not in found["attributes"]


@pytest.mark.parametrize("depth", [40, 90, 300])
def test_body_that_is_too_deep(port: int, visitor: str, depth: int) -> None:
    """JSON that is nested too deep is refused with 400, never with 500."""
    session = session_of(port, visitor)
    body = b'{"attributes": ' + b'{"a":' * depth + b"1" + b"}" * depth + b"}"
    headers = {"content-type": "application/json"}
    reply = call(port, "PATCH", f"/v1/sessions/{session['session_id']}", body, headers)
    assert reply.status == 400, reply.body
    deep = b'{"events": [{"name": "a", "visitor_id": "v", "properties": ' + b'{"a":' * depth + b"1" + b"}" * depth
    reply = call(port, "POST", "/v1/events:ingest", deep + b"}]}", headers)
    assert reply.status in (200, 400), reply.body
    if reply.status == 200:
        assert reply.json["rejected_count"] == 1


def test_unknown_session(port: int) -> None:
    """An error of the server has the same form: code, message, reason, field."""
    reply = call(port, "GET", f"/v1/sessions/{'0' * 32}")
    check(reply, 404, 5, "SESSION_NOT_FOUND")
    assert reply.metadata["field"] == "session_id"


def test_wrong_filter_of_a_watch(port: int) -> None:
    """A watch that the server refuses ends with an error, not with an empty stream."""
    for accept in ("text/event-stream", "application/json"):
        reply = call(port, "GET", "/v1/sessions:watch?filter=((", headers={"accept": accept})
        check(reply, 400, 3, "INVALID_EXPRESSION")


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b'{"events": []}', id="not gzip"),
        pytest.param(gzip.compress(b'{"events": [{"name": "a"}]}')[:20], id="gzip cut"),
        pytest.param(gzip.compress(b'{"events": [{"name": "a"}]'), id="JSON cut"),
        pytest.param(gzip.compress(b'{"events": [}'), id="array open"),
        pytest.param(gzip.compress(b'{"events":}'), id="no value"),
        pytest.param(gzip.compress(b'{"events": tru}'), id="keyword cut"),
        pytest.param(gzip.compress(b'{"events": "a}'), id="string open"),
        pytest.param(gzip.compress(b'{"events": \'a}'), id="quote open"),
        pytest.param(gzip.compress(b'{"events": []} x'), id="trailing text"),
        pytest.param(gzip.compress(b'{"events": [], "a": "' + b"x" * 3_000_000 + b'"}'), id="inflates 1000 times"),
        pytest.param(gzip.compress(b'{"a": "' + b"x" * 30_000_000 + b'"}'), id="bomb"),
        pytest.param(gzip.compress(b""), id="empty"),
    ],
)
def test_wrong_gzip_body(port: int, body: bytes) -> None:
    """A gzip body that is damaged, a bomb, or no JSON is answered with 400 at once."""
    check(call(port, "POST", "/v1/events:ingest", body, GZIP), 400, 3, "MALFORMED")


@pytest.mark.parametrize(("path", "encoding"), [("/v1/events:ingest", "br"), ("/v1/sessions/abc:end", "gzip")])
def test_unsupported_encoding(port: int, path: str, encoding: str) -> None:
    """A content encoding that a path does not take is answered with 415."""
    reply = call(port, "POST", path, b"{}", {"content-encoding": encoding})
    check(reply, 415, 3, "UNSUPPORTED_ENCODING")
    assert reply.metadata["value"] == encoding


def test_deadline_of_the_caller(port: int, visitor: str) -> None:
    """A JSON caller's `grpc-timeout` is honoured with 504."""
    session_of(port, visitor)
    path = f"/v1/visitors/{visitor}/session?min_position=0-999999999999"
    reply = call(port, "GET", path, headers={"grpc-timeout": "300m"})
    # A server that knows at once that the position lies in the future may say so instead.
    if reply.status != 200:
        assert reply.status in (504, 400), reply.body
        assert reply.reason in ("DEADLINE_EXCEEDED", "INVALID_POSITION")
