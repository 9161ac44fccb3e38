"""Render the configuration that Envoy runs with from the committed one.

The committed `envoy/envoy.yaml` works in a container as it is. Here it is parsed, and addresses, paths and limits are
replaced; routes and filters are never touched, so both ways of running serve the same surface.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from rte_server.edge.settings import EdgeError, EdgeSettings

CONFIGURATION_FILE = "envoy.yaml"
DESCRIPTOR_FILE = "rte.pb"
SECRETS_FILE = "envoy-secrets.yaml"

_TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3"
_CERTIFICATE = "certificate"
_FILE_LOG = "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog"
_CONTAINER_DIR = "/etc/envoy/"
"""Where a container has the files beside `envoy.yaml`."""

_DEFAULT_BYTES_MAX = "4194304"


def assets_dir() -> Path:
    """Return the folder with `envoy.yaml` and `rte.pb`: inside the installed package, else that of the checkout.

    Raises:
        EdgeError: Neither exists.
    """
    here = Path(__file__).resolve()
    for folder in (here.parent / "assets", here.parents[3] / "envoy"):
        if (folder / CONFIGURATION_FILE).is_file() and (folder / DESCRIPTOR_FILE).is_file():
            return folder
    raise EdgeError(f"the installation has no {CONFIGURATION_FILE} and {DESCRIPTOR_FILE}; run `make gen` in a checkout")


def render(settings: EdgeSettings, port: int, admin_socket: Path) -> str:
    """Return the configuration as YAML text. With TLS it refers to the file `SECRETS_FILE` in the run directory.

    Args:
        settings: What the owner of the edge wants.
        port: The public port, 0 to 65535; replaces `settings.port`, so that a restart keeps a port once taken.
        admin_socket: Path of the unix socket for Envoy's admin interface, at most 107 bytes.

    Raises:
        EdgeError: The files are missing, or an upstream of the settings is no address.
    """
    assets = assets_dir()
    tree: dict[str, Any] = yaml.safe_load((assets / CONFIGURATION_FILE).read_text(encoding="utf-8"))
    tree["admin"]["address"] = {"pipe": {"path": str(admin_socket), "mode": 0o600}}
    listener = tree["static_resources"]["listeners"][0]
    listener["address"] = _socket_address(settings.host, port)
    if settings.tls_certificate is not None and settings.tls_key is not None:
        listener["filter_chains"][0]["transport_socket"] = _tls(settings.run_dir / SECRETS_FILE)
    upstreams = {"server": settings.upstream, "soap": settings.soap_upstream, "collect": settings.collect_upstream}
    for cluster in tree["static_resources"]["clusters"]:
        upstream = upstreams[cluster["name"]]
        if upstream is not None:
            endpoint = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]
            endpoint["address"] = parse_upstream(upstream)
    connection = listener["filter_chains"][0]["filters"][0]["typed_config"]
    tree["layered_runtime"]["layers"][0]["static_layer"]["edge.demo"] = 100 if settings.demo else 0
    connection["access_log"] = _access_log(connection["access_log"], settings.access_log)
    _set_limits(tree, connection, settings)
    _set_origins(connection, settings.allowed_origins)
    for node in _mappings(tree):
        for key in ("proto_descriptor", "filename"):
            path = node.get(key)
            if isinstance(path, str) and path.startswith(_CONTAINER_DIR):
                node[key] = str(assets / path.removeprefix(_CONTAINER_DIR))
    return yaml.dump(tree, Dumper=_PlainDumper, sort_keys=False, width=160)


def render_secrets(certificate: Path, key: Path) -> str:
    """Return the file of secrets to which a configuration with TLS refers, as YAML text.

    Args:
        certificate: PEM file with the certificate and its chain.
        key: PEM file with the private key.
    """
    # Links are not followed here: who renews a certificate may set a link to another file.
    pair = {
        "certificate_chain": {"filename": str(certificate.absolute())},
        "private_key": {"filename": str(key.absolute())},
    }
    return yaml.dump(
        {"resources": [{"@type": f"{_TLS}.Secret", "name": _CERTIFICATE, "tls_certificate": pair}]}, sort_keys=False
    )


def parse_upstream(upstream: str) -> dict[str, Any]:
    """Return Envoy's form of the address `unix:/path` or `host:port`.

    Raises:
        EdgeError: It is neither.
    """
    if upstream.startswith("unix:"):
        path = "/" + upstream.removeprefix("unix:").lstrip("/")
        return {"pipe": {"path": path}}
    host, _, port = upstream.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) <= 65535:
        raise EdgeError(f"the address of the server {upstream!r} is neither unix:/path nor host:port")
    return _socket_address(host.strip("[]"), int(port))


def _socket_address(host: str, port: int) -> dict[str, Any]:
    return {"socket_address": {"address": host, "port_value": port}}


def _tls(secrets: Path) -> dict[str, Any]:
    # By a file of secrets, since Envoy reads certificates again only where they are secrets.
    source = {"path_config_source": {"path": str(secrets)}, "resource_api_version": "V3"}
    context = {
        "alpn_protocols": ["h2", "http/1.1"],
        "tls_params": {"tls_minimum_protocol_version": "TLSv1_2"},
        "tls_certificate_sds_secret_configs": [{"name": _CERTIFICATE, "sds_config": source}],
    }
    return {
        "name": "envoy.transport_sockets.tls",
        "typed_config": {"@type": f"{_TLS}.DownstreamTlsContext", "common_tls_context": context},
    }


def _access_log(template: list[Any], path: Path | None) -> list[Any]:
    if path is None:
        return []
    log_format = template[0]["typed_config"]["log_format"]
    typed = {"@type": _FILE_LOG, "path": str(path), "log_format": log_format}
    return [{"name": "envoy.access_loggers.file", "typed_config": typed}]


def _set_limits(tree: dict[str, Any], connection: dict[str, Any], settings: EdgeSettings) -> None:
    for monitor in tree["overload_manager"]["resource_monitors"]:
        typed = monitor["typed_config"]
        if "max_active_downstream_connections" in typed:
            typed["max_active_downstream_connections"] = settings.connections_max
        if "max_heap_size_bytes" in typed:
            typed["max_heap_size_bytes"] = settings.heap_bytes_max
    for node in _mappings(connection):
        for key in ("max_request_bytes", "max_request_body_size"):
            if key in node:
                node[key] = settings.request_bytes_max
        # The text and the metadata of the 413 answer name the limit.
        for key in ("message", "limit"):
            if isinstance(node.get(key), str):
                node[key] = node[key].replace(_DEFAULT_BYTES_MAX, str(settings.request_bytes_max))


def _set_origins(connection: dict[str, Any], origins: tuple[str, ...]) -> None:
    if not origins:
        return
    matchers = [{"safe_regex": {"regex": ".*"}} if origin == "*" else {"exact": origin} for origin in origins]
    for node in _mappings(connection):
        if "allow_origin_string_match" in node:
            node["allow_origin_string_match"] = matchers


def _mappings(node: Any) -> Iterator[dict[str, Any]]:
    """Yield every mapping of a parsed YAML tree, once per place where it stands."""
    if isinstance(node, dict):
        yield node
        for value in node.values():
            yield from _mappings(value)
    elif isinstance(node, list):
        for value in node:
            yield from _mappings(value)


class _PlainDumper(yaml.SafeDumper):
    """Writes what was an alias in full: a reader of the rendered file sees each route as it is."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - the signature is that of PyYAML
        return True


def explain(output: str) -> str:
    """Return the part of Envoy's error output that says what is wrong, at most 600 characters.

    Envoy repeats the whole offending message before the reason.
    """
    text = output.strip()
    for marker in ("Proto constraint validation failed", "unknown fields", "error initializing config"):
        at = text.rfind(marker)
        if at >= 0:
            text = text[max(0, at - 200) :]
            break
    return re.sub(r"\s+", " ", text)[-600:]
