"""The guide to the packs, written from the model files: `python -m tests.house.packs_guide` renews it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from rte_server.engine.exactness import exactness, session_bytes
from rte_server.engine.program import AttributeSpec, ModelSpec
from rte_server.models import load_models, pack_names, shipped_path
from rte_server.models.documents import read_document

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "guides" / "packs.md"

HEAD = """# The packs

Models that ship. A pack is a list of small models: `packs = ["base", "retail"]` in the configuration runs all models of both
packs, `packs = ["base", "basket"]` only some. `rte models list` shows what runs. Each model is one YAML file in
`server/rte_server/models/packs/`, with its tests beside it. Names of events and properties are those of GA4 where it has one.
What a model takes per session is checked against the bound that it declares.

To change a model, its goals, thresholds or lists, copy its file (and the lists that it names), change the copy, and name it
beside the pack: `packs = ["base", "retail", "models/conversion.yaml"]`. A model of one's own takes the place of the one that
ships under the same name, also for the models that use it; it must have the attributes that they read.

This page is written from the model files by `python -m tests.house.packs_guide`; a test compares them.
"""


def guide() -> str:
    """Return the text of the guide."""
    models = {model.name: model for model in load_models(pack_names())}
    known = {spec.name: spec for model in models.values() for spec in model.attributes}
    lines = [HEAD]
    for pack in pack_names():
        own = [models[name] for name in models[pack].uses if name not in pack_names()]
        bytes_taken = sum(_bytes(model) for model in own)
        beside = " and ".join(f"`{name}`" for name in models[pack].uses if name in pack_names())
        lines.append(f"## `{pack}`\n")
        lines.append(f"{models[pack].description} {len(own)} models, {bytes_taken} bytes per session")
        lines[-1] += f", and {beside}.\n" if beside else ".\n"
        for model in own:
            lines += _model(model, known)
    return "\n".join(lines).rstrip() + "\n"


def _model(model: ModelSpec, known: Mapping[str, AttributeSpec]) -> Iterator[str]:
    """Yield the lines of one model."""
    source = shipped_path(model.name).read_text("utf-8")
    yield f"### `{model.name}`\n"
    declared = read_document(source, model.name).content
    assert isinstance(declared, dict)
    uses = f" Uses {', '.join(f'`{name}`' for name in model.uses)}." if model.uses else ""
    bound = declared["bytes_max"].content
    yield f"{model.description} {_bytes(model)} bytes per session, at most {bound}.{uses}\n"
    for paragraph in _comment(source):
        yield f"- {paragraph}"
    yield "\n| attribute | type | unit | exactness | meaning |\n|---|---|---|---|---|"
    for spec in sorted(model.attributes, key=lambda spec: spec.name):
        meaning = spec.description.replace("|", "\\|")
        yield f"| `{spec.name}` | {spec.value_type} | {spec.unit} | {exactness(spec, known)} | {meaning} |"
    yield ""


def _comment(source: str) -> list[str]:
    """Return the paragraphs of the comment at the top of a model file: a line that is not indented begins one."""
    found: list[str] = []
    for line in source.splitlines():
        if not line.startswith("#"):
            break
        text = line.removeprefix("#").removeprefix(" ")
        if text.startswith(" ") and found:
            found[-1] += " " + text.strip()
        else:
            found.append(text.strip())
    return found


def _bytes(model: ModelSpec) -> int:
    return sum(map(session_bytes, model.attributes))


if __name__ == "__main__":
    GUIDE.write_text(guide(), "utf-8")
