"""What texts say, for the plain Python engine: addresses, user agents and channels, each different text looked at once."""

from __future__ import annotations

import re
from functools import lru_cache
from importlib.resources import files
from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit

from rte_server.models.user_agents import describe

TEXTS_MAX = 65_536
"""Texts that are remembered of each sort."""

_CAMPAIGN = re.compile(r"[?&]utm_source=[^&#]")
_NETWORKS = (
    ("google", re.compile(r"[?&](gclid|gbraid|wbraid|dclid)=[^&#]")),
    ("microsoft", re.compile(r"[?&]msclkid=[^&#]")),
    ("tiktok", re.compile(r"[?&]ttclid=[^&#]")),
    ("linkedin", re.compile(r"[?&]li_fat_id=[^&#]")),
)
_PAID = re.compile(r"(?i)^(.*cp.*|ppc|retargeting|paid.*)$")
_SOCIAL = re.compile(r"(?i)social")
_EMAIL = re.compile(r"(?i)^e[-_ ]?mail$")
_MEDIUMS = (
    ("affiliates", re.compile(r"(?i)^affiliates?$")),
    ("sms", re.compile(r"(?i)^sms$")),
    ("push", re.compile(r"(?i)push|notification")),
)
_DISPLAY = re.compile(r"(?i)^(display|banner|expandable|interstitial|cpm)$")
_ORGANIC_SOCIAL = re.compile(r"(?i)social|^sm$")
_ORGANIC = re.compile(r"(?i)^organic$")
_REFERRAL = re.compile(r"(?i)^(referral|app|link)$")


class Address(NamedTuple):
    """What is read from the address of a page.

    Attributes:
        host: None where there is none.
        has_campaign: Whether it has a `utm_source` that is not empty.
        source: Of the campaign, None where there is none.
        medium: Likewise.
        campaign: Likewise.
        ad_network: Whose click id it has; None: nobody's.
    """

    host: str | None
    has_campaign: bool
    source: str | None
    medium: str | None
    campaign: str | None
    ad_network: str | None


class Agent(NamedTuple):
    """What is read from a user agent; None where it says nothing."""

    browser: str | None
    os: str | None
    device: str | None
    is_bot: bool


@lru_cache(TEXTS_MAX)
def read_address(url: str) -> Address:
    """Return what an address says; it says nothing where it cannot be taken apart."""
    has_campaign = _CAMPAIGN.search(url) is not None
    network = next((name for name, pattern in _NETWORKS if pattern.search(url)), None)
    try:
        split = urlsplit(url)
        host = split.hostname or None
        query = parse_qs(split.query) if has_campaign else {}
    except ValueError:
        host, query = None, {}
    source, medium, campaign = (query.get(name, [None])[0] for name in ("utm_source", "utm_medium", "utm_campaign"))
    return Address(host, has_campaign, source, medium, campaign, network)


@lru_cache(TEXTS_MAX)
def read_agent(user_agent: str) -> Agent:
    """Return what a user agent says, by the library that RTE asks as well."""
    facts = describe(user_agent)
    browser, system, device = (facts[name] for name in ("ua.browser", "ua.os", "ua.device"))
    return Agent(
        None if browser is None else str(browser),
        None if system is None else str(system),
        None if device is None else str(device),
        facts["ua.is_bot"] is True,
    )


@lru_cache(TEXTS_MAX)
def channel_of(network: str | None, source: str | None, medium: str | None, referrer_host: str | None) -> str:
    """Return the kind of way that a visit came by; see the pack's model `attribution`."""
    if network is not None and medium != "display":
        return "paid_search" if network in ("google", "microsoft") else "paid_social"
    if source is None:
        return _channel_without_campaign(referrer_host)
    medium = medium or ""
    if _PAID.search(medium):
        return "paid_social" if source in SOCIAL_SITES or _SOCIAL.search(medium) else "paid_search"
    if _DISPLAY.search(medium):
        return "display"
    if _EMAIL.search(medium) or _EMAIL.search(source):
        return "email"
    for name, pattern in _MEDIUMS:
        if pattern.search(medium):
            return name
    if _ORGANIC_SOCIAL.search(medium) or source in SOCIAL_SITES:
        return "organic_social"
    if _ORGANIC.search(medium):
        return "organic_search"
    return "referral" if _REFERRAL.search(medium) else "campaign"


def _channel_without_campaign(referrer_host: str | None) -> str:
    if referrer_host is None:
        return "direct"
    if referrer_host in SEARCH_ENGINES:
        return "organic_search"
    return "organic_social" if referrer_host in SOCIAL_SITES else "referral"


def _listed(name: str) -> frozenset[str]:
    """Return the lines of a list of the pack `base`, without comments."""
    lines = files("rte_server.models").joinpath("packs", "base", name).read_text(encoding="utf-8").splitlines()
    return frozenset(line.strip() for line in lines if line.strip() and not line.startswith("#"))


SEARCH_ENGINES = _listed("search_engines.txt")
SOCIAL_SITES = _listed("social_sites.txt")
