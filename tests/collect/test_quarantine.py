"""What is refused is kept with its reason, bounded, over a restart, and can be taken once more or dropped."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from rte_collect.names import TABLES
from rte_collect.protocol import Raw
from rte_collect.quarantine import _SIZES, Bounds, Kept, Quarantine, size_of
from tests.cli.conftest import Rte, rte
from tests.collect.sessions import Sessions, bridge_of, eventually
from tests.e2e.calls import Reply, call
from tests.service.live_server import LiveServer, live_server

LONG = "x" * 65


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory for tables of a site's own, still empty."""
    return tmp_path_factory.mktemp("tables")


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory, tables: Path) -> Iterator[Sessions]:
    """A server whose quarantine is of these tests alone."""
    folder = tmp_path_factory.mktemp("data")
    with live_server(folder, edge=True, collect__tables=str(tables), collect__write_keys=("wk1", "wk2")) as server:
        yield Sessions(server.http_port)


def listed(sessions: Sessions, query: str = "") -> Any:
    """Return an answer of ListQuarantinedEvents."""
    reply = call(sessions.port, "GET", f"/v1/quarantined-events{query}")
    assert reply.status == 200, reply.body
    return reply.json


def order(sessions: Sessions, verb: str, **members: object) -> Reply:
    """Resubmit or drop."""
    return call(sessions.port, "POST", f"/v1/quarantined-events:{verb}", members)


def send(sessions: Sessions, *events: object, sent: datetime | None = None) -> Reply:
    """Send a batch to Segment's path."""
    body = {"batch": list(events), "writeKey": "wk1"} | ({"sentAt": sent.isoformat()} if sent else {})
    return call(sessions.port, "POST", "/v1/batch", body)


def bad(visitor: str, number: int, name: str = LONG) -> dict[str, Any]:
    """Return an event that the server refuses, since its name is too long."""
    return {"type": "track", "event": name, "anonymousId": visitor, "messageId": f"{visitor}-{number}"}


@pytest.fixture
def empty(own: Sessions) -> Sessions:
    """The server with nothing in its quarantine."""
    assert order(own, "drop", all=True).status == 200
    return own


def test_each_refusal_is_listed(empty: Sessions, visitor: str) -> None:
    """Protocol, reason, field, time and the event as it came are listed, the oldest first."""
    before = datetime.now(UTC) - timedelta(seconds=1)
    assert send(empty, {"type": "track", "event": "X"}, bad(visitor, 1), 7).status == 200
    body = {"schema": "iglu:x", "data": [{"e": "pv"}, {"e": "zz", "duid": visitor}]}
    assert call(empty.port, "POST", "/com.snowplowanalytics.snowplow/tp2", body).status == 200
    headers = {"content-type": "application/cloudevents+json"}
    refused = call(empty.port, "POST", "/cloudevents", json.dumps({"specversion": "1.0", "id": "1"}).encode(), headers)
    assert (refused.status, refused.reason) == (400, "FIELD_MISSING")
    found = listed(empty)
    told = [(each["protocol"], each["reason"].removeprefix("ERROR_REASON_"), each["field"]) for each in found["events"]]
    assert told == [
        ("segment", "FIELD_MISSING", "anonymousId"),
        ("segment", "STRING_TOO_LONG", "name"),
        ("segment", "WRONG_TYPE", ""),
        ("snowplow", "FIELD_MISSING", "duid"),
        ("snowplow", "OUT_OF_RANGE", "e"),
        ("cloudevents", "FIELD_MISSING", "source"),
    ]
    assert json.loads(found["events"][1]["document"]) == bad(visitor, 1)
    assert all(before < datetime.fromisoformat(each["receive_time"]) <= datetime.now(UTC) for each in found["events"])
    assert (found["total_count"], found["next_page_token"]) == (6, "")


def test_pages_and_filters(empty: Sessions, visitor: str) -> None:
    """Pages hold each event once, in order; filters name protocol and reason."""
    send(empty, *(bad(visitor, number) for number in range(25)), {"type": "track", "event": "X"})
    seen, token = [], ""
    while True:
        page = listed(empty, f"?page_size=10&page_token={token}")
        seen += [json.loads(each["document"]).get("messageId") for each in page["events"]]
        token = page["next_page_token"]
        if not token:
            break
    assert seen == [*(f"{visitor}-{number}" for number in range(25)), None]
    assert len(listed(empty, "?reason=ERROR_REASON_FIELD_MISSING")["events"]) == 1
    assert len(listed(empty, "?protocol=segment&page_size=1000")["events"]) == 26
    assert listed(empty, "?protocol=snowplow")["events"] == []


@pytest.mark.parametrize(
    ("verb", "members", "reason"),
    [
        ("resubmit", {}, "FIELD_MISSING"),
        ("drop", {}, "FIELD_MISSING"),
        ("drop", {"quarantine_ids": ["x"]}, "OUT_OF_RANGE"),
        ("drop", {"quarantine_ids": ["9" * 30]}, "OUT_OF_RANGE"),
        ("drop", {"quarantine_ids": ["1"], "all": True}, "OUT_OF_RANGE"),
        ("resubmit", {"quarantine_ids": ["1"] * 1001}, "OUT_OF_RANGE"),
    ],
)
def test_wrong_orders_are_refused(own: Sessions, verb: str, members: dict[str, Any], reason: str) -> None:
    """What names no events, or too many, changes nothing."""
    reply = order(own, verb, **members)
    assert (reply.status, reply.reason) == (400, reason)


def test_wrong_pages_are_refused(own: Sessions) -> None:
    """Page sizes and tokens are checked."""
    for query, reason in (("page_size=1001", "OUT_OF_RANGE"), ("page_token=x", "INVALID_PAGE_TOKEN")):
        reply = call(own.port, "GET", f"/v1/quarantined-events?{query}")
        assert (reply.status, reply.reason) == (400, reason)


def test_drop(empty: Sessions, visitor: str) -> None:
    """Named events are removed, each once; the others stay."""
    send(empty, *(bad(visitor, number) for number in range(3)))
    ids = [each["quarantine_id"] for each in listed(empty)["events"]]
    assert order(empty, "drop", quarantine_ids=[ids[0], ids[2], ids[0]]).json == {"dropped_count": 2}
    assert [each["quarantine_id"] for each in listed(empty)["events"]] == [ids[1]]
    assert order(empty, "drop", quarantine_ids=[ids[0]]).json == {"dropped_count": 0}


def test_resubmitted_in_vain(empty: Sessions, visitor: str) -> None:
    """What is still bad stays, and its attempts are counted."""
    send(empty, bad(visitor, 1))
    assert order(empty, "resubmit", all=True).json == {"accepted_count": 0, "rejected_count": 1}
    (event,) = listed(empty)["events"]
    assert event["attempt_count"] == 2


def restart(sessions: Sessions) -> None:
    """Kill the bridge and return when it takes calls again."""
    process = eventually(lambda: bridge_of(sessions))
    os.kill(process.pid, signal.SIGKILL)
    eventually(lambda: True if not process.is_running() or process.status() == psutil.STATUS_ZOMBIE else None)
    eventually(lambda: True if call(sessions.port, "GET", "/health").status == 200 else None)
    eventually(lambda: True if call(sessions.port, "GET", "/v1/quarantined-events").status == 200 else None)


def test_mended_events_come_in_with_their_times(empty: Sessions, tables: Path, visitor: str) -> None:
    """After `kill -9` of the bridge the events are there; with a table that knows their name they count, at their time."""
    received = datetime.now(UTC)
    sent = received - timedelta(days=2)
    happened = sent - timedelta(minutes=3)
    events = [bad(visitor, number) | {"timestamp": happened.isoformat()} for number in range(150)]
    send(empty, *events, sent=sent)
    assert empty.find(visitor) is None
    table = yaml.safe_load((TABLES / "segment.yaml").read_text())
    table["events"][LONG] = "page_view"
    (tables / "segment.yaml").write_text(yaml.safe_dump(table))
    try:
        restart(empty)
        assert listed(empty)["total_count"] == 150
        assert order(empty, "resubmit", all=True).json == {"accepted_count": 150, "rejected_count": 0}
        assert order(empty, "resubmit", all=True).json == {"accepted_count": 0, "rejected_count": 0}
        session = empty.wait(visitor, 150)
        # The clock of the sender is two days late, which the server would have corrected then.
        distance = received - timedelta(minutes=3) - datetime.fromisoformat(session["start_time"])
        assert abs(distance) < timedelta(minutes=2)
        assert listed(empty)["total_count"] == 0
    finally:
        (tables / "segment.yaml").unlink()
        restart(empty)


def test_write_keys(own: Sessions, visitor: str) -> None:
    """Where keys are set, only they are taken: in the body, as Basic authorization, or in the query."""
    event = {"type": "track", "event": "X", "anonymousId": visitor, "messageId": "1"}
    for path, body, headers, status in (
        ("/v1/batch", {"batch": [event]}, {}, 401),
        ("/v1/batch", {"batch": [event], "writeKey": "wk3"}, {}, 401),
        ("/v1/batch", {"batch": [event], "writeKey": "wk2"}, {}, 200),
        ("/v1/track", event, {"authorization": "Basic d2sxOg=="}, 200),
        ("/v1/track", event, {"authorization": "Basic d2s5Og=="}, 401),
        ("/v1/track", event, {"authorization": "Basic !"}, 400),
        ("/beacon/v1/batch?writeKey=wk1", {"batch": [event]}, {}, 200),
        ("/v1/projects/wk9/settings", None, {}, 401),
        ("/v1/projects/wk1/settings", None, {}, 200),
    ):
        reply = call(own.port, "POST" if body is not None else "GET", path, body, headers)
        assert reply.status == status, (path, reply.body)
    own.wait(visitor, 1)


def kept(number: int, size: int = 10, received_ms: int = 0) -> Kept:
    """Return an event to keep."""
    return Kept(0, "segment", Raw(b"x" * size, {"n": str(number)}), "MALFORMED", "", "", received_ms, None)


@given(st.lists(st.lists(st.integers(0, 60), min_size=1, max_size=5), max_size=12))
def test_bounds_hold(batches: list[list[int]]) -> None:
    """However many and large the events: never more than allowed, the newest stay, and each that left is counted."""
    bounds = Bounds(events_max=5, bytes_max=500, age_ms_max=10**9)
    quarantine = Quarantine("", bounds, lambda: 0)
    sizes: list[int] = []
    for batch in batches:
        quarantine.add([kept(len(sizes) + number, size) for number, size in enumerate(batch)])
        sizes += batch
        found = quarantine.page(0, 1000)
        held = [len(each.raw.document) for each in found]
        assert len(held) <= 5 and sum(map(size_of, found)) <= 500
        assert held == sizes[len(sizes) - len(held) :]
        assert quarantine.count == len(held)
        assert quarantine.lost_count == len(sizes) - len(held)
        # Not one more than needed has left.
        if len(held) < len(sizes) and len(held) < 5:
            number = len(sizes) - len(held) - 1
            assert sum(map(size_of, (*found, kept(number, sizes[number])))) > 500
    quarantine.close()


def test_old_events_leave(tmp_path: Path) -> None:
    """What is too old is not listed, and counts as lost; the file keeps the rest over a restart."""
    path, now = str(tmp_path / "quarantine.sqlite"), [1000]
    quarantine = Quarantine(path, Bounds(age_ms_max=100), lambda: now[0])
    quarantine.add([kept(1, received_ms=1000), kept(2, received_ms=1050)])
    now[0] = 1120
    assert [each.raw.hints["n"] for each in quarantine.page(0, 10)] == ["2"]
    quarantine.close()
    quarantine = Quarantine(path, Bounds(age_ms_max=100), lambda: now[0])
    assert (quarantine.count, quarantine.lost_count) == (1, 1)
    assert [each.raw.hints["n"] for each in quarantine.page(0, 10)] == ["2"]
    quarantine.close()


@pytest.mark.parametrize("part", ["hint", "message", "field"])
def test_all_texts_of_an_event_count(part: str) -> None:
    """What stands beside the event's document fills the quarantine as the document does, also over a restart."""
    text = "ä" * 500
    hint, message, field = (text * (part == each) for each in ("hint", "message", "field"))
    event = Kept(0, "segment", Raw(b"{}", {"a": hint}), "MALFORMED", field, message, 0, None)
    assert size_of(event) > 1000
    quarantine = Quarantine("", Bounds(bytes_max=3 * size_of(event)), lambda: 0)
    for _ in range(10):
        quarantine.add([event])
    assert (quarantine.count, quarantine.lost_count) == (3, 7)
    assert quarantine._database.execute(_SIZES).fetchone() == (3, quarantine._bytes)
    quarantine.close()


def test_one_request_fills_no_quarantine(empty: Sessions, visitor: str) -> None:
    """Of one request's refused events a thousand are kept; the others are counted."""
    lost = listed(empty).get("lost_count", 0)
    send(empty, bad(visitor, 1))
    send(empty, *({} for _ in range(1200)))
    found = listed(empty)
    assert (found["total_count"], found["lost_count"] - lost) == (1001, 200)
    assert json.loads(found["events"][0]["document"])["messageId"] == f"{visitor}-1"


@pytest.mark.parametrize("way", ["age", "timer", "eviction", "clear"])
def test_nothing_is_left_of_what_left(tmp_path: Path, way: str) -> None:
    """The bytes of events that left by themselves, or all at once, are in no file any more."""
    now = [0]
    quarantine = Quarantine(str(tmp_path / "quarantine.sqlite"), Bounds(events_max=2, age_ms_max=100), lambda: now[0])
    secret = Kept(0, "segment", Raw(b"a-secret-of-somebody" * 500), "MALFORMED", "", "", 0, None)
    quarantine.add([secret])
    assert any(b"a-secret" in path.read_bytes() for path in tmp_path.iterdir())
    if way in ("age", "timer"):
        now[0] = 1000
    if way == "timer":
        quarantine.forget_old()
    elif way == "clear":
        quarantine.clear()
    else:
        quarantine.add([kept(1, received_ms=1000), *([kept(2)] if way == "eviction" else [])])
    assert not any(b"a-secret" in path.read_bytes() for path in tmp_path.iterdir())
    quarantine.close()


def test_nothing_is_left_of_what_was_dropped(tmp_path: Path) -> None:
    """The bytes of dropped events are in no file any more."""
    quarantine = Quarantine(str(tmp_path / "quarantine.sqlite"), Bounds(), lambda: 0)
    secret = Kept(0, "segment", Raw(b"a-secret-of-somebody" * 500), "MALFORMED", "", "", 0, None)
    quarantine.add([secret, kept(1)])
    assert any(b"a-secret" in path.read_bytes() for path in tmp_path.iterdir())
    assert quarantine.remove([quarantine.page(0, 1)[0].key]) == 1
    assert not any(b"a-secret" in path.read_bytes() for path in tmp_path.iterdir())
    quarantine.close()


def test_full_disk_loses_nothing(tmp_path: Path) -> None:
    """Where the file cannot grow, the caller learns it, and what was counted is what is there."""
    quarantine = Quarantine(str(tmp_path / "quarantine.sqlite"), Bounds(), lambda: 0)
    quarantine.add([kept(1)])
    pages = quarantine._database.execute("PRAGMA page_count").fetchone()[0]
    quarantine._database.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(sqlite3.Error):
        quarantine.add([kept(2, 100_000)])
    assert quarantine.count == len(quarantine.page(0, 10)) == 1
    quarantine.close()


def test_bridge_that_is_away_is_said_so(server: LiveServer, sessions: Sessions) -> None:
    """While the bridge is away, senders are asked to come again, and so is who asks for the quarantine."""
    process = eventually(lambda: bridge_of(sessions))
    process.suspend()
    process.kill()
    eventually(lambda: True if not process.is_running() or process.status() == psutil.STATUS_ZOMBIE else None)
    reply = call(sessions.port, "POST", "/v1/batch", {"batch": []})
    assert reply.status in (200, 503)
    if reply.status == 503:
        assert reply.headers["retry-after"] and reply.reason == "SERVER_UNAVAILABLE"
    eventually(lambda: True if call(sessions.port, "GET", "/health").status == 200 else None)


def test_commands(empty: Sessions, visitor: str, rte: Rte) -> None:
    """`rte collect quarantine` lists, resubmits and drops."""
    address = f"127.0.0.1:{empty.port}"
    send(empty, bad(visitor, 1), {"type": "track", "event": "X"})
    listed_text = rte("collect", "quarantine", "list", "--server", address)
    assert listed_text.exit_code == 0, listed_text.err
    assert "STRING_TOO_LONG" in listed_text.out and "FIELD_MISSING" in listed_text.out
    found = rte("collect", "quarantine", "list", "--reason", "string_too_long", "--format", "json", "--server", address)
    event = json.loads(found.out)
    assert json.loads(event["document"])["messageId"] == f"{visitor}-1"
    again = rte("collect", "quarantine", "resubmit", event["quarantine_id"], "--server", address)
    assert again.out == "accepted 0, refused again 1\n"
    assert rte("collect", "quarantine", "drop", "--all", "--server", address).out == "dropped 2\n"
    assert rte("collect", "quarantine", "drop", "--server", address).exit_code == 2


__all__ = ["rte"]  # The fixture of the command line's tests.
