"""An engine with one score of a runner, which tests give a scorer of theirs."""

from __future__ import annotations

import json
from pathlib import Path

from rte_server.engine.entries import EntryType
from rte_server.models import configuration_of, load_models
from tests.service.live_engine import LiveEngine

LIMIT_S = 3.0
"""The time limit of the score."""

MODEL = (
    "model: plugged\nattributes:\n  looks: {count: page_view}\n"
    "scores:\n  score: {plugin: any, inputs: [looks], time_limit: 3s}\n"
)


def plugged_engine(folder: Path) -> LiveEngine:
    """Return an engine with a score of the views of a session; its model is written into `folder`."""
    path = folder / "plugged.yaml"
    path.write_text(MODEL)
    live = LiveEngine()
    models = configuration_of(load_models([str(path)]))
    live.apply(EntryType.CONFIGURE, json.dumps({"settings": {}, **models}).encode())
    return live
