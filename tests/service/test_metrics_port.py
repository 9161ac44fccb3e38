"""Metrics on a port of their own."""

import urllib.request
from pathlib import Path

from tests.ports import free_port
from tests.service.live_server import live_server


def test_metrics_are_served_on_their_port(tmp_path: Path) -> None:
    """With `server.metrics_port` set, Prometheus finds the counters of engine and pipeline there."""
    port = free_port()
    with live_server(tmp_path, edge=False, server__metrics_port=port):
        page = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60).read().decode()
    assert "rte_engine_events_applied" in page
    assert "rte_pipeline_" in page
