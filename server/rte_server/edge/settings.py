"""What the edge is told by its owner, and the one error that it raises."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


class EdgeError(Exception):
    """The edge cannot start; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class EdgeSettings:
    """Settings of the edge. All have the defaults of `envoy/envoy.yaml`, but for the addresses."""

    run_dir: Path
    """Existing directory for the rendered configuration and the admin socket. Nobody else may write there."""

    upstream: str
    """Address of the gRPC server: `unix:/path` or `host:port`, where host is an IP address."""

    soap_upstream: str | None = None
    """Address of the SOAP bridge, in the same form. None: the one of `envoy.yaml`."""

    collect_upstream: str | None = None
    """Address of the collectors' bridge, in the same form. None: the one of `envoy.yaml`."""

    host: str = "127.0.0.1"
    """IP address on which the public port listens; `0.0.0.0` for every network."""

    port: int = 8080
    """The public port, 0 to 65535; 0 takes a free one, see `Edge.port`."""

    concurrency: int = 1
    """Worker threads of Envoy, >= 1."""

    request_bytes_max: int = 4 * 1024 * 1024
    """Largest body of an HTTP/JSON request after decompression, bytes, >= 1,024; beyond it 413."""

    connections_max: int = 10_000
    """Open connections of callers, >= 1; beyond it new ones are closed without an answer."""

    heap_bytes_max: int = 1024 * 1024 * 1024
    """Heap of Envoy, bytes, >= 64 MiB; at 95 % of it requests are answered with 503."""

    allowed_origins: tuple[str, ...] = ()
    """Web origins that may call from browsers, for example `https://shop.example`; `*` is every one. Default: only
    those of this machine (localhost, any port)."""

    tls_certificate: Path | None = None
    """PEM file with the certificate and its chain. The public port then takes TLS only (HTTP/2 and HTTP/1.1 by ALPN). Both
    files are read again when one is replaced in its folder by a rename. None: no TLS."""

    tls_key: Path | None = None
    """PEM file with the private key, not encrypted. Given exactly if `tls_certificate` is."""

    demo: bool = False
    """Whether the demo shop is served at `/demo/`."""

    access_log: Path | None = None
    """File that gets one JSON line per request; `/dev/stdout` works. Default: no access log."""

    ready_timeout_s: float = 120.0
    """Seconds that a start may take until Envoy answers, > 0: less than one, but on an overloaded machine many times that. One
    that ends instead is noticed at once."""

    restart_delay_s_max: float = 5.0
    """Longest pause before a restart, seconds; pauses begin at 0.1 s and double."""

    def __post_init__(self) -> None:
        problems = [
            text
            for wrong, text in (
                (not 0 <= self.port <= 65535, f"port {self.port} is not in 0 to 65535"),
                (self.concurrency < 1, f"concurrency {self.concurrency} is not >= 1"),
                (self.request_bytes_max < 1024, f"request_bytes_max {self.request_bytes_max} is not >= 1024"),
                (self.connections_max < 1, f"connections_max {self.connections_max} is not >= 1"),
                (self.heap_bytes_max < 64 << 20, f"heap_bytes_max {self.heap_bytes_max} is not >= 67108864"),
                *((not _is_readable(file), f"{file} cannot be read") for file in (self.tls_certificate, self.tls_key)),
                (
                    (self.tls_certificate is None) != (self.tls_key is None),
                    "tls_certificate and tls_key are given together or not at all",
                ),
            )
            if wrong
        ]
        if problems:
            raise EdgeError("edge settings: " + "; ".join(problems))


def _is_readable(file: Path | None) -> bool:
    return file is None or (file.is_file() and os.access(file, os.R_OK))
