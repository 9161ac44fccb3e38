"""Writing attributes that are lists: what their cells show, as content of a `google.protobuf.Value`."""

from __future__ import annotations

import math

import numpy as np

from rte_server.engine.annexes import cell_span
from rte_server.engine.attributes import ENTRY_WORDS, RECENT, TAG_MASK, has_sums
from rte_server.engine.basket import BASKET_WIDTH, basket_line
from rte_server.engine.event_log import RESET_WORDS
from rte_server.engine.kernel import inner
from rte_server.engine.keyed import BASKET, SEQUENCE, SET, TOP, params_of
from rte_server.engine.message_parts import LENGTH_BYTES, close_message, put_member, put_value
from rte_server.engine.native import float_bits, put_byte, word_at
from rte_server.engine.program import A_AT, A_KEEP, A_KIND, A_PART, A_REGISTERS
from rte_server.engine.sequence import NOTHING, SEQUENCE_STEP_TIMES, STEPS, follow_run, shown_run
from rte_server.engine.top import HALF_LIFE, SHOWN, next_heaviest, weight_of
from rte_server.engine.value_set import SET_WIDTH
from rte_server.engine.values import DOUBLE, INT

_LIST = 0x32  # tags of Value.list_value, Value.struct_value and ListValue.values
_STRUCT = 0x2A
_ELEMENT = 0x0A
_NULL = 0x08


def _name(text: str) -> np.int64:
    """Return a member's name as `put_member` takes it."""
    return np.int64(int.from_bytes(text.encode(), "little"))


_ITEM = _name("item")
_QUANTITY = _name("quantity")
_PRICE = _name("price")
_VALUE = _name("value")
_WEIGHT = _name("weight")


@inner
def shows_list(attribute):  # type: ignore[no-untyped-def]
    """Return whether an attribute is a list."""
    kind = word_at(attribute, A_KIND)
    part = word_at(attribute, A_PART)
    if kind == SEQUENCE:
        return part == SEQUENCE_STEP_TIMES
    return kind == RECENT or kind == SET or ((kind == BASKET or kind == TOP) and part == 0)


@inner(forceinline=False)
def put_list(out, at, ctx, row, attribute, params, time_ms):  # type: ignore[no-untyped-def]
    """Write the content of a `Value` that is the list of a row's cell at a session's time; nothing if it is empty."""
    put_byte(out, at, _LIST)
    start = at + 1 + LENGTH_BYTES
    kind = word_at(attribute, A_KIND)
    first = word_at(attribute, A_AT)
    cells = cell_span(ctx, row, first)
    keep = word_at(attribute, A_KEEP)
    if kind == BASKET:
        end = _put_basket(out, start, ctx, cells, first, keep)
    elif kind == SEQUENCE:
        end = _put_step_times(out, start, ctx, cells, first, keep, params_of(attribute, params), time_ms)
    elif kind == TOP and not has_sums(row, word_at(attribute, A_REGISTERS)):
        end = start
    elif kind == TOP:
        end = _put_top(out, start, ctx, cells, first, keep, params_of(attribute, params), time_ms)
    elif kind == SET:
        end = _put_values(out, start, ctx, cells, first, keep, np.int64(SET_WIDTH), np.int64(1))
    else:
        end = _put_values(out, start, ctx, cells, first, keep, ENTRY_WORDS, ENTRY_WORDS - 1)
    return close_message(out, at + 1, end) if end > start else at


@inner
def _put_values(out, at, ctx, cells, first, keep, width, bits_at):  # type: ignore[no-untyped-def]
    """Write the values of entries, as `keyed.text_entries` describes them."""
    for entry in range(first, first + width * keep, width):
        if word_at(cells, entry) == 0:
            break
        put_byte(out, at, _ELEMENT)
        start = at + 1 + LENGTH_BYTES
        end = put_value(out, start, word_at(cells, entry) & TAG_MASK, word_at(cells, entry + bits_at), ctx)
        # A text that found no room is left out: a value without a kind has no JSON form.
        at = close_message(out, at + 1, end) if end > start else at
    return at


@inner
def _put_basket(out, at, ctx, cells, first, keep):  # type: ignore[no-untyped-def]
    """Write {item, quantity, price} of each item that the basket holds, that of the latest event first."""
    for place in range(keep):
        entry = first + RESET_WORDS + BASKET_WIDTH * place
        if word_at(cells, entry) == 0:
            break
        quantity, price = basket_line(cells, first, keep, place)
        if quantity <= 0.0:
            continue
        put_byte(out, at, _ELEMENT)
        value = at + 1 + LENGTH_BYTES
        put_byte(out, value, _STRUCT)
        end = value + 1 + LENGTH_BYTES
        end = put_member(out, end, _ITEM, 4, word_at(cells, entry) & TAG_MASK, word_at(cells, entry + 2), ctx)
        end = put_member(out, end, _QUANTITY, 8, np.int64(DOUBLE), float_bits(quantity), ctx)
        if not math.isnan(price):
            end = put_member(out, end, _PRICE, 5, np.int64(DOUBLE), float_bits(price), ctx)
        at = close_message(out, at + 1, close_message(out, value + 1, end))
    return at


@inner
def _put_top(out, at, ctx, cells, first, of, params, time_ms):  # type: ignore[no-untyped-def]
    """Write {value, weight} of the heaviest values, the heaviest first."""
    half_life_ms = word_at(params, HALF_LIFE)
    entry = np.int64(-1)
    for _ in range(word_at(params, SHOWN)):
        entry = next_heaviest(cells, first, of, half_life_ms, time_ms, entry)
        if entry < 0:
            break
        put_byte(out, at, _ELEMENT)
        value = at + 1 + LENGTH_BYTES
        put_byte(out, value, _STRUCT)
        end = value + 1 + LENGTH_BYTES
        end = put_member(out, end, _VALUE, 5, word_at(cells, entry), word_at(cells, entry + 1), ctx)
        weight = weight_of(cells, entry, half_life_ms, time_ms)
        end = put_member(out, end, _WEIGHT, 6, np.int64(DOUBLE), float_bits(weight), ctx)
        at = close_message(out, at + 1, close_message(out, value + 1, end))
    return at


@inner
def _put_step_times(out, at, ctx, cells, first, keep, params, time_ms):  # type: ignore[no-untyped-def]
    """Write the times of the steps that the run that is shown reached, null for others."""
    shown, _, start_ms, start_order = shown_run(cells, first, keep, params, time_ms)
    if shown == NOTHING:
        return at
    for step in range(word_at(params, STEPS)):
        step_ms = follow_run(cells, first, keep, params, start_ms, start_order, step)[3]
        put_byte(out, at, _ELEMENT)
        start = at + 1 + LENGTH_BYTES
        if step_ms != 0:
            end = put_value(out, start, np.int64(INT), step_ms, ctx)
        else:
            put_byte(out, start, _NULL)
            put_byte(out, start + 1, 0)
            end = start + 2
        at = close_message(out, at + 1, end)
    return at
