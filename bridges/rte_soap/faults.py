"""The one table from statuses to faults, and `google.rpc.Status` as the detail of a fault.

Callers decide by the reason in the detail; programs that know nothing of RTE by the fault code.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message
from google.rpc import error_details_pb2

from rte_bridge.problems import Problem, Reason
from rte_soap.contract import new_message

CONTRACT_DOMAIN = "rte.v1"
BRIDGE_DOMAIN = "rte.soap"
_TYPE_PREFIX = "type.googleapis.com/"
_OWN_METADATA = ("field", "value", "limit")


@dataclass(frozen=True, slots=True)
class Rule:
    """How a status looks to a caller.

    Attributes:
        is_callers: Whether the request must change: Client in SOAP 1.1, Sender in 1.2; else Server, Receiver.
        http_11: HTTP status with SOAP 1.1. The Basic Profile asks for 500; other ones hide the fault from some clients.
        http_12: HTTP status with SOAP 1.2.
        retryable: Whether the same call may succeed later, where the server does not say.
        text: What the caller is told if the server gave no text of its own.
    """

    is_callers: bool
    http_11: int
    http_12: int
    retryable: bool
    text: str


_Code = grpc.StatusCode
CODES: Mapping[grpc.StatusCode, Rule] = {
    _Code.INVALID_ARGUMENT: Rule(True, 500, 400, False, "the request is invalid"),
    _Code.OUT_OF_RANGE: Rule(True, 500, 400, False, "the request is out of range"),
    _Code.FAILED_PRECONDITION: Rule(True, 500, 400, False, "the state does not allow the call"),
    _Code.NOT_FOUND: Rule(True, 500, 400, False, "there is no such thing"),
    _Code.ALREADY_EXISTS: Rule(True, 500, 400, False, "it exists already"),
    _Code.PERMISSION_DENIED: Rule(True, 500, 400, False, "the caller may not do this"),
    _Code.UNAUTHENTICATED: Rule(True, 401, 401, False, "the caller must say who it is"),
    _Code.UNIMPLEMENTED: Rule(True, 500, 400, False, "there is no such operation"),
    _Code.ABORTED: Rule(False, 500, 500, False, "the call met another one; read again, then decide"),
    _Code.RESOURCE_EXHAUSTED: Rule(False, 500, 500, False, "a limit is reached"),
    _Code.UNAVAILABLE: Rule(False, 500, 500, True, "the server does not answer"),
    _Code.DEADLINE_EXCEEDED: Rule(False, 500, 500, True, "the deadline of the call passed"),
    _Code.CANCELLED: Rule(False, 500, 500, True, "the call was cancelled"),
    _Code.INTERNAL: Rule(False, 500, 500, False, "the server failed"),
    _Code.DATA_LOSS: Rule(False, 500, 500, False, "the server failed"),
    _Code.UNKNOWN: Rule(False, 500, 500, False, "the server failed"),
}
"""Every code of gRPC but OK."""

REASONS: Mapping[Reason, tuple[grpc.StatusCode, str]] = {
    Reason.MALFORMED: (_Code.INVALID_ARGUMENT, CONTRACT_DOMAIN),
    Reason.UNKNOWN_FIELD: (_Code.INVALID_ARGUMENT, CONTRACT_DOMAIN),
    Reason.WRONG_TYPE: (_Code.INVALID_ARGUMENT, CONTRACT_DOMAIN),
    Reason.FIELD_MISSING: (_Code.INVALID_ARGUMENT, CONTRACT_DOMAIN),
    Reason.OUT_OF_RANGE: (_Code.INVALID_ARGUMENT, CONTRACT_DOMAIN),
    Reason.TOO_DEEP: (_Code.INVALID_ARGUMENT, CONTRACT_DOMAIN),
    Reason.EVENT_TOO_LARGE: (_Code.INVALID_ARGUMENT, CONTRACT_DOMAIN),
    Reason.UNSUPPORTED_ENCODING: (_Code.INVALID_ARGUMENT, CONTRACT_DOMAIN),
    Reason.REQUEST_TOO_LARGE: (_Code.RESOURCE_EXHAUSTED, CONTRACT_DOMAIN),
    Reason.OVERLOADED: (_Code.RESOURCE_EXHAUSTED, CONTRACT_DOMAIN),
    Reason.UNKNOWN_PATH: (_Code.NOT_FOUND, CONTRACT_DOMAIN),
    Reason.METHOD_NOT_ALLOWED: (_Code.UNIMPLEMENTED, CONTRACT_DOMAIN),
    Reason.SERVER_UNAVAILABLE: (_Code.UNAVAILABLE, CONTRACT_DOMAIN),
    Reason.DEADLINE_EXCEEDED: (_Code.DEADLINE_EXCEEDED, CONTRACT_DOMAIN),
    Reason.INTERNAL: (_Code.INTERNAL, CONTRACT_DOMAIN),
    Reason.UNKNOWN_OPERATION: (_Code.UNIMPLEMENTED, BRIDGE_DOMAIN),
    Reason.VERSION_MISMATCH: (_Code.INVALID_ARGUMENT, BRIDGE_DOMAIN),
    Reason.NOT_UNDERSTOOD: (_Code.INVALID_ARGUMENT, BRIDGE_DOMAIN),
    Reason.CREDENTIALS_REFUSED: (_Code.UNAUTHENTICATED, BRIDGE_DOMAIN),
}
"""The status code of what the bridge refuses itself, and whose reason it is."""

EXCEPTIONS: Mapping[str, Rule] = {
    Reason.UNSUPPORTED_ENCODING: Rule(True, 415, 415, False, ""),
    Reason.REQUEST_TOO_LARGE: Rule(True, 413, 413, False, "the request is too large"),
    Reason.METHOD_NOT_ALLOWED: Rule(True, 405, 405, False, ""),
    Reason.UNKNOWN_PATH: Rule(True, 404, 404, False, ""),
    Reason.VERSION_MISMATCH: Rule(True, 500, 500, False, ""),
    Reason.NOT_UNDERSTOOD: Rule(True, 500, 500, False, ""),
}
"""Reasons that look otherwise than their code."""

RETRY_DELAY_MS = 100
"""What a caller is asked to wait when the bridge itself is overloaded: about as long as a full queue takes."""


def rule_of(fault: Any) -> Rule:
    """Return how a fault looks."""
    return EXCEPTIONS.get(fault.reason) or CODES[_code(fault.code)]


def fault_of(status: Any, form: Descriptor) -> Any:
    """Return a `google.rpc.Status` as a ServiceFault.

    Args:
        status: Of any descriptor pool. Details that RTE does not send are dropped.
        form: The type of ServiceFault.
    """
    code = _code(status.code)
    fault = new_message(form)
    fault.code, fault.status, fault.message = status.code, code.name, status.message
    fault.retryable = CODES[code].retryable if code in CODES else False
    details = {detail.type_url.rpartition("/")[2]: detail.value for detail in status.details}
    info = error_details_pb2.ErrorInfo.FromString(details.get("google.rpc.ErrorInfo", b""))
    fault.reason, fault.domain = info.reason, info.domain
    for name, value in info.metadata.items():
        if name in _OWN_METADATA:
            setattr(fault, name, value)
        else:
            fault.metadata[name] = value
    if "google.rpc.RetryInfo" in details:
        retry = error_details_pb2.RetryInfo.FromString(details["google.rpc.RetryInfo"])
        fault.retry_delay.seconds, fault.retry_delay.nanos = retry.retry_delay.seconds, retry.retry_delay.nanos
        fault.retryable = True
    for violation in error_details_pb2.BadRequest.FromString(
        details.get("google.rpc.BadRequest", b"")
    ).field_violations:
        fault.field_violations.add(field=violation.field, description=violation.description, reason=violation.reason)
    return fault


def set_status(fault: Any, status: Any) -> None:
    """Set an empty `google.rpc.Status` from a ServiceFault: the opposite of `fault_of`."""
    status.code, status.message = fault.code, fault.message
    if fault.reason or fault.domain:
        info = error_details_pb2.ErrorInfo(reason=fault.reason, domain=fault.domain, metadata=dict(fault.metadata))
        info.metadata.update({name: getattr(fault, name) for name in _OWN_METADATA if getattr(fault, name)})
        _add_detail(status, info)
    if fault.field_violations:
        bad = error_details_pb2.BadRequest()
        for violation in fault.field_violations:
            bad.field_violations.add(field=violation.field, description=violation.description, reason=violation.reason)
        _add_detail(status, bad)
    if fault.HasField("retry_delay"):
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.seconds, retry.retry_delay.nanos = fault.retry_delay.seconds, fault.retry_delay.nanos
        _add_detail(status, retry)


def fault_of_problem(problem: Problem, form: Descriptor) -> Any:
    """Return what the bridge refuses itself as a ServiceFault."""
    code, domain = REASONS[problem.reason]
    fault = new_message(form)
    fault.code, fault.status, fault.message = code.value[0], code.name, problem.message
    fault.reason, fault.domain = problem.reason, domain
    fault.field, fault.value, fault.limit = problem.field, problem.value, problem.limit
    fault.retryable = CODES[code].retryable
    if problem.reason is Reason.OVERLOADED:
        fault.retryable = True
        fault.retry_delay.nanos = RETRY_DELAY_MS * 1_000_000
    if problem.field and code is _Code.INVALID_ARGUMENT:
        fault.field_violations.add(field=problem.field, description=problem.message, reason=problem.reason)
    return fault


_WITHOUT_DETAILS = {
    _Code.UNAVAILABLE: Reason.SERVER_UNAVAILABLE,
    _Code.DEADLINE_EXCEEDED: Reason.DEADLINE_EXCEEDED,
    _Code.RESOURCE_EXHAUSTED: Reason.REQUEST_TOO_LARGE,
}
"""What gRPC itself reports: nobody answers, the time is over, a message is larger than the server takes."""


def fault_of_call(code: grpc.StatusCode, status: Any | None, form: Descriptor) -> Any:
    """Return the failure of a call over gRPC as a ServiceFault.

    Args:
        code: Of the call, not OK.
        status: The `google.rpc.Status` in its trailers. None: the failure is that of gRPC, whose text may tell
            addresses and is not shown.
        form: The type of ServiceFault.
    """
    if status is not None and status.code == code.value[0]:
        return fault_of(status, form)
    fault = new_message(form)
    reason = _WITHOUT_DETAILS.get(code, Reason.INTERNAL if CODES[code].text == CODES[_Code.INTERNAL].text else None)
    rule = EXCEPTIONS.get(reason, CODES[code]) if reason else CODES[code]
    fault.code, fault.status, fault.message = code.value[0], code.name, rule.text
    fault.retryable = rule.retryable
    if reason is not None:
        fault.reason, fault.domain = reason, CONTRACT_DOMAIN
    return fault


def retry_after_s(fault: Any) -> int:
    """Return how long HTTP asks to wait, whole seconds; 0 where nothing is known."""
    delay = fault.retry_delay
    wait_s: float = delay.seconds + delay.nanos / 1e9
    return math.ceil(wait_s)


def _code(number: int) -> grpc.StatusCode:
    return _BY_NUMBER.get(number, _Code.UNKNOWN)


_BY_NUMBER = {code.value[0]: code for code in grpc.StatusCode}


def _add_detail(status: Any, detail: Message) -> None:
    status.details.add(
        type_url=_TYPE_PREFIX + detail.DESCRIPTOR.full_name, value=detail.SerializeToString(deterministic=True)
    )
