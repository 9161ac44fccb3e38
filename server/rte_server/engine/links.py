"""Links of visitors to customers: what people said that events do not say.

A link changes no session: it only says whose sessions are looked at together. So taking it back leaves everything as it
was. Links are few beside events, hence plain objects; readers of other threads see a customer's links as one tuple.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rte_server.engine.native import siphash24_128
from rte_server.engine.reasons import EngineError, Reason

LINKS_MAX = 100_000
"""Links of all customers, some 500 bytes each."""

LINKS_OF_CUSTOMER_MAX = 64
"""Visitors that are linked to one customer."""


@dataclass(frozen=True, slots=True)
class Link:
    """A visitor who is linked to a customer.

    Attributes:
        visitor_id: The visitor.
        why: Why, as its author says.
        author: Who linked it, or empty.
        time_ms: When, milliseconds since 1970.
        position: Of the entry.
    """

    visitor_id: str
    why: str
    author: str
    time_ms: int
    position: int


def visitor_key(visitor_id: str, secret: NDArray[np.uint64]) -> tuple[int, int]:
    """Return the low and high word of a visitor's key, as int64."""
    encoded = np.frombuffer(visitor_id.encode(), np.uint8)
    low, high = siphash24_128(encoded, 0, len(encoded), secret[0], secret[1])
    return int(np.int64(low)), int(np.int64(high))


class Links:
    """The links of a shard. Its writer changes them; any thread may ask."""

    def __init__(self) -> None:
        """Begin without any."""
        self._of: dict[str, tuple[Link, ...]] = {}
        self._count = 0

    def of(self, customer_id: str) -> tuple[Link, ...]:
        """Return the links of a customer, the oldest first."""
        return self._of.get(customer_id, ())

    @property
    def count(self) -> int:
        """How many there are."""
        return self._count

    def apply(self, body: bytes, position: int, now_ms: int) -> EngineError | None:
        """Make or take back a link, as a LINK entry says.

        Args:
            body: Of the entry: UTF-8 JSON `{"customer_id", "visitor_id", "is_linked", "why", "author"}`; empty where it has
                been erased: it does nothing then.
            position: Of the entry.
            now_ms: The clock of the entry.

        Returns:
            Why nothing was done: LINK_NOT_FOUND, OVERLOADED; None if the link is as it says.
        """
        if not body:
            return None
        said = json.loads(body)
        customer_id, visitor_id = said["customer_id"], said["visitor_id"]
        before = self.of(customer_id)
        others = tuple(link for link in before if link.visitor_id != visitor_id)
        if not said["is_linked"]:
            if len(others) == len(before):
                message = f"the visitor {visitor_id[:64]!r} is not linked to the customer"
                return EngineError(Reason.LINK_NOT_FOUND, message, field="visitor_id", value=visitor_id)
            self._put(customer_id, others)
        elif len(others) == len(before):
            if len(before) >= LINKS_OF_CUSTOMER_MAX:
                message = f"{LINKS_OF_CUSTOMER_MAX} visitors are linked to the customer; unlink one"
                limit = str(LINKS_OF_CUSTOMER_MAX)
                return EngineError(Reason.OUT_OF_RANGE, message, field="customer_id", value=customer_id, limit=limit)
            if self._count >= LINKS_MAX:
                message = "there is no room for another link; unlink some"
                return EngineError(Reason.OVERLOADED, message, limit=str(LINKS_MAX))
            link = Link(visitor_id, said.get("why", ""), said.get("author", ""), now_ms, position)
            self._put(customer_id, (*before, link))
        return None

    def forget(self, visitor_keys: Iterable[tuple[int, int]], secret: NDArray[np.uint64]) -> None:
        """Forget the links of visitors, by the low and high words of their keys: they are erased."""
        forgotten = set(visitor_keys)
        for customer_id, links in list(self._of.items()) if forgotten else ():
            kept = tuple(link for link in links if visitor_key(link.visitor_id, secret) not in forgotten)
            if kept != links:
                self._put(customer_id, kept)

    def _put(self, customer_id: str, links: tuple[Link, ...]) -> None:
        self._count += len(links) - len(self.of(customer_id))
        if links:
            self._of[customer_id] = links
        else:
            self._of.pop(customer_id, None)

    def to_meta(self) -> dict[str, list[dict[str, Any]]]:
        """Return them as JSON can hold them."""
        return {customer_id: [asdict(link) for link in links] for customer_id, links in self._of.items()}

    @staticmethod
    def of_meta(meta: Mapping[str, Iterable[Mapping[str, Any]]]) -> Links:
        """Return what `to_meta` gave."""
        found = Links()
        for customer_id, links in meta.items():
            found._put(customer_id, tuple(Link(**link) for link in links))
        return found
