"""Lanes: sessions whose derived attributes are computed together, see `evaluation` and `derived`."""

from __future__ import annotations

import numpy as np

from rte_server.engine.context import INPUT_BITS, INPUT_TAGS, LANES, STACK_BITS, STACK_TAGS, span_in
from rte_server.engine.kernel import inner
from rte_server.engine.native import put_word, word_at

WIDTH = np.int64(64)
"""Lanes: what is loaded and computed for them stays in the processor's second cache."""

ALONE = WIDTH - 1
"""The lane of a session that is computed by itself; the others wait for each other."""

# Words of `Scratch.lanes`; from LANE_ROW on, one word of each for every lane.
EVENT_LANE = np.int64(0)  # always 0, the lane of what is computed from an event
WAITING = np.int64(1)  # how many lanes have a session that waits to be computed, from lane 0 on
CHOSEN = np.int64(2)  # the lanes in which something is being computed
LANE_ROW = CHOSEN + WIDTH  # the row of the session
LANE_CELLS = LANE_ROW + WIDTH  # address of its words,
LANE_LENGTH = LANE_CELLS + WIDTH  # and how many they are
LANE_MARKS = LANE_LENGTH + WIDTH  # what has changed, see `program.MARKS_MAX`
LANE_TIME = LANE_MARKS + WIDTH  # the session's time
LANE_WORDS = LANE_TIME + WIDTH


@inner
def lane_word(ctx, word, lane):  # type: ignore[no-untyped-def]
    """Return a word of a lane."""
    return word_at(span_in(ctx, LANES), word + lane)


@inner
def put_lane(ctx, lane, row, cells, marks):  # type: ignore[no-untyped-def]
    """Put a session into a lane.

    Args:
        ctx: Span of the context.
        lane: The lane.
        row: Its row; of no meaning in ALONE.
        cells: Span of the row.
        marks: What has changed since it was computed.
    """
    lanes = span_in(ctx, LANES)
    put_word(lanes, LANE_ROW + lane, row)
    put_word(lanes, LANE_CELLS + lane, cells[0])
    put_word(lanes, LANE_LENGTH + lane, cells[1])
    put_word(lanes, LANE_MARKS + lane, marks)


@inner
def lane_cells(ctx, lane):  # type: ignore[no-untyped-def]
    """Return the span of the row of the session in a lane."""
    return lane_word(ctx, LANE_CELLS, lane), lane_word(ctx, LANE_LENGTH, lane)


@inner
def chosen_lanes(ctx):  # type: ignore[no-untyped-def]
    """Return the span of CHOSEN."""
    return span_in(ctx, LANES)[0] + CHOSEN * 8, WIDTH


@inner
def event_lane(ctx):  # type: ignore[no-untyped-def]
    """Return the lanes of what is computed from an event, for `evaluation.evaluate_lanes`."""
    return (span_in(ctx, LANES)[0] + EVENT_LANE * 8, np.int64(1)), np.int64(1), np.int64(1)


@inner
def lane_stack(ctx):  # type: ignore[no-untyped-def]
    """Return the spans of the tags and of the bits of what is on the stack."""
    return span_in(ctx, STACK_TAGS), span_in(ctx, STACK_BITS)


@inner
def lane_inputs(ctx):  # type: ignore[no-untyped-def]
    """Return the spans of the tags and of the bits of the inputs that have been loaded, those of each place together."""
    return span_in(ctx, INPUT_TAGS), span_in(ctx, INPUT_BITS)
