"""Expressions: a straight-line stack machine with the semantics of CEL.

`Code` is what the model compiler produces: instructions with names and constants. `encode_code` turns it into rows of
integers for a program, which `evaluation` runs inside the fold and inside queries. There are no jumps: both sides of
`&&`, `||` and `?:` are evaluated and the operator picks. Nothing an expression does has an effect, so the result is the
same as with short-circuiting, and the kernel stays small.

A value is a pair of int64 (tag, bits), see `engine.values`. An error is a value too, as in CEL: it passes through every
operator except `&&`, `||` and `?:`, which absorb it when the other side decides. What ends as ERROR or NULL counts as
"no value".

Source: the CEL language definition (github.com/google/cel-spec, doc/langdef.md); where the definition leaves room
(mixed int and double comparison, range of `int()`), cel-cpp, which the tests use as the oracle.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import IntEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rte_server.engine.native import float_bits, text_id
from rte_server.engine.reasons import EngineError, Reason
from rte_server.engine.texts_made import IS_KEPT, NAME_LENGTH_BITS
from rte_server.engine.values import BOOL, DOUBLE, ERROR, INT, NULL, STRING, TIME
from rte_server.engine.verdicts import automaton_id

__all__ = [
    "BOOL",
    "DOUBLE",
    "ERROR",
    "INSTRUCTIONS_MAX",
    "INT",
    "NULL",
    "STACK_DEPTH_MAX",
    "STRING",
    "TIME",
    "Code",
    "Instruction",
    "Op",
    "always_read",
    "conjuncts",
    "encode_code",
    "input_names",
    "stack_depth",
    "text_names",
]

STACK_DEPTH_MAX = 32  # values on the stack at once; codes that need more are refused when they are compiled
INSTRUCTIONS_MAX = 256  # instructions of one code
CODE_COLUMNS = 4  # op, a, b, c

# Added to the number of an operator on two values: where its operands are, if not both on the stack.
WITH_CONSTANT = np.int64(64)  # the right one is a constant
WITH_SLOT = np.int64(128)  # the right one is an input
OF_SLOT_AND_CONSTANT = np.int64(192)  # the left one is an input, the right one a constant
OPERATOR_MASK = np.int64(63)


class Op(IntEnum):
    """The instructions. `->` shows the stack, top at the right; `x` stands for any value, `s` for a string."""

    NULL = 1  # -> null
    BOOL = 2  # -> bool, `number` 0 or 1
    INT = 3  # -> int, `number`
    DOUBLE = 4  # -> double, `number`
    TEXT = 5  # -> string, `text`
    LOAD = 6  # -> value of the slot `name`
    HAS = 7  # -> bool: the slot `name` is not ERROR
    URL = 8  # -> string or null: part `number` of the address in the property `name`; `text` names the parameter
    FACT = 9  # -> what the function `text` says of the property `name`, see `facts`
    NOT = 10  # bool -> bool
    NEGATE = 11  # int or double -> the same
    TO_INT = 12  # int, double or bool -> int
    TO_DOUBLE = 13  # int or double -> double
    SIZE = 14  # s -> int, code points
    STARTS_WITH = 15  # s -> bool, `text`
    ENDS_WITH = 16
    CONTAINS = 17
    TEXT_LESS = 18  # s -> bool: s < `text`, by bytes
    TEXT_LESS_EQUAL = 19
    TEXT_GREATER = 20
    TEXT_GREATER_EQUAL = 21
    MATCHES = 22  # s -> bool: whether the automaton `text` finds a match, see `models.patterns`
    LOWER = 23  # s -> s with a to z for A to Z
    UPPER = 24
    IN_LIST = 25  # x -> bool: whether the look-up list `text` has it
    IN_CELLS = 26  # x -> bool: whether the list attribute `name` has it
    ONLY = 27  # x -> x if its tag is `number`, else ERROR
    WHOLE = 28  # int, or double without fraction -> int, else ERROR
    IN_START = 29  # x -> x false
    IN_ITEM = 30  # x bool y -> x (bool or x == y)
    IN_END = 31  # x bool -> bool
    SELECT = 32  # bool x y -> x or y
    AND = 33  # bool bool -> bool, for this and all below: two values -> one
    OR = 34
    EQUAL = 35
    NOT_EQUAL = 36
    LESS = 37
    LESS_EQUAL = 38
    GREATER = 39
    GREATER_EQUAL = 40
    ADD = 41
    SUBTRACT = 42
    MULTIPLY = 43
    DIVIDE = 44
    REMAINDER = 45
    GREATEST = 46  # number number -> the greater, the first one if neither is
    LEAST = 47
    JOIN = 48  # s s -> s


class Instruction(NamedTuple):
    """One instruction.

    Attributes:
        op: What to do.
        number: The constant of BOOL, INT, DOUBLE; the tag of ONLY; the `url_parts.UrlPart` of URL.
        text: The UTF-8 constant of TEXT and of the predicates on text; the automaton of MATCHES; the parameter of URL; the name of the list of
            IN_LIST and of the function of FACT.
        name: The input of LOAD, HAS, URL, FACT and IN_CELLS (there with CELLS_SUFFIX): a property name on the event, an attribute or `session.` field on the row.
    """

    op: Op
    number: int | float = 0
    text: bytes | None = None
    name: str | None = None


Code = tuple[Instruction, ...]

_WITH_TEXT = frozenset(range(Op.STARTS_WITH, Op.MATCHES + 1))
_PUSHES = frozenset((Op.NULL, Op.BOOL, Op.INT, Op.DOUBLE, Op.TEXT, Op.LOAD, Op.HAS, Op.URL, Op.FACT, Op.IN_START))
_NEEDS_BYTES = _WITH_TEXT | {Op.SIZE, Op.LOWER, Op.UPPER, Op.JOIN}
_COMPARES = frozenset((Op.LESS, Op.LESS_EQUAL, Op.GREATER, Op.GREATER_EQUAL))

CELLS_SUFFIX = "[]"
"""Behind the name of a list attribute whose entries are looked through: its place is loaded, not its newest value."""

WRITES = frozenset((Op.URL, Op.FACT, Op.LOWER, Op.UPPER, Op.JOIN))
"""Instructions that put texts into the pool or count, as only the writer may; filters run beside it without them."""


def stack_depth(code: Code) -> int:
    """Return the greatest number of values that `code` has on the stack at once, >= 0."""
    return max(_depths(code), default=0)


def _depths(code: Code) -> Iterator[int]:
    """Yield the number of values on the stack after each instruction."""
    depth = 0
    for instruction in code:
        op = instruction.op
        if op in _PUSHES:
            depth += 1
        elif op == Op.SELECT:
            depth -= 2
        elif op >= Op.IN_ITEM:
            depth -= 1
        yield depth


def conjuncts(code: Code) -> tuple[Code, ...]:
    """Return codes all of which give `true` if and only if `code` does, in the order in which they stand in it."""
    if not code or code[-1].op != Op.AND:
        return (code,) if code else ()
    # The left operand ends where one value was on the stack for the last time: the right one is above it.
    left = max(end for end, depth in enumerate(_depths(code[:-2]), 1) if depth == 1)
    return *conjuncts(code[:left]), *conjuncts(code[left:-1])


def input_names(code: Code) -> frozenset[str]:
    """Return the names that `code` reads."""
    return frozenset(instruction.name for instruction in code if instruction.name is not None)


def looks_at_texts(code: Code) -> bool:
    """Return whether `code` may look at the bytes of strings. Equality and membership need only ids."""
    return bool({instruction.op for instruction in code} & (_NEEDS_BYTES | _COMPARES))


def text_names(code: Code, *, keeps_result: bool = False) -> frozenset[str]:
    """Return the names whose string bytes must be in the pool when `code` is evaluated.

    Those that it may look at, or return where its result is kept. Where it looks at any, all that it loads are
    returned, which errs on the safe side. Addresses are split where they are, in the request.
    """
    if not keeps_result and not looks_at_texts(code):
        return frozenset()
    return frozenset(str(instruction.name) for instruction in code if instruction.op == Op.LOAD)


def always_read(code: Code) -> frozenset[str]:
    """Return names of inputs each of which makes the result ERROR when it is one: none if some operator may absorb it."""
    absorbing = {Op.HAS, Op.IN_START, Op.IN_ITEM, Op.IN_END, Op.SELECT, Op.AND, Op.OR}
    return frozenset() if absorbing & {instruction.op for instruction in code} else input_names(code)


def encode_code(
    code: Code,
    slots: Mapping[str, int],
    texts: bytearray,
    secret: NDArray[np.uint64],
    lists: Mapping[str, tuple[int, int]] | None = None,
    *,
    keeps_result: bool = False,
) -> NDArray[np.int64]:
    """Return `code` as rows for `evaluation.evaluate`.

    Args:
        code: At most INSTRUCTIONS_MAX instructions.
        slots: Slot of each name that the code reads.
        texts: Constant texts of the program; those of this code are appended.
        secret: uint64[4], the deployment secret that string ids are keyed with.
        lists: Place of each look-up list: where it begins in `ProgramArrays.lists`, and its slots.
        keeps_result: Whether the bytes of a result that is a string must be in the pool.

    Returns:
        int64[n, CODE_COLUMNS]. Constants: (INT, tag, bits, 0), whatever their type. LOAD, HAS, IN_CELLS: (op, slot, 0, 0).
        Predicates on text: (op, offset in `texts`, length, 0, or its `automaton_id`). ONLY: (op, tag, 0, 0). IN_LIST: (op, place, slots, 0).
        FACT: (op, slot, id of the function, 0). URL: (op, slot, wanted, name), see `texts_made.part_of_property`. Operators on two values whose
        operands need not pass over the stack: (op + WITH_CONSTANT, tag, bits, 0), (op + WITH_SLOT, slot, 0, 0),
        (op + OF_SLOT_AND_CONSTANT, tag, bits, slot).

    Raises:
        EngineError: INVALID_EXPRESSION if a name has no slot or the code passes a limit.
    """
    if len(code) > INSTRUCTIONS_MAX or stack_depth(code) > STACK_DEPTH_MAX:
        raise EngineError(
            Reason.INVALID_EXPRESSION,
            "The expression is too large: split it.",
            value=f"{len(code)} instructions",
            limit=str(INSTRUCTIONS_MAX),
        )
    rows = np.zeros((len(code), CODE_COLUMNS), np.int64)
    for row, instruction in zip(rows, code, strict=True):
        op = instruction.op
        row[0] = op
        if op <= Op.TEXT:
            row[0] = Op.INT
            row[1], row[2] = _constant(instruction, secret)
        elif op in (Op.LOAD, Op.HAS, Op.IN_CELLS):
            row[1] = _slot(instruction.name, slots)
        elif op == Op.URL:
            text = instruction.text or b""
            is_kept = IS_KEPT if keeps_result or looks_at_texts(code) else 0
            row[1] = _slot(instruction.name, slots)
            row[2:] = int(instruction.number) | is_kept, len(texts) << int(NAME_LENGTH_BITS) | len(text)
            texts += text
        elif op == Op.FACT:
            row[1], row[2] = _slot(instruction.name, slots), text_id(instruction.text or b"", secret)
        elif op == Op.IN_LIST:
            row[1:3] = (lists or {})[(instruction.text or b"").decode()]
        elif op in _WITH_TEXT:
            text = instruction.text or b""
            row[1], row[2] = len(texts), len(text)
            if op == Op.MATCHES:
                row[3] = automaton_id(text, secret)
            texts += text
        elif op == Op.ONLY:
            row[1] = int(instruction.number)
    return _fused(rows)


def _fused(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the rows with operands put into the operators that use them: fewer rows, the same results.

    What stands right before an operator on two values is the end of its right operand, and before that, if the right
    operand is a single row, the end of the left one.
    """
    fused: list[list[int]] = []
    for op, a, b, c in rows.tolist():
        row = [op, a, b, c]
        if op >= Op.AND and fused[-1][0] == Op.INT:
            _, tag, bits, _ = fused.pop()
            row = [op + int(WITH_CONSTANT), tag, bits, 0]
            if fused[-1][0] == Op.LOAD:
                row = [op + int(OF_SLOT_AND_CONSTANT), tag, bits, fused.pop()[1]]
        elif op >= Op.AND and fused[-1][0] == Op.LOAD:
            row = [op + int(WITH_SLOT), fused.pop()[1], 0, 0]
        fused.append(row)
    return np.array(fused, np.int64).reshape(-1, CODE_COLUMNS)


def _constant(instruction: Instruction, secret: NDArray[np.uint64]) -> tuple[int, int]:
    """Return the value (tag, bits) that a constant instruction pushes."""
    if instruction.op == Op.NULL:
        return NULL, 0
    if instruction.op == Op.BOOL:
        return BOOL, int(bool(instruction.number))
    if instruction.op == Op.INT:
        return INT, int(instruction.number)
    if instruction.op == Op.DOUBLE:
        return DOUBLE, int(float_bits(float(instruction.number)))
    return STRING, text_id(instruction.text or b"", secret)


def _slot(name: str | None, slots: Mapping[str, int]) -> int:
    if name is None or name not in slots:
        raise EngineError(Reason.INVALID_EXPRESSION, f"There is no attribute {name!r}.", value=str(name))
    return slots[name]
