"""Session ids and etags as text."""

from __future__ import annotations


def session_id_text(low: int, high: int) -> str:
    """Return a session id as it is written: 32 hexadecimal digits."""
    return f"{high & (2**64 - 1):016x}{low & (2**64 - 1):016x}"


def parse_session_id(text: str) -> tuple[int, int]:
    """Return the low and high word of a session id.

    Raises:
        ValueError: It has not 32 hexadecimal digits.
    """
    if len(text) != 32 or not text.isalnum():
        raise ValueError(f"{text!r} is no session id")
    high, low = int(text[:16], 16), int(text[16:], 16)
    return low - ((low >> 63) << 64), high - ((high >> 63) << 64)


def etag_text(version: int, session_lo: int) -> str:
    """Return the etag of a row's version; two sessions that become one never had the same."""
    return f"{(version ^ session_lo) & (1 << 64) - 1:016x}"
