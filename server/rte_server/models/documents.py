"""YAML documents as trees that remember their lines.

YAML 1.1 surprises are left out: `on`, `off`, `yes` and `no` are words, not booleans; anchors and aliases, tags and
duplicate keys are refused. Expressions make good use of YAML's special characters, so a syntax error says where
quotes are missing.
"""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import yaml

from rte_server.models.problems import ModelError, Problem

DOCUMENT_BYTES_MAX = 262_144  # UTF-8 bytes of one model or test file
DOCUMENT_DEPTH_MAX = 16  # nesting
DOCUMENTS_KEPT_MAX = 128
KEPT_BYTES_MAX = 2_097_152
"""Documents that are kept once they are read, and the UTF-8 bytes of their texts together. The same text is asked about many
times: a start of the server reads a model for its name, for its files, and each time that models are compiled. Twice
`loader.MODELS_MAX`, for those to come, too; but no more bytes, since a document takes 30 times the memory of its text. All the
models that ship have 100 KB."""

INT_CHARS_MAX = 40  # a longer row of digits is a text; Python refuses to read very long ones

_INT = re.compile(r"[-+]?[0-9]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NO_TEXT = re.compile("[\ud800-\udfff]")
_QUOTES = "put expressions with any of : , # & * ! [ ] { } into quotes"

Content: TypeAlias = "str | bool | int | float | list[Item] | dict[str, Item] | None"


@dataclass(frozen=True, slots=True)
class Item:
    """A node of a document.

    Attributes:
        content: A scalar, a list of items, or items by key.
        line: Line where it begins (that of its key, in a mapping), from 1.
        text_line: Line where its text begins; differs from `line` for block scalars.
    """

    content: Content
    line: int
    text_line: int


def read_document(source: str, file: str, what: str = "a model") -> Item:
    """Return the document in `source`. All who read the same text share it, so nobody may change it.

    Args:
        source: YAML text.
        file: Its name in error messages.
        what: What is to be written into a file that is empty.

    Raises:
        ModelError: It is not YAML, has duplicate keys, aliases or tags, or passes a limit.
    """
    try:
        return _kept.document(source)
    except ModelError as error:
        problems = [replace(each, file=file, remedy=each.remedy or f"write {what}") for each in error.problems]
        raise ModelError(problems) from None


def line_of(document: Item, member: str, entry: str = "") -> int:
    """Return the line of a member of a mapping, or of the entry of its list that reads so; 1 where there is no such member."""
    item = document.content.get(member) if isinstance(document.content, dict) else None
    if item is None:
        return 1
    entries = item.content if isinstance(item.content, list) else []
    return next((each.line for each in entries if str(each.content) == entry), item.line)


class _KeptDocuments:
    """The documents that were asked for last. Any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # The oldest first, with the bytes of their texts.
        self._kept: OrderedDict[str, tuple[Item, int]] = OrderedDict()
        self._bytes = 0

    def document(self, source: str) -> Item:
        """Return the document in `source`; the problems of a ModelError name no file."""
        with self._lock:
            if source in self._kept:
                self._kept.move_to_end(source)
                return self._kept[source][0]
        size = len(source.encode("utf-8", "surrogatepass"))
        item = _read(source, size)
        with self._lock:
            if source in self._kept:  # Another thread has read it meanwhile.
                return self._kept[source][0]
            self._kept[source] = item, size
            self._bytes += size
            while len(self._kept) > DOCUMENTS_KEPT_MAX or self._bytes > KEPT_BYTES_MAX:
                self._bytes -= self._kept.popitem(last=False)[1][1]
        return item


_kept = _KeptDocuments()


def _read(source: str, size: int) -> Item:
    """Return the document in `source`, which has `size` bytes; the problems of a ModelError name no file."""
    if size > DOCUMENT_BYTES_MAX:
        raise _refused(0, f"the file has {size} bytes, more than {DOCUMENT_BYTES_MAX}", "split it")
    try:
        loader = _Loader(source)
        try:
            node = loader.get_single_node()
        finally:
            loader.dispose()
    except yaml.reader.ReaderError as error:
        line = source.count("\n", 0, error.position) + 1
        raise _refused(
            line, f"the character U+{error.character:04X} cannot stand in a YAML file", "remove it"
        ) from None
    except yaml.YAMLError as error:
        raise ModelError([_syntax_problem(error)]) from None
    if node is None:
        raise _refused(1, "the file is empty", "")  # `read_document` knows what is to stand in it.
    problems: list[Problem] = []
    item = _convert(node, node.start_mark.line + 1, problems)
    if problems:
        raise ModelError(problems)
    return item


class _Loader(yaml.SafeLoader):
    """Makes nodes, but not of what would be dear: aliases can make a small file huge, and nodes are made recursively."""

    def __init__(self, source: str) -> None:
        super().__init__(source)
        self._depth = 0

    def get_event(self) -> Any:
        """Return the next event. The composer takes each in this way before it goes a level deeper."""
        event = super().get_event()  # type: ignore[no-untyped-call]
        line = event.start_mark.line + 1 if event.start_mark else 0
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise _refused(line, "anchors and aliases (`&`, `*`) are not supported", _QUOTES)
        self._depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if self._depth > DOCUMENT_DEPTH_MAX:
            raise _refused(line, f"this is nested more than {DOCUMENT_DEPTH_MAX} deep", "make it flatter")
        return event


def _refused(line: int, message: str, remedy: str) -> ModelError:
    return ModelError([Problem("", line, message, remedy)])


def _syntax_problem(error: yaml.YAMLError) -> Problem:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    what = getattr(error, "problem", None) or "it cannot be read"
    if what == "but found another document":
        remedy = "write each into a file of its own: `---` begins another document"
        return Problem("", mark.line + 1 if mark else 0, "the file has a second document", remedy)
    remedy = "indent with blanks, YAML has no tabs" if r"'\t'" in what else _QUOTES
    return Problem("", mark.line + 1 if mark else 0, f"this is not valid YAML: {what}", remedy)


def _convert(node: Any, line: int, problems: list[Problem]) -> Item:
    """Return the item of a YAML node; append what is wrong with it to `problems`."""
    text_line = node.start_mark.line + 1
    if node.tag.startswith("!"):
        problems.append(Problem("", text_line, f"`{node.tag}` is a YAML tag here", _QUOTES))
    if isinstance(node, yaml.ScalarNode):
        if _NO_TEXT.search(node.value):
            problems.append(Problem("", text_line, "this has half a character (`\\uD800` to `\\uDFFF`)", "remove it"))
        if node.style in ("|", ">"):
            text_line += 1
        return Item(_scalar(node), line, text_line)
    if isinstance(node, yaml.SequenceNode):
        items = [_convert(each, each.start_mark.line + 1, problems) for each in node.value]
        return Item(items, line, text_line)
    entries: dict[str, Item] = {}
    for key, value in node.value:
        key_line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode) or _NO_TEXT.search(key.value):
            problems.append(Problem("", key_line, "a key must be a word", _QUOTES))
            continue
        if key.value in entries:
            first = entries[key.value].line
            problems.append(Problem("", key_line, f"`{key.value}` stands twice", f"the first is in line {first}"))
        entries[key.value] = _convert(value, key_line, problems)
    return Item(entries, line, text_line)


def _scalar(node: Any) -> Content:
    """Return the value of a scalar; only plain ones can be numbers, booleans or null."""
    text = str(node.value)
    if node.style is not None:
        return text
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    if text in ("", "~") or text.lower() == "null":
        return None
    if len(text) <= INT_CHARS_MAX and _INT.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    return text
