"""How events of equal time are ordered: by their ids as people read them, written down plainly.

An order is a tuple, so that it shares nothing with the kernel's word of bits but the hash that parts ids which read alike.
"""

from __future__ import annotations

import re
import uuid

from rte.v1.event_pb2 import Event
from rte_server.engine.native import siphash13_64, siphash24_128
from tests.engine.strategies import SECRET
from tests.engine.wire_requests import as_array

Order = tuple[int, ...]

NUMBER, UUID, ULID, ENDING, TEXT, WITHOUT_ID = range(6)
NUMBER_DIGITS_MAX = 15
ENDING_DIGITS = 10
BASE32 = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def order_of(event: Event, stated_ms: int, place: int) -> Order:
    """Return the order of an event among those of its visitor that have the same time.

    Args:
        event: The event.
        stated_ms: Its time as the sender stated it, or when it was received.
        place: How many events of its request were accepted before it.
    """
    event_id = event.event_id
    if not event_id:
        content = event.SerializeToString()
        return WITHOUT_ID, place, int(siphash13_64(as_array(content), 0, len(content), *SECRET[2:])) % 2**32
    if re.fullmatch(r"0|[1-9][0-9]*", event_id) and len(event_id) <= NUMBER_DIGITS_MAX:
        return NUMBER, int(event_id)
    timed = _uuid7(event_id, stated_ms) or _ulid(event_id, stated_ms)
    if timed:
        return timed
    hashed = _hash(event)
    ending = re.search(r"[0-9]+$", event_id)
    if ending:
        return ENDING, int(ending[0][-ENDING_DIGITS:]), hashed % 2**18
    return TEXT, *event_id.encode()[:4].ljust(4, b"\0"), hashed % 2**20


def _uuid7(text: str, stated_ms: int) -> tuple[int, ...] | None:
    """Return what orders a UUIDv7: its time beside the event's, then the 12 and 30 bits that may count."""
    if not re.fullmatch(r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-7[0-9a-fA-F]{3}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}", text):
        return None
    number = uuid.UUID(text).int
    return UUID, _beside(number >> 80, stated_ms, 512), number >> 64 & 0xFFF, number >> 32 & 0x3FFFFFFF


def _ulid(text: str, stated_ms: int) -> tuple[int, ...] | None:
    """Return what orders a ULID: its time beside the event's, then its lowest 38 bits."""
    digits = [BASE32.find(char) for char in text.upper()] if text.isascii() else [-1]
    if len(digits) != 26 or min(digits) < 0 or digits[0] > 7:
        return None
    number = sum(digit << 5 * place for place, digit in enumerate(reversed(digits)))
    return ULID, _beside(number >> 80, stated_ms, 8_192), number % 2**38


def _beside(id_ms: int, stated_ms: int, half: int) -> int:
    """Return an id's time as a difference from the event's, which goes round beyond `half` milliseconds."""
    return (id_ms - stated_ms + half) % (2 * half)


def _hash(event: Event) -> int:
    visitor = event.visitor_id.encode()
    low, high = (int(word) % 2**64 for word in siphash24_128(as_array(visitor), 0, len(visitor), *SECRET[:2]))
    keys = (SECRET[2] ^ type(SECRET[2])(low), SECRET[3] ^ type(SECRET[3])(high))
    encoded = event.event_id.encode()
    return int(siphash13_64(as_array(encoded), 0, len(encoded), *keys)) % 2**64
