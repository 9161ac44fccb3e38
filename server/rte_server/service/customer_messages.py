"""Customers as messages: what is remembered of a record, and the whole `rte.v1.Customer` at the moment of an answer."""

from __future__ import annotations

from google.protobuf import struct_pb2

from rte.v1 import customer_pb2 as pb
from rte_server.mart.states import CustomerRecord, CustomerState
from rte_server.mart.values import Attribute, Plain
from rte_server.service.proto_wire import int_field, message_field, text_field, timestamp_field

ATTRIBUTE_FIELD_BYTES = 8
"""At most so many bytes surround an attribute in the map: tags and lengths."""


class CustomerEncoder:
    """Makes the part of `rte.v1.Customer` that does not depend on when it is read.

    Attributes:
        left_out_count: Attributes that were left out because a customer has too many bytes.
    """

    def __init__(self, bytes_max: int) -> None:
        """Make it.

        Args:
            bytes_max: Bytes of one customer; attributes beyond it are left out, the later ones first.
        """
        self._bytes_max = bytes_max
        self.left_out_count = 0

    def __call__(self, customer_id: str, record: CustomerRecord) -> bytes:
        """Return the fields `customer_id`, `attributes` and `etag`; the same record gives the same bytes."""
        customer = pb.Customer(customer_id=customer_id, etag=etag_of(record.version))
        size = customer.ByteSize()
        for name, attribute in record.attributes.items():
            message = _attribute(attribute)
            size += message.ByteSize() + len(name.encode()) + ATTRIBUTE_FIELD_BYTES
            if size > self._bytes_max:
                self.left_out_count += 1
                size -= message.ByteSize() + len(name.encode()) + ATTRIBUTE_FIELD_BYTES
                continue
            customer.attributes[name].CopyFrom(message)
        return customer.SerializeToString(deterministic=True)


def customer_body(customer_id: str, state: CustomerState, now_ms: int) -> bytes:
    """Return a serialized `rte.v1.Customer`.

    Args:
        customer_id: Who.
        state: What is known; its body is from a CustomerEncoder.
        now_ms: The server's time, milliseconds since 1970.
    """
    body = (state.body or text_field(1, customer_id)) + int_field(2, state.freshness)
    if not state.read_ms:
        return body
    seconds, rest_ms = divmod(max(now_ms - state.read_ms, 0), 1000)
    age = message_field(4, int_field(1, seconds) + int_field(2, rest_ms * 1_000_000))
    return body + timestamp_field(3, state.read_ms) + age


def etag_of(version: int) -> str:
    """Return the etag of a version of what the back office has written."""
    return f"{version:x}"


def _attribute(attribute: Attribute) -> pb.CustomerAttribute:
    message = pb.CustomerAttribute(
        type=pb.CustomerAttribute.Type.Name(attribute.type.value),
        source=attribute.source,
        column=attribute.column,
    )
    _fill(message.value, attribute.value)
    if attribute.as_of_ms:
        message.as_of_time.FromMilliseconds(attribute.as_of_ms)
    if attribute.expire_ms:
        message.expire_time.FromMilliseconds(attribute.expire_ms)
    return message


def _fill(message: struct_pb2.Value, value: Plain) -> None:
    if value is None:
        message.null_value = struct_pb2.NULL_VALUE
    elif isinstance(value, bool):
        message.bool_value = value
    elif isinstance(value, int | float):
        message.number_value = value
    elif isinstance(value, str):
        message.string_value = value
    elif isinstance(value, list):
        message.list_value.SetInParent()
        for each in value:
            _fill(message.list_value.values.add(), each)
    else:
        message.struct_value.SetInParent()
        for name, each in value.items():
            _fill(message.struct_value.fields[name], each)
