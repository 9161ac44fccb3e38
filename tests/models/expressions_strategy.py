"""Random CEL expressions of the supported subset, with inputs for them."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

INT_EDGES = [0, 1, -1, 2, 3, 7, 10, 2**31, 2**53, 2**53 + 1, 2**62, 2**63 - 1, -(2**63), -(2**63) + 1]
DOUBLE_EDGES = [0.0, -0.0, 0.5, 1.0, 2.0, -1.5, 1e10, 2.0**53, 9.2e18, -(2.0**63), 2.0**63, 1e300]
DOUBLE_EDGES += [float("inf"), float("-inf"), float("nan")]
TEXTS = ["", "a", "ab", "abc", "b", "é", "éa", "日本", "/checkout/pay", "EUR", "ÀbC"]
TEXTS += ["https://Shop.example/a?q=x+y&utm_source=%C3%A9", "http://u@h:1?q=#f", "mailto:a@b"]

ints = st.sampled_from(INT_EDGES) | st.integers(-(2**63), 2**63 - 1)
doubles = st.sampled_from(DOUBLE_EDGES) | st.floats(width=64)
texts = st.sampled_from(TEXTS)

ROW_INPUTS: dict[str, tuple[str, st.SearchStrategy[Any]]] = {
    "i": ("int", st.none() | ints),
    "j": ("int", st.none() | ints),
    "d": ("double", st.none() | doubles),
    "e": ("double", st.none() | doubles),
    "b": ("bool", st.none() | st.booleans()),
    "s": ("string", st.none() | texts),
    "t": ("string", st.none() | texts),
}
PATTERNS = ["", "a", "^a", "b$", "^a.?b*$", "[^a]", "(a|é){2}", "^.$", "(?i)eur|^/CHECK", "a*", "utm_source=[^&]+"]

LISTS = {"few": ["a", "EUR", "é"], "none": [], "abc": ["abc", "ab"]}
"""Look-up lists that expressions may read."""

EVENT_NUMBERS = ("n", "m")  # never strings: `+` of two strings joins them in CEL, and not here
EVENT_OTHERS = ("x", "y")

numbers = st.none() | st.booleans() | doubles
others = st.none() | st.booleans() | doubles | texts


@st.composite
def row_values(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a value or none for each input of expressions on a row."""
    return {name: draw(values) for name, (_, values) in ROW_INPUTS.items()}


@st.composite
def event_values(draw: st.DrawFn) -> dict[str, Any]:
    """Draw properties of an event; any may be missing."""
    chosen = {name: draw(numbers) for name in EVENT_NUMBERS} | {name: draw(others) for name in EVENT_OTHERS}
    missing = draw(st.sets(st.sampled_from(sorted(chosen))))
    return {name: value for name, value in chosen.items() if name not in missing}


def literal(value: Any) -> str:
    """Return a CEL literal."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return "'" + value + "'"
    return repr(value)


@st.composite
def expressions(draw: st.DrawFn, names: dict[str, list[str]], kind: str, depth: int = 3) -> str:
    """Draw the text of an expression of a kind: `bool`, `int`, `double` or `string`.

    Args:
        draw: Given by hypothesis.
        names: Inputs by kind.
        kind: Type that the expression most likely has.
        depth: Levels of operators at most.
    """

    def sub(of: str) -> str:
        return draw(expressions(names, of, depth - 1))

    if depth == 0 or draw(st.integers(0, 4)) == 0:
        return draw(_leaf(names, kind))
    if draw(st.integers(0, 5)) == 0:
        return f"({sub('bool')} ? {sub(kind)} : {sub(kind)})"
    if kind == "string":
        choice = draw(st.sampled_from(["leaf", "join", "letters", "url"]))
        if choice == "join":
            # One side must be nothing but a string.
            return f"('{draw(st.sampled_from(['', 'x', 'É']))}' + {sub('string')})"
        if choice == "letters":
            return f"{sub('string')}.{draw(st.sampled_from(['lowerAscii', 'upperAscii']))}()"
        if choice == "url" and names["url"]:
            return draw(_url(names["url"]))
        return draw(_leaf(names, kind))
    if kind in ("int", "double"):
        choice = draw(st.sampled_from(["+", "-", "*", "/", "%", "negate", "cast", "size", "extreme"]))
        if choice == "extreme":
            items = [sub(kind) for _ in range(draw(st.integers(2, 3)))]
            return f"math.{draw(st.sampled_from(['greatest', 'least']))}({', '.join(items)})"
        if choice == "negate":
            return f"-({sub(kind)})"
        if choice == "cast":
            return f"{kind}({sub(draw(st.sampled_from(['int', 'double'])))})"
        if choice == "size" and kind == "int" and names["string"]:
            return f"size({draw(st.sampled_from(names['string']))})"
        sign = choice if choice in "+-*/" or (kind == "int" and choice == "%") else "*"
        return f"({sub(kind)} {sign} {sub(kind)})"
    return draw(_bool(names, depth))


@st.composite
def _url(draw: st.DrawFn, names: list[str]) -> str:
    name = draw(st.sampled_from(names))
    part = draw(st.sampled_from(["scheme", "host", "path", "fragment", "query"]))
    return (
        f"url.query({name}, '{draw(st.sampled_from(['q', 'utm_source']))}')"
        if part == "query"
        else f"url.{part}({name})"
    )


@st.composite
def _bool(draw: st.DrawFn, names: dict[str, list[str]], depth: int) -> str:
    def sub(of: str) -> str:
        return draw(expressions(names, of, depth - 1))

    any_kind = st.sampled_from(["int", "double", "bool", "string"])
    choice = draw(
        st.sampled_from(["&&", "||", "!", "==", "!=", "order", "mixed", "in", "list", "matches", "text", "null", "has"])
    )
    if choice in ("&&", "||"):
        return f"({sub('bool')} {choice} {sub('bool')})"
    if choice == "!":
        return f"!({sub('bool')})"
    if choice in ("==", "!="):
        of = draw(any_kind)
        return f"({sub(of)} {choice} {sub(of)})"
    if choice == "order":
        of = draw(any_kind)
        return f"({sub(of)} {draw(st.sampled_from(['<', '<=', '>', '>=']))} {sub(of)})"
    if choice == "mixed":
        return f"({sub('int')} {draw(st.sampled_from(['<', '<=', '>', '>=', '==', '!=']))} {sub('double')})"
    if choice == "in":
        of = draw(any_kind)
        items = [sub(of) for _ in range(draw(st.integers(0, 3)))]
        return f"({sub(of)} in [{', '.join(items)}])"
    if choice == "list":
        return f"({sub('string')} in lists.{draw(st.sampled_from(sorted(LISTS)))})"
    if choice == "matches" and names["string"]:
        return f"{draw(st.sampled_from(names['string']))}.matches('{draw(st.sampled_from(PATTERNS))}')"
    if choice == "text" and names["string"]:
        function = draw(st.sampled_from(["startsWith", "endsWith", "contains"]))
        return f"{draw(st.sampled_from(names['string']))}.{function}({literal(draw(texts))})"
    if choice == "has" and names["has"]:
        return f"has({draw(st.sampled_from(names['has']))})"
    return f"({draw(_leaf(names, draw(any_kind)))} {draw(st.sampled_from(['==', '!=']))} null)"


@st.composite
def _leaf(draw: st.DrawFn, names: dict[str, list[str]], kind: str) -> str:
    wants_input = draw(st.booleans())
    if wants_input and names[kind]:
        return draw(st.sampled_from(names[kind]))
    if kind == "int":
        return literal(draw(ints))
    if kind == "double":
        return literal(draw(doubles.filter(lambda number: number - number == 0.0)))
    if kind == "bool":
        return literal(draw(st.booleans()))
    return literal(draw(texts))
