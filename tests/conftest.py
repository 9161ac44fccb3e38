"""What holds for every test: where compiled kernels are kept, and how hypothesis searches."""

from __future__ import annotations

import os
from pathlib import Path

from hypothesis import HealthCheck, settings

# The same folder as the Makefile's. Set here, before any test imports numba, for tests that are started without make.
os.environ.setdefault("NUMBA_CACHE_DIR", str(Path(__file__).resolve().parent.parent / ".cache" / "numba"))

# Tests start programs as another user, for which Python forks. grpc's handlers would run in the child, beside threads that
# are not there, and end it now and then; no test uses grpc in a child that did not begin anew.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

# No deadline: the first example of many a test compiles a kernel. In CI the same examples each time, so that a change
# is never refused for what it did not touch; elsewhere new ones, so that they are found all the same. That examples are
# slow to make says something of the machine only, where others work beside.
settings.register_profile(
    "house", deadline=None, derandomize="CI" in os.environ, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("house")
