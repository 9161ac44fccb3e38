"""Look-up lists: a file of values beside a model file, for `x in lists.name`.

A file is UTF-8 text with one value per line. Empty lines, and lines that begin with `#`, are left out; so are blanks
around a value. A file whose name ends in `.csv` is read as CSV (RFC 4180; a cell in quotes may have commas, quotes that
are doubled, and line ends): with `column` its first line names the columns, without it has one column and no heading.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping

from rte_server.engine.program import ListSpec
from rte_server.models.documents import Item
from rte_server.models.problems import Problem, did_you_mean
from rte_server.models.schema import LIST_MEMBERS, TEXT_CHARS_MAX, Reader

LISTS_MAX = 64  # lists of one model
LIST_VALUES_MAX = 250_000  # values of one list
LIST_FILE_BYTES_MAX = 8 * 1024 * 1024  # UTF-8 bytes of one file
FILES_BYTES_MAX = 32 * 1024 * 1024  # of all files of a configuration together: it is one entry of the journal
VALUE_BYTES_MAX = 1024  # UTF-8 bytes of one value
FILE_NAME_CHARS_MAX = 200

_FILE_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*(/[A-Za-z0-9_-][A-Za-z0-9_.-]*)*")
_EXAMPLE = "stolen_cards: {file: stolen_cards.csv}"


def is_file_name(name: str) -> bool:
    """Return whether a path is one that a model may name: relative, and not above the model's folder."""
    return len(name) <= FILE_NAME_CHARS_MAX and _FILE_NAME.fullmatch(name) is not None


def list_files(members: Mapping[str, Item]) -> dict[str, Item]:
    """Return the files that the lists of a model name, leniently: `read_lists` says what is wrong with them."""
    content = members["lists"].content if "lists" in members else None
    found: dict[str, Item] = {}
    for item in (content if isinstance(content, dict) else {}).values():
        stated = item.content.get("file") if isinstance(item.content, dict) else None
        if stated is not None and isinstance(stated.content, str) and is_file_name(stated.content):
            found[stated.content] = stated
    return found


def read_lists(reader: Reader, members: Mapping[str, Item], files: Mapping[str, str]) -> list[ListSpec]:
    """Return the lists of a model; notes their problems, those of the files with their lines.

    Args:
        reader: Of the model file.
        members: Members of the model.
        files: The texts of the model's files, by name.
    """
    item = members.get("lists")
    if item is None or item.content is None:
        return []
    entries = reader.mapping(item, "`lists`", _EXAMPLE)
    if len(entries) > LISTS_MAX:
        reader.problem(item, f"the model has {len(entries)} lists, more than {LISTS_MAX}", "join some of them")
    found = [
        _read_list(reader, name, entry, files)
        for name, entry in entries.items()
        if reader.name(name, entry.line, "a list")
    ]
    return [each for each in found if each is not None]


def _read_list(reader: Reader, name: str, item: Item, files: Mapping[str, str]) -> ListSpec | None:
    where = f"list `{name}`"
    members = reader.mapping(item, where, _EXAMPLE)
    reader.known_members(members, LIST_MEMBERS, where)
    file = reader.text(members, "file", FILE_NAME_CHARS_MAX)
    reader.text(members, "description", TEXT_CHARS_MAX)
    column = reader.text(members, "column", TEXT_CHARS_MAX)
    may_be_empty = reader.flag(members, "allow_empty", False) or reader.is_recorded
    if not file:
        reader.problem(item, f"{where} names no file", f"write for example `{_EXAMPLE}`")
        return None
    if not is_file_name(file):
        remedy = "name a file in the folder of the model file, or below: letters, digits, `_`, `-`, `.` and `/`"
        reader.problem(members["file"], f"{where}: `{file}` cannot be the file of a list", remedy)
        return None
    if file not in files:
        reader.problem(members["file"], f"{where}: there is no file `{file}`", "put it beside the model file")
        return None
    values, problem = parse_list(files[file], file, column)
    if problem is not None:
        reader.problems.append(problem)
    elif not values and not may_be_empty:
        # Mostly a file that was cut off while it was written: everything would pass. It is a problem of the model, so that
        # of models in one configuration only this one runs on with the list that it has.
        remedy = "fill it, or write `allow_empty: true` into the list if there may be none"
        reader.problem(members["file"], f"{where}: the file `{file}` has no values", remedy)
    return ListSpec(name, file, values)


def parse_list(text: str, file: str, column: str = "") -> tuple[tuple[str, ...], Problem | None]:
    """Return the values of a list, each once, in their order; and the first thing that is wrong, if any.

    Args:
        text: Of the file.
        file: Its name.
        column: CSV: the column with the values, named in the first line; empty: there is one column and no heading.
    """
    size = len(text.encode("utf-8", "surrogatepass"))
    if size > LIST_FILE_BYTES_MAX:
        return (), Problem(file, 0, f"the file has {size} bytes, more than {LIST_FILE_BYTES_MAX}", "split it")
    if column and not file.endswith(".csv"):
        return (), Problem(file, 0, f"`column: {column}` is for files that end in `.csv`", "rename the file")
    try:
        return _values(_csv_lines(text) if file.endswith(".csv") else _plain_lines(text), file, column)
    except _CsvError as error:
        return (), Problem(
            file, error.line, f"this is not CSV: {error}", "close the quotes; within a value, double them"
        )


def _values(lines: Iterator[tuple[int, list[str]]], file: str, column: str) -> tuple[tuple[str, ...], Problem | None]:
    """Do what `parse_list` does, with the lines (number, cells) that say something."""
    found: dict[str, None] = {}
    place = -1 if column else 0
    for line, cells in lines:
        if place < 0:
            if column not in cells:
                return (), Problem(
                    file, line, f"the first line names no column `{column}`", did_you_mean(column, cells)
                )
            if cells.count(column) > 1:
                return (), Problem(file, line, f"the first line names `{column}` twice", "rename one of the columns")
            place = cells.index(column)
            continue
        problem = _refusal(cells, place, column, file, line)
        if problem is not None:
            return tuple(found), problem
        if cells[place]:
            found[cells[place]] = None
        if len(found) > LIST_VALUES_MAX:
            return (), Problem(file, line, f"there are more than {LIST_VALUES_MAX} values", "split the file")
    return tuple(found), None


def _refusal(cells: list[str], place: int, column: str, file: str, line: int) -> Problem | None:
    """Return what is wrong with a line, or None."""
    if len(cells) <= place:
        return Problem(file, line, f"the line has no column `{column}`", "give every line as many columns as the first")
    if not column and len(cells) > 1:
        return Problem(file, line, f"the line has {len(cells)} columns", "say which one it is: `column: card`")
    size = len(cells[place].encode("utf-8", "surrogatepass"))
    if size > VALUE_BYTES_MAX:
        return Problem(
            file, line, f"a value has {size} bytes, more than {VALUE_BYTES_MAX}", "is this the right column?"
        )
    if "\0" in cells[place] or any(0xD800 <= ord(char) <= 0xDFFF for char in cells[place]):
        return Problem(file, line, "a value has characters that are no text", "save the file as UTF-8")
    return None


class _CsvError(Exception):
    """A file is not CSV; `line` says where, from 1."""

    def __init__(self, message: str, line: int) -> None:
        super().__init__(message)
        self.line = line


def _plain_lines(text: str) -> Iterator[tuple[int, list[str]]]:
    """Yield (line from 1, its one cell) of each line that says something."""
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), 1):
        if _says_something(line):
            yield number, [line.strip()]


def _csv_lines(text: str) -> Iterator[tuple[int, list[str]]]:
    """Yield (line where it begins, from 1, cells) of each row that says something.

    Raises:
        _CsvError: It is not CSV.
    """
    begins = 0  # Where the present row does; 0 between two rows, where comments may stand.
    number = 0

    def lines() -> Iterator[str]:
        nonlocal begins, number
        for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), 1):
            if begins or _says_something(line):
                begins = begins or number
                yield f"{line}\n"

    rows = csv.reader(lines(), strict=True)
    while True:
        begins = 0
        try:
            cells = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            raise _CsvError(str(error), begins or number) from None
        yield begins, [cell.strip() for cell in cells]


def _says_something(line: str) -> bool:
    return bool(line.strip()) and not line.startswith("#")
