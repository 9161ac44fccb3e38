import datetime

from google.api import annotations_pb2 as _annotations_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import field_mask_pb2 as _field_mask_pb2
from google.protobuf import struct_pb2 as _struct_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.rpc import error_details_pb2 as _error_details_pb2
from google.rpc import status_pb2 as _status_pb2
from rte.v1 import session_pb2 as _session_pb2
from rte.v1 import session_explanation_pb2 as _session_explanation_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class StateFilter(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    STATE_FILTER_UNSPECIFIED: _ClassVar[StateFilter]
    STATE_FILTER_ACTIVE: _ClassVar[StateFilter]
    STATE_FILTER_CLOSED: _ClassVar[StateFilter]
    STATE_FILTER_ANY: _ClassVar[StateFilter]
STATE_FILTER_UNSPECIFIED: StateFilter
STATE_FILTER_ACTIVE: StateFilter
STATE_FILTER_CLOSED: StateFilter
STATE_FILTER_ANY: StateFilter

class GetSessionRequest(_message.Message):
    __slots__ = ("session_id", "visitor_id", "customer_id", "client_session_id", "read_mask", "min_position", "customer_max_age", "merged")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    VISITOR_ID_FIELD_NUMBER: _ClassVar[int]
    CUSTOMER_ID_FIELD_NUMBER: _ClassVar[int]
    CLIENT_SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    READ_MASK_FIELD_NUMBER: _ClassVar[int]
    MIN_POSITION_FIELD_NUMBER: _ClassVar[int]
    CUSTOMER_MAX_AGE_FIELD_NUMBER: _ClassVar[int]
    MERGED_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    visitor_id: str
    customer_id: str
    client_session_id: str
    read_mask: _field_mask_pb2.FieldMask
    min_position: str
    customer_max_age: _duration_pb2.Duration
    merged: bool
    def __init__(self, session_id: _Optional[str] = ..., visitor_id: _Optional[str] = ..., customer_id: _Optional[str] = ..., client_session_id: _Optional[str] = ..., read_mask: _Optional[_Union[_field_mask_pb2.FieldMask, _Mapping]] = ..., min_position: _Optional[str] = ..., customer_max_age: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., merged: _Optional[bool] = ...) -> None: ...

class GetSessionResponse(_message.Message):
    __slots__ = ("session", "as_of_time", "position", "merged_session_ids")
    SESSION_FIELD_NUMBER: _ClassVar[int]
    AS_OF_TIME_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    MERGED_SESSION_IDS_FIELD_NUMBER: _ClassVar[int]
    session: _session_pb2.Session
    as_of_time: _timestamp_pb2.Timestamp
    position: str
    merged_session_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, session: _Optional[_Union[_session_pb2.Session, _Mapping]] = ..., as_of_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., position: _Optional[str] = ..., merged_session_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class BatchGetSessionsRequest(_message.Message):
    __slots__ = ("session_ids", "visitor_ids", "read_mask", "min_position")
    SESSION_IDS_FIELD_NUMBER: _ClassVar[int]
    VISITOR_IDS_FIELD_NUMBER: _ClassVar[int]
    READ_MASK_FIELD_NUMBER: _ClassVar[int]
    MIN_POSITION_FIELD_NUMBER: _ClassVar[int]
    session_ids: _containers.RepeatedScalarFieldContainer[str]
    visitor_ids: _containers.RepeatedScalarFieldContainer[str]
    read_mask: _field_mask_pb2.FieldMask
    min_position: str
    def __init__(self, session_ids: _Optional[_Iterable[str]] = ..., visitor_ids: _Optional[_Iterable[str]] = ..., read_mask: _Optional[_Union[_field_mask_pb2.FieldMask, _Mapping]] = ..., min_position: _Optional[str] = ...) -> None: ...

class BatchGetSessionsResponse(_message.Message):
    __slots__ = ("results", "as_of_time", "position")
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    AS_OF_TIME_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[SessionResult]
    as_of_time: _timestamp_pb2.Timestamp
    position: str
    def __init__(self, results: _Optional[_Iterable[_Union[SessionResult, _Mapping]]] = ..., as_of_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., position: _Optional[str] = ...) -> None: ...

class SessionResult(_message.Message):
    __slots__ = ("session", "error")
    SESSION_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    session: _session_pb2.Session
    error: _status_pb2.Status
    def __init__(self, session: _Optional[_Union[_session_pb2.Session, _Mapping]] = ..., error: _Optional[_Union[_status_pb2.Status, _Mapping]] = ...) -> None: ...

class ListSessionsRequest(_message.Message):
    __slots__ = ("filter", "order_by", "page_size", "page_token", "read_mask", "state", "min_position", "customer_id")
    FILTER_FIELD_NUMBER: _ClassVar[int]
    ORDER_BY_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    READ_MASK_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    MIN_POSITION_FIELD_NUMBER: _ClassVar[int]
    CUSTOMER_ID_FIELD_NUMBER: _ClassVar[int]
    filter: str
    order_by: str
    page_size: int
    page_token: str
    read_mask: _field_mask_pb2.FieldMask
    state: StateFilter
    min_position: str
    customer_id: str
    def __init__(self, filter: _Optional[str] = ..., order_by: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., read_mask: _Optional[_Union[_field_mask_pb2.FieldMask, _Mapping]] = ..., state: _Optional[_Union[StateFilter, str]] = ..., min_position: _Optional[str] = ..., customer_id: _Optional[str] = ...) -> None: ...

class ListSessionsResponse(_message.Message):
    __slots__ = ("sessions", "next_page_token", "total_count", "as_of_time", "position")
    SESSIONS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    TOTAL_COUNT_FIELD_NUMBER: _ClassVar[int]
    AS_OF_TIME_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    sessions: _containers.RepeatedCompositeFieldContainer[_session_pb2.Session]
    next_page_token: str
    total_count: int
    as_of_time: _timestamp_pb2.Timestamp
    position: str
    def __init__(self, sessions: _Optional[_Iterable[_Union[_session_pb2.Session, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., total_count: _Optional[int] = ..., as_of_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., position: _Optional[str] = ...) -> None: ...

class WatchSessionsRequest(_message.Message):
    __slots__ = ("filter", "read_mask", "state", "resume_token", "interval_ms_min")
    FILTER_FIELD_NUMBER: _ClassVar[int]
    READ_MASK_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    RESUME_TOKEN_FIELD_NUMBER: _ClassVar[int]
    INTERVAL_MS_MIN_FIELD_NUMBER: _ClassVar[int]
    filter: str
    read_mask: _field_mask_pb2.FieldMask
    state: StateFilter
    resume_token: str
    interval_ms_min: int
    def __init__(self, filter: _Optional[str] = ..., read_mask: _Optional[_Union[_field_mask_pb2.FieldMask, _Mapping]] = ..., state: _Optional[_Union[StateFilter, str]] = ..., resume_token: _Optional[str] = ..., interval_ms_min: _Optional[int] = ...) -> None: ...

class WatchSessionsResponse(_message.Message):
    __slots__ = ("type", "session", "session_id", "resume_token", "as_of_time", "error")
    class Type(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        TYPE_UNSPECIFIED: _ClassVar[WatchSessionsResponse.Type]
        TYPE_RESET: _ClassVar[WatchSessionsResponse.Type]
        TYPE_UPSERT: _ClassVar[WatchSessionsResponse.Type]
        TYPE_REMOVE: _ClassVar[WatchSessionsResponse.Type]
        TYPE_SYNCED: _ClassVar[WatchSessionsResponse.Type]
        TYPE_HEARTBEAT: _ClassVar[WatchSessionsResponse.Type]
        TYPE_ERROR: _ClassVar[WatchSessionsResponse.Type]
    TYPE_UNSPECIFIED: WatchSessionsResponse.Type
    TYPE_RESET: WatchSessionsResponse.Type
    TYPE_UPSERT: WatchSessionsResponse.Type
    TYPE_REMOVE: WatchSessionsResponse.Type
    TYPE_SYNCED: WatchSessionsResponse.Type
    TYPE_HEARTBEAT: WatchSessionsResponse.Type
    TYPE_ERROR: WatchSessionsResponse.Type
    TYPE_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    RESUME_TOKEN_FIELD_NUMBER: _ClassVar[int]
    AS_OF_TIME_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    type: WatchSessionsResponse.Type
    session: _session_pb2.Session
    session_id: str
    resume_token: str
    as_of_time: _timestamp_pb2.Timestamp
    error: _status_pb2.Status
    def __init__(self, type: _Optional[_Union[WatchSessionsResponse.Type, str]] = ..., session: _Optional[_Union[_session_pb2.Session, _Mapping]] = ..., session_id: _Optional[str] = ..., resume_token: _Optional[str] = ..., as_of_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., error: _Optional[_Union[_status_pb2.Status, _Mapping]] = ...) -> None: ...

class UpdateSessionRequest(_message.Message):
    __slots__ = ("session_id", "attributes", "etag", "request_id")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    attributes: _struct_pb2.Struct
    etag: str
    request_id: str
    def __init__(self, session_id: _Optional[str] = ..., attributes: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., etag: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class UpdateSessionResponse(_message.Message):
    __slots__ = ("session", "position")
    SESSION_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    session: _session_pb2.Session
    position: str
    def __init__(self, session: _Optional[_Union[_session_pb2.Session, _Mapping]] = ..., position: _Optional[str] = ...) -> None: ...

class EndSessionRequest(_message.Message):
    __slots__ = ("session_id", "request_id")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    request_id: str
    def __init__(self, session_id: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class EndSessionResponse(_message.Message):
    __slots__ = ("session", "position")
    SESSION_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    session: _session_pb2.Session
    position: str
    def __init__(self, session: _Optional[_Union[_session_pb2.Session, _Mapping]] = ..., position: _Optional[str] = ...) -> None: ...

class ExplainSessionRequest(_message.Message):
    __slots__ = ("session_id", "visitor_id", "customer_id", "client_session_id", "attribute", "page_size", "page_token", "contributed_only", "min_position")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    VISITOR_ID_FIELD_NUMBER: _ClassVar[int]
    CUSTOMER_ID_FIELD_NUMBER: _ClassVar[int]
    CLIENT_SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTE_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    CONTRIBUTED_ONLY_FIELD_NUMBER: _ClassVar[int]
    MIN_POSITION_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    visitor_id: str
    customer_id: str
    client_session_id: str
    attribute: str
    page_size: int
    page_token: str
    contributed_only: bool
    min_position: str
    def __init__(self, session_id: _Optional[str] = ..., visitor_id: _Optional[str] = ..., customer_id: _Optional[str] = ..., client_session_id: _Optional[str] = ..., attribute: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., contributed_only: _Optional[bool] = ..., min_position: _Optional[str] = ...) -> None: ...

class ExplainSessionResponse(_message.Message):
    __slots__ = ("explanation", "next_page_token", "as_of_time", "position")
    EXPLANATION_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    AS_OF_TIME_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    explanation: _session_explanation_pb2.Explanation
    next_page_token: str
    as_of_time: _timestamp_pb2.Timestamp
    position: str
    def __init__(self, explanation: _Optional[_Union[_session_explanation_pb2.Explanation, _Mapping]] = ..., next_page_token: _Optional[str] = ..., as_of_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., position: _Optional[str] = ...) -> None: ...
