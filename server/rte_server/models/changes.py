"""What changes when other models run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum

from rte_server.engine.expressions import CELLS_SUFFIX, input_names
from rte_server.engine.moves import definition, list_values
from rte_server.engine.program import AttributeSpec, ModelSpec


class Change(Enum):
    """What becomes of a model or an attribute."""

    ADDED = 1
    """It is new."""
    REMOVED = 2
    """It is there no more."""
    CHANGED = 3
    """A model has another source or other files; an attribute is computed in another way."""
    OTHER_VALUES = 4
    """An attribute is computed as before from others that change."""


@dataclass(frozen=True, slots=True)
class ModelChange:
    """A model that changes.

    Attributes:
        name: Its name.
        change: What becomes of it.
        version_before: The version that ran, or 0.
        version_after: The version that runs then, or 0.
    """

    name: str
    change: Change
    version_before: int = 0
    version_after: int = 0


@dataclass(frozen=True, slots=True)
class AttributeChange:
    """An attribute that changes.

    Attributes:
        name: Its name.
        model: Its model.
        change: What becomes of it.
    """

    name: str
    model: str
    change: Change


def model_changes(before: Sequence[ModelSpec], after: Sequence[ModelSpec]) -> list[ModelChange]:
    """Return the models that change, by name."""
    old, new = ({model.name: model for model in models} for models in (before, after))
    found = [ModelChange(name, Change.REMOVED, model.version) for name, model in old.items() if name not in new]
    found += [ModelChange(name, Change.ADDED, 0, model.version) for name, model in new.items() if name not in old]
    found += [
        ModelChange(name, Change.CHANGED, old[name].version, model.version)
        for name, model in new.items()
        if name in old and (old[name].source, old[name].files) != (model.source, model.files)
    ]
    return sorted(found, key=lambda each: each.name)


def attribute_changes(before: Sequence[ModelSpec], after: Sequence[ModelSpec]) -> list[AttributeChange]:
    """Return the attributes that change, by name."""
    old, new = ({spec.name: spec for model in models for spec in model.attributes} for models in (before, after))
    changes = {name: AttributeChange(name, spec.model, Change.REMOVED) for name, spec in old.items() if name not in new}
    lists = list_values(before), list_values(after)
    for name, spec in new.items():
        if name not in old:
            changes[name] = AttributeChange(name, spec.model, Change.ADDED)
        elif definition(spec, lists[1]) != definition(old[name], lists[0]):
            changes[name] = AttributeChange(name, spec.model, Change.CHANGED)
    for name in following(list(new.values()), changes).intersection(new).difference(changes):
        changes[name] = AttributeChange(name, new[name].model, Change.OTHER_VALUES)
    return sorted(changes.values(), key=lambda each: each.name)


def following(specs: Sequence[AttributeSpec], names: Iterable[str]) -> set[str]:
    """Return some attributes and all that are computed from them, through however many others.

    Args:
        specs: All attributes, in any order: what reads a trigger stands before it.
        names: Where to begin.
    """
    readers: dict[str, list[str]] = {}
    for spec in specs:
        for read in reads(spec):
            readers.setdefault(read, []).append(spec.name)
    found = set(names)
    todo = list(found)
    while todo:
        more = set(readers.get(todo.pop(), ())) - found
        found |= more
        todo += more
    return found


def reads(spec: AttributeSpec) -> frozenset[str]:
    """Return the attributes and fields of the session that an attribute is computed from."""
    read = {name.removesuffix(CELLS_SUFFIX) for name in input_names(spec.code)}
    owner = {spec.owner} if spec.owner else set()
    inputs = {name for name, _ in spec.score.inputs} if spec.score is not None else set()
    return frozenset(read | {name for name, _, _ in spec.weights} | inputs | owner)
