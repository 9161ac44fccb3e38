"""Evaluating expressions: each instruction for many events or rows at once, then the next one.

What an instruction is, is found out once for all of them, and the processor guesses the rest right: values of one place are mostly
of one type. An event, or a row of a session, is a *lane*; each value on the stack and each input is an array over lanes.

Source: Boncz, Zukowski and Nes, "MonetDB/X100: Hyper-Pipelining Query Execution", CIDR 2005 (vectorized interpretation).
"""

from __future__ import annotations

import numpy as np

from rte_server.engine.attributes import TAG_MASK
from rte_server.engine.context import LISTS, POOL_ARENA, POOL_SLOTS, span_in
from rte_server.engine.expressions import (
    CODE_COLUMNS,
    OF_SLOT_AND_CONSTANT,
    OPERATOR_MASK,
    WITH_CONSTANT,
    WITH_SLOT,
    Op,
)
from rte_server.engine.facts import fact_of
from rte_server.engine.kernel import inner, kernel
from rte_server.engine.native import put_word, span_of, word_at
from rte_server.engine.texts_made import joined, part_of_property, with_letters
from rte_server.engine.values import (
    BOOL,
    COMPOUND,
    DOUBLE,
    ERROR,
    INCOMPARABLE,
    INT,
    STRING,
    TIME,
    arithmetic,
    compare_alike,
    equal,
    greatest,
    holds,
    negated,
    on_text,
    order_of,
    to_double,
    to_int,
)
from rte_server.engine.verdicts import verdict_of

# How the place of entries is said in one word: address / 8, their number, words per entry. An entry's first word has the
# tag in its lowest bits, its last word has the bits.
CELLS_ADDRESS_SHIFT = np.int64(16)
CELLS_WIDTH_BITS = np.int64(4)
CELLS_WIDTH_MASK = np.int64(0xF)
CELLS_KEEP_MASK = np.int64(0xFFF)

# The kernel compares with plain integers: numba turns them into one switch.
_INT = int(Op.INT)
_LOAD = int(Op.LOAD)
_HAS = int(Op.HAS)
_URL = int(Op.URL)
_FACT = int(Op.FACT)
_NOT = int(Op.NOT)
_NEGATE = int(Op.NEGATE)
_TO_INT = int(Op.TO_INT)
_TO_DOUBLE = int(Op.TO_DOUBLE)
_SIZE = int(Op.SIZE)
_MATCHES = int(Op.MATCHES)
_LOWER = int(Op.LOWER)
_UPPER = int(Op.UPPER)
_IN_LIST = int(Op.IN_LIST)
_IN_CELLS = int(Op.IN_CELLS)
_ONLY = int(Op.ONLY)
_WHOLE = int(Op.WHOLE)
_IN_START = int(Op.IN_START)
_IN_ITEM = int(Op.IN_ITEM)
_IN_END = int(Op.IN_END)
_SELECT = int(Op.SELECT)
_AND = int(Op.AND)
_OR = int(Op.OR)
_EQUAL = int(Op.EQUAL)
_NOT_EQUAL = int(Op.NOT_EQUAL)
_LESS = int(Op.LESS)
_GREATER_EQUAL = int(Op.GREATER_EQUAL)
_ADD = int(Op.ADD)
_REMAINDER = int(Op.REMAINDER)
_GREATEST = int(Op.GREATEST)
_JOIN = int(Op.JOIN)


@kernel
def cells_place(cells, at, keep, width):  # type: ignore[no-untyped-def]
    """Return the word that says where the entries of a list attribute are: `keep` of `width` words, from word `at` on."""
    return ((cells[0] + at * 8) >> 3) << CELLS_ADDRESS_SHIFT | keep << CELLS_WIDTH_BITS | width


@inner
def _is_in_list(ctx, place, slots, tag, bits):  # type: ignore[no-untyped-def]
    """Return (tag, bits): whether a look-up list has a value. Lists hold strings: any other value is in none."""
    if tag == ERROR:
        return np.int64(ERROR), np.int64(0)
    if tag == STRING:
        lists = span_in(ctx, LISTS)
        slot = bits & (slots - 1)
        found = word_at(lists, place + slot)
        while found != 0:
            if found == bits:
                return np.int64(BOOL), np.int64(1)
            slot = (slot + 1) & (slots - 1)
            found = word_at(lists, place + slot)
    return np.int64(BOOL), np.int64(0)


@inner
def _is_in_cells(place, tag, bits):  # type: ignore[no-untyped-def]
    """Return (tag, bits): whether a list attribute has a value. `place` says where its entries are, see `cells_place`."""
    if tag == ERROR or place == 0:
        return (np.int64(ERROR) if tag == ERROR else np.int64(BOOL)), np.int64(0)
    width = place & CELLS_WIDTH_MASK
    words = width * ((place >> CELLS_WIDTH_BITS) & CELLS_KEEP_MASK)
    entries = ((place >> CELLS_ADDRESS_SHIFT) << 3, words)
    for entry in range(0, words, width):
        head = word_at(entries, entry)
        if head == 0:
            break
        if equal(tag, bits, head & TAG_MASK, word_at(entries, entry + width - 1)):
            return np.int64(BOOL), np.int64(1)
    return np.int64(BOOL), np.int64(0)


@inner
def _on_one(ctx, op, operand, row, texts, tag, bits):  # type: ignore[no-untyped-def]
    """Return (tag, bits) of an operator on one value.

    Args:
        ctx: Span of the context.
        op: The operator.
        operand: Its operand; of IN_CELLS, the place of the entries.
        row: The instruction: the code and its first word there.
        texts: Span of the constant texts.
        tag: The type of the value.
        bits: The value.
    """
    length = word_at(row[0], row[1] + 2)
    if op == _TO_DOUBLE:
        return to_double(tag, bits)
    if op >= _SIZE and op <= _MATCHES:
        if tag != STRING:
            return ERROR, bits
        if op == _MATCHES:
            return verdict_of(ctx, texts, operand, length, word_at(row[0], row[1] + 3), bits)
        return on_text(op - _SIZE, texts, operand, length, bits, span_in(ctx, POOL_SLOTS), span_in(ctx, POOL_ARENA))
    if op == _LOWER or op == _UPPER:
        return with_letters(
            ctx, tag, bits, np.int64(0x41 if op == _LOWER else 0x61), np.int64(0x20 if op == _LOWER else -0x20)
        )
    if op == _IN_CELLS:
        return _is_in_cells(operand, tag, bits)
    if op == _IN_LIST:
        return _is_in_list(ctx, operand, length, tag, bits)
    if op == _NOT:
        return (BOOL if tag == BOOL else ERROR), 1 - bits
    if op == _NEGATE:
        return negated(tag, bits)
    if op == _ONLY:
        return (tag if tag == operand else ERROR), bits
    return to_int(tag, bits, op == _WHOLE)


@inner
def _compared(ctx, op, tag_a, bits_a, tag_b, bits_b):  # type: ignore[no-untyped-def]
    """Return (tag, bits) of a comparison of two values."""
    if tag_a == tag_b and (tag_a == INT or tag_a == DOUBLE):
        return np.int64(BOOL), compare_alike(op - _EQUAL, tag_a, bits_a, bits_b)
    if tag_a == ERROR or tag_b == ERROR:
        return np.int64(ERROR), np.int64(0)
    if op <= _NOT_EQUAL:
        return np.int64(BOOL), np.int64(equal(tag_a, bits_a, tag_b, bits_b) == (op == _EQUAL))
    order = order_of(tag_a, bits_a, tag_b, bits_b, span_in(ctx, POOL_SLOTS), span_in(ctx, POOL_ARENA))
    return np.int64(ERROR if order == INCOMPARABLE else BOOL), np.int64(holds(op - _LESS, order))


@inner
def _decided(decides, tag_a, bits_a, tag_b, bits_b):  # type: ignore[no-untyped-def]
    """Return (tag, bits) of `&&` or `||`: one side that is `decides` is enough, whatever the other one is."""
    is_decided = np.int64(tag_a == BOOL) & np.int64(bits_a == decides) | np.int64(tag_b == BOOL) & np.int64(
        bits_b == decides
    )
    is_known = is_decided | np.int64(tag_a == BOOL) & np.int64(tag_b == BOOL)
    return np.int64(BOOL if is_known != 0 else ERROR), decides ^ (1 - is_decided)


@inner
def _plain(tag):  # type: ignore[no-untyped-def]
    """Return the type of an input as expressions see it: a time is an int, and a list or an object no value."""
    if tag == COMPOUND:
        return np.int64(ERROR)
    return np.int64(INT) if tag == TIME else tag


@inner
def _of_property(ctx, op, slot, wanted, name):  # type: ignore[no-untyped-def]
    """Return (tag, bits) of URL or FACT."""
    if op == _URL:
        return part_of_property(ctx, slot, wanted, name)
    return fact_of(ctx, slot, wanted)


@inner
def _values(values, place, width):  # type: ignore[no-untyped-def]
    """Return the spans of the tags and of the bits of a value, from its place in those of all values."""
    return (values[0][0] + place * 8, width), (values[1][0] + place * 8, width)


@inner(forceinline=True)
def _on_pairs(ctx, op, left, right, step, lanes):  # type: ignore[no-untyped-def]
    """Do an operator on two values in each lane; what comes out takes the place of `lanes[2]`.

    Args:
        ctx: Span of the context.
        op: The operator.
        left: Spans of tags and bits, one of each per lane.
        right: The same; with `step` 0, a single value for all lanes.
        step: 1 or 0.
        lanes: Span of the chosen lanes, how many these are, and the spans that receive the results.
    """
    chosen, count, out = lanes
    for k in range(count):
        lane = word_at(chosen, k)
        tag_a, bits_a = _plain(word_at(left[0], lane)), word_at(left[1], lane)
        tag_b, bits_b = _plain(word_at(right[0], lane * step)), word_at(right[1], lane * step)
        if op <= _OR:
            tag, bits = _decided(np.int64(op == _OR), tag_a, bits_a, tag_b, bits_b)
        elif op <= _GREATER_EQUAL:
            tag, bits = _compared(ctx, op, tag_a, bits_a, tag_b, bits_b)
        elif op <= _REMAINDER:
            tag, bits = arithmetic(op - _ADD, tag_a, bits_a, tag_b, bits_b)
        elif op < _JOIN:
            tag, bits = greatest(op - _GREATEST, tag_a, bits_a, tag_b, bits_b)
        elif tag_a != STRING or tag_b != STRING:
            tag, bits = np.int64(ERROR), np.int64(0)
        else:
            tag, bits = joined(ctx, bits_a, bits_b)
        put_word(out[0], lane, tag)
        put_word(out[1], lane, bits)


@inner(forceinline=True)
def _push(ctx, row, inputs, lanes):  # type: ignore[no-untyped-def]
    """Do an instruction that puts a value on the stack. `row` is the instruction: the code and its first word there."""
    chosen, count, out, width = lanes
    op, operand = word_at(row[0], row[1]), word_at(row[0], row[1] + 1)
    second = word_at(row[0], row[1] + 2)
    slot = _values(inputs, operand * width, width)
    for k in range(count):
        lane = word_at(chosen, k)
        if op == _LOAD:
            tag, bits = _plain(word_at(slot[0], lane)), word_at(slot[1], lane)
        elif op == _INT:
            tag, bits = operand, second
        elif op == _URL or op == _FACT:
            tag, bits = _of_property(ctx, op, operand, second, word_at(row[0], row[1] + 3))
        else:
            tag, bits = np.int64(BOOL), np.int64(op == _HAS and word_at(slot[0], lane) != ERROR)
        put_word(out[0], lane, tag)
        put_word(out[1], lane, bits)


@inner(forceinline=True)
def _on_several(op, stack, top, lanes):  # type: ignore[no-untyped-def]
    """Do SELECT, IN_ITEM or IN_END; `top` is the place of the value that the result takes the place of."""
    chosen, count, width = lanes
    tags, bits = stack
    for k in range(count):
        at = top + word_at(chosen, k)
        if op == _SELECT:
            taken = at + width * (2 - (word_at(bits, at) & 1))
            tag = word_at(tags, taken) if word_at(tags, at) == BOOL else np.int64(ERROR)
            found = word_at(bits, taken)
        elif op == _IN_ITEM:
            # As in CEL, a list with an erroneous item is an error, wherever the value is found.
            tag, item = word_at(tags, at + width), word_at(bits, at + width)
            is_found = tag != ERROR and equal(word_at(tags, at - width), word_at(bits, at - width), tag, item)
            tag = np.int64(ERROR) if tag == ERROR else word_at(tags, at)
            found = np.int64(1) if is_found else word_at(bits, at)
        else:
            tag = np.int64(ERROR) if word_at(tags, at) == ERROR else word_at(tags, at + width)
            found = word_at(bits, at + width)
        put_word(tags, at, tag)
        put_word(bits, at, found)


@inner
def evaluate_lanes(ctx, code, start, end, texts, inputs, stack, lanes):  # type: ignore[no-untyped-def]
    """Evaluate an expression in some lanes. The results, (tag, bits), are in the lowest place of the stack then.

    Args:
        ctx: Span of the context, as in `evaluate`.
        code: Span of the instructions.
        start: As in `evaluate`.
        end: As in `evaluate`.
        texts: Span of the constant texts.
        inputs: Spans of the tags and of the bits of the inputs. Those of a slot lie together, one per lane.
        stack: Spans of the tags and of the bits of what is on the stack, likewise.
        lanes: Span of the lanes that count, how many these are, and how many there are of each value.
    """
    chosen, count, width = lanes
    top = -np.int64(width)
    for at in range(start * CODE_COLUMNS, end * CODE_COLUMNS, CODE_COLUMNS):
        op = word_at(code, at)
        operand = word_at(code, at + 1)
        if op >= _AND:
            step = np.int64(1)
            if op >= OF_SLOT_AND_CONSTANT:
                top += width
                left = _values(inputs, word_at(code, at + 3) * width, width)
            else:
                top -= width if op < WITH_CONSTANT else 0
                left = _values(stack, top, width)
            if op < WITH_CONSTANT:
                right = _values(stack, top + width, width)
            elif op >= WITH_SLOT and op < OF_SLOT_AND_CONSTANT:
                right = _values(inputs, operand * width, width)
            else:
                right = (code[0] + (at + 1) * 8, width), (code[0] + (at + 2) * 8, width)
                step = np.int64(0)
            _on_pairs(ctx, op & OPERATOR_MASK, left, right, step, (chosen, count, _values(stack, top, width)))
        elif op <= _FACT or op == _IN_START:
            top += width
            _push(ctx, (code, at), inputs, (chosen, count, _values(stack, top, width), width))
        elif op == _SELECT or op == _IN_ITEM or op == _IN_END:
            top -= 2 * width if op == _SELECT else width
            # The value that is looked for stands below those that it is compared with, and falls out at the end.
            _on_several(op, stack, top, lanes)
        else:
            out = _values(stack, top, width)
            places = inputs[1][0] + operand * width * 8, width
            for k in range(count):
                lane = word_at(chosen, k)
                tag, bits = word_at(out[0], lane), word_at(out[1], lane)
                place = word_at(places, lane) if op == _IN_CELLS else operand
                tag, bits = _on_one(ctx, op, place, (code, at), texts, tag, bits)
                put_word(out[0], lane, tag)
                put_word(out[1], lane, bits)


@kernel
def evaluate(context, code, start, end, texts, slot_tags, slot_bits, stack_tags, stack_bits, chosen):  # type: ignore[no-untyped-def]
    """Evaluate one expression in some lanes. The results, (tag, bits), are in `stack_tags[0]` and `stack_bits[0]` then.

    Args:
        context: int64[CONTEXT_WORDS]: the pool, with the bytes of the strings in `text_names`; a string that it lacks is
            an ERROR there. For look-up lists, addresses and texts that are made, what `texts_made` reads as well.
        code: int64[:, CODE_COLUMNS], from `encode_code`.
        start: First row of the expression in `code`.
        end: Row after its last; the expression is `code[start:end]`, not empty.
        texts: uint8[:], the program's constant texts.
        slot_tags: int64[slots, lanes], tags of the inputs. Missing event properties are ERROR, attributes without a value NULL.
        slot_bits: int64[slots, lanes], bits of the inputs.
        stack_tags: int64[STACK_DEPTH_MAX, lanes], scratch.
        stack_bits: int64[STACK_DEPTH_MAX, lanes], scratch.
        chosen: int64[n], the lanes in which it is evaluated. With addresses and facts there is only one, 0.
    """
    evaluate_lanes(
        span_of(context),
        span_of(code),
        start,
        end,
        span_of(texts),
        (span_of(slot_tags), span_of(slot_bits)),
        (span_of(stack_tags), span_of(stack_bits)),
        (span_of(chosen), np.int64(chosen.shape[0]), np.int64(stack_tags.shape[1])),
    )
