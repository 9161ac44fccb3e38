"""The bridge as a process behind Envoy: it comes back, says so by faults meanwhile, and cannot be worn out."""

from __future__ import annotations

import http.client
import os
import signal
import time
import urllib.request

import psutil
import pytest
from lxml import etree

from rte_soap.client import SoapClient, SoapFault
from rte_soap.contract import new_message
from rte_soap.envelope import Version
from rte_soap.schema import Schema
from rte_soap.wsdl import schema_document
from tests.service.live_server import LiveServer
from tests.soap.bridge import GET, MEDIA_TYPES, envelope
from tests.soap.test_hostile import DOCUMENTS

RESTART_S_MAX = 120.0
GROWTH_BYTES_MAX = 200 << 20


def bridge_processes(server: LiveServer) -> list[psutil.Process]:
    """Return the processes of a server's bridge, children of this one: other tests' servers may have theirs."""
    children = psutil.Process().children()
    commands = {child: child.as_dict(["cmdline"], ad_value=())["cmdline"] for child in children}
    return [child for child, command in commands.items() if "rte_soap" in command and server.address in command]


def bridge_process(server: LiveServer) -> psutil.Process:
    """Return the process of a server's bridge, which runs."""
    (found,) = bridge_processes(server)
    return found


def post(port: int, body: bytes | str, content_type: str) -> tuple[int, bytes]:
    """Send a request to `/soap`; return status and body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("POST", "/soap", body, {"content-type": content_type})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def lists(client: SoapClient) -> bool:
    """Say whether a call succeeds."""
    try:
        client.call("ListSessions", new_message(client.contract.operations["ListSessions"].request))
    except SoapFault as fault:
        if fault.detail.reason != "SERVER_UNAVAILABLE":
            raise
        return False
    return True


def wait_until_dead(process: psutil.Process) -> None:
    """Wait until a process runs no more. It is not waited for as a child: that is up to its supervisor."""
    end_s = time.monotonic() + 60
    while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < end_s
        time.sleep(0.005)


def answer_without_bridge(server: LiveServer, version: Version) -> tuple[int, bytes, set[int]]:
    """Return what is answered, status and body, while there is no bridge; and which processes were killed for it.

    On a busy machine the bridge may be back before it is asked for: then once more, and each time it stays away longer.
    """
    killed: set[int] = set()
    while True:
        bridge = bridge_process(server)
        os.kill(bridge.pid, signal.SIGKILL)
        wait_until_dead(bridge)
        killed.add(bridge.pid)
        answer = post(server.http_port, envelope(GET), version.media_type)
        if b"SERVER_UNAVAILABLE" in answer[1]:
            return *answer, killed
        assert bridge_process(server).pid not in killed, answer
        assert len(killed) < 10, answer


@pytest.mark.parametrize("version", list(Version), ids=lambda version: version.name)
def test_killed_bridge_comes_back(server: LiveServer, url: str, version: Version) -> None:
    """After `kill -9` callers get a fault of their version that says to try again, and soon answers as before."""
    client = SoapClient(url, version)
    assert lists(client)
    xsd = etree.XMLSchema(etree.fromstring(schema_document(Schema(client.contract))))
    status, body, killed = answer_without_bridge(server, version)
    assert status == 500
    (detail,) = etree.fromstring(body).iter("{urn:rte:v1}ServiceFaultDetail")
    xsd.assertValid(etree.fromstring(etree.tostring(detail)))
    assert (detail.findtext("{*}reason"), detail.findtext("{*}retryable")) == ("SERVER_UNAVAILABLE", "true")
    end_s = time.monotonic() + RESTART_S_MAX
    while not lists(client):
        assert time.monotonic() < end_s
        time.sleep(0.1)
    assert bridge_process(server).pid not in killed


def test_hostile_documents_do_not_wear_it_out(server: LiveServer, client: SoapClient) -> None:
    """After all hostile documents, several times, the same process answers, and has not grown by much."""
    assert lists(client)
    process = bridge_process(server)
    before = process.memory_info().rss
    for _ in range(2):
        for name, document in DOCUMENTS.items():
            status, body = post(server.http_port, document, "text/xml")
            assert status in (500, 413, 415), name
            assert b"Fault>" in body, name
    assert lists(client)
    assert bridge_process(server).pid == process.pid
    assert process.memory_info().rss - before < GROWTH_BYTES_MAX


def test_other_paths_are_not_the_bridge(server: LiveServer) -> None:
    """Only `/soap` itself leads to the bridge."""
    for path in ("/soap/", "/soap/healthz", "/soapy", "/healthz/soap"):
        connection = http.client.HTTPConnection("127.0.0.1", server.http_port, timeout=60)
        connection.request("POST", path, envelope(GET), {"content-type": MEDIA_TYPES["1.1"]})
        response = connection.getresponse()
        assert (response.status, b"UNKNOWN_PATH" in response.read()) == (404, True), path
        connection.close()


def test_caller_cannot_pretend_tls(url: str) -> None:
    """A header that claims TLS does not change the address in the description: Envoy says how the caller came."""
    request = urllib.request.Request(f"{url}?wsdl", headers={"x-forwarded-proto": "https"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        addresses = {each.get("location") for each in etree.fromstring(answer.read()).iter("{*}address")}
    assert addresses == {url}


def test_deadline_of_http_reaches_the_call(url: str) -> None:
    """Through Envoy, too, the header grpc-timeout is the deadline of the call."""
    client = SoapClient(url, headers={"grpc-timeout": "1n"})
    with pytest.raises(SoapFault) as refused:
        client.call("ListSessions", new_message(client.contract.operations["ListSessions"].request))
    assert (refused.value.detail.reason, refused.value.detail.retryable) == ("DEADLINE_EXCEEDED", True)
    assert refused.value.detail.request_id and client.last is not None
    assert client.last.headers["x-request-id"] == refused.value.detail.request_id
