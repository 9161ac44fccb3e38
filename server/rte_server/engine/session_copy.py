"""A session copied out of the running state, on which further expressions are evaluated.

The copy is a small engine of its own with the program of the running models and some derived attributes more, so that a
part of a rule is computed by the kernels that computed the whole. It reads the strings of the running state, which are
never changed once they are there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from rte_server.engine.assembly import assemble
from rte_server.engine.context import row_cells
from rte_server.engine.derived_cells import copy_type
from rte_server.engine.engine import Engine
from rte_server.engine.expressions import Code
from rte_server.engine.fold import new_scratch, refresh_rows
from rte_server.engine.kernel import kernel
from rte_server.engine.native import span_of
from rte_server.engine.program import A_REGISTERS, AttributeSpec, Kind, ModelSpec, Program
from rte_server.engine.row_copy import RowCopy
from rte_server.engine.row_values import change_ms
from rte_server.engine.scores import new_scores
from rte_server.engine.strings import USED
from rte_server.engine.table import (
    ACTIVE,
    CLOCK,
    HEADER_WORDS,
    HIGH_WATER,
    NONE,
    STALE,
    STATE,
    VERSION,
    WRITTEN,
    Capacity,
    new_table,
)

_CAPACITY = Capacity(sessions_max=1, dedup_events_max=16, strings_max=16, string_bytes_max=1024, written_sessions_max=1)


@dataclass(frozen=True, slots=True)
class CopiedSession:
    """What a copied session shows.

    Attributes:
        before: Serialized `rte.v1.Session`, the session as readers see it.
        after: Serialized `rte.v1.Session` with the values of the further expressions as attributes, by their names.
        change_ms: When, by the server's clock, a value of the watched attributes changes next without an event;
            NEVER_MS: none does.
    """

    before: bytes
    after: bytes
    change_ms: int


def evaluate_on_copy(
    secret: NDArray[np.uint64], copied: RowCopy, codes: Mapping[str, Code], watched: Sequence[str], now_ms: int
) -> CopiedSession:
    """Evaluate expressions on a session.

    Args:
        secret: uint64[4], the deployment secret.
        copied: The session.
        codes: Expressions on a row by names that no attribute can have.
        watched: Names of attributes whose next change matters.
        now_ms: The time by the server's clock, milliseconds since 1970.
    """
    return _Copy(secret, copied, codes, watched).shown(now_ms)


class _Copy(Engine):
    """An engine with one row and the strings of another engine."""

    def __init__(
        self, secret: NDArray[np.uint64], copied: RowCopy, codes: Mapping[str, Code], watched: Sequence[str]
    ) -> None:
        super().__init__(secret, lambda *_: (), _CAPACITY)
        specs = tuple(AttributeSpec(name, "", Kind.DERIVED, "any", code=code) for name, code in codes.items())
        program = assemble([*copied.program.models, ModelSpec("", 1, "", (), "", specs)], secret)
        program = _watching(program, watched)
        table = new_table(_CAPACITY, program.row_words)._replace(online=copied.online)
        cells = table.rows[0]
        cells[:HEADER_WORDS] = copied.cells[:HEADER_WORDS]
        cells[[VERSION, STATE, WRITTEN]] = 0, ACTIVE, NONE
        for number in range(len(copied.program.attributes)):
            start, end = program.words_of(number)
            old_start, old_end = copied.program.words_of(number)
            cells[start:end] = copied.cells[old_start:old_end]
            if program.attributes[number].kind == Kind.DERIVED:
                place = int(program.arrays.attributes[number, A_REGISTERS])
                copy_type(copied.cells, int(copied.program.arrays.attributes[number, A_REGISTERS]), cells, place)
        table.counts[HIGH_WATER] = 1
        self._scratch = new_scratch(len(program.arrays.slots), len(program.arrays.loads))
        # The strings are those of the running state, which its writer alone may add to: to the copy they are full.
        counts = copied.pool.counts.copy()
        counts[USED] = len(copied.pool.slots)
        pool = copied.pool._replace(counts=counts)
        self._state = self._state_of(table, pool, program, new_scores(1, len(program.scores)))

    def shown(self, now_ms: int) -> CopiedSession:
        table = self._state.table
        table.rows[0, STALE] = 0
        before = self.encode([0], self.mask(()), None, now_ms)[0]
        table.counts[CLOCK] = now_ms
        table.rows[0, STALE] = 1
        context = self._state.context
        refresh_rows(context)
        after = self.encode([0], self.mask(()), None, now_ms)[0]
        return CopiedSession(before, after, int(next_change_ms(context, 0, now_ms)))


def _watching(program: Program, watched: Sequence[str]) -> Program:
    """Return the program with only some of the attributes that have a time at which they change."""
    timing = program.arrays.timing.tolist()
    owners = {spec.owner or spec.name for spec in program.attributes if spec.name in watched}
    numbers = [number for number in timing[1:] if program.attributes[number].name in owners]
    return replace(program, arrays=program.arrays._replace(timing=np.array([timing[0], *numbers], np.int64)))


@kernel
def next_change_ms(context, row, now_ms):  # type: ignore[no-untyped-def]
    """Do what `row_values.change_ms` does, for a call from Python.

    Args:
        context: int64[CONTEXT_WORDS].
        row: The row.
        now_ms: The time by the server's clock.
    """
    ctx = span_of(context)
    return change_ms(ctx, row_cells(ctx, row), now_ms)
