"""Failures of calls, as exceptions by reason.

What a program catches is the class of the reason (`SessionNotFound`), or one of its parents: the classes by status code
(`NotFound`, `InvalidArgument`, ...), `RteError` for all. A server that is newer than this package may know reasons that have
no class here; then the class of the status code is raised, with the reason's name.
"""

from __future__ import annotations

from collections.abc import Mapping

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

DOMAIN = "rte.v1"
DETAILS_KEY = "grpc-status-details-bin"


class RteError(Exception):
    """A call failed, or an event was refused.

    Attributes:
        code: The status code.
        reason: Name of the reason without its prefix, such as `SESSION_NOT_FOUND`; empty if nothing of RTE answered, or a
            proxy without a reason.
        message: What is wrong, in a sentence, with the value and the limit.
        field: The field that caused it; empty where no one field did.
        metadata: What else the reason says: `field`, `value`, `limit`.
        retry_after_s: How long to wait before the same call has a chance, seconds; None: not by waiting.
    """

    def __init__(
        self,
        code: grpc.StatusCode,
        message: str,
        *,
        reason: str = "",
        metadata: Mapping[str, str] | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message
        self.reason = reason
        self.metadata = dict(metadata or {})
        self.field = self.metadata.get("field", "")
        self.retry_after_s = retry_after_s

    def __str__(self) -> str:
        return f"{self.message} ({self.reason or self.code.name})"


class InvalidArgument(RteError):
    """The request is wrong; the same one will never succeed."""


class NotFound(RteError):
    """What was asked for does not exist."""


class Aborted(RteError):
    """Somebody else changed it meanwhile; read it again, then decide."""


class FailedPrecondition(RteError):
    """What it refers to is in no state for it."""


class Exhausted(RteError):
    """A limit of the server is reached; nothing was taken."""


class Unavailable(RteError):
    """The server does not answer, or cannot work now; the same call may succeed later."""


class DeadlineExceeded(RteError):
    """The call took too long. A write may have been taken all the same: its ids make another attempt count once."""


class Unimplemented(RteError):
    """The server does not know the call, or is not set up for it."""


class Internal(RteError):
    """A fault of the server; its log tells more."""


class Malformed(InvalidArgument):
    """The bytes are no valid message, or a string is no valid UTF-8."""


class UnknownField(InvalidArgument):
    """The contract does not know the field."""


class WrongType(InvalidArgument):
    """A value has another type than the contract says."""


class FieldMissing(InvalidArgument):
    """A required field is absent or empty."""


class OutOfRange(InvalidArgument):
    """A value lies outside of its range."""


class StringTooLong(InvalidArgument):
    """A string is longer than its limit in bytes."""


class EventTooLarge(InvalidArgument):
    """An event is larger than the server takes."""


class BatchTooLarge(InvalidArgument):
    """A request holds more events than the server takes; send smaller batches."""


class TooManyProperties(InvalidArgument):
    """An event has more properties than the server takes."""


class TooDeep(InvalidArgument):
    """The properties of an event are nested deeper than the server takes."""


class EventTimeOutOfRange(InvalidArgument):
    """The time of an event lies before 1990 or too far in the future."""


class DuplicateEvent(RteError):
    """The event was seen before; it counts once. Stands only in verdicts."""


class EventTooLate(FailedPrecondition):
    """The event is too late for any session. Stands only in verdicts."""


class SessionNotFound(NotFound):
    """No session has the id."""


class ModelNotFound(NotFound):
    """No model has the name."""


class AttributeNotFound(NotFound):
    """No running model has an attribute of the name, and no application has written one."""


class ConfigurationNotFound(NotFound):
    """No configuration that can be gone back to has the position."""


class WeightsNotFound(NotFound):
    """No score that learns has the name, or it keeps no such version of its weights."""


class CustomerNotFound(NotFound):
    """The data mart answers that there is no such customer, and no session names it."""


class LinkNotFound(NotFound):
    """The visitor is not linked to the customer."""


class CustomerNotWritable(FailedPrecondition):
    """RTE has no tables of its own in the data mart."""


class EtagMismatch(Aborted):
    """The session or customer changed since the `etag` was read."""


class TooManyWrittenAttributes(FailedPrecondition):
    """More attributes were written than a session, or all of them, may have."""


class AttributeNotWritable(InvalidArgument):
    """The name belongs to an attribute that a model computes."""


class InvalidModel(InvalidArgument):
    """Models cannot be used; the message says the first problem."""


class InvalidExpression(InvalidArgument):
    """A filter, an order or a read mask cannot be understood."""


class InvalidPageToken(InvalidArgument):
    """A page token is damaged, or belongs to another request."""


class InvalidPosition(InvalidArgument):
    """A position is damaged, or lies in the future of the journal."""


class InvalidResumeToken(InvalidArgument):
    """A resume token is damaged, or belongs to another watch."""


class Overloaded(Exhausted):
    """A queue of the server is full; nothing was taken."""


class TooManyCalls(Exhausted):
    """More calls are open than the server allows."""


class RequestTooLarge(Exhausted):
    """The request is larger than the server takes."""


class ShuttingDown(Unavailable):
    """The server is stopping."""


class JournalUnavailable(Unavailable):
    """The journal cannot be written; nothing was taken."""


class MartUnavailable(Unavailable):
    """The customer data mart does not answer; the message says whether anything was written."""


class ServerUnavailable(Unavailable):
    """What stands behind the public port does not answer."""


class UnknownPath(NotFound):
    """The public port knows no such path."""


class MethodNotAllowed(Unimplemented):
    """The path does not take the method."""


class UnsupportedEncoding(InvalidArgument):
    """The body has an encoding that is not taken."""


BY_REASON: Mapping[str, type[RteError]] = {
    "MALFORMED": Malformed,
    "UNKNOWN_FIELD": UnknownField,
    "WRONG_TYPE": WrongType,
    "FIELD_MISSING": FieldMissing,
    "OUT_OF_RANGE": OutOfRange,
    "STRING_TOO_LONG": StringTooLong,
    "EVENT_TOO_LARGE": EventTooLarge,
    "BATCH_TOO_LARGE": BatchTooLarge,
    "TOO_MANY_PROPERTIES": TooManyProperties,
    "TOO_DEEP": TooDeep,
    "EVENT_TIME_OUT_OF_RANGE": EventTimeOutOfRange,
    "DUPLICATE_EVENT": DuplicateEvent,
    "EVENT_TOO_LATE": EventTooLate,
    "SESSION_NOT_FOUND": SessionNotFound,
    "MODEL_NOT_FOUND": ModelNotFound,
    "ATTRIBUTE_NOT_FOUND": AttributeNotFound,
    "CONFIGURATION_NOT_FOUND": ConfigurationNotFound,
    "WEIGHTS_NOT_FOUND": WeightsNotFound,
    "CUSTOMER_NOT_FOUND": CustomerNotFound,
    "LINK_NOT_FOUND": LinkNotFound,
    "CUSTOMER_NOT_WRITABLE": CustomerNotWritable,
    "ETAG_MISMATCH": EtagMismatch,
    "TOO_MANY_WRITTEN_ATTRIBUTES": TooManyWrittenAttributes,
    "ATTRIBUTE_NOT_WRITABLE": AttributeNotWritable,
    "INVALID_MODEL": InvalidModel,
    "INVALID_EXPRESSION": InvalidExpression,
    "INVALID_PAGE_TOKEN": InvalidPageToken,
    "INVALID_POSITION": InvalidPosition,
    "INVALID_RESUME_TOKEN": InvalidResumeToken,
    "OVERLOADED": Overloaded,
    "TOO_MANY_CALLS": TooManyCalls,
    "REQUEST_TOO_LARGE": RequestTooLarge,
    "DEADLINE_EXCEEDED": DeadlineExceeded,
    "SHUTTING_DOWN": ShuttingDown,
    "JOURNAL_UNAVAILABLE": JournalUnavailable,
    "MART_UNAVAILABLE": MartUnavailable,
    "SERVER_UNAVAILABLE": ServerUnavailable,
    "INTERNAL": Internal,
    "UNKNOWN_PATH": UnknownPath,
    "METHOD_NOT_ALLOWED": MethodNotAllowed,
    "UNSUPPORTED_ENCODING": UnsupportedEncoding,
}
"""The class of each reason of `rte.v1.ErrorReason`."""

_BY_CODE: Mapping[grpc.StatusCode, type[RteError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidArgument,
    grpc.StatusCode.NOT_FOUND: NotFound,
    grpc.StatusCode.ABORTED: Aborted,
    grpc.StatusCode.FAILED_PRECONDITION: FailedPrecondition,
    grpc.StatusCode.RESOURCE_EXHAUSTED: Exhausted,
    grpc.StatusCode.UNAVAILABLE: Unavailable,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
    grpc.StatusCode.UNIMPLEMENTED: Unimplemented,
    grpc.StatusCode.INTERNAL: Internal,
}
_CODES = {code.value[0]: code for code in grpc.StatusCode}


def error_of_call(failure: grpc.RpcError) -> RteError:
    """Return the exception for a call of a stub that failed.

    Args:
        failure: As the stub raised it, of `grpc` or of `grpc.aio`.
    """
    if not isinstance(failure, grpc.Call | grpc.aio.AioRpcError):
        return RteError(grpc.StatusCode.UNKNOWN, str(failure) or type(failure).__name__)
    code = failure.code()
    status = status_pb2.Status(code=code.value[0], message=failure.details() or code.value[1])
    for key, value in failure.trailing_metadata() or ():
        if key == DETAILS_KEY and isinstance(value, bytes):
            try:
                sent = status_pb2.Status.FromString(value)
            except DecodeError:
                continue
            # A proxy may change the code and leave the details of another error; then they say nothing of this one.
            status = sent if sent.code == status.code else status
    return error_of_status(status)


def error_of_status(status: status_pb2.Status) -> RteError:
    """Return the exception for a `google.rpc.Status`, such as that of a batch or of an id among several."""
    code = _CODES.get(status.code, grpc.StatusCode.UNKNOWN)
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    reason, metadata, retry_after_s = "", {}, None
    for detail in status.details:
        if detail.Unpack(info) and info.domain == DOMAIN:
            reason, metadata = info.reason, dict(info.metadata)
        elif detail.Unpack(retry):
            retry_after_s = retry.retry_delay.ToMilliseconds() / 1000
    kind = BY_REASON.get(reason) or _BY_CODE.get(code, RteError)
    return kind(code, status.message, reason=reason, metadata=metadata, retry_after_s=retry_after_s)
