"""All runners of a server: they follow the models that run."""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from rte_server.engine.engine import Engine
from rte_server.engine.program import AttributeSpec, Program, ScoreSpec
from rte_server.engine.scores import PACKAGE_MISSING
from rte_server.runners.contributions import Contributions, score_contributions
from rte_server.runners.onnx import GraphError, OnnxScorer
from rte_server.runners.packages import GraphStore
from rte_server.runners.plugin import MEMORY_BYTES_MAX, PluginScorer
from rte_server.runners.runner import Failures, Runner
from rte_server.runners.scorer import RestingScorer, Scorer, ScorerError

JOIN_S = 2.0
"""How long the end of a server waits for a runner."""

ASKED_S_MAX = 10.0
"""How long a score may take for an explanation, whatever its model allows: others wait behind it."""


class Runners:
    """Starts and ends runners as models change, and tells them which sessions do."""

    def __init__(
        self,
        engine: Engine,
        store: GraphStore,
        clock_ms: Callable[[], int],
        on_scored: Callable[[NDArray[np.int64]], None],
        plugin_memory_bytes_max: int = MEMORY_BYTES_MAX,
    ) -> None:
        """Make them; nothing runs yet.

        Args:
            engine: Whose scores they compute.
            store: Where the graphs are.
            clock_ms: Gives the time, milliseconds since 1970.
            on_scored: Told the rows whose scores are new, on the threads of the runners.
            plugin_memory_bytes_max: What the process of a plug-in may hold in memory, bytes.
        """
        self._plugin_memory_bytes_max = plugin_memory_bytes_max
        self._engine = engine
        self._store = store
        self._clock_ms = clock_ms
        self._on_scored = on_scored
        self._program: Program | None = None
        self._running: list[Runner] = []
        self._asked: dict[ScoreSpec | None, Scorer] = {}
        self._asked_lock = threading.Lock()
        self._asking_ended = False
        self._ended: deque[Runner] = deque(maxlen=64)

    def start(self) -> None:
        """Start the runners of the models that run now. Before the pipeline starts."""
        self._follow(self._engine.program)

    def applied(self, rows: NDArray[np.int64]) -> None:
        """Take note of an applied entry, on the fold's thread.

        Args:
            rows: int64[n], the sessions that it changed.
        """
        program = self._engine.program
        if program is not self._program:
            self._follow(program)
        if self._running and rows.size:
            view = self._engine.score_view()
            for runner in self._running:
                runner.mark(view, rows)

    def stop(self) -> None:
        """End all runners and what they compute. Blocks for a moment; idempotent."""
        runners = [*self._running, *self._ended]
        for runner in runners:
            runner.stop()
            runner.abort()
        for runner in runners:
            runner.join(JOIN_S)
        self.end_asking()
        self._running = []
        with self._asked_lock:
            for scorer in self._asked.values():
                scorer.close()
            self._asked = {}

    def end_asking(self) -> None:
        """Let `contributions` fail at once, now and from now on. Any thread; idempotent."""
        self._asking_ended = True
        for scorer in list(self._asked.values()):
            scorer.abort()

    def stats(self) -> dict[str, int]:
        """Return counters and gauges by name. Any thread."""
        running = list(self._running)
        found = {name: sum(runner.counts[name] for runner in running) for name in ("rows", "batches", "failures")}
        return found | {"waiting": sum(runner.waiting for runner in running)}

    def stats_by_score(self) -> dict[str, dict[str, int | float]]:
        """Return counters and gauges of each score that runs now, by its name; see `Runner.stats_by_score`. Any thread."""
        return {name: found for runner in list(self._running) for name, found in runner.stats_by_score().items()}

    def failures(self) -> dict[str, Failures]:
        """Return how the scores of the running models failed, by name; those that did not are not there. Any thread."""
        return {name: failed for runner in list(self._running) for name, failed in list(runner.failures.items())}

    def contributions(self, spec: AttributeSpec, values: Mapping[str, float | None]) -> Contributions:
        """Return how much each input has to do with a score of a running model. Any thread.

        Args:
            spec: Of kind SCORE.
            values: The inputs by name; None or missing: it has no value.

        Raises:
            ScorerError: The score cannot be computed from these values, or not at all now.
        """
        with self._asked_lock:
            if spec.score not in self._asked:
                # Scorers of their own: a plug-in that is asked here must not hold up the scores of sessions.
                for other in self._asked.values():
                    other.close()
                self._asked = {spec.score: RestingScorer(self._scorer(spec, ASKED_S_MAX, has_spare=False))}
            # Looked at after the scorer is known: `end_asking` has then aborted it, or is seen here.
            if self._asking_ended:
                raise ScorerError("the server is ending")
            return score_contributions(spec, values, self._asked[spec.score])

    def _follow(self, program: Program) -> None:
        """End the runners of the models that ran, and start those of the ones that run now."""
        for runner in self._running:
            runner.stop()
            self._ended.append(runner)
        self._program = program
        graphs = [spec for spec in program.scores if spec.score is not None and spec.score.runner == "onnx"]
        self._running = [self._runner("onnx", program, graphs)] if graphs else []
        # A plug-in may be slow: each has a thread of its own.
        plugins = [spec for spec in program.scores if spec not in graphs]
        self._running += [self._runner(spec.name, program, [spec]) for spec in plugins]
        for runner in self._running:
            runner.start()

    def _runner(self, name: str, program: Program, specs: list[AttributeSpec]) -> Runner:
        return Runner(name, self._engine.score_view, program, specs, self._scorer, self._clock_ms, self._on_scored)

    def _scorer(self, spec: AttributeSpec, limit_s_max: float = math.inf, *, has_spare: bool = True) -> Scorer:
        """Return what computes a score.

        Args:
            spec: The score.
            limit_s_max: Cuts off how long it may take for a batch, seconds.
            has_spare: Whether a plug-in keeps a second process where it has lost one.

        Raises:
            ScorerError: It is not there, or cannot be used.
        """
        assert spec.score is not None
        limit_s = min(limit_s_max, spec.score.time_limit_ms / 1000)
        if spec.score.runner == "plugin":
            return PluginScorer(spec.score.source, limit_s, self._plugin_memory_bytes_max, has_spare=has_spare)
        graph = self._store.get(spec.score.sha256)
        if graph is None:
            message = f"the graph {spec.score.sha256} is not in the data directory; apply its model again"
            raise ScorerError(message, PACKAGE_MISSING)
        try:
            return OnnxScorer(graph, len(spec.score.inputs), limit_s)
        except GraphError as error:
            raise ScorerError(f"{error}; {error.remedy}", PACKAGE_MISSING) from None
