"""What is refused of a write to a customer before it goes to the data mart."""

from __future__ import annotations

import json
import math
import re

from google.protobuf import json_format, struct_pb2

from rte.v1 import customer_service_pb2 as pb
from rte_server.engine.reasons import EngineError, Reason
from rte_server.mart.values import Plain
from rte_server.mart.written import CustomerWrite, WrittenValue

ID_BYTES_MAX = 128
NAME_BYTES_MAX = 64
TEXT_BYTES_MAX = 128
WHY_BYTES_MAX = 500
ATTRIBUTES_MAX = 100

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_ETAG = re.compile(r"[0-9a-f]{1,15}", re.ASCII)


def customer_write(request: pb.UpdateCustomerRequest, now_ms: int, bytes_max: int) -> CustomerWrite:
    """Check a request to write attributes, and return what it wants.

    Args:
        request: The request.
        now_ms: The server's time, milliseconds since 1970.
        bytes_max: Bytes of all attributes together, as JSON.

    Raises:
        EngineError: FIELD_MISSING, STRING_TOO_LONG, OUT_OF_RANGE; ETAG_MISMATCH for an etag that there never is.
    """
    check_customer_id("customer_id", request.customer_id)
    if not request.source:
        raise EngineError(Reason.FIELD_MISSING, "source is required: where the attributes come from", field="source")
    limits = {"source": TEXT_BYTES_MAX, "author": TEXT_BYTES_MAX, "why": WHY_BYTES_MAX, "etag": TEXT_BYTES_MAX}
    for field, limit in limits.items():
        check_length(field, getattr(request, field), limit)
    if request.etag and not _ETAG.fullmatch(request.etag):
        raise EngineError(Reason.ETAG_MISMATCH, "no customer ever had this etag", field="etag", value=request.etag)
    expire_ms = _expire_ms(request, now_ms)
    return CustomerWrite(
        customer_id=request.customer_id,
        values={name: WrittenValue(value, expire_ms) for name, value in _values(request.attributes, bytes_max).items()},
        source=request.source,
        author=request.author,
        why=request.why,
        version=int(request.etag, 16) if request.etag else None,
        now_ms=now_ms,
    )


def check_customer_id(field: str, customer_id: str) -> None:
    """Check the id of a customer.

    Raises:
        EngineError: FIELD_MISSING, STRING_TOO_LONG.
    """
    size = len(customer_id.encode())
    if size == 0:
        raise EngineError(Reason.FIELD_MISSING, f"{field} is required, 1 to {ID_BYTES_MAX} bytes", field=field)
    if size > ID_BYTES_MAX:
        message = f"{field} has {size} bytes, the limit is {ID_BYTES_MAX}"
        raise EngineError(Reason.STRING_TOO_LONG, message, field=field, value=customer_id, limit=str(ID_BYTES_MAX))


def check_length(field: str, text: str, limit: int) -> None:
    """Check the bytes of a text.

    Raises:
        EngineError: STRING_TOO_LONG.
    """
    size = len(text.encode())
    if size > limit:
        message = f"{field} has {size} bytes, the limit is {limit}"
        raise EngineError(Reason.STRING_TOO_LONG, message, field=field, value=text, limit=str(limit))


def _expire_ms(request: pb.UpdateCustomerRequest, now_ms: int) -> int:
    if not request.HasField("expire_time"):
        return 0
    expire_ms = request.expire_time.seconds * 1000 + request.expire_time.nanos // 1_000_000
    if expire_ms <= now_ms:
        message = "expire_time is not in the future"
        raise EngineError(Reason.OUT_OF_RANGE, message, field="expire_time", value=f"{expire_ms} ms")
    return expire_ms


def _values(attributes: struct_pb2.Struct, bytes_max: int) -> dict[str, Plain]:
    count = len(attributes.fields)
    if count == 0:
        raise EngineError(Reason.FIELD_MISSING, "attributes is required, at least one", field="attributes")
    if count > ATTRIBUTES_MAX:
        message = f"the request writes {count} attributes, the limit is {ATTRIBUTES_MAX}"
        limit = str(ATTRIBUTES_MAX)
        raise EngineError(Reason.OUT_OF_RANGE, message, field="attributes", value=str(count), limit=limit)
    for name in attributes.fields:
        check_length("attributes", name, NAME_BYTES_MAX)
        if not _NAME.fullmatch(name):
            message = f"the name {name!r} of an attribute must match {_NAME.pattern}"
            raise EngineError(Reason.OUT_OF_RANGE, message, field="attributes", value=name, limit=_NAME.pattern)
    values = {name: _plain(name, value) for name, value in attributes.fields.items()}
    size = len(json.dumps(values, ensure_ascii=False).encode())
    if size > bytes_max:
        message = f"the attributes have {size} bytes as JSON, the limit is {bytes_max}"
        raise EngineError(Reason.OUT_OF_RANGE, message, field="attributes", value=str(size), limit=str(bytes_max))
    return values


def _plain(name: str, value: struct_pb2.Value) -> Plain:
    try:
        found: Plain = json_format.MessageToDict(value)
    except (json_format.SerializeToJsonError, ValueError):
        message = f"attributes.{name} holds a number that is not finite, or no value"
        raise EngineError(Reason.OUT_OF_RANGE, message, field=f"attributes.{name}") from None
    return _whole(found)


def _whole(value: Plain) -> Plain:
    """Return numbers without a fraction as whole ones: protobuf knows only doubles."""
    if isinstance(value, float):
        return int(value) if math.isfinite(value) and value.is_integer() and abs(value) < 2**53 else value
    if isinstance(value, list):
        return [_whole(each) for each in value]
    return {name: _whole(each) for name, each in value.items()} if isinstance(value, dict) else value
