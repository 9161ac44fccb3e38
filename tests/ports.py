"""Ports for servers that tests start on a port that they know before."""

from __future__ import annotations

import itertools
import os
import socket

FIRST, COUNT = 10_000, 20_000
"""Below those from which the system takes ports for connections: none of these takes one that is free for a moment."""

_offsets = itertools.count(os.getpid() * 97)


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that nobody listens on, another one each time."""
    while True:
        port = FIRST + next(_offsets) % COUNT
        with socket.socket() as probe:
            # As servers do: what is left of connections that were closed keeps nobody from listening.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
