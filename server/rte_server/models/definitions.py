"""Where a model defines an attribute: the lines of its source, and the expressions that stand in them."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass

from rte_server.models.attributes import derived_text
from rte_server.models.documents import Content, Item, read_document
from rte_server.models.schema import KINDS


@dataclass(frozen=True, slots=True)
class Definition:
    """What a model's source says of an attribute.

    Attributes:
        line: First of its lines, from 1.
        source: Its lines, without what they are indented by in common.
        value: The expression of its value, on an event or, for a derived attribute, on a session; empty if it has none.
        conditions: Its conditions on events, and those of its steps.
    """

    line: int
    source: str
    value: str
    conditions: tuple[str, ...]


def find_definition(source: str, name: str) -> Definition | None:
    """Return what the source of a model says of an attribute, or None if it does not define it.

    Args:
        source: YAML that compiles.
        name: Name of the attribute: `basket_value`, or of a part, `checkout.stage`; or of one of a model that runs alongside
            another version of itself, `retail_v4.basket_value`.
    """
    first, _, rest = name.partition(".")
    return _defined(source, first) or (_defined(source, rest.partition(".")[0]) if rest else None)


def _defined(source: str, name: str) -> Definition | None:
    document = read_document(source, "").content
    sections = document.values() if isinstance(document, dict) else ()
    for section in sections:
        item = section.content.get(name) if isinstance(section.content, dict) else None
        if item is not None:
            members = item.content if isinstance(item.content, dict) else {}
            words = (*KINDS, "when")
            heads = [derived_text(item), *(member for word, member in members.items() if word in words)]
            value = next((text for text in map(_text, (head.content for head in heads)) if text), "")
            return Definition(item.line, _lines(source, item), value, tuple(_conditions(item)))
    return None


def _conditions(item: Item) -> Iterator[str]:
    """Yield the conditions in an entry, at any depth."""
    content = item.content
    for word, each in content.items() if isinstance(content, dict) else ():
        if word == "where":
            yield _text(each.content)
        else:
            yield from _conditions(each)
    for each in content if isinstance(content, list) else ():
        yield from _conditions(each)


def _text(content: Content) -> str:
    """Return the text of a scalar as an expression, or an empty one."""
    if isinstance(content, bool):
        return "true" if content else "false"
    if isinstance(content, int | float):
        return repr(content)
    return content if isinstance(content, str) else ""


def _lines(source: str, item: Item) -> str:
    """Return the lines of an entry: its first, and those after it that are indented more."""
    lines = source.splitlines()[item.line - 1 :]
    own = _indent(lines[0])
    count = 1
    while count < len(lines) and (not lines[count].strip() or _indent(lines[count]) > own):
        count += 1
    return textwrap.dedent("\n".join(lines[:count])).rstrip()


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))
