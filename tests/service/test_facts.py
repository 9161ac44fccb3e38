"""A whole server whose model reads user agents and a list: over gRPC, through the journal, after a restart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grpc

from rte.v1 import event_service_pb2 as pb
from rte.v1.event_service_pb2_grpc import EventServiceStub
from rte.v1.session_service_pb2 import GetSessionRequest
from rte.v1.session_service_pb2_grpc import SessionServiceStub
from rte_server.engine.entries import EntryType
from rte_server.journal.directory import DataDirectory
from rte_server.journal.sqlite import SqliteJournal
from tests.service.live_engine import batch
from tests.service.live_server import LiveServer

MODEL = """
model: guests
lists:
  guests: {file: guests.txt}
attributes:
  browsers: {distinct: ua.browser(event.user_agent), keep: 64}
  people:   {count: page_view, where: "!ua.is_bot(event.user_agent)"}
  invited:  {count: page_view, where: event.name in lists.guests}
"""
AGENTS = [f"Mozilla/5.0 (X11; Linux x86_64; rv:{n}.0) Gecko/20100101 Firefox/{n}.0" for n in range(60, 90)]


def views(first: int, name: str) -> bytes:
    """Return a request with one view per user agent."""
    return (
        batch(
            [
                {
                    "visitor_id": "v",
                    "name": "page_view",
                    "event_id": str(first + number),
                    "properties": {"user_agent": agent, "name": name},
                }
                for number, agent in enumerate(AGENTS)
            ]
        )
    ).SerializeToString()


def sent(channel: grpc.Channel, body: bytes) -> dict[str, object]:
    """Send a request and return the attributes of the session."""
    request = pb.IngestEventsRequest.FromString(body)
    answer = EventServiceStub(channel).IngestEvents(request, timeout=60)
    session = SessionServiceStub(channel).GetSession(
        GetSessionRequest(visitor_id="v", min_position=answer.position), timeout=60
    )
    return dict(session.session.attributes.items())


def test_facts_are_journalled_before_their_events_and_a_changed_list_is_a_new_configuration(tmp_path: Path) -> None:
    """New user agents cost one entry in front of their request, known ones none; a restart takes up a changed list."""
    (tmp_path / "guests.yaml").write_text(MODEL)
    (tmp_path / "guests.txt").write_text("anna\n")
    options: dict[str, Any] = {"models__packs": [str(tmp_path / "guests.yaml")], "journal__trim": False}
    server = LiveServer(tmp_path / "data", **options)
    try:
        with server.channel() as channel:
            assert sent(channel, views(0, "anna")) == {"browsers": 1.0, "people": 30.0, "invited": 30.0}
            assert sent(channel, views(100, "bert")) == {"browsers": 1.0, "people": 60.0, "invited": 30.0}
    finally:
        server.stop()
    (tmp_path / "guests.txt").write_text("bert\n")
    server = LiveServer(tmp_path / "data", **options)
    try:
        with server.channel() as channel:
            assert sent(channel, views(200, "bert"))["invited"] == 60.0
            assert sent(channel, views(300, "anna")) == {"browsers": 1.0, "people": 120.0, "invited": 60.0}
        assert server.application.engine.stats()["facts_missing"] == 0
    finally:
        server.stop()
    with DataDirectory(tmp_path / "data") as directory:
        journal = SqliteJournal(directory)
        types = [entry.type for _, entry in journal.read(0, journal.first_position(0))]
        journal.close()
    assert [kind for kind in types if kind != EntryType.TICK] == [
        *(EntryType.CONFIGURE, EntryType.FACTS, EntryType.EVENTS, EntryType.EVENTS),
        *(EntryType.CONFIGURE, EntryType.EVENTS, EntryType.EVENTS),
    ]


def test_a_model_that_comes_later_is_told_about_the_user_agents_of_history(tmp_path: Path) -> None:
    """A function on user agents that is switched on later has values for the events that the journal still holds."""
    plain = "model: guests\nattributes: {views: {count: page_view}}\n"
    (tmp_path / "guests.yaml").write_text(plain)
    options: dict[str, Any] = {"models__packs": [str(tmp_path / "guests.yaml")], "journal__trim": False}
    server = LiveServer(tmp_path / "data", **options)
    try:
        with server.channel() as channel:
            assert sent(channel, views(0, "anna")) == {"views": 30.0}
    finally:
        server.stop()
    (tmp_path / "guests.yaml").write_text(
        plain.replace("}}", "}, people: {count: page_view, where: PEOPLE}}").replace(
            "PEOPLE", "'!ua.is_bot(event.user_agent)'"
        )
    )
    for first, people in ((100, 60.0), (200, 90.0)):  # the second time from a snapshot or by folding once more
        server = LiveServer(tmp_path / "data", **options)
        try:
            with server.channel() as channel:
                assert sent(channel, views(first, "anna")) == {"views": people, "people": people}
            assert server.application.engine.stats()["facts_missing"] == 0
        finally:
            server.stop()
