"""The examples of the guides of clients work as they are printed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from rte_server.testing import TestServer

ROOT = Path(__file__).parents[2]


def test_the_python_guide_works(server: TestServer) -> None:
    """The programs of the guide, in order in one process, print what the guide is there to show."""
    text = (ROOT / "docs" / "guides" / "python.md").read_text(encoding="utf-8")
    program = "\n".join(re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE))
    program = program.replace("localhost:8080", f"127.0.0.1:{server.http_port}")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for shown in ("1 1 FIELD_MISSING", "SESSION_NOT_FOUND visitor_id", "synced", "free-shipping", "c-7"):
        assert shown in done.stdout
