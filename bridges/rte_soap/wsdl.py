"""The description of the service: WSDL 1.1, document/literal wrapped, with the schema inline.

One portType holds the operations of all services, so that a caller needs one object; the port of SOAP 1.1 comes first,
which clients take by default. With `version` the description has one port only: it conforms strictly to the WS-I Basic
Profile, and old tools that fail on the binding of SOAP 1.2 take it.
"""

from __future__ import annotations

from lxml import etree
from lxml.builder import ElementMaker

from rte_soap.contract import Operation
from rte_soap.envelope import Version
from rte_soap.schema import FAULT_ELEMENT, RESPONSE_SUFFIX, XSD, Schema

WSDL = "http://schemas.xmlsoap.org/wsdl/"
HTTP_TRANSPORT = "http://schemas.xmlsoap.org/soap/http"
PORT_TYPE = "Rte"
SERVICE = "RteService"
_FAULT_MESSAGE = "RteFault"
_FAULT_NAME = "fault"

_BINDING_NAMESPACES = {
    Version.SOAP_11: ("soap", "http://schemas.xmlsoap.org/wsdl/soap/"),
    Version.SOAP_12: ("soap12", "http://schemas.xmlsoap.org/wsdl/soap12/"),
}


def wsdl_document(schema: Schema, address: str, versions: tuple[Version, ...] = tuple(Version)) -> bytes:
    """Return the description as UTF-8.

    Args:
        schema: The types.
        address: The URL under which the service is called.
        versions: Those of SOAP that get a port, in order.
    """
    nsmap = {None: WSDL, "tns": schema.namespace, "xs": XSD} | dict(_BINDING_NAMESPACES[each] for each in versions)
    make = ElementMaker(namespace=WSDL, nsmap=nsmap)
    operations = schema.contract.operations.values()
    root = make.definitions(name=SERVICE, targetNamespace=schema.namespace)
    root.append(make.documentation(_about(schema)))
    root.append(make.types(schema.document()))
    for operation in operations:
        for name in (operation.name, operation.name + RESPONSE_SUFFIX):
            root.append(make.message(make.part(name="parameters", element=f"tns:{name}"), name=name))
    root.append(make.message(make.part(name=_FAULT_NAME, element=f"tns:{FAULT_ELEMENT}"), name=_FAULT_MESSAGE))
    port_type = make.portType(name=PORT_TYPE)
    port_type.extend(_operation(make, operation) for operation in operations)
    root.append(port_type)
    for version in versions:
        root.append(_binding(make, schema, version))
    service = make.service(name=SERVICE)
    for version in versions:
        port = make.port(name=_port_name(version), binding=f"tns:{_port_name(version)}Binding")
        etree.SubElement(port, _tag(version, "address"), location=address)
        service.append(port)
    root.append(service)
    return _serialized(root)


def schema_document(schema: Schema) -> bytes:
    """Return the schema alone as UTF-8."""
    return _serialized(schema.document())


def soap_action(schema: Schema, operation: Operation) -> str:
    """Return the SOAPAction of an operation, for example `urn:rte:v1:SessionService:GetSession`."""
    return f"{schema.namespace}:{operation.service}:{operation.name}"


def _about(schema: Schema) -> str:
    services = {operation.service: None for operation in schema.contract.operations.values()}
    comments = [f"{name}: {schema.contract.comment(f'{schema.contract.package}.{name}')}" for name in services]
    return "\n\n".join([f"The services of {schema.contract.package}.", *comments])


def _operation(make: ElementMaker, operation: Operation) -> etree._Element:
    made: etree._Element = make.operation(name=operation.name)
    if operation.documentation:
        made.append(make.documentation(operation.documentation))
    made.append(make.input(message=f"tns:{operation.name}"))
    made.append(make.output(message=f"tns:{operation.name}{RESPONSE_SUFFIX}"))
    made.append(make.fault(name=_FAULT_NAME, message=f"tns:{_FAULT_MESSAGE}"))
    return made


def _binding(make: ElementMaker, schema: Schema, version: Version) -> etree._Element:
    made: etree._Element = make.binding(name=f"{_port_name(version)}Binding", type=f"tns:{PORT_TYPE}")
    etree.SubElement(made, _tag(version, "binding"), style="document", transport=HTTP_TRANSPORT)
    for operation in schema.contract.operations.values():
        bound = make.operation(name=operation.name)
        action = soap_action(schema, operation)
        etree.SubElement(bound, _tag(version, "operation"), soapAction=action, style="document")
        for direction in (make.input(), make.output()):
            etree.SubElement(direction, _tag(version, "body"), use="literal")
            bound.append(direction)
        fault = make.fault(name=_FAULT_NAME)
        etree.SubElement(fault, _tag(version, "fault"), name=_FAULT_NAME, use="literal")
        bound.append(fault)
        made.append(bound)
    return made


def _port_name(version: Version) -> str:
    return PORT_TYPE + {Version.SOAP_11: "Soap11", Version.SOAP_12: "Soap12"}[version]


def _tag(version: Version, name: str) -> str:
    return f"{{{_BINDING_NAMESPACES[version][1]}}}{name}"


def _serialized(root: etree._Element) -> bytes:
    etree.indent(root)
    return etree.tostring(root, xml_declaration=True, encoding="UTF-8")
