"""How what the data mart says of customers gets into the journal: one engine, and entries that nobody else appends."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace

import pytest

from rte.v1.customer_pb2 import Customer, CustomerAttribute
from rte.v1.event_pb2 import Event
from rte_server.engine.customer_values import CUSTOMER_SESSIONS_MAX
from rte_server.engine.engine import Engine
from rte_server.engine.entries import Entry, EntryType
from rte_server.mart.states import CustomerState, Freshness
from rte_server.service.customer_inputs import TRIES_MAX, CustomerFeed
from tests.engine.attribute_samples import KNOWN, MODEL
from tests.engine.pair import SETTINGS, SMALL, new_engine
from tests.engine.strategies import SECRET, START_MS, Batch

WORTH = CustomerAttribute(type=CustomerAttribute.TYPE_NUMBER, source="customer")
WORTH.value.number_value = 250.0


def state(customer_id: str) -> CustomerState:
    """Return that a customer is worth something."""
    body = Customer(customer_id=customer_id, attributes={"lifetime_value": WORTH}).SerializeToString()
    return CustomerState(body, Freshness.FRESH, START_MS)


def send(engine: Engine, *customer_ids: str) -> None:
    """Let a device of each of some customers send an event."""
    events = tuple(
        Event(name="login", visitor_id=f"v-{number}", event_id=f"e-{number}", customer_id=each)
        for number, each in enumerate(customer_ids)
    )
    engine.apply(engine.position + 1, Entry(EntryType.EVENTS, START_MS, Batch(events).wire()))


class Told:
    """A feed at work.

    Attributes:
        customers: Ids of those of whom entries were appended, in order.
    """

    def __init__(self, engine: Engine) -> None:
        """Make it; entries are folded at once."""
        self.customers: list[str] = []
        self._engine = engine
        self.feed = CustomerFeed(engine, SECRET, self._submit, lambda: START_MS)

    def _submit(self, entry: Entry) -> None:
        self.customers += json.loads(entry.body)["customers"]
        self._engine.apply(self._engine.position + 1, entry)

    def until(self, condition: Callable[[], bool]) -> None:
        """Wait until something is so."""
        until_s = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < until_s, (self.customers, self.feed.stats())
            time.sleep(0.002)


@contextmanager
def told_of(engine: Engine, known: Callable[[str], CustomerState] = state) -> Iterator[Told]:
    """Run a feed for the time of a block."""
    told = Told(engine)
    told.feed.start(known)
    try:
        yield told
    finally:
        told.feed.stop()


def configure(engine: Engine, *names: str) -> None:
    """Let the models of these names run."""
    body = json.dumps({"settings": asdict(SETTINGS), "models": dict.fromkeys(names, "")})
    engine.apply(engine.position + 1, Entry(EntryType.CONFIGURE, START_MS, body.encode()))


def test_models_that_change_meanwhile_do_not_end_it() -> None:
    """Rows that have become narrower before the feed was told of it are compared as they are now."""
    narrow = replace(KNOWN, name="narrow", attributes=KNOWN.attributes[:1], uses=())
    models = {each.name: each for each in (MODEL, KNOWN, narrow)}
    engine = Engine(SECRET, lambda sources, files: [models[name] for name in sources], SMALL)
    configure(engine, MODEL.name, KNOWN.name)
    send(engine, "k-1")
    with told_of(engine) as told:
        configure(engine, narrow.name)
        told.feed.note(("k-1",))
        told.until(lambda: told.customers == ["k-1"])
        assert told.feed.stats()["failed"] == 0


def test_one_customer_of_whom_something_is_wrong_keeps_nobody_waiting(caplog: pytest.LogCaptureFixture) -> None:
    """Whatever goes wrong with one, others are told of theirs; it is tried again, and once more when it changes."""
    engine, wrong = new_engine((MODEL, KNOWN)), {"k-1": 1, "k-3": 99}
    customers = [f"k-{number}" for number in range(5)]
    send(engine, *customers)

    def known(customer_id: str) -> CustomerState:
        if wrong.get(customer_id, 0) > 0:
            wrong[customer_id] -= 1
            raise RuntimeError("nobody thought of it")
        return state(customer_id)

    with told_of(engine, known) as told:
        told.feed.note(customers)
        told.until(lambda: told.feed.stats()["failed"] == 1)
        assert sorted(told.customers) == ["k-0", "k-1", "k-2", "k-4"] and wrong["k-3"] == 99 - TRIES_MAX
        wrong.clear()
        told.feed.note(("k-3",))
        told.until(lambda: told.customers[-1] == "k-3")
    assert "nobody thought of it" in caplog.text


def test_sessions_beyond_the_limit_are_counted() -> None:
    """Of a customer with more sessions than take over what is said those that named it last do, and it is counted."""
    engine = new_engine((MODEL, KNOWN), capacity=replace(SMALL, sessions_max=2_048))
    send(engine, *["k-1"] * (CUSTOMER_SESSIONS_MAX + 1), "k-2")
    with told_of(engine) as told:
        told.feed.note(("k-1", "k-2"))
        told.until(lambda: sorted(told.customers) == ["k-1", "k-2"])
        told.feed.note(("k-1", "k-2"))
        told.until(lambda: told.feed.stats()["customers_cut"] == 2)
        assert told.feed.stats()["entries"] == 1
