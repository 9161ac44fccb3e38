"""No bytes can make the scan or the converter touch memory outside of their arrays."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

SCRIPT = """
from tests.engine import test_json_form as json_form
from tests.engine import test_wire_fuzz as wire

wire.fuzz(7, 6000)
wire.test_odd_bytes_are_judged_as_by_the_parser()
wire.test_every_truncation_is_judged_as_by_the_parser()
json_form.fuzz(9, 6000)
json_form.test_every_truncation_is_refused()
"""


def test_fuzz_with_bounds_checked(tmp_path: Path) -> None:
    """Compiled with bounds checks, the kernels meet no index outside of an array in thousands of broken requests."""
    root = Path(__file__).parents[2]
    # An own cache: numba's does not know whether a kernel was compiled with checks.
    environment = {**os.environ, "NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": str(tmp_path)}
    environment["PYTHONPATH"] = os.pathsep.join([str(root), *sys.path])
    command = [sys.executable, "-c", SCRIPT]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd=root)
    assert result.returncode == 0, result.stderr[-3000:]
