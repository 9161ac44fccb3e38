"""What came of events: sessions, read over HTTP as any program reads them."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil

from tests.e2e.calls import call

WAIT_S = 120.0
"""As long as an SDK may take to send; on a busy machine its threads wait."""


class Sessions:
    """Reads sessions of one server."""

    def __init__(self, port: int) -> None:
        self.port = port

    def find(self, visitor_id: str) -> dict[str, Any] | None:
        """Return the latest session of a visitor; None if there is none."""
        reply = call(self.port, "GET", f"/v1/visitors/{quote(visitor_id, safe='')}/session")
        if reply.status == 404:
            return None
        assert reply.status == 200, reply.body
        session: dict[str, Any] = reply.json["session"]
        return session

    def wait(self, visitor_id: str, event_count: int) -> dict[str, Any]:
        """Return the session of a visitor as soon as it has so many events; never more of them."""

        def complete() -> dict[str, Any] | None:
            found = self.find(visitor_id)
            return found if found is not None and int(found["event_count"]) >= event_count else None

        session: dict[str, Any] = eventually(complete)
        assert int(session["event_count"]) == event_count, session
        return session

    def attributes(self, visitor_id: str, event_count: int) -> dict[str, Any]:
        """Return the attributes of a session as soon as it has so many events."""
        found: dict[str, Any] = self.wait(visitor_id, event_count)["attributes"]
        return found


def eventually(found: Callable[[], Any]) -> Any:
    """Return what `found` returns as soon as it is something."""
    end_s = time.monotonic() + WAIT_S
    while (value := found()) is None:
        assert time.monotonic() < end_s, "it did not come in time"
        time.sleep(0.05)
    return value


def bridge_of(sessions: Sessions) -> psutil.Process | None:
    """Return the process of a server's bridge; None while there is none. Its Envoy, which listens at the port, is its sibling."""
    for each in psutil.Process().children():
        command = each.as_dict(["cmdline"], ad_value=())["cmdline"]
        if "rte_collect" in command:
            socket = command[command.index("--listen") + 1].removeprefix("unix:")
            configuration = Path(socket).with_name("envoy.yaml")
            if configuration.exists() and f"port_value: {sessions.port}\n" in configuration.read_text():
                return each
    return None
