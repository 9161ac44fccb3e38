"""CEL expressions to code for the kernel.

The official engine parses and checks, `lowering` turns its syntax tree into instructions. Two kinds of expressions
exist: on an event, where `event.price` is a property of the event being folded, and on a row, where a name is an
attribute and `session.` leads to fields of the session.

This is the only module that imports the official engine, which is young.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from cel.expr import checked_pb2, syntax_pb2
from cel_expr_python import cel
from cel_expr_python.ext import ext_math, ext_strings
from google.protobuf import any_pb2

from rte_server.engine.expressions import INSTRUCTIONS_MAX, STACK_DEPTH_MAX, WRITES, Code, Op, stack_depth
from rte_server.engine.program import AttributeSpec
from rte_server.engine.reasons import EngineError, Reason
from rte_server.models.facts import FACT_FUNCTIONS
from rte_server.models.lowering import URL_FUNCTIONS, Lowering
from rte_server.models.problems import ExpressionError
from rte_server.models.refusals import syntax_remedy
from rte_server.models.types import BOOL, TypeSet, row_inputs, type_name

EXPRESSION_BYTES_MAX = 2048  # UTF-8 bytes of one expression

_EXPRESSIONS_MAX = 4096  # expressions that are kept compiled: models are compiled again when one of them changes
_ENVIRONMENTS_MAX = 64  # distinct sets of inputs whose environments are kept; making one takes about 0.1 ms
EXTENSIONS = (ext_strings.ExtStrings(), ext_math.ExtMath())
"""Parts of CEL's standard extensions are in the subset: `lowerAscii`, `upperAscii`, `math.greatest`, `math.least`."""

_MAKERS = {Op.URL: "url.", Op.FACT: "ua.", Op.LOWER: "lowerAscii", Op.UPPER: "upperAscii", Op.JOIN: "+"}
_POSITION = re.compile(r"ERROR: <input>:(-?\d+):(-?\d+): (.*)")
# `has(` outside of strings: strings are matched first.
_HAS = re.compile(r"""'[^'\n]*'|"[^"\n]*"|(\bhas\s*\()""")


@dataclass(frozen=True, slots=True)
class Expression:
    """A compiled expression.

    Attributes:
        code: Its instructions, not empty.
        types: The types its value can have.
    """

    code: Code
    types: TypeSet


def compile_event_expression(text: str, lists: frozenset[str] = frozenset(), *, each: bool = False) -> Expression:
    """Compile an expression on an event, such as `event.price * event.quantity`.

    Args:
        text: The expression.
        lists: Names of the look-up lists that it may read.
        each: Whether it may read `item`, an element of a list.

    Raises:
        ExpressionError: It is not CEL, outside the subset, or cannot have a value.
    """
    return _compile(text, None, lists, each=each)


def compile_row_expression(text: str, inputs: Mapping[str, TypeSet], lists: frozenset[str] = frozenset()) -> Expression:
    """Compile an expression on a row, such as `product_views > 3 && session.visit_number > 1`.

    Args:
        text: The expression.
        inputs: What it may read, from `row_inputs`.
        lists: Names of the look-up lists that it may read.

    Raises:
        ExpressionError: It is not CEL, outside the subset, names an unknown attribute, or cannot have a value.
    """
    return _compile(text, inputs, lists)


def compile_filter(text: str, attributes: Iterable[AttributeSpec]) -> Code:
    """Compile the filter of a query over sessions. Takes well under 2 ms; callers cache by text and program.

    Args:
        text: A boolean expression on a row.
        attributes: Those of the running models.

    Raises:
        EngineError: INVALID_EXPRESSION, with field `filter`, saying where and why.
    """
    try:
        found = compile_row_expression(text, row_inputs(attributes))
        require_bool(found)
        _refuse_writes(found.code)
    except ExpressionError as error:
        limit = str(EXPRESSION_BYTES_MAX) if len(text.encode()) > EXPRESSION_BYTES_MAX else ""
        raise EngineError(
            Reason.INVALID_EXPRESSION, f"The filter is not valid: {error}.", field="filter", value=text, limit=limit
        ) from error
    return found.code


def _refuse_writes(code: Code) -> None:
    """Refuse a filter that makes texts: it runs beside the writer, who alone may keep new ones."""
    for step in code:
        if step.op in WRITES:
            raise ExpressionError(f"a filter cannot use `{_MAKERS[step.op]}`", "make it a derived attribute of a model")


def require_bool(found: Expression) -> None:
    """Refuse an expression that can never be true or false.

    Raises:
        ExpressionError: Its types do not include bool.
    """
    if not found.types & BOOL:
        raise ExpressionError(
            f"this must be true or false, but it is {type_name(found.types)}",
            "compare it with something, as in `x > 0`",
        )


def parse_expression(text: str, inputs: Mapping[str, TypeSet] | None) -> tuple[Any, Mapping[int, int]]:
    """Return the official syntax tree of an expression, and where in the text each node begins, by its id.

    Args:
        text: The expression.
        inputs: As for `compile_row_expression`; None for an expression on an event.

    Raises:
        ExpressionError: It is not CEL.
    """
    parsed, _ = _parse(_environment(None if inputs is None else frozenset(inputs)), text)
    return parsed.expr, dict(parsed.source_info.positions)


def _compile(
    text: str, inputs: Mapping[str, TypeSet] | None, lists: frozenset[str], *, each: bool = False
) -> Expression:
    return _compiled(text, None if inputs is None else frozenset(inputs.items()), lists, each)


@lru_cache(maxsize=_EXPRESSIONS_MAX)
def _compiled(text: str, items: frozenset[tuple[str, TypeSet]] | None, lists: frozenset[str], each: bool) -> Expression:
    inputs = None if items is None else dict(items)
    size = len(text.encode("utf-8", "surrogatepass"))
    if size > EXPRESSION_BYTES_MAX:
        raise ExpressionError(f"the expression has {size} bytes, more than {EXPRESSION_BYTES_MAX}", "split it")
    if not text.strip():
        raise ExpressionError("the expression is empty", "write a CEL expression")
    if "\0" in text or any(0xD800 <= ord(char) <= 0xDFFF for char in text):
        raise ExpressionError("the expression has characters that are no text", "remove them")
    parsed, refusal = _parse(_environment(None if inputs is None else frozenset(inputs)), text)
    if inputs is not None:
        _refuse_has(text)
    lowering = Lowering(text, dict(parsed.source_info.positions), inputs, lists, each=each)
    types = lowering.lower(parsed.expr)
    # The checker refuses what its runtime can do with inputs but not with literals: `event.price * 2.0 > 100`,
    # `flag ? 1 : null`. Types are judged here; anything else that it finds stands.
    if refusal is not None and "found no matching overload" not in refusal.message:
        raise refusal
    for pattern in lowering.patterns:
        _check_pattern(pattern)
    code = tuple(lowering.code)
    if len(code) > INSTRUCTIONS_MAX or stack_depth(code) > STACK_DEPTH_MAX:
        raise ExpressionError(
            f"the expression is too large: {len(code)} instructions of at most {INSTRUCTIONS_MAX}, "
            f"{stack_depth(code)} values at once of at most {STACK_DEPTH_MAX}",
            "split it into several derived attributes",
        )
    return Expression(code, types)


@lru_cache(maxsize=_ENVIRONMENTS_MAX)
def _pattern_matcher() -> Any:
    return cel.NewEnv(variables={"x": cel.Type.STRING, "y": cel.Type.STRING}).compile("x.matches(y)")


def _check_pattern(pattern: str) -> None:
    """Refuse a pattern that the official engine, which is RE2, does not take."""
    found = _pattern_matcher().eval(data={"x": "", "y": pattern})
    if found.type() == cel.Type.ERROR:
        said = str(found).partition(": ")[2] or str(found)
        raise ExpressionError(
            f"the pattern `{pattern}` is not one of RE2: {said}", "see github.com/google/re2/wiki/Syntax"
        )


def _refuse_has(text: str) -> None:
    """Refuse `has` on a row. The official checker turns `has(session.channel)` into the plain field in its tree."""
    for found in _HAS.finditer(text):
        if found[1]:
            before = text[: found.start()]
            raise ExpressionError(
                "`has` is for properties of events",
                "write `x != null`",
                line=before.count("\n") + 1,
                column=len(before) - before.rfind("\n"),
            )


@lru_cache(maxsize=_ENVIRONMENTS_MAX)
def _environment(names: frozenset[str] | None) -> Any:
    """Return the official environment for expressions on an event (None) or on a row with these inputs."""
    variables = {"lists": cel.Type.Map(cel.Type.STRING, cel.Type.List(cel.Type.STRING))}
    if names is None:
        variables["event"] = cel.Type.Map(cel.Type.STRING, cel.Type.DYN)
        variables["item"] = cel.Type.DYN
    else:
        variables |= dict.fromkeys(names, cel.Type.DYN)
    counts = {name: count for name, (_, count) in URL_FUNCTIONS.items()} | dict.fromkeys(FACT_FUNCTIONS, 1)
    functions = [_declared(name, count) for name, count in counts.items()]
    return cel.NewEnv(variables=variables, functions=functions, extensions=EXTENSIONS)


def _declared(name: str, count: int) -> Any:
    """Return the declaration of a function on strings; it is only checked here, and evaluated by the kernel."""
    overload = cel.Overload(name.replace(".", "_"), return_type=cel.Type.DYN, parameters=[cel.Type.STRING] * count)
    return cel.FunctionDecl(name, [overload])


def _parse(environment: Any, text: str) -> tuple[Any, ExpressionError | None]:
    """Return the syntax tree, checked if the checker accepts it, else unchecked with what the checker said."""
    try:
        return _tree(environment.compile(text), checked_pb2.CheckedExpr()), None
    except RuntimeError as error:
        refusal = _translated(str(error), text)
    try:
        return _tree(environment.compile(text, disable_check=True), syntax_pb2.ParsedExpr()), refusal
    except RuntimeError as error:
        raise _translated(str(error), text) from None


def _tree(compiled: Any, message: Any) -> Any:
    packed = any_pb2.Any.FromString(compiled.serialize())
    packed.Unpack(message)
    return message


def _translated(official: str, text: str) -> ExpressionError:
    """Return what the official engine said in the words of this one: one sentence, with its place."""
    found = _POSITION.search(official)
    if found is None or "recursion" in official:
        return ExpressionError("the expression is nested more than 32 deep", "split it into several derived attributes")
    line, column, message = int(found[1]), int(found[2]), found[3].strip()
    line, column = max(line, 1), max(column, 1)
    message = message.replace("Syntax error: ", "").replace(" (in container '')", "")
    before = text.split("\n")[: line - 1]
    remedy = syntax_remedy(message, text, sum(len(each) + 1 for each in before) + column - 1)
    message = message.split(" expecting {")[0].replace("<EOF>", "end of the expression")
    kind = "syntax error" if "Syntax error" in official else "CEL refuses this"
    return ExpressionError(f"{kind}: {message}", remedy, line=line, column=column)
