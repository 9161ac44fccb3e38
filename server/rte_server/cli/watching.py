"""The loop of `rte sessions watch`: changes as lines, resumed after a break."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import typer

from rte_server.cli.connection import back_off_s

if TYPE_CHECKING:
    import grpc

    from rte.v1.session_service_pb2 import WatchSessionsRequest, WatchSessionsResponse

BREAKS_MAX = 5
"""Breaks in a row, without a message between them, after which the watch gives up."""


def watch_changes(
    channel: grpc.Channel,
    *,
    filter_text: str,
    state: str,
    interval_ms: int,
    snapshot: bool,
    seconds: float,
    as_json: bool,
) -> None:
    """Print changes until Ctrl-C or for some time.

    Args:
        channel: To the server.
        filter_text: See WatchSessionsRequest.filter.
        state: Name of a StateFilter.
        interval_ms: Least time between two messages about one session, milliseconds.
        snapshot: Whether the sessions that match at the beginning are printed.
        seconds: How long; 0: without an end.
        as_json: Prints messages as JSON, one per line.

    Raises:
        grpc.RpcError: The server refuses the watch, or was away for long.
    """
    import grpc

    from rte.v1.session_service_pb2 import WatchSessionsRequest

    request = WatchSessionsRequest(filter=filter_text, state=state, interval_ms_min=interval_ms)
    printer = _Printer(as_json, snapshot)
    end_s = time.monotonic() + seconds if seconds else None
    breaks = 0
    while True:
        before = printer.message_count
        try:
            _watch_once(channel, request, printer, end_s)
        except grpc.RpcError as error:
            code = error.code() if isinstance(error, grpc.Call) else None
            if code == grpc.StatusCode.DEADLINE_EXCEEDED and end_s is not None and time.monotonic() >= end_s - 0.05:
                return
            breaks = 1 if printer.message_count > before else breaks + 1
            passing = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED)
            if code not in passing or printer.message_count == 0 or breaks > BREAKS_MAX:
                raise
            typer.echo("The connection broke; trying again.", err=True)
            time.sleep(back_off_s(breaks + 2))
        else:
            return


def _watch_once(channel: grpc.Channel, request: WatchSessionsRequest, printer: _Printer, end_s: float | None) -> None:
    from rte.v1.session_service_pb2_grpc import SessionServiceStub

    left_s = None if end_s is None else max(0.001, end_s - time.monotonic())
    stream = SessionServiceStub(channel).WatchSessions(request, timeout=left_s)
    try:
        for message in stream:
            printer.take(message)
            if message.resume_token:
                request.resume_token = message.resume_token
    finally:
        stream.cancel()


class _Printer:
    """Prints the messages of a watch."""

    def __init__(self, as_json: bool, snapshot: bool) -> None:
        self.message_count = 0
        self._as_json = as_json
        self._silent = not snapshot

    def take(self, message: WatchSessionsResponse) -> None:
        """Print one message."""
        from google.protobuf.json_format import MessageToDict

        self.message_count += 1
        kind = message.type
        if kind == message.TYPE_SYNCED:
            self._silent = False
        if self._silent or kind == message.TYPE_HEARTBEAT:
            return
        if self._as_json:
            typer.echo(json.dumps(MessageToDict(message, preserving_proto_field_name=True), ensure_ascii=False))
        else:
            typer.echo(self._line(message))

    def _line(self, message: WatchSessionsResponse) -> str:
        from rte_server.cli.session_text import cells

        now = datetime.now(UTC)
        clock = f"{now.astimezone():%H:%M:%S}"
        if message.type == message.TYPE_UPSERT:
            visitor, state, _, events, pages, products, basket, propensity, at = cells(message.session, now)
            return (
                f"{clock}  {visitor:<22} {state:<7} {events:>4} events  {pages:>3} pages  {products:>3} products  "
                f"{basket:>14}  {propensity:>4}  {at}"
            ).rstrip()
        if message.type == message.TYPE_REMOVE:
            return f"{clock}  {message.session_id} no longer matches"
        if message.type == message.TYPE_RESET:
            return f"{clock}  -- from the beginning --"
        if message.type == message.TYPE_SYNCED:
            return f"{clock}  -- all sessions that match now are above; changes follow --"
        return f"{clock}  the watch ends: {message.error.message}"
