"""Segment's official SDKs, unmodified: what they are told to send is in the session."""

from __future__ import annotations

from segment.analytics.client import Client

from tests.collect.sessions import Sessions


def test_segment_python(sessions: Sessions, visitor: str) -> None:
    """segment-analytics-python sends all kinds of calls, compressed, in batches."""
    errors: list[object] = []
    client = Client(
        "wk1",
        host=f"http://127.0.0.1:{sessions.port}",
        gzip=True,
        on_error=lambda error, _: errors.append(error),
        max_retries=0,
    )
    known = {"anonymous_id": visitor, "user_id": f"c-{visitor}"}
    client.page(anonymous_id=visitor, name="Home", properties={"url": "https://shop.example/?utm_source=news"})
    client.identify(**known, traits={"plan": "pro", "email": "x@shop.example"})
    client.group(**known, group_id="g1", traits={"name": "Acme"})
    client.screen(**known, name="Start", category="App")
    for number in range(50):
        client.track(**known, event="Product Viewed", properties={"product_id": f"p-{number}", "price": 1.5})
    client.track(**known, event="Product Added", properties={"product_id": "p-1", "price": 1.5, "quantity": 2})
    client.alias(visitor, f"c-{visitor}")
    client.flush()
    client.join()
    assert errors == []
    session = sessions.wait(visitor, 56)
    found = session["attributes"]
    assert (session["customer_id"], session["channel"]) == (f"c-{visitor}", "server")
    assert (found["product_views"], found["basket.value"], found["logins"]) == (50, 3, 1)
    assert (found["page_views"], found["first_source"]) == (1, "news")
