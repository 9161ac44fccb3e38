import datetime

from google.protobuf import struct_pb2 as _struct_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from rte.v1 import error_reason_pb2 as _error_reason_pb2
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Event(_message.Message):
    __slots__ = ("event_id", "name", "event_time", "visitor_id", "customer_id", "client_session_id", "channel", "properties")
    EVENT_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    EVENT_TIME_FIELD_NUMBER: _ClassVar[int]
    VISITOR_ID_FIELD_NUMBER: _ClassVar[int]
    CUSTOMER_ID_FIELD_NUMBER: _ClassVar[int]
    CLIENT_SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    CHANNEL_FIELD_NUMBER: _ClassVar[int]
    PROPERTIES_FIELD_NUMBER: _ClassVar[int]
    event_id: str
    name: str
    event_time: _timestamp_pb2.Timestamp
    visitor_id: str
    customer_id: str
    client_session_id: str
    channel: str
    properties: _struct_pb2.Struct
    def __init__(self, event_id: _Optional[str] = ..., name: _Optional[str] = ..., event_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., visitor_id: _Optional[str] = ..., customer_id: _Optional[str] = ..., client_session_id: _Optional[str] = ..., channel: _Optional[str] = ..., properties: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ...) -> None: ...

class EventVerdict(_message.Message):
    __slots__ = ("index", "outcome", "reason", "field", "message")
    class Outcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        OUTCOME_UNSPECIFIED: _ClassVar[EventVerdict.Outcome]
        OUTCOME_REJECTED: _ClassVar[EventVerdict.Outcome]
        OUTCOME_DUPLICATE: _ClassVar[EventVerdict.Outcome]
        OUTCOME_LATE: _ClassVar[EventVerdict.Outcome]
    OUTCOME_UNSPECIFIED: EventVerdict.Outcome
    OUTCOME_REJECTED: EventVerdict.Outcome
    OUTCOME_DUPLICATE: EventVerdict.Outcome
    OUTCOME_LATE: EventVerdict.Outcome
    INDEX_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    FIELD_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    index: int
    outcome: EventVerdict.Outcome
    reason: _error_reason_pb2.ErrorReason
    field: str
    message: str
    def __init__(self, index: _Optional[int] = ..., outcome: _Optional[_Union[EventVerdict.Outcome, str]] = ..., reason: _Optional[_Union[_error_reason_pb2.ErrorReason, str]] = ..., field: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...
