"""The store of graphs: by digest, durable, bounded."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from rte_server.runners.packages import GRAPHS_KEPT, GraphStore


def test_a_graph_is_found_by_its_digest(tmp_path: Path) -> None:
    """Also by another process; one that is damaged is not found."""
    digest = GraphStore(tmp_path / "graphs").put(b"graph")
    assert digest == hashlib.sha256(b"graph").hexdigest()
    store = GraphStore(tmp_path / "graphs")
    assert store.get(digest) == b"graph"
    assert store.get("0" * 64) is None
    (tmp_path / "graphs" / f"{digest}.onnx").write_bytes(b"grap")
    assert store.get(digest) is None
    assert store.put(b"graph") == digest
    assert store.get(digest) == b"graph"


def test_what_no_model_names_is_bounded(tmp_path: Path) -> None:
    """The newest ones stay, and those that are used, however old."""
    store = GraphStore(tmp_path / "graphs")
    digests = [store.put(bytes([number])) for number in range(GRAPHS_KEPT + 10)]
    for age, digest in enumerate(reversed(digests)):
        os.utime(tmp_path / "graphs" / f"{digest}.onnx", (1e9 - age, 1e9 - age))
    store.prune([digests[0]])
    kept = [digest for digest in digests if store.get(digest) is not None]
    assert kept == [digests[0], *digests[-GRAPHS_KEPT:]]
