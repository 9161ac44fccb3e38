"""HTTP: bodies within limits, the description, and which caller gets what."""

from __future__ import annotations

import asyncio
import gzip
import re
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.parse import parse_qs

from rte_soap.documents import Limits, too_large
from rte_soap.envelope import Version
from rte_soap.problems import Problem, Reason
from rte_soap.service import Reply, SoapService, version_of
from rte_soap.wsdl import schema_document, wsdl_document

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

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
    calls_max: int = 256
    """Requests that are worked on at a time; one more is refused with OVERLOADED."""
    bodies_bytes_max: int = 64 * 1024 * 1024
    """Bytes of bodies that are held at a time; a request beyond it is refused with OVERLOADED."""
    body_s_max: float = 30.0
    """Seconds that a body may take to arrive, > 0; Envoy must be patient on this path, since calls may take long."""
    public_url: str = ""
    """The address that the description gives. Empty: the one by which the caller reached Envoy."""
    plaintext_passwords: bool = False
    """Takes a UsernameToken over connections without TLS, too: something in front of Envoy ends TLS."""


class App:
    """The bridge as an ASGI application."""

    def __init__(self, service: SoapService, settings: Settings) -> None:
        self._service = service
        self._settings = settings
        self._call_count = 0
        self._body_bytes = 0
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
        if self._call_count >= self._settings.calls_max:
            return self._refused(_overloaded(str(self._settings.calls_max)), headers)
        self._call_count += 1
        body = bytearray()
        try:
            async with asyncio.timeout(self._settings.body_s_max):
                await self._receive_body(body, receive)
            # What comes next from the server is that the caller has left.
            gone = asyncio.ensure_future(receive())
            try:
                return await self._service.reply(bytes(body), headers, gone)
            finally:
                gone.cancel()
        except TimeoutError:
            message = f"the body did not arrive within {self._settings.body_s_max} s"
            return self._refused(Problem(Reason.DEADLINE_EXCEEDED, message), headers)
        except Problem as problem:
            return self._refused(problem, headers)
        finally:
            self._call_count -= 1
            self._body_bytes -= len(body)

    async def _receive_body(self, body: bytearray, receive: Receive) -> None:
        """Add what arrives to `body`, which counts as held until the caller of this gives it up.

        Raises:
            Problem: It is too large, too much is held, or the caller has left.
        """
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise Problem(Reason.MALFORMED, "the caller left before the end of the body")
            chunk = message.get("body", b"")
            body += chunk
            self._body_bytes += len(chunk)
            self._check_size(len(body))
            if not message.get("more_body"):
                return

    def _check_size(self, held: int) -> None:
        if held > self._settings.limits.body_bytes_max:
            raise too_large(self._settings.limits.body_bytes_max)
        if self._body_bytes > self._settings.bodies_bytes_max:
            raise _overloaded(f"{self._settings.bodies_bytes_max} bytes")

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


def _overloaded(limit: str) -> Problem:
    return Problem(Reason.OVERLOADED, "too many SOAP requests at a time; nothing was taken", limit=limit)


def _compressed(body: bytes, accepted: str) -> tuple[bytes, list[tuple[str, str]]]:
    """Return a body as the caller accepts it, and the headers that say so."""
    codings = {
        name.strip(): weight for name, _, weight in (part.partition(";") for part in accepted.lower().split(","))
    }
    if len(body) < GZIP_BYTES_MIN or _REFUSED_WEIGHT.match(codings.get("gzip", "q=0")):
        return body, []
    return gzip.compress(body, compresslevel=1, mtime=0), [("content-encoding", "gzip"), ("vary", "accept-encoding")]
