"""Calls of tests: short ways to make events and to look at refusals."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import grpc
import pytest
from google.protobuf import json_format
from google.rpc import error_details_pb2, status_pb2

from rte.v1 import event_service_pb2
from rte.v1.event_pb2 import Event
from rte.v1.event_service_pb2_grpc import EventServiceStub
from rte_server.engine.reasons import Reason
from rte_server.service.errors import DETAILS_METADATA_KEY, reason_of


def new_visitor() -> str:
    """Return a visitor that no other test uses."""
    return f"v-{uuid.uuid4().hex[:12]}"


def event(visitor_id: str, name: str = "page_view", **fields: object) -> Event:
    """Return an event; other fields as in JSON."""
    return json_format.ParseDict({"visitor_id": visitor_id, "name": name, **fields}, Event())


def send(channel: grpc.Channel, *events: Event) -> event_service_pb2.IngestEventsResponse:
    """Send events and wait until they are in the state."""
    request = event_service_pb2.IngestEventsRequest(events=events, wait=event_service_pb2.WAIT_APPLIED)
    return EventServiceStub(channel).IngestEvents(request, timeout=60)


def raw(channel: Any, method: str) -> Any:
    """Return a unary method that takes and gives bytes."""
    return channel.unary_unary(method)


def status_of_call(error: Any) -> status_pb2.Status:
    """Return the status with details that a failed call carries."""
    metadata: dict[str, Any] = dict(error.trailing_metadata())
    return status_pb2.Status.FromString(metadata[DETAILS_METADATA_KEY])


def refused(call: Callable[..., Any], request: object, timeout_s: float = 60) -> tuple[grpc.StatusCode, Reason, str]:
    """Return code, reason and field of a call that must fail."""
    with pytest.raises(grpc.RpcError) as failure:
        call(request, timeout=timeout_s)
    status = status_of_call(failure.value)
    assert status.code == failure.value.code().value[0]
    assert status.message == failure.value.details()
    info = error_details_pb2.ErrorInfo()
    status.details[0].Unpack(info)
    return failure.value.code(), reason_of(status), info.metadata["field"]
