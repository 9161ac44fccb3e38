"""The official Python SDKs, unmodified: what they are told to send is in the session."""

from __future__ import annotations

import json
import time
import uuid
from datetime import UTC, datetime
from typing import Any

import pytest
from cloudevents.core.bindings.http import HTTPMessage, to_binary_event, to_structured_event
from cloudevents.core.v1.event import CloudEvent
from rudderstack.analytics.client import Client as RudderClient
from segment.analytics.client import Client as SegmentClient
from snowplow_tracker import (
    Emitter,
    EmitterConfiguration,
    PagePing,
    PageView,
    SelfDescribing,
    SelfDescribingJson,
    Snowplow,
    StructuredEvent,
    Subject,
    Tracker,
)

from tests.collect.sessions import Sessions, bridge_of, eventually
from tests.e2e.calls import call


def call_everything(client: Any, visitor: str) -> None:
    """Make all kinds of calls with one of the two SDKs that have the same ones."""
    known = {"anonymous_id": visitor, "user_id": f"c-{visitor}"}
    client.page(anonymous_id=visitor, name="Home", properties={"url": "https://shop.example/?utm_source=news"})
    client.identify(**known, traits={"plan": "pro", "email": "x@shop.example"})
    client.group(**known, group_id="g1", traits={"name": "Acme"})
    client.screen(**known, name="Start")
    for number in range(50):
        client.track(**known, event="Product Viewed", properties={"product_id": f"p-{number}", "price": 1.5})
    client.track(**known, event="Product Added", properties={"product_id": "p-1", "price": 1.5, "quantity": 2})
    client.alias(visitor, f"c-{visitor}")
    client.flush()
    client.join()


def check_everything(sessions: Sessions, visitor: str) -> None:
    """Check the session that the calls make."""
    session = sessions.wait(visitor, 56)
    found = session["attributes"]
    assert (session["customer_id"], session["channel"]) == (f"c-{visitor}", "server")
    assert (found["product_views"], found["basket.value"], found["logins"]) == (50, 3, 1)
    assert (found["page_views"], found["first_source"]) == (1, "news")


@pytest.mark.parametrize("is_compressed", [True, False])
def test_segment(sessions: Sessions, visitor: str, is_compressed: bool) -> None:
    """segment-analytics-python sends all kinds of calls, in batches."""
    errors: list[object] = []
    host = f"http://127.0.0.1:{sessions.port}"
    client = SegmentClient(
        "wk1", host=host, gzip=is_compressed, on_error=lambda error, _: errors.append(error), max_retries=0
    )
    call_everything(client, visitor)
    assert errors == []
    check_everything(sessions, visitor)


def test_nothing_is_lost_when_the_bridge_dies(sessions: Sessions, visitor: str) -> None:
    """While an SDK sends, the bridge is killed, twice: what it sends again counts once, and all of it is there."""
    errors: list[object] = []
    client = SegmentClient(
        "wk1",
        host=f"http://127.0.0.1:{sessions.port}",
        upload_size=10,
        on_error=lambda error, _: errors.append(error),
    )
    for number in range(300):
        client.track(anonymous_id=visitor, event="Product Viewed", properties={"product_id": f"p-{number}"})
        if number in (100, 200):
            client.flush()
            eventually(lambda: bridge_of(sessions)).kill()
    client.flush()
    client.join()
    assert errors == []
    assert sessions.attributes(visitor, 300)["product_views"] == 300


@pytest.mark.parametrize("is_compressed", [True, False])
def test_rudderstack(sessions: Sessions, visitor: str, is_compressed: bool) -> None:
    """rudder-sdk-python sends all kinds of calls, in batches."""
    errors: list[object] = []
    host = f"http://127.0.0.1:{sessions.port}"
    client = RudderClient(
        "wk1", host=host, gzip=is_compressed, on_error=lambda error, _: errors.append(error), max_retries=0
    )
    call_everything(client, visitor)
    assert errors == []
    check_everything(sessions, visitor)


@pytest.mark.parametrize("method", ["post", "get"])
@pytest.mark.parametrize("is_encoded", [True, False])
def test_snowplow(sessions: Sessions, visitor: str, method: Any, is_encoded: bool) -> None:
    """snowplow-tracker sends page views, pings, structured and self-describing events, by POST and as a pixel."""
    failures: list[object] = []
    emitter = Emitter(
        "127.0.0.1",
        protocol="http",
        port=sessions.port,
        method=method,
        on_failure=lambda _, unsent: failures.extend(unsent),
    )
    subject = Subject().set_platform("web").set_domain_user_id(visitor).set_user_id(f"c-{visitor}")
    subject.set_useragent("Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0")
    tracker = Tracker("sp", emitter, subject, app_id="shop", encode_base64=is_encoded)
    tracker.track(PageView("https://shop.example/?utm_source=news", "Home", "https://other.example/"))
    tracker.track(PagePing("https://shop.example/", "Home"))
    tracker.track(StructuredEvent("shop", "share", "label", "property", 2.5))
    ecommerce = "iglu:com.snowplowanalytics.snowplow.ecommerce"
    product = {"id": "p-1", "name": "Monopoly", "category": "Games", "price": 4, "currency": "EUR", "quantity": 2}
    for action in ("product_view", "add_to_cart"):
        schema = f"{ecommerce}/snowplow_ecommerce_action/jsonschema/1-0-2"
        products = [product, product | {"id": "p-2", "price": 1, "quantity": 1}]
        entities = [SelfDescribingJson(f"{ecommerce}/product/jsonschema/1-0-0", each) for each in products]
        event = SelfDescribing(SelfDescribingJson(schema, {"type": action}), context=entities)
        tracker.track(event)
    tracker.flush()
    assert failures == []
    # Each of two products is an event of its own.
    session = sessions.wait(visitor, 7)
    found = session["attributes"]
    assert (session["customer_id"], session["channel"]) == (f"c-{visitor}", "web")
    assert (found["page_views"], found["first_source"], found["active_s"]) == (1, "news", 10)
    assert found["browser"] == "Firefox"
    assert (found["product_views"], found["basket.value"], found["basket.items"]) == (2, 9, 2)


def test_snowplow_batches(sessions: Sessions, visitor: str) -> None:
    """The SDK's own way of making a tracker sends a batch in one request, and asks for no event twice."""
    done: list[int] = []
    configuration = EmitterConfiguration(batch_size=50, on_success=lambda sent: done.append(len(sent)))
    tracker = Snowplow.create_tracker(
        namespace=uuid.uuid4().hex,
        endpoint=f"http://127.0.0.1:{sessions.port}",
        emitter_config=configuration,
        subject=Subject().set_domain_user_id(visitor),
    )
    for number in range(50):
        tracker.track(PageView(f"https://shop.example/{number}"))
    tracker.flush()
    assert sessions.attributes(visitor, 50)["page_views"] == 50
    eventually(lambda: done or None)
    assert sum(done) == 50


def event(visitor: str, number: int, data: object) -> CloudEvent:
    """Return an event."""
    attributes = {
        "id": str(number),
        "source": "/shop",
        "type": "com.example.add_to_cart",
        "specversion": "1.0",
        "subject": visitor,
        "time": datetime.now(UTC),
        "sessionid": f"s-{visitor}",
        "customerid": f"c-{visitor}",
        "datacontenttype": "application/json",
    }
    return CloudEvent(attributes, data)  # type: ignore[arg-type]


def test_cloudevents(sessions: Sessions, visitor: str) -> None:
    """Events of the SDK `cloudevents` in all three modes are events of the session."""
    data = {"item_id": "p-1", "price": 2.5, "quantity": 2}

    def post(message: HTTPMessage) -> None:
        body = message.body if isinstance(message.body, bytes) else str(message.body).encode()
        reply = call(sessions.port, "POST", "/cloudevents", body, dict(message.headers))
        assert reply.status == 200, reply.body

    post(to_binary_event(event(visitor, 1, data)))
    post(to_structured_event(event(visitor, 2, data)))
    bodies = [to_structured_event(event(visitor, number, data)).body for number in (3, 4)]
    batch = json.dumps([json.loads(body) for body in bodies]).encode()
    post(HTTPMessage({"content-type": "application/cloudevents-batch+json"}, batch))
    post(to_binary_event(event(visitor, 4, data)))  # Seen before.
    time.sleep(0.1)
    session = sessions.wait(visitor, 4)
    assert (session["customer_id"], session["alias_ids"]) == (f"c-{visitor}", [f"s-{visitor}"])
    assert session["attributes"]["basket.value"] == 20
