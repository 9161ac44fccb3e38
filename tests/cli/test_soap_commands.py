"""`rte soap` against a real server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Rte
from tests.service.live_server import LiveServer, live_server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """A server with its bridge."""
    with live_server(tmp_path_factory.mktemp("data"), edge=True) as running:
        yield running


def test_calls_are_answered_as_json(rte: Rte, server: LiveServer, tmp_path: Path) -> None:
    """An operation is called with JSON from the command line or a file, over both versions, and answers JSON."""
    address = f"127.0.0.1:{server.http_port}"
    request = tmp_path / "events.json"
    request.write_text('{"events": [{"name": "page_view", "visitorId": "cli-soap"}], "wait": "WAIT_APPLIED"}')
    result = rte("soap", "call", "IngestEvents", f"@{request}", "--server", address)
    assert result.exit_code == 0, result.err
    assert json.loads(result.out)["acceptedCount"] == 1
    result = rte(
        "soap", "call", "GetSession", '{"visitorId": "cli-soap"}', "-s", address, "--soap", "1.2", "--envelope"
    )
    assert json.loads(result.out)["session"]["visitorId"] == "cli-soap"
    assert "<visitorId>cli-soap</visitorId>" in result.err and "2003/05/soap-envelope" in result.err
    result = rte("soap", "call", "ListSessions", "-s", f"http://{address}/soap")
    assert json.loads(result.out)["totalCount"] >= 1


def test_faults_are_told_with_their_reason(rte: Rte, server: LiveServer) -> None:
    """A fault is an error with its reason, its field and its code."""
    address = f"127.0.0.1:{server.http_port}"
    result = rte("soap", "call", "GetSession", '{"visitorId": "nobody"}', "-s", address)
    assert result.exit_code == 1
    for text in ("SESSION_NOT_FOUND", "field: visitor_id", "fault code Client, HTTP 500"):
        assert text in result.err


def test_mistakes_are_explained(rte: Rte, server: LiveServer) -> None:
    """A wrong operation, request, header or address is explained in a sentence."""
    for arguments, text in (
        (("GetSesion",), "is GetSession meant?"),
        (("GetSession", "{nope"), "The request is no GetSessionRequest"),
        (("GetSession", "@/nowhere.json"), "cannot be read"),
        (("GetSession", "--header", "x"), "NAME: VALUE"),
        (("GetSession", "-s", "127.0.0.1:1"), "No RTE server answers"),
        (("GetSession", "-s", f"http://127.0.0.1:{server.http_port}/healthz"), "no SOAP service"),
    ):
        result = rte("soap", "call", *arguments)
        assert result.exit_code in (1, 2)
        assert text in result.err, result.err
        assert "Traceback" not in result.err


def test_operations_are_listed(rte: Rte) -> None:
    """All operations are listed with what they do."""
    result = rte("soap", "operations")
    assert "GetSession\tSessionService\tGets one session by any of its ids" in result.out
