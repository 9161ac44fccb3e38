import datetime

from google.protobuf import struct_pb2 as _struct_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from rte.v1 import model_pb2 as _model_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Explanation(_message.Message):
    __slots__ = ("session_id", "attribute", "model_version", "value", "summary", "definition", "events", "rule", "score", "timer", "customer")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTE_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    SUMMARY_FIELD_NUMBER: _ClassVar[int]
    DEFINITION_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    RULE_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    TIMER_FIELD_NUMBER: _ClassVar[int]
    CUSTOMER_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    attribute: _model_pb2.Attribute
    model_version: int
    value: _struct_pb2.Value
    summary: str
    definition: Definition
    events: EventEvidence
    rule: ExpressionPart
    score: ScoreEvidence
    timer: TimerEvidence
    customer: CustomerEvidence
    def __init__(self, session_id: _Optional[str] = ..., attribute: _Optional[_Union[_model_pb2.Attribute, _Mapping]] = ..., model_version: _Optional[int] = ..., value: _Optional[_Union[_struct_pb2.Value, _Mapping]] = ..., summary: _Optional[str] = ..., definition: _Optional[_Union[Definition, _Mapping]] = ..., events: _Optional[_Union[EventEvidence, _Mapping]] = ..., rule: _Optional[_Union[ExpressionPart, _Mapping]] = ..., score: _Optional[_Union[ScoreEvidence, _Mapping]] = ..., timer: _Optional[_Union[TimerEvidence, _Mapping]] = ..., customer: _Optional[_Union[CustomerEvidence, _Mapping]] = ...) -> None: ...

class CustomerEvidence(_message.Message):
    __slots__ = ("customer_id", "source", "column", "as_of_time", "position", "received_time", "reason")
    CUSTOMER_ID_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    COLUMN_FIELD_NUMBER: _ClassVar[int]
    AS_OF_TIME_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_TIME_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    customer_id: str
    source: str
    column: str
    as_of_time: _timestamp_pb2.Timestamp
    position: str
    received_time: _timestamp_pb2.Timestamp
    reason: str
    def __init__(self, customer_id: _Optional[str] = ..., source: _Optional[str] = ..., column: _Optional[str] = ..., as_of_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., position: _Optional[str] = ..., received_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., reason: _Optional[str] = ...) -> None: ...

class Definition(_message.Message):
    __slots__ = ("line", "source")
    LINE_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    line: int
    source: str
    def __init__(self, line: _Optional[int] = ..., source: _Optional[str] = ...) -> None: ...

class EventEvidence(_message.Message):
    __slots__ = ("events", "counts", "other_event_count", "complete", "incomplete_reason", "journal_begin_position", "journal_begin_time", "refolded_value", "difference")
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    COUNTS_FIELD_NUMBER: _ClassVar[int]
    OTHER_EVENT_COUNT_FIELD_NUMBER: _ClassVar[int]
    COMPLETE_FIELD_NUMBER: _ClassVar[int]
    INCOMPLETE_REASON_FIELD_NUMBER: _ClassVar[int]
    JOURNAL_BEGIN_POSITION_FIELD_NUMBER: _ClassVar[int]
    JOURNAL_BEGIN_TIME_FIELD_NUMBER: _ClassVar[int]
    REFOLDED_VALUE_FIELD_NUMBER: _ClassVar[int]
    DIFFERENCE_FIELD_NUMBER: _ClassVar[int]
    events: _containers.RepeatedCompositeFieldContainer[ExplainedEvent]
    counts: OutcomeCounts
    other_event_count: int
    complete: bool
    incomplete_reason: str
    journal_begin_position: str
    journal_begin_time: _timestamp_pb2.Timestamp
    refolded_value: _struct_pb2.Value
    difference: str
    def __init__(self, events: _Optional[_Iterable[_Union[ExplainedEvent, _Mapping]]] = ..., counts: _Optional[_Union[OutcomeCounts, _Mapping]] = ..., other_event_count: _Optional[int] = ..., complete: _Optional[bool] = ..., incomplete_reason: _Optional[str] = ..., journal_begin_position: _Optional[str] = ..., journal_begin_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., refolded_value: _Optional[_Union[_struct_pb2.Value, _Mapping]] = ..., difference: _Optional[str] = ...) -> None: ...

class OutcomeCounts(_message.Message):
    __slots__ = ("contributed", "redundant", "without_effect", "filtered_out", "no_value", "duplicate", "late")
    CONTRIBUTED_FIELD_NUMBER: _ClassVar[int]
    REDUNDANT_FIELD_NUMBER: _ClassVar[int]
    WITHOUT_EFFECT_FIELD_NUMBER: _ClassVar[int]
    FILTERED_OUT_FIELD_NUMBER: _ClassVar[int]
    NO_VALUE_FIELD_NUMBER: _ClassVar[int]
    DUPLICATE_FIELD_NUMBER: _ClassVar[int]
    LATE_FIELD_NUMBER: _ClassVar[int]
    contributed: int
    redundant: int
    without_effect: int
    filtered_out: int
    no_value: int
    duplicate: int
    late: int
    def __init__(self, contributed: _Optional[int] = ..., redundant: _Optional[int] = ..., without_effect: _Optional[int] = ..., filtered_out: _Optional[int] = ..., no_value: _Optional[int] = ..., duplicate: _Optional[int] = ..., late: _Optional[int] = ...) -> None: ...

class ExplainedEvent(_message.Message):
    __slots__ = ("event_id", "name", "event_time", "received_time", "position", "properties", "contribution", "outcome", "reason", "condition")
    class Outcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        OUTCOME_UNSPECIFIED: _ClassVar[ExplainedEvent.Outcome]
        OUTCOME_CONTRIBUTED: _ClassVar[ExplainedEvent.Outcome]
        OUTCOME_REDUNDANT: _ClassVar[ExplainedEvent.Outcome]
        OUTCOME_WITHOUT_EFFECT: _ClassVar[ExplainedEvent.Outcome]
        OUTCOME_FILTERED_OUT: _ClassVar[ExplainedEvent.Outcome]
        OUTCOME_NO_VALUE: _ClassVar[ExplainedEvent.Outcome]
        OUTCOME_DUPLICATE: _ClassVar[ExplainedEvent.Outcome]
        OUTCOME_LATE: _ClassVar[ExplainedEvent.Outcome]
    OUTCOME_UNSPECIFIED: ExplainedEvent.Outcome
    OUTCOME_CONTRIBUTED: ExplainedEvent.Outcome
    OUTCOME_REDUNDANT: ExplainedEvent.Outcome
    OUTCOME_WITHOUT_EFFECT: ExplainedEvent.Outcome
    OUTCOME_FILTERED_OUT: ExplainedEvent.Outcome
    OUTCOME_NO_VALUE: ExplainedEvent.Outcome
    OUTCOME_DUPLICATE: ExplainedEvent.Outcome
    OUTCOME_LATE: ExplainedEvent.Outcome
    EVENT_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    EVENT_TIME_FIELD_NUMBER: _ClassVar[int]
    RECEIVED_TIME_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    PROPERTIES_FIELD_NUMBER: _ClassVar[int]
    CONTRIBUTION_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    CONDITION_FIELD_NUMBER: _ClassVar[int]
    event_id: str
    name: str
    event_time: _timestamp_pb2.Timestamp
    received_time: _timestamp_pb2.Timestamp
    position: str
    properties: _struct_pb2.Struct
    contribution: _struct_pb2.Value
    outcome: ExplainedEvent.Outcome
    reason: str
    condition: ExpressionPart
    def __init__(self, event_id: _Optional[str] = ..., name: _Optional[str] = ..., event_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., received_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., position: _Optional[str] = ..., properties: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., contribution: _Optional[_Union[_struct_pb2.Value, _Mapping]] = ..., outcome: _Optional[_Union[ExplainedEvent.Outcome, str]] = ..., reason: _Optional[str] = ..., condition: _Optional[_Union[ExpressionPart, _Mapping]] = ...) -> None: ...

class ExpressionPart(_message.Message):
    __slots__ = ("text", "value", "input", "decides", "parts", "cut")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    INPUT_FIELD_NUMBER: _ClassVar[int]
    DECIDES_FIELD_NUMBER: _ClassVar[int]
    PARTS_FIELD_NUMBER: _ClassVar[int]
    CUT_FIELD_NUMBER: _ClassVar[int]
    text: str
    value: _struct_pb2.Value
    input: str
    decides: bool
    parts: _containers.RepeatedCompositeFieldContainer[ExpressionPart]
    cut: bool
    def __init__(self, text: _Optional[str] = ..., value: _Optional[_Union[_struct_pb2.Value, _Mapping]] = ..., input: _Optional[str] = ..., decides: _Optional[bool] = ..., parts: _Optional[_Iterable[_Union[ExpressionPart, _Mapping]]] = ..., cut: _Optional[bool] = ...) -> None: ...

class ScoreEvidence(_message.Message):
    __slots__ = ("method", "link", "base", "total", "inputs", "computed_time", "reason", "value", "difference")
    METHOD_FIELD_NUMBER: _ClassVar[int]
    LINK_FIELD_NUMBER: _ClassVar[int]
    BASE_FIELD_NUMBER: _ClassVar[int]
    TOTAL_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    COMPUTED_TIME_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    DIFFERENCE_FIELD_NUMBER: _ClassVar[int]
    method: str
    link: str
    base: float
    total: float
    inputs: _containers.RepeatedCompositeFieldContainer[ScoreInput]
    computed_time: _timestamp_pb2.Timestamp
    reason: str
    value: float
    difference: str
    def __init__(self, method: _Optional[str] = ..., link: _Optional[str] = ..., base: _Optional[float] = ..., total: _Optional[float] = ..., inputs: _Optional[_Iterable[_Union[ScoreInput, _Mapping]]] = ..., computed_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., reason: _Optional[str] = ..., value: _Optional[float] = ..., difference: _Optional[str] = ...) -> None: ...

class ScoreInput(_message.Message):
    __slots__ = ("name", "value", "used", "is_default", "weight", "contribution")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    USED_FIELD_NUMBER: _ClassVar[int]
    IS_DEFAULT_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    CONTRIBUTION_FIELD_NUMBER: _ClassVar[int]
    name: str
    value: _struct_pb2.Value
    used: float
    is_default: bool
    weight: float
    contribution: float
    def __init__(self, name: _Optional[str] = ..., value: _Optional[_Union[_struct_pb2.Value, _Mapping]] = ..., used: _Optional[float] = ..., is_default: _Optional[bool] = ..., weight: _Optional[float] = ..., contribution: _Optional[float] = ...) -> None: ...

class TimerEvidence(_message.Message):
    __slots__ = ("waits_for", "change_time")
    WAITS_FOR_FIELD_NUMBER: _ClassVar[int]
    CHANGE_TIME_FIELD_NUMBER: _ClassVar[int]
    waits_for: str
    change_time: _timestamp_pb2.Timestamp
    def __init__(self, waits_for: _Optional[str] = ..., change_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...
