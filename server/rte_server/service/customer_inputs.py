"""Brings what the data mart says of customers into the journal, as far as models read it, so that what they saw can be replayed.

Two things start it: a session gets a customer of whom it has heard nothing, and the data mart says something else than
before. A thread of its own then compares what is known with what the sessions hold, and appends an entry if they differ.
One entry is under way at a time, so that the newest state always comes last; meanwhile others wait, each customer once.
"""

from __future__ import annotations

import datetime as dt
import json
import logging
import math
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rte.v1.customer_pb2 import Customer, CustomerAttribute
from rte_server.engine.attributes import TAG_MASK
from rte_server.engine.customer_cells import BITS_AT, OF_AT, STAMP_AT
from rte_server.engine.customer_rows import naming_rows_in
from rte_server.engine.customer_values import (
    CUSTOMER_SESSIONS_MAX,
    CUSTOMER_TEXT_BYTES_MAX,
    CustomerInputs,
    CustomerValue,
    customer_words,
)
from rte_server.engine.engine import Engine
from rte_server.engine.entries import Entry, EntryType
from rte_server.engine.native import text_id
from rte_server.engine.outcome import Outcome
from rte_server.engine.reasons import EngineError, Reason
from rte_server.engine.score_view import ScoreView
from rte_server.engine.table import CUSTOMER, CUSTOMER_TIME
from rte_server.mart.states import CustomerState, Freshness
from rte_server.mart.values import time_ms

BATCH = 64
"""Customers of one entry: some milliseconds of work, in which the next ones gather."""

RETRY_S = 0.25
"""Wait after an entry that was not taken."""

TRIES_MAX = 3
"""So often a customer of whom something goes wrong is compared again, before that waits until the customer changes."""

_log = logging.getLogger("rte.mart")

Submit = Callable[[Entry], object]
"""Appends an entry and returns when it is folded; raises EngineError if it is not taken."""


class CustomerFeed:
    """Follows sessions and the data mart. Methods say which thread they belong to."""

    def __init__(
        self,
        engine: Engine,
        secret: NDArray[np.uint64],
        submit: Submit,
        clock_ms: Callable[[], int],
    ) -> None:
        """Make it.

        Args:
            engine: Whose models and sessions are looked at.
            secret: uint64[4], the deployment secret.
            submit: Appends entries.
            clock_ms: The server's time, milliseconds since 1970.
        """
        self._engine = engine
        self._secret = secret
        self._submit = submit
        self._clock_ms = clock_ms
        self._program = engine.program
        self._inputs = CustomerInputs.of(engine.program)
        self._has_begun = False
        self._lock = threading.Condition()
        self._bringing = threading.Lock()  # Held from the look at what is known until the entry about it is folded.
        self._waiting: dict[str, None] = {}
        """Customers who are compared next; bounded, since each has a session or is remembered by the mart."""
        self._is_ended = False
        self._refused: set[str] = set()
        self._tries: dict[str, int] = {}
        """Customers who could not be brought, together or alone, and how often; each of them is brought alone next."""
        self._counts = dict.fromkeys(("entries", "customers", "not_taken", "failed", "customers_cut"), 0)
        self._thread = threading.Thread(target=self._run, name="rte-customer-feed")

    def start(self, state: Callable[[str], CustomerState]) -> None:
        """Start the thread.

        Args:
            state: Gives what is known of a customer, see `CustomerStates.state`.
        """
        self._state = state
        self._thread.start()

    def stop(self) -> None:
        """End the thread; blocks until an entry that is under way has been folded."""
        with self._lock:
            self._is_ended = True
            self._lock.notify()
        if self._thread.ident is not None:
            self._thread.join()

    def settle(self) -> None:
        """Wait until nothing is under way that was looked up before. Blocks; any thread but the fold's."""
        with self._bringing:
            pass

    def stats(self) -> dict[str, int]:
        """Return counters and gauges by name. Any thread."""
        return self._counts | {"waiting": len(self._waiting)}

    def applied(self, outcome: Outcome) -> None:
        """Look at what an entry changed. In the fold's thread."""
        program = self._engine.program
        if program is not self._program:
            self._inputs, self._program, self._has_begun = CustomerInputs.of(program), program, False
        if not self._inputs.names:
            return
        is_anew = outcome.is_new_state or not self._has_begun
        self._has_begun = True
        if is_anew:
            # Entries that other models folded may have said less than these read.
            self.note(self._customers(self._engine.rows_in_use(), heard_too=True))
        elif outcome.rows.size:
            self.note(self._customers(outcome.rows, heard_too=False))

    def note(self, customer_ids: Iterable[str]) -> None:
        """Have customers compared soon. Any thread."""
        if not self._inputs.names:
            return
        with self._lock:
            self._waiting.update(dict.fromkeys(customer_ids))
            if self._waiting:
                self._lock.notify()

    def _customers(self, rows: NDArray[np.int64], *, heard_too: bool) -> list[str]:
        """Return the customers of rows; without `heard_too` only of those that were told nothing of them."""
        cells = self._engine.score_view().table.rows
        customers = np.where(cells[rows, CUSTOMER_TIME] != 0, cells[rows, CUSTOMER], 0)
        words = self._inputs.words
        of = np.where(cells[np.ix_(rows, words + STAMP_AT)] != 0, cells[np.ix_(rows, words + OF_AT)], 0)
        is_wanted = (customers != 0) & (heard_too | (of != customers[:, np.newaxis]).any(axis=1))
        return [text for each in np.unique(customers[is_wanted]).tolist() if (text := self._engine.text(each))]

    # In the thread of its own.

    def _run(self) -> None:
        while True:
            with self._lock:
                while not self._waiting and not self._is_ended:
                    self._lock.wait()
                if self._is_ended:
                    return
                batch = self._next_batch()
                for each in batch:
                    del self._waiting[each]
            try:
                with self._bringing:
                    self._bring(batch)
            except EngineError as error:
                if error.reason in (Reason.SHUTTING_DOWN, Reason.INTERNAL):
                    return
                with self._lock:
                    self._counts["not_taken"] += 1
                    self._waiting.update(dict.fromkeys(batch))
                    self._lock.wait_for(lambda: self._is_ended, RETRY_S)
            except Exception:
                _log.exception("models were not told of %d customers", len(batch))
                self._note_again(batch)
            else:
                for each in batch:
                    self._tries.pop(each, None)

    def _next_batch(self) -> list[str]:
        """Return who is brought next: one who could not be brought before alone, others together."""
        batch: list[str] = []
        for each in self._waiting:
            if each in self._tries:
                return batch or [each]
            batch.append(each)
            if len(batch) == BATCH:
                break
        return batch

    def _note_again(self, batch: Sequence[str]) -> None:
        """Have customers compared again of whom something went wrong, whatever it was, a few times; others do not wait for it."""
        with self._lock:
            for each in batch:
                self._tries[each] = self._tries.get(each, 0) + 1
                if self._tries[each] <= TRIES_MAX:
                    self._waiting[each] = None
                else:
                    del self._tries[each]
                    self._counts["failed"] += 1

    def _bring(self, customer_ids: Iterable[str]) -> None:
        """Append what is known of customers and their sessions do not hold.

        Raises:
            EngineError: The entry is not taken.
        """
        # Models may change meanwhile, and rows with them: what is compared is all of one view. Then all are noted again.
        view = self._engine.score_view()
        inputs = CustomerInputs.of(view.program)
        customers: dict[str, dict[str, dict[str, Any]]] = {}
        for customer_id in customer_ids:
            state = self._state(customer_id)
            if state.freshness == Freshness.UNAVAILABLE:
                continue  # It is noted again when it is known.
            said = self._said(state.body, inputs.names)
            if self._differs(customer_id, {name: each["value"] for name, each in said.items()}, view, inputs):
                customers[customer_id] = said
        if customers:
            body = json.dumps({"customers": customers}, separators=(",", ":"), ensure_ascii=False).encode()
            self._submit(Entry(EntryType.CUSTOMER, self._clock_ms(), body))
            self._counts["entries"] += 1
            self._counts["customers"] += len(customers)

    def _said(self, body: bytes, names: Iterable[str]) -> dict[str, dict[str, Any]]:
        """Return the attributes with these names of a serialized customer, as a CUSTOMER entry has them."""
        attributes = Customer.FromString(body).attributes
        found: dict[str, dict[str, Any]] = {}
        for name in dict.fromkeys(names):
            if name not in attributes:
                continue
            attribute = attributes[name]
            value = single_value(attribute)
            found[name] = {"value": value, "source": attribute.source}
            if attribute.column:
                found[name]["column"] = attribute.column
            if attribute.HasField("as_of_time"):
                found[name]["as_of_ms"] = attribute.as_of_time.ToMilliseconds()
            if value is None:
                found[name]["refused"] = _why_refused(attribute)
                self._warn(name, found[name]["refused"])
        return found

    def _warn(self, name: str, why: str) -> None:
        if name not in self._refused:
            self._refused.add(name)
            _log.warning("models read customer.%s, which has no value for them: %s", name, why)

    def _differs(
        self, customer_id: str, values: Mapping[str, CustomerValue | None], view: ScoreView, inputs: CustomerInputs
    ) -> bool:
        """Return whether a session of the customer holds something else, of those that take it over."""
        customer = text_id(customer_id.encode(), self._secret)
        words = [customer_words(values.get(name), self._secret) for name in inputs.names]
        cells = view.table.rows
        rows = naming_rows_in(view, customer_id, self._secret, CUSTOMER_SESSIONS_MAX + 1)
        self._counts["customers_cut"] += len(rows) > CUSTOMER_SESSIONS_MAX
        for row in rows[:CUSTOMER_SESSIONS_MAX]:
            for at, (tag, bits) in zip(inputs.words.tolist(), words, strict=True):
                stamp, of, held = (int(cells[row, at + int(word)]) for word in (STAMP_AT, OF_AT, BITS_AT))
                if stamp == 0 or of != customer or stamp & int(TAG_MASK) != tag or held != bits:
                    return True
        return False


def single_value(attribute: CustomerAttribute) -> CustomerValue | None:
    """Return what models see of an attribute: a bool, a double, a text, or for a moment milliseconds since 1970.

    None for what is no single value: lists, documents, bytes, numbers that are not finite, texts that are too long.
    """
    value, kind = attribute.value, attribute.value.WhichOneof("kind")
    if kind == "bool_value":
        return value.bool_value
    if kind == "number_value":
        return value.number_value
    if kind != "string_value" or attribute.type == CustomerAttribute.TYPE_BYTES:
        return None
    if attribute.type in _NUMBERS:
        number = float(value.string_value)
        return number if math.isfinite(number) else None
    if attribute.type == CustomerAttribute.TYPE_TIME:
        return float(time_ms(dt.datetime.fromisoformat(value.string_value)))
    return value.string_value if len(value.string_value.encode()) <= CUSTOMER_TEXT_BYTES_MAX else None


_NUMBERS = (CustomerAttribute.TYPE_INTEGER, CustomerAttribute.TYPE_NUMBER, CustomerAttribute.TYPE_DECIMAL)


def _why_refused(attribute: CustomerAttribute) -> str:
    if attribute.type == CustomerAttribute.TYPE_LIST:
        return "it is a list of rows, and expressions read single values; make a column or a view with one value of it"
    if attribute.type == CustomerAttribute.TYPE_JSON:
        return "it is a JSON document, and expressions read single values; make a column or a view with one value of it"
    if attribute.type == CustomerAttribute.TYPE_BYTES:
        return "it holds bytes, and expressions read numbers, texts, booleans and times"
    if attribute.type in _NUMBERS:
        return "it is no finite number"
    return f"it is a text of more than {CUSTOMER_TEXT_BYTES_MAX} bytes"
