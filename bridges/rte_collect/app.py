"""HTTP: which path is which protocol, and what a caller is told when nothing, or not all, was taken."""

from __future__ import annotations

import logging
import secrets
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio
import msgspec

from rte.v1 import error_reason_pb2
from rte_bridge.bodies import Bodies, BodyLimits, Receive, Scope, Send
from rte_bridge.problems import Problem, Reason
from rte_collect import cloudevents, segment, snowplow
from rte_collect.cloudevents import CloudEvents
from rte_collect.intake import EVENTS_MAX, Intake, Taken
from rte_collect.keeper import Keeper
from rte_collect.names import Table
from rte_collect.protocol import Collector, Parcel, Reply
from rte_collect.requests import Request
from rte_collect.segment import Segment
from rte_collect.snowplow import Snowplow

FORWARDED_HEADERS = ("x-request-id", "traceparent", "tracestate")
"""Headers that become metadata of the gRPC call. Write keys are none of the server's credentials and end here."""

RETRY_AFTER_S = 1

_ANSWERED = {grpc.StatusCode.RESOURCE_EXHAUSTED: 429, grpc.StatusCode.INVALID_ARGUMENT: 400}
"""Status of a call to the server -> that of HTTP. All others are 503: what was sent is good, and may come again."""

_CODES = {400: 3, 401: 16, 404: 5, 405: 12, 413: 8, 415: 3, 429: 8, 503: 14, 500: 13}
"""Status of HTTP -> code of `google.rpc.Status`."""

_CONTRACT_REASONS = frozenset(error_reason_pb2.ErrorReason.keys())

_log = logging.getLogger("rte_collect")


@dataclass(frozen=True, slots=True)
class Collectors:
    """One collector per protocol."""

    segment: Segment
    snowplow: Snowplow
    cloudevents: CloudEvents

    def by_name(self) -> dict[str, Collector]:
        """Return the collectors by the names that the quarantine has for them."""
        found: tuple[Collector, ...] = (self.segment, self.snowplow, self.cloudevents)
        return {each.name: each for each in found}

    @classmethod
    def of(cls, tables: str, write_keys: Sequence[str]) -> Collectors:
        """Return collectors.

        Args:
            tables: Directory of tables that take the place of those that ship; empty: none.
            write_keys: Those that are taken; empty: all.

        Raises:
            TableError: A table cannot be used.
        """
        return cls(
            Segment(Table.load("segment", tables), write_keys),
            Snowplow(Table.load("snowplow", tables)),
            CloudEvents(Table.load("cloudevents", tables)),
        )


class App:
    """The collectors as an ASGI application."""

    def __init__(self, intake: Intake, keeper: Keeper, collectors: Collectors, limits: BodyLimits) -> None:
        """Make the application.

        Args:
            intake: Sends events to the server.
            keeper: Keeps those that are refused.
            collectors: Of the protocols.
            limits: How much is taken at a time.
        """
        self._intake = intake
        self._keeper = keeper
        self._segment = collectors.segment
        self._posted: dict[str, Collector] = {
            snowplow.POST_PATH: collectors.snowplow,
            cloudevents.PATH: collectors.cloudevents,
        }
        self._pixel = collectors.snowplow
        self._bodies = Bodies(limits, "requests of collectors")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        query = scope["query_string"].decode("latin-1")
        try:
            reply = await self._answer(
                scope["method"], Request(scope["raw_path"].decode("latin-1"), query, headers, b""), receive
            )
        except Exception:  # noqa: BLE001 - at this border every fault of the bridge becomes INTERNAL
            incident = secrets.token_hex(8)
            _log.exception("incident %s", incident)
            reply = refusal(500, "INTERNAL", "", f"the collector failed; its log tells more under {incident}")
        sent = (*reply.headers, ("content-type", reply.content_type), ("x-content-type-options", "nosniff"))
        length = ("content-length", str(len(reply.body)))
        encoded = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in (*sent, length)]
        await send({"type": "http.response.start", "status": reply.status, "headers": encoded})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else reply.body})

    async def _answer(self, method: str, request: Request, receive: Receive) -> Reply:
        fixed, collector = self._route(request.path)
        try:
            if fixed is not None:
                return fixed(request) if method in ("GET", "HEAD") else _wrong_method("GET")
            if collector is None:
                return refusal(404, "UNKNOWN_PATH", "", "no such path")
            if request.path == snowplow.PIXEL_PATH:
                if method not in ("GET", "HEAD"):
                    return _wrong_method("GET")
                if method == "HEAD":  # Whoever asks what there is has seen no page.
                    return collector.accepted(request)
                async with self._bodies.taken(receive):
                    return await self._sent(collector, request, collector.take_apart(request))
            if method != "POST":
                return _wrong_method("POST")
            return await self._collected(collector, request, receive)
        except Problem as problem:
            is_later = problem.reason is Reason.OVERLOADED
            status = 429 if is_later else (collector or self._segment).status_of(problem)
            return refusal(status, problem.reason.value, problem.field, problem.message)

    def _route(self, path: str) -> tuple[Callable[[Request], Reply] | None, Collector | None]:
        """Return what answers a path: something fixed, or a collector."""
        if segment.PATH.match(path):
            return None, self._segment
        if segment.SETTINGS_PATH.match(path):
            return self._segment.settings, None
        if segment.SOURCE_PATH.match(path):
            return self._segment.source, None
        if path == snowplow.PIXEL_PATH:
            return None, self._pixel
        if path == "/health":
            return lambda _: Reply(200, b"ok", "text/plain"), None
        return None, self._posted.get(path)

    async def _collected(self, collector: Collector, request: Request, receive: Receive) -> Reply:
        async with self._bodies.taken(receive, request.headers.get("content-encoding", "")) as plain:
            whole = Request(request.path, request.query_text, request.headers, plain)
            parcel = collector.take_apart(whole)
            if len(parcel.events) > EVENTS_MAX:
                count, limit = str(len(parcel.events)), str(EVENTS_MAX)
                message = f"the request has {count} events, the limit is {limit}; send smaller batches"
                raise Problem(Reason.REQUEST_TOO_LARGE, message, value=count, limit=limit)
            return await self._sent(collector, whole, parcel)

    async def _sent(self, collector: Collector, request: Request, parcel: Parcel) -> Reply:
        metadata = [(name, request.headers[name]) for name in FORWARDED_HEADERS if name in request.headers]
        try:
            taken = await self._intake.take(collector, parcel, metadata)
            if taken.refused:
                await self._keeper.keep(collector.name, taken.refused)
        except grpc.aio.AioRpcError as error:
            return _not_taken(error)
        except sqlite3.Error as error:
            # What the server took is recognized when it comes again; what it refused is then not lost.
            _log.error("the quarantine takes nothing: %s", error)
            return refusal(503, Reason.SERVER_UNAVAILABLE.value, "", "the quarantine takes nothing")
        return self._told(collector, request, parcel, taken)

    def _told(self, collector: Collector, request: Request, parcel: Parcel, taken: Taken) -> Reply:
        if taken.refused and not parcel.is_batch:
            first = taken.refused[0]
            return refusal(400, first.reason, first.field, first.message)
        return collector.accepted(request)


def refusal(status: int, reason: str, field: str, message: str, headers: Mapping[str, str] | None = None) -> Reply:
    """Return an error in the form that all of RTE's have, a `google.rpc.Status`; SDKs read `code` and `message`."""
    info: dict[str, Any] = {
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": reason,
        "domain": "rte.v1" if f"ERROR_REASON_{reason}" in _CONTRACT_REASONS else "rte.collect",
        "metadata": {"field": field} if field else {},
    }
    body = msgspec.json.encode({"code": _CODES[status], "message": message, "details": [info]})
    given = dict(headers or {})
    if status in (429, 503):
        given.setdefault("retry-after", str(RETRY_AFTER_S))
    return Reply(status, body, headers=tuple(given.items()))


def _wrong_method(allowed: str) -> Reply:
    message = f"the path takes {allowed} only"
    return refusal(405, Reason.METHOD_NOT_ALLOWED.value, "", message, {"allow": f"{allowed}, OPTIONS"})


def _not_taken(error: grpc.aio.AioRpcError) -> Reply:
    status = _ANSWERED.get(error.code(), 503)
    reason = {429: Reason.OVERLOADED, 400: Reason.MALFORMED}.get(status, Reason.SERVER_UNAVAILABLE)
    return refusal(status, reason.value, "", error.details() or "the server does not answer")
