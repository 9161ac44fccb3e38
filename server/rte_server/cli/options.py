"""Options that several commands share, and how durations and speeds are written."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from rte_server.cli.connection import SERVER_DEFAULT
from rte_server.cli.errors import USAGE, CommandError

ServerOption = Annotated[
    str,
    typer.Option(
        "--server",
        "-s",
        envvar="RTE_ADDRESS",
        metavar="HOST:PORT",
        help="The server's public (or gRPC) port; `https://HOST:PORT` with TLS.",
    ),
]
TimeoutOption = Annotated[
    float, typer.Option("--timeout", metavar="SECONDS", min=0.1, help="How long a call may take.")
]
ConfigOption = Annotated[
    Path | None, typer.Option("--config", "-c", envvar="RTE_CONFIG", metavar="FILE", help="Settings, in TOML.")
]
DataDirOption = Annotated[
    Path | None,
    typer.Option("--data-dir", metavar="DIR", help="Where journal, snapshots and secret are kept.  [rte-data]"),
]
HostOption = Annotated[str | None, typer.Option("--host", metavar="ADDRESS", help="Address of the public port.")]
PortOption = Annotated[
    int | None, typer.Option("--port", "-p", min=0, max=65535, help="The public port; 0 takes a free one.  [8080]")
]
GrpcPortOption = Annotated[
    int | None,
    typer.Option("--grpc-port", min=0, max=65535, help="Port of the gRPC server behind it; 0 takes a free one."),
]

__all__ = ["SERVER_DEFAULT", "ConfigOption", "DataDirOption", "GrpcPortOption", "HostOption", "PortOption"]
__all__ += ["ServerOption", "TimeoutOption", "duration_s", "speed_factor"]

_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_UNIT_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def duration_s(text: str, option: str) -> float:
    """Return seconds, > 0, of `90`, `90s`, `10m`, `1h30m`.

    Raises:
        CommandError: It is none, or zero.
    """
    plain = text.strip().lower()
    if re.fullmatch(r"\d+(\.\d+)?", plain):
        total = float(plain)
    elif plain and _PART.sub("", plain) == "":
        total = sum(float(number) * _UNIT_S[unit] for number, unit in _PART.findall(plain))
    else:
        total = 0.0
    if total <= 0:
        raise CommandError(f"{option} {text} must be a duration such as 90s, 10m or 1h30m.", USAGE)
    return total


def speed_factor(text: str) -> float | None:
    """Return how many times faster than recorded, > 0, or None for `max`.

    Raises:
        CommandError: It is neither a positive number nor `max`.
    """
    if text.strip().lower() == "max":
        return None
    try:
        factor = float(text.strip().lower().removesuffix("x"))
    except ValueError:
        factor = 0.0
    if not 0 < factor < 1e9:
        raise CommandError(f"--speed {text} must be a factor such as 1 or 60, or max.", USAGE)
    return factor
