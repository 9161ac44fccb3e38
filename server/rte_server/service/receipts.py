"""What a submitter gets: a receipt, through a future that is settled together with many others."""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Generic, TypeVar

from rte_server.engine.reasons import EngineError

OutcomeT = TypeVar("OutcomeT")


class Want(Enum):
    """What the submitter waits for."""

    DURABLE = 1
    """The entry is in the journal."""
    APPLIED = 2
    """The entry is in the state, too, and every later read sees it."""


@dataclass(frozen=True, slots=True)
class Receipt(Generic[OutcomeT]):
    """What became of a submitted entry."""

    position: int
    """Its place in the journal."""
    outcome: OutcomeT | None
    """What the fold returned; None if only durability was waited for."""


Waiter = asyncio.Future[Any] | concurrent.futures.Future[Any]
"""Futures of event loops are settled in their loop, those of threads at once."""

Settlement = tuple[Waiter, object, EngineError | None]
"""A future, its result, and what it raises instead, if anything."""


def settle(settlements: Sequence[Settlement]) -> None:
    """Give futures their results: those of threads here, those of each event loop by one wake-up of the loop."""
    by_loop: dict[asyncio.AbstractEventLoop, list[Settlement]] = {}
    for settlement in settlements:
        waiter = settlement[0]
        if isinstance(waiter, concurrent.futures.Future):
            _settle_one(settlement)
        else:
            by_loop.setdefault(waiter.get_loop(), []).append(settlement)
    for loop, group in by_loop.items():
        try:
            loop.call_soon_threadsafe(_settle_in_loop, group)
        except RuntimeError:
            # The loop is closed: whoever waited in it is gone. What was submitted stays submitted.
            continue


def _settle_in_loop(group: Sequence[Settlement]) -> None:
    for settlement in group:
        _settle_one(settlement)


def _settle_one(settlement: Settlement) -> None:
    waiter, result, error = settlement
    if waiter.done():
        return  # Cancelled, for example by a deadline.
    if error is not None:
        waiter.set_exception(error)
    else:
        waiter.set_result(result)
