"""ModelService: which models run and what they compute, and how others come to run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import grpc

from rte.v1 import model_pb2, model_service_pb2
from rte_server.engine.engine import Engine
from rte_server.engine.exactness import exactness, session_bytes
from rte_server.engine.program import AttributeSpec, ModelSpec
from rte_server.engine.reasons import EngineError, Reason
from rte_server.models.comparison import Difference
from rte_server.models.configured import Problems
from rte_server.models.problems import ModelError, Problem
from rte_server.service.interceptors import Context, Handler
from rte_server.service.json_body import parse, parse_with_json
from rte_server.service.lifecycle import ModelLifecycle, Plan
from rte_server.service.model_messages import (
    Completeness,
    attribute_change_message,
    configuration_message,
    is_alongside,
    model_change_message,
    problem_message,
    sha256,
    time_message,
)
from rte_server.service.model_orders import check_about, read_order
from rte_server.service.tokens import TokenSeal, parse_position, position_text

_WithSince = model_pb2.Attribute | model_service_pb2.ApplyModelsResponse | model_service_pb2.RollBackModelsResponse

PAGE_SIZE_MAX = 1000
VERSIONS_PAGE_SIZE = 20
VERSIONS_PAGE_SIZE_MAX = 100
MODELS_PAGE_SIZE = 100

T = TypeVar("T", model_pb2.Model, model_pb2.Attribute)


class ModelService:
    """Serves `rte.v1.ModelService`."""

    def __init__(
        self, engine: Engine, seal: TokenSeal, lifecycle: ModelLifecycle, problems: Callable[[], Problems]
    ) -> None:
        """Make the service.

        Args:
            engine: The running one.
            seal: For page tokens.
            lifecycle: Changes its models.
            problems: Gives what is wrong with the files of the configuration, by name of the model.
        """
        self._engine = engine
        self._seal = seal
        self._lifecycle = lifecycle
        self._problems = problems

    def handlers(self) -> dict[str, Handler]:
        """Return the methods by name."""
        methods = {
            "ListModels": self.list_models,
            "GetModel": self.get_model,
            "ListAttributes": self.list_attributes,
            "ApplyModels": self.apply_models,
            "RollBackModels": self.roll_back_models,
            "ListModelVersions": self.list_model_versions,
        }
        return {name: grpc.unary_unary_rpc_method_handler(method) for name, method in methods.items()}

    async def list_models(self, body: bytes, context: Context) -> bytes:
        """Answer ListModels."""
        request = parse(body, model_service_pb2.ListModelsRequest)
        problems = self._problems()
        models = [model_message(model, problems.get(model.name, ())) for model in self._engine.program.models]
        models.sort(key=lambda model: model.name)
        page, token = self._page("models", models, request.page_size or MODELS_PAGE_SIZE, request.page_token)
        running = {model.name for model in models}
        others = [problem for name, found in problems.items() if name not in running for problem in found]
        answer = model_service_pb2.ListModelsResponse(
            models=page, next_page_token=token, problems=map(problem_message, others)
        )
        return answer.SerializeToString()

    async def get_model(self, body: bytes, context: Context) -> bytes:
        """Answer GetModel."""
        name = parse(body, model_service_pb2.GetModelRequest).name
        if not name:
            raise EngineError(Reason.FIELD_MISSING, "name is required", field="name")
        for model in self._engine.program.models:
            if model.name == name:
                answer = model_service_pb2.GetModelResponse(
                    model=model_message(model, self._problems().get(name, ())),
                    source=model.source,
                    attributes=self._attributes(model.attributes),
                )
                return answer.SerializeToString()
        raise EngineError(Reason.MODEL_NOT_FOUND, f'no model has the name "{name[:64]}"', field="name", value=name)

    async def list_attributes(self, body: bytes, context: Context) -> bytes:
        """Answer ListAttributes."""
        request = parse(body, model_service_pb2.ListAttributesRequest)
        attributes = self._attributes(self._engine.program.attributes)
        page, token = self._page("attributes", attributes, request.page_size or PAGE_SIZE_MAX, request.page_token)
        answer = model_service_pb2.ListAttributesResponse(attributes=page, next_page_token=token)
        return answer.SerializeToString()

    async def apply_models(self, body: bytes, context: Context) -> bytes:
        """Answer ApplyModels."""
        request = parse_with_json(body, model_service_pb2.ApplyModelsRequest)
        order = read_order(request)
        if request.mode == request.MODE_ACTIVATE:
            done = await self._lifecycle.activate(order)
            answer = _planned(done.plan)
            answer.position = position_text(done.position)
            self._add_since(answer, Completeness(self._engine).since_ms(done.begun))
        elif request.mode == request.MODE_DRY_RUN:
            tried = await self._lifecycle.dry_run(order)
            answer = _planned(tried.plan, tried.compared.differences)
            answer.session_count = tried.compared.session_count
            answer.compared_session_count = tried.compared.compared_count
            self._add_since(answer, tried.since_ms)
        else:
            try:
                answer = _planned(await self._lifecycle.plan(order))
            except ModelError as error:
                problems = map(problem_message, error.problems)
                answer = model_service_pb2.ApplyModelsResponse(problems=problems)
        return answer.SerializeToString()

    async def roll_back_models(self, body: bytes, context: Context) -> bytes:
        """Answer RollBackModels."""
        request = parse_with_json(body, model_service_pb2.RollBackModelsRequest)
        check_about(request)
        position = parse_position(request.position, field="position") if request.position else None
        done = await self._lifecycle.roll_back(position, request.request_id, request.note, request.author)
        answer = model_service_pb2.RollBackModelsResponse(
            models=map(model_change_message, done.plan.models),
            attributes=map(attribute_change_message, done.plan.attributes),
            position=position_text(done.position),
        )
        self._add_since(answer, Completeness(self._engine).since_ms(done.begun))
        return answer.SerializeToString()

    async def list_model_versions(self, body: bytes, context: Context) -> bytes:
        """Answer ListModelVersions."""
        request = parse(body, model_service_pb2.ListModelVersionsRequest)
        check_page_size(request.page_size, VERSIONS_PAGE_SIZE_MAX)
        entries = self._engine.configurations.entries[::-1]
        active = entries[0].position if entries else 0
        if request.page_token:
            reason = Reason.INVALID_PAGE_TOKEN
            after = self._seal.open("versions", (), request.page_token, reason=reason, field="page_token")[0]
            entries = tuple(entry for entry in entries if isinstance(after, int) and entry.position < after)
        page = entries[: min(request.page_size or VERSIONS_PAGE_SIZE, VERSIONS_PAGE_SIZE_MAX)]
        answer = model_service_pb2.ListModelVersionsResponse(
            configurations=[configuration_message(entry, is_active=entry.position == active) for entry in page]
        )
        if len(entries) > len(page):
            answer.next_page_token = self._seal.seal("versions", (), [page[-1].position])
        return answer.SerializeToString()

    def _attributes(self, specs: Sequence[AttributeSpec]) -> list[model_pb2.Attribute]:
        """Return attributes by name."""
        completeness = Completeness(self._engine)
        known = {spec.name: spec for spec in self._engine.program.attributes}
        found = []
        for spec in specs:
            message = attribute_message(spec, known)
            self._add_since(message, completeness.since_ms([spec.name]))
            found.append(message)
        return sorted(found, key=lambda message: message.name)

    def _add_since(self, message: _WithSince, since_ms: int) -> None:
        if since_ms:
            message.complete_since_time.CopyFrom(time_message(since_ms))

    def _page(self, kind: str, items: Sequence[T], size: int, token: str) -> tuple[list[T], str]:
        """Return a page of items that are sorted by name, and the token of the next."""
        check_page_size(size, PAGE_SIZE_MAX)
        after = ""
        if token:
            reason = Reason.INVALID_PAGE_TOKEN
            after = str(self._seal.open(kind, (), token, reason=reason, field="page_token")[0])
        rest = [item for item in items if item.name > after]
        page = rest[: min(size, PAGE_SIZE_MAX)]
        return page, self._seal.seal(kind, (), [page[-1].name]) if len(rest) > len(page) else ""


def check_page_size(size: int, size_max: int) -> None:
    """Refuse a negative page size; `size_max` is the largest page that the call gives.

    Raises:
        EngineError: OUT_OF_RANGE.
    """
    if size < 0:
        limit = f"1 to {size_max}"
        message = f"page_size is {size}, it must be {limit}"
        raise EngineError(Reason.OUT_OF_RANGE, message, field="page_size", value=str(size), limit=limit)


def _planned(plan: Plan, differences: Sequence[Difference] = ()) -> model_service_pb2.ApplyModelsResponse:
    """Return an answer that says what a plan changes."""
    by_name = {each.change.name: each for each in differences}
    return model_service_pb2.ApplyModelsResponse(
        models=map(model_change_message, plan.models),
        attributes=[attribute_change_message(each, by_name.get(each.name)) for each in plan.attributes],
        session_bytes_before=models_bytes(plan.before),
        session_bytes_after=models_bytes(plan.after),
    )


def models_bytes(models: Sequence[ModelSpec]) -> int:
    """Return the memory that models take in each session, bytes."""
    return sum(session_bytes(spec) for model in models for spec in model.attributes)


def model_message(model: ModelSpec, problems: Sequence[Problem]) -> model_pb2.Model:
    """Return the contract's description of a model."""
    return model_pb2.Model(
        name=model.name,
        version=model.version,
        description=model.description,
        uses=model.uses,
        attribute_count=len(model.attributes),
        session_bytes=models_bytes([model]),
        source_sha256=sha256(model.source),
        is_alongside=is_alongside(model),
        problems=map(problem_message, problems),
    )


def attribute_message(spec: AttributeSpec, known: Mapping[str, AttributeSpec]) -> model_pb2.Attribute:
    """Return the contract's description of an attribute; `known` are all attributes of the models in use, by name."""
    declared = exactness(spec, known)
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
        exactness_note=str(declared),
    )
