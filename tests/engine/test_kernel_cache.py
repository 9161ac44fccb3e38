"""Compiled kernels belong to the text of the sources: not to where these lie, nor to when they were written."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import rte_server

HIT_AND_MISS = """
from rte_server.engine import native
native.text_id(b"text", native.secret_from_bytes(bytes(32)))
stats = native.string_id.stats
print(sum(stats.cache_hits.values()), sum(stats.cache_misses.values()), native.__file__)
"""

PART = """
import numpy as np
from rte_server.engine import assembly, native
secret = native.secret_from_bytes(bytes(32))
table = np.zeros(16, np.int64)
assembly.insert_texts(table, np.frombuffer(b"text", np.uint8), np.array([0, 4]), secret)
part, whole = native.string_id.stats, assembly.insert_texts.stats
print(table.sum(), len(part.cache_hits), len(whole.cache_hits), len(whole.cache_misses))
assert table.sum() == native.text_id(b"text", secret)
"""

COMPILER = """
import sys
from rte_server.engine import native
native.text_id(b"text", native.secret_from_bytes(bytes(32)))
print("numba.np.arraymath" in sys.modules, "numba.typed.dictobject" in sys.modules)
"""


def test_a_copy_of_the_sources_finds_the_kernels_and_changed_ones_do_not(tmp_path: Path) -> None:
    """The first process compiles; one with a copy, written later, loads; one with another comment compiles."""
    original = Path(next(iter(rte_server.__path__))).parent
    assert hits_and_misses(original, tmp_path / "kernels") == (0, 1)
    copy = tmp_path / "elsewhere"
    shutil.copytree(original / "rte_server" / "engine", copy / "rte_server" / "engine", copy_function=shutil.copyfile)
    (copy / "rte_server" / "__init__.py").write_text("")
    assert hits_and_misses(copy, tmp_path / "kernels") == (1, 0)
    with (copy / "rte_server" / "engine" / "table.py").open("a") as source:
        source.write("# changed\n")
    assert hits_and_misses(copy, tmp_path / "kernels") == (0, 1)


def test_kernels_are_loaded_without_what_they_are_compiled_with(tmp_path: Path) -> None:
    """The process that compiles a kernel imports numba's compiler; one that finds it on disk does not."""
    assert [run(COMPILER, tmp_path).strip() for _ in range(2)] == ["True True", "False False"]


def test_a_kernel_from_disk_becomes_a_part_of_one_that_is_compiled(tmp_path: Path) -> None:
    """A start that was cut short leaves some kernels: the others are compiled with what they call of these, and work."""
    printed = [run(source, tmp_path) for source in (HIT_AND_MISS, PART, PART)]
    text, *_ = printed[1].split()
    assert [each.split()[1:] for each in printed[1:]] == [["1", "0", "1"], ["0", "1", "0"]]
    assert all(each.split()[0] == text != "0" for each in printed[1:])


def run(source: str, folder: Path) -> str:
    """Return what a process prints that keeps its kernels in a folder."""
    environment = os.environ | {"NUMBA_CACHE_DIR": str(folder)}
    command = [sys.executable, "-c", source]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=True).stdout


def hits_and_misses(sources: Path, folder: Path) -> tuple[int, int]:
    """Return whether a process that has its sources from a folder loaded a kernel, and whether it compiled it."""
    environment = os.environ | {"PYTHONPATH": str(sources), "NUMBA_CACHE_DIR": str(folder)}
    command = [sys.executable, "-c", HIT_AND_MISS]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=1200, check=True)
    hits, misses, file = done.stdout.split()
    assert Path(file).is_relative_to(sources)
    return int(hits), int(misses)
