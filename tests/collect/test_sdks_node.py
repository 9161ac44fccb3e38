"""The official SDKs for Node and for browsers, unmodified, the latter on a page in a headless Chromium.

Their packages are installed into `.cache/collect-sdks`, once. What a machine lacks is skipped, with the reason.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.browser import Chromium, Page, browser
from tests.collect.sessions import Sessions

SDKS = Path(__file__).parent / "sdks"
CACHE = Path(__file__).resolve().parents[2] / ".cache" / "collect-sdks"
TIMEOUT_S = 600
PACKAGE_FILES = ("package.json", "package-lock.json")


@pytest.fixture(scope="module")
def packages() -> Path:
    """The folder into which npm has installed what the lock file says."""
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    wanted = "".join((SDKS / name).read_text() for name in PACKAGE_FILES)
    done = CACHE / "installed"
    if not done.exists() or done.read_text() != wanted:
        shutil.rmtree(CACHE, ignore_errors=True)
        CACHE.mkdir(parents=True)
        for name in PACKAGE_FILES:
            shutil.copy(SDKS / name, CACHE)
        command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--omit-lockfile-registry-resolved"]
        result = subprocess.run(command, cwd=CACHE, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
        if result.returncode != 0:
            pytest.skip(f"npm cannot install the SDKs: {(result.stdout + result.stderr).strip()[-300:]}")
        done.write_text(wanted)
    return CACHE


def run(packages: Path, script: str, *arguments: str) -> None:
    """Run a script, which must report no error."""
    # Node looks for packages beside the file, so it stands beside them.
    shutil.copy(SDKS / script, packages)
    done = subprocess.run(
        ["node", script, *arguments], cwd=packages, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout) == {"errors": []}


def check_shop(session: dict[str, Any], visitor: str, channel: str, *, views: int, basket: float) -> None:
    """Check what all SDKs tell: who it was, a page of a campaign, products that were seen, and the basket."""
    found = session["attributes"]
    assert (session["customer_id"], session["channel"]) == (f"c-{visitor}", channel)
    assert (found["product_views"], found["basket.value"]) == (views, basket)
    assert (found["page_views"], found["first_source"]) == (1, "news")


@pytest.mark.parametrize("sdk", ["segment", "rudder"])
def test_segment_and_rudderstack(packages: Path, sessions: Sessions, visitor: str, sdk: str) -> None:
    """@segment/analytics-node and @rudderstack/rudder-sdk-node send all kinds of calls, in batches."""
    run(packages, "node_segment.mjs", sdk, f"http://127.0.0.1:{sessions.port}", visitor)
    session = sessions.wait(visitor, 56)
    check_shop(session, visitor, "server", views=50, basket=3)
    assert session["attributes"]["logins"] == 1


@pytest.mark.parametrize("method", ["post", "get"])
def test_snowplow(packages: Path, sessions: Sessions, visitor: str, method: str) -> None:
    """@snowplow/node-tracker sends page views, pings, structured and self-describing events."""
    run(packages, "node_snowplow.mjs", method, f"http://127.0.0.1:{sessions.port}", visitor)
    session = sessions.wait(visitor, 7)
    check_shop(session, visitor, "web", views=2, basket=9)
    assert session["attributes"]["active_s"] == 10


def test_cloudevents(packages: Path, sessions: Sessions, visitor: str) -> None:
    """Cloudevents sends in all three modes."""
    run(packages, "node_cloudevents.mjs", "", f"http://127.0.0.1:{sessions.port}", visitor)
    session = sessions.wait(visitor, 4)
    assert (session["customer_id"], session["attributes"]["basket.value"]) == (f"c-{visitor}", 20)


class Site(ThreadingHTTPServer):
    """A site of another origin than RTE's: one page, with the bundle of the SDKs."""

    def __init__(self, bundle: bytes) -> None:
        """Listen on a free port."""
        super().__init__(("127.0.0.1", 0), _Answers)
        page = b"<!doctype html><title>Shop</title><link rel=icon href=data:,><h1>Shop</h1><script src=/bundle.js></script>"
        self.files = {"/": ("text/html", page), "/bundle.js": ("text/javascript", bundle)}


class _Answers(BaseHTTPRequestHandler):
    server: Site

    def do_GET(self) -> None:
        """Send a file."""
        kind, body = self.server.files.get(self.path.partition("?")[0], ("text/plain", b""))
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Stay silent."""


@pytest.fixture(scope="module")
def site(packages: Path) -> Iterator[str]:
    """The address of the site."""
    shutil.copy(SDKS / "browser_page.mjs", packages)
    command: Sequence[str] = (
        "node",
        "node_modules/esbuild/bin/esbuild",
        "browser_page.mjs",
        "--bundle",
        "--format=iife",
    )
    done = subprocess.run(command, cwd=packages, capture_output=True, timeout=TIMEOUT_S, check=False)
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    server = Site(done.stdout)
    thread = threading.Thread(target=server.serve_forever, name="site")
    thread.start()
    yield f"http://localhost:{server.server_address[1]}/?utm_source=news"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Chromium]:
    """The browser."""
    with browser() as running:
        yield running


@pytest.fixture
def page(chromium: Chromium, site: str) -> Iterator[Page]:
    """The page, its storage empty."""
    opened = chromium.open(site)
    opened.evaluate("localStorage.clear()")
    opened.call("Network.clearBrowserCookies")
    yield opened
    assert opened.errors() == []
    opened.close()


def called(page: Page, sessions: Sessions, name: str, *arguments: str) -> str:
    """Call an SDK on the page and return the visitor that it made up."""
    given = ", ".join(json.dumps(each) for each in (f"http://localhost:{sessions.port}", *arguments))
    visitor = str(page.evaluate(f"sdks.{name}({given})"))
    assert len(visitor) > 10
    return visitor


@pytest.mark.parametrize("strategy", ["", "batching"])
def test_segment_in_a_browser(page: Page, sessions: Sessions, strategy: str) -> None:
    """@segment/analytics-next fetches its settings and sends, one by one or in batches, from another origin."""
    visitor = called(page, sessions, "segment", strategy)
    if strategy:
        page.go("about:blank?left")  # What is left is sent when the page is left.
    session = sessions.wait(visitor, 4)
    check_shop(session, visitor, "web", views=1, basket=8)
    assert session["attributes"]["browser"].startswith(("Chrome", "HeadlessChrome"))


def test_rudderstack_in_a_browser(page: Page, sessions: Sessions) -> None:
    """@rudderstack/analytics-js fetches its configuration and sends from another origin."""
    visitor = called(page, sessions, "rudder")
    check_shop(sessions.wait(visitor, 4), visitor, "web", views=1, basket=8)


@pytest.mark.parametrize("method", ["post", "get"])
def test_snowplow_in_a_browser(page: Page, sessions: Sessions, method: str) -> None:
    """@snowplow/browser-tracker sends by POST and as pixels, with credentials, from another origin."""
    visitor = called(page, sessions, "snowplow", method, "")
    session = sessions.wait(visitor, 5)
    check_shop(session, visitor, "web", views=1, basket=9)
    assert session["attributes"]["browser"].startswith(("Chrome", "HeadlessChrome"))
    assert len(session["alias_ids"]) == 1


def test_snowplow_that_is_anonymous(page: Page, sessions: Sessions) -> None:
    """With SP-Anonymous the session of the tracker is the visitor; the server sets no cookie."""
    visitor = called(page, sessions, "snowplow", "post", "anonymous")
    session = sessions.wait(visitor, 5)
    assert (session["customer_id"], session["attributes"]["basket.value"]) == ("", 9)
    sent = page.requests("/com.snowplowanalytics.snowplow/tp2")
    assert sent and all("sp-anonymous" in {name.lower() for name in request["headers"]} for request in sent)
    cookies = page.call("Network.getAllCookies")["cookies"]
    assert all(each["name"].startswith("_sp_") for each in cookies)  # Those of the tracker itself, on its page.
