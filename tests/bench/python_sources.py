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

_CAMPAIGN = re.compile(r"^[^#]*[?&]utm_(source|medium|campaign)=[^&#]")
_NETWORKS = (
    ("google", re.compile(r"^[^#]*[?&](gclid|gbraid|wbraid|dclid)=[^&#]")),
    ("microsoft", re.compile(r"^[^#]*[?&]msclkid=[^&#]")),
    ("tiktok", re.compile(r"^[^#]*[?&]ttclid=[^&#]")),
    ("linkedin", re.compile(r"^[^#]*[?&]li_fat_id=[^&#]")),
)
_DISPLAY_CLICK = re.compile(r"^[^#]*[?&]dclid=[^&#]")
_SEARCH_HOST = re.compile(r"^((www\.)?(google|yandex)\.((com|co)\.)?[a-z]{2,3}|([a-z]+\.)?(search\.yahoo|bing)\.com)$")
_PAID = re.compile(r"(?i)^(.*cp.*|ppc|retargeting|paid.*)$")
_SOCIAL = re.compile(r"(?i)social")
_DISPLAY = re.compile(r"(?i)^(display|banner|expandable|interstitial|cpm)$")
_DIRECT = re.compile(r"(?i)^\(?direct\)?$")
_NO_MEDIUM = re.compile(r"(?i)^(|\(none\)|\(not set\))$")
_ORGANIC_SOCIAL = re.compile(r"(?i)^(social([- ](network|media))?|sm)$")
_ORGANIC = re.compile(r"(?i)^organic$")
_EMAIL = re.compile(r"(?i)^e[-_ ]?mail$")
_NEVER = re.compile(r"(?!)")
_KINDS = (
    ("referral", re.compile(r"(?i)^(referral|app|link)$"), _NEVER),
    ("email", _EMAIL, _EMAIL),
    ("affiliates", re.compile(r"(?i)^affiliates?$"), _NEVER),
    ("sms", re.compile(r"(?i)^sms$"), re.compile(r"(?i)^sms$")),
    ("push", re.compile(r"(?i)push$|mobile|notification"), re.compile(r"(?i)^firebase$")),
)
"""Channels by their medium or their source."""


class Address(NamedTuple):
    """What is read from the address of a page.

    Attributes:
        host: None where there is none.
        has_campaign: Whether it names a campaign or has a click id.
        source: Of the campaign; a click id alone says whose it is. Empty where it is not named.
        medium: Likewise.
        campaign: Likewise.
        ad_network: Whose click id it has; empty: nobody's.
    """

    host: str | None
    has_campaign: bool
    source: str
    medium: str
    campaign: str
    ad_network: str


class Agent(NamedTuple):
    """What is read from a user agent; None where it says nothing."""

    browser: str | None
    os: str | None
    device: str | None
    is_bot: bool


@lru_cache(TEXTS_MAX)
def read_address(url: str) -> Address:
    """Return what an address says; it says nothing where it cannot be taken apart."""
    is_named = _CAMPAIGN.search(url) is not None
    network = next((name for name, pattern in _NETWORKS if pattern.search(url)), "")
    try:
        split = urlsplit(url)
        host = split.hostname or None
        query = parse_qs(split.query) if is_named else {}
    except ValueError:
        host, query = None, {}
    source, medium, campaign = (query.get(name, [""])[0] for name in ("utm_source", "utm_medium", "utm_campaign"))
    if network and not is_named:
        source, medium = network, "display" if _DISPLAY_CLICK.search(url) else "cpc"
    return Address(host, is_named or network != "", source, medium, campaign, network)


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
    if source is None or medium is None:
        return _channel_without_campaign(referrer_host)
    if network and not _DISPLAY.search(medium):
        return "paid_search" if network in ("google", "microsoft") else "paid_social"
    if _DIRECT.search(source) and _NO_MEDIUM.search(medium):
        return "direct"
    from_search, from_social = source.lower() in SEARCH_ENGINES, source.lower() in SOCIAL_SITES
    if _PAID.search(medium) and from_search:
        return "paid_search"
    if _PAID.search(medium) and (from_social or _SOCIAL.search(medium)):
        return "paid_social"
    if _DISPLAY.search(medium):
        return "display"
    if _PAID.search(medium):
        return "paid_other"
    if from_social or _ORGANIC_SOCIAL.search(medium):
        return "organic_social"
    if from_search or _ORGANIC.search(medium):
        return "organic_search"
    return next((kind for kind, by, of in _KINDS if by.search(medium) or of.search(source)), "campaign")


def _channel_without_campaign(referrer_host: str | None) -> str:
    if referrer_host is None:
        return "direct"
    if referrer_host in SEARCH_ENGINES or _SEARCH_HOST.search(referrer_host):
        return "organic_search"
    return "organic_social" if referrer_host in SOCIAL_SITES else "referral"


def _listed(name: str) -> frozenset[str]:
    """Return the lines of a list of the pack `base`, without comments."""
    lines = files("rte_server.models").joinpath("packs", "base", name).read_text(encoding="utf-8").splitlines()
    return frozenset(line.strip() for line in lines if line.strip() and not line.startswith("#"))


SEARCH_ENGINES = _listed("search_engines.txt")
SOCIAL_SITES = _listed("social_sites.txt")
