"""`python -m rte_soap --listen ADDRESS --server ADDRESS`: the bridge as a process, behind Envoy."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import uvloop

from rte_bridge.bodies import BodyLimits
from rte_bridge.serving import channel_to, log_to_supervisor, options_of, serve
from rte_soap.app import App, Settings
from rte_soap.contract import Contract
from rte_soap.documents import Limits
from rte_soap.service import SoapService


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve SOAP until SIGTERM, and return the exit code."""
    options = _options(arguments)
    log_to_supervisor()
    uvloop.run(_serve(options))
    return 0


async def _serve(options: argparse.Namespace) -> None:
    settings = Settings(
        limits=Limits(body_bytes_max=options.body_bytes_max),
        bodies=BodyLimits(body_bytes_max=options.body_bytes_max),
        public_url=options.public_url,
        plaintext_passwords=options.plaintext_passwords,
    )
    channel = channel_to(options.server)
    service = SoapService(
        Contract.shipped(), channel, settings.limits, plaintext_passwords=settings.plaintext_passwords
    )
    try:
        await serve(App(service, settings), options.listen)
    finally:
        service.close()
        await channel.close()


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = options_of("rte_soap", main.__doc__, "127.0.0.1:50052")
    parser.add_argument("--body-bytes-max", type=int, default=Limits().body_bytes_max, metavar="N")
    parser.add_argument("--public-url", default="", metavar="URL", help="the address that the WSDL gives")
    parser.add_argument("--plaintext-passwords", action="store_true", help="take a UsernameToken without TLS")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
