"""The expression machine: encoding, limits, and the laws of its operators."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rte_server.engine.expressions import (
    INSTRUCTIONS_MAX,
    STACK_DEPTH_MAX,
    Code,
    Instruction,
    Op,
    encode_code,
    input_names,
    stack_depth,
    text_names,
)
from rte_server.engine.native import bits_float, float_bits
from rte_server.engine.reasons import EngineError, Reason
from rte_server.engine.values import BOOL, DOUBLE, ERROR, INT, NULL, STRING, TIME
from tests.engine.expression_pool import Machine

SECRET = np.arange(7, 11, dtype=np.uint64)
X = Instruction(Op.LOAD, name="x")
Y = Instruction(Op.LOAD, name="y")

values = st.one_of(
    st.tuples(st.sampled_from([ERROR, NULL]), st.just(0)),
    st.tuples(st.just(BOOL), st.integers(0, 1)),
    st.tuples(st.sampled_from([INT, TIME]), st.integers(-(2**63), 2**63 - 1)),
    st.tuples(st.just(DOUBLE), st.floats().map(lambda number: int(float_bits(number)))),
    st.tuples(st.just(STRING), st.integers(1, 2**62)),
)


def run(code: Code, *inputs: tuple[int, int], texts_known: tuple[str, ...] = ()) -> tuple[int, int]:
    """Evaluate with inputs for x and y."""
    return Machine(code, SECRET).run(dict(zip(("x", "y"), inputs, strict=False)), {}, texts_known)


@given(value=values)
def test_a_load_pushes_the_slot_and_a_time_is_an_int(value: tuple[int, int]) -> None:
    """LOAD gives the value of the slot as it is, except that a time becomes an int."""
    tag, bits = value
    assert run((X,), value) == (INT if tag == TIME else tag, bits)


@given(left=values, right=values)
def test_and_or_are_commutative_and_dual(left: tuple[int, int], right: tuple[int, int]) -> None:
    """`x && y` equals `y && x`, and `x || y` equals `!(!x && !y)`, whatever the values, errors included."""

    def shown(found: tuple[int, int]) -> object:
        return found[1] if found[0] == BOOL else found[0]

    both = shown(run((X, Y, Instruction(Op.AND)), left, right))
    assert both == shown(run((Y, X, Instruction(Op.AND)), left, right))
    inverse = Instruction(Op.NOT)
    dual = (X, inverse, Y, inverse, Instruction(Op.AND), inverse)
    assert shown(run((X, Y, Instruction(Op.OR)), left, right)) == shown(run(dual, left, right))


@given(left=values, right=values)
def test_equality_is_symmetric_and_negated_by_not_equal(left: tuple[int, int], right: tuple[int, int]) -> None:
    """`==` is symmetric for all types and `!=` is its negation; an error on a side is an error."""
    forward = run((X, Y, Instruction(Op.EQUAL)), left, right)
    assert forward[0] == (ERROR if ERROR in (left[0], right[0]) else BOOL)
    if forward[0] == BOOL:
        assert forward == run((Y, X, Instruction(Op.EQUAL)), left, right)
        assert run((X, Y, Instruction(Op.NOT_EQUAL)), left, right) == (BOOL, 1 - forward[1])


@given(left=st.integers(-(2**63), 2**63 - 1), right=st.integers(-(2**63), 2**63 - 1))
def test_int_arithmetic_is_exact_or_an_error(left: int, right: int) -> None:
    """A result that fits 64 bits is exact, one that does not is an error, division goes towards zero."""
    expected = {Op.ADD: left + right, Op.SUBTRACT: left - right, Op.MULTIPLY: left * right}
    if right != 0:
        quotient = abs(left) // abs(right) * (1 if (left < 0) == (right < 0) else -1)
        expected |= {Op.DIVIDE: quotient, Op.REMAINDER: left - quotient * right}
    for op in (Op.ADD, Op.SUBTRACT, Op.MULTIPLY, Op.DIVIDE, Op.REMAINDER):
        tag, bits = run((X, Y, Instruction(op)), (INT, left), (INT, right))
        # The remainder of the least int and -1 is 0, but cel-cpp makes it an error like the quotient.
        overflows = op in (Op.DIVIDE, Op.REMAINDER) and (left, right) == (-(2**63), -1)
        if op in expected and -(2**63) <= expected[op] < 2**63 and not overflows:
            assert (tag, bits) == (INT, expected[op])
        else:
            assert tag == ERROR


@pytest.mark.parametrize("op", [Op.ADD, Op.SUBTRACT, Op.MULTIPLY])
@pytest.mark.parametrize("left", [2**62, -(2**62), 2**63 - 1, -(2**63), 2**32, 3])
@pytest.mark.parametrize("right", [2**62, -(2**62), 2**63 - 1, -(2**63), 2**32, -1])
def test_overflow_is_found_at_the_edges(op: Op, left: int, right: int) -> None:
    """Products and sums that wrap around 64 bits, to zero even, are errors."""
    exact = {Op.ADD: left + right, Op.SUBTRACT: left - right, Op.MULTIPLY: left * right}[op]
    tag, bits = run((X, Y, Instruction(op)), (INT, left), (INT, right))
    assert (tag, bits) == (INT, exact) if -(2**63) <= exact < 2**63 else tag == ERROR


def test_division_of_doubles_by_zero_is_infinite() -> None:
    """Doubles follow IEEE 754: dividing by zero gives an infinity, not an error."""
    tag, bits = run(
        (Instruction(Op.DOUBLE, -1.0), Instruction(Op.DOUBLE, 0.0), Instruction(Op.DIVIDE)),
    )
    assert tag == DOUBLE and bits_float(bits) == float("-inf")


@given(text=st.text(max_size=12), part=st.text(max_size=3))
def test_predicates_on_text_equal_those_of_python(text: str, part: str) -> None:
    """startsWith, endsWith, contains, size and the order of strings are those of Python's str (by code points)."""
    from rte_server.engine.native import text_id

    value = (STRING, text_id(text.encode(), SECRET))
    encoded = part.encode()

    def found(op: Op) -> tuple[int, int]:
        return run((X, Instruction(op, text=encoded)), value, texts_known=(text,))

    assert found(Op.STARTS_WITH) == (BOOL, text.startswith(part))
    assert found(Op.ENDS_WITH) == (BOOL, text.endswith(part))
    assert found(Op.CONTAINS) == (BOOL, part in text)
    assert found(Op.TEXT_LESS) == (BOOL, text < part)
    assert found(Op.TEXT_LESS_EQUAL) == (BOOL, text <= part)
    assert found(Op.TEXT_GREATER) == (BOOL, text > part)
    assert found(Op.TEXT_GREATER_EQUAL) == (BOOL, text >= part)
    assert run((X, Instruction(Op.SIZE)), value, texts_known=(text,)) == (INT, len(text))
    other = (STRING, text_id(encoded, SECRET))
    assert run((X, Y, Instruction(Op.LESS)), value, other, texts_known=(text, part)) == (BOOL, text < part)


def test_a_string_that_the_pool_lacks_is_an_error_where_its_bytes_are_needed() -> None:
    """Equality needs no bytes; predicates and orders on an unknown string have no value."""
    unknown = (STRING, 12345)
    assert run((X, X, Instruction(Op.EQUAL)), unknown) == (BOOL, 1)
    assert run((X, Instruction(Op.CONTAINS, text=b"a")), unknown)[0] == ERROR
    assert run((X, X, Instruction(Op.LESS)), unknown)[0] == ERROR
    assert run((X, Instruction(Op.SIZE)), unknown)[0] == ERROR


@pytest.mark.parametrize(
    ("op", "number", "value", "expected"),
    [
        (Op.ONLY, STRING, (STRING, 7), (STRING, 7)),
        (Op.ONLY, STRING, (NULL, 0), (ERROR, None)),
        (Op.ONLY, BOOL, (INT, 1), (ERROR, None)),
        (Op.WHOLE, 0, (DOUBLE, int(float_bits(3.0))), (INT, 3)),
        (Op.WHOLE, 0, (DOUBLE, int(float_bits(3.5))), (ERROR, None)),
        (Op.WHOLE, 0, (DOUBLE, int(float_bits(float("nan")))), (ERROR, None)),
        (Op.WHOLE, 0, (BOOL, 1), (ERROR, None)),
        (Op.TO_INT, 0, (BOOL, 1), (INT, 1)),
        (Op.TO_INT, 0, (DOUBLE, int(float_bits(-3.9))), (INT, -3)),
        (Op.TO_INT, 0, (DOUBLE, int(float_bits(2.0**63))), (ERROR, None)),
        (Op.TO_DOUBLE, 0, (INT, 3), (DOUBLE, int(float_bits(3.0)))),
        (Op.TO_DOUBLE, 0, (STRING, 3), (ERROR, None)),
    ],
)
def test_conversions(op: Op, number: int, value: tuple[int, int], expected: tuple[int, int | None]) -> None:
    """A value passes a conversion as the type asked for, or is an error."""
    tag, bits = run((X, Instruction(op, number)), value)
    assert tag == expected[0] and expected[1] in (None, bits)


def test_limits_are_refused_when_a_code_is_encoded() -> None:
    """Too many instructions, too deep a stack and unknown names are refused, so that the kernel needs no checks."""
    deep = (X,) * (STACK_DEPTH_MAX + 1) + (Instruction(Op.AND),) * STACK_DEPTH_MAX
    long = (X,) + (Instruction(Op.NOT),) * INSTRUCTIONS_MAX
    for code in (deep, long, (Instruction(Op.LOAD, name="z"),)):
        with pytest.raises(EngineError) as caught:
            encode_code(code, {"x": 0}, bytearray(), SECRET)
        assert caught.value.reason == Reason.INVALID_EXPRESSION
    assert stack_depth(deep[1:-1]) == STACK_DEPTH_MAX


def test_what_a_code_reads_is_known() -> None:
    """Inputs are listed by name; those whose bytes are needed, too."""
    equality = (X, Instruction(Op.TEXT, text=b"a"), Instruction(Op.EQUAL))
    prefix = (X, Instruction(Op.STARTS_WITH, text=b"a"))
    assert input_names(equality) == {"x"} and text_names(equality) == frozenset()
    assert text_names(prefix) == {"x"}
