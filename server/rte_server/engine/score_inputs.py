"""What runners are handed: the inputs of their scores for many rows as one matrix, read beside the writer."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rte_server.engine.attributes import as_number
from rte_server.engine.context import row_cells
from rte_server.engine.encode import READ_TRIES
from rte_server.engine.kernel import kernel
from rte_server.engine.native import acquire_at, fence_acquire, span_of, word_at
from rte_server.engine.program import AttributeSpec, Program, load_number
from rte_server.engine.row_values import load_input, session_time
from rte_server.engine.table import CHANGED, FREE, RECEIVED, SESSION_LO, STATE, VERSION


class ScoreInputs(NamedTuple):
    """The inputs of some scores, ready to be read.

    Attributes:
        loads: int64[k], as in `program.load_number`.
        defaults: float64[k], values where they are absent; NaN: without them there is no score.
    """

    loads: NDArray[np.int64]
    defaults: NDArray[np.float64]

    @staticmethod
    def of(spec: AttributeSpec, program: Program) -> ScoreInputs:
        """Return the inputs of a score.

        Raises:
            EngineError: INVALID_EXPRESSION if there is no such attribute or field.
        """
        assert spec.score is not None
        numbers = {each.name: number for number, each in enumerate(program.attributes)}
        loads = [load_number(name, numbers) for name, _ in spec.score.inputs]
        defaults = [math.nan if default is None else default for _, default in spec.score.inputs]
        return ScoreInputs(np.array(loads, np.int64), np.array(defaults, np.float64))


class GatheredRows(NamedTuple):
    """Inputs of one score for some rows.

    Attributes:
        inputs: float32[n, k]; NaN where an input is absent and has no default.
        stamps: int64[n, 3], per row: low word of the session id (0: the row is no session's), position and received time of
            the newest entry that is in the inputs.
    """

    inputs: NDArray[np.float32]
    stamps: NDArray[np.int64]


CHANGING = np.int64(-1)
"""Instead of a session id: the writer kept changing the row for READ_TRIES tries. No id is that one, but once in 2 ** 63."""


@kernel
def gather_rows(context, now_ms, rows, loads, defaults, inputs, stamps):  # type: ignore[no-untyped-def]
    """Read the inputs of a score for some rows, each as it is at one moment.

    Args:
        context: int64[CONTEXT_WORDS].
        now_ms: The time by the server's clock, for values that change with it.
        rows: int64[n].
        loads: Members of ScoreInputs, as is `defaults`.
        inputs: Members of GatheredRows, zeros, as are `stamps`; a row that kept changing has CHANGING for its session.
    """
    ctx = span_of(context)
    for i in range(rows.shape[0]):
        cells = row_cells(ctx, rows[i])
        stamps[i, 0] = CHANGING
        for _ in range(READ_TRIES):
            before = acquire_at(cells, VERSION)
            if before & 1 == 1:
                continue
            is_session = word_at(cells, STATE) != FREE
            session = word_at(cells, SESSION_LO)
            position = word_at(cells, CHANGED)
            received_ms = word_at(cells, RECEIVED)
            time_ms = session_time(cells, now_ms)
            for k in range(loads.shape[0]):
                tag, bits = load_input(ctx, cells, loads[k], time_ms)
                number = as_number(tag, bits)
                inputs[i, k] = number if number == number else defaults[k]
            fence_acquire()
            if acquire_at(cells, VERSION) == before:
                stamps[i, 0] = session if is_session else np.int64(0)
                stamps[i, 1] = position if is_session else np.int64(0)
                stamps[i, 2] = received_ms if is_session else np.int64(0)
                break
