"""Triggers that fire at once, and sessions that begin: what a session without events says of their conditions."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rte_server.engine.derived_cells import shows_true
from rte_server.engine.fold import new_scratch, refresh_rows
from rte_server.engine.program import A_PARAMS, A_REGISTERS, Program
from rte_server.engine.reader import State
from rte_server.engine.scores import new_scores
from rte_server.engine.settings import EngineSettings
from rte_server.engine.strings import StringPool
from rte_server.engine.table import ACTIVE, HIGH_WATER, NONE, STALE, STATE, WRITTEN, Capacity, new_table

_CAPACITY = Capacity(sessions_max=1, dedup_events_max=16, strings_max=16, string_bytes_max=1024, written_sessions_max=1)


def holds_without_events(program: Program, secret: NDArray[np.uint64], pool: StringPool) -> bool:
    """Return whether the condition of a trigger that fires at once holds for a session that has had no event.

    Args:
        program: The program with the triggers.
        secret: uint64[4], the deployment secret.
        pool: The strings of the engine, the program's constant texts among them. Texts that conditions make are added.
    """
    arrays = program.arrays
    numbers = [number for number in arrays.triggers if arrays.params[arrays.attributes[number, A_PARAMS]] == 0]
    if not numbers:
        return False
    table = new_table(_CAPACITY, program.row_words)._replace(online=np.zeros(program.online_size, np.float64))
    cells = table.rows[0]
    cells[[STATE, STALE, WRITTEN]] = ACTIVE, 1, NONE
    table.counts[HIGH_WATER] = 1
    scratch = new_scratch(len(arrays.slots), len(arrays.loads))
    settings = EngineSettings().words()
    state = State.of(table, pool, program, new_scores(1, len(program.scores)), scratch, settings, secret)
    refresh_rows(state.context)
    return any(shows_true(cells, int(arrays.attributes[number, A_REGISTERS])) for number in numbers)
