"""Segment's HTTP tracking API, which RudderStack speaks, too.

Source: Segment's documentation (HTTP API, common fields, tracking calls), and what the SDKs send.
"""

from __future__ import annotations

import hmac
import re
import secrets
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import unquote

import msgspec

from rte_bridge.problems import Problem, Reason
from rte_collect.names import Table, add_context, renamed, with_lists
from rte_collect.protocol import Parcel, Raw, Reply, Translated
from rte_collect.requests import Request
from rte_collect.values import id_of, json_of, mapping_of, object_of, text_of, time_ms_of

KINDS = {
    "t": "track",
    "track": "track",
    "p": "page",
    "page": "page",
    "s": "screen",
    "screen": "screen",
    "i": "identify",
    "identify": "identify",
    "g": "group",
    "group": "group",
    "a": "alias",
    "alias": "alias",
}
"""Last part of a path that takes one event -> the kind of call."""

PATH = re.compile(rf"/(?:beacon/)?v1/(batch|b|{'|'.join(KINDS)})/?\Z")
SETTINGS_PATH = re.compile(r"/v1/projects/([^/]+)/settings/?\Z")
SOURCE_PATH = re.compile(r"/sourceConfig/?\Z")

_TRAITS = ("email", "phone", "device_id", "age", "gender", "plan")
"""Traits that become properties of their own; models look for them there. The others stand in `user_properties`."""


class _Batch(msgspec.Struct):
    """A body with several events, which are decoded one by one, so that a bad one spoils nothing."""

    batch: list[msgspec.Raw]
    writeKey: Any = None  # noqa: N815 - as it comes
    sentAt: Any = None  # noqa: N815


class _Single(msgspec.Struct):
    """What a body with one event says of its sending."""

    writeKey: Any = None  # noqa: N815
    sentAt: Any = None  # noqa: N815


_decode_batch = msgspec.json.Decoder(_Batch).decode
_decode_single = msgspec.json.Decoder(_Single).decode


class Segment:
    """Segment and RudderStack."""

    name = "segment"

    def __init__(self, table: Table, write_keys: Sequence[str]) -> None:
        """Make a collector.

        Args:
            table: Names.
            write_keys: Those that are taken; empty: all, and none is needed.

        Raises:
            TableError: The table lacks something.
        """
        self._table = table
        self._keys = [key.encode() for key in write_keys]
        self._consent = dict(table.properties("consent"))
        self._no_referrers = frozenset(table.settings.get("no_referrers", ()))
        self._channels: Mapping[str, str] = table.settings.get("channels", {})

    def take_apart(self, request: Request) -> Parcel:
        """Return the events of a batch, or the one of a single call."""
        match = PATH.match(request.path)
        kind = KINDS.get(match[1], "") if match else ""
        given = self._opened(request.body, _decode_single if kind else _decode_batch)
        self._check_key(request, given.writeKey)
        try:
            sent_ms = time_ms_of({"sentAt": given.sentAt}, "sentAt")
        except Problem:
            # It only corrects clocks: events whose sender says it wrongly are good without it.
            sent_ms = None
        if isinstance(given, _Batch):
            return Parcel(
                [Raw(bytes(each), {"id": secrets.token_hex(16)}) for each in given.batch],
                is_batch=True,
                sent_ms=sent_ms,
            )
        return Parcel([Raw(request.body, {"kind": kind, "id": secrets.token_hex(16)})], is_batch=False, sent_ms=sent_ms)

    def translate(self, raw: Raw) -> Sequence[Translated]:
        """Return a call as an event."""
        call = object_of(raw.document)
        kind = raw.hints.get("kind") or text_of(call, "type") or text_of(call, "action")
        visitor, customer = self._people(call, kind)
        context = mapping_of(call, "context")
        properties = with_lists(mapping_of(call, "properties"), self._table)
        traits = {**mapping_of(context, "traits"), **mapping_of(call, "traits")}
        name = self._name(call, kind, customer, properties, traits)
        rule = self._table.rule(name)
        out = renamed(properties, rule.properties)
        self._add_traits(out, kind, traits, customer)
        add_context(out, context, self._table)
        if out.get("page_referrer") in self._no_referrers:
            del out["page_referrer"]
        if rule.name == "consent_update":
            self._add_consent(out, context)
        event = Translated(
            event_id=id_of(call, "messageId", "message_id") or raw.hints.get("id", "") or secrets.token_hex(16),
            name=rule.name,
            visitor_id=visitor,
            time_ms=time_ms_of(call, "timestamp", "originalTimestamp", "original_timestamp"),
            sent_ms=time_ms_of(call, "sentAt"),
            customer_id=customer,
            client_session_id=id_of(context, "sessionId"),
            channel=self._channel(call, context),
            properties=out,
        )
        return (event,)

    def accepted(self, request: Request) -> Reply:  # noqa: ARG002 - the port
        """Return what Segment answers."""
        return Reply(200, b'{"success":true}')

    def status_of(self, problem: Problem) -> int:
        """Return the status of a refusal: their SDKs drop what they got it for."""
        return {Reason.CREDENTIALS_REFUSED: 401, Reason.REQUEST_TOO_LARGE: 413}.get(problem.reason, 400)

    def settings(self, request: Request) -> Reply:
        """Return what Segment's browser SDK asks for before it sends: no destination but this.

        Raises:
            Problem: CREDENTIALS_REFUSED.
        """
        match = SETTINGS_PATH.match(request.path)
        key = unquote(match[1]) if match else ""
        self._check_key(request, key)
        own = {
            "apiKey": key,
            "unbundledIntegrations": [],
            "addBundledMetadata": True,
            "versionSettings": {"version": "4.4.7", "componentTypes": ["browser"]},
        }
        settings = {
            "integrations": {"Segment.io": own},
            "plan": {"track": {"__default": {"enabled": True, "integrations": {}}}},
            "edgeFunction": {},
            "analyticsNextEnabled": True,
            "middlewareSettings": {},
            "enabledMiddleware": {},
            "metrics": {"sampleRate": 0},
            "remotePlugins": [],
        }
        return Reply(200, msgspec.json.encode(settings))

    def source(self, request: Request) -> Reply:
        """Return what RudderStack's browser SDK asks for before it sends.

        Raises:
            Problem: CREDENTIALS_REFUSED.
        """
        key = request.query.get("writeKey", "") or request.basic_user
        self._check_key(request, key)
        off = {"enabled": False}
        source = {
            "id": "rte",
            "name": "rte",
            "writeKey": key,
            "enabled": True,
            "config": {"statsCollection": {"errors": off, "metrics": off}},
            "destinations": [],
            "connections": [],
            "dataplanes": {},
            "workspaceId": "rte",
            "sourceDefinitionId": "rte",
            "updatedAt": "2026-01-01T00:00:00Z",
        }
        return Reply(200, msgspec.json.encode({"source": source, "updatedAt": "2026-01-01T00:00:00Z"}))

    def _opened(self, body: bytes, decode: Any) -> Any:
        try:
            return decode(body)
        except msgspec.ValidationError as error:
            raise Problem(Reason.WRONG_TYPE, f"the body is no call of Segment's API: {error}") from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            json_of(body)  # It says what is wrong.
            raise Problem(Reason.MALFORMED, "the JSON text is malformed") from None

    def _check_key(self, request: Request, in_body: object) -> None:
        """Raise a Problem unless a key that is taken is given: by Basic authorization, in the body, or in the query."""
        if not self._keys:
            return
        given = [request.basic_user, request.query.get("writeKey", ""), in_body if isinstance(in_body, str) else ""]
        matches = [hmac.compare_digest(key, each.encode()) for key in self._keys for each in given]
        if not any(matches):
            raise Problem(Reason.CREDENTIALS_REFUSED, "the write key is missing or is none of this server's")

    def _people(self, call: Mapping[str, Any], kind: str) -> tuple[str, str]:
        """Return the visitor and the customer. A server often knows no device: then the person stands for it."""
        customer = id_of(call, "userId", "user_id")
        visitor = id_of(call, "anonymousId", "anonymous_id")
        if kind == "alias":
            visitor = id_of(call, "previousId", "previous_id") or visitor
        if not visitor and not customer:
            message = "a call needs an anonymousId or a userId"
            raise Problem(Reason.FIELD_MISSING, message, field="anonymousId")
        return visitor or customer, customer

    def _name(
        self,
        call: Mapping[str, Any],
        kind: str,
        customer: str,
        properties: dict[str, Any],
        traits: Mapping[str, Any],
    ) -> str:
        """Return the name to look up; what stands beside the properties is added to them."""
        if kind == "track":
            event = text_of(call, "event")
            if not event.strip():
                raise Problem(Reason.FIELD_MISSING, "a track call needs an event", field="event")
            return event
        if kind in ("page", "screen"):
            for member in ("name", "category"):
                if call.get(member) is not None:
                    properties.setdefault(member, text_of(call, member))
        elif kind == "group":
            properties["groupId"] = id_of(call, "groupId", "group_id")
            if not properties["groupId"]:
                raise Problem(Reason.FIELD_MISSING, "a group call needs a groupId", field="groupId")
            properties["group_properties"] = dict(traits)
        elif kind == "identify":
            return "$identify" if customer else "$identify_anonymous"
        elif kind != "alias":
            message = "the type must be track, page, screen, identify, group or alias"
            raise Problem(Reason.FIELD_MISSING if not kind else Reason.OUT_OF_RANGE, message, field="type", value=kind)
        return f"${kind}"

    def _add_traits(self, out: dict[str, Any], kind: str, traits: Mapping[str, Any], customer: str) -> None:
        if kind != "identify":
            return
        if customer:
            out["user_id"] = customer
        rest = {}
        for name, value in traits.items():
            if name in _TRAITS and isinstance(value, str | int | float):
                out.setdefault(name, value)
            elif value is not None:
                rest[name] = value
        if rest:
            out["user_properties"] = rest

    def _add_consent(self, out: dict[str, Any], context: Mapping[str, Any]) -> None:
        answers = mapping_of(mapping_of(context, "consent"), "categoryPreferences")
        for category, is_given in answers.items():
            out[self._consent.get(category, category)] = "granted" if is_given is True else "denied"

    def _channel(self, call: Mapping[str, Any], context: Mapping[str, Any]) -> str:
        library = context.get("library")
        of_library = library.get("name") if isinstance(library, dict) else None
        for found in (call.get("channel"), of_library):
            if isinstance(found, str) and found in self._channels:
                return str(self._channels[found])
        found = call.get("channel")
        return found if isinstance(found, str) else ""
