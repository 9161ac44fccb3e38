"""Hostile and careless documents get a fault, quickly, and reach no server."""

from __future__ import annotations

import gzip
import time
import zlib
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rte_bridge.bodies import BodyLimits
from rte_bridge.problems import Problem
from rte_soap import documents
from rte_soap.contract import Contract, new_message
from rte_soap.documents import Limits
from rte_soap.envelope import Version, open_envelope, operation_of
from rte_soap.reader import Reader
from rte_soap.schema import Schema
from tests.soap.bridge import ENVELOPE_11, ENVELOPE_12, GET, Bridge, envelope, running_bridge

SECONDS_MAX = 2.0
"""Of the processor, so that a busy machine does not matter. A bomb would take minutes."""

LIMITS = Limits()


@pytest.fixture
async def bridge() -> AsyncIterator[Bridge]:
    """A bridge with the limits that it has by default."""
    async with running_bridge() as running:
        yield running


def with_doctype(doctype: str, value: str = "&x;") -> str:
    """Return a call with a document type, and an entity in a value."""
    return doctype + envelope(GET.replace(">v<", f">{value}<"))


LAUGHS = "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 10))
DOCUMENTS: dict[str, bytes | str] = {
    "external entity, file": with_doctype('<!DOCTYPE e [<!ENTITY x SYSTEM "file:///etc/passwd">]>'),
    "external entity, http": with_doctype('<!DOCTYPE e [<!ENTITY x SYSTEM "http://127.0.0.1:9/x">]>'),
    "external DTD": with_doctype('<!DOCTYPE e SYSTEM "http://127.0.0.1:9/x.dtd">', "v"),
    "parameter entity": with_doctype('<!DOCTYPE e [<!ENTITY % x SYSTEM "file:///etc/passwd"> %x;]>', "v"),
    "harmless DTD": with_doctype("<!DOCTYPE e>", "v"),
    "DTD with defaults": with_doctype('<!DOCTYPE e [<!ATTLIST visitorId a CDATA "x">]>', "v"),
    "billion laughs": with_doctype(f'<!DOCTYPE e [<!ENTITY a0 "ha">{LAUGHS}]>', "&a9;"),
    "billion laughs in an attribute": f'<!DOCTYPE e [<!ENTITY a0 "ha">{LAUGHS}]>'
    + envelope(GET).replace("<request>", '<request a="&a9;">'),
    "quadratic blow-up": with_doctype(f'<!DOCTYPE e [<!ENTITY x "{"a" * 100_000}">]>', "&x;" * 10_000),
    "DTD in UTF-16": with_doctype('<!DOCTYPE e [<!ENTITY x "y">]>').encode("utf-16"),
    "undefined entity": envelope(GET.replace(">v<", ">&x;<")),
    "XInclude": envelope(
        '<x:include xmlns:x="http://www.w3.org/2001/XInclude" href="file:///etc/passwd" parse="text"/>'
    ),
    "deep": envelope("<a>" * 10_000 + "</a>" * 10_000),
    "deep within the limit of libxml2": envelope(
        GET.replace("<visitorId>v</visitorId>", "<request>" * 200 + "</request>" * 200)
    ),
    "text of 3 MB with wrong content": envelope(GET.replace(">v<", f"><x>{'a' * 3_000_000}</x><")),
    "attribute of 3 MB": envelope(GET.replace("<request>", f'<request a="{"a" * 3_000_000}">')),
    "100,000 attributes": envelope(
        GET.replace("<request>", "<request " + " ".join(f'a{n}="1"' for n in range(100_000)) + ">")
    ),
    "50,000 namespaces": envelope(
        GET.replace("<request>", "<request " + " ".join(f'xmlns:a{n}="urn:{n}"' for n in range(50_000)) + "><x/>")
    ),
    "many tags": envelope(GET.replace("<visitorId>v</visitorId>", "<a/>" * 300_000)),
    "tags within the limit": envelope(GET.replace("<visitorId>v</visitorId>", "<visitorId/>" * 150_000)),
    "name of 3 MB": envelope(f"<{'a' * 3_000_000}/>"),
    "number of 3 MB": envelope(
        f'<ListSessions xmlns="urn:rte:v1"><request><pageSize>{"9" * 3_000_000}</pageSize></request></ListSessions>'
    ),
    "processing instruction before": "<?php x?>" + envelope(GET),
    "processing instruction inside": envelope(GET.replace(">v<", "><?x y?>v<")),
    "NUL": envelope(GET.replace(">v<", ">\0<")),
    "control character": envelope(GET.replace(">v<", ">&#1;<")),
    "empty": "",
    "no XML": "{}",
    "cut": envelope(GET)[:-10],
    "two roots": envelope(GET) * 2,
    "random bytes": bytes(range(256)) * 100,
    "lying charset": '<?xml version="1.0" encoding="utf-16"?>' + envelope(GET),
    "UTF-7": b'<?xml version="1.0" encoding="UTF-7"?>' + envelope(GET).encode(),
    "unknown charset": b'<?xml version="1.0" encoding="klingon"?>' + envelope(GET).encode(),
    "broken UTF-8": envelope(GET).encode().replace(b">v<", b">\xff\xfe<"),
    "no envelope": GET,
    "unknown envelope": envelope(GET).replace(ENVELOPE_11, "http://www.w3.org/2001/12/soap-envelope"),
    "envelope of the other version": envelope(GET, "1.2"),
    "no body": f'<e:Envelope xmlns:e="{ENVELOPE_11}"/>',
    "empty body": envelope(""),
    "two operations": envelope(GET * 2),
    "element after the body": envelope(GET).replace("</e:Body>", "</e:Body><x/>"),
    "header after the body": envelope(GET).replace("</e:Body>", "</e:Body><e:Header/>"),
    "text in the body": envelope("text" + GET),
    "unknown operation": envelope('<DropTables xmlns="urn:rte:v1"/>'),
    "operation of another namespace": envelope(GET.replace("urn:rte:v1", "urn:rte:v2")),
    "operation without a namespace": envelope(GET.replace(' xmlns="urn:rte:v1"', "")),
    "answer instead of a request": envelope('<GetSessionResponse xmlns="urn:rte:v1"/>'),
    "stream": envelope('<WatchSessions xmlns="urn:rte:v1"><request/></WatchSessions>'),
    "missing request": envelope('<GetSession xmlns="urn:rte:v1"/>'),
    "surplus element": envelope(GET.replace("</request>", "<nope>1</nope></request>")),
    "surplus element beside the request": envelope(GET.replace("</GetSession>", "<nope/></GetSession>")),
    "request twice": envelope(GET.replace("</GetSession>", "<request/></GetSession>")),
    "field of another namespace": envelope(GET.replace("<visitorId>", '<visitorId xmlns="urn:x">')),
    "two keys": envelope(GET.replace("</request>", "<sessionId>s</sessionId></request>")),
    "comment in a name": envelope(GET.replace("GetSession", "Get<!-- -->Session")),
    "unknown header that must be understood": envelope(GET, blocks='<x e:mustUnderstand="1"/>'),
}
WITHOUT_FAULT_OF_CALLERS = {"unknown header that must be understood", "unknown envelope"}


@pytest.mark.parametrize("name", DOCUMENTS)
async def test_document_gets_a_fault_quickly(bridge: Bridge, name: str) -> None:
    """The document is refused with a fault of the caller, within moments, and no call is made."""
    document = DOCUMENTS[name]
    begun = time.process_time()
    reply = await bridge.post(document, headers={"content-type": "text/xml"})
    assert time.process_time() - begun < SECONDS_MAX
    assert reply.status in (500, 413, 415), reply.body
    code = reply.text("faultcode")
    assert code == "soap:Client" or name in WITHOUT_FAULT_OF_CALLERS, reply.body
    assert reply.text("reason") and reply.text("retryable") == "false"
    assert len(reply.body) < 4096 and b"root:" not in reply.body
    assert not bridge.calls


async def test_what_a_comment_hides_is_read_whole(bridge: Bridge) -> None:
    """A comment inside of a value does not cut it."""
    await bridge.call(GET.replace(">v<", ">adm<!-- x -->in<"))
    assert b"admin" in bridge.calls[0].request


@pytest.mark.parametrize(
    ("charset", "declared"),
    [
        ("utf-8", ""),
        ("utf-16", ""),
        ("iso-8859-1", ""),
        ("", "utf-8"),
        ("", "utf-16"),
        ("", "windows-1252"),
        ("UTF-8", "utf-8"),
    ],
)
async def test_encodings(bridge: Bridge, charset: str, declared: str) -> None:
    """A request may be in the usual encodings, declared by HTTP or by the document; answers are UTF-8."""
    head = f'<?xml version="1.0" encoding="{declared}"?>' if declared else ""
    body = (head + envelope(GET.replace(">v<", ">\u00e9<"))).encode(charset or declared)
    content_type = "text/xml" + (f"; charset={charset}" if charset else "")
    reply = await bridge.post(body, headers={"content-type": content_type})
    assert reply.status == 200, reply.body
    assert "\u00e9".encode() in bridge.calls[0].request
    assert reply.headers["content-type"] == "text/xml; charset=utf-8"


@pytest.mark.parametrize(
    "content_type", ["application/json", "", "multipart/related; boundary=x", "text/xml; charset=utf-7"]
)
async def test_other_content_types_are_refused(bridge: Bridge, content_type: str) -> None:
    """Other media types and charsets are 415 with a fault that says what is taken."""
    reply = await bridge.send("POST", envelope(GET), {"content-type": content_type})
    assert (reply.status, reply.text("reason")) == (415, "UNSUPPORTED_ENCODING")
    assert not bridge.calls


async def test_gzip_requests(bridge: Bridge) -> None:
    """A request may be compressed by gzip; what is damaged, cut, longer than it says, or otherwise coded is refused."""
    body = gzip.compress(envelope(GET).encode())
    assert (await bridge.post(body, headers={"content-encoding": "gzip"})).status == 200
    wrong = {"gzip": (body[:-4], body + b"x", b"nonsense"), "br": (body,), "deflate": (zlib.compress(b"x"),)}
    for encoding, bodies in wrong.items():
        for each in bodies:
            reply = await bridge.post(each, headers={"content-encoding": encoding})
            assert reply.text("reason") in ("MALFORMED", "UNSUPPORTED_ENCODING")
    assert len(bridge.calls) == 1


async def test_gzip_bomb(bridge: Bridge) -> None:
    """A body that inflates to gigabytes is 413 after the limit, whatever comes behind it."""
    packer = zlib.compressobj(wbits=31)
    bomb = b"".join(packer.compress(b"\0" * (1 << 20)) for _ in range(1024)) + packer.flush()
    begun = time.process_time()
    reply = await bridge.post(bomb, headers={"content-encoding": "gzip"})
    assert (reply.status, reply.text("reason")) == (413, "REQUEST_TOO_LARGE")
    assert time.process_time() - begun < SECONDS_MAX


async def test_body_that_is_too_large(bridge: Bridge) -> None:
    """A body is refused while it arrives, as soon as it is larger than the limit, which the fault names."""
    reply = await bridge.post(b" " * (LIMITS.body_bytes_max + 1))
    assert (reply.status, reply.text("limit")) == (413, str(LIMITS.body_bytes_max))


async def test_bodies_together_are_bounded() -> None:
    """Beyond the bytes that all bodies may take together a request is told to come again."""
    async with running_bridge(bodies=BodyLimits(bodies_bytes_max=1000)) as bridge:
        reply = await bridge.post(b" " * 1001)
        assert (reply.status, reply.text("reason"), reply.text("retryable")) == (500, "OVERLOADED", "true")
        assert reply.headers["retry-after"] == "1"
        assert (await bridge.call()).status == 200


async def test_caller_who_leaves_while_sending(bridge: Bridge) -> None:
    """A caller who leaves before the end of the body makes no call."""
    reply = await bridge.post(envelope(GET), is_cut=True)
    assert reply.status == 500
    assert not bridge.calls


async def test_caller_who_sends_too_slowly() -> None:
    """A body that does not arrive in time is given up."""
    async with running_bridge(bodies=BodyLimits(body_s_max=0.05)) as bridge:
        reply = await bridge.post(envelope(GET), stalls=True)
        assert (reply.text("reason"), reply.text("retryable")) == ("DEADLINE_EXCEEDED", "true")
        assert (await bridge.call()).status == 200


_SCHEMA = Schema(Contract.shipped())
_READER = Reader(_SCHEMA)
_SEEDS = [
    envelope(GET),
    envelope(GET, blocks='<h xmlns="urn:x" e:mustUnderstand="0"/>'),
    envelope(
        '<IngestEvents xmlns="urn:rte:v1"><request><events><name>n</name><visitorId>v</visitorId><eventTime>'
        "2026-11-23T10:00:00Z</eventTime><properties><fields><key>k</key><value><listValue><values><numberValue>1.5"
        "</numberValue></values><values><structValue/></values></listValue></value></fields></properties></events>"
        "<wait>WAIT_APPLIED</wait><returnSessions>true</returnSessions></request></IngestEvents>"
    ),
    envelope(
        '<ApplyModels xmlns="urn:rte:v1"><request><files><key>f</key><value>QUJD</value></files><mode>MODE_VALIDATE'
        "</mode><models><yaml>x: 1</yaml></models></request></ApplyModels>"
    ),
]
_PIECES = [
    b"<",
    b">",
    b"&",
    b"&lt;",
    b"&#0;",
    b"<!DOCTYPE a>",
    b"<![CDATA[",
    b"]]>",
    b"<!--",
    b"<?p?>",
    b'"',
    b"\xff",
    b"\0",
]
_PIECES += [
    b"<request>",
    b"</request>",
    b' xmlns="urn:x"',
    b' xsi:nil="true"',
    b"<e:Body>",
    b"9" * 30,
    b"-",
    b"e:",
    b"a" * 300,
]


@settings(max_examples=800, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_mutated_envelopes_are_read_or_refused(data: st.DataObject) -> None:
    """Whatever is done to an envelope, it is read or refused by a Problem; nothing else is ever raised."""
    body = bytearray(data.draw(st.sampled_from(_SEEDS)).encode())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(body)))
        length = data.draw(st.integers(0, 12))
        body[at : at + length] = data.draw(st.sampled_from(_PIECES) | st.binary(max_size=4))
    with suppress(Problem):
        opened = open_envelope(documents.parse(bytes(body), "", LIMITS), Version.SOAP_11)
        operation, request = operation_of(_SCHEMA, opened.content)
        if request is not None:
            message = new_message(operation.request)
            _READER.read(request, message)
            assert len(message.SerializeToString()) < 2 * len(body)


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.binary(max_size=200), st.sampled_from(["", "utf-8", "utf-16", "us-ascii", "iso-8859-1", "windows-1252"]))
def test_bytes_are_parsed_or_refused(body: bytes, charset: str) -> None:
    """Any bytes in any encoding are a document or a Problem."""
    with suppress(Problem):
        assert isinstance(documents.parse(body, charset, LIMITS).tag, str)


def test_version_12_envelopes_are_as_strict() -> None:
    """An envelope of SOAP 1.2 is refused as one of 1.1 if the content type says so."""
    with pytest.raises(Problem, match="different versions"):
        open_envelope(documents.parse(envelope(GET).encode(), "", LIMITS), Version.SOAP_12)
    opened = open_envelope(documents.parse(envelope(GET, "1.2").encode(), "", LIMITS), Version.SOAP_12)
    assert opened.version.namespace == ENVELOPE_12
