"""Members of a model file that are expressions on events."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from rte_server.engine.expressions import Code, Op
from rte_server.models.cel import Expression, compile_event_expression, require_bool
from rte_server.models.documents import Item
from rte_server.models.problems import ExpressionError
from rte_server.models.refusals import attribute_remedy
from rte_server.models.schema import Reader


def read_expression(reader: Reader, item: Item, where: str, compiled: Callable[[str], Expression]) -> Expression | None:
    """Compile the expression in `item`; note what is wrong with it, at its line of the file."""
    content = item.content
    # A literal such as 1 or true is an expression, too; YAML made a value of it.
    text = {True: "true", False: "false"}[content] if isinstance(content, bool) else content
    if isinstance(text, (int, float)):
        text = repr(text)
    if not isinstance(text, str):
        reader.problem(item, f"{where} must be an expression", "write for example `event.price`")
        return None
    try:
        return compiled(text)
    except ExpressionError as error:
        line = item.text_line + error.line - 1
        message, remedy = error.message, error.remedy
        if error.name.partition(".")[0] in reader.attributes:
            message = f"an expression on an event cannot read the attribute `{error.name}`"
            remedy = attribute_remedy(error.name)
        reader.problem(line, f"{where}: {message} (column {error.column} of the expression)", remedy)
        return None


def read_value(
    reader: Reader, item: Item, where: str, lists: frozenset[str], *, each: bool = False
) -> Expression | None:
    """Return an expression on an event.

    Args:
        lists: Names of the look-up lists that it may read.
        each: Whether it may read `item`, an element of the list that `each` names.
    """
    return read_expression(reader, item, where, partial(compile_event_expression, lists=lists, each=each))


def read_each(reader: Reader, members: Mapping[str, Item], where: str) -> tuple[str, bool]:
    """Return the property that the member `each` names, a list, or empty; and whether an event without it stands for itself."""
    item = members.get("each")
    if item is None:
        return "", False
    or_event = isinstance(item.content, list)
    if isinstance(item.content, list):
        if [each.content for each in item.content[1:]] != ["event"]:
            message = f"{where}, `each` must be a property of the event, or one and then `event`"
            reader.problem(item, message, "write for example `each: [event.items, event]`")
            return "", False
        item = item.content[0]
    found = read_expression(reader, item, f"{where}, `each`", compile_event_expression)
    if found is None:
        return "", False
    if [step.op for step in found.code] != [Op.LOAD]:
        reader.problem(item, f"{where}, `each` must be a property of the event", "write for example `event.items`")
        return "", False
    return str(found.code[0].name), or_event


def read_condition(
    reader: Reader, members: Mapping[str, Item], where: str, lists: frozenset[str], *, each: bool = False
) -> Code:
    """Return the code of the member `where`; () where there is none. See `read_value`."""
    item = members.get("where")
    if item is None:
        return ()

    def compiled(text: str) -> Expression:
        found = compile_event_expression(text, lists, each=each)
        require_bool(found)
        return found

    found = read_expression(reader, item, f"{where}, `where`", compiled)
    return found.code if found else ()
