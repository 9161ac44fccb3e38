"""The comparison with the twin again, in a process whose kernels check every index."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
EXAMPLES = 25


@pytest.mark.timeout(3600)
def test_no_kernel_leaves_its_arrays(tmp_path: Path) -> None:
    """With bounds checks on, made-up journals give the twin's state and no index is out of bounds."""
    environment = os.environ | {
        "NUMBA_BOUNDSCHECK": "1",
        "NUMBA_CACHE_DIR": str(tmp_path),
        "RTE_TEST_EXAMPLES": str(EXAMPLES),
    }
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "--timeout", "3000"]
    files = [f"tests/engine/test_{name}.py" for name in ("twin_engine", "twin_cases", "engine_sanity")]
    finished = subprocess.run(
        [*command, *files], cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False
    )
    assert finished.returncode == 0, finished.stdout[-4000:] + finished.stderr[-2000:]
