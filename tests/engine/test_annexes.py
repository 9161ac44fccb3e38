"""Annexes: what a session shows does not depend on where its cells lie, and blocks are nobody else's."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from google.protobuf import json_format
from hypothesis import given, settings
from hypothesis import strategies as st

from rte.v1.event_pb2 import Event
from rte.v1.session_pb2 import Session
from rte_server.engine.attributes import SUM_EVENTS_MAX
from rte_server.engine.blocks import X_TAKEN
from rte_server.engine.engine import Engine
from rte_server.engine.entries import Entry, EntryType
from rte_server.engine.erasure import Erasure
from rte_server.engine.layout import ANNEX_WORDS_MAX, SHARED_WORDS_MAX, lay_out
from rte_server.engine.marks import COMPUTED
from rte_server.engine.program import A_AT, A_CELL_WORDS, AttributeSpec, Kind, ModelSpec, Program
from rte_server.engine.query import STATES_ANY
from rte_server.engine.settings import EngineSettings
from rte_server.engine.snapshot import Held
from rte_server.engine.table import EVENTS, HEADER_WORDS, HIGH_WATER, KEY_HI, KEY_LO, Capacity
from rte_server.models import compile_models
from tests.bench.engine_part import SECRET, configure, engine_fold, new_engine
from tests.bench.workload import Workload, make_workload
from tests.engine import sanity
from tests.engine.attribute_samples import SPECS, load
from tests.engine.pair import SMALL, messages
from tests.engine.strategies import START_MS, event_lists
from tests.engine.test_engine_faults import Play

CAPACITY = Capacity(2048, 8192, 8192, 1 << 20, 64, 64)
TAGS = tuple(
    AttributeSpec(f"tag_{kind.name}", "m", kind, kind_type, events=("n",), value=load("tag"), keep=keep)
    for kind, kind_type, keep in (
        (Kind.LAST, "string", 0),
        (Kind.FIRST, "string", 0),
        (Kind.RECENT, "list", 4),
        (Kind.SET, "list", 4),
    )
)
"""Attributes in an annex that show whose row it is."""
PLAIN = tuple(spec for spec in SPECS if not spec.owner and spec.kind not in (*COMPUTED, Kind.TRIGGER))


class InOnePiece(Engine):
    """An engine whose rows have no annexes."""

    @staticmethod
    def _row_words(program: Program) -> int:
        return program.row_words


def shuffled_workload() -> Workload:
    """Return events of which some come late, so that sessions merge and are renumbered."""
    workload = make_workload(3_000, 150, 20)
    for i in range(0, len(workload.requests) - 9, 10):
        workload.requests[i], workload.requests[i + 9] = workload.requests[i + 9], workload.requests[i]
    return workload


def test_sessions_show_the_same_wherever_their_cells_lie() -> None:
    """With the packs, with merges and with time passing, rows with annexes show what rows in one piece do."""
    engines = [Engine(SECRET, compile_models, CAPACITY), InOnePiece(SECRET, compile_models, CAPACITY)]
    workload = shuffled_workload()
    for engine in engines:
        engine.apply(1, configure())
        fold = engine_fold(engine)
        for i, (request, received_ms) in enumerate(zip(workload.requests, workload.received_ms, strict=True)):
            fold(request, received_ms)
            if i % 20 == 0:
                engine.apply(engine.position + 1, Entry(EntryType.TICK, received_ms + 45_000, b""))
        sanity.check(engine)
    paged, plain = engines
    assert paged.stats() == plain.stats() and paged.stats()["sessions_merged"] > 0
    assert sorted(messages(paged)) == sorted(messages(plain)) and len(messages(paged)) > 50
    assert paged._state.table.annexes[:, X_TAKEN].sum() > 100 and len(plain._state.table.annexes) == 0


@settings(max_examples=30, deadline=None)
@given(events=event_lists(16), cut=st.integers(0, 16))
def test_every_kind_shows_the_same_wherever_its_cell_lies(events: list[Event], cut: int) -> None:
    """The samples of all kinds in annexes show what they show in one piece, also when models change in between."""
    found = []
    for make in (Engine, InOnePiece):
        models = [ModelSpec("sample", 1, "", (), "", SPECS)]
        engine = make(SECRET, lambda *_, models=models: list(models), SMALL)
        configuration = json.dumps({"settings": {}, "models": {"sample": ""}}).encode()
        engine.apply(1, Entry(EntryType.CONFIGURE, START_MS, configuration))
        for place, event in enumerate(events):
            event.visitor_id = "v"
            if place == cut:
                # Cells move: half of the attributes are gone, the others lie elsewhere.
                models[0] = ModelSpec("sample", 2, "", (), "", PLAIN[::2])
                engine.apply(engine.position + 1, Entry(EntryType.CONFIGURE, START_MS, configuration))
            request = b"\x0a" + _varint(len(event.SerializeToString())) + event.SerializeToString()
            engine.apply(engine.position + 1, Entry(EntryType.EVENTS, START_MS, request))
        sanity.check(engine)
        found.append([each.SerializeToString(deterministic=True) for each in map(Session.FromString, messages(engine))])
    assert found[0] == found[1]


def _varint(number: int) -> bytes:
    out = b""
    while number > 0x7F:
        out, number = out + bytes((number & 0x7F | 0x80,)), number >> 7
    return out + bytes((number,))


def test_cells_lie_behind_each_other() -> None:
    """No word belongs to two attributes; a cell is in the core or in one annex, and annexes are small unless a cell is not."""
    specs = (*SPECS, AttributeSpec("large", "sample", Kind.RECENT, "list", events=("x",), value=load("a"), keep=200))
    for attributes in (specs, new_engine(CAPACITY).program.attributes):
        layout = lay_out(attributes, {spec.name: number for number, spec in enumerate(attributes)})
        bounds = [(0, layout.core_words), *((first, first + words) for first, words in layout.annexes)]
        taken: set[int] = set()
        for number, spec in enumerate(attributes):
            words = int(layout.attributes[number, A_CELL_WORDS])
            if spec.owner or words == 0:
                continue
            cell = set(range(int(layout.attributes[number, A_AT]), int(layout.attributes[number, A_AT]) + words))
            assert not cell & taken
            assert sum(first <= min(cell) and max(cell) < end for first, end in bounds) == 1
            taken |= cell
        for first, words in layout.annexes:
            inside = [
                spec
                for number, spec in enumerate(attributes)
                if not spec.owner and first <= layout.attributes[number, A_AT] < first + words
            ]
            most = SHARED_WORDS_MAX if len({spec.events for spec in inside}) > 1 else ANNEX_WORDS_MAX
            assert words <= most or len(inside) == 1


def test_a_sum_in_an_annex_looks_at_the_number_of_events_of_its_row() -> None:
    """Sums of a session of too many events have no value, wherever they lie: also where the words before them say others."""
    amount = AttributeSpec("amount", "m", Kind.SUM, "double", events=("n",), value=load("a"))
    top = AttributeSpec("tops", "m", Kind.TOP, "list", events=("n",), value=load("text"), keep=4, params=(0, 4))
    play = Play(amount, top)
    for visitor in ("u", "v"):
        play.event(0, visitor, properties={"a": 5.0, "text": "x"})
    rows = play.engine._state.table.rows
    rows[play.engine.find_visitor("v"), EVENTS] = SUM_EVENTS_MAX + 1
    assert play.attributes("u")["amount"] == 5.0 and "tops" in play.attributes("u")
    assert not {"amount", "tops"} & set(play.attributes("v"))
    found = play.engine.select(play.engine.filter((), int(STATES_ANY)), "amount")
    numbers = dict(zip(found.rows.tolist(), found.key_numbers.tolist(), strict=True))
    assert numbers[play.engine.find_visitor("u")] == 5.0 and np.isnan(numbers[play.engine.find_visitor("v")])


def test_blocks_suffice_for_as_many_sessions_as_there_may_be() -> None:
    """With every row in use and every annex taken, and then sessions that take the place of others, no block is missing."""
    play = Play(*TAGS, capacity=replace(SMALL, sessions_max=16))
    for number in range(200):
        play.event(number, f"v{number}", properties={"tag": f"v{number}"})
        sanity.check(play.engine)
    table = play.engine._state.table
    assert table.counts[HIGH_WATER] == 16 and table.annexes[:, X_TAKEN].tolist() == [16]
    assert play.engine.stats()["sessions_evicted_active"] > 0
    for message in map(Session.FromString, messages(play.engine)):
        assert _plain(message) == _expected(message)


def _plain(message: Session) -> dict[str, Any]:
    found: dict[str, Any] = json_format.MessageToDict(message.attributes)
    return found


def _expected(message: Session) -> dict[str, Any]:
    own = message.visitor_id
    return {"tag_LAST": own, "tag_FIRST": own, "tag_RECENT": [own], "tag_SET": [own]}


def test_a_reader_never_sees_the_block_of_another_session() -> None:
    """While sessions leave and others get their blocks, each session that a reader sees shows its own texts alone."""
    play = Play(*TAGS, settings=EngineSettings(closed_retention_ms=0), capacity=replace(SMALL, sessions_max=4))
    engine = play.engine
    seen, wrong = set(), []
    is_over = threading.Event()

    def read() -> None:
        while not is_over.is_set():
            for message in engine.encode(list(range(4))):
                session = Session.FromString(message)
                if session.visitor_id:
                    seen.add(session.visitor_id)
                    if _plain(session) != _expected(session):
                        wrong.append(session)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    try:
        for number in range(3_000):
            play.event(number, f"v{number}", properties={"tag": f"v{number}"})
    finally:
        is_over.set()
        for reader in readers:
            reader.join()
    assert not wrong and len(seen) > 3
    assert engine._state.table.annexes[:, X_TAKEN].tolist() == [4]


def test_a_state_does_not_depend_on_the_order_in_which_blocks_were_given() -> None:
    """Sessions show the same when blocks were given in another order, before and after a snapshot, in any capacity."""
    plays = [Play(*TAGS), Play(*TAGS)]
    for number in range(6):
        plays[1].event(0, f"early{number}", properties={"tag": "t"})
    for number in (4, 1, 3, 0, 5, 2):
        key = (
            plays[1].engine._state.table.rows[plays[1].engine.find_visitor(f"early{number}"), [KEY_LO, KEY_HI]].tolist()
        )
        plays[1].apply(EntryType.ERASE, _erasure(key))
    for play in plays:
        for number in range(4):
            play.event(number, f"v{number}", properties={"tag": f"v{number}"})
    shown = [sorted(map(_shown, messages(play.engine))) for play in plays]
    assert shown[0] == shown[1]
    blocks = [play.engine._state.table.rows[:, HEADER_WORDS].tolist() for play in plays]
    assert blocks[0][:4] != blocks[1][:4]
    for play in plays:
        meta, arrays = play.engine.snapshot()
        for capacity in (SMALL, replace(SMALL, sessions_max=64)):
            restored = Engine(SECRET, play._compile, capacity)
            restored.restore(json.loads(json.dumps(meta)), Held(arrays))
            sanity.check(restored)
            assert sorted(map(_shown, messages(restored))) == shown[0]
            if capacity is SMALL:
                again = restored.snapshot()[1]
                assert all(np.array_equal(a, b) for (_, a), (_, b) in zip(arrays, again, strict=True))


def _shown(message: bytes) -> tuple[str, str]:
    session = Session.FromString(message)
    return session.visitor_id, json.dumps(_plain(session), sort_keys=True)


def _erasure(key: list[int]) -> bytes:
    return Erasure("e", visitor_keys=[(key[0], key[1])]).body()


def test_a_snapshot_holds_the_blocks_in_use_alone() -> None:
    """A session that has nothing but views takes no room for the annexes of others."""
    engine = new_engine(CAPACITY)
    fold = engine_fold(engine)
    workload = make_workload(300, 100, 50)
    for request, received_ms in zip(workload.requests, workload.received_ms, strict=True):
        fold(request, received_ms)
    arrays = engine.snapshot()[1]
    table = engine._state.table
    in_use = int((table.annexes[:, 1] * table.annexes[:, X_TAKEN]).sum())
    assert sum(each.size for name, each in arrays if name.startswith("blocks_")) == in_use
    rows = dict(arrays)["rows"]
    assert (rows.size + in_use) / len(rows) < 0.75 * engine.program.row_words


def test_a_snapshot_of_another_layout_is_refused() -> None:
    """Blocks cut at other places would show anything."""
    play = Play(*TAGS)
    play.event(0, "v", properties={"tag": "v"})
    meta, arrays = play.engine.snapshot()
    changed = Held(arrays)
    changed["annexes"] = changed["annexes"] + np.array([0, 1, 0, 0, 0, 0, 0, 0])
    with pytest.raises(ValueError, match="other models"):
        Engine(SECRET, play._compile, SMALL).restore(json.loads(json.dumps(meta)), changed)


def test_nothing_is_left_in_a_block_that_was_given_back() -> None:
    """Blocks are zero when their session has left, also before anybody else gets them."""
    play = Play(*TAGS)
    play.event(0, "v", properties={"tag": "v"})
    table = play.engine._state.table
    assert table.blocks.any()
    key = table.rows[play.engine.find_visitor("v"), [KEY_LO, KEY_HI]].tolist()
    play.apply(EntryType.ERASE, _erasure(key))
    assert not table.blocks.any()
    play.engine.apply(play.engine.position + 1, Entry(EntryType.TICK, play.now_ms, b""))
    sanity.check(play.engine)
