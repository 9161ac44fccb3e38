"""`python -m rte_soap --listen ADDRESS --server ADDRESS`: the bridge as a process, behind Envoy."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence

import grpc.aio
import uvicorn
import uvloop

from rte_soap.app import App, Settings
from rte_soap.contract import Contract
from rte_soap.documents import Limits
from rte_soap.service import SoapService

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


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve SOAP until SIGTERM, and return the exit code."""
    options = _options(arguments)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s %(message)s", stream=sys.stderr)
    uvloop.run(_serve(options))
    return 0


async def _serve(options: argparse.Namespace) -> None:
    settings = Settings(
        limits=Limits(body_bytes_max=options.body_bytes_max),
        public_url=options.public_url,
        plaintext_passwords=options.plaintext_passwords,
    )
    channel = grpc.aio.insecure_channel(options.server, options=_CHANNEL_OPTIONS)
    service = SoapService(
        Contract.shipped(), channel, settings.limits, plaintext_passwords=settings.plaintext_passwords
    )
    host, _, port = options.listen.rpartition(":")
    where = (
        {"uds": options.listen.removeprefix("unix:")}
        if options.listen.startswith("unix:")
        else {"host": host.strip("[]"), "port": int(port)}
    )
    server = uvicorn.Server(
        uvicorn.Config(
            App(service, settings),
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
    try:
        await server.serve()
    finally:
        service.close()
        await channel.close()


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m rte_soap", description=main.__doc__)
    parser.add_argument("--listen", default="127.0.0.1:50052", metavar="ADDRESS", help="unix:/path or host:port")
    parser.add_argument("--server", default="127.0.0.1:50051", metavar="ADDRESS", help="the gRPC server")
    parser.add_argument("--body-bytes-max", type=int, default=Limits().body_bytes_max, metavar="N")
    parser.add_argument("--public-url", default="", metavar="URL", help="the address that the WSDL gives")
    parser.add_argument("--plaintext-passwords", action="store_true", help="take a UsernameToken without TLS")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
