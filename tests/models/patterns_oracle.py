"""Runs the automaton of a pattern, plainly; and asks the official engine, which is RE2."""

from __future__ import annotations

import struct
from typing import Any

from cel_expr_python import cel

_OFFICIAL = cel.NewEnv(variables={"x": cel.Type.STRING, "y": cel.Type.STRING}).compile("x.matches(y)")


def finds_match(automaton: bytes, text: str) -> bool:
    """Return whether an automaton of `models.patterns` finds a match."""
    numbers = struct.unpack(f"<{len(automaton) // 2}H", automaton)
    width, classes, states = numbers[0], numbers[1:257], numbers[257:]
    state = 2
    for byte in text.encode():
        state = states[state * (width + 1) + classes[byte]]
    return bool(states[state * (width + 1) + width])


def official_match(pattern: str, text: str) -> bool | None:
    """Return what the official engine says; None if it refuses the pattern."""
    found: Any = _OFFICIAL.eval(data={"x": text, "y": pattern})
    return None if found.type() == cel.Type.ERROR else bool(found.plain_value())
