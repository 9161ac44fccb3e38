"""Requests that change models, checked before anything is done with them."""

from __future__ import annotations

from typing import Protocol

from rte.v1 import model_service_pb2
from rte_server.engine.reasons import EngineError, Reason
from rte_server.models.loader import Source
from rte_server.service.lifecycle import ModelOrder

MODELS_MAX = 64
"""Models of a request, and models to remove."""

FILES_MAX = 256
"""Files of a request; their bytes are limited by the message."""

ID_BYTES_MAX = 128
NOTE_BYTES_MAX = 1_000


class _About(Protocol):
    """A request that says who wants it, and why."""

    request_id: str
    note: str
    author: str


def read_order(request: model_service_pb2.ApplyModelsRequest) -> ModelOrder:
    """Return what an ApplyModels asks for.

    Raises:
        EngineError: FIELD_MISSING, OUT_OF_RANGE, STRING_TOO_LONG.
    """
    check_about(request)
    if not request.models and not request.remove_names:
        raise EngineError(Reason.FIELD_MISSING, "models or remove_names is required", field="models")
    counts = (
        ("models", len(request.models), MODELS_MAX),
        ("remove_names", len(request.remove_names), MODELS_MAX),
        ("files", len(request.files), FILES_MAX),
    )
    for name, count, limit in counts:
        if count > limit:
            message = f"{name} has {count} members, the limit is {limit}"
            raise EngineError(Reason.OUT_OF_RANGE, message, field=name, value=str(count), limit=str(limit))
    for number, model in enumerate(request.models):
        if not model.yaml:
            message = f"models[{number}].yaml is required"
            raise EngineError(Reason.FIELD_MISSING, message, field=f"models[{number}].yaml")
    sources = [Source(model.file or f"models[{number}]", model.yaml, {}) for number, model in enumerate(request.models)]
    return ModelOrder(
        given=sources,
        files=dict(request.files),
        removed=tuple(request.remove_names),
        is_alongside=request.alongside,
        skip_history=request.skip_history,
        request_id=request.request_id,
        note=request.note,
        author=request.author,
    )


def check_about(request: _About) -> None:
    """Check the texts by which a request says who wants it, and why.

    Raises:
        EngineError: STRING_TOO_LONG.
    """
    limits = (("request_id", ID_BYTES_MAX), ("note", NOTE_BYTES_MAX), ("author", ID_BYTES_MAX))
    for name, limit in limits:
        length = len(getattr(request, name).encode())
        if length > limit:
            message = f"{name} has {length} bytes, the limit is {limit}"
            raise EngineError(Reason.STRING_TOO_LONG, message, field=name, value=str(length), limit=str(limit))
