"""Segment's API through Envoy: what is sent is in the session, and each mistake is answered as its SDKs expect."""

from __future__ import annotations

import base64
import gzip
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.collect.sessions import Sessions
from tests.e2e.calls import Reply, call

KEYLESS = {"content-type": "application/json"}


def track(visitor: str, event: str, message_id: str, **properties: object) -> dict[str, Any]:
    """Return a track call as an SDK sends it."""
    return {
        "type": "track",
        "event": event,
        "anonymousId": visitor,
        "messageId": message_id,
        "properties": properties,
        "timestamp": datetime.now(UTC).isoformat(),
    }


def post(sessions: Sessions, path: str, body: object, **headers: str) -> Reply:
    """Send a body that an SDK might send."""
    return call(sessions.port, "POST", path, body, {name.replace("_", "-"): value for name, value in headers.items()})


def send(sessions: Sessions, *events: object) -> Reply:
    """Send a batch that must be answered as Segment does."""
    reply = post(sessions, "/v1/batch", {"batch": list(events)})
    assert (reply.status, reply.json) == (200, {"success": True}), reply.body
    return reply


def test_commerce_is_understood(sessions: Sessions, visitor: str) -> None:
    """Names and properties of Segment's e-commerce events are those that the packs know."""
    product = {"product_id": "p-1", "sku": "s", "name": "Monopoly", "category": "Games", "brand": "Hasbro"}
    send(
        sessions,
        track(visitor, "Product Viewed", "1", **product, price=18.99),
        track(visitor, "product_added", "2", **product, price=18.99, quantity=2),
        track(visitor, "Checkout Started", "3", value=37.98),
    )
    found = sessions.attributes(visitor, 3)
    assert found["basket.value"] == 37.98
    assert found["viewed_products"] == ["p-1"]
    assert found["last_category"] == "Games"
    assert found["checkouts"] == 1
    send(sessions, track(visitor, "Order Completed", "4", order_id="o", total=45, revenue=37.98, currency="EUR"))
    found = sessions.attributes(visitor, 4)
    assert (found["purchases"], found["revenue"]) == (1, 37.98)


def test_pages_and_campaigns(sessions: Sessions, visitor: str) -> None:
    """A page call is a page view; a campaign comes from the address of the page or from the context."""
    page: dict[str, Any] = {"type": "page", "name": "Home", "anonymousId": visitor, "messageId": "1"}
    page["properties"] = {"url": "https://shop.example/?utm_source=news&utm_medium=email", "title": "T"}
    context = {
        "campaign": {"source": "ads", "medium": "cpc", "name": "spring"},
        "userAgent": "Mozilla/5.0 Firefox/128.0",
    }
    later = {**page, "messageId": "2", "context": context, "properties": {"url": "https://shop.example/b"}}
    now = datetime.now(UTC)
    send(
        sessions,
        {**page, "timestamp": (now - timedelta(seconds=9)).isoformat()},
        {**later, "timestamp": now.isoformat()},
    )
    found = sessions.attributes(visitor, 2)
    assert (found["page_views"], found["entry_page"]) == (2, page["properties"]["url"])
    assert (found["first_source"], found["last_source"], found["last_campaign"]) == ("news", "ads", "spring")


def test_identify_names_the_customer(sessions: Sessions, visitor: str) -> None:
    """An identify call with a userId is a log-in of that customer; the session belongs to it from then on."""
    send(
        sessions,
        track(visitor, "X", "1"),
        {
            "type": "identify",
            "anonymousId": visitor,
            "userId": f"c-{visitor}",
            "traits": {"plan": "pro", "address": {"city": "X"}},
            "messageId": "2",
        },
    )
    session = sessions.wait(visitor, 2)
    assert session["customer_id"] == f"c-{visitor}"
    assert session["attributes"]["logins"] == 1


def test_server_calls_stand_for_the_person(sessions: Sessions, visitor: str) -> None:
    """A call with a userId alone, as servers send it, makes a session of that person."""
    send(sessions, {"type": "track", "event": "X", "userId": visitor, "messageId": "1"})
    assert sessions.wait(visitor, 1)["customer_id"] == visitor


def test_what_is_sent_again_counts_once(sessions: Sessions, visitor: str) -> None:
    """A batch that an SDK sends again after a time-out changes nothing."""
    batch = [track(visitor, "Product Added", f"m-{number}", product_id="p", price=1) for number in range(3)]
    send(sessions, *batch)
    send(sessions, *batch)
    send(sessions, track(visitor, "X", "last"))
    assert sessions.attributes(visitor, 4)["basket.value"] == 3


@pytest.mark.parametrize("error", [timedelta(days=-3), timedelta(hours=2)])
def test_wrong_clocks_are_corrected(sessions: Sessions, visitor: str, error: timedelta) -> None:
    """The clock of the sender may be wrong: what counts is how long before sending it happened."""
    sent = datetime.now(UTC) + error
    first = track(visitor, "X", "1") | {"timestamp": (sent - timedelta(minutes=5)).isoformat()}
    last = track(visitor, "X", "2") | {"timestamp": sent.isoformat()}
    assert post(sessions, "/v1/batch", {"batch": [first, last], "sentAt": sent.isoformat()}).status == 200
    session = sessions.wait(visitor, 2)
    started, ended = (datetime.fromisoformat(session[name]) for name in ("start_time", "last_event_time"))
    assert ended - started == timedelta(minutes=5)
    assert abs(datetime.now(UTC) - ended) < timedelta(minutes=2)


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/v1/track", "track"),
        ("/v1/t", "track"),
        ("/v1/page", "page"),
        ("/v1/p", "page"),
        ("/v1/screen", "screen"),
        ("/v1/s", "screen"),
        ("/v1/identify", "identify"),
        ("/v1/i", "identify"),
        ("/v1/group", "group"),
        ("/v1/g", "group"),
        ("/v1/alias", "alias"),
        ("/v1/a", "alias"),
        ("/beacon/v1/track", "track"),
    ],
)
def test_single_calls(sessions: Sessions, visitor: str, path: str, kind: str) -> None:
    """Each kind of call has a path of its own, long and short."""
    event = {"anonymousId": visitor, "userId": f"u-{visitor}", "messageId": "1", "event": "X", "groupId": "g"}
    if kind == "alias":
        event |= {"previousId": visitor}
    reply = post(sessions, path, event, content_type="text/plain")
    assert (reply.status, reply.json) == (200, {"success": True})
    sessions.wait(visitor, 1)


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "application/json", ""])
@pytest.mark.parametrize("encoding", ["gzip", ""])
def test_types_and_encodings(sessions: Sessions, visitor: str, content_type: str, encoding: str) -> None:
    """SDKs send JSON under many names, compressed or not."""
    body = json.dumps({"batch": [track(visitor, "X", "1")]}).encode()
    headers = {"content_type": content_type} if content_type else {}
    if encoding:
        body, headers = gzip.compress(body), headers | {"content_encoding": encoding}
    assert post(sessions, "/v1/b", body, **headers).status == 200
    sessions.wait(visitor, 1)


BAD_EVENTS: dict[str, Any] = {
    "no id": {"type": "track", "event": "X"},
    "an id that is none": {"type": "identify", "userId": {"subscriptionStatus": "inactive"}},
    "no event": {"type": "track", "anonymousId": "v"},
    "no type": {"anonymousId": "v", "event": "X"},
    "unknown type": {"type": "jump", "anonymousId": "v"},
    "no object": 7,
    "null": None,
    "list": [],
    "wrong time": {"type": "track", "event": "X", "anonymousId": "v", "timestamp": "yesterday"},
    "time out of range": {"type": "track", "event": "X", "anonymousId": "v", "timestamp": "1815-12-10T00:00:00Z"},
    "wrong properties": {"type": "track", "event": "X", "anonymousId": "v", "properties": []},
    "long name": {"type": "track", "event": "X" * 65, "anonymousId": "v"},
    "long visitor": {"type": "track", "event": "X", "anonymousId": "v" * 129},
    "long text": {"type": "track", "event": "X", "anonymousId": "v", "properties": {"a": "x" * 1025}},
    "deep": {
        "type": "track",
        "event": "X",
        "anonymousId": "v",
        "properties": json.loads('{"a":' * 30 + "1" + "}" * 30),
    },
    "large number": {"type": "track", "event": "X", "anonymousId": "v", "properties": {"a": 10**400}},
    "group without id": {"type": "group", "anonymousId": "v"},
}


def test_bad_events_spoil_no_batch(sessions: Sessions, visitor: str) -> None:
    """Each bad event is left out; the good ones around them count."""
    batch: list[Any] = []
    for number, bad in enumerate(BAD_EVENTS.values()):
        batch += [track(visitor, "X", str(number)), bad]
    send(sessions, *batch)
    sessions.wait(visitor, len(BAD_EVENTS))


@pytest.mark.parametrize("name", sorted(BAD_EVENTS.keys() - {"no type", "unknown type"}))  # There the path says it.
def test_bad_single_events_are_refused(sessions: Sessions, name: str) -> None:
    """Alone, a bad event is refused with a reason, for good: the SDK drops it."""
    event = BAD_EVENTS[name]
    kind = event.get("type", "track") if isinstance(event, dict) else "track"
    reply = post(sessions, f"/v1/{kind}", event)
    assert reply.status == 400, reply.body
    assert reply.reason and reply.json["message"] and reply.json["code"] == 3


def test_more_bad_events_than_an_answer_names(sessions: Sessions, visitor: str) -> None:
    """The server names a hundred refused events; what comes behind them counts all the same, once."""
    bad = [track(visitor, "X" * 65, f"bad-{number}") for number in range(250)]
    good = [track(visitor, "X", f"good-{number}") for number in range(5)]
    send(sessions, *good[:2], *bad, *good[2:])
    sessions.wait(visitor, 5)


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"7", b'{"batch":7}', b'{"batch":[{]}', b"\xff\xfe", b'{"batch":[}', b"[" * 100_000]
)
def test_malformed_bodies_are_refused_for_good(sessions: Sessions, body: bytes) -> None:
    """What is no batch is answered with 400 and a reason."""
    reply = post(sessions, "/v1/batch", body)
    assert reply.status == 400
    assert reply.reason in ("MALFORMED", "WRONG_TYPE", "TOO_DEEP")


def test_hostile_bodies(sessions: Sessions, visitor: str) -> None:
    """Bombs, cut and wrong encodings are refused; the collector goes on."""
    assert post(sessions, "/v1/batch", gzip.compress(b" " * (50 << 20)), content_encoding="gzip").status == 413
    assert post(sessions, "/v1/batch", b"x" * (5 << 20)).status == 413
    assert post(sessions, "/v1/batch", gzip.compress(b"{}")[:-4], content_encoding="gzip").status == 400
    assert post(sessions, "/v1/batch", b"{}", content_encoding="br").status == 400
    assert call(sessions.port, "GET", "/v1/batch").status == 405
    send(sessions, track(visitor, "X", "1"))


def test_settings_of_the_browser_sdks(sessions: Sessions) -> None:
    """What browser SDKs ask for before they send names no destination but this server."""
    reply = call(sessions.port, "GET", "/v1/projects/wk%2F1/settings")
    assert reply.status == 200
    assert reply.json["integrations"]["Segment.io"]["apiKey"] == "wk/1"
    key = base64.b64encode(b"wk1:").decode()
    for path, headers in (("/sourceConfig/?writeKey=wk1", {}), ("/sourceConfig/", {"authorization": f"Basic {key}"})):
        reply = call(sessions.port, "GET", path, None, headers)
        assert (reply.status, reply.json["source"]["writeKey"]) == (200, "wk1")


def test_origins_are_echoed_with_credentials(sessions: Sessions, visitor: str) -> None:
    """A page of an allowed origin may send with credentials and with the headers of the SDKs; others get no permission."""
    asked = {
        "origin": "http://localhost:3000",
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,anonymousid,sentat,content-type,x-retry-count",
    }
    for path in ("/v1/t", "/v1/batch", "/com.snowplowanalytics.snowplow/tp2", "/cloudevents"):
        reply = call(sessions.port, "OPTIONS", path, None, asked)
        assert reply.status == 200
        assert reply.headers["access-control-allow-origin"] == "http://localhost:3000"
        assert reply.headers["access-control-allow-credentials"] == "true"
        allowed = set(reply.headers["access-control-allow-headers"].replace(" ", "").split(","))
        assert set(asked["access-control-request-headers"].split(",")) <= allowed
    reply = post(sessions, "/v1/t", track(visitor, "X", "1"), origin="http://localhost:3000")
    assert reply.headers["access-control-allow-origin"] == "http://localhost:3000"
    reply = call(sessions.port, "OPTIONS", "/v1/t", None, asked | {"origin": "https://elsewhere.example"})
    assert "access-control-allow-origin" not in reply.headers


def test_own_paths_are_not_collectors(sessions: Sessions) -> None:
    """The collectors take their paths only; RTE's own answer as before."""
    assert call(sessions.port, "GET", "/v1/sessions").status == 200
    assert call(sessions.port, "POST", "/v1/tracks", {}).status == 404
