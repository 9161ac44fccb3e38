"""CloudEvents over HTTP: binary, structured and batched.

Source: CloudEvents 1.0.2: core, JSON format, HTTP protocol binding.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import unquote_to_bytes

import msgspec

from rte_bridge.problems import Problem, Reason
from rte_collect.names import Table, renamed
from rte_collect.protocol import Parcel, Raw, Reply, Translated
from rte_collect.requests import Request
from rte_collect.values import base64_of, id_of, json_of, object_of, text_of, time_ms_of

PATH = "/cloudevents"

EVENT_ID_BYTES_MAX = 128

_BATCH = "application/cloudevents-batch"
_SINGLE = "application/cloudevents"
_JSON = re.compile(r"(?:application|text)/(?:[\w.-]+\+)?json\Z")
_NAME = re.compile(r"[a-z0-9]+\Z")
_TAKEN = frozenset(("specversion", "id", "type", "time", "data", "data_base64", "datacontenttype", "dataschema"))
"""Attributes that say something of the event itself; the others become properties."""


class CloudEvents:
    """CloudEvents of version 1.0."""

    name = "cloudevents"

    def __init__(self, table: Table) -> None:
        """Make a collector.

        Raises:
            TableError: The table lacks something.
        """
        self._table = table
        self._extensions = table.properties("extensions")
        self._paths = {
            what: [tuple(path.split(".")) for path in table.settings.get(what, ())]
            for what in ("visitor", "customer", "session", "channel")
        }

    def take_apart(self, request: Request) -> Parcel:
        """Return the events of a batch, or the one of the other modes."""
        content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if content_type.startswith(_SINGLE) and not content_type.endswith("+json"):
            message = "of the formats of CloudEvents only JSON is taken"
            raise Problem(Reason.UNSUPPORTED_ENCODING, message, field="content-type", value=content_type)
        if content_type.startswith(_BATCH):
            try:
                found = msgspec.json.decode(request.body, type=list[msgspec.Raw])
            except msgspec.ValidationError:
                raise Problem(Reason.WRONG_TYPE, "a batch must be a JSON array") from None
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                json_of(request.body)  # It says what is wrong.
                raise Problem(Reason.MALFORMED, "the JSON text is malformed") from None
            return Parcel([Raw(bytes(each)) for each in found], is_batch=True)
        if content_type.startswith(_SINGLE):
            return Parcel([Raw(request.body)], is_batch=False)
        return Parcel([Raw(_of_binary(request, content_type))], is_batch=False)

    def translate(self, raw: Raw) -> Sequence[Translated]:
        """Return an event."""
        found = object_of(raw.document)
        if found.get("specversion") != "1.0":
            message = "the specversion must be 1.0"
            value = str(found.get("specversion", ""))
            raise Problem(
                Reason.OUT_OF_RANGE if value else Reason.FIELD_MISSING, message, field="specversion", value=value
            )
        event_id, source, kind = (_required(found, name) for name in ("id", "source", "type"))
        for name in found:
            if name != "data_base64" and not _NAME.match(name):
                message = "names of attributes hold lower-case letters and digits only"
                raise Problem(Reason.UNKNOWN_FIELD, message, field=name[:64])
        found["data"] = content = _data(found)
        rule = self._table.known(kind) or self._table.rule(_without_domain(kind))
        properties = renamed(content, rule.properties) if isinstance(content, dict) else {}
        if content is not None and not isinstance(content, dict):
            properties["data"] = content
        others = {name: value for name, value in found.items() if name not in _TAKEN and value is not None}
        for name, value in renamed(others, self._extensions).items():
            properties.setdefault(name, value)
        event = Translated(
            event_id=_short(f"{source} {event_id}"),
            name=rule.name,
            visitor_id=self._first(found, "visitor"),
            time_ms=time_ms_of(found, "time"),
            customer_id=self._first(found, "customer"),
            client_session_id=self._first(found, "session"),
            channel=self._first(found, "channel"),
            properties=properties,
        )
        return (event,)

    def accepted(self, request: Request) -> Reply:  # noqa: ARG002 - the port
        """Return that the events are taken."""
        return Reply(200, b"{}")

    def status_of(self, problem: Problem) -> int:
        """Return the status of a refusal, as the specification of webhooks has them."""
        return {Reason.UNSUPPORTED_ENCODING: 415, Reason.REQUEST_TOO_LARGE: 413}.get(problem.reason, 400)

    def _first(self, found: Mapping[str, Any], what: str) -> str:
        for path in self._paths[what]:
            holder: Any = found
            for part in path[:-1]:
                holder = holder.get(part) if isinstance(holder, dict) else None
            if isinstance(holder, dict):
                value = holder.get(path[-1])
                if isinstance(value, str | int) and not isinstance(value, bool) and value != "":
                    return id_of(holder, path[-1])
        return ""


def _required(found: Mapping[str, Any], name: str) -> str:
    value = text_of(found, name)
    if not value:
        raise Problem(Reason.FIELD_MISSING, f"an event needs {name}", field=name)
    return value


def _data(found: Mapping[str, Any]) -> Any:
    """Return what an event carries: JSON as it is, other content as a text; None if there is none.

    Raises:
        Problem: It comes twice, or is no base64.
    """
    encoded = found.get("data_base64")
    if encoded is None:
        return found.get("data")
    if found.get("data") is not None:
        raise Problem(Reason.MALFORMED, "data and data_base64 exclude each other", field="data_base64")
    content = base64_of(text_of(found, "data_base64"), "data_base64")
    content_type = text_of(found, "datacontenttype").partition(";")[0].strip().lower()
    if not content_type or _JSON.match(content_type):
        return json_of(content)
    return text_of(found, "data_base64")


def _of_binary(request: Request, content_type: str) -> bytes:
    """Return an event whose attributes are headers in the form of a structured one."""
    found: dict[str, Any] = {
        name.removeprefix("ce-"): unquote_to_bytes(value).decode("utf-8", "replace")
        for name, value in request.headers.items()
        if name.startswith("ce-")
    }
    if content_type:
        found["datacontenttype"] = request.headers["content-type"]
    if not request.body:
        return msgspec.json.encode(found)
    if not content_type or _JSON.match(content_type):
        json_of(request.body)
        found["data"] = msgspec.Raw(request.body)
    elif content_type.startswith("text/") or content_type.endswith("xml"):
        found["data"] = request.body.decode("utf-8", "replace")
    else:
        return msgspec.json.encode({**found, "data_base64": request.body})
    return msgspec.json.encode(found)


def _without_domain(kind: str) -> str:
    labels = kind.split(".")
    return ".".join(labels[2:] if len(labels) > 2 else labels)


def _short(event_id: str) -> str:
    """Return an id that the server takes; a long one as its hash."""
    encoded = event_id.encode("utf-8", "replace")
    return event_id if len(encoded) <= EVENT_ID_BYTES_MAX else hashlib.blake2b(encoded, digest_size=32).hexdigest()
