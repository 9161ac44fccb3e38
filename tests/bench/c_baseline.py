"""Compiles `baseline.c` and gives it to Python. The compiler's output lives in a temporary directory."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

CHECKSUM_WORDS = 10
SOURCE = Path(__file__).with_name("baseline.c")


class CompilerMissing(Exception):
    """No C compiler is installed, so that the ratios to C cannot be measured."""


class CBaseline:
    """The compiled loop.

    Args:
        row_bits: Room for 2^row_bits visitors.
        dedup: Whether event ids seen before are left out.
        prefetch: Whether a request is decoded as a whole and its rows are asked for before the fold.

    Raises:
        CompilerMissing: Neither `gcc` nor `cc` is on the path.
    """

    def __init__(self, row_bits: int = 17, *, dedup: bool = False, prefetch: bool = False) -> None:
        library = load_library()
        self._library = library
        self._state = library.w1_new(row_bits, int(dedup))
        self._fold = library.w1_fold_prefetch if prefetch else library.w1_fold

    def fold(self, request: bytes) -> int:
        """Fold the wire bytes of a request; return its number of events, -1 where the bytes are no request."""
        return int(self._fold(self._state, request, len(request)))

    def checksum(self) -> list[float]:
        """Return sessions, duplicates, and the sums over the visitors' newest sessions; see `w1_checksum`."""
        out = (ctypes.c_double * CHECKSUM_WORDS)()
        self._library.w1_checksum(self._state, out)
        return list(out)

    def close(self) -> None:
        """Free the memory. The object cannot be used afterwards."""
        self._library.w1_free(self._state)


def walk() -> Callable[[bytes], int]:
    """Return a function that counts the events of a request without looking inside them."""
    library = load_library()
    return lambda request: int(library.w1_walk(request, len(request)))


_loaded: list[ctypes.CDLL] = []


def load_library() -> ctypes.CDLL:
    """Compile at the first call, then return the same library.

    Raises:
        CompilerMissing: Neither `gcc` nor `cc` is on the path.
    """
    if _loaded:
        return _loaded[0]
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        raise CompilerMissing("no gcc or cc on the path: the ratios to C are left out")
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "baseline.so"
        subprocess.run(
            [compiler, "-O3", "-march=native", "-shared", "-fPIC", "-o", str(target), str(SOURCE), "-lm"], check=True
        )
        library = ctypes.CDLL(str(target))
    library.w1_new.restype = ctypes.c_void_p
    library.w1_new.argtypes = [ctypes.c_int, ctypes.c_int]
    library.w1_free.argtypes = [ctypes.c_void_p]
    library.w1_checksum.argtypes = [ctypes.c_void_p, ctypes.POINTER(ctypes.c_double)]
    for name in ("w1_fold", "w1_fold_prefetch"):
        function = getattr(library, name)
        function.restype = ctypes.c_int64
        function.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int64]
    library.w1_walk.restype = ctypes.c_int64
    library.w1_walk.argtypes = [ctypes.c_char_p, ctypes.c_int64]
    _loaded.append(library)
    return library
