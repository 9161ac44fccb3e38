"""`python -m rte_collect --listen ADDRESS --server ADDRESS`: the collectors as a process, behind Envoy."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
import uvloop

from rte_bridge.bodies import BodyLimits
from rte_bridge.serving import channel_to, log_to_supervisor, options_of, serve
from rte_collect.app import App, Collectors
from rte_collect.intake import Intake


class Settings(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """What the bridge is told by its owner, as a JSON file."""

    body_bytes_max: int = BodyLimits().body_bytes_max
    """Largest request, bytes, also after decompression."""
    batch_events_max: int = 5_000
    """The most events that the server takes in one call."""
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
    channel = channel_to(options.server)
    app = App(
        Intake(channel, settings.batch_events_max),
        Collectors.of(settings.tables, settings.write_keys),
        BodyLimits(body_bytes_max=settings.body_bytes_max),
    )
    try:
        await serve(app, options.listen)
    finally:
        await channel.close()


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = options_of("rte_collect", main.__doc__, "127.0.0.1:50053")
    parser.add_argument("--settings", default="", metavar="FILE", help="JSON; none: what a server has by default")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
