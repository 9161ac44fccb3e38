"""Patterns for `x.matches('...')`: RE2 expressions as automata that the kernel runs, one step per byte.

An expression is parsed by Python's parser, after the official engine has accepted it, and only as far as both mean the
same. It becomes a nondeterministic automaton over UTF-8 bytes, and that a deterministic one, whose size is limited. So a
pattern costs about a nanosecond per byte, whatever it says, and cannot run away.

Source: Thompson, "Regular expression search algorithm", CACM 1968; Cox, "Regular Expression Matching: the Virtual
Machine Approach", 2009; RE2's syntax, github.com/google/re2/wiki/Syntax.
"""

from __future__ import annotations

import re
import struct
import warnings
from collections.abc import Iterable, Sequence
from re import _constants as sre  # type: ignore[attr-defined]
from re import _parser  # type: ignore[attr-defined]
from typing import Any

from rte_server.models.problems import ExpressionError

STATES_MAX = 1000  # of the deterministic automaton
WORK_MAX = (
    200_000  # nodes looked at for all patterns of an expression: some 50 ms, since a filter must not hold up everybody
)
NODES_MAX = 20_000  # of the nondeterministic one
CHAR_MAX = 0x10FFFF

DEAD, MATCHED = 0, 1  # states that are never left: no match is possible any more, or there is one

Ranges = list[tuple[int, int]]
_CLASSES: dict[Any, Ranges] = {
    sre.CATEGORY_DIGIT: [(0x30, 0x39)],
    sre.CATEGORY_WORD: [(0x30, 0x39), (0x41, 0x5A), (0x5F, 0x5F), (0x61, 0x7A)],
    sre.CATEGORY_SPACE: [(0x09, 0x0A), (0x0C, 0x0D), (0x20, 0x20)],
}
_NEGATED = {
    sre.CATEGORY_NOT_DIGIT: sre.CATEGORY_DIGIT,
    sre.CATEGORY_NOT_WORD: sre.CATEGORY_WORD,
    sre.CATEGORY_NOT_SPACE: sre.CATEGORY_SPACE,
}
_FOLDED = {"k": 0x212A, "s": 0x17F}
"""Letters beyond ASCII that differ from an ASCII letter by case alone (Unicode, CaseFolding.txt)."""

_NOT_ALIKE = ((r"\[:", "write the characters, as in `[a-z]`"), (r"\{,", "write `{0,n}`"))
"""What both parsers take, and understand differently."""


class Budget:
    """What the patterns of one expression may cost together."""

    def __init__(self) -> None:
        """Make one that nothing was taken of yet."""
        self._left = WORK_MAX

    def take(self, work: int) -> None:
        """Take the looks at some nodes.

        Raises:
            ExpressionError: There are not that many left.
        """
        self._left -= work
        if self._left < 0:
            raise ExpressionError("the patterns take too long to prepare", "repeat less, or write fewer of them")


def compile_pattern(pattern: str, budget: Budget | None = None) -> bytes:
    """Return the automaton of a pattern, as `values.on_text` runs it.

    Args:
        pattern: As RE2 understands it.
        budget: That of its expression; None: the pattern is one by itself.

    Returns:
        Numbers of 2 bytes each, little-endian: the number of byte classes; the class of each of the 256 bytes; then per
        state from 0 on the next state for each class, and 1 or 0, whether the text may end there. State 2 is the first.

    Raises:
        ExpressionError: It is outside of what is supported, or too large.
    """
    for found, remedy in _NOT_ALIKE:
        if re.search(found, pattern):
            raise ExpressionError(f"the pattern has `{found.replace(chr(92), '')}`, which is not supported", remedy)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            tree = _parser.parse(pattern)
    except (re.error, RecursionError, OverflowError, Warning) as error:
        raise ExpressionError(f"the pattern is not supported: {error}", "write it in simpler terms") from None
    nodes = _Nodes()
    ignore_case = bool(tree.state.flags & re.IGNORECASE)
    if tree.state.flags & ~(re.IGNORECASE | re.DOTALL | re.UNICODE):
        raise ExpressionError("of the flags of patterns only `i` and `s` are supported", "leave the others out")
    end = nodes.sequence(tree, nodes.start, ignore_case, bool(tree.state.flags & re.DOTALL))
    budget = budget or Budget()
    budget.take(len(nodes.steps))
    return _Automaton(nodes, end, budget).encoded()


class _Nodes:
    """A nondeterministic automaton.

    Attributes:
        steps: Per node, (first byte, last byte, next node).
        empty: Per node, the nodes that it is left for without a byte.
        at_start: The same, at the start of the text only.
        at_end: The same, at its end only.
        start: The first node.
    """

    def __init__(self) -> None:
        self.steps: list[list[tuple[int, int, int]]] = []
        self.empty: list[list[int]] = []
        self.at_start: list[list[int]] = []
        self.at_end: list[list[int]] = []
        self.start = self.node()

    def node(self) -> int:
        if len(self.steps) >= NODES_MAX:
            raise ExpressionError("the pattern is too large", "repeat less, or split it")
        for each in (self.steps, self.empty, self.at_start, self.at_end):
            each.append([])
        return len(self.steps) - 1

    def sequence(self, items: Any, at: int, ignore_case: bool, dot_all: bool) -> int:
        """Append what a sequence of the syntax tree matches behind a node; return the node at its end."""
        for op, value in items:
            at = self._item(op, value, at, ignore_case, dot_all)
        return at

    def _item(self, op: Any, value: Any, at: int, ignore_case: bool, dot_all: bool) -> int:
        if op in (sre.LITERAL, sre.NOT_LITERAL, sre.ANY, sre.IN):
            return self._characters(_ranges_of(op, value, ignore_case, dot_all), at)
        if op == sre.AT:
            kinds = {sre.AT_BEGINNING: self.at_start, sre.AT_BEGINNING_STRING: self.at_start, sre.AT_END: self.at_end}
            if value not in kinds:
                raise ExpressionError(
                    "of places only `^` and `$` are part of patterns", "write the characters around it"
                )
            after = self.node()
            kinds[value][at].append(after)
            return after
        if op == sre.SUBPATTERN:
            _, added, removed, items = value
            if (added | removed) & ~(re.IGNORECASE | re.DOTALL):
                raise ExpressionError("of the flags of patterns only `i` and `s` are supported", "leave the others out")
            ignore_case = (ignore_case or bool(added & re.IGNORECASE)) and not removed & re.IGNORECASE
            dot_all = (dot_all or bool(added & re.DOTALL)) and not removed & re.DOTALL
            return self.sequence(items, at, ignore_case, dot_all)
        if op == sre.BRANCH:
            after = self.node()
            for items in value[1]:
                first = self.node()
                self.empty[at].append(first)
                self.empty[self.sequence(items, first, ignore_case, dot_all)].append(after)
            return after
        if op in (sre.MAX_REPEAT, sre.MIN_REPEAT):
            return self._repeated(value, at, ignore_case, dot_all)
        raise ExpressionError("the pattern looks around or back, which is not supported", "write it in simpler terms")

    def _repeated(self, value: Any, at: int, ignore_case: bool, dot_all: bool) -> int:
        low, high, items = value
        for _ in range(low):
            at = self.sequence(items, at, ignore_case, dot_all)
        after = self.node()
        self.empty[at].append(after)
        if high == sre.MAXREPEAT:
            loop = self.node()
            self.empty[after].append(loop)
            self.empty[self.sequence(items, loop, ignore_case, dot_all)].append(after)
            return after
        for _ in range(high - low):
            at = self.sequence(items, at, ignore_case, dot_all)
            self.empty[at].append(after)
        return after

    def _characters(self, ranges: Ranges, at: int) -> int:
        """Append a step over one character."""
        after = self.node()
        for low, high in ranges:
            for sequence in _byte_ranges(low, high):
                here = at
                for place, (first, last) in enumerate(sequence):
                    there = after if place == len(sequence) - 1 else self.node()
                    self.steps[here].append((first, last, there))
                    here = there
        return after


def _ranges_of(op: Any, value: Any, ignore_case: bool, dot_all: bool) -> Ranges:
    """Return the characters that an item of the syntax tree stands for."""
    if op == sre.ANY:
        return _inverted([] if dot_all else [(0x0A, 0x0A)])
    if op in (sre.LITERAL, sre.NOT_LITERAL):
        found = _folded([(value, value)], ignore_case)
        return _inverted(found) if op == sre.NOT_LITERAL else found
    ranges: Ranges = []
    is_negated = False
    for kind, item in value:
        if kind == sre.NEGATE:
            is_negated = True
        elif kind == sre.LITERAL:
            ranges += _folded([(item, item)], ignore_case)
        elif kind == sre.RANGE:
            ranges += _folded([item], ignore_case)
        else:
            folded = _folded(_CLASSES[_NEGATED.get(item, item)], ignore_case)
            ranges += _inverted(folded) if item in _NEGATED else folded
    return _inverted(ranges) if is_negated else ranges


def _folded(ranges: Ranges, ignore_case: bool) -> Ranges:
    """Return the ranges with the other case of their letters."""
    if not ignore_case:
        return ranges
    found = list(ranges)
    for low, high in ranges:
        if high >= 0x80:
            raise ExpressionError("`(?i)` is for letters of ASCII here", "write both cases, as in `[éÉ]`")
        for code in range(low, high + 1):
            letter = chr(code)
            found.append((ord(letter.swapcase()),) * 2)
            if letter.lower() in _FOLDED:
                found.append((_FOLDED[letter.lower()],) * 2)
    return found


def _inverted(ranges: Ranges) -> Ranges:
    found: Ranges = []
    at = 0
    for low, high in sorted(ranges):
        if low > at:
            found.append((at, low - 1))
        at = max(at, high + 1)
    return found + ([(at, CHAR_MAX)] if at <= CHAR_MAX else [])


def _byte_ranges(low: int, high: int) -> Iterable[tuple[tuple[int, int], ...]]:
    """Yield sequences of byte ranges that together are the UTF-8 forms of the characters from `low` to `high`.

    Source: the method of RE2 and of the Rust crate utf8-ranges: cut where the number of bytes changes, then where a
    range of last bytes is not whole.
    """
    for first, last in ((0, 0x7F), (0x80, 0x7FF), (0x800, 0xD7FF), (0xE000, 0xFFFF), (0x10000, CHAR_MAX)):
        if max(low, first) <= min(high, last):
            yield from _cut(max(low, first), min(high, last))


def _cut(low: int, high: int) -> Iterable[tuple[tuple[int, int], ...]]:
    count = len(chr(low).encode())
    for more in range(1, count):
        mask = (1 << (6 * more)) - 1
        if low & ~mask != high & ~mask:
            if low & mask:
                yield from _cut(low, low | mask)
                yield from _cut((low | mask) + 1, high)
                return
            if high & mask != mask:
                yield from _cut(low, (high & ~mask) - 1)
                yield from _cut(high & ~mask, high)
                return
    yield tuple(zip(chr(low).encode(), chr(high).encode(), strict=True))


class _Automaton:
    """Makes a deterministic automaton that says whether a text has a match anywhere."""

    def __init__(self, nodes: _Nodes, end: int, budget: Budget) -> None:
        self.nodes = nodes
        self.end = end
        self.class_of, self.bytes_of = _classes(nodes)
        self.states: dict[frozenset[int], int] = {}
        self.todo: list[frozenset[int]] = []
        self.count = 0
        self.budget = budget

    def encoded(self) -> bytes:
        rows: list[list[int]] = []
        width = len(self.bytes_of)
        first = self._closed({self.nodes.start}, self.nodes.at_start)
        # A match may begin at any later place, too.
        later = self._closed({self.nodes.start})
        # The first state is one of its own though a later one may have the same nodes: only the empty text ends in it, at the
        # start as well as at the end.
        self.todo.append(first)
        self.count = 1
        while self.todo:
            state = self.todo.pop(0)
            conditional = [self.nodes.at_end] if rows else [self.nodes.at_end, self.nodes.at_start]
            ends = self.end in self._closed(state, *conditional)
            rows.append([*(self._next(state, byte, later) for byte in self.bytes_of), int(ends)])
        fixed = [[DEAD] * width + [0], [MATCHED] * width + [1]]
        numbers = [width, *self.class_of, *(number for row in (*fixed, *rows) for number in row)]
        # What begins with a match needs no step: the first state is the one that is never left.
        if self.end in first:
            numbers = [width, *self.class_of, *fixed[0], *fixed[1], *fixed[1]]
        return struct.pack(f"<{len(numbers)}H", *numbers)

    def _number(self, state: frozenset[int]) -> int:
        if state not in self.states:
            if self.count >= STATES_MAX:
                raise ExpressionError("the pattern is too large for an automaton", "repeat less, or split it")
            self.states[state] = self.count + 2
            self.count += 1
            self.todo.append(state)
        return self.states[state]

    def _next(self, state: frozenset[int], byte: int, later: frozenset[int]) -> int:
        self.budget.take(len(state))
        reached = {to for node in state for low, high, to in self.nodes.steps[node] if low <= byte <= high}
        after = self._closed(reached) | later
        if self.end in after:
            return MATCHED
        return self._number(after) if after else DEAD

    def _closed(self, found: Iterable[int], *conditional: Sequence[Sequence[int]]) -> frozenset[int]:
        """Return nodes and all that are reached from them without a byte."""
        reached = set(found)
        todo = list(reached)
        while todo:
            node = todo.pop()
            for edges in (self.nodes.empty, *conditional):
                for to in edges[node]:
                    if to not in reached:
                        reached.add(to)
                        todo.append(to)
        self.budget.take(len(reached))
        return frozenset(reached)


def _classes(nodes: _Nodes) -> tuple[list[int], list[int]]:
    """Return the class of each byte, and one byte of each class: bytes of a class lead to the same nodes everywhere."""
    borders = {0, 256}
    for steps in nodes.steps:
        for low, high, _ in steps:
            borders |= {low, high + 1}
    starts = sorted(borders)[:-1]
    class_of = [0] * 256
    for number, (low, high) in enumerate(zip(starts, sorted(borders)[1:], strict=True)):
        class_of[low:high] = [number] * (high - low)
    return class_of, starts
