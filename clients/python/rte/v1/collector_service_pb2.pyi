from google.api import annotations_pb2 as _annotations_pb2
from rte.v1 import collector_pb2 as _collector_pb2
from rte.v1 import error_reason_pb2 as _error_reason_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ListQuarantinedEventsRequest(_message.Message):
    __slots__ = ("page_size", "page_token", "protocol", "reason")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    protocol: str
    reason: _error_reason_pb2.ErrorReason
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., protocol: _Optional[str] = ..., reason: _Optional[_Union[_error_reason_pb2.ErrorReason, str]] = ...) -> None: ...

class ListQuarantinedEventsResponse(_message.Message):
    __slots__ = ("events", "next_page_token", "total_count", "lost_count")
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    TOTAL_COUNT_FIELD_NUMBER: _ClassVar[int]
    LOST_COUNT_FIELD_NUMBER: _ClassVar[int]
    events: _containers.RepeatedCompositeFieldContainer[_collector_pb2.QuarantinedEvent]
    next_page_token: str
    total_count: int
    lost_count: int
    def __init__(self, events: _Optional[_Iterable[_Union[_collector_pb2.QuarantinedEvent, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., total_count: _Optional[int] = ..., lost_count: _Optional[int] = ...) -> None: ...

class ResubmitQuarantinedEventsRequest(_message.Message):
    __slots__ = ("quarantine_ids", "all")
    QUARANTINE_IDS_FIELD_NUMBER: _ClassVar[int]
    ALL_FIELD_NUMBER: _ClassVar[int]
    quarantine_ids: _containers.RepeatedScalarFieldContainer[str]
    all: bool
    def __init__(self, quarantine_ids: _Optional[_Iterable[str]] = ..., all: _Optional[bool] = ...) -> None: ...

class ResubmitQuarantinedEventsResponse(_message.Message):
    __slots__ = ("accepted_count", "rejected_count")
    ACCEPTED_COUNT_FIELD_NUMBER: _ClassVar[int]
    REJECTED_COUNT_FIELD_NUMBER: _ClassVar[int]
    accepted_count: int
    rejected_count: int
    def __init__(self, accepted_count: _Optional[int] = ..., rejected_count: _Optional[int] = ...) -> None: ...

class DropQuarantinedEventsRequest(_message.Message):
    __slots__ = ("quarantine_ids", "all")
    QUARANTINE_IDS_FIELD_NUMBER: _ClassVar[int]
    ALL_FIELD_NUMBER: _ClassVar[int]
    quarantine_ids: _containers.RepeatedScalarFieldContainer[str]
    all: bool
    def __init__(self, quarantine_ids: _Optional[_Iterable[str]] = ..., all: _Optional[bool] = ...) -> None: ...

class DropQuarantinedEventsResponse(_message.Message):
    __slots__ = ("dropped_count",)
    DROPPED_COUNT_FIELD_NUMBER: _ClassVar[int]
    dropped_count: int
    def __init__(self, dropped_count: _Optional[int] = ...) -> None: ...
