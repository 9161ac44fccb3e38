"""Plays the cases of `tests/cases` over one way in: gRPC, HTTP/JSON or SOAP."""

from __future__ import annotations

import http.client
import json
import re
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import grpc
import yaml
from google.api import annotations_pb2
from google.protobuf import json_format
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from lxml import etree

from rte.v1 import (
    collector_service_pb2,
    customer_service_pb2,
    event_service_pb2,
    model_service_pb2,
    session_service_pb2,
)
from rte_server.engine.reasons import Reason
from rte_soap.client import SoapClient, SoapFault
from rte_soap.contract import new_message
from rte_soap.envelope import Version
from tests.service.calls import status_of_call

CASES_DIR = Path(__file__).resolve().parent.parent / "cases"
STEP_MEMBERS = {"call", "request", "answer", "error", "save", "only"}
TIMEOUT_S = 120

_VARIABLE = re.compile(r"\$\{(\w+)\}")
_PATH_PART = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class Answer:
    """What came back, whichever way.

    Attributes:
        status: gRPC's code by name, over HTTP/JSON the HTTP status.
        message: The answer as JSON with names as in the proto, or the `google.rpc.Status`.
        failed: Whether `message` is a status.
    """

    status: str | int
    message: dict[str, Any]
    failed: bool


class Way(Protocol):
    """A way to call a method."""

    name: str

    def call(self, method: MethodDescriptor, request: Mapping[str, Any]) -> Answer:
        """Call a unary method with a request as JSON."""
        ...


class OverGrpc:
    """Native gRPC."""

    name = "grpc"

    def __init__(self, channel: grpc.Channel) -> None:
        self._channel: Any = channel

    def call(self, method: MethodDescriptor, request: Mapping[str, Any]) -> Answer:
        """Call a unary method; the request is checked by protobuf's own JSON parser."""
        message = json_format.ParseDict(_camel_masks(request), GetMessageClass(method.input_type)())
        path = f"/{method.containing_service.full_name}/{method.name}"
        try:
            body = self._channel.unary_unary(path)(message.SerializeToString(), timeout=TIMEOUT_S)
        except grpc.RpcError as error:
            return Answer(error.code().name, _as_dict(status_of_call(error)), failed=True)
        return Answer("OK", _as_dict(GetMessageClass(method.output_type).FromString(body)), failed=False)


class OverHttp:
    """HTTP/JSON through Envoy. The request is derived from the method's `google.api.http` rule."""

    name = "http"

    def __init__(self, port: int) -> None:
        self._port = port

    def call(self, method: MethodDescriptor, request: Mapping[str, Any]) -> Answer:
        """Call a unary method."""
        verb, path, body = http_request(method, request)
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=TIMEOUT_S)
        try:
            connection.request(verb, path, body=body, headers={"content-type": "application/json"} if body else {})
            response = connection.getresponse()
            text = response.read()
        finally:
            connection.close()
        if response.status != 200:
            return Answer(response.status, json.loads(text), failed=True)
        message = json_format.Parse(text, GetMessageClass(method.output_type)())
        return Answer(response.status, _as_dict(message), failed=False)


class OverSoap:
    """SOAP through Envoy. Every answer is held against the XML Schema that the server gives out."""

    name = "soap"

    def __init__(self, port: int, version: Version = Version.SOAP_11) -> None:
        url = f"http://127.0.0.1:{port}/soap"
        with urllib.request.urlopen(f"{url}?xsd=1", timeout=TIMEOUT_S) as answer:
            self._xsd = etree.XMLSchema(etree.fromstring(answer.read()))
        self._client = SoapClient(url, version, TIMEOUT_S)

    def call(self, method: MethodDescriptor, request: Mapping[str, Any]) -> Answer:
        """Call a unary method."""
        operation = self._client.contract.operations[method.name]
        message = json_format.ParseDict(_camel_masks(request), new_message(operation.request))
        try:
            answer = self._client.call(method.name, message)
        except SoapFault as fault:
            return Answer(fault.detail.status, _as_dict(fault.status), failed=True)
        finally:
            if self._client.last is not None:
                check_by_schema(self._xsd, self._client.last.answer)
        # What HTTP/JSON answers went through the classes of the stubs, so do these.
        known = GetMessageClass(method.output_type).FromString(answer.SerializeToString())
        return Answer("OK", _as_dict(known), failed=False)


def check_by_schema(xsd: etree.XMLSchema, envelope: bytes) -> None:
    """Check that what an envelope carries, an answer or the detail of a fault, is valid."""
    carried = next(iter(etree.fromstring(envelope).iter("{urn:rte:v1}*")))
    xsd.assertValid(etree.fromstring(etree.tostring(carried)))


def http_request(method: MethodDescriptor, request: Mapping[str, Any]) -> tuple[str, str, str | None]:
    """Return verb, path with query, and body of a request.

    The first of the method's rules applies all of whose path variables the request has.
    """
    rule = method.GetOptions().Extensions[annotations_pb2.http]
    for one in (rule, *rule.additional_bindings):
        verb = one.WhichOneof("pattern")
        template = getattr(one, verb)
        bound = _PATH_PART.findall(template)
        if all(name in request for name in bound):
            break
    path = _PATH_PART.sub(lambda match: urllib.parse.quote(str(request[match[1]]), safe=""), template)
    rest = {name: value for name, value in request.items() if name not in bound}
    if one.body == "*":
        return verb.upper(), path, json.dumps(rest)
    query = [
        (name, str(item)) for name, value in rest.items() for item in (value if isinstance(value, list) else [value])
    ]
    return verb.upper(), path + ("?" + urllib.parse.urlencode(query) if query else ""), None


def load_cases() -> list[tuple[str, dict[str, Any]]]:
    """Return all cases, each with a name for test reports."""
    found = []
    for path in sorted(CASES_DIR.glob("*.yaml")):
        for number, case in enumerate(yaml.safe_load(path.read_text())):
            assert set(case) == {"case", "steps"}, f"{path.name}[{number}]"
            for step in case["steps"]:
                assert set(step) <= STEP_MEMBERS and ("answer" in step) != ("error" in step), f"{path.name}[{number}]"
            found.append((f"{path.stem}-{number}", case))
    return found


def play(case: Mapping[str, Any], way: Way, visitor: str) -> None:
    """Play a case; raises AssertionError where an answer is not what the case says."""
    variables = {"visitor": visitor}
    for number, step in enumerate(case["steps"]):
        if step.get("only", way.name) != way.name:
            continue
        place = f"{way.name}, step {number}: {step['call']}"
        answer = way.call(method_of(step["call"]), _fill(step["request"], variables))
        if "error" in step:
            _check_error(answer, step["error"], way.name, place)
            continue
        assert not answer.failed, f"{place} failed: {answer}"
        _check_part(_fill(step["answer"], variables), answer.message, place)
        for name, path in step.get("save", {}).items():
            variables[name] = _at(answer.message, path)


def method_of(call: str) -> MethodDescriptor:
    """Return the method that a step calls, for example `SessionService.GetSession`."""
    service, _, name = call.partition(".")
    for module in (
        collector_service_pb2,
        customer_service_pb2,
        event_service_pb2,
        model_service_pb2,
        session_service_pb2,
    ):
        if service in module.DESCRIPTOR.services_by_name:
            method: MethodDescriptor = module.DESCRIPTOR.services_by_name[service].methods_by_name[name]
            return method
    raise ValueError(f"there is no service {service}")


def _as_dict(message: Message) -> dict[str, Any]:
    found: dict[str, Any] = json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    return found


def _camel_masks(request: Mapping[str, Any]) -> dict[str, Any]:
    """Return the request with its field mask in the only form that protobuf's JSON parser takes."""
    if "read_mask" not in request:
        return dict(request)
    camel = re.sub(r"_([a-z])", lambda match: match[1].upper(), request["read_mask"])
    return dict(request) | {"read_mask": camel}


def _fill(value: Any, variables: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        return _VARIABLE.sub(lambda match: variables[match[1]], value)
    if isinstance(value, dict):
        return {name: _fill(item, variables) for name, item in value.items()}
    if isinstance(value, list):
        return [_fill(item, variables) for item in value]
    return value


def _check_error(answer: Answer, wanted: Mapping[str, Any], way: str, place: str) -> None:
    assert answer.failed, f"{place} must fail, but answers {answer.message}"
    assert answer.status == (wanted["http"] if way == "http" else wanted["code"]), f"{place}: {answer}"
    assert answer.message["code"] == getattr(grpc.StatusCode, wanted["code"]).value[0], place
    infos = [detail for detail in answer.message["details"] if detail["@type"].endswith("google.rpc.ErrorInfo")]
    assert [info["reason"] for info in infos] == [wanted["reason"]], f"{place}: {answer}"
    assert infos[0]["domain"] == "rte.v1" and infos[0]["reason"] in Reason.__members__
    if "field" in wanted:
        assert infos[0]["metadata"].get("field") == wanted["field"], f"{place}: {answer}"


def _check_part(wanted: Any, found: Any, place: str) -> None:
    """Check that `found` holds at least what `wanted` says."""
    if isinstance(wanted, dict):
        assert isinstance(found, dict), f"{place}: {found!r} is no object"
        for name, value in wanted.items():
            assert name in found, f"{place}.{name} is missing"
            _check_part(value, found[name], f"{place}.{name}")
    elif isinstance(wanted, list):
        assert isinstance(found, list) and len(found) == len(wanted), f"{place}: {found!r} is not {wanted!r}"
        for number, value in enumerate(wanted):
            _check_part(value, found[number], f"{place}[{number}]")
    else:
        assert found == wanted, f"{place}: {found!r} is not {wanted!r}"


def _at(message: Mapping[str, Any], path: str) -> str:
    value: Any = message
    for name in path.split("."):
        value = value[name]
    return str(value)
