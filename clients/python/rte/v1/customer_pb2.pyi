import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import struct_pb2 as _struct_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Customer(_message.Message):
    __slots__ = ("customer_id", "freshness", "as_of_time", "age", "attributes", "etag")
    class Freshness(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        FRESHNESS_UNSPECIFIED: _ClassVar[Customer.Freshness]
        FRESHNESS_FRESH: _ClassVar[Customer.Freshness]
        FRESHNESS_STALE: _ClassVar[Customer.Freshness]
        FRESHNESS_UNAVAILABLE: _ClassVar[Customer.Freshness]
        FRESHNESS_UNKNOWN_CUSTOMER: _ClassVar[Customer.Freshness]
    FRESHNESS_UNSPECIFIED: Customer.Freshness
    FRESHNESS_FRESH: Customer.Freshness
    FRESHNESS_STALE: Customer.Freshness
    FRESHNESS_UNAVAILABLE: Customer.Freshness
    FRESHNESS_UNKNOWN_CUSTOMER: Customer.Freshness
    class AttributesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: CustomerAttribute
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[CustomerAttribute, _Mapping]] = ...) -> None: ...
    CUSTOMER_ID_FIELD_NUMBER: _ClassVar[int]
    FRESHNESS_FIELD_NUMBER: _ClassVar[int]
    AS_OF_TIME_FIELD_NUMBER: _ClassVar[int]
    AGE_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    customer_id: str
    freshness: Customer.Freshness
    as_of_time: _timestamp_pb2.Timestamp
    age: _duration_pb2.Duration
    attributes: _containers.MessageMap[str, CustomerAttribute]
    etag: str
    def __init__(self, customer_id: _Optional[str] = ..., freshness: _Optional[_Union[Customer.Freshness, str]] = ..., as_of_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., age: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., attributes: _Optional[_Mapping[str, CustomerAttribute]] = ..., etag: _Optional[str] = ...) -> None: ...

class ErasureReceipt(_message.Message):
    __slots__ = ("erasure_id", "erase_time", "first_position", "last_position", "session_count", "visitor_count", "event_count", "write_count", "row_count", "person_digest", "seal")
    ERASURE_ID_FIELD_NUMBER: _ClassVar[int]
    ERASE_TIME_FIELD_NUMBER: _ClassVar[int]
    FIRST_POSITION_FIELD_NUMBER: _ClassVar[int]
    LAST_POSITION_FIELD_NUMBER: _ClassVar[int]
    SESSION_COUNT_FIELD_NUMBER: _ClassVar[int]
    VISITOR_COUNT_FIELD_NUMBER: _ClassVar[int]
    EVENT_COUNT_FIELD_NUMBER: _ClassVar[int]
    WRITE_COUNT_FIELD_NUMBER: _ClassVar[int]
    ROW_COUNT_FIELD_NUMBER: _ClassVar[int]
    PERSON_DIGEST_FIELD_NUMBER: _ClassVar[int]
    SEAL_FIELD_NUMBER: _ClassVar[int]
    erasure_id: str
    erase_time: _timestamp_pb2.Timestamp
    first_position: str
    last_position: str
    session_count: int
    visitor_count: int
    event_count: int
    write_count: int
    row_count: int
    person_digest: str
    seal: str
    def __init__(self, erasure_id: _Optional[str] = ..., erase_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., first_position: _Optional[str] = ..., last_position: _Optional[str] = ..., session_count: _Optional[int] = ..., visitor_count: _Optional[int] = ..., event_count: _Optional[int] = ..., write_count: _Optional[int] = ..., row_count: _Optional[int] = ..., person_digest: _Optional[str] = ..., seal: _Optional[str] = ...) -> None: ...

class CustomerAttribute(_message.Message):
    __slots__ = ("value", "type", "source", "column", "as_of_time", "expire_time")
    class Type(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        TYPE_UNSPECIFIED: _ClassVar[CustomerAttribute.Type]
        TYPE_BOOLEAN: _ClassVar[CustomerAttribute.Type]
        TYPE_INTEGER: _ClassVar[CustomerAttribute.Type]
        TYPE_NUMBER: _ClassVar[CustomerAttribute.Type]
        TYPE_DECIMAL: _ClassVar[CustomerAttribute.Type]
        TYPE_STRING: _ClassVar[CustomerAttribute.Type]
        TYPE_TIME: _ClassVar[CustomerAttribute.Type]
        TYPE_DATE: _ClassVar[CustomerAttribute.Type]
        TYPE_BYTES: _ClassVar[CustomerAttribute.Type]
        TYPE_JSON: _ClassVar[CustomerAttribute.Type]
        TYPE_LIST: _ClassVar[CustomerAttribute.Type]
    TYPE_UNSPECIFIED: CustomerAttribute.Type
    TYPE_BOOLEAN: CustomerAttribute.Type
    TYPE_INTEGER: CustomerAttribute.Type
    TYPE_NUMBER: CustomerAttribute.Type
    TYPE_DECIMAL: CustomerAttribute.Type
    TYPE_STRING: CustomerAttribute.Type
    TYPE_TIME: CustomerAttribute.Type
    TYPE_DATE: CustomerAttribute.Type
    TYPE_BYTES: CustomerAttribute.Type
    TYPE_JSON: CustomerAttribute.Type
    TYPE_LIST: CustomerAttribute.Type
    VALUE_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    COLUMN_FIELD_NUMBER: _ClassVar[int]
    AS_OF_TIME_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    value: _struct_pb2.Value
    type: CustomerAttribute.Type
    source: str
    column: str
    as_of_time: _timestamp_pb2.Timestamp
    expire_time: _timestamp_pb2.Timestamp
    def __init__(self, value: _Optional[_Union[_struct_pb2.Value, _Mapping]] = ..., type: _Optional[_Union[CustomerAttribute.Type, str]] = ..., source: _Optional[str] = ..., column: _Optional[str] = ..., as_of_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...
