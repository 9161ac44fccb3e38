"""Values of expressions, and what operators do with them.

A value is a pair of int64: a tag and bits. The semantics are CEL's; where its definition leaves room (an int beside a
double, the range of `int()`), they are those of cel-cpp, which the tests use as the oracle.
"""

from __future__ import annotations

import numpy as np

from rte_server.engine.kernel import inner
from rte_server.engine.native import bits_float, byte_at, fence_acquire, float_bits, word_at
from rte_server.engine.strings import LENGTH_BITS, LENGTH_MASK

# Tags of a value, with what its bits are.
ERROR = 0  # nothing
NULL = 1  # nothing
BOOL = 2  # 0 or 1
INT = 3  # the number
DOUBLE = 4  # the bits of the float64
STRING = 5  # the string id
TIME = 6  # milliseconds since 1970; an int to expressions
COMPOUND = 7  # a property that is a list or an object: it is there, and an error to all expressions but `has`

# Results of a comparison.
BELOW = -1
SAME = 0
ABOVE = 1
UNORDERED = 2  # a NaN takes part: every order is false
INCOMPARABLE = 3  # no order between these types: ERROR

# Predicates on a string and a constant text; the order relations follow in the order of `holds`.
SIZE = 0
STARTS_WITH = 1
ENDS_WITH = 2
CONTAINS = 3
TEXT_RELATION = 4
MATCHES = 8

ADD = 0
SUBTRACT = 1
MULTIPLY = 2
DIVIDE = 3
REMAINDER = 4

_INT_MIN = np.int64(-(2**63))
_TWO_63 = float(2**63)


@inner
def _order_numbers(tag_a, bits_a, tag_b, bits_b):  # type: ignore[no-untyped-def]
    """Return the order of two numbers. An int beside a double is rounded to a double first, as cel-cpp does."""
    if tag_a == INT and tag_b == INT:
        return BELOW if bits_a < bits_b else (ABOVE if bits_a > bits_b else SAME)
    a = np.float64(bits_a) if tag_a == INT else bits_float(bits_a)
    b = np.float64(bits_b) if tag_b == INT else bits_float(bits_b)
    if a < b:
        return BELOW
    if a > b:
        return ABOVE
    return SAME if a == b else UNORDERED


@inner
def _place_of(slots, string_id):  # type: ignore[no-untyped-def]
    """Return where a string's bytes are (offset << LENGTH_BITS | length), or -1 if the pool does not hold it.

    `slots` is the span of `StringPool.slots`. The search is that of `strings.find`, on a span.
    """
    mask = (slots[1] >> 1) - 1
    slot = string_id & mask
    while True:
        found = word_at(slots, 2 * slot)
        if found == string_id:
            fence_acquire()  # the place was written before the id
            return word_at(slots, 2 * slot + 1)
        if found == 0:
            return np.int64(-1)
        slot = (slot + 1) & mask


@inner
def _order_bytes(left, left_place, right, right_off, right_len):  # type: ignore[no-untyped-def]
    """Return the order of two byte ranges of spans, which is the order of code points for UTF-8."""
    left_off = left_place >> LENGTH_BITS
    left_len = left_place & LENGTH_MASK
    for i in range(min(left_len, right_len)):
        a = byte_at(left, left_off + i)
        b = byte_at(right, right_off + i)
        if a != b:
            return BELOW if a < b else ABOVE
    return BELOW if left_len < right_len else (ABOVE if left_len > right_len else SAME)


@inner
def order_of(tag_a, bits_a, tag_b, bits_b, slots, arena):  # type: ignore[no-untyped-def]
    """Return the order of two values, neither an error: BELOW, SAME, ABOVE, UNORDERED or INCOMPARABLE."""
    if (tag_a == INT or tag_a == DOUBLE) and (tag_b == INT or tag_b == DOUBLE):
        return _order_numbers(tag_a, bits_a, tag_b, bits_b)
    if tag_a == BOOL and tag_b == BOOL:
        return _order_numbers(np.int64(INT), bits_a, np.int64(INT), bits_b)
    if tag_a != STRING or tag_b != STRING:
        return INCOMPARABLE
    left = _place_of(slots, bits_a)
    right = _place_of(slots, bits_b)
    if left < 0 or right < 0:
        return INCOMPARABLE
    return _order_bytes(arena, left, arena, right >> LENGTH_BITS, right & LENGTH_MASK)


@inner
def holds(relation, order):  # type: ignore[no-untyped-def]
    """Return whether `order` satisfies <, <=, > or >= (relation 0 to 3)."""
    if order == UNORDERED:
        return False
    if relation == 0:
        return order < 0
    if relation == 1:
        return order <= 0
    if relation == 2:
        return order > 0
    return order >= 0


@inner
def equal(tag_a, bits_a, tag_b, bits_b):  # type: ignore[no-untyped-def]
    """Return whether two values, neither an error, are equal. Values of different types are not, numbers apart."""
    if (tag_a == INT or tag_a == DOUBLE) and (tag_b == INT or tag_b == DOUBLE):
        return _order_numbers(tag_a, bits_a, tag_b, bits_b) == SAME
    return tag_a == tag_b and (bits_a == bits_b or tag_a == NULL)


@inner
def _matches_at(arena, start, texts, offset, length):  # type: ignore[no-untyped-def]
    for i in range(length):
        if byte_at(arena, start + i) != byte_at(texts, offset + i):
            return False
    return True


@inner
def _number_at(texts, at):  # type: ignore[no-untyped-def]
    """Return the number of 2 bytes at `at`."""
    return byte_at(texts, at) | byte_at(texts, at + 1) << 8


@inner
def _finds_match(automaton, at, arena, start, size):  # type: ignore[no-untyped-def]
    """Return whether an automaton at `at` of a span, from `models.patterns`, finds a match in bytes of another span."""
    width = _number_at(automaton, at)
    classes = at + 2
    states = classes + 2 * 256
    state = np.int64(2)
    for i in range(size):
        found = _number_at(automaton, classes + 2 * byte_at(arena, start + i))
        state = _number_at(automaton, states + 2 * (state * (width + 1) + found))
        if state < 2:
            break  # one that is never left
    return _number_at(automaton, states + 2 * (state * (width + 1) + width)) != 0


@inner
def on_text(predicate, texts, offset, length, bits, slots, arena):  # type: ignore[no-untyped-def]
    """Return (tag, bits) of a predicate on a string and a constant text; ERROR if the pool lacks the string.

    Args:
        predicate: SIZE, STARTS_WITH, ENDS_WITH, CONTAINS, TEXT_RELATION + a relation of `holds`, or MATCHES.
        texts: Span of the constant texts; the text, or the automaton, is `texts[offset:offset+length]`.
        offset: See `texts`.
        length: See `texts`.
        bits: Id of the string.
        slots: Span of the pool's slots.
        arena: Span of the pool's arena.
    """
    place = _place_of(slots, bits)
    if place < 0:
        return ERROR, np.int64(0)
    if predicate == MATCHES:
        return BOOL, np.int64(_finds_match(texts, offset, arena, place >> LENGTH_BITS, place & LENGTH_MASK))
    if predicate >= TEXT_RELATION:
        order = _order_bytes(arena, place, texts, offset, length)
        return BOOL, np.int64(holds(predicate - TEXT_RELATION, order))
    start = place >> LENGTH_BITS
    size = place & LENGTH_MASK
    if predicate == SIZE:
        points = np.int64(0)
        for i in range(size):
            # Bytes 10xxxxxx continue a code point, all others begin one.
            points += np.int64(byte_at(arena, start + i) & 0xC0 != 0x80)
        return INT, points
    first = start + size - length if predicate == ENDS_WITH else start
    last = start if predicate == STARTS_WITH else start + size - length
    if length <= size:
        for at in range(first, last + 1):
            if _matches_at(arena, at, texts, offset, length):
                return BOOL, np.int64(1)
    return BOOL, np.int64(0)


_RELATIONS = np.int64(0x643122)
"""Per comparison, 4 bits: which of less (1), same (2) and greater (4) it is true for; `!=` negates."""


@inner
def compare_alike(comparison, tag, bits_a, bits_b):  # type: ignore[no-untyped-def]
    """Return whether a comparison of two ints or two doubles holds, 0 or 1; with a NaN, only `!=` does.

    Args:
        comparison: 0 for `==`, 1 for `!=`, then `<`, `<=`, `>`, `>=`.
        tag: INT or DOUBLE, the type of both.
    """
    if tag == INT:
        found = np.int64(bits_a < bits_b) | np.int64(bits_a == bits_b) << 1 | np.int64(bits_a > bits_b) << 2
    else:
        a, b = bits_float(bits_a), bits_float(bits_b)
        found = np.int64(a < b) | np.int64(a == b) << 1 | np.int64(a > b) << 2
    wanted = (_RELATIONS >> (comparison << 2)) & 7
    return np.int64(found & wanted != 0) ^ np.int64(comparison == 1)


@inner(error_model="numpy")
def _arithmetic_int(operator, a, b):  # type: ignore[no-untyped-def]
    """Return (tag, bits) of int arithmetic. What does not fit 64 bits, and division by zero, is an error.

    Results are computed unsigned, where wrapping is defined: numba tells the compiler that signed arithmetic never
    wraps, and the compiler would take the checks out.
    """
    unsigned_a = np.uint64(a)
    unsigned_b = np.uint64(b)
    if operator == ADD:
        result = np.int64(unsigned_a + unsigned_b)
        # Overflow if the operands agree in sign and the result does not.
        return (ERROR if ((a ^ result) & (b ^ result)) < 0 else INT), result
    if operator == SUBTRACT:
        result = np.int64(unsigned_a - unsigned_b)
        return (ERROR if ((a ^ b) & (a ^ result)) < 0 else INT), result
    if operator == MULTIPLY:
        if a == 0 or b == 0:
            return INT, np.int64(0)
        if (a == -1 and b == _INT_MIN) or (b == -1 and a == _INT_MIN):
            return ERROR, np.int64(0)
        result = np.int64(unsigned_a * unsigned_b)
        return (INT if result // b == a and result % b == 0 else ERROR), result
    if b == 0 or (a == _INT_MIN and b == -1):
        return ERROR, np.int64(0)
    quotient = a // b
    remainder = a - quotient * b
    # Python rounds down, CEL towards zero.
    if remainder != 0 and (a < 0) != (b < 0):
        quotient += 1
        remainder -= b
    return INT, (quotient if operator == DIVIDE else remainder)


@inner(error_model="numpy")
def arithmetic(operator, tag_a, bits_a, tag_b, bits_b):  # type: ignore[no-untyped-def]
    """Return (tag, bits) of ADD, SUBTRACT, MULTIPLY, DIVIDE or REMAINDER. Ints and doubles do not mix, as in CEL."""
    if tag_a == INT and tag_b == INT:
        return _arithmetic_int(operator, bits_a, bits_b)
    if tag_a != DOUBLE or tag_b != DOUBLE or operator == REMAINDER:
        return ERROR, np.int64(0)
    a = bits_float(bits_a)
    b = bits_float(bits_b)
    if operator == ADD:
        result = a + b
    elif operator == SUBTRACT:
        result = a - b
    elif operator == MULTIPLY:
        result = a * b
    else:
        result = a / b
    return DOUBLE, float_bits(result)


@inner
def greatest(is_least, tag_a, bits_a, tag_b, bits_b):  # type: ignore[no-untyped-def]
    """Return (tag, bits) of the greater of two numbers, or with `is_least` (1) of the lesser; of equals, the first."""
    if (tag_a != INT and tag_a != DOUBLE) or (tag_b != INT and tag_b != DOUBLE):
        return ERROR, np.int64(0)
    if _order_numbers(tag_b, bits_b, tag_a, bits_a) == (BELOW if is_least == 1 else ABOVE):
        return tag_b, bits_b
    return tag_a, bits_a


@inner
def negated(tag, bits):  # type: ignore[no-untyped-def]
    """Return (tag, bits) of the negative of a number."""
    if tag == INT and bits != _INT_MIN:
        return INT, -bits
    if tag == DOUBLE:
        return DOUBLE, float_bits(-bits_float(bits))
    return ERROR, bits


@inner
def to_double(tag, bits):  # type: ignore[no-untyped-def]
    """Return (tag, bits) of a number as a double."""
    if tag == INT:
        return DOUBLE, float_bits(np.float64(bits))
    return (DOUBLE if tag == DOUBLE else ERROR), bits


@inner
def to_int(tag, bits, exact):  # type: ignore[no-untyped-def]
    """Return (tag, bits) of a value as an int: a double is cut towards zero, a bool is 0 or 1.

    With `exact`, doubles with a fraction and bools are errors.
    """
    if tag == INT or (tag == BOOL and not exact):
        return INT, bits
    if tag == DOUBLE:
        number = bits_float(bits)
        # Both ends are excluded, as in cel-cpp; a NaN fails both comparisons.
        if number > -_TWO_63 and number < _TWO_63:
            whole = np.int64(number)
            if not exact or np.float64(whole) == number:
                return INT, whole
    return ERROR, bits
