"""The Python client as a package of its own: what it holds and needs, without the server."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

from tests.clients.printed import ROOT, run

PACKAGE = ROOT / "clients" / "python"
PROGRAM = """
import sys
sys.path.insert(0, sys.argv[1])
import rte, rte.aio
assert rte.__file__.startswith(sys.argv[1]), rte.__file__
client = rte.Client("127.0.0.1:1")
loaded = {name.partition(".")[0] for name in sys.modules}
assert not loaded & {"rte_server", "numba", "numpy", "sqlalchemy", "envoy"}, loaded
"""


def test_the_wheel_holds_the_client_and_needs_no_server(tmp_path: Path) -> None:
    """The wheel has the client, its stubs and its types, and works without anything of the server."""
    copy = tmp_path / "python"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    run([sys.executable, "-m", "hatchling", "build", "--target", "wheel"], copy)
    (wheel,) = (copy / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert {"rte/client.py", "rte/aio.py", "rte/py.typed", "rte/v1/event_pb2.py", "rte/v1/event_pb2.pyi"} <= names
    assert {name.partition("/")[0] for name in names if "dist-info" not in name} == {"rte"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(wheel)], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_both_packages_ask_for_the_same() -> None:
    """What the client's package asks for, in which version, is what the server's package asks for."""
    own, whole = (
        tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"] for folder in (PACKAGE, ROOT)
    )
    assert set(own["dependencies"]) <= set(whole["dependencies"])
    assert (own["version"], own["requires-python"]) == (whole["version"], whole["requires-python"])
