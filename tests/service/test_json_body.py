"""JSON bodies of requests that come through Envoy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from google.protobuf import json_format, struct_pb2

from rte.v1 import session_service_pb2 as pb
from rte_server.engine.reasons import EngineError, Reason
from rte_server.service.json_body import parse, parse_with_json
from rte_server.service.proto_wire import message_field


def through_envoy(path: pb.UpdateSessionRequest, body: Mapping[str, Any]) -> bytes:
    """Return the wire bytes that Envoy makes of the fields in the path and a JSON body."""
    form = json_format.ParseDict(dict(body), struct_pb2.Struct())
    return path.SerializeToString() + message_field(15, form.SerializeToString())


PATH = pb.UpdateSessionRequest(session_id="s-1")


def test_a_native_request_is_itself() -> None:
    """A request without a JSON body is read as it is."""
    request = pb.UpdateSessionRequest(session_id="s-1", etag="e")
    assert parse_with_json(request.SerializeToString(), pb.UpdateSessionRequest) == request


def test_a_json_body_fills_the_request() -> None:
    """The members of the body, by either of their names, join the fields of the path; null is absent."""
    body = {"requestId": "r", "etag": None, "attributes": {"tier": "gold", "score": 2.5, "vip": True, "old": None}}
    request = parse_with_json(through_envoy(PATH, body), pb.UpdateSessionRequest)
    assert (request.session_id, request.request_id, request.etag) == ("s-1", "r", "")
    assert json_format.MessageToDict(request.attributes) == body["attributes"]
    assert parse_with_json(through_envoy(PATH, {"request_id": "r"}), pb.UpdateSessionRequest).request_id == "r"


@pytest.mark.parametrize(
    ("body", "reason", "field"),
    [
        ({"atributes": {}}, Reason.UNKNOWN_FIELD, "atributes"),
        ({"json": {}}, Reason.UNKNOWN_FIELD, "json"),
        ({"etag": 5}, Reason.WRONG_TYPE, "etag"),
        ({"attributes": "gold"}, Reason.WRONG_TYPE, "attributes"),
        ({"session_id": "s-2"}, Reason.OUT_OF_RANGE, "session_id"),
        ({"sessionId": "s-2"}, Reason.OUT_OF_RANGE, "session_id"),
    ],
)
def test_a_wrong_body_is_refused_with_its_member(body: dict[str, object], reason: Reason, field: str) -> None:
    """An unknown member, a wrong type and a body that contradicts the path are refused and named."""
    with pytest.raises(EngineError) as refused:
        parse_with_json(through_envoy(PATH, body), pb.UpdateSessionRequest)
    assert (refused.value.reason, refused.value.field) == (reason, field)


def test_a_body_may_repeat_the_path() -> None:
    """A member of the body that says the same as the path is no contradiction."""
    assert parse_with_json(through_envoy(PATH, {"session_id": "s-1"}), pb.UpdateSessionRequest) == PATH


@pytest.mark.parametrize("body", [b"\xff", b"\x0a\x05ab", b"\x0a\x01\xff", b"\x7a\x02\x0a\x09"])
def test_bytes_that_are_no_message_are_refused(body: bytes) -> None:
    """Damaged bytes are refused with MALFORMED."""
    with pytest.raises(EngineError) as refused:
        parse_with_json(body, pb.UpdateSessionRequest)
    assert refused.value.reason is Reason.MALFORMED
    if not body.startswith(b"\x7a"):
        with pytest.raises(EngineError):
            parse(body, pb.UpdateSessionRequest)
