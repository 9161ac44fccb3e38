"""Events of one visitor in one request are lifted together; what comes of it is as if each had come in a request of its own."""

from __future__ import annotations

import random
import threading
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rte.v1.event_pb2 import Event
from rte.v1.session_pb2 import Session
from rte_server.engine.batch import WINDOW_EVENTS
from rte_server.engine.engine import Engine
from rte_server.engine.entries import Entry, EntryType
from rte_server.engine.expressions import Code, Instruction, Op
from rte_server.engine.fold import refresh_rows
from rte_server.engine.lanes import ALONE, WIDTH
from rte_server.engine.program import AttributeSpec, Kind, ModelSpec
from rte_server.engine.score_inputs import ScoreInputs
from rte_server.engine.table import STALE, VERSION
from rte_server.engine.triggers import Fired
from rte_server.models import compile_models, load_models
from tests.engine.attribute_samples import MODEL, PATIENT, TOLD, load, trigger
from tests.engine.pair import SETTINGS, SMALL, messages, new_engine, state_of
from tests.engine.strategies import GAP_MS, ID_FORMS, START_MS, Batch, events
from tests.engine.test_online import model as online_model

IDS = tuple(form for form in ID_FORMS if form)
"""Events without an id are ordered by their place in the request, which differs here."""

MODELS: dict[str, tuple[ModelSpec, ...]] = {
    "no triggers": (MODEL,),
    "triggers that wait": (MODEL, PATIENT),
    "triggers that fire at once": (MODEL, TOLD),
    "packs": tuple(load_models(("base", "retail"))),
}


def folded(engine: Engine, requests: Sequence[Sequence[Event]], received_ms: int) -> tuple[list[int], list[Fired]]:
    """Fold requests that came at the same time; return what became of each event, and what fired, by session."""
    outcomes: list[int] = []
    fired: list[Fired] = []
    for request in requests:
        entry = Entry(EntryType.EVENTS, received_ms, Batch(tuple(request)).wire())
        outcome = engine.apply(engine.position + 1, entry)
        outcomes += outcome.event_outcomes.tolist()
        fired += outcome.fired
    # Those of different sessions have no order.
    return outcomes, sorted(fired, key=lambda each: each.session_id)


def looked_at(number: object, visitor: str, at_ms: int, price: float | None = None, name: str = "view_item") -> Event:
    """Return an event of a visitor, so long after the start, that names one of some products."""
    event = Event(event_id=str(number), visitor_id=visitor, name=name)
    event.event_time.FromMilliseconds(START_MS + at_ms)
    event.properties["item_id"] = f"SKU-{at_ms % 7}"
    if price is not None:
        event.properties["price"] = price
    return event


@st.composite
def requests(draw: st.DrawFn) -> list[tuple[list[Event], int]]:
    """Draw requests, some of whose events are sent twice, and when they came."""
    found = []
    sent: list[Event] = []
    received_ms = START_MS
    for _ in range(draw(st.integers(1, 4))):
        fresh = [draw(events(len(sent) + number, IDS)) for number in range(1, draw(st.integers(1, 12)) + 1)]
        sent += fresh
        again = draw(st.lists(st.sampled_from(sent), max_size=2))
        received_ms += draw(st.sampled_from((0, 300, GAP_MS, 6 * GAP_MS)))
        found.append((draw(st.permutations(fresh + again)), received_ms))
    return found


@pytest.mark.parametrize("models", MODELS)
@given(requests())
def test_a_request_is_as_good_as_many(models: str, drawn: list[tuple[list[Event], int]]) -> None:
    """A request gives the same verdicts, states and firings as its events one by one at the same time."""
    one, other = new_engine(MODELS[models]), new_engine(MODELS[models])
    for request, received_ms in drawn:
        assert folded(one, [request], received_ms) == folded(other, [[event] for event in request], received_ms)
        assert state_of(one) == state_of(other)


@pytest.mark.parametrize("models", MODELS)
def test_large_requests(models: str) -> None:
    """The same for a request of several windows, of few visitors, whose events are mixed and in no order of time."""
    drawn = random.Random(7)
    names = ("page_view", "view_item", "add_to_cart", "purchase")
    request = [
        looked_at(
            number,
            f"v-{drawn.randrange(40)}",
            drawn.randrange(20 * GAP_MS),
            drawn.randrange(80) / 4,
            drawn.choice(names),
        )
        for number in range(2 * WINDOW_EVENTS + 100)
    ]
    one, other = new_engine(MODELS[models]), new_engine(MODELS[models])
    received_ms = START_MS + 20 * GAP_MS
    assert folded(one, [request], received_ms) == folded(other, [[event] for event in request], received_ms)
    assert state_of(one) == state_of(other)


@pytest.mark.parametrize("models", MODELS)
@pytest.mark.parametrize("sessions", [int(ALONE) - 1, int(ALONE), 5 * int(WIDTH)])
def test_requests_of_many_sessions(models: str, sessions: int) -> None:
    """The same for as many sessions as are computed together, and for more, each with some events in a row or apart."""
    request = []
    for number in range(3 * sessions):
        visitor = f"v-{number % sessions if number % 2 else number // 3}"
        name = ("page_view", "view_item", "add_to_cart")[number % 3]
        request.append(looked_at(number, visitor, number, number % 70 + 0.5, name))
    one, other = new_engine(MODELS[models]), new_engine(MODELS[models])
    for moment, part in ((0, request[: sessions // 2]), (300, request[sessions // 2 :])):
        received_ms = START_MS + 3 * sessions + moment
        assert folded(one, [part], received_ms) == folded(other, [[event] for event in part], received_ms)
    assert state_of(one) == state_of(other)


def test_rows_that_wait_are_whole_before_they_must_leave() -> None:
    """Where a request needs more room than there is, those that leave may have waited; what is left is computed, and shown."""
    engine = new_engine(MODELS["packs"])
    before = [f"v-{number}" for number in range(SMALL.sessions_max)]
    # The oldest sessions wait with another event of then, and must leave before all others.
    for moment, visitors in ((0, before), (1_000, [*before[:20], "new"])):
        request = [looked_at(f"{moment}/{n}", visitor, n, 5.0) for n, visitor in enumerate(visitors)]
        folded(engine, [request], START_MS + moment + 500)
    stats = engine.stats()
    left = [Session.FromString(message) for message in messages(engine)]
    evicted = stats["sessions_evicted_active"] + stats["sessions_evicted_closed"]
    assert 0 < evicted < 20
    assert {each.visitor_id for each in left} == {*before[evicted:], "new"}
    assert len(left) == len(before) + 1 - evicted
    table = engine._state.table
    rows = engine.rows_in_use()
    assert (table.rows[rows, VERSION] & 1 == 0).all() and (table.rows[rows, STALE] & 1 == 0).all()
    found = table.rows[rows].copy()
    table.rows[rows, STALE] |= 1
    refresh_rows(engine._state.context)
    np.testing.assert_array_equal(found, table.rows[rows])


def test_a_session_changes_once_per_request() -> None:
    """Readers see a session's events of one request at once: its version has changed once."""
    engine = new_engine((MODEL, PATIENT), SETTINGS)
    request = [looked_at(number, "v", number) for number in range(5)]
    folded(engine, [request[:1]], START_MS)
    (row,) = engine.rows_in_use().tolist()
    before = int(engine.score_view().table.rows[row, VERSION])
    folded(engine, [request[1:]], START_MS)
    assert int(engine.score_view().table.rows[row, VERSION]) == before + 2


DEAR = (*load("price_sum"), Instruction(Op.DOUBLE, number=50.0), Instruction(Op.GREATER))
NOT_DEAR = (*DEAR, Instruction(Op.NOT))
LATELY_NONE = (*load("min_lately"), Instruction(Op.NULL), Instruction(Op.EQUAL))


@pytest.mark.parametrize(
    ("fires", "given", "times"),
    [
        # It holds after the first event, and not after the second.
        (trigger("dear", DEAR, 0, each_quiet=False), ((10, 60.0), (11, -60.0)), 1),
        # It holds all the time, so each event is another quiet.
        (trigger("keen_each", load("keen"), 0, each_quiet=True), ((10, 60.0), (11, 1.0), (12, 1.0)), 3),
        # It holds as the window of the first price is over when the request comes, until there is another price.
        (
            trigger("gone", (*DEAR, *LATELY_NONE, Instruction(Op.AND)), 0, each_quiet=False),
            ((10, 60.0), (700, None), (1_400, None), (2_100, 5.0)),
            1,
        ),
        # The session was quiet for long enough between the two, though it is not now.
        (trigger("paused", load("keen"), 300, each_quiet=True), ((10, 60.0), (900, 60.0)), 1),
    ],
    ids=("falls", "holds on", "passes", "waits"),
)
def test_what_holds_in_between_fires(
    fires: tuple[AttributeSpec, ...], given: tuple[tuple[int, float | None], ...], times: int
) -> None:
    """A trigger fires for an event of a request although the next one takes away the reason; as if each came alone."""
    models = (MODEL, replace(PATIENT, attributes=fires))
    request = [looked_at(number, "v", at_ms, price) for number, (at_ms, price) in enumerate(((0, None), *given))]
    one, other = new_engine(models), new_engine(models)
    for engine in (one, other):
        folded(engine, [request[:1]], START_MS)
    received_ms = START_MS + given[-1][0] + 100
    found = folded(one, [request[1:]], received_ms)
    assert found == folded(other, [[each] for each in request[1:]], received_ms)
    assert state_of(one) == state_of(other)
    assert len(found[1]) == times


@pytest.mark.parametrize(
    ("condition", "prices", "times"),
    [
        (DEAR, (60.0, -60.0), 1),
        (DEAR, (None, -60.0), 0),
        (NOT_DEAR, (None, 60.0), 1),
        (NOT_DEAR, (60.0, 1.0), 0),
        # The bytes of a text that only the program has.
        ((*load("tier"), Instruction(Op.STARTS_WITH, text=b"l")), (None, 60.0), 1),
        ((*load("tier"), Instruction(Op.TEXT, text=b"high"), Instruction(Op.GREATER)), (None, 60.0), 1),
        # A field of the session that no event changes, but that is something else without any.
        ((*load("session.visit_number"), Instruction(Op.INT, number=1), Instruction(Op.EQUAL)), (None, None, None), 1),
    ],
    ids=("after the first event", "never", "without events", "without events alone", "starts", "order", "visit"),
)
def test_what_holds_for_a_session_that_begins_fires(
    condition: Code, prices: tuple[float | None, ...], times: int
) -> None:
    """The same where the request begins the session: what its condition says without any event counts, too."""
    choice = (*DEAR, Instruction(Op.TEXT, text=b"high"), Instruction(Op.TEXT, text=b"low"), Instruction(Op.SELECT))
    tier = AttributeSpec("tier", "sample", Kind.DERIVED, "string", code=choice)
    models = (MODEL, replace(PATIENT, attributes=(tier, *trigger("told", condition, 0, each_quiet=False))))
    request = [looked_at(number, "v", number, price) for number, price in enumerate(prices)]
    one, other = new_engine(models), new_engine(models)
    found = folded(one, [request], START_MS)
    assert found == folded(other, [[each] for each in request], START_MS)
    assert state_of(one) == state_of(other)
    assert len(found[1]) == times


def test_a_score_that_learns_takes_events_as_they_come() -> None:
    """With an online score, a request of several visitors gives the same weights as its events one by one, and the same sessions."""
    models = compile_models({"shop": online_model(examples=1, shadow=False)})
    request = []
    for number in range(400):
        name = "purchase" if number % 5 == 4 else "view_item"
        request.append(looked_at(number, f"v-{number // 5}", number, number % 13 + 0.5, name))
    one, other = new_engine(models), new_engine(models)
    found = folded(one, [request], START_MS + 500)
    assert found == folded(other, [[each] for each in request], START_MS + 500)
    np.testing.assert_array_equal(one._state.table.online, other._state.table.online)
    assert state_of(one) == state_of(other)


def test_readers_wait_for_a_large_request_of_one_visitor() -> None:
    """A session whose events keep the writer busy for longer than a kernel waits is neither gone nor without its inputs."""
    engine = new_engine(MODELS["packs"])
    session = new_request(1)
    folded(engine, [session], START_MS)
    (row,) = engine.rows_in_use()
    session_id = engine.session_id(int(row))
    inputs = ScoreInputs(np.zeros(0, np.int64), np.zeros(0))
    missed: list[str] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            if engine.copied(engine.find_session, session_id) is None:
                missed.append("copied")
            if engine.score_view().gather(inputs, np.array([row])).stamps[0, 0] == 0:
                missed.append("gathered")

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(40):
        folded(engine, [new_request(1_000, 1 + 1_000 * number)], START_MS + 2_000)
    done.set()
    reader.join()
    assert not missed


def new_request(count: int, first: int = 0) -> list[Event]:
    """Return events of one visitor within a second."""
    return [looked_at(number, "v", number % 1_000, 5.0) for number in range(first, first + count)]
