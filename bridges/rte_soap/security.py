"""Who calls: what of a request's headers goes on to the server.

The bridge decides nothing. Headers of HTTP that say who calls become metadata of the gRPC call under the same names; a
UsernameToken of WS-Security becomes the `authorization` header that a caller of HTTP would send.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

from lxml import etree

from rte_bridge.problems import Problem, Reason
from rte_soap.contract import CALL_OPTIONS, new_message
from rte_soap.envelope import Envelope, must_understand
from rte_soap.reader import Reader, text_of
from rte_soap.scalars import read_timestamp
from rte_soap.schema import OPTIONS_ELEMENT, Schema

FORWARDED_HEADERS = (
    "authorization",
    "x-api-key",
    "x-forwarded-for",
    "x-forwarded-client-cert",
    "traceparent",
    "tracestate",
)
"""Headers that become metadata, with their values as they are."""

TIMEOUT_S_MAX = 600.0
"""As long as the server may take for a call that folds history."""

CLOCK_DIFFERENCE_MAX = timedelta(minutes=5)
"""How far the clock of a caller may be off when a wsu:Timestamp is looked at."""

_WSS = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-"
_WSSE = f"{_WSS}wssecurity-secext-1.0.xsd"
_WSU = f"{_WSS}wssecurity-utility-1.0.xsd"
_PASSWORD_TEXT = f"{_WSS}username-token-profile-1.0#PasswordText"
_SECURITY = f"{{{_WSSE}}}Security"

_PRINTABLE = re.compile(r"[\x20-\x7e]{0,8192}\Z")
_REQUEST_ID = re.compile(r"[\x21-\x7e]{1,128}\Z")
_GRPC_TIMEOUT = re.compile(r"([0-9]{1,8})([HMSmun])\Z")
_UNIT_S = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}


class NotUnderstood(Problem):
    """A header block that must be understood is not.

    Attributes:
        tag: Its name, as lxml writes it.
    """

    def __init__(self, tag: str) -> None:
        name = etree.QName(tag)
        super().__init__(
            Reason.NOT_UNDERSTOOD,
            f"the header block {name.localname[:64]} is not understood",
            value=name.namespace or "",
        )
        self.tag = tag


@dataclass(frozen=True, slots=True)
class Caller:
    """What goes on to the server beside the request.

    Attributes:
        metadata: Of the gRPC call.
        timeout_s: How long the call may take, seconds, > 0.
        request_id: Identifies the call; may be empty.
    """

    metadata: tuple[tuple[str, str], ...]
    timeout_s: float
    request_id: str


def caller_of(
    envelope: Envelope, headers: Mapping[str, str], schema: Schema, reader: Reader, *, passwords_allowed: bool
) -> Caller:
    """Return what the headers of HTTP and of the envelope say about the caller.

    Args:
        envelope: Of the request.
        headers: Of HTTP, by lower-case name.
        schema: The types.
        reader: Reads the block CallOptions.
        passwords_allowed: Whether a password may come in the envelope: the connection is safe.

    Raises:
        Problem: A block must be understood and is not, the credentials cannot be used, or a value is wrong.
    """
    metadata = {name: _printable(name, headers[name]) for name in FORWARDED_HEADERS if name in headers}
    timeout_s = _timeout_s(headers.get("grpc-timeout", ""))
    request_id = headers.get("x-request-id", "")
    for block in envelope.blocks:
        if block.tag == _SECURITY:
            authorization = _authorization(block, passwords_allowed=passwords_allowed)
            if authorization and metadata.setdefault("authorization", authorization) != authorization:
                raise _refused("credentials stand in the HTTP header and in the envelope; give one of them")
        elif block.tag == schema.tag(OPTIONS_ELEMENT):
            options = new_message(schema.contract.message(CALL_OPTIONS))
            _without_envelope_attributes(block, envelope)
            reader.read(block, options)
            timeout_s = min(timeout_s, _given_timeout_s(options))
            request_id = options.request_id or request_id
        elif must_understand(block, envelope.version):
            raise NotUnderstood(str(block.tag))
    if request_id:
        if not _REQUEST_ID.match(request_id):
            message = "expected 1 to 128 printable ASCII characters"
            raise Problem(Reason.OUT_OF_RANGE, message, field="request_id", value=request_id, limit="128")
        metadata["x-request-id"] = request_id
    return Caller(tuple(metadata.items()), timeout_s, request_id)


def _printable(name: str, value: str) -> str:
    if not _PRINTABLE.match(value):
        raise Problem(Reason.MALFORMED, f"the header {name} holds what is not printable ASCII", field=name)
    return value


def _timeout_s(text: str) -> float:
    """Return the deadline that the header of gRPC gives, which callers of HTTP may use, too."""
    if not text:
        return TIMEOUT_S_MAX
    match = _GRPC_TIMEOUT.match(text)
    if match is None or not int(match[1]):
        message = "expected a number and a unit (H, M, S, m, u or n), such as 5S"
        raise Problem(Reason.WRONG_TYPE, message, field="grpc-timeout", value=text)
    return min(TIMEOUT_S_MAX, int(match[1]) * _UNIT_S[match[2]])


def _given_timeout_s(options: Any) -> float:
    if not options.HasField("timeout"):
        return TIMEOUT_S_MAX
    timeout_s = float(options.timeout.seconds + options.timeout.nanos / 1e9)
    if timeout_s <= 0:
        raise Problem(Reason.OUT_OF_RANGE, "expected a duration above zero", field="timeout", limit="> 0")
    return timeout_s


def _without_envelope_attributes(block: etree._Element, envelope: Envelope) -> None:
    """Take off what SOAP itself writes to a header block, so that it reads as any message."""
    for name in list(block.attrib):
        if etree.QName(name).namespace == envelope.version.namespace:
            del block.attrib[name]


def _refused(message: str) -> Problem:
    return Problem(Reason.CREDENTIALS_REFUSED, message)


def _authorization(security: etree._Element, *, passwords_allowed: bool) -> str:
    """Return the `authorization` header that a wsse:Security block stands for; empty if it holds no token.

    Raises:
        Problem: CREDENTIALS_REFUSED. Signatures, encryption and other tokens are refused, never ignored.
    """
    tokens = []
    for child in security:
        if child.tag == f"{{{_WSU}}}Timestamp":
            _check_time(child)
        elif child.tag == f"{{{_WSSE}}}UsernameToken":
            tokens.append(child)
        else:
            raise _refused("of WS-Security only one UsernameToken and a Timestamp are taken")
    if len(tokens) > 1:
        raise _refused("more than one UsernameToken is given")
    if not tokens:
        return ""
    if not passwords_allowed:
        raise _refused("a UsernameToken is taken over TLS only")
    return _basic(tokens[0])


def _basic(token: etree._Element) -> str:
    parts = {str(child.tag): child for child in token}
    name, password = parts.pop(f"{{{_WSSE}}}Username", None), parts.pop(f"{{{_WSSE}}}Password", None)
    # Many clients send a nonce and a time with plain passwords, too; over TLS they add nothing.
    if set(parts) - {f"{{{_WSSE}}}Nonce", f"{{{_WSU}}}Created"} or len(token) != len({child.tag for child in token}):
        raise _refused("a UsernameToken holds Username and Password once, and nothing else")
    if name is None or password is None:
        raise _refused("a UsernameToken must hold Username and Password")
    if password.get("Type", _PASSWORD_TEXT) != _PASSWORD_TEXT:
        raise _refused("passwords are taken as PasswordText only; a digest would need the password in clear here")
    user = text_of(name)
    if not user or ":" in user:
        raise _refused("the Username is empty or holds a colon")
    return "Basic " + base64.b64encode(f"{user}:{text_of(password)}".encode()).decode("ascii")


def _check_time(timestamp: etree._Element) -> None:
    """Raise a Problem if a wsu:Timestamp says that the message is too old, or comes from the future."""
    now = datetime.now(UTC)
    for child in timestamp:
        moment = SimpleNamespace(seconds=0, nanos=0, SetInParent=lambda: None)
        try:
            read_timestamp(text_of(child), moment)
        except Problem:
            raise _refused("the times of the Timestamp must be UTC, such as 2026-11-23T10:00:00Z") from None
        difference = datetime.fromtimestamp(moment.seconds, UTC) - now
        if child.tag == f"{{{_WSU}}}Expires" and difference < -CLOCK_DIFFERENCE_MAX:
            raise _refused("the Timestamp of the message has expired")
        if child.tag == f"{{{_WSU}}}Created" and difference > CLOCK_DIFFERENCE_MAX:
            raise _refused("the Timestamp of the message lies in the future")
