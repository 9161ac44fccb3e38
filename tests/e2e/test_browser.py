"""The headless browser that tests drive."""

from __future__ import annotations

import pytest

from tests.browser import BrowserError, browser, site

PAGE = b"""<!doctype html><title>A page</title><link rel="icon" href="data:,"><input id="field"><button id="button">Go</button>
<script>
document.querySelector("#button").addEventListener("click", () => document.title = document.querySelector("#field").value)
addEventListener("pagehide", () => navigator.sendBeacon("/left", document.title))
document.cookie = "seen=" + (Number(document.cookie.split("=")[1] || 0) + 1)
</script>"""


def test_the_browser_does_what_people_do() -> None:
    """It opens a page, writes into a field, clicks, tells what was requested, and tells the page that it is left."""
    with site({"/": PAGE}) as pages, browser() as chromium:
        address = f"{pages.address}/"
        page = chromium.open(address)
        page.type("#field", "Written")
        page.click("#button")
        page.wait_for("document.title == 'Written'")
        assert [request["url"] for request in page.requests("localhost")] == [address]
        with pytest.raises(BrowserError, match="nowhere is not defined"):
            page.evaluate("nowhere")
        with pytest.raises(BrowserError, match="ERR_NAME_NOT_RESOLVED"):
            page.go("http://elsewhere.example/")
        page.go(address)
        page.close()
        with pages.changed:
            assert pages.changed.wait_for(lambda: len(pages.posted) == 2, 120)
        assert pages.posted == [b"Written", b"A page"]
        assert chromium.open(address).evaluate("document.cookie") == "seen=3"
        chromium.be_somebody_new()
        assert chromium.open(address).evaluate("document.cookie") == "seen=1"
