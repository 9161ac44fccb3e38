"""Who waits for the look-ups of customers."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(slots=True)
class _Awaited:
    """A look-up that somebody waits for."""

    future: asyncio.Future[None]
    waiter_count: int = 0


class Waiters:
    """Waits for look-ups of customers. Belongs to the mart's event loop; its length is that of the customers waited for."""

    def __init__(self) -> None:
        """Make it; nobody waits."""
        self._awaited: dict[str, _Awaited] = {}

    def __len__(self) -> int:
        """Return for how many customers somebody waits. Any thread."""
        return len(self._awaited)

    async def wait(self, customer_ids: Sequence[str], wait_s: float) -> None:
        """Wait until the look-ups of all of some customers have ended, or for `wait_s`.

        Customers for whom nobody waits any more are not kept account of.
        """
        loop = asyncio.get_running_loop()
        awaited = {each: self._awaited.setdefault(each, _Awaited(loop.create_future())) for each in customer_ids}
        for one in awaited.values():
            one.waiter_count += 1
        try:
            await asyncio.wait([one.future for one in awaited.values()], timeout=wait_s)
        finally:
            for customer_id, one in awaited.items():
                one.waiter_count -= 1
                if not one.waiter_count and self._awaited.get(customer_id) is one:
                    del self._awaited[customer_id]

    def ended(self, customer_ids: Iterable[str]) -> None:
        """Let those go on who wait for some customers."""
        for each in customer_ids:
            if (awaited := self._awaited.pop(each, None)) is not None:
                awaited.future.set_result(None)
