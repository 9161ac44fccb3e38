"""Rules for source files that no linter checks."""

from __future__ import annotations

import ast
import re

from tests.house.sources import code_line_count, committed_files, functions, python_files, shown

FILE_LINES_MAX = 800
FUNCTION_LINES_MAX = 70
NAMES_THAT_SAY_NOTHING = {"utils", "helpers", "common", "base", "manager", "misc"}

# Written in pieces, so that this file does not find itself.
FOREIGN = re.compile(
    "|".join(
        (
            r"pypi\." + "org|pythonhosted" + r"\.org|registry\.npm" + "js|proxy\\.golang" + r"\.org",
            r"repo1?\.maven" + "|crates" + r"\.io/api|deb\.debian" + r"\.org",
            r"(?<![\w.])/(?:home|root|Users|work)/" + r"\w",
        )
    )
)


def test_files_are_short() -> None:
    """No Python file has more lines than one can keep in mind."""
    lengths = {shown(path): len(path.read_text(encoding="utf-8").splitlines()) for path in python_files()}
    assert {name: length for name, length in lengths.items() if length > FILE_LINES_MAX} == {}


def test_functions_are_short() -> None:
    """No function is longer than a screen, its docstring not counted."""
    lengths = {
        f"{shown(path)}:{function.lineno} {function.name}": code_line_count(function)
        for path in python_files()
        for function in functions(path)
    }
    assert {name: length for name, length in lengths.items() if length > FUNCTION_LINES_MAX} == {}


def test_modules_say_what_they_hold() -> None:
    """No module has a name under which anything could stand."""
    assert [shown(path) for path in python_files() if path.stem in NAMES_THAT_SAY_NOTHING] == []


def test_every_test_says_what_is_true() -> None:
    """Every test has a docstring."""
    silent = [
        f"{shown(path)}:{function.lineno} {function.name}"
        for path in python_files()
        if path.name.startswith("test_")
        for function in functions(path)
        if function.name.startswith("test_") and ast.get_docstring(function) is None
    ]
    assert silent == []


def test_nothing_names_a_machine() -> None:
    """No committed file names a package registry's host or an absolute path of somebody's machine."""
    found = []
    for path in committed_files():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        found += [f"{shown(path)}: {match.group()}" for match in FOREIGN.finditer(text)]
    assert found == []


def test_locks_of_npm_name_no_address() -> None:
    """What npm installs is told by version and hash, not by where this machine found it."""
    locks = [path for path in committed_files() if path.name == "package-lock.json"]
    assert locks
    assert [shown(path) for path in locks if "://" in path.read_text(encoding="utf-8")] == []


def test_locks_hold_hashes() -> None:
    """Every requirement of the lock files is pinned to a version and its hashes."""
    for name in ("requirements.txt", "requirements-dev.txt"):
        path = next(path for path in committed_files() if shown(path) == name)
        entries = re.split(r"\n(?=\w)", path.read_text(encoding="utf-8").strip())
        assert [
            entry.split()[0] for entry in entries if not re.search(r"==\S+.*--hash=sha256:", entry, re.DOTALL)
        ] == []
