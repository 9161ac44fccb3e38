"""Envelopes of SOAP 1.1 and 1.2: what a request holds, and how answers and faults are written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from lxml import etree

from rte_bridge.problems import Problem, Reason
from rte_soap.contract import Operation
from rte_soap.faults import rule_of
from rte_soap.reader import check_attributes, check_no_text
from rte_soap.scalars import escape
from rte_soap.schema import FAULT_ELEMENT, REQUEST_ELEMENT, RESPONSE_SUFFIX, RESULT_ELEMENT, Schema, is_empty
from rte_soap.writer import Writer


class Version(Enum):
    """A version of SOAP: (namespace of its envelope, media type)."""

    SOAP_11 = ("http://schemas.xmlsoap.org/soap/envelope/", "text/xml")
    SOAP_12 = ("http://www.w3.org/2003/05/soap-envelope", "application/soap+xml")

    @property
    def namespace(self) -> str:
        """Return the namespace of its envelope."""
        return self.value[0]

    @property
    def media_type(self) -> str:
        """Return the media type of its messages."""
        return self.value[1]


_ACTORS = {
    Version.SOAP_11: ("actor", ("http://schemas.xmlsoap.org/soap/actor/next",)),
    Version.SOAP_12: (
        "role",
        (
            "http://www.w3.org/2003/05/soap-envelope/role/next",
            "http://www.w3.org/2003/05/soap-envelope/role/ultimateReceiver",
        ),
    ),
}
"""The attribute that says for whom a header block is, and its values that mean the bridge, beside none."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """What a request holds.

    Attributes:
        version: Of SOAP.
        blocks: Header blocks for the bridge.
        content: The only child of the body.
    """

    version: Version
    blocks: Sequence[etree._Element]
    content: etree._Element


def open_envelope(root: etree._Element, version: Version) -> Envelope:
    """Return what an envelope holds.

    Args:
        root: Of the document.
        version: As the content type says.

    Raises:
        Problem: VERSION_MISMATCH, or MALFORMED.
    """
    name = etree.QName(root)
    if name.localname != "Envelope":
        raise Problem(Reason.MALFORMED, "the document is no SOAP envelope", value=name.localname)
    if name.namespace not in (each.namespace for each in Version):
        message = "the envelope is neither of SOAP 1.1 nor of SOAP 1.2"
        raise Problem(Reason.VERSION_MISMATCH, message, value=name.namespace or "")
    if name.namespace != version.namespace:
        message = f"the content type {version.media_type} and the namespace of the envelope are of different versions"
        raise Problem(Reason.MALFORMED, message, value=name.namespace or "")
    check_no_text(root)
    header_tag, body_tag = f"{{{version.namespace}}}Header", f"{{{version.namespace}}}Body"
    children = list(root)
    blocks: list[etree._Element] = []
    if children and children[0].tag == header_tag:
        header = children.pop(0)
        check_no_text(header)
        blocks = [block for block in header if _is_for_us(block, version)]
    if len(children) != 1 or children[0].tag != body_tag:
        raise Problem(Reason.MALFORMED, "an envelope holds at most one Header, then one Body, and nothing else")
    check_no_text(children[0])
    if len(children[0]) != 1 or not isinstance(children[0][0].tag, str):
        raise Problem(Reason.MALFORMED, "the Body must hold one element, that of the operation")
    return Envelope(version, blocks, children[0][0])


def _is_for_us(block: etree._Element, version: Version) -> bool:
    if not isinstance(block.tag, str):
        raise Problem(Reason.MALFORMED, "processing instructions are not allowed")
    attribute, ours = _ACTORS[version]
    actor = block.get(f"{{{version.namespace}}}{attribute}", "")
    return not actor or actor in ours


def must_understand(block: etree._Element, version: Version) -> bool:
    """Say whether a header block may not be ignored."""
    return block.get(f"{{{version.namespace}}}mustUnderstand", "").strip() in ("1", "true")


def operation_of(schema: Schema, content: etree._Element) -> tuple[Operation, etree._Element | None]:
    """Return the operation that a body calls, and its request; None if the operation has none.

    Raises:
        Problem: UNKNOWN_OPERATION, MALFORMED, UNKNOWN_FIELD or FIELD_MISSING.
    """
    name = etree.QName(content)
    operation = schema.contract.operations.get(name.localname)
    if operation is None or name.namespace != schema.namespace:
        hint = "" if operation is None else f" in the namespace {name.namespace!r}; use {schema.namespace}"
        raise Problem(Reason.UNKNOWN_OPERATION, f"there is no operation {name.localname[:64]}{hint[:200]}")
    check_attributes(content)
    check_no_text(content)
    wanted = [] if is_empty(operation.request) else [schema.tag(REQUEST_ELEMENT)]
    children = list(content)
    for child in children:
        if child.tag not in wanted:
            found = etree.QName(child).localname[:64] if isinstance(child.tag, str) else "?"
            message = f"{operation.name} holds no element {found} of this namespace"
            raise Problem(Reason.UNKNOWN_FIELD, message, field=found)
    if len(children) > 1:
        raise Problem(Reason.MALFORMED, f"{operation.name} holds {REQUEST_ELEMENT} once", field=REQUEST_ELEMENT)
    if wanted and not children:
        message = f"{operation.name} must hold the element {REQUEST_ELEMENT}"
        raise Problem(Reason.FIELD_MISSING, message, field=REQUEST_ELEMENT)
    return operation, children[0] if children else None


def request_envelope(schema: Schema, writer: Writer, version: Version, operation: Operation, request: Any) -> bytes:
    """Return a call."""
    return _enveloped(schema, writer, version, operation.name, REQUEST_ELEMENT, request)


def answer_envelope(schema: Schema, writer: Writer, version: Version, operation: Operation, answer: Any) -> bytes:
    """Return an answer."""
    return _enveloped(schema, writer, version, operation.name + RESPONSE_SUFFIX, RESULT_ELEMENT, answer)


_XML = '<?xml version="1.0" encoding="UTF-8"?>\n'


def _enveloped(schema: Schema, writer: Writer, version: Version, wrapper: str, name: str, message: Any) -> bytes:
    out = [f'{_XML}<soap:Envelope xmlns:soap="{version.namespace}"><soap:Body><{wrapper} xmlns="{schema.namespace}">']
    if not is_empty(message.DESCRIPTOR):
        writer.write(name, message, out)
    out.append(f"</{wrapper}></soap:Body></soap:Envelope>")
    return "".join(out).encode()


_FAULT_CODES = {
    Reason.VERSION_MISMATCH.value: ("VersionMismatch", "VersionMismatch"),
    Reason.NOT_UNDERSTOOD.value: ("MustUnderstand", "MustUnderstand"),
}


def fault_envelope(
    schema: Schema, writer: Writer, version: Version, fault: Any, not_understood: str | None = None
) -> bytes:
    """Return a fault.

    Args:
        schema: The types.
        writer: Writes its detail.
        version: Of SOAP.
        fault: A ServiceFault.
        not_understood: The name of a header block, as lxml writes it, that was not understood.
    """
    callers = ("Client", "Sender") if rule_of(fault).is_callers else ("Server", "Receiver")
    code_11, code_12 = _FAULT_CODES.get(fault.reason, callers)
    detail = [f'<{FAULT_ELEMENT} xmlns="{schema.namespace}">']
    writer.write_fields(fault, detail)
    detail.append(f"</{FAULT_ELEMENT}>")
    text = escape(fault.message)
    out = [f'{_XML}<soap:Envelope xmlns:soap="{version.namespace}">']
    if version is Version.SOAP_11:
        # No xml:lang: clients of JavaScript would take the text for an object.
        out.append(f"<soap:Body><soap:Fault><faultcode>soap:{code_11}</faultcode><faultstring>{text}</faultstring>")
        out += ["<detail>", *detail, "</detail></soap:Fault></soap:Body></soap:Envelope>"]
        return "".join(out).encode()
    out.append(_header_12(fault, not_understood))
    out.append(f"<soap:Body><soap:Fault><soap:Code><soap:Value>soap:{code_12}</soap:Value>")
    if fault.reason not in _FAULT_CODES:
        subcode = f'<soap:Value xmlns:r="{schema.namespace}">r:{fault.status}</soap:Value>'
        out.append(f"<soap:Subcode>{subcode}</soap:Subcode>")
    out.append(f'</soap:Code><soap:Reason><soap:Text xml:lang="en">{text}</soap:Text></soap:Reason>')
    out += ["<soap:Detail>", *detail, "</soap:Detail></soap:Fault></soap:Body></soap:Envelope>"]
    return "".join(out).encode()


def _header_12(fault: Any, not_understood: str | None) -> str:
    """Return the header of a fault of SOAP 1.2, which says what would be understood, or what was not."""
    if fault.reason == Reason.NOT_UNDERSTOOD and not_understood is not None:
        name = etree.QName(not_understood)
        namespace = escape(name.namespace or "").replace('"', "&quot;")
        qname = f"n:{name.localname}" if namespace else name.localname
        declared = f' xmlns:n="{namespace}"' if namespace else ""
        return f'<soap:Header><soap:NotUnderstood qname="{qname}"{declared}/></soap:Header>'
    if fault.reason == Reason.VERSION_MISMATCH:
        known = "".join(
            f'<soap:SupportedEnvelope qname="e{number}:Envelope" xmlns:e{number}="{each.namespace}"/>'
            for number, each in enumerate(Version)
        )
        return f"<soap:Header><soap:Upgrade>{known}</soap:Upgrade></soap:Header>"
    return ""
