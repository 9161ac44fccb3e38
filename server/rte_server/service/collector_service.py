"""CollectorService: calls about the quarantine, checked and passed on to the collectors' bridge, which holds it."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Awaitable, Callable, Collection, Iterator
from typing import Any
from urllib.parse import quote, unquote

import grpc
import grpc.aio
from google.protobuf.message import Message

from rte.v1 import collector_service_pb2 as pb
from rte_server.engine.reasons import EngineError, Reason
from rte_server.service.interceptors import Context, Handler
from rte_server.service.json_body import parse, parse_with_json

SERVICE = "rte.v1.CollectorService"
PAGE_SIZE_MAX = 1_000
IDS_MAX = 1_000
KEY_DIGITS_MAX = 18
"""Digits of a quarantine id: it is a 64-bit number of SQLite."""

CALL_S_MAX = 25.0
"""Seconds that the bridge may take; less than Envoy waits."""

_CHANNEL_OPTIONS = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
)


class CollectorService:
    """Serves `rte.v1.CollectorService`. Belongs to one event loop."""

    def __init__(self) -> None:
        self._channel: grpc.aio.Channel | None = None

    def connect(self, address: str) -> None:
        """Say where the bridge answers gRPC; before that all calls are refused."""
        self._channel = grpc.aio.insecure_channel(address, options=_CHANNEL_OPTIONS)

    async def close(self) -> None:
        """Close the connection to the bridge."""
        if self._channel is not None:
            await self._channel.close()

    def handlers(self) -> dict[str, Handler]:
        """Return the methods by name."""
        checks: dict[str, Callable[[bytes], Message]] = {
            "ListQuarantinedEvents": _list_request,
            "ResubmitQuarantinedEvents": lambda body: _order(
                parse_with_json(body, pb.ResubmitQuarantinedEventsRequest)
            ),
            "DropQuarantinedEvents": lambda body: _order(parse_with_json(body, pb.DropQuarantinedEventsRequest)),
        }
        return {name: grpc.unary_unary_rpc_method_handler(self._passed(name, each)) for name, each in checks.items()}

    async def drop_naming(self, ids: Collection[str]) -> None:
        """Remove the quarantined events for good in which an id stands as a word of its own.

        Also as JSON, addresses and base64 write it: Snowplow packs whole objects in base64, and CloudEvents may.

        What left the quarantine before that is in no file either afterwards.

        Raises:
            EngineError: SERVER_UNAVAILABLE: the bridge does not answer; some may be removed.
        """
        if self._channel is None:
            raise _unavailable()
        spellings = {spelling for each in ids for spelling in (each, json.dumps(each)[1:-1], quote(each, safe=""))}
        named = re.compile("|".join(rf"(?<![\w-]){re.escape(each)}(?![\w-])" for each in sorted(spellings)))
        token = ""
        try:
            while True:
                request = pb.ListQuarantinedEventsRequest(page_size=PAGE_SIZE_MAX, page_token=token)
                body = await self._ask("ListQuarantinedEvents", request)
                page = pb.ListQuarantinedEventsResponse.FromString(body)
                found = [
                    each.quarantine_id
                    for each in page.events
                    if any(named.search(text) for text in (each.message, *_readings(each.document)))
                ]
                # Also if there are none: dropping cuts the log of the file, which may hold what left by itself.
                await self._ask("DropQuarantinedEvents", pb.DropQuarantinedEventsRequest(quarantine_ids=found))
                token = page.next_page_token
                if not token:
                    return
        except grpc.aio.AioRpcError as error:
            raise _unavailable() from error

    async def _ask(self, name: str, request: Message) -> bytes:
        assert self._channel is not None
        call: Any = self._channel.unary_unary(f"/{SERVICE}/{name}")
        answer: bytes = await call(request.SerializeToString(), timeout=CALL_S_MAX)
        return answer

    def _passed(self, name: str, check: Callable[[bytes], Message]) -> Callable[[bytes, Context], Awaitable[bytes]]:
        async def passed(body: bytes, context: Context) -> bytes:
            request = check(body)
            if self._channel is None:
                raise _unavailable()
            try:
                return await self._ask(name, request)
            except grpc.aio.AioRpcError as error:
                raise _unavailable() from error

        return passed


_PACKED = re.compile(r"[\w+/-]{4,}", re.ASCII)
"""What may be base64, of the usual or the URL alphabet, without its padding."""

_URL_ALPHABET = str.maketrans("+/", "-_")


def _readings(document: str) -> Iterator[str]:
    """Yield a document as it is, and each text that is packed in it as base64."""
    yield document
    # Serializers may escape a slash, and addresses what is no letter.
    for packed in _PACKED.findall(unquote(document.replace("\\/", "/"))):
        try:
            yield base64.urlsafe_b64decode(packed.translate(_URL_ALPHABET) + "=" * (-len(packed) % 4)).decode()
        except (binascii.Error, UnicodeDecodeError):
            continue  # A word.


def _list_request(body: bytes) -> Message:
    request = parse(body, pb.ListQuarantinedEventsRequest)
    if not 0 <= request.page_size <= PAGE_SIZE_MAX:
        message = f"page_size is {request.page_size}, it must be 0 to {PAGE_SIZE_MAX}"
        value, limit = str(request.page_size), f"0 to {PAGE_SIZE_MAX}"
        raise EngineError(Reason.OUT_OF_RANGE, message, field="page_size", value=value, limit=limit)
    if request.page_token and not _is_key(request.page_token):
        message = "page_token must be a next_page_token of an earlier answer"
        raise EngineError(Reason.INVALID_PAGE_TOKEN, message, field="page_token", value=request.page_token)
    return request


def _order(request: Any) -> Message:
    count = len(request.quarantine_ids)
    if count == 0 and not request.all:
        message = f"quarantine_ids is required, 1 to {IDS_MAX}, unless all is set"
        raise EngineError(Reason.FIELD_MISSING, message, field="quarantine_ids")
    if count > IDS_MAX or (count and request.all):
        message = f"quarantine_ids has {count} ids, it may have {IDS_MAX}, and none if all is set"
        limit = str(0 if request.all else IDS_MAX)
        raise EngineError(Reason.OUT_OF_RANGE, message, field="quarantine_ids", value=str(count), limit=limit)
    for each in request.quarantine_ids:
        if not _is_key(each):
            message = "a quarantine_id is a number, as ListQuarantinedEvents tells it"
            raise EngineError(Reason.OUT_OF_RANGE, message, field="quarantine_ids", value=each)
    found: Message = request
    return found


def _is_key(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= KEY_DIGITS_MAX


def _unavailable() -> EngineError:
    return EngineError(Reason.SERVER_UNAVAILABLE, "the collectors do not answer; try again", field="collect")
