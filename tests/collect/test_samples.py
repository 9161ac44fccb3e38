"""Recorded examples of the specifications: each valid one is accepted and means what it says, each other one is refused."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from functools import cache
from typing import Any

import pytest
from cloudevents.core.exceptions import BaseCloudEventException
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

from rte_bridge.problems import Problem
from rte_collect.app import Collectors
from rte_collect.protocol import Raw, Translated
from tests.collect.sessions import Sessions
from tests.e2e.calls import call
from tests.engine.recorded import shared_file

KINDS = {"track", "page", "screen", "identify", "group", "alias"}


@cache
def samples(vendor: str) -> list[dict[str, Any]]:
    """Return the events of a vendor; those of a batch one by one."""
    with gzip.open(shared_file("collector_samples.jsonl.gz"), "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    found: list[dict[str, Any]] = []
    for row in rows:
        if row["vendor"] == vendor:
            found += row["payload"] if row["kind"] == "batch" else [row["payload"]]
    return found


def is_segment_call(sample: dict[str, Any]) -> bool:
    """Say whether a sample is a call by Segment's specification: a known type, somebody, and what the type needs."""
    kind = sample.get("type") or sample.get("action")
    ids = [sample.get(name) for name in ("userId", "user_id", "anonymousId", "anonymous_id")]
    if kind == "alias":
        ids.append(sample.get("previousId"))
    given = [each for each in ids if each is not None]
    return (
        kind in KINDS
        and bool(given)
        and all(isinstance(each, str | int) for each in given)
        and (kind != "track" or bool(sample.get("event")))
        and (kind != "group" or bool(sample.get("groupId")))
    )


def is_cloud_event(sample: dict[str, Any]) -> bool:
    """Say whether the official SDK takes a sample."""
    try:
        JSONFormat().read(CloudEvent, json.dumps({k: v for k, v in sample.items() if v is not None}))
    except (BaseCloudEventException, ValueError, TypeError):
        return False
    return True


def own(sample: dict[str, Any], number: int, visitor: str) -> dict[str, Any]:
    """Return a Segment sample with ids that no other one has, where it has ids."""
    changed = dict(sample, messageId=f"{visitor}-{number}")
    for name in ("userId", "user_id", "anonymousId", "anonymous_id", "previousId"):
        if isinstance(changed.get(name), str):
            changed[name] = f"{visitor}-{number}"
    return changed


def test_segment_samples_one_by_one(sessions: Sessions, visitor: str) -> None:
    """Each valid call makes one event of its visitor's session; each other one is refused with a reason and a field."""
    seen: Counter[bool] = Counter()
    for number, sample in enumerate(samples("segment")):
        changed = own(sample, number, visitor)
        kind = changed.get("type") or changed.get("action")
        path = f"/v1/{kind}" if kind in KINDS else "/v1/track"
        reply = call(sessions.port, "POST", path, changed)
        seen[is_segment_call(sample)] += 1
        if is_segment_call(sample):
            assert reply.status == 200, (sample, reply.body)
            session = sessions.wait(f"{visitor}-{number}", 1)
            if "userId" in sample or "user_id" in sample:
                assert session["customer_id"] == f"{visitor}-{number}"
        else:
            assert reply.status == 400, (sample, reply.body)
            assert reply.reason and reply.metadata["field"], reply.body
    assert seen[True] >= 50 and seen[False] >= 5


def test_segment_samples_in_one_batch(sessions: Sessions, visitor: str) -> None:
    """All samples in one batch: the valid ones count, and the others do not spoil them."""
    all_of = [own(sample, number, visitor) for number, sample in enumerate(samples("segment"))]
    reply = call(sessions.port, "POST", "/v1/batch", {"batch": all_of})
    assert (reply.status, reply.json) == (200, {"success": True})
    for number, sample in enumerate(samples("segment")):
        if is_segment_call(sample):
            sessions.wait(f"{visitor}-{number}", 1)
        else:
            assert sessions.find(f"{visitor}-{number}") is None


def translated(event: str) -> list[Translated]:
    """Return what the samples of a track event become."""
    collector = Collectors.of("", ()).segment
    found = [sample for sample in samples("segment") if sample.get("event") == event]
    assert found
    return [collector.translate(Raw(json.dumps(own(each, 0, "v") | {"userId": "u"}).encode()))[0] for each in found]


EXPECTED: dict[str, tuple[str, dict[str, Any]]] = {
    "Products Searched": ("search", {"search_term": "blue roses"}),
    "Product List Viewed": ("view_item_list", {"item_list_id": "hot_deals_1", "item_category": "Deals"}),
    "Promotion Viewed": ("view_promotion", {"promotion_id": "promo_1", "creative_name": "top_banner_2"}),
    "Promotion Clicked": ("select_promotion", {"promotion_name": "75% store-wide shoe sale"}),
    "Product Clicked": ("select_item", {"item_id": "507f1f77bcf86cd799439011", "item_brand": "Hasbro"}),
    "Product Viewed": ("view_item", {"item_category": "Games", "price": 18.99, "currency": "usd"}),
    "Product Added": ("add_to_cart", {"item_name": "Monopoly: 3rd Edition", "quantity": 1, "coupon": "MAYDEALS"}),
    "Product Removed": ("remove_from_cart", {"item_variant": "200 pieces"}),
    "Checkout Started": ("begin_checkout", {"transaction_id": "50314b8e9bcf000000000000", "value": 30}),
    "Order Completed": ("purchase", {"transaction_id": "50314b8e9bcf000000000000", "value": 22.5, "currency": "USD"}),
    "Order Refunded": ("refund", {"value": 30}),
    "Application Opened": ("app_open", {"page_location": "url://location"}),
    "Video Playback Started": ("video_start", {}),
    "Email Opened": ("email_opened", {"campaign_id": "123"}),
}


@pytest.mark.parametrize("event", EXPECTED)
def test_segment_names(event: str) -> None:
    """What the specification calls an event and its properties, RTE calls as GA4 does."""
    name, properties = EXPECTED[event]
    for found in translated(event):
        assert found.name == name
        assert {key: found.properties[key] for key in properties} == properties


def test_segment_products_become_items() -> None:
    """Products of an order are items, with the names that items have."""
    (found, *_) = translated("Order Completed")
    assert "products" not in found.properties
    assert found.properties["items"][0]["item_id"] == "507f1f77bcf86cd799439011"
    assert found.properties["items"][0]["item_name"] == "Monopoly: 3rd Edition"


def test_cloudevents_samples_one_by_one(sessions: Sessions, visitor: str) -> None:
    """Each valid event makes one event; what the official SDK refuses, too, is refused with a reason."""
    seen: Counter[bool] = Counter()
    headers = {"content-type": "application/cloudevents+json"}
    for number, sample in enumerate(samples("cloudevents")):
        changed = sample | {"visitorid": f"{visitor}-{number}"}
        reply = call(sessions.port, "POST", "/cloudevents", json.dumps(changed).encode(), headers)
        seen[is_cloud_event(sample)] += 1
        if is_cloud_event(sample):
            assert reply.status == 200, (sample, reply.body)
            sessions.wait(f"{visitor}-{number}", 1)
        else:
            assert (reply.status, reply.metadata["field"]) == (400, "data_base64"), (sample, reply.body)
        as_it_is = call(sessions.port, "POST", "/cloudevents", json.dumps(sample).encode(), headers)
        assert as_it_is.status == reply.status
    assert seen[True] > 15


def test_cloudevents_samples_in_one_batch(sessions: Sessions, visitor: str) -> None:
    """All samples in one batch: the valid ones count."""
    batch = [
        each | {"visitorid": visitor, "source": f"/{visitor}/{n}"} for n, each in enumerate(samples("cloudevents"))
    ]
    for each in batch:  # The times of the examples are years apart, which would be many sessions.
        each.pop("time", None)
    headers = {"content-type": "application/cloudevents-batch+json"}
    assert call(sessions.port, "POST", "/cloudevents", json.dumps(batch).encode(), headers).status == 200
    sessions.wait(visitor, sum(map(is_cloud_event, samples("cloudevents"))))


def test_cloudevents_names() -> None:
    """An order that was placed is a purchase of that customer; other types keep their name without the domain."""
    collector = Collectors.of("", ()).cloudevents
    found: dict[str, Translated] = {}
    for sample in samples("cloudevents"):
        try:
            (event,) = collector.translate(Raw(json.dumps(sample).encode()))
        except Problem:
            continue
        found[sample["type"]] = event
    order = found["com.example.order.placed"]
    assert (order.name, order.customer_id, order.properties["transaction_id"]) == ("purchase", "456", "123")
    assert order.properties["correlationid"] == "txn-abc-123"
    opened = found["com.github.pull_request.opened"]
    assert (opened.name, opened.visitor_id) == ("pull_request_opened", "123")
