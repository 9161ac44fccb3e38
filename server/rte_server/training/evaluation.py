"""How well a running server tells the labels apart: every labelled row goes in as an event, every score comes back."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rte.v1.model_pb2 import Model
from rte.v1.session_pb2 import Score, Session
from rte.v1.session_service_pb2 import BatchGetSessionsRequest, BatchGetSessionsResponse
from rte.wire_events import batch_request
from rte_server.training.recordings import labels_of, read_events
from rte_server.training.reports import MODEL_FILE, PackageError
from rte_server.training.tasks import Progress, Task

BATCH_EVENTS = 500
BATCH_SESSIONS = 500
POLL_S = 0.02


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What came back.

    Attributes:
        auc: Area under the ROC curve over the examples with a score, 0 to 1.
        examples: How many labelled examples there are.
        scored: How many of them have a score.
        absent: Why the others have none: number of examples by reason.
        scores: float64[examples]; NaN where there is none.
        labels: bool[examples].
        visitor_ids: Under which ids they were sent.
    """

    auc: float
    examples: int
    scored: int
    absent: dict[str, int]
    scores: NDArray[np.float64]
    labels: NDArray[np.bool_]
    visitor_ids: tuple[str, ...]


def running_score(task: Task, folder: Path, source_sha256: str, models: Iterable[Model]) -> str:
    """Return the name that the score of a package has in a server.

    Args:
        task: Of the package.
        folder: The package.
        source_sha256: Of its model file.
        models: What the server runs.

    Raises:
        PackageError: It does not run just this model, be it alongside another version.
    """
    running = list(models)
    for model in running:
        if model.source_sha256 == source_sha256:
            return f"{model.name}.{task.score}" if model.is_alongside else task.score
    names = {model.name for model in running}
    found = f"its model `{task.model}` is another one" if task.model in names else f"it has no model `{task.model}`"
    apply = f"rte models apply {folder / MODEL_FILE}"
    raise PackageError(
        f"The server does not run the model of {folder}: {found}. "
        f"Run it with `{apply}`, or with `{apply} --alongside` beside what runs."
    )


def evaluate(
    task: Task,
    path: Path,
    ingest: Callable[[bytes], Any],
    get: Callable[[BatchGetSessionsRequest], BatchGetSessionsResponse],
    wait_s: float,
    progress: Progress,
) -> Evaluation:
    """Send a labelled recording to a server and read the scores back.

    Args:
        task: What the columns mean, and which score is looked at.
        path: The recording.
        ingest: Sends the bytes of an IngestEventsRequest.
        get: Calls BatchGetSessions.
        wait_s: How long to wait for scores after the last event, seconds.
        progress: Told what is being done.

    Raises:
        RecordingError: The recording cannot be used.
    """
    # New visitors each time: what an earlier evaluation sent has no part in this one.
    events = list(read_events(task, path, f"evaluate-{secrets.token_hex(4)}-"))
    labels = labels_of(events)
    progress(f"sending {len(events)} events of {len(labels)} visitors")
    for start in range(0, len(events), BATCH_EVENTS):
        ingest(batch_request([each.body for each in events[start : start + BATCH_EVENTS]]))
    progress("reading the scores")
    scores, absent = _scores(task, list(labels), get, wait_s)
    found = np.array(list(labels.values()), np.bool_)
    has_score = ~np.isnan(scores)
    quality = area_under_curve(scores[has_score], found[has_score])
    return Evaluation(quality, len(found), int(has_score.sum()), absent, scores, found, tuple(labels))


def _scores(
    task: Task,
    visitor_ids: Sequence[str],
    get: Callable[[BatchGetSessionsRequest], BatchGetSessionsResponse],
    wait_s: float,
) -> tuple[NDArray[np.float64], dict[str, int]]:
    """Return the score of each visitor's newest session, NaN where it has none, and why, counted."""
    scores = np.full(len(visitor_ids), np.nan)
    absent: dict[str, int] = {}
    deadline_s = time.monotonic() + wait_s
    for start in range(0, len(visitor_ids), BATCH_SESSIONS):
        request = BatchGetSessionsRequest(visitor_ids=visitor_ids[start : start + BATCH_SESSIONS])
        request.read_mask.paths.extend([f"attributes.{task.score}", "scores"])
        while True:
            answer = get(request)
            states = [_state(task, result.session) for result in answer.results]
            if Score.STATUS_PENDING not in states or time.monotonic() >= deadline_s:
                break
            time.sleep(POLL_S)
        for place, result in enumerate(answer.results, start):
            fields = result.session.attributes.fields
            if task.score in fields and states[place - start] == Score.STATUS_FRESH:
                scores[place] = fields[task.score].number_value
            else:
                reason = _reason(task, result.session)
                absent[reason] = absent.get(reason, 0) + 1
    return scores, absent


def _score_of(task: Task, session: Session) -> Score | None:
    return next((score for score in session.scores if score.name == task.score), None)


def _state(task: Task, session: Session) -> int:
    score = _score_of(task, session)
    return Score.STATUS_UNSPECIFIED if score is None else score.status


def _reason(task: Task, session: Session) -> str:
    score = _score_of(task, session)
    if score is None:
        return "NO_SUCH_SCORE"
    if score.status == Score.STATUS_ABSENT:
        return Score.Reason.Name(score.reason).removeprefix("REASON_")
    return Score.Status.Name(score.status).removeprefix("STATUS_")


def area_under_curve(scores: NDArray[np.float64], labels: NDArray[np.bool_]) -> float:
    """Return the probability that a positive example has a greater score than a negative one, ties half; NaN if undefined.

    Source: Hanley, McNeil, "The Meaning and Use of the Area under a ROC Curve", Radiology 143 (1982).
    """
    positives = int(labels.sum())
    negatives = len(labels) - positives
    if not positives or not negatives:
        return float("nan")
    _, places, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    ranks = (ends - (counts - 1) / 2)[places]
    return float((ranks[labels].sum() - positives * (positives + 1) / 2) / (positives * negatives))
