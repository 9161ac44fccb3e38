"""What to write instead of what an expression cannot have: for each refusal that the official engine words, and for types."""

from __future__ import annotations

import re
from collections.abc import Collection

from rte_server.models.problems import did_you_mean, nearest
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
    ",": "it stands in lists and between the arguments of a function only",
    ")": "leave it out, or write the `(` that it closes",
    "]": "leave it out, or write the `[` that it closes",
    "}": "there are no maps: leave the braces out",
    "<EOF>": "the expression is not complete",
    "..": "write one dot",
    ".": "write a digit after the dot of a number, and a name after another dot",
    "+": "write `x + 1`: nothing is assigned",
    "#": "comments stand in lines of the file, not in expressions",
}
_INSTEAD = {
    "string": "compare the value itself, as in `x == 5`",
    "bool": "write the condition itself, as in `x == true`",
    "uint": "write `int(...)`",
    "bytes": "use the string itself",
    "type": "test with a comparison of that type, as in `x > 0`",
    "dyn": "leave `dyn` out, every input is dynamic",
    "timestamp": "times are milliseconds since 1970, as in `session.start_time > 1700000000000`",
    "duration": "durations are seconds, as in `session.duration_s > 60`",
    "min": "write `math.least(a, b)`",
    "max": "write `math.greatest(a, b)`",
    "abs": "write `x < 0.0 ? -x : x`",
    "round": "write `int(x + 0.5)` where x is not negative",
    "floor": "write `int(x)` where x is not negative: it cuts the fraction off",
    "lower": "write `x.lowerAscii()`",
    "upper": "write `x.upperAscii()`",
    "split": "use `startsWith`, `endsWith` or `contains`",
    "substring": "use `startsWith`, `endsWith` or `contains`",
    "replace": "send the text as it is needed",
    "trim": "send the text without blanks around it",
}
_CONSTANTS = {"true": "true", "false": "false", "none": "null", "null": "null", "nil": "null"}
_IN_PARENTHESES = re.compile(r"\bin\s*\([^()]*$")
_THOUSANDS = re.compile(r"[0-9],[0-9]{3}")
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
    if refused == "," and _IN_PARENTHESES.search(text[:offset]):
        return "lists are written with brackets: `x in ['a', 'b']`"
    if refused == "," and _THOUSANDS.match(text, max(offset - 1, 0)):
        return "numbers have no thousands separator"
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


def call_remedy(function: str, supported: Collection[str]) -> str:
    """Return what to write instead of a function that there is not.

    Args:
        function: Its name, with its namespace.
        supported: Those that there are.
    """
    instead = _INSTEAD.get(function.removeprefix("math."), "")
    if not instead and function.startswith("math."):
        return "of `math` there are `math.greatest` and `math.least`"
    return instead or did_you_mean(function, supported)


def event_remedy(name: str) -> str:
    """Return what to write instead of a name that an expression on an event cannot read."""
    if name.lower() in _CONSTANTS:
        return f"write `{_CONSTANTS[name.lower()]}`"
    if name.startswith(("session.", "customer.")):
        return f"only `derived:` and `when` of triggers read sessions and customers: ask for `{name}` there"
    return f"write `event.{name}` for the property" + (f", `'{name}'` for the text" if "." not in name else "")


def attribute_remedy(name: str) -> str:
    """Return what to do where an expression on an event reads the attribute of that name."""
    return f"it reads properties, such as `event.price`: ask for `{name}` in `derived:` or in `when` of a trigger"


def row_remedy(name: str, known: Collection[str]) -> str:
    """Return what to write instead of a name that an expression on a row cannot read.

    Args:
        name: The name.
        known: Those that it can read.
    """
    if name.lower() in _CONSTANTS:
        return f"write `{_CONSTANTS[name.lower()]}`"
    instead = did_you_mean(name, known) or "write it into `attributes:`"
    return instead if "." in name or nearest(name, known) else f"texts stand in quotes, as in `'{name}'`; {instead}"
