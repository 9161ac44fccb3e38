"""Bodies of requests, within limits: how many are held, how large they are, how long they may take to arrive."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from rte_bridge.problems import Problem, Reason

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """How much a bridge takes at a time."""

    body_bytes_max: int = 4 * 1024 * 1024
    """Bytes of a body, before and after decompression."""
    calls_max: int = 256
    """Requests that are worked on at a time; one more is refused with OVERLOADED."""
    bodies_bytes_max: int = 64 * 1024 * 1024
    """Bytes of bodies that are held at a time; a request beyond it is refused with OVERLOADED."""
    body_s_max: float = 30.0
    """Seconds that a body may take to arrive, > 0; Envoy must be patient on these paths, since calls may take long."""


class Bodies:
    """Takes the bodies of one bridge. Belongs to one event loop."""

    def __init__(self, limits: BodyLimits, what: str) -> None:
        """Take nothing yet.

        Args:
            limits: How much is taken at a time.
            what: Names the requests in the text of a refusal, for example `SOAP requests`.
        """
        self._limits = limits
        self._what = what
        self._call_count = 0
        self._held_bytes = 0

    @asynccontextmanager
    async def taken(self, receive: Receive, encoding: str = "") -> AsyncIterator[bytes]:
        """Give the body of a request; it counts as held until the block ends, what it was inflated to included.

        Args:
            receive: Gives its parts.
            encoding: The header `content-encoding`; empty: the body is given as it came.

        Raises:
            Problem: What `decompressed` refuses.
            Problem: REQUEST_TOO_LARGE; OVERLOADED: too much is held; DEADLINE_EXCEEDED: it takes too long; MALFORMED:
                the caller has left.
        """
        if self._call_count >= self._limits.calls_max:
            raise self._overloaded(str(self._limits.calls_max))
        self._call_count += 1
        body = bytearray()
        inflated_bytes = 0
        try:
            try:
                async with asyncio.timeout(self._limits.body_s_max):
                    await self._receive(body, receive)
            except TimeoutError:
                message = f"the body did not arrive within {self._limits.body_s_max} s"
                raise Problem(Reason.DEADLINE_EXCEEDED, message) from None
            plain = decompressed(bytes(body), encoding, self._limits.body_bytes_max)
            if len(plain) > len(body):
                inflated_bytes = len(plain)
                self._held_bytes += inflated_bytes
                self._check_size(len(body))
            yield plain
        finally:
            self._call_count -= 1
            self._held_bytes -= len(body) + inflated_bytes

    async def _receive(self, body: bytearray, receive: Receive) -> None:
        """Add what arrives to `body`, which counts as held until the caller of this gives it up."""
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise Problem(Reason.MALFORMED, "the caller left before the end of the body")
            chunk = message.get("body", b"")
            body += chunk
            self._held_bytes += len(chunk)
            self._check_size(len(body))
            if not message.get("more_body"):
                return

    def _check_size(self, held: int) -> None:
        if held > self._limits.body_bytes_max:
            raise too_large(self._limits.body_bytes_max)
        if self._held_bytes > self._limits.bodies_bytes_max:
            raise self._overloaded(f"{self._limits.bodies_bytes_max} bytes")

    def _overloaded(self, limit: str) -> Problem:
        return Problem(Reason.OVERLOADED, f"too many {self._what} at a time; nothing was taken", limit=limit)


def decompressed(body: bytes, encoding: str, bytes_max: int) -> bytes:
    """Return a body without its `content-encoding`.

    Args:
        body: As it came.
        encoding: The header; empty for none.
        bytes_max: How large the result may be. No more is made, whatever the body says.

    Raises:
        Problem: UNSUPPORTED_ENCODING, MALFORMED if it is damaged or cut, REQUEST_TOO_LARGE.
    """
    name = encoding.strip().lower()
    if name in ("", "identity"):
        return body
    if name not in ("gzip", "x-gzip"):
        message = "only gzip is taken as a content-encoding"
        raise Problem(Reason.UNSUPPORTED_ENCODING, message, field="content-encoding", value=encoding, limit="gzip")
    inflater = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    try:
        plain = inflater.decompress(body, bytes_max + 1)
    except zlib.error:
        raise Problem(Reason.MALFORMED, "the gzip form of the body is damaged") from None
    if len(plain) > bytes_max:
        raise too_large(bytes_max)
    if not inflater.eof or inflater.unused_data:
        raise Problem(Reason.MALFORMED, "the gzip form of the body is cut or has something behind it")
    return plain


def too_large(bytes_max: int) -> Problem:
    """Return the refusal of a body that is too large."""
    return Problem(Reason.REQUEST_TOO_LARGE, f"the body is larger than {bytes_max} bytes", limit=str(bytes_max))
