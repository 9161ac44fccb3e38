"""What holds for every test: where compiled kernels are kept, and how hypothesis searches."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from hypothesis import settings

ROOT = Path(__file__).resolve().parent.parent


def kernel_cache_dir() -> str:
    """Return the folder for compiled kernels, the same that the Makefile uses.

    numba's cache does not notice when a kernel in another file changes, so each state of the kernels has its own.
    """
    digest = hashlib.sha256()
    for path in sorted((ROOT / "server" / "rte_server" / "engine").glob("*.py")):
        digest.update(path.read_bytes())
    return str(ROOT / ".cache" / "numba" / digest.hexdigest()[:16])


# numba reads it when it is imported, which is after this file and before any test.
os.environ.setdefault("NUMBA_CACHE_DIR", kernel_cache_dir())

# No deadline: the first example of many a test compiles a kernel. In CI the same examples each time, so that a change
# is never refused for what it did not touch; elsewhere new ones, so that they are found all the same.
settings.register_profile("house", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("house")
