"""What `track()` holds: limits, batches and counts, as properties; no threads, no network."""

from __future__ import annotations

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rte.backlog import Backlog, TrackSettings, later_of, pause_s
from rte.errors import RteError
from rte.events import Event, event_of, new_id, wire_of
from rte.v1.event_pb2 import Event as EventMessage

SETTINGS = TrackSettings(events_max=20, bytes_max=200, batch_events_max=5, batch_bytes_max=60, linger_s=1.0)
FAILURE = RteError(grpc.StatusCode.UNAVAILABLE, "away")


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("put"), st.integers(1, 60)),
            st.tuples(st.sampled_from(["take", "settle", "split"]), st.just(0)),
        ),
        max_size=120,
    )
)
def test_nothing_is_lost_and_the_limits_hold(steps: list[tuple[str, int]]) -> None:
    """Whatever happens in which order: what was taken is in exactly one batch, and the limits are never passed."""
    backlog, held, on_way, gone, number = Backlog(SETTINGS), list[bytes](), list[list[bytes]](), list[bytes](), 0
    tracked: list[bytes] = []
    for step, size in steps:
        if step == "put":
            number += 1
            body = number.to_bytes(4, "big") + bytes(size - 4) if size > 4 else number.to_bytes(size, "big")
            fits = len(held) < 20 and sum(map(len, held)) + len(body) <= 200
            assert backlog.put(body, 0.0) == fits
            if fits:
                held.append(body)
                tracked.append(body)
        elif step == "take" and backlog.due_in_s(0.0) is not None:
            batch = backlog.take(0.0)
            assert 1 <= len(batch) <= 5 and sum(map(len, batch)) <= 60
            on_way.append(batch)
        elif step == "split" and on_way and len(on_way[0]) > 1:
            on_way += backlog.split(on_way.pop(0))
        elif step == "settle" and on_way:
            batch = on_way.pop(0)
            backlog.settle(batch, len(batch), 0, "p")
            gone += batch
            for body in batch:
                held.remove(body)
        assert backlog.held == len(held)
        assert backlog.settled_to == (tracked.index(held[0]) if held else len(tracked))
    stats = backlog.stats()
    assert (stats.tracked, stats.delivered, stats.held) == (len(held) + len(gone), len(gone), len(held))
    left = [batch for batch in on_way]  # noqa: C416 - a copy by hand, to be sorted below
    while backlog.due_in_s(0.0) is not None:
        left.append(backlog.take(0.0))
    assert sorted(body for batch in left for body in batch) == sorted(held)


def test_a_batch_is_due_when_it_is_full_or_old() -> None:
    """A batch is due when it is full, when its first event has waited long enough, and when somebody is in a hurry."""
    backlog = Backlog(SETTINGS)
    assert backlog.due_in_s(0.0) is None
    backlog.put(b"x", 10.0)
    assert backlog.due_in_s(10.25) == 0.75 and backlog.due_in_s(11.5) == 0.0
    backlog.hurry(backlog.last)
    assert backlog.due_in_s(10.0) == 0.0
    backlog.settle(backlog.take(10.0), 1, 0, "")
    backlog.put(b"x", 20.0)
    assert backlog.due_in_s(20.0) == 1.0, "nobody is in a hurry for what came later"
    for _ in range(4):
        backlog.put(b"x", 20.0)
    assert backlog.due_in_s(20.0) == 0.0


@given(st.permutations(["0-8", "0-9", "0-10", "0-101", ""]))
def test_the_position_covers_all_batches(positions: list[str]) -> None:
    """In whatever order batches are answered, the position is the one that covers all of them."""
    backlog = Backlog(TrackSettings(batch_events_max=1))
    for _ in positions:
        backlog.put(b"x", 0.0)
    for batch, position in zip([backlog.take(0.0) for _ in positions], positions, strict=True):
        backlog.settle(batch, 1, 0, position)
    assert backlog.position == "0-101"


def test_positions_of_another_form_are_kept() -> None:
    """Of positions that cannot be compared, the latest answer's is kept."""
    assert later_of("", "") == "" and later_of("0-7", "") == "0-7" and later_of("", "0-7") == "0-7"
    assert later_of("0-7", "1-3") == "1-3" and later_of("b", "a") == "a"


def test_an_event_that_never_fits_is_refused() -> None:
    """An event larger than a batch is refused when it is tracked, so that it does not stand in the way for ever."""
    backlog = Backlog(SETTINGS)
    with pytest.raises(ValueError, match="60"):
        backlog.put(bytes(61), 0.0)
    assert backlog.held == 0


def test_what_is_not_delivered_can_be_kept() -> None:
    """What could not be delivered is given back as events with their ids and times, from batches on their way, too."""
    backlog = Backlog(TrackSettings(batch_events_max=1))
    bodies = [wire_of(Event("login", "ada", {"a": [1, None, {"b": "c"}]})) for _ in range(3)]
    for _, body in bodies:
        backlog.put(body, 0.0)
    backlog.take(0.0)
    backlog.failed(FAILURE)
    failure = backlog.not_delivered(with_events=True)
    assert (failure.held, failure.last_error) == (3, FAILURE) and "away" in str(failure)
    assert [event.event_id for event in failure.events] == [event_id for event_id, _ in bodies]
    assert [wire_of(event)[1] for event in failure.events] == [body for _, body in bodies]


def test_pauses_grow_to_their_bound() -> None:
    """Pauses between attempts double up to their bound, with a random half, and keep to what the server asks for."""
    for attempt in range(40):
        whole = min(10.0, 0.1 * 2**attempt)
        assert whole / 2 <= pause_s(FAILURE, attempt, TrackSettings()) <= whole
    assert pause_s(RteError(grpc.StatusCode.RESOURCE_EXHAUSTED, "", retry_after_s=20.0), 0, TrackSettings()) == 20.0


def test_ids_are_uuids_that_grow() -> None:
    """Ids made in a row are different UUIDs of version 7, each greater than the one before."""
    import uuid

    ids = [new_id() for _ in range(20_000)]
    assert ids == sorted(set(ids))
    parsed = uuid.UUID(ids[0])
    assert (parsed.version, parsed.variant, str(parsed)) == (7, uuid.RFC_4122, ids[0])


@given(
    st.builds(
        Event,
        name=st.text(min_size=1, max_size=20),
        visitor_id=st.text(max_size=20),
        properties=st.dictionaries(
            st.text(max_size=5),
            st.recursive(
                st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(max_size=8),
                lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
                max_leaves=8,
            ),
            max_size=4,
        ),
        customer_id=st.text(max_size=5),
        channel=st.text(max_size=5),
        client_session_id=st.text(max_size=5),
        event_id=st.text(min_size=1, max_size=5),
    )
)
def test_events_survive_the_wire(event: Event) -> None:
    """What the client writes by hand is what the official parser reads."""
    _, body = wire_of(event)
    message = EventMessage.FromString(body)
    assert message.SerializeToString(deterministic=True) == EventMessage.FromString(body).SerializeToString(
        deterministic=True
    )
    again = event_of(body)
    assert (again.name, again.visitor_id, again.event_id) == (event.name, event.visitor_id, event.event_id)
    assert again.properties == event.properties


@pytest.mark.parametrize("value", [b"x", object(), {1, 2}])
def test_properties_are_json(value: object) -> None:
    """A property that is no JSON is refused where it is tracked."""
    with pytest.raises(TypeError):
        wire_of(Event("login", "ada", {"x": value}))  # type: ignore[dict-item]


@pytest.mark.parametrize("wrong", [{"events_max": 0}, {"linger_s": -1.0}, {"when_full": "perhaps"}])
def test_settings_are_checked(wrong: dict[str, object]) -> None:
    """Settings out of their range are refused."""
    with pytest.raises(ValueError, match=r"limits|when_full"):
        TrackSettings(**wrong)  # type: ignore[arg-type]
