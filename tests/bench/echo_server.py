"""The ceiling of the transport: a `grpc.aio` server whose handlers look at nothing and answer fixed bytes.

Run as `python -m tests.bench.echo_server PORT`; it has the methods of the real server that are measured.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import uvloop

BATCH_ANSWER = b"\x0a\x08000-0000\x10\xf4\x03"
"""As long as a real answer, with 500 accepted events."""
SESSION_ANSWER = b"\x0a\xe8\x07" + b"\x7a\xe5\x07" + bytes(997)
"""About 1 KB, as a session of the shop."""


async def _ingest(request: bytes, context: Any) -> bytes:
    return BATCH_ANSWER


async def _stream(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
    async for _ in requests:
        yield BATCH_ANSWER


async def _get(request: bytes, context: Any) -> bytes:
    return SESSION_ANSWER


async def serve(port: int) -> None:
    """Serve until the process is ended."""
    server = grpc.aio.server()
    events: dict[str, Any] = {
        "IngestEvents": grpc.unary_unary_rpc_method_handler(_ingest),
        "StreamEvents": grpc.stream_stream_rpc_method_handler(_stream),
    }
    sessions: dict[str, Any] = {"GetSession": grpc.unary_unary_rpc_method_handler(_get)}
    server.add_generic_rpc_handlers(
        (
            grpc.method_handlers_generic_handler("rte.v1.EventService", events),
            grpc.method_handlers_generic_handler("rte.v1.SessionService", sessions),
        )
    )
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
