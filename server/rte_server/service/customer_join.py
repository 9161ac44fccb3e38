"""Joins sessions with the Customer State: at the moment of reading, and only with what is known by then.

A serialized Session gets the customer as one more field behind it, so that a read costs some microseconds more and waits
for nothing. `CustomerFollower` notices in the fold's thread when the customer of a session becomes known, so that the
look-up is usually done before anybody reads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

from rte_server.engine.customer_rows import naming_rows
from rte_server.engine.engine import Engine
from rte_server.engine.outcome import Outcome
from rte_server.engine.table import CUSTOMER, CUSTOMER_TIME
from rte_server.mart.mart import CustomerMart
from rte_server.service.customer_messages import customer_body
from rte_server.service.proto_wire import message_field

SESSION_FIELD = 16
"""Number of `Session.customer`."""

_SESSION_ID_TAG, _VISITOR_ID_TAG, _CUSTOMER_ID_TAG = 0x0A, 0x12, 0x1A


class CustomerJoin:
    """Adds customers to serialized sessions. Any thread."""

    def __init__(self, mart: CustomerMart, clock_ms: Callable[[], int]) -> None:
        """Make it.

        Args:
            mart: What is known of customers.
            clock_ms: The server's time, milliseconds since 1970.
        """
        self._mart = mart
        self._clock_ms = clock_ms

    def joined(self, session: bytes, since_ms: int | None = None) -> bytes:
        """Return a serialized `rte.v1.Session` with its customer, if it has one.

        Args:
            session: With its field `customer_id`; may be empty.
            since_ms: As in `CustomerStates.state`.
        """
        customer_id = customer_id_of(session)
        if not customer_id:
            return session
        state = self._mart.states.state(customer_id, since_ms)
        return session + message_field(SESSION_FIELD, customer_body(customer_id, state, self._clock_ms()))

    async def reach(self, session: bytes, since_ms: int) -> None:
        """Wait until the customer of a session has been read since then, or `mart.read_wait_ms` have passed."""
        if customer_id := customer_id_of(session):
            await self._mart.reach((customer_id,), since_ms)


def customer_id_of(session: bytes) -> str:
    """Return the customer's id in a serialized session, or an empty text.

    The engine writes fields in the order of their numbers, so at most two others stand before it.
    """
    at = 0
    while at < len(session):
        tag = session[at]
        size, start = session[at + 1], at + 2
        if size >= 0x80:  # Ids have up to 128 bytes, so a length has at most two.
            size, start = (size & 0x7F) | session[at + 2] << 7, at + 3
        if tag == _CUSTOMER_ID_TAG:
            return session[start : start + size].decode()
        if tag not in (_SESSION_ID_TAG, _VISITOR_ID_TAG):
            return ""
        at = start + size
    return ""


class CustomerFollower:
    """Notices in the fold's thread which customers become known, and finds the sessions of customers."""

    def __init__(self, engine: Engine, secret: NDArray[np.uint64]) -> None:
        """Make it.

        Args:
            engine: Whose sessions are followed.
            secret: uint64[4], the deployment secret.
        """
        self._engine = engine
        self._secret = secret
        self._has_begun = False
        self._last = np.zeros(engine.score_view().sessions_max, np.int64)
        """int64[sessions_max], string id of the customer that a row was last seen with."""

    def applied(self, outcome: Outcome, want: Callable[[Iterable[str]], None]) -> None:
        """Look at what an entry changed. In the fold's thread.

        Args:
            outcome: What it did.
            want: Has customers looked up.
        """
        if outcome.is_new_state or not self._has_begun:
            # Those of all sessions that were there at the start; or sessions may be in other rows.
            self._has_begun = True
            self._last[:] = 0
            self._named(self._engine.rows_in_use(), want)
        elif outcome.rows.size:
            self._named(outcome.rows, want)

    def _named(self, rows: NDArray[np.int64], want: Callable[[Iterable[str]], None]) -> None:
        cells = self._engine.score_view().table.rows
        customers = np.where(cells[rows, CUSTOMER_TIME] != 0, cells[rows, CUSTOMER], 0)
        is_new = (customers != self._last[rows]) & (customers != 0)
        if is_new.any():
            self._last[rows[is_new]] = customers[is_new]
            texts = (self._engine.text(each) for each in np.unique(customers[is_new]).tolist())
            want([text for text in texts if text])

    def rows_of(self, customers: Iterable[str]) -> NDArray[np.int64]:
        """Return the rows of the sessions that name some customers, see `engine.customer_rows`. Any thread."""
        found = {row for each in customers for row in naming_rows(self._engine, each, self._secret)}
        return np.array(sorted(found), np.int64)
