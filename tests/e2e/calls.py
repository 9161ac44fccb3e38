"""HTTP calls as a plain client makes them."""

from __future__ import annotations

import http.client
import json
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Any

TIMEOUT_S = 120


@dataclass(frozen=True)
class Reply:
    """An answer that was read to its end."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    @property
    def reason(self) -> str:
        """The reason of the error that the body holds."""
        infos = [detail for detail in self.json["details"] if detail["@type"].endswith("/google.rpc.ErrorInfo")]
        assert len(infos) == 1, self.body
        assert infos[0]["domain"] == "rte.v1"
        return str(infos[0]["reason"])

    @property
    def metadata(self) -> dict[str, str]:
        """The metadata of the error that the body holds."""
        return {key: value for detail in self.json["details"] for key, value in detail.get("metadata", {}).items()}


def call(port: int, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None) -> Reply:
    """Make one call. A body that is not bytes is sent as JSON."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
    sent = dict(headers or {})
    if body is not None and not isinstance(body, bytes):
        body = json.dumps(body).encode()
        sent.setdefault("content-type", "application/json")
    try:
        connection.request(method, path, body=body, headers=sent)
        response = connection.getresponse()
        names = {name.lower(): value for name, value in response.getheaders()}
        return Reply(response.status, names, response.read())
    finally:
        connection.close()


def lines(port: int, path: str, headers: Mapping[str, str] | None = None) -> Generator[str, None, None]:
    """Yield the content type of a streamed answer, then its lines as they come."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", path, headers=dict(headers or {}))
        response = connection.getresponse()
        assert response.status == 200, response.read()
        yield response.headers["content-type"]
        while line := response.readline():
            yield line.decode().rstrip("\n")
    finally:
        connection.close()


def event(visitor_id: str, **members: object) -> dict[str, object]:
    """Return an event as people write it."""
    return {"name": "page_view", "visitor_id": visitor_id, **members}


def ingest(port: int, *events: Mapping[str, object], **members: object) -> Reply:
    """Send events and wait until they are in the state."""
    return call(port, "POST", "/v1/events:ingest", {"events": list(events), "wait": "WAIT_APPLIED", **members})


def session_of(port: int, visitor_id: str, **members: object) -> dict[str, Any]:
    """Make a visitor with one event and return the session."""
    reply = ingest(port, event(visitor_id, **members))
    assert reply.status == 200, reply.body
    found = call(port, "GET", f"/v1/visitors/{visitor_id}/session")
    assert found.status == 200, found.body
    session: dict[str, Any] = found.json["session"]
    return session
