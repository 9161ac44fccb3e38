from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Model(_message.Message):
    __slots__ = ("name", "version", "description", "uses", "attribute_count", "session_bytes", "source_sha256")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    USES_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTE_COUNT_FIELD_NUMBER: _ClassVar[int]
    SESSION_BYTES_FIELD_NUMBER: _ClassVar[int]
    SOURCE_SHA256_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: int
    description: str
    uses: _containers.RepeatedScalarFieldContainer[str]
    attribute_count: int
    session_bytes: int
    source_sha256: str
    def __init__(self, name: _Optional[str] = ..., version: _Optional[int] = ..., description: _Optional[str] = ..., uses: _Optional[_Iterable[str]] = ..., attribute_count: _Optional[int] = ..., session_bytes: _Optional[int] = ..., source_sha256: _Optional[str] = ...) -> None: ...

class Attribute(_message.Message):
    __slots__ = ("name", "model", "kind", "value_type", "unit", "description", "session_bytes", "exactness", "exact_up_to", "relative_error")
    class Exactness(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        EXACTNESS_UNSPECIFIED: _ClassVar[Attribute.Exactness]
        EXACTNESS_EXACT: _ClassVar[Attribute.Exactness]
        EXACTNESS_EXACT_UP_TO: _ClassVar[Attribute.Exactness]
        EXACTNESS_APPROXIMATE: _ClassVar[Attribute.Exactness]
    EXACTNESS_UNSPECIFIED: Attribute.Exactness
    EXACTNESS_EXACT: Attribute.Exactness
    EXACTNESS_EXACT_UP_TO: Attribute.Exactness
    EXACTNESS_APPROXIMATE: Attribute.Exactness
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
    def __init__(self, name: _Optional[str] = ..., model: _Optional[str] = ..., kind: _Optional[str] = ..., value_type: _Optional[str] = ..., unit: _Optional[str] = ..., description: _Optional[str] = ..., session_bytes: _Optional[int] = ..., exactness: _Optional[_Union[Attribute.Exactness, str]] = ..., exact_up_to: _Optional[int] = ..., relative_error: _Optional[float] = ...) -> None: ...
