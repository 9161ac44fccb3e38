"""The tables: which event and property of a protocol is which of RTE's.

A table is a YAML file with up to four members:

    events:      name of the protocol -> name of RTE, or {name, properties, each}
    properties:  name of a set -> {their name: our name}; the set `all` goes for every event
    lists:       {their name: {name: our name, properties: set}}, for lists of objects
    context:     path in what surrounds an event -> our name
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

TABLES = Path(__file__).with_name("tables")
NAMES_CACHED_MAX = 4096
NAME_CHARACTERS_CACHED_MAX = 256
"""Names are the sender's: longer ones are not kept, so that those that are kept stay small."""

_NO_WORD = re.compile(r"\W+")
_BEFORE_CAPITAL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


class TableError(Exception):
    """A table cannot be used; the message says where and why."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What one event of a protocol becomes.

    Attributes:
        name: RTE's name.
        properties: Their name -> RTE's, in the order of precedence.
        each: Name of a list of which each element becomes an event of its own; empty: none.
    """

    name: str
    properties: tuple[tuple[str, str], ...]
    each: str = ""


@dataclass(frozen=True, slots=True)
class ItemRule:
    """What a list of objects becomes."""

    name: str
    properties: tuple[tuple[str, str], ...]


class Table:
    """One table. A name that it lacks becomes itself in lower case with underscores."""

    def __init__(self, document: Mapping[str, Any], origin: str) -> None:
        """Read a table.

        Args:
            document: As YAML holds it.
            origin: Where it comes from, for errors.

        Raises:
            TableError: It cannot be used.
        """
        unknown = set(document) - {"events", "properties", "lists", "context", "settings"}
        if unknown:
            raise TableError(f"{origin}: unknown members: {', '.join(sorted(unknown))}")
        self._origin = origin
        self._sets = {
            name: _texts(found, f"{origin}: {name}") for name, found in document.get("properties", {}).items()
        }
        self._rules = {_key(str(name)): self._rule(found) for name, found in document.get("events", {}).items()}
        self.lists = {
            name: ItemRule(str(found["name"]), self._set(found.get("properties", "")))
            for name, found in document.get("lists", {}).items()
        }
        self.context: dict[str, list[tuple[Sequence[str], str]]] = {}
        for path, ours in _texts(document.get("context", {}), origin):
            first, *rest = path.split(".")
            self.context.setdefault(first, []).append((rest, ours))
        self.settings: Mapping[str, Any] = document.get("settings", {})
        self._cached = lru_cache(NAMES_CACHED_MAX)(self._found)

    @classmethod
    def load(cls, name: str, own: str) -> Table:
        """Return the table `name`, from the directory `own` if there is one with that file, else the one that ships.

        Raises:
            TableError: It cannot be used.
        """
        path = Path(own) / f"{name}.yaml"
        if not own or not path.is_file():
            path = TABLES / f"{name}.yaml"
        try:
            document = yaml.safe_load(path.read_text(encoding="utf-8"))
            return cls(document, str(path))
        except (OSError, UnicodeDecodeError, yaml.YAMLError, TypeError, KeyError, AttributeError) as error:
            raise TableError(f"{path} is no table: {error!r}") from error

    def known(self, name: str) -> Rule | None:
        """Return what an event becomes if the table has it."""
        return self._rules.get(_key(name))

    def rule(self, name: str) -> Rule:
        """Return what an event becomes, whether the table has it or not."""
        return self._cached(name) if len(name) <= NAME_CHARACTERS_CACHED_MAX else self._found(name)

    def properties(self, name: str) -> tuple[tuple[str, str], ...]:
        """Return a set of properties."""
        return self._set(name)

    def _found(self, name: str) -> Rule:
        return self._rules.get(_key(name)) or Rule(plain_name(name), self._set("all"))

    def _rule(self, found: Any) -> Rule:
        if isinstance(found, str):
            return Rule(found, self._set("all"))
        names = found.get("properties", [])
        sets = [names] if isinstance(names, str) else names
        return Rule(
            str(found["name"]),
            tuple(entry for each in (*sets, "all") for entry in self._set(each)),
            str(found.get("each", "")),
        )

    def _set(self, name: str) -> tuple[tuple[str, str], ...]:
        if name and name != "all" and name not in self._sets:
            raise TableError(f"{self._origin}: there is no set of properties {name}")
        return self._sets.get(name, ())


def plain_name(name: str) -> str:
    """Return a name in lower case, words joined by underscores: `Product Viewed` and `productViewed` are one name."""
    return _NO_WORD.sub("_", _BEFORE_CAPITAL.sub("_", name)).lower().strip("_")


def _key(name: str) -> str:
    """Return a name as it is looked up. Names of kinds of calls begin with `$`, so that no event can be taken for one."""
    return name if name.startswith("$") else plain_name(name)


def renamed(given: Mapping[str, Any], names: tuple[tuple[str, str], ...]) -> dict[str, Any]:
    """Return properties under RTE's names; the first that is given wins, what the table lacks keeps its name.

    Members that are null say nothing and are left out.
    """
    out: dict[str, Any] = {}
    used = set()
    for theirs, ours in names:
        if theirs not in used and ours not in out and given.get(theirs) is not None:
            out[ours] = given[theirs]
            used.add(theirs)
    for name, value in given.items():
        if name not in used and value is not None:
            out.setdefault(name, value)
    return out


def add_context(out: dict[str, Any], context: Mapping[str, Any], table: Table) -> None:
    """Add what the table wants of the surroundings of an event, where the event does not say it itself."""
    for first, paths in table.context.items():
        top = context.get(first)
        if top is None:
            continue
        for rest, ours in paths:
            if ours in out:
                continue
            found = top
            for part in rest:
                found = found.get(part) if isinstance(found, dict) else None
            if found is not None and not isinstance(found, dict | list):
                out[ours] = found


def with_lists(given: Mapping[str, Any], table: Table) -> dict[str, Any]:
    """Return properties with the lists of objects that the table names under RTE's names."""
    out = dict(given)
    for theirs, rule in table.lists.items():
        found = out.get(theirs)
        if isinstance(found, list):
            del out[theirs]
            out[rule.name] = [renamed(each, rule.properties) if isinstance(each, dict) else each for each in found]
    return out


def _texts(found: Any, where: str) -> tuple[tuple[str, str], ...]:
    if not isinstance(found, dict) or not all(isinstance(each, str) for pair in found.items() for each in pair):
        raise TableError(f"{where}: expected names and names")
    return tuple(found.items())
