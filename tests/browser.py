"""A headless Chromium for tests, driven by the DevTools protocol over a pipe: nothing to install beside the browser.

`make browser` installs Debian's `chromium`. Where a machine has none, the tests that need it are skipped, with the reason.

    with browser() as chromium:
        page = chromium.open("http://127.0.0.1:8080/demo/")
        page.click("#add")
        page.wait_for("document.title == 'Basket'")
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--remote-debugging-pipe",
)
# Whatever is not this machine does not exist, so that no page can reach anything else.
LOOPBACK_ONLY = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost, EXCLUDE *.localhost"
# The browser reads its descriptor 3 and writes its descriptor 4.
WITH_PIPE = """import os, sys
os.dup2(int(sys.argv[1]), 3), os.dup2(int(sys.argv[2]), 4)
os.execv(sys.argv[3], sys.argv[3:])"""
CALL_S_MAX = 120.0
WAIT_S_MAX = 120.0
MESSAGES_MAX = 1_000


class BrowserError(AssertionError):
    """The browser, or the script of a page, failed; the message says how."""


class Chromium:
    """A running browser with a profile of its own.

    Attributes:
        pages: The pages that were opened and not closed.
    """

    def __init__(self, program: str, profile: Path, flags: Sequence[str] = ()) -> None:
        """Start it.

        Args:
            program: Path of the browser.
            profile: An empty folder.
            flags: Further flags, such as `--force-dark-mode`.
        """
        self.pages: list[Page] = []
        self._ids = itertools.count(1)
        self._answers: dict[int, dict[str, Any]] = {}
        self._changed = threading.Condition()
        self._ended = False
        self._context: dict[str, str] = {}
        to_browser, self._out = os.pipe()
        self._in, from_browser = os.pipe()
        command = [program, *FLAGS, LOOPBACK_ONLY, f"--user-data-dir={profile}", *flags, "about:blank"]
        # Two high numbers first, so that neither is overwritten before it is copied.
        ends = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in (to_browser, from_browser)]
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", WITH_PIPE, *map(str, ends), *command],
            pass_fds=ends,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for end in (to_browser, from_browser, *ends):
            os.close(end)
        self._reader = threading.Thread(target=self._read, name="chromium", daemon=True)
        self._reader.start()
        self.call("Browser.getVersion")

    def open(self, url: str, *, width: int = 1280, height: int = 900, touch: bool = False) -> Page:
        """Open a page in a new tab and return when it has loaded.

        Args:
            url: Its address.
            width: Of the window, CSS pixels.
            height: Of the window, CSS pixels.
            touch: Whether it is a phone.
        """
        target = self.call("Target.createTarget", url="about:blank", **self._context)["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = Page(self, target, session)
        self.pages.append(page)
        for domain in ("Page", "Runtime", "Network", "Log"):
            page.call(f"{domain}.enable")
        page.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=touch)
        page.go(url)
        return page

    def be_somebody_new(self) -> None:
        """Open all further pages as somebody whom no site knows: without cookies and whatever else was stored."""
        self._context = {"browserContextId": self.call("Target.createBrowserContext")["browserContextId"]}

    def call(self, method: str, *, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        """Call a method of the DevTools protocol and return its result.

        Raises:
            BrowserError: It failed, or the browser has ended.
        """
        number = next(self._ids)
        message = {"id": number, "method": method, "params": parameters} | ({"sessionId": session} if session else {})
        raw = json.dumps(message).encode() + b"\0"
        while raw:
            raw = raw[os.write(self._out, raw) :]
        with self._changed:
            if not self._changed.wait_for(lambda: self._ended or number in self._answers, CALL_S_MAX):
                raise BrowserError(f"no answer to {method} within {CALL_S_MAX} s")
            if number not in self._answers:
                raise BrowserError(f"the browser ended before it answered {method}")
            answer = self._answers.pop(number)
        if "error" in answer:
            raise BrowserError(f"{method}: {answer['error']['message']}")
        result: dict[str, Any] = answer["result"]
        return result

    def close(self) -> None:
        """End the browser."""
        with contextlib.suppress(BrowserError, OSError):
            self.call("Browser.close")
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(20)
        os.close(self._out)
        os.close(self._in)

    def _read(self) -> None:
        rest = b""
        while received := os.read(self._in, 1 << 16):
            *texts, rest = (rest + received).split(b"\0")
            with self._changed:
                for text in texts:
                    message = json.loads(text)
                    if "id" in message:
                        self._answers[message["id"]] = message
                    else:
                        self._note(message)
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _note(self, message: dict[str, Any]) -> None:
        for page in self.pages:
            if page.session == message.get("sessionId"):
                page.messages.append(message)


class Page:
    """A tab.

    Attributes:
        session: Its session of the protocol.
        messages: What the browser told of it, the latest MESSAGES_MAX.
    """

    def __init__(self, chromium: Chromium, target: str, session: str) -> None:
        """Take a tab over; `Chromium.open` makes one."""
        self.session = session
        self.messages: deque[dict[str, Any]] = deque(maxlen=MESSAGES_MAX)
        self._chromium = chromium
        self._target = target

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the protocol in this tab."""
        return self._chromium.call(method, session=self.session, **parameters)

    def go(self, url: str) -> None:
        """Go to an address and return when the page has loaded."""
        answer = self.call("Page.navigate", url=url)
        if answer.get("errorText"):
            raise BrowserError(f"{url}: {answer['errorText']}")
        self.wait_for("location.href != 'about:blank' && document.readyState == 'complete'")

    def evaluate(self, expression: str) -> Any:
        """Return the value of a JavaScript expression, a promise awaited.

        Raises:
            BrowserError: It threw.
        """
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            details = answer["exceptionDetails"]
            raise BrowserError(details.get("exception", {}).get("description", details["text"]))
        return answer["result"].get("value")

    def wait_for(self, expression: str, timeout_s: float = WAIT_S_MAX) -> Any:
        """Return the value of an expression as soon as it is true.

        Raises:
            BrowserError: It is not, within the time.
        """
        deadline_s = time.monotonic() + timeout_s
        while True:
            try:
                value = self.evaluate(expression)
            except BrowserError:  # In the middle of a navigation there is nothing to ask.
                value = None
            if value:
                return value
            if time.monotonic() > deadline_s:
                raise BrowserError(
                    f"not within {timeout_s} s: {expression}\n{self.evaluate('document.body.innerText')}"
                )
            time.sleep(0.05)

    def click(self, selector: str) -> None:
        """Click the middle of an element, as a mouse does, once it is there."""
        element = f"document.querySelector({json.dumps(selector)})"
        self.wait_for(f"!!{element}")
        # In a script first, so that the element does not move between the two questions.
        box = self.evaluate(
            f"{element}.scrollIntoView({{block: 'center', behavior: 'instant'}}),"
            f" {element}.getBoundingClientRect().toJSON()"
        )
        place = {"x": box["x"] + box["width"] / 2, "y": box["y"] + box["height"] / 2}
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, button="left", clickCount=1, **place)

    def type(self, selector: str, text: str) -> None:
        """Click a field and write into it."""
        self.click(selector)
        self.call("Input.insertText", text=text)

    def requests(self, part: str) -> list[dict[str, Any]]:
        """Return the requests so far whose address contains a text, of the latest MESSAGES_MAX messages."""
        sent = [
            message["params"]["request"]
            for message in list(self.messages)
            if message["method"] == "Network.requestWillBeSent"
        ]
        return [request for request in sent if part in request["url"]]

    def errors(self) -> list[str]:
        """Return what scripts of the page threw and nobody caught."""
        return [
            message["params"]["exceptionDetails"].get("exception", {}).get("description", "")
            for message in list(self.messages)
            if message["method"] == "Runtime.exceptionThrown"
        ]

    def warnings(self) -> list[str]:
        """Return what scripts of the page warned of on the console; of each warning its texts, joined."""
        return [
            " ".join(str(part.get("value", part.get("description", ""))) for part in message["params"]["args"])
            for message in list(self.messages)
            if message["method"] == "Runtime.consoleAPICalled" and message["params"]["type"] == "warning"
        ]

    def screenshot(self, path: Path, *, whole: bool = False) -> None:
        """Write what is seen, or the whole page, as a PNG file."""
        taken = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(taken["data"]))

    def close(self) -> None:
        """Close the tab, as somebody does who leaves: the page is told."""
        self.call("Page.close")
        self._chromium.pages.remove(self)


class Site(ThreadingHTTPServer):
    """A web site of this machine, on a free port.

    Attributes:
        files: Content by path; a path that ends in `.js` is a script, any other a page.
        posted: Bodies that were posted.
        answer: Says status and content (JSON) of the answer to a body that is posted, status 0: the connection is closed without
            one; it is called before the body is among `posted`.
        changed: Notified with each.
    """

    def __init__(self, files: dict[str, bytes]) -> None:
        """Listen; `site` serves."""
        super().__init__(("127.0.0.1", 0), _Answers)
        self.files = files
        self.posted: list[bytes] = []
        self.answer: Callable[[bytes], tuple[int, bytes]] = lambda _: (204, b"")
        self.changed = threading.Condition()

    @property
    def address(self) -> str:
        """Return the address of its pages, without a slash at the end."""
        return f"http://localhost:{self.server_port}"


class _Answers(BaseHTTPRequestHandler):
    server: Site

    def do_GET(self) -> None:
        path = self.path.split("?")[0]
        content = self.server.files.get(path)
        self.send_response(404 if content is None else 200)
        self.send_header("content-type", "text/javascript" if path.endswith(".js") else "text/html; charset=utf-8")
        self.send_header("content-length", str(len(content or b"")))
        self.end_headers()
        self.wfile.write(content or b"")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        with self.server.changed:
            status, content = self.server.answer(body)
            self.server.posted.append(body)
            self.server.changed.notify_all()
        if not status:
            self.close_connection = True
            return
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def site(files: dict[str, bytes]) -> Iterator[Site]:
    """Serve some files for the time of a block."""
    with Site(files) as server:
        thread = threading.Thread(target=server.serve_forever, name="site")
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def browser(*flags: str) -> Iterator[Chromium]:
    """Run a browser for the time of a block; skips the test where there is none.

    Args:
        flags: Further flags of Chromium.
    """
    program = next((found for name in PROGRAMS if (found := shutil.which(name))), None)
    if program is None:
        pytest.skip("no Chromium is installed; on Debian: make browser")
    # Its last children may still write into the profile when it is removed.
    with tempfile.TemporaryDirectory(prefix="rte-browser-", ignore_cleanup_errors=True) as profile:
        chromium = Chromium(program, Path(profile), flags)
        try:
            yield chromium
        finally:
            chromium.close()
