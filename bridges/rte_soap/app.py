"""HTTP: bodies within limits, the description, and which caller gets what."""

from __future__ import annotations

import asyncio
import gzip
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from urllib.parse import parse_qs

from rte_bridge.bodies import Bodies, BodyLimits, Receive, Scope, Send
from rte_bridge.problems import Problem, Reason
from rte_soap.documents import Limits
from rte_soap.envelope import Version
from rte_soap.service import Reply, SoapService, version_of
from rte_soap.wsdl import schema_document, wsdl_document

GZIP_BYTES_MIN = 1024
"""Smaller answers are not compressed: it would cost more than it saves."""

HEALTH_PATH = "/healthz"

_ADDRESS = "urn:rte:address"
"""Stands in the description for the address, which may differ from request to request."""

_HOST = re.compile(r"(?:[A-Za-z0-9_.-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?\Z")
_REFUSED_WEIGHT = re.compile(r"\s*q\s*=\s*0(\.0*)?\s*\Z")
_VERSIONS = {"1.1": (Version.SOAP_11,), "1.2": (Version.SOAP_12,)}
_ABOUT = "SOAP 1.1 and 1.2 of RTE: send requests here with POST. The description is at ?wsdl\n"


@dataclass(frozen=True, slots=True)
class Settings:
    """What the bridge is told by its owner."""

    limits: Limits
    """What requests may have."""
    bodies: BodyLimits = field(default_factory=BodyLimits)
    """How much is taken at a time."""
    public_url: str = ""
    """The address that the description gives. Empty: the one by which the caller reached Envoy."""
    plaintext_passwords: bool = False
    """Takes a UsernameToken over connections without TLS, too: something in front of Envoy ends TLS."""


class App:
    """The bridge as an ASGI application."""

    def __init__(self, service: SoapService, settings: Settings) -> None:
        self._service = service
        self._settings = settings
        self._bodies = Bodies(settings.bodies, "SOAP requests")
        self._described = cache(self._describe)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        if scope["method"] == "POST":
            reply = await self._post(headers, receive)
        elif scope["method"] in ("GET", "HEAD"):
            reply = self._get(scope, headers)
        else:
            problem = Problem(Reason.METHOD_NOT_ALLOWED, "the path takes GET and POST only", value=scope["method"])
            reply = self._refused(problem, headers)
        body, encoding = _compressed(reply.body, headers.get("accept-encoding", ""))
        sent = [*reply.headers, ("x-content-type-options", "nosniff"), *encoding, ("content-length", str(len(body)))]
        encoded = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in sent]
        await send({"type": "http.response.start", "status": reply.status, "headers": encoded})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    async def _post(self, headers: Mapping[str, str], receive: Receive) -> Reply:
        try:
            async with self._bodies.taken(receive) as body:
                # What comes next from the server is that the caller has left.
                gone = asyncio.ensure_future(receive())
                try:
                    return await self._service.reply(body, headers, gone)
                finally:
                    gone.cancel()
        except Problem as problem:
            return self._refused(problem, headers)

    def _refused(self, problem: Problem, headers: Mapping[str, str]) -> Reply:
        return self._service.refusal(problem, version_of(headers), headers.get("x-request-id", ""))

    def _get(self, scope: Scope, headers: Mapping[str, str]) -> Reply:
        if scope["path"] == HEALTH_PATH:
            return Reply(200, (("content-type", "text/plain"),), b"ok\n")
        query = {
            name.lower(): values[0]
            for name, values in parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True).items()
        }
        if "wsdl" in query or "singlewsdl" in query:
            versions = _VERSIONS.get(query.get("soap", ""), tuple(Version))
            body = self._described(versions).replace(_ADDRESS.encode(), self._address(scope, headers).encode())
        elif query.get("xsd") == "1":
            body = self._described(())
        else:
            return Reply(404, (("content-type", "text/plain; charset=utf-8"),), _ABOUT.encode())
        cached = ("cache-control", "no-cache"), ("vary", "host")
        return Reply(200, (("content-type", "text/xml; charset=utf-8"), *cached), body)

    def _describe(self, versions: tuple[Version, ...]) -> bytes:
        """Return the description with ports for `versions`; without any, the schema alone."""
        schema = self._service.schema
        return wsdl_document(schema, _ADDRESS, versions) if versions else schema_document(schema)

    def _address(self, scope: Scope, headers: Mapping[str, str]) -> str:
        """Return where the caller reaches the service."""
        if self._settings.public_url:
            return self._settings.public_url
        host = headers.get("host", "")
        scheme = "https" if headers.get("x-forwarded-proto") == "https" else "http"
        return f"{scheme}://{host if _HOST.match(host) else 'localhost'}{scope['path']}"


def _compressed(body: bytes, accepted: str) -> tuple[bytes, list[tuple[str, str]]]:
    """Return a body as the caller accepts it, and the headers that say so."""
    codings = {
        name.strip(): weight for name, _, weight in (part.partition(";") for part in accepted.lower().split(","))
    }
    if len(body) < GZIP_BYTES_MIN or _REFUSED_WEIGHT.match(codings.get("gzip", "q=0")):
        return body, []
    return gzip.compress(body, compresslevel=1, mtime=0), [("content-encoding", "gzip"), ("vary", "accept-encoding")]
