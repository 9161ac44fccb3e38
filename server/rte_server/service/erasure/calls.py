"""The calls of CustomerService that erase people, and check receipts of that."""

from __future__ import annotations

from collections.abc import Callable

import grpc

from rte.v1 import customer_service_pb2 as pb
from rte.v1.customer_pb2 import Customer
from rte_server.engine.reasons import EngineError, Reason
from rte_server.mart.mart import CustomerMart
from rte_server.mart.states import Freshness
from rte_server.service.customer_writes import check_customer_id
from rte_server.service.erasure.eraser import CUSTOMER, VISITOR, Eraser
from rte_server.service.erasure.messages import receipt_message, receipt_of_message
from rte_server.service.erasure.receipt import ReceiptSeal
from rte_server.service.interceptors import Context, Handler
from rte_server.service.json_body import parse, parse_with_json

EARLIER_MAX = 100
"""Earlier receipts in one answer; each is some 200 bytes."""


class ErasureCalls:
    """Serves `DeleteCustomer` and `VerifyErasureReceipt`."""

    def __init__(self, mart: CustomerMart, eraser: Eraser, seal: ReceiptSeal, clock_ms: Callable[[], int]) -> None:
        """Make the service.

        Args:
            mart: The data mart.
            eraser: Erases people.
            seal: Checks receipts.
            clock_ms: The server's time, milliseconds since 1970.
        """
        self._mart = mart
        self._eraser = eraser
        self._seal = seal
        self._clock_ms = clock_ms

    def handlers(self) -> dict[str, Handler]:
        """Return the methods by name."""
        methods = {"DeleteCustomer": self.delete_customer, "VerifyErasureReceipt": self.verify_erasure_receipt}
        return {name: grpc.unary_unary_rpc_method_handler(method) for name, method in methods.items()}

    async def delete_customer(self, body: bytes, context: Context) -> bytes:
        """Answer DeleteCustomer."""
        kind, person_id = _person(parse(body, pb.DeleteCustomerRequest), is_required=True)
        *earlier, receipt = await self._eraser.erase(kind, person_id)
        answer = pb.DeleteCustomerResponse(receipt=receipt_message(receipt))
        answer.earlier_receipts.extend(receipt_message(each) for each in earlier[-EARLIER_MAX:])
        if kind == CUSTOMER:
            await self._mart.reach((person_id,), self._clock_ms() + 1, is_patient=True)
            state = self._mart.states.state(person_id)
            left = Customer.FromString(state.body)
            answer.remaining_sources.extend(sorted({each.source for each in left.attributes.values()}))
            answer.remaining_sources_unknown = state.freshness not in (Freshness.FRESH, Freshness.UNKNOWN_CUSTOMER)
        return answer.SerializeToString()

    async def verify_erasure_receipt(self, body: bytes, context: Context) -> bytes:
        """Answer VerifyErasureReceipt."""
        request = parse_with_json(body, pb.VerifyErasureReceiptRequest)
        if not request.HasField("receipt"):
            raise EngineError(Reason.FIELD_MISSING, "receipt is required", field="receipt")
        kind, person_id = _person(request, is_required=False)
        receipt = receipt_of_message(request.receipt)
        answer = pb.VerifyErasureReceiptResponse(genuine=receipt is not None and self._seal.is_genuine(receipt))
        if person_id:
            digest = self._seal.person_digest(kind, person_id)
            answer.person_matches = answer.genuine and request.receipt.person_digest == digest
            answer.session_count = await self._eraser.sessions_of(kind, person_id)
        return answer.SerializeToString()


def _person(
    request: pb.DeleteCustomerRequest | pb.VerifyErasureReceiptRequest, *, is_required: bool
) -> tuple[str, str]:
    """Return whom a request is about: (CUSTOMER or VISITOR, id); the id is empty if there is none.

    Raises:
        EngineError: FIELD_MISSING, STRING_TOO_LONG.
    """
    kind = VISITOR if request.HasField("visitor_id") else CUSTOMER
    person_id = request.visitor_id if kind == VISITOR else request.customer_id
    if is_required or request.WhichOneof("person"):
        check_customer_id(f"{kind}_id", person_id)
    return kind, person_id
