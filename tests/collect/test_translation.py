"""What one event of a protocol becomes, without a server."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from rte_bridge.problems import Problem, Reason
from rte_collect.app import Collectors
from rte_collect.names import TABLES, Table, TableError, plain_name
from rte_collect.protocol import Raw, Translated
from rte_collect.requests import Request

COLLECTORS = Collectors.of("", ())
SNOWPLOW = "iglu:com.snowplowanalytics.snowplow"


def segment(**call: object) -> Translated:
    """Return what a call of Segment becomes."""
    (found,) = COLLECTORS.segment.translate(Raw(json.dumps({"anonymousId": "v", **call}).encode()))
    return found


def snowplow(hints: dict[str, str] | None = None, /, **payload: Any) -> list[Translated]:
    """Return what an event of Snowplow becomes."""
    return list(COLLECTORS.snowplow.translate(Raw(json.dumps({"duid": "v", **payload}).encode(), hints or {})))


def described(schema: str, data: object, encode: bool = False) -> dict[str, str]:
    """Return the members of a self-describing event."""
    text = json.dumps(
        {"schema": f"{SNOWPLOW}/unstruct_event/jsonschema/1-0-0", "data": {"schema": schema, "data": data}}
    )
    if not encode:
        return {"e": "ue", "ue_pr": text}
    return {"e": "ue", "ue_px": base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")}


def cloud_event(**members: object) -> Translated:
    """Return what a CloudEvent becomes."""
    event = {"specversion": "1.0", "id": "1", "source": "/s", "type": "com.example.shop.viewed", **members}
    (found,) = COLLECTORS.cloudevents.translate(Raw(json.dumps(event).encode()))
    return found


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("Product Added", "product_added"),
        ("productAdded", "product_added"),
        ("Größe  Gewählt!", "größe_gewählt"),
        ("a.b/c", "a_b_c"),
    ],
)
def test_plain_names(name: str, plain: str) -> None:
    """A name that no table has becomes its words in lower case, joined by underscores."""
    assert plain_name(name) == plain


def test_segment_consent() -> None:
    """What a visitor agreed to is told by purposes; a category that the table lacks keeps its name."""
    categories = {"Advertising": False, "Analytics": True, "Own": True}
    found = segment(
        type="track",
        event="Segment Consent Preference Updated",
        context={"consent": {"categoryPreferences": categories}},
    )
    assert found.name == "consent_update"
    assert found.properties == {"ad_storage": "denied", "analytics_storage": "granted", "Own": "granted"}


def test_segment_traits() -> None:
    """Traits that models look for are properties of their own; the others stand together."""
    found = segment(
        type="identify", userId="c", traits={"email": "a@shop.example", "address": {"city": "X"}, "none": None}
    )
    assert (found.name, found.customer_id) == ("login", "c")
    assert found.properties == {
        "user_id": "c",
        "email": "a@shop.example",
        "user_properties": {"address": {"city": "X"}},
    }
    assert segment(type="identify", traits={"a": 1}).name == "user_properties"


def test_rudderstack_differs_a_little() -> None:
    """Traits stand in the context, an empty userId is none, and `$direct` is no referrer."""
    context = {"traits": {"plan": "pro"}, "sessionId": 1795461303725, "page": {"url": "https://s/"}}
    found = segment(type="identify", userId="", context=context, originalTimestamp="2026-11-23T10:00:00.5Z")
    assert (found.name, found.customer_id, found.client_session_id) == ("user_properties", "", "1795461303725")
    assert (found.properties["plan"], found.time_ms) == ("pro", 1795428000500)
    page = segment(type="page", properties={"referrer": "$direct", "url": "https://s/"}, channel="web")
    assert (page.channel, page.properties) == ("web", {"page_location": "https://s/"})


def test_revenue_goes_before_total() -> None:
    """Of several amounts the first one of the table is the value; the others keep their names."""
    found = segment(type="track", event="Order Completed", properties={"total": 3, "revenue": 2})
    assert found.properties == {"value": 2, "total": 3}


@pytest.mark.parametrize("encode", [False, True])
def test_snowplow_self_describing(encode: bool) -> None:
    """Self-describing events come as JSON or as base64; the version of the schema does not matter."""
    members = described(
        f"{SNOWPLOW}/link_click/jsonschema/9-9-9", {"targetUrl": "https://s/", "elementId": "é"}, encode
    )
    (found,) = snowplow(**members)
    assert (found.name, found.properties) == ("click", {"link_url": "https://s/", "target": "é"})


def test_snowplow_page_ping() -> None:
    """A page ping is 10 s in the foreground, and tells how far the visitor scrolled."""
    (found,) = snowplow(e="pp", ds="1000x2000", vp="1000x500", pp_may="1000", url="https://s/")
    assert found.name == "user_engagement"
    assert found.properties == {"engagement_time_msec": 10_000, "percent_scrolled": 75, "page_location": "https://s/"}


def test_snowplow_structured_and_legacy() -> None:
    """Structured events are named by their action; old e-commerce events are a purchase and its lines."""
    (found,) = snowplow(e="se", se_ca="shop", se_ac="Add Note", se_la="l", se_va="2.5")
    assert (found.name, found.properties) == (
        "add_note",
        {"event_category": "shop", "event_label": "l", "event_value": 2.5},
    )
    (order,) = snowplow(e="tr", tr_id="o", tr_tt="9.5", tr_cu="EUR")
    assert (order.name, order.properties) == ("purchase", {"transaction_id": "o", "value": 9.5, "currency": "EUR"})
    (line,) = snowplow(e="ti", ti_id="o", ti_sk="p", ti_pr="9.5", ti_qu="1")
    assert (line.name, line.properties["item_id"], line.properties["price"]) == ("purchase_item", "p", 9.5)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({"eventType": "allow_all"}, {"granted"}),
        ({"eventType": "deny_all"}, {"denied"}),
        ({"eventType": "allow_selected", "consentScopes": ["analytics"]}, {"granted", "denied"}),
    ],
)
def test_snowplow_consent(answer: dict[str, Any], expected: set[str]) -> None:
    """Consent is told for each purpose."""
    (found,) = snowplow(**described(f"{SNOWPLOW}/consent_preferences/jsonschema/1-0-0", answer))
    assert found.name == "consent_update"
    assert {"ad_storage", "analytics_storage", "ad_personalization"} <= set(found.properties)
    assert set(found.properties.values()) == expected
    if len(expected) == 2:
        assert found.properties["analytics_storage"] == "granted"


def test_snowplow_products_are_events_of_their_own() -> None:
    """Each product that is put into the basket is an event, with an id that follows from that of the whole."""
    entities = [
        {"schema": f"{SNOWPLOW}.ecommerce/product/jsonschema/1-0-0", "data": {"id": f"p-{number}", "price": number}}
        for number in (1, 2)
    ]
    action = described(f"{SNOWPLOW}.ecommerce/snowplow_ecommerce_action/jsonschema/1-0-0", {"type": "add_to_cart"})
    contexts = json.dumps({"schema": "iglu:x", "data": entities})
    found = snowplow(**action, co=contexts, eid="e")
    assert [(each.event_id, each.name, each.properties["item_id"]) for each in found] == [
        ("e-0", "add_to_cart", "p-1"),
        ("e-1", "add_to_cart", "p-2"),
    ]
    (alone,) = snowplow(**action, co=json.dumps({"data": entities[:1]}), eid="e")
    assert alone.event_id == "e"


def test_snowplow_visitors() -> None:
    """A tracker that may not name a person names its session; a server names the person."""
    session = {"schema": f"{SNOWPLOW}/client_session/jsonschema/1-0-2"}
    session |= {"data": {"userId": "00000000-0000-0000-0000-000000000000", "sessionId": "s"}}  # type: ignore[dict-item]
    (found,) = snowplow(e="pv", duid=None, co=json.dumps({"data": [session]}))
    assert (found.visitor_id, found.client_session_id) == ("s", "s")
    (found,) = snowplow(e="pv", duid="", uid="c")
    assert (found.visitor_id, found.customer_id) == ("c", "c")
    with pytest.raises(Problem) as refused:
        snowplow(e="pv", duid=None)
    assert refused.value.reason is Reason.FIELD_MISSING


def test_user_agents_of_browsers() -> None:
    """A browser tells what it is in the header; a server's header says nothing of the visitor."""
    assert snowplow({"user_agent": "A"}, e="pv", p="web")[0].properties["user_agent"] == "A"
    assert "user_agent" not in snowplow({"user_agent": "A"}, e="pv", p="srv")[0].properties
    assert snowplow({"user_agent": "A"}, e="pv", p="web", ua="B")[0].properties["user_agent"] == "B"


def test_cloudevents_people() -> None:
    """Who it was is found where the table says: the more it says, the earlier."""
    assert cloud_event().visitor_id == "/s"
    assert cloud_event(sessionid="s", subject="u").visitor_id == "u"
    found = cloud_event(data={"customerId": 7, "visitorId": "v"}, subject="u", sessionid="s")
    assert (found.visitor_id, found.customer_id, found.client_session_id) == ("v", "7", "s")


def test_cloudevents_ids() -> None:
    """An id identifies an event of its source; a long one still does."""
    assert cloud_event().event_id == "/s 1"
    long = cloud_event(source="/" + "s" * 200)
    assert len(long.event_id) <= 128
    assert long.event_id != cloud_event(source="/" + "s" * 201).event_id


@pytest.mark.parametrize(
    ("content_type", "body", "expected"),
    [
        ("application/json", b'{"price": 2}', {"price": 2}),
        ("", b'{"price": 2}', {"price": 2}),
        ("text/plain", "é".encode(), {"data": "é"}),
        ("application/octet-stream", b"\xff", {"data": "/w=="}),
        ("application/json", b"7", {"data": 7}),
        ("application/json", b"", {}),
    ],
)
def test_cloudevents_in_headers(content_type: str, body: bytes, expected: dict[str, Any]) -> None:
    """In binary mode the attributes are headers, percent-encoded, and the body is the data."""
    headers = {
        "ce-specversion": "1.0",
        "ce-id": "1",
        "ce-source": "/s",
        "ce-type": "a",
        "ce-subject": "Euro%20%E2%82%AC",
    }
    request = Request("/cloudevents", "", headers | ({"content-type": content_type} if content_type else {}), body)
    (raw,) = COLLECTORS.cloudevents.take_apart(request).events
    (found,) = COLLECTORS.cloudevents.translate(raw)
    assert found.visitor_id == "Euro €"
    assert {name: value for name, value in found.properties.items() if not name.startswith("event_")} == expected


@pytest.mark.parametrize("name", ["segment", "snowplow", "cloudevents"])
def test_tables_can_be_replaced(tmp_path: Path, name: str) -> None:
    """A directory with a table of a site's own takes the place of the one that ships; the others stay."""
    table = yaml.safe_load((TABLES / f"{name}.yaml").read_text())
    table["events"]["Own Name"] = "page_view"
    (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(table))
    assert Table.load(name, str(tmp_path)).rule("own_name").name == "page_view"
    assert Table.load("segment", str(tmp_path)).rule("Product Added").name == "add_to_cart"


@pytest.mark.parametrize(
    "text", ["events: 7", "evnts: {}", "[]", "events: {a: {properties: x}}", "properties: {a: 7}", "{"]
)
def test_wrong_tables_are_named(tmp_path: Path, text: str) -> None:
    """A table that cannot be used keeps the bridge from starting, with its path."""
    (tmp_path / "segment.yaml").write_text(text)
    with pytest.raises(TableError) as refused:
        Table.load("segment", str(tmp_path))
    assert "segment.yaml" in str(refused.value)
