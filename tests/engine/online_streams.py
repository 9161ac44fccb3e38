"""Visits with known inputs and labels, as a journal from which an online score learns, and what a fit to all of them says."""

from __future__ import annotations

import csv
import gzip
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rte.wire_events import batch_request, event
from rte_server.engine.engine import Engine
from rte_server.engine.entries import Entry, EntryType
from rte_server.engine.online_report import Learned, read_learned
from rte_server.engine.program import OnlineSpec
from rte_server.engine.table import Capacity
from rte_server.models import compile_models
from tests.engine.online_twin import OnlineTwin, bent
from tests.engine.recorded import shared_file

START_MS = 1_700_000_000_000
GAP_MS = 1_800_000
CAPACITY = Capacity(
    sessions_max=64, dedup_events_max=64, strings_max=4096, string_bytes_max=1 << 20, written_sessions_max=1
)
SHOPPERS = (
    *("Administrative", "Administrative_Duration", "Informational", "Informational_Duration", "ProductRelated"),
    *("ProductRelated_Duration", "BounceRates", "ExitRates", "PageValues", "SpecialDay", "Weekend"),
)


@dataclass(frozen=True, slots=True)
class Stream:
    """Visits in order.

    Attributes:
        inputs: float64[n, k], as the attributes have them.
        labels: float64[n], 0 or 1.
    """

    inputs: NDArray[np.float64]
    labels: NDArray[np.float64]

    def __getitem__(self, part: slice) -> Stream:
        return Stream(self.inputs[part], self.labels[part])

    def bent(self) -> NDArray[np.float64]:
        """Return the inputs as the score bends them."""
        return np.array([[bent(x) for x in row] for row in self.inputs.tolist()])


KNOWN_WEIGHTS = (0.9, -0.25, 0.45, 0.7, 1.5, 0.3)
KNOWN_INTERCEPT = -6.3


def known(seed: int, count: int) -> Stream:
    """Return visits whose labels follow from KNOWN_WEIGHTS on bent inputs.

    Counts and seconds that grow with how active a visitor is, an amount that is mostly 0, a flag, a share, milliseconds.
    """
    chance = np.random.default_rng(seed)
    active = chance.normal(size=count)
    inputs = np.stack(
        [
            chance.poisson(np.exp(1.2 + 0.8 * active)).astype(np.float64),
            np.exp(4.5 + 0.7 * active + 0.8 * chance.normal(size=count)),
            np.where(chance.random(count) < 0.3, np.exp(3.5 + chance.normal(size=count)), 0.0),
            (chance.random(count) < 0.4).astype(np.float64),
            chance.random(count),
            np.exp(13.0 + 0.4 * chance.normal(size=count)),
        ],
        axis=1,
    )
    total = np.log1p(inputs) @ np.array(KNOWN_WEIGHTS) + KNOWN_INTERCEPT
    return Stream(inputs, (chance.random(count) < 1.0 / (1.0 + np.exp(-total))).astype(np.float64))


def shoppers(seed: int, *, without: str = "") -> Stream:
    """Return the recorded visits to a shop in a random order; the label is that something was bought."""
    with gzip.open(shared_file("online_shoppers_train.csv.gz"), "rt", encoding="utf-8", newline="") as lines:
        records = list(csv.DictReader(lines))
    columns = [name for name in SHOPPERS if name != without]
    inputs = [
        [*(float(record[name]) for name in columns), float(record["VisitorType"] == "Returning_Visitor")]
        + [float(record["Month"] == month) for month in ("Nov", "May", "Mar")]
        for record in records
    ]
    order = np.random.default_rng(seed).permutation(len(records))
    labels = np.array([float(record["Revenue"]) for record in records])
    return Stream(np.array(inputs)[order], labels[order])


def journal(stream: Stream, options: str = "") -> Iterator[Entry]:
    """Yield the entries of visits one after the other: one event with the inputs, perhaps a label, the close.

    Args:
        stream: The visits.
        options: Further members of the score, as in a flow mapping: `horizon: 100, `.
    """
    names = [f"x{i}" for i in range(stream.inputs.shape[1])]
    attributes = "".join(f"  {name}: {{max: event.{name}, on: seen}}\n" for name in names)
    source = (
        f"model: stream\nattributes:\n{attributes}scores:\n"
        f"  p: {{online: {{{options}inputs: [{', '.join(names)}], label: bought}}}}\n"
    )
    configuration = {"settings": {}, "models": {"stream": source}}
    yield Entry(EntryType.CONFIGURE, START_MS, json.dumps(configuration).encode())
    time_ms = START_MS
    for number, (row, label) in enumerate(zip(stream.inputs.tolist(), stream.labels.tolist(), strict=True)):
        visitor, properties = f"v{number}", dict(zip(names, row, strict=True))
        events = [event(event_id=f"{number}", name="seen", time_ms=time_ms, visitor_id=visitor, properties=properties)]
        if label:
            events.append(event(event_id=f"{number}b", name="bought", time_ms=time_ms + 1, visitor_id=visitor))
        yield Entry(EntryType.EVENTS, time_ms + 1, batch_request(events))
        time_ms += GAP_MS + 10
        yield Entry(EntryType.TICK, time_ms, b"")


def new_engine() -> Engine:
    """Return an empty engine."""
    return Engine(np.arange(1, 5, dtype=np.uint64), compile_models, CAPACITY)


def learned(engine: Engine) -> Learned:
    """Return what the score has learned."""
    return read_learned(engine.score_view())[0]


def predicted(found: Learned, rows: Sequence[Sequence[float]]) -> NDArray[np.float64]:
    """Return what a score says of inputs with what it has learned."""
    totals = [
        found.base
        + sum(weight * found.entered(i, x) for i, (weight, x) in enumerate(zip(found.weights, row, strict=True)))
        for row in rows
    ]
    return np.array([1.0 / (1.0 + math.exp(-total)) for total in totals])


def progressive(stream: Stream, spec: OnlineSpec | None = None) -> tuple[NDArray[np.float64], OnlineTwin]:
    """Return the twin's predictions for each visit, each before it learned it, and the twin."""
    twin = OnlineTwin(spec or OnlineSpec(("bought",)), stream.inputs.shape[1])
    said = [twin.learn(row, label) for row, label in zip(stream.bent().tolist(), stream.labels.tolist(), strict=True)]
    return np.array(said), twin


def predicted_by(twin: OnlineTwin, stream: Stream) -> NDArray[np.float64]:
    """Return what the twin says of visits, without learning."""
    return np.array([twin.probability(row) for row in stream.bent().tolist()])


class Offline:
    """Logistic regression fitted to all visits at once, by scikit-learn, on the same bent and standardized inputs.

    Attributes:
        weights: float64[k], for a standard deviation of each input.
        base: Logarithm of the odds where all inputs are at their means.
    """

    def __init__(self, stream: Stream) -> None:
        from sklearn.linear_model import LogisticRegression

        rows = stream.bent()
        self._mean, self._deviation = rows.mean(axis=0), rows.std(axis=0)
        # Columns that are the same everywhere in a short stream.
        self._deviation[self._deviation == 0.0] = 1.0
        self._model = LogisticRegression(C=1.0, max_iter=1000).fit((rows - self._mean) / self._deviation, stream.labels)
        self.weights = self._model.coef_[0]
        self.base = float(self._model.intercept_[0])

    def predicted(self, stream: Stream) -> NDArray[np.float64]:
        """Return what the fit says of visits."""
        found = self._model.predict_proba((stream.bent() - self._mean) / self._deviation)
        return np.asarray(found[:, 1])


def mean_loss(said: NDArray[np.float64], labels: NDArray[np.float64]) -> float:
    """Return the mean logarithmic loss of predictions, nats."""
    right = np.where(labels == 1.0, said, 1.0 - said)
    return float(-np.log(np.clip(right, 1e-6, 1.0)).mean())


def rank_area(said: NDArray[np.float64], labels: NDArray[np.float64]) -> float:
    """Return the area under the ROC curve."""
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(labels, said)) if 0.0 < labels.mean() < 1.0 else math.nan
