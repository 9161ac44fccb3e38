"""A small server with the real contract, so that the edge can be tested by itself.

It keeps one session per visitor in a dictionary and answers every RPC truly, errors included. What it does with the JSON
form of a request is what the service must do, written in the most obvious way.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from typing import Any, NoReturn

import grpc
from google.protobuf import json_format, struct_pb2
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import DecodeError, Message
from google.protobuf.unknown_fields import UnknownFieldSet
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from grpc_status import rpc_status

from rte.v1 import (
    error_reason_pb2,
    event_pb2,
    event_service_pb2,
    event_service_pb2_grpc,
    model_pb2,
    model_service_pb2,
    model_service_pb2_grpc,
    session_pb2,
    session_service_pb2,
    session_service_pb2_grpc,
)

MESSAGE_BYTES_MAX = 24 * 1024 * 1024
"""The JSON form of a 4 MiB text of small numbers takes 22 MB as a Struct."""

_CODES = {
    grpc.StatusCode.INVALID_ARGUMENT: 3,
    grpc.StatusCode.NOT_FOUND: 5,
}


class RefusedError(Exception):
    """A call is refused; carries what the status needs."""

    def __init__(self, code: grpc.StatusCode, reason: str, message: str, field: str = "") -> None:
        super().__init__(message)
        info = error_details_pb2.ErrorInfo(reason=reason, domain="rte.v1", metadata={"field": field} if field else {})
        packed = AnyMessage()
        packed.Pack(info)
        self.status = status_pb2.Status(code=_CODES[code], message=message, details=[packed])
        self.reason = reason
        self.field = field


def member_names(message: type[Message] | Message) -> dict[str, Any]:
    """Return the fields of a message by every name that its JSON form may use."""
    fields = message.DESCRIPTOR.fields
    return {name: field for field in fields for name in (field.name, field.json_name)}


def json_form(request: Message) -> dict[str, Any] | None:
    """Return the JSON object that Envoy put into field 15; None for a native request."""
    unknown_fields: Any = UnknownFieldSet(request)
    forms = [unknown.data for unknown in unknown_fields if unknown.field_number == 15]
    if not forms:
        return None
    struct = struct_pb2.Struct()
    try:
        for form in forms:
            struct.MergeFromString(form)
    except DecodeError as error:
        raise RefusedError(grpc.StatusCode.INVALID_ARGUMENT, "TOO_DEEP", "the JSON text is nested too deep") from error
    return json_format.MessageToDict(struct)


def fill_from_json(request: Message) -> None:
    """Replace the JSON form of a request by its fields; refuse unknown members and those that differ from the path."""
    members = json_form(request)
    request.DiscardUnknownFields()
    for name, value in (members or {}).items():
        field = member_names(request).get(name)
        if field is None:
            raise RefusedError(grpc.StatusCode.INVALID_ARGUMENT, "UNKNOWN_FIELD", f"unknown member {name!r}", name)
        in_path = getattr(request, field.name) if field.name == "session_id" else None
        if in_path and in_path != value:
            message = f"{name} is {in_path!r} in the path and {value!r} in the body"
            raise RefusedError(grpc.StatusCode.INVALID_ARGUMENT, "OUT_OF_RANGE", message, field.name)
        try:
            json_format.ParseDict({name: value}, request)
        except json_format.ParseError as error:
            message = f"{name} has another type than the contract says"
            raise RefusedError(grpc.StatusCode.INVALID_ARGUMENT, "WRONG_TYPE", message, name) from error


class State:
    """The sessions, and a signal that they changed."""

    def __init__(self) -> None:
        self.sessions: dict[str, session_pb2.Session] = {}
        self.position = 0
        self.changed = asyncio.Condition()
        self.stopping = False
        self.held_count = 0
        self.let_go = asyncio.Event()

    def take(self, event: event_pb2.Event) -> session_pb2.Session:
        """Fold one event."""
        session_id = hashlib.md5(event.visitor_id.encode()).hexdigest()
        session = self.sessions.setdefault(session_id, session_pb2.Session(session_id=session_id))
        session.visitor_id = event.visitor_id
        session.customer_id = event.customer_id or session.customer_id
        session.state = session_pb2.SESSION_STATE_ACTIVE
        session.event_count += 1
        if event.client_session_id:
            session.alias_ids.append(event.client_session_id)
        session.attributes["events"] = session.event_count
        return session

    def find(self, request: session_service_pb2.GetSessionRequest) -> session_pb2.Session:
        """Find a session by any id."""
        kind = request.WhichOneof("key")
        if kind is None:
            raise RefusedError(grpc.StatusCode.INVALID_ARGUMENT, "FIELD_MISSING", "no id", "session_id")
        wanted = getattr(request, kind)
        for session in self.sessions.values():
            ids = session.alias_ids if kind == "client_session_id" else [getattr(session, kind)]
            if wanted in ids:
                return session
        raise RefusedError(grpc.StatusCode.NOT_FOUND, "SESSION_NOT_FOUND", f"no session has {kind} {wanted!r}", kind)


async def refuse(context: Any, refused: RefusedError) -> NoReturn:
    """End a call with the status of a refusal."""
    await context.abort_with_status(rpc_status.to_status(refused.status))
    raise AssertionError


class Events(event_service_pb2_grpc.EventServiceServicer):
    """Takes events into the state."""

    def __init__(self, state: State) -> None:
        self._state = state

    async def IngestEvents(self, request: Any, context: Any) -> Any:
        """Take a batch."""
        try:
            return await self._ingest(request)
        except RefusedError as refused:
            await refuse(context, refused)

    async def StreamEvents(self, requests: Any, context: Any) -> AsyncIterator[Any]:
        """Take batches."""
        async for request in requests:
            answer = await self._ingest(request)
            yield event_service_pb2.StreamEventsResponse(
                position=answer.position, accepted_count=answer.accepted_count, rejected_count=answer.rejected_count
            )

    async def _ingest(self, request: Any) -> Any:
        answer = event_service_pb2.IngestEventsResponse()
        events: list[Any] = list(request.events)
        members = json_form(request)
        if members is not None:
            events = members.pop("events", [])
            for name in members:
                if name not in member_names(request):
                    raise RefusedError(
                        grpc.StatusCode.INVALID_ARGUMENT, "UNKNOWN_FIELD", f"unknown member {name!r}", name
                    )
        if not events:
            raise RefusedError(grpc.StatusCode.INVALID_ARGUMENT, "FIELD_MISSING", "no events", "events")
        for index, event in enumerate(events):
            try:
                touched = self._state.take(self._checked(event))
                answer.accepted_count += 1
                answer.sessions.append(touched)
            except RefusedError as refused:
                answer.rejected_count += 1
                reason = error_reason_pb2.ErrorReason.Value(f"ERROR_REASON_{refused.reason}")
                answer.verdicts.add(index=index, outcome=1, reason=reason, field=refused.field, message=str(refused))
        self._state.position += 1
        answer.position = f"0-{self._state.position}"
        async with self._state.changed:
            self._state.changed.notify_all()
        return answer

    def _checked(self, event: Any) -> event_pb2.Event:
        if isinstance(event, dict):
            for name in event:
                if name not in member_names(event_pb2.Event):
                    raise RefusedError(
                        grpc.StatusCode.INVALID_ARGUMENT, "UNKNOWN_FIELD", f"unknown member {name!r}", name
                    )
            event = json_format.ParseDict(event, event_pb2.Event())
        checked: event_pb2.Event = event
        if not checked.visitor_id:
            raise RefusedError(grpc.StatusCode.INVALID_ARGUMENT, "FIELD_MISSING", "no visitor", "visitor_id")
        return checked


class Sessions(session_service_pb2_grpc.SessionServiceServicer):
    """Answers from the state."""

    def __init__(self, state: State) -> None:
        self._state = state

    async def GetSession(self, request: Any, context: Any) -> Any:
        """Get a session; a visitor named `held` makes it wait for `StandIn.let_go`."""
        if request.visitor_id == "held":
            self._state.held_count += 1
            await self._state.let_go.wait()
        try:
            return session_service_pb2.GetSessionResponse(session=self._state.find(request))
        except RefusedError as refused:
            await refuse(context, refused)

    async def BatchGetSessions(self, request: Any, context: Any) -> Any:
        """Get several."""
        answer = session_service_pb2.BatchGetSessionsResponse()
        for field in ("session_id", "visitor_id"):
            for wanted in getattr(request, f"{field}s"):
                try:
                    found = self._state.find(session_service_pb2.GetSessionRequest(**{field: wanted}))
                    answer.results.add(session=found)
                except RefusedError as refused:
                    answer.results.add(error=refused.status)
        return answer

    async def ListSessions(self, request: Any, context: Any) -> Any:
        """List all."""
        sessions = list(self._state.sessions.values())[: request.page_size or 50]
        return session_service_pb2.ListSessionsResponse(sessions=sessions, total_count=len(self._state.sessions))

    async def WatchSessions(self, request: Any, context: Any) -> AsyncIterator[Any]:
        """Send all sessions whenever one changed."""
        if request.filter and request.filter.count("(") != request.filter.count(")"):
            message = "the filter cannot be understood"
            await refuse(
                context, RefusedError(grpc.StatusCode.INVALID_ARGUMENT, "INVALID_EXPRESSION", message, "filter")
            )
        kinds = session_service_pb2.WatchSessionsResponse
        yield kinds(type=kinds.TYPE_RESET)
        sent: dict[str, int] = {}
        synced = False
        while not self._state.stopping:
            for session_id, session in list(self._state.sessions.items()):
                if sent.get(session_id) != session.event_count:
                    sent[session_id] = session.event_count
                    yield kinds(type=kinds.TYPE_UPSERT, session_id=session_id, session=session)
            if not synced:
                synced = True
                yield kinds(type=kinds.TYPE_SYNCED, resume_token="t")
            async with self._state.changed:
                await self._state.changed.wait()
        yield kinds(type=kinds.TYPE_ERROR, error=status_pb2.Status(code=14, message="the server is stopping"))

    async def UpdateSession(self, request: Any, context: Any) -> Any:
        """Write attributes."""
        try:
            fill_from_json(request)
            session = self._state.find(session_service_pb2.GetSessionRequest(session_id=request.session_id))
        except RefusedError as refused:
            await refuse(context, refused)
        session.attributes.update(request.attributes)
        return session_service_pb2.UpdateSessionResponse(session=session)

    async def EndSession(self, request: Any, context: Any) -> Any:
        """End a session."""
        try:
            fill_from_json(request)
            session = self._state.find(session_service_pb2.GetSessionRequest(session_id=request.session_id))
        except RefusedError as refused:
            await refuse(context, refused)
        session.state = session_pb2.SESSION_STATE_CLOSED
        return session_service_pb2.EndSessionResponse(session=session)

    async def ExplainSession(self, request: Any, context: Any) -> Any:
        """Say the value of an attribute."""
        try:
            kind = request.WhichOneof("key") or "session_id"
            key = {kind: getattr(request, kind)}
            session = self._state.find(session_service_pb2.GetSessionRequest(**key))
        except RefusedError as refused:
            await refuse(context, refused)
        answer = session_service_pb2.ExplainSessionResponse()
        answer.explanation.session_id = session.session_id
        answer.explanation.attribute.name = request.attribute
        answer.explanation.value.CopyFrom(session.attributes.fields[request.attribute])
        return answer


class Models(model_service_pb2_grpc.ModelServiceServicer):
    """Knows one model."""

    def __init__(self) -> None:
        self.list_count = 0

    async def ListModels(self, request: Any, context: Any) -> Any:
        """List it."""
        self.list_count += 1
        return model_service_pb2.ListModelsResponse(models=[model_pb2.Model(name="base")])

    async def GetModel(self, request: Any, context: Any) -> Any:
        """Get it."""
        if request.name != "base":
            refused = RefusedError(grpc.StatusCode.NOT_FOUND, "MODEL_NOT_FOUND", f"no model {request.name!r}", "name")
            await refuse(context, refused)
        return model_service_pb2.GetModelResponse(model=model_pb2.Model(name="base"))

    async def ListAttributes(self, request: Any, context: Any) -> Any:
        """List its attribute."""
        return model_service_pb2.ListAttributesResponse(attributes=[model_pb2.Attribute(name="event_count")])

    async def ApplyModels(self, request: Any, context: Any) -> Any:
        """Answer with the place after the models given."""
        return model_service_pb2.ApplyModelsResponse(position=f"0-{len(request.models)}")

    async def RollBackModels(self, request: Any, context: Any) -> Any:
        """Answer with the place that was asked for."""
        return model_service_pb2.RollBackModelsResponse(position=request.position)

    async def ListModelVersions(self, request: Any, context: Any) -> Any:
        """List one."""
        return model_service_pb2.ListModelVersionsResponse(
            configurations=[model_pb2.ModelConfiguration(position="0-1", is_active=True)]
        )

    async def ListScores(self, request: Any, context: Any) -> Any:
        """List no scores."""
        return model_service_pb2.ListScoresResponse()

    async def RollBackWeights(self, request: Any, context: Any) -> Any:
        """Put nothing back."""
        return model_service_pb2.RollBackWeightsResponse()


class StandIn:
    """The server as a whole."""

    def __init__(self) -> None:
        self.models = Models()
        self._state = State()
        self._server = grpc.aio.server(
            options=[("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX)]
        )

    async def start(self, address: str) -> None:
        """Serve on `unix:/path` or `host:port`."""
        event_service_pb2_grpc.add_EventServiceServicer_to_server(Events(self._state), self._server)
        session_service_pb2_grpc.add_SessionServiceServicer_to_server(Sessions(self._state), self._server)
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(self.models, self._server)
        health_servicer = health.aio.HealthServicer()
        await health_servicer.set("", health_pb2.HealthCheckResponse.SERVING)
        health_pb2_grpc.add_HealthServicer_to_server(health_servicer, self._server)
        reflection.enable_server_reflection(["rte.v1.EventService", reflection.SERVICE_NAME], self._server)
        self._server.add_insecure_port(address)
        await self._server.start()

    @property
    def held_count(self) -> int:
        """Return how many calls were held so far, see `Sessions.GetSession`."""
        return self._state.held_count

    async def let_go(self) -> None:
        """Answer the calls that are held."""
        self._state.let_go.set()

    async def end_watches(self) -> None:
        """End all watches with an error message."""
        self._state.stopping = True
        async with self._state.changed:
            self._state.changed.notify_all()

    async def stop(self) -> None:
        """Stop."""
        await self.end_watches()
        await self._server.stop(1)
