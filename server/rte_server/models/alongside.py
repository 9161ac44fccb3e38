"""Models under another name: a new version beside the one that runs, and both of them in one engine to be compared.

The version 4 of `retail` alongside another one is the model `retail_v4`. Its attributes are `retail_v4.basket_value` and
so on; it is compiled as if it were `retail`, so that the same file can take the place of the other version later.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from rte_server.engine.expressions import Code, Instruction, Op
from rte_server.engine.program import AttributeSpec, ListSpec, ModelSpec


def alongside_name(model: ModelSpec) -> str:
    """Return the name of a model that runs alongside another version of itself."""
    return f"{model.name}_v{model.version}"


def renamed(model: ModelSpec, key: str, keys: Mapping[str, str], models: Mapping[str, ModelSpec]) -> ModelSpec:
    """Return a model under another name, its attributes `key.name`.

    Args:
        model: As it was compiled.
        key: Its new name.
        keys: New names of it and of models that it uses, by old name; the others keep theirs.
        models: The models with new names as they were compiled, by new name.
    """
    names = {
        spec.name: f"{keys[used]}.{spec.name}"
        for used in (model.name, *model.uses)
        if used in keys
        for spec in (model if used == model.name else models[keys[used]]).attributes
    }
    lists = {each.name: f"{keys[used]}.{each.name}" for used, each in _lists(model, keys, models)}
    return replace(
        model,
        name=key,
        uses=tuple(keys.get(name, name) for name in model.uses),
        attributes=tuple(_renamed_attribute(spec, key, names, lists) for spec in model.attributes),
        lists=tuple(replace(each, name=lists[each.name]) for each in model.lists),
    )


def _lists(model: ModelSpec, keys: Mapping[str, str], models: Mapping[str, ModelSpec]) -> list[tuple[str, ListSpec]]:
    """Return the look-up lists of a model and of those that it uses, as far as they have new names."""
    used = [(name, models[keys[name]]) for name in model.uses if name in keys and name != model.name]
    return [(name, each) for name, owner in [*used, (model.name, model)] for each in owner.lists]


def _renamed_attribute(
    spec: AttributeSpec, key: str, names: Mapping[str, str], lists: Mapping[str, str]
) -> AttributeSpec:
    return replace(
        spec,
        name=names[spec.name],
        model=key,
        owner=names[spec.owner] if spec.owner else "",
        value=_renamed_code(spec.value, {}, lists),
        where=_renamed_code(spec.where, {}, lists),
        extras=tuple(_renamed_code(code, {}, lists) for code in spec.extras),
        code=_renamed_code(spec.code, names, lists),
        weights=tuple((names.get(name, name), weight, absent) for name, weight, absent in spec.weights),
    )


def _renamed_code(code: Code, names: Mapping[str, str], lists: Mapping[str, str]) -> Code:
    """Return code that reads attributes and lists under other names. Properties of events keep theirs."""
    return tuple(_renamed_step(step, names, lists) for step in code)


def _renamed_step(step: Instruction, names: Mapping[str, str], lists: Mapping[str, str]) -> Instruction:
    if step.op == Op.IN_LIST and step.text is not None:
        name = step.text.decode()
        return step._replace(text=lists.get(name, name).encode())
    return step if step.name is None else step._replace(name=names.get(step.name, step.name))
