"""Messages -> XML.

Tags are constants of the schema and every value passes `scalars.escape` or is of digits, so the text is put together
from strings: three times as fast as a tree. A test parses and validates what is written.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby
from typing import Any

from google.protobuf.descriptor import Descriptor

from rte_soap.faults import fault_of
from rte_soap.schema import Element, Schema

_Part = Callable[[Any, list[str]], None]
"""Writes one field of a message to the end of a list of texts."""


class Writer:
    """Writes messages of a schema; its default namespace must be that of the schema."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self._plans: dict[str, list[_Part]] = {}

    def write(self, name: str, message: Any, out: list[str]) -> None:
        """Write a message as the element `name`."""
        out.append(f"<{name}>")
        self.write_fields(message, out)
        out.append(f"</{name}>")

    def write_fields(self, message: Any, out: list[str]) -> None:
        """Write what a message holds, without an element around it."""
        for part in self._plan(message.DESCRIPTOR):
            part(message, out)

    def _plan(self, descriptor: Descriptor) -> list[_Part]:
        plan = self._plans.get(descriptor.full_name)
        if plan is None:
            # Kept before it is full, since a message may hold itself.
            plan = self._plans[descriptor.full_name] = []
            for oneof, elements in groupby(self._schema.elements(descriptor), lambda element: element.oneof):
                members = list(elements)
                plan += [self._choice(oneof, members)] if oneof else [self._part(element) for element in members]
        return plan

    def _choice(self, oneof: str, members: list[Element]) -> _Part:
        """Return what writes the member of a oneof that is set, if it is one of `members`.

        Members follow one another in the schema, but for those of a oneof with other fields between their numbers, which
        is then written in several parts. To ask which one is set is faster than to ask each.
        """
        writes = {element.field.name: self._value(element) for element in members}

        def choice(message: Any, out: list[str]) -> None:
            name = message.WhichOneof(oneof)
            write = writes.get(name) if name is not None else None
            if write is not None:
                write(getattr(message, name), out)

        return choice

    def _part(self, element: Element) -> _Part:
        if element.is_map:
            return self._map(element)
        write = self._value(element)
        field = element.field.name
        if element.is_repeated:

            def repeated(message: Any, out: list[str]) -> None:
                for value in getattr(message, field):
                    write(value, out)

            return repeated
        if element.field.has_presence:

            def optional(message: Any, out: list[str]) -> None:
                if message.HasField(field):
                    write(getattr(message, field), out)

            return optional
        # A field without presence is always written, so that clients with static types have its value.
        return lambda message, out: write(getattr(message, field), out)

    def _value(self, element: Element) -> _Part:
        """Return what writes one value of an element."""
        begin, end = f"<{element.name}>", f"</{element.name}>"
        single = element.scalar or element.simple
        if single is not None:
            text = single.write
            return lambda value, out: out.append(begin + text(value) + end)
        assert element.message is not None
        is_status = element.is_status
        form, plan = element.message, self._plan(element.message)

        def nested(value: Any, out: list[str]) -> None:
            out.append(begin)
            shown = fault_of(value, form) if is_status else value
            for part in plan:
                part(shown, out)
            out.append(end)

        return nested

    def _map(self, element: Element) -> _Part:
        assert element.message is not None
        begin, end = f"<{element.name}>", f"</{element.name}>"
        key, value = (self._value(each) for each in self._schema.elements(element.message))
        field = element.field.name

        def entries(message: Any, out: list[str]) -> None:
            found = getattr(message, field)
            for name in sorted(found):
                out.append(begin)
                key(name, out)
                value(found[name], out)
                out.append(end)

        return entries
