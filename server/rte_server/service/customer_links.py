"""LinkVisitor and UnlinkVisitor: whose sessions are looked at together, as entries of the journal."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import grpc

from rte.v1 import customer_service_pb2 as pb
from rte_server.engine.entries import Entry, EntryType
from rte_server.engine.links import Link
from rte_server.engine.outcome import Outcome
from rte_server.engine.reasons import EngineError, Reason
from rte_server.engine.wire import ScannedRequest
from rte_server.mart.mart import CustomerMart
from rte_server.mart.states import Freshness
from rte_server.service.customer_writes import (
    ID_BYTES_MAX,
    TEXT_BYTES_MAX,
    WHY_BYTES_MAX,
    check_customer_id,
    check_length,
)
from rte_server.service.interceptors import Context, Handler
from rte_server.service.json_body import parse_with_json
from rte_server.service.pipeline import Pipeline
from rte_server.service.receipts import Want
from rte_server.service.session_reads import SessionReads
from rte_server.service.tokens import position_text

_Request = pb.LinkVisitorRequest | pb.UnlinkVisitorRequest


class LinkCalls:
    """Serves the part of `rte.v1.CustomerService` that is about links."""

    def __init__(
        self,
        reads: SessionReads,
        pipeline: Pipeline[ScannedRequest, Outcome],
        mart: CustomerMart,
        clock_ms: Callable[[], int],
    ) -> None:
        """Make it.

        Args:
            reads: Finds sessions.
            pipeline: Takes entries.
            mart: Knows which customers there are.
            clock_ms: The server's time, milliseconds since 1970.
        """
        self._reads = reads
        self._pipeline = pipeline
        self._mart = mart
        self._clock_ms = clock_ms

    def handlers(self) -> dict[str, Handler]:
        """Return the methods by name."""
        unary = {"LinkVisitor": self.link_visitor, "UnlinkVisitor": self.unlink_visitor}
        return {name: grpc.unary_unary_rpc_method_handler(method) for name, method in unary.items()}

    async def link_visitor(self, body: bytes, context: Context) -> bytes:
        """Answer LinkVisitor."""
        request = parse_with_json(body, pb.LinkVisitorRequest)
        _check(request)
        await self._check_customer(request.customer_id)
        position = await self._append(request, is_linked=True)
        answer = pb.LinkVisitorResponse(links=self._links(request), position=position)
        return answer.SerializeToString()

    async def unlink_visitor(self, body: bytes, context: Context) -> bytes:
        """Answer UnlinkVisitor."""
        request = parse_with_json(body, pb.UnlinkVisitorRequest)
        _check(request)
        position = await self._append(request, is_linked=False)
        answer = pb.UnlinkVisitorResponse(links=self._links(request), position=position)
        return answer.SerializeToString()

    async def _check_customer(self, customer_id: str) -> None:
        """Refuse a customer of whom both the data mart and all sessions know nothing; a mart that is away refuses nobody."""
        await self._mart.reach((customer_id,), 0, is_patient=True)
        freshness = self._mart.states.state(customer_id).freshness
        if freshness == Freshness.UNKNOWN_CUSTOMER and not self._reads.of_customer(customer_id).size:
            message = "neither the data mart nor a session knows such a customer"
            raise EngineError(Reason.CUSTOMER_NOT_FOUND, message, field="customer_id", value=customer_id)

    async def _append(self, request: _Request, *, is_linked: bool) -> str:
        said: dict[str, Any] = {
            "customer_id": request.customer_id,
            "visitor_id": request.visitor_id,
            "is_linked": is_linked,
            "why": request.why,
            "author": request.author,
        }
        body = json.dumps(said, ensure_ascii=False).encode()
        receipt = await self._pipeline.submit(Entry(EntryType.LINK, self._clock_ms(), body), None, Want.APPLIED)
        if receipt.outcome is not None and receipt.outcome.error is not None:
            raise receipt.outcome.error
        return position_text(receipt.position)

    def _links(self, request: _Request) -> list[pb.CustomerLink]:
        return [link_message(each) for each in self._reads.engine.links_of(request.customer_id)]


def link_message(link: Link) -> pb.CustomerLink:
    """Return the contract's form of a link."""
    message = pb.CustomerLink(
        visitor_id=link.visitor_id, why=link.why, author=link.author, position=position_text(link.position)
    )
    message.link_time.FromMilliseconds(link.time_ms)
    return message


def _check(request: _Request) -> None:
    """Check a request.

    Raises:
        EngineError: FIELD_MISSING, STRING_TOO_LONG.
    """
    check_customer_id("customer_id", request.customer_id)
    limits = {"visitor_id": ID_BYTES_MAX, "why": WHY_BYTES_MAX, "author": TEXT_BYTES_MAX}
    for field in ("visitor_id", "why"):
        if not getattr(request, field):
            message = f"{field} is required, 1 to {limits[field]} bytes"
            raise EngineError(Reason.FIELD_MISSING, message, field=field)
    for field, limit in limits.items():
        check_length(field, getattr(request, field), limit)
