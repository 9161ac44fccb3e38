"""`rte run` and `rte serve`: the server itself, in this process."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rte_server.cli.check_command import load_config
from rte_server.cli.errors import USAGE, CommandError
from rte_server.cli.options import ConfigOption, DataDirOption, GrpcPortOption, HostOption, PortOption

if TYPE_CHECKING:
    from rte_server.bootstrap import Application
    from rte_server.cli.serving import Running
    from rte_server.config import Config

RUN_EXAMPLES = (
    "Examples:\n\n"
    "  rte run                                            http://localhost:8080\n\n"
    "  rte run --port 9000 --rate 200 --data-dir /tmp/rte\n\n"
    "  rte run --no-table --seconds 30                    for scripts"
)
SERVE_EXAMPLES = (
    "Examples:\n\n"
    "  rte serve --config rte.toml\n\n"
    "  rte serve --host 0.0.0.0 --data-dir /var/lib/rte\n\n"
    "  RTE_SERVER__PORT=9000 rte serve                    any setting, see rte check"
)
LEAD_S = 300.0
"""The shop of `rte run` opened so long ago, so that there is something to see at once."""

LOG_FILE = "rte.log"
"""Where the server logs in the data directory while the table has the terminal."""

SecondsOption = Annotated[float, typer.Option("--seconds", min=0, help="Stop after this time; 0: at Ctrl-C.")]


def serve(
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    host: HostOption = None,
    port: PortOption = None,
    grpc_port: GrpcPortOption = None,
    seconds: SecondsOption = 0.0,
) -> None:
    """Run the server: journal, engine, gRPC, and Envoy as the public port.

    Logs to the standard error. SIGTERM or Ctrl-C stops it in order; a second one
    ends it at once. Nothing that was acknowledged is lost either way.
    """
    from rte_server.cli.serving import serve_until_stopped

    settings = load_config(config, _options(data_dir, host, port, grpc_port))
    serve_until_stopped(settings, lambda _: None, seconds=seconds, log=None)


def run(
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    host: HostOption = None,
    port: PortOption = None,
    grpc_port: GrpcPortOption = None,
    table: Annotated[bool, typer.Option(help="A live table; without: a line every few seconds.")] = True,
    shop: Annotated[bool, typer.Option(help="The synthetic shop.")] = True,
    visitors: Annotated[int, typer.Option("--visitors", min=1, help="People who may come to the shop.")] = 20_000,
    rate: Annotated[float, typer.Option("--rate", min=0.01, help="The shop's events per second, on average.")] = 20.0,
    seed: Annotated[int, typer.Option("--seed", help="The same seed gives the same people and visits.")] = 1,
    seconds: SecondsOption = 0.0,
) -> None:
    """Run a server, Envoy and a synthetic shop, and watch live sessions. Ctrl-C stops all of it."""
    from rte_server.cli.serving import serve_until_stopped
    from rte_server.simulate.shop import ShopSettings

    settings = load_config(config, _options(data_dir, host, port, grpc_port) | {"edge.demo": True})
    drawn = table and sys.stdout.isatty()
    log = _log_file(settings) if drawn else None
    shop_settings = ShopSettings(seed=seed, visitors=visitors, rate=rate) if shop else None
    with _waiting(drawn) as waited:

        def started(running: Running) -> None:
            waited()
            _started(running, shop_settings, drawn=drawn)

        serve_until_stopped(settings, started, seconds=seconds, log=log)
    if drawn:
        typer.echo(f"Stopped. The state is kept in {settings.server.data_dir}; the log is {log}.", err=True)


@contextmanager
def _waiting(drawn: bool) -> Iterator[Callable[[], None]]:
    """Say that the server starts; what is given ends that."""
    text = "Starting. The first start compiles the kernels, which takes up to a minute."
    if not drawn:
        typer.echo(text, err=True)
        yield lambda: None
        return
    from rich.console import Console
    from rich.status import Status

    with Status(text, console=Console(stderr=True)) as status:
        yield status.stop


def _options(data_dir: Path | None, host: str | None, port: int | None, grpc_port: int | None) -> dict[str, object]:
    if data_dir is not None and data_dir.exists() and not data_dir.is_dir():
        raise CommandError(f"--data-dir {data_dir} is no directory.", USAGE)
    return {
        "server.data_dir": str(data_dir) if data_dir is not None else None,
        "server.host": host,
        "server.port": port,
        "server.grpc_port": grpc_port,
    }


def _log_file(config: Config) -> Path:
    directory = config.server.data_dir
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CommandError(f"The data directory {directory} cannot be made: {error.strerror}.") from None
    return directory / LOG_FILE


def _started(running: Running, shop: object, *, drawn: bool) -> None:
    """Open the shop and show the sessions; both end with the server."""
    from rte_server.cli.live_table import LINE_INTERVAL_S, TABLE_INTERVAL_S, LineView, LiveView, TableView, View
    from rte_server.cli.shop_feed import ShopThread
    from rte_server.simulate.shop import ShopSettings

    application = running.application
    server = f"{_reachable(application.config.server.grpc_host)}:{application.grpc_port}"
    lines = _where(application)
    if isinstance(shop, ShopSettings):
        running.at_stop(ShopThread(server, shop, LEAD_S).stop)
    view: View
    if drawn:
        table = TableView("\n".join(lines))
        view, rows, interval_s = table, table.rows, TABLE_INTERVAL_S
    else:
        for line in lines:
            typer.echo(line)
        view, rows, interval_s = LineView(sys.stdout), 1, LINE_INTERVAL_S
    live = LiveView(server, application.engine.stats, view, rows, interval_s)
    live.start()
    running.at_stop(live.stop)
    logging.getLogger(__name__).info("the shop is open" if shop else "without a shop")


def _where(application: Application) -> list[str]:
    """Return the lines that say where the server is and how to ask it."""
    config = application.config
    grpc = f"{_reachable(config.server.grpc_host)}:{application.grpc_port}"
    if not application.http_port:
        return [f"RTE  gRPC {grpc}  (no public port: edge.enabled is false)", f"try  rte sessions list --server {grpc}"]
    public = f"{_reachable(config.server.host)}:{application.http_port}"
    scheme = "https" if config.edge.tls_certificate else "http"
    server = f"https://{public}" if config.edge.tls_certificate else public
    return [
        f"RTE  {scheme}://{public}  (HTTP/JSON, gRPC, gRPC-Web)   gRPC only: {grpc}   Ctrl-C stops",
        *(
            [f"shop {scheme}://{public}/demo/  (open it in a browser; it shows its own Session State)"]
            if config.edge.demo
            else []
        ),
        f"try  curl '{scheme}://{public}/v1/sessions?page_size=1'",
        f"     rte sessions list --filter 'open_basket_value > 50.0' --server {server}",
    ]


def _reachable(host: str) -> str:
    """Return a name under which this machine reaches what listens on `host`."""
    return "localhost" if host in ("0.0.0.0", "127.0.0.1", "::", "::1") else host
