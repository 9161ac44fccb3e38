"""SessionService: reads, watches and writes of Session States."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Protocol

import grpc

from rte.v1 import session_service_pb2 as pb
from rte_server.engine.entries import Entry, EntryType
from rte_server.engine.masks import FIELD_NUMBERS
from rte_server.engine.outcome import Outcome
from rte_server.engine.reasons import EngineError, Reason
from rte_server.engine.wire import ScannedRequest
from rte_server.service.customer_service import max_age_ms
from rte_server.service.customer_writes import ID_BYTES_MAX, check_length
from rte_server.service.errors import status_of
from rte_server.service.explain import Chosen, Explainer, Wanted
from rte_server.service.interceptors import Context, Handler
from rte_server.service.json_body import parse, parse_with_json
from rte_server.service.model_service import PAGE_SIZE_MAX, check_page_size
from rte_server.service.paging import ABSENT, NUMBER, Paging, Place
from rte_server.service.pipeline import Pipeline
from rte_server.service.proto_wire import (
    int_field,
    message_field,
    message_fields,
    text_field,
    timestamp_field,
)
from rte_server.service.receipts import Want
from rte_server.service.session_reads import SessionReads
from rte_server.service.tokens import TokenSeal, parse_position, position_text
from rte_server.service.watch import WatchHub, WatchOrder
from rte_server.service.write_checks import check_end, check_update

BATCH_IDS_MAX = 1000
LIST_PAGE_SIZE = 50
INTERVAL_MS_MAX = 60_000
PAGE_KIND = "sessions"
EVENTS_PAGE_KIND = "events"
EVENTS_PAGE_SIZE = 50

EVERYTHING = tuple(FIELD_NUMBERS)


class _Read(Protocol):
    """A request that reads."""

    min_position: str


class SessionService:
    """Serves `rte.v1.SessionService`."""

    def __init__(
        self,
        reads: SessionReads,
        pipeline: Pipeline[ScannedRequest, Outcome],
        hub: WatchHub,
        seal: TokenSeal,
        explainer: Explainer,
        clock_ms: Callable[[], int],
    ) -> None:
        """Make the service.

        Args:
            clock_ms: Gives the server's time, milliseconds since 1970.
        """
        self._reads = reads
        self._engine = reads.engine
        self._pipeline = pipeline
        self._hub = hub
        self._seal = seal
        self._explainer = explainer
        self._clock_ms = clock_ms

    def handlers(self) -> dict[str, Handler]:
        """Return the methods by name."""
        unary = {
            "GetSession": self.get_session,
            "BatchGetSessions": self.batch_get_sessions,
            "ListSessions": self.list_sessions,
            "UpdateSession": self.update_session,
            "EndSession": self.end_session,
            "ExplainSession": self.explain_session,
        }
        methods: dict[str, Handler] = {
            name: grpc.unary_unary_rpc_method_handler(method) for name, method in unary.items()
        }
        return methods | {"WatchSessions": grpc.unary_stream_rpc_method_handler(self.watch_sessions)}

    async def get_session(self, body: bytes, context: Context) -> bytes:
        """Answer GetSession."""
        request = parse(body, pb.GetSessionRequest)
        field = _key_field(request)
        if request.merged and field != "customer_id":
            message = "merged is for sessions of a customer; ask by customer_id"
            raise EngineError(Reason.FIELD_MISSING, message, field="customer_id")
        mask = self._reads.mask(request.read_mask.paths)
        await self._reach(request)
        key, since_ms = getattr(request, field), None
        if request.HasField("customer_max_age"):
            since_ms = self._clock_ms() - max_age_ms(request.customer_max_age, "customer_max_age")
            await self._reads.reach_customer(field, key, since_ms)
        stamp = self._stamp(2)
        if not request.merged:
            return message_field(1, self._reads.get(field, key, mask, since_ms)) + stamp
        # It takes a millisecond or more; other calls go on meanwhile.
        body, session_ids = await asyncio.to_thread(self._reads.merged, key, mask, since_ms)
        return message_field(1, body) + stamp + message_fields(4, [each.encode() for each in session_ids])

    async def batch_get_sessions(self, body: bytes, context: Context) -> bytes:
        """Answer BatchGetSessions."""
        request = parse(body, pb.BatchGetSessionsRequest)
        count = len(request.session_ids) + len(request.visitor_ids)
        if count == 0:
            message = f"session_ids or visitor_ids is required, together 1 to {BATCH_IDS_MAX}"
            raise EngineError(Reason.FIELD_MISSING, message, field="session_ids")
        if count > BATCH_IDS_MAX:
            message = f"the request asks for {count} sessions, the limit is {BATCH_IDS_MAX}"
            raise EngineError(
                Reason.OUT_OF_RANGE, message, field="session_ids", value=str(count), limit=str(BATCH_IDS_MAX)
            )
        mask = self._reads.mask(request.read_mask.paths)
        await self._reach(request)
        stamp = self._stamp(2)
        results = []
        for field, ids in (("session_id", request.session_ids), ("visitor_id", request.visitor_ids)):
            for key in ids:
                try:
                    results.append(message_field(1, self._reads.get(field, key, mask)))
                except EngineError as error:
                    results.append(message_field(2, status_of(error).SerializeToString()))
        return message_fields(1, results) + stamp

    async def list_sessions(self, body: bytes, context: Context) -> bytes:
        """Answer ListSessions."""
        request = parse(body, pb.ListSessionsRequest)
        check_page_size(request.page_size, PAGE_SIZE_MAX)
        wanted = self._reads.filter(request.filter, request.state)
        order_by, descending = self._reads.order(request.order_by)
        mask = self._reads.mask(request.read_mask.paths)
        check_length("customer_id", request.customer_id, ID_BYTES_MAX)
        bound_to = (request.filter, str(request.state), order_by, str(descending), request.customer_id)
        after = self._place(bound_to, request.page_token) if request.page_token else None
        size = min(request.page_size or LIST_PAGE_SIZE, PAGE_SIZE_MAX)
        paging = Paging(size, after, self._engine.text, descending)
        await self._reach(request)
        stamp = self._stamp(4)

        def work() -> bytes:
            now_ms = self._clock_ms()
            if request.customer_id:
                rows = self._reads.of_customer(request.customer_id)
                matches = self._engine.match(wanted, rows, now_ms, order_by)
            else:
                matches = self._engine.select(wanted, order_by, now_ms, paging.narrow())
            page = paging.page(matches)
            found = self._reads.encode(page.rows, mask, page.session_ids, now_ms)
            sessions = [session for session in found if session]
            token = "" if page.last is None else self._page_token(bound_to, page.last)
            return message_fields(1, sessions) + text_field(2, token) + int_field(3, matches.count)

        # It takes milliseconds over many sessions, most of them without the GIL: other calls go on meanwhile.
        return await asyncio.to_thread(work) + stamp

    async def watch_sessions(self, body: bytes, context: Context) -> AsyncIterator[bytes]:
        """Answer WatchSessions."""
        request = parse(body, pb.WatchSessionsRequest)
        if not 0 <= request.interval_ms_min <= INTERVAL_MS_MAX:
            limit = f"0 to {INTERVAL_MS_MAX}"
            message = f"interval_ms_min is {request.interval_ms_min}, it must be {limit}"
            value = str(request.interval_ms_min)
            raise EngineError(Reason.OUT_OF_RANGE, message, field="interval_ms_min", value=value, limit=limit)
        paths = tuple(request.read_mask.paths)
        self._reads.mask(paths)
        shows_session_id = not paths or "session_id" in paths or "*" in paths
        order = WatchOrder(
            wanted=self._reads.filter(request.filter, request.state),
            mask=self._reads.mask(paths if shows_session_id else ("session_id", *paths)),
            request=(request.filter, str(request.state)),
            shows_session_id=shows_session_id,
            interval_ms=request.interval_ms_min,
            resume_token=request.resume_token,
        )
        async for told in self._hub.watch(order):
            yield told

    async def update_session(self, body: bytes, context: Context) -> bytes:
        """Answer UpdateSession."""
        request = parse_with_json(body, pb.UpdateSessionRequest)
        check_update(request, self._engine.program, self._engine.limits.string_bytes_max)
        return await self._write(EntryType.UPDATE, request)

    async def end_session(self, body: bytes, context: Context) -> bytes:
        """Answer EndSession."""
        request = parse_with_json(body, pb.EndSessionRequest)
        check_end(request)
        return await self._write(EntryType.END, request)

    async def explain_session(self, body: bytes, context: Context) -> bytes:
        """Answer ExplainSession."""
        request = parse(body, pb.ExplainSessionRequest)
        field = _key_field(request)
        key = getattr(request, field)
        for name, text in ((field, key), ("attribute", request.attribute)):
            if not text:
                raise EngineError(Reason.FIELD_MISSING, f"{name} is required", field=name)
        check_page_size(request.page_size, PAGE_SIZE_MAX)
        bound_to = (field, key, request.attribute, str(request.contributed_only))
        after = None
        if request.page_token:
            reason = Reason.INVALID_PAGE_TOKEN
            content = self._seal.open(EVENTS_PAGE_KIND, bound_to, request.page_token, reason=reason, field="page_token")
            time_ms, order, position = (number for number in content if isinstance(number, int))
            after = time_ms, order, position
        size = min(request.page_size or EVENTS_PAGE_SIZE, PAGE_SIZE_MAX)
        await self._reach(request)
        as_of_ms = self._clock_ms()
        chosen = Chosen(size, after, request.contributed_only)
        explained = await self._explainer.explain(Wanted(field, key, request.attribute, chosen))
        answer = pb.ExplainSessionResponse(
            explanation=explained.explanation, position=position_text(explained.position)
        )
        answer.as_of_time.FromMilliseconds(as_of_ms)
        if explained.last is not None:
            answer.next_page_token = self._seal.seal(EVENTS_PAGE_KIND, bound_to, [*explained.last])
        return answer.SerializeToString()

    async def _write(self, entry_type: EntryType, request: pb.UpdateSessionRequest | pb.EndSessionRequest) -> bytes:
        """Journal a change, wait until it is applied, and answer with the session."""
        # Refused before it is journalled where that is already certain; what changes until then, the fold refuses.
        mask = self._reads.mask(())
        self._reads.get("session_id", request.session_id, mask)
        entry = Entry(entry_type, self._clock_ms(), request.SerializeToString())
        receipt = await self._pipeline.submit(entry, None, Want.APPLIED)
        if receipt.outcome is not None and receipt.outcome.error is not None:
            raise receipt.outcome.error
        session = self._reads.get("session_id", request.session_id, mask)
        return message_field(1, session) + text_field(2, position_text(receipt.position))

    async def _reach(self, request: _Read) -> None:
        """Wait until the state has reached the request's `min_position`."""
        if request.min_position:
            await self._pipeline.wait_position(parse_position(request.min_position))

    def _stamp(self, first_field: int) -> bytes:
        """Return `as_of_time` and, in the field after it, `position`.

        Taken before the state is read, so that the state is at least that new.
        """
        position = position_text(self._engine.position)
        return timestamp_field(first_field, self._clock_ms()) + text_field(first_field + 1, position)

    def _page_token(self, bound_to: tuple[str, ...], last: Place) -> str:
        return self._seal.seal(PAGE_KIND, bound_to, [last.rank, last.key, *last.session_id])

    def _place(self, bound_to: tuple[str, ...], token: str) -> Place:
        content = self._seal.open(PAGE_KIND, bound_to, token, reason=Reason.INVALID_PAGE_TOKEN, field="page_token")
        rank, key, low, high = content
        assert isinstance(rank, int) and isinstance(key, int | float | str)
        assert isinstance(low, int) and isinstance(high, int)
        if rank in (NUMBER, ABSENT) and not isinstance(key, str):
            key = float(key)
        return Place(rank, key, (low, high))


def _key_field(request: pb.GetSessionRequest | pb.ExplainSessionRequest) -> str:
    """Return by which id a session is asked for.

    Raises:
        EngineError: FIELD_MISSING if there is none.
    """
    field: str | None = request.WhichOneof("key")
    if field is None:
        message = "one of session_id, visitor_id, customer_id and client_session_id is required"
        raise EngineError(Reason.FIELD_MISSING, message, field="session_id")
    return field
