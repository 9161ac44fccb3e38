"""What a user agent says: browser, operating system, device, and whether it is a bot.

Browser, system and device come from `ua-parser` with its compiled engine, bots from the patterns of
`crawler-user-agents`, which the same engine matches. Both know thousands of patterns, too many for a kernel; a text takes
about 0.1 ms. What is found becomes part of the journal (see `engine.facts`), so other versions of either change nothing
of what was.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from rte_server.engine.facts import FactValue

DEVICES = ("desktop", "mobile", "tablet", "tv", "bot", "other")
"""What `ua.device` can be."""

_MOBILE = frozenset(
    ("Android", "BlackBerry OS", "Firefox OS", "KaiOS", "Nokia Series 40", "Symbian OS", "Windows Phone", "iOS")
)
_DESKTOP = frozenset(
    ("Arch Linux", "CentOS", "Chrome OS", "Debian", "Fedora", "FreeBSD", "Gentoo", "Linux", "Linux Mint", "Mac OS X")
) | frozenset(("NetBSD", "OpenBSD", "Red Hat", "SUSE", "Slackware", "Solaris", "Ubuntu", "Windows"))
_TV = frozenset(("Apple TV", "Chromecast", "FireTV", "HbbTV", "Roku", "Tizen", "WebOS", "tvOS", "ATV OS X"))


def describe(user_agent: str) -> dict[str, FactValue]:
    """Return what each `ua.` function says of a user agent; None where it says nothing."""
    from ua_parser import parse

    found = parse(user_agent)
    browser, system, device = found.user_agent, found.os, found.device
    is_bot = _bots().extract(user_agent) is not None or (device is not None and device.family == "Spider")
    return {
        "ua.browser": browser.family if browser else None,
        "ua.browser_version": browser.major if browser else None,
        "ua.os": system.family if system else None,
        "ua.device": "bot" if is_bot else _device(user_agent, system.family if system else "", device),
        "ua.is_bot": is_bot,
    }


@cache
def _bots() -> Any:
    """Return what matches the patterns of all known crawlers."""
    from crawleruseragents import CRAWLER_USER_AGENTS_DATA
    from ua_parser_rs import UserAgentExtractor

    patterns = (crawler["pattern"] for crawler in CRAWLER_USER_AGENTS_DATA)
    return UserAgentExtractor([(f"({pattern})", "bot", None, None, None, None) for pattern in patterns])


def _device(user_agent: str, system: str, device: Any) -> str:
    """Return the sort of device.

    Tablets say so by what they leave out: an Android browser on a phone names itself `Mobile`
    (developer.chrome.com/docs/multidevice/user-agent), one on a tablet does not.
    """
    family = device.family if device is not None else ""
    if system in _TV or "TV" in family or "SmartTV" in user_agent or "SMART-TV" in user_agent:
        return "tv"
    if family.startswith("iPad") or "Tablet" in user_agent or "Kindle" in family:
        return "tablet"
    if system == "Android" and "Mobile" not in user_agent:
        return "tablet"
    if system in _MOBILE or "Mobile" in user_agent or family in ("iPhone", "iPod", "Generic Feature Phone"):
        return "mobile"
    return "desktop" if system in _DESKTOP else "other"
