"""Models that the configuration names: their files as they are now, and what changes by them.

What runs may have come from somewhere else since. So the configuration in force remembers what the files were like when
they were last followed, and a file has its say again only when it has changed: the last word wins. A look-up list is a file
of its own: one that changes changes the list of whatever version of its model runs, and no more.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from rte_server.engine.program import ModelSpec
from rte_server.models.documents import read_document
from rte_server.models.given import list_names, next_sources
from rte_server.models.lists import list_files
from rte_server.models.loader import Source, compile_sources, header, read_source
from rte_server.models.problems import ModelError, Problem
from rte_server.models.scores import graph_files
from rte_server.models.shipped import shipped_names

Problems = Mapping[str, tuple[Problem, ...]]
"""What is wrong with files, by name of their model."""

Accept = Callable[[Sequence[ModelSpec], Mapping[str, str]], None]
"""Takes over what belongs to models before they run, such as ONNX graphs; told their files by name, too.
It raises ModelError for what cannot be used."""

Seen = Mapping[str, Sequence[str]]
"""What files were like: name of the model, digest of its text and graphs, then `file:digest` of each look-up list; by path, or
by name for what ships. The member `configured` of a configuration."""


@dataclass(frozen=True, slots=True)
class Configured:
    """Models that the configuration names, as they are now, by path, or by name for what ships.

    Attributes:
        sources: Those that can be read, and the models that ship and that they use.
        problems: What is wrong with the others.
    """

    sources: Mapping[str, Source]
    problems: Problems = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Followed:
    """What runs once files have been followed.

    Attributes:
        sources: The models, by name.
        seen: What the files were like: what the next time is compared with.
        problems: What is wrong with files: the models that they would change run on as they are.
        changed: Names of the models that are taken from files, and of those that are given up.
        lists_changed: Names of the models that run on with other look-up lists.
    """

    sources: dict[str, Source]
    seen: dict[str, list[str]]
    problems: dict[str, tuple[Problem, ...]]
    changed: list[str]
    lists_changed: list[str]


def read_configured(paths: Iterable[str]) -> Configured:
    """Return the models that some paths and names of packs lead to."""
    sources: dict[str, Source] = {}
    names: dict[str, str] = {}
    problems: dict[str, tuple[Problem, ...]] = {}
    for path in paths:
        try:
            source = read_source(path)
            name, _ = header(source)
            if name in names:
                remedy = f"the other is {names[name]}"
                raise ModelError([Problem(source.file, 1, f"the model `{name}` is given twice", remedy)])
            sources[path], names[name] = source, source.file
        except ModelError as error:
            problems[path] = error.problems
    used = [name for source in sources.values() for name in header(source)[1]]
    for name in used:
        if name not in names and name in shipped_names():
            sources[name], names[name] = read_source(name), name
            used += header(sources[name])[1]
    return Configured(sources, problems)


def follow(
    configured: Configured, seen: Seen, running: Mapping[str, Source], accept: Accept = lambda _models, _files: None
) -> Followed:
    """Return what runs once the files that changed have been followed; a broken one leaves its model as it is.

    Args:
        configured: The files now.
        seen: What they were like when they were followed last.
        running: The models that run.
        accept: Takes over what belongs to the models before they run, and refuses what cannot be used.

    Raises:
        ModelError: Even what ran without the files cannot be used, or nothing runs yet and a file is broken.
    """
    now = {path: _look_of(source) for path, source in configured.sources.items()}
    broken = dict(configured.problems)
    given = {
        path: source for path, source in configured.sources.items() if list(seen.get(path, ()))[:2] != now[path][:2]
    }
    lists = _with_lists(configured.sources, now, seen, running)
    given |= {path: source for path, source in lists.items() if path not in given}
    gone: dict[str, tuple[Problem, ...]] = {}
    while True:
        removed = _given_up(now, seen, broken, running)
        is_compiled = False
        try:
            sources = next_sources(running, list(given.values()), removed, is_alongside=False)
            models = compile_sources(sources)
            is_compiled = True
            accept(models, {name: source.file for name, source in sources.items()})
            break
        except ModelError as error:
            if not running or not (given or is_compiled):
                raise
            if not given:
                # What ran goes on without what belonged to it and is gone, a graph: its score is absent and says so.
                gone = {name: found for name, source in sources.items() if (found := _of_file(error, source.file))}
                break
            files = {problem.file for problem in error.problems}
            # A model that is fine by itself may spoil others that use it; then none of the files is followed.
            for path in [path for path, source in given.items() if source.file in files] or list(given):
                broken[path] = _of_file(error, given[path].file) or error.problems
                del given[path]
    next_seen = {path: found for path, found in now.items() if path not in broken}
    # What is broken is compared with what ran, so that it is followed when it is that again.
    next_seen |= {path: list(found) for path, found in seen.items() if broken and path not in next_seen}
    problems = gone | {
        (seen.get(path) or now.get(path) or [Path(path).stem])[0]: found for path, found in broken.items()
    }
    by_lists = {path for path, source in given.items() if lists.get(path) is source}
    changed = sorted([*(now[path][0] for path in given.keys() - by_lists), *removed])
    return Followed(sources, next_seen, problems, changed, sorted(now[path][0] for path in by_lists))


def _of_file(error: ModelError, file: str) -> tuple[Problem, ...]:
    return tuple(problem for problem in error.problems if problem.file == file)


def _given_up(
    now: Mapping[str, Sequence[str]], seen: Seen, broken: Problems, running: Mapping[str, Source]
) -> list[str]:
    """Return the models that run, came from a file, and do no more. As long as a file is broken nobody can say."""
    if broken:
        return []
    kept = {name for name, *_ in now.values()}
    return [name for name, *_ in seen.values() if name not in kept and name in running]


def _look_of(source: Source) -> list[str]:
    """Return what a file is like: a value of `Seen`."""
    lists = list_names(source)
    found = hashlib.sha256(source.text.encode())
    for name, text in sorted(source.files.items()):
        if name not in lists:
            found.update(f"\0{name}\0".encode() + text.encode())
    digests = {name: hashlib.sha256(source.files[name].encode()).hexdigest() for name in lists & source.files.keys()}
    return [header(source)[0], found.hexdigest(), *(f"{name}:{digest}" for name, digest in sorted(digests.items()))]


def _with_lists(
    sources: Mapping[str, Source], now: Seen, seen: Seen, running: Mapping[str, Source]
) -> dict[str, Source]:
    """Return the models that run with the look-up lists that changed, by path of the file; those whose text changed, too."""
    found: dict[str, Source] = {}
    for path, source in sources.items():
        runs = running.get(now[path][0])
        if runs is None or path not in seen:
            continue
        changed = {each.rpartition(":")[0] for each in set(now[path][2:]) ^ set(seen[path][2:])} & list_names(runs)
        if changed:
            kept = {name: text for name, text in runs.files.items() if name not in changed}
            given = {name: source.files[name] for name in changed if name in source.files}
            found[path] = replace(runs, file=source.file, files=kept | given, is_recorded=False)
    return found


def files_of(path: str | Path, source: Source) -> list[Path]:
    """Return the paths of a model and of the files that it names."""
    folder = Path(path).parent
    try:
        content = read_document(source.text, source.file).content
    except ModelError:
        return [Path(path)]
    members = content if isinstance(content, dict) else {}
    return [Path(path), *(folder / name for name in {**list_files(members), **graph_files(members)})]
