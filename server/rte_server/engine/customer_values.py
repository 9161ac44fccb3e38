"""What a data mart says of customers, as entries of the journal bring it into the sessions.

An entry holds the attributes that the models read when it was written, and nothing else of a customer: an attribute that
it does not name has no value. All sessions of the customer get it, and what follows from it is computed anew.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rte_server.engine.attributes import TAG_BITS, TAG_MASK
from rte_server.engine.context import PROGRESS, TRIGGERS, row_cells, span_in
from rte_server.engine.customer_cells import BITS_AT, OF_AT, PLACE_BITS, PLACE_MAX, STAMP_AT
from rte_server.engine.derived import derive_changed
from rte_server.engine.kernel import inner, kernel
from rte_server.engine.native import float_bits, put_word, span_of, text_id, word_at
from rte_server.engine.program import A_AT, Kind, Program, customer_attribute
from rte_server.engine.rows import POSITION, begin_write, end_write, hasten, mark_touched
from rte_server.engine.table import CUSTOMER, CUSTOMER_NEXT, CUSTOMER_TIME, NONE, STALE, customer_key, index_find
from rte_server.engine.texts_made import keep_texts
from rte_server.engine.triggers import run_triggers, settle_quiet
from rte_server.engine.values import BOOL, DOUBLE, NULL, STRING

CUSTOMER_SESSIONS_MAX = 1_000
"""Sessions of one customer that take over what is said of it: those that were the last to name it."""

CUSTOMER_TEXT_BYTES_MAX = 1_024
"""UTF-8 bytes of a text that models can read of a customer; a longer one is no value for them."""

EMPTY_PLACES = "empty_places"
"""Member of a CUSTOMER entry: places of customers that were erased. The others keep theirs, and so the state its bytes."""

CustomerValue = bool | float | str
"""What an attribute of a customer can be for models. A time is milliseconds since 1970."""


@dataclass(frozen=True, slots=True)
class CustomerInputs:
    """The attributes of customers that a program reads.

    Attributes:
        names: Their names in the data mart; one that two versions of a model read stands twice.
        words: int64[n], words of their cells in a row.
    """

    names: tuple[str, ...]
    words: NDArray[np.int64]

    @staticmethod
    def of(program: Program) -> CustomerInputs:
        """Return those of a program."""
        found = [(number, spec) for number, spec in enumerate(program.attributes) if spec.kind == Kind.CUSTOMER]
        words = [int(program.arrays.attributes[number, A_AT]) for number, _ in found]
        return CustomerInputs(tuple(customer_attribute(spec) for _, spec in found), np.array(words, np.int64))


def places_of(body: Mapping[str, Any]) -> Iterator[tuple[int, str]]:
    """Yield the customers of an entry: place in it, and id. Those that were erased from it have left their places empty.

    Args:
        body: Of a CUSTOMER entry, as parsed JSON.
    """
    empty = frozenset(body.get(EMPTY_PLACES, ()))
    places = (place for place in itertools.count() if place not in empty)
    return zip(places, body["customers"], strict=False)


def read_customers(body: Mapping[str, Any]) -> Iterator[tuple[int, str, dict[str, CustomerValue]]]:
    """Yield the customers of an entry: place in it, id, and values by attribute. What is no single value is left out.

    Args:
        body: Of a CUSTOMER entry, as parsed JSON.
    """
    for place, customer_id in places_of(body):
        attributes = body["customers"][customer_id]
        values = {name: _usable(attribute["value"]) for name, attribute in attributes.items()}
        yield place, customer_id, {name: value for name, value in values.items() if value is not None}


def _usable(value: object) -> CustomerValue | None:
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        return value if len(value.encode()) <= CUSTOMER_TEXT_BYTES_MAX else None
    return float(value) if isinstance(value, int | float) and abs(value) <= np.finfo(np.float64).max else None


def customer_words(value: CustomerValue | None, secret: NDArray[np.uint64]) -> tuple[int, int]:
    """Return (tag, bits) of a value; None is NULL."""
    if value is None:
        return NULL, 0
    if isinstance(value, bool):
        return BOOL, int(value)
    if isinstance(value, str):
        return STRING, text_id(value.encode(), secret)
    return DOUBLE, int(float_bits(float(value) + 0.0))


def write_customers(
    context: NDArray[np.int64], program: Program, body: Mapping[str, Any], secret: NDArray[np.uint64], now_ms: int
) -> None:
    """Bring what an entry says into the sessions of its customers.

    Args:
        context: int64[CONTEXT_WORDS], the state; the entry has been started.
        program: What runs.
        body: Of the entry, as parsed JSON.
        secret: uint64[4], the deployment secret.
        now_ms: The clock of the entry.
    """
    inputs = CustomerInputs.of(program)
    if not inputs.names:
        return  # The models read none any more.
    for place, customer_id, values in read_customers(body):
        found = [values.get(name) for name in inputs.names]
        keep_texts(context, [value.encode() for value in found if isinstance(value, str)], secret)
        words = np.array([customer_words(value, secret) for value in found], np.int64)
        customer = text_id(customer_id.encode(), secret)
        write_customer(context, customer, min(place, PLACE_MAX), inputs.words, words, now_ms, CUSTOMER_SESSIONS_MAX)


@kernel
def write_customer(context, customer, place, places, words, now_ms, sessions_max):  # type: ignore[no-untyped-def]
    """Write the attributes of a customer into its sessions, as far as they hold others. Called from Python.

    Args:
        context: int64[CONTEXT_WORDS].
        customer: String id of the customer's id.
        place: Its place in the entry, 0 to PLACE_MAX.
        places: int64[n], words of the attributes' cells in a row.
        words: int64[n, 2], type and bits of their values.
        now_ms: The clock of the entry.
        sessions_max: How many sessions are looked at.
    """
    ctx = span_of(context)
    row = index_find(ctx, customer_key(customer))
    for _ in range(sessions_max):
        # A key that is another customer's would lead to that one's sessions.
        if row == NONE or not _is_of(row_cells(ctx, row), customer):
            break
        _write_session(ctx, row, customer, place, places, words, now_ms)
        row = word_at(row_cells(ctx, row), CUSTOMER_NEXT)


@inner
def _is_of(cells, customer):  # type: ignore[no-untyped-def]
    return word_at(cells, CUSTOMER_TIME) != 0 and word_at(cells, CUSTOMER) == customer


@inner
def _write_session(ctx, row, customer, place, places, words, now_ms):  # type: ignore[no-untyped-def]
    """Write the attributes of its customer into one session, unless it has them."""
    cells = row_cells(ctx, row)
    is_new = False
    for i in range(places.shape[0]):
        at = places[i]
        is_new |= word_at(cells, at + STAMP_AT) == 0 or word_at(cells, at + OF_AT) != customer
        is_new |= word_at(cells, at + STAMP_AT) & TAG_MASK != words[i, 0] or word_at(cells, at + BITS_AT) != words[i, 1]
    if not is_new:
        return
    has_triggers = span_in(ctx, TRIGGERS)[1] > 0
    said_at = word_at(span_in(ctx, PROGRESS), POSITION) << PLACE_BITS | place
    begin_write(ctx, row)
    if has_triggers:
        settle_quiet(ctx, cells, now_ms)
    for i in range(places.shape[0]):
        put_word(cells, places[i] + STAMP_AT, (said_at << TAG_BITS) | words[i, 0])
        put_word(cells, places[i] + OF_AT, customer)
        put_word(cells, places[i] + BITS_AT, words[i, 1])
    put_word(cells, STALE, 1)
    derive_changed(ctx, cells, np.int64(0), now_ms)
    if has_triggers:
        run_triggers(ctx, cells, now_ms)
    hasten(ctx, row, now_ms)
    mark_touched(ctx, row)
    end_write(ctx, row)
