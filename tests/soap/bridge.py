"""The bridge in the test's process, in front of a gRPC server that answers what a test says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import grpc
import grpc.aio
from lxml import etree

from rte_soap.app import App, Settings
from rte_soap.contract import Contract
from rte_soap.documents import Limits
from rte_soap.schema import Schema
from rte_soap.service import SoapService
from rte_soap.wsdl import schema_document

ENVELOPE_11 = "http://schemas.xmlsoap.org/soap/envelope/"
ENVELOPE_12 = "http://www.w3.org/2003/05/soap-envelope"
MEDIA_TYPES = {"1.1": "text/xml; charset=utf-8", "1.2": "application/soap+xml; charset=utf-8"}
NAMESPACES = {"1.1": ENVELOPE_11, "1.2": ENVELOPE_12}
GET = '<GetSession xmlns="urn:rte:v1"><request><visitorId>v</visitorId></request></GetSession>'


@dataclass
class Call:
    """What reached the server.

    Attributes:
        path: Of the method.
        request: Its bytes.
        metadata: By name.
        seconds_left: Until its deadline.
    """

    path: str
    request: bytes
    metadata: dict[str, str]
    seconds_left: float


@dataclass
class Reply:
    """What came back over HTTP."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def root(self) -> etree._Element:
        """The envelope."""
        return etree.fromstring(self.body)

    def text(self, name: str) -> str:
        """Return the text of the first element of that local name; empty where there is none."""
        found = self.root.find(f".//{{*}}{name}")
        return "" if found is None else found.text or ""


Answer = Callable[[Call, Any], Awaitable[bytes]]


@dataclass
class Bridge:
    """The bridge, called as an HTTP server would.

    Attributes:
        app: What runs.
        calls: What reached the server, in order.
        answer: What the server does with a call; by default it answers with an empty message.
    """

    app: App
    xsd: etree.XMLSchema
    calls: list[Call] = field(default_factory=list)
    answer: Answer | None = None
    reached: asyncio.Event = field(default_factory=asyncio.Event)
    """Set with each call."""

    async def send(
        self,
        method: str,
        body: bytes | str = b"",
        headers: Mapping[str, str] | None = None,
        *,
        query: str = "",
        chunk_bytes: int = 65536,
        is_cut: bool = False,
        stalls: bool = False,
        leaves: bool = False,
    ) -> Reply:
        """Send a request and return the answer; every fault and answer is held against the XML Schema.

        Args:
            method: Of HTTP.
            body: Its body.
            headers: Beside the host.
            query: Of the address.
            chunk_bytes: Size of the pieces in which the body arrives.
            is_cut: Whether the caller leaves before the end of the body.
            stalls: Whether the rest of the body never arrives.
            leaves: Whether the caller leaves when the server works on the call.
        """
        encoded = body.encode() if isinstance(body, str) else body
        chunks = [encoded[at : at + chunk_bytes] for at in range(0, len(encoded), chunk_bytes)] or [b""]
        given = {"host": "rte.example", **(headers or {})}
        scope = {
            "type": "http",
            "method": method,
            "path": "/soap",
            "query_string": query.encode(),
            "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in given.items()],
        }
        sent: list[Any] = []

        async def receive() -> dict[str, Any]:
            if chunks:
                return {"type": "http.request", "body": chunks.pop(0), "more_body": bool(chunks) or is_cut or stalls}
            if not is_cut:
                await (self.reached if leaves else asyncio.Event()).wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            sent.append(message)

        await self.app(scope, receive, send)
        found = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        reply = Reply(sent[0]["status"], found, sent[1].get("body", b""))
        if method == "POST" and "content-encoding" not in found:
            carried = next(iter(reply.root.iter("{urn:rte:v1}*")))
            self.xsd.assertValid(etree.fromstring(etree.tostring(carried)))
        return reply

    async def post(
        self, body: bytes | str, version: str = "1.1", headers: Mapping[str, str] | None = None, **options: Any
    ) -> Reply:
        """Send a whole document."""
        return await self.send("POST", body, {"content-type": MEDIA_TYPES[version], **(headers or {})}, **options)

    async def call(
        self, content: str = GET, version: str = "1.1", headers: Mapping[str, str] | None = None, blocks: str = ""
    ) -> Reply:
        """Send `content` in an envelope, with header blocks."""
        return await self.post(envelope(content, version, blocks), version, headers)


def envelope(content: str, version: str = "1.1", blocks: str = "") -> str:
    """Return an envelope."""
    header = f"<e:Header>{blocks}</e:Header>" if blocks else ""
    return f'<e:Envelope xmlns:e="{NAMESPACES[version]}">{header}<e:Body>{content}</e:Body></e:Envelope>'


class _Handler(grpc.GenericRpcHandler):
    """Takes every call of every method."""

    def __init__(self, bridge: Bridge) -> None:
        self._bridge = bridge

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any]:
        path = handler_call_details.method

        async def handle(request: bytes, context: Any) -> bytes:
            metadata = {name: value for name, value in context.invocation_metadata() if isinstance(value, str)}
            call = Call(path, request, metadata, context.time_remaining())
            self._bridge.calls.append(call)
            self._bridge.reached.set()
            return await self._bridge.answer(call, context) if self._bridge.answer is not None else b""

        return grpc.unary_unary_rpc_method_handler(handle)


@asynccontextmanager
async def running_bridge(limits: Limits | None = None, **settings: Any) -> AsyncIterator[Bridge]:
    """Run a bridge and its server for the time of a block."""
    contract = Contract.shipped()
    given = replace(Settings(limits or Limits()), **settings)
    server = grpc.aio.server()
    port = server.add_insecure_port("127.0.0.1:0")
    channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}")
    service = SoapService(contract, channel, given.limits, plaintext_passwords=given.plaintext_passwords)
    bridge = Bridge(App(service, given), etree.XMLSchema(etree.fromstring(schema_document(Schema(contract)))))
    server.add_generic_rpc_handlers((_Handler(bridge),))
    await server.start()
    try:
        yield bridge
    finally:
        service.close()
        await channel.close()
        await server.stop(0)
