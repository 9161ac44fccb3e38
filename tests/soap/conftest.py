"""A server with its SOAP bridge behind Envoy, for all tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rte_soap.client import SoapClient
from tests.service.live_server import LiveServer, live_server


@pytest.fixture(scope="package")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """A whole server behind Envoy. Tests share it, so each uses visitors of its own."""
    folder = tmp_path_factory.mktemp("data")
    with live_server(folder, edge=True, soap__plaintext_passwords=True) as running:
        yield running


@pytest.fixture(scope="package")
def url(server: LiveServer) -> str:
    """The address of the service."""
    return f"http://127.0.0.1:{server.http_port}/soap"


@pytest.fixture
def client(url: str) -> SoapClient:
    """A client of SOAP 1.1."""
    return SoapClient(url)
