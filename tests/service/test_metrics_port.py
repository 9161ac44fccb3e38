"""Metrics on a port of their own."""

import socket
import urllib.request
from pathlib import Path

from tests.service.live_server import live_server


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_metrics_are_served_on_their_port(tmp_path: Path) -> None:
    """With `server.metrics_port` set, Prometheus finds the counters of engine and pipeline there."""
    port = _free_port()
    with live_server(tmp_path, edge=False, server__metrics_port=port):
        page = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10).read().decode()
    assert "rte_engine_events_applied" in page
    assert "rte_pipeline_" in page
