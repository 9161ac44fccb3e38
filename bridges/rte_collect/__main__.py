"""`python -m rte_collect --listen ADDRESS --server ADDRESS`: the collectors as a process, behind Envoy."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

import grpc.aio
import msgspec
import uvloop

from rte.v1.collector_service_pb2_grpc import add_CollectorServiceServicer_to_server
from rte_bridge.bodies import BodyLimits
from rte_bridge.serving import GRACE_S, channel_to, log_to_supervisor, options_of, serve
from rte_collect.app import App, Collectors
from rte_collect.intake import Intake
from rte_collect.keeper import Keeper
from rte_collect.quarantine import Bounds, Quarantine
from rte_collect.quarantine_service import QuarantineService


class Settings(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """What the bridge is told by its owner, as a JSON file."""

    body_bytes_max: int = BodyLimits().body_bytes_max
    """Largest request, bytes, also after decompression."""
    batch_events_max: int = 5_000
    """The most events that the server takes in one call."""
    event_bytes_max: int = 64 * 1024
    """Bytes of the largest event on the wire that the server takes."""
    write_keys: list[str] = msgspec.field(default_factory=list)
    """Those that are taken; empty: all."""
    tables: str = ""
    """Directory of tables that take the place of those that ship; empty: none."""
    quarantine: str = ""
    """File of the quarantine; empty: in memory."""
    quarantine_max: int = 10_000
    """Refused events that are kept."""
    quarantine_bytes_max: int = 64 * 1024 * 1024
    """Bytes of refused events that are kept."""
    quarantine_ms: int = 7 * 86_400_000
    """How long a refused event is kept."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve the collectors until SIGTERM, and return the exit code."""
    options = _options(arguments)
    log_to_supervisor()
    settings = (
        msgspec.json.decode(Path(options.settings).read_bytes(), type=Settings) if options.settings else Settings()
    )
    uvloop.run(_serve(options, settings))
    return 0


async def _serve(options: argparse.Namespace, settings: Settings) -> None:
    collectors = Collectors.of(settings.tables, settings.write_keys)
    bounds = Bounds(settings.quarantine_max, settings.quarantine_bytes_max, settings.quarantine_ms)
    channel = channel_to(options.server)
    # JSON grows on its way by less than this; products that share much would grow it without end.
    wire_bytes_max = 4 * settings.body_bytes_max
    intake = Intake(channel, settings.batch_events_max, settings.event_bytes_max, wire_bytes_max)
    keeper = Keeper(Quarantine(settings.quarantine, bounds), intake, collectors.by_name())
    quarantine = grpc.aio.server()
    add_CollectorServiceServicer_to_server(QuarantineService(keeper), quarantine)
    quarantine.add_insecure_port(options.grpc_listen or grpc_address(options.listen))
    forgetting = asyncio.create_task(keeper.forget_old())
    try:
        await quarantine.start()
        app = App(intake, keeper, collectors, BodyLimits(body_bytes_max=settings.body_bytes_max))
        await serve(app, options.listen)
    finally:
        forgetting.cancel()
        await quarantine.stop(GRACE_S)
        keeper.close()
        await channel.close()


def grpc_address(listen: str) -> str:
    """Return where the bridge listens for gRPC if nothing else is said: beside its socket, or at the next port."""
    if listen.startswith("unix:"):
        return f"{listen}.grpc"
    host, _, port = listen.rpartition(":")
    return f"{host}:{int(port) + 1}"


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = options_of("rte_collect", main.__doc__, "127.0.0.1:50053")
    parser.add_argument("--settings", default="", metavar="FILE", help="JSON; none: what a server has by default")
    parser.add_argument("--grpc-listen", default="", metavar="ADDRESS", help="for the quarantine; see grpc_address")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
