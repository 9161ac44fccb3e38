"""The one table from reasons to the wire, and how a refusal becomes a `google.rpc.Status`.

Callers decide by the reason (`google.rpc.ErrorInfo.reason`), programs that know nothing of RTE by the status code.
Nothing else of the server may choose a status code.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from rte_server.engine.reasons import EngineError, Reason
from rte_server.models.problems import Problem

DOMAIN = "rte.v1"
VIOLATIONS_BYTES_MAX = 3_000
"""Bytes of the problems of models that a refusal lists: clients of gRPC take headers of 8 KiB. VALIDATE lists all."""

MESSAGE_CHARS_MAX = 500
"""Characters of the first problem in the message of such a refusal."""

DETAILS_METADATA_KEY = "grpc-status-details-bin"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Rule:
    """How a reason looks on the wire.

    Attributes:
        code: The status code of a call that is refused for this reason.
        retry_after_ms: What `google.rpc.RetryInfo` asks callers to wait before the same call has a chance, > 0, in
            milliseconds. None: the same call will not succeed later, or not here.
    """

    code: grpc.StatusCode
    retry_after_ms: int | None = None


_INVALID = Rule(grpc.StatusCode.INVALID_ARGUMENT)

# How long a queue of the pipeline takes to drain at the slowest disk that was tried is some 100 ms; a disk that is
# full, or the place of a caller who watches, takes longer to become free.
RULES: Mapping[Reason, Rule] = MappingProxyType(
    {
        Reason.UNSPECIFIED: Rule(grpc.StatusCode.UNKNOWN),
        Reason.MALFORMED: _INVALID,
        Reason.UNKNOWN_FIELD: _INVALID,
        Reason.WRONG_TYPE: _INVALID,
        Reason.FIELD_MISSING: _INVALID,
        Reason.OUT_OF_RANGE: _INVALID,
        Reason.STRING_TOO_LONG: _INVALID,
        Reason.EVENT_TOO_LARGE: _INVALID,
        Reason.BATCH_TOO_LARGE: _INVALID,
        Reason.TOO_MANY_PROPERTIES: _INVALID,
        Reason.TOO_DEEP: _INVALID,
        Reason.EVENT_TIME_OUT_OF_RANGE: _INVALID,
        Reason.DUPLICATE_EVENT: Rule(grpc.StatusCode.ALREADY_EXISTS),
        Reason.EVENT_TOO_LATE: Rule(grpc.StatusCode.FAILED_PRECONDITION),
        Reason.SESSION_NOT_FOUND: Rule(grpc.StatusCode.NOT_FOUND),
        Reason.MODEL_NOT_FOUND: Rule(grpc.StatusCode.NOT_FOUND),
        Reason.ETAG_MISMATCH: Rule(grpc.StatusCode.ABORTED),
        Reason.TOO_MANY_WRITTEN_ATTRIBUTES: Rule(grpc.StatusCode.FAILED_PRECONDITION),
        Reason.ATTRIBUTE_NOT_WRITABLE: _INVALID,
        Reason.ATTRIBUTE_NOT_FOUND: Rule(grpc.StatusCode.NOT_FOUND),
        Reason.INVALID_MODEL: _INVALID,
        Reason.CONFIGURATION_NOT_FOUND: Rule(grpc.StatusCode.NOT_FOUND),
        Reason.WEIGHTS_NOT_FOUND: Rule(grpc.StatusCode.NOT_FOUND),
        Reason.INVALID_EXPRESSION: _INVALID,
        Reason.INVALID_PAGE_TOKEN: _INVALID,
        Reason.INVALID_POSITION: _INVALID,
        Reason.INVALID_RESUME_TOKEN: _INVALID,
        Reason.CUSTOMER_NOT_FOUND: Rule(grpc.StatusCode.NOT_FOUND),
        Reason.CUSTOMER_NOT_WRITABLE: Rule(grpc.StatusCode.FAILED_PRECONDITION),
        Reason.LINK_NOT_FOUND: Rule(grpc.StatusCode.NOT_FOUND),
        Reason.OVERLOADED: Rule(grpc.StatusCode.RESOURCE_EXHAUSTED, retry_after_ms=100),
        Reason.TOO_MANY_CALLS: Rule(grpc.StatusCode.RESOURCE_EXHAUSTED, retry_after_ms=1_000),
        Reason.DEADLINE_EXCEEDED: Rule(grpc.StatusCode.DEADLINE_EXCEEDED),
        Reason.SHUTTING_DOWN: Rule(grpc.StatusCode.UNAVAILABLE),
        Reason.JOURNAL_UNAVAILABLE: Rule(grpc.StatusCode.UNAVAILABLE, retry_after_ms=5_000),
        Reason.MART_UNAVAILABLE: Rule(grpc.StatusCode.UNAVAILABLE, retry_after_ms=5_000),
        Reason.INTERNAL: Rule(grpc.StatusCode.INTERNAL),
        # Envoy answers with these itself, see envoy/envoy.yaml.
        Reason.UNKNOWN_PATH: Rule(grpc.StatusCode.NOT_FOUND),
        Reason.METHOD_NOT_ALLOWED: Rule(grpc.StatusCode.UNIMPLEMENTED),
        Reason.REQUEST_TOO_LARGE: Rule(grpc.StatusCode.RESOURCE_EXHAUSTED),
        Reason.UNSUPPORTED_ENCODING: _INVALID,
        Reason.SERVER_UNAVAILABLE: Rule(grpc.StatusCode.UNAVAILABLE),
    }
)


class ModelsRefused(EngineError):
    """Models cannot be used.

    Attributes:
        problems: What is wrong, at least one.
    """

    def __init__(self, problems: Sequence[Problem]) -> None:
        first, more = problems[0], len(problems) - 1
        others = f" (and {more} more)" if more else ""
        super().__init__(
            Reason.INVALID_MODEL, f"{str(first)[:MESSAGE_CHARS_MAX]}{others}", field="models", value=first.file
        )
        self.problems = tuple(problems)


def status_of(error: EngineError) -> status_pb2.Status:
    """Return the status of a refusal, with its details.

    `ErrorInfo` is always there, `BadRequest` where an argument is wrong and the field is known, `RetryInfo` where the
    same call may succeed later.
    """
    rule = RULES[error.reason]
    details: list[Message] = [
        error_details_pb2.ErrorInfo(reason=error.reason.name, domain=DOMAIN, metadata=error.metadata)
    ]
    if isinstance(error, ModelsRefused):
        details.append(_bad_models(error))
    elif error.field and rule.code is grpc.StatusCode.INVALID_ARGUMENT:
        details.append(
            error_details_pb2.BadRequest(
                field_violations=[
                    error_details_pb2.BadRequest.FieldViolation(
                        field=error.field, description=error.message, reason=error.reason.name
                    )
                ]
            )
        )
    if rule.retry_after_ms is not None:
        delay = duration_pb2.Duration()
        delay.FromMilliseconds(rule.retry_after_ms)
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))
    status = status_pb2.Status(code=rule.code.value[0], message=error.message)
    for detail in details:
        packed = any_pb2.Any()
        packed.Pack(detail)
        status.details.append(packed)
    return status


def _bad_models(error: ModelsRefused) -> error_details_pb2.BadRequest:
    """Return the problems of models, as many as travel in the headers of an answer."""
    found = error_details_pb2.BadRequest()
    for problem in error.problems:
        violation = error_details_pb2.BadRequest.FieldViolation(
            field=f"{problem.file}:{problem.line}" if problem.line else problem.file,
            description=problem.message + (f"; {problem.remedy}" if problem.remedy else ""),
            reason=error.reason.name,
        )
        if found.ByteSize() + violation.ByteSize() > VIOLATIONS_BYTES_MAX:
            break
        found.field_violations.append(violation)
    return found


def refusal_of(failure: BaseException) -> EngineError:
    """Return what a caller is told of `failure`.

    A refusal is itself. Anything else is a fault of the server: the caller gets an incident id and no text, the text
    and the trace go to the log under the same id.
    """
    if isinstance(failure, EngineError):
        return failure
    incident = secrets.token_hex(8)
    _log.error("incident %s", incident, exc_info=failure)
    return EngineError(
        Reason.INTERNAL,
        f"the server failed; its log tells more under the incident id {incident}",
        field="incident",
        value=incident,
    )


def trailing_metadata(status: status_pb2.Status) -> tuple[tuple[str, bytes], ...]:
    """Return the metadata by which gRPC carries a status with details."""
    return ((DETAILS_METADATA_KEY, status.SerializeToString()),)


def reason_of(status: status_pb2.Status) -> Reason:
    """Return the reason that a status carries, UNSPECIFIED if it carries none that is known."""
    for packed in status.details:
        found = error_details_pb2.ErrorInfo()
        if packed.Unpack(found) and found.domain == DOMAIN:
            return Reason.__members__.get(found.reason, Reason.UNSPECIFIED)
    return Reason.UNSPECIFIED
