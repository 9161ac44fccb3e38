import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import struct_pb2 as _struct_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from rte.v1 import customer_pb2 as _customer_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class SessionState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SESSION_STATE_UNSPECIFIED: _ClassVar[SessionState]
    SESSION_STATE_ACTIVE: _ClassVar[SessionState]
    SESSION_STATE_CLOSED: _ClassVar[SessionState]
SESSION_STATE_UNSPECIFIED: SessionState
SESSION_STATE_ACTIVE: SessionState
SESSION_STATE_CLOSED: SessionState

class Session(_message.Message):
    __slots__ = ("session_id", "visitor_id", "customer_id", "state", "start_time", "last_event_time", "end_time", "event_count", "channel", "alias_ids", "attributes", "etag", "visit_number", "late_event_count", "scores", "customer")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    VISITOR_ID_FIELD_NUMBER: _ClassVar[int]
    CUSTOMER_ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    START_TIME_FIELD_NUMBER: _ClassVar[int]
    LAST_EVENT_TIME_FIELD_NUMBER: _ClassVar[int]
    END_TIME_FIELD_NUMBER: _ClassVar[int]
    EVENT_COUNT_FIELD_NUMBER: _ClassVar[int]
    CHANNEL_FIELD_NUMBER: _ClassVar[int]
    ALIAS_IDS_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    VISIT_NUMBER_FIELD_NUMBER: _ClassVar[int]
    LATE_EVENT_COUNT_FIELD_NUMBER: _ClassVar[int]
    SCORES_FIELD_NUMBER: _ClassVar[int]
    CUSTOMER_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    visitor_id: str
    customer_id: str
    state: SessionState
    start_time: _timestamp_pb2.Timestamp
    last_event_time: _timestamp_pb2.Timestamp
    end_time: _timestamp_pb2.Timestamp
    event_count: int
    channel: str
    alias_ids: _containers.RepeatedScalarFieldContainer[str]
    attributes: _struct_pb2.Struct
    etag: str
    visit_number: int
    late_event_count: int
    scores: _containers.RepeatedCompositeFieldContainer[Score]
    customer: _customer_pb2.Customer
    def __init__(self, session_id: _Optional[str] = ..., visitor_id: _Optional[str] = ..., customer_id: _Optional[str] = ..., state: _Optional[_Union[SessionState, str]] = ..., start_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., last_event_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., end_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., event_count: _Optional[int] = ..., channel: _Optional[str] = ..., alias_ids: _Optional[_Iterable[str]] = ..., attributes: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., etag: _Optional[str] = ..., visit_number: _Optional[int] = ..., late_event_count: _Optional[int] = ..., scores: _Optional[_Iterable[_Union[Score, _Mapping]]] = ..., customer: _Optional[_Union[_customer_pb2.Customer, _Mapping]] = ...) -> None: ...

class Score(_message.Message):
    __slots__ = ("name", "model", "model_version", "status", "as_of_time", "age", "reason", "shadow_value")
    class Status(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STATUS_UNSPECIFIED: _ClassVar[Score.Status]
        STATUS_FRESH: _ClassVar[Score.Status]
        STATUS_PENDING: _ClassVar[Score.Status]
        STATUS_ABSENT: _ClassVar[Score.Status]
    STATUS_UNSPECIFIED: Score.Status
    STATUS_FRESH: Score.Status
    STATUS_PENDING: Score.Status
    STATUS_ABSENT: Score.Status
    class Reason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        REASON_UNSPECIFIED: _ClassVar[Score.Reason]
        REASON_MISSING_INPUT: _ClassVar[Score.Reason]
        REASON_FAILED: _ClassVar[Score.Reason]
        REASON_TIMEOUT: _ClassVar[Score.Reason]
        REASON_CIRCUIT_OPEN: _ClassVar[Score.Reason]
        REASON_PACKAGE_MISSING: _ClassVar[Score.Reason]
        REASON_SHADOW: _ClassVar[Score.Reason]
    REASON_UNSPECIFIED: Score.Reason
    REASON_MISSING_INPUT: Score.Reason
    REASON_FAILED: Score.Reason
    REASON_TIMEOUT: Score.Reason
    REASON_CIRCUIT_OPEN: Score.Reason
    REASON_PACKAGE_MISSING: Score.Reason
    REASON_SHADOW: Score.Reason
    NAME_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    AS_OF_TIME_FIELD_NUMBER: _ClassVar[int]
    AGE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    SHADOW_VALUE_FIELD_NUMBER: _ClassVar[int]
    name: str
    model: str
    model_version: int
    status: Score.Status
    as_of_time: _timestamp_pb2.Timestamp
    age: _duration_pb2.Duration
    reason: Score.Reason
    shadow_value: float
    def __init__(self, name: _Optional[str] = ..., model: _Optional[str] = ..., model_version: _Optional[int] = ..., status: _Optional[_Union[Score.Status, str]] = ..., as_of_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., age: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., reason: _Optional[_Union[Score.Reason, str]] = ..., shadow_value: _Optional[float] = ...) -> None: ...
