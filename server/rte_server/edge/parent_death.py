"""Start a program that ends when its parent does.

Run as a script: `python -I -S parent_death.py PARENT_PID PROGRAM ARGUMENT...`. The kernel's parent-death signal is
asked for in this small process, which then becomes the program: a `preexec_fn` would run Python between fork and exec
in a server full of threads.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    """Become the program `arguments[1:]`, unless the parent `arguments[0]` is already gone."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != int(arguments[0]):
        sys.exit(1)
    os.execv(arguments[1], arguments[1:])  # noqa: S606 - to become the program is what this is for


if __name__ == "__main__":
    main(sys.argv[1:])
