"""A session of the plain Python engine, and what follows from its attributes."""

from __future__ import annotations

from dataclasses import dataclass
from math import exp

QUIET_MS = 600_000
CLICK_TILE_MS = 500
CLICK_TILES = 3

Line = tuple[float, float | None]
"""Quantity and price of an item in the basket."""
Click = tuple[int, str | None]
"""When, and the element that was clicked."""
Change = tuple[int, str, float, float | None]
"""What an event does to the basket: role, item, quantity and price."""


@dataclass(slots=True, eq=False)
class Session:
    """One session and its attributes, which have the names that they have in the packs.

    Sets, lists and dictionaries are None until the first thing comes into them: most sessions never need most of them.
    Further state: `*_ms` are times in milliseconds since 1970, 0 or None for never.
    """

    start_ms: int
    last_ms: int
    visit: int
    delay_ms: int
    """The least time from an event to its reception: by it, the server's clock tells the time of the session."""
    new_visitor: bool
    bot_habit: float
    events: int = 0
    customer: str = ""
    sent_channel: str = ""
    page_views: int = 0
    conversions: int = 0
    sign_ups: int = 0
    scrolls: int = 0
    clicks: int = 0
    form_starts: int = 0
    form_submits: int = 0
    errors: int = 0
    rage_clicks: int = 0
    dead_clicks: int = 0
    error_clicks: int = 0
    consent_answers: int = 0
    logins: int = 0
    product_views: int = 0
    item_views: int = 0
    list_views: int = 0
    checkouts: int = 0
    purchases: int = 0
    refunds: int = 0
    searches: int = 0
    zero_result_searches: int = 0
    discount_views: int = 0
    promotions: int = 0
    coupons: int = 0
    price_sorts: int = 0
    price_count: int = 0
    add_to_carts: int = 0
    removals: int = 0
    basket_changes: int = 0
    cart_updates: int = 0
    bot_hits: int = 0
    bargain_signs: int = 0
    repeat_views: int = 0
    frustration_score: int = 0
    recent_clicks: int = 0
    recent_click_targets: int = 0
    rage_burst_count: int = 0
    abandoned_count: int = 0
    furthest: int = 0
    basket_items: int = 0
    events_seen: int = 0
    first_page_ms: int = 0
    run_start_ms: int = 0
    search_open_ms: int = 0
    quiet_told_ms: int = 0
    conversion_value: float = 0.0
    active_s: float = 0.0
    revenue: float = 0.0
    refunded_value: float = 0.0
    price_sum: float = 0.0
    added_quantity: float = 0.0
    removed_quantity: float = 0.0
    added_value: float = 0.0
    removed_value: float = 0.0
    basket_value: float = 0.0
    basket_quantity: float = 0.0
    open_basket_value: float | None = 0.0
    value_at_risk: float | None = 0.0
    price_sensitivity: float = 0.0
    identity_confidence: float = 0.0
    bot_breadth: float = 0.0
    bot_score: float = 0.0
    duration_s: float = 0.0
    engagement_score: float = 0.0
    purchase_propensity: float = 0.0
    exit_risk: float = 0.0
    engaged: bool = False
    bounced: bool = False
    frustrated: bool = False
    has_open_basket: bool = False
    bot_haste: bool = False
    bot_blind: bool = False
    is_bot: bool = False
    repeated_purchases: bool = False
    mixed_currencies: bool = False
    shared_device: bool = False
    identity_conflict: bool = False
    analytics_allowed: bool = False
    ads_allowed: bool = False
    personalization_allowed: bool = False
    idle_2m: bool = False
    idle_30s: bool = False
    likely_buyer: bool = False
    leaving: bool = False
    page_time_s: float | None = None
    seconds_per_page: float | None = None
    time_to_conversion: float | None = None
    time_to_consent: float | None = None
    time_to_login: float | None = None
    time_to_purchase: float | None = None
    time_to_first_add: float | None = None
    read_depth: float | None = None
    mean_order_value: float | None = None
    min_viewed_price: float | None = None
    max_viewed_price: float | None = None
    entry_page: str | None = None
    exit_page: str | None = None
    language: str | None = None
    device: str | None = None
    browser: str | None = None
    os: str | None = None
    entry_referrer: str | None = None
    referrer_host: str | None = None
    first_source: str | None = None
    first_campaign: str | None = None
    last_source: str | None = None
    last_medium: str | None = None
    last_campaign: str | None = None
    ad_network: str | None = None
    consent_analytics: str | None = None
    consent_ads: str | None = None
    consent_personalization: str | None = None
    last_item: str | None = None
    last_category: str | None = None
    last_search: str | None = None
    rage_burst_ms: int | None = None
    abandoned_ms: int | None = None
    channel: str = "direct"
    abandonment_state: str = "none"
    pages: set[str] | None = None
    people: set[str] | None = None
    items: set[str] | None = None
    categories: set[str] | None = None
    terms: set[str] | None = None
    coupon_codes: set[str] | None = None
    transactions: set[str] | None = None
    recent_pages: list[str] | None = None
    viewed_products: list[str] | None = None
    dwell: dict[str, float] | None = None
    category_interest: dict[str, float] | None = None
    brand_interest: dict[str, float] | None = None
    currencies: dict[str, float] | None = None
    error_times: list[int] | None = None
    click_times: list[Click] | None = None
    changes: list[Change] | None = None
    lines: dict[str, Line] | None = None
    run1: tuple[int] | None = None
    run2: tuple[int, int] | None = None
    run3: tuple[int, int, int | None] | None = None
    run4: tuple[int, int, int | None, int] | None = None
    """Times of the steps of the newest run that reached 1, 2, 3 or all 4 of them; of the last one, whose third is optional."""


def new_session(start_ms: int, visit: int, delay_ms: int) -> Session:
    """Return a session whose first event comes next."""
    habit = (visit - 1) / 10.0 if visit < 11 else 1.0
    session = Session(start_ms, start_ms, visit, delay_ms, visit == 1, habit)
    score_bot(session)
    return session


def derive(session: Session, now_ms: int) -> None:
    """Compute what follows from every event, or from the time.

    Args:
        session: Whose.
        now_ms: What time it is for the session, milliseconds since 1970.
    """
    # Conditional expressions, since a call of `min` takes longer than all else in its line.
    duration_s = session.duration_s = (session.last_ms - session.start_ms) / 1000
    pages, purchases, has_open_basket = session.page_views, session.purchases, session.has_open_basket
    conversions = session.conversions
    engaged = session.engaged = duration_s > 10.0 or conversions > 0 or pages >= 2
    session.bounced = not engaged
    active_s = session.active_s
    time_points = (active_s if active_s > 0.0 else duration_s) / 4.5
    page_points = 5.0 * pages
    deed_points = 5.0 * (session.scrolls + session.clicks + session.form_starts)
    session.engagement_score = (
        (time_points if time_points < 40.0 else 40.0)  # noqa: FURB136
        + (page_points if page_points < 30.0 else 30.0)  # noqa: FURB136
        + (deed_points if deed_points < 20.0 else 20.0)  # noqa: FURB136
        + (10.0 if conversions > 0 else 0.0)
    )
    idle_ms = now_ms - session.last_ms
    idle_2m = session.idle_2m = idle_ms >= 120_000
    idle_30s = session.idle_30s = idle_ms >= 30_000
    if has_open_basket and (idle_2m or session.quiet_told_ms == session.last_ms):
        is_told = session.quiet_told_ms == session.last_ms
        session.abandonment_state = "abandoned" if is_told else "at_risk"
    elif session.abandoned_count and (has_open_basket or purchases > 0):
        session.abandonment_state = "recovered"
    else:
        session.abandonment_state = "none"
    session.value_at_risk = session.open_basket_value if has_open_basket and idle_2m else 0.0
    propensity = session.purchase_propensity = _logistic(
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
    session.likely_buyer = propensity >= 0.5
    events = session.events
    events_seen = session.events_seen = events if events < 10 else 10  # noqa: FURB136
    exit_risk = session.exit_risk = _logistic(
        0.42 + 0.74 * idle_30s + 2.39 * idle_2m - 0.17 * events_seen - 0.8 * has_open_basket + 0.67 * purchases
    )
    session.leaving = exit_risk >= 0.75


def _logistic(total: float) -> float:
    return 1 / (1 + exp(-total)) if total > -709.78 else 0.0


def tell_quiet(session: Session, now_ms: int) -> None:
    """Fire the trigger `abandoned_basket` if the quiet is over: once in each. The basket is open."""
    last_ms = session.last_ms
    if now_ms - last_ms >= QUIET_MS and session.quiet_told_ms < last_ms:
        session.quiet_told_ms = last_ms
        session.abandoned_count += 1
        session.abandoned_ms = last_ms + QUIET_MS


def watch_clicks(session: Session, now_ms: int) -> None:
    """Count the clicks of the window, and fire the trigger `rage_burst` if they are a burst: once in a session."""
    clicks = session.click_times = clicks_within(session, now_ms)
    session.recent_clicks = len(clicks)
    session.recent_click_targets = targets_of(clicks)
    if session.recent_clicks >= 3 and session.recent_click_targets <= 1 and not session.rage_burst_count:
        session.rage_burst_count = 1
        session.rage_burst_ms = now_ms
        judge_frustration(session)


def clicks_within(session: Session, now_ms: int) -> list[Click]:
    """Return the clicks of the window."""
    oldest_ms = (now_ms // CLICK_TILE_MS - CLICK_TILES + 1) * CLICK_TILE_MS
    return [click for click in session.click_times or () if click[0] >= oldest_ms]


def targets_of(clicks: list[Click]) -> int:
    """Return how many different elements were clicked, up to 2."""
    return min(2, len({target for _, target in clicks if target is not None}))


def judge_frustration(session: Session) -> None:
    """Weigh what annoys, after one of its counts has changed."""
    rage = session.rage_clicks or (1 if session.rage_burst_count else 0)
    score = 30 * rage + 20 * session.errors + 10 * (session.dead_clicks + session.error_clicks)
    session.frustration_score = min(100, score)
    session.frustrated = score >= 50


def judge_identity(session: Session) -> None:
    """Say how surely the session is one person's, after a log-in or another customer."""
    people = len(session.people) if session.people is not None else 0
    session.shared_device = people > 2
    session.identity_conflict = people > 1
    if people > 1:
        session.identity_confidence = 0.1 if people > 2 else 0.45
    else:
        session.identity_confidence = 0.9 if people or session.logins or session.customer else 0.0


def judge_bargains(session: Session) -> None:
    """Weigh the signs of looking for a bargain, after one of them has come."""
    signs = 3 * session.coupons + 2 * session.price_sorts + session.promotions + session.discount_views
    session.bargain_signs = signs
    session.price_sensitivity = signs / (signs + 5)


def score_bot(session: Session) -> None:
    """Score what robots do, after a page, a scroll, a click or a bot's user agent."""
    pages, scrolls, clicks = session.page_views, session.scrolls, session.clicks
    haste = session.bot_haste = pages >= 3 and (session.page_time_s or 0.0) < 6.0 * (pages - 1)
    blind = session.bot_blind = pages >= 5 and scrolls + clicks == 0
    score = session.bot_score = _logistic(
        -4.0
        + 2.0 * (session.bot_breadth + session.bot_habit + haste + blind)
        + 6.0 * session.bot_hits
        - 1.0 * scrolls
        - 1.0 * clicks
    )
    session.is_bot = score >= 0.5
