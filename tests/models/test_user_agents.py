"""User agents: what is said of them, and that it comes into the state through the journal alone."""

from __future__ import annotations

import json
import random
from typing import Any

import crawleruseragents
import numpy as np
import pytest
import ua_parser

from rte.v1.session_pb2 import Session
from rte_server.engine.engine import Engine
from rte_server.engine.entries import Entry, EntryType
from rte_server.engine.facts import facts_body
from rte_server.engine.session_events import EventPicker
from rte_server.engine.session_parts import SessionParts
from rte_server.engine.snapshot import Held
from rte_server.engine.table import HEADER_WORDS, KEY_HI, KEY_LO, Capacity
from rte_server.engine.wire import Limits, scan_request
from rte_server.models import ModelError, compile_model, compile_models, configuration_of, facts_entry, facts_of
from rte_server.models.facts import FACT_FUNCTIONS
from rte_server.models.trials import read_trials, run_trial
from rte_server.models.user_agents import DEVICES, describe
from tests.engine.recorded import shared_file
from tests.engine.twin import Twin
from tests.service.live_engine import batch

SECRET = np.arange(7, 11, dtype=np.uint64)
START_MS = 1_790_000_000_000
SMALL = Capacity(sessions_max=128, strings_max=2048, string_bytes_max=65_536, facts_max=1024)
CHROME = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36"
)
IPHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) "
    "Version/17.0 Mobile/15E148 Safari/604.1"
)
ANDROID_TABLET = (
    "Mozilla/5.0 (Linux; Android 13; SM-X706B) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0 Safari/537.36"
)
GOOGLEBOT = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"
MODEL = """
model: visitors
attributes:
  browser:  {last: ua.browser(event.user_agent), on: page_view}
  browsers: {recent: "ua.browser(event.user_agent) + ' ' + ua.browser_version(event.user_agent)", keep: 3}
  os:       {first: ua.os(event.user_agent)}
  device:   {last: ua.device(event.user_agent)}
  bot_hits: {count: "*", where: ua.is_bot(event.user_agent)}
  people:   {count: "*", where: "!ua.is_bot(event.user_agent)"}
"""
TESTS = f"""
tests:
  - name: A person on two devices
    given:
      - {{event: page_view, properties: {{user_agent: "{CHROME}"}}}}
      - {{event: page_view, at: 1s, properties: {{user_agent: "{IPHONE}"}}}}
    then: {{browser: Mobile Safari, browsers: [Mobile Safari 17, Chrome 126], os: Windows, device: mobile, bot_hits: 0, people: 2}}
  - name: A crawler
    given: [{{event: page_view, properties: {{user_agent: "{GOOGLEBOT}"}}}}]
    then: {{browser: Googlebot, device: bot, bot_hits: 1, people: 0}}
  - name: No user agent, or none that is a text, is no value
    given: [{{event: page_view}}, {{event: page_view, at: 1s, properties: {{user_agent: 5}}}}]
    then: {{browser: null, browsers: null, os: null, device: null, bot_hits: 0, people: 0}}
"""


def new_engine(model: str = MODEL, capacity: Capacity = SMALL) -> Engine:
    """Return an engine with the model."""
    engine = Engine(SECRET, compile_models, capacity)
    body = json.dumps({"settings": {}} | configuration_of([compile_model(model, "visitors.yaml", {})]))
    engine.apply(1, Entry(EntryType.CONFIGURE, START_MS, body.encode()))
    return engine


def view(number: int, user_agent: str, name: str = "page_view", visitor: str = "v") -> bytes:
    """Return a request with one event."""
    event = {"visitor_id": visitor, "name": name, "event_id": str(number), "properties": {"user_agent": user_agent}}
    return batch([event]).SerializeToString()


def entries_of(engine: Engine, body: bytes) -> list[Entry]:
    """Return what the server appends for a request."""
    facts = facts_entry(engine, engine.scan(body, START_MS))
    return [*([facts] if facts else []), Entry(EntryType.EVENTS, START_MS, body)]


def shown(engine: Engine, visitor: str = "v") -> dict[str, Any]:
    """Return the attributes of a visitor's session."""
    return dict(Session.FromString(engine.encode([engine.find_visitor(visitor)])[0]).attributes.items())


def test_model_tests_know_user_agents() -> None:
    """The tests of a model take the same way as the server: what is said of a user agent is there."""
    model = compile_model(MODEL, "visitors.yaml", {})
    assert [failure for trial in read_trials(TESTS, "t.yaml") for failure in run_trial([model], trial)] == []


def test_every_known_crawler_is_a_bot_and_people_are_none() -> None:
    """Each example of the crawler list is a bot; the user agents of people are not."""
    examples = [each for crawler in crawleruseragents.CRAWLER_USER_AGENTS_DATA for each in crawler.get("instances", [])]
    assert len(examples) > 1500
    assert [text for text in examples if describe(text)["ua.is_bot"] is not True] == []
    assert [describe(text)["ua.device"] for text in (CHROME, IPHONE, ANDROID_TABLET, GOOGLEBOT, "x")] == [
        *("desktop", "mobile", "tablet", "bot", "other")
    ]


def test_recorded_user_agents_are_described_as_by_the_libraries() -> None:
    """On every user agent of a recorded log, browser and system are those of ua-parser, bots those of the patterns."""
    import gzip
    import re

    with gzip.open(shared_file("access_web_dev.log.gz"), "rt", encoding="utf-8", errors="replace") as lines:
        texts = sorted({found[1] for line in lines if (found := re.search(r'"([^"]*)"$', line.strip()))})
    assert len(texts) > 300
    for text in texts:
        said, parsed = describe(text), ua_parser.parse(text)
        assert set(said) == set(FACT_FUNCTIONS) and said["ua.device"] in DEVICES
        assert said["ua.browser"] == (parsed.user_agent.family if parsed.user_agent else None)
        assert said["ua.os"] == (parsed.os.family if parsed.os else None)
        is_spider = parsed.device is not None and parsed.device.family == "Spider"
        assert said["ua.is_bot"] == (crawleruseragents.is_crawler(text) or is_spider)


def test_only_what_is_new_is_asked_and_only_of_events_that_need_it() -> None:
    """A text is asked about once; events that no attribute with a user agent listens to ask nothing."""
    engine = new_engine(
        MODEL.replace('"*"', "page_view")
        .replace("keep: 3", "keep: 3, on: page_view")
        .replace("(event.user_agent)}", "(event.user_agent), on: page_view}")
        .replace("bot(event.user_agent), on: page_view}", "bot(event.user_agent)}")
    )
    scanned = engine.scan(view(1, CHROME) + view(2, CHROME) + view(3, IPHONE) + view(4, GOOGLEBOT, "other"), START_MS)
    unknown = engine.unknown_facts(scanned)
    assert len(unknown) == len(set(unknown)) and {text for _, text in unknown} == {CHROME, IPHONE}
    assert {function for function, _ in unknown} == set(FACT_FUNCTIONS) - {"ua.none"}
    for entry in entries_of(engine, view(1, CHROME)):
        engine.apply(engine.position + 1, entry)
    assert {text for _, text in engine.unknown_facts(scanned)} == {IPHONE}
    plain = new_engine("model: m\nattributes: {n: {count: page_view}}\n")
    assert plain.unknown_facts(scanned) == [] and facts_entry(plain, scanned) is None


def test_a_large_request_is_asked_about_in_full() -> None:
    """Thousands of different texts in one request are all found, in as many rounds as it takes."""
    engine = new_engine()
    body = b"".join(view(number, f"agent {number}") for number in range(3000))
    assert len(engine.unknown_facts(engine.scan(body, START_MS))) == 3000 * len(FACT_FUNCTIONS)


def test_a_replay_uses_what_was_found_then() -> None:
    """Facts stand in the journal: a replay gives the same state byte for byte, and asks no library."""
    engine = new_engine()
    entries: list[Entry] = []
    chance = random.Random(4)
    for number in range(200):
        text = chance.choice([CHROME, IPHONE, ANDROID_TABLET, GOOGLEBOT, f"agent {chance.randrange(40)}"])
        for entry in entries_of(engine, view(number, text, visitor=f"v{chance.randrange(5)}")):
            entries.append(entry)
            engine.apply(engine.position + 1, entry)
    assert engine.stats()["facts_missing"] == 0
    replayed = new_engine()
    for entry in entries:
        replayed.apply(replayed.position + 1, entry)
    assert [name for name, _ in engine.snapshot()[1]] == [name for name, _ in replayed.snapshot()[1]]
    for (name, left), (_, right) in zip(engine.snapshot()[1], replayed.snapshot()[1], strict=True):
        assert np.array_equal(left, right), name
    twin = Twin(engine.program.attributes)
    for position, entry in enumerate(entries, 2):
        twin.apply(position, entry)
    for visitor, (session,) in twin.state().items():
        assert {name: session["attributes"][name] for name in shown(engine, visitor)} == {  # type: ignore[index]
            name: list(value) if hasattr(value, "values") else value for name, value in shown(engine, visitor).items()
        }


def test_what_is_not_known_has_no_value_and_is_counted() -> None:
    """An event whose facts are missing counts nowhere where one is needed, neither as bot nor as person."""
    engine = new_engine()
    engine.apply(2, Entry(EntryType.EVENTS, START_MS, view(1, CHROME)))
    assert shown(engine) == {"bot_hits": 0, "people": 0}
    assert engine.stats()["facts_missing"] == 7 and engine.stats()["facts_new"] == 0


def test_the_table_is_bounded_and_texts_survive_sweeps() -> None:
    """When the table is full it is forgotten and filled again; what sessions keep of it stays readable."""
    engine = new_engine()
    for number in range(1500):
        text = CHROME if number % 50 == 0 else f"Bot/{number} agent"
        for entry in entries_of(engine, view(number, text, visitor=f"v{number % 50}")):
            engine.apply(engine.position + 1, entry)
    stats = engine.stats()
    assert (
        stats["facts_forgotten"] > 1000
        and 0 < stats["facts_new"] <= SMALL.facts_max // 2
        and stats["facts_missing"] == 0
    )
    engine.sweep()
    assert shown(engine, "v0")["browser"] == "Chrome" and shown(engine, "v0")["os"] == "Windows"
    for entry in entries_of(engine, view(5000, CHROME, visitor="v1")):
        engine.apply(engine.position + 1, entry)
    assert shown(engine, "v1")["browser"] == "Chrome"


@pytest.mark.parametrize("facts_max", [SMALL.facts_max, 4096])
def test_a_snapshot_carries_the_facts(facts_max: int) -> None:
    """A restored state knows what was found, also with another capacity, as long as there is room."""
    engine = new_engine()
    for number in range(150):
        for entry in entries_of(engine, view(number, f"agent {number}")):
            engine.apply(engine.position + 1, entry)
    meta, arrays = engine.snapshot()
    restored = Engine(SECRET, compile_models, Capacity(128, 4_194_304, 2048, 65_536, 131_072, facts_max))
    restored.restore(meta, Held(arrays))
    scanned = engine.scan(b"".join(view(number, f"agent {number}") for number in range(150)), START_MS)
    assert restored.unknown_facts(scanned) == engine.unknown_facts(scanned)
    for each in (engine, restored):
        # The older half is used, too.
        each.apply(each.position + 1, Entry(EntryType.EVENTS, START_MS, view(900, "agent 3")))
        assert shown(each)["people"] == 151.0
    small = Engine(SECRET, compile_models, Capacity(128, 4_194_304, 2048, 65_536, 131_072, 256))
    with pytest.raises(ValueError, match="with this facts_max there is room for"):
        small.restore(meta, Held(arrays))


@pytest.mark.parametrize("body", [{}, [], {"facts": 3}, {"facts": {"ua.os": [1]}}, {"facts": {"ua.os": {"x": [1]}}}])
def test_odd_facts_are_passed_over(body: Any) -> None:
    """An entry of the journal is folded whatever its JSON holds."""
    engine = new_engine()
    engine.apply(2, Entry(EntryType.FACTS, START_MS, json.dumps(body).encode()))
    assert engine.position == 2 and engine.stats()["facts_new"] == 0


def test_the_first_fact_stays() -> None:
    """What was said of a text first is what counts, so that two requests in flight cannot disagree."""
    engine = new_engine()
    for said in ("first", "second"):
        body = facts_body([("ua.browser", "x", said), ("ua.is_bot", "x", False)])
        engine.apply(engine.position + 1, Entry(EntryType.FACTS, START_MS, json.dumps(body).encode()))
    engine.apply(engine.position + 1, Entry(EntryType.EVENTS, START_MS, view(1, "x")))
    assert shown(engine)["browser"] == "first"


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("ua.browser(event.a, 1)", "takes 1 argument; write `ua.browser(event.user_agent)`"),
        ("ua.browser('x')", "takes a property of the event; write `ua.browser(event.user_agent)`"),
        ("ua.brouser(event.a)", "`ua.brouser` is not part of the expressions here; did you mean `ua.browser`?"),
    ],
)
def test_wrong_uses_are_refused(expression: str, message: str) -> None:
    """A function on user agents takes one property of an event."""
    with pytest.raises(ModelError) as caught:
        compile_model(f'model: m\nattributes:\n  a: {{last: "{expression}"}}\n', "m.yaml", {})
    assert message.replace("; ", " (column ", 1).split(" (column ")[0] in str(caught.value)
    assert message.split("; ")[1] in str(caught.value)


def test_a_session_taken_apart_knows_user_agents() -> None:
    """Explanations fold the events once more, and are told what they need to know."""
    model = compile_model(MODEL, "visitors.yaml", {})
    engine = new_engine()
    for number, text in enumerate((CHROME, IPHONE, GOOGLEBOT)):
        for entry in entries_of(engine, view(number, text)):
            engine.apply(engine.position + 1, entry)
    row = engine._state.table.rows[engine.find_visitor("v")]
    picker = EventPicker((int(row[KEY_LO]), int(row[KEY_HI])))
    for number, text in reversed(list(enumerate((CHROME, IPHONE, GOOGLEBOT)))):
        picker.add(number + 2, scan_request(view(number, text), START_MS, SECRET, Limits.UNLIMITED))
    parts = SessionParts(SECRET, [model], picker.events(), row[:HEADER_WORDS], facts_of)
    whole = Session.FromString(parts.encode([parts.whole], parts.mask(["attributes"]))[0])
    assert dict(whole.attributes.items()) | {"browsers": 0} == shown(engine) | {"browsers": 0}
