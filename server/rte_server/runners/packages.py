"""ONNX files: checked before they are used, and kept where a restart finds them.

The journal names a graph by its digest only: a score is an output of the fold, so the state does not need it. The bytes
lie in the data directory, one file per digest, so that a start does not need the folder that the model came from.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from rte_server.engine.program import AttributeSpec, ModelSpec
from rte_server.engine.scores import PACKAGE_MISSING, TIMEOUT
from rte_server.models import ModelError, Problem
from rte_server.models.documents import Item, read_document
from rte_server.runners.onnx import GraphError, OnnxScorer
from rte_server.runners.plugin import MEMORY_BYTES_MAX, PluginScorer
from rte_server.runners.plugin_protocol import GROUP, NEAR
from rte_server.runners.scorer import ScorerError

GOLDEN_DIFFERENCE_MAX = 1e-5
"""Between the score of a golden row and what the graph gives: float32 arithmetic differs by machine in the last bits."""

CHECK_S_MAX = 10.0
"""How long a graph may take for the rows that check it, whatever its model allows: other changes wait meanwhile."""

GRAPHS_KEPT = 64
"""Graphs kept that no running model names, the newest ones: for going back to an earlier version."""

_TOO_SLOW = "export a model that ends sooner, or allow more by `time_limit`"


class GraphStore:
    """Keeps graphs by their digest. One process at a time, which holds the lock of the data directory."""

    def __init__(self, folder: Path) -> None:
        """Keep them in a folder, which is made when the first one comes."""
        self._folder = folder

    def put(self, graph: bytes) -> str:
        """Keep a graph durably, and return its digest: 64 hexadecimal digits.

        Raises:
            OSError: It cannot be written.
        """
        digest = hashlib.sha256(graph).hexdigest()
        if self.get(digest) is not None:
            return digest
        self._folder.mkdir(mode=0o750, exist_ok=True)
        path = self._path(digest)
        temporary = path.with_suffix(".tmp")
        with temporary.open("wb") as stream:
            stream.write(graph)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.rename(path)
        return digest

    def get(self, digest: str) -> bytes | None:
        """Return a graph, or None if it is not there or damaged."""
        try:
            found = self._path(digest).read_bytes()
        except OSError:
            return None
        return found if hashlib.sha256(found).hexdigest() == digest else None

    def prune(self, used: Iterable[str]) -> None:
        """Remove graphs that are not used, all but the GRAPHS_KEPT newest of them."""
        kept = {self._path(digest) for digest in used}
        if not self._folder.is_dir():
            return
        others = [path for path in self._folder.glob("*.onnx") if path not in kept]
        others.sort(key=lambda path: path.stat().st_mtime, reverse=True)
        for path in others[GRAPHS_KEPT:]:
            path.unlink(missing_ok=True)

    def _path(self, digest: str) -> Path:
        return self._folder / f"{digest}.onnx"


def keep_graphs(
    models: Iterable[ModelSpec],
    store: GraphStore | None,
    files: Mapping[str, str] | None = None,
    running: Iterable[str] = (),
) -> None:
    """Check the graphs of models and keep them. Call it before a CONFIGURE entry names them.

    Args:
        models: With the bytes of their graphs in `graphs`, as `models.load_models` and `models.compile_uploaded` give
            them; those that are kept already need not be there.
        store: Where they are kept; None: they are checked only.
        files: Names of the model files in error messages, by model.
        running: Digests of the graphs that run now. The models may be tried only, so these stay whatever comes.

    Raises:
        ModelError: A graph is missing, cannot be run, takes other inputs, or does not give its golden rows again.
        OSError: One cannot be written.
    """
    found = list(models)
    problems: list[Problem] = []
    graphs: dict[str, bytes] = {}
    for model in found:
        for spec in graph_scores(model):
            assert spec.score is not None
            graph = model.graphs.get(spec.score.source)
            if graph is None and store is not None:
                graph = store.get(spec.score.sha256)
            problem = _refusal(model, spec, graph, (files or {}).get(model.name, f"{model.name}.yaml"))
            if problem is not None:
                problems.append(problem)
            elif graph is not None:
                graphs[spec.score.sha256] = graph
    if problems:
        raise ModelError(problems)
    if store is not None:
        for graph in graphs.values():
            store.put(graph)
        store.prune({*graphs, *running})


def plugin_problems(
    models: Iterable[ModelSpec],
    files: Mapping[str, str],
    known: Iterable[str] = (),
    memory_bytes_max: int = MEMORY_BYTES_MAX,
    *,
    is_elsewhere: bool = False,
) -> tuple[list[Problem], list[str]]:
    """Start each plug-in that models name, and return what is wrong with them.

    Args:
        models: The models.
        files: Names of the model files in error messages, by model.
        known: Names of plug-ins that need not be tried.
        memory_bytes_max: What the process of one may hold in memory, bytes.
        is_elsewhere: Whether the models may be meant for another machine: then a plug-in that is not installed is no problem,
            unless one of a similar name is.

    Returns:
        The problems; and the names of plug-ins of which nothing can be said on this machine.
    """
    tried: dict[str, ScorerError | None] = dict.fromkeys(known)
    problems: list[Problem] = []
    unknown: list[str] = []
    for model in models:
        for spec in model.attributes:
            if spec.score is None or spec.score.runner != "plugin":
                continue
            name = spec.score.source
            if name not in tried:
                tried[name] = _failure_of(name, memory_bytes_max)
            error = tried[name]
            if error is None:
                continue
            is_missing = error.reason == PACKAGE_MISSING
            if is_elsewhere and is_missing and NEAR not in str(error):
                unknown.append(name)
                continue
            remedy = (
                f"write the name of an entry point of the group `{GROUP}`, or install its package where the server runs"
            )
            remedy = remedy if is_missing else "mend its package; it is imported in a process of its own"
            file = files.get(model.name, f"{model.name}.yaml")
            message = f"score `{spec.name}`: {error}"
            problems.append(Problem(file, _line(model, spec.name, "plugin"), message, remedy))
    return problems, unknown


def plugin_names(models: Iterable[ModelSpec]) -> set[str]:
    """Return the names of the plug-ins that models name."""
    scores = [spec.score for model in models for spec in model.attributes if spec.score is not None]
    return {score.source for score in scores if score.runner == "plugin"}


def _failure_of(plugin: str, memory_bytes_max: int) -> ScorerError | None:
    """Return why a plug-in cannot be loaded, or None."""
    scorer = PluginScorer(plugin, CHECK_S_MAX, memory_bytes_max)
    try:
        scorer.load()
    except ScorerError as error:
        return error
    finally:
        scorer.close()
    return None


def graph_scores(model: ModelSpec) -> list[AttributeSpec]:
    """Return the scores of a model that ONNX graphs compute."""
    return [spec for spec in model.attributes if spec.score is not None and spec.score.runner == "onnx"]


def _refusal(model: ModelSpec, spec: AttributeSpec, graph: bytes | None, file: str) -> Problem | None:
    """Return why the graph of a score cannot be used, or None."""
    score = spec.score
    assert score is not None
    if graph is None:
        message = f"score `{spec.name}`: there is no file `{score.source}`"
        return Problem(file, _line(model, spec.name, "onnx"), message, "put it beside the model file")
    try:
        scorer = OnnxScorer(graph, len(score.inputs), min(CHECK_S_MAX, score.time_limit_ms / 1000))
    except GraphError as error:
        message = f"score `{spec.name}`: `{score.source}` cannot be used: {error}"
        return Problem(file, _line(model, spec.name, "onnx"), message, error.remedy)
    try:
        # More than one row: a graph may have its number of rows inside, though its input does not say so.
        scorer.score(np.zeros((2, len(score.inputs)), np.float32))
    except ScorerError as error:
        message = f"score `{spec.name}`: `{score.source}` fails on two rows of zeros: {error}"
        remedy = _TOO_SLOW if error.reason == TIMEOUT else "export it so that it scores any number of rows"
        return Problem(file, _line(model, spec.name, "onnx"), message, remedy)
    try:
        rows = np.array([inputs for inputs, _ in score.golden], np.float32)
        given = scorer.score(rows) if score.golden else np.zeros(0)
    except ScorerError as error:
        message = f"score `{spec.name}`: `{score.source}` fails on its golden rows: {error}"
        remedy = _TOO_SLOW if error.reason == TIMEOUT else "export the model again"
        return Problem(file, _line(model, spec.name, "golden"), message, remedy)
    wanted = np.array([value for _, value in score.golden])
    for number, difference in enumerate(np.abs(given - wanted)):
        if not difference <= GOLDEN_DIFFERENCE_MAX:
            message = f"score `{spec.name}`: golden row {number + 1} gives {given[number]:.6g} instead of {wanted[number]:.6g}"
            remedy = f"use the file `{score.source}` that the rows were made with, or make them anew"
            return Problem(file, _line(model, spec.name, "golden", number), message, remedy)
    return None


def _line(model: ModelSpec, score: str, member: str, place: int = -1) -> int:
    """Return the line of a member of a score in the model file, or of an item of that member."""
    item = read_document(model.source, model.name)
    # One that runs alongside another version has that one's name before its own.
    for word in ("scores", score.rpartition(".")[2], member):
        item = item.content[word] if isinstance(item.content, dict) and word in item.content else item
    if place >= 0 and isinstance(item.content, list):
        found = item.content[place]
        return found.line if isinstance(found, Item) else item.line
    return item.line
