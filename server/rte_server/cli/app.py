"""The `rte` command: its subcommands, and what happens when one fails.

Modules of commands are imported at once, so they import nothing heavy themselves: what costs time (grpc, numba, rich)
is imported inside the commands, and `rte --help` answers in a quarter of a second.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import metadata
from typing import Annotated

import typer

from rte_server.cli import (
    check_command,
    collect_commands,
    customers_commands,
    models_commands,
    replay_command,
    serve_commands,
    sessions_commands,
    simulate_command,
    soap_commands,
)
from rte_server.cli.errors import FAILURE, CommandError

app = typer.Typer(
    name="rte",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="RTE: real-time session state. Events in, an up-to-the-second state of every visitor out.",
    epilog="Begin with [bold]rte run[/bold]: a server, a synthetic shop and a live table of its sessions.",
)

app.command("run", epilog=serve_commands.RUN_EXAMPLES)(serve_commands.run)
app.command("serve", epilog=serve_commands.SERVE_EXAMPLES)(serve_commands.serve)
app.command("replay", epilog=replay_command.EXAMPLES)(replay_command.replay)
app.command("simulate", epilog=simulate_command.EXAMPLES)(simulate_command.simulate)
app.add_typer(sessions_commands.app, name="sessions")
app.add_typer(customers_commands.app, name="customers")
app.add_typer(models_commands.app, name="models")
app.add_typer(soap_commands.app, name="soap")
app.add_typer(collect_commands.app, name="collect")
app.command("check", epilog=check_command.CHECK_EXAMPLES)(check_command.check)
app.command(
    "bench",
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    epilog=check_command.BENCH_EXAMPLES,
)(check_command.bench)


def _print_version(value: bool) -> None:
    if value:
        try:
            typer.echo(f"rte {metadata.version('rte-server')}")
        except metadata.PackageNotFoundError:
            typer.echo("rte (not installed, run from a checkout)")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 1 failed, 2 called in a wrong way, 130 interrupted.

    Args:
        arguments: Without the name of the program; None: those of the process.
    """
    # gRPC writes a line to the terminal for each process that a server starts; nothing here calls gRPC between fork and
    # exec. It reads the variable when it is first imported, which is later than this.
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
    try:
        app(args=list(arguments) if arguments is not None else None, prog_name="rte")
    except CommandError as error:
        fail(error.message, error.exit_code)
    except BrokenPipeError:
        sys.stderr.close()  # A reader such as `head` has seen enough.
        sys.exit(FAILURE)


def fail(message: str, exit_code: int) -> None:
    """Say what went wrong and exit."""
    typer.secho("Error: ", fg="red", bold=True, nl=False, err=True)
    typer.echo(message, err=True)
    sys.exit(exit_code)
