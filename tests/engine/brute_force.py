"""Every attribute of the packs `base` and `retail`, computed from the rows of a visit by hand.

Written from what the packs say, not from how they are compiled: when a pack changes, this file must be changed too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

from tests.engine.recorded import Row

DISTINCT_KEEP = {"distinct_pages": 8, "distinct_items": 16, "distinct_categories": 8}
"""Counts that are exact up to this and estimates beyond."""
APPROXIMATE = frozenset({"purchase_propensity"})

Shown = dict[str, object]


def attributes_of(visit: list[Row], visit_number: int) -> Shown:
    """Return the attributes that have a value.

    Args:
        visit: Its rows, ordered by time and event id; not empty.
        visit_number: From 1.
    """
    shown = _base(visit, visit_number)
    shown |= _retail(visit)
    shown |= _derived(shown)
    shown["purchase_propensity"] = _propensity(shown)
    shown["likely_buyer"] = shown["purchase_propensity"] >= 0.5  # type: ignore[operator]
    return {name: value for name, value in shown.items() if value is not None}


def _named(visit: list[Row], *names: str) -> list[Row]:
    return [row for row in visit if row.name in names]


def _properties(rows: Iterable[Row], name: str) -> list[float | str]:
    return [row.properties[name] for row in rows if name in row.properties]


def _last(values: list[float | str]) -> float | str | None:
    return values[-1] if values else None


def _first(values: list[float | str]) -> float | str | None:
    return values[0] if values else None


def _until(visit: list[Row], name: str) -> float | None:
    """Return the seconds from the first event to the first one with the name."""
    times = [row.time_ms for row in visit if row.name == name]
    return (times[0] - visit[0].time_ms) / 1000 if times else None


def _base(visit: list[Row], visit_number: int) -> Shown:
    pages = _named(visit, "page_view")
    addresses = _properties(pages, "page_location")
    referrers = [text for text in _properties(pages, "page_referrer") if text != ""]
    counted = {
        "logins": "login",
        "sign_ups": "sign_up",
        "scrolls": "scroll",
        "clicks": "click",
        "form_starts": "form_start",
        "form_submits": "form_submit",
        "errors": "exception",
    }
    shown: Shown = {attribute: len(_named(visit, name)) for attribute, name in counted.items()}
    duration_s = (visit[-1].time_ms - visit[0].time_ms) / 1000
    conversions = len(_named(visit, "purchase", "sign_up", "generate_lead"))
    engaged = duration_s > 10 or conversions > 0 or len(pages) >= 2
    return shown | {
        "page_views": len(pages),
        "distinct_pages": len(set(addresses)),
        "entry_page": _first(addresses),
        "exit_page": _last(addresses),
        "exit_title": _last(_properties(pages, "page_title")),
        "entry_referrer": _first(referrers),
        "first_source": _first(_properties(visit, "utm_source")),
        "first_campaign": _first(_properties(visit, "utm_campaign")),
        "last_source": _last(_properties(visit, "utm_source")),
        "last_medium": _last(_properties(visit, "utm_medium")),
        "last_campaign": _last(_properties(visit, "utm_campaign")),
        "language": _last(_properties(visit, "language")),
        "user_agent": _last(_properties(visit, "user_agent")),
        "duration_s": duration_s,
        "time_to_login": _until(visit, "login"),
        "conversions": conversions,
        "engaged": engaged,
        "bounced": not engaged,
        "new_visitor": visit_number == 1,
        "seconds_per_page": duration_s / (len(pages) - 1) if len(pages) > 1 else None,
    }


def _retail(visit: list[Row]) -> Shown:
    views, adds = _named(visit, "view_item"), _named(visit, "add_to_cart")
    removals, purchases = _named(visit, "remove_from_cart"), _named(visit, "purchase")
    prices = [float(price) for price in _properties(views, "price")]
    items = _properties(views, "item_id")
    newest_first = list(dict.fromkeys(reversed(items)))
    return {
        "product_views": len(views),
        "list_views": len(_named(visit, "view_item_list")),
        "searches": len(_named(visit, "search")),
        "add_to_carts": len(adds),
        "removals": len(removals),
        "wishlist_adds": len(_named(visit, "add_to_wishlist")),
        "checkouts": len(_named(visit, "begin_checkout")),
        "purchases": len(purchases),
        "revenue": math.fsum(float(value) for value in _properties(purchases, "value")),
        "added_value": math.fsum(_line_values(adds)),
        "removed_value": math.fsum(_line_values(removals)),
        "min_viewed_price": min(prices, default=None),
        "max_viewed_price": max(prices, default=None),
        "mean_viewed_price": math.fsum(prices) / len(prices) if prices else None,
        "last_item": _last(items),
        "last_category": _last(_properties(_named(visit, "view_item", "view_item_list"), "item_category")),
        "last_added_item": _last(_properties(adds, "item_id")),
        "last_search": _last(_properties(_named(visit, "search"), "search_term")),
        "viewed_products": newest_first[:10] or None,
        "distinct_items": len(set(items)),
        "distinct_categories": len(set(_properties(views, "item_category"))),
        "time_to_first_add": _until(visit, "add_to_cart"),
        "time_to_purchase": _until(visit, "purchase"),
    }


def _line_values(rows: list[Row]) -> list[float]:
    priced = [row.properties for row in rows if "price" in row.properties]
    return [float(line["price"]) * float(line.get("quantity", 1.0)) for line in priced]


def _derived(shown: Shown) -> Shown:
    number: Callable[[str], float] = lambda name: float(shown[name])  # type: ignore[arg-type]  # noqa: E731
    is_open = number("add_to_carts") > number("removals") and number("purchases") == 0
    return {
        "has_open_basket": is_open,
        "open_basket_value": number("added_value") - number("removed_value") if is_open else 0.0,
        "mean_order_value": number("revenue") / number("purchases") if number("purchases") > 0 else None,
    }


def _propensity(shown: Shown) -> float:
    weights = {
        "product_views": 0.06,
        "searches": 0.12,
        "add_to_carts": 0.9,
        "removals": -0.5,
        "checkouts": 1.6,
        "logins": 0.5,
        "duration_s": 0.0008,
        "new_visitor": -0.4,
    }
    total = -4.0 + math.fsum(weight * float(shown[name]) for name, weight in weights.items())  # type: ignore[arg-type]
    return 1 / (1 + math.exp(-total))


def distinct_error_max(name: str, true_count: int) -> float:
    """Return how far a distinct count may be off: nothing up to its bound, five standard errors of the sketch beyond.

    Source: Flajolet et al., "HyperLogLog", 2007: the standard error is 1.04 / sqrt(registers).
    """
    keep = DISTINCT_KEEP[name]
    if true_count <= keep:
        return 0.0
    registers = 8 * keep
    return 5 * 1.04 / math.sqrt(registers) * true_count + 1
