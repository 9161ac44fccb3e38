"""Functions on texts that are evaluated outside of the fold, once per different text; see `engine.facts`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from rte_server.engine.engine import Engine
from rte_server.engine.entries import Entry, EntryType
from rte_server.engine.facts import FactValue, facts_body
from rte_server.engine.wire import ScannedRequest
from rte_server.models.types import BOOL, NULL, STRING, TypeSet

FACT_FUNCTIONS: dict[str, TypeSet] = {
    "ua.browser": STRING | NULL,
    "ua.browser_version": STRING | NULL,
    "ua.os": STRING | NULL,
    "ua.device": STRING,
    "ua.is_bot": BOOL,
}
"""The functions that expressions on events may call, with the types of their values."""

_TEXTS_MAX = 16_384
"""Texts whose facts are remembered here, so that several functions and requests in flight ask once."""


def facts_entry(engine: Engine, scanned: ScannedRequest) -> Entry | None:
    """Return the FACTS entry that must stand before a request, or None where everything is known."""
    unknown = engine.unknown_facts(scanned)
    return facts_about(unknown, scanned.received_ms) if unknown else None


def fold_request(engine: Engine, received_ms: int, body: bytes) -> None:
    """Apply a request with accepted events to an engine as the server does: what it needs to know of texts comes first."""
    facts = facts_entry(engine, engine.scan(body, received_ms))
    for entry in (facts, Entry(EntryType.EVENTS, received_ms, body)):
        if entry is not None:
            engine.apply(engine.position + 1, entry)


def facts_about(unknown: Sequence[tuple[str, str]], received_ms: int) -> Entry:
    """Return the FACTS entry with what some functions say of some texts. Takes about 0.1 ms per text.

    Args:
        unknown: (function, text), from `Engine.unknown_facts`.
        received_ms: When the request was received that needs them.
    """
    body = json.dumps(facts_of(unknown), ensure_ascii=False, separators=(",", ":")).encode()
    return Entry(EntryType.FACTS, received_ms, body)


def facts_of(unknown: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Return what some functions say of some texts, as `engine.facts.read_facts` reads it."""
    return facts_body((function, text, _facts_of(text)[function]) for function, text in unknown)


@lru_cache(maxsize=_TEXTS_MAX)
def _facts_of(text: str) -> dict[str, FactValue]:
    from rte_server.models.user_agents import describe

    return describe(text)
