"""How a client reaches a server: address, TLS, token, deadlines, repeated attempts."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

DEADLINE_S = 10.0
"""How long a call may take by default, all attempts together, seconds. The server gives a unary call at most 30 s."""

LONG_DEADLINE_S = 600.0
"""The same for calls that fold history: ApplyModels and RollBackModels."""

ATTEMPTS_MAX = 4
ANSWER_BYTES_MAX = 64 << 20
"""The largest answer that the server makes: a page of 1,000 sessions, each full of long strings."""

KEEPALIVE_MS = 30_000
"""A connection that says nothing for this long is asked whether it lives, so that a watch notices a dead server."""

# What is tried again must count once: reads, and writes with an id that is made before the first attempt. UNAVAILABLE says
# that nothing was taken or that nobody knows; RESOURCE_EXHAUSTED that nothing was taken. gRPC waits a random part of
# 0.1 s, 0.2 s, 0.4 s between attempts and stops trying again while most calls fail.
_RETRIES = {
    "maxAttempts": ATTEMPTS_MAX,
    "initialBackoff": "0.1s",
    "maxBackoff": "2s",
    "backoffMultiplier": 2,
    "retryableStatusCodes": ["UNAVAILABLE", "RESOURCE_EXHAUSTED"],
}
_SERVICES = [{"service": f"rte.v1.{name}Service"} for name in ("Event", "Session", "Customer", "Model", "Collector")]
_STREAMS = [
    {"service": "rte.v1.SessionService", "method": "WatchSessions"},
    {"service": "rte.v1.EventService", "method": "StreamEvents"},
]
_LONG = [{"service": "rte.v1.ModelService", "method": name} for name in ("ApplyModels", "RollBackModels")]
# Another attempt may find its own trace: a changed etag, weights under a new number.
_ONCE = [
    {"service": "rte.v1.CustomerService", "method": "UpdateCustomer"},
    {"service": "rte.v1.ModelService", "method": "RollBackWeights"},
]
SERVICE_CONFIG = {
    "methodConfig": [
        {"name": _SERVICES, "timeout": f"{DEADLINE_S}s", "retryPolicy": _RETRIES},
        {"name": _LONG, "timeout": f"{LONG_DEADLINE_S}s", "retryPolicy": _RETRIES},
        {"name": _STREAMS, "retryPolicy": _RETRIES},
        {"name": _ONCE, "timeout": f"{DEADLINE_S}s"},
    ],
    "retryThrottling": {"maxTokens": 20, "tokenRatio": 0.5},
}
"""The gRPC service config of every channel; a call's own `timeout_s` comes before its deadlines."""


@dataclass(frozen=True, slots=True)
class Tls:
    """How a server is known, and how it knows the client.

    Attributes:
        root_certificates: PEM, bytes or the path of a file; None: those of gRPC.
        certificate: The client's own chain, PEM, if the server asks for one.
        key: Its key, PEM.
        server_name: The name in the server's certificate, if it differs from the address.
    """

    root_certificates: bytes | Path | None = None
    certificate: bytes | Path | None = None
    key: bytes | Path | None = None
    server_name: str = ""


@dataclass(frozen=True, slots=True)
class Connection:
    """Where a server is, and by what right it is asked.

    Attributes:
        address: `host:port` or `unix:/path`.
        tls: None: plain text.
        token: Sent as `authorization: Bearer ...` with every call; or a function that returns it, called per call, so that
            it can change. Without TLS it is sent only to this machine.
    """

    address: str
    tls: Tls | None = None
    token: str | Callable[[], str] = ""

    def __post_init__(self) -> None:
        """Check the address, and read the files of `tls`, so that what is wrong is told here and not by the first call.

        Raises:
            OSError: A file of `tls` cannot be read.
            ValueError: The address is neither `host:port` nor `unix:/path`.
        """
        if (tls := self.tls) is not None:
            read = Tls(_pem(tls.root_certificates), _pem(tls.certificate), _pem(tls.key), tls.server_name)
            object.__setattr__(self, "tls", read)
        if self.address.startswith("unix:"):
            return
        host, _, port = self.address.rpartition(":")
        if not host or "//" in self.address or not port.isdigit() or int(port) > 65535:
            raise ValueError(f"the address {self.address!r} must have the form host:port or unix:/path")

    def channel(self) -> grpc.Channel:
        """Open a channel; it connects with the first call."""
        credentials = self._credentials()
        if credentials is None:
            return grpc.insecure_channel(self.address, self._options())
        return grpc.secure_channel(self.address, credentials, self._options())

    def aio_channel(self) -> grpc.aio.Channel:
        """Open a channel of `grpc.aio`; it connects with the first call."""
        credentials = self._credentials()
        if credentials is None:
            return grpc.aio.insecure_channel(self.address, self._options())
        return grpc.aio.secure_channel(self.address, credentials, self._options())

    def _options(self) -> list[tuple[str, Any]]:
        options: list[tuple[str, Any]] = [
            ("grpc.service_config", json.dumps(SERVICE_CONFIG)),
            ("grpc.max_receive_message_length", ANSWER_BYTES_MAX),
            ("grpc.keepalive_time_ms", KEEPALIVE_MS),
            ("grpc.keepalive_timeout_ms", 10_000),
            # The breaks between attempts to connect: gRPC's own grow to two minutes, for a server that restarts in seconds.
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.min_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 2_000),
        ]
        if self.tls is not None and self.tls.server_name:
            options.append(("grpc.ssl_target_name_override", self.tls.server_name))
        return options

    def _credentials(self) -> grpc.ChannelCredentials | None:
        """Return what the channel is made with; None for plain text without a token."""
        if self.tls is not None:
            tls = self.tls
            own = grpc.ssl_channel_credentials(_pem(tls.root_certificates), _pem(tls.key), _pem(tls.certificate))
        elif self.token:
            # gRPC sends no token over plain text, except where it sees that the peer is this machine.
            is_unix = self.address.startswith("unix:")
            kind = grpc.LocalConnectionType.UDS if is_unix else grpc.LocalConnectionType.LOCAL_TCP
            own = grpc.local_channel_credentials(kind)
        else:
            return None
        if not self.token:
            return own
        return grpc.composite_channel_credentials(own, grpc.metadata_call_credentials(_Bearer(self.token), "rte"))


class _Bearer(grpc.AuthMetadataPlugin):
    """Gives the token to every call."""

    def __init__(self, token: str | Callable[[], str]) -> None:
        self._token = token

    def __call__(self, context: grpc.AuthMetadataContext, callback: grpc.AuthMetadataPluginCallback) -> None:  # noqa: ARG002 - gRPC's signature
        token = self._token if isinstance(self._token, str) else self._token()
        callback((("authorization", f"Bearer {token}"),), None)


def _pem(source: bytes | Path | None) -> bytes | None:
    return source.read_bytes() if isinstance(source, Path) else source
