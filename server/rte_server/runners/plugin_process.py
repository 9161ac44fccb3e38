"""The process of a plug-in: loads it, then answers one matrix after the other. See `plugin`."""

from __future__ import annotations

import difflib
import resource
import socket
import sys
from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Any

import numpy as np

# Nothing else of the server: with the engine a start took four times as long, and the process 75 MB more.
from rte_server.runners.plugin_protocol import ANSWER_HEAD, BROKEN, GROUP, NEAR, NO_MEMORY, OK, REQUEST_HEAD, UNKNOWN

_TEXT_BYTES_MAX = 500


def main(name: str, channel: socket.socket, memory_bytes_max: int) -> None:
    """Answer until the other side is gone, or there is no memory left: what is lost then nobody knows.

    Args:
        name: Of the entry point.
        channel: To the server.
        memory_bytes_max: What this process, and each one that it starts, may hold in memory, bytes.
    """
    # Of the address space only what can be written counts: libraries reserve, and map, many times what they use.
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    limit = memory_bytes_max if hard == resource.RLIM_INFINITY else min(memory_bytes_max, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    plugin = _loaded(name, channel)
    if plugin is None:
        return
    _answer(channel, OK, b"")
    with channel.makefile("rb") as requests:
        while head := requests.read(REQUEST_HEAD.size):
            count, inputs = REQUEST_HEAD.unpack(head)
            # Bytes cannot be changed, and neither can the matrix over them.
            rows = np.frombuffer(requests.read(4 * count * inputs), np.float32).reshape(count, inputs)
            try:
                found = np.asarray(plugin(rows), np.float64)
                if found.shape != (count,):
                    raise ValueError(f"it gave {found.shape} for {count} rows")
            except MemoryError as error:
                _answer(channel, NO_MEMORY, _text(error))
                return
            except Exception as error:  # noqa: BLE001 - whatever it raises is its failure
                _answer(channel, BROKEN, _text(error))
            else:
                _answer(channel, OK, found.tobytes())


def _loaded(name: str, channel: socket.socket) -> Callable[[Any], Any] | None:
    """Return the plug-in, or say why there is none."""
    found = list(entry_points(group=GROUP, name=name))
    if not found:
        known = sorted(each.name for each in entry_points(group=GROUP))
        near = difflib.get_close_matches(name, known, 1)
        text = f"no plug-in {name!r} is installed; installed are: {', '.join(known) or 'none'}"
        _answer(channel, UNKNOWN, f"{text}{NEAR}{near[0]!r}?".encode() if near else text.encode())
        return None
    try:
        plugin = found[0].load()
    except MemoryError as error:
        _answer(channel, NO_MEMORY, _text(error))
        return None
    except Exception as error:  # noqa: BLE001 - whatever its import raises
        _answer(channel, BROKEN, _text(error))
        return None
    if not callable(plugin):
        _answer(channel, BROKEN, b"the entry point is not callable")
        return None
    return plugin  # type: ignore[no-any-return]


def _text(error: Exception) -> bytes:
    return f"{type(error).__name__}: {error}".encode()[:_TEXT_BYTES_MAX]


def _answer(channel: socket.socket, status: int, content: bytes) -> None:
    channel.sendall(ANSWER_HEAD.pack(status, len(content)) + content)


if __name__ == "__main__":
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # what a plug-in prints is logged at once
    with socket.socket(fileno=int(sys.argv[2])) as opened:
        main(sys.argv[1], opened, int(sys.argv[3]))
