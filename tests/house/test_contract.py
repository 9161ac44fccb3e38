"""The contract is guarded: what programs compile against cannot go away unseen."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.house.sources import ROOT

BUF = str(Path(sys.executable).parent / "buf")
SERVICE = "proto/rte/v1/session_service.proto"
BREAKS = {
    "a call is deleted": (r"  rpc EndSession\(.*?\n  }\n", ""),
    "a field is deleted": (r"\n  int32 total_count = 3;", "\n  reserved 3;\n  reserved 'total_count';"),
    "a field gets another name": (r"int32 total_count = 3;", "int32 total = 3;"),
    "a constant gets another name": (r"STATE_FILTER_ANY", "STATE_FILTER_ALL"),
    "the Go package moves": (r"clients/go/rte/v1;", "clients/go/v1;"),
}


def breaking(folder: Path) -> subprocess.CompletedProcess[str]:
    """Compare a copy of the contract with the baseline, as `make lint` does."""
    image = str(folder / "contract.binpb")
    subprocess.run([BUF, "build", "proto", "--output", image], cwd=folder, check=True)
    command = [BUF, "breaking", image, "--config", "buf.yaml", "--against", "proto/baseline.binpb"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A folder with a copy of the contract."""
    shutil.copytree(ROOT / "proto", tmp_path / "proto")
    shutil.copy(ROOT / "buf.yaml", tmp_path)
    return tmp_path


def test_the_contract_as_it_is_breaks_nothing(copy: Path) -> None:
    """What is here is compatible with the baseline."""
    assert breaking(copy).returncode == 0


@pytest.mark.parametrize("case", BREAKS)
def test_what_breaks_programs_is_refused(copy: Path, case: str) -> None:
    """A change after which a program would no longer compile, or mean something else, is refused."""
    path = copy / SERVICE
    pattern, replacement = BREAKS[case]
    before = path.read_text(encoding="utf-8")
    changed, count = re.subn(pattern, replacement, before, count=1, flags=re.DOTALL)
    assert count == 1
    path.write_text(changed, encoding="utf-8")
    refused = breaking(copy)
    assert refused.returncode != 0
    assert SERVICE.removeprefix("proto/") in refused.stdout
