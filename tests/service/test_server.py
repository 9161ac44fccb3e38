"""The server as a whole: models, health, reflection, metrics, stopping, starting again."""

from __future__ import annotations

import hashlib
import json
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2

from rte.v1 import event_service_pb2, model_service_pb2, session_service_pb2
from rte.v1.event_service_pb2_grpc import EventServiceStub
from rte.v1.model_pb2 import Attribute
from rte.v1.model_service_pb2_grpc import ModelServiceStub
from rte.v1.session_service_pb2_grpc import SessionServiceStub
from rte_server.engine.reasons import Reason
from rte_server.journal.protocol import JournalLocked
from rte_server.service.errors import reason_of
from tests.service.calls import event, new_visitor, raw, refused, send
from tests.service.live_server import LiveServer, live_server

SERVICES = ("rte.v1.EventService", "rte.v1.ModelService", "rte.v1.SessionService")


def test_models_tell_what_runs(channel: grpc.Channel) -> None:
    """The models are listed by name, in pages, and each gives its source with its hash, and its attributes."""
    models = ModelServiceStub(channel)
    names = [model.name for model in models.ListModels(model_service_pb2.ListModelsRequest()).models]
    assert names == sorted(names) and {"base", "retail", "engagement", "basket"} <= set(names)
    first = models.ListModels(model_service_pb2.ListModelsRequest(page_size=1))
    second = models.ListModels(model_service_pb2.ListModelsRequest(page_token=first.next_page_token))
    assert [*first.models, *second.models] == list(models.ListModels(model_service_pb2.ListModelsRequest()).models)
    answer = models.GetModel(model_service_pb2.GetModelRequest(name="basket"))
    assert answer.model.source_sha256 == hashlib.sha256(answer.source.encode()).hexdigest()
    assert answer.model.attribute_count == len(answer.attributes) > 5
    assert answer.model.session_bytes == sum(attribute.session_bytes for attribute in answer.attributes)
    code, reason, field = refused(models.GetModel, model_service_pb2.GetModelRequest(name="nothing"))
    assert (code, reason, field) == (grpc.StatusCode.NOT_FOUND, Reason.MODEL_NOT_FOUND, "name")


def test_attributes_are_listed_in_pages(channel: grpc.Channel) -> None:
    """All pages of attributes together hold each attribute once, by name, with kind, type and exactness."""
    models = ModelServiceStub(channel)
    found: list[Attribute] = []
    request = model_service_pb2.ListAttributesRequest(page_size=7)
    while True:
        answer = models.ListAttributes(request)
        found += answer.attributes
        if not answer.next_page_token:
            break
        request.page_token = answer.next_page_token
    names = [attribute.name for attribute in found]
    assert names == sorted(set(names)) and "page_views" in names
    assert all(attribute.kind and attribute.value_type and attribute.exactness for attribute in found)
    request.page_token = "x"
    assert refused(models.ListAttributes, request)[1] is Reason.INVALID_PAGE_TOKEN


def test_each_service_is_healthy(channel: grpc.Channel) -> None:
    """The standard health service says SERVING for the server and each of its services."""
    health: Any = health_pb2_grpc.HealthStub(channel)
    for service in ("", *SERVICES):
        answer = health.Check(health_pb2.HealthCheckRequest(service=service))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
def test_reflection_lists_the_services(channel: grpc.Channel, version: str) -> None:
    """Reflection, under its new and its old name, lists the services and gives their files."""
    ask = channel.stream_stream(
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )
    requests = (
        reflection_pb2.ServerReflectionRequest(list_services=""),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol="rte.v1.SessionService"),
    )
    services, file = list(ask(iter(requests)))
    assert {service.name for service in services.list_services_response.service} >= set(SERVICES)
    assert b"rte/v1/session_service.proto" in file.file_descriptor_response.file_descriptor_proto[0]


def test_an_unknown_method_is_unimplemented(channel: grpc.Channel) -> None:
    """A method that there is not is UNIMPLEMENTED."""
    with pytest.raises(grpc.RpcError) as failure:
        raw(channel, "/rte.v1.SessionService/Nothing")(b"")
    assert failure.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_metrics_can_be_scraped(server: LiveServer, channel: grpc.Channel) -> None:
    """What the server counts can be read as Prometheus text."""
    send(channel, event(new_visitor()))
    port = server.application.metrics.serve(0)
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
            text = answer.read().decode()
    finally:
        server.application.metrics.close()
    for line in ("rte_events_accepted_total", "rte_pipeline_queued_entries", "rte_engine_position", "rte_watches_open"):
        assert f"\n{line} " in text


def test_a_read_behind_a_slow_fold_keeps_its_deadline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A read that waits for a position that does not come in time ends with DEADLINE_EXCEEDED."""
    # The server gives up a second before its caller does, who would else go first on a busy machine, and know no reason.
    monkeypatch.setattr("rte_server.service.interceptors.DEADLINE_MARGIN_S", 1.0)
    with live_server(tmp_path, mart__enabled=False) as server, server.channel() as channel:
        send(channel, event("v"))
        # A position that is durable and not folded, as after a burst: the pipeline is told so, nothing else is touched.
        pipeline = server.application.pipeline
        pipeline._durable = ahead = pipeline._durable + 1_000
        request = session_service_pb2.GetSessionRequest(visitor_id="v", min_position=f"0-{ahead}")
        code, reason, _ = refused(SessionServiceStub(channel).GetSession, request, timeout_s=4)
    assert (code, reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, Reason.DEADLINE_EXCEEDED)


def test_a_second_server_does_not_take_the_data(server: LiveServer) -> None:
    """A server whose data directory is in use does not start, and leaves the first one alone."""
    with pytest.raises(JournalLocked):
        LiveServer(server.application.config.server.data_dir)
    with server.channel() as channel:
        send(channel, event(new_visitor()))


def test_stopping_ends_calls_in_order_and_loses_nothing(tmp_path: Path) -> None:
    """A stop says NOT_SERVING, ends watches and streams with SHUTTING_DOWN, and the next start has every event."""
    visitor, is_over = new_visitor(), threading.Event()
    first = LiveServer(tmp_path, server__stop_grace_ms=3_600_000)
    with first.channel() as channel:
        acknowledged = sum(send(channel, event(visitor)).accepted_count for _ in range(25))
        sessions = SessionServiceStub(channel)
        watch = sessions.WatchSessions(session_service_pb2.WatchSessionsRequest())
        token = [next(watch), next(watch)][-1].resume_token
        stub: Any = health_pb2_grpc.HealthStub(channel)
        health = stub.Watch(health_pb2.HealthCheckRequest(service=SERVICES[0]))
        assert next(health).status == health_pb2.HealthCheckResponse.SERVING
        stream = EventServiceStub(channel).StreamEvents(_open_stream(visitor, is_over))
        acknowledged += next(stream).accepted_count
        page = sessions.ListSessions(session_service_pb2.ListSessionsRequest(page_size=1))
        stopper = threading.Thread(target=first.stop)
        stopper.start()
        assert next(health).status == health_pb2.HealthCheckResponse.NOT_SERVING
        told = list(_until_error(watch))
        assert reason_of(told[-1].error) is Reason.SHUTTING_DOWN
        with pytest.raises(grpc.RpcError) as failure:
            next(stream)
        assert failure.value.code() is grpc.StatusCode.UNAVAILABLE
        health.cancel()
        stopper.join(240)  # Less than a test server may take, and far less than the grace.
        assert not stopper.is_alive()
        is_over.set()
    with live_server(tmp_path) as second, second.channel() as channel:
        sessions = SessionServiceStub(channel)
        found = sessions.GetSession(session_service_pb2.GetSessionRequest(visitor_id=visitor))
        assert found.session.event_count == acknowledged
        # Positions of the first run still hold, and so do its resume tokens.
        request = session_service_pb2.GetSessionRequest(visitor_id=visitor, min_position=page.position)
        assert sessions.GetSession(request).session == found.session
        watch = sessions.WatchSessions(session_service_pb2.WatchSessionsRequest(resume_token=token), timeout=60)
        assert next(watch).type in (
            session_service_pb2.WatchSessionsResponse.TYPE_RESET,
            session_service_pb2.WatchSessionsResponse.TYPE_UPSERT,
        )
        watch.cancel()


def _open_stream(visitor: str, is_over: threading.Event) -> Iterator[event_service_pb2.StreamEventsRequest]:
    """Send one batch and keep the stream open."""
    yield event_service_pb2.StreamEventsRequest(events=[event(visitor)])
    is_over.wait(600)


def _until_error(
    watch: Iterator[session_service_pb2.WatchSessionsResponse],
) -> Iterator[session_service_pb2.WatchSessionsResponse]:
    """Yield the messages of a watch that ends with an error."""
    try:
        yield from watch
    except grpc.RpcError:
        return


def test_a_restart_with_other_models_keeps_what_stays(tmp_path: Path) -> None:
    """After a restart with a model less, sessions are there without its attributes, the others have their values."""
    visitor = new_visitor()
    with live_server(tmp_path) as first, first.channel() as channel:
        send(channel, event(visitor, "view_item"), event(visitor))
    with live_server(tmp_path, models__packs=("base",)) as second, second.channel() as channel:
        request = session_service_pb2.GetSessionRequest(visitor_id=visitor)
        attributes = SessionServiceStub(channel).GetSession(request).session.attributes
        assert attributes["page_views"] == 1
        assert "product_views" not in attributes


def test_a_watch_over_http_is_a_stream_of_events(server: LiveServer, channel: grpc.Channel) -> None:
    """Over HTTP a watch is server-sent events: snapshot, SYNCED, then each change as it happens."""
    visitor = new_visitor()
    query = urllib.parse.urlencode({"filter": f'session.channel == "{visitor}"', "read_mask": "visitor_id"})
    with urllib.request.urlopen(f"http://127.0.0.1:{server.http_port}/v1/sessions:watch?{query}", timeout=60) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        told = (json.loads(line.removeprefix(b"data:")) for line in stream if line.startswith(b"data:"))
        assert next(told)["type"] == "TYPE_SYNCED"
        send(channel, event(visitor, channel=visitor))
        change = next(told)
        assert (change["type"], change["session"]["visitor_id"]) == ("TYPE_UPSERT", visitor)
        assert change["resume_token"]


def test_a_watch_that_cannot_begin_is_an_http_error(server: LiveServer) -> None:
    """Over HTTP a watch with a damaged resume token is answered with 400 and the reason, not with an empty stream."""
    with pytest.raises(urllib.error.HTTPError) as failure:
        urllib.request.urlopen(
            f"http://127.0.0.1:{server.http_port}/v1/sessions:watch?resume_token=x", timeout=60
        ).close()
    with failure.value as answer:
        assert answer.code == 400
        assert json.load(answer)["details"][0]["reason"] == "INVALID_RESUME_TOKEN"
