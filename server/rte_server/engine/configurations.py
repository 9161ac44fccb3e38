"""Which configurations a shard has had.

It follows from the CONFIGURE entries alone, so it is the same on every machine, and it outlives the entries: it is part
of every snapshot.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

CONFIGURATIONS_MAX = 100
"""Configurations that are remembered; which go first: see `Configurations.followed_by`."""

CONFIGURATION_CHARS_MAX = 16 * 1024 * 1024
"""Characters of all different texts (models, lists) of remembered configurations."""

REFOLD_FROM = "refold_from"
"""Member of a CONFIGURE entry: the position from whose state on its models have been folded, see `Engine.adopt`."""

FACTS = "facts"
"""Member of a CONFIGURE entry: facts that its models need about texts of history, see `facts`. Not remembered."""

TEXTS = ("models", "files")
"""Members of a CONFIGURE entry that hold texts by name."""

IN_FORCE = ("settings", *TEXTS, "configured")
"""Members that say what is in force; the others say who changed it, and why."""


@dataclass(frozen=True, slots=True)
class Configured:
    """One CONFIGURE entry.

    Attributes:
        position: Its position.
        received_ms: Its received time, milliseconds since 1970.
        configuration: Its body, as parsed JSON.
    """

    position: int
    received_ms: int
    configuration: Mapping[str, Any]

    @property
    def refold_from(self) -> int | None:
        """Return the position from whose state on its models have been folded, or None."""
        found = self.configuration.get(REFOLD_FROM)
        return None if found is None else int(found)


@dataclass(frozen=True, slots=True)
class Configurations:
    """The remembered configurations.

    Attributes:
        entries: The newest ones, oldest first.
        count: How many there have been.
    """

    entries: tuple[Configured, ...] = ()
    count: int = 0

    def followed_by(self, position: int, received_ms: int, configuration: Mapping[str, Any]) -> Configurations:
        """Return them with one more; equal texts are kept once.

        Where they are too many, those go first that the next one differs from by look-up lists only, then the oldest: lists may
        change every hour, and models are what is gone back to.
        """
        known = {text: text for entry in self.entries for text in _texts(entry)}
        body = without_facts(configuration)
        for member in TEXTS:
            if member in body:
                body[member] = {name: known.get(text, text) for name, text in body[member].items()}
        entries = (*self.entries, Configured(position, received_ms, body))
        while len(entries) > 1 and (len(entries) > CONFIGURATIONS_MAX or _chars(entries) > CONFIGURATION_CHARS_MAX):
            place = _least_wanted(entries)
            entries = (*entries[:place], *entries[place + 1 :])
        return Configurations(entries, self.count + 1)

    def to_meta(self) -> dict[str, Any]:
        """Return them as a snapshot holds them: JSON values, each different text once."""
        numbers = {text: number for number, text in enumerate(_distinct(self.entries))}
        entries = []
        for entry in self.entries:
            body = dict(entry.configuration)
            for member in TEXTS:
                if member in body:
                    body[member] = {name: numbers[text] for name, text in body[member].items()}
            entries.append([entry.position, entry.received_ms, body])
        return {"texts": list(numbers), "entries": entries, "count": self.count}

    @classmethod
    def of_meta(cls, meta: Mapping[str, Any]) -> Configurations:
        """Return what `to_meta` was made of."""
        texts = meta["texts"]
        entries = []
        for position, received_ms, body in meta["entries"]:
            named = {
                member: {name: texts[number] for name, number in body[member].items()}
                for member in TEXTS
                if member in body
            }
            entries.append(Configured(position, received_ms, body | named))
        return cls(tuple(entries), meta["count"])


def without_facts(configuration: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration without its facts: what is kept of it must not hold texts that somebody sent."""
    return {name: member for name, member in configuration.items() if name != FACTS}


Since = Mapping[str, tuple[int, int]]
"""By attribute that does not have all of the history: (position after which its events count, the clock there, ms)."""


def _least_wanted(entries: Sequence[Configured]) -> int:
    """Return the place of the configuration that goes first."""
    models = [entry.configuration.get("models") for entry in entries]
    return next((place for place in range(len(entries) - 1) if models[place] == models[place + 1]), 0)


def _texts(entry: Configured) -> list[str]:
    return [text for member in TEXTS for text in entry.configuration.get(member, {}).values()]


def _distinct(entries: Sequence[Configured]) -> dict[str, None]:
    return dict.fromkeys(text for entry in entries for text in _texts(entry))


def _chars(entries: Sequence[Configured]) -> int:
    return sum(map(len, _distinct(entries)))
