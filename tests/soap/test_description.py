"""The WSDL and the XML Schema: independent tools take them, and they hold what the contract holds."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Mapping

import pytest
import xmlschema
import zeep
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorSet
from lxml import etree
from xmlschema.extras.wsdl import Wsdl11Document

from rte_soap.contract import Contract, ContractError
from rte_soap.envelope import Version
from rte_soap.schema import Schema
from rte_soap.wsdl import schema_document, soap_action, wsdl_document
from tests.soap.shapes import shapes_contract, shapes_descriptors

ADDRESS = "http://localhost/soap"
NAMESPACES = {
    "wsdl": "http://schemas.xmlsoap.org/wsdl/",
    "soap": "http://schemas.xmlsoap.org/wsdl/soap/",
    "soap12": "http://schemas.xmlsoap.org/wsdl/soap12/",
    "xs": "http://www.w3.org/2001/XMLSchema",
}


@pytest.fixture(scope="module")
def schema() -> Schema:
    """The types of the contract that ships."""
    return Schema(Contract.shipped())


@pytest.fixture(scope="module")
def wsdl(schema: Schema) -> etree._Element:
    """The description with both ports."""
    return etree.fromstring(wsdl_document(schema, ADDRESS))


def get(url: str, headers: Mapping[str, str] | None = None) -> tuple[bytes, Mapping[str, str]]:
    """Return the body and the headers of a GET."""
    with urllib.request.urlopen(urllib.request.Request(url, headers=dict(headers or {})), timeout=60) as answer:
        return answer.read(), answer.headers


def test_schema_is_valid_for_two_validators(schema: Schema) -> None:
    """libxml2 and xmlschema, which share no code, both take the XML Schema."""
    document = schema_document(schema)
    etree.XMLSchema(etree.fromstring(document))
    found = xmlschema.XMLSchema10(document)
    assert "GetSession" in found.elements and "SessionState" in found.types


def test_shapes_that_the_contract_does_not_use_are_valid_too() -> None:
    """The XML Schema of a contract with every shape that protobuf has is valid for both validators."""
    document = schema_document(Schema(shapes_contract()))
    etree.XMLSchema(etree.fromstring(document))
    xmlschema.XMLSchema10(document)


def test_wsdl_is_valid_for_a_validator(schema: Schema) -> None:
    """Xmlschema takes the description with the port of SOAP 1.1 as valid WSDL 1.1."""
    document = wsdl_document(schema, ADDRESS, (Version.SOAP_11,))
    found = Wsdl11Document(document.decode().partition("?>")[2])
    assert {name.rpartition("}")[2] for name in found.port_types} == {"Rte"}
    assert {name.rpartition("}")[2] for name in found.services} == {"RteService"}


def test_every_unary_call_of_the_contract_is_an_operation(wsdl: etree._Element) -> None:
    """All unary RPCs of all services are operations, in both bindings and with their documentation; streams are not."""
    found = Contract.shipped()
    names = [each.get("name") for each in wsdl.findall("wsdl:portType/wsdl:operation", NAMESPACES)]
    assert set(names) == set(found.operations) and len(names) == len(set(names))
    assert {"IngestEvents", "GetSession", "ListSessions", "UpdateSession"} <= set(names)
    assert not {"WatchSessions", "StreamEvents"} & set(names)
    for binding in wsdl.findall("wsdl:binding", NAMESPACES):
        assert [each.get("name") for each in binding.findall("wsdl:operation", NAMESPACES)] == names
    texts = wsdl.findall("wsdl:portType/wsdl:operation/wsdl:documentation", NAMESPACES)
    assert len(texts) == len(names) and all(each.text for each in texts)


def test_comments_of_the_contract_are_documentation(wsdl: etree._Element) -> None:
    """Comments above messages, fields and values of enums stand in the XML Schema."""
    texts = "\n".join(each.text or "" for each in wsdl.iter("{http://www.w3.org/2001/XMLSchema}documentation"))
    for text in ("The Session State: what is known", "Identifies the device or browser.", "At most one of sessionId"):
        assert text in texts


def test_basic_profile(wsdl: etree._Element, schema: Schema) -> None:
    """The description keeps the rules of the WS-I Basic Profile that can be read off it."""
    profile = etree.fromstring(wsdl_document(schema, ADDRESS, (Version.SOAP_11,)))
    assert not any("soap12" in str(node.tag) for node in profile.iter())
    binding = profile.find("wsdl:binding/soap:binding", NAMESPACES)
    assert binding is not None
    assert binding.get("style") == "document"  # R2705
    assert binding.get("transport") == "http://schemas.xmlsoap.org/soap/http"  # R2702
    for message in profile.findall("wsdl:message", NAMESPACES):
        parts = message.findall("wsdl:part", NAMESPACES)
        assert len(parts) == 1 and parts[0].get("element") and parts[0].get("type") is None  # R2204, R2210
    elements = [
        part.get("element")
        for operation in schema.contract.operations
        for part in profile.findall(f"wsdl:message[@name='{operation}']/wsdl:part", NAMESPACES)
    ]
    assert len(set(elements)) == len(schema.contract.operations)  # R2710: each operation has its own element
    for body in profile.iter("{http://schemas.xmlsoap.org/wsdl/soap/}body"):
        assert body.get("use") == "literal" and body.get("namespace") is None  # R2706, R2716
    for fault in profile.iter("{http://schemas.xmlsoap.org/wsdl/soap/}fault"):
        assert fault.get("name") == "fault"  # R2721
    for each in wsdl.iter("{http://www.w3.org/2001/XMLSchema}schema"):
        assert each.get("targetNamespace") == "urn:rte:v1"  # R2105
    assert not list(wsdl.iter("{http://www.w3.org/2001/XMLSchema}anyType"))


def test_names_of_types_are_told_apart_by_all_clients(wsdl: etree._Element) -> None:
    """No two names of types and elements differ by case only, no type has the name of an element, none an underscore."""
    types = [each.get("name", "") for each in wsdl.iter(f"{{{NAMESPACES['xs']}}}complexType") if each.get("name")]
    types += [each.get("name", "") for each in wsdl.iter(f"{{{NAMESPACES['xs']}}}simpleType")]
    roots = [each.get("name", "") for each in wsdl.findall("wsdl:types/xs:schema/xs:element", NAMESPACES)]
    lower = [name.lower() for name in types + roots]
    assert len(set(lower)) == len(lower)
    assert not [name for name in types if "_" in name]


def test_no_field_is_required_or_nillable(wsdl: etree._Element) -> None:
    """Fields of messages may be absent and are never nil, so that a later field breaks no caller."""
    children = [
        child
        for message in wsdl.findall("wsdl:types/xs:schema/xs:complexType", NAMESPACES)
        for child in message.iter(f"{{{NAMESPACES['xs']}}}element")
    ]
    assert children
    assert all(child.get("minOccurs") == "0" and child.get("nillable") is None for child in children)


def test_address_is_where_the_caller_reached_the_service(url: str) -> None:
    """Behind Envoy the description gives the address and the scheme that the caller used, each caller its own."""
    for host in ("rte.example", "rte.example:8443", "[::1]:8080"):
        body, _ = get(f"{url}?wsdl", {"host": host})
        addresses = [each.get("location") for each in etree.fromstring(body).iter("{*}address")]
        assert addresses == [f"http://{host}/soap"] * 2


def test_description_with_one_port(url: str) -> None:
    """`?wsdl&soap=1.1` and `?wsdl&soap=1.2` give one port each, and `?singleWsdl` is the whole."""
    for query, count in (("wsdl&soap=1.1", 1), ("wsdl&soap=1.2", 1), ("singleWsdl", 2), ("wsdl", 2)):
        body, headers = get(f"{url}?{query}")
        assert headers["content-type"] == "text/xml; charset=utf-8"
        assert len(list(etree.fromstring(body).iter("{*}port"))) == count


def test_schema_is_served_alone(url: str) -> None:
    """`?xsd=1` gives the XML Schema as a document of its own; other numbers and queries lead nowhere."""
    body, _ = get(f"{url}?xsd=1")
    etree.XMLSchema(etree.fromstring(body))
    for query in ("?xsd=2", "?nothing", ""):
        with pytest.raises(urllib.error.HTTPError, match="404"):
            get(url + query)


def test_zeep_takes_the_description(url: str) -> None:
    """zeep, in its strict mode, finds all operations at the address behind Envoy."""
    client = zeep.Client(f"{url}?wsdl")
    for port in ("RteSoap11", "RteSoap12"):
        assert set(Contract.shipped().operations) <= set(dir(client.bind("RteService", port)))


def test_soap_actions_are_of_the_service(schema: Schema) -> None:
    """A SOAPAction names the version of the contract, the service and the operation."""
    operation = schema.contract.operations["GetSession"]
    assert soap_action(schema, operation) == "urn:rte:v1:SessionService:GetSession"


def test_two_operations_of_one_name_are_refused() -> None:
    """A contract in which two services have an operation of the same name is refused, with both names."""
    descriptors = shapes_descriptors()
    file = next(file for file in descriptors.file if file.package == "shapes.v1")
    file.service.add(name="OtherService").method.add().CopyFrom(file.service[0].method[0])
    with pytest.raises(ContractError, match="ShapeService and OtherService both have Echo"):
        Schema(Contract(descriptors, "shapes.v1"))


def test_a_message_without_a_schema_is_refused() -> None:
    """A contract with `google.protobuf.Any` in a request is refused, since callers could not know what to send."""
    descriptors = FileDescriptorSet()
    descriptors.CopyFrom(shapes_descriptors())
    file = next(file for file in descriptors.file if file.package == "shapes.v1")
    field = next(message for message in file.message_type if message.name == "EchoRequest").field.add()
    field.name, field.json_name, field.number, field.label = (
        "anything",
        "anything",
        1000,
        FieldDescriptorProto.LABEL_OPTIONAL,
    )
    field.type, field.type_name = FieldDescriptorProto.TYPE_MESSAGE, ".google.protobuf.Any"
    file.dependency.append("google/protobuf/any.proto")
    with pytest.raises(ContractError, match=r"google\.protobuf\.Any"):
        Schema(Contract(descriptors, "shapes.v1"))
