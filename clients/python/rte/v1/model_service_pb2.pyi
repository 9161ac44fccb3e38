import datetime

from google.api import annotations_pb2 as _annotations_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from rte.v1 import model_pb2 as _model_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ModelSource(_message.Message):
    __slots__ = ("yaml", "file")
    YAML_FIELD_NUMBER: _ClassVar[int]
    FILE_FIELD_NUMBER: _ClassVar[int]
    yaml: str
    file: str
    def __init__(self, yaml: _Optional[str] = ..., file: _Optional[str] = ...) -> None: ...

class ApplyModelsRequest(_message.Message):
    __slots__ = ("request_id", "models", "files", "mode", "alongside", "remove_names", "skip_history", "note", "author")
    class Mode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        MODE_UNSPECIFIED: _ClassVar[ApplyModelsRequest.Mode]
        MODE_VALIDATE: _ClassVar[ApplyModelsRequest.Mode]
        MODE_DRY_RUN: _ClassVar[ApplyModelsRequest.Mode]
        MODE_ACTIVATE: _ClassVar[ApplyModelsRequest.Mode]
    MODE_UNSPECIFIED: ApplyModelsRequest.Mode
    MODE_VALIDATE: ApplyModelsRequest.Mode
    MODE_DRY_RUN: ApplyModelsRequest.Mode
    MODE_ACTIVATE: ApplyModelsRequest.Mode
    class FilesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: bytes
        def __init__(self, key: _Optional[str] = ..., value: _Optional[bytes] = ...) -> None: ...
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    MODELS_FIELD_NUMBER: _ClassVar[int]
    FILES_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    ALONGSIDE_FIELD_NUMBER: _ClassVar[int]
    REMOVE_NAMES_FIELD_NUMBER: _ClassVar[int]
    SKIP_HISTORY_FIELD_NUMBER: _ClassVar[int]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    AUTHOR_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    models: _containers.RepeatedCompositeFieldContainer[ModelSource]
    files: _containers.ScalarMap[str, bytes]
    mode: ApplyModelsRequest.Mode
    alongside: bool
    remove_names: _containers.RepeatedScalarFieldContainer[str]
    skip_history: bool
    note: str
    author: str
    def __init__(self, request_id: _Optional[str] = ..., models: _Optional[_Iterable[_Union[ModelSource, _Mapping]]] = ..., files: _Optional[_Mapping[str, bytes]] = ..., mode: _Optional[_Union[ApplyModelsRequest.Mode, str]] = ..., alongside: _Optional[bool] = ..., remove_names: _Optional[_Iterable[str]] = ..., skip_history: _Optional[bool] = ..., note: _Optional[str] = ..., author: _Optional[str] = ...) -> None: ...

class ApplyModelsResponse(_message.Message):
    __slots__ = ("problems", "models", "attributes", "session_bytes_before", "session_bytes_after", "session_count", "compared_session_count", "position", "complete_since_time")
    PROBLEMS_FIELD_NUMBER: _ClassVar[int]
    MODELS_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    SESSION_BYTES_BEFORE_FIELD_NUMBER: _ClassVar[int]
    SESSION_BYTES_AFTER_FIELD_NUMBER: _ClassVar[int]
    SESSION_COUNT_FIELD_NUMBER: _ClassVar[int]
    COMPARED_SESSION_COUNT_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    COMPLETE_SINCE_TIME_FIELD_NUMBER: _ClassVar[int]
    problems: _containers.RepeatedCompositeFieldContainer[_model_pb2.ModelProblem]
    models: _containers.RepeatedCompositeFieldContainer[_model_pb2.ModelChange]
    attributes: _containers.RepeatedCompositeFieldContainer[_model_pb2.AttributeChange]
    session_bytes_before: int
    session_bytes_after: int
    session_count: int
    compared_session_count: int
    position: str
    complete_since_time: _timestamp_pb2.Timestamp
    def __init__(self, problems: _Optional[_Iterable[_Union[_model_pb2.ModelProblem, _Mapping]]] = ..., models: _Optional[_Iterable[_Union[_model_pb2.ModelChange, _Mapping]]] = ..., attributes: _Optional[_Iterable[_Union[_model_pb2.AttributeChange, _Mapping]]] = ..., session_bytes_before: _Optional[int] = ..., session_bytes_after: _Optional[int] = ..., session_count: _Optional[int] = ..., compared_session_count: _Optional[int] = ..., position: _Optional[str] = ..., complete_since_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class RollBackModelsRequest(_message.Message):
    __slots__ = ("request_id", "position", "note", "author")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    AUTHOR_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    position: str
    note: str
    author: str
    def __init__(self, request_id: _Optional[str] = ..., position: _Optional[str] = ..., note: _Optional[str] = ..., author: _Optional[str] = ...) -> None: ...

class RollBackModelsResponse(_message.Message):
    __slots__ = ("models", "attributes", "position", "complete_since_time")
    MODELS_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    COMPLETE_SINCE_TIME_FIELD_NUMBER: _ClassVar[int]
    models: _containers.RepeatedCompositeFieldContainer[_model_pb2.ModelChange]
    attributes: _containers.RepeatedCompositeFieldContainer[_model_pb2.AttributeChange]
    position: str
    complete_since_time: _timestamp_pb2.Timestamp
    def __init__(self, models: _Optional[_Iterable[_Union[_model_pb2.ModelChange, _Mapping]]] = ..., attributes: _Optional[_Iterable[_Union[_model_pb2.AttributeChange, _Mapping]]] = ..., position: _Optional[str] = ..., complete_since_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class ListModelVersionsRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListModelVersionsResponse(_message.Message):
    __slots__ = ("configurations", "next_page_token")
    CONFIGURATIONS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    configurations: _containers.RepeatedCompositeFieldContainer[_model_pb2.ModelConfiguration]
    next_page_token: str
    def __init__(self, configurations: _Optional[_Iterable[_Union[_model_pb2.ModelConfiguration, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class ListModelsRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListModelsResponse(_message.Message):
    __slots__ = ("models", "next_page_token", "problems")
    MODELS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    PROBLEMS_FIELD_NUMBER: _ClassVar[int]
    models: _containers.RepeatedCompositeFieldContainer[_model_pb2.Model]
    next_page_token: str
    problems: _containers.RepeatedCompositeFieldContainer[_model_pb2.ModelProblem]
    def __init__(self, models: _Optional[_Iterable[_Union[_model_pb2.Model, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., problems: _Optional[_Iterable[_Union[_model_pb2.ModelProblem, _Mapping]]] = ...) -> None: ...

class GetModelRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class GetModelResponse(_message.Message):
    __slots__ = ("model", "source", "attributes")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    model: _model_pb2.Model
    source: str
    attributes: _containers.RepeatedCompositeFieldContainer[_model_pb2.Attribute]
    def __init__(self, model: _Optional[_Union[_model_pb2.Model, _Mapping]] = ..., source: _Optional[str] = ..., attributes: _Optional[_Iterable[_Union[_model_pb2.Attribute, _Mapping]]] = ...) -> None: ...

class ListAttributesRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListAttributesResponse(_message.Message):
    __slots__ = ("attributes", "next_page_token")
    ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    attributes: _containers.RepeatedCompositeFieldContainer[_model_pb2.Attribute]
    next_page_token: str
    def __init__(self, attributes: _Optional[_Iterable[_Union[_model_pb2.Attribute, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class ListScoresRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListScoresResponse(_message.Message):
    __slots__ = ("scores",)
    SCORES_FIELD_NUMBER: _ClassVar[int]
    scores: _containers.RepeatedCompositeFieldContainer[_model_pb2.Scorer]
    def __init__(self, scores: _Optional[_Iterable[_Union[_model_pb2.Scorer, _Mapping]]] = ...) -> None: ...

class RollBackWeightsRequest(_message.Message):
    __slots__ = ("score", "version")
    SCORE_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    score: str
    version: int
    def __init__(self, score: _Optional[str] = ..., version: _Optional[int] = ...) -> None: ...

class RollBackWeightsResponse(_message.Message):
    __slots__ = ("score", "position")
    SCORE_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    score: _model_pb2.Scorer
    position: str
    def __init__(self, score: _Optional[_Union[_model_pb2.Scorer, _Mapping]] = ..., position: _Optional[str] = ...) -> None: ...
