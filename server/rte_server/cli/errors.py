"""Failures of commands: one sentence for the user, never a traceback."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import grpc

FAILURE = 1
"""Exit code: the command could not do it."""

USAGE = 2
"""Exit code: the command was called in a wrong way."""


_TOO_LARGE = "message larger than max"


class CommandError(Exception):
    """A command cannot go on.

    Attributes:
        message: One or two sentences: what is wrong, and what to do.
        exit_code: FAILURE or USAGE.
    """

    def __init__(self, message: str, exit_code: int = FAILURE) -> None:
        super().__init__(message)
        self.message = message
        self.exit_code = exit_code


def from_call(error: grpc.RpcError, server: str) -> CommandError:
    """Return what to tell the user about a call that failed.

    Args:
        error: As a call raised it.
        server: The address that was called.
    """
    import grpc

    code = error.code() if isinstance(error, grpc.Call) else None
    details = (error.details() if isinstance(error, grpc.Call) else None) or str(error)
    if code == grpc.StatusCode.UNAVAILABLE and not reason_of(error):
        return CommandError(f"No RTE server answers at {server}. Start one with `rte run`, or name it with --server.")
    if code == grpc.StatusCode.DEADLINE_EXCEEDED:
        return CommandError(f"The server at {server} did not answer in time. Try again, or give it longer: --timeout.")
    if code == grpc.StatusCode.UNIMPLEMENTED:
        return CommandError(f"What answers at {server} is no RTE server, or an older one: {details}.")
    if code == grpc.StatusCode.RESOURCE_EXHAUSTED and _TOO_LARGE in details:
        # gRPC refuses it before the server sees it, so there is no reason of the contract.
        remedy = "Send less; a model with a large file can be named in models.packs."
        return CommandError(f"The request is larger than the server takes: {details}. {remedy} (REQUEST_TOO_LARGE)")
    name = code.name if code is not None else "UNKNOWN"
    return CommandError(f"{sentence(details)} ({reason_of(error) or name})")


def reason_of(error: grpc.RpcError) -> str:
    """Return the ErrorInfo reason of a failed call, or an empty text."""
    from rte.errors import error_of_call

    return error_of_call(error).reason


def sentence(text: str) -> str:
    """Return a message with a full stop, and a capital letter unless it begins with the name of a field."""
    text = text.strip()
    first = text.split(" ", 1)[0]
    begun = text if "_" in first or "." in first else text[:1].upper() + text[1:]
    return begun + ("" if text.endswith((".", "!", "?")) else ".")
