"""How inputs become the columns that a model is linear or a tree in: fitted once, the same in numpy and in ONNX.

A linear model sees an amount by its logarithm, and amounts and shares bent at a few of their quantiles (a linear spline)
and marked where they are zero: so it can say that the tenth page counts less than the second. Codes become one column
each. A tree takes all but codes as they are.

Source: Hastie, Tibshirani, Friedman, "The Elements of Statistical Learning", 2nd ed., section 5.2 (piecewise polynomials).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rte_server.training.tasks import Encoding

KNOTS = 3
"""Bends per amount or share, at its quartiles; more did not raise the AUC in cross-validation."""

CODES_MAX = 64
"""Different codes of one category; the rarest share the column of none."""


@dataclass(frozen=True, slots=True)
class Encoder:
    """Where the columns come from. Numbers of inputs are columns of the matrix that is scored.

    Attributes:
        logarithms: Inputs taken by their logarithm.
        numbers: Inputs taken as they are.
        bends: (place in logarithms + numbers, knot): columns max(0, x - knot).
        zeros: Places in logarithms + numbers: columns that are 1 where x is 0.
        codes: (input, code): columns that are 1 where the input is the code.
    """

    logarithms: tuple[int, ...]
    numbers: tuple[int, ...]
    bends: tuple[tuple[int, float], ...]
    zeros: tuple[int, ...]
    codes: tuple[tuple[int, float], ...]

    def encode(self, inputs: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return float64[n, columns] of float32[n, inputs]."""
        wide = inputs.astype(np.float64)
        curves = np.log1p(np.maximum(wide[:, list(self.logarithms)], 0.0))
        plain = np.hstack((curves, wide[:, list(self.numbers)]))
        bent = plain[:, [place for place, _ in self.bends]] - np.array([knot for _, knot in self.bends])
        zero = plain[:, list(self.zeros)] == 0.0
        coded = wide[:, [number for number, _ in self.codes]] == np.array([code for _, code in self.codes])
        return np.hstack((plain, np.maximum(bent, 0.0), zero, coded))


def fit_encoder(encodings: Sequence[Encoding], inputs: NDArray[np.float32], *, for_trees: bool) -> Encoder:
    """Return the encoder of some inputs.

    Args:
        encodings: Of each input.
        inputs: float32[n, inputs], from which knots and codes are taken.
        for_trees: Whether all but categories stay as they are.
    """

    def of(*wanted: Encoding) -> tuple[int, ...]:
        return tuple(number for number, encoding in enumerate(encodings) if encoding in wanted)

    codes = tuple((number, code) for number in of(Encoding.CATEGORY) for code in _codes(inputs[:, number]))
    if for_trees:
        return Encoder((), of(Encoding.AMOUNT, Encoding.SHARE, Encoding.PLAIN), (), (), codes)
    logarithms, numbers = of(Encoding.AMOUNT), of(Encoding.SHARE, Encoding.PLAIN)
    bends: list[tuple[int, float]] = []
    zeros: list[int] = []
    for place, number in enumerate((*logarithms, *numbers)):
        if encodings[number] is Encoding.PLAIN:
            continue
        column = inputs[:, number].astype(np.float64)
        curve = np.log1p(np.maximum(column, 0.0)) if encodings[number] is Encoding.AMOUNT else column
        # A bend that a float32 can name, so that the graph bends at the same place.
        knots = np.unique(np.quantile(curve, np.arange(1, KNOTS + 1) / (KNOTS + 1)).astype(np.float32))
        bends += [(place, float(knot)) for knot in knots if knot > curve.min()]
        zeros.append(place)
    return Encoder(logarithms, numbers, tuple(bends), tuple(zeros), codes)


def _codes(column: NDArray[np.float32]) -> list[float]:
    """Return the codes of a category, the most frequent ones if there are too many, in ascending order."""
    codes, counts = np.unique(column, return_counts=True)
    kept = np.argsort(-counts, kind="stable")[:CODES_MAX]
    return sorted(float(code) for code in codes[kept])
