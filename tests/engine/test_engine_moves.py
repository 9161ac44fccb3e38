"""From one set of models to another: what goes on, what begins, and what is due for sessions that nothing happens to."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime

from google.protobuf import json_format
from hypothesis import given, settings
from hypothesis import strategies as st

from rte.v1.session_pb2 import Session
from rte_server.engine.configurations import Configurations
from rte_server.engine.engine import Engine
from rte_server.engine.entries import Entry, EntryType
from rte_server.engine.native import secret_from_bytes
from rte_server.engine.settings import EngineSettings
from rte_server.engine.snapshot import Held
from rte_server.engine.table import Capacity
from rte_server.models import compile_models, configuration_of, load_models
from tests.service.live_engine import START_MS, batch

RETAIL = configuration_of(load_models(["retail"]))
PACKS = RETAIL["models"]
EVENTS = ("page_view", "view_item", "add_to_cart", "purchase", "search")
SMALL = Capacity(sessions_max=4096, dedup_events_max=8192, strings_max=16384, string_bytes_max=1 << 20)
VIEWS = "model: shop\nversion: {}\nattributes:\n  views: {{count: page_view}}\n{}"


class Play:
    """Applies entries to an engine."""

    def __init__(self) -> None:
        self.engine = Engine(secret_from_bytes(bytes(range(32))), compile_models, SMALL)
        self.entries: list[Entry] = []
        self.states = [self.engine.snapshot()]
        self.now_ms = START_MS

    def configure(self, **models: str) -> None:
        """Let models run."""
        self.apply(EntryType.CONFIGURE, configuration(models))

    def apply(self, kind: EntryType, body: bytes = b"") -> None:
        """Apply one entry."""
        self.entries.append(Entry(kind, self.now_ms, body))
        self.engine.apply(self.engine.position + 1, self.entries[-1])
        self.states.append(self.engine.snapshot())

    def view(self, visitor: str) -> None:
        """Have a visitor view a page."""
        events = batch([{"visitor_id": visitor, "name": "page_view"}])
        self.apply(EntryType.EVENTS, events.SerializeToString())

    def session(self, visitor: str) -> Session:
        """Return a visitor's session."""
        return Session.FromString(self.engine.encode([self.engine.find_visitor(visitor)])[0])

    def attributes(self, visitor: str) -> dict[str, object]:
        """Return its attributes."""
        found: dict[str, object] = json_format.MessageToDict(self.session(visitor).attributes)
        return found

    def adopt(self, base: int, /, **models: str) -> None:
        """Let models run that were folded from a position on."""
        other = Engine(secret_from_bytes(bytes(range(32))), compile_models, SMALL)
        meta, arrays = self.states[base]
        if base > 0:
            other.restore(meta, Held(arrays))
        other.begin_refold(json.loads(configuration(models)))
        for entry in self.entries[base:]:
            other.apply(other.position + 1, entry)
        body = json.dumps(json.loads(configuration(models)) | {"refold_from": base}).encode()
        self.entries.append(Entry(EntryType.CONFIGURE, self.now_ms, body))
        self.engine.adopt(self.engine.position + 1, self.entries[-1], other)
        self.states.append(self.engine.snapshot())


def configuration(models: dict[str, str]) -> bytes:
    """Return the body of a CONFIGURE entry."""
    return json.dumps({"settings": asdict(EngineSettings()), "models": models, "files": RETAIL["files"]}).encode()


def test_what_follows_from_the_time_is_due_for_sessions_that_were_there_before() -> None:
    """A model that looks at the idle time is due for a session that nothing happens to after it was activated."""
    play = Play()
    play.configure(shop=VIEWS.format(1, ""))
    play.view("v")
    assert play.engine.due_count(play.now_ms + 62_000) == 1, "a clock that stands too long"
    play.apply(EntryType.TICK)
    assert play.engine.due_count(play.now_ms + 50_000) == 0
    play.configure(shop=VIEWS.format(2, "derived:\n  is_idle: session.idle_s > 30.0\n"))
    assert play.attributes("v")["is_idle"] is False
    play.now_ms += 40_000
    assert play.engine.due_count(play.now_ms) >= 1
    play.apply(EntryType.TICK)
    assert play.attributes("v")["is_idle"] is True


def test_every_configuration_gives_other_etags() -> None:
    """Whichever way models change, and if they change back, no session shows an etag that it had before."""
    play = Play()
    play.configure(shop=VIEWS.format(1, ""))
    play.view("v")
    etags = [play.session("v").etag]
    play.adopt(2, shop=VIEWS.format(2, "  all: {count: '*'}\n"))
    etags.append(play.session("v").etag)
    for round_ in range(3):
        play.adopt(1, shop=VIEWS.format(1, ""))
        etags.append(play.session("v").etag)
        play.configure(shop=VIEWS.format(round_ + 3, "  all: {count: '*'}\n"))
        etags.append(play.session("v").etag)
        play.view("v")
        etags.append(play.session("v").etag)
    assert len(set(etags)) == len(etags)


@given(
    st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from(EVENTS), st.integers(0, 5_000_000)), max_size=40),
    st.integers(0, 40),
)
@settings(max_examples=12, deadline=None)
def test_a_refold_from_the_beginning_is_as_if_the_models_had_always_run(
    events: list[tuple[str, str, int]], change_at: int
) -> None:
    """Whatever happened, and whatever other models ran meanwhile, each session is as if there had been one set of models."""
    changed, always = Play(), Play()
    changed.configure(shop=VIEWS.format(1, ""))
    always.configure(**PACKS)
    for number, (visitor, name, time_ms) in enumerate(events):
        event: dict[str, object] = {
            "visitor_id": visitor,
            "name": name,
            "event_id": str(number),
            "properties": {"price": number, "item_id": name},
        }
        at = {"event_time": datetime.fromtimestamp((START_MS + time_ms) / 1000, UTC).isoformat().replace("+00:00", "Z")}
        body = batch([{**event, **at}]).SerializeToString()
        if number == change_at:
            changed.configure(shop=VIEWS.format(2, "  all: {count: '*'}\n"))
        for play in (changed, always):
            play.now_ms = START_MS + 5_000_000 + number
            play.apply(EntryType.EVENTS, body)
    changed.adopt(0, **PACKS)
    for visitor in {visitor for visitor, _, _ in events}:
        assert changed.attributes(visitor) == always.attributes(visitor)


def test_since_is_said_where_history_is_lacking() -> None:
    """An attribute that begins later says from where on; one that goes on, and one folded from the beginning, do not."""
    play = Play()
    play.configure(shop=VIEWS.format(1, ""))
    play.view("v")
    play.adopt(0, shop=VIEWS.format(2, "  all: {count: '*'}\n"))
    assert (play.attributes("v")["all"], dict(play.engine.since)) == (1, {})
    play.view("v")
    play.adopt(3, shop=VIEWS.format(3, "  all: {count: '*'}\n  late: {count: page_view}\n"))
    assert play.attributes("v") == {"views": 2, "all": 2, "late": 1}
    assert dict(play.engine.since) == {"late": (3, START_MS)}
    assert play.engine.oldest_position() == 2
    meta, arrays = play.engine.snapshot()
    again = Engine(secret_from_bytes(bytes(range(32))), compile_models, SMALL)
    again.restore(json.loads(json.dumps(meta)), Held(arrays))
    assert dict(again.since) == dict(play.engine.since)
    assert again.configurations == play.engine.configurations
    assert again.refolds == ((3, 0), (5, 3))


def test_a_look_up_list_belongs_to_the_definition() -> None:
    """With another list the attribute is another one, and what came before is judged anew."""
    engine = Engine(secret_from_bytes(bytes(range(32))), compile_models, SMALL)
    model = "model: shop\nlists:\n  pages: {file: p.csv}\nattributes:\n  n: {count: page_view, where: event.p in lists.pages}\n"
    first = {"settings": {}, "models": {"shop": model}, "files": {"shop/p.csv": "a\n"}}
    engine.apply(1, Entry(EntryType.CONFIGURE, START_MS, json.dumps(first).encode()))
    assert engine.begins(first) == []
    assert engine.begins(first | {"files": {"shop/p.csv": "a\nb\n"}}) == ["n"]
    described = model.replace("n: {", "n: {description: As many., ")
    assert engine.begins(first | {"models": {"shop": described}}) == []


def test_configurations_that_differ_by_lists_go_first() -> None:
    """However often a list changes, the models that ran before can be gone back to."""
    found = Configurations().followed_by(1, 1, {"models": {"a": "first"}, "files": {}})
    for number in range(2, 200):
        found = found.followed_by(
            number, number, {"models": {"a": "second"}, "files": {"a/l": f"{number}" * 1_000_000}}
        )
    kept = [entry.position for entry in found.entries]
    assert kept[0] == 1 and kept[-1] == 199 and 3 < len(kept) < 100
    assert kept[1:] == list(range(kept[1], 200))


def test_configurations_are_remembered_up_to_a_limit() -> None:
    """Equal texts are kept once, the oldest configurations go first, and a snapshot holds all of it."""
    found = Configurations()
    for number in range(150):
        found = found.followed_by(number + 1, number, {"settings": {}, "models": {"a": "same" * 100, "b": str(number)}})
    assert found.count == 150
    assert [entry.position for entry in found.entries] == list(range(51, 151))
    assert len({id(entry.configuration["models"]["a"]) for entry in found.entries}) == 1
    meta = json.loads(json.dumps(found.to_meta()))
    assert meta["texts"].count("same" * 100) == 1
    assert Configurations.of_meta(meta) == found
