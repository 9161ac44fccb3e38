"""The gRPC server: the services, health, reflection, options, and an orderly end."""

from __future__ import annotations

from collections.abc import Mapping

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.reflection import SERVICE_NAME as REFLECTION_V1ALPHA
from grpc_reflection.v1alpha.reflection import aio as reflection

from rte_server.service.interceptors import Guard, Handler

Handlers = Mapping[str, Mapping[str, Handler]]
"""Methods by name, by full name of their service. They take and give bytes."""

REFLECTION_V1 = "grpc.reflection.v1.ServerReflection"
"""The same messages as v1alpha under the name that newer tools ask for first."""

KEEPALIVE_MS = 30_000
"""A connection that says nothing for this long is pinged, so that the watches of a dead caller end."""

PING_INTERVAL_MS_MIN = 5_000
"""Clients may ping this often before they are taken for abusive."""


class GrpcServer:
    """A `grpc.aio` server on one TCP port."""

    def __init__(self, handlers: Handlers, guard: Guard, *, request_bytes_max: int, answer_bytes_max: int) -> None:
        """Make the server; call on the event loop.

        Args:
            handlers: What it serves.
            guard: Wraps every call.
            request_bytes_max: Larger requests are refused by gRPC with RESOURCE_EXHAUSTED, bytes.
            answer_bytes_max: The same for answers.
        """
        options = (
            ("grpc.max_receive_message_length", request_bytes_max),
            ("grpc.max_send_message_length", answer_bytes_max),
            ("grpc.keepalive_time_ms", KEEPALIVE_MS),
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.http2.min_recv_ping_interval_without_data_ms", PING_INTERVAL_MS_MIN),
            # Else a second server on the same port would silently get half of the calls.
            ("grpc.so_reuseport", 0),
        )
        self._server = grpc.aio.server(interceptors=(guard,), options=options)
        for service, methods in handlers.items():
            generic = grpc.method_handlers_generic_handler(service, dict(methods))
            self._server.add_generic_rpc_handlers((generic,))
        self._services = tuple(handlers)
        self._health = health.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        self._add_reflection()

    async def start(self, host: str, port: int) -> int:
        """Begin to serve and return the port; 0 picks a free one.

        Raises:
            RuntimeError: The port cannot be bound.
        """
        bound = self._server.add_insecure_port(f"{host}:{port}")
        if bound == 0:
            raise RuntimeError(f"cannot listen on {host}:{port}; is another server running there?")
        await self._server.start()
        for service in self._services:
            await self._health.set(service, health_pb2.HealthCheckResponse.SERVING)
        return bound

    async def announce_stop(self) -> None:
        """Say NOT_SERVING from now on; calls still work."""
        await self._health.enter_graceful_shutdown()

    async def stop(self, grace_s: float) -> None:
        """Take no more calls, wait up to `grace_s` seconds for those under way, then cancel them."""
        await self._server.stop(grace_s)

    def _add_reflection(self) -> None:
        names = (*self._services, health_pb2.DESCRIPTOR.services_by_name["Health"].full_name, REFLECTION_V1ALPHA)
        servicer = reflection.ReflectionServicer(names)
        method = grpc.stream_stream_rpc_method_handler(
            servicer.ServerReflectionInfo,
            request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
            response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
        )
        for name in (REFLECTION_V1ALPHA, REFLECTION_V1):
            generic = grpc.method_handlers_generic_handler(name, {"ServerReflectionInfo": method})
            self._server.add_generic_rpc_handlers((generic,))
