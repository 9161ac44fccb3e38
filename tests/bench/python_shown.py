"""What a reader sees of a session of the plain Python engine: all attributes of the packs, by their names."""

from __future__ import annotations

from operator import itemgetter
from typing import Any

from tests.bench.python_handlers import RUN_MS
from tests.bench.python_session import Session, clicks_within, targets_of

ERROR_TILE_MS = 30_000
UNANSWERED_MS = 60_000
TOP_SHOWN = 3
STEPS = {"purchase": "purchases", "checkout": "checkouts", "basket": "add_to_carts", "product": "product_views"}
"""The steps on the way to a purchase, the last one first, and what counts them."""
BY_ITS_NAME = (
    *("page_views", "entry_page", "exit_page", "language", "device", "browser", "os", "duration_s", "page_time_s"),
    *("new_visitor", "seconds_per_page", "conversions", "sign_ups", "conversion_value", "time_to_conversion"),
    *("recent_pages", "read_depth", "entry_referrer", "referrer_host", "first_source", "first_campaign", "last_source"),
    *("last_medium", "last_campaign", "ad_network", "channel", "errors", "rage_clicks", "dead_clicks", "error_clicks"),
    *("frustration_score", "frustrated", "consent_analytics", "consent_ads"),
    *("consent_personalization", "consent_answers", "time_to_consent", "analytics_allowed", "ads_allowed"),
    *("personalization_allowed", "logins", "time_to_login", "shared_device", "identity_conflict"),
    *("identity_confidence", "product_views", "list_views", "last_item", "last_category", "viewed_products"),
    *("item_views", "refunds", "refunded_value", "repeated_purchases", "mixed_currencies"),
    *("repeat_views", "checkouts", "purchases", "revenue", "time_to_purchase", "mean_order_value", "searches"),
    *("last_search", "zero_result_searches", "min_viewed_price", "max_viewed_price", "discount_views", "promotions"),
    *("coupons", "price_sorts", "bargain_signs", "price_sensitivity", "active_s", "scrolls", "clicks", "form_starts"),
    *(
        "form_submits",
        "engaged",
        "engagement_score",
        "bounced",
        "add_to_carts",
        "removals",
        "added_value",
        "cart_updates",
        "basket_changes",
    ),
    *(
        "added_quantity",
        "removed_quantity",
        "removed_value",
        "time_to_first_add",
        "has_open_basket",
        "open_basket_value",
        "bot_hits",
        "bot_breadth",
    ),
    *("bot_habit", "bot_haste", "bot_blind", "bot_score", "is_bot", "abandonment_state", "value_at_risk"),
    *("purchase_propensity", "likely_buyer", "events_seen", "exit_risk", "leaving"),
)
DISTINCT = (
    ("distinct_pages", "pages"),
    ("people", "people"),
    ("distinct_items", "items"),
    ("distinct_categories", "categories"),
    ("search_terms", "terms"),
    ("transactions", "transactions"),
)
TOPS = (
    ("page_dwell", "dwell"),
    ("category_interest", "category_interest"),
    ("brand_interest", "brand_interest"),
    ("currency", "currencies"),
)


def shown(session: Session, clock_ms: int) -> dict[str, Any]:
    """Return the attributes that have a value; moments are in milliseconds since 1970.

    As in RTE without ticks, absences, windows and the sequence are those of now, and what is derived from them is what it was
    after the latest event.

    Args:
        session: Whose.
        clock_ms: When the latest request was received.
    """
    now_ms = max(clock_ms - session.delay_ms, session.last_ms)
    values: dict[str, Any] = {name: getattr(session, name) for name in BY_ITS_NAME}
    values |= {name: len(getattr(session, kept) or ()) for name, kept in DISTINCT}
    for name, kept in TOPS:
        values |= _top(name, getattr(session, kept) or {})
    values |= _basket(session) | _run(session, now_ms) | _triggers(session)
    clicks = clicks_within(session, now_ms)
    values["recent_clicks"], values["recent_click_targets"] = len(clicks), targets_of(clicks)
    if session.price_count:
        values["mean_viewed_price"] = session.price_sum / session.price_count
    idle_ms = now_ms - session.last_ms
    values["idle_30s"], values["idle_2m"] = idle_ms >= 30_000, idle_ms >= 120_000
    tile = now_ms // ERROR_TILE_MS
    values["recent_errors"] = sum(tile - time_ms // ERROR_TILE_MS < 2 for time_ms in session.error_times or ())
    asked_ms = session.search_open_ms
    values["search_unanswered"] = asked_ms > 0 and now_ms - asked_ms >= UNANSWERED_MS
    return {name: value for name, value in values.items() if value is not None and value != []}


def _top(name: str, weights: dict[str, float]) -> dict[str, Any]:
    heaviest = sorted(weights.items(), key=itemgetter(1), reverse=True)[:TOP_SHOWN]
    if not heaviest:
        return {}
    first, weight = heaviest[0]
    total = sum(weights.values())
    return {
        name: [{"value": value, "weight": each} for value, each in heaviest],
        f"{name}.first": first,
        f"{name}.weight": weight,
        f"{name}.share": weight / total if total > 0 else 0.0,
    }


def _basket(session: Session) -> dict[str, Any]:
    newest_first = reversed((session.lines or {}).items())
    return {
        "basket": [
            {"item": item, "quantity": quantity} | ({} if price is None else {"price": price})
            for item, (quantity, price) in newest_first
            if quantity > 0.0
        ],
        "basket.value": session.basket_value,
        "basket.quantity": session.basket_quantity,
        "basket.items": session.basket_items,
    }


def _run(session: Session, now_ms: int) -> dict[str, Any]:
    """Return the parts of the sequence `checkout`."""
    run = _present_run(session, now_ms)
    stage = len(run)
    started_ms = run[0] if run else None
    return {
        "checkout.stage": stage,
        "checkout.furthest": session.furthest,
        "checkout.completed": session.furthest == 4,
        "checkout.step_times": [*run, *[None] * (4 - stage)] if run else [],
        "checkout.time_left_s": (started_ms + RUN_MS - now_ms) / 1000 if started_ms and stage < 4 else None,
        "furthest_step": _furthest_step(session),
    }


def _furthest_step(session: Session) -> str:
    return next((step for step, count in STEPS.items() if getattr(session, count)), "none")


def _present_run(session: Session, now_ms: int) -> tuple[int | None, ...]:
    """Return the step times of the run that is shown: one that has just been completed, else the furthest since then."""
    done_ms = 0
    if session.run4 is not None:
        done_ms = session.run4[3]
        if session.run_start_ms <= done_ms:
            return session.run4
    for run in (session.run3, session.run2, session.run1):
        if run is not None and run[0] > done_ms and now_ms - run[0] <= RUN_MS:
            return run
    return ()


def _triggers(session: Session) -> dict[str, Any]:
    return {
        "rage_burst.when": session.recent_clicks >= 3 and session.recent_click_targets <= 1,
        "rage_burst": session.rage_burst_count > 0,
        "rage_burst.time": session.rage_burst_ms,
        "rage_burst.count": session.rage_burst_count,
        "abandoned_basket.when": session.has_open_basket,
        "abandoned_basket": session.quiet_told_ms == session.last_ms,
        "abandoned_basket.time": session.abandoned_ms,
        "abandoned_basket.count": session.abandoned_count,
    }
