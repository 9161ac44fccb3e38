"""The live table of `rte run`: the newest sessions and how busy the server is."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol, TextIO

from rte_server.cli.session_text import COLUMNS, ago, cells, is_number

if TYPE_CHECKING:
    from rich.console import RenderableType

    from rte.v1.session_service_pb2 import ListSessionsResponse

ROWS_MAX = 100
TABLE_INTERVAL_S = 0.5
LINE_INTERVAL_S = 5.0
_RATE_WINDOW_S = 5.0
_TIMEOUT_S = 5.0
_NARROW = 110


class Rate:
    """How fast a counter grew over the last seconds."""

    def __init__(self, window_s: float = _RATE_WINDOW_S) -> None:
        self._window_s = window_s
        self._seen: list[tuple[float, int]] = []

    def of(self, count: int, now_s: float) -> float:
        """Take the counter's value at a time, in seconds, and return its growth per second."""
        self._seen.append((now_s, count))
        while len(self._seen) > 2 and now_s - self._seen[1][0] >= self._window_s:
            self._seen.pop(0)
        first_s, first = self._seen[0]
        return (count - first) / (now_s - first_s) if now_s > first_s else 0.0


class View(Protocol):
    """Shows what a server does."""

    def show(self, page: ListSessionsResponse, events_per_s: float, events: int) -> None:
        """Show the newest sessions."""

    def close(self) -> None:
        """Show nothing more."""


class LiveView(threading.Thread):
    """Asks the server for its newest sessions, again and again, and shows them."""

    def __init__(
        self, server: str, stats: Callable[[], Mapping[str, int]], view: View, rows: int, interval_s: float
    ) -> None:
        """Make the thread; `start` starts it.

        Args:
            server: `host:port` of the gRPC server.
            stats: Gives `events_applied`, of the server.
            view: Shows it.
            rows: Sessions to ask for, 1 to ROWS_MAX.
            interval_s: Time between two looks, seconds.
        """
        super().__init__(name="rte-live-view", daemon=True)
        self._server = server
        self._stats = stats
        self._view = view
        self._rows = min(rows, ROWS_MAX)
        self._interval_s = interval_s
        self._stopping = threading.Event()

    def run(self) -> None:
        """Show until `stop`."""
        import grpc

        from rte.v1.session_service_pb2 import ListSessionsRequest
        from rte.v1.session_service_pb2_grpc import SessionServiceStub
        from rte_server.cli.connection import open_channel

        request = ListSessionsRequest(order_by="session.last_event_time desc", page_size=self._rows)
        rate = Rate()
        with open_channel(self._server) as channel:
            stub = SessionServiceStub(channel)
            while not self._stopping.wait(self._interval_s):
                try:
                    page = stub.ListSessions(request, timeout=_TIMEOUT_S)
                except grpc.RpcError:
                    continue  # A busy server is asked again; a dead one ends this process by itself.
                events = self._stats()["events_applied"]
                self._view.show(page, rate.of(events, time.monotonic()), events)

    def stop(self) -> None:
        """Stop and give the terminal back."""
        self._stopping.set()
        self.join(_TIMEOUT_S)
        self._view.close()


class LineView:
    """A line every few seconds, for logs and pipes."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def show(self, page: ListSessionsResponse, events_per_s: float, events: int) -> None:
        """Print one line."""
        now = datetime.now(UTC)
        text = f"{page.total_count:,} active sessions, {events:,} events, {events_per_s:,.1f} events/s"
        if page.sessions:
            newest = page.sessions[0]
            text += f"; newest {newest.visitor_id}, {newest.event_count} events, {ago(newest.last_event_time, now)}"
        print(text, file=self._out, flush=True)

    def close(self) -> None:
        """Do nothing."""


class TableView:
    """A table that is drawn over again in the terminal."""

    def __init__(self, heading: str) -> None:
        """Begin to draw.

        Args:
            heading: Lines above the table, in rich's markup.
        """
        from rich.console import Console
        from rich.live import Live

        self._heading = heading
        self._console = Console()
        self._live = Live(console=self._console, screen=True, auto_refresh=False)
        self._live.start()

    @property
    def rows(self) -> int:
        """Say how many sessions fit."""
        return max(3, self._console.size.height - self._heading.count("\n") - 5)

    def show(self, page: ListSessionsResponse, events_per_s: float, events: int) -> None:
        """Draw the table."""
        self._live.update(self._drawn(page, events_per_s, events), refresh=True)

    def close(self) -> None:
        """Give the terminal back."""
        self._live.stop()

    def _drawn(self, page: ListSessionsResponse, events_per_s: float, events: int) -> RenderableType:
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        now = datetime.now(UTC)
        table = Table(box=None, expand=True, header_style="bold", pad_edge=False)
        narrow = self._console.size.width < _NARROW
        shown = [
            at for at, column in enumerate(COLUMNS) if not (narrow and column in ("state", "from", "device", "at"))
        ]
        for at in shown:
            table.add_column(COLUMNS[at], justify="right" if is_number(COLUMNS[at]) else "left", no_wrap=True)
        for session in page.sessions[: self.rows]:
            row = cells(session, now)
            fresh = "bold" if row[2] == "now" else ""
            style = "green" if row[6].startswith("paid") else fresh
            table.add_row(*(Text(row[at]) for at in shown), style=style)
        counts = (
            f"[bold]{page.total_count:,}[/bold] active sessions   [bold]{events_per_s:,.1f}[/bold] events/s   "
            f"{events:,} events   {now.astimezone():%H:%M:%S}"
        )
        return Group(Text.from_markup(self._heading), Text.from_markup(counts), Text(), table)
