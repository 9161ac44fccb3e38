"""The quarantine over gRPC: the server passes the calls of `rte.v1.CollectorService` on to here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import grpc.aio
from google.protobuf.timestamp_pb2 import Timestamp

from rte.v1 import collector_pb2, error_reason_pb2
from rte.v1 import collector_service_pb2 as pb
from rte.v1.collector_service_pb2_grpc import CollectorServiceServicer
from rte_collect.keeper import Keeper
from rte_collect.quarantine import Kept

PAGE_SIZE = 100
_RESUBMITTED_AT_A_TIME = 500
_PREFIX = "ERROR_REASON_"


class QuarantineService(CollectorServiceServicer):
    """Serves `rte.v1.CollectorService`. Arguments were checked by the server."""

    def __init__(self, keeper: Keeper) -> None:
        self._keeper = keeper

    async def ListQuarantinedEvents(
        self, request: pb.ListQuarantinedEventsRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.ListQuarantinedEventsResponse:
        """Answer ListQuarantinedEvents."""
        size = request.page_size or PAGE_SIZE
        reason = error_reason_pb2.ErrorReason.Name(request.reason).removeprefix(_PREFIX) if request.reason else ""
        found = await self._keeper.page(int(request.page_token or 0), size, request.protocol, reason)
        more = bool(found) and bool(await self._keeper.page(found[-1].key, 1, request.protocol, reason))
        total, lost = await self._keeper.counts()
        return pb.ListQuarantinedEventsResponse(
            events=[_message(each) for each in found],
            next_page_token=str(found[-1].key) if more else "",
            total_count=total,
            lost_count=min(lost, 2**31 - 1),
        )

    async def ResubmitQuarantinedEvents(
        self, request: pb.ResubmitQuarantinedEventsRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.ResubmitQuarantinedEventsResponse:
        """Answer ResubmitQuarantinedEvents."""
        accepted = rejected = last = 0
        while True:
            if request.all:
                found: Sequence[Kept] = await self._keeper.page(last, _RESUBMITTED_AT_A_TIME)
            else:
                found = await self._keeper.get([int(each) for each in request.quarantine_ids])
            if not found:
                break
            last = found[-1].key
            taken = await self._keeper.resubmit(found)
            accepted += taken
            rejected += len(found) - taken
            if not request.all:
                break
        return pb.ResubmitQuarantinedEventsResponse(accepted_count=accepted, rejected_count=rejected)

    async def DropQuarantinedEvents(
        self, request: pb.DropQuarantinedEventsRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.DropQuarantinedEventsResponse:
        """Answer DropQuarantinedEvents."""
        keys = None if request.all else [int(each) for each in request.quarantine_ids]
        return pb.DropQuarantinedEventsResponse(dropped_count=await self._keeper.drop(keys))


def _message(event: Kept) -> collector_pb2.QuarantinedEvent:
    received = Timestamp()
    received.FromMilliseconds(event.received_ms)
    return collector_pb2.QuarantinedEvent(
        quarantine_id=str(event.key),
        protocol=event.protocol,
        reason=_PREFIX + event.reason,
        field=event.field,
        message=event.message,
        receive_time=received,
        document=event.raw.document.decode("utf-8", "replace"),
        attempt_count=event.attempt_count,
    )
