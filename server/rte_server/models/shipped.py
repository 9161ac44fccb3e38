"""The models that ship: packs, which are lists of models, and the models in their folders."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from rte_server.models.problems import ModelError, Problem, did_you_mean

FOLDER = Path(__file__).with_name("packs")
"""`base.yaml` is a pack, `base/engagement.yaml` one of its models, `base/engagement_tests.yaml` its tests."""


def pack_names() -> tuple[str, ...]:
    """Return the names of the packs that ship, sorted. A pack is a model that uses others and has no attributes."""
    return tuple(name for name in shipped_names() if _shipped()[name].parent == FOLDER)


def shipped_names() -> tuple[str, ...]:
    """Return the names of all models that ship, packs included, sorted."""
    return tuple(sorted(_shipped()))


def shipped_path(name: str) -> Path:
    """Return the file of a model that ships.

    Raises:
        ModelError: There is no such model.
    """
    shipped = _shipped()
    if name not in shipped:
        remedy = did_you_mean(name, shipped) or did_you_mean(name, pack_names())
        raise ModelError([Problem(name, 0, f"there is no pack and no model `{name}` that ships", remedy)])
    return shipped[name]


@cache
def _shipped() -> dict[str, Path]:
    """Return the files of all models that ship, by name."""
    return {path.stem: path for path in FOLDER.glob("**/*.yaml") if not path.stem.endswith("_tests")}
