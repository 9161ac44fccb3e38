"""Plug-ins for tests, installed as another distribution would install them."""

from __future__ import annotations

from pathlib import Path

import pytest

_CODE = '''
import time
import numpy as np

def mean(rows):
    return 1.0 / (1.0 + np.exp(-np.clip(rows.astype(np.float64), -30, 30).mean(axis=1)))

def broken(rows):
    raise ValueError("it is broken")

def slow(rows):
    time.sleep(60)

def busy(rows):
    while True:
        pass

def wrong(rows):
    return rows

def changes(rows):
    rows[:] = 0.0
    return rows[:, 0]

def dies(rows):
    import os
    os._exit(3)

def sometimes(rows):
    """Fails as long as the file stands there."""
    import os
    if os.path.exists(os.environ["TEST_PLUGIN_FAILS"]):
        raise ValueError("not now")
    return np.ones(len(rows))

def not_for_two(rows):
    """Gives no number where the first input is 2."""
    return np.where(rows[:, 0] == 2, np.nan, 0.5)

def breaks_on_three(rows):
    """Raises where the first input of any row is at least 3."""
    if (rows[:, 0] >= 3).any():
        raise ValueError("three")
    return np.full(len(rows), 0.5)

def hangs_on_three(rows):
    """Does not end where the first input of any row is at least 3."""
    while (rows[:, 0] >= 3).any():
        pass
    return np.full(len(rows), 0.5)

def talks(rows):
    """Prints two lines and far too much, in both ways."""
    import sys
    print("a line", flush=True)
    print('{"level": "forged"}', file=sys.stderr, flush=True)
    for _ in range(40):
        print("x" * 50_000)
    return np.ones(len(rows))

def parent(rows):
    """Starts a process that outlives it, writes its number down and hangs."""
    import os, subprocess
    child = subprocess.Popen(["sleep", "600"])
    with open(os.environ["TEST_PLUGIN_FAILS"], "w") as stream:
        stream.write(str(child.pid))
    time.sleep(60)

def hoards(rows):
    """Wants a gigabyte where the first input of any row is at least 3."""
    if (rows[:, 0] >= 3).any():
        np.ones(1 << 30, np.uint8)
    return np.full(len(rows), 0.5)

BEGAN_S = time.time()

def began(rows):
    """Says when it was imported; ends its process where the first input of any row is at least 3."""
    if (rows[:, 0] >= 3).any():
        import os
        os._exit(4)
    return np.full(len(rows), BEGAN_S)

def has_numba(rows):
    import sys
    return np.full(len(rows), float("numba" in sys.modules))

def limit(rows):
    """Says how many bytes it may hold in memory."""
    import resource
    return np.full(len(rows), float(resource.getrlimit(resource.RLIMIT_DATA)[0]))

number = 7
'''
NAMES = (
    "mean",
    "broken",
    "slow",
    "busy",
    "wrong",
    "changes",
    "dies",
    "sometimes",
    "not_for_two",
    "breaks_on_three",
    "hangs_on_three",
    "talks",
    "parent",
    "hoards",
    "began",
    "has_numba",
    "limit",
    "number",
)


def install(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Install the plug-ins for processes that are started during the test."""
    (folder / "plugins_for_tests.py").write_text(_CODE)
    information = folder / "plugins_for_tests-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: plugins-for-tests\nVersion: 1.0\n")
    points = "".join(f"{name} = plugins_for_tests:{name}\n" for name in NAMES)
    (information / "entry_points.txt").write_text(f"[rte.scorers]\n{points}gone = plugins_for_tests:gone\n")
    monkeypatch.setenv("PYTHONPATH", str(folder))
    monkeypatch.setenv("TEST_PLUGIN_FAILS", str(folder / "fails"))
