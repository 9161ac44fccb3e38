"""Snowplow's tracker protocol: POST of many events, and the pixel of one.

Source: Snowplow's tracker protocol, version 2 of the collector payload (`tp2`), and the schemas of Iglu Central.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from rte_bridge.problems import Problem, Reason
from rte_collect.names import Rule, Table, add_context, plain_name, renamed
from rte_collect.protocol import Parcel, Raw, Reply, Translated
from rte_collect.requests import Request
from rte_collect.values import base64_of, id_of, json_of, object_of, text_of

POST_PATH = "/com.snowplowanalytics.snowplow/tp2"
PIXEL_PATH = "/i"

PRODUCTS_MAX = 100
"""Products of one event where each becomes an event of its own."""

COPIED_MAX = 10_000
"""Members that the events of all products of one event may have of it together: as many as 100 products and 100 members,
the server's limit unless it is raised."""

PIXEL = bytes.fromhex("47494638396101000100800000ffffff00000021f90401000000002c00000000010001000002024401003b")
"""A transparent GIF of one point: what a page that asks for an image gets."""

_ACTION = "com.snowplowanalytics.snowplow.ecommerce/snowplow_ecommerce_action"
_SESSION = "com.snowplowanalytics.snowplow/client_session"
_SCHEMA = re.compile(r"iglu:([\w.-]+)/([\w.-]+)/[\w.-]+/[\w.-]+\Z")
_SIZE = re.compile(r"([0-9]{1,6})x([0-9]{1,6})\Z")
_NOBODY = "00000000-0000-0000-0000-000000000000"
"""What a tracker that is anonymous writes for ids that it may not have."""

_AGENT_CHARACTERS_MAX = 1024
"""Of a header that goes with each event of a request, into the quarantine, too."""

_TIME_MS_MAX = 4_102_444_800_000
"""The year 2100. The server refuses a request whole for a time of sending that no calendar has."""

_ALL_PURPOSES = ("ad_storage", "analytics_storage", "ad_personalization")
_GIVEN = {"allow_all": True, "implicit_consent": True, "deny_all": False, "withdrawn": False, "expired": False}


class _Batch(msgspec.Struct):
    """A body with several events."""

    data: list[msgspec.Raw]


_decode_batch = msgspec.json.Decoder(_Batch).decode


class Snowplow:
    """Snowplow's trackers."""

    name = "snowplow"

    def __init__(self, table: Table) -> None:
        """Make a collector.

        Raises:
            TableError: The table lacks something.
        """
        self._table = table
        self._structured = table.properties("structured")
        self._consent = dict(table.properties("consent"))
        self._channels: Mapping[str, str] = table.settings.get("channels", {})
        self._page_ping_ms = int(table.settings.get("page_ping_ms", 10_000))
        self._numbers = tuple(table.settings.get("numbers", ()))

    def take_apart(self, request: Request) -> Parcel:
        """Return the events of a body, or the one of a pixel's query."""
        agent = request.headers.get("user-agent", "")[:_AGENT_CHARACTERS_MAX]
        hints = {"user_agent": agent} if agent else {}
        if request.path == PIXEL_PATH:
            return Parcel([_raw(msgspec.json.encode(request.query), hints)], is_batch=True)
        try:
            batch = _decode_batch(request.body)
        except msgspec.ValidationError as error:
            raise Problem(Reason.WRONG_TYPE, f"the body is no payload_data: {error}") from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            json_of(request.body)  # It says what is wrong.
            raise Problem(Reason.MALFORMED, "the JSON text is malformed") from None
        return Parcel([_raw(bytes(each), hints) for each in batch.data], is_batch=True)

    def translate(self, raw: Raw) -> Sequence[Translated]:
        """Return an event; several where products are one each."""
        payload = object_of(raw.document)
        entities = list(self._entities(payload))
        rule, given = self._event(payload)
        properties = renamed(given, rule.properties)
        self._add_entities(properties, entities)
        add_context(properties, payload, self._table)
        channel = self._channels.get(text_of(payload, "p"), "")
        if channel == "web" and "user_agent" not in properties and "user_agent" in raw.hints:
            properties["user_agent"] = raw.hints["user_agent"]
        event = self._identified(payload, entities, properties)
        event.event_id = event.event_id or raw.hints.get("id", "") or secrets.token_hex(16)
        event.name, event.channel, event.properties = rule.name, channel, properties
        found = properties.get(rule.each) if rule.each else None
        items = [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []
        return list(_one_each(event, rule.each, items)) if items else [event]

    def accepted(self, request: Request) -> Reply:
        """Return what Snowplow's collector answers; also for events that were refused, which it sorts out later."""
        if request.path == PIXEL_PATH:
            return Reply(200, PIXEL, "image/gif", (("cache-control", "no-store"),))
        return Reply(200, b"ok", "text/plain")

    def status_of(self, problem: Problem) -> int:  # noqa: ARG002 - the port
        """Return 400 for all: their trackers send again for ever what they get another status for, 413 too."""
        return 400

    def _identified(
        self, payload: Mapping[str, Any], entities: Sequence[tuple[str, dict[str, Any]]], properties: Mapping[str, Any]
    ) -> Translated:
        """Return an event that has its ids and times."""
        session = next((found for name, found in entities if name == _SESSION), {})
        customer = id_of(payload, "uid") or id_of(properties, "user_id")
        client_session = id_of(payload, "sid") or id_of(session, "sessionId")
        ids = (id_of(payload, "duid"), id_of(session, "userId"), id_of(payload, "nuid", "tnuid"), customer)
        visitor = next((each for each in ids if each and each != _NOBODY), client_session)
        if not visitor:
            message = "an event needs duid, nuid, uid or sid, or an entity client_session: whose would it be?"
            raise Problem(Reason.FIELD_MISSING, message, field="duid")
        true_ms = _time_ms(payload, "ttm")
        return Translated(
            event_id=id_of(payload, "eid"),
            name="",
            visitor_id=visitor,
            time_ms=_time_ms(payload, "dtm") if true_ms is None else true_ms,
            # The true time was set by the sender and is by no clock of the device.
            sent_ms=_time_ms(payload, "stm") if true_ms is None else None,
            customer_id=customer,
            client_session_id=client_session,
        )

    def _event(self, payload: Mapping[str, Any]) -> tuple[Rule, dict[str, Any]]:
        """Return what an event is and what is known about it, in Snowplow's words."""
        kind = text_of(payload, "e")
        if kind == "ue":
            return self._self_describing(payload)
        numbers = {name: _number(payload, name) for name in self._numbers if payload.get(name) not in (None, "")}
        if kind == "se":
            action = text_of(payload, "se_ac")
            if not action:
                raise Problem(Reason.FIELD_MISSING, "a structured event needs se_ac", field="se_ac")
            given = {name: value for name, value in payload.items() if name.startswith("se_") and name != "se_ac"}
            rule = self._table.rule(action)
            return Rule(rule.name, self._structured + rule.properties, rule.each), given | numbers
        rule = self._table.rule(f"${kind}")
        if not kind or rule.name == plain_name(kind):
            message = "the type of event must be pv, pp, ue, se, tr or ti"
            raise Problem(Reason.FIELD_MISSING if not kind else Reason.OUT_OF_RANGE, message, field="e", value=kind)
        if kind == "pp":
            return rule, self._page_ping(payload)
        given = {name: value for name, value in payload.items() if name.startswith(f"{kind}_")}
        return rule, given | numbers

    def _page_ping(self, payload: Mapping[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = {"engagement_time_msec": self._page_ping_ms}
        page, window = (_SIZE.match(str(payload.get(name, ""))) for name in ("ds", "vp"))
        deepest = str(payload.get("pp_may", ""))
        if page and window and deepest.isdigit() and int(page[2]):
            found["percent_scrolled"] = min(100, round(100 * (int(deepest) + int(window[2])) / int(page[2])))
        return found

    def _self_describing(self, payload: Mapping[str, Any]) -> tuple[Rule, dict[str, Any]]:
        outer = _json_member(payload, "ue_pr", "ue_px")
        if not isinstance(outer, dict) or not isinstance(outer.get("data"), dict):
            raise Problem(Reason.FIELD_MISSING, "a self-describing event needs ue_pr or ue_px with data", field="ue_pr")
        schema, found = _described(outer["data"], "ue_pr.data")
        if schema == _ACTION:
            return self._table.rule(f"action {text_of(found, 'type')}"), found
        rule = self._table.known(schema) or self._table.rule(schema.partition("/")[2])
        if rule.name == "consent_update":
            return rule, self._consent_answers(found)
        if isinstance(found.get("terms"), list):
            found["terms"] = " ".join(str(each) for each in found["terms"])
        return rule, found

    def _consent_answers(self, found: dict[str, Any]) -> dict[str, Any]:
        kind = text_of(found, "eventType")
        if kind in _GIVEN:
            return dict.fromkeys(_ALL_PURPOSES, "granted" if _GIVEN[kind] else "denied")
        scopes = found.get("consentScopes")
        given = {self._consent.get(str(each), str(each)) for each in scopes} if isinstance(scopes, list) else set()
        return {each: "granted" if each in given else "denied" for each in (*_ALL_PURPOSES, *sorted(given))}

    def _entities(self, payload: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
        outer = _json_member(payload, "co", "cx")
        if outer is None:
            return
        if not isinstance(outer, dict) or not isinstance(outer.get("data"), list):
            raise Problem(Reason.WRONG_TYPE, "contexts must hold a list as data", field="co")
        for each in outer["data"]:
            yield _described(each, "co.data")

    def _add_entities(self, out: dict[str, Any], entities: Sequence[tuple[str, dict[str, Any]]]) -> None:
        for schema, found in entities:
            rule = self._table.lists.get(schema)
            if rule is None:
                continue
            members = renamed(found, rule.properties)
            if rule.name:
                held = out.get(rule.name)
                out[rule.name] = [*held, members] if isinstance(held, list) else [members]
            else:
                for name, value in members.items():
                    out.setdefault(name, value)


def _raw(document: bytes, hints: Mapping[str, str]) -> Raw:
    """Return an event as it came, with an id in case it has none: one that comes again from the quarantine is the same."""
    return Raw(document, {**hints, "id": secrets.token_hex(16)})


def _one_each(event: Translated, name: str, items: Sequence[dict[str, Any]]) -> Iterator[Translated]:
    """Yield an event per item, the item's members its own."""
    rest = {key: value for key, value in event.properties.items() if key != name}
    for found, limit in ((len(items), PRODUCTS_MAX), (len(items) * len(rest), COPIED_MAX)):
        if found > limit:
            message = "the event has too many products, or too many other members that each product gets"
            raise Problem(Reason.OUT_OF_RANGE, message, field=name, value=str(found), limit=str(limit))
    for number, item in enumerate(items):
        yield Translated(
            event_id=event.event_id if len(items) == 1 else f"{event.event_id}-{number}",
            name=event.name,
            visitor_id=event.visitor_id,
            time_ms=event.time_ms,
            sent_ms=event.sent_ms,
            customer_id=event.customer_id,
            client_session_id=event.client_session_id,
            channel=event.channel,
            properties=rest | item,
        )


def _described(found: Any, where: str) -> tuple[str, dict[str, Any]]:
    """Return the vendor and name of a self-describing JSON, and what it holds.

    Raises:
        Problem: It is none.
    """
    if not isinstance(found, dict) or not isinstance(found.get("data"), dict):
        raise Problem(Reason.WRONG_TYPE, "expected a schema and an object as data", field=where)
    schema = text_of(found, "schema")
    match = _SCHEMA.match(schema)
    if match is None:
        message = "a schema has the form iglu:vendor/name/jsonschema/1-0-0"
        raise Problem(Reason.MALFORMED, message, field=f"{where}.schema", value=schema)
    return f"{match[1]}/{match[2]}", found["data"]


def _json_member(payload: Mapping[str, Any], plain: str, encoded: str) -> Any:
    """Return what a member that holds JSON as a text, or the same as base64, holds; None if there is neither."""
    text = text_of(payload, plain)
    document = text.encode("utf-8", "replace") if text else base64_of(text_of(payload, encoded), encoded)
    return json_of(document) if document else None


def _time_ms(payload: Mapping[str, Any], name: str) -> int | None:
    found = payload.get(name)
    if found is None or found == "":
        return None
    if not str(found).isdecimal() or len(str(found)) > 15:
        raise Problem(Reason.WRONG_TYPE, f"{name} must be milliseconds since 1970", field=name, value=str(found))
    time_ms = int(str(found))
    if time_ms > _TIME_MS_MAX:
        message = f"{name} lies beyond the year 2100"
        raise Problem(Reason.OUT_OF_RANGE, message, field=name, value=str(found), limit=str(_TIME_MS_MAX))
    return time_ms


def _number(payload: Mapping[str, Any], name: str) -> float:
    try:
        return float(payload[name])
    except (TypeError, ValueError):
        raise Problem(Reason.WRONG_TYPE, f"{name} must be a number", field=name, value=str(payload[name])) from None
