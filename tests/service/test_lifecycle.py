"""Models change in a running server: no event is lost or counted twice, history counts, and nothing happens by a trial."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import json_format
from google.rpc import error_details_pb2

from rte.v1 import event_service_pb2, model_service_pb2, model_service_pb2_grpc, session_pb2, session_service_pb2
from rte.v1.event_service_pb2_grpc import EventServiceStub
from rte.v1.session_service_pb2_grpc import SessionServiceStub
from rte_server.bootstrap import wall_clock_ms
from rte_server.engine.engine import Engine
from rte_server.engine.native import secret_from_bytes
from rte_server.engine.table import Capacity
from rte_server.journal.directory import DataDirectory
from rte_server.journal.recovery import recover
from rte_server.journal.snapshots import SnapshotStore
from rte_server.journal.sqlite import SqliteJournal
from rte_server.models import compile_models
from tests.service.calls import status_of_call
from tests.service.live_server import live_server

pb = model_service_pb2
ACTIVATE, DRY_RUN = pb.ApplyModelsRequest.MODE_ACTIVATE, pb.ApplyModelsRequest.MODE_DRY_RUN

VIEWS = """
model: views
version: {version}
attributes:
  views: {{count: view_item}}
  value: {{sum: event.price * {factor}, on: view_item}}
  latest: {{recent: event.item_id, on: view_item, keep: {keep}}}
derived:
  is_rich: value > 10.0
"""


def views(version: int, *, factor: float = 1.0, keep: int = 3) -> pb.ModelSource:
    """Return a version of a small model."""
    return pb.ModelSource(yaml=VIEWS.format(version=version, factor=factor, keep=keep), file="views.yaml")


def slow_clock() -> Callable[[], int]:
    """Return a clock that begins now and runs a hundredth as fast.

    Some attributes of the packs change half a minute after the last event, which on a busy machine is no time: what is compared
    with what it was must not have become due meanwhile.
    """
    began_s, began_ms = time.monotonic(), wall_clock_ms()
    return lambda: began_ms + int((time.monotonic() - began_s) * 10)


class Caller:
    """Talks to a server."""

    def __init__(self, channel: grpc.Channel) -> None:
        self.models = model_service_pb2_grpc.ModelServiceStub(channel)
        self.events = EventServiceStub(channel)
        self.sessions = SessionServiceStub(channel)

    def apply(self, *models: pb.ModelSource, mode: int = ACTIVATE, **more: object) -> pb.ApplyModelsResponse:
        """Apply models."""
        request = pb.ApplyModelsRequest(models=models, mode=mode, **more)  # type: ignore[arg-type]
        return self.models.ApplyModels(request, timeout=60)

    def view(self, visitor: str, *prices: float, wait: bool = True) -> None:
        """Send views of items."""
        events = [
            {
                "name": "view_item",
                "visitor_id": visitor,
                "properties": {"price": price, "item_id": f"i{price:g}"},
            }
            for price in prices
        ]
        request = event_service_pb2.IngestEventsRequest()
        request.wait = event_service_pb2.WAIT_APPLIED if wait else event_service_pb2.WAIT_DURABLE
        json_format.ParseDict({"events": events}, request)
        assert self.events.IngestEvents(request, timeout=60).accepted_count == len(prices)

    def attributes(self, visitor: str) -> dict[str, object]:
        """Return the attributes of a visitor's session."""
        answer = self.sessions.GetSession(session_service_pb2.GetSessionRequest(visitor_id=visitor), timeout=60)
        return attributes_of(answer.session)


def attributes_of(session: session_pb2.Session) -> dict[str, object]:
    """Return the attributes of a session, without those that show another value at every moment."""
    found = json_format.MessageToDict(session.attributes)
    return {name: value for name, value in found.items() if not name.endswith(".time_left_s")}


@pytest.fixture(scope="module")
def caller(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Caller]:
    """A server whose models change; each test uses visitors and versions of its own."""
    with live_server(tmp_path_factory.mktemp("data")) as server, server.channel() as channel:
        yield Caller(channel)


def problems_of(error: grpc.RpcError) -> tuple[str, list[str]]:
    """Return the reason and the field violations of a refusal."""
    reason, fields = "", []
    for packed in status_of_call(error).details:
        info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
        if packed.Unpack(info):
            reason = info.reason
        if packed.Unpack(bad):
            fields = [f"{each.field}: {each.description}" for each in bad.field_violations]
    return reason, fields


def test_a_new_model_has_the_history(caller: Caller) -> None:
    """Its attributes count the events that came before it, for sessions alive, and those after."""
    caller.view("history", 4, 5)
    answer = caller.apply(views(1))
    assert [(each.name, each.kind) for each in answer.models] == [("views", 1)]
    assert not answer.HasField("complete_since_time")
    assert answer.session_bytes_after > answer.session_bytes_before
    caller.view("history", 6)
    found = caller.attributes("history")
    assert (found["views"], found["value"]) == (3, 15)
    assert sorted(str(found["latest"])) == sorted("['i6', 'i5', 'i4']")
    assert found["is_rich"] is True
    assert found["product_views"] == 3, "the models that ran run on"


def test_a_dry_run_says_what_would_change_and_changes_nothing(caller: Caller) -> None:
    """Per attribute: what becomes of it, in how many sessions, and some of them."""
    caller.apply(views(10))
    caller.view("dry-a", 4, 8)
    caller.view("dry-b", 1)
    before = caller.models.ListModelVersions(pb.ListModelVersionsRequest())
    answer = caller.apply(views(11, factor=2.0), mode=DRY_RUN)
    changes = {each.name: each for each in answer.attributes}
    assert set(changes) == {"value", "is_rich"}
    kinds = type(changes["value"])
    assert changes["value"].kind == kinds.KIND_REDEFINED
    assert changes["is_rich"].kind == kinds.KIND_OTHER_VALUES
    assert answer.compared_session_count == answer.session_count >= 2
    assert changes["value"].session_count >= 2
    assert all(each.after.number_value == 2 * each.before.number_value for each in changes["value"].samples)
    assert answer.session_bytes_before == answer.session_bytes_after
    assert caller.attributes("dry-a")["value"] == 12
    assert caller.models.ListModelVersions(pb.ListModelVersionsRequest()) == before


def test_a_version_runs_alongside_and_takes_over_what_it_has(caller: Caller) -> None:
    """Under dotted names, readable and filterable; promoted it keeps its values, and the old version's names are its."""
    caller.apply(views(20))
    caller.view("beside", 3)
    answer = caller.apply(views(21, factor=3.0), alongside=True)
    assert [(each.name, each.version_after) for each in answer.models] == [("views_v21", 21)]
    caller.view("beside", 4)
    found = caller.attributes("beside")
    assert (found["value"], found["views_v21.value"], found["views_v21.is_rich"]) == (7, 21, True)
    explained = caller.sessions.ExplainSession(
        session_service_pb2.ExplainSessionRequest(visitor_id="beside", attribute="views_v21.is_rich"), timeout=60
    )
    assert explained.explanation.rule.parts[0].value.number_value == 21
    assert explained.explanation.definition.line == 9
    wanted = session_service_pb2.ListSessionsRequest(filter="views_v21.value == 21.0 && value == 7.0")
    assert [each.visitor_id for each in caller.sessions.ListSessions(wanted).sessions] == ["beside"]
    listed = {each.name: each for each in caller.models.ListModels(pb.ListModelsRequest()).models}
    assert listed["views_v21"].is_alongside
    assert not listed["views"].is_alongside
    caller.apply(views(21, factor=3.0))
    found = caller.attributes("beside")
    assert found["value"] == 21
    assert not any(name.startswith("views_v21") for name in found)


def test_a_version_alongside_is_dropped(caller: Caller) -> None:
    """It is removed like any model; one that does not run cannot be."""
    caller.apply(views(25))
    caller.apply(views(26, keep=9), alongside=True)
    caller.apply(remove_names=["views_v26"])
    assert "views_v26" not in {each.name for each in caller.models.ListModels(pb.ListModelsRequest()).models}
    with pytest.raises(grpc.RpcError) as refused:
        caller.apply(remove_names=["views_v26"])
    assert problems_of(refused.value)[0] == "MODEL_NOT_FOUND"


def test_a_model_never_takes_the_place_of_another_one(caller: Caller) -> None:
    """A version alongside `tens_v2` and a model of that name cannot both run; neither pushes the other out."""
    text = "model: {}\nversion: 2\nattributes:\n  {}: {{count: view_item}}\n"
    own, version = (
        pb.ModelSource(yaml=text.format(*names), file="mine.yaml") for names in (("tens_v2", "own"), ("tens", "tens"))
    )
    for first, second, alongside, line in ((own, version, True, 2), (version, own, False, 1)):
        caller.apply(first, alongside=not alongside)
        with pytest.raises(grpc.RpcError) as refused:
            caller.apply(second, alongside=alongside)
        reason, fields = problems_of(refused.value)
        assert reason == "INVALID_MODEL"
        assert fields[0].startswith(f"mine.yaml:{line}: ")
        assert "another" in fields[0]
        caller.apply(remove_names=["tens_v2"])


def test_a_page_size_is_refused_with_the_limit_of_its_call(caller: Caller) -> None:
    """It is not the same for all lists."""
    for call, limit in (
        (lambda: caller.models.ListModelVersions(pb.ListModelVersionsRequest(page_size=-1)), "1 to 100"),
        (lambda: caller.models.ListAttributes(pb.ListAttributesRequest(page_size=-1)), "1 to 1000"),
    ):
        with pytest.raises(grpc.RpcError) as refused:
            call()
        assert (refused.value.details() or "").endswith(f"page_size is -1, it must be {limit}")


def test_going_back_brings_the_values_back(caller: Caller) -> None:
    """The configuration before, or any earlier one, with history."""
    first = caller.apply(views(30, factor=5.0)).position
    caller.view("back", 2)
    caller.apply(views(31))
    caller.view("back", 1)
    assert caller.attributes("back")["value"] == 3
    answer = caller.models.RollBackModels(pb.RollBackModelsRequest(note="31 was wrong", author="me"))
    assert caller.attributes("back")["value"] == 15
    assert [(each.name, each.version_before, each.version_after) for each in answer.models] == [("views", 31, 30)]
    caller.apply(remove_names=["views"])
    caller.models.RollBackModels(pb.RollBackModelsRequest(position=first))
    assert caller.attributes("back")["value"] == 15
    newest = caller.models.ListModelVersions(pb.ListModelVersionsRequest(page_size=3))
    assert newest.configurations[0].is_active
    assert newest.configurations[0].note == f"back to position {first}"
    assert newest.configurations[2].note == "31 was wrong"
    assert newest.configurations[2].author == "me"
    assert {each.name: each.version for each in newest.configurations[0].models}["views"] == 30
    after = pb.ListModelVersionsRequest(page_size=1, page_token=newest.next_page_token)
    assert caller.models.ListModelVersions(after).configurations[0].position < newest.configurations[2].position
    with pytest.raises(grpc.RpcError) as refused:
        caller.models.RollBackModels(pb.RollBackModelsRequest(position="0-999999"))
    assert problems_of(refused.value)[0] == "CONFIGURATION_NOT_FOUND"


def test_a_request_counts_once(caller: Caller) -> None:
    """The same request id gives the same position, and nothing new; with another order it is refused."""
    first = caller.apply(views(40), request_id="once")
    assert caller.apply(views(40), request_id="once").position == first.position
    again = pb.RollBackModelsRequest(request_id="once")
    for other in (lambda: caller.apply(views(41), request_id="once"), lambda: caller.models.RollBackModels(again)):
        with pytest.raises(grpc.RpcError) as refused:
            other()
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "request_id was used" in (refused.value.details() or "")
    assert caller.models.GetModel(pb.GetModelRequest(name="views")).model.version == 40
    back = pb.RollBackModelsRequest(position=first.position, request_id="back once")
    caller.apply(views(42))
    position = caller.models.RollBackModels(back).position
    assert caller.models.RollBackModels(back).position == position
    with pytest.raises(grpc.RpcError):
        caller.models.RollBackModels(pb.RollBackModelsRequest(request_id="back once"))
    assert caller.apply(views(40)).position >= first.position, "nothing changes"
    assert not caller.apply(views(40)).models


def test_a_wrong_model_is_told_with_line_and_remedy(caller: Caller) -> None:
    """VALIDATE lists the problems, ACTIVATE refuses with the same ones; what ran runs on."""
    caller.apply(views(50))
    wrong = pb.ModelSource(yaml=views(51).yaml.replace("count: view_item", "cuont: view_item"), file="mine.yaml")
    listed = caller.apply(wrong, mode=pb.ApplyModelsRequest.MODE_VALIDATE).problems
    assert [(each.file, each.line) for each in listed] == [("mine.yaml", 5)]
    assert "count" in listed[0].remedy
    with pytest.raises(grpc.RpcError) as refused:
        caller.apply(wrong)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    reason, fields = problems_of(refused.value)
    assert reason == "INVALID_MODEL"
    assert len(fields) == 1
    assert fields[0].startswith("mine.yaml:5: ")
    model = caller.models.GetModel(pb.GetModelRequest(name="views")).model
    assert model.version == 50


def test_traffic_counts_exactly_while_models_change(tmp_path: Path) -> None:
    """Callers in several threads go on while versions are swapped back and forth; every count is right, also later."""
    with live_server(tmp_path, clock_ms=slow_clock(), journal__snapshot_entries=100) as server:
        with server.channel() as channel:
            sent = _swap_under_traffic(Caller(channel), swaps=8)
        with server.channel() as channel:
            caller = Caller(channel)
            live = {visitor: caller.attributes(visitor) for visitor in sent}
    for visitor, count in sent.items():
        assert live[visitor]["views"] == count, visitor
        assert live[visitor]["value"] == 2.0 * count, visitor
        assert live[visitor]["product_views"] == count, visitor
    assert _folded_again(tmp_path, list(sent)) == live


def _swap_under_traffic(caller: Caller, swaps: int) -> Counter[str]:
    """Send views from some threads while models change; return how many per visitor."""
    caller.apply(views(1, factor=2.0))
    stop = threading.Event()
    sent: Counter[str] = Counter()

    def send(worker: int) -> None:
        number = 0
        while not stop.is_set():
            visitor = f"w{worker}-{number % 5}"
            caller.view(visitor, 1, 1, 1, wait=number % 7 == 0)
            sent[visitor] += 3
            number += 1

    threads = [threading.Thread(target=send, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    try:
        for swap in range(swaps):
            caller.apply(views(2 + swap, factor=2.0 + swap % 2, keep=3 + swap % 3))
        caller.apply(views(99, factor=2.0))
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    caller.view("last", 1)
    return sent


def _folded_again(path: Path, visitors: Sequence[str]) -> dict[str, dict[str, object]]:
    """Return the attributes of visitors as another process finds them on the disk."""
    with DataDirectory(path) as directory:
        journal = SqliteJournal(directory)
        capacity = Capacity(20_000, 50_000, 100_000, 16 << 20, 1_000)
        secret = secret_from_bytes(directory.secret)
        store = SnapshotStore(directory.snapshots_path)
        engine = recover(journal, 0, store, lambda: Engine(secret, compile_models, capacity))
        journal.close()
    found = {}
    for visitor in visitors:
        body = engine.encode([engine.find_visitor(visitor)])[0]
        session = session_service_pb2.GetSessionResponse.FromString(b"")
        session.session.MergeFromString(body)
        found[visitor] = attributes_of(session.session)
    return found


def test_without_all_of_the_history_it_is_said_since_when(tmp_path: Path) -> None:
    """Where the journal was trimmed a new attribute says since when it is complete; one that goes on keeps all it has."""
    settings: dict[str, Any] = {"journal__snapshot_entries": 5, "journal__snapshots_kept": 2, "clock_ms": slow_clock()}
    with live_server(tmp_path, **settings) as server, server.channel() as channel:
        caller = Caller(channel)
        caller.apply(views(1))
        caller.apply(views(2, factor=2.0), alongside=True)
        caller.view("old", 1)
        end = time.monotonic() + 60
        while server.application.pipeline._journal.first_position(0) == 1:
            assert time.monotonic() < end, "waited in vain"
            caller.view("old", 1)
        before = caller.attributes("old")
        answer = caller.apply(
            pb.ModelSource(yaml="model: late\nattributes:\n  seen: {count: view_item}\nderived:\n  twice: seen * 2\n")
        )
        found = caller.attributes("old")
        assert 0 < _int(found["seen"]) < _int(found["views"])
        assert answer.HasField("complete_since_time")
        listed = {each.name: each for each in caller.models.ListAttributes(pb.ListAttributesRequest()).attributes}
        assert listed["seen"].complete_since_time == answer.complete_since_time
        assert listed["twice"].complete_since_time == answer.complete_since_time
        assert not listed["views"].HasField("complete_since_time")
        caller.apply(views(2, factor=2.0))
        after = caller.attributes("old")
        assert after["value"] == before["views_v2.value"]
        assert (after["views"], after["seen"]) == (before["views"], found["seen"])
    with live_server(tmp_path, **settings) as server, server.channel() as channel:
        assert Caller(channel).attributes("old") == after


def _int(value: object) -> int:
    assert isinstance(value, float)
    return int(value)
