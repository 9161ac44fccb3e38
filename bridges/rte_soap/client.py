"""The other side: calls an operation over SOAP, as any client would. For `rte soap call` and for tests."""

from __future__ import annotations

import http.client
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from google.rpc import status_pb2
from lxml import etree

from rte_bridge.problems import Problem
from rte_soap.contract import SERVICE_FAULT, Contract, Operation, new_message
from rte_soap.documents import Limits, parse
from rte_soap.envelope import Version, open_envelope, request_envelope
from rte_soap.faults import set_status
from rte_soap.reader import Reader
from rte_soap.schema import FAULT_ELEMENT, RESPONSE_SUFFIX, Schema, is_empty
from rte_soap.writer import Writer
from rte_soap.wsdl import soap_action

ANSWER_LIMITS = Limits(body_bytes_max=1 << 30, tags_max=1 << 30)
"""Answers come from a server that was chosen, and may be as large as it makes them."""


class SoapFault(Exception):
    """The call was answered with a fault.

    Attributes:
        http_status: Of the answer.
        code: The fault code without its prefix, for example `Client` or `Sender`.
        status: What it tells, as over gRPC.
        detail: The ServiceFault; empty if the fault has none.
    """

    def __init__(self, http_status: int, code: str, status: status_pb2.Status, detail: Any) -> None:
        super().__init__(status.message)
        self.http_status = http_status
        self.code = code
        self.status = status
        self.detail = detail


class NoSoapAnswer(Exception):
    """What was called does not answer with SOAP; the message says what it answered."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """One call and its answer.

    Attributes:
        request: The envelope that was sent.
        http_status: Of the answer.
        headers: Of the answer, by lower-case name.
        answer: Its body.
    """

    request: bytes
    http_status: int
    headers: dict[str, str]
    answer: bytes


@dataclass(slots=True)
class SoapClient:
    """Calls operations at one address."""

    url: str
    """For example `http://localhost:8080/soap`."""
    version: Version = Version.SOAP_11
    timeout_s: float = 30.0
    """Seconds that a call may take, > 0."""
    headers: dict[str, str] = field(default_factory=dict)
    """Sent with every call, for example `authorization`."""
    contract: Contract = field(default_factory=Contract.shipped)
    last: Exchange | None = None
    """The last call that was answered, to be shown."""
    _schema: Schema = field(init=False)

    def __post_init__(self) -> None:
        self._schema = Schema(self.contract)

    def call(self, name: str, request: Any) -> Any:
        """Return the answer of an operation.

        Args:
            name: For example `GetSession`.
            request: Of the type that the operation takes.

        Raises:
            SoapFault: It was refused.
            NoSoapAnswer: What answers is no SOAP service.
            OSError: Nobody answers, or not in time.
        """
        operation = self.contract.operations[name]
        sent = request_envelope(self._schema, Writer(self._schema), self.version, operation, request)
        self.last = None
        exchange = self._post(operation, sent)
        self.last = exchange
        try:
            content = open_envelope(parse(exchange.answer, "", ANSWER_LIMITS), self.version).content
            if content.tag == f"{{{self.version.namespace}}}Fault":
                raise self._fault(exchange.http_status, content)
            return self._answer(operation, content)
        except Problem as problem:
            start = exchange.answer[:200].decode(errors="replace")
            raise NoSoapAnswer(f"HTTP {exchange.http_status}: {problem.message}: {start!r}") from None

    def _post(self, operation: Operation, body: bytes) -> Exchange:
        action = soap_action(self._schema, operation)
        content_type = f"{self.version.media_type}; charset=utf-8"
        headers = {"soapaction": f'"{action}"'} if self.version is Version.SOAP_11 else {}
        if self.version is Version.SOAP_12:
            content_type += f'; action="{action}"'
        target = urlsplit(self.url)
        kind = http.client.HTTPSConnection if target.scheme == "https" else http.client.HTTPConnection
        connection = kind(target.hostname or "localhost", target.port, timeout=self.timeout_s)
        try:
            connection.request("POST", target.path, body, headers | {"content-type": content_type} | self.headers)
            response = connection.getresponse()
            found = {key.lower(): value for key, value in response.getheaders()}
            return Exchange(body, response.status, found, response.read())
        except http.client.HTTPException as error:
            raise NoSoapAnswer(f"what answers at {self.url} speaks no HTTP: {error!r}") from None
        finally:
            connection.close()

    def _answer(self, operation: Operation, content: etree._Element) -> Any:
        answer = new_message(operation.response)
        if content.tag != self._schema.tag(operation.name + RESPONSE_SUFFIX):
            raise NoSoapAnswer(f"the answer holds {content.tag}")
        if not is_empty(operation.response):
            Reader(self._schema).read(content[0], answer)
        return answer

    def _fault(self, http_status: int, fault: etree._Element) -> SoapFault:
        detail = new_message(self.contract.message(SERVICE_FAULT))
        found = fault.find(f".//{self._schema.tag(FAULT_ELEMENT)}")
        if found is not None:
            Reader(self._schema).read(found, detail)
        status = status_pb2.Status()
        set_status(detail, status)
        code = fault.findtext("faultcode") or fault.findtext(".//{*}Code/{*}Value") or ""
        text = fault.findtext("faultstring") or fault.findtext(".//{*}Reason/{*}Text") or ""
        status.message = status.message or text
        return SoapFault(http_status, code.rpartition(":")[2], status, detail)
