"""Who comes to the shop: people, their devices, how they come and what they want."""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import Enum
from urllib.parse import urlencode

from rte.wire_events import Value


@dataclass(frozen=True, slots=True)
class Device:
    """A browser or app.

    Attributes:
        visitor_id: Identifies it.
        channel: `web` or `app`.
        properties: What each page view tells about it.
    """

    visitor_id: str
    channel: str
    properties: dict[str, Value]


class Intent(Enum):
    """What a visit is for; the value is its share of the visits of new visitors."""

    GLANCE = 0.36
    BROWSE = 0.42
    COMPARE = 0.16
    BUY = 0.06


_WEBKIT = "AppleWebKit/605.1.15 (KHTML, like Gecko)"
_BLINK = "AppleWebKit/537.36 (KHTML, like Gecko)"
_IPHONE = f"Mozilla/5.0 (iPhone; CPU iPhone OS 18_2 like Mac OS X) {_WEBKIT} Version/18.2 Mobile/15E148 Safari/604.1"
_IPAD = f"Mozilla/5.0 (iPad; CPU OS 18_2 like Mac OS X) {_WEBKIT} Version/18.2 Mobile/15E148 Safari/604.1"
_MAC = f"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) {_WEBKIT} Version/18.2 Safari/605.1.15"
_ANDROID = f"Mozilla/5.0 (Linux; Android 10; K) {_BLINK} Chrome/131.0.0.0 Mobile Safari/537.36"
_WINDOWS = f"Mozilla/5.0 (Windows NT 10.0; Win64; x64) {_BLINK} Chrome/131.0.0.0 Safari/537.36"
_KINDS = (
    # device_category, channel, user_agent, share
    ("mobile", "web", _IPHONE, 0.27),
    ("mobile", "web", _ANDROID, 0.24),
    ("desktop", "web", _WINDOWS, 0.23),
    ("desktop", "web", _MAC, 0.09),
    ("mobile", "app", "ShopApp/4.7 (Android 15)", 0.12),
    ("tablet", "web", _IPAD, 0.05),
)
_LANGUAGES = ("en-GB", "de-DE", "fr-FR", "en-US", "es-ES", "it-IT")


@dataclass(slots=True)
class Person:
    """Somebody who may come to the shop.

    Attributes:
        customer_id: The number in the shop's customer data, known to the shop after a log-in.
        registered: Whether the person has an account.
        devices: One or two.
        favourites: Categories of interest, the favourite first.
        visit_count: Visits so far.
        away_since_s: When the last visit ended, seconds since the shop opened; `inf` while one is under way.
    """

    customer_id: str
    registered: bool
    devices: tuple[Device, ...]
    favourites: tuple[str, ...]
    visit_count: int = 0
    away_since_s: float = 0.0

    def intent(self, rng: random.Random) -> Intent:
        """Return what the next visit is for: who comes back wants more."""
        eager = 2.0 if self.visit_count else 1.0
        weights = [each.value * (1.0 if each in (Intent.GLANCE, Intent.BROWSE) else eager) for each in Intent]
        return rng.choices(list(Intent), weights)[0]


def make_person(seed: int, number: int, categories: tuple[str, ...]) -> Person:
    """Return the person with a number, 0 and up; the same for the same seed."""
    rng = random.Random(f"person:{seed}:{number}")
    count = 2 if rng.random() < 0.25 else 1
    devices = tuple(_device(f"v-{number:06d}{letter}", rng) for letter in "ab"[:count])
    favourites = tuple(rng.sample(categories, 3))
    return Person(f"c-{number:06d}", rng.random() < 0.35, devices, favourites)


def _device(visitor_id: str, rng: random.Random) -> Device:
    category, channel, user_agent, _ = rng.choices(_KINDS, [kind[3] for kind in _KINDS])[0]
    language = rng.choices(_LANGUAGES, (30, 25, 12, 15, 10, 8))[0]
    properties: dict[str, Value] = {"device_category": category, "language": language, "user_agent": user_agent}
    return Device(visitor_id, channel, properties)


@dataclass(frozen=True, slots=True)
class Origin:
    """How somebody came.

    Attributes:
        referrer: Address of the page before, empty for none.
        campaign: UTM parameters without their prefix, empty where no campaign brought the visitor.
        click_id: Name of the parameter by which an advertiser counts clicks, empty for none.
    """

    referrer: str
    campaign: dict[str, str]
    click_id: str = ""

    def query(self, number: int) -> str:
        """Return the query of the address that the visit begins at, `?` included; empty for none.

        Args:
            number: Of the visit; it makes the click id.
        """
        found = {f"utm_{name}": value for name, value in self.campaign.items()}
        if self.click_id:
            found[self.click_id] = f"click-{number}"
        return f"?{urlencode(found)}" if found else ""


_ORIGINS: tuple[tuple[float, Origin], ...] = (
    (0.30, Origin("", {})),
    (0.28, Origin("https://www.google.com/", {})),
    (0.05, Origin("https://www.bing.com/", {})),
    (
        0.13,
        Origin("https://www.google.com/", {"source": "google", "medium": "cpc", "campaign": "brand_search"}, "gclid"),
    ),
    (0.06, Origin("https://www.google.com/", {}, "gclid")),
    (0.09, Origin("https://www.instagram.com/", {"source": "instagram", "medium": "social", "campaign": "new_in"})),
    (0.06, Origin("https://blog.example/", {})),
    (0.03, Origin("", {"source": "partner", "medium": "affiliate", "campaign": "deals"})),
)
_NEWSLETTER = Origin("", {"source": "newsletter", "medium": "email", "campaign": "weekly"})


def pick_origin(person: Person, rng: random.Random) -> Origin:
    """Return how a visit begins; only those with an account get the newsletter."""
    if person.registered and rng.random() < 0.22:
        return _NEWSLETTER
    return rng.choices(_ORIGINS, [share for share, _ in _ORIGINS])[0][1]
