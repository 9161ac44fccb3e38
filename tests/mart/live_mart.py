"""A data mart at work for tests, without a server around it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from google.protobuf.json_format import MessageToDict

from rte.v1.customer_pb2 import Customer
from rte_server.config import MartSettings
from rte_server.mart.mart import CustomerMart
from rte_server.mart.states import CustomerRecord
from rte_server.service.customer_messages import CustomerEncoder, customer_body


def now_ms() -> int:
    """Return the time, milliseconds since 1970."""
    return time.time_ns() // 1_000_000


class LiveMart:
    """A data mart with what it told.

    Attributes:
        mart: What runs.
        told: Ids of customers of whom other things became known, in order.
    """

    def __init__(self, folder: Path, **settings: Any) -> None:
        """Start one; `settings` as in MartSettings, but that the database may take as long as a busy machine makes it take."""
        settings = {"query_ms_max": 60_000, "write_ms_max": 60_000} | settings
        self.told: list[str] = []
        self._lock = threading.Lock()
        encode = CustomerEncoder(settings.get("customer_bytes_max", 65_536))
        self.mart = CustomerMart(MartSettings(**settings), folder, encode, now_ms, self._changed)

    def _changed(self, customers: Mapping[str, CustomerRecord]) -> None:
        with self._lock:
            self.told += customers

    def customer(self, customer_id: str) -> Customer:
        """Return what is known of a customer now."""
        state = self.mart.states.state(customer_id)
        return Customer.FromString(customer_body(customer_id, state, now_ms()))

    def known(
        self, customer_id: str, condition: Callable[[Customer], bool] = lambda _: True, timeout_s: float = 60
    ) -> Customer:
        """Wait until a customer was looked up and a condition holds; return it."""
        until_s = time.monotonic() + timeout_s
        while True:
            found = self.customer(customer_id)
            if found.freshness != Customer.FRESHNESS_UNAVAILABLE and condition(found):
                return found
            assert time.monotonic() < until_s, f"never so: {found}"
            time.sleep(0.005)


@contextmanager
def live_mart(folder: Path, **settings: Any) -> Iterator[LiveMart]:
    """Run a data mart for the time of a block."""
    live = LiveMart(folder, **settings)
    try:
        yield live
    finally:
        live.mart.stop()


def values(customer: Customer) -> dict[str, Any]:
    """Return the values of a customer's attributes as plain Python."""
    return {name: MessageToDict(each.value) for name, each in customer.attributes.items()}
