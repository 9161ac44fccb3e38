"""The plain Python engine computes what RTE computes: all attributes of `base` and `retail`, on events in order of time."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from google.protobuf.json_format import MessageToDict

from rte.v1.event_service_pb2 import IngestEventsRequest
from rte.v1.session_pb2 import Session as ShownSession
from rte_server.engine.engine import Engine
from rte_server.engine.query import STATES_ANY
from rte_server.models.facts import fold_request
from tests.bench.engine_part import new_engine
from tests.bench.python_baseline import PythonEngine
from tests.bench.python_session import Session
from tests.bench.python_shown import DISTINCT, TOPS, shown
from tests.bench.workload import START_MS, make_workload

SAME = 1e-9
DISTINCT_EXACT = 8
TOP_EXACT = {"page_dwell": 16, "category_interest": 4, "brand_interest": 4, "currency": 2}
STEPS_EXACT = 5

NAMES = {
    "page_view": 20,
    "view_item": 12,
    "add_to_cart": 6,
    "click": 8,
    "exception": 2,
    **dict.fromkeys(("remove_from_cart", "begin_checkout", "scroll", "search", "view_item_list", "consent_update"), 3),
    **dict.fromkeys(
        ("update_cart", "purchase", "refund", "login", "sign_up", "rage_click", "dead_click", "error_click"), 1
    ),
    **dict.fromkeys(("generate_lead", "form_start", "form_submit", "select_item", "select_promotion", "other"), 1),
    **dict.fromkeys(("apply_coupon", "session_start", "screen_view", "app_open", "campaign_details"), 1),
}
PAGES = (
    "https://shop.example/",
    "https://shop.example/a?x=1",
    "https://shop.example/b?utm_source=facebook&utm_medium=cpc&utm_campaign=spring",
    "https://shop.example/c?utm_source=news&utm_medium=e-mail",
    "https://shop.example/d?gclid=abc",
    "https://shop.example/f?utm_medium=email&dclid=",
    "https://shop.example/e?utm_source=x&utm_medium=display&ttclid=1#top",
)
REFERRERS = (
    "https://www.google.de/",
    "https://shop.example/",
    "",
    "https://blog.example/x",
    "http://l.facebook.com/l",
    "nothing",
)
AGENTS = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.0 Mobile/15E148 Safari/604.1",
    "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
    "who knows",
)
OPTIONAL: dict[str, tuple[float, Callable[[random.Random], Any]]] = {
    "page_location": (0.9, lambda rng: rng.choice(PAGES)),
    "page_referrer": (0.3, lambda rng: rng.choice(REFERRERS)),
    "language": (0.1, lambda rng: rng.choice(("de", "en"))),
    "user_agent": (0.1, lambda rng: rng.choices(AGENTS, (5, 5, 1, 1))[0]),
    "device_category": (0.02, lambda rng: "tv"),
    "engagement_time_msec": (0.3, lambda rng: float(rng.randrange(60_000))),
    "utm_source": (0.03, lambda rng: rng.choice(("Facebook", "partner", "email", "Google"))),
    "utm_medium": (
        0.03,
        lambda rng: rng.choice(("social", "affiliate", "push", "organic", "sms", "link", "other", "CPC", "cpm")),
    ),
    "utm_campaign": (0.03, lambda rng: rng.choice(("spring", "autumn"))),
    "item_id": (0.9, lambda rng: f"SKU-{rng.randrange(9)}"),
    "item_category": (0.7, lambda rng: rng.choice(("coats", "hats", "shoes"))),
    "item_brand": (0.7, lambda rng: f"brand {rng.randrange(5)}"),
    "price": (0.9, lambda rng: rng.randrange(1, 400) / 4),
    "quantity": (0.7, lambda rng: float(rng.randrange(4))),
    "discount": (0.3, lambda rng: float(rng.randrange(3))),
    "items": (0.2, lambda rng: [_item(rng) for _ in range(rng.randrange(4))]),
    "coupon": (0.1, lambda rng: rng.choice(("", "TEN", "FIVE"))),
    "currency": (0.5, lambda rng: rng.choice(("EUR", "EUR", "EUR", "USD"))),
    "transaction_id": (0.5, lambda rng: f"T{rng.randrange(3)}"),
    "sort_by": (0.5, lambda rng: rng.choice(("price_asc", "newest"))),
    "value": (0.8, lambda rng: rng.randrange(1, 4000) / 8),
    "search_term": (0.9, lambda rng: f"coat {rng.randrange(6)}"),
    "result_count": (0.8, lambda rng: float(rng.randrange(3))),
    "percent_scrolled": (0.8, lambda rng: float(rng.randrange(101))),
    "target": (0.5, lambda rng: rng.choice(("#buy", "#buy", "#menu"))),
    "user_id": (0.9, lambda rng: f"person {rng.randrange(4)}"),
    "analytics_storage": (0.7, lambda rng: rng.choice(("granted", "denied", "maybe"))),
    "ad_storage": (0.7, lambda rng: rng.choice(("granted", "denied", False))),
    "ad_personalization": (0.7, lambda rng: rng.choice(("granted", "denied"))),
}
"""How often an event has a property, and what it is then."""
OF_ITEMS = ("item_id", "item_category", "item_brand", "price", "quantity", "discount", "coupon")
"""What an element of `items` may have, as often as an event has it."""


def _item(rng: random.Random) -> dict[str, str | float]:
    return {name: OPTIONAL[name][1](rng) for name in OF_ITEMS if rng.random() < OPTIONAL[name][0]}


def test_it_computes_what_rte_computes_on_the_workload() -> None:
    """On the events that are measured, all attributes of all visitors' newest sessions are the same."""
    workload = make_workload(event_count=4_000, visitor_count=300, batch_events=50)
    both = _Both()
    for request, received_ms in zip(workload.requests, workload.received_ms, strict=True):
        both.fold(request, received_ms)
    both.compare()
    assert both.sessions_compared >= 300
    _assert_exceptions_are_few(both)


def test_it_computes_what_rte_computes_on_events_with_every_property() -> None:
    """On events of all names with all properties, every attribute has a value somewhere, and all are the same at any time."""
    both = _Both()
    for number, (request, received_ms) in enumerate(_all_sorts_of_events(random.Random(5), 4_000, 120)):
        both.fold(request, received_ms)
        if number % 25 == 0:
            both.compare()
    both.compare()
    assert both.compared.keys() == {attribute.name for attribute in both.rte.filter_attributes}
    _assert_exceptions_are_few(both)


def _assert_exceptions_are_few(both: _Both) -> None:
    """No attribute may be left out for most sessions, else nothing would be compared."""
    for name, count in both.left_out.items():
        assert both.compared[name] > count, f"{name} was left out {count} times"


class _Both:
    """RTE and the plain Python engine with the same events."""

    def __init__(self) -> None:
        self.rte = new_engine()
        self.python = PythonEngine()
        self.clock_ms = 0
        self.sessions_compared = 0
        self.compared: Counter[str] = Counter()
        """How often an attribute had a value in both."""
        self.left_out: Counter[str] = Counter()

    def fold(self, request: bytes, received_ms: int) -> None:
        fold_request(self.rte, received_ms, request)
        self.python.fold(request, received_ms)
        self.clock_ms = received_ms

    def compare(self) -> None:
        """Compare all attributes of the newest session of each visitor."""
        of_rte = _sessions_of(self.rte)
        for visitor_id, session in self.python.sessions.items():
            theirs, ours = of_rte[visitor_id, session.start_ms], shown(session, self.clock_ms)
            self.sessions_compared += 1
            for name in theirs.keys() | ours.keys():
                if _is_exception(name, session):
                    self.left_out[name] += 1
                    continue
                assert name in theirs and name in ours, f"{visitor_id} {name}: {theirs.get(name)} {ours.get(name)}"
                assert _is_same(theirs[name], ours[name]), f"{visitor_id} {name}: {theirs[name]} {ours[name]}"
                self.compared[name] += 1


def _sessions_of(engine: Engine) -> dict[tuple[str, int], dict[str, Any]]:
    """Return the attributes of all sessions by visitor and start in milliseconds."""
    rows = engine.select(engine.filter((), int(STATES_ANY))).rows
    sessions = [ShownSession.FromString(message) for message in engine.encode(rows)]
    return {
        (session.visitor_id, session.start_time.ToMilliseconds()): MessageToDict(session.attributes)
        for session in sessions
    }


def _is_same(left: Any, right: Any) -> bool:
    """Return whether two values are equal, numbers within a share of 1e-9; booleans are no numbers."""
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(_is_same(left[name], right[name]) for name in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(_is_same, left, right))
    if isinstance(left, bool) or isinstance(right, bool) or not isinstance(left, float):
        return left is right or (type(left) is type(right) and bool(left == right))
    return isinstance(right, (int, float)) and abs(left - right) <= SAME * abs(left)


def _is_exception(name: str, session: Session) -> bool:
    """Return whether RTE may show something else than what is exactly so.

    - Different values: RTE keeps 8 and estimates beyond; what depends on them likewise.
    - Tops: RTE keeps so many values, a fair sample of all, and orders equal weights by a hash.
    - The sequence: RTE keeps the first 2 and the last 3 occurrences of each step.
    """
    for distinct, kept in DISTINCT:
        if name in (distinct, *_FROM_DISTINCT.get(distinct, ())):
            return len(getattr(session, kept) or ()) > DISTINCT_EXACT
    for top, kept in TOPS:
        weights = getattr(session, kept) or {}
        if name in (f"{top}.weight", f"{top}.share"):
            return len(weights) > TOP_EXACT[top]
        if name in (top, f"{top}.first"):
            return len(weights) > TOP_EXACT[top] or len(set(weights.values())) < len(weights)
    if name.startswith("checkout."):
        return max(session.product_views, session.add_to_carts, session.checkouts, session.purchases) > STEPS_EXACT
    return False


_FROM_DISTINCT = {
    "distinct_pages": ("bot_breadth", "bot_score", "is_bot"),
    "distinct_items": ("repeat_views",),
    "transactions": ("repeated_purchases",),
    "people": ("shared_device", "identity_conflict", "identity_confidence"),
}


def _all_sorts_of_events(rng: random.Random, event_count: int, visitor_count: int) -> Iterator[tuple[bytes, int]]:
    """Yield requests of up to 10 events in order of time, with the times of their reception.

    Clicks come in bursts; between the events of a visitor passes a moment, some minutes, or more than a visit's gap.
    """
    time_ms = START_MS
    number = 0
    while number < event_count:
        request = IngestEventsRequest()
        visitors = rng.sample(range(visitor_count), 3)
        visitor = visitors[0]
        is_click = False
        for _ in range(rng.randrange(1, 11)):
            number += 1
            clicks_on = is_click and rng.random() < 0.6
            time_ms += 40 if clicks_on else rng.choice((1, 40, 300, 2_000, 20_000))
            visitor = visitor if clicks_on else rng.choice(visitors)
            event = request.events.add(event_id=str(number), visitor_id=f"visitor {visitor}", channel="web")
            event.name = "click" if clicks_on else rng.choices(list(NAMES), list(NAMES.values()))[0]
            is_click = event.name == "click"
            event.event_time.FromMilliseconds(time_ms)
            if rng.random() < 0.02:
                event.customer_id = f"customer {visitor}"
            for name, (share, value) in OPTIONAL.items():
                if rng.random() < share:
                    event.properties[name] = value(rng)
        time_ms += rng.choice((0, 500, 30_000))
        yield request.SerializeToString(), time_ms
