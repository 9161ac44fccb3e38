"""Models that somebody gives a running server: what runs once they have taken their places."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from rte_server.models.documents import line_of, read_document
from rte_server.models.lists import list_files
from rte_server.models.loader import Source, header, read_source
from rte_server.models.problems import ModelError, Problem
from rte_server.models.scores import DIGEST_TEXT, digest_text, digests_in, graph_files
from rte_server.models.shipped import shipped_names


def next_sources(
    running: Mapping[str, Source], given: Sequence[Source], removed: Sequence[str], *, is_alongside: bool
) -> dict[str, Source]:
    """Return the sources that run once models have been given, by name.

    What ships, is used by the given models and does not run comes with them. A model that takes its place no longer runs
    alongside, too.

    Args:
        running: The models that run.
        given: The models given.
        removed: Names of models that run no more.
        is_alongside: Whether the given ones run beside those that run.

    Raises:
        ModelError: A source is no YAML, two are of the same model, or one would take the place of another model whose
            name is that of a version alongside.
    """
    models = {name: source for name, source in running.items() if name not in removed}
    files: dict[str, str] = {}
    for source in given:
        name, _ = header(source)
        beside = f"{name}_v{version_of(source)}"
        key = beside if is_alongside else name
        if key in files:
            raise ModelError(
                [Problem(source.file, 1, f"the model `{name}` is given twice", f"the other is {files[key]}")]
            )
        if key in models and header(models[key])[0] != name:
            raise ModelError([_taken(source, key, header(models[key])[0], is_alongside=is_alongside)])
        if not is_alongside and beside in models and header(models[beside])[0] == name:
            del models[beside]
        models[key], files[key] = source, source.file
    used = [name for source in given for name in header(source)[1]]
    for name in used:
        if name not in models and name in shipped_names():
            models[name] = read_source(name)
            used += header(models[name])[1]
    return models


def _taken(source: Source, key: str, other: str, *, is_alongside: bool) -> Problem:
    """Return that a model would take the place of one that is no version of it."""
    document = read_document(source.text, source.file)
    if is_alongside:
        message = f"there is a model `{key}` that is not a version of this one"
        return Problem(source.file, line_of(document, "version"), message, "give this one another version")
    message = f"`{key}` is the version of the model `{other}` that runs alongside"
    remedy = f"give this one another name, or remove `{key}` first"
    return Problem(source.file, line_of(document, "model"), message, remedy)


def with_files(sources: Sequence[Source], files: Mapping[str, bytes]) -> list[Source]:
    """Return sources with the files that they name.

    Args:
        sources: Models.
        files: Contents by name; `model/name` is for one model alone.

    Raises:
        ModelError: A source is no YAML, or a file that is no ONNX graph is not UTF-8.
    """
    found = []
    for source in sources:
        name, _ = header(source)
        own = {path.removeprefix(f"{name}/"): content for path, content in files.items()}
        content = read_document(source.text, source.file).content
        graphs = graph_files(content) if isinstance(content, dict) else {}
        given = {path: own[path] for path in graphs if path in own and not own[path].startswith(DIGEST_TEXT.encode())}
        digests = {path: digest_text(hashlib.sha256(graph).hexdigest()) for path, graph in given.items()}
        texts = {path: _text(path, content) for path, content in own.items() if path not in given}
        found.append(replace(source, files={**source.files, **texts, **digests}, graphs={**source.graphs, **given}))
    return found


def _text(path: str, content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise ModelError([Problem(path, 0, f"the file `{path}` is not UTF-8", "save it as UTF-8")]) from None


def list_names(source: Source) -> set[str]:
    """Return the names of the files of a model's look-up lists, leniently."""
    content = read_document(source.text, source.file).content
    return set(list_files(content)) if isinstance(content, dict) else set()


def differs(earlier: Mapping[str, Any], running: Mapping[str, Any]) -> bool:
    """Return whether two configurations have other models or graphs; look-up lists may differ without."""
    graphs = [digests_in(each.get("files", {}).values()) for each in (earlier, running)]
    return bool(earlier.get("models") != running.get("models") or sorted(graphs[0]) != sorted(graphs[1]))


def with_lists_of(sources: Mapping[str, Source], running: Mapping[str, Source]) -> dict[str, Source]:
    """Return models with the look-up lists of those that run, where these have lists of the same files."""
    found = dict(sources)
    for name in sources.keys() & running.keys():
        shared = list_names(sources[name]) & list_names(running[name]) & running[name].files.keys()
        lists = {file: running[name].files[file] for file in shared}
        found[name] = replace(sources[name], files={**sources[name].files, **lists})
    return found


def version_of(source: Source) -> str:
    """Return what a source says is its version, leniently.

    Raises:
        ModelError: It is no YAML.
    """
    content = read_document(source.text, source.file).content
    item = content.get("version") if isinstance(content, dict) else None
    return str(item.content) if item is not None else "1"
