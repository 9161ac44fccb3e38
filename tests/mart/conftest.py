"""Data marts for the tests of this folder."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from tests.mart.postgres import Postgres

_numbers = itertools.count(1)


@pytest.fixture(scope="package")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server that tests share, each with a database of its own; nobody stops it."""
    server = Postgres()
    yield server
    server.remove()


@pytest.fixture
def database() -> str:
    """The name of a database that there is not yet."""
    return f"mart_{next(_numbers)}"
