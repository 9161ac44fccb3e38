"""A bridge as a process: its HTTP server, and its channel to the gRPC server."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import grpc.aio
import uvicorn

from rte_bridge.bodies import Receive, Scope, Send

ANSWER_BYTES_MAX = 64 * 1024 * 1024
"""The largest answer that the server gives."""

GRACE_S = 10
"""How long calls may take when the bridge is told to stop."""

_CHANNEL_OPTIONS = (
    ("grpc.max_receive_message_length", ANSWER_BYTES_MAX),
    ("grpc.max_send_message_length", -1),
    # The server is on this machine: when it comes back, calls should notice at once.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
)


def options_of(program: str, about: str | None, listen: str) -> argparse.ArgumentParser:
    """Return a parser of the options that every bridge has.

    Args:
        program: Its package.
        about: What it does, one sentence.
        listen: Where it listens if nothing else is said.
    """
    parser = argparse.ArgumentParser(prog=f"python -m {program}", description=about)
    parser.add_argument("--listen", default=listen, metavar="ADDRESS", help="unix:/path or host:port")
    parser.add_argument("--server", default="127.0.0.1:50051", metavar="ADDRESS", help="the gRPC server")
    return parser


def log_to_supervisor() -> None:
    """Log in the form that the supervisor reads."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s %(message)s", stream=sys.stderr)


def channel_to(server: str) -> grpc.aio.Channel:
    """Return a channel to the gRPC server; it connects with the first call."""
    return grpc.aio.insecure_channel(server, options=_CHANNEL_OPTIONS)


async def serve(app: Callable[[Scope, Receive, Send], Awaitable[None]], listen: str) -> None:
    """Serve HTTP until SIGTERM.

    Args:
        app: Answers requests, an ASGI application.
        listen: `unix:/path` or `host:port`.
    """
    host, _, port = listen.rpartition(":")
    where: dict[str, Any] = (
        {"uds": listen.removeprefix("unix:")}
        if listen.startswith("unix:")
        else {"host": host.strip("[]"), "port": int(port)}
    )
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            **where,
            lifespan="off",
            ws="none",
            http="httptools",
            interface="asgi3",
            access_log=False,
            log_config=None,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            timeout_keep_alive=600,
            timeout_graceful_shutdown=GRACE_S,
        )
    )
    await server.serve()
