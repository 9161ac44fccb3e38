"""What is known of customers, and how it is looked up.

Any thread asks for the state of a customer and gets at once what is known; that asking also starts a look-up if nothing is
known, or it grows old. Look-ups run on the mart's own event loop: each customer at most once at a time, gathered for a
moment and asked for together, a bounded number of queries at a time. A data mart that fails several times in a row is left
alone, and tried with a single query now and then until it answers.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

from rte_server.config import MartSettings
from rte_server.mart.database import Attributes, MartError, Unreadable
from rte_server.mart.waiters import Waiters

GATHER_S = 0.004
"""A look-up waits so long for others to be asked for with it."""

CLOSE_S = 1.0
"""A query that is under way may end by itself for so long when the server stops."""

KNOWN_BYTES = 400
"""What remembering one customer takes beside the bytes of its state: objects, two places in a dict. Measured."""

_log = logging.getLogger("rte.mart")


class Freshness(IntEnum):
    """How far a state can be relied on. Numbers equal those of `rte.v1.Customer.Freshness`."""

    FRESH = 1
    STALE = 2
    UNAVAILABLE = 3
    UNKNOWN_CUSTOMER = 4


@dataclass(frozen=True, slots=True)
class CustomerRecord:
    """What the data mart says about a customer.

    Attributes:
        attributes: By name; empty if no source holds the customer.
        version: How often the back office has written to it, from 0.
    """

    attributes: Attributes
    version: int = 0

    @property
    def is_known(self) -> bool:
        """Whether anything is known of the customer."""
        return bool(self.attributes) or self.version > 0


@dataclass(frozen=True, slots=True)
class CustomerState:
    """What is known of a customer at a moment.

    Attributes:
        body: The record as `encode` gave it; empty if there is none.
        freshness: How far it can be relied on.
        read_ms: When the data mart was asked, milliseconds since 1970; 0 if it has not answered.
    """

    body: bytes
    freshness: Freshness
    read_ms: int = 0


@dataclass(slots=True)
class _Known:
    body: bytes
    is_known: bool
    read_ms: int
    was_read: bool = True
    """Whether somebody asked for it since it was last looked at by the eviction."""
    expire_ms: int = 0
    """When an attribute expires first, milliseconds since 1970; 0: never."""
    record: CustomerRecord | None = None
    """Kept only where an attribute expires."""


Read = Callable[[Sequence[str]], Awaitable[Mapping[str, CustomerRecord]]]
Encode = Callable[[str, CustomerRecord], bytes]


class CustomerStates:
    """Remembers customers. Made on the mart's event loop; methods say where else they may be called."""

    def __init__(
        self,
        read: Read,
        encode: Encode,
        clock_ms: Callable[[], int],
        settings: MartSettings,
        changed: Callable[[Mapping[str, CustomerRecord]], None],
    ) -> None:
        """Make it; call on the event loop.

        Args:
            read: Asks the data mart for customers; those that it does not know are absent.
            encode: Makes the bytes that are remembered of a record.
            clock_ms: The server's time, milliseconds since 1970.
            settings: Limits.
            changed: Called on the event loop with customers of whom other things are known than before.
        """
        self._read = read
        self._encode = encode
        self._clock_ms = clock_ms
        self._settings = settings
        self._changed = changed
        self._loop = asyncio.get_running_loop()
        # Entries are replaced in place and never taken out to be put back, since other threads read meanwhile.
        self._known: dict[str, _Known] = {}
        self._order: deque[str] = deque()
        """Remembered customers in the order in which they are considered for eviction; some may be forgotten."""
        self._bytes = 0
        self._asked: set[str] = set()
        """Customers of whom other threads want to know; bounded by `customers_max`."""
        self._waiting: dict[str, None] = {}
        self._flying: dict[str, int] = {}
        """Customers who are being looked up, and since when, milliseconds since 1970."""
        self._again: set[str] = set()
        self._forgotten: set[str] = set()
        """Customers who were forgotten while they were looked up: what comes of that is not remembered."""
        self._company: dict[str, int] = {}
        """Customers of look-ups that failed for what was in their rows, and with how many they are asked for next."""
        self._waiters = Waiters()
        self._expiries: list[tuple[int, str]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._gathering: asyncio.TimerHandle | None = None
        self._retrying: asyncio.TimerHandle | None = None
        self._expiring: asyncio.TimerHandle | None = None
        self._failures = 0
        """Look-ups that failed, since one succeeded."""
        self._silences = 0
        """Looks of the change feed that failed, since one succeeded."""
        self._is_closed = False
        self._counts = dict.fromkeys(
            (
                "look_ups",
                "look_up_failures",
                "customers_looked_up",
                "customers_unknown",
                "customers_unreadable",
                "evicted",
                "not_taken",
            ),
            0,
        )

    @property
    def is_open(self) -> bool:
        """Whether the data mart is left alone because it failed. Any thread."""
        return max(self._failures, self._silences) >= self._settings.failures_max

    def stats(self) -> dict[str, int]:
        """Return counters and gauges by name. Any thread."""
        return self._counts | {
            "customers": len(self._known),
            "bytes": self._bytes + KNOWN_BYTES * len(self._known),
            "waiting": len(self._waiting),
            "awaited": len(self._waiters),
            "circuit_open": int(self.is_open),
        }

    def state(self, customer_id: str, since_ms: int | None = None) -> CustomerState:
        """Return what is known of a customer, at once. Any thread.

        Args:
            customer_id: Who.
            since_ms: It is FRESH if it was read then or later, milliseconds since 1970; None: up to the age
                `mart.max_age_ms`.
        """
        known = self._known.get(customer_id)
        if known is None:
            self.want((customer_id,))
            return CustomerState(b"", Freshness.UNAVAILABLE)
        known.was_read = True
        now_ms = self._clock_ms()
        max_age_ms = self._settings.max_age_ms
        fresh_since_ms = now_ms - max_age_ms if since_ms is None else since_ms
        if now_ms - known.read_ms > (max_age_ms // 2 if known.is_known else self._settings.unknown_ms):
            self.want((customer_id,))
        if not known.is_known:
            return CustomerState(b"", Freshness.UNKNOWN_CUSTOMER, known.read_ms)
        is_fresh = known.read_ms >= fresh_since_ms and not self.is_open
        body = known.body
        if known.expire_ms and known.expire_ms <= now_ms and known.record is not None:
            body = self._encode(customer_id, _without_expired(known.record, now_ms))
        return CustomerState(body, Freshness.FRESH if is_fresh else Freshness.STALE, known.read_ms)

    def want(self, customer_ids: Iterable[str]) -> None:
        """Have customers looked up soon, unless they are about to be. Any thread."""
        new = self._taken([each for each in customer_ids if each not in self._asked])
        if new:
            self._call(self._enqueue, new)

    def _taken(self, customer_ids: Sequence[str]) -> Sequence[str]:
        """Return those of some customers who are not asked for yet for whom there is room, and note that they are. Any thread."""
        taken = customer_ids[: max(self._settings.customers_max - len(self._asked), 0)]
        self._counts["not_taken"] += len(customer_ids) - len(taken)
        self._asked.update(taken)
        return taken

    def refresh(self, customer_ids: Iterable[str]) -> None:
        """Look up customers again whose rows have changed, as far as they are remembered. Any thread."""
        self._call(self._refresh, list(customer_ids))

    def refresh_all(self) -> None:
        """Look up all remembered customers again, those that were read last first. Any thread."""
        self._call(lambda: self._refresh(sorted(self._known, key=lambda each: not self._known[each].was_read)))

    def forget(self, customer_id: str) -> None:
        """Remember nothing of a customer any more. On the event loop."""
        known = self._known.pop(customer_id, None)
        if known is not None:
            self._bytes -= len(known.body)
        self._order = deque(each for each in self._order if each != customer_id)
        self._expiries = [each for each in self._expiries if each[1] != customer_id]
        heapq.heapify(self._expiries)
        self._asked.discard(customer_id)
        self._waiting.pop(customer_id, None)
        # What is under way may have been read before: it is not remembered, even if looking it up once more fails.
        if customer_id in self._flying:
            self._again.add(customer_id)
            self._forgotten.add(customer_id)

    async def reach(self, customer_ids: Iterable[str], since_ms: int, wait_s: float) -> None:
        """Wait until customers have been looked up, those that were read before `since_ms`. On the event loop.

        Returns also if the data mart fails, or after `wait_s`; at once while it is left alone. Customers for whom there is
        no room, as in `want`, are not waited for.
        """
        unique = dict.fromkeys(customer_ids)
        old = [each for each in unique if (known := self._known.get(each)) is None or known.read_ms < since_ms]
        if not old or self.is_open:
            return
        taken = set(self._taken([each for each in old if each not in self._asked]))
        reached = [each for each in old if each in taken or each in self._asked]
        if not reached:
            return
        for each in reached:
            # What is under way may have been read before that.
            if self._flying.get(each, since_ms) < since_ms:
                self._again.add(each)
        self._enqueue(reached)
        await self._waiters.wait(reached, wait_s)

    def heard(self) -> None:
        """Note that the data mart answered the change feed. On the event loop."""
        self._noted(self._failures, 0)
        self._dispatch()

    def missed(self, why: BaseException) -> None:
        """Note that the data mart did not answer the change feed. On the event loop."""
        self._noted(self._failures, self._silences + 1, why)

    async def close(self) -> None:
        """Start no look-up any more, and cancel those under way that do not end soon. On the event loop."""
        self._is_closed = True
        for timer in (self._gathering, self._retrying, self._expiring):
            if timer is not None:
                timer.cancel()
        # A driver that is interrupted leaves threads behind that look for this event loop.
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=CLOSE_S)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # On the event loop.

    def _call(self, work: Callable[..., None], *arguments: object) -> None:
        if not self._is_closed:
            self._loop.call_soon_threadsafe(work, *arguments)

    def _refresh(self, customer_ids: Sequence[str]) -> None:
        remembered = [each for each in customer_ids if each in self._known or each in self._flying]
        self._again.update(each for each in remembered if each in self._flying)
        self._enqueue(remembered)

    def _enqueue(self, customer_ids: Iterable[str]) -> None:
        self._waiting.update((each, None) for each in customer_ids if each not in self._flying)
        if self._gathering is None and self._waiting:
            self._gathering = self._loop.call_later(GATHER_S, self._gathered)

    def _gathered(self) -> None:
        self._gathering = None
        self._dispatch()

    def _noted(self, failures: int, silences: int, why: BaseException | None = None) -> None:
        was_open = self.is_open
        self._failures, self._silences = failures, silences
        if self.is_open and not was_open:
            _log.error("the data mart fails, sessions keep the last known state of customers: %s", why)
        elif was_open and not self.is_open:
            _log.warning("the data mart answers again")

    def _retry(self) -> None:
        """Try one query, whatever failed before."""
        self._retrying = None
        if self._tasks:
            return  # How that ends says how the data mart is.
        if not self._waiting and self._known:
            # Nobody asks for anything new: one who is remembered tells as well how the data mart is.
            self._waiting[next(iter(self._known))] = None
        if self._waiting:
            self._begin()
        else:
            self._noted(0, self._silences)

    def _dispatch(self) -> None:
        if self._is_closed:
            return
        while self._waiting and not self.is_open and len(self._tasks) < self._settings.queries_max:
            if self._retrying is not None and self._failures:
                return
            self._begin()

    def _begin(self) -> None:
        batch = self._first()
        for each in batch:
            del self._waiting[each]
        read_ms = self._clock_ms()
        self._flying.update((each, read_ms) for each in batch)
        task = self._loop.create_task(self._look_up(batch, read_ms))
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _first(self) -> list[str]:
        """Return the first of those who wait, as many as may be asked for together."""
        batch: list[str] = []
        size_max = self._settings.batch_max
        for each in self._waiting:
            size_max = min(size_max, self._company.get(each, size_max))
            if len(batch) >= size_max:
                break
            batch.append(each)
        return batch

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (failure := task.exception()) is not None:
            _log.error("a look-up of customers failed in itself", exc_info=failure)
        self._dispatch()

    async def _look_up(self, batch: Sequence[str], read_ms: int) -> None:
        self._counts["look_ups"] += 1
        failure: Exception | None = None
        found: Mapping[str, CustomerRecord] = {}
        try:
            found = await self._read(batch)
        except Exception as error:  # noqa: BLE001 - whatever it is, these customers are not to be asked for in a loop
            failure = error
            self._failed(error)
        finally:
            for each in batch:
                del self._flying[each]
        again = [each for each in batch if each in self._again]
        self._again.difference_update(again)
        late = self._forgotten.intersection(batch)
        self._forgotten.difference_update(late)
        if failure is None:
            self._asked.difference_update(batch)
            for each in batch:
                self._company.pop(each, None)
            self._noted(0, self._silences)
            self._store([each for each in batch if each not in late], found, read_ms)
            self._enqueue(again)
        else:
            self._enqueue(self._divided(batch, failure))
        self._waiters.ended(each for each in batch if each not in again)

    def _failed(self, why: Exception) -> None:
        """Count a look-up that failed. One who answers with rows that cannot be read is not away."""
        self._counts["look_up_failures"] += 1
        if isinstance(why, Unreadable):
            self._noted(0, self._silences)
            return
        self._noted(self._failures + 1, self._silences, why)
        if self._retrying is None and not self._is_closed:
            self._retrying = self._loop.call_later(self._settings.retry_ms / 1000, self._retry)

    def _divided(self, batch: Sequence[str], why: Exception) -> Sequence[str]:
        """Return who of a look-up that failed is looked up again, in smaller company if it may be for a row of one of them.

        Halves are asked for until it is known whose rows they are: one customer keeps no other from being looked up, and
        the queries that it costs are bounded. That one is left alone for `unknown_ms`.
        """
        if isinstance(why, MartError) and not isinstance(why, Unreadable):
            if not why.may_be_schema:
                return batch
            size = max(len(batch) // 2, 1)
        elif len(batch) == 1:
            self._set_aside(batch[0], why)
            return ()
        else:
            size = len(batch) // 2
        self._company.update(dict.fromkeys(batch, size))
        return batch

    def _set_aside(self, customer_id: str, why: Exception) -> None:
        """Look up a customer whose rows cannot be read only when somebody asks later."""
        self._counts["customers_unreadable"] += 1
        # The text of an error may hold values of a person.
        what = str(why) if isinstance(why, Unreadable) else type(why).__name__
        _log.error("what the data mart says of a customer cannot be told, it stays as it was: %s", what)
        # Whoever is asked for is not asked for once more.
        self._asked.add(customer_id)
        self._loop.call_later(self._settings.unknown_ms / 1000, self._give_another_try, customer_id)

    def _give_another_try(self, customer_id: str) -> None:
        self._asked.discard(customer_id)
        self._company.pop(customer_id, None)

    def _store(self, batch: Sequence[str], found: Mapping[str, CustomerRecord], read_ms: int) -> None:
        changed = {}
        self._counts["customers_looked_up"] += len(batch)
        for customer_id in batch:
            record = found.get(customer_id, CustomerRecord({}))
            is_known = record.is_known
            try:
                body = self._encode(customer_id, record) if is_known else b""
            except Exception as error:  # noqa: BLE001 - whatever it is, it is about this customer alone
                self._set_aside(customer_id, error)
                continue
            self._counts["customers_unknown"] += not is_known
            before = self._known.get(customer_id)
            if before is not None:
                self._bytes -= len(before.body)
            else:
                self._order.append(customer_id)
            expire_ms = min((each.expire_ms for each in record.attributes.values() if each.expire_ms), default=0)
            known = _Known(body, is_known, read_ms, expire_ms=expire_ms, record=record if expire_ms else None)
            self._known[customer_id] = known
            self._bytes += len(body)
            if expire_ms:
                heapq.heappush(self._expiries, (expire_ms, customer_id))
            if before is None or before.body != body:
                changed[customer_id] = record
        self._evict()
        self._expire_later()
        if changed:
            self._changed(changed)

    def _evict(self) -> None:
        """Forget customers beyond the limits: the oldest that nobody asked for since the last look at it."""
        settings = self._settings
        while len(self._known) > settings.customers_max or (
            self._bytes + KNOWN_BYTES * len(self._known) > settings.cache_bytes_max and len(self._known) > 1
        ):
            customer_id = self._order.popleft()
            known = self._known.get(customer_id)
            if known is not None and known.was_read:
                known.was_read = False
                self._order.append(customer_id)
            elif known is not None:
                del self._known[customer_id]
                self._bytes -= len(known.body)
                self._counts["evicted"] += 1

    def _expire_later(self) -> None:
        if self._expiring is not None:
            self._expiring.cancel()
            self._expiring = None
        if self._expiries and not self._is_closed:
            wait_s = max(self._expiries[0][0] - self._clock_ms(), 0) / 1000 + 0.001
            self._expiring = self._loop.call_later(wait_s, self._expire)

    def _expire(self) -> None:
        """Look up those again of whom an attribute has expired, so that watchers see it."""
        self._expiring = None
        now_ms = self._clock_ms()
        due = []
        while self._expiries and self._expiries[0][0] <= now_ms:
            due.append(heapq.heappop(self._expiries)[1])
        self._refresh(due)
        self._expire_later()


def _without_expired(record: CustomerRecord, now_ms: int) -> CustomerRecord:
    lasting = {name: each for name, each in record.attributes.items() if not each.expire_ms or each.expire_ms > now_ms}
    return CustomerRecord(lasting, record.version)
