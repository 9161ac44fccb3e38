"""What a bridge itself refuses, and why."""

from __future__ import annotations

from enum import StrEnum

SHOWN_CHARACTERS_MAX = 64
"""Longer values are cut, as in the contract."""


class Reason(StrEnum):
    """Why a request, or one event of it, goes no further than the bridge.

    The first ones have the meaning that `rte.v1.ErrorReason` gives them; each bridge says how one looks to its callers.
    """

    MALFORMED = "MALFORMED"
    UNKNOWN_FIELD = "UNKNOWN_FIELD"
    WRONG_TYPE = "WRONG_TYPE"
    FIELD_MISSING = "FIELD_MISSING"
    OUT_OF_RANGE = "OUT_OF_RANGE"
    EVENT_TOO_LARGE = "EVENT_TOO_LARGE"
    TOO_DEEP = "TOO_DEEP"
    UNSUPPORTED_ENCODING = "UNSUPPORTED_ENCODING"
    REQUEST_TOO_LARGE = "REQUEST_TOO_LARGE"
    OVERLOADED = "OVERLOADED"
    UNKNOWN_PATH = "UNKNOWN_PATH"
    METHOD_NOT_ALLOWED = "METHOD_NOT_ALLOWED"
    SERVER_UNAVAILABLE = "SERVER_UNAVAILABLE"
    DEADLINE_EXCEEDED = "DEADLINE_EXCEEDED"
    INTERNAL = "INTERNAL"

    UNKNOWN_OPERATION = "UNKNOWN_OPERATION"
    """The body holds no operation of the contract."""
    VERSION_MISMATCH = "VERSION_MISMATCH"
    """The envelope is neither of SOAP 1.1 nor of 1.2."""
    NOT_UNDERSTOOD = "NOT_UNDERSTOOD"
    """A header block that must be understood is not."""
    CREDENTIALS_REFUSED = "CREDENTIALS_REFUSED"
    """The WS-Security header cannot be used; the message says why."""


class Problem(Exception):
    """A bridge refuses a request, or one event of it.

    Attributes:
        reason: Why.
        message: One sentence that a caller can act on. It never holds more of the request than `value`.
        field: The path of the field in the names of the contract; empty where it is none.
        value: What was given, at most 64 characters; empty where that says nothing.
        limit: What would be allowed; empty where there is no limit.
    """

    def __init__(self, reason: Reason, message: str, *, field: str = "", value: str = "", limit: str = "") -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.field = field
        self.value = shown(value)
        self.limit = limit

    def inside(self, name: str) -> None:
        """Note that the field lies inside of `name`, for example `events[3]`."""
        joint = "" if self.field.startswith("[") or not self.field else "."
        self.field = f"{name}{joint}{self.field}"


def shown(value: str) -> str:
    """Return a value as errors show it."""
    return value if len(value) <= SHOWN_CHARACTERS_MAX else value[: SHOWN_CHARACTERS_MAX - 3] + "..."
