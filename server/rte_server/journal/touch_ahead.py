"""Memory is made ready ahead of a fold that fills it: a recovery with a million sessions uses gigabytes for the first time.

The kernel finds and zeroes memory when it is first touched, which takes a recovery as long as folding does. So a second
thread has it done for what the fold is about to reach. It is advice: where the system does not take it, the fold does it.
"""

from __future__ import annotations

import ctypes
import mmap
import threading
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self

from numpy.typing import NDArray

Growing = Sequence[tuple[NDArray[Any], int]]
"""Arrays that are filled from their beginning on, and how many bytes of each are in use."""

AHEAD_BYTES = 32 * 1024 * 1024
"""So far the thread goes ahead, and so much has to be in use before it begins: a small state takes no more memory by it. At
1 GB/s, which is more than a fold fills, it is 16 times what is filled in one INTERVAL_S."""

INTERVAL_S = 0.002
"""So often it looks what is in use by now: long before a fold has reached the end of what is ready, see AHEAD_BYTES, and to wake up and
look takes some 20 us, a hundredth of the time."""

_POPULATE_WRITE = 23  # MADV_POPULATE_WRITE of <linux/mman.h>, from Linux 5.14 on; it changes no content.


class TouchAhead:
    """Makes memory ready while the block lasts, in a thread of its own."""

    def __init__(self, growing: Callable[[], Growing]) -> None:
        """Make one that has begun nothing.

        Args:
            growing: Tells what is in use by now. Called in the thread.
        """
        self._growing = growing
        self._reached: dict[int, int] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="rte-touch-ahead", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        while not self._ended.wait(INTERVAL_S):
            for array, used in self._growing():
                if used >= AHEAD_BYTES and not self._touch(libc, array, used):
                    return

    def _touch(self, libc: ctypes.CDLL, array: NDArray[Any], used: int) -> bool:
        """Make an array ready to AHEAD_BYTES beyond what is in use; return whether the system takes such advice."""
        begin = array.ctypes.data
        reached = max(self._reached.get(begin, 0), used)
        # The last page may hold something else as well; whole pages only.
        first = -(-(begin + reached) // mmap.PAGESIZE) * mmap.PAGESIZE
        end = (begin + min(used + AHEAD_BYTES, array.nbytes)) // mmap.PAGESIZE * mmap.PAGESIZE
        if end <= first:
            return True
        self._reached[begin] = end - begin
        # ctypes gives up the GIL meanwhile.
        return not libc.madvise(ctypes.c_void_p(first), ctypes.c_size_t(end - first), _POPULATE_WRITE)
