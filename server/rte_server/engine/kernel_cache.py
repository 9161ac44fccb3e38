"""Where compiled kernels are kept between starts.

numba takes a cached kernel as valid while the one file that it stands in is unchanged. But a kernel also holds the
constants and the functions of other files, frozen when it was compiled, and knows nothing of the bounds check. So each
state of the sources, with each setting of the check, has a folder of its own.

In there a kernel is found by its name, not by the path and the time of its file, which numba looks at: two checkouts, an
environment made anew and a container whose image was built elsewhere compile the same sources once.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path
from typing import Any

import numba
from numba.core import caching as _numba_caching
from numba.core import config as _numba_config

_config: Any = _numba_config
_UserProvidedCacheLocator: Any = _numba_caching.UserProvidedCacheLocator

ENGINE = Path(__file__).parent


class SourcesLocator(_UserProvidedCacheLocator):  # type: ignore[misc]
    """Tells numba where the engine's kernels are kept; numba makes one per kernel. Others' kernels it leaves to numba."""

    def __init__(self, py_func: Any, py_file: str) -> None:
        """Make the locator of a kernel that stands in a file of the engine."""
        super().__init__(py_func, py_file)
        self._cache_path = str(Path(_config.CACHE_DIR) / ENGINE.name)

    def get_source_stamp(self) -> str:
        """Return the same for all kernels: the folder belongs to the sources already."""
        return ""

    @classmethod
    def from_function(cls, py_func: Any, py_file: str) -> Any:
        """Return the locator of a kernel, or None for one that is not the engine's or a folder that cannot be written."""
        return super().from_function(py_func, py_file) if Path(py_file).resolve().parent == ENGINE.resolve() else None


def use_folder_of_sources() -> Path:
    """Let numba keep compiled kernels in a folder that belongs to the present sources. Returns the folder.

    It lies in the folder that numba is told by NUMBA_CACHE_DIR, or else in the user's cache folder, or, where that
    cannot be written, in the one for temporary files.
    """
    digest = hashlib.sha256(f"{numba.__version__} {_config.BOUNDSCHECK}".encode())
    for source in sorted(ENGINE.glob("*.py")):
        digest.update(source.name.encode() + b"\0" + source.read_bytes())
    folder = _base() / digest.hexdigest()[:16]
    _config.CACHE_DIR = str(folder)
    _config.CACHE_LOCATOR_CLASSES = f"{__name__}.{SourcesLocator.__name__},{_UserProvidedCacheLocator.__name__}"
    return folder


def is_empty() -> bool:
    """Return whether no kernel has been compiled for the present sources yet."""
    return not any(Path(_config.CACHE_DIR).rglob("*.nbi"))


def _base() -> Path:
    if _config.CACHE_DIR:
        return Path(_config.CACHE_DIR)
    base = Path("~/.cache/rte/kernels").expanduser()
    try:
        base.mkdir(parents=True, exist_ok=True)
        if os.access(base, os.W_OK):
            return base
    except OSError:
        pass
    return Path(tempfile.gettempdir()) / f"rte-kernels-{os.getuid()}"
