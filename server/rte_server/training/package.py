"""Packages: a folder with a model file that a server takes as it is, its ONNX graph, and how good it is.

model.yaml     the attributes, and the score with the digest of the graph and golden rows
model.onnx     encoding and model in one graph
report.json    the task, the algorithm, and the quality in cross-validation
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict

import numpy as np
from numpy.typing import NDArray

from rte_server.training.examples import Examples, examples_of, model_text
from rte_server.training.fitting import Algorithm, Fitted, cross_validate, fit
from rte_server.training.graph import graph_of
from rte_server.training.recordings import LabelledEvent
from rte_server.training.reports import MODEL_FILE, REPORT_FILE, PackageError, Quality, Report
from rte_server.training.tasks import Encoding, Progress, Task

GRAPH_FILE = "model.onnx"

GOLDEN_ROWS = 8
DIFFERENCE_MAX = 1e-5
"""Between a probability of the graph, in float32, and of the fitted model, in float64."""


def train(
    task: Task, algorithm: Algorithm, without: tuple[str, ...], events: list[LabelledEvent], progress: Progress
) -> tuple[Report, dict[str, bytes]]:
    """Train a task.

    Args:
        task: With all of its columns.
        without: Columns to leave out.

    Returns:
        The report, and the files of the package by name.

    Raises:
        KeyError: No attribute comes from a column of `without` alone.
        RecordingError: There are too few examples.
        PackageError: The graph does not give what the fitted model gives.
    """
    reduced = task
    for column in without:
        reduced = reduced.without(column)
    progress(f"folding {len(events)} events")
    examples = examples_of(reduced, events)
    encodings = [feature.encoding for feature in reduced.inputs if feature.encoding is not None]
    quality: dict[str, Quality] = {}
    for each in Algorithm:
        progress(f"cross-validating {each.value}")
        quality[each.value] = cross_validate(each, encodings, examples)
    progress(f"fitting {algorithm.value} to {len(examples.labels)} examples")
    fitted = fit(algorithm, encodings, examples.inputs, examples.labels)
    positives = int(examples.labels.sum())
    report = Report(task.name, algorithm.value, without, len(examples.labels), positives, quality)
    return report, _files(reduced, report, fitted, examples, encodings)


def _files(
    task: Task, report: Report, fitted: Fitted, examples: Examples, encodings: list[Encoding]
) -> dict[str, bytes]:
    graph = graph_of(fitted, len(encodings))
    probabilities = _run(graph, examples.inputs)
    difference = float(np.abs(probabilities - fitted.probabilities(examples.inputs)).max())
    if difference > DIFFERENCE_MAX:
        raise PackageError(f"The graph differs from the model by {difference:.2g}, more than {DIFFERENCE_MAX:g}.")
    scores = _scores_text(task, hashlib.sha256(graph).hexdigest(), examples, probabilities)
    return {
        GRAPH_FILE: graph,
        MODEL_FILE: model_text(task, scores).encode(),
        REPORT_FILE: (json.dumps(asdict(report), indent=2) + "\n").encode(),
    }


def _run(graph: bytes, inputs: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return what a graph gives for float32[n, inputs]."""
    import onnxruntime

    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {session.get_inputs()[0].name: inputs})[0], np.float64)[:, 0]


def _scores_text(task: Task, sha256: str, examples: Examples, probabilities: NDArray[np.float64]) -> str:
    """Return the score of a model file. Its golden rows are spread evenly from the least to the greatest probability."""
    places = np.argsort(probabilities, kind="stable")[
        np.linspace(0, len(probabilities) - 1, GOLDEN_ROWS).astype(np.int64)
    ]
    names = [feature.name for feature in task.inputs]
    optional = [feature.encoding is not Encoding.REQUIRED for feature in task.inputs]
    defaults = [
        f"      {name}: {_number(value)}"
        for name, value, may_be_absent in zip(names, examples.defaults, optional, strict=True)
        if may_be_absent
    ]
    lines = [f"  {task.score}:", f"    onnx: {GRAPH_FILE}", f"    sha256: {sha256}", "    inputs:"]
    lines += [f"      - {name}" for name in names]
    lines += ["    defaults:", *defaults, "    golden:"]
    for place in places:
        row = ", ".join(_number(value) for value in examples.inputs[place])
        lines.append(f"      - {{inputs: [{row}], score: {float(probabilities[place])!r}}}")
    lines.append(f"    description: {task.description}")
    return "\n".join(lines)


def _number(value: np.float32) -> str:
    """Return a float32 as text that YAML reads as a number and that names no other float32."""
    return np.format_float_positional(value, unique=True, trim="0")
