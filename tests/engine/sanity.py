"""What must hold of the arrays of a state after every entry, whatever was evicted, merged, ended or moved."""

from __future__ import annotations

import numpy as np

from rte_server.engine import table as t
from rte_server.engine.engine import Engine


def check(engine: Engine) -> None:
    """Assert that everything leads where it should, and nothing to a free row."""
    state = engine._state
    table, counts = state.table, state.table.counts
    used = int(counts[t.HIGH_WATER])
    rows = table.rows[:used]
    states = rows[:, t.STATE]
    live = np.flatnonzero(states != t.FREE).tolist()
    free = set(np.flatnonzero(states == t.FREE).tolist())
    assert counts[t.ACTIVE_ROWS] == (states == t.ACTIVE).sum()
    assert counts[t.CLOSED_ROWS] == (states == t.CLOSED).sum()
    assert set(table.free_rows[: counts[t.FREE_ROWS]].tolist()) == free
    assert len(free) == counts[t.FREE_ROWS]
    assert (rows[:, t.VERSION] % 2 == 0).all()
    assert all(table.due[row] == t.NEVER_MS for row in free)
    assert counts[t.INDEX_VERSION] % 2 == 0
    assert counts[t.CUSTOMER_VERSION] % 2 == 0
    _check_visitors(engine, live)
    _check_index(engine, live)
    _check_customers(engine, live)
    _check_dedup(table)
    _check_written(table, live)
    _check_blocks(table)


def _check_visitors(engine: Engine, live: list[int]) -> None:
    table = engine._state.table
    visitors = table.visitors[table.visitors[:, t.V_USED] != 0]
    assert len(visitors) == table.counts[t.VISITORS]
    reached: list[int] = []
    for visitor in visitors:
        assert t.read_visitor(engine._state.context, visitor[t.V_KEY_LO], visitor[t.V_KEY_HI]) == visitor[t.V_HEAD]
        row, newer = int(visitor[t.V_HEAD]), -1
        while row != t.NONE:
            cells = table.rows[row]
            assert (cells[t.KEY_LO], cells[t.KEY_HI]) == (visitor[t.V_KEY_LO], visitor[t.V_KEY_HI])
            assert cells[t.NEWER] == newer
            assert cells[t.START] <= cells[t.LAST] <= visitor[t.V_NEWEST]
            if newer != t.NONE:
                assert cells[t.LAST] < table.rows[newer, t.START]
                assert cells[t.VISIT] < table.rows[newer, t.VISIT]
            reached.append(row)
            row, newer = int(cells[t.OLDER]), row
    assert sorted(reached) == live


def _ids(cells: np.ndarray) -> set[tuple[int, int]]:
    pairs = cells[t.ALIASES : t.ALIASES + 2 * t.ALIAS_COUNT_MAX].reshape(-1, 2).tolist()
    return {(low, high) for low, high in pairs if low != 0}


def _check_index(engine: Engine, live: list[int]) -> None:
    table = engine._state.table
    pairs = table.links.reshape(-1, 2)
    pairs = pairs[pairs[:, 0] != 0]
    assert len(pairs) == table.counts[t.INDEX_USED]
    index = dict(pairs.tolist())
    assert set(index.values()) <= set(live)
    for row in live:
        cells = table.rows[row]
        assert index[int(cells[t.SESSION_LO])] == row
        assert t.read_index(engine._state.context, cells[t.SESSION_LO]) == row
        if cells[t.CUSTOMER_TIME] != 0:
            assert int(t.customer_key(cells[t.CUSTOMER])) in index
    for key, row in index.items():
        cells = table.rows[row]
        keys = {int(cells[t.SESSION_LO])} | {low if high else int(t.alias_key(low)) for low, high in _ids(cells)}
        assert key in keys | {int(t.customer_key(cells[t.CUSTOMER]))}


def _check_customers(engine: Engine, live: list[int]) -> None:
    table = engine._state.table
    named = [row for row in live if table.rows[row, t.CUSTOMER_TIME] != 0]
    reached: list[int] = []
    for customer in {int(table.rows[row, t.CUSTOMER]) for row in named}:
        row = int(t.read_index(engine._state.context, t.customer_key(customer)))
        previous = -1
        while row != t.NONE:
            assert table.rows[row, t.CUSTOMER] == customer
            assert table.rows[row, t.CUSTOMER_PREVIOUS] == previous
            reached.append(row)
            assert len(reached) <= len(named)
            row, previous = int(table.rows[row, t.CUSTOMER_NEXT]), row
    assert sorted(reached) == named


def _check_dedup(table: t.Table) -> None:
    used, head, capacity = int(table.counts[t.DEDUP_USED]), int(table.counts[t.DEDUP_HEAD]), len(table.dedup_ring) // 2
    ring = [int(table.dedup_ring[2 * ((head + i) % capacity)]) for i in range(used)]
    assert sorted(ring) == sorted(table.dedup_set[table.dedup_set != 0].tolist())
    mask = int(table.counts[t.DEDUP_SLOTS]) - 1
    for key in ring:
        slot = key & mask
        while table.dedup_set[slot] != key:
            assert table.dedup_set[slot] != 0
            slot = (slot + 1) & mask


def _check_written(table: t.Table, live: list[int]) -> None:
    blocks = [int(table.rows[row, t.WRITTEN]) for row in live if table.rows[row, t.WRITTEN] != t.NONE]
    free = table.written_free[: table.counts[t.WRITTEN_FREE]].tolist()
    assert sorted(blocks + free) == list(range(int(table.counts[t.WRITTEN_HIGH_WATER])))


def _check_blocks(table: t.Table) -> None:
    """Each block that was ever taken is one session's or free, and zero if it is free; block 0 is zero."""
    numbers = table.rows[:, t.HEADER_WORDS :].view(np.uint32)
    for annex, (_, words, base, taken, next_free) in enumerate(table.annexes[:, :5].tolist()):
        assert taken <= len(table.rows)
        blocks = table.blocks[base : base + (taken + 1) * words].reshape(-1, words)
        assert not blocks[0].any()
        found = numbers[:, annex][numbers[:, annex] != 0].tolist()
        assert (table.rows[numbers[:, annex] != 0, t.STATE] != t.FREE).all()
        free = next_free
        while free:
            found.append(free)
            assert not blocks[free, 1:].any()
            free = int(blocks[free, 0])
        assert sorted(found) == list(range(1, taken + 1))
