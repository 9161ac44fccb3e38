"""Triggers: a condition on a session that is told once when it comes true, or when the session was quiet for a while.

What fires follows from the journal alone. A trigger that waits for quiet looks at its condition at one moment: its wait
after the session's last event, by the session's time. Whatever entry comes first after that moment decides it, a TICK or
an event of the session, and the condition is computed for that moment, so that neither a late TICK nor a restart changes
what fires or when. Where the condition does not hold then, it is looked at again with every change of the row, until the
next event ends the quiet.

Cell: how often it fired; the latest time it fired at; the time of the session's last event then, and when it was last
found not to hold. A number that is added and three maxima: marks of two sessions merge in any order. They are marks of
what was told, so unlike other cells they depend on when events came.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rte_server.engine.annexes import cell_span
from rte_server.engine.context import AT_ONCE, ATTRIBUTES, FIRED, PARAMS, PASSING, TRIGGERS, span_in
from rte_server.engine.derived import derive_changed
from rte_server.engine.derived_cells import is_true
from rte_server.engine.ids import session_id_text
from rte_server.engine.kernel import inner
from rte_server.engine.native import put_word, word_at
from rte_server.engine.program import (
    A_AT,
    A_PARAMS,
    A_REGISTERS,
    A_WORDS,
    MARK_TIME,
    PASS_AT,
    PASS_MARKS,
    PASS_WORDS,
    T_MARKS,
    T_OF_EVENTS,
    T_WAIT,
    Program,
)
from rte_server.engine.row_values import session_time
from rte_server.engine.table import (
    LAG,
    LAST,
    SESSION_HI,
    SESSION_LO,
    STALE,
    TRIGGERS_DEFERRED,
    TRIGGERS_FIRED,
    UNTOUCHED,
    add_count,
)
from rte_server.engine.trigger_cells import COUNT_AT, LAST_AT, REFUSED_AT, TIME_AT, is_done

FIRED_MAX = 131_072
"""Firings that one entry can report. What finds no room is counted, and fires with the next TICK if the quiet lasts."""

FIRED_WORDS = np.int64(5)  # number of the trigger's attribute, session id (2), time, round


class Fired(NamedTuple):
    """A trigger that fired.

    Attributes:
        trigger: Its name.
        session_id: The session.
        time_ms: When, by the session's time, ms since 1970.
        round: How often it fired for the session, this time included.
    """

    trigger: str
    session_id: str
    time_ms: int
    round: int

    @property
    def fire_id(self) -> str:
        """Return what names this firing: it is the same on every machine and in every replay."""
        return f"{self.trigger}/{self.session_id}/{self.round}"


def new_fired() -> NDArray[np.int64]:
    """Return room for what one entry fires: the number of firings, then FIRED_WORDS of each."""
    return np.zeros(1 + FIRED_MAX * int(FIRED_WORDS), np.int64)


def fired_by(fired: NDArray[np.int64], program: Program) -> list[Fired]:
    """Return what the last entry fired.

    Args:
        fired: From `new_fired`.
        program: What the entry was folded by.
    """
    rows = fired[1 : 1 + int(fired[0]) * FIRED_WORDS].reshape(-1, FIRED_WORDS).tolist()
    names = [spec.name for spec in program.attributes] if rows else []
    return [
        Fired(names[number], session_id_text(low, high), time_ms, round_number)
        for number, low, high, time_ms, round_number in rows
    ]


@inner
def may_fire(ctx, cells, marks, now_ms):  # type: ignore[no-untyped-def]
    """Return whether a trigger might fire if the row were computed now. If not, it can be computed after further events.

    A trigger that waits may if the session has been quiet for long enough. Another one may if its condition holds already, or
    if something that the condition follows from has changed, or changes with time. In doubt, the answer is yes. A session that has
    had nothing but these events began with conditions that do not hold, see `at_once`.

    Args:
        ctx: Span of the context.
        cells: Span of the row.
        marks: What has changed since the row was computed.
        now_ms: Received time of the entry.
    """
    triggers = span_in(ctx, TRIGGERS)
    if triggers[1] == 0:
        return False
    at_once = span_in(ctx, AT_ONCE)
    before = word_at(cells, STALE)
    began_with_these = before & UNTOUCHED != 0 and word_at(at_once, T_OF_EVENTS) != 0
    if before & 1 != 0 and not began_with_these:
        return True
    if session_time(cells, now_ms) >= word_at(cells, LAST) + word_at(at_once, T_WAIT):
        return True
    reasons = word_at(at_once, T_MARKS)
    if (marks | MARK_TIME) & reasons != 0:
        return True
    passing = span_in(ctx, PASSING)
    bit = np.int64(2)
    for p in range(0, passing[1], PASS_WORDS):
        if word_at(passing, p + PASS_MARKS) & reasons != 0:
            at = word_at(passing, p + PASS_AT)
            if before & bit != 0 or word_at(cell_span(ctx, cells, at), at) != 0:
                return True
        bit <<= 1
    for i in range(triggers[1]):
        attribute = _attribute(ctx, word_at(triggers, i))
        quiet_ms, each_quiet = _params(ctx, attribute)
        if (
            quiet_ms == 0
            and is_true(cells, word_at(attribute, A_REGISTERS))
            and not is_done(cells, word_at(attribute, A_AT), each_quiet)
        ):
            return True
    return False


@inner
def settle_quiet(ctx, cells, now_ms):  # type: ignore[no-untyped-def]
    """Decide the triggers whose quiet was over before this entry, each at its moment. The row is being written.

    Args:
        ctx: Span of the context.
        cells: Span of the row.
        now_ms: Received time of the entry.
    """
    time_ms = session_time(cells, now_ms)
    triggers = span_in(ctx, TRIGGERS)
    for i in range(triggers[1]):
        attribute = _attribute(ctx, word_at(triggers, i))
        at = word_at(attribute, A_AT)
        quiet_ms, each_quiet = _params(ctx, attribute)
        moment_ms = word_at(cells, LAST) + quiet_ms
        is_open = word_at(cells, at + REFUSED_AT) < word_at(cells, LAST) and not is_done(cells, at, each_quiet)
        if quiet_ms > 0 and moment_ms <= time_ms and is_open:
            put_word(cells, STALE, 1)
            derive_changed(ctx, cells, np.int64(0), moment_ms + word_at(cells, LAG))
            _fire(ctx, cells, moment_ms)
            put_word(cells, STALE, 1)


@inner
def run_triggers(ctx, cells, now_ms):  # type: ignore[no-untyped-def]
    """Fire what is to fire now that the row's derived attributes are up to date. The row is being written.

    Args:
        ctx: Span of the context.
        cells: Span of the row.
        now_ms: Received time of the entry.
    """
    # What fires may make the condition of another trigger true. Each fires at most once until the next event.
    for _ in range(span_in(ctx, TRIGGERS)[1]):
        if not _fire(ctx, cells, session_time(cells, now_ms)):
            break
        put_word(cells, STALE, 1)
        derive_changed(ctx, cells, np.int64(0), now_ms)


@inner
def _attribute(ctx, number):  # type: ignore[no-untyped-def]
    return span_in(ctx, ATTRIBUTES)[0] + number * A_WORDS * 8, A_WORDS


@inner
def _params(ctx, attribute):  # type: ignore[no-untyped-def]
    """Return for how long the session must be quiet, ms, and whether it fires once per quiet."""
    params = span_in(ctx, PARAMS)
    first = word_at(attribute, A_PARAMS)
    return word_at(params, first), word_at(params, first + 1)


@inner
def _fire(ctx, cells, time_ms):  # type: ignore[no-untyped-def]
    """Fire the triggers that are ready and whose conditions hold; return whether there were any."""
    has_fired = False
    triggers = span_in(ctx, TRIGGERS)
    last_ms = word_at(cells, LAST)
    for i in range(triggers[1]):
        number = word_at(triggers, i)
        attribute = _attribute(ctx, number)
        at = word_at(attribute, A_AT)
        quiet_ms, each_quiet = _params(ctx, attribute)
        if time_ms < last_ms + quiet_ms or is_done(cells, at, each_quiet):
            continue
        if is_true(cells, word_at(attribute, A_REGISTERS)):
            was_refused = quiet_ms == 0 or word_at(cells, at + REFUSED_AT) >= last_ms
            has_fired |= _put_fired(ctx, cells, at, number, time_ms if was_refused else last_ms + quiet_ms)
        elif quiet_ms > 0:
            put_word(cells, at + REFUSED_AT, last_ms)
    return has_fired


@inner
def _put_fired(ctx, cells, at, number, time_ms):  # type: ignore[no-untyped-def]
    """Report that a trigger fired, and mark it; False if there is no room."""
    fired = span_in(ctx, FIRED)
    count = word_at(fired, 0)
    if count >= FIRED_MAX:
        add_count(ctx, TRIGGERS_DEFERRED, 1)
        return False
    put_word(fired, 0, count + 1)
    place = 1 + count * FIRED_WORDS
    put_word(cells, at + COUNT_AT, word_at(cells, at + COUNT_AT) + 1)
    put_word(cells, at + TIME_AT, max(word_at(cells, at + TIME_AT), time_ms))
    put_word(cells, at + LAST_AT, max(word_at(cells, at + LAST_AT), word_at(cells, LAST)))
    put_word(fired, place, number)
    put_word(fired, place + 1, word_at(cells, SESSION_LO))
    put_word(fired, place + 2, word_at(cells, SESSION_HI))
    put_word(fired, place + 3, time_ms)
    put_word(fired, place + 4, word_at(cells, at + COUNT_AT))
    add_count(ctx, TRIGGERS_FIRED, 1)
    return True
