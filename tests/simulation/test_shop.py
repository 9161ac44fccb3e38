"""The synthetic shop behaves like a shop, and the same way each time."""

from __future__ import annotations

from collections import defaultdict
from itertools import islice, pairwise

import pytest

from rte.v1.event_pb2 import Event
from rte_server.simulate.shop import EVENTS_PER_VISIT, Shop, ShopEvent, ShopSettings

HOUR_MS = 3_600_000
START_MS = 1_790_000_000_000

Visits = dict[str, list[ShopEvent]]


def settings(seed: int = 1, **other: float) -> ShopSettings:
    """Return the settings of a shop that is open for an hour."""
    return ShopSettings(**{"seed": seed, "start_ms": START_MS, "duration_ms": HOUR_MS, "rate": 20.0, **other})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def events() -> list[ShopEvent]:
    """The events of two hours."""
    return list(Shop(settings(duration_ms=2 * HOUR_MS)).events())


@pytest.fixture(scope="module")
def visits(events: list[ShopEvent]) -> Visits:
    """The same by visit, those left out that the end cuts."""
    found: Visits = defaultdict(list)
    for each in events:
        found[each.session_id].append(each)
    return {key: mine for key, mine in found.items() if mine[0].time_ms < START_MS + HOUR_MS * 3 // 2}


def share(visits: Visits, name: str) -> float:
    """Return the share of visits that have an event."""
    return sum(any(each.step.name == name for each in mine) for mine in visits.values()) / len(visits)


def test_the_same_seed_gives_the_same_events_and_another_one_others() -> None:
    """Two shops with one seed are the same to the byte; another seed is another shop."""
    first, again, other = (
        [body for _, body, _, _ in islice(Shop(settings(seed)).recorded(), 2000)] for seed in (7, 7, 8)
    )
    assert first == again
    assert first != other


def test_time_never_runs_backwards_and_stays_within_the_opening_hours(events: list[ShopEvent]) -> None:
    """Events come by time, so those of each visitor do, from the opening to the closing."""
    times = [each.time_ms for each in events]
    assert times == sorted(times)
    assert times[0] >= START_MS
    assert times[-1] < START_MS + 2 * HOUR_MS


def test_ids_are_unique(events: list[ShopEvent]) -> None:
    """No two events have one id, not even events of two shops with one seed that opened at different times."""
    ids = {each.event_id for each in events}
    assert len(ids) == len(events)
    later = {each.event_id for each in islice(Shop(settings(start_ms=START_MS + 1)).events(), 1000)}
    assert not ids & later


def test_the_rate_is_what_was_asked_for(events: list[ShopEvent], visits: Visits) -> None:
    """The mean rate is within a tenth of the wanted one, and visits have the length that the rate is reckoned by."""
    assert len(events) / 7200 == pytest.approx(20.0, rel=0.1)
    assert sum(map(len, visits.values())) / len(visits) == pytest.approx(EVENTS_PER_VISIT, rel=0.1)


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("page_view", 1.0, 1.0),
        ("view_item", 0.5, 0.8),
        ("search", 0.12, 0.35),
        ("add_to_cart", 0.08, 0.18),
        ("begin_checkout", 0.03, 0.08),
        ("purchase", 0.02, 0.05),
        ("login", 0.03, 0.15),
        ("sign_up", 0.004, 0.03),
        ("remove_from_cart", 0.004, 0.04),
        ("exception", 0.04, 0.13),
        ("click", 0.01, 0.07),
    ],
)
def test_the_funnel_is_that_of_a_shop(visits: Visits, name: str, low: float, high: float) -> None:
    """The share of visits that come so far is that of an ordinary shop."""
    assert low <= share(visits, name) <= high


def test_a_visit_makes_sense(visits: Visits) -> None:
    """Nothing is bought that is not in the basket, and a checkout has its steps in order."""
    for mine in visits.values():
        basket: dict[str, int] = defaultdict(int)
        names = [each.step.name for each in mine]
        assert names[0] == "page_view"
        for each in mine:
            properties = each.step.properties
            item, quantity = str(properties.get("item_id")), properties.get("quantity")
            if each.step.name == "add_to_cart":
                assert isinstance(quantity, int)
                basket[item] += quantity
            elif each.step.name == "remove_from_cart":
                assert isinstance(quantity, int)
                basket[item] -= quantity
                assert basket[item] >= 0
            elif each.step.name == "purchase":
                assert quantity == sum(basket.values()) > 0
                assert properties["value"] == pytest.approx(
                    sum(line["price"] * line["quantity"] for line in properties["items"])  # type: ignore[index,union-attr,call-overload,operator,misc]
                )
        if "purchase" in names:
            steps = [names.index(step) for step in ("begin_checkout", "add_shipping_info", "add_payment_info")]
            assert steps == sorted(steps)
            assert steps[-1] < names.index("purchase")


def test_what_the_models_read_is_sent(visits: Visits) -> None:
    """Visits begin at addresses with campaigns and click ids, scrolls tell their page and time, angry clicks come in bursts."""
    landings = [str(mine[0].step.properties["page_location"]) for mine in visits.values()]
    assert 0.15 < sum("utm_source=" in each for each in landings) / len(landings) < 0.5
    assert 0.1 < sum("gclid=" in each for each in landings) / len(landings) < 0.3
    assert any("gclid=" in each and "utm_" not in each for each in landings)
    for mine in visits.values():
        clicks = [each.time_ms for each in mine if each.step.name == "click"]
        assert all(clicks[i + 2] - clicks[i] <= 1000 for i in range(0, len(clicks), 3))
        for each in mine:
            if each.step.name == "scroll":
                time_msec = each.step.properties["engagement_time_msec"]
                assert each.step.properties["page_location"] and isinstance(time_msec, int) and time_msec > 0
            assert not any(name.startswith("utm_") for name in each.step.properties)


def test_a_person_is_known_after_the_log_in_only(visits: Visits) -> None:
    """The customer id stands on each event from the log-in or registration on, and on none before."""
    for mine in visits.values():
        known = False
        for each in mine:
            known = known or each.step.name in ("login", "sign_up")
            assert bool(each.step.customer_id) == known


def test_visitors_come_back_as_a_new_visit(visits: Visits) -> None:
    """Some visitors come twice, and more than 30 minutes lie between, so that it is a new session."""
    by_visitor: dict[str, list[list[ShopEvent]]] = defaultdict(list)
    for mine in visits.values():
        by_visitor[mine[0].device.visitor_id].append(mine)
    gaps = [
        later[0].time_ms - earlier[-1].time_ms for found in by_visitor.values() for earlier, later in pairwise(found)
    ]
    assert len(gaps) > len(by_visitor) / 50
    assert min(gaps) > 1_800_000


def test_a_small_population_never_visits_twice_at_a_time() -> None:
    """With fewer people than visits, everybody still makes one visit at a time."""
    open_visits: dict[str, str] = {}
    for each in islice(Shop(settings(visitors=3, rate=50.0, duration_ms=0)).events(), 3000):
        person = each.device.visitor_id[:-1]
        before = open_visits.get(person)
        if before != each.session_id:
            assert before is None or int(before.rpartition("-")[2]) < int(each.session_id.rpartition("-")[2])
            open_visits[person] = each.session_id


def test_the_wire_form_is_the_event(events: list[ShopEvent]) -> None:
    """The bytes that are sent are the event that the JSON form describes."""
    for each in events[:300]:
        document = each.json()
        read = Event.FromString(each.body())
        assert read.event_time.ToMilliseconds() == document["event_time"] == each.time_ms
        assert read.name == document["name"]
        assert read.customer_id == document.get("customer_id", "")
        assert read.channel in ("web", "app")
        expected = Event()
        expected.properties.update(document["properties"])  # type: ignore[arg-type]
        assert read.properties == expected.properties
