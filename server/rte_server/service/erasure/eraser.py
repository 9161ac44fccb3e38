"""Carries erasures out, one at a time, step by step; what was begun is finished, also after a crash.

    search       the person is found in the state and in the journal; nothing is changed
    begin        an ERASE entry: from here on the erasure is open. It names the person, so that a restart can go on
    data mart    RTE's own rows, and what is remembered of the customer
    once more    until then more of the person may have come, or what was known of the customer: it is searched for again, and what
                 is found begins the erasure once more. Everything before the last of these entries is cut
    collectors   what they refused
    cut          the bodies of entries before it, in place
    forget       a snapshot from after it; all older ones are deleted
    seal         the ERASE entries that began it get bodies that name nobody, with the receipt
    end          an ERASE entry: the erasure is not open any more

Each step can be done again, and each leaves a state that is right: folding the journal gives the same with and without
what is cut. So a crash leaves an erasure that had not begun, or one that the next start finishes.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rte_server.engine.engine import Engine
from rte_server.engine.entries import Entry, EntryType
from rte_server.engine.erasure import Erasure
from rte_server.engine.links import visitor_key
from rte_server.engine.outcome import Outcome
from rte_server.engine.reasons import EngineError, Reason
from rte_server.engine.wire import ScannedRequest
from rte_server.journal.protocol import Journal, JournalError, JournalUnavailable
from rte_server.mart.database import MartError
from rte_server.mart.mart import CustomerMart
from rte_server.service.erasure.cuts import Cut, cut
from rte_server.service.erasure.person import Person
from rte_server.service.erasure.receipt import ErasureReceipt, ReceiptSeal
from rte_server.service.erasure.search import Facts, PersonSearch, entries
from rte_server.service.pipeline import Pipeline
from rte_server.service.receipts import Want
from rte_server.service.tokens import SHARD

CUT_BYTES_MAX = 16 * 1024 * 1024
"""Bytes of entries that are replaced in one transaction: appends wait for it."""

ROUNDS_MAX = 4
"""Begins of one erasure: more events of the person may come in while it is being searched for."""

CALLS_MAX = 100
"""Erasures that are asked for and not answered: each reads the journal, and they take turns."""

VISITORS_MAX = 1_000
"""Visitors of one person: each entry of the journal is looked through for each of them. Those that come later are taken, too."""

RETRY_S = 10.0
"""An erasure that cannot go on, since the data mart is away or the journal is being read, is tried again after so long."""

ERASURE_ID_BYTES = 8

CUSTOMER, VISITOR = "customer", "visitor"

_log = logging.getLogger("rte.erasure")


class Eraser:
    """Erases people, one at a time. Belongs to an event loop."""

    def __init__(
        self,
        engine: Engine,
        pipeline: Pipeline[ScannedRequest, Outcome],
        journal: Journal,
        mart: CustomerMart,
        secret: NDArray[np.uint64],
        seal: ReceiptSeal,
        clock_ms: Callable[[], int],
        settle: Callable[[], None],
        drop_refused: Callable[[Collection[str]], Awaitable[None]] | None = None,
    ) -> None:
        """Make it.

        Args:
            engine: Whose sessions leave.
            pipeline: Runs the engine.
            journal: Its entries.
            mart: The data mart.
            secret: uint64[4], the deployment secret.
            seal: Makes receipts.
            clock_ms: The server's time, milliseconds since 1970.
            settle: Blocks until no entry about customers is under way that rests on what was known before.
            drop_refused: Removes what the collectors refused and that names one of some ids; raises EngineError.
        """
        self._engine = engine
        self._drop_refused = drop_refused
        self._pipeline = pipeline
        self._journal = journal
        self._mart = mart
        self._secret = secret
        self._seal = seal
        self._clock_ms = clock_ms
        self._settle = settle
        self._lock = asyncio.Lock()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._resuming: asyncio.Task[None] | None = None
        self._closing = asyncio.Event()

    def resume(self) -> None:
        """Finish, in the background, what was begun before. Call when the pipeline runs."""
        if (
            self._engine.open_erasures
            and not self._closing.is_set()
            and (self._resuming is None or self._resuming.done())
        ):
            self._resuming = asyncio.create_task(self._finish_all())

    async def erase(self, kind: str, person_id: str) -> list[ErasureReceipt]:
        """Erase a person. It goes on if the caller leaves.

        Args:
            kind: CUSTOMER or VISITOR: what the id is.
            person_id: Whom.

        Returns:
            The receipts of all erasures of the person that the journal knows, in their order; the last one is of this call.

        Raises:
            EngineError: OVERLOADED if CALLS_MAX wait; OUT_OF_RANGE if it has more than VISITORS_MAX visitors; MART_UNAVAILABLE, JOURNAL_UNAVAILABLE, SERVER_UNAVAILABLE (collectors), and those of `Pipeline.submit`. The message says whether
                the erasure had begun; then it is finished as soon as that is possible.
        """
        if len(self._tasks) >= CALLS_MAX:
            message = "people are erased one at a time, and too many calls wait for that; nothing was erased, call again later"
            raise EngineError(Reason.OVERLOADED, message, limit=str(CALLS_MAX))
        task = asyncio.create_task(self._erase(kind, person_id))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        # Whoever waits gets the failure; if nobody does any more, it is no surprise.
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        return await asyncio.shield(task)

    def stats(self) -> dict[str, int]:
        """Return gauges by name. Any thread."""
        return {"open": len(self._engine.open_erasures), "waiting": len(self._tasks)}

    async def close(self) -> None:
        """Wait for what is under way, before the pipeline is stopped; what cannot go on is left to the next start."""
        self._closing.set()
        await asyncio.gather(*self._tasks, *filter(None, [self._resuming]), return_exceptions=True)

    async def sessions_of(self, kind: str, person_id: str) -> int:
        """Return how many sessions a person has now."""
        search = PersonSearch(self._engine, self._journal, SHARD, self._person(kind, person_id))
        return await asyncio.to_thread(search.live_sessions)

    # The steps.

    async def _erase(self, kind: str, person_id: str) -> list[ErasureReceipt]:
        digest, called_ms = self._seal.person_digest(kind, person_id), self._clock_ms()
        async with self._lock:
            if self._closing.is_set():
                raise EngineError(Reason.SHUTTING_DOWN, "the server is stopping; nothing was erased, call again")
            try:
                for erasure_id in list(self._engine.open_erasures):
                    receipt = await self._finish(erasure_id)
                    # One that was sealed before does not speak of what came since.
                    if receipt.person_digest == digest and receipt.time_ms >= called_ms:
                        return [receipt]
                # What is found is still there when it is cut.
                with self._pipeline.retention.entries_kept():
                    erasure_id, receipts = await self._begin(kind, person_id)
                    earlier = [
                        each for each in receipts if each.person_digest == digest and self._seal.is_genuine(each)
                    ]
                    return [*earlier, await self._finish(erasure_id)]
            finally:
                self.resume()

    async def _begin(self, kind: str, person_id: str) -> tuple[str, list[ErasureReceipt]]:
        """Find a person and append what begins the erasure; return its id, and all receipts in the journal."""
        try:
            row_count = await self._mart.row_count(person_id) if kind == CUSTOMER else 0
        except MartError as error:
            _log.warning("nobody was erased, since the data mart does not answer: %s", error)
            message = "the data mart does not answer; nothing was erased, call again"
            raise EngineError(Reason.MART_UNAVAILABLE, message, field="mart") from error
        search = PersonSearch(self._engine, self._journal, SHARD, self._person(kind, person_id), VISITORS_MAX)
        erasure_id = secrets.token_hex(ERASURE_ID_BYTES)
        try:
            await asyncio.to_thread(search.run)
            facts = await asyncio.to_thread(search.facts, search.seen)
        except JournalError as error:
            _log.warning("nobody was erased, since the journal cannot be read: %s", error)
            message = "the journal cannot be read now; nothing was erased, call again"
            raise EngineError(Reason.JOURNAL_UNAVAILABLE, message) from error
        before = {"kind": kind, "person": person_id, "row_count": row_count}
        await self._append(_order(erasure_id, before, search, facts))
        return erasure_id, [ErasureReceipt.of_dict(each) for each in search.receipts.values()]

    async def _begin_again(self, begun: list[Erasure], search: PersonSearch) -> list[Erasure]:
        """Append what begins an erasure once more, as long as there is more of the person than was known; return all that do."""
        known = {each for erasure in begun for each in (*erasure.visitor_keys, *erasure.id_hashes, *erasure.facts)}
        for _ in range(ROUNDS_MAX):
            positions = self._engine.open_erasures[begun[0].erasure_id]
            await asyncio.to_thread(self._settle)
            await asyncio.to_thread(search.run)
            facts = await asyncio.to_thread(search.facts, positions[0])
            order = _order(begun[0].erasure_id, begun[-1].members, search, facts)
            found = {*order.visitor_keys, *order.id_hashes, *order.facts}
            if search.latest < positions[-1] and found <= known and not search.session_count:
                break
            await self._append(order)
            begun, known = [*begun, order], known | found
        return begun

    async def _append(self, erasure: Erasure) -> None:
        entry = Entry(EntryType.ERASE, self._clock_ms(), erasure.body())
        await self._pipeline.submit(entry, None, Want.APPLIED)

    async def _finish(self, erasure_id: str) -> ErasureReceipt:
        """Do all that is left to be done of an erasure that has begun."""
        with self._pipeline.retention.entries_kept():
            return await self._finish_now(erasure_id)

    async def _finish_now(self, erasure_id: str) -> ErasureReceipt:
        positions = self._engine.open_erasures[erasure_id]
        try:
            begun = await asyncio.to_thread(self._begun, positions)
            bodies: dict[int, bytes] = {}
            if "receipt" in (begun[0].members or {}):
                receipt = ErasureReceipt.of_dict(begun[0].members["receipt"])
            else:
                receipt = await self._erase_rest(begun)
                bodies = _sealed(erasure_id, self._engine.open_erasures[erasure_id], receipt)
            # Also if they have been replaced: the former ones may still be in the journal's files.
            await asyncio.to_thread(self._journal.redact, SHARD, bodies)
        except JournalError as error:
            raise _later(
                Reason.JOURNAL_UNAVAILABLE, "the journal is being read, or models are being folded", error
            ) from error
        except MartError as error:
            raise _later(Reason.MART_UNAVAILABLE, "the data mart does not answer", error) from error
        except EngineError as error:
            raise _later(error.reason, error.message, error) from error
        await self._append(Erasure(erasure_id, is_end=True))
        _log.info(
            "the erasure %s is complete: %d events before entry %d",
            erasure_id,
            receipt.event_count,
            receipt.last_position,
        )
        return receipt

    async def _erase_rest(self, begun: list[Erasure]) -> ErasureReceipt:
        """Erase a person everywhere but in the entries that began it."""
        kind, person_id = begun[0].members["kind"], begun[0].members["person"]
        row_count = await self._mart.erase(person_id) if kind == CUSTOMER else 0
        search = PersonSearch(self._engine, self._journal, SHARD, self._person_of(begun[-1]))
        for _ in range(ROUNDS_MAX):
            begun = await self._begin_again(begun, search)
            members = begun[-1].members
            positions = self._engine.open_erasures[begun[0].erasure_id]
            if self._drop_refused is not None:
                await self._drop_refused({person_id, *members["visitor_ids"]})
            first = await asyncio.to_thread(self._cut, begun, positions, search)
            await asyncio.wrap_future(self._pipeline.retention.forget_older())
            # No model is being folded from history now. One that was until then may have read the person's texts.
            if not await asyncio.to_thread(search.said_after, search.seen):
                break
        else:
            raise JournalUnavailable("models are being changed all the time")
        if kind == CUSTOMER:
            # A read may have remembered the customer meanwhile.
            await self._mart.forget(person_id)
        return self._seal.sealed(
            ErasureReceipt(
                erasure_id=begun[0].erasure_id,
                time_ms=self._clock_ms(),
                first_position=first,
                last_position=positions[-1],
                session_count=members["session_count"],
                visitor_count=len(begun[-1].visitor_keys),
                event_count=members["event_count"],
                write_count=members["write_count"],
                # If a crash or a failure came after they were deleted, those that there were at the beginning.
                row_count=max(members["row_count"], row_count),
                person_digest=self._seal.person_digest(kind, person_id),
            )
        )

    def _cut(self, begun: Sequence[Erasure], positions: Sequence[int], search: PersonSearch) -> int:
        """Cut a person out of the entries before the last that began the erasure; return the first that there is."""
        first = self._journal.first_position(SHARD)
        # Somebody else may have sent such a text since it was searched for.
        facts = search.unshared({each for erasure in begun for each in erasure.facts}, positions[-1])
        person = self._person_of(begun[-1])
        order = Cut(person, facts, lambda each: self._engine.find_session(each) >= 0, first <= 1)
        bodies: dict[int, bytes] = {}
        size = 0
        for position, entry in entries(self._journal, SHARD, first, positions[-1] - 1):
            body = entry.body if position in positions else cut(entry, order)
            if body != entry.body:
                bodies[position] = body
                size += len(entry.body)
            if size >= CUT_BYTES_MAX:
                self._journal.redact(SHARD, bodies)
                bodies, size = {}, 0
        # Also if there is nothing to replace: what was replaced before a crash may still be in the journal's files.
        self._journal.redact(SHARD, bodies)
        return first

    def _begun(self, positions: Sequence[int]) -> list[Erasure]:
        """Return what the entries say that began an erasure."""
        return [
            Erasure.of_body(entry.body)
            for position in positions
            for _, entry in entries(self._journal, SHARD, position, position)
        ]

    # Going on.

    async def _finish_all(self) -> None:
        """Finish what is open, however often that has to be tried."""
        while self._engine.open_erasures and not self._closing.is_set():
            async with self._lock:
                for erasure_id in list(self._engine.open_erasures):
                    try:
                        await self._finish(erasure_id)
                    except EngineError as error:
                        if error.reason is Reason.SHUTTING_DOWN:
                            return
                    except Exception:
                        # Whatever it is: nobody else would try again before the next start.
                        _log.exception("an erasure has begun and cannot be finished now")
            if self._engine.open_erasures:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._closing.wait(), RETRY_S)

    def _person_of(self, erasure: Erasure) -> Person:
        """Return the person whom an entry that begins an erasure says."""
        members = erasure.members
        person = Person(self._secret, members["person"] if members["kind"] == CUSTOMER else "")
        person.keys.update(erasure.visitor_keys)
        person.visitor_ids.update(members["visitor_ids"])
        person.session_ids.update(members["session_ids"])
        return person

    def _person(self, kind: str, person_id: str) -> Person:
        if kind == CUSTOMER:
            return Person(self._secret, person_id)
        return Person(self._secret, "", {person_id}, {visitor_key(person_id, self._secret)})


def _order(erasure_id: str, before: Mapping[str, Any], search: PersonSearch, facts: Facts) -> Erasure:
    """Return what begins an erasure, or begins it once more.

    Args:
        erasure_id: Its id.
        before: What the last entry says that began it; for the first whom it is about, and the rows in the data mart.
        search: What was found.
        facts: Facts that go as well.
    """
    person = search.person
    members = {
        "kind": before["kind"],
        "person": before["person"],
        "visitor_ids": sorted(person.visitor_ids),
        "session_ids": sorted(search.written.union(before.get("session_ids", ()))),
        "session_count": before.get("session_count", 0) + search.session_count,
        # What had been cut before a crash is not found any more.
        "event_count": max(before.get("event_count", 0), person.event_count),
        "write_count": max(before.get("write_count", 0), person.write_count),
        "row_count": before["row_count"],
    }
    return Erasure(erasure_id, sorted(person.keys), search.id_hashes(), sorted(facts), members=members)


def _sealed(erasure_id: str, positions: Sequence[int], receipt: ErasureReceipt) -> dict[int, bytes]:
    """Return the bodies, by position, that those that began an erasure get when nothing of the person is left."""
    plain = Erasure(erasure_id)
    bodies = dict.fromkeys(positions, plain.body())
    bodies[positions[0]] = replace(plain, members={"receipt": receipt.as_dict()}).body()
    return bodies


def _later(reason: Reason, why: str, cause: Exception) -> EngineError:
    """Return what is said of an erasure that cannot go on now."""
    _log.warning("an erasure has begun and cannot be finished now: %s", cause)
    message = f"the erasure has begun and is finished as soon as that is possible; call again for the receipt: {why}"
    return EngineError(reason, message, field="mart" if reason is Reason.MART_UNAVAILABLE else "")
