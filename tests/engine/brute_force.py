"""Every attribute of the packs `base` and `retail`, computed from the rows of a visit by hand.

Written from what the packs say, not from how they are compiled: when a pack changes, this file must be changed too.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from tests.engine.recorded import Row

DISTINCT_KEEP = {
    "distinct_pages": 8,
    "people": 8,
    "distinct_items": 8,
    "distinct_categories": 8,
    "search_terms": 8,
}
"""Counts that are exact up to this and estimates beyond."""
TOPS = {"category_interest": "item_category", "brand_interest": "item_brand"}
"""Tops, and the property whose values they weigh."""
TOP_KEEP, TOP_OF = 3, 4
"""Values that a top shows, and number of values up to which it is exact."""
STEPS = ("view_item", "add_to_cart", "begin_checkout", "purchase")
OPTIONAL_STEP = 2
"""The place of `begin_checkout`, which is not waited for."""
STEP_NAMES = ("none", "product", "basket", "checkout", "purchase")
STEP_KEEP = 3
"""Occurrences of a step up to which the way to a purchase is exact: the first 2 and the last one."""
WITHIN_MS = 1_800_000
BASKET_KEEP = 18
"""Changes of a basket up to which it is exact."""
APPROXIMATE = frozenset({"purchase_propensity", "bot_score", "exit_risk", "engagement_score"})
GOALS = ("purchase", "sign_up", "generate_lead")

Shown = dict[str, object]


def attributes_of(visit: list[Row], visit_number: int) -> Shown:
    """Return the attributes that have a value, at the time of the visit's last event.

    Args:
        visit: Its rows, ordered by time and event id; not empty.
        visit_number: From 1.
    """
    shown = _visit(visit, visit_number)
    shown |= _engagement(visit, shown)
    shown |= _annoyance(visit)
    shown |= _bot(shown, visit_number)
    shown |= _consent(visit)
    shown |= _identity(visit)
    shown |= _products(visit)
    shown |= _searches(visit)
    shown |= _prices(visit)
    shown |= _orders(visit)
    shown |= _basket(visit, shown)
    shown |= _way(visit)
    for name, by in TOPS.items():
        shown |= top_of(name, weights_of(visit, by))
    shown |= _scores(shown, len(visit))
    return {name: value for name, value in shown.items() if value is not None}


def derive_again(shown: Shown) -> None:
    """Compute anew what follows from the distinct counts, after those were replaced by the engine's estimates."""
    shown["repeat_views"] = max(0.0, _number(shown, "item_views") - _number(shown, "distinct_items"))


def _number(shown: Shown, name: str) -> float:
    return float(shown[name])  # type: ignore[arg-type]


def _logistic(total: float) -> float:
    return 1 / (1 + math.exp(-total))


def _named(visit: list[Row], *names: str) -> list[Row]:
    return [row for row in visit if row.name in names]


def _properties(rows: Iterable[Row], name: str) -> list[float | str]:
    return [row.properties[name] for row in rows if name in row.properties]


def _last(values: list[float | str]) -> float | str | None:
    return values[-1] if values else None


def _first(values: list[float | str]) -> float | str | None:
    return values[0] if values else None


def _until(visit: list[Row], *names: str) -> float | None:
    """Return the seconds from the first event to the first one with one of the names."""
    times = [row.time_ms for row in visit if row.name in names]
    return (times[0] - visit[0].time_ms) / 1000 if times else None


def _newest_first(values: list[float | str], keep: int) -> list[float | str] | None:
    return list(dict.fromkeys(reversed(values)))[:keep] or None


def _sum(rows: Iterable[Row], name: str) -> float:
    return math.fsum(float(value) for value in _properties(rows, name))


def _visit(visit: list[Row], visit_number: int) -> Shown:
    pages = _named(visit, "page_view")
    addresses = _properties(pages, "page_location")
    depths = [float(depth) for depth in _properties(_named(visit, "scroll"), "percent_scrolled")]
    duration_s = (visit[-1].time_ms - visit[0].time_ms) / 1000
    page_time_s = (pages[-1].time_ms - pages[0].time_ms) / 1000 if pages else None
    return {
        "page_views": len(pages),
        "page_time_s": page_time_s,
        "distinct_pages": len(set(addresses)),
        "entry_page": _first(addresses),
        "exit_page": _last(addresses),
        "language": _last(_properties(visit, "language")),
        "device": _last(_properties(visit, "device_category")),
        "duration_s": duration_s,
        "new_visitor": visit_number == 1,
        "seconds_per_page": page_time_s / (len(pages) - 1) if page_time_s is not None and len(pages) > 1 else None,
        "recent_pages": _newest_first(addresses, 3),
        "read_depth": max(depths, default=None),
        # No recording has a user agent, a referrer or a campaign: what follows from them is compared by the models' tests.
        "channel": "direct",
        "bot_hits": 0,
    }


def _engagement(visit: list[Row], shown: Shown) -> Shown:
    counted = {"scrolls": "scroll", "clicks": "click", "form_starts": "form_start", "form_submits": "form_submit"}
    counts: Shown = {attribute: len(_named(visit, name)) for attribute, name in counted.items()}
    conversions = len(_named(visit, *GOALS))
    duration_s, pages = _number(shown, "duration_s"), _number(shown, "page_views")
    active_s = _sum(visit, "engagement_time_msec") / 1000
    acts = _number(counts, "scrolls") + _number(counts, "clicks") + _number(counts, "form_starts")
    engaged = duration_s > 10 or conversions > 0 or pages >= 2
    score = min(40.0, (active_s or duration_s) / 4.5) + min(30.0, 5 * pages) + min(20.0, 5 * acts)
    return counts | {
        "conversions": conversions,
        "sign_ups": len(_named(visit, "sign_up")),
        "conversion_value": _sum(_named(visit, "purchase", "generate_lead"), "value"),
        "time_to_conversion": _until(visit, *GOALS),
        "active_s": active_s,
        "engaged": engaged,
        "bounced": not engaged,
        "engagement_score": score + (10 if conversions else 0),
    }


def _annoyance(visit: list[Row]) -> Shown:
    errors, rage = len(_named(visit, "exception")), len(_named(visit, "rage_click"))
    dead, failed = len(_named(visit, "dead_click")), len(_named(visit, "error_click"))
    score = min(100, 30 * rage + 20 * errors + 10 * (dead + failed))
    return {
        "errors": errors,
        "rage_clicks": rage,
        "dead_clicks": dead,
        "error_clicks": failed,
        "recent_errors": 0,
        "recent_clicks": 0,
        "recent_click_targets": 0,
        **dict.fromkeys(("rage_burst", "rage_burst.when"), False),
        "rage_burst.count": 0,
        "frustration_score": score,
        "frustrated": score >= 50,
    }


def _bot(shown: Shown, visit_number: int) -> Shown:
    pages, acts = _number(shown, "page_views"), _number(shown, "scrolls") + _number(shown, "clicks")
    breadth, habit = min(1.0, _number(shown, "distinct_pages") / 20), min(1.0, (visit_number - 1) / 10)
    haste = pages >= 3 and _number(shown, "page_time_s") < 6 * (pages - 1)
    blind = pages >= 5 and acts == 0
    score = _logistic(-4 + 2 * breadth + 2 * habit + 2 * haste + 2 * blind - acts)
    return {
        "bot_breadth": breadth,
        "bot_habit": habit,
        "bot_haste": haste,
        "bot_blind": blind,
        "bot_score": score,
        "is_bot": score >= 0.5,
    }


def _consent(visit: list[Row]) -> Shown:
    answers = _named(visit, "consent_update")
    words = {"analytics": "analytics_storage", "ads": "ad_storage", "personalization": "ad_personalization"}
    told = {
        purpose: _last(["granted" if each == "granted" else "denied" for each in _properties(answers, name)])
        for purpose, name in words.items()
    }
    agreed = {purpose: answer == "granted" for purpose, answer in told.items()}
    return {
        **{f"consent_{purpose}": answer for purpose, answer in told.items()},
        "consent_answers": len(answers),
        "time_to_consent": _until(visit, "consent_update"),
        "analytics_allowed": agreed["analytics"],
        "ads_allowed": agreed["ads"],
        "personalization_allowed": agreed["ads"] and agreed["personalization"],
    }


def _identity(visit: list[Row]) -> Shown:
    logins = len(_named(visit, "login"))
    people = len(set(_properties(_named(visit, "login", "sign_up"), "user_id")))
    return {
        "logins": logins,
        "time_to_login": _until(visit, "login"),
        "people": people,
        "shared_device": people > 2,
        "identity_conflict": people > 1,
        "identity_confidence": {0: 0.9 if logins else 0.0, 1: 0.9, 2: 0.45}.get(people, 0.1),
    }


def _products(visit: list[Row]) -> Shown:
    views = _named(visit, "view_item")
    items = _properties(views, "item_id")
    return {
        "product_views": len(views),
        "item_views": len(items),
        "list_views": len(_named(visit, "view_item_list")),
        "last_item": _last(items),
        "last_category": _last(_properties(_named(visit, "view_item", "view_item_list"), "item_category")),
        "viewed_products": _newest_first(items, 8),
        "distinct_items": len(set(items)),
        "distinct_categories": len(set(_properties(views, "item_category"))),
        "repeat_views": max(0, len(items) - len(set(items))),
    }


def _searches(visit: list[Row]) -> Shown:
    searches = _named(visit, "search")
    terms = _properties(searches, "search_term")
    return {
        "searches": len(searches),
        "last_search": _last(terms),
        "zero_result_searches": _properties(searches, "result_count").count(0.0),
        "search_terms": len(set(terms)),
        "search_unanswered": _is_waiting(visit, "search", ("view_item", "select_item", "add_to_cart"), 60),
    }


def _is_waiting(visit: list[Row], name: str, ends: tuple[str, ...], for_s: float) -> bool:
    """Return whether at the last event `for_s` have passed since the last `name`, and none of `ends` came after it."""
    places = [place for place, row in enumerate(visit) if row.name == name]
    if not places or any(row.name in ends for row in visit[places[-1] + 1 :]):
        return False
    return visit[-1].time_ms - visit[places[-1]].time_ms >= 1000 * for_s


def _prices(visit: list[Row]) -> Shown:
    views = _named(visit, "view_item")
    prices = [float(price) for price in _properties(views, "price")]
    discounts = [each for each in _properties(views, "discount") if float(each) > 0]
    coupons = _properties(_named(visit, "apply_coupon", "add_to_cart", "begin_checkout", "purchase"), "coupon")
    sorts = _properties(_named(visit, "view_item_list"), "sort_by")
    counts = {
        "discount_views": len(discounts),
        "promotions": len(_named(visit, "select_promotion")),
        "coupons": len({coupon for coupon in coupons if coupon != ""}),
        "price_sorts": sum(str(order).startswith("price") for order in sorts),
    }
    signs = 3 * counts["coupons"] + 2 * counts["price_sorts"] + counts["promotions"] + counts["discount_views"]
    return counts | {
        "min_viewed_price": min(prices, default=None),
        "max_viewed_price": max(prices, default=None),
        "mean_viewed_price": math.fsum(prices) / len(prices) if prices else None,
        "bargain_signs": signs,
        "price_sensitivity": signs / (signs + 5),
    }


def _orders(visit: list[Row]) -> Shown:
    purchases, refunds = _named(visit, "purchase"), _named(visit, "refund")
    revenue = _sum(purchases, "value")
    return {
        "checkouts": len(_named(visit, "begin_checkout")),
        "purchases": len(purchases),
        "revenue": revenue,
        "refunds": len(refunds),
        "refunded_value": _sum(refunds, "value"),
        # No recording has a transaction or a currency: what follows from them is compared by the models' tests.
        "transactions": 0,
        **dict.fromkeys(("repeated_purchases", "mixed_currencies"), False),
        "time_to_purchase": _until(visit, "purchase"),
        "mean_order_value": revenue / len(purchases) if purchases else None,
    }


def _basket(visit: list[Row], shown: Shown) -> Shown:
    adds, removals = _named(visit, "add_to_cart"), _named(visit, "remove_from_cart")
    added, removed = math.fsum(_line_values(adds)), math.fsum(_line_values(removals))
    lines = _lines_of(visit)
    value = math.fsum(float(str(line["quantity"])) * float(str(line.get("price", 0.0))) for line in lines)
    updates = len(_named(visit, "update_cart"))
    changes = len(_properties(_named(visit, "add_to_cart", "remove_from_cart", "update_cart"), "item_id"))
    is_cut = changes > BASKET_KEEP and not shown["purchases"]
    put_in, taken_out = (
        math.fsum(float(row.properties.get("quantity", 1.0)) for row in rows) for rows in (adds, removals)
    )
    is_open = bool(lines) or (is_cut and not updates and put_in > taken_out)
    return {
        "basket": lines or None,
        "basket.value": value,
        "basket.quantity": math.fsum(float(str(line["quantity"])) for line in lines),
        "basket.items": len(lines),
        "add_to_carts": len(adds),
        "removals": len(removals),
        "basket_changes": changes,
        "cart_updates": updates,
        "added_quantity": put_in,
        "removed_quantity": taken_out,
        "added_value": added,
        "removed_value": removed,
        "time_to_first_add": _until(visit, "add_to_cart"),
        "has_open_basket": is_open,
        "open_basket_value": None if is_cut else value,
    }


def _lines_of(visit: list[Row]) -> list[Shown]:
    """Return the lines of the basket after a visit, the one that was changed last first."""
    changes: list[Row] = []
    for row in visit:
        if row.name == "purchase":
            changes.clear()
        elif row.name in ("add_to_cart", "remove_from_cart", "update_cart") and "item_id" in row.properties:
            changes.append(row)
    quantities: dict[float | str, float] = {}
    prices: dict[float | str, float] = {}
    for row in changes[-BASKET_KEEP:]:
        item, change = row.properties["item_id"], float(row.properties.get("quantity", 1.0))
        before = quantities.pop(item, 0.0)
        quantities[item] = {"add_to_cart": before + change, "update_cart": change}.get(
            row.name, max(before - change, 0.0)
        )
        if "price" in row.properties:
            prices[item] = float(row.properties["price"])
    return [
        {"item": item, "quantity": quantity, **({"price": prices[item]} if item in prices else {})}
        for item, quantity in reversed(quantities.items())
        if quantity > 0
    ]


def step_counts(visit: list[Row]) -> list[int]:
    """Return how often each step of the way to a purchase occurred."""
    return [len(_named(visit, step)) for step in STEPS]


def _way(visit: list[Row]) -> Shown:
    """Return how far the visit is on the way to a purchase, at the time of its last event."""
    now_ms = visit[-1].time_ms
    furthest, stage = 0, 0
    shown_times: list[int | None] = []
    for place, row in enumerate(visit):
        if row.name != STEPS[0]:
            continue
        times = _run(visit[place:])
        furthest = max(furthest, len(times))
        if len(times) == len(STEPS):
            # A run that came to its end is shown until another begins, and those that began before are over.
            stage, shown_times = len(times), list(times)
        elif now_ms - row.time_ms <= WITHIN_MS and (
            len(times) >= stage if stage < len(STEPS) else row.time_ms > (shown_times[-1] or 0)
        ):
            stage, shown_times = len(times), [*times, *[None] * (len(STEPS) - len(times))]
    started_ms = shown_times[0] if shown_times else None
    return {
        "checkout.stage": stage,
        "checkout.furthest": furthest,
        "checkout.completed": furthest == len(STEPS),
        "checkout.step_times": shown_times if stage else None,
        "checkout.time_left_s": (started_ms + WITHIN_MS - now_ms) / 1000 if started_ms and stage < len(STEPS) else None,
        "furthest_step": STEP_NAMES[
            max((place for place, count in enumerate(step_counts(visit), 1) if count), default=0)
        ],
    }


def _run(rows: list[Row]) -> list[int | None]:
    """Return when the run that begins with the first row reached its steps, within its time; None: a checkout that was left out."""
    times: list[int | None] = []
    for row in rows:
        if row.time_ms - rows[0].time_ms > WITHIN_MS or len(times) == len(STEPS):
            break
        if row.name == STEPS[len(times)]:
            times.append(row.time_ms)
        elif len(times) == OPTIONAL_STEP and row.name == STEPS[OPTIONAL_STEP + 1]:
            times += [None, row.time_ms]
    return times


def weights_of(visit: list[Row], by: str) -> dict[float | str, int]:
    """Return the interest in each value of a property: product views and products put into the basket count 1."""
    values = _properties(_named(visit, "view_item", "add_to_cart"), by)
    return {value: values.count(value) for value in dict.fromkeys(values)}


def top_of(name: str, weights: dict[float | str, int]) -> Shown:
    """Return what a top shows of some weights; of equal weights the order is not said."""
    heaviest = sorted(weights.items(), key=lambda item: -item[1])[:TOP_KEEP]
    total = sum(weights.values())
    return {
        name: [{"value": value, "weight": weight} for value, weight in heaviest] or None,
        f"{name}.first": heaviest[0][0] if heaviest else None,
        f"{name}.weight": heaviest[0][1] if heaviest else None,
        f"{name}.share": heaviest[0][1] / total if heaviest else None,
    }


def _line_values(rows: list[Row]) -> list[float]:
    priced = [row.properties for row in rows if "price" in row.properties]
    return [float(line["price"]) * float(line.get("quantity", 1.0)) for line in priced]


def _scores(shown: Shown, event_count: int) -> Shown:
    propensity = {
        "product_views": 0.06,
        "searches": 0.12,
        "add_to_carts": 0.9,
        "removals": -0.5,
        "checkouts": 1.6,
        "logins": 0.5,
        "duration_s": 0.0008,
        "new_visitor": -0.4,
    }
    to_buy = _logistic(-4.0 + math.fsum(weight * _number(shown, name) for name, weight in propensity.items()))
    events = min(event_count, 10)
    to_leave = 0.42 - 0.17 * events - 0.8 * _number(shown, "has_open_basket") + 0.67 * _number(shown, "purchases")
    return {
        "purchase_propensity": to_buy,
        "likely_buyer": to_buy >= 0.5,
        **dict.fromkeys(("idle_30s", "idle_2m", "abandoned_basket"), False),
        "abandoned_basket.when": shown["has_open_basket"],
        "abandoned_basket.count": 0,
        "abandonment_state": "none",
        "value_at_risk": 0.0,
        "events_seen": events,
        "exit_risk": _logistic(to_leave),
        "leaving": _logistic(to_leave) >= 0.75,
    }


def distinct_error_max(name: str, true_count: int) -> float:
    """Return how far a distinct count may be off: nothing up to its bound, five standard errors of the sketch beyond.

    Source: Flajolet et al., "HyperLogLog", 2007: the standard error is 1.04 / sqrt(registers).
    """
    keep = DISTINCT_KEEP[name]
    if true_count <= keep:
        return 0.0
    registers = 8 * keep
    return 5 * 1.04 / math.sqrt(registers) * true_count + 1
