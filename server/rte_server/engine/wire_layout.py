"""The layout of what a scan writes and of the limits that it reads: columns, words, codes of fields."""

from __future__ import annotations

import numpy as np

# Columns of a record. Absent strings have length 0; offsets count from the begin of the buffer.
VERDICT = 0  # 0 = accepted, else the Reason.
FIELD = 1  # The offending field: an index into FIELD_NAMES.
DETAIL_OFF = 2  # The offending text: a value, or the key of a property. Accepted events: where the event's tag begins.
DETAIL_LEN = 3
EVENT_OFF = 4  # The body of the Event message.
EVENT_LEN = 5
TIME_MS = 6  # Event time, corrected for skew; the received time if the event has none.
KEY_LO = 7  # SipHash-2-4-128 of visitor_id.
KEY_HI = 8
EVENT_ID_HASH = 9  # Keyed, of event_id and the visitor's key; 0 = no id.
ORDER = 10  # Orders events of one visitor with equal times; >= 0. See event_order.
NAME_ID = 11
NAME_OFF = 12
NAME_LEN = 13
VISITOR_OFF = 14
VISITOR_LEN = 15
CUSTOMER_OFF = 16
CUSTOMER_LEN = 17
ALIAS_OFF = 18
ALIAS_LEN = 19
CHANNEL_OFF = 20
CHANNEL_LEN = 21
PROPERTIES_OFF = 22
PROPERTIES_LEN = 23
RECORD_WORDS = 24
# In the record of a refused event these columns hold something else.
CUT_OFF = KEY_LO  # Where the event's tag begins: the event is cut out from there.
OFFENDING = KEY_HI  # The number that passed the limit.

# Words of an envelope.
REASON = 0  # 0 = fine, else why the whole request is refused.
ERROR_FIELD = 1
EVENT_COUNT = 2
REJECTED_COUNT = 3
REQUEST_ID_OFF = 4
REQUEST_ID_LEN = 5
REQUEST_ID_HASH = 6  # 0 = no request_id.
SENT_MS = 7  # 0 = absent.
WAIT = 8
RETURN_SESSIONS = 9
VALUE = 10  # The offending number, and its limit.
LIMIT = 11
ERROR_OFF = 12  # The JSON member that caused it, in the bytes that came in; see json_form.
ERROR_LEN = 13
ENVELOPE_WORDS = 14

# Words of the limits; see wire.Limits.
BATCH_EVENTS_MAX = 0
EVENT_BYTES_MAX = 1
PROPERTIES_MAX = 2
DEPTH_MAX = 3
STRING_BYTES_MAX = 4
FUTURE_MS_MAX = 5
TIME_MS_MIN = 6
SKEW_MS_MIN = 7
EVENTS_REQUIRED = 8
LIMIT_WORDS = 9

# What follows is passed from kernel to kernel. As int64 instead of int, since numba compiles a kernel anew for each
# constant int that it is called with.
NONE = np.int64(0)

# Fields that can offend. 1 to 8 are the field numbers of Event.
EVENT_ID = np.int64(1)
NAME = np.int64(2)
EVENT_TIME = np.int64(3)
VISITOR_ID = np.int64(4)
CUSTOMER_ID = np.int64(5)
CLIENT_SESSION_ID = np.int64(6)
CHANNEL = np.int64(7)
PROPERTIES = np.int64(8)
REQUEST_ID = np.int64(9)
EVENTS = np.int64(10)
SENT_TIME = np.int64(11)
WAIT_FIELD = np.int64(12)
RETURN_SESSIONS_FIELD = np.int64(13)
MEMBER = np.int64(14)  # A JSON member, whose name is the detail.

WAIT_APPLIED = np.int64(2)  # The largest value of `Wait`.
ID_BYTES_MAX = np.int64(128)
NAME_BYTES_MAX = np.int64(64)
SECONDS_MIN = -62135596800  # 0001-01-01 and 9999-12-31T23:59:59, the range of a Timestamp.
SECONDS_MAX = 253402300799

# The numbers of engine.reasons.Reason as plain constants for the kernels; a test compares them.
MALFORMED = np.int64(1)
UNKNOWN_FIELD = np.int64(2)
WRONG_TYPE = np.int64(3)
FIELD_MISSING = np.int64(4)
OUT_OF_RANGE = np.int64(5)
STRING_TOO_LONG = np.int64(6)
EVENT_TOO_LARGE = np.int64(7)
BATCH_TOO_LARGE = np.int64(8)
TOO_MANY_PROPERTIES = np.int64(9)
TOO_DEEP = np.int64(10)
EVENT_TIME_OUT_OF_RANGE = np.int64(11)

FIELD_NAMES = (
    "",
    "event_id",
    "name",
    "event_time",
    "visitor_id",
    "customer_id",
    "client_session_id",
    "channel",
    "properties",
    "request_id",
    "events",
    "sent_time",
    "wait",
    "return_sessions",
    "",
)
"""Names of the fields that can offend, by their codes."""

STACK = 32
FRAME_WORDS = 3
NESTING_MAX = np.int64(100)
"""How many messages and groups may be nested in one another in a request, the outermost not counted."""
SCRATCH_WORDS = STACK + FRAME_WORDS * (int(NESTING_MAX) + 1)
"""Scratch words of a scan: two per field of Event (offset, length), then the stack of the walk over properties."""
