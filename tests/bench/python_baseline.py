"""The plain Python engine that the real one is measured against: a dictionary of objects with slots, upb decoding.

It does what the packs `base` and `retail` did when they had 55 attributes; they have more now, which counts against RTE. It
parses the request, drops duplicates by event id, finds the session by the 30-minute rule, updates the attributes that the
event touches, and computes the derived attributes and the score after each event. The attributes are hard-coded, which
favours it. It leaves out: late events that join or merge
older sessions, limits, readers beside the writer, snapshots.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from rte.v1.event_service_pb2 import IngestEventsRequest

GAP_MS = 1_800_000
RECENT_MAX = 10

COUNTED = {
    "page_view": "page_views",
    "view_item": "product_views",
    "view_item_list": "list_views",
    "search": "searches",
    "add_to_cart": "add_to_carts",
    "remove_from_cart": "removals",
    "add_to_wishlist": "wishlist_adds",
    "begin_checkout": "checkouts",
    "purchase": "purchases",
    "login": "logins",
    "sign_up": "sign_ups",
    "scroll": "scrolls",
    "click": "clicks",
    "form_start": "form_starts",
    "form_submit": "form_submits",
    "exception": "errors",
}
CONVERSIONS = frozenset({"purchase", "sign_up", "generate_lead"})
CAMPAIGN = (("utm_source", "last_source"), ("utm_medium", "last_medium"), ("utm_campaign", "last_campaign"))
CLIENT = (("language", "language"), ("user_agent", "user_agent"))
TEXTS = (
    *("entry_page", "exit_page", "exit_title", "entry_referrer", "first_source", "first_campaign", "last_source"),
    *("last_medium", "last_campaign", "language", "user_agent", "last_item", "last_category", "last_added_item"),
    *("last_search", "min_viewed_price", "max_viewed_price", "time_to_login", "time_to_first_add", "time_to_purchase"),
)


class Session:
    """One session and its attributes."""

    __slots__ = (
        *COUNTED.values(),
        *TEXTS,
        "start_ms",
        "last_ms",
        "events",
        "visit",
        "conversions",
        "pages",
        "items",
        "categories",
        "recent",
        "revenue",
        "added_value",
        "removed_value",
        "price_sum",
        "price_count",
        "engaged",
        "bounced",
        "new_visitor",
        "seconds_per_page",
        "has_open_basket",
        "open_basket_value",
        "mean_order_value",
        "purchase_propensity",
        "likely_buyer",
        "customer",
        "channel",
    )

    def __init__(self, start_ms: int, visit: int) -> None:
        for name in COUNTED.values():
            setattr(self, name, 0)
        for name in TEXTS:
            setattr(self, name, None)
        self.start_ms = self.last_ms = start_ms
        self.visit = visit
        self.events = self.conversions = self.price_count = 0
        self.pages: set[str] = set()
        self.items: set[str] = set()
        self.categories: set[str] = set()
        self.recent: list[str] = []
        self.revenue = self.added_value = self.removed_value = self.price_sum = 0.0
        self.customer = self.channel = ""


class PythonEngine:
    """The state: visitors by id, their current session; closed ones are kept as well."""

    def __init__(self) -> None:
        self.sessions: dict[str, Session] = {}
        self.closed: list[Session] = []
        self.seen: set[tuple[str, str]] = set()
        self.duplicates = 0
        self._handlers: dict[str, Callable[[Any, Any, Any], None]] = {
            "page_view": _page_view,
            "view_item": _view_item,
            "view_item_list": _view_item_list,
            "search": _search,
            "add_to_cart": _add_to_cart,
            "remove_from_cart": _remove_from_cart,
            "purchase": _purchase,
            "login": _login,
        }

    def fold(self, request: bytes) -> int:
        """Apply the wire bytes of a request; return its number of events."""
        events = IngestEventsRequest.FromString(request).events
        for event in events:
            self._apply(event)
        return len(events)

    def _apply(self, event: Any) -> None:
        visitor_id = event.visitor_id
        event_key = visitor_id, event.event_id
        if event_key in self.seen:
            self.duplicates += 1
            return
        self.seen.add(event_key)
        moment = event.event_time
        time_ms = moment.seconds * 1000 + moment.nanos // 1_000_000
        session = self.sessions.get(visitor_id)
        if session is None:
            session = self.sessions[visitor_id] = Session(time_ms, 1)
        elif time_ms - session.last_ms > GAP_MS:
            self.closed.append(session)
            session = self.sessions[visitor_id] = Session(time_ms, session.visit + 1)
        session.last_ms = time_ms
        session.events += 1
        if event.customer_id:
            session.customer = event.customer_id
        if event.channel:
            session.channel = event.channel
        name = event.name
        counter = COUNTED.get(name)
        if counter is not None:
            setattr(session, counter, getattr(session, counter) + 1)
        if name in CONVERSIONS:
            session.conversions += 1
        fields = event.properties.fields
        for key, attribute in CAMPAIGN:
            if key in fields:
                text = fields[key].string_value
                setattr(session, attribute, text)
                if attribute != "last_medium" and getattr(session, "first" + attribute[4:]) is None:
                    setattr(session, "first" + attribute[4:], text)
        for key, attribute in CLIENT:
            if key in fields:
                setattr(session, attribute, fields[key].string_value)
        handler = self._handlers.get(name)
        if handler is not None:
            handler(session, fields, time_ms)
        _derive(session)

    def checksum(self) -> list[float]:
        """Return what `CBaseline.checksum` returns, as far as both have it: sessions, then sums over newest sessions."""
        newest = self.sessions.values()
        return [
            len(newest) + len(self.closed),
            self.duplicates,
            sum(session.events for session in newest),
            sum(_count(session, "page_views") for session in newest),
            sum(_count(session, "product_views") for session in newest),
            sum(_count(session, "add_to_carts") for session in newest),
            sum(_count(session, "purchases") for session in newest),
        ]


def _count(session: Session, name: str) -> int:
    return int(getattr(session, name))


def _seconds(session: Any, time_ms: int) -> float:
    return float(time_ms - session.start_ms) / 1000


def _page_view(session: Any, fields: Any, time_ms: int) -> None:
    if "page_location" in fields:
        address = fields["page_location"].string_value
        session.pages.add(address)
        if session.entry_page is None:
            session.entry_page = address
        session.exit_page = address
    if "page_title" in fields:
        session.exit_title = fields["page_title"].string_value
    if "page_referrer" in fields and session.entry_referrer is None:
        session.entry_referrer = fields["page_referrer"].string_value or None


def _view_item(session: Any, fields: Any, time_ms: int) -> None:
    if "item_id" in fields:
        item = fields["item_id"].string_value
        session.items.add(item)
        session.last_item = item
        recent = session.recent
        if item in recent:
            recent.remove(item)
        elif len(recent) == RECENT_MAX:
            recent.pop()
        recent.insert(0, item)
    if "price" in fields:
        price = fields["price"].number_value
        session.price_sum += price
        session.price_count += 1
        if session.min_viewed_price is None or price < session.min_viewed_price:
            session.min_viewed_price = price
        if session.max_viewed_price is None or price > session.max_viewed_price:
            session.max_viewed_price = price
    _view_item_list(session, fields, time_ms)
    if "item_category" in fields:
        session.categories.add(session.last_category)


def _view_item_list(session: Any, fields: Any, time_ms: int) -> None:
    if "item_category" in fields:
        session.last_category = fields["item_category"].string_value


def _search(session: Any, fields: Any, time_ms: int) -> None:
    if "search_term" in fields:
        session.last_search = fields["search_term"].string_value


def _line_value(fields: Any) -> float:
    if "price" not in fields:
        return 0.0
    quantity = fields["quantity"].number_value if "quantity" in fields else 1.0
    return float(fields["price"].number_value * quantity)


def _add_to_cart(session: Any, fields: Any, time_ms: int) -> None:
    session.added_value += _line_value(fields)
    if "item_id" in fields:
        session.last_added_item = fields["item_id"].string_value
    if session.time_to_first_add is None:
        session.time_to_first_add = _seconds(session, time_ms)


def _remove_from_cart(session: Any, fields: Any, time_ms: int) -> None:
    session.removed_value += _line_value(fields)


def _purchase(session: Any, fields: Any, time_ms: int) -> None:
    if "value" in fields:
        session.revenue += fields["value"].number_value
    if session.time_to_purchase is None:
        session.time_to_purchase = _seconds(session, time_ms)


def _login(session: Any, fields: Any, time_ms: int) -> None:
    if session.time_to_login is None:
        session.time_to_login = _seconds(session, time_ms)


def _derive(session: Any) -> None:
    duration_s = (session.last_ms - session.start_ms) / 1000
    pages, purchases = session.page_views, session.purchases
    session.engaged = duration_s > 10.0 or session.conversions > 0 or pages >= 2
    session.bounced = not session.engaged
    session.new_visitor = session.visit == 1
    session.seconds_per_page = duration_s / (pages - 1) if pages > 1 else None
    session.has_open_basket = session.add_to_carts > session.removals and purchases == 0
    session.open_basket_value = session.added_value - session.removed_value if session.has_open_basket else 0.0
    session.mean_order_value = session.revenue / purchases if purchases > 0 else None
    total = (
        -4.0
        + 0.06 * session.product_views
        + 0.12 * session.searches
        + 0.9 * session.add_to_carts
        - 0.5 * session.removals
        + 1.6 * session.checkouts
        + 0.5 * session.logins
        + 0.0008 * duration_s
        - 0.4 * session.new_visitor
    )
    session.purchase_propensity = 1 / (1 + math.exp(-total))
    session.likely_buyer = session.purchase_propensity >= 0.5
