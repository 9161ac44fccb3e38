"""Scores that runners compute beside the fold: where they are kept, and how they are read.

They are outputs of the fold, never its inputs, so they are no part of the state: they stand in an array of their own, are
in no snapshot, and are computed anew after a restart. A cell says for which session and after which entry it was
computed, so nothing has to be reset when a row changes hands, and a reader sees how far behind it is.

One runner writes a cell; while it does, the cell's version is odd. Which rows wait for a runner stands in a list of its
own that holds each row at most once, so that a runner that is slow or stands still costs nothing but age.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rte_server.engine.context import SCORES, count_of, span_in
from rte_server.engine.kernel import inner, kernel
from rte_server.engine.native import (
    acquire_at,
    fence_acquire,
    fence_release,
    float_bits,
    put_word,
    release_at,
    span_of,
    word_at,
)
from rte_server.engine.program import Kind, Program
from rte_server.engine.table import CHANGED, CLOCK, RECEIVED, ROW, SESSION_LO
from rte_server.engine.values import DOUBLE, NULL

SCORE = np.int64(Kind.SCORE)

# Words of a cell: a cache line.
SC_VERSION = np.int64(0)  # odd while the runner writes
SC_SESSION = np.int64(1)  # low word of the id of the session that it was computed for
SC_POSITION = np.int64(2)  # position of the newest entry that it has seen
SC_TIME = np.int64(3)  # received time of that entry, ms
SC_STATUS = np.int64(4)  # SCORED, or REASONS + a number of rte.v1.Score.Reason
SC_BITS = np.int64(5)  # the score, a double
SC_SINCE = np.int64(6)  # received time of the first entry that waits to be seen, ms; 0 = none
SC_TAKEN = np.int64(7)  # the same of what the runner has just taken
SCORE_WORDS = np.int64(8)

SCORED = np.int64(1)
REASONS = np.int64(1)

# Numbers of rte.v1.Score.Reason.
MISSING_INPUT = 1
FAILED = 2
TIMEOUT = 3
CIRCUIT_OPEN = 4
PACKAGE_MISSING = 5
SHADOW = 6

READ_TRIES = 10_000


def new_scores(sessions_max: int, count: int) -> NDArray[np.int64]:
    """Return empty cells: int64[sessions_max, count, SCORE_WORDS]; memory that is not touched costs nothing."""
    return np.zeros((sessions_max if count else 1, max(1, count), int(SCORE_WORDS)), np.int64)


@inner
def score_cell(ctx, row, place, count):  # type: ignore[no-untyped-def]
    """Return the span of a cell.

    Args:
        ctx: Span of the context.
        row: Row of the session.
        place: Which score, from 0.
        count: Scores per row.
    """
    return span_in(ctx, SCORES)[0] + (row * count + place) * SCORE_WORDS * 8, np.int64(SCORE_WORDS)


@inner
def read_score(ctx, cells, place, count, found):  # type: ignore[no-untyped-def]
    """Copy the cell of a session's score.

    Args:
        ctx: Span of the context.
        cells: Span of the row, or of a copy of it.
        place: As in `score_cell`, as is `count`.
        found: Span of int64[SCORE_WORDS], receives the cell.

    Returns:
        Whether it is this session's and whole.
    """
    cell = score_cell(ctx, word_at(cells, ROW), place, count)
    # The row may be changing: what is read then is thrown away, but it must lie inside of the array.
    if word_at(cells, ROW) < 0 or (word_at(cells, ROW) + 1) * count * SCORE_WORDS > span_in(ctx, SCORES)[1]:
        return False
    for _ in range(READ_TRIES):
        before = acquire_at(cell, SC_VERSION)
        if before & 1 == 1:
            continue
        for word in range(SCORE_WORDS):
            put_word(found, word, word_at(cell, word))
        fence_acquire()
        if acquire_at(cell, SC_VERSION) == before:
            return word_at(found, SC_SESSION) == word_at(cells, SESSION_LO)
    return False


@inner
def load_score(ctx, cells, place, count):  # type: ignore[no-untyped-def]
    """Return the value (tag, bits) of a session's score; NULL where it has none. Arguments as in `read_score`."""
    words = np.empty(SCORE_WORDS, np.int64)
    found = span_of(words)
    tag = np.int64(NULL)
    if read_score(ctx, cells, place, count, found) and word_at(found, SC_STATUS) == SCORED:
        tag = np.int64(DOUBLE)
    bits = word_at(found, SC_BITS)
    # The memory must live until here: a span does not hold it.
    words[0] = 0
    return tag, bits


@kernel
def mark_waiting(context, rows, places, count, waiting, first):  # type: ignore[no-untyped-def]
    """Note that entries have changed sessions, for one runner. Called by the writer, under the runner's lock.

    Args:
        context: int64[CONTEXT_WORDS].
        rows: int64[n], the rows.
        places: int64[:], the runner's scores.
        count: Scores per row.
        waiting: int64[sessions_max], the rows that wait; those that do not yet are appended.
        first: How many wait.

    Returns:
        How many wait now.
    """
    ctx = span_of(context)
    now_ms = max(np.int64(1), count_of(ctx, CLOCK))
    for i in range(rows.shape[0]):
        is_new = False
        for place in places:
            cell = score_cell(ctx, rows[i], place, count)
            if word_at(cell, SC_SINCE) == 0:
                put_word(cell, SC_SINCE, now_ms)
                is_new = True
        if is_new:
            waiting[first] = rows[i]
            first += 1
    return first


@kernel
def take_waiting(context, rows, places, count):  # type: ignore[no-untyped-def]
    """Note that a runner is about to read rows: what changes from now on waits anew. Under the runner's lock."""
    ctx = span_of(context)
    for i in range(rows.shape[0]):
        for place in places:
            cell = score_cell(ctx, rows[i], place, count)
            put_word(cell, SC_TAKEN, word_at(cell, SC_SINCE))
            put_word(cell, SC_SINCE, 0)


@kernel
def put_scores(context, place, count, rows, stamps, statuses, values):  # type: ignore[no-untyped-def]
    """Write one score of some rows. Called by the one runner that computes it.

    Args:
        context: int64[CONTEXT_WORDS].
        place: Which score.
        count: Scores per row.
        rows: int64[n].
        stamps: int64[n, 3], per row: low word of the session id (0: there is none), position and received time of the
            newest entry that was seen.
        statuses: int64[n], as SC_STATUS.
        values: float64[n].
    """
    ctx = span_of(context)
    for i in range(rows.shape[0]):
        cell = score_cell(ctx, rows[i], place, count)
        release_at(cell, SC_VERSION, word_at(cell, SC_VERSION) | 1)
        fence_release()
        put_word(cell, SC_SESSION, stamps[i, 0])
        put_word(cell, SC_POSITION, stamps[i, 1])
        put_word(cell, SC_TIME, stamps[i, 2])
        put_word(cell, SC_STATUS, statuses[i])
        put_word(cell, SC_BITS, float_bits(values[i]))
        put_word(cell, SC_TAKEN, 0)
        release_at(cell, SC_VERSION, (word_at(cell, SC_VERSION) | 1) + 1)


def scores_after(before: Program, old: NDArray[np.int64], after: Program, sessions_max: int) -> NDArray[np.int64]:
    """Return the cells of a program's scores, with those that stay; arguments as in `carry_scores`."""
    found = new_scores(sessions_max, len(after.scores))
    carry_scores(before, old, after, found)
    return found


def carry_scores(before: Program, old: NDArray[np.int64], after: Program, new: NDArray[np.int64]) -> None:
    """Show scores whose definition stays when models change, until they are computed anew.

    Args:
        before: What ran.
        old: int64[rows, scores, SCORE_WORDS], its cells; its runner may be writing.
        after: What runs now.
        new: int64[rows, scores, SCORE_WORDS], zeros, its cells.
    """
    places = {spec: place for place, spec in enumerate(before.scores)}
    pairs = [(places[spec], place) for place, spec in enumerate(after.scores) if spec in places]
    carry_cells(old, new, np.array(pairs, np.int64).reshape(-1, 2))


@kernel
def carry_cells(before, after, pairs):  # type: ignore[no-untyped-def]
    """Do what `carry_scores` does, for the places that `pairs` names: int64[n, 2], before and after."""
    old = span_of(before)
    for i in range(pairs.shape[0]):
        for row in range(min(before.shape[0], after.shape[0])):
            at = (row * before.shape[1] + pairs[i, 0]) * SCORE_WORDS
            version = acquire_at(old, at + SC_VERSION)
            if version & 1 == 1 or before[row, pairs[i, 0], SC_SESSION] == 0:
                continue
            for word in (SC_SESSION, SC_TIME, SC_STATUS, SC_BITS):
                after[row, pairs[i, 1], word] = before[row, pairs[i, 0], word]
            fence_acquire()
            if acquire_at(old, at + SC_VERSION) != version:
                after[row, pairs[i, 1], SC_SESSION] = 0


@inner
def score_age_ms(found, cells, now_ms):  # type: ignore[no-untyped-def]
    """Return for how long an entry that the score has not seen has waited, ms; 0 if it has seen all.

    Args:
        found: Span of the cell, from `read_score`, or of zeros.
        cells: Span of the row.
        now_ms: The time by the server's clock.
    """
    if word_at(found, SC_POSITION) >= word_at(cells, CHANGED):
        return np.int64(0)
    since = word_at(found, SC_TAKEN)
    if since == 0:
        since = word_at(found, SC_SINCE)
    # Between the fold of an entry and the mark nothing is noted yet: then it is the entry that has just come.
    if since == 0:
        since = word_at(cells, RECEIVED)
    return max(np.int64(1), now_ms - since)
