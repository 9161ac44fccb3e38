import datetime

from google.api import annotations_pb2 as _annotations_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import struct_pb2 as _struct_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from rte.v1 import customer_pb2 as _customer_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class DeleteCustomerRequest(_message.Message):
    __slots__ = ("customer_id", "visitor_id")
    CUSTOMER_ID_FIELD_NUMBER: _ClassVar[int]
    VISITOR_ID_FIELD_NUMBER: _ClassVar[int]
    customer_id: str
    visitor_id: str
    def __init__(self, customer_id: _Optional[str] = ..., visitor_id: _Optional[str] = ...) -> None: ...

class DeleteCustomerResponse(_message.Message):
    __slots__ = ("receipt", "remaining_sources", "remaining_sources_unknown", "earlier_receipts")
    RECEIPT_FIELD_NUMBER: _ClassVar[int]
    REMAINING_SOURCES_FIELD_NUMBER: _ClassVar[int]
    REMAINING_SOURCES_UNKNOWN_FIELD_NUMBER: _ClassVar[int]
    EARLIER_RECEIPTS_FIELD_NUMBER: _ClassVar[int]
    receipt: _customer_pb2.ErasureReceipt
    remaining_sources: _containers.RepeatedScalarFieldContainer[str]
    remaining_sources_unknown: bool
    earlier_receipts: _containers.RepeatedCompositeFieldContainer[_customer_pb2.ErasureReceipt]
    def __init__(self, receipt: _Optional[_Union[_customer_pb2.ErasureReceipt, _Mapping]] = ..., remaining_sources: _Optional[_Iterable[str]] = ..., remaining_sources_unknown: _Optional[bool] = ..., earlier_receipts: _Optional[_Iterable[_Union[_customer_pb2.ErasureReceipt, _Mapping]]] = ...) -> None: ...

class VerifyErasureReceiptRequest(_message.Message):
    __slots__ = ("receipt", "customer_id", "visitor_id")
    RECEIPT_FIELD_NUMBER: _ClassVar[int]
    CUSTOMER_ID_FIELD_NUMBER: _ClassVar[int]
    VISITOR_ID_FIELD_NUMBER: _ClassVar[int]
    receipt: _customer_pb2.ErasureReceipt
    customer_id: str
    visitor_id: str
    def __init__(self, receipt: _Optional[_Union[_customer_pb2.ErasureReceipt, _Mapping]] = ..., customer_id: _Optional[str] = ..., visitor_id: _Optional[str] = ...) -> None: ...

class VerifyErasureReceiptResponse(_message.Message):
    __slots__ = ("genuine", "person_matches", "session_count")
    GENUINE_FIELD_NUMBER: _ClassVar[int]
    PERSON_MATCHES_FIELD_NUMBER: _ClassVar[int]
    SESSION_COUNT_FIELD_NUMBER: _ClassVar[int]
    genuine: bool
    person_matches: bool
    session_count: int
    def __init__(self, genuine: _Optional[bool] = ..., person_matches: _Optional[bool] = ..., session_count: _Optional[int] = ...) -> None: ...

class GetCustomerRequest(_message.Message):
    __slots__ = ("customer_id", "max_age")
    CUSTOMER_ID_FIELD_NUMBER: _ClassVar[int]
    MAX_AGE_FIELD_NUMBER: _ClassVar[int]
    customer_id: str
    max_age: _duration_pb2.Duration
    def __init__(self, customer_id: _Optional[str] = ..., max_age: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class GetCustomerResponse(_message.Message):
    __slots__ = ("customer", "links")
    CUSTOMER_FIELD_NUMBER: _ClassVar[int]
    LINKS_FIELD_NUMBER: _ClassVar[int]
    customer: _customer_pb2.Customer
    links: _containers.RepeatedCompositeFieldContainer[CustomerLink]
    def __init__(self, customer: _Optional[_Union[_customer_pb2.Customer, _Mapping]] = ..., links: _Optional[_Iterable[_Union[CustomerLink, _Mapping]]] = ...) -> None: ...

class BatchGetCustomersRequest(_message.Message):
    __slots__ = ("customer_ids", "max_age")
    CUSTOMER_IDS_FIELD_NUMBER: _ClassVar[int]
    MAX_AGE_FIELD_NUMBER: _ClassVar[int]
    customer_ids: _containers.RepeatedScalarFieldContainer[str]
    max_age: _duration_pb2.Duration
    def __init__(self, customer_ids: _Optional[_Iterable[str]] = ..., max_age: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class BatchGetCustomersResponse(_message.Message):
    __slots__ = ("customers",)
    CUSTOMERS_FIELD_NUMBER: _ClassVar[int]
    customers: _containers.RepeatedCompositeFieldContainer[_customer_pb2.Customer]
    def __init__(self, customers: _Optional[_Iterable[_Union[_customer_pb2.Customer, _Mapping]]] = ...) -> None: ...

class UpdateCustomerRequest(_message.Message):
    __slots__ = ("customer_id", "attributes", "source", "expire_time", "etag", "author", "why")
    CUSTOMER_ID_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    AUTHOR_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    customer_id: str
    attributes: _struct_pb2.Struct
    source: str
    expire_time: _timestamp_pb2.Timestamp
    etag: str
    author: str
    why: str
    def __init__(self, customer_id: _Optional[str] = ..., attributes: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., source: _Optional[str] = ..., expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., etag: _Optional[str] = ..., author: _Optional[str] = ..., why: _Optional[str] = ...) -> None: ...

class UpdateCustomerResponse(_message.Message):
    __slots__ = ("customer",)
    CUSTOMER_FIELD_NUMBER: _ClassVar[int]
    customer: _customer_pb2.Customer
    def __init__(self, customer: _Optional[_Union[_customer_pb2.Customer, _Mapping]] = ...) -> None: ...

class LinkVisitorRequest(_message.Message):
    __slots__ = ("customer_id", "visitor_id", "why", "author")
    CUSTOMER_ID_FIELD_NUMBER: _ClassVar[int]
    VISITOR_ID_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    AUTHOR_FIELD_NUMBER: _ClassVar[int]
    customer_id: str
    visitor_id: str
    why: str
    author: str
    def __init__(self, customer_id: _Optional[str] = ..., visitor_id: _Optional[str] = ..., why: _Optional[str] = ..., author: _Optional[str] = ...) -> None: ...

class LinkVisitorResponse(_message.Message):
    __slots__ = ("links", "position")
    LINKS_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    links: _containers.RepeatedCompositeFieldContainer[CustomerLink]
    position: str
    def __init__(self, links: _Optional[_Iterable[_Union[CustomerLink, _Mapping]]] = ..., position: _Optional[str] = ...) -> None: ...

class UnlinkVisitorRequest(_message.Message):
    __slots__ = ("customer_id", "visitor_id", "why", "author")
    CUSTOMER_ID_FIELD_NUMBER: _ClassVar[int]
    VISITOR_ID_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    AUTHOR_FIELD_NUMBER: _ClassVar[int]
    customer_id: str
    visitor_id: str
    why: str
    author: str
    def __init__(self, customer_id: _Optional[str] = ..., visitor_id: _Optional[str] = ..., why: _Optional[str] = ..., author: _Optional[str] = ...) -> None: ...

class UnlinkVisitorResponse(_message.Message):
    __slots__ = ("links", "position")
    LINKS_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    links: _containers.RepeatedCompositeFieldContainer[CustomerLink]
    position: str
    def __init__(self, links: _Optional[_Iterable[_Union[CustomerLink, _Mapping]]] = ..., position: _Optional[str] = ...) -> None: ...

class CustomerLink(_message.Message):
    __slots__ = ("visitor_id", "why", "author", "link_time", "position")
    VISITOR_ID_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    AUTHOR_FIELD_NUMBER: _ClassVar[int]
    LINK_TIME_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    visitor_id: str
    why: str
    author: str
    link_time: _timestamp_pb2.Timestamp
    position: str
    def __init__(self, visitor_id: _Optional[str] = ..., why: _Optional[str] = ..., author: _Optional[str] = ..., link_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., position: _Optional[str] = ...) -> None: ...
