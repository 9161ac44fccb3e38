"""SOAP as the two specifications have it: versions, headers, actions, and who calls."""

from __future__ import annotations

import base64
import gzip
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from lxml import etree

from rte.v1.event_service_pb2 import IngestEventsRequest
from rte.v1.session_pb2 import Session
from rte.v1.session_service_pb2 import GetSessionRequest, ListSessionsResponse
from tests.soap.bridge import ENVELOPE_12, GET, MEDIA_TYPES, Bridge, Call, envelope, running_bridge

WSS = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-"
ACTION = "urn:rte:v1:SessionService:GetSession"


@pytest.fixture
async def bridge() -> AsyncIterator[Bridge]:
    """A bridge with the settings that it has by default."""
    async with running_bridge() as running:
        yield running


def token(password: str = "p&lt;&#228;", kind: str = "PasswordText", more: str = "", name: str = "ann") -> str:
    """Return a UsernameToken."""
    typed = f' Type="{WSS}username-token-profile-1.0#{kind}"' if kind else ""
    return f"<s:UsernameToken><s:Username>{name}</s:Username><s:Password{typed}>{password}</s:Password>{more}</s:UsernameToken>"


def security(*content: str, attributes: str = 'e:mustUnderstand="1"') -> str:
    """Return a wsse:Security block."""
    names = f'xmlns:s="{WSS}wssecurity-secext-1.0.xsd" xmlns:u="{WSS}wssecurity-utility-1.0.xsd"'
    return f"<s:Security {names} {attributes}>{''.join(content)}</s:Security>"


def timestamp(created_s: float = 0, expires_s: float = 300) -> str:
    """Return a wsu:Timestamp, in seconds from now."""
    now = datetime.now(UTC)
    times = [(now + timedelta(seconds=each)).strftime("%Y-%m-%dT%H:%M:%S.%fZ") for each in (created_s, expires_s)]
    return f"<u:Timestamp><u:Created>{times[0]}</u:Created><u:Expires>{times[1]}</u:Expires></u:Timestamp>"


@pytest.mark.parametrize("version", ["1.1", "1.2"])
async def test_an_answer_is_of_the_version_of_the_request(bridge: Bridge, version: str) -> None:
    """A call of a version is answered in that version, with its media type, and reaches the server as a message."""
    reply = await bridge.call(version=version)
    assert reply.status == 200
    assert reply.headers["content-type"] == MEDIA_TYPES[version]
    assert etree.QName(reply.root).namespace == (ENVELOPE_12 if version == "1.2" else reply.root.nsmap["soap"])
    assert GetSessionRequest.FromString(bridge.calls[0].request).visitor_id == "v"


async def test_unknown_envelopes(bridge: Bridge) -> None:
    """An envelope of a version that nobody knows is a VersionMismatch, and in SOAP 1.2 says what is known."""
    for version, name in (("1.1", "faultcode"), ("1.2", "Value")):
        strange = envelope(GET).replace("schemas.xmlsoap.org/soap/envelope/", "example.org/")
        reply = await bridge.post(strange, version)
        assert reply.status == 500
        assert reply.text(name) == "soap:VersionMismatch"
    supported = [each.get("qname", "") for each in reply.root.iter("{*}SupportedEnvelope")]
    assert len(supported) == 2
    prefix = supported[1].partition(":")[0]
    assert list(reply.root.iter("{*}SupportedEnvelope"))[1].nsmap[prefix] == ENVELOPE_12


@pytest.mark.parametrize(
    ("headers", "is_taken"),
    [
        ({}, True),
        ({"soapaction": ""}, True),
        ({"soapaction": '""'}, True),
        ({"soapaction": f'"{ACTION}"'}, True),
        ({"soapaction": ACTION}, True),
        ({"soapaction": '"urn:rte:v1:SessionService:ListSessions"'}, False),
        ({"soapaction": '"http://example.org/GetSession"'}, False),
    ],
)
async def test_soap_action(bridge: Bridge, headers: dict[str, str], is_taken: bool) -> None:
    """The body decides what is called; a SOAPAction may be absent or empty, but never that of something else."""
    reply = await bridge.call(headers=headers)
    assert (reply.status == 200) == is_taken
    assert len(bridge.calls) == int(is_taken)
    assert is_taken or reply.text("field") == "SOAPAction"


@pytest.mark.parametrize(
    ("parameter", "is_taken"),
    [(f'; action="{ACTION}"', True), (f";action={ACTION}", True), ('; action=""', True), ('; action="urn:x"', False)],
)
async def test_action_of_soap_12(bridge: Bridge, parameter: str, is_taken: bool) -> None:
    """In SOAP 1.2 the action stands in the content type, in any spelling; the header of 1.1 says nothing there."""
    headers = {"content-type": "application/soap+xml; charset=utf-8" + parameter, "soapaction": '"other"'}
    reply = await bridge.call(version="1.2", headers=headers)
    assert (reply.status == 200) == is_taken


@pytest.mark.parametrize("version", ["1.1", "1.2"])
async def test_headers_that_must_be_understood(bridge: Bridge, version: str) -> None:
    """An unknown block that must be understood is refused before anything is done; SOAP 1.2 names it."""
    reply = await bridge.call(version=version, blocks='<x:Route xmlns:x="urn:a&amp;b" e:mustUnderstand="1"/>')
    assert reply.status == 500
    assert reply.text("faultcode" if version == "1.1" else "Value") == "soap:MustUnderstand"
    assert reply.text("reason") == "NOT_UNDERSTOOD"
    assert not bridge.calls
    if version == "1.2":
        (block,) = reply.root.iter("{*}NotUnderstood")
        assert (block.get("qname"), block.nsmap["n"]) == ("n:Route", "urn:a&b")


async def test_headers_for_others_and_optional_ones_are_skipped(bridge: Bridge) -> None:
    """A block that need not be understood, or is for somebody else on the way, does not matter."""
    next_11, other = "http://schemas.xmlsoap.org/soap/actor/next", "urn:somebody"
    assert (await bridge.call(blocks='<x:Route xmlns:x="urn:x"/>')).status == 200
    assert (await bridge.call(blocks=f'<Route e:mustUnderstand="1" e:actor="{other}"/>')).status == 200
    assert (await bridge.call(blocks=f'<Route e:mustUnderstand="1" e:actor="{next_11}"/>')).status == 500
    none = f"{ENVELOPE_12}/role/none"
    assert (await bridge.call(version="1.2", blocks=f'<Route e:mustUnderstand="true" e:role="{none}"/>')).status == 200
    receiver = f"{ENVELOPE_12}/role/ultimateReceiver"
    assert (await bridge.call(version="1.2", blocks=f'<R e:mustUnderstand="true" e:role="{receiver}"/>')).status == 500


async def test_headers_of_http_go_on(bridge: Bridge) -> None:
    """What says who calls, and which request it is, reaches the server as metadata; other headers do not."""
    sent = {
        "authorization": "Bearer t0ken",
        "x-api-key": "k",
        "x-request-id": "r-1",
        "traceparent": "00-1-2-01",
        "x-forwarded-for": "192.0.2.1",
    }
    await bridge.call(headers=sent | {"cookie": "c", "x-other": "o"})
    metadata = bridge.calls[0].metadata
    assert {name: metadata.get(name) for name in sent} == sent
    assert not {"cookie", "x-other"} & set(metadata)


async def test_headers_that_grpc_cannot_carry_are_refused(bridge: Bridge) -> None:
    """A credential with control or foreign characters is refused by name, and never shown."""
    reply = await bridge.call(headers={"authorization": "Bearer \xff"})
    assert (reply.text("reason"), reply.text("field"), reply.text("value")) == ("MALFORMED", "authorization", "")
    assert not bridge.calls


async def test_username_token_over_tls(bridge: Bridge) -> None:
    """A UsernameToken over TLS is what HTTP Basic would be, also with a nonce and a Timestamp beside it."""
    extras = "<s:Nonce>bm9uY2U=</s:Nonce><u:Created>2026-11-23T10:00:00Z</u:Created>"
    for block in (security(token()), security(timestamp(), token(more=extras)), security(token(kind=""))):
        bridge.calls.clear()
        reply = await bridge.call(headers={"x-forwarded-proto": "https"}, blocks=block)
        assert reply.status == 200, reply.body
        kind, _, encoded = bridge.calls[0].metadata["authorization"].partition(" ")
        assert (kind, base64.b64decode(encoded).decode()) == ("Basic", "ann:p<\u00e4")


async def test_passwords_are_never_taken_in_the_clear() -> None:
    """Without TLS a UsernameToken is refused with 401, unless the owner says that something else ends TLS."""
    async with running_bridge() as bridge:
        for headers in ({}, {"x-forwarded-proto": "http"}):
            reply = await bridge.call(headers=headers, blocks=security(token()))
            assert (reply.status, reply.text("reason")) == (401, "CREDENTIALS_REFUSED")
        assert not bridge.calls
    async with running_bridge(plaintext_passwords=True) as bridge:
        assert (await bridge.call(blocks=security(token()))).status == 200


SIGNATURE = '<d:Signature xmlns:d="http://www.w3.org/2000/09/xmldsig#"/>'
REFUSED = {
    "digest": token(kind="PasswordDigest"),
    "signature": token() + SIGNATURE,
    "signature alone": SIGNATURE,
    "two tokens": token() * 2,
    "binary token": "<s:BinarySecurityToken/>",
    "no password": "<s:UsernameToken><s:Username>ann</s:Username></s:UsernameToken>",
    "two passwords": token(more="<s:Password>x</s:Password>"),
    "colon": token(name="a:b"),
    "no name": token(name=""),
    "expired": timestamp(-1000, -600) + token(),
    "from the future": timestamp(3600, 7200) + token(),
    "no time": "<u:Timestamp><u:Created>yesterday</u:Created></u:Timestamp>" + token(),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_other_forms_of_ws_security_are_refused(bridge: Bridge, name: str) -> None:
    """What is not understood of WS-Security is refused, never ignored, and no password is in the answer."""
    reply = await bridge.call(headers={"x-forwarded-proto": "https"}, blocks=security(REFUSED[name]))
    assert (reply.status, reply.text("reason")) == (401, "CREDENTIALS_REFUSED")
    assert reply.headers["www-authenticate"]
    assert b"p&lt;" not in reply.body
    assert not bridge.calls


async def test_credentials_twice(bridge: Bridge) -> None:
    """Credentials in the HTTP header and others in the envelope are refused: it would be unclear who calls."""
    headers = {"x-forwarded-proto": "https", "authorization": "Bearer t"}
    reply = await bridge.call(headers=headers, blocks=security(token()))
    assert reply.text("reason") == "CREDENTIALS_REFUSED"


def options(content: str, attributes: str = "") -> str:
    """Return a CallOptions block."""
    return f'<CallOptions xmlns="urn:rte:v1"{attributes}>{content}</CallOptions>'


async def test_call_options(bridge: Bridge) -> None:
    """Deadline and request id may come in the envelope; the shorter deadline counts, and faults show the id."""
    blocks = options("<timeout>PT200S</timeout><requestId>r-2</requestId>", ' e:mustUnderstand="1"')
    reply = await bridge.call(headers={"x-request-id": "r-1", "grpc-timeout": "5M"}, blocks=blocks)
    assert reply.status == 200
    assert bridge.calls[0].metadata["x-request-id"] == "r-2"
    assert 100 < bridge.calls[0].seconds_left <= 200
    reply = await bridge.call("<nothing/>", headers={"x-request-id": "r-3"})
    assert reply.text("requestId") == "r-3"


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("200S", 200), ("150000m", 150), ("5H", 600), ("", 600), ("99999999H", 600), ("90000000u", 90)],
)
async def test_deadlines(bridge: Bridge, header: str, seconds: float) -> None:
    """The header grpc-timeout is the deadline of the call, at most 600 s."""
    await bridge.call(headers={"grpc-timeout": header} if header else {})
    assert seconds - 60 < bridge.calls[0].seconds_left <= seconds


@pytest.mark.parametrize(
    "blocks", ["<timeout>PT0S</timeout>", "<timeout>-PT1S</timeout>", "<requestId>a b</requestId>", "<x/>"]
)
async def test_wrong_call_options(bridge: Bridge, blocks: str) -> None:
    """Options that cannot be meant are refused."""
    reply = await bridge.call(blocks=options(blocks))
    assert reply.text("faultcode") == "soap:Client"
    assert not bridge.calls
    assert (await bridge.call(headers={"grpc-timeout": "soon"})).text("field") == "grpc-timeout"


async def test_verbs(bridge: Bridge) -> None:
    """Other verbs are 405 with a fault and the header allow; HEAD has the headers of GET."""
    reply = await bridge.send("PUT", envelope(GET))
    assert (reply.status, reply.headers["allow"]) == (405, "GET, HEAD, POST")
    assert b"METHOD_NOT_ALLOWED" in reply.body
    head, get = await bridge.send("HEAD", query="wsdl"), await bridge.send("GET", query="wsdl")
    assert head.body == b"" and head.headers["content-length"] == get.headers["content-length"]


async def test_answers_are_compressed_if_asked_for(bridge: Bridge) -> None:
    """A large answer is compressed by gzip for a caller who accepts it, and for no other."""
    plain = await bridge.send("GET", query="wsdl")
    for accepted, is_packed in (
        ("gzip", True),
        ("deflate, gzip;q=0.5", True),
        ("gzip;q=0", False),
        ("identity", False),
    ):
        reply = await bridge.send("GET", headers={"accept-encoding": accepted}, query="wsdl")
        assert (reply.headers.get("content-encoding") == "gzip") == is_packed
        assert (gzip.decompress(reply.body) if is_packed else reply.body) == plain.body


async def test_large_requests_and_answers(bridge: Bridge) -> None:
    """A batch of thousands of events, and an answer of megabytes, are translated whole."""
    answer = ListSessionsResponse(sessions=[Session(session_id=f"s-{number}") for number in range(20_000)])

    async def list_sessions(_: Call, __: Any) -> bytes:
        return answer.SerializeToString()

    event = "<events><name>page_view</name><visitorId>v-{}</visitorId></events>"
    events = "".join(event.format(number) for number in range(5_000))
    ingest = f'<IngestEvents xmlns="urn:rte:v1"><request>{events}</request></IngestEvents>'
    assert (await bridge.call(ingest)).status == 200
    request = IngestEventsRequest.FromString(bridge.calls[0].request)
    assert [each.visitor_id for each in request.events] == [f"v-{number}" for number in range(5_000)]
    bridge.answer = list_sessions
    reply = await bridge.call('<ListSessions xmlns="urn:rte:v1"><request/></ListSessions>', version="1.2")
    assert [each.text for each in reply.root.iter("{*}sessionId")] == [f"s-{number}" for number in range(20_000)]


async def test_bodies_in_pieces(bridge: Bridge) -> None:
    """A body that arrives byte by byte is the same body."""
    assert (await bridge.post(envelope(GET), chunk_bytes=1)).status == 200
