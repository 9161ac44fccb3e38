"""CustomerService: the Customer State for the back office."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import grpc
from google.protobuf.duration_pb2 import Duration

from rte.v1 import customer_service_pb2 as pb
from rte_server.engine.engine import Engine
from rte_server.engine.reasons import EngineError, Reason
from rte_server.mart.database import MartError, NotWritable, TooSlow
from rte_server.mart.mart import CustomerMart
from rte_server.mart.written import VersionMismatch
from rte_server.service.customer_links import link_message
from rte_server.service.customer_messages import customer_body
from rte_server.service.customer_writes import check_customer_id, customer_write
from rte_server.service.interceptors import Context, Handler
from rte_server.service.json_body import parse, parse_with_json
from rte_server.service.proto_wire import message_field, message_fields

CUSTOMERS_MAX = 1_000
MAX_AGE_MS_MAX = 86_400_000

_log = logging.getLogger(__name__)


class CustomerService:
    """Serves `rte.v1.CustomerService`."""

    def __init__(self, engine: Engine, mart: CustomerMart, clock_ms: Callable[[], int], bytes_max: int) -> None:
        """Make the service.

        Args:
            engine: Has the links of customers.
            mart: The data mart.
            clock_ms: The server's time, milliseconds since 1970.
            bytes_max: Bytes of the attributes that one request writes.
        """
        self._engine = engine
        self._mart = mart
        self._bytes_max = bytes_max
        self._clock_ms = clock_ms

    def handlers(self) -> dict[str, Handler]:
        """Return the methods by name."""
        unary = {
            "GetCustomer": self.get_customer,
            "BatchGetCustomers": self.batch_get_customers,
            "UpdateCustomer": self.update_customer,
        }
        return {name: grpc.unary_unary_rpc_method_handler(method) for name, method in unary.items()}

    async def get_customer(self, body: bytes, context: Context) -> bytes:
        """Answer GetCustomer."""
        request = parse(body, pb.GetCustomerRequest)
        check_customer_id("customer_id", request.customer_id)
        found = (await self._bodies([request.customer_id], self._since_ms(request)))[0]
        links = [link_message(each).SerializeToString() for each in self._engine.links_of(request.customer_id)]
        return message_field(1, found) + message_fields(2, links)

    async def batch_get_customers(self, body: bytes, context: Context) -> bytes:
        """Answer BatchGetCustomers."""
        request = parse(body, pb.BatchGetCustomersRequest)
        count = len(request.customer_ids)
        if count == 0:
            message = f"customer_ids is required, 1 to {CUSTOMERS_MAX}"
            raise EngineError(Reason.FIELD_MISSING, message, field="customer_ids")
        if count > CUSTOMERS_MAX:
            message = f"the request asks for {count} customers, the limit is {CUSTOMERS_MAX}"
            limit = str(CUSTOMERS_MAX)
            raise EngineError(Reason.OUT_OF_RANGE, message, field="customer_ids", value=str(count), limit=limit)
        for each in request.customer_ids:
            check_customer_id("customer_ids", each)
        return message_fields(1, await self._bodies(request.customer_ids, self._since_ms(request)))

    async def update_customer(self, body: bytes, context: Context) -> bytes:
        """Answer UpdateCustomer."""
        now_ms = self._clock_ms()
        order = customer_write(parse_with_json(body, pb.UpdateCustomerRequest), now_ms, self._bytes_max)
        try:
            await self._mart.write(order)
        except VersionMismatch:
            message = "the customer was written to since the etag was read; read it again"
            raise EngineError(Reason.ETAG_MISMATCH, message, field="etag") from None
        except NotWritable as error:
            raise EngineError(Reason.CUSTOMER_NOT_WRITABLE, str(error), field="mart.own_tables") from error
        except MartError as error:
            _log.warning("a write of the back office was not confirmed: %s", error)
            what = "it is not known whether it" if isinstance(error, TooSlow) else "nothing"
            message = f"the data mart cannot be written to; {what} was written, send it again later"
            raise EngineError(Reason.MART_UNAVAILABLE, message, field="mart") from error
        state = self._mart.states.state(order.customer_id)
        return message_field(1, customer_body(order.customer_id, state, self._clock_ms()))

    def _since_ms(self, request: pb.GetCustomerRequest | pb.BatchGetCustomersRequest) -> int | None:
        """Return since when customers must have been read, or None if the caller does not say."""
        return self._clock_ms() - max_age_ms(request.max_age, "max_age") if request.HasField("max_age") else None

    async def _bodies(self, customer_ids: Sequence[str], since_ms: int | None) -> list[bytes]:
        """Return serialized customers, after waiting for those that are older, or not known at all."""
        await self._mart.reach(customer_ids, 0 if since_ms is None else since_ms)
        now_ms = self._clock_ms()
        return [customer_body(each, self._mart.states.state(each, since_ms), now_ms) for each in customer_ids]


def max_age_ms(given: Duration, field: str) -> int:
    """Return a maximum age in milliseconds.

    Raises:
        EngineError: OUT_OF_RANGE if it is negative or longer than a day.
    """
    age_ms = given.seconds * 1000 + given.nanos // 1_000_000
    if not 0 <= age_ms <= MAX_AGE_MS_MAX:
        message = f"{field} is {age_ms / 1000:g} s, it must be 0 to {MAX_AGE_MS_MAX // 1000} s"
        limit = f"0 to {MAX_AGE_MS_MAX} ms"
        raise EngineError(Reason.OUT_OF_RANGE, message, field=field, value=f"{age_ms} ms", limit=limit)
    return age_ms
