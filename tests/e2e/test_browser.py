"""The headless browser that tests drive."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.browser import BrowserError, browser

PAGE = b"""<!doctype html><title>A page</title><link rel="icon" href="data:,"><input id="field"><button id="button">Go</button>
<script>
document.querySelector("#button").addEventListener("click", () => document.title = document.querySelector("#field").value)
addEventListener("pagehide", () => navigator.sendBeacon("/left", document.title))
</script>"""


class Pages(ThreadingHTTPServer):
    """Serves one page, and keeps what is posted.

    Attributes:
        posted: The bodies.
        changed: Notified with each.
    """

    def __init__(self) -> None:
        """Listen on a free port."""
        super().__init__(("127.0.0.1", 0), Answers)
        self.posted: list[bytes] = []
        self.changed = threading.Condition()


class Answers(BaseHTTPRequestHandler):
    """Answers one request."""

    server: Pages

    def do_GET(self) -> None:
        """Send the page."""
        self.send_response(200)
        self.send_header("content-type", "text/html")
        self.send_header("content-length", str(len(PAGE)))
        self.end_headers()
        self.wfile.write(PAGE)

    def do_POST(self) -> None:
        """Keep the body."""
        body = self.rfile.read(int(self.headers["content-length"]))
        with self.server.changed:
            self.server.posted.append(body)
            self.server.changed.notify_all()
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Stay silent."""


@pytest.fixture
def pages() -> Iterator[Pages]:
    """A server of pages."""
    with Pages() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_the_browser_does_what_people_do(pages: Pages) -> None:
    """It opens a page, writes into a field, clicks, tells what was requested, and tells the page that it is left."""
    address = f"http://127.0.0.1:{pages.server_port}/"
    with browser() as chromium:
        page = chromium.open(address)
        page.type("#field", "Written")
        page.click("#button")
        page.wait_for("document.title == 'Written'")
        assert [request["url"] for request in page.requests("127.0.0.1")] == [address]
        with pytest.raises(BrowserError, match="nowhere is not defined"):
            page.evaluate("nowhere")
        with pytest.raises(BrowserError, match="ERR_NAME_NOT_RESOLVED"):
            page.go("http://elsewhere.example/")
        page.go(address)
        page.close()
        with pages.changed:
            assert pages.changed.wait_for(lambda: len(pages.posted) == 2, 30)
    assert pages.posted == [b"Written", b"A page"]
