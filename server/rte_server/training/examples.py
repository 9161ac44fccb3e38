"""Examples: what the inputs of a score are after the events of a recording, folded by the engine itself."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from google.protobuf import struct_pb2
from numpy.typing import NDArray

from rte.v1.session_pb2 import Session
from rte.wire_events import batch_request
from rte_server.engine.engine import Engine
from rte_server.engine.entries import Entry, EntryType
from rte_server.engine.table import Capacity
from rte_server.models import compile_models, fold_request
from rte_server.training.recordings import LabelledEvent, RecordingError, labels_of
from rte_server.training.tasks import Encoding, Task

EXAMPLES_MIN = 20
BATCH_EVENTS = 500

_SECRET: NDArray[np.uint64] = np.arange(1, 5, dtype=np.uint64)  # results do not depend on it


@dataclass(frozen=True, slots=True)
class Examples:
    """What a model is fitted to.

    Attributes:
        names: Names of the inputs.
        inputs: float32[n, inputs], one row per visitor: what the server would hand to the score.
        labels: bool[n].
        defaults: float32[inputs], what stands for a value that is missing, here and in the server: the median of the others, or
            the most frequent one of codes.
    """

    names: tuple[str, ...]
    inputs: NDArray[np.float32]
    labels: NDArray[np.bool_]
    defaults: NDArray[np.float32]


def model_text(task: Task, scores: str = "") -> str:
    """Return the model file of a task.

    Args:
        scores: What stands under `scores`, indented; empty: the model has none.
    """
    lines = [f"model: {task.model}", "version: 1", f"description: {task.description}", "", "attributes:"]
    lines += [f"  {each.name}: {each.definition}" for each in task.features if not each.is_derived]
    derived = [f"  {each.name}: {each.definition}" for each in task.features if each.is_derived]
    if derived:
        lines += ["", "derived:", *derived]
    if scores:
        lines += ["", "scores:", scores.rstrip()]
    return "\n".join(lines) + "\n"


def examples_of(task: Task, events: Sequence[LabelledEvent]) -> Examples:
    """Fold events and return one example per visitor, its newest session.

    Raises:
        RecordingError: There are too few examples, or all have one label.
    """
    labels = labels_of(events)
    found = np.array(list(labels.values()), np.bool_)
    if len(found) < EXAMPLES_MIN or found.all() or not found.any():
        raise RecordingError(
            f"The data has {len(found)} examples, {int(found.sum())} of them positive; "
            f"it takes at least {EXAMPLES_MIN}, some with each label."
        )
    engine = _folded(task, events)
    names = tuple(feature.name for feature in task.inputs)
    mask = engine.mask([f"attributes.{name}" for name in names])
    bodies = engine.encode([engine.find_visitor(visitor_id) for visitor_id in labels], mask)
    inputs = np.full((len(bodies), len(names)), np.nan, np.float32)
    for place, body in enumerate(bodies):
        attributes = Session.FromString(body).attributes.fields
        for column, name in enumerate(names):
            if name in attributes:
                inputs[place, column] = _number(attributes[name])
    defaults = np.array(
        [_typical(feature.encoding, inputs[:, column]) for column, feature in enumerate(task.inputs)], np.float32
    )
    return Examples(names, np.where(np.isnan(inputs), defaults, inputs), found, defaults)


def _typical(encoding: Encoding | None, column: NDArray[np.float32]) -> np.float32:
    """Return a value that stands for missing ones: one that occurs, so that a row of them is a session that could be."""
    present = column[~np.isnan(column)]
    if not len(present):
        return np.float32(0.0)
    if encoding is Encoding.CATEGORY:
        codes, counts = np.unique(present, return_counts=True)
        return np.float32(codes[np.argmax(counts)])
    return np.float32(np.quantile(present, 0.5, method="lower"))


def _folded(task: Task, events: Sequence[LabelledEvent]) -> Engine:
    """Return an engine that has folded the events."""
    capacity = Capacity(
        sessions_max=len(events) + 16,
        dedup_events_max=len(events) + 16,
        strings_max=16 * len(events) + 65_536,
        string_bytes_max=max(1 << 24, 256 * len(events)),
        written_sessions_max=16,
    )
    engine = Engine(_SECRET, compile_models, capacity)
    # A session stays however long ago it was: the examples are read at the end.
    settings = {"closed_max": capacity.sessions_max, "closed_retention_ms": 1 << 52, "lateness_ms": 1 << 52}
    configuration = {"settings": settings, "models": {task.model: model_text(task)}}
    received_ms = max(each.time_ms for each in events)
    engine.apply(1, Entry(EntryType.CONFIGURE, received_ms, json.dumps(configuration).encode()))
    for start in range(0, len(events), BATCH_EVENTS):
        batch = events[start : start + BATCH_EVENTS]
        request = batch_request([each.body for each in batch])
        fold_request(engine, received_ms, request)
    return engine


def _number(value: struct_pb2.Value) -> float:
    return float(value.bool_value) if value.HasField("bool_value") else value.number_value
