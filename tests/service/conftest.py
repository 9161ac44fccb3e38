"""A server for all tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import pytest

from tests.service.live_server import LiveServer, live_server


@pytest.fixture(scope="package")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """A whole server behind Envoy. Tests share it, so each uses visitors of its own."""
    with live_server(tmp_path_factory.mktemp("data"), edge=True) as running:
        yield running


@pytest.fixture(scope="package")
def channel(server: LiveServer) -> Iterator[grpc.Channel]:
    """A channel to the server, past Envoy."""
    with server.channel() as channel:
        yield channel
