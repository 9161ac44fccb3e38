"""JSON schemas of the contract's messages, as they look over HTTP."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorSet,
)

from rte_server.edge.openapi_comments import Comments, is_required, plain

Json = dict[str, Any]
Field = FieldDescriptorProto

STATUS = ".google.rpc.Status"

WELL_KNOWN: dict[str, Json] = {
    ".google.protobuf.Timestamp": {"type": "string", "format": "date-time"},
    ".google.protobuf.Duration": {"type": "string", "pattern": r"^-?[0-9]{1,12}(\.[0-9]{1,9})?s$"},
    ".google.protobuf.FieldMask": {"type": "string", "description": "Paths, with commas between them."},
    ".google.protobuf.Struct": {"type": "object", "additionalProperties": True},
    ".google.protobuf.Value": {"description": "Any JSON value."},
    STATUS: {"$ref": "#/components/schemas/Status"},
}

_SCALARS: dict[int, Json] = {
    Field.TYPE_STRING: {"type": "string"},
    Field.TYPE_BOOL: {"type": "boolean"},
    Field.TYPE_INT32: {"type": "integer", "format": "int32", "minimum": -(1 << 31), "maximum": (1 << 31) - 1},
    Field.TYPE_DOUBLE: {"anyOf": [{"type": "number"}, {"type": "string", "enum": ["NaN", "Infinity", "-Infinity"]}]},
    Field.TYPE_BYTES: {"type": "string", "contentEncoding": "base64"},
}

ERROR_SCHEMAS: dict[str, Json] = {
    "Status": {
        "type": "object",
        "description": "Why a call, or one item of it, was refused: `google.rpc.Status`.",
        "required": ["code", "message"],
        "properties": {
            "code": {"type": "integer", "description": "The status code of gRPC."},
            "message": {"type": "string", "description": "What is wrong, in a sentence."},
            "details": {"type": "array", "items": {"$ref": "#/components/schemas/StatusDetail"}},
        },
        "example": {
            "code": 5,
            "message": 'no session has session_id "8f0c"',
            "details": [
                {
                    "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                    "reason": "SESSION_NOT_FOUND",
                    "domain": "rte.v1",
                    "metadata": {"field": "session_id", "value": "8f0c"},
                }
            ],
        },
    },
    "StatusDetail": {
        "type": "object",
        "description": "A detail: `ErrorInfo` with the reason, `BadRequest` with the field, `RetryInfo` with the pause.",
        "required": ["@type"],
        "properties": {
            "@type": {"type": "string"},
            "reason": {"type": "string", "description": "Of `ErrorInfo`: a name of ErrorReason without its prefix."},
            "domain": {"type": "string", "description": "Of `ErrorInfo`: `rte.v1`."},
            "metadata": {"type": "object", "additionalProperties": {"type": "string"}},
            "field_violations": {"type": "array", "items": {"type": "object"}},
            "retry_delay": {"type": "string"},
        },
        "additionalProperties": True,
    },
}


class Schemas:
    """Makes schemas; those of whole messages are kept in `made` and referred to.

    Attributes:
        messages: All messages of the descriptor set by their full name, `.rte.v1.Session`.
        made: Schemas by the names that the description gives them.
    """

    def __init__(self, contract: FileDescriptorSet, comments: Comments) -> None:
        self.messages: dict[str, DescriptorProto] = {}
        self.made: dict[str, Json] = {}
        self._enums: dict[str, EnumDescriptorProto] = {}
        self._comments = comments
        self._places: dict[int, tuple[str, tuple[int, ...]]] = {}
        for file in contract.file:
            for number, message in enumerate(file.message_type):
                self._add(f".{file.package}", message, file.name, (4, number))
            for enum in file.enum_type:
                self._enums[f".{file.package}.{enum.name}"] = enum

    def _add(self, scope: str, message: DescriptorProto, file: str, path: tuple[int, ...]) -> None:
        name = f"{scope}.{message.name}"
        self.messages[name] = message
        self._places[id(message)] = (file, path)
        for number, nested in enumerate(message.nested_type):
            self._add(name, nested, file, (*path, 3, number))
        for enum in message.enum_type:
            self._enums[f"{name}.{enum.name}"] = enum

    def comment(self, message: DescriptorProto, field: FieldDescriptorProto) -> str:
        """Return the comment of a field."""
        file, path = self._places[id(message)]
        return self._comments.of(file, *path, 2, list(message.field).index(field))

    def comment_of(self, name: str) -> str:
        """Return the comment of a message."""
        file, path = self._places[id(self.messages[name])]
        return self._comments.of(file, *path)

    def reference(self, name: str, *, strict: bool = False) -> Json:
        """Return a reference to the schema of a message, which is made if it is new.

        Args:
            name: Its full name.
            strict: Whether it is part of a request, in which unknown members are refused and some are required.
        """
        if name in WELL_KNOWN:
            return dict(WELL_KNOWN[name])
        shown = ".".join(name.split(".")[3:])
        if shown not in self.made:
            self.made[shown] = {}  # A message may hold itself.
            message = self.messages[name]
            self.made[shown] = self.object_of(message, [field.name for field in message.field], strict=strict)
        return {"$ref": f"#/components/schemas/{shown}"}

    def object_of(self, message: DescriptorProto, names: Collection[str], *, strict: bool = False) -> Json:
        """Return the schema of some fields of a message."""
        file, path = self._places[id(message)]
        fields = [field for field in message.field if field.name in names]
        members = {field.name: self._described(message, field, strict=strict) for field in fields}
        schema: Json = {
            "type": "object",
            "description": plain(self._comments.of(file, *path)),
            "properties": members,
        }
        if strict:
            required = [field.name for field in fields if is_required(self.comment(message, field))]
            schema |= {"required": required} if required else {}
            schema["additionalProperties"] = False
        return schema

    def _described(self, message: DescriptorProto, field: FieldDescriptorProto, *, strict: bool) -> Json:
        text = plain(self.comment(message, field))
        # In 3.1 a description may stand beside a reference.
        return self.of_field(field, strict=strict) | ({"description": text} if text else {})

    def of_field(self, field: FieldDescriptorProto, *, strict: bool = False) -> Json:
        """Return the schema of a field's value.

        Raises:
            KeyError: It has a type that the contract did not use before.
        """
        if field.type == Field.TYPE_MESSAGE and field.type_name in self.messages:
            message = self.messages[field.type_name]
            if message.options.map_entry:
                value = self.of_field(message.field[1], strict=strict)
                return {"type": "object", "additionalProperties": value}
        if field.type == Field.TYPE_MESSAGE:
            one = self.reference(field.type_name, strict=strict)
        elif field.type == Field.TYPE_ENUM:
            one = {"type": "string", "enum": [value.name for value in self._enums[field.type_name].value]}
        else:
            one = dict(_SCALARS[field.type])
        return {"type": "array", "items": one} if field.label == Field.LABEL_REPEATED else one
