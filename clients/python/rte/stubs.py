"""The generated stubs of one channel, and what they raise as an RteError."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

import grpc

from rte.errors import error_of_call
from rte.v1.collector_service_pb2_grpc import CollectorServiceStub
from rte.v1.customer_service_pb2_grpc import CustomerServiceStub
from rte.v1.event_service_pb2_grpc import EventServiceStub
from rte.v1.model_service_pb2_grpc import ModelServiceStub
from rte.v1.session_service_pb2_grpc import SessionServiceStub

INGEST = "/rte.v1.EventService/IngestEvents"


@dataclass(frozen=True)
class Stubs:
    """The generated stubs of one channel, for whatever the client has no method for.

    Attributes:
        channel: What they call through, with its deadlines, retries and token.
    """

    channel: grpc.Channel

    @cached_property
    def events(self) -> EventServiceStub:
        """Events in."""
        return EventServiceStub(self.channel)

    @cached_property
    def sessions(self) -> SessionServiceStub:
        """Session States."""
        return SessionServiceStub(self.channel)

    @cached_property
    def customers(self) -> CustomerServiceStub:
        """Customer States."""
        return CustomerServiceStub(self.channel)

    @cached_property
    def models(self) -> ModelServiceStub:
        """Models, attributes and scores."""
        return ModelServiceStub(self.channel)

    @cached_property
    def collectors(self) -> CollectorServiceStub:
        """What collectors keep in quarantine."""
        return CollectorServiceStub(self.channel)


@contextmanager
def translated() -> Iterator[None]:
    """Raise what a stub raises as an RteError."""
    try:
        yield
    except grpc.RpcError as failure:
        raise error_of_call(failure) from None
