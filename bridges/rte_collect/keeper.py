"""Refused events go into the quarantine, and out of it once more."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TypeVar

from rte_collect.intake import Again, Intake, Refused
from rte_collect.protocol import Collector
from rte_collect.quarantine import Kept, Quarantine

T = TypeVar("T")

KEPT_MAX = 1000
"""Refused events of one request that are kept; the others are counted, so that no request takes the place of all others'."""

FORGET_EVERY_S = 3600.0

_log = logging.getLogger("rte_collect")


class Keeper:
    """The quarantine for an event loop: its calls are made in a thread, one after the other."""

    def __init__(self, quarantine: Quarantine, intake: Intake, collectors: Mapping[str, Collector]) -> None:
        """Make a keeper.

        Args:
            quarantine: Keeps the events.
            intake: Sends them to the server.
            collectors: By name.
        """
        self._quarantine = quarantine
        self._intake = intake
        self._collectors = collectors
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="quarantine")

    async def keep(self, protocol: str, refused: Sequence[Refused]) -> None:
        """Keep the refused events of a request, each once, up to KEPT_MAX; durable when this returns.

        Raises:
            sqlite3.Error: The disk does not take them.
        """
        now_ms = time.time_ns() // 1_000_000
        events = {
            each.index: Kept(0, protocol, each.raw, each.reason, each.field, each.message, now_ms, each.sent_ms)
            for each in refused
        }
        kept = list(events.values())[:KEPT_MAX]
        await self._in_thread(lambda: self._quarantine.add(kept, len(events) - len(kept)))

    async def forget_old(self) -> None:
        """Remove what is too old, every hour until this is cancelled, also when nobody comes."""
        while True:
            try:
                await self._in_thread(self._quarantine.forget_old)
            except sqlite3.Error as error:
                _log.error("old events stay in the quarantine: %s", error)
            await asyncio.sleep(FORGET_EVERY_S)

    async def resubmit(self, events: Sequence[Kept]) -> int:
        """Take events once more; return how many were accepted, which leave the quarantine.

        Raises:
            grpc.aio.AioRpcError: The server took nothing, or not all; all of them stay.
        """
        again = [Again(self._collectors[each.protocol], each.raw, each.received_ms, each.sent_ms) for each in events]
        refused = {each.index: each for each in await self._intake.take_again(again)}
        taken = [each.key for index, each in enumerate(events) if index not in refused]
        stay = [
            replace(event, reason=refused[index].reason, field=refused[index].field, message=refused[index].message)
            for index, event in enumerate(events)
            if index in refused
        ]
        await self._in_thread(lambda: self._quarantine.remove(taken))
        await self._in_thread(lambda: self._quarantine.refused_again(stay))
        return len(taken)

    async def page(self, after: int, size: int, protocol: str = "", reason: str = "") -> list[Kept]:
        """Return events; see `Quarantine.page`."""
        return await self._in_thread(lambda: self._quarantine.page(after, size, protocol, reason))

    async def get(self, keys: Sequence[int]) -> list[Kept]:
        """Return events; see `Quarantine.get`."""
        return await self._in_thread(lambda: self._quarantine.get(keys))

    async def drop(self, keys: Sequence[int] | None) -> int:
        """Remove events, or all; return how many there were."""
        return await self._in_thread(self._quarantine.clear if keys is None else lambda: self._quarantine.remove(keys))

    async def counts(self) -> tuple[int, int]:
        """Return how many events there are, and how many had to leave."""
        return await self._in_thread(lambda: (self._quarantine.count, self._quarantine.lost_count))

    def close(self) -> None:
        """End the thread and close the file."""
        self._thread.shutdown()
        self._quarantine.close()

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)
