"""Why something was refused, and the one exception that says so."""

from __future__ import annotations

from enum import IntEnum

VALUE_CHARS_MAX = 64


class Reason(IntEnum):
    """Why a request or an event was refused. Members and numbers equal those of `rte.v1.ErrorReason`."""

    UNSPECIFIED = 0
    MALFORMED = 1
    UNKNOWN_FIELD = 2
    WRONG_TYPE = 3
    FIELD_MISSING = 4
    OUT_OF_RANGE = 5
    STRING_TOO_LONG = 6
    EVENT_TOO_LARGE = 7
    BATCH_TOO_LARGE = 8
    TOO_MANY_PROPERTIES = 9
    TOO_DEEP = 10
    EVENT_TIME_OUT_OF_RANGE = 11
    DUPLICATE_EVENT = 12
    EVENT_TOO_LATE = 13
    SESSION_NOT_FOUND = 20
    MODEL_NOT_FOUND = 21
    ETAG_MISMATCH = 22
    TOO_MANY_WRITTEN_ATTRIBUTES = 23
    ATTRIBUTE_NOT_WRITABLE = 24
    ATTRIBUTE_NOT_FOUND = 25
    INVALID_MODEL = 26
    CONFIGURATION_NOT_FOUND = 27
    WEIGHTS_NOT_FOUND = 29
    INVALID_EXPRESSION = 30
    INVALID_PAGE_TOKEN = 31
    INVALID_POSITION = 32
    INVALID_RESUME_TOKEN = 33
    CUSTOMER_NOT_FOUND = 34
    CUSTOMER_NOT_WRITABLE = 35
    LINK_NOT_FOUND = 36
    OVERLOADED = 40
    TOO_MANY_CALLS = 41
    DEADLINE_EXCEEDED = 42
    SHUTTING_DOWN = 43
    JOURNAL_UNAVAILABLE = 44
    MART_UNAVAILABLE = 45
    INTERNAL = 50
    UNKNOWN_PATH = 60
    METHOD_NOT_ALLOWED = 61
    REQUEST_TOO_LARGE = 62
    UNSUPPORTED_ENCODING = 63
    SERVER_UNAVAILABLE = 64


class EngineError(Exception):
    """A refusal that a caller can act on.

    Attributes:
        reason: The reason code.
        message: One sentence: what is wrong and what to do.
        field: The field that caused it, or empty.
        value: The offending value as text, cut to 64 characters, or empty.
        limit: The limit that was passed, as text, or empty.
    """

    def __init__(self, reason: Reason, message: str, *, field: str = "", value: str = "", limit: str = "") -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.field = field
        self.value = value if len(value) <= VALUE_CHARS_MAX else value[:VALUE_CHARS_MAX] + "..."
        self.limit = limit

    @property
    def metadata(self) -> dict[str, str]:
        """Return what stands in `google.rpc.ErrorInfo.metadata`: those of field, value and limit that apply."""
        pairs = {"field": self.field, "value": self.value, "limit": self.limit}
        return {key: text for key, text in pairs.items() if text}
