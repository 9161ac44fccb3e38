"""A server with its collectors behind Envoy, for all tests of this folder."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from tests.collect.sessions import Sessions
from tests.service.live_server import LiveServer, live_server


@pytest.fixture(scope="package")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """A whole server behind Envoy. Tests share it, so each uses visitors of its own."""
    with live_server(tmp_path_factory.mktemp("data"), edge=True) as running:
        yield running


@pytest.fixture(scope="package")
def sessions(server: LiveServer) -> Sessions:
    """Reads sessions over HTTP."""
    return Sessions(server.http_port)


@pytest.fixture
def visitor() -> str:
    """A visitor whom no other test knows."""
    return f"visitor-{uuid.uuid4().hex[:12]}"
