"""The twin of an online score: FTRL-proximal on standardized inputs in plain Python, on lists."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from rte_server.engine.program import OnlineSpec


def bent(x: float) -> float:
    """Return sign(x) ln(1 + |x|)."""
    return math.log(1.0 + x) if x >= 0.0 else -math.log(1.0 - x)


def log_loss(probability: float, label: float) -> float:
    """Return the logarithmic loss of a prediction, nats."""
    probability = min(max(probability, 1e-6), 1.0 - 1e-6)
    return -math.log(probability) if label == 1.0 else -math.log(1.0 - probability)


def area(scored: Sequence[tuple[float, float, float]]) -> float:
    """Return the area under the ROC curve of (prediction, label, weight), pair by pair; NaN if undefined."""
    negatives = [(score, weight) for score, label, weight in scored if label == 0.0]
    positives = [(score, weight) for score, label, weight in scored if label == 1.0]
    pairs = [(p - n, v * w) for p, v in positives for n, w in negatives]
    total = sum(weight for _, weight in pairs)
    won = sum(weight * (1.0 if gap > 0 else 0.5 if gap == 0 else 0.0) for gap, weight in pairs)
    return won / total if total else math.nan


@dataclass
class OnlineTwin:
    """What an online score has learned, and how it did.

    Attributes:
        spec: How it learns.
        inputs: How many it has.
        z: Of each coordinate, the intercept last, as is `n`.
        mean: Of each input, bent, as is `spread`, the sum of squared distances from it.
        recent: Sums over the examples so far, each faded by those after it.
        judged: (prediction, label) of each example in order.
    """

    spec: OnlineSpec
    inputs: int
    z: list[float] = field(init=False)
    n: list[float] = field(init=False)
    mean: list[float] = field(init=False)
    spread: list[float] = field(init=False)
    examples: int = 0
    positives: int = 0
    is_shown: bool = False
    recent: dict[str, float] = field(
        default_factory=lambda: dict.fromkeys(("count", "ones", "loss", "baseline_loss"), 0.0)
    )
    judged: list[tuple[float, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.z, self.n = [0.0] * (self.inputs + 1), [0.0] * (self.inputs + 1)
        self.mean, self.spread = [0.0] * self.inputs, [0.0] * self.inputs

    def weight(self, i: int) -> float:
        """Return a weight."""
        z, spec = self.z[i], self.spec
        if abs(z) <= spec.l1:
            return 0.0
        return -(z - math.copysign(spec.l1, z)) / ((spec.beta + math.sqrt(self.n[i])) / spec.alpha + spec.l2)

    def entered(self, row: Sequence[float]) -> list[float]:
        """Return bent inputs in standard deviations from their means."""
        if self.examples == 0:
            return [0.0] * self.inputs
        found = []
        for i, x in enumerate(row):
            deviation = math.sqrt((self.spread[i] + 0.01) / (self.examples + 1.0))
            found.append(min(max((x - self.mean[i]) / deviation, -4.0), 4.0))
        return found

    def probability(self, row: Sequence[float]) -> float:
        """Return the probability of 1 for bent inputs."""
        total = math.log((self.positives + 1.0) / (self.examples - self.positives + 1.0)) + self.weight(self.inputs)
        for i, x in enumerate(self.entered(row)):
            total += self.weight(i) * x
        return 1.0 / (1.0 + math.exp(-min(max(total, -35.0), 35.0)))

    def losses(self) -> tuple[float, float]:
        """Return its mean loss on the latest examples and the baseline's; 0 before the first."""
        count = self.recent["count"] or 1.0
        return self.recent["loss"] / count, self.recent["baseline_loss"] / count

    def learn(self, row: Sequence[float], label: float, baseline: float | None = None) -> float:
        """Predict, learn, judge; return the prediction.

        Args:
            row: The inputs, bent.
            label: 0 or 1.
            baseline: The prediction to be beaten; None: the share of 1s among the latest examples.
        """
        said = self.probability(row)
        self._learn(row, self.entered(row), said, label)
        recent, fade = self.recent, 1.0 - 1.0 / self.spec.horizon
        if baseline is None:
            baseline = (recent["ones"] + 1.0) / (recent["count"] + 2.0)
        for name, number in (
            ("count", 1.0),
            ("ones", label),
            ("loss", log_loss(said, label)),
            ("baseline_loss", log_loss(baseline, label)),
        ):
            faded = recent[name] * fade
            recent[name] = (faded if faded >= 1e-9 else 0.0) + number
        self.judged.append((said, label))
        gain = (recent["baseline_loss"] - recent["loss"]) / recent["count"]
        if not self.spec.shadow or (self.examples >= self.spec.examples and gain >= self.spec.margin):
            self.is_shown = True
        elif gain < 0.0:
            self.is_shown = False
        return said

    def auc(self) -> float:
        """Return the area under the ROC curve of what was predicted, rounded to 1/64, for the latest examples."""
        fade = 1.0 - 1.0 / self.spec.horizon
        weights = [fade**age for age in reversed(range(len(self.judged)))]
        return area(
            [(int(said * 64) / 64, label, weight) for (said, label), weight in zip(self.judged, weights, strict=True)]
        )

    def _learn(self, row: Sequence[float], entered: Sequence[float], said: float, label: float) -> None:
        for i, x in enumerate([*entered, 1.0]):
            gradient = (said - label) * x
            sigma = (math.sqrt(self.n[i] + gradient * gradient) - math.sqrt(self.n[i])) / self.spec.alpha
            self.z[i] += gradient - sigma * self.weight(i)
            self.n[i] += gradient * gradient
        self.examples += 1
        self.positives += int(label)
        for i, x in enumerate(row):
            before = self.mean[i]
            self.mean[i] += (x - before) / self.examples
            self.spread[i] += (x - before) * (x - self.mean[i])
