"""The public port with TLS: every surface, a certificate that is renewed, callers without TLS."""

from __future__ import annotations

import os
import socket
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
import trustme
from lxml import etree

import rte
import rte.errors
from rte.v1 import event_pb2, event_service_pb2, session_service_pb2
from rte.v1.event_service_pb2_grpc import EventServiceStub
from rte.v1.session_service_pb2_grpc import SessionServiceStub
from rte_server.cli.connection import connect
from rte_server.edge import EdgeError, EdgeSettings
from tests.service.live_server import LiveServer, live_server
from tests.soap.bridge import GET, MEDIA_TYPES, envelope

SECURITY = """<s:Security xmlns:s="http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd">
<s:UsernameToken><s:Username>ann</s:Username><s:Password>p</s:Password></s:UsernameToken></s:Security>"""
RENEWAL_S_MAX = 120.0


@dataclass
class Pair:
    """A certificate and its key in files, and the authority that signs.

    Attributes:
        authority: Signs.
        certificate: PEM file.
        key: PEM file.
    """

    authority: trustme.CA
    certificate: Path
    key: Path

    def renew(self) -> None:
        """Put a new certificate in the place of the old one, as tools for renewal do."""
        leaf = self.authority.issue_cert("localhost", "127.0.0.1")
        for path, content in (
            (self.key, leaf.private_key_pem.bytes()),
            (self.certificate, b"".join(each.bytes() for each in leaf.cert_chain_pems)),
        ):
            new = path.with_suffix(".new")
            new.write_bytes(content)
            os.replace(new, path)

    def context(self) -> ssl.SSLContext:
        """Return what a caller trusts."""
        context = ssl.create_default_context()
        self.authority.configure_trust(context)
        return context


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """A certificate for this machine."""
    folder = tmp_path_factory.mktemp("tls")
    pair = Pair(trustme.CA(), folder / "certificate.pem", folder / "key.pem")
    pair.renew()
    pair.authority.cert_pem.write_to_path(str(folder / "authority.pem"))
    return pair


@pytest.fixture(scope="module")
def server(pair: Pair, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """A server whose public port speaks TLS."""
    folder, certificate, key = tmp_path_factory.mktemp("data"), str(pair.certificate), str(pair.key)
    with live_server(folder, edge=True, edge__tls_certificate=certificate, edge__tls_key=key) as running:
        yield running


def serial_number(server: LiveServer, pair: Pair) -> str:
    """Return the number of the certificate that the server shows."""
    context = pair.context()
    with (
        socket.create_connection(("127.0.0.1", server.http_port), 60) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as secure,
    ):
        found = secure.getpeercert()
        assert found is not None
        return str(found["serialNumber"])


def test_grpc_and_json_and_soap_over_tls(server: LiveServer, pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """One event by native gRPC, by the connection of the commands, is read by JSON and by SOAP, all over TLS."""
    monkeypatch.setenv("SSL_CERT_FILE", str(pair.certificate.parent / "authority.pem"))
    address = f"https://localhost:{server.http_port}"
    with connect(address) as channel:
        event = event_pb2.Event(name="page_view", visitor_id="v")
        request = event_service_pb2.IngestEventsRequest(events=[event], wait=event_service_pb2.WAIT_APPLIED)
        assert EventServiceStub(channel).IngestEvents(request, timeout=60).accepted_count == 1
        found = SessionServiceStub(channel).GetSession(
            session_service_pb2.GetSessionRequest(visitor_id="v"), timeout=60
        )
        assert found.session.visitor_id == "v"
    context = pair.context()
    with urllib.request.urlopen(f"{address}/v1/visitors/v/session", timeout=60, context=context) as answer:
        assert b'"visitor_id":"v"' in answer.read()
    headers = {"content-type": MEDIA_TYPES["1.1"]}
    body = envelope(GET, blocks=SECURITY).encode()
    call = urllib.request.Request(f"{address}/soap", body, headers)
    with urllib.request.urlopen(call, timeout=60, context=context) as answer:
        assert etree.fromstring(answer.read()).findtext(".//{*}visitorId") == "v"
    with urllib.request.urlopen(f"{address}/soap?wsdl", timeout=60, context=context) as answer:
        addresses = {each.get("location") for each in etree.fromstring(answer.read()).iter("{*}address")}
    assert addresses == {f"{address}/soap"}


def test_callers_without_tls_or_trust_get_nowhere(server: LiveServer) -> None:
    """Who speaks no TLS, or does not trust the authority, gets no answer."""
    with pytest.raises((urllib.error.URLError, OSError)):
        urllib.request.urlopen(f"http://127.0.0.1:{server.http_port}/v1/sessions", timeout=60)
    with pytest.raises(urllib.error.URLError, match="CERTIFICATE_VERIFY_FAILED"):
        urllib.request.urlopen(f"https://localhost:{server.http_port}/v1/sessions", timeout=60)
    with grpc.insecure_channel(f"127.0.0.1:{server.http_port}") as channel, pytest.raises(grpc.RpcError):
        SessionServiceStub(channel).ListSessions(session_service_pb2.ListSessionsRequest(), timeout=60)


def test_renewed_certificate_is_shown_without_a_restart(server: LiveServer, pair: Pair) -> None:
    """Soon after the files were replaced new connections get the new certificate."""
    before = serial_number(server, pair)
    pair.renew()
    end_s = time.monotonic() + RENEWAL_S_MAX
    while serial_number(server, pair) == before:
        assert time.monotonic() < end_s
        time.sleep(0.1)


def test_wrong_files_are_named(tmp_path: Path, pair: Pair) -> None:
    """A file that is not there, and a certificate without a key, are refused before Envoy starts."""
    with pytest.raises(EdgeError, match=r"missing\.pem cannot be read"):
        EdgeSettings(tmp_path, "127.0.0.1:1", tls_certificate=tmp_path / "missing.pem", tls_key=pair.key)
    with pytest.raises(EdgeError, match="together"):
        EdgeSettings(tmp_path, "127.0.0.1:1", tls_certificate=pair.certificate)


def test_the_python_client_trusts_whom_it_is_told_to(server: LiveServer, pair: Pair) -> None:
    """The Python client calls over TLS, with a token, and refuses a server that its roots do not sign."""
    address = f"localhost:{server.http_port}"
    authority = pair.certificate.with_name("authority.pem")
    with rte.Client(address, tls=rte.Tls(root_certificates=authority), token="secret") as client:
        client.track("login", visitor_id="tls-client")
        assert client.get_session(visitor_id="tls-client", min_position=client.flush(60)).event_count == 1
    with rte.Client(address, tls=True) as stranger, pytest.raises(rte.errors.Unavailable):
        stranger.get_session(visitor_id="tls-client")
