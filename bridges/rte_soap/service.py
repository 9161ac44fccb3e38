"""One call: the bytes of a request -> a gRPC call -> the bytes of an answer or a fault."""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import grpc
import grpc.aio
from google.protobuf.message_factory import GetMessageClass
from google.rpc import status_pb2

from rte_bridge.bodies import decompressed
from rte_bridge.problems import Problem, Reason
from rte_soap import documents
from rte_soap.contract import SERVICE_FAULT, Contract, Operation, new_message
from rte_soap.documents import Limits
from rte_soap.envelope import Envelope, Version, answer_envelope, fault_envelope, open_envelope, operation_of
from rte_soap.faults import fault_of_call, fault_of_problem, retry_after_s, rule_of
from rte_soap.reader import Reader
from rte_soap.schema import Schema
from rte_soap.security import Caller, NotUnderstood, caller_of
from rte_soap.writer import Writer
from rte_soap.wsdl import soap_action

LARGE_BYTES = 64 * 1024
"""A message from this size on is translated in a thread: it takes more than some 5 ms."""

CHALLENGE = 'Basic realm="rte", Bearer'

_DETAILS_KEY = "grpc-status-details-bin"
_MEDIA_TYPE = re.compile(r"\s*([\w.+-]+/[\w.+-]+)\s*((?:;.*)?)\Z", re.DOTALL)
_PARAMETER = re.compile(r';\s*([\w-]+)\s*=\s*("[^"]*"|[^;"\s]*)\s*')

_log = logging.getLogger("rte_soap")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer over HTTP.

    Attributes:
        status: Of HTTP.
        headers: Names in lower case, and values.
        body: Its bytes.
    """

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


class SoapService:
    """Translates calls. Belongs to the event loop in which it is made."""

    def __init__(
        self, contract: Contract, channel: grpc.aio.Channel, limits: Limits, *, plaintext_passwords: bool
    ) -> None:
        """Make a service.

        Args:
            contract: What can be called.
            channel: To the server.
            limits: What requests may have.
            plaintext_passwords: Whether a UsernameToken may come over a connection without TLS.
        """
        self.schema = Schema(contract)
        self._limits = limits
        self._plaintext_passwords = plaintext_passwords
        self._reader, self._writer = Reader(self.schema), Writer(self.schema)
        self._fault_form = contract.message(SERVICE_FAULT)
        self._translator = ThreadPoolExecutor(1, thread_name_prefix="soap-translator")
        self._calls: dict[str, Callable[..., grpc.aio.UnaryUnaryCall[Any, Any]]] = {
            name: channel.unary_unary(
                operation.path,
                request_serializer=lambda message: message.SerializeToString(),
                response_deserializer=GetMessageClass(operation.response).FromString,
            )
            for name, operation in contract.operations.items()
        }

    def close(self) -> None:
        """End the thread."""
        self._translator.shutdown(wait=False, cancel_futures=True)

    async def reply(self, body: bytes, headers: Mapping[str, str], gone: asyncio.Future[Any]) -> Reply:
        """Return the answer to a request. Never raises, except when it is cancelled.

        Args:
            body: As it came.
            headers: Of HTTP, by lower-case name.
            gone: Done when the caller has left; the call is cancelled then.
        """
        version = version_of(headers)
        request_id = headers.get("x-request-id", "")
        try:
            version, charset, action = _content_type(headers)
            plain = decompressed(body, headers.get("content-encoding", ""), self._limits.body_bytes_max)
            request = await self._translated(len(plain), lambda: self._opened(plain, charset, version, action, headers))
            operation, message, caller = request
            request_id = caller.request_id
            answer = await self._called(operation, message, caller, gone)
            return await self._translated(answer.ByteSize(), lambda: self._answer(version, operation, answer))
        except Problem as problem:
            return self.refusal(problem, version, request_id)
        except grpc.aio.AioRpcError as error:
            return self._fault(version, fault_of_call(error.code(), _status(error), self._fault_form), request_id)
        except Exception:  # noqa: BLE001 - at this border every fault of the bridge becomes INTERNAL
            incident = secrets.token_hex(8)
            _log.exception("incident %s", incident)
            message = f"the SOAP bridge failed; its log tells more under the incident id {incident}"
            return self.refusal(
                Problem(Reason.INTERNAL, message, field="incident", value=incident), version, request_id
            )

    def refusal(self, problem: Problem, version: Version, request_id: str) -> Reply:
        """Return the fault of what the bridge refuses itself."""
        tag = problem.tag if isinstance(problem, NotUnderstood) else None
        return self._fault(version, fault_of_problem(problem, self._fault_form), request_id, tag)

    async def _translated(self, size_bytes: int, work: Callable[[], T]) -> T:
        if size_bytes < LARGE_BYTES:
            return work()
        return await asyncio.get_running_loop().run_in_executor(self._translator, work)

    def _opened(
        self, body: bytes, charset: str, version: Version, action: str, headers: Mapping[str, str]
    ) -> tuple[Operation, Any, Caller]:
        """Return what a request asks for.

        Raises:
            Problem: It cannot be understood.
        """
        envelope = open_envelope(documents.parse(body, charset, self._limits), version)
        caller = self._caller(envelope, headers)
        operation, request = operation_of(self.schema, envelope.content)
        if action and action != soap_action(self.schema, operation):
            message = f"the SOAPAction is not that of {operation.name}"
            raise Problem(Reason.MALFORMED, message, field="SOAPAction", value=action)
        made = new_message(operation.request)
        if request is not None:
            self._reader.read(request, made)
        return operation, made, caller

    def _caller(self, envelope: Envelope, headers: Mapping[str, str]) -> Caller:
        is_safe = headers.get("x-forwarded-proto", "") == "https"
        allowed = is_safe or self._plaintext_passwords
        return caller_of(envelope, headers, self.schema, self._reader, passwords_allowed=allowed)

    async def _called(self, operation: Operation, message: Any, caller: Caller, gone: asyncio.Future[Any]) -> Any:
        call = self._calls[operation.name](message, timeout=caller.timeout_s, metadata=caller.metadata)

        def leave(_: asyncio.Future[Any]) -> None:
            call.cancel()

        gone.add_done_callback(leave)
        try:
            return await call
        except asyncio.CancelledError:
            if not gone.done():
                raise
            raise Problem(Reason.DEADLINE_EXCEEDED, "the caller has left") from None
        finally:
            gone.remove_done_callback(leave)

    def _answer(self, version: Version, operation: Operation, answer: Any) -> Reply:
        return _reply(200, version, answer_envelope(self.schema, self._writer, version, operation, answer))

    def _fault(self, version: Version, fault: Any, request_id: str, not_understood: str | None = None) -> Reply:
        fault.request_id = request_id
        rule = rule_of(fault)
        headers: list[tuple[str, str]] = []
        if rule.http_11 == 401:
            headers.append(("www-authenticate", CHALLENGE))
        if retry_after_s(fault):
            headers.append(("retry-after", str(retry_after_s(fault))))
        if rule.http_11 == 405:
            headers.append(("allow", "GET, HEAD, POST"))
        body = fault_envelope(self.schema, self._writer, version, fault, not_understood)
        return _reply(rule.http_11 if version is Version.SOAP_11 else rule.http_12, version, body, *headers)


def _reply(status: int, version: Version, body: bytes, *headers: tuple[str, str]) -> Reply:
    content_type = ("content-type", f"{version.media_type}; charset=utf-8")
    return Reply(status, (content_type, ("cache-control", "no-store"), *headers), body)


def version_of(headers: Mapping[str, str]) -> Version:
    """Return the version of SOAP that a caller reads, as far as its content type tells."""
    content_type = headers.get("content-type", "").lower()
    return Version.SOAP_12 if Version.SOAP_12.media_type in content_type else Version.SOAP_11


def _content_type(headers: Mapping[str, str]) -> tuple[Version, str, str]:
    """Return the version, the charset and the SOAPAction that the headers give; the latter two may be empty.

    Raises:
        Problem: UNSUPPORTED_ENCODING: it is neither of the two media types.
    """
    given = headers.get("content-type", "")
    match = _MEDIA_TYPE.match(given)
    version = next((each for each in Version if match and match[1].lower() == each.media_type), None)
    if match is None or version is None:
        message = "the content type must be text/xml (SOAP 1.1) or application/soap+xml (SOAP 1.2)"
        limit = ", ".join(each.media_type for each in Version)
        raise Problem(Reason.UNSUPPORTED_ENCODING, message, field="content-type", value=given, limit=limit)
    parameters = {name.lower(): value.strip('"') for name, value in _PARAMETER.findall(match[2])}
    # Clients of SOAP 1.2 send the header of 1.1, too, some of them with another text; there only the parameter counts.
    action = headers.get("soapaction", "") if version is Version.SOAP_11 else parameters.get("action", "")
    return version, parameters.get("charset", ""), action.strip().strip('"')


def _status(error: grpc.aio.AioRpcError) -> status_pb2.Status | None:
    """Return the `google.rpc.Status` in the trailers of a call; None if there is none."""
    for name, value in error.trailing_metadata() or ():
        if name == _DETAILS_KEY:
            return status_pb2.Status.FromString(value if isinstance(value, bytes) else value.encode())
    return None
