"""What to write instead of what an expression cannot have: for each refusal that the official engine words, and for types."""

from __future__ import annotations

import re

from rte_server.models.types import BOOL, NUMBER, STRING, TypeSet

EXAMPLE = "write one CEL expression, such as `views > 3 && basket_value == 0.0`"
"""Where nothing better is known."""

_FOUND = re.compile(r"(?:input|reference to|at:) '(.*?)'(?: |$|\))", re.DOTALL)
_WORDS = {
    "and": "write `&&`",
    "or": "write `||`",
    "not": "write `!x`, and `!(x in [...])` for `not in`",
    "is": "write `x == null`, `x == true`",
    "like": "write `x.contains('a')` or `x.startsWith('a')`",
    "between": "write `x >= 1 && x <= 9`",
}
_SIGNS = {
    "= ": "write `==`",
    "=": "write `==`",
    "=!": "write `!=`",
    "=<": "write `<=`",
    "=>": "write `>=`",
    "!": "write `!=`, or `&&` before it",
    "&": "write `&&`",
    "|": "write `||`",
    "*": "there are no powers: write `x * x`",
    "^": "there are no powers: write `x * x`",
    ";": "write one expression: join conditions with `&&`, or make two attributes",
    ",": "numbers have no thousands separator",
    ")": "leave it out, or write the `(` that it closes",
    "]": "leave it out, or write the `[` that it closes",
    "}": "there are no maps: leave the braces out",
    "<EOF>": "the expression is not complete",
    "..": "write one dot",
    ".": "write a digit after the dot of a number, and a name after another dot",
    "+": "write `x + 1`: nothing is assigned",
    "#": "comments stand in lines of the file, not in expressions",
}
_CLOSERS = re.compile(r"missing '([)\]}])'")
_QUOTES = "\u2018\u2019\u201c\u201d\u201e\u00b4`"  # those that word processors make
_ENDS_WITH_NOT = re.compile(r"\bnot\s*$", re.IGNORECASE)


def syntax_remedy(message: str, text: str, offset: int) -> str:
    """Return what to write instead of something that the official engine refuses to parse or to check.

    Args:
        message: What it says, in one line.
        text: The expression.
        offset: Where in it, in characters.
    """
    if "int literal" in message:
        return "ints go up to 9223372036854775807; write a double, such as `1e20`"
    if "has() argument" in message:
        return "write `has(event.price)` for a property, `x != null` for an attribute"
    if message.startswith("reserved identifier"):
        return "that word is reserved in CEL; choices are written `condition ? a : b`"
    closer = _CLOSERS.search(message)
    if closer:
        return f"write `{closer[1]}` where the bracket ends"
    found = _FOUND.search(message)
    refused = found[1] if found else ""
    if any(quote in refused for quote in _QUOTES):
        return "put texts between `'` or between `\"`"
    if "token recognition" in message and refused[:1] in ("'", '"'):
        return "strings end with the quote that they begin with"
    if refused == ">" and text[:offset].rstrip().endswith("<"):
        return "write `!=` for `<>`"
    if refused.lower() in _WORDS:
        return _WORDS[refused.lower()]
    if _ENDS_WITH_NOT.search(text[:offset]):
        return _WORDS["not"]
    sign = _SIGNS.get(refused) or _SIGNS.get(refused.strip())
    if sign:
        return sign
    if refused and "expecting <EOF>" in message:
        return f"write an operator before `{refused}`, such as `&&`, `==` or `+`"
    return EXAMPLE


def type_remedy(wanted: TypeSet, found: TypeSet) -> str:
    """Return what to write instead of a value of a wrong type."""
    if wanted == BOOL:
        return "compare it with something, as in `x > 0`"
    if wanted & NUMBER and found & STRING:
        return "texts are not converted: send the property as a number, or compare the text, as in `x == '3'`"
    if wanted & NUMBER and found & BOOL:
        return "write `(x ? 1 : 0)`, or `&&` and `||` between conditions"
    if wanted & STRING:
        return "write a property or an attribute that is a text"
    return "write a number, or a property or an attribute that is one"
