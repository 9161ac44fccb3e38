"""Online scores as they stand: how they did on examples before they learned them, and which weights are kept."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rte_server.engine.online import INPUT_MAX, SPREAD_PRIOR, roll_back_weights
from rte_server.engine.online_state import (
    BINS,
    COORDINATE_WORDS,
    O_BASELINE_LOSS,
    O_BINS,
    O_EXAMPLES,
    O_LOSS,
    O_POSITIVES,
    O_RECENT,
    O_ROLLBACKS,
    O_SHOWN,
    O_VERSION,
    O_WEIGHTS,
    VERSIONS,
    online_words,
)
from rte_server.engine.program import AttributeSpec, Kind, Program
from rte_server.engine.reasons import EngineError, Reason
from rte_server.engine.score_view import ScoreView

READ_TRIES = 100


@dataclass(frozen=True, slots=True)
class Learned:
    """What an online score has learned.

    Attributes:
        spec: The score.
        examples: Sessions that it has learned from.
        positives: Those with a label event.
        loss: Its mean logarithmic loss on the latest examples (`OnlineSpec.horizon`) before it learned them, nats; 0 before
            the first.
        baseline_loss: That of the baseline on the same examples.
        auc: Area under its ROC curve on the same examples, from predictions rounded to 1 / BINS; NaN if undefined.
        is_shown: Whether sessions show it; else it is in the shadow.
        version: Number of the newest version, 0 = none.
        versions: Numbers of the versions that are kept, ascending.
        rollbacks: How often an earlier version was put back.
        base: Logarithm of the odds where all inputs are at their means.
        weights: One per input, for a standard deviation of it.
        means: Of each input, bent by sign(x) ln(1 + |x|).
        deviations: Standard deviation of each input, bent.
    """

    spec: AttributeSpec
    examples: int
    positives: int
    loss: float
    baseline_loss: float
    auc: float
    is_shown: bool
    version: int
    versions: tuple[int, ...]
    rollbacks: int
    base: float
    weights: tuple[float, ...]
    means: tuple[float, ...]
    deviations: tuple[float, ...]

    def entered(self, i: int, number: float) -> float:
        """Return how a finite number enters as input `i`, in standard deviations from its mean."""
        if self.examples == 0:
            return 0.0
        distance = math.copysign(math.log1p(abs(number)), number) - self.means[i]
        return min(max(distance / self.deviations[i], -INPUT_MAX), INPUT_MAX)

    def why_in_shadow(self) -> str:
        """Return in a sentence why sessions do not show it; empty if they do."""
        online = self.spec.online
        assert online is not None
        if self.is_shown:
            return ""
        if self.examples < online.examples:
            return f"It has learned from {self.examples:,} sessions; it may be shown after {online.examples:,} (`examples`)."
        return (
            f"Its log loss over about the latest {online.horizon:,} sessions (`horizon`) is {self.loss:.4f}; it is shown at "
            f"{max(0.0, self.baseline_loss - online.margin):.4f} or less, the baseline's {self.baseline_loss:.4f} without "
            f"{online.margin:g} (`margin`)."
        )


def read_learned(view: ScoreView) -> list[Learned]:
    """Return how the online scores of the running models do. Any thread."""
    program, online = view.program, view.table.online
    found = []
    for number, start, end in _blocks(program):
        block = online[start:end].copy()
        for _ in range(READ_TRIES):
            again = online[start:end].copy()
            if (again == block).all():
                break
            block = again
        found.append(_learned(program.attributes[number], block))
    return found


def _learned(spec: AttributeSpec, block: NDArray[np.float64]) -> Learned:
    examples, positives = float(block[O_EXAMPLES]), float(block[O_POSITIVES])
    recent = float(block[O_RECENT]) or 1.0
    coordinates = len(spec.weights) + 1
    end = int(O_WEIGHTS) + COORDINATE_WORDS * coordinates
    z, n, means, spreads = block[int(O_WEIGHTS) : end].reshape(COORDINATE_WORDS, -1)
    bins = block[int(O_BINS) : int(O_BINS + 2 * BINS)].reshape(2, -1)
    *weights, intercept = _weights(spec, z, n)
    return Learned(
        spec=spec,
        examples=int(examples),
        positives=int(positives),
        loss=float(block[O_LOSS]) / recent,
        baseline_loss=float(block[O_BASELINE_LOSS]) / recent,
        auc=_area(bins[0], bins[1]),
        is_shown=bool(block[O_SHOWN]),
        version=int(block[O_VERSION]),
        versions=tuple(sorted(int(number) for number in block[end:].reshape(VERSIONS, -1)[:, 0] if number > 0)),
        rollbacks=int(block[O_ROLLBACKS]),
        base=math.log((positives + 1.0) / (examples - positives + 1.0)) + intercept,
        weights=tuple(weights),
        means=tuple(means[:-1].tolist()),
        deviations=tuple(np.sqrt((spreads[:-1] + SPREAD_PRIOR) / (examples + 1.0)).tolist()),
    )


def _weights(spec: AttributeSpec, z: NDArray[np.float64], n: NDArray[np.float64]) -> tuple[float, ...]:
    """Return the weights that z and n stand for, as `online.weight_at` does."""
    assert spec.online is not None
    online = spec.online
    rate = (online.beta + np.sqrt(n)) / online.alpha + online.l2
    found = np.where(np.abs(z) <= online.l1, 0.0, -(z - np.copysign(online.l1, z)) / rate)
    return tuple(float(weight) for weight in found)


def _area(negatives: NDArray[np.float64], positives: NDArray[np.float64]) -> float:
    """Return the area under the ROC curve of counts by ascending prediction; ties count half."""
    pairs = float(negatives.sum() * positives.sum())
    below = np.cumsum(negatives) - negatives
    return float((positives * (below + negatives / 2)).sum()) / pairs if pairs else float("nan")


def roll_back(program: Program, context: NDArray[np.int64], body: bytes) -> EngineError | None:
    """Fold the body of a ROLL_BACK entry; return why nothing was done, if so. Called by the writer."""
    request = json.loads(body)
    name, version = str(request["score"]), int(request["version"])
    names = [spec.name for spec in program.attributes if spec.kind == Kind.ONLINE]
    if name in names and roll_back_weights(context, names.index(name), version):
        return None
    message = f"The online score {name[:64]!r} keeps no version {version} of its weights."
    return EngineError(Reason.WEIGHTS_NOT_FOUND, message, field="version", value=str(version))


def _blocks(program: Program) -> Iterator[tuple[int, int, int]]:
    """Yield the numbers of the online scores with the first and end word of their blocks."""
    start = 0
    for number, spec in enumerate(program.attributes):
        if spec.kind == Kind.ONLINE:
            end = start + online_words(len(spec.weights))
            yield number, start, end
            start = end


def carried_online(
    before: Program, online: NDArray[np.float64], after: Program, goes_on: Mapping[int, int]
) -> NDArray[np.float64]:
    """Return the state of another program: scores that go on keep what they have learned.

    Args:
        before: What ran.
        online: What its scores have learned.
        after: What runs now.
        goes_on: From `moves.carried`.
    """
    found = np.zeros(after.online_size, np.float64)
    known = {number: (start, end) for number, start, end in _blocks(before)}
    for number, start, end in _blocks(after):
        if goes_on.get(number) in known:
            old_start, old_end = known[goes_on[number]]
            found[start:end] = online[old_start:old_end]
    return found
