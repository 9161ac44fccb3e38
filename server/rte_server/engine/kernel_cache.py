"""Where compiled kernels are kept between starts.

numba takes a cached kernel as valid while the one file that it stands in is unchanged. But a kernel also holds the
constants and the functions of other files, frozen when it was compiled, and knows nothing of the bounds check. So each
state of the sources, with each setting of the check, has a folder of its own.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path
from typing import Any

import numba
from numba.core import config as _numba_config

_config: Any = _numba_config


def use_folder_of_sources() -> Path:
    """Let numba keep compiled kernels in a folder that belongs to the present sources. Returns the folder.

    It lies in the folder that numba is told by NUMBA_CACHE_DIR, or else in the user's cache folder, or, where that
    cannot be written, in the one for temporary files.
    """
    digest = hashlib.sha256(f"{numba.__version__} {_config.BOUNDSCHECK}".encode())
    for source in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(source.read_bytes())
    folder = _base() / digest.hexdigest()[:16]
    _config.CACHE_DIR = str(folder)
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
