"""The cases of `tests/cases`, over every way in."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from tests.service.calls import new_visitor
from tests.service.case_player import OverGrpc, OverHttp, Way, load_cases, play
from tests.service.live_server import LiveServer

CASES = load_cases()


@pytest.fixture(params=["grpc", "http"])
def way(request: pytest.FixtureRequest, server: LiveServer, channel: grpc.Channel) -> Way:
    """A way to call the server."""
    return OverGrpc(channel) if request.param == "grpc" else OverHttp(server.http_port)


@pytest.mark.parametrize("case", [case for _, case in CASES], ids=[name for name, _ in CASES])
def test_a_case_holds_over_every_way(case: dict[str, Any], way: Way) -> None:
    """The sentence of the case is true over gRPC and over HTTP/JSON."""
    play(case, way, new_visitor())
