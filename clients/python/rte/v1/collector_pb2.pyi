import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from rte.v1 import error_reason_pb2 as _error_reason_pb2
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class QuarantinedEvent(_message.Message):
    __slots__ = ("quarantine_id", "protocol", "reason", "field", "message", "receive_time", "document", "attempt_count")
    QUARANTINE_ID_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    FIELD_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    RECEIVE_TIME_FIELD_NUMBER: _ClassVar[int]
    DOCUMENT_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_COUNT_FIELD_NUMBER: _ClassVar[int]
    quarantine_id: str
    protocol: str
    reason: _error_reason_pb2.ErrorReason
    field: str
    message: str
    receive_time: _timestamp_pb2.Timestamp
    document: str
    attempt_count: int
    def __init__(self, quarantine_id: _Optional[str] = ..., protocol: _Optional[str] = ..., reason: _Optional[_Union[_error_reason_pb2.ErrorReason, str]] = ..., field: _Optional[str] = ..., message: _Optional[str] = ..., receive_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., document: _Optional[str] = ..., attempt_count: _Optional[int] = ...) -> None: ...
