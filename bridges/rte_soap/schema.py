"""The messages of the contract as XML Schema types.

All types stand in one namespace, which carries the version of the contract: `urn:rte:v1`. So a caller who writes XML by
hand needs one prefix, and there is nothing to import. Rules that clients forced are in `docs/decisions`:

- a type never has the name of a wrapper element, and no two names differ by case only;
- fields stand in the order of their numbers, each optional, never nillable;
- members of a oneof stand side by side: xs:choice loses values in common clients.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from lxml import etree
from lxml.builder import ElementMaker

from rte_soap.contract import CALL_OPTIONS, SERVICE_FAULT, Contract, ContractError, Operation
from rte_soap.scalars import BY_TYPE, SIMPLE_MESSAGES, Scalar, SimpleMessage, enum_scalar

XSD = "http://www.w3.org/2001/XMLSchema"
FAULT_ELEMENT = "ServiceFaultDetail"
OPTIONS_ELEMENT = "CallOptions"
REQUEST_ELEMENT = "request"
RESULT_ELEMENT = "result"
RESPONSE_SUFFIX = "Response"
"""Clients of JavaScript find an answer only under this suffix."""

_EMPTY = "google.protobuf.Empty"
_STATUS = "google.rpc.Status"
_REFUSED = {"google.protobuf.Any": "has no schema"}


@dataclass(frozen=True, slots=True)
class Element:
    """A field of a message as an element.

    Attributes:
        field: The field.
        name: The local name of the element, for example `visitorId`.
        xsd: The name of its type with the prefix `xs:` or `tns:`.
        scalar: How its values look, if it is no message.
        simple: How its messages look, if they are one value.
        message: The type of its messages, if they have fields.
        is_repeated: Whether it may occur more than once; also true of maps.
        is_status: Whether it is a `google.rpc.Status`; `message` is then ServiceFault.
        is_map: Whether it is a map; `message` is then the type of its entries.
        oneof: The name of the oneof that it belongs to, or empty.
    """

    field: FieldDescriptor
    name: str
    xsd: str
    scalar: Scalar | None
    simple: SimpleMessage | None
    message: Descriptor | None
    is_repeated: bool
    is_status: bool
    is_map: bool
    oneof: str


class Schema:
    """The XML Schema types of a contract."""

    def __init__(self, contract: Contract) -> None:
        """Name all types that operations reach.

        Raises:
            ContractError: Two types would get the same name, or a type has no form in XML.
        """
        self.contract = contract
        self.namespace = "urn:" + contract.package.replace(".", ":")
        self._elements: dict[str, tuple[Element, ...]] = {}
        self._types: dict[str, Descriptor | EnumDescriptor] = {}
        self._names: dict[str, str] = {}
        self._taken = {name.lower() for name in self.root_elements}
        for operation in contract.operations.values():
            self._add(operation.request)
            self._add(operation.response)
        self._add(contract.message(SERVICE_FAULT))
        self._add(contract.message(CALL_OPTIONS))

    @cached_property
    def root_elements(self) -> Mapping[str, Operation | str]:
        """Return what a name of a global element stands for: an operation, or a full message name."""
        found: dict[str, Operation | str] = {FAULT_ELEMENT: SERVICE_FAULT, OPTIONS_ELEMENT: CALL_OPTIONS}
        for operation in self.contract.operations.values():
            for name in (operation.name, operation.name + RESPONSE_SUFFIX):
                if name in found:
                    raise ContractError(f"two elements have the name {name}")
                found[name] = operation
        return found

    def tag(self, name: str) -> str:
        """Return a local name with the namespace, as lxml writes it."""
        return f"{{{self.namespace}}}{name}"

    def elements(self, message: Descriptor) -> tuple[Element, ...]:
        """Return the elements of a message, in the order of their numbers."""
        return self._elements[message.full_name]

    def document(self) -> etree._Element:
        """Return the schema with its documentation."""
        make = ElementMaker(namespace=XSD, nsmap={"xs": XSD, "tns": self.namespace})
        schema: etree._Element = make.schema(targetNamespace=self.namespace, elementFormDefault="qualified")
        for operation in self.contract.operations.values():
            request = () if is_empty(operation.request) else ((REQUEST_ELEMENT, operation.request),)
            result = () if is_empty(operation.response) else ((RESULT_ELEMENT, operation.response),)
            schema.append(self._wrapper(make, operation.name, request))
            schema.append(self._wrapper(make, operation.name + RESPONSE_SUFFIX, result))
        for name, message in ((FAULT_ELEMENT, SERVICE_FAULT), (OPTIONS_ELEMENT, CALL_OPTIONS)):
            schema.append(make.element(name=name, type=f"tns:{self._names[message]}"))
        for full_name, described in self._types.items():
            if isinstance(described, EnumDescriptor):
                schema.append(self._simple_type(make, full_name, described))
            else:
                schema.append(self._complex_type(make, full_name, described))
        return schema

    def _add(self, message: Descriptor) -> None:
        """Give a name to a message and to everything that it holds."""
        if is_empty(message) or message.full_name in self._elements:
            return
        if message.full_name in _REFUSED:
            raise ContractError(f"{message.full_name} {_REFUSED[message.full_name]}")
        self._name(message)
        self._types[message.full_name] = message
        self._elements[message.full_name] = ()  # So that a message that holds itself is found.
        fields = sorted(message.fields, key=lambda field: field.number)
        self._elements[message.full_name] = tuple(self._element(field) for field in fields)

    def _name(self, described: Descriptor | EnumDescriptor) -> str:
        known = self._names.get(described.full_name)
        if known is not None:
            return known
        # Nested types are joined without an underscore, which gSOAP would spell out.
        scopes = [described.name]
        outer = described.containing_type
        while outer is not None:
            scopes.insert(0, outer.name)
            outer = outer.containing_type
        name = "".join(scopes)
        if name.lower() in self._taken:
            name += "Type"
        if name.lower() in self._taken:
            raise ContractError(f"{described.full_name} cannot be named {name}: another type or element has that name")
        self._taken.add(name.lower())
        self._names[described.full_name] = name
        return name

    def _element(self, field: FieldDescriptor) -> Element:
        scalar, simple, message = None, None, None
        is_status = field.message_type is not None and field.message_type.full_name == _STATUS
        if field.message_type is not None:
            simple = SIMPLE_MESSAGES.get(field.message_type.full_name)
            if simple is not None:
                xsd = f"xs:{simple.xsd}"
            else:
                message = self.contract.message(SERVICE_FAULT) if is_status else field.message_type
                self._add(message)
                xsd = f"tns:{self._name(message)}"
        elif field.enum_type is not None:
            xsd = f"tns:{self._name(field.enum_type)}"
            self._types.setdefault(field.enum_type.full_name, field.enum_type)
            scalar = enum_scalar(field.enum_type, xsd)
        else:
            scalar = BY_TYPE[field.type]
            xsd = f"xs:{scalar.xsd}"
        is_map = message is not None and message.GetOptions().map_entry
        oneof = field.containing_oneof
        group = "" if oneof is None or is_presence_only(field) else oneof.name
        repeats = field.is_repeated
        return Element(field, field.json_name, xsd, scalar, simple, message, repeats, is_status, is_map, group)

    def _wrapper(self, make: ElementMaker, name: str, content: tuple[tuple[str, Descriptor], ...]) -> etree._Element:
        sequence = make.sequence()
        for child, message in content:
            sequence.append(make.element(name=child, type=f"tns:{self._names[message.full_name]}"))
        made: etree._Element = make.element(make.complexType(sequence), name=name)
        return made

    def _complex_type(self, make: ElementMaker, full_name: str, message: Descriptor) -> etree._Element:
        made: etree._Element = make.complexType(name=self._names[full_name])
        documentation = self.contract.comment(full_name)
        if documentation:
            made.append(annotation(make, documentation))
        sequence = make.sequence()
        for element in self._elements[full_name]:
            child = make.element(name=element.name, type=element.xsd, minOccurs="0")
            if element.is_repeated:
                child.set("maxOccurs", "unbounded")
            text = "\n".join(self._about(full_name, message, element))
            if text:
                child.append(annotation(make, text))
            sequence.append(child)
        made.append(sequence)
        return made

    def _about(self, full_name: str, message: Descriptor, element: Element) -> Iterator[str]:
        comment = self.contract.comment(f"{full_name}.{element.field.name}")
        if comment:
            yield comment
        if element.is_map:
            yield "A map: each key occurs once."
        if element.oneof:
            names = ", ".join(field.json_name for field in message.oneofs_by_name[element.oneof].fields)
            yield f"At most one of {names} is given."

    def _simple_type(self, make: ElementMaker, full_name: str, enum: EnumDescriptor) -> etree._Element:
        made: etree._Element = make.simpleType(name=self._names[full_name])
        documentation = self.contract.comment(full_name)
        if documentation:
            made.append(annotation(make, documentation))
        restriction = make.restriction(base="xs:string")
        for value in enum.values:
            child = make.enumeration(value=value.name)
            text = self.contract.comment(f"{full_name}.{value.name}")
            if text:
                child.append(annotation(make, text))
            restriction.append(child)
        made.append(restriction)
        return made


def is_empty(message: Descriptor) -> bool:
    """Say whether a message stands for nothing at all, so that a wrapper has no child."""
    return message.full_name == _EMPTY


def is_presence_only(field: FieldDescriptor) -> bool:
    """Say whether the oneof of a field exists only because it is declared `optional`."""
    oneof = field.containing_oneof
    return oneof is not None and len(oneof.fields) == 1 and oneof.name == f"_{field.name}"


def annotation(make: ElementMaker, text: str) -> etree._Element:
    """Return documentation as XML Schema has it."""
    made: etree._Element = make.annotation(make.documentation(text))
    return made
