"""What is remembered of customers, against a data mart that the tests hold up and let fail."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rte_server.config import MartSettings
from rte_server.mart.database import MartError, Unreadable
from rte_server.mart.states import CustomerRecord, CustomerStates, Freshness
from rte_server.mart.values import Attribute, ValueType
from tests.mart.live_mart import now_ms


class Rows:
    """A data mart whose answers wait until they are let go.

    Attributes:
        texts: What it says of customers.
        asked: Customers of each query, in order.
        is_away: Whether it fails.
        failures: What a query fails with that asks for these customers.
    """

    def __init__(self, *customer_ids: str) -> None:
        """Fill it; queries are answered at once until `hold`."""
        self.texts = dict.fromkeys(customer_ids, "here")
        self.asked: list[tuple[str, ...]] = []
        self.is_away = False
        self.failures: dict[str, Exception] = {}
        self._gate = asyncio.Event()
        self._gate.set()

    def hold(self) -> None:
        """Let queries wait after they have read."""
        self._gate.clear()

    def let_go(self) -> None:
        """Answer what waits, and what comes."""
        self._gate.set()

    async def read(self, customer_ids: Sequence[str]) -> dict[str, CustomerRecord]:
        """Answer a query, with what is so when it begins."""
        self.asked.append(tuple(customer_ids))
        if self.is_away:
            raise MartError("it is away")
        for each in customer_ids:
            if each in self.failures:
                raise self.failures[each]
        found = {each: self._record(each) for each in customer_ids if each in self.texts}
        await self._gate.wait()
        return found

    def _record(self, customer_id: str) -> CustomerRecord:
        return CustomerRecord({"text": Attribute(self.texts[customer_id], ValueType.STRING, "rows")})


def states_of(rows: Rows, **settings: Any) -> CustomerStates:
    """Return what remembers them; its bodies are their texts."""

    def encode(_: str, record: CustomerRecord) -> bytes:
        return str(record.attributes["text"].value).encode()

    def changed(_: Mapping[str, CustomerRecord]) -> None:
        pass

    return CustomerStates(rows.read, encode, now_ms, MartSettings(**settings), changed)


async def until(condition: Callable[[], bool]) -> None:
    """Wait until something is so."""
    for _ in range(10_000):
        if condition():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("never so")


async def test_who_is_forgotten_stays_forgotten_while_being_looked_up() -> None:
    """Rows that were read before a customer was forgotten are not remembered, even if the data mart then goes away."""
    rows = Rows("c1", "c2")
    states = states_of(rows, retry_ms=10)
    rows.hold()
    states.want(("c1", "c2"))
    await until(lambda: len(rows.asked) == 1)
    del rows.texts["c1"]
    states.forget("c1")
    rows.is_away = True
    rows.let_go()
    await until(lambda: len(rows.asked) > 1)
    assert states.state("c1").body == b"" and states.state("c1").freshness == Freshness.UNAVAILABLE
    assert states.state("c2").body == b"here"
    rows.is_away = False
    await states.reach(("c1",), now_ms(), 10)
    await until(lambda: states.state("c1").freshness == Freshness.UNKNOWN_CUSTOMER)
    await states.close()


async def test_one_customer_that_cannot_be_read_stops_no_other() -> None:
    """Of many who are asked for together all others are known soon, with few queries; the one is left alone for a while."""
    customers = [f"c{n}" for n in range(128)]
    rows = Rows(*customers)
    rows.failures = {"c77": Unreadable("no text"), "c3": Unreadable("no text")}
    states = states_of(rows, unknown_ms=300)
    states.want(customers)
    await until(lambda: states.stats()["customers_unreadable"] == 2)
    await until(lambda: sum(states.state(each).body == b"here" for each in customers) == 126)
    assert len(rows.asked) < 40 and not states.is_open
    count = len(rows.asked)
    for _ in range(20):
        assert states.state("c3").freshness == Freshness.UNAVAILABLE
        await asyncio.sleep(0.001)
    assert len(rows.asked) == count
    rows.failures.clear()
    await until(lambda: states.state("c3").body == b"here")
    await states.close()


async def test_a_customer_that_cannot_be_told_stops_no_other() -> None:
    """Where the bytes of one customer cannot be made the others of the same query are known; waiting for it ends."""
    rows = Rows("c1", "c2", "c3")
    rows.texts["c2"] = "\ud800"
    states = states_of(rows)
    async with asyncio.timeout(5):
        await states.reach(("c1", "c2", "c3"), now_ms(), 60)
    assert [states.state(each).body for each in ("c1", "c2", "c3")] == [b"here", b"", b"here"]
    assert states.stats()["customers_unreadable"] == 1 and len(rows.asked) == 1
    await states.close()


async def test_whatever_fails_counts_as_a_failure() -> None:
    """What no driver should raise is waited after, too: it opens the circuit, and is over when it is over."""
    customers = [f"c{n}" for n in range(100)]
    rows = Rows(*customers)
    rows.failures = dict.fromkeys(customers, RuntimeError("nobody thought of it"))
    states = states_of(rows, retry_ms=20, failures_max=3, unknown_ms=50)
    states.want(customers)
    await until(lambda: states.is_open)
    count = len(rows.asked)
    await asyncio.sleep(0.1)
    assert len(rows.asked) - count <= 6
    rows.failures.clear()
    await until(lambda: all(states.state(each).body == b"here" for each in customers))
    assert not states.is_open
    await states.close()


async def test_waiting_for_customers_is_bounded() -> None:
    """However many are waited for, no more than the limit are to be looked up; the rest is counted, and known later."""
    customers = [f"c{n}" for n in range(100)]
    rows = Rows(*customers)
    states = states_of(rows, customers_max=10, queries_max=1, batch_max=2)
    rows.hold()
    async with asyncio.timeout(5):
        calls = [asyncio.create_task(states.reach(customers[at : at + 5], now_ms(), 60)) for at in range(0, 100, 5)]
        await until(lambda: sum(each.done() for each in calls) == 18)
        stats = states.stats()
        assert stats["not_taken"] == 90 and stats["awaited"] == 10 and stats["waiting"] <= 10
        # Several wait for the same one, and one of them leaves.
        calls += [asyncio.create_task(states.reach(("c0",), now_ms() - 1_000, 60)) for _ in range(2)]
        await asyncio.sleep(0)
        calls.pop().cancel()
        await asyncio.sleep(0)
        rows.let_go()
        await asyncio.gather(*calls)
    assert all(states.state(each).body == b"here" for each in customers[:10])
    await states.reach(customers[50:52], now_ms(), 10)
    assert states.state("c50").body == b"here"
    await states.close()


async def test_who_waits_no_longer_leaves_nothing_behind() -> None:
    """When a wait ends before the data mart answers nothing of it is kept, and others wait on."""
    rows = Rows("c1", "c2")
    states = states_of(rows)
    rows.hold()
    patient = asyncio.create_task(states.reach(("c1",), now_ms(), 60))
    await states.reach(("c1", "c2"), now_ms(), 0.01)
    assert states.stats()["awaited"] == 1 and not patient.done()
    rows.let_go()
    await patient
    assert states.stats()["awaited"] == 0 and states.state("c1").body == b"here"
    await states.close()
