"""A server behind Envoy for all tests of this folder, and clients of it."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

import rte
from rte_server.testing import TestServer


@pytest.fixture(scope="package")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestServer]:
    """A whole server with the embedded data mart and the demo shop. Tests share it, so each uses visitors of its own."""
    with TestServer(tmp_path_factory.mktemp("data"), edge=True, mart__enabled=True, edge__demo=True) as running:
        yield running


@pytest.fixture(params=["direct", "envoy"])
def address(request: pytest.FixtureRequest, server: TestServer) -> str:
    """Where a client reaches it: past Envoy, and through it."""
    return server.address if request.param == "direct" else f"127.0.0.1:{server.http_port}"


@pytest.fixture
def client(address: str) -> Iterator[rte.Client]:
    """A client of the server."""
    with rte.Client(address) as client:
        yield client


@pytest.fixture
def visitor() -> str:
    """A visitor whom no other test knows."""
    return f"v-{uuid.uuid4().hex[:12]}"
