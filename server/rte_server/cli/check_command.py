"""`rte check` and `rte bench`."""

from __future__ import annotations

import json
import subprocess
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rte_server.cli.errors import CommandError
from rte_server.cli.options import ConfigOption

if TYPE_CHECKING:
    from rte_server.config import Config

CHECK_EXAMPLES = (
    "Examples:\n\n"
    "  rte check --config rte.toml\n\n"
    "  rte check --changed                          only what is not at its default\n\n"
    "  RTE_SESSION__GAP_MS=600000 rte check --format json"
)
BENCH_EXAMPLES = "Examples:\n\n  rte bench\n\n  rte bench -- --help                          what can be measured"


class OutputFormat(StrEnum):
    """How `check` prints."""

    TABLE = "table"
    JSON = "json"


def load_config(path: Path | None, options: dict[str, object] | None = None) -> Config:
    """Return the settings of the server.

    Args:
        path: A TOML file, or None.
        options: Values by `section.name` that win; those that are None are left out.

    Raises:
        CommandError: They cannot be used.
    """
    from rte_server.config import ConfigError, load

    try:
        return load(path, options={name: value for name, value in (options or {}).items() if value is not None})
    except ConfigError as error:
        problems = "\n".join(f"  {problem}" for problem in error.problems)
        raise CommandError(f"The configuration cannot be used:\n{problems}") from None


def check(
    config: ConfigOption = None,
    changed: Annotated[bool, typer.Option("--changed", help="Only settings that are not at their default.")] = False,
    output: Annotated[OutputFormat, typer.Option("--format", help="How it is printed.")] = OutputFormat.TABLE,
) -> None:
    """Check the configuration and its models; print each value and its origin.

    Exit code 1 if anything is wrong; all problems are named at once.
    """
    from rte_server.models import ModelError, load_models

    settings = load_config(config)
    try:
        models = load_models(settings.models.packs)
    except ModelError as error:
        problems = "\n".join(f"  {problem}" for problem in error.problems)
        raise CommandError(f"The models cannot be used:\n{problems}") from None
    rows = [row for row in settings.describe() if not changed or row[2] != "default"]
    if output is OutputFormat.JSON:
        document = [dict(zip(("setting", "value", "origin"), row, strict=True)) for row in rows]
        typer.echo(json.dumps(document, indent=2))
        return
    widths = [max((len(row[column]) for row in rows), default=0) for column in (0, 1)]
    for name, value, origin in rows:
        typer.echo(f"{name:<{widths[0]}}  {value:<{widths[1]}}  {origin}".rstrip())
    count = sum(len(model.attributes) for model in models)
    named = ", ".join(f"{model.name} {model.version}" for model in models)
    typer.echo(f"The configuration is fine. Models: {named}, {count} attributes.", err=True)


def bench(context: typer.Context) -> None:
    """Measure the server on this machine. Arguments are passed on."""
    root = Path(__file__).resolve().parents[3]
    if not (root / "tests" / "bench").is_dir():
        raise CommandError("The benchmarks are not part of the installed package; run `make bench` in a checkout.")
    command = [sys.executable, "-m", "tests.bench", *context.args]
    raise typer.Exit(subprocess.run(command, cwd=root, check=False).returncode)
