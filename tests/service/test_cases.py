"""The cases of `tests/cases`, over every way in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
import pytest

from rte_soap.envelope import Version
from tests.service.calls import new_visitor
from tests.service.case_player import OverGrpc, OverHttp, OverSoap, Way, load_cases, play
from tests.service.live_server import LiveServer

CASES = load_cases()


@pytest.fixture(params=["grpc", "http", "soap-1.1", "soap-1.2"])
def way(request: pytest.FixtureRequest, server: LiveServer, channel: grpc.Channel) -> Way:
    """A way to call the server."""
    ways: dict[str, Callable[[], Way]] = {
        "grpc": lambda: OverGrpc(channel),
        "http": lambda: OverHttp(server.http_port),
        "soap-1.1": lambda: OverSoap(server.http_port, Version.SOAP_11),
        "soap-1.2": lambda: OverSoap(server.http_port, Version.SOAP_12),
    }
    return ways[request.param]()


@pytest.mark.parametrize("case", [case for _, case in CASES], ids=[name for name, _ in CASES])
def test_a_case_holds_over_every_way(case: dict[str, Any], way: Way) -> None:
    """The sentence of the case is true over gRPC, HTTP/JSON and both versions of SOAP."""
    play(case, way, new_visitor())
