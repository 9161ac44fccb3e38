"""Fitting: logistic regression and gradient-boosted trees, and how well they tell the labels apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rte_server.training.encoding import Encoder, fit_encoder
from rte_server.training.examples import Examples
from rte_server.training.reports import Quality
from rte_server.training.tasks import Encoding

FOLDS = 5
INNER_FOLDS = 3
SEED = 20_240_101
"""Of the folds and of what trees leave to chance, so that training twice gives one model."""

PENALTIES = (0.003, 0.03, 0.3)
"""Inverse strengths of the penalty that logistic regression chooses from, by cross-validation in the training rows."""

TREES: dict[str, Any] = {
    "n_estimators": 300,
    "learning_rate": 0.03,
    "num_leaves": 8,
    "min_child_samples": 40,
    "reg_lambda": 5.0,
    "subsample": 0.8,
    "subsample_freq": 1,
    "colsample_bytree": 0.5,
}
"""Small trees and many: of five settings the best in cross-validation on both tasks, and 0.3 MB as a graph."""


class Algorithm(Enum):
    """How a model is fitted."""

    LOGISTIC = "logistic"
    LIGHTGBM = "lightgbm"


@dataclass(frozen=True, slots=True)
class Linear:
    """A linear model on encoded columns: weights float64[columns] and intercept, before the logistic function."""

    weights: NDArray[np.float64]
    intercept: float


@dataclass(frozen=True, slots=True)
class Fitted:
    """A fitted model.

    Attributes:
        encoder: How inputs become columns.
        model: A `Linear`, or a LightGBM booster.
    """

    encoder: Encoder
    model: Any

    def probabilities(self, inputs: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return float64[n], the probability that each row of float32[n, inputs] is positive."""
        columns = self.encoder.encode(inputs)
        if isinstance(self.model, Linear):
            return 1.0 / (1.0 + np.exp(-(columns @ self.model.weights + self.model.intercept)))
        return np.asarray(self.model.predict(columns, num_threads=1), np.float64)


def fit(
    algorithm: Algorithm, encodings: Sequence[Encoding], inputs: NDArray[np.float32], labels: NDArray[np.bool_]
) -> Fitted:
    """Fit a model to float32[n, inputs] and bool[n]."""
    encoder = fit_encoder(encodings, inputs, for_trees=algorithm is Algorithm.LIGHTGBM)
    columns = encoder.encode(inputs)
    if algorithm is Algorithm.LIGHTGBM:
        import lightgbm

        trees = lightgbm.LGBMClassifier(**TREES, n_jobs=1, random_state=SEED, deterministic=True, verbose=-1)
        return Fitted(encoder, trees.fit(columns, labels).booster_)
    return Fitted(encoder, _fit_linear(columns, labels))


def _fit_linear(columns: NDArray[np.float64], labels: NDArray[np.bool_]) -> Linear:
    """Fit logistic regression on columns of mean 0 and deviation 1, and fold that into its weights."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedKFold

    means, deviations = columns.mean(axis=0), columns.std(axis=0)
    deviations[deviations == 0.0] = 1.0
    scaled = (columns - means) / deviations

    def quality(penalty: float) -> float:
        folds = StratifiedKFold(INNER_FOLDS, shuffle=True, random_state=SEED)
        found = []
        for train, test in folds.split(scaled, labels):
            model = LogisticRegression(C=penalty, max_iter=2000).fit(scaled[train], labels[train])
            found.append(roc_auc_score(labels[test], model.decision_function(scaled[test])))
        return float(np.mean(found))

    model = LogisticRegression(C=max(PENALTIES, key=quality), max_iter=2000).fit(scaled, labels)
    weights = model.coef_[0] / deviations
    return Linear(weights, float(model.intercept_[0] - means @ weights))


def cross_validate(algorithm: Algorithm, encodings: Sequence[Encoding], examples: Examples) -> Quality:
    """Return how well a model does on rows that it has not seen; stratified, FOLDS folds."""
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedKFold

    found = []
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=SEED)
    for train, test in folds.split(examples.inputs, examples.labels):
        model = fit(algorithm, encodings, examples.inputs[train], examples.labels[train])
        found.append(roc_auc_score(examples.labels[test], model.probabilities(examples.inputs[test])))
    return Quality(float(np.mean(found)), float(np.std(found)))
