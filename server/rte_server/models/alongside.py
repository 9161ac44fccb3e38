"""Models under another name: a new version beside the one that runs, and both of them in one engine to be compared.

The version 4 of `retail` alongside another one is the model `retail_v4`. Its attributes are `retail_v4.basket_value` and
so on; it is compiled as if it were `retail`, so that the same file can take the place of the other version later.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from rte_server.engine.expressions import CELLS_SUFFIX, Code, Instruction, Op
from rte_server.engine.program import AttributeSpec, ModelSpec, OnlineSpec, ScoreSpec


def alongside_name(model: ModelSpec) -> str:
    """Return the name of a model that runs alongside another version of itself."""
    return f"{model.name}_v{model.version}"


def local_name(spec: AttributeSpec) -> str:
    """Return the name by which the source of its model defines an attribute."""
    return spec.name.removeprefix(f"{spec.model}.")


def names_inside(model: ModelSpec, models: Sequence[ModelSpec]) -> dict[str, str]:
    """Return what names mean in the source of a model, where it is another name: attributes and look-up lists.

    Args:
        model: Alongside another version of itself, or not.
        models: All models that run.
    """
    by_name = {each.name: each for each in models}
    readable = [model.name, *model.uses]
    for name in readable:
        readable += [each for each in by_name[name].uses if each not in readable]
    found: dict[str, str] = {}
    for name in readable:
        each = by_name[name]
        names = [*(spec.name for spec in each.attributes), *(listed.name for listed in each.lists)]
        found |= {full.removeprefix(f"{name}."): full for full in names if full.startswith(f"{name}.")}
    return found


def renamed(model: ModelSpec, key: str, keys: Mapping[str, str], models: Mapping[str, ModelSpec]) -> ModelSpec:
    """Return a model under another name, its attributes `key.name`.

    Args:
        model: As it was compiled.
        key: Its new name.
        keys: New names of it and of models that it may read, by old name; the others keep theirs.
        models: The models with new names as they were compiled, by new name.
    """
    own = {**keys, model.name: key}
    known = {**models, key: model}
    names = {spec.name: f"{new}.{spec.name}" for new in own.values() for spec in known[new].attributes}
    lists = {each.name: f"{new}.{each.name}" for new in own.values() for each in known[new].lists}
    return replace(
        model,
        name=key,
        uses=tuple(keys.get(name, name) for name in model.uses),
        attributes=tuple(_renamed_attribute(spec, key, names, lists) for spec in model.attributes),
        lists=tuple(replace(each, name=lists[each.name]) for each in model.lists),
    )


def _renamed_attribute(
    spec: AttributeSpec, key: str, names: Mapping[str, str], lists: Mapping[str, str]
) -> AttributeSpec:
    return replace(
        spec,
        name=names[spec.name],
        model=key,
        owner=names[spec.owner] if spec.owner else "",
        value=renamed_code(spec.value, {}, lists),
        where=renamed_code(spec.where, {}, lists),
        roles=tuple(role._replace(where=renamed_code(role.where, {}, lists)) for role in spec.roles),
        extras=tuple(renamed_code(code, {}, lists) for code in spec.extras),
        code=renamed_code(spec.code, names, lists),
        weights=tuple((names.get(name, name), weight, absent) for name, weight, absent in spec.weights),
        score=_renamed_score(spec.score, names),
        online=_renamed_online(spec.online, names),
    )


def _renamed_score(score: ScoreSpec | None, names: Mapping[str, str]) -> ScoreSpec | None:
    if score is None:
        return None
    return replace(score, inputs=tuple((names.get(name, name), absent) for name, absent in score.inputs))


def _renamed_online(online: OnlineSpec | None, names: Mapping[str, str]) -> OnlineSpec | None:
    return None if online is None else replace(online, baseline=names.get(online.baseline, online.baseline))


def renamed_code(code: Code, names: Mapping[str, str], lists: Mapping[str, str]) -> Code:
    """Return code that reads attributes and look-up lists under other names.

    Args:
        code: An expression.
        names: New names of attributes, by old name; none for an expression on an event.
        lists: New names of lists, by old name.
    """
    return tuple(_renamed_step(step, names, lists) for step in code)


def _renamed_step(step: Instruction, names: Mapping[str, str], lists: Mapping[str, str]) -> Instruction:
    if step.op == Op.IN_LIST and step.text is not None:
        name = step.text.decode()
        return step._replace(text=lists.get(name, name).encode())
    if step.name is None:
        return step
    name = step.name.removesuffix(CELLS_SUFFIX) if step.op == Op.IN_CELLS else step.name
    return step._replace(name=names.get(name, name) + step.name[len(name) :])
