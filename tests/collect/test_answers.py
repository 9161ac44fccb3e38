"""What senders are told when the server does not take their events, and what reaches the server; without a server."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import grpc
import grpc.aio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rte.v1 import event_service_pb2 as pb
from rte_bridge.bodies import BodyLimits
from rte_bridge.problems import Problem
from rte_collect import snowplow
from rte_collect.app import App, Collectors
from rte_collect.intake import METHOD, Intake, wire_body
from rte_collect.keeper import Keeper
from rte_collect.names import Table
from rte_collect.protocol import Raw
from rte_collect.quarantine import Bounds, Quarantine
from tests.e2e.calls import Reply

SEGMENT, SNOWPLOW, CLOUDEVENTS = "/v1/batch", "/com.snowplowanalytics.snowplow/tp2", "/cloudevents"
GOOD: dict[str, Any] = {
    SEGMENT: {"batch": [{"type": "track", "event": "X", "anonymousId": "v", "messageId": "1"}]},
    SNOWPLOW: {"schema": "iglu:x", "data": [{"e": "pv", "duid": "v", "eid": "1"}]},
    CLOUDEVENTS: [{"specversion": "1.0", "id": "1", "source": "/s", "type": "a", "subject": "v"}],
}
TYPES = {CLOUDEVENTS: {"content-type": "application/cloudevents-batch+json"}}


@dataclass
class Bench:
    """The collectors, called as an HTTP server would, in front of a gRPC server that does what a test says.

    Attributes:
        app: What runs.
        keeper: Holds what was refused.
        code: What the server answers with.
        requests: What reached it.
        metadata: Of the last call.
    """

    app: App
    keeper: Keeper
    code: grpc.StatusCode = grpc.StatusCode.OK
    requests: list[pb.IngestEventsRequest] = field(default_factory=list)
    metadata: Mapping[str, str] = field(default_factory=dict)

    async def post(
        self, path: str, body: bytes, headers: Mapping[str, str] | None = None, method: str = "POST", query: str = ""
    ) -> Reply:
        """Send a body and return the answer."""
        given_headers = [(name.encode(), value.encode()) for name, value in (headers or {}).items()]
        scope = {"type": "http", "method": method, "path": path, "raw_path": path.encode()}
        scope["query_string"] = query.encode()
        sent: list[Any] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        await self.app({**scope, "headers": given_headers}, receive, send)
        names = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        return Reply(sent[0]["status"], names, sent[1]["body"])

    async def answer(self, request: bytes, context: Any) -> bytes:
        """Do what the server does."""
        self.metadata = dict(context.invocation_metadata())
        if self.code is not grpc.StatusCode.OK:
            await context.abort(self.code, "not now")
        parsed = pb.IngestEventsRequest.FromString(request)
        self.requests.append(parsed)
        answer = pb.IngestEventsResponse(accepted_count=len(parsed.events))
        for index, event in enumerate(parsed.events):
            if event.name == "late" and parsed.wait == pb.WAIT_APPLIED:
                answer.verdicts.add(index=index, outcome="OUTCOME_LATE", reason="ERROR_REASON_EVENT_TOO_LATE")
            elif event.name == "bad":
                answer.rejected_count += 1
                if answer.rejected_count <= 100:
                    answer.verdicts.add(index=index, outcome="OUTCOME_REJECTED", reason="ERROR_REASON_MALFORMED")
        return answer.SerializeToString()


class _Handler(grpc.GenericRpcHandler):
    def __init__(self) -> None:
        self.bench: Bench | None = None

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """Take the one call that collectors make."""
        assert self.bench is not None and handler_call_details.method == METHOD
        return grpc.unary_unary_rpc_method_handler(self.bench.answer)


@asynccontextmanager
async def running(events_max: int = 100, **limits: Any) -> AsyncIterator[Bench]:
    """Run collectors for the time of a block."""
    server, handler = grpc.aio.server(), _Handler()
    server.add_generic_rpc_handlers((handler,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}")
    collectors, intake = Collectors.of("", ()), Intake(channel, events_max)
    keeper = Keeper(Quarantine("", Bounds()), intake, collectors.by_name())
    handler.bench = Bench(App(intake, keeper, collectors, BodyLimits(**limits)), keeper)
    try:
        yield handler.bench
    finally:
        keeper.close()
        await channel.close()
        await server.stop(0)


@pytest.mark.parametrize("path", GOOD)
@pytest.mark.parametrize(
    ("code", "status"),
    [
        (grpc.StatusCode.RESOURCE_EXHAUSTED, 429),
        (grpc.StatusCode.UNAVAILABLE, 503),
        (grpc.StatusCode.DEADLINE_EXCEEDED, 503),
        (grpc.StatusCode.INTERNAL, 503),
        (grpc.StatusCode.INVALID_ARGUMENT, 400),
    ],
)
async def test_senders_come_again_unless_it_is_in_vain(path: str, code: grpc.StatusCode, status: int) -> None:
    """A server that is busy or away makes SDKs send again, after a pause; what is wrong for good, drop it."""
    async with running() as bench:
        bench.code = code
        body = json.dumps(GOOD[path]).encode()
        reply = await bench.post(path, body, TYPES.get(path))
        assert reply.status == status
        assert ("retry-after" in reply.headers) == (status != 400)
        bench.code = grpc.StatusCode.OK
        assert (await bench.post(path, body, TYPES.get(path))).status == 200
        assert [event.visitor_id for request in bench.requests for event in request.events] == ["v"]
        assert await bench.keeper.counts() == (0, 0)


async def test_one_call_for_one_request() -> None:
    """A batch is one call; the write key of its sender stays here, traces go on."""
    async with running() as bench:
        batch = {"batch": [GOOD[SEGMENT]["batch"][0] | {"messageId": str(number)} for number in range(50)]}
        headers = {"authorization": "Basic d2sxOg==", "traceparent": "00-a-b-01", "cookie": "a=b"}
        assert (await bench.post(SEGMENT, json.dumps(batch).encode(), headers)).status == 200
        (request,) = bench.requests
        assert len(request.events) == 50
        assert bench.metadata["traceparent"] == "00-a-b-01"
        assert not {"authorization", "cookie", "x-forwarded-for"} & set(bench.metadata)
        many = {"batch": [batch["batch"][0]] * 250}
        assert (await bench.post(SEGMENT, json.dumps(many).encode())).status == 200
        assert [len(each.events) for each in bench.requests[1:]] == [100, 100, 50]


async def test_times_of_snowplow() -> None:
    """Each event tells when it was sent; all are corrected as if they had been sent with the last one."""
    events = [
        {"e": "pv", "duid": "v", "eid": str(number), "dtm": str(1_000_000 + number), "stm": str(sent)}
        for number, sent in enumerate((2_000_000, 2_500_000))
    ]
    events.append({"e": "pv", "duid": "v", "eid": "2", "dtm": "5", "stm": "7", "ttm": "1700000000000"})
    async with running() as bench:
        assert (await bench.post(SNOWPLOW, json.dumps({"data": events}).encode())).status == 200
        (request,) = bench.requests
        assert request.sent_time.ToMilliseconds() == 2_500_000
        *times, true_ms = (event.event_time.ToMilliseconds() for event in request.events)
        assert times == [1_500_000, 1_000_001]
        # What the server adds to all, taken off the time that is known to be true.
        added_ms = time.time_ns() // 1_000_000 - 2_500_000
        assert abs(true_ms + added_ms - 1_700_000_000_000) < 60_000


async def test_a_bad_event_spoils_no_other() -> None:
    """A time of sending that no calendar has, and an event that the wire makes too large, cost only themselves."""
    good, bad = GOOD[SNOWPLOW]["data"][0], {"e": "pv", "duid": "bad", "stm": "999999999999999"}
    large = GOOD[SEGMENT]["batch"][0] | {"properties": {"a": [1] * 20_000}}
    async with running() as bench:
        assert (await bench.post(SNOWPLOW, json.dumps({"data": [bad, good]}).encode())).status == 200
        body = {"batch": [large, *GOOD[SEGMENT]["batch"]], "sentAt": 1_700_000_000}
        assert (await bench.post(SEGMENT, json.dumps(body).encode())).status == 200
        assert [event.visitor_id for request in bench.requests for event in request.events] == ["v", "v"]
        assert not any(request.HasField("sent_time") for request in bench.requests)
        kept = [(each.reason, each.field) for each in await bench.keeper.page(0, 10)]
        assert kept == [("OUT_OF_RANGE", "stm"), ("EVENT_TOO_LARGE", "")]


@pytest.mark.parametrize("path", [SEGMENT, SNOWPLOW])
async def test_resubmitted_events_stay_until_they_count(path: str) -> None:
    """Events that are too late stay, with that reason; one without an id has the same id each time."""
    bad = {
        SEGMENT: {"batch": [{"type": "track", "event": "bad", "anonymousId": "v"}] * 250},
        SNOWPLOW: {"data": [{"e": "se", "se_ac": "bad", "duid": "v"}] * 250},
    }[path]
    async with running(events_max=1000) as bench:
        assert (await bench.post(path, json.dumps(bad).encode())).status == 200
        sent = [event.event_id for request in bench.requests for event in request.events]
        assert len(set(sent)) == 250 and len(sent) == 400  # Each once; behind the hundredth refusal once more.
        events = await bench.keeper.page(0, 1000)
        assert len(events) == 250
        bench.requests.clear()
        assert await bench.keeper.resubmit(events) == 0
        again = [event.event_id for request in bench.requests for event in request.events]
        assert again == list(dict.fromkeys(sent))
        late = [
            replace(each, raw=Raw(each.raw.document.replace(b'"bad"', b'"late"'), each.raw.hints)) for each in events
        ]
        assert await bench.keeper.resubmit(late) == 0
        assert {each.reason for each in await bench.keeper.page(0, 1000)} == {"EVENT_TOO_LATE"}


async def test_pixels_that_are_none() -> None:
    """A query of too many parameters is refused for good; who asks only what there is has sent no event."""
    async with running() as bench:
        reply = await bench.post("/i", b"", method="GET", query="&".join(f"a{n}=1" for n in range(1001)))
        assert (reply.status, reply.reason) == (400, "MALFORMED")
        assert (await bench.post("/i", b"", method="HEAD", query="e=pv&duid=v")).status == 200
        assert bench.requests == []
        assert (await bench.post("/i", b"", method="GET", query="e=pv&duid=v")).status == 200
        assert len(bench.requests) == 1
    async with running(calls_max=0) as bench:
        assert (await bench.post("/i", b"", method="GET", query="e=pv&duid=v")).status == 429


async def test_too_much_at_a_time_is_put_off() -> None:
    """Requests beyond what is held at a time are asked to come again."""
    async with running(bodies_bytes_max=10) as bench:
        reply = await bench.post(SEGMENT, json.dumps(GOOD[SEGMENT]).encode())
        assert (reply.status, reply.reason) == (429, "OVERLOADED")
        assert reply.headers["retry-after"] == "1"


async def test_inflated_bodies_count_as_held() -> None:
    """A small body that becomes a large one counts as large; afterwards nothing is held."""
    packed = gzip.compress(json.dumps(GOOD[SEGMENT]).encode() + b" " * 100_000)
    async with running(bodies_bytes_max=50_000) as bench:
        for _ in range(2):
            reply = await bench.post(SEGMENT, packed, {"content-encoding": "gzip"})
            assert (reply.status, reply.reason) == (429, "OVERLOADED")
        assert (await bench.post(SEGMENT, json.dumps(GOOD[SEGMENT]).encode())).status == 200


def bought(number: int, products: int, **members: str) -> dict[str, str]:
    """Return an event of Snowplow that becomes one event for each of its products."""
    product = {"schema": "iglu:com.snowplowanalytics.snowplow.ecommerce/product/jsonschema/1-0-0", "data": {"id": "1"}}
    action = {
        "schema": "iglu:com.snowplowanalytics.snowplow.ecommerce/snowplow_ecommerce_action/jsonschema/1-0-2",
        "data": {"type": "add_to_cart", **members},
    }
    contexts = json.dumps({"data": [product] * products})
    return {"e": "ue", "duid": "v", "eid": str(number), "co": contexts, "ue_pr": json.dumps({"data": action})}


@pytest.mark.parametrize(
    "spoilt",
    [bought(1, 101), bought(1, 100, **{f"m{number}": "" for number in range(101)})],
    ids=["products", "copies"],
)
async def test_products_are_not_multiplied_without_end(spoilt: dict[str, str]) -> None:
    """An event of too many products, or with too much that each of them would get, is refused; the others are taken."""
    async with running() as bench:
        body = json.dumps({"data": [spoilt, bought(2, 100)]}).encode()
        assert (await bench.post(SNOWPLOW, body)).status == 200
        assert sum(len(request.events) for request in bench.requests) == 100
        (kept,) = await bench.keeper.page(0, 10)
        assert (kept.reason, kept.field) == ("OUT_OF_RANGE", "items")


@pytest.mark.parametrize(
    "events", [[bought(n, 100) for n in range(101)], [bought(n, 100, text="x" * 10_000) for n in range(20)]]
)
async def test_what_becomes_too_much_is_refused_as_a_whole(events: list[dict[str, str]]) -> None:
    """Limits of number and bytes hold also after products became events of their own."""
    async with running() as bench:
        reply = await bench.post(SNOWPLOW, json.dumps({"data": events}).encode())
        assert (reply.status, reply.reason) == (400, "REQUEST_TOO_LARGE")
        assert bench.requests == [] and await bench.keeper.counts() == (0, 0)


def test_long_names_are_not_kept() -> None:
    """Names that a sender makes up fill no memory; the table's own are found however long."""
    table = Table({"events": {"y" * 300: "page_view"}}, "test")
    assert table.rule("y" * 300).name == "page_view"
    assert table.rule("x" * 300).name == "x" * 300
    assert table.rule("A B").name == "a_b"
    assert table._cached.cache_info().currsize == 1


@pytest.mark.parametrize(("path", "status"), [(SEGMENT, 413), (SNOWPLOW, 400), (CLOUDEVENTS, 413)])
async def test_too_large_a_body(path: str, status: int) -> None:
    """What is too large will always be: Snowplow's trackers would send it for ever, were it not answered with 400."""
    async with running(body_bytes_max=10) as bench:
        assert (await bench.post(path, json.dumps(GOOD[path]).encode(), TYPES.get(path))).status == status


COLLECTORS = Collectors.of("", ())

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
MEMBERS = (
    *("type", "event", "userId", "anonymousId", "messageId", "properties", "context", "traits", "timestamp", "sentAt"),
    *("groupId", "previousId", "name", "category", "channel"),
    *("e", "duid", "uid", "eid", "dtm", "stm", "co", "cx", "ue_pr", "ue_px", "se_ac", "se_va", "vp", "ds", "pp_may"),
    *("specversion", "id", "source", "subject", "time", "data", "data_base64", "datacontenttype"),
)
LIKELY = st.sampled_from(
    ["track", "page", "identify", "alias", "pv", "pp", "ue", "se", "tr", "1.0", "a.b.c.d", "{}", "v"]
)


OBJECTS = st.dictionaries(st.sampled_from(("type", "items", "id", "eventType", "terms")) | st.text(max_size=4), JSON)
DESCRIBED = st.builds(
    lambda name, data: {"schema": f"iglu:{name}/jsonschema/1-0-0", "data": data},
    st.sampled_from((*COLLECTORS.snowplow._table.lists, snowplow._ACTION, "com.snowplowanalytics.snowplow/page_ping")),
    OBJECTS | OBJECTS.map(lambda found: found | {"type": "add_to_cart"}),
)


@given(DESCRIBED, st.lists(DESCRIBED, max_size=3))
def test_whatever_is_described_is_an_event_or_a_problem(event: dict[str, Any], entities: list[dict[str, Any]]) -> None:
    """What stands inside of Snowplow's texts is as harmless as what stands beside them, and no event vanishes."""
    payload = {"e": "ue", "duid": "v", "ue_pr": json.dumps({"data": event}), "co": json.dumps({"data": entities})}
    try:
        events = COLLECTORS.snowplow.translate(Raw(json.dumps(payload).encode()))
        assert events
        for each in events:
            wire_body(each)
    except Problem:
        pass


@given(st.dictionaries(st.sampled_from(MEMBERS), JSON | LIKELY, max_size=12))
def test_whatever_comes_is_an_event_or_a_problem(members: dict[str, Any]) -> None:
    """No JSON makes a collector fail in another way than by a reason, and what it accepts can be sent."""
    document = json.dumps(members).encode()
    for collector in Collectors.of("", ()).by_name().values():
        try:
            events = collector.translate(Raw(document))
            for event in events:
                assert event.visitor_id and event.event_id
                wire_body(event)
        except Problem:
            continue


@pytest.mark.parametrize(("path", "status"), [(SEGMENT, 413), (SNOWPLOW, 400), (CLOUDEVENTS, 413)])
async def test_a_body_of_nothing_but_events_is_refused(path: str, status: int) -> None:
    """Millions of tiny events in one body are refused as a whole, and the quarantine stays as it is."""
    tiny = b"[" + b"{}," * 1_000_000 + b"{}]"
    body = {SEGMENT: b'{"batch":%b}', SNOWPLOW: b'{"data":%b}', CLOUDEVENTS: b"%b"}[path] % tiny
    async with running() as bench:
        reply = await bench.post(path, body, TYPES.get(path))
        assert (reply.status, reply.reason) == (status, "REQUEST_TOO_LARGE")
        assert await bench.keeper.counts() == (0, 0)
