"""What is refused of a write before it is journalled."""

from __future__ import annotations

import re

from google.protobuf import struct_pb2

from rte.v1 import session_service_pb2 as pb
from rte_server.engine.program import Program
from rte_server.engine.reasons import EngineError, Reason

ID_BYTES_MAX = 128
NAME_BYTES_MAX = 64
WRITTEN_ATTRIBUTES_MAX = 16

_NAME = re.compile(r"[a-z][a-z0-9_]*", re.ASCII)


def check_update(request: pb.UpdateSessionRequest, program: Program, string_bytes_max: int) -> None:
    """Check a request to write attributes.

    Raises:
        EngineError: FIELD_MISSING, STRING_TOO_LONG, OUT_OF_RANGE, WRONG_TYPE, ATTRIBUTE_NOT_WRITABLE or
            TOO_MANY_WRITTEN_ATTRIBUTES.
    """
    _check_ids(request)
    _check_length("etag", request.etag)
    if not request.attributes.fields:
        raise EngineError(Reason.FIELD_MISSING, "attributes is required, at least one", field="attributes")
    _check_count(request.attributes)
    for name, value in request.attributes.fields.items():
        _check_name(name)
        if program.number_of(name) >= 0:
            message = f"the attribute {name!r} is computed by a model; write another name"
            raise EngineError(Reason.ATTRIBUTE_NOT_WRITABLE, message, field=f"attributes.{name}")
        _check_value(name, value, string_bytes_max)


def check_end(request: pb.EndSessionRequest) -> None:
    """Check a request to end a session.

    Raises:
        EngineError: FIELD_MISSING or STRING_TOO_LONG.
    """
    _check_ids(request)


def _check_ids(request: pb.UpdateSessionRequest | pb.EndSessionRequest) -> None:
    if not request.session_id:
        raise EngineError(Reason.FIELD_MISSING, "session_id is required", field="session_id")
    _check_length("request_id", request.request_id)


def _check_length(field: str, value: str) -> None:
    size = len(value.encode())
    if size > ID_BYTES_MAX:
        message = f"{field} has {size} bytes, the limit is {ID_BYTES_MAX}"
        raise EngineError(Reason.STRING_TOO_LONG, message, field=field, value=value, limit=str(ID_BYTES_MAX))


def _check_count(attributes: struct_pb2.Struct) -> None:
    """Refuse more than a session can hold, or lose; else any number would stand in the journal for nothing."""
    limit = WRITTEN_ATTRIBUTES_MAX
    null_count = sum(value.WhichOneof("kind") == "null_value" for value in attributes.fields.values())
    value_count = len(attributes.fields) - null_count
    if value_count > limit or null_count > limit:
        message = f"the request writes {value_count} attributes and removes {null_count}, the limit is {limit} of each"
        raise EngineError(Reason.TOO_MANY_WRITTEN_ATTRIBUTES, message, field="attributes", limit=str(limit))


def _check_name(name: str) -> None:
    size = len(name.encode())
    if size > NAME_BYTES_MAX:
        message = f"the name of an attribute has {size} bytes, the limit is {NAME_BYTES_MAX}"
        limit = str(NAME_BYTES_MAX)
        raise EngineError(Reason.STRING_TOO_LONG, message, field="attributes", value=name, limit=limit)
    if not _NAME.fullmatch(name):
        message = f"the name {name!r} of an attribute must match {_NAME.pattern}"
        raise EngineError(Reason.OUT_OF_RANGE, message, field="attributes", value=name, limit=_NAME.pattern)


def _check_value(name: str, value: struct_pb2.Value, string_bytes_max: int) -> None:
    field = f"attributes.{name}"
    kind = value.WhichOneof("kind")
    if kind in (None, "struct_value", "list_value"):
        message = f"{field} must be a number, a boolean, a string or null"
        raise EngineError(Reason.WRONG_TYPE, message, field=field)
    if kind == "number_value" and not abs(value.number_value) < float("inf"):
        raise EngineError(Reason.OUT_OF_RANGE, f"{field} is not finite", field=field, value=str(value.number_value))
    size = len(value.string_value.encode())
    if size > string_bytes_max:
        message = f"{field} has {size} bytes, the limit is {string_bytes_max}"
        raise EngineError(
            Reason.STRING_TOO_LONG, message, field=field, value=value.string_value, limit=str(string_bytes_max)
        )
