"""XML -> messages.

Children are taken in any order, by their full name, since clients without the schema send them as they come. Everything
else is strict: what is unknown, given twice, or of another type is a Problem that names the field. `xsi:nil` means that
the element is absent: common clients write it for null.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from google.protobuf.descriptor import Descriptor
from lxml import etree

from rte_bridge.problems import Problem, Reason, shown
from rte_soap.contract import new_message
from rte_soap.faults import set_status
from rte_soap.scalars import XML_SPACE
from rte_soap.schema import Element, Schema

DEPTH_MAX = 64
"""Elements inside of each other in a message. Properties of events, 8 levels deep, need 28."""

_XSI = "http://www.w3.org/2001/XMLSchema-instance"
_NIL = f"{{{_XSI}}}nil"
_IGNORED_ATTRIBUTES = frozenset(
    (
        "id",
        _NIL,
        f"{{{_XSI}}}type",
        f"{{{_XSI}}}schemaLocation",
        f"{{{_XSI}}}noNamespaceSchemaLocation",
        "{http://schemas.xmlsoap.org/soap/envelope/}encodingStyle",
        "{http://www.w3.org/2003/05/soap-envelope}encodingStyle",
    )
)

_NAME_SHOWN = 64
"""Characters of a foreign name that an error shows."""

_Field = Callable[[Any, Any, int], None]
"""Sets one field of a message from an lxml element at a depth."""


class _Plan:
    """How the children of a message are read."""

    def __init__(self) -> None:
        self.fields: dict[str, tuple[_Field, Element]] = {}


class Reader:
    """Reads messages of a schema."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self._plans: dict[str, _Plan] = {}

    def read(self, element: etree._Element, message: Any) -> None:
        """Set an empty message from an element.

        Raises:
            Problem: MALFORMED, UNKNOWN_FIELD, WRONG_TYPE, FIELD_MISSING, OUT_OF_RANGE or TOO_DEEP, with the path of
                the field in the names of the contract.
        """
        check_attributes(element)
        self._read(self._plan(message.DESCRIPTOR), element, message, 1)

    def _plan(self, descriptor: Descriptor) -> _Plan:
        plan = self._plans.get(descriptor.full_name)
        if plan is None:
            # Kept before it is full, since a message may hold itself.
            plan = self._plans[descriptor.full_name] = _Plan()
            for element in self._schema.elements(descriptor):
                plan.fields[self._schema.tag(element.name)] = (self._field(element), element)
        return plan

    def _read(self, plan: _Plan, parent: etree._Element, message: Any, depth: int) -> None:
        if depth > DEPTH_MAX:
            limit = str(DEPTH_MAX)
            raise Problem(Reason.TOO_DEEP, f"elements are nested deeper than {limit} levels", limit=limit)
        check_no_text(parent)
        seen: set[str] = set()
        counts: dict[str, int] = {}
        for child in parent:
            found = plan.fields.get(child.tag)
            if found is None:
                raise _unknown(child, parent, plan.fields)
            read, element = found
            name = element.field.name
            if element.is_repeated:
                number = counts[name] = counts.get(name, -1) + 1
                name = f"{name}[{number}]"
            elif name in seen:
                raise Problem(Reason.MALFORMED, f"the element {element.name} is given twice", field=name)
            try:
                if child.attrib and is_nil(child):
                    _check_nil(child, element)
                    continue
                if element.oneof and message.WhichOneof(element.oneof) is not None:
                    other = message.WhichOneof(element.oneof)
                    raise Problem(Reason.MALFORMED, f"{element.field.name} and {other} exclude each other")
                read(message, child, depth)
            except Problem as problem:
                problem.inside(name)
                raise
            seen.add(name)

    def _field(self, element: Element) -> _Field:
        if element.is_map:
            return self._map(element)
        name = element.field.name
        if element.scalar is not None:
            convert = element.scalar.read
            if element.is_repeated:
                return lambda message, child, _: getattr(message, name).append(convert(text_of(child)))
            return lambda message, child, _: setattr(message, name, convert(text_of(child)))
        target = _added(name) if element.is_repeated else _own(name)
        if element.simple is not None:
            fill = element.simple.read
            return lambda message, child, _: fill(text_of(child), target(message))
        return self._nested(element, target)

    def _nested(self, element: Element, target: Callable[[Any], Any]) -> _Field:
        assert element.message is not None
        plan = self._plan(element.message)
        if element.is_status:
            form = element.message

            def status(message: Any, child: etree._Element, depth: int) -> None:
                fault = new_message(form)
                self._read(plan, child, fault, depth + 1)
                set_status(fault, target(message))

            return status

        def nested(message: Any, child: etree._Element, depth: int) -> None:
            inner = target(message)
            inner.SetInParent()
            self._read(plan, child, inner, depth + 1)

        return nested

    def _map(self, element: Element) -> _Field:
        """Return what adds an entry."""
        assert element.message is not None
        key_element, value_element = self._schema.elements(element.message)
        assert key_element.scalar is not None
        read_key = key_element.scalar.read
        set_value = self._map_value(value_element)
        name = element.field.name
        key_tag, value_tag = self._schema.tag(key_element.name), self._schema.tag(value_element.name)

        def entry(message: Any, child: etree._Element, depth: int) -> None:
            check_no_text(child)
            parts: dict[str, etree._Element] = {}
            for part in child:
                if part.tag not in (key_tag, value_tag):
                    raise _unknown(part, child, (key_tag, value_tag))
                if part.tag in parts:
                    raise Problem(Reason.MALFORMED, "key and value are given once", field=etree.QName(part).localname)
                if not (part.attrib and is_nil(part)):
                    parts[part.tag] = part
            if key_tag not in parts:
                raise Problem(Reason.FIELD_MISSING, "the entry has no key", field="key")
            key = _inside("key", lambda: read_key(text_of(parts[key_tag])))
            entries = getattr(message, name)
            if key in entries:
                raise Problem(Reason.MALFORMED, "the key is given twice", field="key", value=str(key))
            _inside(f'["{shown(str(key))}"]', lambda: set_value(entries, key, parts.get(value_tag), depth))

        return entry

    def _map_value(self, element: Element) -> Callable[[Any, Any, etree._Element | None, int], None]:
        """Return what sets the value of a key; without an element a message is empty, and a scalar a Problem."""
        scalar, simple, message = element.scalar, element.simple, element.message

        def required(part: etree._Element | None) -> etree._Element:
            if part is None:
                raise Problem(Reason.FIELD_MISSING, "the entry has no value", field="value")
            return part

        if scalar is not None:
            convert = scalar.read

            def set_scalar(entries: Any, key: Any, part: etree._Element | None, _: int) -> None:
                entries[key] = convert(text_of(required(part)))

            return set_scalar
        if simple is not None:
            fill = simple.read
            return lambda entries, key, part, _: fill(text_of(required(part)), entries[key])
        assert message is not None
        plan = self._plan(message)

        def set_message(entries: Any, key: Any, part: etree._Element | None, depth: int) -> None:
            value = entries[key]
            if part is not None:
                self._read(plan, part, value, depth + 2)

        return set_message


_T = TypeVar("_T")


def _inside(name: str, work: Callable[[], _T]) -> _T:
    """Return what `work` returns; a Problem of it lies inside of `name`."""
    try:
        return work()
    except Problem as problem:
        problem.inside(name)
        raise


def _added(name: str) -> Callable[[Any], Any]:
    return lambda message: getattr(message, name).add()


def _own(name: str) -> Callable[[Any], Any]:
    return lambda message: getattr(message, name)


def text_of(element: etree._Element) -> str:
    """Return the text of an element that holds one value.

    Raises:
        Problem: It holds elements.
    """
    if len(element):
        raise Problem(Reason.WRONG_TYPE, "expected a text, found an element")
    return element.text or ""


def check_attributes(element: etree._Element) -> None:
    """Raise a Problem if an element has attributes that mean something to somebody else."""
    for name in element.attrib:
        if name == "href":
            # PHP refers to an array that stands in two places. Following references would let a small document grow
            # exponentially.
            message = "references (href) are not followed; give each place a value of its own, in PHP a copy"
            raise Problem(Reason.UNKNOWN_FIELD, message, value=str(element.get(name)))
        if name not in _IGNORED_ATTRIBUTES:
            raise Problem(Reason.UNKNOWN_FIELD, "elements have no attributes here", value=str(name))


def check_no_text(element: etree._Element) -> None:
    """Raise a Problem if there is text beside the children of an element."""
    texts = [element.text, *(child.tail for child in element)]
    for text in texts:
        if text and text.strip(XML_SPACE):
            raise Problem(Reason.MALFORMED, "expected elements, found text", value=text.strip(XML_SPACE))


def is_nil(element: etree._Element) -> bool:
    """Say whether an element stands for nothing; raises a Problem if it has other attributes."""
    check_attributes(element)
    return element.get(_NIL) in ("true", "1")


def _check_nil(child: etree._Element, element: Element) -> None:
    if element.is_repeated:
        raise Problem(Reason.WRONG_TYPE, "an element of a list cannot be nil")
    if len(child) or (child.text or "").strip(XML_SPACE):
        raise Problem(Reason.MALFORMED, "an element that is nil must be empty")


def _unknown(child: etree._Element, parent: etree._Element, known: Iterable[str]) -> Problem:
    """Return what is wrong with a child that no field has."""
    if not isinstance(child.tag, str):
        return Problem(Reason.MALFORMED, "processing instructions are not allowed")
    name = etree.QName(child)
    where = etree.QName(parent).localname
    names = [etree.QName(tag) for tag in known]
    if any(each.localname == name.localname for each in names):
        wanted = names[0].namespace
        message = f"the element {name.localname} in {where} must be in the namespace {wanted}"
    else:
        message = f"there is no element {name.localname[:_NAME_SHOWN]} in {where}"
    return Problem(Reason.UNKNOWN_FIELD, message, field=name.localname[:_NAME_SHOWN], value=name.namespace or "")
