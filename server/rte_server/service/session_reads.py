"""Reading sessions: what the read methods of SessionService have in common."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from rte_server.engine.customer_rows import customer_rows
from rte_server.engine.encode import F_CUSTOMER_ID
from rte_server.engine.engine import Engine
from rte_server.engine.expressions import Code
from rte_server.engine.masks import Mask
from rte_server.engine.merged_view import merged_view
from rte_server.engine.program import SESSION_FIELDS
from rte_server.engine.query import STATES_ACTIVE, STATES_ANY, STATES_CLOSED, Filter
from rte_server.engine.reasons import EngineError, Reason
from rte_server.models import compile_filter
from rte_server.service.customer_join import CustomerJoin
from rte_server.service.proto_wire import text_field

CACHE_ENTRIES_MAX = 1024
"""Filters and masks kept; a compiled one has some kilobytes, and compiling takes some 2 ms."""

FILTER_BYTES_MAX = 4096

ID_BYTES_MAX = 128

STATES = (int(STATES_ACTIVE), int(STATES_ACTIVE), int(STATES_CLOSED), int(STATES_ANY))
"""By number of `rte.v1.StateFilter`."""


CUSTOMER_PATH = "customer"


@dataclass(frozen=True, slots=True)
class ReadMask:
    """What is wanted of sessions.

    Attributes:
        session: Of what the engine knows.
        has_customer: Whether the Customer State is wanted, too.
    """

    session: Mask
    has_customer: bool


class SessionReads:
    """Finds and encodes sessions, with compiled filters and masks remembered."""

    def __init__(
        self,
        engine: Engine,
        clock_ms: Callable[[], int],
        join: CustomerJoin | None = None,
        secret: NDArray[np.uint64] | None = None,
    ) -> None:
        """Prepare.

        Args:
            engine: Whose sessions are read.
            clock_ms: Gives the server's time, milliseconds since 1970.
            join: Adds the Customer State; None: there is no data mart.
            secret: uint64[4], the deployment secret, for reads by customer; None: there are none.
        """
        self._secret = np.zeros(4, np.uint64) if secret is None else secret
        self.engine = engine
        self.clock_ms = clock_ms
        self.join = join
        self._codes = lru_cache(CACHE_ENTRIES_MAX)(self._compile)
        self._masks = lru_cache(CACHE_ENTRIES_MAX)(self._mask)

    def filter(self, text: str, state: int) -> Filter:
        """Return a filter, ready to run.

        Args:
            text: A CEL expression, or empty for all.
            state: A number of `rte.v1.StateFilter`.

        Raises:
            EngineError: INVALID_EXPRESSION, OUT_OF_RANGE.
        """
        if not 0 <= state < len(STATES):
            message = f"state is {state}, it must be STATE_FILTER_ACTIVE, _CLOSED or _ANY"
            raise EngineError(Reason.OUT_OF_RANGE, message, field="state", value=str(state))
        if len(text.encode()) > FILTER_BYTES_MAX:
            message = f"the filter is longer than {FILTER_BYTES_MAX} bytes"
            limit = str(FILTER_BYTES_MAX)
            raise EngineError(Reason.INVALID_EXPRESSION, message, field="filter", value=text, limit=limit)
        return self.engine.filter(self._codes(text, self.engine.names_version) if text.strip() else (), STATES[state])

    def _compile(self, text: str, version: int) -> Code:
        """Compile a filter; `version` only makes the cache forget what was compiled when other names were known."""
        return compile_filter(text, self.engine.filter_attributes)

    def order(self, text: str) -> tuple[str, bool]:
        """Return the name to order by and whether descending.

        Raises:
            EngineError: INVALID_EXPRESSION if there is no such attribute or field.
        """
        name, _, direction = text.strip().partition(" ")
        direction = direction.strip()
        if direction not in ("", "asc", "desc"):
            message = "order_by is an attribute or a session. field, then optionally ` desc`"
            raise EngineError(Reason.INVALID_EXPRESSION, message, field="order_by", value=text)
        if name and name not in {*SESSION_FIELDS, *(spec.name for spec in self.engine.filter_attributes)}:
            message = f"order_by names {name!r}; there is no such attribute or session. field"
            raise EngineError(Reason.INVALID_EXPRESSION, message, field="order_by", value=name)
        return name or "session.start_time", direction == "desc"

    def mask(self, paths: Sequence[str]) -> ReadMask:
        """Return what a read mask chooses.

        Raises:
            EngineError: INVALID_EXPRESSION for a path that there is not.
        """
        return self._masks(tuple(paths))

    def _mask(self, paths: tuple[str, ...]) -> ReadMask:
        # The customer is found by its id, so that comes with it.
        own = tuple("customer_id" if path == CUSTOMER_PATH else path for path in paths)
        wants_all = not paths or "*" in paths
        return ReadMask(self.engine.mask(own), self.join is not None and (wants_all or CUSTOMER_PATH in paths))

    def find(self, field: str) -> Callable[[str], int]:
        """Return how sessions are found by the id in the field `field` of GetSessionRequest."""
        engine = self.engine
        return {
            "session_id": engine.find_session,
            "visitor_id": engine.find_visitor,
            "customer_id": engine.find_customer,
            "client_session_id": engine.find_alias,
        }[field]

    def get(self, field: str, key: str, mask: ReadMask, since_ms: int | None = None) -> bytes:
        """Return the serialized session that an id leads to.

        Args:
            field: Field of GetSessionRequest that holds the id.
            key: The id.
            mask: What is wanted.
            since_ms: As in `CustomerStates.state`.

        Raises:
            EngineError: FIELD_MISSING if the id is empty; SESSION_NOT_FOUND if it leads nowhere.
        """
        if not key:
            raise EngineError(Reason.FIELD_MISSING, f"{field} is required, 1 to {ID_BYTES_MAX} bytes", field=field)
        if body := self.engine.get(self.find(field), key, mask.session, self.clock_ms()):
            return self.join.joined(body, since_ms) if self.join is not None and mask.has_customer else body
        raise EngineError(Reason.SESSION_NOT_FOUND, f'no session has {field} "{key[:64]}"', field=field, value=key)

    def merged(self, customer_id: str, mask: ReadMask, since_ms: int | None = None) -> tuple[bytes, list[str]]:
        """Return the sessions of a customer as one, serialized, and the ids of those that went into it.

        Args:
            customer_id: Whose.
            mask: What is wanted.
            since_ms: As in `CustomerStates.state`.

        Raises:
            EngineError: FIELD_MISSING if the id is empty; SESSION_NOT_FOUND if there is none.
        """
        field = "customer_id"
        if not customer_id:
            raise EngineError(Reason.FIELD_MISSING, f"{field} is required, 1 to {ID_BYTES_MAX} bytes", field=field)
        found = merged_view(self.engine, self._secret, customer_id, mask.session, self.clock_ms())
        if found is None:
            message = f'no session has {field} "{customer_id[:64]}"'
            raise EngineError(Reason.SESSION_NOT_FOUND, message, field=field, value=customer_id)
        wants_id = bool(mask.session.fields & 1 << F_CUSTOMER_ID)
        body = (text_field(F_CUSTOMER_ID, customer_id) if wants_id else b"") + found[0]
        return self.join.joined(body, since_ms) if self.join is not None and mask.has_customer else body, found[1]

    def of_customer(self, customer_id: str) -> NDArray[np.int64]:
        """Return the rows of the sessions of a customer, those of linked visitors included."""
        return customer_rows(self.engine, customer_id, self._secret)

    async def reach_customer(self, field: str, key: str, since_ms: int) -> None:
        """Wait until the customer of the session that an id leads to has been read since then.

        Returns after `mart.read_wait_ms` in any case.

        Raises:
            EngineError: As `get`.
        """
        if self.join is not None:
            await self.join.reach(self.get(field, key, self.mask((CUSTOMER_PATH,))), since_ms)

    def encode(
        self, rows: NDArray[np.int64], mask: ReadMask, session_ids: NDArray[np.int64], now_ms: int
    ) -> list[bytes]:
        """Return serialized sessions as `Engine.encode` does, with their customers if they are wanted. Any thread."""
        bodies = self.engine.encode(rows, mask.session, session_ids, now_ms)
        return [self.join.joined(body) for body in bodies] if self.join is not None and mask.has_customer else bodies
