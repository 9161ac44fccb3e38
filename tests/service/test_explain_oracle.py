"""Explanations against folds without an event, brute force over recorded data, and journals that are not whole."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from google.protobuf.struct_pb2 import Value
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rte.v1.event_pb2 import Event
from rte.v1.session_explanation_pb2 import ExplainedEvent, Explanation, ExpressionPart
from rte.v1.session_service_pb2 import UpdateSessionRequest
from rte_server.config import ExplainSettings
from rte_server.engine.entries import EntryType
from rte_server.engine.kinds import changes_with_time
from rte_server.engine.settings import EngineSettings
from rte_server.models import compile_model, load_models, pack_names
from rte_server.models.alongside import renamed
from rte_server.service.explain.values import same
from tests.engine.recorded import BATCH_EVENTS, Row, read_rows, visits
from tests.service.explaining import SHARD, Explaining, check_evidence, refolded

CONTRIBUTED = ExplainedEvent.OUTCOME_CONTRIBUTED
REDUNDANT = ExplainedEvent.OUTCOME_REDUNDANT
START_MS = 1_790_000_000_000
MODELS = load_models(pack_names())
SPECS = [spec for model in MODELS for spec in model.attributes]
# Without an event the time of a session can be another one, too; what follows from it is compared where the time is the
# same: `test_session_parts`.
FROM_EVENTS = [
    spec.name
    for spec in SPECS
    if spec.kind.name not in ("DERIVED", "LINEAR", "TRIGGER") and not changes_with_time(spec)
]
SETTINGS = EngineSettings()

SAMPLE_VALUES: dict[str, float | str] = {
    "price": 5.0,
    "quantity": 2.0,
    "value": 12.5,
    "page_referrer": "https://search.example/",
}
NAMES = ("page_view", "view_item", "add_to_cart", "purchase", "search", "login")
PROPERTIES: dict[str, st.SearchStrategy[float | str]] = {
    "price": st.sampled_from([0.0, 5.0, 7.5, "dear", 2e12]),
    "quantity": st.sampled_from([1.0, 2.0, "two"]),
    "value": st.sampled_from([0.0, 12.5]),
    "item_id": st.sampled_from(["a", "b", "c"]),
    "item_category": st.sampled_from(["shoes", "hats"]),
    "page_location": st.sampled_from(["https://shop.example/a", "https://shop.example/b?utm_source=mail"]),
    "page_referrer": st.sampled_from(["", "https://search.example/"]),
    "search_term": st.sampled_from(["boots", "hats"]),
    "utm_source": st.sampled_from(["mail", "ads"]),
}


@st.composite
def visit(draw: st.DrawFn) -> list[Event]:
    """Draw the events of one visit; some are sent twice."""
    found = []
    for number in range(draw(st.integers(1, 7))):
        event = Event(event_id=str(number), name=draw(st.sampled_from(NAMES)), visitor_id="v")
        event.event_time.FromMilliseconds(START_MS + draw(st.integers(0, 20)) * 60_000)
        chosen = draw(st.lists(st.sampled_from(sorted(PROPERTIES)), unique=True))
        event.properties.update({name: draw(PROPERTIES[name]) for name in chosen})
        found.append(event)
        if draw(st.integers(0, 5)) == 0:
            found.append(event)
    return found


@pytest.fixture
def explaining(tmp_path: Path) -> Iterator[Explaining]:
    """What explains, with all packs."""
    made = Explaining(tmp_path / "data", MODELS, START_MS + 1_300_000)
    yield made
    made.close()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(events=visit(), data=st.data())
def test_an_event_contributes_if_the_value_needs_it(
    explaining: Explaining, events: list[Event], data: st.DataObject
) -> None:
    """Without an event that contributed a fresh engine shows another value, without any other event the same value."""
    visitor_id = f"v-{explaining.engine.position}"
    for event in events:
        event.visitor_id = visitor_id
    explaining.send(*events[: len(events) // 2])
    explaining.send(*events[len(events) // 2 :])
    known = {event.event_id: event for event in events}
    for name in data.draw(st.lists(st.sampled_from(FROM_EVENTS), min_size=8, max_size=8, unique=True)):
        found = explaining.explain(visitor_id, name)
        assert found.events.complete, found.events.incomplete_reason
        value = found.value if found.HasField("value") else None
        assert same(value, explaining.values(visitor_id).get(name))
        for explained in found.events.events:
            if explained.outcome == ExplainedEvent.OUTCOME_DUPLICATE or len(known) == 1:
                continue
            rest = [event for event_id, event in known.items() if event_id != explained.event_id]
            batches = [(explaining.now_ms, rest)]
            without = refolded(MODELS, SETTINGS, batches, explaining.now_ms)[visitor_id].get(name)
            assert same(without, value) == (explained.outcome != CONTRIBUTED), (name, explained)


def test_every_attribute_of_every_pack_is_explained(explaining: Explaining) -> None:
    """Each attribute of each pack says what it is, where it is defined, and what stands behind its value."""
    names = sorted(
        {name for spec in SPECS for name in (*spec.events, *(n for role in spec.roles for n in role.events))}
    )
    codes = [code for spec in SPECS for code in (spec.value, spec.where, *spec.extras)]
    properties = sorted({step.name for code in codes for step in code if step.name is not None})
    events = [event_of("rich", number, name) for number, name in enumerate(names, 1)]
    for event in events:
        event.properties.update({name: SAMPLE_VALUES.get(name, "https://shop.example/x") for name in properties})
    explaining.send(*events)
    values = explaining.values("rich")
    assert len(values) > len(SPECS) / 2
    for spec in SPECS:
        found = explaining.explain("rich", spec.name)
        value = found.value if found.HasField("value") else None
        assert (found.attribute.name, found.attribute.model) == (spec.name, spec.model)
        assert found.definition.line > 0, spec.name
        assert found.definition.source.startswith(f"{spec.name.partition('.')[0]}:"), spec.name
        assert found.summary.startswith(f"`{spec.name}` ") and ": " in found.summary
        assert same(value, values.get(spec.name)), spec.name
        check_evidence(found)


def test_contributions_add_up_on_recorded_data(explaining: Explaining) -> None:
    """Over recorded visits, counts and sums are the sum of the contributions, and those are what brute force finds."""
    rows = [row for row in read_rows("ecom_events_dev.csv.gz") if row.visitor_id]
    explaining.now_ms = rows[-1].time_ms + 1
    for start in range(0, len(rows), BATCH_EVENTS):
        explaining.send(*(row.event() for row in rows[start : start + BATCH_EVENTS]))
    checked = 0
    for visitor_id, mine in sorted(visits(rows).items(), key=lambda item: -len(item[1][-1]))[:60]:
        check_visit(explaining, visitor_id, mine[-1])
        checked += len(mine[-1])
    assert checked > 400


def check_visit(explaining: Explaining, visitor_id: str, rows: list[Row]) -> None:
    """Compare the explanations of a visitor's last visit with its rows."""
    views = [row for row in rows if row.name == "view_item"]
    adds = [row for row in rows if row.name == "add_to_cart"]
    found = explaining.explain(visitor_id, "product_views")
    assert found.events.complete, found.events.incomplete_reason
    assert added_up(found) == found.value.number_value == len(views)
    assert ids(found, CONTRIBUTED) == {row.event_id for row in views}
    assert found.events.other_event_count == len(rows) - len(views)
    found = explaining.explain(visitor_id, "added_value")
    priced = {row.event_id: float(row.properties["price"]) for row in adds if "price" in row.properties}
    assert added_up(found) == pytest.approx(found.value.number_value, rel=1e-12)
    gives = {int(each.event_id): each.contribution.number_value for each in found.events.events if behind(each)}
    assert gives == {event_id: price for event_id, price in priced.items() if price != 0.0} or any(
        "quantity" in row.properties for row in adds
    )
    found = explaining.explain(visitor_id, "last_item")
    with_item = [row for row in views if row.properties.get("item_id")]
    assert ids(found, CONTRIBUTED) | ids(found, REDUNDANT) == {row.event_id for row in with_item[-1:]}
    found = explaining.explain(visitor_id, "max_viewed_price")
    prices = [float(row.properties["price"]) for row in views if "price" in row.properties]
    assert found.value.number_value == max(prices, default=0.0)
    for each in found.events.events:
        if behind(each):
            assert each.contribution.number_value == max(prices)
    found = explaining.explain(visitor_id, "distinct_items")
    items = [row.properties["item_id"] for row in with_item]
    if len(set(items)) <= 8:
        assert ids(found, CONTRIBUTED) == {
            row.event_id for row in with_item if items.count(row.properties["item_id"]) == 1
        }
        assert len(ids(found, REDUNDANT)) == len({item for item in items if items.count(item) > 1})


def behind(event: ExplainedEvent) -> bool:
    """Return whether an event stands behind the value."""
    return event.outcome in (CONTRIBUTED, REDUNDANT)


def ids(found: Explanation, outcome: ExplainedEvent.Outcome) -> set[int]:
    """Return the ids of the events with an outcome."""
    return {int(each.event_id) for each in found.events.events if each.outcome == outcome}


def added_up(found: Explanation) -> float:
    """Return the sum of the contributions."""
    return sum(each.contribution.number_value for each in found.events.events)


def event_of(visitor_id: str, number: int, name: str = "page_view") -> Event:
    """Return an event, one second after the one of the number before."""
    event = Event(event_id=str(number), name=name, visitor_id=visitor_id)
    event.event_time.FromMilliseconds(START_MS + number * 1_000)
    return event


def test_a_trimmed_journal_is_told(explaining: Explaining) -> None:
    """Events whose entries were given up are not listed; the answer says so, and since which entry it holds."""
    for number in range(6):
        explaining.send(event_of("v", number))
    explaining.journal.trim(SHARD, explaining.engine.position - 1)
    found = explaining.explain("v", "page_views")
    assert (found.value.number_value, found.events.refolded_value.number_value) == (6.0, 2.0)
    assert not found.events.complete
    assert "trimmed or erased" in found.events.incomplete_reason
    assert found.events.journal_begin_position == f"0-{explaining.engine.position - 1}"
    assert found.events.journal_begin_time.ToMilliseconds() == explaining.now_ms
    assert [each.event_id for each in found.events.events] == ["5", "4"]
    assert found.summary == (
        "`page_views` is 6: 2 of 2 `page_view` events found stand behind it; not everything was found: "
        + found.events.incomplete_reason
    )


def test_a_trimmed_journal_is_told_though_nothing_was_found(explaining: Explaining) -> None:
    """Neither that there is no such event nor that nobody wrote the attribute is said then."""
    explaining.send(event_of("v", 0))
    session_id = explaining.engine.session_id(explaining.engine.find_visitor("v"))
    update = UpdateSessionRequest(session_id=session_id, attributes={"tier": "gold"})
    explaining.apply(EntryType.UPDATE, update.SerializeToString())
    explaining.send(event_of("v", 1, "other"))
    explaining.journal.trim(SHARD, explaining.engine.position)
    for name, text in (
        ("page_views", "`page_views` is 1: no `page_view` event was found; not everything was found: "),
        ("tier", '`tier` is "gold": applications wrote it 0 times in what was found; not everything was found: '),
    ):
        found = explaining.explain("v", name)
        assert found.summary == text + found.events.incomplete_reason
        assert "trimmed or erased" in found.summary


@pytest.mark.parametrize(
    ("limits", "named"),
    [
        (ExplainSettings(entries_max=64), "explain.entries_max"),
        (ExplainSettings(bytes_max=64), "explain.bytes_max"),
        (ExplainSettings(events_max=50), "explain.events_max"),
    ],
)
def test_a_limit_is_told(tmp_path: Path, limits: ExplainSettings, named: str) -> None:
    """A search that reaches a limit keeps the newest events, and the answer names the limit."""
    explaining = Explaining(tmp_path / "data", MODELS, START_MS + 300_000, limits=limits)
    for number in range(130):
        explaining.send(event_of("v", number))
    found = explaining.explain("v", "page_views")
    explaining.close()
    assert (found.value.number_value, found.events.complete) == (130.0, False)
    assert named in found.events.incomplete_reason
    listed = [int(each.event_id) for each in found.events.events]
    assert listed == list(range(129, 129 - len(listed), -1))
    assert 50 <= len(listed) <= 64


def test_an_attribute_that_came_later_is_told(explaining: Explaining) -> None:
    """A value that its events do not give, because the attribute is newer than they are, is explained as such."""
    explaining.send(event_of("v", 1), event_of("v", 2))
    new = "model: new\nattributes:\n  seen: {count: page_view}\n"
    explaining.configure([*MODELS, compile_model(new, "new.yaml", {})])
    explaining.send(event_of("v", 3))
    found = explaining.explain("v", "seen")
    assert found.events.complete
    assert (found.value.number_value, found.events.refolded_value.number_value) == (1.0, 3.0)
    assert "3, but the attribute takes them in since 2026-" in found.events.difference
    assert (
        "3 of 3 `page_view` events would stand behind it, but the attribute takes them in since 2026-" in found.summary
    )


def test_a_model_that_runs_alongside_is_explained_by_its_own_values(explaining: Explaining) -> None:
    """A rule of a model alongside another version of itself shows what its own attributes are."""
    source = "model: m\nversion: {}\nattributes:\n  n: {{count: {}}}\nderived: {{many: n >= 2}}\n"
    first, second = (
        compile_model(source.format(version, name), "m.yaml", {})
        for version, name in ((1, "page_view"), (2, "view_item"))
    )
    beside = renamed(second, "m_v2", {"m": "m_v2"}, {"m_v2": second})
    explaining.configure([first, beside])
    explaining.send(event_of("v", 1), event_of("v", 2), event_of("v", 3, "view_item"))
    many = explaining.explain("v", "many")
    assert many.summary == "`many` is true: `n >= 2` is true (`n` = 2)"
    beside_many = explaining.explain("v", "m_v2.many")
    assert beside_many.summary == "`m_v2.many` is false: `n >= 2` is false (`m_v2.n` = 1)"
    count = explaining.explain("v", "m_v2.n")
    assert (count.value.number_value, count.definition.source) == (1.0, "n: {count: view_item}")


def test_facts_about_texts_and_lists_are_known(explaining: Explaining) -> None:
    """Conditions on user agents and look-up lists are explained with what they gave in the fold."""
    source = (
        "model: m\nlists: {known: {file: known.txt}}\nattributes:\n"
        "  bots: {count: page_view, where: ua.is_bot(event.user_agent)}\n"
        "  system: {last: ua.os(event.user_agent), on: page_view, type: string}\n"
        "  met: {count: page_view, where: event.user_agent in lists.known}\n"
    )
    bot, phone = (
        "Googlebot/2.1 (+http://www.google.com/bot.html)",
        "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X)",
    )
    explaining.configure([compile_model(source, "m.yaml", {}, {"known.txt": bot})])
    events = [event_of("v", 1), event_of("v", 2)]
    for event, user_agent in zip(events, (bot, phone), strict=True):
        event.properties["user_agent"] = user_agent
    explaining.send(*events)
    found = explaining.explain("v", "bots")
    assert (found.value.number_value, ids(found, CONTRIBUTED)) == (1.0, {1})
    assert found.events.events[0].reason == "`ua.is_bot(event.user_agent)` is false"
    found = explaining.explain("v", "system")
    assert (found.value.string_value, found.events.refolded_value.string_value) == ("iOS", "iOS")
    found = explaining.explain("v", "met")
    assert (found.value.number_value, ids(found, CONTRIBUTED)) == (1.0, {1})
    assert found.events.events[0].reason == "`event.user_agent in lists.known` is false"


TRIGGERED = """model: m
attributes:
  adds: {count: add_to_cart}
derived:
  is_open: adds > 0
  state: 'left ? "left" : "none"'
triggers:
  left: {when: is_open, quiet_for: 10m, once_per: ONCE}
  first: {when: adds > 1}
"""


def deciding(part: ExpressionPart) -> list[str]:
    """Return the texts along which a part has its value, from the outside."""
    return [part.text, *(text for each in part.parts if each.decides for text in deciding(each))]


@pytest.mark.parametrize("once_per", ["session", "quiet"])
def test_a_trigger_says_what_it_waits_for(once_per: str, explaining: Explaining) -> None:
    """The wait, since when it is quiet, when it fires or fired, the round; its condition decides where it was looked at."""
    explaining.configure([compile_model(TRIGGERED.replace("ONCE", once_per), "m.yaml", {})])

    def send(number: int, name: str) -> str:
        event = event_of("v", number, name)
        event.event_time.FromMilliseconds(explaining.now_ms)
        explaining.send(event)
        return time_text(explaining.now_ms)

    rule = f"when is_open, quiet for 10m, once per {once_per}"
    began_ms = explaining.now_ms
    began, due = send(0, "add_to_cart"), time_text(began_ms + 600_000)
    found = explaining.explain("v", "left")
    assert found.value.bool_value is False
    assert found.timer.change_time.ToMilliseconds() == began_ms + 600_000
    waits = f"the session is quiet since {began}, and it fires at {due}, after 10m, if its condition holds then"
    assert found.timer.waits_for == waits
    assert deciding(found.rule) == [rule, f"quiet for 10m since {began}"]
    assert [each.value.bool_value for each in found.rule.parts] == [True, False]
    condition = "its condition now: `is_open` is true because `adds > 0` is true (`adds` = 1)"
    assert found.summary == f"`left` is false: {waits}; {condition}"
    assert found.definition.source == f"left: {{when: is_open, quiet_for: 10m, once_per: {once_per}}}"
    found = explaining.explain("v", "state")
    assert found.summary == f'`state` is "none": `left` is false because `quiet for 10m since {began}` is false'
    explaining.now_ms += 660_000
    explaining.apply(EntryType.TICK, b"")
    found = explaining.explain("v", "left")
    assert found.value.bool_value is True
    again = "after the next event it may fire again" if once_per == "quiet" else "it fires once per session"
    assert found.timer.waits_for == f"it fired at {due} (round 1); {again}"
    assert deciding(found.rule) == [rule, f"fired at {due} (round 1)"]
    found = explaining.explain("v", "state")
    assert found.summary == f'`state` is "left": `left` is true because `fired at {due} (round 1)` is true'
    assert explaining.explain("v", "left.count").value.number_value == 1
    later = send(1, "page_view")
    found = explaining.explain("v", "left")
    assert found.value.bool_value == (once_per == "session")
    if once_per == "quiet":
        assert found.timer.waits_for.startswith(f"the session is quiet since {later}, and it fires at ")
        assert found.timer.waits_for.endswith(f"; so far it fired at {due} (round 1)")


def test_a_trigger_whose_condition_did_not_hold_is_false_because_of_it(explaining: Explaining) -> None:
    """After its wait, or where it has none."""
    explaining.configure([compile_model(TRIGGERED.replace("ONCE", "session"), "m.yaml", {})])
    event = event_of("v", 0, "page_view")
    event.event_time.FromMilliseconds(explaining.now_ms)
    explaining.send(event)
    found = explaining.explain("v", "first")
    assert found.timer.waits_for == "it fires as soon as its condition holds"
    assert deciding(found.rule) == ["when adds > 1, once per session", "adds > 1", "adds"]
    due = time_text(explaining.now_ms + 600_000)
    explaining.now_ms += 660_000
    explaining.apply(EntryType.TICK, b"")
    found = explaining.explain("v", "left")
    assert found.timer.waits_for.startswith(
        f"its condition did not hold at {due}, when the session had been quiet for 10m"
    )
    assert deciding(found.rule)[1:] == ["is_open", "adds > 0", "adds"]
    found = explaining.explain("v", "state")
    because = "`is_open` is false because `adds > 0` is false (`adds` = 0)"
    assert found.summary == f'`state` is "none": `left` is false because {because}'


def time_text(time_ms: int) -> str:
    """Return a time as JSON has it."""
    stamp = Timestamp()
    stamp.FromMilliseconds(time_ms)
    return stamp.ToJsonString()


def test_merged_sessions_are_explained_as_one(explaining: Explaining) -> None:
    """Events of two sessions that a late event joined are explained together, from the first of them on."""
    gap_ms = SETTINGS.gap_ms
    for number, offset_ms in enumerate((0, 2 * gap_ms, gap_ms)):
        event = event_of("v", number)
        event.event_time.FromMilliseconds(START_MS + offset_ms)
        explaining.now_ms = START_MS + 2 * gap_ms
        explaining.send(event)
    found = explaining.explain("v", "page_views")
    assert (found.value.number_value, found.events.counts.contributed, found.events.complete) == (3.0, 3, True)


def test_events_of_other_sessions_are_left_out(explaining: Explaining) -> None:
    """Events of the visitor's earlier session and of other visitors in the same entries are not listed."""
    late = event_of("v", 5)
    late.event_time.FromMilliseconds(START_MS + 3 * SETTINGS.gap_ms)
    explaining.now_ms = START_MS + 3 * SETTINGS.gap_ms
    explaining.send(event_of("v", 1), event_of("w", 2), late)
    found = explaining.explain("v", "page_views")
    assert [each.event_id for each in found.events.events] == ["5"]
    assert found.events.complete


def test_values_without_an_event_of_the_name_say_so(explaining: Explaining) -> None:
    """An attribute without a value says that there was no such event."""
    explaining.send(event_of("v", 1))
    found = explaining.explain("v", "last_search")
    assert not found.HasField("value")
    assert found.summary == "`last_search` has no value: there is no `search` event in the session"
    assert found.events.counts.ListFields() == []
    assert Value() == found.value
