"""What a watch remembers, so that it goes on after a break; the clients read and wait."""

from __future__ import annotations

import random

import grpc

from rte.errors import InvalidResumeToken, RteError, error_of_status
from rte.results import Change, ChangeKind, session_of
from rte.v1 import session_service_pb2

BREAK_S_MAX = 300.0
"""How long a watch tries to reach the server again, seconds, before its failure is raised."""

_BACK_OFF_S_MIN = 0.1
_BACK_OFF_S_MAX = 5.0
_PASSING = frozenset(
    (
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.INTERNAL,  # What gRPC says of a stream that a proxy cut.
    )
)


class WatchCursor:
    """Where a watch is, and what a break means for it. Told the time, monotonic seconds; waits for nothing itself.

    Attributes:
        request: Asks for what comes next.
    """

    def __init__(self, request: session_service_pb2.WatchSessionsRequest, break_s_max: float = BREAK_S_MAX) -> None:
        self.request = request
        self._break_s_max = break_s_max
        self._told = False
        self._owes_reset = False
        self._breaks = 0
        self._broken_since_s: float | None = None

    def take(self, message: session_service_pb2.WatchSessionsResponse) -> list[Change]:
        """Return the changes that a message tells, in order; usually one.

        Raises:
            RteError: The watch ends.
        """
        if message.type == message.TYPE_ERROR:
            raise error_of_status(message.error)
        self._breaks, self._broken_since_s = 0, None
        if message.resume_token:
            self.request.resume_token = message.resume_token
        changes: list[Change] = []
        if self._owes_reset:
            self._owes_reset = False
            if message.type != message.TYPE_RESET:
                changes.append(Change(ChangeKind.RESET))
        if message.type == message.TYPE_RESET:
            changes.append(Change(ChangeKind.RESET))
        elif message.type == message.TYPE_UPSERT:
            changes.append(Change(ChangeKind.UPSERT, message.session_id, session_of(message.session)))
        elif message.type == message.TYPE_REMOVE:
            changes.append(Change(ChangeKind.REMOVE, message.session_id))
        elif message.type == message.TYPE_SYNCED:
            changes.append(Change(ChangeKind.SYNCED))
        self._told = self._told or bool(changes)
        return changes

    def broken(self, error: RteError, now_s: float) -> float:
        """Return how long to wait before `request` is made again, seconds.

        Args:
            error: Why the stream ended.
            now_s: The time, monotonic seconds.

        Raises:
            RteError: `error`, if the watch cannot go on: it never began, the request is wrong, or the server was away for
                too long.
        """
        if self._broken_since_s is None:
            self._broken_since_s = now_s
        if isinstance(error, InvalidResumeToken) and self.request.resume_token:
            # Of a server that has started anew without its data; the snapshot says what is.
            self.request.resume_token = ""
        elif not self._told or error.code not in _PASSING or now_s - self._broken_since_s > self._break_s_max:
            raise error
        # Without a token there is no going on: what was told is forgotten, and the snapshot begins again.
        self._owes_reset = self._told and not self.request.resume_token
        self._breaks += 1
        whole = min(_BACK_OFF_S_MAX, _BACK_OFF_S_MIN * 2.0**self._breaks)
        return max(error.retry_after_s or 0.0, whole / 2 + random.random() * whole / 2)  # noqa: S311 - spreads callers
