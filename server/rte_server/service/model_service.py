"""ModelService: which models run and what they compute."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TypeVar

import grpc

from rte.v1 import model_pb2, model_service_pb2
from rte_server.engine.engine import Engine
from rte_server.engine.exactness import exactness, session_bytes
from rte_server.engine.program import AttributeSpec, ModelSpec
from rte_server.engine.reasons import EngineError, Reason
from rte_server.service.interceptors import Context, Handler
from rte_server.service.json_body import parse
from rte_server.service.tokens import TokenSeal

PAGE_SIZE_MAX = 1000
MODELS_PAGE_SIZE = 100

T = TypeVar("T", model_pb2.Model, model_pb2.Attribute)


class ModelService:
    """Serves `rte.v1.ModelService`."""

    def __init__(self, engine: Engine, seal: TokenSeal) -> None:
        self._engine = engine
        self._seal = seal

    def handlers(self) -> dict[str, Handler]:
        """Return the methods by name."""
        methods = {"ListModels": self.list_models, "GetModel": self.get_model, "ListAttributes": self.list_attributes}
        return {name: grpc.unary_unary_rpc_method_handler(method) for name, method in methods.items()}

    async def list_models(self, body: bytes, context: Context) -> bytes:
        """Answer ListModels."""
        request = parse(body, model_service_pb2.ListModelsRequest)
        models = sorted((model_message(model) for model in self._engine.program.models), key=lambda model: model.name)
        page, token = self._page("models", models, request.page_size or MODELS_PAGE_SIZE, request.page_token)
        answer = model_service_pb2.ListModelsResponse(models=page, next_page_token=token)
        return answer.SerializeToString()

    async def get_model(self, body: bytes, context: Context) -> bytes:
        """Answer GetModel."""
        name = parse(body, model_service_pb2.GetModelRequest).name
        if not name:
            raise EngineError(Reason.FIELD_MISSING, "name is required", field="name")
        for model in self._engine.program.models:
            if model.name == name:
                attributes = sorted(map(attribute_message, model.attributes), key=lambda attribute: attribute.name)
                answer = model_service_pb2.GetModelResponse(
                    model=model_message(model), source=model.source, attributes=attributes
                )
                return answer.SerializeToString()
        raise EngineError(Reason.MODEL_NOT_FOUND, f'no model has the name "{name[:64]}"', field="name", value=name)

    async def list_attributes(self, body: bytes, context: Context) -> bytes:
        """Answer ListAttributes."""
        request = parse(body, model_service_pb2.ListAttributesRequest)
        attributes = sorted(
            map(attribute_message, self._engine.program.attributes), key=lambda attribute: attribute.name
        )
        page, token = self._page("attributes", attributes, request.page_size or PAGE_SIZE_MAX, request.page_token)
        answer = model_service_pb2.ListAttributesResponse(attributes=page, next_page_token=token)
        return answer.SerializeToString()

    def _page(self, kind: str, items: Sequence[T], size: int, token: str) -> tuple[list[T], str]:
        """Return a page of items that are sorted by name, and the token of the next."""
        check_page_size(size)
        after = ""
        if token:
            reason = Reason.INVALID_PAGE_TOKEN
            after = str(self._seal.open(kind, (), token, reason=reason, field="page_token")[0])
        rest = [item for item in items if item.name > after]
        page = rest[: min(size, PAGE_SIZE_MAX)]
        return page, self._seal.seal(kind, (), [page[-1].name]) if len(rest) > len(page) else ""


def check_page_size(size: int) -> None:
    """Refuse a negative page size.

    Raises:
        EngineError: OUT_OF_RANGE.
    """
    if size < 0:
        limit = f"1 to {PAGE_SIZE_MAX}"
        message = f"page_size is {size}, it must be {limit}"
        raise EngineError(Reason.OUT_OF_RANGE, message, field="page_size", value=str(size), limit=limit)


def model_message(model: ModelSpec) -> model_pb2.Model:
    """Return the contract's description of a model."""
    return model_pb2.Model(
        name=model.name,
        version=model.version,
        description=model.description,
        uses=model.uses,
        attribute_count=len(model.attributes),
        session_bytes=sum(session_bytes(spec) for spec in model.attributes),
        source_sha256=hashlib.sha256(model.source.encode()).hexdigest(),
    )


def attribute_message(spec: AttributeSpec) -> model_pb2.Attribute:
    """Return the contract's description of an attribute."""
    declared = exactness(spec)
    return model_pb2.Attribute(
        name=spec.name,
        model=spec.model,
        kind=spec.kind.name.lower(),
        value_type=spec.value_type,
        unit=spec.unit,
        description=spec.description,
        session_bytes=session_bytes(spec),
        exactness=model_pb2.Attribute.Exactness.Name(declared.exactness),
        exact_up_to=declared.exact_up_to,
        relative_error=declared.error,
    )
