"""What each event does to a session of the plain Python engine, by the event's name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tests.bench.python_session import (
    Line,
    Session,
    judge_bargains,
    judge_frustration,
    judge_identity,
    score_bot,
)
from tests.bench.python_sources import channel_of, read_address, read_agent

RUN_MS = 1_800_000
RECENT_ITEMS = 8
RECENT_PAGES = 3
CHANGES_MAX = 18
ADDS, REMOVES, SETS = range(3)
CAMPAIGN = ("utm_source", "utm_medium", "utm_campaign")

Handler = Callable[[Session, Any, set[str], int], None]
"""Takes the session, the properties as a map of the protobuf library, their names, and the time of the event."""


def on_any_event(session: Session, fields: Any, keys: set[str]) -> None:
    """Take the properties that count on whatever event they come with."""
    if "language" in keys:
        session.language = fields["language"].string_value
    agent = read_agent(fields["user_agent"].string_value) if "user_agent" in keys else None
    if agent is not None:
        if agent.browser is not None:
            session.browser = agent.browser
        if agent.os is not None:
            session.os = agent.os
        if agent.is_bot:
            session.bot_hits += 1
            score_bot(session)
    if "device_category" in keys:
        session.device = fields["device_category"].string_value
    elif agent is not None and agent.device is not None:
        session.device = agent.device
    if "engagement_time_msec" in keys:
        seconds = fields["engagement_time_msec"].number_value / 1000.0
        session.active_s += seconds
        if seconds > 0.0 and "page_location" in keys:
            if session.dwell is None:
                session.dwell = {}
            _add_weight(session.dwell, fields["page_location"].string_value, seconds)


def _add_weight(weights: dict[str, float], value: str, weight: float) -> None:
    weights[value] = weights.get(value, 0.0) + weight


def _attribute(session: Session, fields: Any, keys: set[str], time_ms: int) -> None:
    """Take the campaign of an event that begins something: from its properties, or else from the address of the page."""
    address = read_address(fields["page_location"].string_value) if "page_location" in keys else None
    if keys.isdisjoint(CAMPAIGN):
        if address is None or not address.has_campaign:
            return
        source, medium, campaign = address.source, address.medium, address.campaign
    else:
        source, medium, campaign = (fields[key].string_value if key in keys else "" for key in CAMPAIGN)
    if session.first_source is None:
        session.first_source = source
        session.first_campaign = campaign
    session.last_source = source
    session.last_medium = medium
    session.last_campaign = campaign
    network = session.ad_network = address.ad_network if address is not None else ""
    session.channel = channel_of(network, source, medium, session.referrer_host)


def _refer(session: Session, fields: Any, page_host: str | None) -> None:
    """Take the referrer of a page if it is of another site."""
    referrer = fields["page_referrer"].string_value
    host = read_address(referrer).host
    if host == page_host:
        return
    if session.entry_referrer is None and referrer:
        session.entry_referrer = referrer
    if host is not None and session.referrer_host is None:
        session.referrer_host = host
        session.channel = channel_of(session.ad_network, session.last_source, session.last_medium, host)


def _page_view(session: Session, fields: Any, keys: set[str], time_ms: int) -> None:
    pages = session.page_views = session.page_views + 1
    if pages == 1:
        session.first_page_ms = time_ms
        session.page_time_s = 0.0
    else:
        page_time_s = session.page_time_s = (time_ms - session.first_page_ms) / 1000
        session.seconds_per_page = page_time_s / (pages - 1)
    if "page_location" in keys:
        location = fields["page_location"].string_value
        session.exit_page = location
        if session.pages is None or session.recent_pages is None:
            session.entry_page = location
            session.pages = {location}
            session.recent_pages = [location]
        else:
            session.pages.add(location)
            _put_first(session.recent_pages, location, RECENT_PAGES)
        distinct = len(session.pages)
        session.bot_breadth = distinct / 20.0 if distinct < 20 else 1.0
        address = read_address(location)
        if "page_referrer" in keys and session.referrer_host is None:
            _refer(session, fields, address.host)
        if address.has_campaign or not keys.isdisjoint(CAMPAIGN):
            _attribute(session, fields, keys, time_ms)
    elif not keys.isdisjoint(CAMPAIGN):
        _attribute(session, fields, keys, time_ms)
    score_bot(session)


def _put_first(recent: list[str], value: str, keep: int) -> None:
    """Make a value the first of a list that has each value once."""
    if value in recent:
        recent.remove(value)
    elif len(recent) == keep:
        recent.pop()
    recent.insert(0, value)


def _elements(fields: Any, keys: set[str]) -> Sequence[tuple[Any, set[str]]]:
    """Return the properties of each element of `items`; an event without a list of that name is the one element."""
    if "items" not in keys:
        return ((fields, keys),)
    kind = fields["items"].WhichOneof("kind")
    if kind != "list_value":
        return () if kind == "struct_value" else ((fields, keys),)
    members = [element.struct_value.fields for element in fields["items"].list_value.values]
    return [(each, set(each)) for each in members]


def _view_item(session: Session, fields: Any, keys: set[str], time_ms: int) -> None:
    session.product_views += 1
    session.run1 = (time_ms,)
    session.run_start_ms = time_ms
    session.search_open_ms = 0
    if not session.furthest:
        session.furthest = 1
    for each, names in _elements(fields, keys):
        _view_element(session, each, names)
    views, distinct = session.item_views, len(session.items) if session.items is not None else 0
    session.repeat_views = views - distinct if views > distinct else 0


def _view_element(session: Session, fields: Any, keys: set[str]) -> None:
    if "item_id" in keys:
        session.item_views += 1
        item = session.last_item = fields["item_id"].string_value
        if session.items is None or session.viewed_products is None:
            session.items = {item}
            session.viewed_products = [item]
        else:
            session.items.add(item)
            _put_first(session.viewed_products, item, RECENT_ITEMS)
    if "price" in keys:
        price = fields["price"].number_value
        if session.min_viewed_price is None:
            session.min_viewed_price = session.max_viewed_price = price
        elif price < session.min_viewed_price:
            session.min_viewed_price = price
        elif price > session.max_viewed_price:
            session.max_viewed_price = price
        session.price_sum += price
        session.price_count += 1
    if "item_category" in keys:
        category = session.last_category = fields["item_category"].string_value
        if session.categories is None:
            session.categories = {category}
        else:
            session.categories.add(category)
    if "item_category" in keys or "item_brand" in keys:
        _take_interest(session, fields, keys)
    if "discount" in keys and fields["discount"].number_value > 0.0:
        session.discount_views += 1
        judge_bargains(session)


def _take_interest(session: Session, fields: Any, keys: set[str]) -> None:
    if "item_category" in keys:
        if session.category_interest is None:
            session.category_interest = {}
        _add_weight(session.category_interest, fields["item_category"].string_value, 1.0)
    if "item_brand" in keys:
        if session.brand_interest is None:
            session.brand_interest = {}
        _add_weight(session.brand_interest, fields["item_brand"].string_value, 1.0)


def _view_item_list(session: Session, fields: Any, keys: set[str], time_ms: int) -> None:
    session.list_views += 1
    for each, names in _elements(fields, keys):
        if "item_category" in names:
            session.last_category = each["item_category"].string_value
    if "sort_by" in keys and fields["sort_by"].string_value.startswith("price"):
        session.price_sorts += 1
        judge_bargains(session)


def _select_item(session: Session, fields: Any, keys: set[str], time_ms: int) -> None:
    session.search_open_ms = 0


def _search(session: Session, fields: Any, keys: set[str], time_ms: int) -> None:
    session.searches += 1
    session.search_open_ms = time_ms
    if "search_term" in keys:
        term = session.last_search = fields["search_term"].string_value
        if session.terms is None:
            session.terms = {term}
        else:
            session.terms.add(term)
    if "result_count" in keys and fields["result_count"].number_value == 0.0:
        session.zero_result_searches += 1


def _change_basket(session: Session, fields: Any, keys: set[str], role: int) -> tuple[float, float]:
    """Apply a change of the basket; return its quantity, and its value, price times quantity.

    The basket is what the latest changes come to: where there are more than it keeps, it is made from them anew.
    """
    quantity = fields["quantity"].number_value if "quantity" in keys else 1.0
    price = fields["price"].number_value if "price" in keys else None
    session.basket_changes += "item_id" in keys
    if "item_id" in keys and quantity >= 0.0:
        change = role, fields["item_id"].string_value, quantity, price
        changes, lines = session.changes, session.lines
        if changes is None or lines is None:
            changes = session.changes = []
            lines = session.lines = {}
        changes.append(change)
        if len(changes) <= CHANGES_MAX:
            _change_line(lines, *change)
        else:
            del changes[0]
            lines.clear()
            for each in changes:
                _change_line(lines, *each)
    return quantity, quantity * price if price is not None else 0.0


def _change_line(lines: dict[str, Line], role: int, item: str, quantity: float, price: float | None) -> None:
    """Apply a change to the lines of a basket: item to quantity and price, the one that was changed last at the end."""
    before, known_price = lines.pop(item, (0.0, None))
    if role == ADDS:
        quantity += before
    elif role == REMOVES:
        quantity = before - quantity if before > quantity else 0.0
    lines[item] = quantity, known_price if price is None else price


def _value_basket(session: Session) -> None:
    """Compute what follows from the basket, after all else that a change of it does."""
    items, total, value = 0, 0.0, 0.0
    if session.lines:
        for quantity, price in session.lines.values():
            if quantity > 0.0:
                items += 1
                total += quantity
                if price is not None:
                    value += quantity * price
    session.basket_items, session.basket_quantity, session.basket_value = items, total, value
    session.has_open_basket, session.open_basket_value = items > 0, value
    if session.basket_changes > CHANGES_MAX and session.purchases == 0:
        session.open_basket_value = None
        if session.cart_updates == 0 and session.added_quantity > session.removed_quantity:
            session.has_open_basket = True


def _add_to_cart(session: Session, fields: Any, keys: set[str], time_ms: int) -> None:
    _pay_in(session, fields, keys)
    session.add_to_carts += 1
    session.search_open_ms = 0
    for each, names in _elements(fields, keys):
        quantity, value = _change_basket(session, each, names, ADDS)
        session.added_quantity += quantity
        session.added_value += value
        if "item_category" in names or "item_brand" in names:
            _take_interest(session, each, names)
    if session.time_to_first_add is None:
        session.time_to_first_add = (time_ms - session.start_ms) / 1000
    run = session.run1
    if run is not None:
        session.run1 = None
        if time_ms - run[0] <= RUN_MS:
            session.run2 = (*run, time_ms)
            session.furthest = max(session.furthest, 2)
    if "coupon" in keys or "items" in keys:
        _try_coupon(session, fields, keys, time_ms)
    _value_basket(session)


def _remove_from_cart(session: Session, fields: Any, keys: set[str], time_ms: int) -> None:
    session.removals += 1
    _pay_in(session, fields, keys)
    for each, names in _elements(fields, keys):
        quantity, value = _change_basket(session, each, names, REMOVES)
        session.removed_quantity += quantity
        session.removed_value += value
    _value_basket(session)


def _update_cart(session: Session, fields: Any, keys: set[str], time_ms: int) -> None:
    session.cart_updates += 1
    _pay_in(session, fields, keys)
    for each, names in _elements(fields, keys):
        _change_basket(session, each, names, SETS)
    _value_basket(session)


def _try_coupon(session: Session, fields: Any, keys: set[str], time_ms: int) -> None:
    of_event = fields["coupon"].string_value if "coupon" in keys else ""
    for each, names in _elements(fields, keys):
        coupon = (each["coupon"].string_value if "coupon" in names else "") or of_event
        if coupon:
            if session.coupon_codes is None:
                session.coupon_codes = set()
            session.coupon_codes.add(coupon)
            session.coupons = len(session.coupon_codes)
            judge_bargains(session)


def _pay_in(session: Session, fields: Any, keys: set[str]) -> None:
    if "currency" in keys:
        if session.currencies is None:
            session.currencies = {}
        _add_weight(session.currencies, fields["currency"].string_value, 1.0)
        session.mixed_currencies = len(session.currencies) > 1


def _refund(session: Session, fields: Any, keys: set[str], time_ms: int) -> None:
    session.refunds += 1
    if "value" in keys:
        session.refunded_value += fields["value"].number_value
    _pay_in(session, fields, keys)


def _begin_checkout(session: Session, fields: Any, keys: set[str], time_ms: int) -> None:
    session.checkouts += 1
    run = session.run2
    if run is not None:
        session.run2 = None
        if time_ms - run[0] <= RUN_MS:
            session.run3 = (*run, time_ms)
            session.furthest = max(session.furthest, 3)
    if "coupon" in keys or "items" in keys:
        _try_coupon(session, fields, keys, time_ms)


def _convert(session: Session, fields: Any, keys: set[str], time_ms: int) -> None:
    """Count a goal, and what a purchase or lead is worth."""
    session.conversions += 1
    if session.time_to_conversion is None:
        session.time_to_conversion = (time_ms - session.start_ms) / 1000
    if "value" in keys:
        session.conversion_value += fields["value"].number_value


def _purchase(session: Session, fields: Any, keys: set[str], time_ms: int) -> None:
    purchases = session.purchases = session.purchases + 1
    _pay_in(session, fields, keys)
    if "transaction_id" in keys:
        if session.transactions is None:
            session.transactions = set()
        session.transactions.add(fields["transaction_id"].string_value)
    session.repeated_purchases = 0 < len(session.transactions or ()) < purchases
    _convert(session, fields, keys, time_ms)
    if "value" in keys:
        session.revenue += fields["value"].number_value
    session.mean_order_value = session.revenue / purchases
    if session.time_to_purchase is None:
        session.time_to_purchase = (time_ms - session.start_ms) / 1000
    run = session.run3 if session.run2 is None else (*session.run2, None)
    if run is not None:
        session.run2 = session.run3 = None
        if time_ms - run[0] <= RUN_MS:
            session.run4 = (*run, time_ms)
            session.furthest = 4
    session.changes = session.lines = None
    if "coupon" in keys or "items" in keys:
        _try_coupon(session, fields, keys, time_ms)
    _value_basket(session)


def _login(session: Session, fields: Any, keys: set[str], time_ms: int) -> None:
    session.logins += 1
    if session.time_to_login is None:
        session.time_to_login = (time_ms - session.start_ms) / 1000
    _meet(session, fields, keys)


def _sign_up(session: Session, fields: Any, keys: set[str], time_ms: int) -> None:
    session.sign_ups += 1
    _convert(session, fields, keys - {"value"}, time_ms)
    _meet(session, fields, keys)


def _meet(session: Session, fields: Any, keys: set[str]) -> None:
    if "user_id" in keys:
        if session.people is None:
            session.people = set()
        session.people.add(fields["user_id"].string_value)
    judge_identity(session)


def _consent(session: Session, fields: Any, keys: set[str], time_ms: int) -> None:
    session.consent_answers += 1
    if session.time_to_consent is None:
        session.time_to_consent = (time_ms - session.start_ms) / 1000
    for key, attribute in _CONSENTS:
        if key in keys:
            setattr(session, attribute, "granted" if fields[key].string_value == "granted" else "denied")
    session.analytics_allowed = session.consent_analytics == "granted"
    session.ads_allowed = session.consent_ads == "granted"
    session.personalization_allowed = session.ads_allowed and session.consent_personalization == "granted"


def _scroll(session: Session, fields: Any, keys: set[str], time_ms: int) -> None:
    session.scrolls += 1
    if "percent_scrolled" in keys:
        depth = fields["percent_scrolled"].number_value
        if session.read_depth is None or depth > session.read_depth:
            session.read_depth = depth
    score_bot(session)


def _click(session: Session, fields: Any, keys: set[str], time_ms: int) -> None:
    session.clicks += 1
    if session.click_times is None:
        session.click_times = []
    session.click_times.append((time_ms, fields["target"].string_value if "target" in keys else None))
    score_bot(session)


def _exception(session: Session, fields: Any, keys: set[str], time_ms: int) -> None:
    session.errors += 1
    if session.error_times is None:
        session.error_times = []
    session.error_times.append(time_ms)
    judge_frustration(session)


def _counts(attribute: str, then: Callable[[Session], None] | None = None) -> Handler:
    """Return what counts an event, and computes what follows from the count."""

    def count(session: Session, fields: Any, keys: set[str], time_ms: int) -> None:
        setattr(session, attribute, getattr(session, attribute) + 1)
        if then is not None:
            then(session)

    return count


_CONSENTS = (
    ("analytics_storage", "consent_analytics"),
    ("ad_storage", "consent_ads"),
    ("ad_personalization", "consent_personalization"),
)
HANDLERS: dict[str, Handler] = {
    "page_view": _page_view,
    "screen_view": _attribute,
    "session_start": _attribute,
    "app_open": _attribute,
    "campaign_details": _attribute,
    "view_item": _view_item,
    "view_item_list": _view_item_list,
    "select_item": _select_item,
    "search": _search,
    "add_to_cart": _add_to_cart,
    "remove_from_cart": _remove_from_cart,
    "update_cart": _update_cart,
    "apply_coupon": _try_coupon,
    "begin_checkout": _begin_checkout,
    "purchase": _purchase,
    "refund": _refund,
    "generate_lead": _convert,
    "login": _login,
    "sign_up": _sign_up,
    "consent_update": _consent,
    "scroll": _scroll,
    "click": _click,
    "exception": _exception,
    "form_start": _counts("form_starts"),
    "form_submit": _counts("form_submits"),
    "rage_click": _counts("rage_clicks", judge_frustration),
    "dead_click": _counts("dead_clicks", judge_frustration),
    "error_click": _counts("error_clicks", judge_frustration),
    "select_promotion": _counts("promotions", judge_bargains),
}
