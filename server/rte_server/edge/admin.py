"""Envoy's admin interface over its unix socket."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

_REPLY_TIMEOUT_S = 30.0
"""Envoy answers in milliseconds, unless the machine is overloaded; a connection to one that has ended fails at once."""


class AdminClient:
    """Asks one Envoy. Every method raises OSError or TimeoutError while Envoy does not answer."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket

    async def is_ready(self) -> bool:
        """Say whether the listeners work; False also while Envoy does not answer."""
        try:
            status, _ = await self._request("GET", "/ready")
        except (OSError, TimeoutError):
            return False
        return status == 200

    async def listener_port(self) -> int:
        """Return the port that the first listener has taken."""
        _, body = await self._request("GET", "/listeners?format=json")
        address = json.loads(body)["listener_statuses"][0]["local_address"]["socket_address"]
        return int(address["port_value"])

    async def active_request_count(self) -> int:
        """Count the requests of callers that are not answered yet; open watches and streams are among them."""
        _, body = await self._request("GET", "/stats?format=json&filter=^http\\.edge\\.downstream_rq_active$")
        stats = json.loads(body)["stats"]
        return sum(int(stat["value"]) for stat in stats if "value" in stat)

    async def fail_health_checks(self) -> None:
        """Make `/healthz` answer 503 and ask callers to leave their connections."""
        await self._request("POST", "/healthcheck/fail")
        await self._request("POST", "/drain_listeners?graceful&skip_exit")

    async def close_listeners(self) -> None:
        """Accept no more connections; those that are open go on."""
        await self._request("POST", "/drain_listeners")

    async def _request(self, method: str, path: str) -> tuple[int, bytes]:
        async with asyncio.timeout(_REPLY_TIMEOUT_S):
            reader, writer = await asyncio.open_unix_connection(str(self._socket))
            try:
                text = f"{method} {path} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
                writer.write(text.encode("ascii"))
                await writer.drain()
                return _parse_reply(await reader.read(-1))
            finally:
                writer.close()


def _parse_reply(reply: bytes) -> tuple[int, bytes]:
    head, _, body = reply.partition(b"\r\n\r\n")
    parts = head.split(b" ", 2)
    if len(parts) < 2 or not parts[1].isdigit():
        raise OSError("Envoy closed the admin connection without an answer")
    if b"transfer-encoding: chunked" in head.lower():
        body = _join_chunks(body)
    return int(parts[1]), body


def _join_chunks(body: bytes) -> bytes:
    joined = bytearray()
    while body:
        size_text, _, rest = body.partition(b"\r\n")
        size = int(size_text, 16)
        if size == 0:
            break
        joined += rest[:size]
        body = rest[size + 2 :]
    return bytes(joined)
