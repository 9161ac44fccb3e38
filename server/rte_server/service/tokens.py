"""Opaque tokens: positions, page tokens, resume tokens.

A token that a caller hands back is checked before it is believed: it carries a keyed checksum over its content and
over the request it belongs to (filter, order, state), so that a damaged token, and one of another request, are refused
instead of answering nonsense.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from dataclasses import dataclass

from rte_server.engine.reasons import EngineError, Reason

SHARD = 0
"""The embedded journal has this one shard."""

TOKEN_CHARS_MAX = 2048
"""Longer texts are refused unread. The longest token, one with a sort key of 1,024 bytes, has some 1,500."""

CHECKSUM_BYTES = 8

_POSITION = re.compile(r"0-(0|[1-9][0-9]{0,17})", re.ASCII)


def position_text(position: int) -> str:
    """Return how a position (>= 0) is written on the wire."""
    return f"{SHARD}-{position}"


def parse_position(text: str, *, field: str = "min_position") -> int:
    """Return the position that `text` names.

    Raises:
        EngineError: INVALID_POSITION if `text` was not given by this server.
    """
    match = _POSITION.fullmatch(text)
    if match is None:
        message = f'{field} is "{text[:64]}", no position; pass one as an earlier answer gave it, such as 0-3'
        raise EngineError(Reason.INVALID_POSITION, message, field=field, value=text)
    return int(match.group(1))


@dataclass(frozen=True, slots=True)
class TokenSeal:
    """Makes and checks tokens.

    Attributes:
        secret: Key of the checksum, at most 64 bytes. The same after a restart, so that tokens stay good.
    """

    secret: bytes

    def seal(self, kind: str, request: tuple[str, ...], content: list[str | int | float | None]) -> str:
        """Return the token of `kind` that carries `content` and belongs to `request`.

        Args:
            kind: What the token is for, for example `page`; another kind's token does not open.
            request: What must be the same when the token comes back, for example filter and order.
            content: What it carries; finite numbers and strings.
        """
        body = json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode()
        return base64.urlsafe_b64encode(self._checksum(kind, request, body) + body).rstrip(b"=").decode()

    def open(
        self, kind: str, request: tuple[str, ...], token: str, *, reason: Reason, field: str
    ) -> list[str | int | float | None]:
        """Return what a token carries.

        Raises:
            EngineError: `reason` if the token is damaged, or belongs to another request or another kind.
        """
        content: list[str | int | float | None] | None = None
        if len(token) <= TOKEN_CHARS_MAX:
            content = self._content(kind, request, token)
        if content is None:
            message = f"{field} is damaged or belongs to another request; start again without it"
            raise EngineError(reason, message, field=field, value=token)
        return content

    def _content(self, kind: str, request: tuple[str, ...], token: str) -> list[str | int | float | None] | None:
        try:
            sealed = base64.b64decode(token.encode("ascii") + b"=" * (-len(token) % 4), altchars=b"-_", validate=True)
        except (UnicodeEncodeError, binascii.Error):
            return None
        body = sealed[CHECKSUM_BYTES:]
        if sealed[:CHECKSUM_BYTES] != self._checksum(kind, request, body):
            return None
        content = json.loads(body)
        return content if isinstance(content, list) else None

    def _checksum(self, kind: str, request: tuple[str, ...], body: bytes) -> bytes:
        digest = hashlib.blake2b(key=self.secret, digest_size=CHECKSUM_BYTES, person=b"rte.v1.token")
        for part in (kind, *request):
            text = part.encode()
            digest.update(len(text).to_bytes(4, "little") + text)
        digest.update(body)
        return digest.digest()
