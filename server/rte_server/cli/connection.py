"""Connections of commands to a running server: address, deadline, repeated attempts."""

from __future__ import annotations

import random
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from rte_server.cli.errors import USAGE, CommandError, from_call

if TYPE_CHECKING:
    import grpc

SERVER_DEFAULT = "localhost:8080"
"""The public port of `rte run` and `rte serve`."""

ATTEMPTS_MAX = 6
BACK_OFF_S_MIN = 0.1
BACK_OFF_S_MAX = 5.0
_ANSWER_BYTES_MAX = 64 << 20

T = TypeVar("T")


@contextmanager
def connect(server: str) -> Iterator[grpc.Channel]:
    """Give a channel to a server; failed calls inside become CommandErrors.

    Raises:
        CommandError: The address has another form, or a call failed.
    """
    import grpc

    channel = open_channel(server)
    try:
        yield channel
    except grpc.RpcError as error:
        raise from_call(error, server) from None
    finally:
        channel.close()


def open_channel(server: str) -> grpc.Channel:
    """Return a channel to `host:port`, `https://host:port` or `unix:/path`; it connects with the first call.

    With TLS the server's certificate must come from an authority of this machine, or of the file which the variable
    SSL_CERT_FILE names.

    Raises:
        CommandError: The address has another form.
    """
    import grpc

    is_secure, target = server.startswith("https://"), server.removeprefix("https://")
    if not server.startswith("unix:"):
        host, colon, port = target.rpartition(":")
        if not (host and colon and port.isdigit() and int(port) <= 65535) or "//" in target:
            forms = f"HOST:PORT, such as {SERVER_DEFAULT}, or https://HOST:PORT"
            raise CommandError(f"--server {server} must have the form {forms}.", USAGE)
    options = (("grpc.max_receive_message_length", _ANSWER_BYTES_MAX), ("grpc.enable_retries", 0))
    if not is_secure:
        return grpc.insecure_channel(server, options=options)
    return grpc.secure_channel(target, grpc.ssl_channel_credentials(_authorities()), options=options)


def _authorities() -> bytes | None:
    """Return the certificates of the authorities that Python trusts here; None: those that grpc brings."""
    path = ssl.get_default_verify_paths().cafile
    return Path(path).read_bytes() if path else None


def call(method: Callable[..., T], request: Any, timeout_s: float) -> T:
    """Make a unary call, again after a pause while the server is overloaded.

    Args:
        method: Of a stub.
        request: Its request.
        timeout_s: Seconds for all attempts together, > 0.

    Raises:
        grpc.RpcError: The last attempt failed.
    """
    import grpc

    deadline_s = time.monotonic() + timeout_s
    for attempt in range(ATTEMPTS_MAX):
        try:
            return method(request, timeout=max(0.001, deadline_s - time.monotonic()))
        except grpc.RpcError as error:
            wait_s = _wait_s(error, attempt)
            last = attempt == ATTEMPTS_MAX - 1 or time.monotonic() + wait_s >= deadline_s
            if last or error.code() != grpc.StatusCode.RESOURCE_EXHAUSTED:
                raise
            time.sleep(wait_s)
    raise AssertionError("the last attempt returns or raises")


def _wait_s(error: grpc.RpcError, attempt: int) -> float:
    from rte.errors import error_of_call

    return error_of_call(error).retry_after_s or back_off_s(attempt)


def back_off_s(attempt: int) -> float:
    """Return the pause before another attempt: doubled each time, with a random half so that callers spread.

    Args:
        attempt: Attempts that failed before this one, >= 0.
    """
    whole = min(BACK_OFF_S_MAX, BACK_OFF_S_MIN * 2**attempt)
    return float(whole / 2 + random.random() * whole / 2)  # noqa: S311 - spreads callers, hides nothing
