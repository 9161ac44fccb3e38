"""Requests, from their wire bytes, strictly.

A native gRPC request is the public message. A JSON request comes through Envoy as the fields of its path and the whole
body as `google.protobuf.Struct json = 15` (see `rte_server.edge.descriptors`), because Envoy's own transcoder would
drop members that it does not know with a 200. Here they are named and refused.
"""

from __future__ import annotations

from typing import TypeVar

from google.protobuf import json_format, struct_pb2, unknown_fields
from google.protobuf.message import DecodeError, Message

from rte_server.engine.reasons import EngineError, Reason

JSON_FIELD_NUMBER = 15
"""Number of the Struct that carries a JSON body; the public requests reserve it."""

READ_BYTES_MAX = 256 * 1024
"""Bytes of a request that reads: 1,000 of the longest ids are half of it."""

_LENGTH_DELIMITED = 2

M = TypeVar("M", bound=Message)


def parse(body: bytes, kind: type[M]) -> M:
    """Return the request to read that `body` holds.

    Raises:
        EngineError: MALFORMED if `body` is no valid message of this kind; REQUEST_TOO_LARGE if it is longer than
            READ_BYTES_MAX, so that what is remembered of filters and masks stays small.
    """
    if len(body) > READ_BYTES_MAX:
        message = f"the request has {len(body):,} bytes, the limit of one that reads is {READ_BYTES_MAX:,}"
        raise EngineError(Reason.REQUEST_TOO_LARGE, message, value=str(len(body)), limit=str(READ_BYTES_MAX))
    return _decoded(body, kind)


def _decoded(body: bytes, kind: type[M]) -> M:
    try:
        return kind.FromString(body)
    except DecodeError as error:
        message = f"the request is no valid {kind.DESCRIPTOR.full_name}, or is nested too deep"
        raise EngineError(Reason.MALFORMED, message) from error


def parse_with_json(body: bytes, kind: type[M]) -> M:
    """Return the request that `body` holds, natively or as path fields with a JSON body.

    Raises:
        EngineError: MALFORMED if `body` is no valid message; UNKNOWN_FIELD if the JSON has a member that the contract
            does not know; WRONG_TYPE if a member has another type; OUT_OF_RANGE if a member of the body contradicts
            the same field in the path.
    """
    request = _decoded(body, kind)
    form = _json_form(request)
    if form is None:
        return request
    # The native fields that came along are those of the path; anything else of field 15 is no part of the contract.
    request.DiscardUnknownFields()
    _merge_json(request, form)
    return request


def _json_form(request: Message) -> struct_pb2.Struct | None:
    found = None
    for field in unknown_fields.UnknownFieldSet(request):  # type: ignore[attr-defined]
        if field.field_number == JSON_FIELD_NUMBER and field.wire_type == _LENGTH_DELIMITED:
            found = _decoded(field.data, struct_pb2.Struct) if found is None else found
    return found


def _merge_json(request: Message, form: struct_pb2.Struct) -> None:
    descriptor = request.DESCRIPTOR
    for member, value in form.fields.items():
        field = descriptor.fields_by_camelcase_name.get(member) or descriptor.fields_by_name.get(member)
        if field is None:
            message = f"{descriptor.name} has no member {member!r}; it has {', '.join(descriptor.fields_by_name)}"
            raise EngineError(Reason.UNKNOWN_FIELD, message, field=member)
        if value.WhichOneof("kind") == "null_value":
            continue  # The JSON form of protobuf: null is the same as an absent member.
        _merge_member(request, field.name, member, value)


def _merge_member(request: Message, field: str, member: str, value: struct_pb2.Value) -> None:
    part = type(request)()
    try:
        json_format.ParseDict({member: json_format.MessageToDict(value)}, part)
    except (json_format.ParseError, json_format.SerializeToJsonError) as error:
        message = f"the member {member!r} has a wrong type or value"
        raise EngineError(Reason.WRONG_TYPE, message, field=field) from error
    bound, given = getattr(request, field), getattr(part, field)
    if isinstance(bound, str) and bound and bound != given:
        message = f"the member {member!r} of the body is {given!r}, the path says {bound!r}"
        raise EngineError(Reason.OUT_OF_RANGE, message, field=field, value=given)
    request.MergeFrom(part)
