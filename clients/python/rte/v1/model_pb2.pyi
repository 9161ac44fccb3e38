import datetime

from google.protobuf import struct_pb2 as _struct_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Model(_message.Message):
    __slots__ = ("name", "version", "description", "uses", "attribute_count", "session_bytes", "source_sha256", "is_alongside", "problems")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    USES_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTE_COUNT_FIELD_NUMBER: _ClassVar[int]
    SESSION_BYTES_FIELD_NUMBER: _ClassVar[int]
    SOURCE_SHA256_FIELD_NUMBER: _ClassVar[int]
    IS_ALONGSIDE_FIELD_NUMBER: _ClassVar[int]
    PROBLEMS_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: int
    description: str
    uses: _containers.RepeatedScalarFieldContainer[str]
    attribute_count: int
    session_bytes: int
    source_sha256: str
    is_alongside: bool
    problems: _containers.RepeatedCompositeFieldContainer[ModelProblem]
    def __init__(self, name: _Optional[str] = ..., version: _Optional[int] = ..., description: _Optional[str] = ..., uses: _Optional[_Iterable[str]] = ..., attribute_count: _Optional[int] = ..., session_bytes: _Optional[int] = ..., source_sha256: _Optional[str] = ..., is_alongside: _Optional[bool] = ..., problems: _Optional[_Iterable[_Union[ModelProblem, _Mapping]]] = ...) -> None: ...

class Attribute(_message.Message):
    __slots__ = ("name", "model", "kind", "value_type", "unit", "description", "session_bytes", "exactness", "exact_up_to", "relative_error", "complete_since_time", "exactness_note")
    class Exactness(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        EXACTNESS_UNSPECIFIED: _ClassVar[Attribute.Exactness]
        EXACTNESS_EXACT: _ClassVar[Attribute.Exactness]
        EXACTNESS_EXACT_UP_TO: _ClassVar[Attribute.Exactness]
        EXACTNESS_APPROXIMATE: _ClassVar[Attribute.Exactness]
        EXACTNESS_NO_BOUND: _ClassVar[Attribute.Exactness]
        EXACTNESS_NOT_APPLICABLE: _ClassVar[Attribute.Exactness]
    EXACTNESS_UNSPECIFIED: Attribute.Exactness
    EXACTNESS_EXACT: Attribute.Exactness
    EXACTNESS_EXACT_UP_TO: Attribute.Exactness
    EXACTNESS_APPROXIMATE: Attribute.Exactness
    EXACTNESS_NO_BOUND: Attribute.Exactness
    EXACTNESS_NOT_APPLICABLE: Attribute.Exactness
    NAME_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    VALUE_TYPE_FIELD_NUMBER: _ClassVar[int]
    UNIT_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    SESSION_BYTES_FIELD_NUMBER: _ClassVar[int]
    EXACTNESS_FIELD_NUMBER: _ClassVar[int]
    EXACT_UP_TO_FIELD_NUMBER: _ClassVar[int]
    RELATIVE_ERROR_FIELD_NUMBER: _ClassVar[int]
    COMPLETE_SINCE_TIME_FIELD_NUMBER: _ClassVar[int]
    EXACTNESS_NOTE_FIELD_NUMBER: _ClassVar[int]
    name: str
    model: str
    kind: str
    value_type: str
    unit: str
    description: str
    session_bytes: int
    exactness: Attribute.Exactness
    exact_up_to: int
    relative_error: float
    complete_since_time: _timestamp_pb2.Timestamp
    exactness_note: str
    def __init__(self, name: _Optional[str] = ..., model: _Optional[str] = ..., kind: _Optional[str] = ..., value_type: _Optional[str] = ..., unit: _Optional[str] = ..., description: _Optional[str] = ..., session_bytes: _Optional[int] = ..., exactness: _Optional[_Union[Attribute.Exactness, str]] = ..., exact_up_to: _Optional[int] = ..., relative_error: _Optional[float] = ..., complete_since_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., exactness_note: _Optional[str] = ...) -> None: ...

class ModelProblem(_message.Message):
    __slots__ = ("file", "line", "message", "remedy")
    FILE_FIELD_NUMBER: _ClassVar[int]
    LINE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    REMEDY_FIELD_NUMBER: _ClassVar[int]
    file: str
    line: int
    message: str
    remedy: str
    def __init__(self, file: _Optional[str] = ..., line: _Optional[int] = ..., message: _Optional[str] = ..., remedy: _Optional[str] = ...) -> None: ...

class ModelChange(_message.Message):
    __slots__ = ("name", "kind", "version_before", "version_after")
    class Kind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        KIND_UNSPECIFIED: _ClassVar[ModelChange.Kind]
        KIND_ADDED: _ClassVar[ModelChange.Kind]
        KIND_REMOVED: _ClassVar[ModelChange.Kind]
        KIND_CHANGED: _ClassVar[ModelChange.Kind]
    KIND_UNSPECIFIED: ModelChange.Kind
    KIND_ADDED: ModelChange.Kind
    KIND_REMOVED: ModelChange.Kind
    KIND_CHANGED: ModelChange.Kind
    NAME_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    VERSION_BEFORE_FIELD_NUMBER: _ClassVar[int]
    VERSION_AFTER_FIELD_NUMBER: _ClassVar[int]
    name: str
    kind: ModelChange.Kind
    version_before: int
    version_after: int
    def __init__(self, name: _Optional[str] = ..., kind: _Optional[_Union[ModelChange.Kind, str]] = ..., version_before: _Optional[int] = ..., version_after: _Optional[int] = ...) -> None: ...

class AttributeChange(_message.Message):
    __slots__ = ("name", "model", "kind", "session_count", "samples", "not_compared", "not_compared_session_count")
    class Kind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        KIND_UNSPECIFIED: _ClassVar[AttributeChange.Kind]
        KIND_ADDED: _ClassVar[AttributeChange.Kind]
        KIND_REMOVED: _ClassVar[AttributeChange.Kind]
        KIND_REDEFINED: _ClassVar[AttributeChange.Kind]
        KIND_OTHER_VALUES: _ClassVar[AttributeChange.Kind]
    KIND_UNSPECIFIED: AttributeChange.Kind
    KIND_ADDED: AttributeChange.Kind
    KIND_REMOVED: AttributeChange.Kind
    KIND_REDEFINED: AttributeChange.Kind
    KIND_OTHER_VALUES: AttributeChange.Kind
    class Sample(_message.Message):
        __slots__ = ("session_id", "before", "after")
        SESSION_ID_FIELD_NUMBER: _ClassVar[int]
        BEFORE_FIELD_NUMBER: _ClassVar[int]
        AFTER_FIELD_NUMBER: _ClassVar[int]
        session_id: str
        before: _struct_pb2.Value
        after: _struct_pb2.Value
        def __init__(self, session_id: _Optional[str] = ..., before: _Optional[_Union[_struct_pb2.Value, _Mapping]] = ..., after: _Optional[_Union[_struct_pb2.Value, _Mapping]] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    SESSION_COUNT_FIELD_NUMBER: _ClassVar[int]
    SAMPLES_FIELD_NUMBER: _ClassVar[int]
    NOT_COMPARED_FIELD_NUMBER: _ClassVar[int]
    NOT_COMPARED_SESSION_COUNT_FIELD_NUMBER: _ClassVar[int]
    name: str
    model: str
    kind: AttributeChange.Kind
    session_count: int
    samples: _containers.RepeatedCompositeFieldContainer[AttributeChange.Sample]
    not_compared: str
    not_compared_session_count: int
    def __init__(self, name: _Optional[str] = ..., model: _Optional[str] = ..., kind: _Optional[_Union[AttributeChange.Kind, str]] = ..., session_count: _Optional[int] = ..., samples: _Optional[_Iterable[_Union[AttributeChange.Sample, _Mapping]]] = ..., not_compared: _Optional[str] = ..., not_compared_session_count: _Optional[int] = ...) -> None: ...

class ModelConfiguration(_message.Message):
    __slots__ = ("position", "activated_time", "note", "author", "models", "is_active")
    class Member(_message.Message):
        __slots__ = ("name", "version", "source_sha256")
        NAME_FIELD_NUMBER: _ClassVar[int]
        VERSION_FIELD_NUMBER: _ClassVar[int]
        SOURCE_SHA256_FIELD_NUMBER: _ClassVar[int]
        name: str
        version: int
        source_sha256: str
        def __init__(self, name: _Optional[str] = ..., version: _Optional[int] = ..., source_sha256: _Optional[str] = ...) -> None: ...
    POSITION_FIELD_NUMBER: _ClassVar[int]
    ACTIVATED_TIME_FIELD_NUMBER: _ClassVar[int]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    AUTHOR_FIELD_NUMBER: _ClassVar[int]
    MODELS_FIELD_NUMBER: _ClassVar[int]
    IS_ACTIVE_FIELD_NUMBER: _ClassVar[int]
    position: str
    activated_time: _timestamp_pb2.Timestamp
    note: str
    author: str
    models: _containers.RepeatedCompositeFieldContainer[ModelConfiguration.Member]
    is_active: bool
    def __init__(self, position: _Optional[str] = ..., activated_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., note: _Optional[str] = ..., author: _Optional[str] = ..., models: _Optional[_Iterable[_Union[ModelConfiguration.Member, _Mapping]]] = ..., is_active: _Optional[bool] = ...) -> None: ...

class Scorer(_message.Message):
    __slots__ = ("name", "model", "runner", "source", "sha256", "inputs", "online", "failed_session_count", "failure_count", "last_failure", "last_failure_time")
    NAME_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    RUNNER_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    ONLINE_FIELD_NUMBER: _ClassVar[int]
    FAILED_SESSION_COUNT_FIELD_NUMBER: _ClassVar[int]
    FAILURE_COUNT_FIELD_NUMBER: _ClassVar[int]
    LAST_FAILURE_FIELD_NUMBER: _ClassVar[int]
    LAST_FAILURE_TIME_FIELD_NUMBER: _ClassVar[int]
    name: str
    model: str
    runner: str
    source: str
    sha256: str
    inputs: _containers.RepeatedScalarFieldContainer[str]
    online: OnlineLearning
    failed_session_count: int
    failure_count: int
    last_failure: str
    last_failure_time: _timestamp_pb2.Timestamp
    def __init__(self, name: _Optional[str] = ..., model: _Optional[str] = ..., runner: _Optional[str] = ..., source: _Optional[str] = ..., sha256: _Optional[str] = ..., inputs: _Optional[_Iterable[str]] = ..., online: _Optional[_Union[OnlineLearning, _Mapping]] = ..., failed_session_count: _Optional[int] = ..., failure_count: _Optional[int] = ..., last_failure: _Optional[str] = ..., last_failure_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class OnlineLearning(_message.Message):
    __slots__ = ("example_count", "positive_count", "log_loss", "baseline_log_loss", "auc", "is_shown", "baseline", "version", "versions", "rollback_count", "shadow_reason", "horizon_count", "example_count_min", "margin")
    EXAMPLE_COUNT_FIELD_NUMBER: _ClassVar[int]
    POSITIVE_COUNT_FIELD_NUMBER: _ClassVar[int]
    LOG_LOSS_FIELD_NUMBER: _ClassVar[int]
    BASELINE_LOG_LOSS_FIELD_NUMBER: _ClassVar[int]
    AUC_FIELD_NUMBER: _ClassVar[int]
    IS_SHOWN_FIELD_NUMBER: _ClassVar[int]
    BASELINE_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    ROLLBACK_COUNT_FIELD_NUMBER: _ClassVar[int]
    SHADOW_REASON_FIELD_NUMBER: _ClassVar[int]
    HORIZON_COUNT_FIELD_NUMBER: _ClassVar[int]
    EXAMPLE_COUNT_MIN_FIELD_NUMBER: _ClassVar[int]
    MARGIN_FIELD_NUMBER: _ClassVar[int]
    example_count: int
    positive_count: int
    log_loss: float
    baseline_log_loss: float
    auc: float
    is_shown: bool
    baseline: str
    version: int
    versions: _containers.RepeatedScalarFieldContainer[int]
    rollback_count: int
    shadow_reason: str
    horizon_count: int
    example_count_min: int
    margin: float
    def __init__(self, example_count: _Optional[int] = ..., positive_count: _Optional[int] = ..., log_loss: _Optional[float] = ..., baseline_log_loss: _Optional[float] = ..., auc: _Optional[float] = ..., is_shown: _Optional[bool] = ..., baseline: _Optional[str] = ..., version: _Optional[int] = ..., versions: _Optional[_Iterable[int]] = ..., rollback_count: _Optional[int] = ..., shadow_reason: _Optional[str] = ..., horizon_count: _Optional[int] = ..., example_count_min: _Optional[int] = ..., margin: _Optional[float] = ...) -> None: ...
