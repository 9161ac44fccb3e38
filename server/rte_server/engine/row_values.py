"""Values of a row: what expressions on rows, filters and answers see of its cells."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rte_server.engine.annexes import cell_span, has_cell, own_cell_span
from rte_server.engine.attributes import COUNT, DERIVED, MAX, MIN, load_cell, merge_cell
from rte_server.engine.context import ATTRIBUTES, ONLINE_STATE, PARAMS, TIMING, span_in
from rte_server.engine.evaluation import cells_place
from rte_server.engine.kernel import inner
from rte_server.engine.kinds import BORDER_MS, FIRST_OF_KINDS, TRIGGER, due_ms, load, merge
from rte_server.engine.native import float_bits, put_word, word_at
from rte_server.engine.online_state import CELL_LEARNED, CELL_VALUE, O_SHOWN
from rte_server.engine.program import (
    A_AT,
    A_CELL_WORDS,
    A_KEEP,
    A_KIND,
    A_PART,
    A_REGISTERS,
    A_ROLE,
    A_UNIQUE,
    A_WORDS,
    CELLS_OF,
    IN_ITS_WAY,
    L_PLACE_BITS,
    OF_DERIVED,
    OF_WORD,
    Kind,
)
from rte_server.engine.scores import SCORE, load_score
from rte_server.engine.table import (
    CHANNEL,
    CHANNEL_TIME,
    CUSTOMER,
    CUSTOMER_TIME,
    EVENTS,
    LAG,
    LAST,
    LATE,
    NEVER_MS,
    START,
    VISIT,
    VISITOR,
)
from rte_server.engine.values import DOUBLE, INT, NULL, STRING
from rte_server.engine.windows import is_window

ONLINE = np.int64(Kind.ONLINE)


_FIELDS_OF_WORDS = {0: EVENTS, 1: START, 2: LAST, 4: VISIT, 8: LATE}
"""Fields of a session that are a word of its row."""

_IDLE = -1 - 9
"""The number of the field that depends on the session's time."""


def way_of(attributes: NDArray[np.int64], number: int) -> tuple[int, int]:
    """Return `L_WAY` and `L_AT` of an input: how it is loaded, with no more steps than its kind needs.

    Args:
        attributes: int64[n, A_WORDS], as in `ProgramArrays`.
        number: As in `program.load_number`.
    """
    if number < 0:
        word = _FIELDS_OF_WORDS.get(-1 - number)
        return (int(IN_ITS_WAY), number) if word is None else (int(OF_WORD), int(word))
    kind, at = attributes[number, A_KIND], int(attributes[number, A_AT])
    if kind == COUNT:
        return int(OF_WORD), at
    if kind == DERIVED:
        return int(OF_DERIVED), int(attributes[number, A_REGISTERS]) << int(L_PLACE_BITS) | at
    return int(IN_ITS_WAY), number


def cell_of(attributes: NDArray[np.int64], number: int) -> int | None:
    """Return the first word of the cell that holds an input; None for one that is elsewhere, or made of several words.

    Args:
        attributes: int64[n, A_WORDS], as in `ProgramArrays`.
        number: As in `program.load_number`.
    """
    attribute = int(CELLS_OF) - number if number <= CELLS_OF else number
    if attribute < 0:
        word = _FIELDS_OF_WORDS.get(-1 - number)
        return None if word is None else int(word)
    return None if attributes[attribute, A_KIND] == SCORE else int(attributes[attribute, A_AT])


OF_EXTREME = np.int64(3)  # a double, unless the word after it is 0
OF_DOUBLE = np.int64(4)  # a double, unless it is infinite


def filter_way(attributes: NDArray[np.int64], number: int) -> int:
    """Return OF_WORD, OF_EXTREME, OF_DOUBLE or IN_ITS_WAY: how filters load an input. Arguments as for `cell_of`."""
    if number >= 0 and attributes[number, A_KIND] in (MIN, MAX):
        return int(OF_EXTREME)
    if number >= 0 and attributes[number, A_KIND] == Kind.LINEAR:
        return int(OF_DOUBLE)
    return int(OF_WORD if way_of(attributes, number)[0] == OF_WORD else IN_ITS_WAY)


def reads_time(attributes: NDArray[np.int64], number: int) -> bool:
    """Return whether `load_input` looks at the session's time. Arguments as for `cell_of`."""
    if number < 0:
        return number == _IDLE
    return bool(attributes[number, A_KIND] >= FIRST_OF_KINDS)


@inner
def session_time(cells, now_ms):  # type: ignore[no-untyped-def]
    """Return what time it is for a session when the server's clock shows `now_ms`.

    It is that clock, set back by the least delay with which an event of the session came in. So it is never before the
    session's last event, and time passes for recorded events of long ago as it did then.
    """
    return max(now_ms - word_at(cells, LAG), word_at(cells, LAST))


@inner
def load_input(ctx, cells, number, time_ms):  # type: ignore[no-untyped-def]
    """Return the value (tag, bits) of an input: attribute `number`, or field `-1 - number` of the session.

    Args:
        ctx: Span of the context.
        cells: Span of the row.
        number: As in `program.load_number`; for CELLS_OF the bits are the place of the entries.
        time_ms: The session's time, see `session_time`.
    """
    if number <= CELLS_OF:
        attributes = span_in(ctx, ATTRIBUTES)
        a = (CELLS_OF - number) * A_WORDS
        keep = word_at(attributes, a + A_KEEP)
        at = word_at(attributes, a + A_AT)
        return np.int64(INT), cells_place(
            cell_span(ctx, cells, at), at, keep, word_at(attributes, a + A_CELL_WORDS) // keep
        )
    if number >= 0:
        attributes = span_in(ctx, ATTRIBUTES)
        a = number * A_WORDS
        if word_at(attributes, a + A_KIND) == ONLINE:
            is_shown = word_at(span_in(ctx, ONLINE_STATE), word_at(attributes, a + A_REGISTERS) + O_SHOWN) != 0
            value = word_at(cells, word_at(attributes, a + A_AT) + CELL_VALUE)
            return np.int64(DOUBLE if is_shown and value != 0 else NULL), value
        if word_at(attributes, a + A_KIND) == SCORE:
            return load_score(ctx, cells, word_at(attributes, a + A_AT), word_at(attributes, a + A_KEEP))
        at = word_at(attributes, a + A_AT)
        own = cell_span(ctx, cells, at)
        if word_at(attributes, a + A_KIND) >= FIRST_OF_KINDS:
            return load(cells, own, (attributes[0] + a * 8, A_WORDS), span_in(ctx, PARAMS), time_ms)
        return load_cell(
            cells,
            own,
            word_at(attributes, a + A_KIND),
            at,
            word_at(attributes, a + A_REGISTERS),
            word_at(attributes, a + A_ROLE),
        )
    field = -1 - number
    if field == 0:
        return np.int64(INT), word_at(cells, EVENTS)
    if field == 1:
        return np.int64(INT), word_at(cells, START)
    if field == 2:
        return np.int64(INT), word_at(cells, LAST)
    if field == 3:
        return np.int64(DOUBLE), float_bits(np.float64(word_at(cells, LAST) - word_at(cells, START)) / 1000.0)
    if field == 4:
        return np.int64(INT), word_at(cells, VISIT)
    if field == 5:
        return np.int64(STRING), word_at(cells, VISITOR)
    if field == 6:
        return np.int64(STRING if word_at(cells, CUSTOMER_TIME) != 0 else NULL), word_at(cells, CUSTOMER)
    if field == 7:
        return np.int64(STRING if word_at(cells, CHANNEL_TIME) != 0 else NULL), word_at(cells, CHANNEL)
    if field == 9:
        return np.int64(DOUBLE), float_bits(np.float64(time_ms - word_at(cells, LAST)) / 1000.0)
    return np.int64(INT), word_at(cells, LATE)


@inner
def merge_cells(ctx, into, other):  # type: ignore[no-untyped-def]
    """Merge all cells of one row into those of another; what is derived from them is computed later."""
    attributes = span_in(ctx, ATTRIBUTES)
    params = span_in(ctx, PARAMS)
    for a in range(0, attributes[1], A_WORDS):
        if word_at(attributes, a + A_PART) != 0:
            continue
        kind = word_at(attributes, a + A_KIND)
        if kind == SCORE:
            continue
        if kind == ONLINE:
            learned = word_at(attributes, a + A_AT) + CELL_LEARNED
            put_word(into, learned, max(word_at(into, learned), word_at(other, learned)))
            continue
        at = word_at(attributes, a + A_AT)
        if not has_cell(ctx, other, at):
            continue
        target, source = own_cell_span(ctx, into, at), cell_span(ctx, other, at)
        if kind >= FIRST_OF_KINDS:
            merge(target, source, (attributes[0] + a * 8, A_WORDS), params)
            continue
        merge_cell(
            target,
            source,
            kind,
            at,
            word_at(attributes, a + A_KEEP),
            word_at(attributes, a + A_UNIQUE) != 0,
            word_at(attributes, a + A_REGISTERS),
            word_at(attributes, a + A_ROLE),
        )


@inner
def change_ms(ctx, cells, now_ms):  # type: ignore[no-untyped-def]
    """Return when, by the server's clock, a value of an attribute changes next without an event; NEVER_MS: none does."""
    timing = span_in(ctx, TIMING)
    attributes = span_in(ctx, ATTRIBUTES)
    time_ms = session_time(cells, now_ms)
    earliest = np.int64(NEVER_MS)
    for i in range(1, timing[1]):
        a = word_at(timing, i) * A_WORDS
        at = word_at(attributes, a + A_AT)
        own = cell_span(ctx, cells, at)
        if word_at(own, at) == 0 and word_at(attributes, a + A_KIND) != TRIGGER:
            # Nothing has happened that could pass.
            continue
        due = due_ms(own, (attributes[0] + a * 8, A_WORDS), span_in(ctx, PARAMS), time_ms)
        if due == NEVER_MS:
            continue
        due += word_at(cells, LAG)
        if is_window(word_at(attributes, a + A_KIND)):
            due = -(-due // BORDER_MS) * BORDER_MS
        # Not less than 1 ms from now, whatever the kind says: else the clock could stand still.
        earliest = min(earliest, max(due, now_ms + 1))
    return earliest
