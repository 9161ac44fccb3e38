"""Snowplow's paths through Envoy: what the SDKs do not show."""

from __future__ import annotations

import base64
import json
from typing import Any
from urllib.parse import urlencode

from tests.collect.sessions import Sessions
from tests.e2e.calls import call


def pixel(visitor: str, padding: int = 0) -> str:
    """Return the address of a pixel whose entities have so many bytes."""
    entity = {"schema": "iglu:com.acme/own/jsonschema/1-0-0", "data": {"text": "x" * padding}}
    contexts = base64.urlsafe_b64encode(json.dumps({"data": [entity]}).encode()).decode().rstrip("=")
    members = {"e": "pv", "duid": visitor, "eid": f"{visitor}-{padding}", "url": "https://s/?a=b&c=d+e", "cx": contexts}
    return f"/i?{urlencode(members)}"


def test_the_pixel(sessions: Sessions, visitor: str) -> None:
    """A pixel is a GIF of one point that nobody keeps; its query is an event."""
    reply = call(sessions.port, "GET", pixel(visitor))
    assert (reply.status, len(reply.body), reply.body[:6]) == (200, 43, b"GIF89a")
    assert (reply.headers["content-type"], reply.headers["cache-control"]) == ("image/gif", "no-store")
    assert "set-cookie" not in reply.headers
    assert sessions.attributes(visitor, 1)["entry_page"] == "https://s/?a=b&c=d+e"


def test_long_pixels(sessions: Sessions, visitor: str) -> None:
    """Queries of 20 KB are events as others are; what is beyond the limit of headers is refused."""
    assert call(sessions.port, "GET", pixel(visitor, 15_000)).status == 200
    sessions.wait(visitor, 1)
    assert call(sessions.port, "GET", pixel(visitor, 40_000)).status == 431


def test_posts_are_answered_as_snowplow_does(sessions: Sessions, visitor: str) -> None:
    """A body is answered with `ok`, whatever its events were; what is none, with 400, so that it is not sent again."""
    path = "/com.snowplowanalytics.snowplow/tp2"
    bodies: list[Any] = [{"data": [{"e": "pv", "duid": visitor, "eid": "1"}, {"e": "?"}, 7]}, {"data": []}]
    for body in bodies:
        reply = call(sessions.port, "POST", path, body, {"sp-anonymous": "*"})
        assert (reply.status, reply.body) == (200, b"ok")
        assert "set-cookie" not in reply.headers
    for broken in (b"", b"{", b"[]", b'{"data": 7}', b"x" * (5 << 20)):
        assert call(sessions.port, "POST", path, broken).status == 400
    assert call(sessions.port, "GET", "/health").status == 200
    sessions.wait(visitor, 1)
