"""`rte simulate`: a synthetic shop against a running server."""

from __future__ import annotations

import json
import signal
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rte_server.cli.errors import USAGE, CommandError
from rte_server.cli.options import SERVER_DEFAULT, ServerOption, duration_s, speed_factor

if TYPE_CHECKING:
    from rte_server.cli.delivery import Totals
    from rte_server.simulate.shop import ShopSettings

EXAMPLES = (
    "Examples:\n\n"
    "  rte simulate                                       20 events per second until Ctrl-C\n\n"
    "  rte simulate --rate 500 --visitors 50000 --duration 10m\n\n"
    "  rte simulate --duration 2h --speed max             the last two hours at once\n\n"
    "  rte simulate --seed 7 --duration 1h --output shop.ndjson"
)

REPORT_INTERVAL_S = 5.0


def simulate(
    visitors: Annotated[int, typer.Option("--visitors", min=1, help="People who may come.")] = 20_000,
    rate: Annotated[float, typer.Option("--rate", min=0.01, help="Events per second, on average.")] = 20.0,
    duration: Annotated[
        str | None, typer.Option("--duration", metavar="TIME", help="How long, such as 10m; default: until Ctrl-C.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="The same seed gives the same people and visits.")] = 1,
    speed: Annotated[
        str, typer.Option("--speed", metavar="FACTOR|max", help="How many times faster than real time.")
    ] = "1",
    lead: Annotated[
        str | None, typer.Option("--lead", metavar="TIME", help="The shop opened so long ago; that is sent at once.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", metavar="FILE", help="Write NDJSON instead of sending; - prints it.")
    ] = None,
    server: ServerOption = SERVER_DEFAULT,
) -> None:
    """Send what happens in a synthetic shop to a running server.

    Visitors come at random, from campaigns, search engines or directly; they look
    around, search, compare, fill baskets, log in, buy or leave, and come back.
    Names and properties are those of GA4.
    """
    from rte_server.simulate.shop import ShopSettings

    factor = speed_factor(speed)
    lasts_s = duration_s(duration, "--duration") if duration else 0.0
    lead_s = duration_s(lead, "--lead") if lead else 0.0
    if not lasts_s and (factor != 1.0 or output is not None):
        raise CommandError("--speed and --output need to know when to end: add --duration, such as 1h.", USAGE)
    if lead_s and factor != 1.0:
        raise CommandError("--lead goes with --speed 1 only: faster shops always end at the present.", USAGE)
    settings = ShopSettings(seed=seed, visitors=visitors, rate=rate, duration_ms=round((lasts_s + lead_s) * 1000))
    if not lasts_s:
        settings = ShopSettings(seed=seed, visitors=visitors, rate=rate)
    if output is not None:
        _write(output, settings)
        return
    _send(server, settings, lead_s, factor)


def _write(path: Path, settings: ShopSettings) -> None:
    """Write the events, the last one at the present."""
    from dataclasses import replace

    from rte_server.simulate.shop import Shop

    start_ms = time.time_ns() // 1_000_000 - settings.duration_ms
    lines = (
        json.dumps(each.json(), ensure_ascii=False) for each in Shop(replace(settings, start_ms=start_ms)).events()
    )
    if str(path) == "-":
        for line in lines:
            typer.echo(line)
        return
    count = 0
    try:
        with path.open("w", encoding="utf-8") as out:
            for line in lines:
                out.write(line + "\n")
                count += 1
    except OSError as error:
        raise CommandError(f"{path} cannot be written: {error.strerror}.") from None
    typer.echo(f"{count:,} events in {path}", err=True)


def _send(server: str, settings: ShopSettings, lead_s: float, speed: float | None) -> None:
    from rte_server.cli.shop_feed import feed

    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    started_s = reported_s = time.monotonic()
    reported = 0

    def progress(totals: Totals) -> None:
        nonlocal reported_s, reported
        now_s = time.monotonic()
        if now_s - reported_s >= REPORT_INTERVAL_S:
            rate = (totals.sent - reported) / (now_s - reported_s)
            reported_s, reported = now_s, totals.sent
            typer.echo(f"{totals.sent:,} events, {rate:,.1f} events/s", err=True)

    typer.echo(f"A synthetic shop sends to {server}; Ctrl-C stops it.", err=True)
    totals = feed(server, settings, lead_s=lead_s, speed=speed, stop=stop, progress=progress)
    lasted_s = time.monotonic() - started_s
    rejected = sum(totals.rejected.values())
    typer.echo(
        f"{totals.sent:,} events in {lasted_s:.1f} s: {totals.accepted:,} accepted, {totals.duplicate:,} duplicates, "
        f"{totals.late:,} late, {rejected:,} rejected"
    )
    for example in totals.examples:
        typer.echo(f"  {example}", err=True)
    sys.stdout.flush()
