"""SEQUENCE: how far a session came in a row of steps, in their order.

A *run* begins with an occurrence of the first step. It reaches a further step with the first occurrence of that step after
the one of the required step before it; optional steps are not waited for. A run ends with the first `not` event after it
began, and `within` after it began. The run that is shown began after the latest completion and the latest `not` event, and
is still open: of those the one that reached most, and of several the latest. A completed run is shown until the first step
occurs again.

Cell: for each step, and for the `not` events together: the number of occurrences, the first FIRST_KEPT of them as
(time, order), then the last `keep`, newest first; 0 = none. Counts add up, and the first and the last of the whole are among
the first and the last of its parts, so the cell is a commutative monoid. What is shown is exact while no step and no `not`
occurred more than FIRST_KEPT + keep times. Beyond that what was forgotten is taken for what says least: a step that did not
occur, a `not` that did, a last step that completed. So the stages shown are never more than what happened.
"""

from __future__ import annotations

import numpy as np

from rte_server.engine.event_log import is_after
from rte_server.engine.kernel import inner
from rte_server.engine.native import put_word, word_at
from rte_server.engine.table import NEVER_MS

FIRST_KEPT = 2
STEPS_MAX = 12

# Parts; the stage is what the attribute itself shows.
SEQUENCE_STAGE = 0  # int, number of the last step that the run that is shown reached, 0 = there is none
SEQUENCE_FURTHEST = 1  # int, the same over all runs
SEQUENCE_COMPLETED = 2  # bool
SEQUENCE_STEP_TIMES = 3  # list of times, null for steps that the run that is shown has not reached
SEQUENCE_TIME_LEFT = 4  # double, seconds until the run that is shown ends

# Numbers in `params`.
WITHIN = 0  # ms, 0 = no limit
STEPS = 1
OPTIONAL = 2  # bit i: step i, from 0, need not occur
HAS_NOT = 3  # 1: the role after the last step's is that of the `not` events
SEQUENCE_PARAMS = 4

NOTHING = 0
OPEN = 1
COMPLETED = 2


def slot_words(keep: int) -> int:
    """Return the words kept for a step."""
    return 1 + 2 * (FIRST_KEPT + keep)


@inner
def _slot(at, keep, step):  # type: ignore[no-untyped-def]
    return at + step * (1 + 2 * (FIRST_KEPT + keep))


@inner
def _keep_earliest(cells, first, time_ms, order):  # type: ignore[no-untyped-def]
    """Put an occurrence among the first ones, oldest first."""
    for place in range(first, first + 2 * FIRST_KEPT, 2):
        kept_ms, kept_order = word_at(cells, place), word_at(cells, place + 1)
        if kept_ms == 0 or is_after(kept_ms, kept_order, time_ms, order):
            put_word(cells, place, time_ms)
            put_word(cells, place + 1, order)
            if kept_ms == 0:
                return
            time_ms, order = kept_ms, kept_order


@inner
def _keep_latest(cells, first, keep, time_ms, order):  # type: ignore[no-untyped-def]
    """Put an occurrence among the last ones, newest first."""
    for place in range(first, first + 2 * keep, 2):
        kept_ms, kept_order = word_at(cells, place), word_at(cells, place + 1)
        if kept_ms == 0 or is_after(time_ms, order, kept_ms, kept_order):
            put_word(cells, place, time_ms)
            put_word(cells, place + 1, order)
            if kept_ms == 0:
                return
            time_ms, order = kept_ms, kept_order


@inner
def lift_sequence(cells, at, keep, step, time_ms, order):  # type: ignore[no-untyped-def]
    """Lift an occurrence of step `step`, from 0; the number after the last step is that of the `not` events.

    Returns whether there are more than can be kept, so that one was forgotten.
    """
    slot = _slot(at, keep, step)
    put_word(cells, slot, word_at(cells, slot) + 1)
    _keep_earliest(cells, slot + 1, time_ms, order)
    _keep_latest(cells, slot + 1 + 2 * FIRST_KEPT, keep, time_ms, order)
    return _has_forgotten(cells, slot, keep)


@inner
def merge_sequence(into, other, at, keep, slots):  # type: ignore[no-untyped-def]
    """Merge a cell of `slots` steps, the `not` events included, into another."""
    for step in range(slots):
        slot = _slot(at, keep, step)
        put_word(into, slot, word_at(into, slot) + word_at(other, slot))
        lasts = slot + 1 + 2 * FIRST_KEPT
        for place in range(slot + 1, lasts, 2):
            if word_at(other, place) != 0:
                _keep_earliest(into, slot + 1, word_at(other, place), word_at(other, place + 1))
        for place in range(lasts, lasts + 2 * keep, 2):
            if word_at(other, place) != 0:
                _keep_latest(into, lasts, keep, word_at(other, place), word_at(other, place + 1))


@inner
def _next(cells, slot, keep, time_ms, order):  # type: ignore[no-untyped-def]
    """Return (time, order) of the first kept occurrence after a moment, (0, 0) if there is none."""
    for place in range(slot + 1, slot + 1 + 2 * FIRST_KEPT, 2):
        if is_after(word_at(cells, place), word_at(cells, place + 1), time_ms, order):
            return word_at(cells, place), word_at(cells, place + 1)
    lasts = slot + 1 + 2 * FIRST_KEPT
    for place in range(lasts + 2 * (keep - 1), lasts - 1, -2):
        if is_after(word_at(cells, place), word_at(cells, place + 1), time_ms, order):
            return word_at(cells, place), word_at(cells, place + 1)
    return np.int64(0), np.int64(0)


@inner
def _has_forgotten(cells, slot, keep):  # type: ignore[no-untyped-def]
    return word_at(cells, slot) > FIRST_KEPT + keep


@inner
def _end_of_run(cells, at, keep, params, start_ms, start_order):  # type: ignore[no-untyped-def]
    """Return the moment (time, order) before which a run must reach its steps."""
    within = word_at(params, WITHIN)
    end_ms, end_order = np.int64(NEVER_MS), np.int64(0)
    if within > 0:
        end_ms = start_ms + within + 1
    if word_at(params, HAS_NOT) != 0:
        slot = _slot(at, keep, word_at(params, STEPS))
        forgotten_from, forgotten_to = slot + 1 + 2 * (FIRST_KEPT - 1), slot + 1 + 2 * (FIRST_KEPT + keep - 1)
        if (
            _has_forgotten(cells, slot, keep)
            and not is_after(word_at(cells, forgotten_from), word_at(cells, forgotten_from + 1), start_ms, start_order)
            and is_after(word_at(cells, forgotten_to), word_at(cells, forgotten_to + 1), start_ms, start_order)
        ):
            return start_ms, start_order
        not_ms, not_order = _next(cells, slot, keep, start_ms, start_order)
        if not_ms != 0 and is_after(end_ms, end_order, not_ms, not_order):
            end_ms, end_order = not_ms, not_order
    return end_ms, end_order


@inner
def follow_run(cells, at, keep, params, start_ms, start_order, wanted):  # type: ignore[no-untyped-def]
    """Follow the run that begins with an occurrence of the first step.

    Returns:
        The number of the last step that it reached; (time, order) of the last required one; and the time of step `wanted`,
        from 0, or 0 where it was not reached.
    """
    end_ms, end_order = _end_of_run(cells, at, keep, params, start_ms, start_order)
    optional = word_at(params, OPTIONAL)
    reached = np.int64(1)
    time_ms, order = start_ms, start_order
    found_ms, found_order = (start_ms if wanted == 0 else np.int64(0)), start_order
    for step in range(1, word_at(params, STEPS)):
        next_ms, next_order = _next(cells, _slot(at, keep, step), keep, time_ms, order)
        is_reached = next_ms != 0 and is_after(end_ms, end_order, next_ms, next_order)
        is_required = optional >> step & 1 == 0
        if is_reached:
            reached = np.int64(step + 1)
            if step == wanted:
                found_ms, found_order = next_ms, next_order
            elif is_required and is_after(found_ms, found_order, next_ms, next_order):
                found_ms = np.int64(0)  # An optional step that came only after the next required one.
        if is_required:
            if not is_reached:
                break
            time_ms, order = next_ms, next_order
    return reached, time_ms, order, found_ms


@inner
def _start(cells, at, place):  # type: ignore[no-untyped-def]
    """Return (time, order) of a kept occurrence of the first step; places count up from the oldest to the newest."""
    return word_at(cells, at + 1 + 2 * place), word_at(cells, at + 2 + 2 * place)


@inner
def _place_of(rank, keep):  # type: ignore[no-untyped-def]
    """Return where the start of a rank is kept: ranks count from the oldest to the newest."""
    return rank if rank < FIRST_KEPT else 2 * FIRST_KEPT + keep - 1 - rank


@inner
def _completion(cells, at, keep, params):  # type: ignore[no-untyped-def]
    """Return (time, order) of the latest completion that is certain, then those of the start of its run; zeros: none."""
    found_ms, found_order = np.int64(0), np.int64(0)
    from_ms, from_order = np.int64(0), np.int64(0)
    steps = word_at(params, STEPS)
    if word_at(cells, _slot(at, keep, steps - 1)) == 0:
        return found_ms, found_order, from_ms, from_order
    for rank in range(FIRST_KEPT + keep):
        start_ms, start_order = _start(cells, at, _place_of(rank, keep))
        if start_ms == 0:
            continue
        reached, time_ms, order, _ = follow_run(cells, at, keep, params, start_ms, start_order, -1)
        if reached == steps and not is_after(found_ms, found_order, time_ms, order):
            found_ms, found_order, from_ms, from_order = time_ms, order, start_ms, start_order
    return found_ms, found_order, from_ms, from_order


@inner
def _forgets(cells, at, keep, params, first, end):  # type: ignore[no-untyped-def]
    """Return whether occurrences of required steps from `first` on, before `end`, or of `not`, the last one, are forgotten."""
    for step in range(first, end):
        is_needed = step == word_at(params, STEPS) or word_at(params, OPTIONAL) >> step & 1 == 0
        if is_needed and _has_forgotten(cells, _slot(at, keep, step), keep):
            return True
    return False


@inner
def shown_run(cells, at, keep, params, time_ms):  # type: ignore[no-untyped-def]
    """Return what is shown at a session's time: NOTHING, OPEN or COMPLETED, the stage, and where the run began."""
    nothing = (np.int64(NOTHING), np.int64(0), np.int64(0), np.int64(0))
    lasts = at + 1 + 2 * FIRST_KEPT
    latest_ms, latest_order = word_at(cells, lasts), word_at(cells, lasts + 1)
    if latest_ms == 0:
        return nothing
    steps = word_at(params, STEPS)
    within = word_at(params, WITHIN)
    after_ms, after_order, from_ms, from_order = _completion(cells, at, keep, params)
    if after_ms != 0 and not is_after(latest_ms, latest_order, after_ms, after_order):
        # If later steps are forgotten, the run may have come to its end earlier than it seems: before another one began.
        if (latest_ms == from_ms and latest_order == from_order) or not _forgets(cells, at, keep, params, 1, steps):
            return np.int64(COMPLETED), steps, from_ms, from_order
    if within > 0 and time_ms - latest_ms > within:
        return nothing
    ends = np.int64(steps + word_at(params, HAS_NOT))
    for step in range(steps - 1, ends):
        # The last step counts as one that may have completed a run only where that cannot be known.
        if step == steps or _forgets(cells, at, keep, params, 0, ends):
            slot = _slot(at, keep, step) + 1 + 2 * FIRST_KEPT
            if is_after(word_at(cells, slot), word_at(cells, slot + 1), after_ms, after_order):
                after_ms, after_order = word_at(cells, slot), word_at(cells, slot + 1)
    most = np.int64(0)
    for rank in range(FIRST_KEPT + keep):
        start_ms, start_order = _start(cells, at, _place_of(rank, keep))
        is_open = is_after(start_ms, start_order, after_ms, after_order) and (
            within == 0 or time_ms - start_ms <= within
        )
        if start_ms != 0 and is_open:
            most = follow_run(cells, at, keep, params, start_ms, start_order, -1)[0]
            break
    if most == 0:
        return nothing
    # The oldest open run reached most; the latest that reached as much has most time left.
    for place in range(FIRST_KEPT, FIRST_KEPT + keep):
        start_ms, start_order = _start(cells, at, place)
        if start_ms == 0 or not is_after(start_ms, start_order, after_ms, after_order):
            break
        if follow_run(cells, at, keep, params, start_ms, start_order, -1)[0] == most:
            return np.int64(OPEN), most, start_ms, start_order
    for place in range(FIRST_KEPT - 1, -1, -1):
        start_ms, start_order = _start(cells, at, place)
        is_open = is_after(start_ms, start_order, after_ms, after_order)
        if start_ms != 0 and is_open and follow_run(cells, at, keep, params, start_ms, start_order, -1)[0] == most:
            return np.int64(OPEN), most, start_ms, start_order
    return nothing


@inner
def sequence_number(cells, at, keep, params, part, time_ms):  # type: ignore[no-untyped-def]
    """Return the stage, the furthest stage, or 1 if a run was completed, else 0."""
    if part == SEQUENCE_STAGE:
        return shown_run(cells, at, keep, params, time_ms)[1]
    if part == SEQUENCE_COMPLETED:
        return np.int64(_completion(cells, at, keep, params)[0] != 0)
    furthest = np.int64(0)
    for place in range(FIRST_KEPT + keep):
        start_ms, start_order = _start(cells, at, place)
        if start_ms != 0 and furthest < word_at(params, STEPS):
            furthest = max(furthest, follow_run(cells, at, keep, params, start_ms, start_order, -1)[0])
    return furthest


@inner
def sequence_time_left_ms(cells, at, keep, params, time_ms):  # type: ignore[no-untyped-def]
    """Return the time until the run that is shown ends, >= 0; -1 if none is open or it has no limit."""
    shown, _, start_ms, _ = shown_run(cells, at, keep, params, time_ms)
    if shown != OPEN or word_at(params, WITHIN) == 0:
        return np.int64(-1)
    return start_ms + word_at(params, WITHIN) - time_ms


@inner
def sequence_due_ms(cells, at, keep, params, time_ms):  # type: ignore[no-untyped-def]
    """Return the session time at which the run that is shown ends by itself; NEVER_MS: it does not."""
    left_ms = sequence_time_left_ms(cells, at, keep, params, time_ms)
    return time_ms + left_ms + 1 if left_ms >= 0 else np.int64(NEVER_MS)
