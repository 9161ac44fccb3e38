"""RTE's browser tag in a real browser: on pages of the demo shop, and on pages of another site, against a real server."""

from __future__ import annotations

import gzip
import hashlib
import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from rte_server.testing import TestServer
from tests.bench.server_process import ServerProcess
from tests.browser import Chromium, Page, Site, browser, site

Server = ServerProcess | TestServer
ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "envoy" / "rte.js"
GZIP_BYTES_MAX = 5 * 1024
WAIT_S_MAX = 120.0
ENTER = {"key": "Enter", "code": "Enter", "text": "\r", "windowsVirtualKeyCode": 13}
PAGE = """<!doctype html><meta charset="utf-8"><title>A shop</title><link rel="icon" href="data:,">
<script>
window.rte = window.rte || function () { (rte.q = rte.q || []).push(arguments) }
rte('init', OPTIONS)
rte('event', 'view_item', { item_id: 'before-it-loaded', price: 1 })
</script>
<script async src="SOURCE"></script>
<button id="button">Go</button><p style="height: 3000px"></p>"""


@pytest.fixture(scope="module")
def _browser() -> Iterator[Chromium]:
    with browser() as running:
        yield running


@pytest.fixture
def chromium(_browser: Chromium) -> Iterator[Chromium]:
    """A browser that no site knows."""
    _browser.be_somebody_new()
    yield _browser
    for page in list(_browser.pages):
        page.close()


def page_of(options: dict[str, Any], source: str) -> bytes:
    """Return a page with the tag."""
    return PAGE.replace("OPTIONS", json.dumps(options)).replace("SOURCE", source).encode()


def address_of(server: Server) -> str:
    """Return the address of the public port."""
    return f"http://localhost:{server.http_port}"


def session_of(server: Server, visitor: str) -> dict[str, Any] | None:
    """Return a visitor's session; None if there is none, or no server."""
    try:
        with urllib.request.urlopen(f"{address_of(server)}/v1/visitors/{visitor}/session", timeout=60) as answer:
            found: dict[str, Any] = json.load(answer)["session"]
            return found
    except urllib.error.URLError:
        return None


def wait_for_session(server: Server, visitor: str, fits: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """Return a visitor's session as soon as it is as it should be."""
    deadline_s = time.monotonic() + WAIT_S_MAX
    while True:
        session = session_of(server, visitor)
        if session is not None and fits(session):
            return session
        assert time.monotonic() < deadline_s, session
        time.sleep(0.1)


def wait_for_page_views(server: Server, visitor: str, count: int) -> None:
    """Return as soon as a visitor's session has so many page views."""
    wait_for_session(server, visitor, lambda one: one["attributes"]["page_views"] == count)


def sessions_since(server: Server, ms: int) -> list[dict[str, Any]]:
    """Return the sessions that began at a time, milliseconds since 1970, or later."""
    query = urllib.parse.urlencode({"filter": f"session.start_time >= {ms}"})
    with urllib.request.urlopen(f"{address_of(server)}/v1/sessions?{query}", timeout=60) as answer:
        found: list[dict[str, Any]] = json.load(answer)["sessions"]
        return found


def visitor_of(page: Page) -> str:
    """Return the id of whoever looks at a page; empty where nothing is measured."""
    found: str = page.evaluate("window.rte.version ? new Promise((then) => rte('visitor', then)) : ''")
    return found


def sent(page: Page) -> list[dict[str, Any]]:
    """Return the events that a tab has sent so far, each once: what had no answer when a page was left is sent again."""
    page.evaluate("0")  # What it told of requests before it answers this has come.
    requests = [json.loads(request["postData"]) for request in page.requests("/v1/events:ingest")]
    return list({event["event_id"]: event for request in requests for event in request["events"]}.values())


def has_left(session: dict[str, Any]) -> bool:
    """Return whether a session has what its page told last: what was written into, and how long it was looked at."""
    found = session["attributes"]
    return found["form_starts"] == 2 and found.get("active_s", 0) > 0 and bool(found.get("page_dwell"))


def test_a_visit_to_the_demo_shop_becomes_its_session_state(server: TestServer, chromium: Chromium) -> None:
    """Agree, search, look, add, log in, write into fields, leave: the state is what was done, and no text was sent."""
    page = chromium.open(f"{address_of(server)}/demo/?utm_source=newsletter&utm_medium=email")
    page.click("#agree")
    page.type("#search input", "bowl")
    page.call("Input.dispatchKeyEvent", type="keyDown", **ENTER)
    page.click("a[href='/demo/item/bowl-fern']")
    page.wait_for("document.title.startsWith('Fern bowl')")
    page.click("#add")
    page.click("#person")
    page.click("#basket-link")
    page.click("#checkout")
    page.type("input[name=name]", "Unsaid Person")
    page.type("input[name=email]", "unsaid@example.com")
    page.wait_for("document.querySelector('[data-attribute=furthest_step]')?.textContent == 'checkout'")
    visitor = visitor_of(page)
    wait_for_session(server, visitor, lambda one: one["attributes"]["checkouts"] == 1)
    events = sent(page)
    page.close()
    # The last requests of a page come one after the other: it has left when what the last one tells is there.
    left = wait_for_session(server, visitor, has_left)
    attributes = left["attributes"]
    shop = f"{address_of(server)}/demo"
    assert left["customer_id"].startswith("demo-")
    assert (left["channel"], attributes["channel"], attributes["last_source"]) == ("web", "email", "newsletter")
    assert attributes["page_views"] == 5
    assert attributes["recent_pages"] == [f"{shop}/checkout", f"{shop}/basket", f"{shop}/item/bowl-fern"]
    assert (attributes["last_search"], attributes["viewed_products"]) == ("bowl", ["bowl-fern"])
    assert attributes["basket"] == [{"item": "bowl-fern", "quantity": 1, "price": 28}]
    assert (attributes["furthest_step"], attributes["logins"], attributes["people"]) == ("checkout", 1, 1)
    assert (attributes["consent_analytics"], attributes["consent_ads"], attributes["consent_answers"]) == (
        "granted",
        "denied",
        1,
    )
    assert attributes["clicks"] == 6
    assert (attributes["form_starts"], attributes["form_submits"]) == (2, 1)
    assert attributes["active_s"] > 0
    assert attributes["page_dwell"]
    titles = [event["properties"]["page_title"] for event in events if event["name"] == "page_view"]
    assert titles[2] == "Fern bowl \u00b7 Field & Kiln"
    assert "nsaid" not in json.dumps(events)
    assert page.errors() == []


def test_without_consent_nothing_is_stored_and_nothing_sent(server: TestServer, chromium: Chromium) -> None:
    """Before an answer and after a denial, while the page is used and when it is left, RTE hears and keeps nothing."""
    begun_ms = int(time.time() * 1000)
    page = chromium.open(f"{address_of(server)}/demo/")
    page.click("a[href='/demo/item/mug-slate']")
    page.click("#add")
    page.wait_for("window.rte.version")
    page.click("#decline")
    page.click("#basket-link")
    page.wait_for("document.querySelector('#note').textContent.startsWith('You declined')")
    page.go(f"{address_of(server)}/demo/item/vase-stem")
    page.wait_for("window.rte.version")
    assert page.evaluate("document.cookie + Object.keys(localStorage).filter((key) => key.startsWith('rte'))") == ""
    time.sleep(1)  # Longer than a batch waits.
    assert page.requests("/v1/events:ingest") == []
    assert visitor_of(page) == ""
    page.close()
    time.sleep(0.5)
    assert sessions_since(server, begun_ms) == []


@pytest.mark.parametrize("answer", ["'denied'", "'revoked'", "false"])
def test_a_consent_that_is_withdrawn_is_told_and_then_nothing(
    server: TestServer, chromium: Chromium, answer: str
) -> None:
    """The session says that measuring is denied, in whatever words; the id is gone; later events are not sent."""
    page = chromium.open(f"{address_of(server)}/demo/")
    page.click("#agree")
    visitor = page.wait_for("document.cookie.split('rte_visitor=')[1]?.split(';')[0]")
    wait_for_session(server, visitor, lambda one: one["attributes"]["analytics_allowed"])
    page.evaluate(f"rte('consent', {{ analytics_storage: {answer} }})")
    session = wait_for_session(server, visitor, lambda one: not one["attributes"]["analytics_allowed"])
    assert page.evaluate("document.cookie") == ""
    count = len(sent(page))
    page.evaluate("rte('event', 'add_to_cart', { item_id: 'x', price: 1 })")
    time.sleep(1)
    assert len(sent(page)) == count
    found = session_of(server, visitor)
    assert found is not None
    assert found["event_count"] == session["event_count"]


def test_cookieless_measures_a_page_at_a_time(server: TestServer, chromium: Chromium) -> None:
    """With `denied: cookieless` a page is measured under an id that is stored nowhere and is another on the next page."""
    options = {"consent": "required", "denied": "cookieless", "endpoint": address_of(server)}
    with site({"/": page_of(options, f"{address_of(server)}/rte.js")}) as shop:
        page = chromium.open(f"{shop.address}/")
        page.wait_for("window.rte.version")
        page.evaluate("rte('consent', { analytics_storage: 'denied' })")
        visitors = [visitor_of(page)]
        session = wait_for_session(server, visitors[0], lambda one: one["event_count"] >= 3)
        assert session["attributes"]["consent_analytics"] == "denied"
        assert page.evaluate("document.cookie + Object.keys(localStorage)") == ""
        page.go(f"{shop.address}/")
        page.wait_for("window.rte.version")
        page.evaluate("rte('consent', { analytics_storage: 'denied' })")
        visitors.append(visitor_of(page))
    assert "" not in visitors
    assert visitors[0] != visitors[1]


def test_another_site_is_measured(server: TestServer, chromium: Chromium) -> None:
    """On a site of another origin: calls made before the script, scroll depth, a burst of clicks, an error; no preflight."""
    with site({"/": page_of({}, f"{address_of(server)}/rte.js")}) as shop:
        page = chromium.open(f"{shop.address}/")
        page.wait_for("window.rte.version")
        visitor = visitor_of(page)
        page.evaluate("setTimeout(() => { throw new Error('broken') })")
        page.evaluate("scrollTo(0, document.body.scrollHeight)")
        wait_for_session(server, visitor, lambda one: one["attributes"]["scrolls"] == 1)
        page.evaluate("for (let i = 0; i < 3; i++) dispatchEvent(new Event('nothing'))")
        # Three clicks in a row, however long this machine takes for each.
        page.evaluate("performance.now = ((at) => () => at)(performance.now())")
        for _ in range(3):
            page.click("#button")
        page.evaluate("delete performance.now")
        page.evaluate("rte('event', 'not_for_json', { big: 1n })")
        page.evaluate("rte('nonsense'), rte()")
        session = wait_for_session(server, visitor, lambda one: one["attributes"]["rage_clicks"] == 1)
        methods = {request["method"] for request in page.requests("/v1/events:ingest")}
        page.close()
        deep = wait_for_session(server, visitor, lambda one: (one["attributes"].get("read_depth") or 0) > 90)
    attributes = session["attributes"]
    assert (attributes["errors"], attributes["clicks"], attributes["last_item"]) == (1, 3, "before-it-loaded")
    assert methods == {"POST"}
    assert deep["attributes"]["scrolls"] == 1


def test_a_visitor_stays_the_same_and_a_reset_is_somebody_new(server: TestServer, chromium: Chromium) -> None:
    """The id is the same on the next page and in the next tab, also without cookies; `reset` makes a new one."""
    for storage in ("cookie", "localStorage"):
        chromium.be_somebody_new()
        with site({"/": page_of({"storage": storage}, f"{address_of(server)}/rte.js")}) as shop:
            pages = [chromium.open(f"{shop.address}/") for _ in range(2)]
            for page in pages:
                page.wait_for("window.rte.version")
            assert visitor_of(pages[0]) == visitor_of(pages[1]) != ""
            assert ("rte_visitor" in pages[0].evaluate("document.cookie")) == (storage == "cookie")
            pages[0].evaluate("rte('reset')")
            assert visitor_of(pages[0]) not in ("", visitor_of(pages[1]))


def test_history_and_frames_of_a_page_are_page_views_once(server: TestServer, chromium: Chromium) -> None:
    """pushState, replaceState to another address, and back are page views; the same address and `#part` are none."""
    with site({"/": page_of({}, f"{address_of(server)}/rte.js")}) as shop:
        page = chromium.open(f"{shop.address}/")
        page.wait_for("window.rte.version")
        page.evaluate("history.pushState(null, '', '/?page=2'), history.replaceState({}, '', '/?page=2')")
        page.evaluate("history.replaceState(null, '', '/?page=3'), location.hash = 'part'")
        page.evaluate("history.pushState(null, '', '/?page=3#/route')")
        page.evaluate("history.back(), new Promise((then) => addEventListener('popstate', then))")
        wait_for_page_views(server, visitor_of(page), 5)
        views = [event["properties"] for event in sent(page) if event["name"] == "page_view"]
        assert [view["page_location"].removeprefix(shop.address) for view in views] == [
            "/",
            "/?page=2",
            "/?page=3",
            "/?page=3#/route",
            "/?page=3#part",
        ]
        assert [view["page_referrer"] for view in views[1:]] == [view["page_location"] for view in views[:-1]]


def test_a_title_that_is_set_late_is_told_although_a_batch_is_due(server: TestServer, chromium: Chromium) -> None:
    """The view of a page within an application has the title that is set after the address, whenever a batch was begun."""
    with site({"/": page_of({}, f"{address_of(server)}/rte.js")}) as shop:
        page = chromium.open(f"{shop.address}/")
        page.wait_for("window.rte.version")
        wait_for_posted_events(page, {"view_item"})
        for views, wait_ms in enumerate(range(350, 400, 10), start=2):
            page.evaluate(
                f"rte('event', 'begun'), new Promise((then) => setTimeout(then, {wait_ms}))"
                f".then(() => history.pushState(null, '', '/?page={wait_ms}'))"
                f".then(() => setTimeout(() => (document.title = 'Page {wait_ms}'), 10))"
            )
            wait_for_page_views(server, visitor_of(page), views)
        titles = [event["properties"]["page_title"] for event in sent(page) if event["name"] == "page_view"]
        assert titles == ["A shop", *(f"Page {wait_ms}" for wait_ms in range(350, 400, 10))]


@pytest.mark.parametrize("is_first", [False, True])
def test_whoever_goes_on_at_once_leaves_the_title_of_the_page(
    server: TestServer, chromium: Chromium, *, is_first: bool
) -> None:
    """Pages that are left within milliseconds have their own titles, be they set before the address or after it."""
    steps = ["history.pushState(null, '', '/?page=N')", "document.title = 'Page N'"]
    step = "; ".join(steps[::-1] if is_first else steps)
    with site({"/": page_of({}, f"{address_of(server)}/rte.js")}) as shop:
        page = chromium.open(f"{shop.address}/")
        page.wait_for("window.rte.version")
        wait_for_posted_events(page, {"view_item"})
        page.evaluate(f"(() => {{ {'; '.join(step.replace('N', str(number)) for number in (2, 3, 4))} }})()")
        wait_for_page_views(server, visitor_of(page), 4)
        titles = [event["properties"]["page_title"] for event in sent(page) if event["name"] == "page_view"]
        assert titles == ["A shop", "Page 2", "Page 3", "Page 4"]


def times_posted(shop: Site, text: bytes) -> int:
    """Return how many of the bodies that were posted to a site contain a text."""
    return sum(text in body for body in list(shop.posted))


def wait_for_posted(shop: Site, text: bytes, times: int = 1) -> None:
    """Return as soon as so many bodies with a text were posted to a site."""
    with shop.changed:
        assert shop.changed.wait_for(lambda: times_posted(shop, text) >= times, WAIT_S_MAX), shop.posted


def wait_for_posted_events(page: Page, names: set[str]) -> None:
    """Return as soon as a page has sent events of all these names."""
    deadline_s = time.monotonic() + WAIT_S_MAX
    while not names <= (found := {event["name"] for event in sent(page)}):
        assert time.monotonic() < deadline_s, found
        time.sleep(0.05)


def wait_until_healthy(server: Server) -> None:
    """Return when Envoy knows that the server serves."""
    deadline_s = time.monotonic() + WAIT_S_MAX
    while True:
        try:
            with urllib.request.urlopen(f"{address_of(server)}/healthz", timeout=60):
                return
        except urllib.error.URLError:
            assert time.monotonic() < deadline_s
            time.sleep(0.1)


def test_a_server_that_is_killed_gets_each_event_once(tmp_path: Path, chromium: Chromium) -> None:
    """What happens while it is down arrives when it is back, once, also from a page that was left; the rest is counted."""
    with (
        ServerProcess(tmp_path / "data", RTE_SOAP__ENABLED="false") as server,
        site({"/rte.js": SCRIPT.read_bytes()}) as shop,
    ):
        shop.files["/"] = page_of({"endpoint": address_of(server), "ping_s": 0}, "/rte.js")
        page = chromium.open(f"{shop.address}/")
        page.wait_for("window.rte.version")
        visitor = visitor_of(page)
        wait_for_session(server, visitor, lambda one: one["attributes"]["product_views"] == 1)
        server.kill()
        page.evaluate("rte('event', 'add_to_cart', { item_id: 'while-down', price: 2 })")
        ingest = json.dumps(f"{address_of(server)}/v1/events:ingest")
        page.wait_for(f"performance.getEntriesByName({ingest}).length >= 2")
        page.go(f"{shop.address}/?next")
        page.wait_for("window.rte.version")
        page.evaluate("for (let i = 0; i < 300; i++) rte('event', 'poke')")
        with ServerProcess(
            tmp_path / "data", RTE_SERVER__PORT=str(server.http_port), RTE_SOAP__ENABLED="false"
        ) as again:
            wait_until_healthy(again)
            page.evaluate("dispatchEvent(new Event('online'))")
            wait_for_session(again, visitor, lambda one: one["event_count"] > 150)
            page.evaluate("rte('event', 'purchase', { value: 2 })")
            session = wait_for_session(again, visitor, lambda one: one["attributes"]["purchases"] == 1)
        events = {event["event_id"]: event for event in sent(page)}
        attributes = session["attributes"]
        assert (attributes["add_to_carts"], attributes["page_views"], attributes["product_views"]) == (1, 2, 2)
        assert session["event_count"] == len(events)
        (dropped,) = [event["properties"]["count"] for event in events.values() if event["name"] == "events_dropped"]
        assert dropped + sum(event["name"] == "poke" for event in events.values()) == 300
        assert page.errors() == []


def test_a_denial_is_honoured_on_the_next_page_where_measuring_is_the_default(chromium: Chromium) -> None:
    """Nothing is sent from the next page, and no id is kept; what waited is dropped; a new agreement measures again."""
    refusing = True
    with site({"/": page_of({"ping_s": 0}, "/rte.js"), "/rte.js": SCRIPT.read_bytes()}) as shop:
        shop.answer = lambda _: (503 if refusing else 200, b"{}")
        page = chromium.open(f"{shop.address}/")
        page.wait_for("window.rte.version")
        wait_for_posted(shop, b"page_view")
        page.evaluate(
            "rte('event', 'never_sent'), rte('consent', { analytics_storage: 'denied', ad_storage: 'granted' })"
        )
        refusing = False
        page.evaluate("dispatchEvent(new Event('online'))")
        wait_for_posted(shop, b"consent_update")
        assert page.evaluate("document.cookie") == "rte_consent=analytics_storage:denied"
        count = len(shop.posted)
        page.go(f"{shop.address}/?next")
        page.wait_for("location.search == '?next' && window.rte.version")
        page.evaluate("rte('event', 'never_sent'), rte('consent', { analytics_storage: 'denied' })")
        page.click("#button")
        time.sleep(1)  # Longer than a batch waits.
        assert visitor_of(page) == ""
        kept = page.evaluate("[document.cookie, ...Object.keys(localStorage)]")
        assert kept == ["rte_consent=analytics_storage:denied"]
        assert len(shop.posted) == count
        assert not any(b"never_sent" in body for body in shop.posted)
        page.evaluate("rte('consent', { analytics_storage: 'granted' }), rte('event', 'agreed')")
        wait_for_posted(shop, b"agreed")
        assert "rte_visitor=" in page.evaluate("document.cookie")


def test_the_last_request_of_a_page_that_is_answered_503_is_sent_by_the_next_page(chromium: Chromium) -> None:
    """No earlier request had failed, nor does one of the next page: the purchase arrives nevertheless."""
    with site({"/": page_of({"ping_s": 0}, "/rte.js"), "/rte.js": SCRIPT.read_bytes()}) as shop:
        page = chromium.open(f"{shop.address}/")
        page.wait_for("window.rte.version")
        wait_for_posted(shop, b"page_view")

        def answer(body: bytes) -> tuple[int, bytes]:
            return (503, b"") if b"purchase" in body and not times_posted(shop, b"purchase") else (200, b"{}")

        shop.answer = answer
        page.evaluate("rte('event', 'purchase', { value: 1 }), location.assign('/?next')")
        wait_for_posted(shop, b"purchase", 2)
        page.wait_for("location.search == '?next' && !Object.keys(localStorage).length")
        ids = [
            event["event_id"]
            for body in shop.posted
            for event in json.loads(body)["events"]
            if event["name"] == "purchase"
        ]
        assert len(set(ids)) == 1


def test_a_batch_whose_answer_is_lost_is_sent_again(chromium: Chromium) -> None:
    """It was taken, which nobody was told: the same page sends the same events under the same ids once more."""
    with site({"/": page_of({"ping_s": 0}, "/rte.js"), "/rte.js": SCRIPT.read_bytes()}) as shop:
        shop.answer = lambda body: (200 if b"purchase" not in body or times_posted(shop, b"purchase") else 0, b"{}")
        page = chromium.open(f"{shop.address}/")
        page.wait_for("window.rte.version")
        page.evaluate("rte('event', 'purchase', { value: 1 })")
        wait_for_posted(shop, b"purchase", 2)
        first, second = (json.loads(body)["events"] for body in shop.posted if b"purchase" in body)
        page.evaluate("rte('event', 'login')")
        wait_for_posted(shop, b"login")
        assert second[: len(first)] == first
        assert times_posted(shop, b"purchase") == 2


def test_a_browser_without_keepalive_sends_a_beacon_when_the_page_is_left(chromium: Chromium) -> None:
    """What was measured last is there, though no fetch outlives the page: it is sent by `sendBeacon`."""
    old = page_of({"ping_s": 0}, "/rte.js").replace(b"<script>\n", b"<script>\ndelete Request.prototype.keepalive\n", 1)
    with site({"/": old, "/rte.js": SCRIPT.read_bytes(), "/elsewhere": b"<!doctype html>"}) as shop:
        shop.answer = lambda _: (200, b"{}")
        page = chromium.open(f"{shop.address}/")
        page.wait_for("window.rte.version")
        wait_for_posted(shop, b"view_item")
        page.evaluate(
            "window.fetch = () => Promise.reject(new Error('too late')),"
            " addEventListener('pagehide', () => rte('event', 'purchase', { value: 1 }), { capture: true })"
        )
        page.go(f"{shop.address}/elsewhere")
        wait_for_posted(shop, b"purchase")


def test_tabs_hand_over_without_overwriting_what_others_left(chromium: Chromium) -> None:
    """Two tabs whose requests are never answered are left in turns; a third one sends what both had measured."""
    with site({"/": page_of({"ping_s": 0}, "/rte.js"), "/rte.js": SCRIPT.read_bytes()}) as shop:
        tabs = [chromium.open(f"{shop.address}/?{number}") for number in range(2)]
        for tab in tabs:
            tab.wait_for("window.rte.version")
            tab.evaluate("void (window.fetch = () => new Promise(() => {}))")
        for name, tab in (("a1", tabs[0]), ("b1", tabs[1]), ("a2", tabs[0]), ("b2", tabs[1])):
            tab.evaluate(f"rte('event', 'left_{name}'), dispatchEvent(new Event('pagehide'))")
        tabs[0].wait_for("Object.values(localStorage).join().includes('left_b2')")
        third = chromium.open(f"{shop.address}/?third")
        wait_for_posted_events(third, {"left_a1", "left_a2", "left_b1", "left_b2"})


def test_events_that_the_server_refuses_are_told_on_the_console(server: TestServer, chromium: Chromium) -> None:
    """An answer that took the batch but refused an event of it is a warning that says which and why."""
    with site({"/": page_of({}, f"{address_of(server)}/rte.js")}) as shop:
        page = chromium.open(f"{shop.address}/")
        page.wait_for("window.rte.version")
        wait_for_session(server, visitor_of(page), lambda one: one["event_count"] >= 2)
        assert page.warnings() == []
        page.evaluate("rte('event', '!'.repeat(500)), rte('event', 'purchase', { value: 1 })")
        wait_for_session(server, visitor_of(page), lambda one: one["attributes"]["purchases"] == 1)
        deadline_s = time.monotonic() + WAIT_S_MAX
        while not page.warnings():
            assert time.monotonic() < deadline_s
            time.sleep(0.05)
    (warning,) = page.warnings()
    assert "refuses" in warning
    assert "has 500 bytes" in warning


def test_a_page_whose_server_never_answers_works(chromium: Chromium) -> None:
    """Where the script cannot be loaded, the page goes on, and its calls do nothing."""
    with site({"/": page_of({}, "http://localhost:1/rte.js")}) as shop:
        page = chromium.open(f"{shop.address}/")
        page.evaluate("rte('event', 'add_to_cart', { item_id: 'x' })")
        page.click("#button")
        assert page.errors() == []


def test_the_script_is_small_and_has_one_global(server: TestServer, chromium: Chromium) -> None:
    """It is less than 5 KB when compressed, and leaves `rte` and nothing else."""
    assert len(gzip.compress(SCRIPT.read_bytes(), 9)) < GZIP_BYTES_MAX
    bare = b"<!doctype html><link rel=icon href=data:,>"
    with site({"/bare": bare, "/": bare + b"<script src=/rte.js></script>", "/rte.js": SCRIPT.read_bytes()}) as shop:
        names = [
            set(chromium.open(shop.address + path).evaluate("Object.getOwnPropertyNames(window)"))
            for path in ("/bare", "/")
        ]
    assert names[1] - names[0] == {"rte"}


def test_the_script_is_cached_by_its_version(server: TestServer) -> None:
    """The answer may be kept, is compressed, and carries the version of what is committed, by which 304 is answered."""
    script = SCRIPT.read_bytes()
    version = script.split(b",")[0].split()[-1].decode()
    tag = f'W/"{version}-{hashlib.sha256(script).hexdigest()[:12]}"'
    url = f"{address_of(server)}/rte.js"
    with urllib.request.urlopen(urllib.request.Request(url, headers={"accept-encoding": "gzip"}), timeout=60) as answer:
        assert gzip.decompress(answer.read()) == script
        assert (answer.headers["etag"], answer.headers["content-encoding"]) == (tag, "gzip")
        assert answer.headers["content-type"] == "text/javascript; charset=utf-8"
        assert "max-age=3600" in answer.headers["cache-control"]
    with pytest.raises(urllib.error.HTTPError) as unchanged:
        urllib.request.urlopen(urllib.request.Request(url, headers={"if-none-match": tag}), timeout=60)
    assert (unchanged.value.code, unchanged.value.headers["etag"], unchanged.value.headers["location"]) == (
        304,
        tag,
        None,
    )
    unchanged.value.close()


def test_the_demo_shop_is_closed_unless_it_is_opened() -> None:
    """The committed configuration serves no demo; `edge.demo` opens it."""
    tree = yaml.safe_load((ROOT / "envoy" / "envoy.yaml").read_text())
    assert tree["layered_runtime"]["layers"][0]["static_layer"] == {"edge.demo": 0}
    manager = tree["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    for route in manager["route_config"]["virtual_hosts"][0]["routes"]:
        if route["name"].startswith("demo"):
            assert route["match"]["runtime_fraction"]["runtime_key"] == "edge.demo"
