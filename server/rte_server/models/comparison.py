"""Two sets of models compared: both run in one engine, over the same entries, and each session shows both values.

So what is compared is of the same moment, and the values of the models that run are those of the running server: their
attributes go on with the cells of the snapshot that the engine begins with.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from rte_server.engine.engine import Engine
from rte_server.engine.program import ModelSpec
from rte_server.models.alongside import renamed
from rte_server.models.changes import AttributeChange, Change, attribute_changes
from rte_server.models.loader import compile_models, configuration_of
from rte_server.models.trials import Value, attributes_of

SAMPLES_MAX = 5
"""Sessions that are shown per attribute."""

AFTER = "after"
"""Under `after/NAME` a model of the second set stands beside the first set; no model can have such a name."""

REASONS_MAX = 3
"""Reasons that are told why sessions were not compared."""

BLOCK_ROWS = 500
"""Sessions encoded at a time."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One session in which an attribute differs; None: it has no value."""

    session_id: str
    before: Value
    after: Value


@dataclass(slots=True)
class Difference:
    """How an attribute differs.

    Attributes:
        change: What becomes of it.
        session_count: Sessions compared that have another value.
        samples: The first of them, at most SAMPLES_MAX.
        not_compared_count: Sessions of which nobody knows whether it differs: a score could not be computed.
        not_compared: Why, or empty.
    """

    change: AttributeChange
    session_count: int = 0
    samples: list[Sample] = field(default_factory=list)
    not_compared_count: int = 0
    not_compared: str = ""


@dataclass(frozen=True, slots=True)
class Compared:
    """What a comparison found.

    Attributes:
        differences: Per attribute that changes, by name.
        session_count: Sessions that there are.
        compared_count: Those that were compared.
    """

    differences: list[Difference]
    session_count: int
    compared_count: int


@dataclass(frozen=True, slots=True)
class Unscored:
    """Sessions that have no score because what computes it failed.

    Attributes:
        rows: int64[n].
        reasons: For how many of them why, by sentences without a full stop.
    """

    rows: NDArray[np.int64]
    reasons: Mapping[str, int]


class ScoreRows(Protocol):
    """Computes scores that are not computed in the fold."""

    def __call__(
        self,
        engine: Engine,
        models: Sequence[ModelSpec],
        rows: NDArray[np.int64],
        names: Collection[str],
        pause: Callable[[], None],
    ) -> Mapping[str, Unscored]:
        """Compute some scores of some sessions.

        Args:
            engine: Runs the models; nobody applies entries meanwhile.
            models: What it runs.
            rows: int64[n], the sessions.
            names: The scores.
            pause: Called now and then, so that others come to their turn.

        Returns:
            Which sessions lack a score and why, by name of the score; scores that all have are not there.
        """
        ...


class Comparison:
    """Two sets of models, for one engine."""

    def __init__(self, before: Sequence[ModelSpec], after: Sequence[ModelSpec]) -> None:
        """Prepare it.

        Args:
            before: One set, each model after those that it uses.
            after: The other set.
        """
        self.changes = attribute_changes(before, after)
        touched = {each.model for each in self.changes if each.change is not Change.REMOVED}
        # What uses a model that changes must read that one, not the one before.
        for model in after:
            if touched & set(model.uses):
                touched.add(model.name)
        beside = {_key(model.name): model for model in after if model.name in touched}
        keys = {model.name: key for key, model in beside.items()}
        self._names = {spec.name: f"{key}.{spec.name}" for key, model in beside.items() for spec in model.attributes}
        self.models = [*before, *(renamed(model, key, keys, beside) for key, model in beside.items())]
        self.configuration = configuration_of(self.models)
        """Stands for the models in the configuration of the engine: its members `models` and `files`."""

    def compile(self, sources: Mapping[str, str], files: Mapping[str, str]) -> list[ModelSpec]:
        """Compile models as an engine asks for; those of this comparison's `configuration` are both sets.

        Whoever asks may have had the texts from JSON, so it is their content that counts.
        """
        is_both = {"models": sources, "files": files} == self.configuration
        return self.models if is_both else compile_models(sources, files)

    def name_of(self, attribute: str) -> str:
        """Return the name under which an attribute of the second set stands in the engine."""
        return self._names.get(attribute, attribute)

    def compare(
        self,
        engine: Engine,
        now_ms: int,
        sessions_max: int,
        score_rows: ScoreRows,
        pause: Callable[[], None] = lambda: None,
    ) -> Compared:
        """Compare the sessions of an engine in which both sets run.

        Args:
            engine: Nobody else uses it.
            now_ms: The time, for values that follow from it.
            sessions_max: If there are more, so many of them are compared, spread evenly.
            score_rows: Computes the scores that change and are not computed in the fold.
            pause: Called now and then, so that others come to their turn.
        """
        rows = engine.rows_in_use()
        compared = rows[:: max(1, -(-len(rows) // sessions_max))]
        differences = [Difference(change) for change in self.changes]
        if differences:
            unscored = self._score(engine, compared, differences, score_rows, pause)
            for start in range(0, len(compared), BLOCK_ROWS):
                self._compare_rows(engine, compared[start : start + BLOCK_ROWS], now_ms, differences, unscored)
                pause()
        return Compared(differences, len(rows), len(compared))

    def _score(
        self,
        engine: Engine,
        rows: NDArray[np.int64],
        differences: Sequence[Difference],
        score_rows: ScoreRows,
        pause: Callable[[], None],
    ) -> list[set[int]]:
        """Compute the scores that are compared; return per difference the rows of which one is lacking."""
        scores = {spec.name for spec in engine.program.scores}
        names = {each.change.name: self._names_in_engine(each.change) & scores for each in differences}
        wanted = set().union(*names.values())
        failures = score_rows(engine, self.models, rows, wanted, pause) if wanted else {}
        lacking: list[set[int]] = []
        for each in differences:
            failed = [failures[name] for name in sorted(names[each.change.name] & set(failures))]
            lacking.append({row for unscored in failed for row in unscored.rows.tolist()})
            each.not_compared_count = len(lacking[-1])
            each.not_compared = _reasons(failed)
        return lacking

    def _names_in_engine(self, change: AttributeChange) -> set[str]:
        """Return the names under which the values of an attribute that changes stand in the engine."""
        before = {change.name} if change.change is not Change.ADDED else set()
        return before | ({self.name_of(change.name)} if change.change is not Change.REMOVED else set())

    def _compare_rows(
        self,
        engine: Engine,
        rows: NDArray[np.int64],
        now_ms: int,
        differences: Sequence[Difference],
        unscored: Sequence[Collection[int]],
    ) -> None:
        names = [(each.change.name, self.name_of(each.change.name)) for each in differences]
        known = {spec.name for spec in engine.program.attributes}
        mask = engine.mask([f"attributes.{name}" for pair in names for name in pair if name in known])
        for row, body in zip(rows.tolist(), engine.encode(rows, mask, now_ms=now_ms), strict=True):
            values = attributes_of(body)
            for each, (before, after), lacking in zip(differences, names, unscored, strict=True):
                old = values.get(before) if each.change.change is not Change.ADDED else None
                new = values.get(after) if each.change.change is not Change.REMOVED else None
                if old != new and row not in lacking:
                    each.session_count += 1
                    if len(each.samples) < SAMPLES_MAX:
                        each.samples.append(Sample(engine.session_id(row), old, new))


def _reasons(failed: Sequence[Unscored]) -> str:
    """Return why sessions lack scores: the most frequent reasons first, at most REASONS_MAX, and how often where there are more."""
    counts: Counter[str] = Counter()
    for unscored in failed:
        counts.update(unscored.reasons)
    if len(counts) <= 1:
        return next(iter(counts), "")
    shown = [f"{reason} ({count:,})" for reason, count in counts.most_common(REASONS_MAX)]
    more = ["and others"] if len(counts) > REASONS_MAX else []
    return "; ".join(shown + more)


def _key(name: str) -> str:
    return f"{AFTER}/{name}"
