"""ExplainSession over real gRPC."""

from __future__ import annotations

import math
from typing import Any

import grpc
import pytest
from google.protobuf import json_format

from rte.v1 import session_service_pb2 as pb
from rte.v1.model_service_pb2 import ListAttributesRequest
from rte.v1.model_service_pb2_grpc import ModelServiceStub
from rte.v1.session_explanation_pb2 import ExplainedEvent, Explanation
from rte.v1.session_service_pb2_grpc import SessionServiceStub
from rte_server.engine.program import Kind
from rte_server.engine.reasons import Reason
from rte_server.service.explain.stories import STORIES
from tests.e2e.calls import call
from tests.service.calls import event, new_visitor, refused, send
from tests.service.explaining import check_evidence
from tests.service.live_server import LiveServer

INVALID = grpc.StatusCode.INVALID_ARGUMENT
NOT_FOUND = grpc.StatusCode.NOT_FOUND


@pytest.fixture
def sessions(channel: grpc.Channel) -> SessionServiceStub:
    """The service."""
    return SessionServiceStub(channel)


@pytest.fixture
def visitor(channel: grpc.Channel) -> str:
    """A visitor who has looked, searched and filled a basket."""
    visitor_id = new_visitor()
    item = {"item_id": "x", "item_category": "shoes", "price": 5.0}
    send(
        channel,
        event(visitor_id, "page_view", event_id="1", properties={"page_location": "/a", "page_referrer": ""}),
        event(visitor_id, "view_item", event_id="2", properties=item),
        event(new_visitor(), "view_item", properties=item),
        event(visitor_id, "add_to_cart", event_id="3", properties={**item, "quantity": 2}),
    )
    send(
        channel,
        event(visitor_id, "add_to_cart", event_id="4", properties={"item_id": "y", "price": "dear"}),
        event(visitor_id, "add_to_cart", event_id="3", properties=item),
        event(visitor_id, "view_item", event_id="5", properties={**item, "price": 7.5}),
        event(
            visitor_id,
            "page_view",
            event_id="6",
            properties={"page_location": "/b", "page_referrer": "https://s.example"},
        ),
        event(visitor_id, "search", event_id="7", properties={"search_term": "boots"}),
    )
    return visitor_id


def explain(sessions: SessionServiceStub, visitor_id: str, attribute: str, **fields: Any) -> Explanation:
    """Return the explanation of an attribute of a visitor's session."""
    request = pb.ExplainSessionRequest(visitor_id=visitor_id, attribute=attribute, **fields)
    return sessions.ExplainSession(request, timeout=60).explanation


def outcomes(explanation: Explanation) -> dict[str, str]:
    """Return the outcomes of the events by their ids; of two with one id, the newer one."""
    found: dict[str, str] = {}
    for each in explanation.events.events:
        found.setdefault(each.event_id, ExplainedEvent.Outcome.Name(each.outcome).removeprefix("OUTCOME_"))
    return found


def test_a_sum_is_its_contributions(sessions: SessionServiceStub, visitor: str) -> None:
    """A sum says what each event gave, which gave nothing and why, and where it is defined."""
    found = explain(sessions, visitor, "added_value")
    assert (found.value.number_value, found.attribute.kind, found.attribute.unit) == (10.0, "sum", "currency")
    assert (found.attribute.model, found.model_version) == ("basket", 4)
    assert found.definition.source.startswith("added_value:\n  sum: ")
    assert found.definition.line > 10
    by_id = {(each.event_id, each.outcome): each for each in found.events.events}
    taken = by_id["3", ExplainedEvent.OUTCOME_CONTRIBUTED]
    assert taken.contribution.number_value == 10.0
    assert json_format.MessageToDict(taken.properties) == {"price": 5.0, "quantity": 2.0}
    assert by_id["3", ExplainedEvent.OUTCOME_DUPLICATE].position > taken.position
    nothing = by_id["4", ExplainedEvent.OUTCOME_NO_VALUE]
    assert 'is "dear", and only numbers from' in nothing.reason
    counts = found.events.counts
    assert (counts.contributed, counts.no_value, counts.duplicate, counts.filtered_out) == (1, 1, 1, 0)
    assert found.events.other_event_count == 5
    assert found.events.complete and not found.events.incomplete_reason
    assert found.events.refolded_value == found.value and not found.events.difference
    assert sum(each.contribution.number_value for each in found.events.events) == found.value.number_value
    assert found.summary.startswith("`added_value` is 10: 1 of 3 `add_to_cart` events stands behind it")


def test_items_of_a_list_and_an_event_that_is_one_item(
    channel: grpc.Channel, sessions: SessionServiceStub, visitor: str
) -> None:
    """An event with a list gives what its elements give together, beside events that are one item themselves."""
    items = [{"item_id": "z", "price": 3.0, "quantity": 2.0}, {"item_id": "w", "price": 1.0}]
    send(channel, event(visitor, "add_to_cart", event_id="8", properties={"items": items, "price": 100.0}))
    found = explain(sessions, visitor, "added_value")
    assert found.value.number_value == 17.0
    by_id = {each.event_id: each for each in found.events.events if each.outcome == ExplainedEvent.OUTCOME_CONTRIBUTED}
    assert {key: each.contribution.number_value for key, each in by_id.items()} == {"3": 10.0, "8": 7.0}
    shown = json_format.MessageToDict(by_id["8"].properties)
    assert shown["items"] == items
    assert found.events.complete and not found.events.difference


def test_a_condition_is_shown_with_its_values(sessions: SessionServiceStub, visitor: str) -> None:
    """An event that `where` left out shows the condition with what the event has."""
    found = explain(sessions, visitor, "entry_referrer")
    assert found.value.string_value == "https://s.example"
    assert outcomes(found) == {"6": "CONTRIBUTED", "1": "FILTERED_OUT"}
    left_out = found.events.events[1]
    assert left_out.condition.text.startswith('event.page_referrer != "" && url.host(event.page_referrer)')
    assert left_out.condition.value.bool_value is False
    empty = left_out.condition.parts[0]
    assert (empty.decides, empty.parts[0].input) == (True, "event.page_referrer")
    assert empty.parts[0].value.string_value == ""
    assert "page_referrer" in left_out.reason


def test_a_repeated_value_names_the_newest(sessions: SessionServiceStub, visitor: str) -> None:
    """Of several events that give the same value, the newest stands behind it and says that others do, too."""
    for name in ("viewed_products", "distinct_items", "last_item"):
        assert outcomes(explain(sessions, visitor, name)) == {"5": "REDUNDANT", "2": "WITHOUT_EFFECT"}, name
    assert outcomes(explain(sessions, visitor, "max_viewed_price")) == {"5": "CONTRIBUTED", "2": "WITHOUT_EFFECT"}
    found = explain(sessions, visitor, "viewed_products", contributed_only=True)
    assert outcomes(found) == {"5": "REDUNDANT"}
    assert found.events.counts.without_effect == 1


def test_a_rule_says_because_of_what(sessions: SessionServiceStub, visitor: str) -> None:
    """A derived attribute shows its rule with values, through the attributes that are derived themselves."""
    found = explain(sessions, visitor, "open_basket_value")
    assert found.value.number_value == 10.0
    assert found.rule.text == "basket_changes > 18 && purchases == 0 ? null : basket.value"
    condition, value = found.rule.parts
    assert (condition.text, condition.value.bool_value, condition.decides) == (
        "basket_changes > 18 && purchases == 0",
        False,
        True,
    )
    assert (value.input, value.value.number_value, value.decides) == ("basket.value", 10.0, True)
    assert "`basket_changes > 18` is false (`basket_changes` = 2)" in found.summary
    state = explain(sessions, visitor, "abandonment_state")
    derived = state.rule.parts[0].parts[0]
    assert (derived.input, derived.value.bool_value) == ("has_open_basket", True)
    assert derived.parts[0].text.startswith("basket.items > 0 || ")
    bounced = explain(sessions, visitor, "bounced")
    assert bounced.summary == (
        "`bounced` is false: `engaged` is true because `page_views >= 2` is true (`page_views` = 2)"
    )
    without = explain(sessions, visitor, "mean_order_value")
    assert not without.HasField("value")
    assert without.summary == "`mean_order_value` has no value: `purchases > 0` is false (`purchases` = 0)"


def test_a_linear_score_adds_up(sessions: SessionServiceStub, visitor: str) -> None:
    """Intercept and contributions add up to what the link function gives the score of."""
    found = explain(sessions, visitor, "purchase_propensity")
    score = found.score
    assert (score.method, score.link, score.base) == ("linear", "logistic", -4.0)
    assert score.base + sum(row.contribution for row in score.inputs) == pytest.approx(score.total, rel=1e-12)
    assert 1 / (1 + math.exp(-score.total)) == pytest.approx(found.value.number_value, rel=1e-12)
    assert [row.name for row in score.inputs][:2] == ["add_to_carts", "new_visitor"]
    assert all(row.contribution == row.weight * row.used for row in score.inputs)


def test_a_written_attribute_shows_its_writes(sessions: SessionServiceStub, visitor: str) -> None:
    """An attribute that an application wrote shows who wrote what when, and which write counts."""
    session_id = sessions.GetSession(pb.GetSessionRequest(visitor_id=visitor)).session.session_id
    for value in ("gold", "silver"):
        update = pb.UpdateSessionRequest(session_id=session_id, attributes={"tier": value, "other": 1})
        sessions.UpdateSession(update)
    found = explain(sessions, visitor, "tier")
    assert (found.attribute.kind, found.value.string_value) == ("written", "silver")
    assert [each.contribution.string_value for each in found.events.events] == ["silver", "gold"]
    assert [each.outcome for each in found.events.events] == [
        ExplainedEvent.OUTCOME_CONTRIBUTED,
        ExplainedEvent.OUTCOME_WITHOUT_EFFECT,
    ]
    assert found.events.complete
    assert "2 times" in found.summary


def test_events_come_in_pages(channel: grpc.Channel, sessions: SessionServiceStub) -> None:
    """The pages of an explanation hold each event once, newest first; a token opens only its own request."""
    visitor_id = new_visitor()
    send(channel, *(event(visitor_id, event_id=str(number)) for number in range(7)))
    request = pb.ExplainSessionRequest(visitor_id=visitor_id, attribute="page_views", page_size=3)
    found: list[str] = []
    while True:
        answer = sessions.ExplainSession(request)
        assert answer.explanation.events.counts.contributed == 7
        found += [each.event_id for each in answer.explanation.events.events]
        if not answer.next_page_token:
            break
        request.page_token = answer.next_page_token
    assert found == [str(number) for number in range(6, -1, -1)]
    request.attribute = "clicks"
    assert refused(sessions.ExplainSession, request) == (INVALID, Reason.INVALID_PAGE_TOKEN, "page_token")


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"attribute": "page_views"}, (INVALID, Reason.FIELD_MISSING, "session_id")),
        ({"visitor_id": "", "attribute": "page_views"}, (INVALID, Reason.FIELD_MISSING, "visitor_id")),
        ({"visitor_id": "KNOWN"}, (INVALID, Reason.FIELD_MISSING, "attribute")),
        ({"visitor_id": "nobody", "attribute": "page_views"}, (NOT_FOUND, Reason.SESSION_NOT_FOUND, "visitor_id")),
        ({"session_id": "0" * 32, "attribute": "page_views"}, (NOT_FOUND, Reason.SESSION_NOT_FOUND, "session_id")),
        ({"visitor_id": "KNOWN", "attribute": "page_view"}, (NOT_FOUND, Reason.ATTRIBUTE_NOT_FOUND, "attribute")),
        ({"visitor_id": "KNOWN", "attribute": "x", "page_size": -1}, (INVALID, Reason.OUT_OF_RANGE, "page_size")),
        (
            {"visitor_id": "KNOWN", "attribute": "x", "min_position": "x"},
            (INVALID, Reason.INVALID_POSITION, "min_position"),
        ),
    ],
)
def test_what_is_wrong_is_refused(
    sessions: SessionServiceStub, visitor: str, fields: dict[str, Any], expected: tuple[object, ...]
) -> None:
    """Missing and wrong arguments are refused with reason and field."""
    known: dict[str, Any] = {name: visitor if value == "KNOWN" else value for name, value in fields.items()}
    assert refused(sessions.ExplainSession, pb.ExplainSessionRequest(**known)) == expected


def test_the_same_answer_over_http(server: LiveServer, sessions: SessionServiceStub, visitor: str) -> None:
    """HTTP/JSON through Envoy gives the same explanation as gRPC, in plain JSON."""
    reply = call(server.http_port, "GET", f"/v1/visitors/{visitor}/session:explain?attribute=added_value")
    assert reply.status == 200, reply.body
    assert reply.json["explanation"]["value"] == 10.0
    assert reply.json["explanation"]["events"]["events"][0]["outcome"].startswith("OUTCOME_")
    native = json_format.MessageToDict(explain(sessions, visitor, "added_value"), preserving_proto_field_name=True)
    assert json_format.ParseDict(reply.json["explanation"], Explanation()) == json_format.ParseDict(
        native, Explanation()
    )
    session_id = native["session_id"]
    rule = call(server.http_port, "GET", f"/v1/sessions/{session_id}:explain?attribute=engaged").json["explanation"][
        "rule"
    ]
    assert (rule["value"], rule["text"].count("||")) == (True, 2)
    missing = call(server.http_port, "GET", f"/v1/sessions/{session_id}:explain?attribute=nothing")
    assert (missing.status, missing.reason, missing.metadata["field"]) == (404, "ATTRIBUTE_NOT_FOUND", "attribute")


def test_every_attribute_has_an_explanation(channel: grpc.Channel, sessions: SessionServiceStub, visitor: str) -> None:
    """Each attribute of the running models says what it is, where it is defined, and what stands behind its value."""
    attributes = ModelServiceStub(channel).ListAttributes(ListAttributesRequest()).attributes
    assert len(attributes) > 40
    values = sessions.GetSession(pb.GetSessionRequest(visitor_id=visitor)).session.attributes.fields
    for attribute in attributes:
        found = explain(sessions, visitor, attribute.name)
        assert found.attribute == attribute
        assert found.definition.line > 0, attribute.name
        assert attribute.name.partition(".")[0] in found.definition.source.splitlines()[0]
        assert found.HasField("value") == (attribute.name in values), attribute.name
        assert ": " in found.summary, found.summary
        check_evidence(found)


def test_every_kind_has_a_story() -> None:
    """No kind of attribute can be added without saying how it is explained."""
    missing = set(Kind) - set(STORIES)
    assert not missing, f"add to service/explain/stories.py: {sorted(kind.name for kind in missing)}"
